"""Bad input: every error says which field, which value, and what is accepted."""

from __future__ import annotations

import asyncio
import decimal
import fractions

import pytest

import llmrl
from llmrl import Limit

INT = [
    (-1, ValueError, "-1"),
    (2**40, ValueError, str(2**40)),
    (10**400, ValueError, "1000"),
    (True, TypeError, "bool True"),
    (1.0, TypeError, "float 1.0"),
    (float("nan"), TypeError, "float nan"),
    ("7", TypeError, "str '7'"),
    (b"7", TypeError, "bytes"),
    (None, TypeError, "NoneType"),
    ([], TypeError, "list"),
    (decimal.Decimal(1), TypeError, "Decimal"),
]
COST_FIELDS = ["input", "output", "requests", "cached", "cache_write"]
SECONDS = [
    (-1, ValueError, "-1"),
    (-0.5, ValueError, "-0.5"),
    (float("nan"), ValueError, "nan"),
    (10**400, ValueError, "1000"),
    (True, TypeError, "bool True"),
    ("7", TypeError, "str '7'"),
    ([], TypeError, "list"),
]


@pytest.mark.parametrize("field", COST_FIELDS)
@pytest.mark.parametrize("value, error, shown", INT, ids=lambda v: repr(v)[:20])
def test_cost_fields(api, field, value, error, shown):
    limiter = api.Limiter(Limit.requests(5), clock=api.ManualClock())
    permit = limiter.try_acquire()
    calls = [limiter.try_acquire, limiter.acquire, limiter.charge, limiter.wait_time]
    for call in calls:
        low = 1 if field == "requests" and call != limiter.charge else 0
        with pytest.raises(error) as caught:
            call(**{field: value})
        text = str(caught.value)
        high = 2**36 - 1 if field.startswith("cache") else 2**40 - 1
        assert field in text and shown in text and f"{low} to {high}" in text
    for call in (permit.settle, permit.adjust):
        with pytest.raises(error, match=field):
            call(**{"input": 0, "output": 0, field: value})
    assert permit.held, "a rejected settle leaves the permit held"
    permit.settle(0, 0)
    assert limiter.limits()[0].available == 4


def test_requests_of_zero(api):
    with pytest.raises(ValueError, match="requests must be from 1 "):
        api.Limiter(Limit.requests(5)).try_acquire(requests=0)


def test_use_without_a_request(api):
    limiter = api.Limiter(Limit.requests(5), Limit.tokens(100), clock=api.ManualClock())
    limiter.charge(input=30, requests=0)
    assert [state.available for state in limiter.limits()] == [5, 70]


def test_input_and_output_together(api):
    limiter = api.Limiter(Limit.requests(5), clock=api.ManualClock())
    with pytest.raises(ValueError, match="together"):
        limiter.try_acquire(2**40 - 1, 2**40 - 1)


@pytest.mark.parametrize("field", ["cached", "cache_write"])
def test_counts_of_the_cache(api, field):
    limiter = api.Limiter(Limit.requests(5), clock=api.ManualClock())
    limiter.try_acquire(**{field: 2**36 - 1}).settle(0, 0, **{field: 2**36 - 1})
    with pytest.raises(ValueError, match=f"{field} must be from 0 to {2**36 - 1}, got {2**36}"):
        limiter.try_acquire(**{field: 2**36})


class Index:
    def __index__(self) -> int:
        return 7


def test_whatever_has_an_index_is_an_integer(api):
    limiter = api.Limiter(Limit.tokens(100), clock=api.ManualClock())
    limiter.try_acquire(Index()).release()
    assert limiter.limits()[0].available == 93


@pytest.mark.parametrize("value, error, shown", SECONDS, ids=lambda v: repr(v)[:20])
def test_seconds(api, value, error, shown):
    limiter = api.Limiter(Limit.requests(5), clock=api.ManualClock())
    clock = api.ManualClock()
    bucket = api.TokenBucket(5)
    calls = [
        ("timeout", lambda: limiter.acquire(timeout=value)),
        ("seconds", lambda: limiter.pause(0, value)),
        ("per", lambda: limiter.retune(0, 5, per=value)),
        ("per", lambda: Limit.requests(5, per=value)),
        ("seconds", lambda: clock.advance(value)),
        ("start", lambda: api.ManualClock(value)),
        ("per", lambda: api.TokenBucket(5, per=value)),
        ("per", lambda: bucket.retune(5, per=value)),
        ("seconds", lambda: bucket.pause(value)),
    ]
    for field, call in calls:
        with pytest.raises(error) as caught:
            call()
        assert field in str(caught.value) and shown in str(caught.value) and "seconds" in str(caught.value)


