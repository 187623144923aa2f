package llmrl

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

const repository = "../.."

// number is an integer, or a string of digits where a reader of JSON might round.
type number int64

func (n *number) UnmarshalJSON(text []byte) error {
	if string(text) == `"18446744073709551615"` {
		*n = math.MaxInt64 // more than Go has
		return nil
	}
	return json.Unmarshal(bytes.Trim(text, `"`), (*int64)(n))
}

type vectorCost struct {
	Requests                          *number
	Input, Output, Cached, CacheWrite number
}

func (c *vectorCost) UnmarshalJSON(text []byte) error {
	var fields map[string]number
	err := json.Unmarshal(text, &fields)
	if requests, ok := fields["requests"]; ok {
		c.Requests = &requests
	}
	c.Input, c.Output, c.Cached, c.CacheWrite = fields["input"], fields["output"], fields["cached"], fields["cache_write"]
	return err
}

// A request of none cannot be written down in Go, where that is one; only Charge takes it as it is.
func (c vectorCost) cost() (cost Cost, none bool) {
	cost = Cost{1, int64(c.Input), int64(c.Output), int64(c.Cached), int64(c.CacheWrite)}
	if c.Requests != nil {
		cost.Requests = int64(*c.Requests)
	}
	return cost, cost.Requests == 0
}

type vectorLimit struct {
	Kind, Meter      string
	Amount           number
	PeriodNs         number `json:"period_ns"`
	Burst            number
	Resolution       number
	ResetsInNs       number `json:"resets_in_ns"`
	OversizeWhenFull bool   `json:"oversize_when_full"`
	StartEmpty       bool   `json:"start_empty"`
	Weights          struct {
		Input, Output, Cached float64
		CacheWrite            float64 `json:"cache_write"`
	}
}

var (
	vectorKinds = map[string]Kind{
		"token_bucket": KindTokenBucket, "pacing": KindPacing, "fixed_window": KindFixedWindow, "in_flight": KindInFlight,
		"sliding_window_counter": KindSlidingWindowCounter, "sliding_window": KindSlidingWindow, "sliding_window_log": KindSlidingWindowLog,
	}
	vectorMeters = map[string]Meter{
		"": 0, "requests": MeterRequests, "tokens": MeterTokens, "input_tokens": MeterInputTokens, "output_tokens": MeterOutputTokens,
		"weighted_tokens": MeterWeightedTokens,
	}
)

func (v vectorLimit) limit(t *testing.T) Limit {
	kind, meter := vectorKinds[v.Kind], vectorMeters[v.Meter]
	if kind == 0 || (meter == 0) != (kind == KindInFlight) {
		t.Fatalf("limit of kind %q with meter %q", v.Kind, v.Meter)
	}
	w := v.Weights
	return Limit{
		kind, meter, int64(v.Amount), time.Duration(v.PeriodNs), int64(v.Burst), v.OversizeWhenFull, v.StartEmpty, int(v.Resolution),
		time.Duration(v.ResetsInNs), Weights{w.Input / 1000, w.Output / 1000, w.Cached / 1000, w.CacheWrite / 1000},
	}
}

type vectorStep struct {
	At             number
	Op, As, Of, Is string
	Cost           vectorCost
	TimeoutNs      *number `json:"timeout_ns"`
	Limit          number
	Amount, Ns, N  number
	Burst          *number
	PeriodNs       *number `json:"period_ns"`
	ResetsInNs     number  `json:"resets_in_ns"`
	Slots          number
	WaitNs         json.RawMessage `json:"wait_ns"`
	Available      []number
}

// retune is what Go can say of it: 0 is the default, so it cannot ask for a burst of 0. That is refused everywhere else.
func (step vectorStep) retune(retune func(amount int64, period time.Duration, burst int64) error) error {
	numbers := [2]number{}
	for i, field := range []*number{step.PeriodNs, step.Burst} {
		if field != nil && *field == 0 {
			return &ArgumentError{}
		}
		if field != nil {
			numbers[i] = *field
		}
	}
	return retune(int64(step.Amount), time.Duration(numbers[0]), int64(numbers[1]))
}

