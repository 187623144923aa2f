// Package llmrlhttp limits the requests of an http.Client to an LLM's API: an http.RoundTripper that reads from each what it will use,
// waits for its turn, lets the limiter learn from the answer, and settles with what was really used, also from streams.
package llmrlhttp

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"

	llmrl "github.com/libllmrl/libllmrl/bindings/go"
)

// How much of a failure's body is worth reading.
const maxError = 64 << 10

// Expected of a model of which nothing is known yet, if the request gives no bound.
const defaultOutput = 1024

// A Limiter admits requests: an llmrl.Limiter or an llmrl.Chain.
type Limiter interface {
	Acquire(context.Context, llmrl.Cost) (*llmrl.Permit, error)
}

// A Transport is an http.RoundTripper that limits. Every POST is a request; its tokens are read from bodies of chat/completions,
// completions, responses, embeddings (OpenAI and those who speak like it), messages (Anthropic) and generateContent (Gemini), prompts at
// four bytes a token. Other methods pass.
//
// It waits before the request is sent, within the request's context; the errors of Limiter.Acquire come out of the client in an
// *url.Error. An http.Client's Timeout counts the wait. It never sends a request twice: whoever tries a refused one again waits for it in the
// limiter, which has heard of the refusal. A permit is held until the answer's body is read to its end or closed; a stream of OpenAI tells what
// it used if it is asked to (stream_options), and where nothing is told the estimate stands.
//
// Safe for use by several goroutines. Do not change the fields once it is in use.
type Transport struct {
	Limiter Limiter
	// nil is http.DefaultTransport.
	Base http.RoundTripper
	// How requests are charged. nil is what the address tells; for one that is not known, prompt and max_tokens, corrected in the end.
	Charging *llmrl.Charging

	once    sync.Once
	lengths *llmrl.Lengths
}

// RoundTrip implements http.RoundTripper.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	base := t.Base
	if base == nil {
		base = http.DefaultTransport
	}
	if req.Method != http.MethodPost {
		return base.RoundTrip(req)
	}
	body, req, err := bodyOf(req)
	if err != nil {
		return nil, err
	}
	e := &exchange{transport: t, request: readRequest(req.URL.Hostname(), req.URL.Path, body)}
	cost, err := e.estimate()
	if err == nil {
		e.permit, err = t.Limiter.Acquire(req.Context(), cost)
	}
	if err != nil {
		closeBody(req)
		return nil, err
	}
	response, err := base.RoundTrip(req)
	if err != nil {
		e.lost(err)
		return nil, err
	}
	e.answered(response)
	return response, nil
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		req.Body.Close()
	}
}

// bodyOf reads the body, and returns a request that still has it: a RoundTripper must not change the one it was given.
func bodyOf(req *http.Request) ([]byte, *http.Request, error) {
	kind := req.Header.Get("Content-Type")
	if req.Body == nil || req.Body == http.NoBody || (kind != "" && !strings.Contains(strings.ToLower(kind), "json")) {
		return nil, req, nil
	}
	if req.GetBody != nil {
		body, err := again(req)
		if err != nil {
			closeBody(req)
			return nil, nil, err
		}
		return body, req, nil
	}
	body, err := io.ReadAll(req.Body)
	closeBody(req)
	if err != nil {
		return nil, nil, err
	}
	whole := *req
	whole.Body = io.NopCloser(bytes.NewReader(body))
	return body, &whole, nil
}

func again(req *http.Request) ([]byte, error) {
	body, err := req.GetBody()
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return io.ReadAll(body)
}

// exchange is one request, from its place in the queue to what it really used.
type exchange struct {
	transport *Transport
	request   request
	rule      llmrl.Charging
	ask       llmrl.Ask
	permit    *llmrl.Permit
}

func (t *Transport) seen() *llmrl.Lengths {
	t.once.Do(func() { t.lengths, _ = llmrl.NewLengths(1000) }) // a number in range
	return t.lengths
}