def test_other_kinds_of_seconds(api):
    clock = api.ManualClock()
    clock.advance(fractions.Fraction(1, 4))
    clock.advance(decimal.Decimal("0.25"))
    assert clock.now_ns() == 500_000_000
    api.Limiter(Limit.requests(5)).acquire(timeout=float("inf")).wait()
    for infinite in (lambda: clock.advance(float("inf")), lambda: Limit.requests(5, per=float("inf"))):
        with pytest.raises(ValueError, match="9.2e9"):
            infinite()
    with pytest.raises(ValueError, match="1e-9"):
        Limit.requests(5, per=0)


@pytest.mark.parametrize("value, error, shown", INT, ids=lambda v: repr(v)[:20])
def test_counts(api, value, error, shown):
    limiter = api.Limiter(Limit.requests(5), clock=api.ManualClock())
    bucket = api.TokenBucket(5)
    calls = [
        ("n", lambda: Limit.requests(value)),
        ("n", lambda: Limit.in_flight(value)),
        ("amount", lambda: limiter.retune(0, value)),
        ("index", lambda: limiter.retune(value, 1)),
        ("index", lambda: limiter.pause(value, 1)),
        ("max_waiters", lambda: api.Limiter(Limit.requests(5), max_waiters=value)),
        ("max_permits", lambda: api.Limiter(Limit.requests(5), max_permits=value)),
        ("amount", lambda: api.TokenBucket(value)),
        ("n", lambda: bucket.try_take(value)),
        ("n", lambda: bucket.wait_time(value)),
        ("n", lambda: bucket.refund(value)),
        ("n", lambda: bucket.charge(value)),
        ("amount", lambda: bucket.retune(value)),
    ]
    if value is not None:
        calls.append(("burst", lambda: Limit.tokens(5, burst=value)))
    for field, call in calls:
        with pytest.raises(error) as caught:
            call()
        assert field in str(caught.value) and shown in str(caught.value)


def test_limit_arguments(api):
    with pytest.raises(ValueError, match="oversize must be 'reject' or 'when_full', got 'maybe'"):
        Limit.tokens(5, oversize="maybe")
    with pytest.raises(TypeError, match="start_empty must be True or False, got 1"):
        Limit.tokens(5, start_empty=1)
    with pytest.raises(TypeError, match="use Limit.requests"):
        Limit()
    with pytest.raises(AttributeError, match="immutable"):
        Limit.requests(5).amount = 6


def test_limiter_arguments(api):
    with pytest.raises(ValueError, match="1 to 8 limits, got 0"):
        api.Limiter()
    with pytest.raises(ValueError, match="1 to 8 limits, got 9"):
        api.Limiter(*[Limit.requests(5)] * 9)
    with pytest.raises(TypeError, match="limit 1 must be a Limit"):
        api.Limiter(Limit.requests(5), 500)
    with pytest.raises(TypeError, match="clock must be a llmrl.ManualClock or None, got 'now'"):
        api.Limiter(Limit.requests(5), clock="now")
    with pytest.raises(TypeError, match="max_waitors"):
        api.Limiter(Limit.requests(5), max_waitors=3)
    with pytest.raises(ValueError, match="Limiter: .*in.flight"):
        api.Limiter(Limit.in_flight(5), Limit.in_flight(6))
    with pytest.raises(ValueError, match="Limiter: .*limits.1."):
        api.Limiter(Limit.requests(5), Limit.requests(2**40 - 1, per=1e-9))


def test_call_shapes(api):
    limiter = api.Limiter(Limit.requests(5), clock=api.ManualClock())
    permit = limiter.try_acquire()
    for call in (
        lambda: limiter.try_acquire(1, 2, 3),
        lambda: limiter.try_acquire(1, input=1),
        lambda: limiter.try_acquire(tokens=1),
        lambda: limiter.try_acquire(timeout=1),
        lambda: permit.settle(),
        lambda: permit.settle(1),
        lambda: permit.adjust(output=1),
        lambda: permit.release(1),
        lambda: limiter.close(1),
        lambda: api.Permit(),
        lambda: api.Acquire(),
    ):
        with pytest.raises(TypeError):
            call()
    assert permit.held
    permit.cancel()
    assert limiter.limits()[0].available == 5


