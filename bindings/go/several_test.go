package llmrl

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// TestRouting runs the vectors of every language: which node a key belongs to.
func TestRouting(t *testing.T) {
	var vectors []struct {
		Name     string
		Replicas int
		Nodes    []struct {
			Name   vectorKey
			Weight int
		}
		Keys [][2]json.RawMessage
	}
	read(t, filepath.Join(repository, "tests/routing/vectors.json"), &vectors)
	checked := 0
	for _, vector := range vectors {
		router := must(NewRouter(vector.Replicas))
		limiter := must(New(nil, Requests(1)))
		for _, node := range vector.Nodes {
			if err := router.Add(string(node.Name), node.Weight, limiter); err != nil {
				t.Fatal(vector.Name, err)
			}
		}
		for _, pair := range vector.Keys {
			var key vectorKey
			var want int
			if err := errors.Join(json.Unmarshal(pair[0], &key), json.Unmarshal(pair[1], &want)); err != nil {
				t.Fatal(err)
			}
			if got := must(router.NodeFor(string(key))); got.Name != string(vector.Nodes[want].Name) {
				t.Errorf("%s: %q belongs to %q, not %q", vector.Name, key, got.Name, vector.Nodes[want].Name)
			}
			checked++
		}
	}
	if checked < 100 {
		t.Errorf("only %d keys", checked)
	}
}

// vectorKey is text, or bytes in hexadecimal.
type vectorKey string

func (k *vectorKey) UnmarshalJSON(text []byte) error {
	var bytes struct{ Hex string }
	if json.Unmarshal(text, &bytes) == nil {
		raw, err := hex.DecodeString(bytes.Hex)
		*k = vectorKey(raw)
		return err
	}
	return json.Unmarshal(text, (*string)(k))
}

func TestRouter(t *testing.T) {
	clock := NewManualClock(0)
	router := must(NewRouter(0))
	if _, _, _, err := router.TryAcquire(Cost{}, ""); !errors.Is(err, ErrNoNode) {
		t.Error(err)
	}
	limiters := map[string]*Limiter{}
	for _, name := range []string{"east", "west"} {
		limit := Requests(60)
		limit.Burst = 1
		limiters[name] = must(New(&Options{Clock: clock}, limit))
		if err := router.Add(name, 1, limiters[name]); err != nil {
			t.Fatal(err)
		}
	}
	home := must(router.NodeFor("key"))
	node, permit, _, err := router.TryAcquire(Cost{}, "key")
	if node != home || permit == nil || err != nil {
		t.Fatal(node, permit, err)
	}
	if node, permit, _, _ := router.TryAcquire(Cost{}, "key"); node == home || permit == nil {
		t.Fatal("the other one has room")
	}
	if node, permit, wait, err := router.TryAcquire(Cost{}, "key"); node == nil || permit != nil || wait != time.Second || err != nil {
		t.Fatal(node, permit, wait, err)
	}
	type result struct {
		node *Node
		err  error
	}
	results := make(chan result)
	go func() {
		node, permit, err := router.Acquire(t.Context(), Cost{}, "key")
		if err == nil {
			err = permit.Settle(Cost{})
		}
		results <- result{node, err}
	}()
	waits(limiters["east"], 1)
	waits(limiters["west"], 1)
	// It may be admitted at one that has gone.
	other := map[string]string{"east": "west", "west": "east"}[home.Name]
	limiters[other].Close()
	if err := router.Remove(home.Name); err != nil {
		t.Fatal(err)
	}
	clock.Advance(time.Second)
	if got := <-results; got.node != home || got.err != nil {
		t.Fatal(got)
	}
	if _, _, err := router.Acquire(t.Context(), Cost{}, "key"); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if err := router.SetWeight("nobody", 1); !errors.Is(err, ErrNoNode) {
		t.Error(err)
	}
	if err := router.Add("x", 1, must(New(nil, Requests(1)))); err == nil {
		t.Error("a node on another clock")
	}
}

func TestChain(t *testing.T) {
	clock := NewManualClock(0)
	limit := func(amount, burst int64) *Limiter {
		l := Requests(amount)
		l.Burst = burst
		return must(New(&Options{Clock: clock}, l, InFlight(10)))
	}
	user, provider := limit(60, 2), limit(30, 1)
	chain := must(NewChain(0, user, provider))
	permit, _, err := chain.TryAcquire(Cost{})
	if permit == nil || err != nil {
		t.Fatal(err)
	}
	if permit, wait, err := chain.TryAcquire(Cost{}); permit != nil || wait != 2*time.Second || err != nil {
		t.Fatal(permit, wait, err)
	}
	if got := user.Limits()[0].Available; got != 1 {
		t.Errorf("%d left of the user's", got)
	}
	result := make(chan error)
	go func() {
		permit, err := chain.Acquire(context.Background(), Cost{})
		if err == nil {
			err = permit.Settle(Cost{})
		}
		result <- err
	}()
	waits(provider, 1)
	clock.Advance(2 * time.Second)
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	if advice, err := permit.Feedback(429, map[string][]string{"Retry-After": {"3"}}, nil); err != nil || advice.Class != ClassRate {
		t.Error(advice, err)
	}
	if err := errors.Join(permit.Adjust(Cost{}), permit.Release()); err != nil {
		t.Error(err)
	}
	if err := permit.Cancel(); !errors.Is(err, ErrStale) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, err := chain.Acquire(ctx, Cost{})
		result <- err
	}()
	waits(provider, 1)
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if got := user.Limits()[1].Available; got != 10 {
		t.Errorf("%d free of the user's", got)
	}
	_, err = chain.Acquire(context.Background(), Cost{Requests: 2})
	var known *Error
	if !errors.As(err, &known) || known.Level != 1 || !errors.Is(err, ErrNever) {
		t.Error(err)
	}
	for _, levels := range [][]*Limiter{nil, {user, nil}, make([]*Limiter, 9)} {
		var argument *ArgumentError
		if _, err := NewChain(0, levels...); !errors.As(err, &argument) {
			t.Error(err)
		}
	}
}

