"""The API in one thread, on a manual clock."""

from __future__ import annotations

import asyncio
import math

import pytest

import llmrl
from llmrl import Limit


def test_all_or_nothing(api):
    limiter = api.Limiter(Limit.requests(10), Limit.tokens(1000), Limit.in_flight(3), clock=api.ManualClock())
    first = limiter.try_acquire(900, 50)
    assert first.held
    assert limiter.try_acquire(40, 20) is None, "1010 of 1000 tokens"
    requests, tokens, in_flight = limiter.limits()
    assert (requests.available, tokens.available, in_flight.available) == (9, 50, 2), "the refused one took nothing"
    second = limiter.try_acquire(input=50)
    assert second is not None
    first.settle(100, 10)
    assert [state.available for state in limiter.limits()] == [8, 840, 2]
    assert not first.held
    second.cancel()
    assert [state.available for state in limiter.limits()] == [9, 890, 3]


def test_settle_adjust_release_cancel(api):
    limiter = api.Limiter(Limit.tokens(1000), Limit.in_flight(2), clock=api.ManualClock())

    def tokens() -> int:
        return limiter.limits()[0].available

    permit = limiter.try_acquire(100, 400)
    permit.adjust(100, 100)
    assert (tokens(), permit.held) == (800, True)
    permit.adjust(input=100, output=700)
    assert tokens() == 200
    permit.settle(input=100, output=1000)
    assert tokens() == -100, "use beyond the estimate is debt"
    assert limiter.limits()[1].available == 2
    limiter.charge(input=50)
    assert tokens() == -150

    other = api.Limiter(Limit.tokens(1000), Limit.in_flight(2), clock=api.ManualClock())
    permit = other.try_acquire(300)
    permit.release()
    assert [state.available for state in other.limits()] == [700, 2]


def test_each_permit_ends_once(api):
    limiter = api.Limiter(Limit.requests(10), clock=api.ManualClock())
    for end in ("release", "cancel"):
        permit = limiter.try_acquire()
        getattr(permit, end)()
        for again in (permit.release, permit.cancel, lambda: permit.settle(0, 0), lambda: permit.adjust(0, 0), permit.__enter__):
            with pytest.raises(llmrl.StalePermit, match="settled, released or cancelled before"):
                again()
    with limiter.try_acquire() as permit:
        permit.settle(0, 0)
    assert limiter.limits()[0].available == 10 - 2, "two released or settled, one cancelled"


def test_contexts_release_what_is_still_held(api):
    limiter = api.Limiter(Limit.requests(10), Limit.in_flight(1), clock=api.ManualClock())
    with limiter.acquire() as permit:
        assert limiter.limits()[1].available == 0
    assert not permit.held
    with pytest.raises(ZeroDivisionError):
        with limiter.acquire() as permit:
            raise ZeroDivisionError
    assert not permit.held
    with limiter.acquire() as permit:
        permit.cancel()
    with limiter.try_acquire():
        pass
    assert [state.available for state in limiter.limits()] == [7, 1]

    async def main() -> None:
        async with limiter.acquire() as permit:
            assert limiter.limits()[1].available == 0
        assert not permit.held
        async with limiter.acquire() as permit:
            permit.settle(0, 0)
        with pytest.raises(ZeroDivisionError):
            async with limiter.acquire():
                raise ZeroDivisionError

    asyncio.run(main())
    assert [state.available for state in limiter.limits()] == [4, 1]


def test_without_a_context(api):
    limiter = api.Limiter(Limit.requests(10), Limit.in_flight(1), clock=api.ManualClock())
    permit = limiter.acquire().wait()
    assert permit.held
    permit.release()

    async def main() -> None:
        permit = await limiter.acquire(timeout=1)
        assert permit.held and isinstance(permit, api.Permit)
        permit.release()

    asyncio.run(main())
    assert limiter.limits()[1].available == 1


def test_acquire_begins_only_when_used(api):
    limiter = api.Limiter(Limit.requests(10), clock=api.ManualClock())
    limiter.acquire()
    assert limiter.stats().granted == 0


def test_an_acquisition_is_good_for_one_wait(api):
    limiter = api.Limiter(Limit.requests(10), clock=api.ManualClock())
    acquisition = limiter.acquire()
    acquisition.wait()
    with pytest.raises(RuntimeError, match="used before"):
        acquisition.wait()

    async def main() -> None:
        with pytest.raises(RuntimeError, match="used before"):
            await acquisition

    asyncio.run(main())


