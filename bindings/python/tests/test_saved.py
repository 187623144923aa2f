"""Limits that go on after a restart."""

from __future__ import annotations

import pytest

from llmrl import Limit

DAY = 86400
LIMITS = (Limit.fixed_window(1000, per=DAY), Limit.tokens(100, per=30 * DAY), Limit.in_flight(3))


def available(limiter):
    return [state.available for state in limiter.limits()]


def test_a_restart_forgets_nothing(api):
    before = api.Limiter(*LIMITS)
    before.try_acquire(60).release()
    saved = before.save()
    after = api.Limiter(*LIMITS, saved=saved)
    assert available(after) == [999, 40, 3]
    assert available(api.Limiter(*LIMITS)) == [1000, 100, 3]


def test_many_stamps(api):
    limit = Limit.sliding_window_log(1000, per=DAY)
    clock = api.ManualClock(0)
    before = api.Limiter(limit, clock=clock)
    for _ in range(500):
        before.try_acquire().release()
        clock.advance(0.001)
    assert available(api.Limiter(limit, saved=before.save())) == [500]


def test_bad_bytes_are_refused_with_a_reason(api):
    saved = api.Limiter(*LIMITS).save()
    for bad, reason in (
        (b"", "it is empty; start without it"),
        (b"nonsense" * 10, "it is something else"),
        (saved[:-1], "damaged or cut short"),
        (saved[:-9] + bytes([saved[-9] ^ 1]) + saved[-8:], "damaged or cut short"),
    ):
        with pytest.raises(ValueError, match=reason):
            api.Limiter(*LIMITS, saved=bad)
    with pytest.raises(ValueError, match=r"limits\[0\].saved period \(ns\) = 86400000000000"):
        api.Limiter(Limit.fixed_window(1000, per=2 * DAY), *LIMITS[1:], saved=saved)
    with pytest.raises(TypeError, match="saved must be bytes from Limiter.save"):
        api.Limiter(*LIMITS, saved="text")
