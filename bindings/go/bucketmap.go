package llmrl

/*
#cgo noescape llmrl_bucket_map_new
#cgo nocallback llmrl_bucket_map_new
#cgo noescape llmrl_bucket_map_try_take
#cgo nocallback llmrl_bucket_map_try_take
#cgo noescape llmrl_bucket_map_refund
#cgo nocallback llmrl_bucket_map_refund
#cgo noescape llmrl_bucket_map_charge
#cgo nocallback llmrl_bucket_map_charge
#cgo noescape llmrl_bucket_map_available
#cgo nocallback llmrl_bucket_map_available
#cgo noescape llmrl_bucket_map_read_stats
#cgo nocallback llmrl_bucket_map_read_stats
#include "bridge.h"
*/
import "C"

import (
	"runtime"
	"time"
	"unsafe"
)

// A BucketMap has a token bucket for each user, address or tenant, for services that refuse rather than let wait, in 32.25 bytes for each key
// of its capacity. Keys are 1 to 65536 bytes; one that was not seen before has a full bucket. A key that has used up what it has is
// not forgotten: only a bucket that is full again gives way. Safe for use by several goroutines.
type BucketMap struct {
	c *C.llmrl_bucket_map
}

// BucketMapStats are counted since the map was made.
type BucketMapStats struct {
	Keys      int64 // that have a bucket of their own, full ones included
	Evictions int64 // how often a full bucket gave way
	Overflows int64 // calls that found no room for their key
}

// NewBucketMap makes a map of buckets for a limit of KindTokenBucket, with room for capacity keys at a time, 1 to 2^30; clock is nil for the
// machine's. Keys without room share buckets, and may get less than theirs, never more; if refuse is true they get ErrFull. The
// error is an *ArgumentError.
func NewBucketMap(clock *ManualClock, capacity int, refuse bool, limit Limit) (*BucketMap, error) {
	const op = "NewBucketMap"
	list, err := limitsFor(op, []Limit{limit})
	if err != nil {
		return nil, err
	}
	if capacity < 0 {
		return nil, &ArgumentError{op, outside("capacity", capacity, 1, 1<<30)}
	}
	flags := C.uint32_t(0)
	if refuse {
		flags = C.LLMRL_REFUSE_WITHOUT_ROOM
	}
	m := new(BucketMap)
	var message message
	status := C.llmrl_bucket_map_new(&list[0], C.size_t(capacity), flags, clock.orNil(), &m.c, &message[0], C.size_t(len(message)))
	runtime.KeepAlive(clock)
	if status < 0 {
		return nil, made(op, status, &message)
	}
	freeWith(m, func(c *C.llmrl_bucket_map) { C.llmrl_bucket_map_free(c) }, m.c)
	return m, nil
}

// TryTake takes n from the key's bucket now, 1 to 2^40-1, or nothing: then the same take succeeds after wait, absent others. The errors
// are ErrNever, ErrFull and *ArgumentError.
func (m *BucketMap) TryTake(key string, n int64) (ok bool, wait time.Duration, err error) {
	var ns C.uint64_t
	status := C.llmrl_bucket_map_try_take(m.c, unsafe.Pointer(chars(key)), C.size_t(len(key)), C.uint64_t(n), &ns)
	runtime.KeepAlive(m)
	return status == C.LLMRL_OK, duration(uint64(ns)), bucketFailed("TryTake", status, key, n)
}

// Refund gives back n of what was taken for the key.
func (m *BucketMap) Refund(key string, n int64) error {
	status := C.llmrl_bucket_map_refund(m.c, unsafe.Pointer(chars(key)), C.size_t(len(key)), C.uint64_t(n))
	runtime.KeepAlive(m)
	return bucketFailed("Refund", status, key, n)
}

// Charge counts n that were used for the key without asking. The bucket may go below zero.
func (m *BucketMap) Charge(key string, n int64) error {
	status := C.llmrl_bucket_map_charge(m.c, unsafe.Pointer(chars(key)), C.size_t(len(key)), C.uint64_t(n))
	runtime.KeepAlive(m)
	return bucketFailed("Charge", status, key, n)
}

// Available is what could be taken for the key now; negative is debt.
func (m *BucketMap) Available(key string) (int64, error) {
	var out C.int64_t
	status := C.llmrl_bucket_map_available(m.c, unsafe.Pointer(chars(key)), C.size_t(len(key)), &out)
	runtime.KeepAlive(m)
	return int64(out), bucketFailed("Available", status, key, 1)
}

// Stats reads the counters.
func (m *BucketMap) Stats() BucketMapStats {
	var c C.llmrl_bucket_map_stats
	C.llmrl_bucket_map_read_stats(m.c, &c, C.size_t(unsafe.Sizeof(c)))
	runtime.KeepAlive(m)
	return BucketMapStats{int64(c.keys), int64(c.evictions), int64(c.overflows)}
}

func bucketFailed(op string, status C.llmrl_status, key string, n int64) error {
	if status == C.LLMRL_ERR_RANGE {
		return failed(op, status, wrongKey(key, 65536))
	}
	return failed(op, status, wrongN(n))
}
