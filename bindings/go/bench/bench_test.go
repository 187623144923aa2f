// Package bench is llmrl beside golang.org/x/time/rate and go.uber.org/ratelimit. From this folder:
//
//	go test -bench . -benchmem -cpu 1,2 -count 5
package bench

import (
	"context"
	"testing"
	"time"

	llmrl "github.com/libllmrl/libllmrl/bindings/go"
	uber "go.uber.org/ratelimit"
	"golang.org/x/time/rate"
)

// What all of them admit at once, so that nobody is refused and nobody waits.
const fast = 1_000_000_000

func limiter(b *testing.B, more ...llmrl.Limit) *llmrl.Limiter {
	limit := llmrl.Limit{Kind: llmrl.KindTokenBucket, Meter: llmrl.MeterRequests, Amount: fast, Period: time.Second}
	l, err := llmrl.New(nil, append([]llmrl.Limit{limit}, more...)...)
	if err != nil {
		b.Fatal(err)
	}
	return l
}

func each(b *testing.B, turn func()) {
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			turn()
		}
	})
}

func BenchmarkAllow(b *testing.B) {
	b.Run("llmrl.Limiter", func(b *testing.B) {
		l := limiter(b)
		each(b, func() { l.Allow() })
	})
	b.Run("llmrl.TokenBucket", func(b *testing.B) {
		bucket, err := llmrl.NewTokenBucket(nil, llmrl.Limit{Kind: llmrl.KindTokenBucket, Meter: llmrl.MeterRequests, Amount: fast, Period: time.Second})
		if err != nil {
			b.Fatal(err)
		}
		each(b, func() { bucket.Allow() })
	})
	b.Run("x/time/rate", func(b *testing.B) {
		l := rate.NewLimiter(fast, fast)
		each(b, func() { l.Allow() })
	})
	// It has nothing that does not wait; at this rate it never does.
	b.Run("uber/ratelimit", func(b *testing.B) {
		l := uber.New(fast, uber.WithoutSlack)
		each(b, func() { l.Take() })
	})
}

// What there is to be had of a limit that is used up.
func BenchmarkRefused(b *testing.B) {
	b.Run("llmrl.Limiter", func(b *testing.B) {
		l, err := llmrl.New(nil, llmrl.Limit{Kind: llmrl.KindTokenBucket, Meter: llmrl.MeterRequests, Amount: 1, Period: time.Hour})
		if err != nil {
			b.Fatal(err)
		}
		each(b, func() { l.Allow() })
	})
	b.Run("x/time/rate", func(b *testing.B) {
		l := rate.NewLimiter(rate.Every(time.Hour), 1)
		each(b, func() { l.Allow() })
	})
}

func BenchmarkWait(b *testing.B) {
	b.Run("llmrl.Limiter", func(b *testing.B) {
		l := limiter(b)
		each(b, func() { _ = l.Wait(context.Background()) })
	})
	b.Run("x/time/rate", func(b *testing.B) {
		l := rate.NewLimiter(fast, fast)
		each(b, func() { _ = l.Wait(context.Background()) })
	})
}

// Requests, tokens and a number in flight, all or none, and what was used. Three rate.Limiters are not all or none, and count
// nothing in flight.
func BenchmarkAcquireSettle(b *testing.B) {
	b.Run("llmrl.TryAcquire", func(b *testing.B) {
		l := limiter(b, llmrl.Limit{Kind: llmrl.KindTokenBucket, Meter: llmrl.MeterTokens, Amount: fast, Period: time.Second}, llmrl.InFlight(1000))
		each(b, func() {
			if permit, _, _ := l.TryAcquire(llmrl.Cost{Input: 1}); permit != nil {
				_ = permit.Settle(llmrl.Cost{Input: 1})
			}
		})
	})
	b.Run("llmrl.Acquire", func(b *testing.B) {
		l := limiter(b, llmrl.Limit{Kind: llmrl.KindTokenBucket, Meter: llmrl.MeterTokens, Amount: fast, Period: time.Second}, llmrl.InFlight(1000))
		each(b, func() {
			if permit, err := l.Acquire(context.Background(), llmrl.Cost{Input: 1}); err == nil {
				_ = permit.Settle(llmrl.Cost{Input: 1})
			}
		})
	})
	b.Run("x/time/rate, twice", func(b *testing.B) {
		requests, tokens := rate.NewLimiter(fast, fast), rate.NewLimiter(fast, fast)
		each(b, func() {
			requests.Allow()
			tokens.AllowN(time.Now(), 1)
		})
	})
}
