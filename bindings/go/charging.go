package llmrl

/*
#cgo noescape llmrl_charging_of
#cgo nocallback llmrl_charging_of
#cgo noescape llmrl_charging_reserve
#cgo nocallback llmrl_charging_reserve
#cgo noescape llmrl_charging_settle
#cgo nocallback llmrl_charging_settle
#cgo noescape llmrl_lengths_new
#cgo nocallback llmrl_lengths_new
#cgo noescape llmrl_lengths_record
#cgo nocallback llmrl_lengths_record
#cgo noescape llmrl_lengths_estimate
#cgo nocallback llmrl_lengths_estimate
#include "bridge.h"
*/
import "C"

import (
	"fmt"
	"math"
	"runtime"
	"unsafe"
)

// Output is what counts as output before there is any.
type Output uint32

const (
	OutputNothing  Output = C.LLMRL_OUTPUT_NOTHING
	OutputExpected Output = C.LLMRL_OUTPUT_EXPECTED
	OutputAllowed  Output = C.LLMRL_OUTPUT_ALLOWED // MaxTokens; what is expected if they are not given
)

// Settlement is what stands in the end.
type Settlement uint32

const (
	SettleEstimate Settlement = C.LLMRL_SETTLE_ESTIMATE
	SettleActual   Settlement = C.LLMRL_SETTLE_ACTUAL
	SettleMaximum  Settlement = C.LLMRL_SETTLE_MAXIMUM // the larger of both
)

// Charging is how a provider charges a request: what it takes on admission, and what of that stands when the answer is there.
type Charging struct {
	Jointly    bool // the larger of input and output is charged, as input, instead of both
	Cached     bool // input that the provider reads from its cache counts
	Output     Output
	Settlement Settlement
	Burndown   int // how many times output counts in the end, 1 to 1000
}

// Ask is what is known of a request before it is sent, in tokens, each 0 to 2^40-1.
type Ask struct {
	Prompt    int64 // all of it
	Cached    int64 // what of it the provider will probably read from its cache
	MaxTokens int64 // the most that it may put out, or Unknown
	Expected  int64 // how much it will probably put out
}

// ChargingOf is the rule of a provider: "openai", "azure", "anthropic", "anthropic-reserving" (as it was until 2025), "gemini" or
// "bedrock".
func ChargingOf(provider string) (Charging, error) {
	name := append([]byte(provider), 0)
	var c C.llmrl_charging
	status := C.llmrl_charging_of((*C.char)(unsafe.Pointer(&name[0])), &c, C.size_t(unsafe.Sizeof(c)))
	// C sees a name only up to its first zero.
	for _, b := range name[:len(name)-1] {
		if b == 0 {
			status = C.LLMRL_ERR_RANGE
		}
	}
	if status < 0 {
		return Charging{}, failed("ChargingOf", status, fmt.Sprintf("provider = %q: there are openai, azure, anthropic, anthropic-reserving, gemini "+
			"and bedrock", provider))
	}
	return Charging{c.flags&C.LLMRL_CHARGE_JOINTLY != 0, c.flags&C.LLMRL_CHARGE_CACHED != 0, Output(c.output), Settlement(c.settlement), int(c.burndown)}, nil
}

// Reserve is what to acquire for a request. The error is an *ArgumentError.
func (rule Charging) Reserve(ask Ask) (Cost, error) {
	c, request, err := rule.c("Reserve", ask)
	if err != nil {
		return Cost{}, err
	}
	var out C.llmrl_cost
	status := C.llmrl_charging_reserve(&c, C.size_t(unsafe.Sizeof(c)), &request, C.size_t(unsafe.Sizeof(request)), &out)
	return costOf(&out), failed("Reserve", status, rule.wrong())
}

// Settle is what to settle with, when the answer says what was used: of that, Input, Output and Cached count. The error is an
// *ArgumentError.
func (rule Charging) Settle(ask Ask, used Cost) (Cost, error) {
	c, request, err := rule.c("Settle", ask)
	if err != nil {
		return Cost{}, err
	}
	if wrong := used.wrong(); wrong != "" {
		return Cost{}, &ArgumentError{"Settle", wrong}
	}
	actual := used.c()
	var out C.llmrl_cost
	status := C.llmrl_charging_settle(&c, C.size_t(unsafe.Sizeof(c)), &request, C.size_t(unsafe.Sizeof(request)), &actual, &out)
	return costOf(&out), failed("Settle", status, rule.wrong())
}

