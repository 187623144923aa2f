package llmrl

/*
#cgo noescape go_chain_new
#cgo nocallback go_chain_new
#cgo noescape llmrl_chain_try_acquire
#cgo nocallback llmrl_chain_try_acquire
#cgo noescape llmrl_chain_enqueue
#cgo nocallback llmrl_chain_enqueue
#cgo noescape llmrl_chain_poll
#cgo nocallback llmrl_chain_poll
#cgo noescape llmrl_chain_adjust
#cgo nocallback llmrl_chain_adjust
#cgo noescape llmrl_chain_settle
#cgo nocallback llmrl_chain_settle
#cgo nocallback llmrl_chain_release
#cgo nocallback llmrl_chain_cancel
#include "bridge.h"
*/
import "C"

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"
	"unsafe"
)

// A Chain is limiters one above the other, such as a user's, a team's, and that of the provider's key: a request needs all of them, and gets
// all or none. Whoever waits stands in one queue at a time, from the first to the last, and keeps what it has got below. Safe for use by
// several goroutines. Its permits are as a Limiter's; Feedback tells the last level, which is the provider's.
type Chain struct {
	c      *C.llmrl_chain
	levels []*Limiter
	queue  queue
}

// NewChain makes a chain of 1 to 8 limiters, the most private first; on the same clock. It reserves some addresses: make one for as long as
// a user is active, not for each request. maxPermits is how many tickets and permits there may be, up to 1048576; 0 is 4096. The error
// is an *ArgumentError.
func NewChain(maxPermits int, levels ...*Limiter) (*Chain, error) {
	const op = "NewChain"
	if maxPermits < 0 || maxPermits > 1<<20 {
		return nil, &ArgumentError{op, outside("maxPermits", maxPermits, 0, 1<<20)}
	}
	list := make([]*C.llmrl_limiter, len(levels))
	for i, level := range levels {
		if level == nil {
			return nil, &ArgumentError{op, fmt.Sprintf("levels[%d] = nil is no Limiter", i)}
		}
		list[i] = level.c
	}
	c := &Chain{levels: append([]*Limiter(nil), levels...), queue: newQueue(nil)}
	for _, level := range levels {
		c.queue.manual = c.queue.manual || level.queue.manual
	}
	var message message
	status := C.go_chain_new(unsafe.SliceData(list), C.size_t(len(list)), C.uint32_t(maxPermits), c.queue.number, &c.c, &message[0],
		C.size_t(len(message)))
	runtime.KeepAlive(levels)
	if status < 0 {
		return nil, made(op, status, &message)
	}
	freeWith(c, func(c *C.llmrl_chain) { C.llmrl_chain_free(c) }, c.c)
	return c, nil
}

// TryAcquire asks now, at every level or nowhere. If that is not possible, permit is nil, and wait that of the whole chain. Errors as of a
// Limiter's; Error.Level says whose.
func (c *Chain) TryAcquire(cost Cost) (permit *Permit, wait time.Duration, err error) {
	var out C.llmrl_chained
	asked := cost.c()
	a := c.said(C.llmrl_chain_try_acquire(c.c, &asked, &out, C.size_t(unsafe.Sizeof(out))), &out)
	if a.status == C.LLMRL_REFUSED {
		return nil, duration(a.wait), nil
	}
	if err := c.failed("TryAcquire", a, cost); err != nil {
		return nil, 0, err
	}
	return &Permit{c, a.id}, 0, nil
}

// Acquire waits for its turn at one level after the other, as a Limiter's does. What it has got goes back when it fails.
func (c *Chain) Acquire(ctx context.Context, cost Cost) (*Permit, error) {
	patience, err := patience(ctx)
	if err != nil {
		return nil, interrupted("Acquire", err)
	}
	var out C.llmrl_chained
	asked := cost.c()
	a := c.said(C.llmrl_chain_enqueue(c.c, &asked, patience, &out, C.size_t(unsafe.Sizeof(out))), &out)
	if a.status == C.LLMRL_PENDING {
		if a, err = c.queue.await(ctx, c, a.id); err != nil {
			return nil, interrupted("Acquire", err)
		}
	}
	if err := c.failed("Acquire", a, cost); err != nil {
		return nil, err
	}
	return &Permit{c, a.id}, nil
}

func (c *Chain) said(status C.llmrl_status, out *C.llmrl_chained) answer {
	runtime.KeepAlive(c)
	deliver()
	return answer{status, uint32(out.level), uint32(out.limit), uint64(out.permit), uint64(out.wait_ns)}
}

func (c *Chain) failed(op string, a answer, cost Cost) error {
	err := refused(op, a.status, cost)
	var known *Error
	if errors.As(err, &known) && int(a.place) < len(c.levels) {
		known.Level = int(a.place)
	}
	return err
}

func (c *Chain) poll(ticket uint64) answer {
	var out C.llmrl_chained
	return c.said(C.llmrl_chain_poll(c.c, C.llmrl_permit(ticket), &out, C.size_t(unsafe.Sizeof(out))), &out)
}

func (c *Chain) leave(ticket uint64) {
	for c.cancel(ticket) == C.LLMRL_ERR_BUSY {
		runtime.Gosched()
	}
	deliver()
}

func (c *Chain) adjust(id uint64, cost Cost) C.llmrl_status {
	used := cost.c()
	defer runtime.KeepAlive(c)
	return C.llmrl_chain_adjust(c.c, C.llmrl_permit(id), &used)
}

func (c *Chain) settle(id uint64, cost Cost) C.llmrl_status {
	used := cost.c()
	defer runtime.KeepAlive(c)
	return C.llmrl_chain_settle(c.c, C.llmrl_permit(id), &used)
}

func (c *Chain) release(id uint64) C.llmrl_status {
	defer runtime.KeepAlive(c)
	return C.llmrl_chain_release(c.c, C.llmrl_permit(id))
}

func (c *Chain) cancel(id uint64) C.llmrl_status {
	defer runtime.KeepAlive(c)
	return C.llmrl_chain_cancel(c.c, C.llmrl_permit(id))
}

func (c *Chain) itself() (C.int, unsafe.Pointer) { return C.GO_CHAIN, unsafe.Pointer(c.c) }
