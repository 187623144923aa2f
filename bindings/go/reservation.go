package llmrl

/*
#include "bridge.h"
*/
import "C"

import (
	"context"
	"runtime"
	"time"
)

// A Reservation is a place in the queue. That of rate.Limiter is a time that is fixed in advance; here a permit that is settled for
// less brings it forward, and a pause puts it off. So it is asked again (Poll), or waited for (Wait), and it has got nothing
// before it says so.
type Reservation struct {
	of   *Limiter
	id   uint64
	cost Cost
}

// Reserve asks, and joins the queue if it is not yet the request's turn; for timeout at most, Forever without end. Never blocks.
// Errors as of Acquire. End it with Cancel if nobody waits for it any more: in its turn it is granted all the same.
func (l *Limiter) Reserve(cost Cost, timeout time.Duration) (*Reservation, error) {
	if timeout < 0 {
		return nil, &ArgumentError{"Reserve", outside("timeout", timeout, time.Duration(0), Forever)}
	}
	patience := C.uint64_t(timeout)
	if timeout == Forever {
		patience = C.LLMRL_FOREVER
	}
	a := l.enqueue(cost, patience)
	if err := l.failed("Reserve", a.status, cost); err != nil {
		return nil, err
	}
	return &Reservation{l, a.id, cost}, nil
}

// Poll looks how it stands. It waits as long as permit is nil: time alone brings its turn after wait, if nothing changes; Forever
// means that it takes somebody's release. The error has ended it: ErrDeadline, ErrClosed, ErrNever; ErrStale if it had ended
// before.
func (r *Reservation) Poll() (permit *Permit, wait time.Duration, err error) {
	a := r.of.poll(r.id)
	for ; a.status == C.LLMRL_ERR_BUSY; a = r.of.poll(r.id) {
		runtime.Gosched()
	}
	if a.status == C.LLMRL_PENDING {
		return nil, duration(a.wait), nil
	}
	if err := r.of.failed("Poll", a.status, r.cost); err != nil {
		return nil, 0, err
	}
	return &Permit{r.of, r.id}, 0, nil
}

// Wait blocks the goroutine until its turn has come, or ctx is done: then it has left the queue. Errors as of Acquire.
func (r *Reservation) Wait(ctx context.Context) (*Permit, error) {
	a, err := r.of.queue.await(ctx, r.of, r.id)
	if err != nil {
		return nil, interrupted("Wait", err)
	}
	if err := r.of.failed("Wait", a.status, r.cost); err != nil {
		return nil, err
	}
	return &Permit{r.of, r.id}, nil
}

// Cancel leaves the queue, whatever has become of the reservation, and gives everything back. ErrStale if it has ended.
func (r *Reservation) Cancel() error {
	status := r.of.cancel(r.id)
	for ; status == C.LLMRL_ERR_BUSY; status = r.of.cancel(r.id) {
		runtime.Gosched()
	}
	deliver()
	return failed("Cancel", status, "")
}
