package llmrl

/*
#cgo noescape go_fair_new
#cgo nocallback go_fair_new
#cgo noescape go_fair_enqueue
#cgo nocallback go_fair_enqueue
#cgo noescape llmrl_fair_try_acquire
#cgo nocallback llmrl_fair_try_acquire
#cgo noescape llmrl_fair_poll
#cgo nocallback llmrl_fair_poll
#cgo noescape llmrl_fair_adjust
#cgo nocallback llmrl_fair_adjust
#cgo noescape llmrl_fair_settle
#cgo nocallback llmrl_fair_settle
#cgo noescape llmrl_fair_get_stats
#cgo nocallback llmrl_fair_get_stats
#cgo nocallback llmrl_fair_release
#cgo nocallback llmrl_fair_cancel
#include "bridge.h"
*/
import "C"

import (
	"context"
	"fmt"
	"runtime"
	"time"
	"unsafe"
)

// A FairQueue shares one limiter among keys (a user, a tenant, a job) by weight: while keys wait, what they get in tokens is as their weights,
// however much they ask for. Within a key who comes first is served first. Make one queue for a limiter. Safe for use by several
// goroutines.
type FairQueue struct {
	c       *C.llmrl_fair
	limiter *Limiter
	queue   queue
}

// FairOptions are what can be chosen of a FairQueue; zeros, like nil in their place, mean the defaults.
type FairOptions struct {
	// So many requests of an eighth or less may pass one that waits for its tokens. 0 is none.
	Passes int
	// How many may wait, and how many permits there may be, up to 1048576 each; 0 is 65536.
	MaxWaiters, MaxPermits int
	// After so long a batch request counts as one of the others; 0 is a minute, Forever never.
	Aging time.Duration
}

// Share says on whose account a request goes.
type Share struct {
	Key    string // 1 to 1024 bytes
	Weight int    // how much it gets beside others, 1 to 1000000; 0 is 1
	Batch  bool   // after all others, until it has waited for FairOptions.Aging
}

// FairStats are how a FairQueue stands.
type FairStats struct {
	Waiting int64
	Batch   int64 // of those
	Keys    int64 // of which somebody waits; one that has both classes counts twice
	Aged    int64 // batch requests that have become as the others
	Passed  int64 // requests that have passed a larger one
}

// NewFairQueue makes one in front of a limiter. The error is an *ArgumentError.
func NewFairQueue(limiter *Limiter, options *FairOptions) (*FairQueue, error) {
	const op = "NewFairQueue"
	if limiter == nil {
		return nil, &ArgumentError{op, "limiter = nil is no Limiter"}
	}
	var o FairOptions
	if options != nil {
		o = *options
	}
	for _, field := range []struct {
		name  string
		value int
	}{{"Passes", o.Passes}, {"MaxWaiters", o.MaxWaiters}, {"MaxPermits", o.MaxPermits}} {
		if field.value < 0 || field.value > 1<<20 {
			return nil, &ArgumentError{op, outside("FairOptions."+field.name, field.value, 0, 1<<20)}
		}
	}
	if o.Aging < 0 {
		return nil, &ArgumentError{op, outside("FairOptions.Aging", o.Aging, time.Duration(0), Forever)}
	}
	chosen := C.llmrl_fair_options{
		passes: C.uint32_t(o.Passes), max_waiters: C.uint32_t(o.MaxWaiters), max_permits: C.uint32_t(o.MaxPermits), aging_ns: C.uint64_t(o.Aging),
	}
	if o.Aging == Forever {
		chosen.aging_ns = C.LLMRL_FOREVER
	}
	f := &FairQueue{limiter: limiter, queue: newQueue(limiter.clock)}
	var message message
	status := C.go_fair_new(limiter.c, &chosen, f.queue.number, &f.c, &message[0], C.size_t(len(message)))
	runtime.KeepAlive(limiter)
	if status < 0 {
		return nil, made(op, status, &message)
	}
	freeWith(f, func(c *C.llmrl_fair) { C.llmrl_fair_free(c) }, f.c)
	return f, nil
}

