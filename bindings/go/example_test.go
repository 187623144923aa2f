package llmrl_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	llmrl "github.com/libllmrl/libllmrl/bindings/go"
)

func Example() {
	limiter, err := llmrl.New(nil, llmrl.Requests(500), llmrl.Tokens(200_000), llmrl.InFlight(50))
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	permit, err := limiter.Acquire(ctx, llmrl.Cost{Input: 1200, Output: 400})
	if err != nil {
		panic(err)
	}
	defer permit.Release() // does nothing after Settle
	// ... send the request, read the usage from its answer ...
	if err := permit.Settle(llmrl.Cost{Input: 1180, Output: 212}); err != nil {
		panic(err)
	}
	fmt.Println(limiter.Stats().Granted, "admitted")
	// Output: 1 admitted
}

func ExampleManualClock() {
	clock := llmrl.NewManualClock(0)
	limit := llmrl.Requests(60)
	limit.Burst = 1
	limiter, err := llmrl.New(&llmrl.Options{Clock: clock}, limit)
	if err != nil {
		panic(err)
	}
	fmt.Println(limiter.Allow(), limiter.Allow())
	clock.Advance(time.Second) // wakes whoever is due
	fmt.Println(limiter.Allow())
	// Output:
	// true false
	// true
}

func ExampleLimiter_TryAcquire() {
	limiter, err := llmrl.New(&llmrl.Options{Clock: llmrl.NewManualClock(0)}, llmrl.Tokens(6000))
	if err != nil {
		panic(err)
	}
	if _, _, err := limiter.TryAcquire(llmrl.Cost{Input: 7000}); errors.Is(err, llmrl.ErrNever) {
		fmt.Println(err)
	}
	for range 2 {
		permit, wait, err := limiter.TryAcquire(llmrl.Cost{Input: 4000})
		fmt.Println(permit != nil, wait, err)
	}
	// Output:
	// llmrl: TryAcquire: the cost can never fit one of the limits; send a smaller request, or raise Burst: limit 0 holds 6000, and the request asks for 7000
	// true 0s <nil>
	// false 20s <nil>
}

func ExampleLimiter_Reserve() {
	clock := llmrl.NewManualClock(0)
	limiter, err := llmrl.New(&llmrl.Options{Clock: clock}, llmrl.Limit{Kind: llmrl.KindPacing, Meter: llmrl.MeterRequests, Amount: 60})
	if err != nil {
		panic(err)
	}
	limiter.Allow()
	reservation, err := limiter.Reserve(llmrl.Cost{}, llmrl.Forever)
	if err != nil {
		panic(err)
	}
	_, wait, _ := reservation.Poll()
	fmt.Println("in", wait)
	clock.Advance(wait)
	permit, _, _ := reservation.Poll()
	fmt.Println("admitted:", permit != nil)
	// Output:
	// in 1s
	// admitted: true
}

func ExampleBucketMap() {
	users, err := llmrl.NewBucketMap(llmrl.NewManualClock(0), 100_000, false, llmrl.Limit{
		Kind: llmrl.KindTokenBucket, Meter: llmrl.MeterRequests, Amount: 60, Burst: 1,
	})
	if err != nil {
		panic(err)
	}
	for range 2 {
		ok, wait, err := users.TryTake("alice", 1)
		fmt.Println(ok, wait, err)
	}
	// Output:
	// true 0s <nil>
	// false 1s <nil>
}

func ExampleReadAnswer() {
	reading, err := llmrl.ReadAnswer(429, map[string][]string{"Retry-After": {"7"}}, nil, time.Time{})
	if err != nil {
		panic(err)
	}
	fmt.Println(reading.Class == llmrl.ClassRate, reading.Wait)
	// Output: true 7s
}
