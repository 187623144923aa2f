package llmrl

/*
#cgo noescape llmrl_clock_new
#cgo nocallback llmrl_clock_new
#cgo noescape llmrl_clock_now
#cgo nocallback llmrl_clock_now
#cgo nocallback llmrl_clock_advance
#include "bridge.h"
*/
import "C"

import (
	"math"
	"runtime"
	"time"
)

// Forever is a wait of which no time is known, because it takes an event, such as the release of a permit. As a
// duration that is given it is the longest there is.
const Forever = time.Duration(math.MaxInt64)

// duration is what C counts in nanoseconds; LLMRL_FOREVER, and what is as good as that, is Forever.
func duration(ns uint64) time.Duration {
	return time.Duration(min(ns, math.MaxInt64))
}

// A ManualClock is moved by hand, for tests: nothing happens in a limiter that has one before it is moved. Any number
// of limiters and buckets may share one. Safe for use by several goroutines.
type ManualClock struct {
	c *C.llmrl_clock
}

// NewManualClock makes a clock that shows start, of which only differences matter. A negative one is 0.
func NewManualClock(start time.Duration) *ManualClock {
	clock := new(ManualClock)
	// It cannot fail.
	C.llmrl_clock_new(C.uint64_t(max(0, start)), &clock.c)
	freeWith(clock, func(c *C.llmrl_clock) { C.llmrl_clock_free(c) }, clock.c)
	return clock
}

// Advance moves the clock forward and wakes all whose time has come; they run when the scheduler lets them. A negative
// duration is 0. The clock stops after 146 years.
func (clock *ManualClock) Advance(by time.Duration) {
	C.llmrl_clock_advance(clock.c, C.uint64_t(max(0, by)))
	runtime.KeepAlive(clock)
	deliver()
}

// Now is what the clock shows.
func (clock *ManualClock) Now() time.Duration {
	var ns C.uint64_t
	C.llmrl_clock_now(clock.c, &ns)
	runtime.KeepAlive(clock)
	return duration(uint64(ns))
}