// TryAcquire asks now, as a Limiter's does; never while others wait.
func (f *FairQueue) TryAcquire(cost Cost) (permit *Permit, wait time.Duration, err error) {
	c := cost.c()
	var id C.llmrl_permit
	var ns C.uint64_t
	status := C.llmrl_fair_try_acquire(f.c, &c, &id, &ns)
	runtime.KeepAlive(f)
	deliver()
	if status == C.LLMRL_REFUSED {
		return nil, duration(uint64(ns)), nil
	}
	if err := refused("TryAcquire", status, cost); err != nil {
		return nil, 0, err
	}
	return &Permit{f, uint64(id)}, 0, nil
}

// Acquire waits for its turn, as a Limiter's does, by shares.
func (f *FairQueue) Acquire(ctx context.Context, cost Cost, share Share) (*Permit, error) {
	const op = "Acquire"
	patience, err := patience(ctx)
	if err != nil {
		return nil, interrupted(op, err)
	}
	if share.Weight < 0 || share.Weight > C.LLMRL_MAX_SHARE_WEIGHT {
		return nil, &ArgumentError{op, outside("Share.Weight", share.Weight, 0, C.LLMRL_MAX_SHARE_WEIGHT)}
	}
	flags := C.uint32_t(0)
	if share.Batch {
		flags = C.LLMRL_BATCH
	}
	c := cost.c()
	var id C.llmrl_permit
	var ns C.uint64_t
	status := C.go_fair_enqueue(f.c, &c, chars(share.Key), C.size_t(len(share.Key)), C.uint32_t(share.Weight), flags, patience, &id, &ns)
	runtime.KeepAlive(f)
	deliver()
	if status == C.LLMRL_PENDING {
		a, err := f.queue.await(ctx, f, uint64(id))
		if err != nil {
			return nil, interrupted(op, err)
		}
		status = a.status
	}
	if status == C.LLMRL_ERR_RANGE {
		return nil, failed(op, status, fmt.Sprintf("Share.Key: %s", wrongKey(share.Key, 1024)))
	}
	if err := refused(op, status, cost); err != nil {
		return nil, err
	}
	return &Permit{f, uint64(id)}, nil
}

// Stats reads the queue's counts.
func (f *FairQueue) Stats() FairStats {
	var c C.llmrl_fair_stats
	C.llmrl_fair_get_stats(f.c, &c, C.size_t(unsafe.Sizeof(c)))
	runtime.KeepAlive(f)
	return FairStats{int64(c.waiting), int64(c.batch), int64(c.keys), int64(c.aged), int64(c.passed)}
}

func (f *FairQueue) poll(ticket uint64) answer {
	var ns C.uint64_t
	status := C.llmrl_fair_poll(f.c, C.llmrl_permit(ticket), &ns)
	runtime.KeepAlive(f)
	deliver()
	return answer{status: status, id: ticket, wait: uint64(ns)}
}

func (f *FairQueue) leave(ticket uint64) {
	for f.cancel(ticket) == C.LLMRL_ERR_BUSY {
		runtime.Gosched()
	}
	deliver()
}

func (f *FairQueue) adjust(id uint64, cost Cost) C.llmrl_status {
	c := cost.c()
	defer runtime.KeepAlive(f)
	return C.llmrl_fair_adjust(f.c, C.llmrl_permit(id), &c)
}

func (f *FairQueue) settle(id uint64, cost Cost) C.llmrl_status {
	c := cost.c()
	defer runtime.KeepAlive(f)
	return C.llmrl_fair_settle(f.c, C.llmrl_permit(id), &c)
}

func (f *FairQueue) release(id uint64) C.llmrl_status {
	defer runtime.KeepAlive(f)
	return C.llmrl_fair_release(f.c, C.llmrl_permit(id))
}

func (f *FairQueue) cancel(id uint64) C.llmrl_status {
	defer runtime.KeepAlive(f)
	return C.llmrl_fair_cancel(f.c, C.llmrl_permit(id))
}

func (f *FairQueue) itself() (C.int, unsafe.Pointer) { return C.GO_FAIR, unsafe.Pointer(f.c) }
