package llmrl

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

var (
	vectorClasses = map[string]Class{
		"ok": ClassOK, "rate": ClassRate, "concurrency": ClassConcurrency, "overload": ClassOverload, "long": ClassLong, "billing": ClassBilling,
		"oversize": ClassOversize, "other": ClassOther,
	}
	vectorAxes = map[string]Meter{
		"requests": MeterRequests, "tokens": MeterTokens, "input_tokens": MeterInputTokens, "output_tokens": MeterOutputTokens,
		"concurrency": MeterConcurrency, "other": MeterOther,
	}
	vectorPools = map[string]Pool{
		"standard": PoolStandard, "project": PoolProject, "usage_based": PoolUsageBased, "priority": PoolPriority, "fast": PoolFast,
		"subscription": PoolSubscription, "overage": PoolOverage, "uncached": PoolUncached, "gateway": PoolGateway,
	}
)

type fields map[string]json.RawMessage

// differ says in which of the fields that are wanted something else was read.
func (want fields) differ(got map[string]any) string {
	for name, raw := range want {
		value, ok := got[name]
		if !ok {
			return name + " is not known to the test"
		}
		var wanted any
		switch value.(type) {
		case bool:
			var b bool
			_ = json.Unmarshal(raw, &b)
			wanted = b
		case string:
			s := ""
			_ = json.Unmarshal(raw, &s)
			wanted = s
		default:
			n := number(Unknown)
			if string(raw) != "null" {
				if err := json.Unmarshal(raw, &n); err != nil {
					return name + ": " + err.Error()
				}
			}
			wanted = int64(n)
		}
		if !reflect.DeepEqual(wanted, value) {
			return strings.Join([]string{name, "is", show(value), "instead of", show(wanted)}, " ")
		}
	}
	return ""
}

func show(value any) string {
	text, _ := json.Marshal(value)
	return string(text)
}

func name[T comparable](names map[string]T, value T) string {
	for name, known := range names {
		if known == value {
			return name
		}
	}
	return ""
}

func inSeconds(d time.Duration) int64 {
	if d == Unknown {
		return Unknown
	}
	return int64(d / time.Second)
}

func TestReadAnswer(t *testing.T) {
	seen := 0
	for _, file := range []string{"vectors.json", "examples.json"} {
		var vectors []struct {
			ID, Body string
			Status   int
			Headers  [][2]string
			Now      int64
			Expect   fields
		}
		read(t, filepath.Join(repository, "tests/feedback", file), &vectors)
		seen += len(vectors)
		for _, v := range vectors {
			header := map[string][]string{}
			for _, pair := range v.Headers {
				header[pair[0]] = append(header[pair[0]], pair[1])
			}
			now := time.Time{}
			if v.Now != 0 {
				now = time.Unix(v.Now, 0)
			}
			r := must(ReadAnswer(v.Status, header, []byte(v.Body), now))
			var quotas []fields
			if raw, ok := v.Expect["quotas"]; ok {
				if err := json.Unmarshal(raw, &quotas); err != nil {
					t.Fatal(err)
				}
				delete(v.Expect, "quotas")
				compareQuotas(t, v.ID, quotas, r.Quotas)
			}
			// By its place in the file, where the order is another one: that there is one must do.
			if raw, ok := v.Expect["tripped"]; ok {
				if none := string(raw) == "null"; none != (r.Tripped == -1) {
					t.Errorf("%s: tripped is %d, not %s", v.ID, r.Tripped, raw)
				}
				delete(v.Expect, "tripped")
			}
			if wrong := v.Expect.differ(map[string]any{
				"class": name(vectorClasses, r.Class), "axis": name(vectorAxes, r.Meter), "wait_ns": int64(r.Wait), "retryable": r.Retryable,
				"warning": r.Warning, "requested": r.Requested, "should_retry": r.ShouldRetry,
			}); wrong != "" {
				t.Errorf("%s: %s", v.ID, wrong)
			}
		}
	}
	if seen < 170 {
		t.Errorf("only %d", seen)
	}
}

