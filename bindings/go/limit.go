package llmrl

/*
#include "bridge.h"
*/
import "C"

import (
	"fmt"
	"math"
	"time"
)

// Kind is how a limit counts.
type Kind uint32

const (
	// KindTokenBucket produces Amount per Period, evenly, and holds Burst at most.
	KindTokenBucket Kind = C.LLMRL_TOKEN_BUCKET
	// KindInFlight is how many permits may be held at the same time.
	KindInFlight Kind = C.LLMRL_IN_FLIGHT
	// KindPacing is a leaky bucket: Amount per Period at even distances, whatever was idle before.
	KindPacing Kind = C.LLMRL_PACING
	// KindFixedWindow is Amount in each Period, all of which comes back at its end.
	KindFixedWindow Kind = C.LLMRL_FIXED_WINDOW
	// KindSlidingWindowCounter is Amount in a Period, estimated from two counters; nearly twice that in the worst one.
	KindSlidingWindowCounter Kind = C.LLMRL_SLIDING_WINDOW_COUNTER
	// KindSlidingWindow is never more than Amount in any Period, counted in Resolution parts.
	KindSlidingWindow Kind = C.LLMRL_SLIDING_WINDOW
	// KindSlidingWindowLog is the same to the nanosecond, with a time stamp for each admission.
	KindSlidingWindowLog Kind = C.LLMRL_SLIDING_WINDOW_LOG
)

// Meter is what a limit counts.
type Meter uint32

const (
	MeterRequests       Meter = C.LLMRL_REQUESTS
	MeterTokens         Meter = C.LLMRL_TOKENS // input and output tokens together
	MeterInputTokens    Meter = C.LLMRL_INPUT_TOKENS
	MeterOutputTokens   Meter = C.LLMRL_OUTPUT_TOKENS
	MeterWeightedTokens Meter = C.LLMRL_WEIGHTED_TOKENS // by Limit.Weights; a request's sum is rounded up
	MeterConcurrency    Meter = C.LLMRL_CONCURRENCY     // only in what is read of answers
	MeterOther          Meter = C.LLMRL_OTHER_METER     // only in what is read of answers
)

// Weights are how much a token of each class counts, 0 to 100, in thousandths; not all 0.
type Weights struct {
	Input      float64 // neither read from nor written to a cache
	Output     float64
	Cached     float64 // taken from the provider's cache
	CacheWrite float64 // put into it
}

// A Limit is one rule. Requests, Tokens, InputTokens, OutputTokens and InFlight make the usual ones; set other fields
// as needed. A zero field is the default that it names.
type Limit struct {
	Kind  Kind
	Meter Meter // none for KindInFlight
	// How much in a Period, 1 to 2^40-1; in flight: how many permits, 1 to 524287.
	Amount int64
	// Up to 3660 days; a bucket or pacing produces at most 10^9 a second. 0 is a minute.
	Period time.Duration
	// What an idle token bucket holds, 1 to 2^40-1; 0 is Amount.
	Burst int64
	// A request that costs more than Burst is admitted when the bucket is full, and leaves it in debt.
	OversizeWhenFull bool
	// The bucket starts empty, the window full: others may have used it.
	StartEmpty bool
	// Sliding window: its parts, 1 to 1000, 0 is 60. Log: its time stamps, 1 to 65536, 0 is Amount.
	Resolution int
	// Fixed window: the present one ends so long from now, at most Period; 0 is a whole one.
	ResetsIn time.Duration
	// For MeterWeightedTokens.
	Weights Weights
}

// Requests is a token bucket of n requests a minute.
func Requests(n int64) Limit { return Limit{Kind: KindTokenBucket, Meter: MeterRequests, Amount: n} }

// Tokens is a token bucket of n tokens a minute, input and output together.
func Tokens(n int64) Limit { return Limit{Kind: KindTokenBucket, Meter: MeterTokens, Amount: n} }

// InputTokens is a token bucket of n input tokens a minute.
func InputTokens(n int64) Limit {
	return Limit{Kind: KindTokenBucket, Meter: MeterInputTokens, Amount: n}
}

// OutputTokens is a token bucket of n output tokens a minute.
func OutputTokens(n int64) Limit {
	return Limit{Kind: KindTokenBucket, Meter: MeterOutputTokens, Amount: n}
}

// InFlight lets n permits be held at the same time.
func InFlight(n int64) Limit { return Limit{Kind: KindInFlight, Amount: n} }

