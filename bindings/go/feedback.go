package llmrl

/*
#cgo noescape go_answered
#cgo nocallback go_answered
#include "bridge.h"
*/
import "C"

import (
	"maps"
	"runtime"
	"slices"
	"time"
	"unsafe"
)

// Class is what became of a request.
type Class uint32

const (
	ClassOK          Class = C.LLMRL_CLASS_OK          // answered, with a status below 400
	ClassRate        Class = C.LLMRL_CLASS_RATE        // more than the rate
	ClassConcurrency Class = C.LLMRL_CLASS_CONCURRENCY // too many at the same time
	ClassOverload    Class = C.LLMRL_CLASS_OVERLOAD    // the provider is short of capacity
	ClassLong        Class = C.LLMRL_CLASS_LONG        // a quota of a day or longer, not back within an hour
	ClassBilling     Class = C.LLMRL_CLASS_BILLING     // money or permission is missing
	ClassOversize    Class = C.LLMRL_CLASS_OVERSIZE    // larger than the limit: refused for ever
	ClassOther       Class = C.LLMRL_CLASS_OTHER       // another failure
)

// Pool is which of several accounts a quota is of.
type Pool uint32

const (
	PoolStandard     Pool = C.LLMRL_POOL_STANDARD
	PoolProject      Pool = C.LLMRL_POOL_PROJECT      // OpenAI's limit of a project
	PoolUsageBased   Pool = C.LLMRL_POOL_USAGE_BASED  // OpenAI's "tokens_usage_based"
	PoolPriority     Pool = C.LLMRL_POOL_PRIORITY     // Anthropic's Priority Tier
	PoolFast         Pool = C.LLMRL_POOL_FAST         // Anthropic's fast mode
	PoolSubscription Pool = C.LLMRL_POOL_SUBSCRIPTION // a subscription's share
	PoolOverage      Pool = C.LLMRL_POOL_OVERAGE      // what a subscription allows beyond its share
	PoolUncached     Pool = C.LLMRL_POOL_UNCACHED     // Fireworks' prompt tokens that no cache had
	PoolGateway      Pool = C.LLMRL_POOL_GATEWAY      // set by a gateway
)

// Unknown is a count or a duration that was not said, or cannot be.
const Unknown = -1

// A Quota is what an answer says about one limit. What is not known is Unknown.
type Quota struct {
	Meter       Meter
	Pool        Pool
	Limit       int64         // how much in a period
	Remaining   int64         // how much of it is left
	Reset       time.Duration // until all of it is back, or the window ends
	Utilization int64         // how much is used, in millionths, where shares are told
	Window      time.Duration // the period that the provider states
	Period      time.Duration // the period that follows from limit, remaining and reset, else the one that is stated
	// The period that follows is at least this, and shorter than that.
	SolvedLow, SolvedHigh time.Duration
	Mislabelled           bool // the provider states another period than follows from its numbers
}

// A Reading is what one answer says about limits.
type Reading struct {
	Class          Class
	Meter          Meter         // what was exceeded; 0 if it is not told
	Wait           time.Duration // how long the provider says to wait, or Unknown
	Requested      int64         // how much the refused request asked for, or Unknown
	Quotas         []Quota       // in the order of the headers' names
	Tripped        int           // which of them has refused the request, or -1
	Retryable      bool          // the same request may pass later
	ShouldRetry    bool          // the answer has "x-should-retry: true"
	ShouldNotRetry bool          // the answer has "x-should-retry: false", which is not to be obeyed blindly
	Warning        bool          // served, but over or near a limit
}

// Advice is what to do with a request, now that it was answered.
type Advice struct {
	Class Class
	Retry bool // the same request may be admitted later
	// How long to wait before asking the limiter again. 0 where the limiter itself holds requests back, which it does for five minutes at
	// most because of one answer: more means that the provider said so, and that another one may be the better choice.
	Wait time.Duration
}

