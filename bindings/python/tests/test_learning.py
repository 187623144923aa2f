"""permit.feedback: what a limiter learns from answers, on both backends."""

from __future__ import annotations

import asyncio

import pytest

import llmrl
from llmrl import Limit

TOKENS = b'{"error": {"message": "Rate limit reached", "type": "tokens", "code": "rate_limit_exceeded"}}'


def told(limit: int, remaining: int) -> dict[str, str]:
    return {"x-ratelimit-limit-tokens": str(limit), "x-ratelimit-remaining-tokens": str(remaining)}


def test_a_refusal_holds_back_what_has_refused(api):
    clock = api.ManualClock()
    limiter = api.Limiter(Limit.requests(600), Limit.tokens(60_000), clock=clock)
    permit = limiter.try_acquire(input=1000)
    assert permit is not None
    advice = permit.feedback(429, {"Retry-After-Ms": "2500"}, TOKENS)
    assert advice == ("rate", True, 0.0)
    permit.release()
    assert limiter.wait_time(input=1000) >= 2.5
    assert limiter.wait_time() == 0
    assert [state.mode for state in limiter.limits()] == ["normal", "throttled"]


def test_limits_are_lowered_and_raised_only_if_allowed(api):
    clock = api.ManualClock()
    for raises, limit in ((False, 60_000), (True, 90_000)):
        limiter = api.Limiter(Limit.tokens(60_000), clock=clock, raise_limits=raises)
        for amount in (30_000, 30_000, 90_000, 90_000):
            permit = limiter.try_acquire(input=1)
            assert permit is not None
            assert permit.feedback(200, told(amount, 20_000)).answer_class == "ok"
            permit.settle(1, 0)
            if amount == 30_000:
                lowered = limiter.limits()[0].amount
        assert (lowered, limiter.limits()[0].amount) == (30_000, limit)


def test_what_others_use_is_found_out(api):
    clock = api.ManualClock()
    limiter = api.Limiter(Limit.tokens(60_000), clock=clock)
    permit = limiter.try_acquire(input=1000)
    assert permit is not None
    clock.advance(1)
    permit.feedback(200, told(60_000, 39_000))
    permit.release()
    assert limiter.limits()[0].available == 40_000


def test_waiters_learn_together(api):
    clock = api.ManualClock()
    async def main() -> float:
        limiter = api.Limiter(Limit.tokens(60_000, burst=1_000), clock=clock)
        permit = await limiter.acquire(input=1_000)
        waiting = asyncio.ensure_future(limiter.acquire(input=500))
        await asyncio.sleep(0)
        permit.feedback(429, [(b"retry-after", b"20")], TOKENS)
        permit.release()
        clock.advance(15)
        await asyncio.sleep(0)
        assert not waiting.done()
        clock.advance(30)
        (await waiting).release()
        return 1.0

    assert asyncio.run(main())


def test_what_ended_learns_nothing(api):
    clock = api.ManualClock()
    limiter = api.Limiter(Limit.tokens(60_000), clock=clock)
    permit = limiter.try_acquire(input=1)
    assert permit is not None
    with pytest.raises(ValueError, match="status"):
        permit.feedback(99, {})
    with pytest.raises(TypeError, match="headers"):
        permit.feedback(200, "retry-after: 3")
    permit.release()
    with pytest.raises(llmrl.StalePermit):
        permit.feedback(200, {})
