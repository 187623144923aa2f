"""The loop jumps to its timers, and the time module goes along."""

from __future__ import annotations

import asyncio
import random
import time
from typing import List, Tuple

import pytest

import virtual
from virtual import SECOND, TURN_NS, VirtualLoop


def test_a_timer_fires_at_its_time() -> None:
    loop = VirtualLoop()

    async def main() -> None:
        for seconds in (0.25, 3600.0, 86400.0 * 30):
            start = loop.now_ns
            await asyncio.sleep(seconds)
            # Longer sleeps are cut into days by asyncio, and each cut is a turn.
            late = loop.now_ns - start - round(seconds * SECOND)
            assert 0 <= late <= 40 * TURN_NS

    before = time.perf_counter()
    virtual.run(loop, main())
    assert time.perf_counter() - before < 10, "and takes no real time"


def test_timers_are_never_early_and_less_than_a_millisecond_late() -> None:
    loop = VirtualLoop()
    rng = random.Random(1)
    woken: List[Tuple[float, float]] = []

    async def sleeper(seconds: float) -> None:
        due = loop.time() + seconds
        await asyncio.sleep(seconds)
        woken.append((due, loop.time()))

    async def main() -> None:
        await asyncio.gather(*(sleeper(rng.uniform(0, 5)) for _ in range(500)))

    virtual.run(loop, main())
    assert len(woken) == 500
    assert all(due - 1e-9 <= at < due + 0.001 + 1e-4 for due, at in woken)
    assert woken == sorted(woken), "in the order of their times"


def test_time_follows_inside_and_only_there() -> None:
    epoch = 1_700_000_000 * SECOND
    loop = VirtualLoop(epoch)

    async def main() -> None:
        await asyncio.sleep(90)
        assert time.time_ns() == epoch + loop.now_ns
        assert time.monotonic_ns() == time.perf_counter_ns() == loop.now_ns
        assert time.monotonic() == time.perf_counter() == loop.time()
        assert time.time() == pytest.approx(1_700_000_090, abs=0.01)

    virtual.run(loop, main())
    assert time.time() > 1_700_000_090
    first = time.monotonic_ns()
    time.sleep(0.001)
    assert 1_000_000 <= time.monotonic_ns() - first < 60 * SECOND


def test_only_the_clients_timers_are_counted() -> None:
    loop = VirtualLoop()

    async def main() -> None:
        await loop.pause(1)
        await asyncio.sleep(1)
        await asyncio.sleep(0)
        handle = loop.call_later(1, lambda: None)
        handle.cancel()
        await loop.pause(2)

    virtual.run(loop, main())
    assert loop.wakeups == 1


def test_followers_see_all_of_the_time_before_a_timer_fires() -> None:
    loop = VirtualLoop()
    seen = [0]
    loop.followers.append(lambda ns: seen.__setitem__(0, seen[0] + ns))

    async def main() -> None:
        for _ in range(5):
            await asyncio.sleep(0.7)
            assert seen[0] == loop.now_ns

    virtual.run(loop, main())


def test_a_standstill_is_an_error() -> None:
    loop = VirtualLoop()

    async def main() -> None:
        await loop.create_future()

    with pytest.raises(RuntimeError, match="nothing is left to happen"):
        virtual.run(loop, main())