func (rule Charging) c(op string, ask Ask) (C.llmrl_charging, C.llmrl_request, error) {
	for _, field := range []struct {
		name       string
		value, low int64
	}{{"Prompt", ask.Prompt, 0}, {"Cached", ask.Cached, 0}, {"MaxTokens", ask.MaxTokens, Unknown}, {"Expected", ask.Expected, 0}} {
		if field.value < field.low || field.value > most {
			return C.llmrl_charging{}, C.llmrl_request{}, &ArgumentError{op, outside("Ask."+field.name, field.value, field.low, int64(most))}
		}
	}
	c := C.llmrl_charging{output: C.uint32_t(rule.Output), settlement: C.uint32_t(rule.Settlement)}
	if rule.Burndown > 0 && rule.Burndown <= math.MaxInt32 {
		c.burndown = C.uint32_t(rule.Burndown) // else 0, which C refuses
	}
	if rule.Jointly {
		c.flags |= C.LLMRL_CHARGE_JOINTLY
	}
	if rule.Cached {
		c.flags |= C.LLMRL_CHARGE_CACHED
	}
	request := C.llmrl_request{prompt: C.uint64_t(ask.Prompt), cached: C.uint64_t(ask.Cached), max_tokens: C.LLMRL_UNKNOWN, expected: C.uint64_t(ask.Expected)}
	if ask.MaxTokens != Unknown {
		request.max_tokens = C.uint64_t(ask.MaxTokens)
	}
	return c, request, nil
}

func (rule Charging) wrong() string {
	return fmt.Sprintf("Output = %d, Settlement = %d, Burndown = %d: Output and Settlement are 0 to 2, Burndown is 1 to 1000", rule.Output, rule.Settlement,
		rule.Burndown)
}

// Lengths are output lengths that were seen, by key (a user, a route, or nothing) and model: what to expect, where a provider charges
// what was really put out. In bounded memory; forgets by halves. Safe for use by several goroutines.
type Lengths struct {
	c *C.llmrl_lengths
}

// NewLengths makes one that remembers up to names pairs of key and model, 1 to 2^20, of some 450 bytes each.
func NewLengths(names int) (*Lengths, error) {
	l := new(Lengths)
	if status := C.llmrl_lengths_new(C.uint64_t(names), &l.c); status < 0 {
		return nil, failed("NewLengths", status, outside("names", names, 1, 1<<20))
	}
	freeWith(l, func(c *C.llmrl_lengths) { C.llmrl_lengths_free(c) }, l.c)
	return l, nil
}

// Record says that an answer of model to key had so many output tokens; above 2^24-1 counts as that, below 0 as 0.
func (l *Lengths) Record(key, model string, output int64) {
	C.llmrl_lengths_record(l.c, chars(key), C.size_t(len(key)), chars(model), C.size_t(len(model)), C.uint64_t(max(0, output)))
	runtime.KeepAlive(l)
}

// Estimate is the length that permille of 1000 answers of model to key did not exceed, never more than maxTokens, which may be Unknown; that
// is also what comes out if there were no answers yet. The error is an *ArgumentError.
func (l *Lengths) Estimate(key, model string, permille int, maxTokens int64) (int64, error) {
	bound := C.uint64_t(C.LLMRL_UNKNOWN)
	if maxTokens >= 0 {
		bound = C.uint64_t(maxTokens)
	}
	share := C.uint32_t(0) // which C refuses
	if permille > 0 && permille <= 1000 {
		share = C.uint32_t(permille)
	}
	var out C.uint64_t
	status := C.llmrl_lengths_estimate(l.c, chars(key), C.size_t(len(key)), chars(model), C.size_t(len(model)), share, bound, &out)
	runtime.KeepAlive(l)
	return int64(known(out)), failed("Estimate", status, outside("permille", permille, 1, 1000))
}