// ReadAnswer reads what an answer says about limits, whoever sent it: status is 100 to 999, header an http.Header, and of body, which
// is needed from 400 on, the first 64 KiB are looked at. Whatever is malformed is left out; the error is an *ArgumentError for the
// status. now is for dates, where the answer has none of its own; the zero time is the present.
func ReadAnswer(status int, header map[string][]string, body []byte, now time.Time) (Reading, error) {
	var c C.llmrl_reading
	wall := int64(0)
	if !now.IsZero() {
		wall = max(0, now.UnixNano())
	}
	if err := answered("ReadAnswer", C.GO_READ, nil, 0, status, wall, header, body, &c, nil); err != nil {
		return Reading{}, err
	}
	reading := Reading{
		Class:          Class(c.answer_class),
		Meter:          Meter(c.meter),
		Wait:           known(c.wait_ns),
		Requested:      int64(known(c.requested)),
		Quotas:         make([]Quota, c.quota_count),
		Tripped:        -1,
		Retryable:      c.flags&C.LLMRL_RETRYABLE != 0,
		ShouldRetry:    c.flags&C.LLMRL_SHOULD_RETRY != 0,
		ShouldNotRetry: c.flags&C.LLMRL_SHOULD_NOT_RETRY != 0,
		Warning:        c.flags&C.LLMRL_WARNING != 0,
	}
	if c.tripped != C.LLMRL_NO_QUOTA {
		reading.Tripped = int(c.tripped)
	}
	for i := range reading.Quotas {
		q := &c.quotas[i]
		reading.Quotas[i] = Quota{
			Meter(q.meter), Pool(q.pool), int64(known(q.limit)), int64(known(q.remaining)), known(q.reset_ns), int64(known(q.utilization)),
			known(q.window_ns), known(q.period_ns), known(q.solved_low_ns), known(q.solved_high_ns), q.flags&C.LLMRL_MISLABELLED != 0,
		}
	}
	return reading, nil
}

func known(number C.uint64_t) time.Duration {
	if number == C.LLMRL_UNKNOWN {
		return Unknown
	}
	return duration(uint64(number))
}

// Feedback tells the limiter what the provider has answered to this request; the permit stays held. Call it for every answer, before
// Settle: limits that are told are learned, a refusal pauses the limit that has refused. What was refused has used no tokens, which go
// back here: Release the permit, wait as advised, and ask for another one. Arguments as of ReadAnswer.
func (p *Permit) Feedback(status int, header map[string][]string, body []byte) (Advice, error) {
	what, of := p.of.itself()
	var c C.llmrl_advice
	err := answered("Feedback", what, of, p.id, status, 0, header, body, nil, &c)
	runtime.KeepAlive(p.of)
	deliver()
	if err != nil {
		return Advice{}, err
	}
	return Advice{Class(c.answer_class), c.flags&C.LLMRL_ADVICE_RETRY != 0, duration(uint64(c.wait_ns))}, nil
}

func answered(op string, what C.int, of unsafe.Pointer, id uint64, status int, wall int64, header map[string][]string, body []byte,
	reading *C.llmrl_reading, advice *C.llmrl_advice) error {
	// What is 0 is refused by C; so is, this way, what does not fit.
	code := C.uint32_t(0)
	if status >= 100 && status <= 999 {
		code = C.uint32_t(status)
	}
	var text []byte
	var sizes []C.size_t
	// In an order that is always the same, as Go's is not.
	for _, name := range slices.Sorted(maps.Keys(header)) {
		for _, value := range header[name] {
			text = append(append(text, name...), value...)
			sizes = append(sizes, C.size_t(len(name)), C.size_t(len(value)))
		}
	}
	result := C.go_answered(what, of, C.llmrl_permit(id), code, C.uint64_t(wall), (*C.char)(unsafe.Pointer(unsafe.SliceData(text))),
		unsafe.SliceData(sizes), C.size_t(len(sizes)/2), (*C.char)(unsafe.Pointer(unsafe.SliceData(body))), C.size_t(len(body)), reading, advice)
	return failed(op, result, outside("status", status, 100, 999))
}
