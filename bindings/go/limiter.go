package llmrl

/*
#cgo noescape go_limiter_new
#cgo nocallback go_limiter_new
#cgo noescape llmrl_try_acquire
#cgo nocallback llmrl_try_acquire
#cgo noescape llmrl_enqueue
#cgo nocallback llmrl_enqueue
#cgo noescape llmrl_poll
#cgo nocallback llmrl_poll
#cgo noescape llmrl_outlook
#cgo nocallback llmrl_outlook
#cgo noescape llmrl_limiter_charge
#cgo nocallback llmrl_limiter_charge
#cgo nocallback llmrl_cancel
#cgo nocallback llmrl_limiter_retune
#cgo nocallback llmrl_limiter_pause
#cgo nocallback llmrl_limiter_align
#cgo nocallback llmrl_limiter_close
#include "bridge.h"
*/
import "C"

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"slices"
	"time"
	"unsafe"
)

// A Limiter lets requests through as fast as all of its limits allow together, those who must wait in the order in which
// they came. Safe for use by several goroutines. Its memory, which Go's collector does not count, goes when it is not
// reachable any more; Close only ends it.
//
// Admitting and settling are a call into C, some tens of nanoseconds, without a lock; no call blocks a thread.
type Limiter struct {
	c     *C.llmrl_limiter
	count int // of limits
	// Whether one of them is in flight, so that nothing is admitted without a permit.
	holds bool
	clock *ManualClock
	queue queue
	// A map's limiter knows itself to be one of many; see LimiterMap.
	shared bool
}

// Options are what can be chosen of a Limiter; zeros, like nil in their place, mean the defaults.
type Options struct {
	// Feedback may raise limits above what they are here; what is configured is then only a guess.
	RaiseLimits bool
	// How many may wait at the same time, up to 1048576; 0 is 4096 (LimiterMap: 256).
	MaxWaiters int
	// How many permits may be held besides, up to 1048576; 0 is 65536 (LimiterMap: 256). Memory is reserved for all, and becomes
	// resident when it is first used.
	MaxPermits int
	// nil is the machine's.
	Clock *ManualClock
	// What Save has returned, to go on from there. Not for a LimiterMap.
	Saved []byte
}

func (options *Options) c(op string) (c C.llmrl_options, chosen Options, err error) {
	if options != nil {
		chosen = *options
	}
	for _, field := range []struct {
		name  string
		value int
	}{{"MaxWaiters", chosen.MaxWaiters}, {"MaxPermits", chosen.MaxPermits}} {
		if field.value < 0 || field.value > 1<<20 {
			return c, chosen, &ArgumentError{op, outside("Options."+field.name, field.value, 0, 1<<20)}
		}
	}
	c.max_waiters = C.uint32_t(chosen.MaxWaiters)
	c.max_permits = C.uint32_t(chosen.MaxPermits)
	if chosen.RaiseLimits {
		c.flags = C.LLMRL_RAISE_LIMITS
	}
	if chosen.Clock != nil {
		c.clock = chosen.Clock.c
	}
	return c, chosen, nil
}

// New makes a Limiter of 1 to 8 limits, which are referred to by their index from then on. The error is an *ArgumentError.
//
//	limiter, err := llmrl.New(nil, llmrl.Requests(500), llmrl.Tokens(200_000), llmrl.InFlight(50))
func New(options *Options, limits ...Limit) (*Limiter, error) {
	chosen, o, err := options.c("New")
	if err != nil {
		return nil, err
	}
	list, err := limitsFor("New", limits)
	if err != nil {
		return nil, err
	}
	l := &Limiter{count: len(limits), holds: holds(limits), clock: o.Clock, queue: newQueue(o.Clock)}
	var message message
	status := C.go_limiter_new(unsafe.SliceData(list), C.size_t(len(list)), &chosen, l.queue.number,
		unsafe.Pointer(unsafe.SliceData(o.Saved)), C.size_t(len(o.Saved)), &l.c, &message[0], C.size_t(len(message)))
	runtime.KeepAlive(o.Clock)
	if status < 0 {
		return nil, made("New", status, &message)
	}
	freeWith(l, func(c *C.llmrl_limiter) { C.llmrl_limiter_free(c) }, l.c)
	return l, nil
}

// made is the error of something that could not be made, with what C says of it.
func made(op string, status C.llmrl_status, message *message) error {
	text := message.text()
	if text == "" || status == C.LLMRL_ERR_MEMORY {
		return failed(op, status, C.GoString(C.llmrl_strerror(status)))
	}
	return &ArgumentError{op, text}
}

// Allow asks for one request now, as rate.Limiter has it. Nothing comes back of it, so a limiter that counts what is in flight
// answers false always.
func (l *Limiter) Allow() bool { return l.AllowN(1) }

