"""Nothing grows: objects, references, resident memory."""

from __future__ import annotations

import asyncio
import os
import sys
import warnings
import weakref

import pytest

from conftest import collect
from llmrl import Limit

counted = pytest.mark.skipif(not hasattr(sys, "getrefcount"), reason="objects are not counted by references here")
MANY = Limit.requests(10**9, per=1.0, burst=10**9)


def resident() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="no /proc here")
def test_resident_memory_is_flat_over_a_million_acquires(api):
    # Small tables: the library touches each of their pages when it first comes there.
    limiter = api.Limiter(MANY, Limit.in_flight(10), max_waiters=100, max_permits=100)
    rounds = 500_000 if api.__name__.endswith("_native") else 50_000

    def some(count: int) -> None:
        for _ in range(count):
            limiter.try_acquire(1, 1).settle(1, 1)

    async def more(count: int) -> None:
        for _ in range(count):
            async with limiter.acquire(1, 1):
                pass

    some(10_000)
    asyncio.run(more(10_000))
    collect()
    before = resident()
    some(rounds)
    asyncio.run(more(rounds))
    collect()
    # One leaked byte for each acquire would be a megabyte; allocators and the loop need some room to move.
    assert resident() - before < 1_000_000


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="no /proc here")
def test_lengths_are_freed(api):
    def some(times: int) -> None:
        for _ in range(times):
            handle = api.lengths_new(1000)
            for key in range(1000):
                api.lengths_record(handle, b"%d" % key, b"", 1)

    some(3)
    collect()
    before = resident()
    some(30)
    collect()
    # Half a megabyte each.
    assert resident() - before < 5_000_000


def test_waiting_leaves_nothing(api):
    limiter = api.Limiter(Limit.in_flight(1))

    async def main() -> None:
        async def body() -> None:
            async with limiter.acquire(timeout=60):
                await asyncio.sleep(0)

        for _ in range(20):
            tasks = [asyncio.ensure_future(body()) for _ in range(100)]
            await asyncio.sleep(0)
            for task in tasks[::3]:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        from llmrl._loop import _reactor

        reactor = _reactor()
        assert not reactor.woken
        assert len(reactor.heap) <= 200, "those who left are not kept until their time"

    asyncio.run(main())
    assert not limiter._hub.waiting


@counted
def test_references(api):
    limiter = api.Limiter(MANY, clock=None)
    before = sys.getrefcount(limiter)
    permits = [limiter.try_acquire() for _ in range(200)]
    acquisitions = [limiter.acquire(timeout=1.5) for _ in range(200)]
    assert sys.getrefcount(limiter) == before + 400
    for permit in permits:
        permit.settle(0, 0)
    for acquisition in acquisitions:
        acquisition.wait().release()
    del permits, acquisitions, permit, acquisition
    assert sys.getrefcount(limiter) == before


@counted
def test_types_are_not_leaked(api):
    limiter = api.Limiter(MANY)
    before = [sys.getrefcount(kind) for kind in (api.Permit, api.Acquire)]
    for _ in range(1000):
        limiter.try_acquire().release()
        limiter.acquire().wait().release()
    assert [sys.getrefcount(kind) for kind in (api.Permit, api.Acquire)] == pytest.approx(before, abs=2)


@counted
def test_errors_do_not_leak(api):
    limiter = api.Limiter(Limit.tokens(5))
    before = sys.getrefcount(limiter)
    for _ in range(100):
        with pytest.raises(ValueError):
            limiter.try_acquire(-1)
        with pytest.raises(ValueError):
            limiter.acquire(10).wait()
        with pytest.raises(TypeError):
            limiter.acquire(foo=1)
    collect()
    assert sys.getrefcount(limiter) == before


def test_limiters_go_with_their_last_reference(api):
    clock = api.ManualClock()
    limiter = api.Limiter(Limit.in_flight(3), clock=clock)
    gone = weakref.ref(limiter)
    permit = limiter.try_acquire()
    del limiter
    collect()
    assert gone() is not None, "a permit keeps its limiter"
    permit.release()
    del permit
    collect()
    assert gone() is None
    clock.advance(1)


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="a heap that is collected in steps also grows in steps")
def test_limiters_are_created_and_freed_without_growth(api):
    if not os.path.exists("/proc/self/statm"):
        pytest.skip("no /proc here")

    def some(count: int) -> None:
        for _ in range(count):
            clock = api.ManualClock()
            limiter = api.Limiter(Limit.requests(5), Limit.in_flight(5), max_waiters=16, max_permits=16, clock=clock)
            limiter.try_acquire().release()
            api.TokenBucket(5, clock=clock).try_take()
            api.BucketMap(5, clock=clock, capacity=1).try_take("key")

    some(1500)
    collect()
    before = resident()
    some(1500)
    collect()
    # 1500 of each; leaking the smallest of them would show.
    assert resident() - before < 500_000


def test_a_dropped_permit_gives_its_slot_back_and_says_so(api):
    limiter = api.Limiter(Limit.in_flight(1), Limit.tokens(100), clock=api.ManualClock())
    with pytest.warns(ResourceWarning, match="dropped while held"):
        limiter.try_acquire(10)
        collect()
    assert [state.available for state in limiter.limits()] == [1, 90], "the estimate stands"
    plain = api.Limiter(Limit.requests(5), clock=api.ManualClock())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain.try_acquire()
        collect()
    assert plain.limits()[0].available == 4