func TestFairQueue(t *testing.T) {
	clock := NewManualClock(0)
	l := must(New(&Options{Clock: clock}, Limit{Kind: KindTokenBucket, Meter: MeterTokens, Amount: 60, Burst: 1}))
	fair := must(NewFairQueue(l, nil))
	first, _, err := fair.TryAcquire(Cost{Input: 1})
	if first == nil || err != nil {
		t.Fatal(err)
	}
	const n = 6
	served := make(chan string, 2*n)
	// Alice was there first with all of hers; Bob has twice her weight.
	for _, share := range []Share{{Key: "alice"}, {Key: "bob", Weight: 2}} {
		for range n {
			before := fair.Stats().Waiting
			go func() {
				if _, err := fair.Acquire(context.Background(), Cost{Input: 1}, share); err != nil {
					t.Error(err)
				}
				served <- share.Key
			}()
			until(func() bool { return fair.Stats().Waiting == before+1 })
		}
	}
	if permit, wait, err := fair.TryAcquire(Cost{Input: 1}); permit != nil || wait == 0 || err != nil {
		t.Error("overtakes")
	}
	count := map[string]int{}
	for i := range 2 * n {
		clock.Advance(time.Second)
		count[<-served]++
		if i == 5 && !reflect.DeepEqual(count, map[string]int{"alice": 2, "bob": 4}) {
			t.Errorf("of the first six %v", count)
		}
	}
	for want, share := range map[string]Share{
		"len(key) = 0":               {},
		"len(key) = 1025":            {Key: strings.Repeat("x", 1025)},
		"Share.Weight = -1":          {Key: "x", Weight: -1},
		"Share.Weight = 1000001 is ": {Key: "x", Weight: 1000001},
	} {
		if _, err := fair.Acquire(context.Background(), Cost{Input: 1}, share); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
	if err := first.Settle(Cost{}); err != nil {
		t.Error(err)
	}
}

func TestLimiterMap(t *testing.T) {
	clock := NewManualClock(0)
	users := must(NewLimiterMap(&Options{Clock: clock}, 100, 0, Requests(2)))
	alice, bob := must(users.Limiter("alice")), must(users.Limiter("bob"))
	if !alice.Allow() || !alice.Allow() || alice.Allow() || !bob.Allow() || alice.IsShared() {
		t.Error("each has two")
	}
	if again := must(users.Limiter("alice")); again.Allow() {
		t.Error("a fresh budget")
	}
	if err := users.SetLimits("alice", Requests(6)); err != nil || alice.Limits()[0].Amount != 6 {
		t.Error(err, alice.Limits())
	}
	result := make(chan error)
	go func() { result <- bob.WaitN(context.Background(), 2) }()
	waits(bob, 1)
	clock.Advance(30 * time.Second)
	if err := <-result; err != nil {
		t.Error(err)
	}
	if stats := users.Stats(); stats.Keys != 2 || stats.Granted != 4 {
		t.Errorf("%+v", stats)
	}
	for want, err := range map[string]error{
		"len(key) = 0 ": second(users.Limiter("")), "len(key) = 1025 ": second(users.Limiter(strings.Repeat("x", 1025))),
		"shared = -1 ": second(NewLimiterMap(nil, 1, -1, Requests(1))), "capacity = 0": second(NewLimiterMap(nil, 0, 0, Requests(1))), "Saved": second(NewLimiterMap(&Options{Saved: []byte{1}}, 1, 0, Requests(1))),
		"limits[0].Amount = -1": users.SetLimits("alice", Requests(-1)),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
	go func() { result <- bob.WaitN(context.Background(), 2) }()
	waits(bob, 1)
	users.Close()
	if err := <-result; !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if _, err := users.Limiter("carol"); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestBucketMap(t *testing.T) {
	clock := NewManualClock(0)
	users := must(NewBucketMap(clock, 100, true, Requests(60)))
	if ok, _, err := users.TryTake("alice", 60); !ok || err != nil {
		t.Fatal(err)
	}
	if ok, wait, err := users.TryTake("alice", 2); ok || wait != 2*time.Second || err != nil {
		t.Fatal(ok, wait, err)
	}
	if err := errors.Join(users.Refund("alice", 3), users.Charge("alice", 5)); err != nil || must(users.Available("alice")) != -2 {
		t.Error(err)
	}
	if must(users.Available("bob")) != 60 || users.Stats().Keys != 1 {
		t.Errorf("%+v", users.Stats())
	}
	for want, err := range map[string]error{
		"len(key) = 0 ": users.Charge("", 1), "n = 0 ": users.Refund("x", 0), "n = -9223372036854775808 ": users.Charge("x", math.MinInt64),
		"capacity = -1": second(NewBucketMap(nil, -1, true, Requests(1))), "can never fit": second(only(users.TryTake("x", 61))),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}

func only(ok bool, _ time.Duration, err error) (bool, error) { return ok, err }
