"""Every meter admits what it says and no more, and says exactly when."""

from __future__ import annotations

import random
from typing import Callable, List, Tuple

import pytest

from meters import Bucket, Meter, Rolling, Slots, Window
from virtual import MINUTE, SECOND

LIMIT = 1000
TIMED = {
    "bucket": lambda: Bucket(LIMIT),
    "minute": lambda: Window(LIMIT, origin_ns=-17 * SECOND),
    "ten seconds": lambda: Window(LIMIT, 10 * SECOND, -SECOND),
    "rolling": lambda: Rolling(LIMIT),
}


def hammer(meter: Meter, end: int, rng: random.Random) -> List[Tuple[int, int]]:
    """Ask again and again, in bursts and at random; what was admitted when."""
    admitted, now = [], 0
    while now < end:
        for _ in range(rng.choice((1, 1, 40))):
            units = rng.randint(1, 200)
            if meter.wait_ns(units, now) == 0:
                meter.take(units, now)
                admitted.append((now, units))
        now += rng.choice((rng.randint(1, SECOND), rng.randint(SECOND, 90 * SECOND)))
    return admitted


def most_in_any(admitted: List[Tuple[int, int]], period: int) -> int:
    """The most units in any half-open interval of ``period``; one that begins with an admission."""
    most = here = last = 0
    for first, (start, units) in enumerate(admitted):
        while last < len(admitted) and admitted[last][0] < start + period:
            here += admitted[last][1]
            last += 1
        most = max(most, here)
        here -= units
    return most


@pytest.mark.parametrize("seed", range(5))
def test_never_more_than_the_limit(seed: int) -> None:
    rng = random.Random(seed)
    end = 40 * MINUTE
    rolling = hammer(Rolling(LIMIT), end, rng)
    assert LIMIT * 0.8 < most_in_any(rolling, MINUTE) <= LIMIT

    bucket = hammer(Bucket(LIMIT), end, rng)
    for minutes in (1, 2, 7):
        assert most_in_any(bucket, minutes * MINUTE) <= LIMIT + minutes * LIMIT, "a full bucket and what is produced"
    assert most_in_any(bucket, MINUTE) > LIMIT

    window = hammer(Window(LIMIT, origin_ns=-17 * SECOND), end, rng)
    assert LIMIT < most_in_any(window, MINUTE) <= 2 * LIMIT, "over a boundary it may be twice"
    by_minute: dict = {}
    for at, units in window:
        number = (at + 17 * SECOND) // MINUTE
        by_minute[number] = by_minute.get(number, 0) + units
    assert LIMIT * 0.8 < max(by_minute.values()) <= LIMIT


@pytest.mark.parametrize("make", TIMED.values(), ids=TIMED)
def test_a_wait_is_exact(make: Callable[[], Meter]) -> None:
    rng = random.Random(3)
    waited = 0
    for _ in range(300):
        meter, now = make(), rng.randint(0, MINUTE)
        for _ in range(rng.randint(1, 30)):
            units = rng.randint(1, 300)
            if meter.wait_ns(units, now) == 0:
                meter.take(units, now)
            now += rng.randint(0, 3 * SECOND)
        units = rng.randint(1, LIMIT)
        wait = meter.wait_ns(units, now)
        if wait:
            waited += 1
            assert meter.wait_ns(units, now + wait - 1) == 1
            assert meter.wait_ns(units, now + wait) == 0
    assert waited > 50


@pytest.mark.parametrize("make", TIMED.values(), ids=TIMED)
def test_account_of_the_greedy_and_of_the_idle(make: Callable[[], Meter]) -> None:
    def share(meter: Meter, greedy: bool) -> float:
        used_before = gone_before = 0.0
        for now in range(0, 20 * MINUTE, SECOND // 10):
            if now == MINUTE:
                used_before, gone_before = meter.account(now)
            while greedy and meter.wait_ns(1, now) == 0:
                meter.take(1, now)
        used, gone = meter.account(20 * MINUTE)
        return (used - used_before) / (gone - gone_before)

    assert share(make(), True) == pytest.approx(1, abs=1e-6)
    assert share(make(), False) == 0


def test_a_bucket_gives_back_and_shares_and_changes() -> None:
    bucket = Bucket(600)
    bucket.take(600, 0)
    bucket.give(200, 0)
    assert bucket.remaining(0) == 200 and bucket.account(0) == (400, 400)
    bucket.give(600, 0)
    assert bucket.remaining(0) == 600, "never above its capacity"
    bucket.take_by_others(630, 0)
    assert bucket.remaining(0) == 0 and bucket.wait_ns(1, 0) == 3.1 * SECOND, "by force"
    bucket.retune(300, 0)
    assert bucket.wait_ns(1, 0) == 6.2 * SECOND
    assert bucket.reset_ns(0) == 66 * SECOND


def test_a_rolling_log_counts_how_full_it_was() -> None:
    """All of the limit once every 61 s is 60/61 of it, wherever the last moment is."""
    log = Rolling(1000)
    for at in range(0, 20 * 61, 61):
        assert log.wait_ns(1000, at * SECOND) == 0
        log.take(1000, at * SECOND)
    for seconds in (61 * 19, 61 * 19 + 30):
        used, gone = log.account(seconds * SECOND)
        assert used / gone == pytest.approx(60 / 61, abs=0.001)


def test_slots_count_the_time_that_they_are_busy() -> None:
    slots = Slots(4)
    for _ in range(4):
        assert slots.wait_ns(1, 0) == 0
        slots.take(1, 0)
    assert slots.wait_ns(1, 0) > 0
    slots.give(1, 5 * SECOND)
    assert slots.account(10 * SECOND) == (4 * 5 + 3 * 5, 40)
