"""The emulator's windows against their definition, by brute force over a log of everything that was admitted."""

from __future__ import annotations

import random
from typing import List, Tuple

import pytest

from llmrl.cli.emulate_bucket import Admission, Gate, Refusal
from llmrl.cli.emulate_window import FixedWindow, SlidingWindow

SECOND = 10**9
Log = List[Tuple[int, int]]


def fixed_use(log: Log, period: int, origin: int, now: int) -> int:
    return sum(units for at, units in log if (at - origin) // period == (now - origin) // period)


def sliding_use(log: Log, period: int, _origin: int, now: int) -> int:
    return sum(units for at, units in log if now - period < at)


@pytest.mark.parametrize("use", [fixed_use, sliding_use])
@pytest.mark.parametrize("seed", range(6))
def test_a_window_is_its_definition_at_every_step(use, seed: int) -> None:
    rng = random.Random(seed)
    amount, period, origin = rng.choice([1, 10, 1000]), rng.choice([7, 60 * SECOND]), rng.randrange(100 * SECOND)
    window = FixedWindow(amount, period, origin) if use is fixed_use else SlidingWindow(amount, period)
    now, log = 50 * SECOND, []
    admitted = refused = 0
    for _ in range(400):
        now += rng.choice([0, 1, rng.randrange(period)])
        units = rng.randint(1, amount)
        left = amount - use(log, period, origin, now)
        assert window.available(now) == left
        if log and rng.random() < 0.2:
            index = rng.randrange(len(log))
            at, taken = log[index]
            back = rng.randint(-amount, taken)
            if sum(1 for other, _ in log if other == at) == 1:
                log[index] = (at, taken - back)
                window.correct(back, now, at)
            continue
        wait = window.wait_ns(units, now)
        assert (wait == 0) is (left >= units)
        if wait:
            assert use(log, period, origin, now + wait) <= amount - units < use(log, period, origin, now + wait - 1)
        assert window.take(units, now) is (left >= units)
        if left >= units:
            log.append((now, units))
            admitted += 1
        else:
            refused += 1
    assert admitted > 20 and refused > 20, "the run must have met both answers often"


def test_resets() -> None:
    fixed = FixedWindow(5, 60 * SECOND, 20 * SECOND)
    assert [fixed.reset_ns(at * SECOND) for at in (0, 20, 79, 80)] == [20 * SECOND, 60 * SECOND, SECOND, 60 * SECOND]
    sliding = SlidingWindow(5, 60 * SECOND)
    assert sliding.reset_ns(0) == 0
    assert sliding.take(2, 0) and sliding.take(2, 10 * SECOND)
    assert sliding.reset_ns(15 * SECOND) == 55 * SECOND


@pytest.mark.parametrize("make", [lambda n, p: FixedWindow(n, p, 0), SlidingWindow])
@pytest.mark.parametrize("amount, period", [(0, 1), (1, 0)])
def test_a_window_of_nothing_is_refused(make, amount: int, period: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        make(amount, period)


def test_a_gate_of_windows() -> None:
    gate = Gate(0, rpm=60, tpm=6000, burst_seconds=10, settles=True, enforce="fixed", origin_ns=-4 * SECOND)
    first = gate.admit(900, 0)
    assert isinstance(first, Admission)
    short = gate.admit(200, SECOND)
    assert isinstance(short, Refusal)
    assert (short.cause, short.limit, short.used, short.wait_ns) == ("tokens", 1000, 900, 5 * SECOND)
    late = gate.admit(1000, 6 * SECOND)
    assert isinstance(late, Admission)
    gate.finish(first, 100, 7 * SECOND)
    assert gate.tokens.available(7 * SECOND) == 0, "what the last window did not use is forfeited"
    gate.finish(late, 600, 7 * SECOND)
    assert gate.tokens.available(7 * SECOND) == 400
    stats = gate.stats()
    assert stats["limits"]["enforce"] == "fixed" and stats["limits"]["rpm"] == 60
    assert stats["limits"]["request_burst"] == 10 and stats["share"]["requests"] == 2 / 20
    sliding = Gate(0, rpm=6, burst_seconds=10, enforce="sliding")
    assert isinstance(sliding.admit(0, 0), Admission)
    refusal = sliding.admit(0, 3 * SECOND)
    assert isinstance(refusal, Refusal) and refusal.wait_ns == 7 * SECOND
