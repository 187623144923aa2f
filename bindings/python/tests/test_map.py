"""Limiters by key: own limits, bounded memory, and wakes that reach the right key."""

from __future__ import annotations

import asyncio
import doctest
import os
import sys
import threading
import weakref

import pytest

import llmrl
from conftest import collect, until, until_async
from llmrl import Limit, LimiterMap, _map
from test_memory import resident


@pytest.fixture(autouse=True)
def backend(api, monkeypatch):
    monkeypatch.setattr(_map, "Map", api.Map)


def users(api, *limits: Limit, **options) -> LimiterMap:
    options.setdefault("clock", api.ManualClock())
    return LimiterMap(*(limits or (Limit.tokens(1000, per=1),)), **options)


def tokens(limiter) -> int:
    return limiter.limits()[0].available


def test_each_key_has_its_own_limits(api):
    keys = users(api, Limit.tokens(1000, per=1), Limit.in_flight(1))
    alice, bob = keys.limiter("alice"), keys.limiter("bob")
    assert isinstance(alice, api.Limiter) and not alice.is_shared
    permit = alice.try_acquire(1000)
    assert alice.try_acquire(1) is None
    bob.try_acquire(1000).cancel()
    permit.settle(400, 0)
    assert (tokens(alice), alice.limits()[1].available) == (600, 1)
    assert keys.stats()[:3] == (2, 0, 2)


def test_the_limiter_is_the_same_object_while_it_is_kept(api):
    keys = users(api)
    alice = keys.limiter("alice")
    assert keys.limiter("alice") is keys.limiter(b"alice") is alice
    assert keys.limiter("J\u00fcrgen") is keys.limiter("J\u00fcrgen".encode()) is not alice
    alice.try_acquire(700).release()
    gone = weakref.ref(alice)
    del alice
    collect()
    assert gone() is None and not keys._limiters
    assert tokens(keys.limiter("alice")) == 300, "what was used is known without it"


def test_permits_and_those_who_wait_keep_their_limiter(api):
    keys = users(api, Limit.in_flight(1))
    held = keys.limiter("alice").try_acquire()
    collect()
    assert keys.limiter("alice").stats().in_flight == 1

    async def main() -> None:
        task = asyncio.ensure_future(keys.limiter("alice").acquire())
        await until_async(lambda: keys.stats().waiting == 1)
        collect()
        held.release()
        (await task).release()

    asyncio.run(main())
    assert keys.stats().in_flight == 0


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("", "key must be str or bytes, 1 to 1024 of them in UTF-8, got 0: ''"),
        (b"", "got 0: b''"),
        ("\u00e4" * 513, "got 1026"),
        (b"\0" * 1025, "got 1025"),
        ("\ud800", "which is no text"),
    ],
)
def test_keys_that_are_refused(api, key, message):
    keys = users(api)
    for call in (keys.limiter, keys.set_limits):
        with pytest.raises(ValueError) as caught:
            call(key)
        assert message in str(caught.value)
    for wrong in (None, 5, bytearray(b"a"), ["a"]):
        with pytest.raises(TypeError, match="key must be str or bytes"):
            keys.limiter(wrong)
    assert keys.stats().created == 0


def test_any_bytes_are_a_key(api):
    keys = users(api, capacity=10, shared=0)
    each = [b"\0" * 1024, b"\0" * 1023, b"\xff\0", b"\xff", "\u00e4" * 512, "a\0b", "a"]
    limiters = [keys.limiter(key) for key in each]
    assert len(set(map(id, limiters))) == keys.stats().keys == len(each)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"capacity": 0}, "capacity must be from 1 to 16777216, got 0"),
        ({"capacity": 2**24 + 1}, "capacity must be from 1 to 16777216"),
        ({"shared": -1}, "shared must be from 0 to 65536, got -1"),
        ({"shared": 2**16 + 1}, "shared must be from 0 to 65536"),
        ({"max_waiters": 0}, "max_waiters must be from 1"),
        ({"max_permits": 2**20 + 1}, "max_permits must be from 1"),
    ],
)
def test_numbers_that_are_refused(api, wrong, message):
    with pytest.raises(ValueError, match=message):
        users(api, **wrong)


