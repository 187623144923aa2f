package llmrl

/*
#cgo noescape llmrl_adjust
#cgo nocallback llmrl_adjust
#cgo noescape llmrl_settle
#cgo nocallback llmrl_settle
#cgo nocallback llmrl_release
#include "bridge.h"
*/
import "C"

import (
	"runtime"
	"unsafe"
)

// A Permit is a request that was admitted. It ends once, by Settle, Release or Cancel; then each of these is answered
// with ErrStale and does nothing, so that a deferred Release is always right. One that is never ended keeps its estimate, and
// its place in flight. Safe for use by several goroutines.
type Permit struct {
	of holder
	id uint64
}

// holder is what a permit is of: a Limiter, Chain or FairQueue.
type holder interface {
	adjust(id uint64, cost Cost) C.llmrl_status
	settle(id uint64, cost Cost) C.llmrl_status
	release(id uint64) C.llmrl_status
	cancel(id uint64) C.llmrl_status
	// What go_answered calls it, and the object itself.
	itself() (C.int, unsafe.Pointer)
}

// Adjust replaces the estimate, while an answer streams in or by a better guess; the permit stays held. What it costs less is
// given back at once, what it costs more is charged, below zero if need be.
func (p *Permit) Adjust(soFar Cost) error {
	status := p.of.adjust(p.id, soFar)
	deliver()
	return refused("Adjust", status, soFar)
}

// Settle ends the permit: what was really used replaces the estimate. After an *ArgumentError it is still held.
func (p *Permit) Settle(used Cost) error {
	status := p.of.settle(p.id, used)
	deliver()
	return refused("Settle", status, used)
}

// Release ends the permit: the estimate stands. It was sent, and nobody knows what it used.
func (p *Permit) Release() error {
	status := p.of.release(p.id)
	deliver()
	return failed("Release", status, "")
}

// Cancel ends the permit and gives everything back. It was never sent.
func (p *Permit) Cancel() error {
	status := p.of.cancel(p.id)
	deliver()
	return failed("Cancel", status, "")
}

func (l *Limiter) adjust(id uint64, cost Cost) C.llmrl_status {
	c := cost.c()
	defer runtime.KeepAlive(l)
	return C.llmrl_adjust(l.c, C.llmrl_permit(id), &c)
}

func (l *Limiter) settle(id uint64, cost Cost) C.llmrl_status {
	c := cost.c()
	defer runtime.KeepAlive(l)
	return C.llmrl_settle(l.c, C.llmrl_permit(id), &c)
}

func (l *Limiter) release(id uint64) C.llmrl_status {
	defer runtime.KeepAlive(l)
	return C.llmrl_release(l.c, C.llmrl_permit(id))
}

func (l *Limiter) cancel(id uint64) C.llmrl_status {
	defer runtime.KeepAlive(l)
	return C.llmrl_cancel(l.c, C.llmrl_permit(id))
}

func (l *Limiter) itself() (C.int, unsafe.Pointer) { return C.GO_LIMITER, unsafe.Pointer(l.c) }
