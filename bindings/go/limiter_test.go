package llmrl

import (
	"context"
	"errors"
	"math"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A clock at 0, and a limiter on it that refills one request a second up to burst.
func slow(t *testing.T, burst int64, more ...Limit) (*ManualClock, *Limiter) {
	t.Helper()
	clock := NewManualClock(0)
	requests := Requests(60)
	requests.Burst = burst
	return clock, must(New(&Options{Clock: clock}, append([]Limit{requests}, more...)...))
}

// until waits for something that another goroutine does, without a time of its own.
func until(condition func() bool) {
	for !condition() {
		runtime.Gosched()
	}
}

func waits(l *Limiter, n int64) { until(func() bool { return l.Stats().Waiting == n }) }

func TestAllow(t *testing.T) {
	clock, l := slow(t, 3)
	for i, want := range []bool{true, true, true, false} {
		if got := l.Allow(); got != want {
			t.Fatalf("call %d: %v", i, got)
		}
	}
	clock.Advance(2 * time.Second)
	if l.AllowN(3) || !l.AllowN(2) || l.Allow() {
		t.Fatal("two should have come back")
	}
}

func TestAllowNeverAdmitsWhatCannotBeMeant(t *testing.T) {
	_, l := slow(t, 3)
	for _, n := range []int{0, -1, math.MinInt, math.MaxInt, 4} {
		if l.AllowN(n) {
			t.Errorf("admitted %d", n)
		}
	}
	if got := l.Limits()[0].Available; got != 3 {
		t.Errorf("%d left", got)
	}
}

func TestAllowIsNotForWhatComesBack(t *testing.T) {
	_, l := slow(t, 3, InFlight(1))
	if l.Allow() {
		t.Error("admitted without a permit")
	}
	if err := l.Wait(context.Background()); !errors.Is(err, ErrNeedsPermit) {
		t.Error(err)
	}
}

func TestAllowByManyAtOnce(t *testing.T) {
	_, l := slow(t, 100)
	var admitted sync.Map
	var all sync.WaitGroup
	for i := range 8 {
		all.Add(1)
		go func() {
			defer all.Done()
			n := 0
			for range 100 {
				if l.Allow() {
					n++
				}
			}
			admitted.Store(i, n)
		}()
	}
	all.Wait()
	sum := 0
	admitted.Range(func(_, n any) bool { sum += n.(int); return true })
	if sum != 100 {
		t.Errorf("%d admitted of a burst of 100", sum)
	}
}

func TestTryAcquireSaysExactlyWhen(t *testing.T) {
	clock, l := slow(t, 1, Tokens(600))
	permit, _, err := l.TryAcquire(Cost{Input: 300, Output: 100})
	if permit == nil || err != nil {
		t.Fatal(err)
	}
	again, wait, err := l.TryAcquire(Cost{Input: 300})
	if again != nil || wait != 10*time.Second || err != nil {
		t.Fatal(again, wait, err)
	}
	if err := permit.Settle(Cost{Input: 100, Output: 50}); err != nil {
		t.Fatal(err)
	}
	if _, wait, _ = l.TryAcquire(Cost{Input: 300}); wait != time.Second {
		t.Fatal(wait)
	}
	clock.Advance(wait - 1)
	if permit, _, _ := l.TryAcquire(Cost{Input: 300}); permit != nil {
		t.Fatal("a nanosecond early")
	}
	clock.Advance(1)
	if permit, _, _ := l.TryAcquire(Cost{Input: 300}); permit == nil {
		t.Fatal("late")
	}
}

func TestPermitEndsOnce(t *testing.T) {
	_, l := slow(t, 10, InFlight(2))
	permit := must(l.Acquire(context.Background(), Cost{}))
	if err := permit.Adjust(Cost{Requests: 3}); err != nil || l.Limits()[0].Available != 7 {
		t.Fatal(err, l.Limits())
	}
	if err := permit.Settle(Cost{Input: -1}); err == nil || !strings.Contains(err.Error(), "Cost.Input = -1 is outside 0 to 1099511627775") {
		t.Fatal(err)
	}
	if err := permit.Cancel(); err != nil || l.Limits()[0].Available != 10 || l.Limits()[1].Available != 2 {
		t.Fatal(err, l.Limits())
	}
	for name, end := range map[string]func() error{
		"Settle": func() error { return permit.Settle(Cost{}) }, "Release": permit.Release, "Cancel": permit.Cancel,
		"Adjust": func() error { return permit.Adjust(Cost{}) },
	} {
		if err := end(); !errors.Is(err, ErrStale) {
			t.Errorf("%s: %v", name, err)
		}
	}
	other := must(New(nil, Requests(5)))
	if err := (&Permit{other, must(l.Acquire(context.Background(), Cost{})).id}).Release(); !errors.Is(err, ErrStale) {
		t.Errorf("a foreign permit: %v", err)
	}
}

func TestWaitIsInOrder(t *testing.T) {
	clock, l := slow(t, 1)
	if !l.Allow() {
		t.Fatal("the first is free")
	}
	const n = 50
	order := make(chan int, n)
	for i := range n {
		go func() {
			if err := l.Wait(context.Background()); err != nil {
				t.Error(err)
			}
			order <- i
		}()
		waits(l, int64(i+1))
	}
	if l.Allow() {
		t.Fatal("overtakes")
	}
	for i := range n {
		clock.Advance(time.Second - 1)
		select {
		case <-order:
			t.Fatal("early")
		default:
		}
		clock.Advance(1)
		if got := <-order; got != i {
			t.Fatalf("%d instead of %d", got, i)
		}
	}
}

func TestWaitOnTheMachinesClock(t *testing.T) {
	fast := Limit{Kind: KindTokenBucket, Meter: MeterRequests, Amount: 1000, Period: time.Second, Burst: 1}
	l := must(New(nil, fast))
	start := time.Now()
	for range 21 {
		if err := l.Wait(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	// Never sooner; how much later is the machine's business.
	if took := time.Since(start); took < 19*time.Millisecond {
		t.Errorf("20 ms took %v", took)
	}
}

func TestWaitWakesWhenAPermitEnds(t *testing.T) {
	l := must(New(nil, InFlight(1)))
	first := must(l.Acquire(context.Background(), Cost{}))
	second := make(chan *Permit)
	go func() { second <- must(l.Acquire(context.Background(), Cost{})) }()
	waits(l, 1)
	if err := first.Release(); err != nil {
		t.Fatal(err)
	}
	if err := (<-second).Release(); err != nil {
		t.Fatal(err)
	}
}

func TestContexts(t *testing.T) {
	clock, l := slow(t, 1)
	done, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := l.Acquire(done, Cost{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if l.Stats().Granted != 0 || !l.Allow() {
		t.Error("who is gone already takes nothing")
	}
	// The turn comes in a second, which is known.
	soon, cancel := context.WithTimeout(context.Background(), time.Second/2)
	defer cancel()
	_, err := l.Acquire(soon, Cost{})
	if !errors.Is(err, ErrDeadline) || !errors.Is(err, context.DeadlineExceeded) || soon.Err() != nil {
		t.Error(err, soon.Err())
	}
	past, cancel := context.WithDeadline(context.Background(), time.Now().Add(-time.Hour))
	defer cancel()
	if _, err = l.Acquire(past, Cost{}); !errors.Is(err, ErrDeadline) || !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	// Later than it says, as a pause comes between.
	late, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := l.Pause(0, 0); err != nil {
		t.Error(err)
	}
	clock.Advance(time.Second - time.Millisecond)
	result := make(chan error)
	go func() { result <- l.Wait(late) }()
	waits(l, 1)
	if err := l.Pause(0, time.Hour); err != nil {
		t.Error(err)
	}
	if err := <-result; !errors.Is(err, ErrDeadline) {
		t.Error(err)
	}
	waits(l, 0)
}

func TestCancelledWhileWaiting(t *testing.T) {
	clock, l := slow(t, 1)
	l.Allow()
	ctx, cancel := context.WithCancel(context.Background())
	first, second := make(chan error), make(chan error)
	go func() { first <- l.Wait(ctx) }()
	waits(l, 1)
	go func() { second <- l.Wait(context.Background()) }()
	waits(l, 2)
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	// Whoever stands behind moves up.
	clock.Advance(time.Second)
	if err := <-second; err != nil {
		t.Fatal(err)
	}
}

func TestNever(t *testing.T) {
	_, l := slow(t, 3, Tokens(100))
	_, err := l.Acquire(context.Background(), Cost{Input: 90, Output: 11})
	if !errors.Is(err, ErrNever) || !strings.Contains(err.Error(), "limit 1 holds 100, and the request asks for 101") {
		t.Error(err)
	}
	if err := l.WaitN(context.Background(), 4); !errors.Is(err, ErrNever) {
		t.Error(err)
	}
	var known *Error
	if !errors.As(err, &known) || known.Op != "Acquire" || known.Level != -1 || known.Timeout() {
		t.Errorf("%#v", known)
	}
}

func TestClose(t *testing.T) {
	_, l := slow(t, 1)
	permit := must(l.Acquire(context.Background(), Cost{}))
	const n = 100
	results := make(chan error, n)
	for range n {
		go func() { results <- l.Wait(context.Background()) }()
	}
	waits(l, n)
	l.Close()
	l.Close()
	for range n {
		if err := <-results; !errors.Is(err, ErrClosed) {
			t.Fatal(err)
		}
	}
	if _, _, err := l.TryAcquire(Cost{}); !errors.Is(err, ErrClosed) || l.Allow() {
		t.Error(err)
	}
	if err := permit.Settle(Cost{}); err != nil {
		t.Error(err)
	}
}

func TestFull(t *testing.T) {
	clock := NewManualClock(0)
	l := must(New(&Options{Clock: clock, MaxWaiters: 2}, InFlight(1)))
	must(l.Acquire(context.Background(), Cost{}))
	first, second := must(l.Reserve(Cost{}, Forever)), must(l.Reserve(Cost{}, Forever))
	if _, err := l.Acquire(context.Background(), Cost{}); !errors.Is(err, ErrFull) {
		t.Error(err)
	}
	if err := errors.Join(first.Cancel(), second.Cancel()); err != nil {
		t.Error(err)
	}
}

func TestReservation(t *testing.T) {
	clock, l := slow(t, 1)
	first := must(l.Reserve(Cost{}, Forever))
	permit, _, err := first.Poll()
	if permit == nil || err != nil {
		t.Fatal(err)
	}
	second := must(l.Reserve(Cost{}, Forever))
	if _, wait, _ := second.Poll(); wait != time.Second {
		t.Fatal(wait)
	}
	// rate.Reservation would still have to wait.
	if err := permit.Cancel(); err != nil {
		t.Fatal(err)
	}
	if permit, _, err := second.Poll(); permit == nil || err != nil {
		t.Fatal(err)
	}
	third := must(l.Reserve(Cost{}, Forever))
	waited := make(chan error)
	go func() {
		_, err := third.Wait(context.Background())
		waited <- err
	}()
	clock.Advance(time.Second)
	if err := <-waited; err != nil {
		t.Fatal(err)
	}
	if _, err := l.Reserve(Cost{}, time.Second/2); !errors.Is(err, ErrDeadline) {
		t.Fatal(err)
	}
	last := must(l.Reserve(Cost{}, time.Second))
	if err := last.Cancel(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := last.Poll(); !errors.Is(err, ErrStale) {
		t.Fatal(err)
	}
	if err := last.Cancel(); !errors.Is(err, ErrStale) {
		t.Fatal(err)
	}
}

func TestOutlookTakesNothing(t *testing.T) {
	_, l := slow(t, 1, Tokens(60))
	for range 3 {
		if wait, limit, err := l.Outlook(Cost{}); wait != 0 || limit != -1 || err != nil {
			t.Fatal(wait, limit, err)
		}
	}
	if err := l.Charge(Cost{Input: 50}); err != nil {
		t.Fatal(err)
	}
	if wait, limit, err := l.Outlook(Cost{Input: 20}); wait != 10*time.Second || limit != 1 || err != nil {
		t.Fatal(wait, limit, err)
	}
}

func TestChange(t *testing.T) {
	clock, l := slow(t, 1, Limit{Kind: KindFixedWindow, Meter: MeterRequests, Amount: 10, Period: time.Hour})
	l.Allow()
	waited := make(chan error)
	go func() { waited <- l.Wait(context.Background()) }()
	waits(l, 1)
	if err := l.Retune(0, 600, time.Minute, 1); err != nil {
		t.Fatal(err)
	}
	clock.Advance(time.Second / 10)
	if err := <-waited; err != nil {
		t.Fatal(err)
	}
	if err := l.Align(1, time.Minute); err != nil {
		t.Fatal(err)
	}
	clock.Advance(time.Minute)
	if got := l.Limits()[1]; got.Available != 10 || got.Kind != KindFixedWindow || got.Period != time.Hour {
		t.Errorf("%+v", got)
	}
	if err := l.Pause(0, 5*time.Second); err != nil || l.Allow() || l.Limits()[0].Paused != 5*time.Second {
		t.Error(err, l.Limits())
	}
	if err := l.Charge(Cost{Requests: 4}); err != nil || l.Limits()[1].Available != 6 {
		t.Error(err, l.Limits())
	}
}

func TestSave(t *testing.T) {
	day := Limit{Kind: KindTokenBucket, Meter: MeterRequests, Amount: 1000, Period: 24 * time.Hour}
	l := must(New(nil, day))
	l.AllowN(900)
	saved := must(l.Save())
	again := must(New(&Options{Saved: saved}, day))
	if left := again.Limits()[0].Available; left < 100 || left > 110 {
		t.Errorf("%d left", left)
	}
	for _, damaged := range [][]byte{saved[:len(saved)-1], {1}, make([]byte, 5000)} {
		var argument *ArgumentError
		if _, err := New(&Options{Saved: damaged}, day); !errors.As(err, &argument) || argument.Message == "" {
			t.Errorf("%d bytes: %v", len(damaged), err)
		}
	}
}
