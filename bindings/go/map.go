package llmrl

/*
#cgo noescape go_map_new
#cgo nocallback go_map_new
#cgo noescape llmrl_map_limiter
#cgo nocallback llmrl_map_limiter
#cgo noescape llmrl_map_set_limits
#cgo nocallback llmrl_map_set_limits
#cgo nocallback llmrl_map_close
#cgo noescape llmrl_map_get_stats
#cgo nocallback llmrl_map_get_stats
#include "bridge.h"
*/
import "C"

import (
	"runtime"
	"unsafe"
)

// A LimiterMap is a limiter for each user, team or model, made when it is first asked for, in bounded memory. A limiter is evicted only
// when nobody can tell it from a new one: full, idle, nobody waiting, nothing held, and no Limiter of it that Go's collector has not taken
// away. So a key never gets a fresh budget by having been forgotten. Safe for use by several goroutines.
type LimiterMap struct {
	c     *C.llmrl_map
	count int
	holds bool
	clock *ManualClock
	queue queue
}

// MapStats are sums over all limiters of a map.
type MapStats struct {
	Keys      int64 // with a limiter of their own
	Shared    int64 // shared limiters that are in use
	Created   int64
	Evictions int64
	Full      int64 // keys that were refused because the map was full
	Granted   int64
	Refused   int64
	Waiting   int64
	InFlight  int64
}

// NewLimiterMap makes a map of up to capacity limiters, 1 to 2^24, of these limits each. When all are in use, shared more, 0 to 65536, serve the
// keys for which there is no room, which may get less than their limits, never more; with 0 they are refused. The error is an
// *ArgumentError.
func NewLimiterMap(options *Options, capacity, shared int, limits ...Limit) (*LimiterMap, error) {
	const op = "NewLimiterMap"
	chosen, o, err := options.c(op)
	if err != nil {
		return nil, err
	}
	if o.Saved != nil {
		return nil, &ArgumentError{op, "Options.Saved is not for a map: it must be nil"}
	}
	if capacity < 0 {
		return nil, &ArgumentError{op, outside("capacity", capacity, 1, 1<<24)}
	}
	if shared < 0 {
		return nil, &ArgumentError{op, outside("shared", shared, 0, 65536)}
	}
	list, err := limitsFor(op, limits)
	if err != nil {
		return nil, err
	}
	m := &LimiterMap{count: len(limits), holds: holds(limits), clock: o.Clock, queue: newQueue(o.Clock)}
	var message message
	status := C.go_map_new(unsafe.SliceData(list), C.size_t(len(list)), &chosen, m.queue.number, C.size_t(capacity), C.size_t(shared), &m.c,
		&message[0], C.size_t(len(message)))
	runtime.KeepAlive(o.Clock)
	if status < 0 {
		return nil, made(op, status, &message)
	}
	freeWith(m, func(c *C.llmrl_map) { C.llmrl_map_free(c) }, m.c)
	return m, nil
}

// Limiter is that of a key of 1 to 1024 bytes. Keep it while the key is active; forget it afterwards. Its Save, limits and permits are
// as of any Limiter; Close closes it for all. The errors are ErrFull, ErrClosed and *ArgumentError.
func (m *LimiterMap) Limiter(key string) (*Limiter, error) {
	l := &Limiter{count: m.count, holds: m.holds, clock: m.clock, queue: m.queue}
	var shared C.int32_t
	status := C.llmrl_map_limiter(m.c, unsafe.Pointer(chars(key)), C.size_t(len(key)), &l.c, &shared)
	runtime.KeepAlive(m)
	if status < 0 {
		return nil, failed("Limiter", status, wrongKey(key, C.LLMRL_MAX_KEY))
	}
	l.shared = shared != 0
	freeWith(l, func(c *C.llmrl_limiter) { C.llmrl_limiter_free(c) }, l.c)
	return l, nil
}

// IsShared is true of a limiter of a map that other keys use as well, as there was no room.
func (l *Limiter) IsShared() bool { return l.shared }

// SetLimits gives a key limits of its own, of the same number, kinds and meters; none brings the map's back. The error is an
// *ArgumentError.
func (m *LimiterMap) SetLimits(key string, limits ...Limit) error {
	list, err := limitsFor("SetLimits", limits)
	if err != nil {
		return err
	}
	var message message
	status := C.llmrl_map_set_limits(m.c, unsafe.Pointer(chars(key)), C.size_t(len(key)), unsafe.SliceData(list), C.size_t(len(list)),
		&message[0], C.size_t(len(message)))
	runtime.KeepAlive(m)
	deliver()
	if status < 0 {
		return made("SetLimits", status, &message)
	}
	return nil
}

// Stats looks at each limiter of the map.
func (m *LimiterMap) Stats() MapStats {
	var c C.llmrl_map_stats
	C.llmrl_map_get_stats(m.c, &c, C.size_t(unsafe.Sizeof(c)))
	runtime.KeepAlive(m)
	return MapStats{
		int64(c.keys), int64(c.shared), int64(c.created), int64(c.evictions), int64(c.full), int64(c.granted), int64(c.refused), int64(c.waiting),
		int64(c.in_flight),
	}
}

// Close closes every limiter of the map, and refuses new keys.
func (m *LimiterMap) Close() {
	C.llmrl_map_close(m.c)
	runtime.KeepAlive(m)
	deliver()
}

func wrongKey(key string, most int) string { return outside("len(key)", len(key), 1, most) }
