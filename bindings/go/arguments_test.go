package llmrl

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"
)

// Each names the field, the value, and what is accepted.
func TestBadLimits(t *testing.T) {
	weighted := func(w Weights) Limit {
		return Limit{Kind: KindTokenBucket, Meter: MeterWeightedTokens, Amount: 10, Weights: w}
	}
	for _, c := range []struct {
		want   []string
		limits []Limit
	}{
		{[]string{"count = 0", "1..=8"}, nil},
		{[]string{"count = 9", "1..=8"}, []Limit{{}, {}, {}, {}, {}, {}, {}, {}, {}}},
		{[]string{"limits[0].kind", "0", "1"}, []Limit{{}}},
		{[]string{"limits[1].Amount = -1", "1 to 1099511627775"}, []Limit{Requests(5), Tokens(-1)}},
		{[]string{"limits[0].amount = 0", "1..=1099511627775"}, []Limit{Requests(0)}},
		{[]string{"limits[0].amount = 9223372036854775807", "1..="}, []Limit{Requests(math.MaxInt64)}},
		{[]string{"limits[0].Period = -1s", "0s to 3660 days"}, []Limit{{Kind: KindPacing, Meter: MeterRequests, Amount: 1, Period: -time.Second}}},
		{[]string{"limits[0].period (ns) = 9223372036854775807"}, []Limit{{Kind: KindPacing, Meter: MeterRequests, Amount: 1, Period: Forever}}},
		{[]string{"limits[0].Burst = -5", "0 to"}, []Limit{{Kind: KindTokenBucket, Meter: MeterRequests, Amount: 1, Burst: -5}}},
		{[]string{"limits[0].Resolution = -1", "0 to 65536"}, []Limit{{Kind: KindSlidingWindow, Meter: MeterRequests, Amount: 1, Resolution: -1}}},
		{[]string{"limits[0].ResetsIn = -1ns"}, []Limit{{Kind: KindFixedWindow, Meter: MeterRequests, Amount: 1, ResetsIn: -1}}},
		{[]string{"limits[0].Weights.Output = NaN", "0 to 100"}, []Limit{weighted(Weights{Output: math.NaN()})}},
		{[]string{"limits[0].Weights.Input = +Inf"}, []Limit{weighted(Weights{Input: math.Inf(1)})}},
		{[]string{"limits[0].Weights.Cached = -0.5"}, []Limit{weighted(Weights{Cached: -0.5})}},
		{[]string{"limits[0].Weights.CacheWrite = 100.1"}, []Limit{weighted(Weights{CacheWrite: 100.1})}},
		{[]string{"limits[0]"}, []Limit{weighted(Weights{})}},
	} {
		_, err := New(nil, c.limits...)
		var argument *ArgumentError
		if !errors.As(err, &argument) {
			t.Errorf("%+v: %v", c.limits, err)
			continue
		}
		for _, part := range c.want {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%q does not say %q", err, part)
			}
		}
	}
	for _, options := range []*Options{{MaxWaiters: -1}, {MaxPermits: 1<<20 + 1}} {
		var argument *ArgumentError
		if _, err := New(options, Requests(1)); !errors.As(err, &argument) || !strings.Contains(err.Error(), "is outside 0 to 1048576") {
			t.Error(err)
		}
	}
}

func TestBadCosts(t *testing.T) {
	_, l := slow(t, 3)
	for want, cost := range map[string]Cost{
		"Cost.Requests = -1 ":                      {Requests: -1},
		"Cost.Input = 9223372036854775807 ":        {Input: math.MaxInt64},
		"Cost.Output = -9223372036854775808 ":      {Output: math.MinInt64},
		"Cost.Cached = 68719476736 ":               {Cached: 1 << 36},
		"Cost.CacheWrite = -7 ":                    {CacheWrite: -7},
		"Cost.Input + Cost.Output = 1099511627776": {Input: 1<<40 - 1, Output: 1},
	} {
		for name, call := range map[string]func() error{
			"TryAcquire": func() error { _, _, err := l.TryAcquire(cost); return err },
			"Acquire":    func() error { _, err := l.Acquire(t.Context(), cost); return err },
			"Reserve":    func() error { _, err := l.Reserve(cost, 0); return err },
			"Outlook":    func() error { _, _, err := l.Outlook(cost); return err },
			"Charge":     func() error { return l.Charge(cost) },
		} {
			var argument *ArgumentError
			if err := call(); !errors.As(err, &argument) || !strings.Contains(err.Error(), want) || argument.Op != name {
				t.Errorf("%s: %v does not say %q", name, err, want)
			}
		}
	}
	if got := l.Limits()[0].Available; got != 3 {
		t.Errorf("%d left", got)
	}
}

func TestBadArguments(t *testing.T) {
	_, l := slow(t, 3, InFlight(1))
	bucket := must(NewTokenBucket(nil, Requests(5)))
	gate := must(NewGate(1))
	for want, call := range map[string]func() error{
		"Retune: index = 2":                  func() error { return l.Retune(2, 1, 0, 0) },
		"Retune: index = -1":                 func() error { return l.Retune(-1, 1, 0, 0) },
		"Retune: amount = -1":                func() error { return l.Retune(0, -1, 0, 0) },
		"Retune: amount = 1, period = -1ns":  func() error { return l.Retune(0, 1, -1, 0) },
		"Pause: index = 1":                   func() error { return l.Pause(1, 0) },
		"Pause: index = 9223372036854775807": func() error { return l.Pause(math.MaxInt, 0) },
		"Pause: d = -1ns":                    func() error { return l.Pause(0, -1) },
		"Align: index = 0":                   func() error { return l.Align(0, 1) },
		"WaitN: n = 0 is outside 1 to":       func() error { return must(New(nil, Requests(1))).WaitN(t.Context(), 0) },
		"Reserve: timeout = -1ns":            func() error { _, err := l.Reserve(Cost{}, -1); return err },
		"TryTake: n = 0 is outside 1 to":     func() error { _, _, err := bucket.TryTake(0); return err },
		"Refund: n = -1 ":                    func() error { return bucket.Refund(-1) },
		"Charge: n = 1099511627776 ":         func() error { return bucket.Charge(1 << 40) },
		"Retune: amount = 0":                 func() error { return bucket.Retune(0, 0, 0) },
		"NewTokenBucket: limit":              func() error { _, err := NewTokenBucket(nil, InFlight(3)); return err },
		"NewGate: slots = 0 ":                func() error { _, err := NewGate(0); return err },
		"Resize: slots = 524288 ":            func() error { return gate.Resize(1 << 19) },
		"ReadAnswer: status = 99 ":           func() error { _, err := ReadAnswer(99, nil, nil, time.Time{}); return err },
		"ReadAnswer: status = -5 ":           func() error { _, err := ReadAnswer(-5, nil, nil, time.Time{}); return err },
	} {
		var argument *ArgumentError
		if err := call(); !errors.As(err, &argument) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}