def test_other_arguments_that_are_refused(api):
    with pytest.raises(ValueError, match="takes 1 to 8 limits, got 0"):
        LimiterMap()
    with pytest.raises(TypeError, match="limit 0 must be a Limit"):
        LimiterMap(5)
    with pytest.raises(TypeError, match="clock must be a llmrl.ManualClock or None"):
        LimiterMap(Limit.requests(5), clock=5)
    with pytest.raises(ValueError, match=r"LimiterMap: limits\[1\]"):
        LimiterMap(Limit.in_flight(5), Limit.in_flight(5))


def test_only_what_is_as_new_makes_room(api):
    clock = api.ManualClock()
    keys = users(api, clock=clock, capacity=1, shared=0)
    keys.limiter("used").try_acquire(1).release()
    collect()
    # A token is back after a millisecond; a nanosecond earlier it is not.
    clock.advance_ns(999_999)
    with pytest.raises(llmrl.MapFull, match="each of its 1 limiters is in use; .* larger capacity, or with shared"):
        keys.limiter("new")
    clock.advance_ns(1)
    new = keys.limiter("new")
    stats = keys.stats()
    assert (stats.keys, stats.created, stats.evictions, stats.full, stats.granted) == (1, 2, 1, 1, 1)
    with pytest.raises(llmrl.MapFull):
        keys.limiter("other")
    assert keys.limiter("new") is new, "somebody has it, so it stays"
    del new
    collect()
    assert not keys.limiter("other").is_shared
    assert issubclass(llmrl.MapFull, llmrl.Error)


def test_keys_without_room_share(api):
    clock = api.ManualClock()
    keys = users(api, Limit.tokens(1000, per=1), Limit.in_flight(1), clock=clock, capacity=1, shared=1)
    own, first, second = (keys.limiter(key) for key in ("own", "first", "second"))
    assert [limiter.is_shared for limiter in (own, first, second)] == [False, True, True]
    held = first.try_acquire(600)
    assert (tokens(own), tokens(second)) == (1000, 400)
    stats = keys.stats()
    assert (stats.keys, stats.shared, stats.in_flight) == (1, 1, 1)

    async def main() -> None:
        task = asyncio.ensure_future(second.acquire(300))
        await until_async(lambda: second.stats().waiting == 1)
        held.release()  # through another handle than the one that waits
        (await task).release()

    asyncio.run(main())
    assert tokens(first) == 100
    del own, first, second, held
    collect()
    assert keys.limiter("first").is_shared, "what it has used is known there only"
    collect()
    clock.advance(1)
    assert not keys.limiter("first").is_shared


def test_keys_have_limits_of_their_own(api):
    keys = users(api)
    alice = keys.limiter("alice")
    alice.try_acquire(1000).release()
    twice = Limit.tokens(2000, per=1)
    keys.set_limits("alice", twice)
    keys.set_limits("bob", twice)
    assert alice.wait_time(1) == 0.0005, "nothing is minted, the rate is the new one"
    assert tokens(keys.limiter("bob")) == 2000, "also before it has a limiter"
    keys.set_limits("bob")
    assert tokens(keys.limiter("bob")) == keys.limiter("bob").limits()[0].amount == 1000


def test_new_limits_wake_those_who_wait(api):
    keys = users(api, Limit.in_flight(1), Limit.tokens(5))

    async def main() -> None:
        held = keys.limiter("alice").try_acquire()
        task = asyncio.ensure_future(keys.limiter("alice").acquire())
        await until_async(lambda: keys.stats().waiting == 1)
        keys.set_limits("alice", Limit.in_flight(2), Limit.tokens(5))
        (await task).release()
        held.release()

    asyncio.run(main())


