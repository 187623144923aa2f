"""Whole runs: what the best, the worst and the most patient client get."""

from __future__ import annotations

import asyncio
import math
from typing import List

import pytest

import trial
from clients.base import Client
from clients.oracle import Oracle
from load import Job
from measure import fairness, percentile
from scenarios import SCENARIOS, right
from virtual import SECOND


class Idle(Client):
    async def complete(self, job: Job) -> None:
        await asyncio.get_running_loop().create_future()


class GivesUp(Client):
    async def complete(self, job: Job) -> None:
        await asyncio.sleep(1)


class SmallestFirst(Oracle):
    def _admit(self) -> None:
        waiting = sorted(self._queue, key=lambda entry: entry[0].prompt)
        self._queue.clear()
        self._queue.extend(waiting)
        super()._admit()


@pytest.mark.parametrize("key", right())
def test_an_oracle_gets_it_all(key: str) -> None:
    result = trial.run(SCENARIOS[key], "oracle", Oracle, 1, 3)
    assert 0.985 <= result.yielded <= 1.001, "in windows, what is left at the end may be too little for the next"
    assert result.refused == 0
    assert result.jain == pytest.approx(1, abs=1e-9)
    assert result.wakeups <= 1.3


def test_a_client_that_sends_nothing_gets_nothing() -> None:
    for key in ("a", "c", "d", "f"):
        result = trial.run(SCENARIOS[key], "idle", Idle, 1, 3)
        assert result.yielded == 0 and result.refused == 0 and result.jain is None
        assert math.isinf(result.p50) and math.isinf(result.wakeups)


def test_a_run_depends_on_its_seed_only() -> None:
    first, again, other = (trial.run(SCENARIOS["a"], "oracle", Oracle, seed, 2) for seed in (1, 1, 2))
    assert first == again
    assert first.p50 != other.p50


def test_a_client_that_gives_up_is_an_error() -> None:
    with pytest.raises(AssertionError, match="gave job 1 up"):
        trial.run(SCENARIOS["a"], "gives up", GivesUp, 1, 2)


def test_smallest_first_is_unfair() -> None:
    result = trial.run(SCENARIOS["a"], "smallest first", SmallestFirst, 1, 3)
    assert result.yielded > 0.98
    assert result.jain is not None and result.jain < 0.9


def jobs(*pairs: "tuple[int, int | None]") -> List[Job]:
    """(taken, admitted) in seconds; sizes grow along."""
    made = []
    for number, (taken, admitted) in enumerate(pairs):
        job = Job(number, 10 + number, 10, 10, 10)
        job.taken_ns = taken * SECOND
        job.admitted_ns = None if admitted is None else admitted * SECOND
        made.append(job)
    return made


def test_jain() -> None:
    def one(job: Job) -> int:
        return 1

    in_order = jobs((0, 1), (0, 2), (0, 3), (0, 4), (0, 5), (0, 6))
    assert fairness(in_order, 9 * SECOND, one) == 1
    reverse = fairness(jobs((0, 3), (0, 2), (0, 1)), 9 * SECOND, one)  # FIFO: 1, 2, 3; so ratios 3, 1, 1/3
    assert reverse == pytest.approx((3 + 1 + 1 / 3) ** 2 / (3 * (9 + 1 + 1 / 9)))
    # The large one costs 3 and never came: FIFO would have served it with the 3 units of the others.
    starved = fairness(jobs((0, None), (0, 1), (0, 2), (0, 3)), 9 * SECOND, lambda job: 3 if job.number == 0 else 1)
    assert starved is not None and starved < 0.8


def test_percentiles_of_jobs_that_still_wait() -> None:
    served = jobs(*((0, n) for n in range(1, 101)))
    assert percentile(served, 1000 * SECOND, 0.5) == 50
    assert percentile(served, 1000 * SECOND, 0.99) == 99
    # Half of them never: their median is not below the run.
    stuck = jobs(*((0, 1) for _ in range(50)), *((0, None) for _ in range(51)))
    assert math.isinf(percentile(stuck, 1000 * SECOND, 0.5))
    # Those that came a moment ago say nothing about long waits.
    fresh = jobs(*((0, 10) for _ in range(50)), *((99, None) for _ in range(50)))
    assert percentile(fresh, 100 * SECOND, 0.5) == percentile(fresh, 100 * SECOND, 0.99) == 10
