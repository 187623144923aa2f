package llmrlhttp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	llmrl "github.com/libllmrl/libllmrl/bindings/go"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A limiter of 100 requests, 1000 tokens, and one request in flight, of which nothing comes back by itself.
func limiter(t *testing.T) *llmrl.Limiter {
	t.Helper()
	l, err := llmrl.New(&llmrl.Options{Clock: llmrl.NewManualClock(0)}, llmrl.Requests(100), llmrl.Tokens(1000), llmrl.InFlight(1))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func left(l *llmrl.Limiter) string {
	states := l.Limits()
	return fmt.Sprintf("%d requests, %d tokens, %d free", states[0].Available, states[1].Available, states[2].Available)
}

func expect(t *testing.T, l *llmrl.Limiter, want string) {
	t.Helper()
	if got := left(l); got != want {
		t.Errorf("%s, not %s", got, want)
	}
}

func client(t *testing.T, l Limiter, serve http.HandlerFunc) (*http.Client, string) {
	t.Helper()
	server := httptest.NewServer(serve)
	base := server.Client().Transport.(*http.Transport)
	t.Cleanup(func() { base.CloseIdleConnections(); server.Close() })
	return &http.Client{Transport: &Transport{Limiter: l, Base: base}}, server.URL
}

// 40 bytes of text are 10 tokens, and 90 may come.
const chat = `{"model": "m", "max_tokens": 90, "messages": [{"role": "user", "content": "0123456789012345678901234567890123456789"}]}`

func post(t *testing.T, c *http.Client, url, body string) *http.Response {
	t.Helper()
	response, err := c.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return response
}

func TestSettlesWithWhatWasUsed(t *testing.T) {
	l := limiter(t)
	c, url := client(t, l, func(w http.ResponseWriter, r *http.Request) {
		if body, _ := io.ReadAll(r.Body); string(body) != chat {
			t.Errorf("got %q", body)
		}
		expect(t, l, "99 requests, 900 tokens, 0 free")
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"choices": [], "usage": {"prompt_tokens": 12, "completion_tokens": 30}}`)
	})
	response := post(t, c, url+"/v1/chat/completions", chat)
	expect(t, l, "99 requests, 900 tokens, 0 free")
	if body, err := io.ReadAll(response.Body); !strings.HasSuffix(string(body), "30}}") || err != nil {
		t.Error(string(body), err)
	}
	expect(t, l, "99 requests, 958 tokens, 1 free")
	response.Body.Close()
	expect(t, l, "99 requests, 958 tokens, 1 free")
}

func TestStreams(t *testing.T) {
	for name, stream := range map[string]string{
		"/v1/chat/completions": "data: {\"choices\":[{\"delta\":{\"content\":\"\\\"usage\\\": {\"}}],\"usage\":null}\n\n" +
			"data: {\"choices\":[],\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":30}}\n\ndata: [DONE]\n\n",
		"/v1/messages": "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":12,\"output_tokens\":1}}}\n\n" +
			"event: message_delta\ndata: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":30}}\n\n",
	} {
		l := limiter(t)
		c, url := client(t, l, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
			for _, line := range strings.SplitAfter(stream, "\n") {
				io.WriteString(w, line)
				w.(http.Flusher).Flush()
			}
		})
		response := post(t, c, url+name, chat)
		io.Copy(io.Discard, response.Body)
		response.Body.Close()
		expect(t, l, "99 requests, 958 tokens, 1 free")
	}
}

func TestAStreamThatIsClosedKeepsItsEstimate(t *testing.T) {
	l := limiter(t)
	const start = "data: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":12,\"output_tokens\":1}}}\n\n"
	c, url := client(t, l, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, start)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	response := post(t, c, url+"/v1/chat/completions", chat)
	// What it says at its start is not all that it has used.
	if _, err := io.ReadFull(response.Body, make([]byte, len(start))); err != nil {
		t.Error(err)
	}
	response.Body.Close()
	expect(t, l, "99 requests, 900 tokens, 1 free")
}

func TestRefusalsAreHeardOf(t *testing.T) {
	l := limiter(t)
	const body = `{"error": {"message": "Rate limit reached for requests", "type": "requests", "code": "rate_limit_exceeded"}}`
	c, url := client(t, l, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(429)
		io.WriteString(w, body+strings.Repeat(" ", 2*maxError))
	})
	response := post(t, c, url+"/v1/chat/completions", chat)
	if text, err := io.ReadAll(response.Body); len(text) != len(body)+2*maxError || err != nil {
		t.Error(len(text), err)
	}
	response.Body.Close()
	states := l.Limits()
	if states[1].Available != 1000 || states[2].Available != 1 {
		t.Error(left(l))
	}
	if wait, _, err := l.Outlook(llmrl.Cost{}); wait < 7*time.Second || err != nil {
		t.Error(wait, err)
	}
}

func TestOtherFailures(t *testing.T) {
	for status, want := range map[int]string{
		400: "99 requests, 1000 tokens, 1 free", // never reached the model
		500: "99 requests, 900 tokens, 1 free",
	} {
		l := limiter(t)
		c, url := client(t, l, func(w http.ResponseWriter, r *http.Request) { http.Error(w, "no", status) })
		post(t, c, url+"/v1/chat/completions", chat).Body.Close()
		expect(t, l, want)
	}
}

func TestNothingIsTakenWithoutAConnection(t *testing.T) {
	l := limiter(t)
	server := httptest.NewServer(nil)
	url := server.URL
	server.Close()
	c := &http.Client{Transport: &Transport{Limiter: l}}
	if _, err := c.Post(url, "application/json", strings.NewReader(chat)); err == nil {
		t.Fatal("there is nobody")
	}
	expect(t, l, "100 requests, 1000 tokens, 1 free")
}

func TestWaitsWithinTheContext(t *testing.T) {
	l := limiter(t)
	c, url := client(t, l, func(w http.ResponseWriter, r *http.Request) { t.Error("was sent") })
	held, err := l.Acquire(context.Background(), llmrl.Cost{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	closed := make(chan struct{})
	req, _ := http.NewRequestWithContext(ctx, "POST", url, &closing{Reader: strings.NewReader(chat), closed: closed})
	result := make(chan error)
	go func() {
		_, err := c.Do(req)
		result <- err
	}()
	for l.Stats().Waiting != 1 {
		runtime.Gosched()
	}
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	<-closed
	held.Cancel()
	expect(t, l, "100 requests, 1000 tokens, 1 free")
	if _, err := c.Post(url, "application/json", strings.NewReader(strings.Replace(chat, "90", "2000", 1))); !errors.Is(err, llmrl.ErrNever) {
		t.Error(err)
	}
}

type closing struct {
	io.Reader
	closed chan struct{}
}

func (c *closing) Close() error { close(c.closed); return nil }

func TestOtherMethodsPass(t *testing.T) {
	l := limiter(t)
	l.Close()
	c, url := client(t, l, func(w http.ResponseWriter, r *http.Request) {})
	response, err := c.Get(url + "/v1/models")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if _, err := c.Post(url, "text/plain", nil); !errors.Is(err, llmrl.ErrClosed) {
		t.Error(err)
	}
}

func TestReadRequest(t *testing.T) {
	for _, c := range []struct {
		host, path, body string
		want             request
	}{
		{"api.openai.com", "/v1/chat/completions", chat, request{"openai", "m", true, 10, 90, 1}},
		{"x", "/v1/messages", `{"model": "c", "system": "12345678", "messages": [{"content": [{"type": "image", "source": {"data": "xxxx"}}]}]}`,
			request{"anthropic", "c", true, 1002, -1, 1}},
		{"x", "/v1/embeddings", `{"model": "e", "input": [1, 2, 3]}`, request{"", "e", false, 3, -1, 1}},
		{"generativelanguage.googleapis.com", "/v1beta/models/g:generateContent",
			`{"contents": [{"parts": [{"text": "1234"}, {"inlineData": {"data": "x"}}]}], "generationConfig": {"maxOutputTokens": 5, "candidateCount": 2}}`,
			request{"gemini", "g", true, 1001, 10, 2}},
		{"bedrock-runtime.us-east-1.amazonaws.com", "/", `{"max_tokens": 1e300, "prompt": "abcde"}`, request{"bedrock", "", true, 2, maxTokens, 1}},
		{"x", "/", `{"n": -3, "max_tokens": 1.5, "messages": [[[["a"]]]], "model": 5}`, request{"", "", true, 1, -1, 1}},
		{"x", "/", strings.Repeat(`{"messages":`, 20_000), request{"", "", false, 0, -1, 1}},
		{"x", "/", "null", request{"", "", false, 0, -1, 1}},
	} {
		if got := readRequest(c.host, c.path, []byte(c.body)); got != c.want {
			t.Errorf("%s: %+v, not %+v", c.path, got, c.want)
		}
	}
}