def test_limits_that_are_refused(api):
    keys = users(api, Limit.tokens(1000), Limit.in_flight(5))
    flight = Limit.in_flight(5)
    for limits, message in [
        ((Limit.tokens(5),), "takes 2 limits, as the map has, or none; got 1"),
        ((Limit.requests(5), flight), r"limit 0 must be of the kind and meter of the map's, Limit.tokens\(1000"),
        ((Limit.tokens(5), Limit.tokens(5)), "limit 1 must be of the kind"),
        ((Limit.fixed_window(5, meter="tokens"), flight), "limit 0 must be of the kind"),
        ((Limit.tokens(5, oversize="when_full"), flight), "limit 0 must be of the kind"),
        ((Limit.tokens(2**40 - 1, per=1e-9), flight), r"set_limits: limits\[0\]"),
    ]:
        with pytest.raises(ValueError, match=message):
            keys.set_limits("alice", *limits)
    with pytest.raises(TypeError, match="limit 1 must be a Limit"):
        keys.set_limits("alice", Limit.tokens(5), 5)
    assert keys.limiter("alice").limits()[0].amount == 1000


def test_stats_and_the_most_used(api):
    keys = users(api, Limit.requests(3), Limit.in_flight(10))
    keys.limiter("never")
    long = "long" * 100
    for key, times in (("once", 1), (long, 3)):
        for _ in range(times):
            keys.limiter(key).try_acquire().release()
    assert keys.limiter(long).try_acquire() is None
    most = keys.top()
    assert [(entry.key, entry.key_size, entry.granted, entry.refused) for entry in most] == [
        ((b"long" * 16), 400, 3, 1),
        (b"once", 4, 1, 0),
    ]
    assert keys.top(1) == most[:1] and keys.top(by="waiting") == []

    async def main() -> None:
        task = asyncio.ensure_future(keys.limiter(long).acquire())
        await until_async(lambda: keys.stats().waiting == 1)
        (waits,) = keys.top(by="waiting")
        assert (waits.key_size, waits.waiting) == (400, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    held = keys.limiter("once").try_acquire()
    assert keys.top(1000)[1].in_flight == 1
    assert keys.stats() == llmrl.MapStats(3, 0, 3, 0, 0, 5, 1, 0, 1)
    held.release()
    for n in (0, 1001, -1):
        with pytest.raises(ValueError, match="n must be from 1 to 1000"):
            keys.top(n)
    with pytest.raises(ValueError, match="by must be 'use' or 'waiting', got 'age'"):
        keys.top(by="age")


def test_close(api):
    keys = users(api, Limit.in_flight(1))
    alice = keys.limiter("alice")
    held = alice.try_acquire()

    async def main() -> None:
        task = asyncio.ensure_future(alice.acquire())
        await until_async(lambda: keys.stats().waiting == 1)
        keys.close()
        with pytest.raises(llmrl.Closed, match="create a new Limiter to go on"):
            await task

    asyncio.run(main())
    keys.close()
    for key in ("alice", "new"):
        with pytest.raises(llmrl.Closed, match="limiter: the limiter is closed; create a new LimiterMap to go on"):
            keys.limiter(key)
    held.settle(0, 0)
    assert alice.limits()[0].available == 1, "permits may be settled after close"


def test_closing_one_limiter_leaves_the_others(api):
    keys = users(api)
    keys.limiter("alice").close()
    with pytest.raises(llmrl.Closed):
        keys.limiter("alice").try_acquire()
    assert keys.limiter("bob").try_acquire(1)


def test_limiters_outlive_their_map(api):
    clock = api.ManualClock()
    keys = users(api, Limit.in_flight(1), Limit.tokens(100), clock=clock)
    alice = keys.limiter("alice")
    gone = weakref.ref(keys)
    held = alice.try_acquire(100)
    del keys
    collect()
    assert gone() is None

    async def main() -> None:
        task = asyncio.ensure_future(alice.acquire(50))
        await until_async(lambda: alice.stats().waiting == 1)
        held.release()
        clock.advance(30)
        (await task).release()

    asyncio.run(main())
    assert alice.limits()[0].available == 1


def test_a_map_is_collected_with_those_who_wait(api):
    keys = users(api, Limit.in_flight(1), clock=None)
    gone = weakref.ref(keys)
    loop = asyncio.new_event_loop()

    held = keys.limiter("alice").try_acquire()

    async def waits() -> None:
        await keys.limiter("alice").acquire()

    task = loop.create_task(waits())
    stats = keys.stats
    loop.run_until_complete(until_async(lambda: stats().waiting == 1))
    loop.close()
    task._log_destroy_pending = False
    held.release()
    asyncio.run(_other())
    del keys, task, loop, stats, waits, held
    collect()
    assert gone() is None


async def _other() -> None:
    """The glue remembers the last loop of each thread."""
    from llmrl._loop import _reactor

    _reactor()


def test_ten_thousand_keys_come_and_go(api):
    clock = api.ManualClock()
    keys = users(api, clock=clock, capacity=100, max_waiters=16, max_permits=16)

    def some(count: int) -> None:
        for number in range(count):
            keys.limiter(f"user {number}").try_acquire(1).release()
            clock.advance_ns(100_000)

    some(10_000)
    collect()
    assert not keys._limiters
    stats = keys.stats()
    assert stats.keys <= 100 and stats.granted == 10_000 and stats.evictions + stats.keys == stats.created
    if sys.implementation.name != "cpython" or not os.path.exists("/proc/self/statm"):
        return
    before = resident()
    some(10_000)
    collect()
    # The smallest thing that a key could leave behind would be a megabyte.
    assert resident() - before < 500_000


def test_each_key_has_its_own_line(api):
    """A task that waits for one key without end is not in the way of those who only need time at others."""
    keys = users(api, Limit.in_flight(1), Limit.requests(1000, per=1, burst=1), clock=None)

    async def take(key: str) -> None:
        (await keys.limiter(key).acquire()).release()

    async def main() -> None:
        held = await keys.limiter("stuck").acquire()
        stuck = asyncio.ensure_future(take("stuck"))
        await until_async(lambda: keys.stats().waiting == 1)
        # All but the first wait for a millisecond.
        await asyncio.wait_for(asyncio.gather(*[take(f"user {number % 5}") for number in range(50)]), 60)
        assert not stuck.done()
        held.release()
        await stuck

    asyncio.run(main())
    assert keys.stats().granted == 52


def test_first_in_first_out_for_each_key_in_a_loop(api):
    keys = users(api, Limit.in_flight(1))
    order: dict[str, list[int]] = {f"user {number}": [] for number in range(20)}

    async def body(key: str, number: int) -> None:
        async with keys.limiter(key).acquire():
            order[key].append(number)
            await asyncio.sleep(0)

    async def main() -> None:
        held = [keys.limiter(key).try_acquire() for key in order]
        tasks = [asyncio.ensure_future(body(key, number)) for number in range(20) for key in order]
        await until_async(lambda: keys.stats().waiting == 400)
        for permit in reversed(held):
            permit.release()
        await asyncio.gather(*tasks)

    asyncio.run(main())
    assert all(numbers == list(range(20)) for numbers in order.values())
    collect()
    assert not keys._hub.waiting and not keys._limiters


def test_threads_that_wait_for_many_keys(api):
    keys = users(api, Limit.in_flight(1))
    order: dict[str, list[int]] = {f"user {number}": [] for number in range(5)}
    held = [keys.limiter(key).try_acquire() for key in order]

    def body(key: str, number: int) -> None:
        with keys.limiter(key).acquire():
            order[key].append(number)

    threads = []
    for number in range(5):
        for key in order:
            threads.append(threading.Thread(target=body, args=(key, number), daemon=True))
            threads[-1].start()
            until(lambda: keys.stats().waiting == len(threads))
    for permit in held:
        permit.release()
    for thread in threads:
        thread.join()
    assert all(numbers == list(range(5)) for numbers in order.values())


def test_threads_that_ask_for_one_key_get_one_limiter(api):
    keys = users(api)
    start = threading.Barrier(4)
    found: list[list[object]] = [[] for _ in range(100)]

    def body() -> None:
        for number in range(100):
            start.wait()
            found[number].append(keys.limiter(f"user {number}"))

    threads = [threading.Thread(target=body) for _ in range(4)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert [len(set(map(id, limiters))) for limiters in found] == [1] * 100


def test_the_example():
    assert doctest.testmod(_map).failed == 0