// Cost is what a request will use, or has used. Each count is 0 to 2^40-1, Input and Output together as well.
type Cost struct {
	Requests int64 // 0 is 1, except in Charge
	Input    int64 // tokens of the prompt, all of them
	Output   int64 // tokens of the answer; beforehand, an estimate
	// What of Input the provider takes from its cache, and puts into it: up to 2^36-1 each. Only
	// MeterWeightedTokens looks at them.
	Cached, CacheWrite int64
}

const (
	most       = 1<<40 - 1
	mostCached = 1<<36 - 1
)

// c is what C is given. A negative count becomes one that C refuses.
func (cost Cost) c() C.llmrl_cost {
	if cost.Requests == 0 {
		cost.Requests = 1
	}
	return cost.exactly()
}

func (cost Cost) exactly() C.llmrl_cost {
	return C.llmrl_cost{
		requests:           C.uint64_t(cost.Requests),
		input_tokens:       C.uint64_t(cost.Input),
		output_tokens:      C.uint64_t(cost.Output),
		cached_tokens:      C.uint64_t(cost.Cached),
		cache_write_tokens: C.uint64_t(cost.CacheWrite),
	}
}

func costOf(c *C.llmrl_cost) Cost {
	return Cost{int64(c.requests), int64(c.input_tokens), int64(c.output_tokens), int64(c.cached_tokens), int64(c.cache_write_tokens)}
}

// wrong says what of a cost is out of range, "" if nothing is.
func (cost Cost) wrong() string {
	for _, field := range []struct {
		name  string
		value int64
		most  int64
	}{
		{"Requests", cost.Requests, most},
		{"Input", cost.Input, most},
		{"Output", cost.Output, most},
		{"Cached", cost.Cached, mostCached},
		{"CacheWrite", cost.CacheWrite, mostCached},
	} {
		if field.value < 0 || field.value > field.most {
			return outside("Cost."+field.name, field.value, 0, field.most)
		}
	}
	if sum := cost.Input + cost.Output; sum > most {
		return outside("Cost.Input + Cost.Output", sum, 0, int64(most))
	}
	return ""
}

func outside(field string, value, low, high any) string {
	return fmt.Sprintf("%s = %v is outside %v to %v", field, value, low, high)
}

// limitsFor checks what C cannot see, the sign of numbers, and converts the rest.
func limitsFor(op string, limits []Limit) ([]C.llmrl_limit, error) {
	out := make([]C.llmrl_limit, len(limits))
	for i, limit := range limits {
		c, wrong := limit.c()
		if wrong != "" {
			return nil, &ArgumentError{op, fmt.Sprintf("limits[%d].%s", i, wrong)}
		}
		out[i] = c
	}
	return out, nil
}

func (limit Limit) c() (c C.llmrl_limit, wrong string) {
	switch {
	case limit.Amount < 0:
		return c, outside("Amount", limit.Amount, 1, int64(most))
	case limit.Period < 0:
		return c, outside("Period", limit.Period, time.Duration(0), "3660 days")
	case limit.Burst < 0:
		return c, outside("Burst", limit.Burst, 0, int64(most))
	case limit.Resolution < 0 || limit.Resolution > 65536:
		return c, outside("Resolution", limit.Resolution, 0, 65536)
	case limit.ResetsIn < 0:
		return c, outside("ResetsIn", limit.ResetsIn, time.Duration(0), "Period")
	}
	c = C.llmrl_limit{
		kind:         C.uint32_t(limit.Kind),
		meter:        C.uint32_t(limit.Meter),
		amount:       C.uint64_t(limit.Amount),
		period_ns:    C.uint64_t(limit.Period),
		burst:        C.uint64_t(limit.Burst),
		resolution:   C.uint32_t(limit.Resolution),
		resets_in_ns: C.uint64_t(limit.ResetsIn),
	}
	if limit.OversizeWhenFull {
		c.flags |= C.LLMRL_OVERSIZE_WHEN_FULL
	}
	if limit.StartEmpty {
		c.flags |= C.LLMRL_START_EMPTY
	}
	for _, weight := range []struct {
		name  string
		value float64
		out   *C.uint32_t
	}{
		{"Input", limit.Weights.Input, &c.input_weight},
		{"Output", limit.Weights.Output, &c.output_weight},
		{"Cached", limit.Weights.Cached, &c.cached_weight},
		{"CacheWrite", limit.Weights.CacheWrite, &c.cache_write_weight},
	} {
		// Also of NaN this is not true.
		if !(weight.value >= 0 && weight.value <= 100) {
			return c, outside("Weights."+weight.name, weight.value, 0, 100)
		}
		*weight.out = C.uint32_t(math.Round(weight.value * 1000))
	}
	return c, ""
}
