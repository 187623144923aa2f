package llmrl

/*
#cgo noescape go_wakes_take
#cgo nocallback go_wakes_take
#include "bridge.h"
*/
import "C"

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// answer is what a queue says to a request, whatever its kind.
type answer struct {
	status C.llmrl_status
	place  uint32 // a router's node, a chain's level
	limit  uint32
	id     uint64
	wait   uint64
}

// ticketed is what a request may wait at.
type ticketed interface {
	poll(ticket uint64) answer
	// leave ends a ticket, whatever has become of it.
	leave(ticket uint64)
}

// queue names one of those to C, and knows whether time passes there by itself.
type queue struct {
	number C.uint64_t
	manual bool
}

var queues atomic.Uint64

func newQueue(clock *ManualClock) queue {
	return queue{C.uint64_t(queues.Add(1)), clock != nil}
}

// Who waits, in all queues: a channel each, with room for one wake.
var waiting = struct {
	sync.Mutex
	by map[C.go_wake]chan struct{}
}{by: map[C.go_wake]chan struct{}{}}

var pending = (*uint32)(unsafe.Pointer(C.go_wakes_pending()))

// deliver is called after every call that may have moved a queue.
func deliver() {
	if atomic.LoadUint32(pending) != 0 {
		deliverAll()
	}
}

func deliverAll() {
	var wakes [64]C.go_wake
	for {
		count := C.go_wakes_take(&wakes[0], C.size_t(len(wakes)))
		if count == 0 {
			return
		}
		waiting.Lock()
		for _, wake := range wakes[:count] {
			// Nobody: it has left, or it has not looked for the last time before it sleeps.
			if woken := waiting.by[wake]; woken != nil {
				select {
				case woken <- struct{}{}:
				default:
				}
			}
		}
		waiting.Unlock()
	}
}

// await blocks the goroutine, and no thread, until the ticket is no longer pending, or ctx is done; then it has left.
func (q queue) await(ctx context.Context, of ticketed, ticket uint64) (answer, error) {
	me := C.go_wake{q.number, C.llmrl_permit(ticket)}
	woken := make(chan struct{}, 1)
	waiting.Lock()
	waiting.by[me] = woken
	waiting.Unlock()
	defer func() {
		waiting.Lock()
		delete(waiting.by, me)
		waiting.Unlock()
	}()
	var timer *time.Timer
	for {
		// Also the first time: a wake may have come before it could be delivered.
		a := of.poll(ticket)
		if a.status == C.LLMRL_ERR_BUSY {
			runtime.Gosched()
			continue
		}
		if a.status != C.LLMRL_PENDING {
			return a, nil
		}
		var due <-chan time.Time
		if !q.manual && a.wait != C.LLMRL_FOREVER {
			if timer == nil {
				timer = time.NewTimer(duration(a.wait))
				defer timer.Stop()
			} else {
				timer.Reset(duration(a.wait))
			}
			due = timer.C
		}
		select {
		case <-woken:
		case <-due:
		case <-ctx.Done():
			of.leave(ticket)
			return answer{}, ctx.Err()
		}
	}
}

// patience is how long a request may wait, by its context.
func patience(ctx context.Context) (C.uint64_t, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	until, ok := ctx.Deadline()
	if !ok {
		return C.LLMRL_FOREVER, nil
	}
	return C.uint64_t(max(0, time.Until(until))), nil
}
