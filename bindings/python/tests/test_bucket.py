"""The bare token bucket."""

from __future__ import annotations


def test_take_and_wait(api):
    clock = api.ManualClock()
    bucket = api.TokenBucket(60, per=60, burst=10, clock=clock)
    assert bucket.available == 10
    assert bucket.try_take(9) is True
    assert bucket.try_take() is True
    assert bucket.try_take() is False
    assert bucket.wait_time() == 1.0
    assert bucket.wait_time(10) == 10.0
    clock.advance_ns(999_999_999)
    assert bucket.try_take() is False
    clock.advance_ns(1)
    assert bucket.wait_time() == 0.0
    assert bucket.available == 1, "asking for the time takes nothing"
    assert bucket.try_take() is True


def test_refund_charge_retune_pause(api):
    clock = api.ManualClock()
    bucket = api.TokenBucket(60, clock=clock)
    bucket.charge(100)
    assert bucket.available == -40
    bucket.refund(20)
    assert bucket.available == -20
    assert bucket.wait_time() == 21.0
    bucket.retune(120, per=60.0)
    assert bucket.wait_time() == 10.5
    clock.advance(10)
    assert bucket.available == 0
    bucket.pause(5)
    clock.advance(3)
    assert bucket.wait_time() == 2.0
    bucket.pause(0)
    assert bucket.try_take() is True
    clock.advance(3600)
    assert bucket.available == 120


def test_machine_clock(api):
    bucket = api.TokenBucket(1, per=3600)
    assert bucket.try_take()
    assert not bucket.try_take()
    assert 3590 < bucket.wait_time() <= 3600
