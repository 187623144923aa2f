"""The emulator's enforcement against an oracle in rational arithmetic, which keeps nothing but a log of events."""

from __future__ import annotations

import random
from fractions import Fraction
from typing import List, Tuple

import pytest

from llmrl.cli.emulate_bucket import MINUTE_NS, Admission, Bucket, Gate, Refusal


class Oracle:
    """The level of a bucket by its definition, from the whole history: production is exact, capped at every step."""

    def __init__(self, amount: int, capacity: int) -> None:
        self.rate = Fraction(amount, MINUTE_NS)
        self.capacity = Fraction(capacity)
        self.events: List[Tuple[int, int]] = []  # (time, units taken; negative: given back)

    def level(self, now: int) -> Fraction:
        level, at = self.capacity, 0
        for time, units in self.events:
            level = min(self.capacity, level + self.rate * (time - at))
            level = min(self.capacity, level - units)
            at = time
        return min(self.capacity, level + self.rate * (now - at))

    def first_moment(self, units: int, now: int) -> int:
        missing = units - self.level(now)
        return now if missing <= 0 else now + -int(-missing // self.rate)


@pytest.mark.parametrize("seed", range(12))
def test_a_bucket_agrees_with_the_oracle_at_every_step(seed: int) -> None:
    rng = random.Random(seed)
    amount = rng.choice([1, 7, 60, 999, 200_000, 10**9])
    capacity = max(1, int(amount * rng.choice([0.02, 0.5, 1, 3])))
    bucket, oracle, now = Bucket(amount, capacity, 0), Oracle(amount, capacity), 0
    admitted = refused = 0
    for _ in range(300):
        now += rng.choice([0, 1, rng.randrange(10**6), rng.randrange(MINUTE_NS * capacity // amount)])
        units = rng.randint(1, capacity)
        wait = bucket.wait_ns(units, now)
        assert now + wait == oracle.first_moment(units, now)
        if rng.random() < 0.15:
            correction = rng.randint(-capacity // 2, capacity)
            bucket.correct(correction, now)
            oracle.events.append((now, -correction))
            continue
        expected = oracle.level(now) >= units
        assert bucket.take(units, now) is expected
        if expected:
            oracle.events.append((now, units))
            admitted += 1
        else:
            refused += 1
        assert bucket.available(now) == oracle.level(now) // 1
    assert admitted > 20 and refused > 20, "the run must have met both answers often"


def test_a_wait_is_exact_to_the_nanosecond() -> None:
    bucket = Bucket(500, 500, 0)
    assert bucket.take(500, 0)
    wait = bucket.wait_ns(7, 0)
    assert wait == 7 * MINUTE_NS // 500
    assert not bucket.take(7, wait - 1)
    assert bucket.take(7, wait)


def test_no_drift_over_a_year_of_odd_steps() -> None:
    bucket, now, taken = Bucket(7, 7, 0), 0, 7
    assert bucket.take(7, 0)
    for _ in range(10_000):
        now += 3_153_600_000_000_007 // 10_000 * 10
        if bucket.take(1, now):
            taken += 1
    assert taken <= 7 + 7 * now // MINUTE_NS
    assert bucket.available(now) <= 7


def test_time_that_runs_backwards_produces_nothing() -> None:
    bucket = Bucket(60, 60, 10**9)
    assert bucket.take(60, 10**9)
    assert bucket.available(0) == 0
    assert bucket.available(2 * 10**9) == 1


@pytest.mark.parametrize("amount,capacity", [(0, 1), (1, 0), (-5, 5)])
def test_a_bucket_of_nothing_is_refused(amount: int, capacity: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Bucket(amount, capacity, 0)


def test_the_gate_admits_all_or_says_which_limit_refused() -> None:
    gate = Gate(0, rpm=60, tpm=6000, max_concurrent=2)
    first = gate.admit(5900, 0)
    assert isinstance(first, Admission)
    short = gate.admit(200, 0)
    assert isinstance(short, Refusal) and short.cause == "tokens"
    assert (short.limit, short.used, short.requested, short.wait_ns) == (6000, 5900, 200, 10**9)
    assert gate.requests.available(0) == 58, "a request refused for its tokens has used up one request"
    assert isinstance(gate.admit(100, 0), Admission)
    full = gate.admit(0, 0)
    assert isinstance(full, Refusal) and full.cause == "concurrent"
    assert gate.requests.available(0) == 57, "a request refused for concurrency has used nothing"
    never = gate.admit(6001, 0)
    assert isinstance(never, Refusal) and never.cause == "oversize" and never.wait_ns is None
    gate.finish(first, 1000, 0)
    gate.finish(first, 0, 0)
    assert gate.active == 1, "finishing twice frees one slot"
    assert gate.totals.peak_concurrent == 2


def test_requests_run_out_and_come_back() -> None:
    gate = Gate(0, rpm=3)
    assert all(isinstance(gate.admit(10**6, 0), Admission) for _ in range(3))
    refusal = gate.admit(1, 0)
    assert isinstance(refusal, Refusal) and (refusal.cause, refusal.wait_ns) == ("requests", 20 * 10**9)
    assert isinstance(gate.admit(1, 20 * 10**9 - 1), Refusal)
    assert isinstance(gate.admit(1, 20 * 10**9), Admission)


@pytest.mark.parametrize("settles,left", [(False, 0), (True, 700)])
def test_only_a_settling_gate_gives_back(settles: bool, left: int) -> None:
    gate = Gate(0, tpm=1000, settles=settles)
    admission = gate.admit(1000, 0)
    assert isinstance(admission, Admission)
    gate.finish(admission, 300, 0)
    assert gate.tokens.available(0) == left
    assert gate.stats()["tokens"] == {"reserved": 1000, "returned": left, "charged": 1000 - left, "used": 300}


def test_settling_can_leave_a_debt() -> None:
    gate = Gate(0, tpm=1000, settles=True)
    admission = gate.admit(900, 0)
    assert isinstance(admission, Admission)
    gate.finish(admission, 1500, 0)
    assert gate.tokens.available(0) == -500
    refusal = gate.admit(100, 0)
    assert isinstance(refusal, Refusal) and refusal.wait_ns == 36 * 10**9


def test_shares_are_admitted_over_burst_plus_production_until_the_last_admission() -> None:
    gate = Gate(0, rpm=600, tpm=6000, max_concurrent=2, burst_seconds=10)
    assert gate.stats()["share"] == {"requests": 0.0, "tokens": 0.0, "concurrent": None}
    start = 5 * 10**9  # nothing before the first request counts
    first = gate.admit(1000, start)
    gate.finish(first, 1000, start + 5 * 10**9)
    second = gate.admit(500, start + 10 * 10**9)
    gate.finish(second, 500, start + 60 * 10**9)
    stats = gate.stats()
    assert stats["window_seconds"] == 10 and stats["run_seconds"] == 60
    assert stats["share"]["requests"] == 2 / (100 + 100)
    assert stats["share"]["tokens"] == 1500 / (1000 + 1000)
    assert stats["share"]["concurrent"] == 5 / (2 * 10)


@pytest.mark.parametrize("seed", range(6))
def test_never_more_than_burst_plus_production_in_any_interval(seed: int) -> None:
    """The bound by brute force over all pairs of admissions, and no refusal without need."""
    rng = random.Random(seed)
    rpm, tpm = 120, 9000
    gate, now, log = Gate(0, rpm=rpm, tpm=tpm, max_concurrent=None), 0, []
    for _ in range(250):
        now += rng.randrange(MINUTE_NS // 60)
        tokens = rng.randint(1, 900)
        if isinstance(gate.admit(tokens, now), Admission):
            log.append((now, tokens))
    assert 20 < len(log) < 250
    for i, (start, _) in enumerate(log):
        total = 0
        for time, tokens in log[i:]:
            total += tokens
            assert total <= tpm + Fraction(tpm * (time - start), MINUTE_NS)
