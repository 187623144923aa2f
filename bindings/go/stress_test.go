package llmrl

import (
	"context"
	"errors"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestTenThousandWaiters(t *testing.T) {
	const n = 10_000
	clock := NewManualClock(0)
	l := must(New(&Options{Clock: clock, MaxWaiters: n}, Limit{Kind: KindTokenBucket, Meter: MeterRequests, Amount: 1, Period: time.Second}))
	l.Allow()
	var admitted atomic.Int64
	var all sync.WaitGroup
	for range n {
		all.Add(1)
		go func() {
			defer all.Done()
			if err := l.Wait(context.Background()); err != nil {
				t.Error(err)
			}
			admitted.Add(1)
		}()
	}
	waits(l, n)
	// They are goroutines, not threads.
	if got := threads(t); got > 100 {
		t.Errorf("%d threads", got)
	}
	for i := int64(1); i <= 10; i++ {
		clock.Advance(time.Second)
		until(func() bool { return admitted.Load() == i })
	}
	if err := l.Retune(0, 1_000_000, time.Second, n); err != nil {
		t.Fatal(err)
	}
	for admitted.Load() < n {
		clock.Advance(time.Second)
		runtime.Gosched()
	}
	all.Wait()
	if stats := l.Stats(); stats.Granted != n+1 || stats.Waiting != 0 {
		t.Errorf("%+v", stats)
	}
}

func threads(t *testing.T) int { return int(status(t, "Threads:")) }

func status(t *testing.T, field string) int64 {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip(err)
	}
	_, rest, _ := strings.Cut(string(text), field)
	return must(strconv.ParseInt(strings.Fields(rest)[0], 10, 64))
}

func TestCancellationStorm(t *testing.T) {
	const n, rounds = 500, 10
	l := must(New(&Options{MaxWaiters: 4 * n}, InFlight(4), Limit{Kind: KindTokenBucket, Meter: MeterTokens, Amount: 1_000_000, Period: time.Second}))
	var served, gone atomic.Int64
	for range rounds {
		var all sync.WaitGroup
		ctx, cancel := context.WithCancel(context.Background())
		for i := range n {
			all.Add(1)
			go func() {
				defer all.Done()
				mine := context.Background()
				if i%2 == 0 {
					mine = ctx
				}
				permit, err := l.Acquire(mine, Cost{Input: 10})
				switch {
				case err == nil:
					served.Add(1)
					runtime.Gosched()
					if err := permit.Settle(Cost{Input: int64(i % 20)}); err != nil {
						t.Error(err)
					}
				case errors.Is(err, context.Canceled):
					gone.Add(1)
				default:
					t.Error(err)
				}
			}()
			if i == n/2 {
				cancel()
			}
		}
		cancel()
		all.Wait()
	}
	stats := l.Stats()
	if served.Load()+gone.Load() != n*rounds || stats.InFlight != 0 || stats.Waiting != 0 || l.Limits()[0].Available != 4 {
		t.Errorf("%d served, %d gone, %+v", served.Load(), gone.Load(), stats)
	}
	if len(waiting.by) != 0 {
		t.Errorf("%d waiters are still known", len(waiting.by))
	}
}

func TestMemoryIsFlat(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector keeps memory of its own")
	}
	const million = 1_000_000
	l := must(New(nil, Limit{Kind: KindTokenBucket, Meter: MeterRequests, Amount: 1_000_000_000, Period: time.Second}, InFlight(8)))
	turn := func(n int) {
		for range n {
			permit, err := l.Acquire(context.Background(), Cost{Input: 5})
			if err != nil {
				t.Fatal(err)
			}
			if err := permit.Settle(Cost{Input: 4}); err != nil {
				t.Fatal(err)
			}
		}
	}
	resident := func() int64 { runtime.GC(); return status(t, "VmRSS:") }
	turn(million / 10) // each of the places for permits has been used then
	before := resident()
	turn(million)
	if grown := resident() - before; grown > 4096 {
		t.Errorf("%d KiB more after %d permits", grown, million)
	}
}

// Limiters that are forgotten are freed, and none that is in a call.
func TestCollectedWhileInUse(t *testing.T) {
	stop := make(chan struct{})
	collected := make(chan struct{})
	go func() {
		defer close(collected)
		for {
			select {
			case <-stop:
				return
			default:
				runtime.GC()
			}
		}
	}()
	for range 300 {
		clock := NewManualClock(0)
		l := must(New(&Options{Clock: clock, MaxPermits: 16, MaxWaiters: 16}, Requests(60), InFlight(1)))
		permit := must(l.Acquire(context.Background(), Cost{}))
		reservation := must(l.Reserve(Cost{}, Forever))
		l = nil
		if err := permit.Settle(Cost{}); err != nil {
			t.Fatal(err)
		}
		clock.Advance(time.Second)
		if permit, _, err := reservation.Poll(); permit == nil || err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	<-collected
}

func TestForgottenLimitersAreFreed(t *testing.T) {
	for range 2_000 {
		must(New(&Options{MaxPermits: 1 << 20}, Requests(60), InFlight(1)))
		if status(t, "VmSize:") > 64<<20 {
			runtime.GC()
		}
	}
	// Cleanups run on a goroutine of the runtime's own; each limiter has reserved some 50 MB of addresses.
	for tries := 0; status(t, "VmSize:") > 16<<20; tries++ {
		if tries == 1000 {
			t.Fatalf("%d KiB of addresses are still taken", status(t, "VmSize:"))
		}
		runtime.GC()
		runtime.Gosched()
	}
}

// A wake may come up before whoever is to be woken waits for it.
func TestHandOver(t *testing.T) {
	l := must(New(nil, InFlight(1)))
	const goroutines, turns = 4, 2_000
	var inside, turned atomic.Int64
	var all sync.WaitGroup
	for range goroutines {
		all.Add(1)
		go func() {
			defer all.Done()
			for range turns {
				permit, err := l.Acquire(context.Background(), Cost{})
				if err != nil {
					t.Error(err)
					return
				}
				if inside.Add(1) != 1 {
					t.Error("two are inside")
				}
				turned.Add(1)
				runtime.Gosched()
				inside.Add(-1)
				if err := permit.Release(); err != nil {
					t.Error(err)
				}
			}
		}()
	}
	all.Wait()
	if turned.Load() != goroutines*turns {
		t.Error(turned.Load())
	}
}