// Headers go to C in the order of their names, so quotas may come in another order than in the file: each has one that fits.
func compareQuotas(t *testing.T, id string, want []fields, got []Quota) {
	t.Helper()
	if len(want) != len(got) {
		t.Errorf("%s: %d quotas, not %d", id, len(got), len(want))
		return
	}
	taken := make([]bool, len(got))
	for _, wanted := range want {
		wrong := "none is left"
		for i, q := range got {
			if taken[i] {
				continue
			}
			wrong = wanted.differ(map[string]any{
				"axis": name(vectorAxes, q.Meter), "pool": name(vectorPools, q.Pool), "limit": q.Limit, "remaining": q.Remaining, "reset_ns": int64(q.Reset),
				"window_ns": int64(q.Window), "utilization": q.Utilization, "period_ns": int64(q.Period), "solved_low_s": inSeconds(q.SolvedLow),
				"solved_high_s": inSeconds(q.SolvedHigh), "mislabelled": q.Mislabelled, "exhausted": q.Remaining == 0 || q.Utilization >= 1_000_000,
			})
			if wrong == "" {
				taken[i] = true
				break
			}
		}
		if wrong != "" {
			t.Errorf("%s: %v: %s", id, show(wanted), wrong)
		}
	}
}

func TestFeedback(t *testing.T) {
	clock := NewManualClock(0)
	l := must(New(&Options{Clock: clock}, Requests(60), Tokens(10_000)))
	permit := must(l.Acquire(t.Context(), Cost{Input: 4000}))
	advice, err := permit.Feedback(429, map[string][]string{"Retry-After": {"5"}},
		[]byte(`{"error": {"message": "Rate limit reached for m on requests per min (RPM): Limit 60, Used 60, Requested 1."}}`))
	if err != nil || advice.Class != ClassRate || !advice.Retry {
		t.Fatal(advice, err)
	}
	if got := l.Limits()[1].Available; got != 10_000 {
		t.Errorf("a refusal has used no tokens, %d left", got)
	}
	if err := permit.Release(); err != nil {
		t.Fatal(err)
	}
	if wait, _, _ := l.Outlook(Cost{}); wait < 5*time.Second {
		t.Errorf("waits %v", wait)
	}
	if _, err := permit.Feedback(200, nil, nil); !errors.Is(err, ErrStale) {
		t.Error(err)
	}
	if _, err := permit.Feedback(0, nil, nil); err == nil {
		t.Error("no status")
	}
}

func TestCharging(t *testing.T) {
	ask := Ask{Prompt: 1000, Cached: 400, MaxTokens: 2000, Expected: 300}
	for provider, want := range map[string][2][2]int64{
		"openai":              {{2000, 0}, {2000, 0}},
		"azure":               {{1000, 2000}, {1000, 2000}},
		"anthropic":           {{600, 0}, {600, 250}},
		"anthropic-reserving": {{600, 2000}, {600, 250}},
		"gemini":              {{1000, 0}, {1000, 0}},
		"bedrock":             {{600, 2000}, {600, 1250}},
	} {
		rule := must(ChargingOf(provider))
		reserved := must(rule.Reserve(ask))
		settled := must(rule.Settle(ask, Cost{Input: 1100, Output: 250, Cached: 500}))
		if got := [2][2]int64{{reserved.Input, reserved.Output}, {settled.Input, settled.Output}}; got != want {
			t.Errorf("%s: %v, not %v", provider, got, want)
		}
	}
	rule := must(ChargingOf("azure"))
	rule.Burndown = 0
	for want, err := range map[string]error{
		"openai, azure":           second(ChargingOf("OpenAI")),
		`"openai\x00"`:            second(ChargingOf("openai\x00")),
		"Burndown = 0":            second(rule.Reserve(ask)),
		"Ask.Prompt = -1 ":        second(rule.Reserve(Ask{Prompt: -1})),
		"Ask.MaxTokens = -2 ":     second(rule.Settle(Ask{MaxTokens: -2}, Cost{})),
		"Cost.Output = -1 ":       second(must(ChargingOf("azure")).Settle(ask, Cost{Output: -1})),
		"names = 0 ":              second(NewLengths(0)),
		"permille = 0 is outside": second(must(NewLengths(1)).Estimate("", "", 0, 5)),
	} {
		var argument *ArgumentError
		if !errors.As(err, &argument) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}

func TestLengths(t *testing.T) {
	lengths := must(NewLengths(2))
	if got := must(lengths.Estimate("key", "model", 900, Unknown)); got != Unknown {
		t.Error(got)
	}
	if got := must(lengths.Estimate("key", "model", 900, 4096)); got != 4096 {
		t.Error(got)
	}
	for output := range int64(100) {
		lengths.Record("key", "model", output+1)
	}
	for permille, want := range map[int]int64{900: 91, 1: 1, 1000: 103} {
		if got := must(lengths.Estimate("key", "model", permille, Unknown)); got != want {
			t.Errorf("%d: %d, not %d", permille, got, want)
		}
	}
}
