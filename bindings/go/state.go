package llmrl

/*
#cgo noescape llmrl_limiter_limit_state
#cgo nocallback llmrl_limiter_limit_state
#cgo noescape llmrl_limiter_stats
#cgo nocallback llmrl_limiter_stats
#cgo noescape llmrl_limiter_save
#cgo nocallback llmrl_limiter_save
#include "bridge.h"
*/
import "C"

import (
	"runtime"
	"time"
	"unsafe"
)

// Stats are counted since a limiter was made.
type Stats struct {
	Granted   int64         // requests admitted, at once or after waiting
	Refused   int64         // requests refused
	Waiting   int64         // now, or with an outcome that has not been polled
	InFlight  int64         // permits held now, if there is a limit in flight
	Cancelled int64         // reservations that have left
	TimedOut  int64         // waits that ended because their time was over
	Wakes     int64         // callbacks
	WaitTotal time.Duration // of all who waited and were admitted
	WaitMax   time.Duration // the longest of these waits
}

// Mode is what feedback has made of a limit.
type Mode uint32

const (
	Normal     Mode = C.LLMRL_NORMAL     // as configured, or as the provider says
	Throttled  Mode = C.LLMRL_THROTTLED  // less or nothing, because the provider has refused
	Recovering Mode = C.LLMRL_RECOVERING // on its way back from there
)

// LimitState is how one limit stands: as in Limit, with all changes since and the defaults spelled out.
type LimitState struct {
	Kind      Kind
	Meter     Meter
	Amount    int64
	Period    time.Duration
	Burst     int64
	Available int64         // what could be taken now; negative is debt, or more held than a retune allows
	Paused    time.Duration // for how long it is still paused
	Mode      Mode
}

// Stats reads the counters. When much is going on they are of slightly different instants.
func (l *Limiter) Stats() Stats {
	var c C.llmrl_stats
	C.llmrl_limiter_stats(l.c, &c, C.size_t(unsafe.Sizeof(c)))
	runtime.KeepAlive(l)
	return Stats{
		int64(c.granted), int64(c.refused), int64(c.waiting), int64(c.in_flight), int64(c.cancelled), int64(c.timed_out), int64(c.wakes),
		duration(uint64(c.wait_total_ns)), duration(uint64(c.wait_max_ns)),
	}
}

// Limits reads how each limit stands, by index.
func (l *Limiter) Limits() []LimitState {
	states := make([]LimitState, l.count)
	for index := range states {
		var c C.llmrl_limit_state
		l.state(index, &c)
		states[index] = LimitState{
			Kind(c.kind), Meter(c.meter), int64(c.amount), duration(uint64(c.period_ns)), int64(c.burst), int64(c.available),
			duration(uint64(c.paused_ns)), Mode(c.mode),
		}
	}
	return states
}

func (l *Limiter) state(index int, out *C.llmrl_limit_state) {
	C.llmrl_limiter_limit_state(l.c, C.uint32_t(index), out, C.size_t(unsafe.Sizeof(*out)))
	runtime.KeepAlive(l)
}

// Save writes down what has been used of each limit, for Options.Saved after a restart: for limits of a day or a month. What is
// reserved counts as used; permits and waiters are not saved.
func (l *Limiter) Save() ([]byte, error) {
	for size := C.size_t(1024); ; {
		buffer := make([]byte, size)
		status := C.llmrl_limiter_save(l.c, 0, unsafe.Pointer(&buffer[0]), size, &size)
		runtime.KeepAlive(l)
		// It may have grown between two calls.
		if status != C.LLMRL_ERR_SIZE {
			return buffer[:size], failed("Save", status, "")
		}
	}
}