// AllowN asks for n requests now, 1 to 2^40-1; false for other numbers, and for those that can never be had.
func (l *Limiter) AllowN(n int) bool {
	cost := C.llmrl_cost{requests: C.uint64_t(n)}
	status := C.llmrl_try_acquire(l.c, &cost, nil, nil)
	runtime.KeepAlive(l)
	deliver()
	return status == C.LLMRL_OK
}

// Wait blocks until one request is admitted, as rate.Limiter has it, in the order in which they come. It fails at once when the
// deadline of ctx is known to be too early: see Acquire.
func (l *Limiter) Wait(ctx context.Context) error { return l.WaitN(ctx, 1) }

// WaitN is Wait for n requests at once, 1 to 2^40-1.
func (l *Limiter) WaitN(ctx context.Context, n int) error {
	if l.holds {
		return &Error{Op: "WaitN", Level: -1, Err: ErrNeedsPermit}
	}
	if n < 1 || n > most {
		return &ArgumentError{"WaitN", outside("n", n, 1, int64(most))}
	}
	a, err := l.acquire(ctx, "WaitN", Cost{Requests: int64(n)})
	if err == nil {
		l.release(a.id)
		deliver()
	}
	return err
}

func holds(limits []Limit) bool {
	return slices.ContainsFunc(limits, func(limit Limit) bool { return limit.Kind == KindInFlight })
}

// TryAcquire asks now. If that is not possible, permit is nil, and the same request is admitted after wait, absent others; Forever
// means that it takes somebody's release. Whoever waits already is not overtaken.
//
// The errors are ErrNever, ErrFull, ErrClosed, and *ArgumentError.
func (l *Limiter) TryAcquire(cost Cost) (permit *Permit, wait time.Duration, err error) {
	id, wait, err := l.try(cost)
	if id == 0 {
		return nil, wait, err
	}
	return &Permit{l, id}, 0, nil
}

func (l *Limiter) try(cost Cost) (uint64, time.Duration, error) {
	c := cost.c()
	var id C.llmrl_permit
	var wait C.uint64_t
	status := C.llmrl_try_acquire(l.c, &c, &id, &wait)
	runtime.KeepAlive(l)
	deliver()
	switch {
	case status == C.LLMRL_OK:
		return uint64(id), 0, nil
	case status == C.LLMRL_REFUSED:
		return 0, duration(uint64(wait)), nil
	}
	return 0, 0, l.failed("TryAcquire", status, cost)
}

// Acquire waits for its turn. Only the goroutine blocks. What ctx ends leaves the queue, and what was granted meanwhile goes back.
//
// The errors are ErrNever; ErrDeadline, at once if the turn is known to come after ctx's deadline; ctx's own; ErrFull; ErrClosed,
// also of a limiter that is closed meanwhile; and *ArgumentError. With a manual clock the time until the deadline passes on both.
//
//	permit, err := limiter.Acquire(ctx, llmrl.Cost{Input: 1200, Output: 400})
//	if err != nil {
//		return err
//	}
//	defer permit.Release() // does nothing after Settle
func (l *Limiter) Acquire(ctx context.Context, cost Cost) (*Permit, error) {
	a, err := l.acquire(ctx, "Acquire", cost)
	if err != nil {
		return nil, err
	}
	return &Permit{l, a.id}, nil
}

func (l *Limiter) acquire(ctx context.Context, op string, cost Cost) (answer, error) {
	patience, err := patience(ctx)
	if err != nil {
		return answer{}, interrupted(op, err)
	}
	a := l.enqueue(cost, patience)
	if a.status == C.LLMRL_PENDING {
		if a, err = l.queue.await(ctx, l, a.id); err != nil {
			return a, interrupted(op, err)
		}
	}
	return a, l.failed(op, a.status, cost)
}

func (l *Limiter) enqueue(cost Cost, patience C.uint64_t) answer {
	c := cost.c()
	var id C.llmrl_permit
	var wait C.uint64_t
	status := C.llmrl_enqueue(l.c, &c, patience, &id, &wait)
	runtime.KeepAlive(l)
	deliver()
	return answer{status: status, id: uint64(id), wait: uint64(wait)}
}

func (l *Limiter) poll(ticket uint64) answer {
	var wait C.uint64_t
	status := C.llmrl_poll(l.c, C.llmrl_permit(ticket), &wait)
	runtime.KeepAlive(l)
	deliver()
	return answer{status: status, id: ticket, wait: uint64(wait)}
}

func (l *Limiter) leave(ticket uint64) {
	for l.cancel(ticket) == C.LLMRL_ERR_BUSY {
		runtime.Gosched()
	}
	deliver()
}