type vector struct {
	Subject    string
	StartNs    number `json:"start_ns"`
	MaxWaiters int    `json:"max_waiters"`
	Limits     []vectorLimit
	Steps      []vectorStep
}

// said is an answer as the vectors have it.
func said(wait time.Duration, err error) (string, time.Duration) {
	var argument *ArgumentError
	switch {
	case err == nil:
		return "OK", wait
	case errors.Is(err, ErrNever):
		return "NEVER", wait
	case errors.Is(err, ErrFull):
		return "FULL", wait
	case errors.Is(err, ErrDeadline):
		return "DEADLINE", wait
	case errors.Is(err, ErrClosed):
		return "CLOSED", wait
	case errors.Is(err, ErrStale):
		return "STALE", wait
	case errors.As(err, &argument):
		return "ARGUMENT", wait
	}
	return err.Error(), wait
}

// What C tells apart by number is one error in Go.
func word(is string) string {
	if is == "COST" || is == "INDEX" || is == "RANGE" {
		return "ARGUMENT"
	}
	return is
}

type subject interface {
	do(t *testing.T, step vectorStep) (string, time.Duration)
	available() []int64
}

type limiterSubject struct {
	*Limiter
	permits map[string]*Permit
	tickets map[string]*Reservation
}

func (s limiterSubject) available() []int64 {
	var out []int64
	for _, state := range s.Limits() {
		out = append(out, state.Available)
	}
	return out
}

func (s limiterSubject) poll(name string) (string, time.Duration) {
	permit, wait, err := s.tickets[name].Poll()
	if err == nil && permit == nil {
		return "PENDING", wait
	}
	if err == nil {
		s.permits[name] = permit
	}
	return said(0, err)
}

func (s limiterSubject) do(t *testing.T, step vectorStep) (string, time.Duration) {
	cost, none := step.Cost.cost()
	index := int(step.Limit)
	// A ticket that has not become a permit is a permit's number where one is needed.
	permit := s.permits[step.Of]
	if ticket := s.tickets[step.Of]; permit == nil && ticket != nil {
		permit = &Permit{ticket.of, ticket.id}
	} else if permit == nil {
		permit = &Permit{of: s.Limiter} // never given
	}
	switch step.Op {
	case "try_acquire":
		if none {
			return "ARGUMENT", 0
		}
		permit, wait, err := s.TryAcquire(cost)
		if err == nil && permit == nil {
			return "REFUSED", wait
		}
		if err == nil {
			s.permits[step.As] = permit
		}
		return said(0, err)
	case "enqueue":
		if none {
			return "ARGUMENT", 0
		}
		timeout := Forever
		if step.TimeoutNs != nil {
			timeout = time.Duration(*step.TimeoutNs)
		}
		ticket, err := s.Reserve(cost, timeout)
		if err != nil {
			return said(0, err)
		}
		s.tickets[step.As] = ticket
		delete(s.permits, step.As)
		return s.poll(step.As)
	case "poll":
		if s.tickets[step.Of] == nil {
			s.tickets[step.Of] = &Reservation{of: s.Limiter, id: permit.id}
		}
		return s.poll(step.Of)
	case "adjust":
		return said(0, permit.Adjust(cost))
	case "settle":
		return said(0, permit.Settle(cost))
	case "release":
		return said(0, permit.Release())
	case "cancel":
		return said(0, permit.Cancel())
	case "charge":
		return said(0, s.Charge(cost))
	case "retune":
		return said(0, step.retune(func(amount int64, period time.Duration, burst int64) error {
			return s.Retune(index, amount, period, burst)
		}))
	case "align":
		return said(0, s.Align(index, time.Duration(step.ResetsInNs)))
	case "resize":
		return said(0, s.Retune(index, int64(step.Slots), 0, 0))
	case "pause":
		return said(0, s.Pause(index, time.Duration(step.Ns)))
	case "close":
		s.Close()
		return "OK", 0
	}
	t.Fatalf("unknown operation %q", step.Op)
	return "", 0
}

