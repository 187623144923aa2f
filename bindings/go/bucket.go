package llmrl

/*
#cgo noescape llmrl_bucket_new
#cgo nocallback llmrl_bucket_new
#cgo noescape llmrl_bucket_try_take
#cgo nocallback llmrl_bucket_try_take
#cgo noescape llmrl_bucket_available
#cgo nocallback llmrl_bucket_available
#cgo nocallback llmrl_bucket_refund
#cgo nocallback llmrl_bucket_charge
#cgo nocallback llmrl_bucket_retune
#cgo nocallback llmrl_bucket_pause
#cgo noescape llmrl_in_flight_new
#cgo nocallback llmrl_in_flight_new
#cgo noescape llmrl_in_flight_count
#cgo nocallback llmrl_in_flight_count
#cgo nocallback llmrl_in_flight_try_enter
#cgo nocallback llmrl_in_flight_leave
#cgo nocallback llmrl_in_flight_resize
#include "bridge.h"
*/
import "C"

import (
	"fmt"
	"runtime"
	"time"
)

// A TokenBucket is one limit without a queue. What n counts, 1 to 2^40-1, is the caller's business. Safe for use by several
// goroutines.
type TokenBucket struct {
	c *C.llmrl_bucket
}

// NewTokenBucket makes a bucket for a limit of KindTokenBucket; clock is nil for the machine's. The error is an *ArgumentError.
func NewTokenBucket(clock *ManualClock, limit Limit) (*TokenBucket, error) {
	list, err := limitsFor("NewTokenBucket", []Limit{limit})
	if err != nil {
		return nil, err
	}
	b := new(TokenBucket)
	var message message
	status := C.llmrl_bucket_new(&list[0], clock.orNil(), &b.c, &message[0], C.size_t(len(message)))
	runtime.KeepAlive(clock)
	if status < 0 {
		return nil, made("NewTokenBucket", status, &message)
	}
	freeWith(b, func(c *C.llmrl_bucket) { C.llmrl_bucket_free(c) }, b.c)
	return b, nil
}

func (clock *ManualClock) orNil() *C.llmrl_clock {
	if clock == nil {
		return nil
	}
	return clock.c
}

// Allow takes one now; false if there is none.
func (b *TokenBucket) Allow() bool { return b.AllowN(1) }

// AllowN takes n now, or nothing; false also where n can never be had.
func (b *TokenBucket) AllowN(n int64) bool {
	status := C.llmrl_bucket_try_take(b.c, C.uint64_t(n), nil)
	runtime.KeepAlive(b)
	return status == C.LLMRL_OK
}

// TryTake takes n now, or nothing: then the same take succeeds after wait, absent others. The errors are ErrNever and *ArgumentError.
func (b *TokenBucket) TryTake(n int64) (ok bool, wait time.Duration, err error) {
	var ns C.uint64_t
	status := C.llmrl_bucket_try_take(b.c, C.uint64_t(n), &ns)
	runtime.KeepAlive(b)
	return status == C.LLMRL_OK, duration(uint64(ns)), failed("TryTake", status, wrongN(n))
}

// Refund gives back n of what was taken.
func (b *TokenBucket) Refund(n int64) error {
	status := C.llmrl_bucket_refund(b.c, C.uint64_t(n))
	runtime.KeepAlive(b)
	return failed("Refund", status, wrongN(n))
}

// Charge counts n that were used without asking. The bucket may go below zero.
func (b *TokenBucket) Charge(n int64) error {
	status := C.llmrl_bucket_charge(b.c, C.uint64_t(n))
	runtime.KeepAlive(b)
	return failed("Charge", status, wrongN(n))
}

// Retune sets another rate and burst, with the ranges and defaults of Limit. What is in the bucket stays, as far as burst allows.
func (b *TokenBucket) Retune(amount int64, period time.Duration, burst int64) error {
	status := C.llmrl_bucket_retune(b.c, C.uint64_t(amount), C.uint64_t(period), C.uint64_t(burst))
	runtime.KeepAlive(b)
	return failed("Retune", status, fmt.Sprintf("amount = %d, period = %v, burst = %d: amount is 1 to 2^40-1, period up to 3660 days and not so "+
		"short that more than 10^9 a second are produced, burst 0 to 2^40-1", amount, period, burst))
}

// Pause admits nothing for so long from now, whatever an earlier pause said; 0 resumes. The bucket fills meanwhile.
func (b *TokenBucket) Pause(d time.Duration) error {
	if d < 0 {
		return &ArgumentError{"Pause", outside("d", d, time.Duration(0), Forever)}
	}
	status := C.llmrl_bucket_pause(b.c, C.uint64_t(d))
	runtime.KeepAlive(b)
	return failed("Pause", status, "")
}

// Available is what could be taken now; negative is debt.
func (b *TokenBucket) Available() int64 {
	var out C.int64_t
	C.llmrl_bucket_available(b.c, &out)
	runtime.KeepAlive(b)
	return int64(out)
}

func wrongN(n int64) string { return outside("n", n, 1, int64(most)) }

// A Gate lets so many inside at the same time, without a queue. Safe for use by several goroutines.
type Gate struct {
	c *C.llmrl_in_flight
}

// NewGate makes a gate that lets slots inside, 1 to 524287. The error is an *ArgumentError.
func NewGate(slots int64) (*Gate, error) {
	g := new(Gate)
	if status := C.llmrl_in_flight_new(C.uint64_t(slots), &g.c); status < 0 {
		return nil, failed("NewGate", status, wrongSlots(slots))
	}
	freeWith(g, func(c *C.llmrl_in_flight) { C.llmrl_in_flight_free(c) }, g.c)
	return g, nil
}

// TryEnter goes in, if there is room.
func (g *Gate) TryEnter() bool {
	status := C.llmrl_in_flight_try_enter(g.c)
	runtime.KeepAlive(g)
	return status == C.LLMRL_OK
}

// Leave goes out. ErrStale if nobody is inside: somebody has left twice.
func (g *Gate) Leave() error {
	status := C.llmrl_in_flight_leave(g.c)
	runtime.KeepAlive(g)
	return failed("Leave", status, "")
}

// Resize sets another limit. Nobody is thrown out.
func (g *Gate) Resize(slots int64) error {
	status := C.llmrl_in_flight_resize(g.c, C.uint64_t(slots))
	runtime.KeepAlive(g)
	return failed("Resize", status, wrongSlots(slots))
}

// Count is how many are inside.
func (g *Gate) Count() int64 {
	var count C.uint64_t
	C.llmrl_in_flight_count(g.c, &count)
	runtime.KeepAlive(g)
	return int64(count)
}

func wrongSlots(slots int64) string { return outside("slots", slots, 1, 1<<19-1) }