func (e *exchange) estimate() (llmrl.Cost, error) {
	e.rule = llmrl.Charging{Cached: true, Output: llmrl.OutputAllowed, Settlement: llmrl.SettleActual, Burndown: 1}
	if e.transport.Charging != nil {
		e.rule = *e.transport.Charging
	} else if e.request.provider != "" {
		rule, err := llmrl.ChargingOf(e.request.provider)
		if err != nil {
			return llmrl.Cost{}, err
		}
		e.rule = rule
	}
	e.ask = llmrl.Ask{Prompt: e.request.prompt, MaxTokens: e.request.maxTokens}
	if e.request.generates {
		e.ask.Expected = e.expected()
	} else {
		e.ask.MaxTokens = 0
	}
	return e.rule.Reserve(e.ask)
}

// expected is what nine in ten answers of the model stayed under, never more than the request allows.
func (e *exchange) expected() int64 {
	bound := e.ask.MaxTokens
	if bound != llmrl.Unknown {
		bound /= e.request.choices
	}
	one, err := e.transport.seen().Estimate("", e.request.model, 900, bound)
	if err != nil || one == llmrl.Unknown {
		one = defaultOutput
	}
	return min(one*e.request.choices, maxTokens)
}

// lost: there was no answer. If there was not even a connection, nothing was used.
func (e *exchange) lost(err error) {
	var network *net.OpError
	if errors.As(err, &network) && network.Op == "dial" {
		_ = e.permit.Cancel()
		return
	}
	_ = e.permit.Release()
}

// answered lets the limiter learn, and wraps the body or ends the permit. What the limiter says to it is no error of the request: it may have
// been closed meanwhile.
func (e *exchange) answered(response *http.Response) {
	status := response.StatusCode
	if status < 400 {
		_, _ = e.permit.Feedback(status, response.Header, nil)
		if status == http.StatusSwitchingProtocols {
			_ = e.permit.Release()
			return
		}
		response.Body = &answer{ReadCloser: response.Body, exchange: e, reader: readerFor(response.Header.Get("Content-Type"))}
		return
	}
	start, err := io.ReadAll(io.LimitReader(response.Body, maxError))
	advice, told := e.permit.Feedback(status, response.Header, start)
	if told != nil || advice.Class != llmrl.ClassOther || status >= 500 {
		_ = e.permit.Release()
	} else {
		_ = e.permit.Settle(llmrl.Cost{}) // it never reached the model: one request was counted, no tokens
	}
	rest := io.Reader(response.Body)
	if err != nil {
		rest = failing{err}
	}
	response.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(start), rest), response.Body}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// end settles by what the answer has told.
func (e *exchange) end(r *reader) {
	if r == nil || !r.final {
		_ = e.permit.Release()
		return
	}
	used, ok := r.usage()
	if !ok {
		_ = e.permit.Release()
		return
	}
	if e.request.generates {
		e.transport.seen().Record("", e.request.model, (used.Output+e.request.choices-1)/e.request.choices)
	}
	cost, err := e.rule.Settle(e.ask, used)
	if err != nil {
		_ = e.permit.Release()
		return
	}
	if e.rule.Cached && !e.rule.Jointly && e.rule.Settlement == llmrl.SettleActual {
		cost.Cached, cost.CacheWrite = used.Cached, used.CacheWrite
	}
	_ = e.permit.Settle(cost)
}

// answer is a body that is read by its owner, and looked at as it passes. One goroutine may close it while another reads.
type answer struct {
	io.ReadCloser
	exchange *exchange

	lock   sync.Mutex
	reader *reader
	ended  bool
}

func (a *answer) Read(p []byte) (int, error) {
	n, err := a.ReadCloser.Read(p)
	a.passed(p[:n], err != nil)
	return n, err
}

func (a *answer) Close() error {
	err := a.ReadCloser.Close()
	a.passed(nil, true)
	return err
}

func (a *answer) passed(data []byte, last bool) {
	a.lock.Lock()
	defer a.lock.Unlock()
	if a.ended {
		return
	}
	if a.reader != nil {
		a.reader.feed(data)
	}
	if last {
		a.ended = true
		a.exchange.end(a.reader)
	}
}