def test_blocking_inside_a_running_loop_is_refused(api):
    limiter = api.Limiter(Limit.requests(10), clock=api.ManualClock())

    async def main() -> None:
        with pytest.raises(RuntimeError, match="async with"):
            limiter.acquire().wait()
        with pytest.raises(RuntimeError, match="async with"):
            with limiter.acquire():
                pass

    asyncio.run(main())
    assert limiter.stats().granted == 0


def test_wait_time_is_exact(api):
    clock = api.ManualClock(start=5)
    limiter = api.Limiter(Limit.requests(60, per=60, burst=3), Limit.in_flight(5), clock=clock)
    assert limiter.wait_time() == 0.0
    permits = [limiter.try_acquire() for _ in range(3)]
    assert limiter.wait_time() == 1.0
    assert limiter.wait_time(requests=3) == 3.0
    clock.advance_ns(999_999_999)
    assert limiter.wait_time() == 1e-9
    assert limiter.try_acquire() is None
    clock.advance_ns(1)
    permits.append(limiter.try_acquire())
    permits.append(api.Limiter(Limit.in_flight(1)).try_acquire())
    assert all(permits)

    only = api.Limiter(Limit.in_flight(1), clock=clock)
    permit = only.try_acquire()
    assert only.wait_time() == math.inf
    permit.release()
    assert only.wait_time() == 0.0
    for permit in permits:
        permit.release()


def test_retune_and_pause(api):
    clock = api.ManualClock()
    limiter = api.Limiter(Limit.requests(60, burst=1), Limit.in_flight(1), clock=clock)
    held = limiter.try_acquire()
    limiter.retune(1, 2)
    assert limiter.wait_time() == 1.0
    limiter.retune(0, amount=60, per=6.0, burst=1)
    assert limiter.wait_time() == 0.1
    clock.advance(0.1)
    limiter.pause(0, 2.5)
    assert limiter.limits()[0].paused == 2.5
    assert limiter.wait_time() == 2.5
    limiter.pause(0, 0)
    assert limiter.wait_time() == 0.0
    state = limiter.limits()[0]
    assert (state.kind, state.meter, state.amount, state.per, state.burst) == ("token_bucket", "requests", 60, 6.0, 1)
    assert limiter.limits()[1].amount == 2
    held.release()


def test_meters(api):
    limiter = api.Limiter(
        Limit.requests(100), Limit.tokens(100), Limit.input_tokens(100), Limit.output_tokens(100), clock=api.ManualClock()
    )
    limiter.try_acquire(30, 5, requests=2).release()
    assert [(state.meter, state.available) for state in limiter.limits()] == [
        ("requests", 98),
        ("tokens", 65),
        ("input_tokens", 70),
        ("output_tokens", 95),
    ]


def test_oversize_and_start_empty(api):
    clock = api.ManualClock()
    limiter = api.Limiter(Limit.tokens(60, oversize="when_full"), clock=clock)
    limiter.try_acquire(100).release()
    assert limiter.limits()[0].available == -40
    empty = api.Limiter(Limit.requests(60, start_empty=True), clock=clock)
    assert empty.wait_time() == 1.0


def test_stats(api):
    clock = api.ManualClock()
    limiter = api.Limiter(Limit.requests(60, burst=1), Limit.in_flight(5), clock=clock)
    held = limiter.try_acquire()
    assert limiter.try_acquire() is None

    async def main() -> None:
        task = asyncio.ensure_future(limiter.acquire())
        await asyncio.sleep(0)
        assert limiter.stats().waiting == 1
        clock.advance(1)
        (await task).release()

    asyncio.run(main())
    stats = limiter.stats()
    assert (stats.granted, stats.refused, stats.waiting, stats.in_flight) == (2, 1, 0, 1)
    assert (stats.wait_total, stats.wait_max) == (1.0, 1.0)
    held.release()
    assert limiter.stats().in_flight == 0


def test_limits_are_values():
    assert Limit.requests(5) == Limit.requests(5, per=60) != Limit.requests(6)
    assert len({Limit.tokens(5), Limit.tokens(5), Limit.input_tokens(5)}) == 2
    assert repr(Limit.requests(5, per=1)) == "Limit.requests(5, per=1, burst=5, oversize='reject', start_empty=False)"
    assert repr(Limit.in_flight(7)) == "Limit.in_flight(7)"


def test_reprs(api):
    permit = api.Limiter(Limit.requests(5)).try_acquire()
    assert repr(permit) == "<llmrl.Permit held>"
    permit.release()
    assert repr(permit) == "<llmrl.Permit ended>"


def test_keyword_names_that_are_not_interned(api):
    limiter = api.Limiter(Limit.tokens(100), clock=api.ManualClock())
    limiter.try_acquire(**{"".join(["in", "put"]): 10}).release()
    assert limiter.limits()[0].available == 90