// Outlook says how long a request would wait if it came now, and for which limit most: -1 if it would not wait, or for others in
// the queue. It takes nothing and promises nothing. Errors as of TryAcquire.
func (l *Limiter) Outlook(cost Cost) (wait time.Duration, limit int, err error) {
	c := cost.c()
	var ns C.uint64_t
	var index C.uint32_t
	status := C.llmrl_outlook(l.c, &c, &ns, &index)
	runtime.KeepAlive(l)
	if status < 0 {
		return 0, -1, l.failed("Outlook", status, cost)
	}
	limit = int(index)
	if limit == C.LLMRL_MAX_LIMITS {
		limit = -1
	}
	return duration(uint64(ns)), limit, nil
}

// Charge counts use that did not pass here. Token buckets may go below zero. Requests may be 0. The error is an *ArgumentError.
func (l *Limiter) Charge(cost Cost) error {
	c := cost.exactly()
	status := C.llmrl_limiter_charge(l.c, &c)
	runtime.KeepAlive(l)
	deliver()
	return refused("Charge", status, cost)
}

// Retune changes the limit of that index, with the ranges and defaults of Limit: amount (in flight: how many permits), period and
// burst, 0 where the kind has none. What was used stays used, and who waits is re-timed. The error is an *ArgumentError.
func (l *Limiter) Retune(index int, amount int64, period time.Duration, burst int64) error {
	status := C.llmrl_limiter_retune(l.c, l.index(index), C.uint64_t(amount), C.uint64_t(period), C.uint64_t(burst))
	runtime.KeepAlive(l)
	deliver()
	return l.notIndex("Retune", status, index, fmt.Sprintf("amount = %d, period = %v, burst = %d: amount is 1 to 2^40-1 (in flight: 1 to "+
		"2^19-1), period up to 3660 days and not so short that more than 10^9 a second are produced, burst 0 to 2^40-1", amount, period, burst))
}

// Pause admits nothing that needs the limit of that index for so long from now, whatever an earlier pause said; 0 resumes. The
// error is an *ArgumentError, also for a limit in flight.
func (l *Limiter) Pause(index int, d time.Duration) error {
	if d < 0 {
		return &ArgumentError{"Pause", outside("d", d, time.Duration(0), Forever)}
	}
	status := C.llmrl_limiter_pause(l.c, l.index(index), C.uint64_t(d))
	runtime.KeepAlive(l)
	deliver()
	return l.notIndex("Pause", status, index, "")
}

// Align says that the fixed window of that index ends so long from now, 1 ns to its period; what it has used stays used
// until then. The error is an *ArgumentError.
func (l *Limiter) Align(index int, resetsIn time.Duration) error {
	status := C.llmrl_limiter_align(l.c, l.index(index), C.uint64_t(resetsIn))
	runtime.KeepAlive(l)
	deliver()
	return l.notIndex("Align", status, index, outside("resetsIn", resetsIn, time.Nanosecond, "the window's period"))
}

// Close ends the limiter: everyone who waits, and everyone who comes later, gets ErrClosed. Permits can still be settled. Any number
// of times. A limiter of a LimiterMap is closed for all who use it.
func (l *Limiter) Close() {
	C.llmrl_limiter_close(l.c)
	runtime.KeepAlive(l)
	deliver()
}

func (l *Limiter) index(index int) C.uint32_t {
	if index < 0 || index > math.MaxInt32 {
		return math.MaxUint32 // which C refuses
	}
	return C.uint32_t(index)
}

func (l *Limiter) notIndex(op string, status C.llmrl_status, index int, otherwise string) error {
	if status == C.LLMRL_ERR_INDEX {
		return &ArgumentError{op, fmt.Sprintf("index = %d: there is no such limit, or it is not of the kind that this is for; "+
			"there are 0 to %d", index, l.count-1)}
	}
	return failed(op, status, otherwise)
}

// failed says more than refused does: which limit is too small.
func (l *Limiter) failed(op string, status C.llmrl_status, cost Cost) error {
	err := refused(op, status, cost)
	if status == C.LLMRL_ERR_NEVER {
		err.(*Error).detail = l.tooSmall(cost)
	}
	return err
}

func (l *Limiter) tooSmall(cost Cost) string {
	for index, limit := range l.Limits() {
		asked := int64(0)
		switch limit.Meter {
		case MeterRequests:
			asked = max(1, cost.Requests)
		case MeterTokens:
			asked = cost.Input + cost.Output
		case MeterInputTokens:
			asked = cost.Input
		case MeterOutputTokens:
			asked = cost.Output
		}
		if asked > limit.Burst && limit.Kind != KindPacing {
			return fmt.Sprintf("limit %d holds %d, and the request asks for %d", index, limit.Burst, asked)
		}
	}
	return ""
}