def test_indices(api):
    limiter = api.Limiter(Limit.requests(5), Limit.in_flight(5), clock=api.ManualClock())
    for call in (
        lambda: limiter.retune(2, 5),
        lambda: limiter.pause(2, 1),
        lambda: limiter.pause(1, 1),
        lambda: limiter.retune(2**39, 5),
    ):
        with pytest.raises(ValueError, match="accepted indices are 0 to 1"):
            call()


def test_never(api):
    limiter = api.Limiter(Limit.requests(5), Limit.tokens(100), clock=api.ManualClock())
    for call in (limiter.try_acquire, lambda n: limiter.acquire(n).wait(), limiter.wait_time):
        with pytest.raises(llmrl.Never, match="cost of 101 tokens can never fit limit 1, whose burst is 100") as caught:
            call(101)
    assert isinstance(caught.value, ValueError) and isinstance(caught.value, llmrl.Error)

    async def main() -> None:
        with pytest.raises(llmrl.Never):
            await limiter.acquire(101)
        with pytest.raises(llmrl.Never):
            async with limiter.acquire(101):
                raise AssertionError

    asyncio.run(main())
    with pytest.raises(llmrl.Never, match="n of 6 can never fit a burst of 5"):
        api.TokenBucket(5).try_take(6)


def test_deadline(api):
    limiter = api.Limiter(Limit.requests(60, burst=1), clock=api.ManualClock())
    limiter.try_acquire().release()
    with pytest.raises(llmrl.DeadlineExceeded, match="not admitted within the timeout") as caught:
        limiter.acquire(timeout=0.999).wait()
    assert isinstance(caught.value, TimeoutError)
    with pytest.raises(llmrl.DeadlineExceeded):
        limiter.acquire(timeout=0).wait()

    async def main() -> None:
        with pytest.raises(llmrl.DeadlineExceeded):
            await limiter.acquire(timeout=0.999)

    asyncio.run(main())
    assert limiter.stats().waiting == 0


def test_queue_full(api):
    limiter = api.Limiter(Limit.in_flight(1), max_waiters=1, max_permits=4, clock=api.ManualClock())
    held = limiter.try_acquire()

    async def main() -> None:
        task = asyncio.ensure_future(limiter.acquire())
        await asyncio.sleep(0)
        with pytest.raises(llmrl.QueueFull, match="max_waiters"):
            await limiter.acquire()
        held.release()
        (await task).release()

    asyncio.run(main())
    # Those who wait and those who hold share one table, so nobody waiting leaves room for one more to hold.
    many = api.Limiter(Limit.requests(100), max_waiters=1, max_permits=2, clock=api.ManualClock())
    permits = [many.try_acquire(), many.try_acquire()]
    with pytest.raises(llmrl.QueueFull, match="max_permits"):
        for _ in range(98):
            permits.append(many.try_acquire())
    assert many.limits()[0].available == 100 - len(permits), "the one that found no room took nothing"


def test_closed(api):
    limiter = api.Limiter(Limit.in_flight(1), clock=api.ManualClock())
    held = limiter.try_acquire()

    async def main() -> None:
        task = asyncio.ensure_future(limiter.acquire())
        await asyncio.sleep(0)
        limiter.close()
        with pytest.raises(llmrl.Closed, match="create a new Limiter"):
            await task

    asyncio.run(main())
    limiter.close()
    for call in (limiter.try_acquire, lambda: limiter.acquire().wait(), limiter.wait_time):
        with pytest.raises(llmrl.Closed):
            call()
    held.settle(0, 0)
    assert limiter.limits()[0].available == 1, "permits may be settled after close"


def test_clock_arguments(api):
    clock = api.ManualClock(1.5)
    assert clock.now_ns() == 1_500_000_000
    for value in (-1, 2**63):
        with pytest.raises(ValueError, match=f"ns must be from 0 to {2**63 - 1}"):
            clock.advance_ns(value)
    with pytest.raises(TypeError, match="ns must be a whole number"):
        clock.advance_ns(1.0)
