package llmrlhttp

import (
	"math/rand"
	"strings"
	"testing"

	llmrl "github.com/libllmrl/libllmrl/bindings/go"
)

const (
	events = "text/event-stream; charset=utf-8"
	plain  = "application/json"
)

func told(kind string, pieces ...string) (llmrl.Cost, bool) {
	r := readerFor(kind)
	for _, piece := range pieces {
		r.feed([]byte(piece))
	}
	return r.usage()
}

func TestUsageWhereverItIsCut(t *testing.T) {
	none := llmrl.Cost{}
	for _, c := range []struct {
		kind, body string
		want       llmrl.Cost
	}{
		{events, "data: {\"choices\":[{\"delta\":{\"content\":\"a \\\"usage\\\": {\\\"prompt_tokens\\\": 9}\"}}],\"usage\":null}\n\n: keep-alive \"\n\n" +
			"data: {\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":7,\"prompt_tokens_details\":{\"cached_tokens\":4}}}\n\ndata: [DONE]\n\n",
			llmrl.Cost{Input: 12, Output: 7, Cached: 4}},
		{events, "event: message_start\r\ndata: {\"message\":{\"id\":\"m\",\"usage\":{\"input_tokens\":5,\"cache_read_input_tokens\":100," +
			"\"cache_creation_input_tokens\":20,\"output_tokens\":1}}}\r\n\r\ndata: {\"delta\":{\"text\":\"{[\\\\\"}}\r\n\r\n" +
			"data: {\"usage\":{\"output_tokens\":15}}\r\n\r\n", llmrl.Cost{Input: 125, Output: 15, Cached: 100, CacheWrite: 20}},
		{events, "event: x\rdata:{\"response\":{\"output\":[{\"usage\":{\"input_tokens\":1}}],\"usage\":{\"input_tokens\":36,\"output_tokens\":87}}}\r\r",
			llmrl.Cost{Input: 36, Output: 87}},
		{events, "data: {\"usageMetadata\":{\"promptTokenCount\":4,\"candidatesTokenCount\":5,\"thoughtsTokenCount\":6,\"cachedContentTokenCount\":2}}\n\n",
			llmrl.Cost{Input: 4, Output: 11, Cached: 2}},
		{events, "{\"usage\": {\"prompt_tokens\": 1}}\nxdata: {\"usage\": {\"prompt_tokens\": 1}}\n", none},
		{events, "data: {\"a\": \"unfinished\ndata: {\"usage\": {\"prompt_tokens\": 3}}", llmrl.Cost{Input: 3}},
		{plain, `{"content": [{"input": {"usage": {"input_tokens": 1}, "message": {"usage": {"input_tokens": 2}}}}], "usage": {"input_tokens": 10, ` +
			`"output_tokens": 20}, "metadata": {"usage": {"input_tokens": 4}, "x": ["usage", {"input_tokens": 5}]}}`, llmrl.Cost{Input: 10, Output: 20}},
		{"", `{"usage": {"prompt_tokens": 8, "total_tokens": 8}}`, llmrl.Cost{Input: 8}},
		{plain, `[{"usageMetadata": {"promptTokenCount": 4}},{"usageMetadata": {"promptTokenCount": 4, "candidatesTokenCount": 9}}]`,
			llmrl.Cost{Input: 4, Output: 9}},
		{plain, strings.Repeat("\xff\x00}}]]\"\\", 50), none},
		{plain, `{"usage": {"prompt_tokens": 1` + strings.Repeat(" ", 20_000) + "}}", none},
		{plain, `{"usage": {"prompt_tokens": 1e400}, "usage": {"prompt_tokens": -1}}`, none},
		{plain, strings.Repeat("[", 100_000) + `{"usage": {"prompt_tokens": 1}}`, none},
	} {
		check := func(pieces ...string) {
			t.Helper()
			if got, ok := told(c.kind, pieces...); got != c.want || ok != (c.want != none) {
				t.Errorf("%.60q: %+v, not %+v", c.body, got, c.want)
			}
		}
		check(c.body)
		check(strings.Split(c.body, "")...)
		for at := 0; at < len(c.body); at += 1 + len(c.body)/500 {
			check(c.body[:at], "", c.body[at:])
		}
	}
}

func TestUsageOfAnything(t *testing.T) {
	random := rand.New(rand.NewSource(7))
	parts := []string{`"usage":`, "{", "}", "[", "]", `"`, `\`, "\n", "\r", "data:", `"prompt_tokens":3`, ",", "\xff", `"message":`}
	for range 300 {
		body := ""
		for range random.Intn(200) {
			body += parts[random.Intn(len(parts))]
		}
		for _, kind := range []string{events, plain} {
			whole, ok := told(kind, body)
			at := random.Intn(len(body) + 1)
			if cut, also := told(kind, body[:at], body[at:]); cut != whole || also != ok {
				t.Fatalf("%q cut at %d", body, at)
			}
		}
	}
}

func TestTheStartOfAStreamIsNotAllOfIt(t *testing.T) {
	r := readerFor(events)
	r.feed([]byte("data: {\"message\":{\"usage\":{\"input_tokens\":5}}}\n"))
	if _, ok := r.usage(); !ok || r.final {
		t.Error("the beginning")
	}
	r.feed([]byte("data: {\"usage\":{\"output_tokens\":5}}\n"))
	if !r.final {
		t.Error("the end")
	}
	if readerFor("audio/mpeg") != nil {
		t.Error("sounds tell nothing")
	}
}