type bucketSubject struct{ *TokenBucket }

func (s bucketSubject) available() []int64 { return []int64{s.Available()} }

func (s bucketSubject) do(t *testing.T, step vectorStep) (string, time.Duration) {
	n := int64(step.N)
	switch step.Op {
	case "take":
		ok, wait, err := s.TryTake(n)
		if err == nil && !ok {
			return "REFUSED", wait
		}
		return said(0, err)
	case "refund":
		return said(0, s.Refund(n))
	case "charge":
		return said(0, s.Charge(n))
	case "retune":
		return said(0, step.retune(s.Retune))
	case "pause":
		return said(0, s.Pause(time.Duration(step.Ns)))
	}
	t.Fatalf("unknown operation %q", step.Op)
	return "", 0
}

type gateSubject struct {
	*Gate
	slots int64
}

func (s *gateSubject) available() []int64 { return []int64{s.slots - s.Count()} }

func (s *gateSubject) do(t *testing.T, step vectorStep) (string, time.Duration) {
	switch step.Op {
	case "enter":
		if !s.TryEnter() {
			return "REFUSED", Forever
		}
		return "OK", 0
	case "leave":
		return said(0, s.Leave())
	case "resize":
		err := s.Resize(int64(step.Slots))
		if err == nil {
			s.slots = int64(step.Slots)
		}
		return said(0, err)
	}
	t.Fatalf("unknown operation %q", step.Op)
	return "", 0
}

func (v vector) subject(t *testing.T, clock *ManualClock) subject {
	limits := make([]Limit, len(v.Limits))
	for i, limit := range v.Limits {
		limits[i] = limit.limit(t)
	}
	switch v.Subject {
	case "bucket":
		return bucketSubject{must(NewTokenBucket(clock, limits[0]))}
	case "in_flight":
		return &gateSubject{must(NewGate(limits[0].Amount)), limits[0].Amount}
	case "limiter":
		if v.MaxWaiters == 0 {
			v.MaxWaiters = 64
		}
		l := must(New(&Options{MaxWaiters: v.MaxWaiters, Clock: clock}, limits...))
		return limiterSubject{l, map[string]*Permit{}, map[string]*Reservation{}}
	}
	t.Fatalf("unknown subject %q", v.Subject)
	return nil
}

func TestVectors(t *testing.T) {
	files, _ := filepath.Glob(filepath.Join(repository, "tests/vectors/*.json"))
	if len(files) < 40 {
		t.Fatalf("only %d vectors", len(files))
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) {
			var v vector
			read(t, file, &v)
			clock := NewManualClock(time.Duration(v.StartNs))
			subject := v.subject(t, clock)
			for i, step := range v.Steps {
				clock.Advance(time.Duration(step.At) - clock.Now())
				is, wait := subject.do(t, step)
				if is != word(step.Is) {
					t.Fatalf("step %d, %s: %s, not %s", i, step.Op, is, step.Is)
				}
				if step.WaitNs != nil {
					want := Forever
					if text := string(step.WaitNs); text != `"forever"` {
						var ns number
						if err := json.Unmarshal(step.WaitNs, &ns); err != nil {
							t.Fatal(err)
						}
						want = time.Duration(ns)
					}
					if wait != want {
						t.Fatalf("step %d, %s: waits %d ns, not %d", i, step.Op, wait, want)
					}
				}
				want := make([]int64, len(step.Available))
				for i, n := range step.Available {
					want[i] = int64(n)
				}
				if got := subject.available(); !reflect.DeepEqual(got, want) {
					t.Fatalf("step %d, %s: %v available, not %v", i, step.Op, got, want)
				}
			}
		})
	}
}

func read(t *testing.T, file string, out any) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(text, out)
	}
	if err != nil {
		t.Fatal(fmt.Errorf("%s: %w", file, err))
	}
}

func must[T any](made T, err error) T {
	if err != nil {
		panic(err)
	}
	return made
}
