"""Figures of a run, and their means over seeds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Callable, List, Optional, Sequence

from load import Job


@dataclass(frozen=True)
class Result:
    scenario: str
    client: str
    seed: int
    minutes: float
    yielded: float
    """Share of the binding limit that was used, after the first minute."""
    refused: float
    """Share of the answers that were 429, of the whole run."""
    p50: float
    p99: float
    """Seconds from wanting to being admitted; inf: longer than the run."""
    jain: Optional[float]
    wakeups: float
    """Timers of the client that fired, for each request admitted."""


def _wait(job: Job, end: int) -> int:
    return (end if job.admitted_ns is None else job.admitted_ns) - job.taken_ns


def percentile(jobs: Sequence[Job], end: int, share: float) -> float:
    """Seconds within which ``share`` of the jobs are admitted, by the estimate of Kaplan and Meier.

    Jobs that still wait at the end have waited at least that long. Left out, they would make a limiter look quick that
    lets large jobs wait for ever; taken for served, they would make a long queue look short.
    """
    waits = sorted((_wait(job, end), job.admitted_ns is None) for job in jobs)
    left = 1.0
    for position, (wait, waits_still) in enumerate(waits):
        if not waits_still:
            left *= 1 - 1 / (len(waits) - position)
        if 1 - left >= share - 1e-12:
            return wait / 1e9
    return math.inf


def fairness(jobs: Sequence[Job], end: int, cost: Callable[[Job], int]) -> Optional[float]:
    """Jain's index over small, medium and large prompts of their delay relative to first come, first served.

    FIFO is replayed on the run's own service curve: whenever the run admitted something, FIFO may serve as much. So a
    slow provider does not count against a client, only whom it served with what there was.
    """
    if not any(job.admitted_ns is not None for job in jobs):
        return None
    fifo = _fifo(jobs, end, cost)
    by_size = sorted(range(len(jobs)), key=lambda index: jobs[index].prompt)
    ratios = []
    for part in range(3):
        members = by_size[part * len(jobs) // 3 : (part + 1) * len(jobs) // 3]
        own = sum(_wait(jobs[index], end) for index in members)
        ideal = sum(fifo[index] - jobs[index].taken_ns for index in members)
        ratios.append(own / ideal if ideal else 1.0)
    return sum(ratios) ** 2 / (len(ratios) * sum(ratio * ratio for ratio in ratios))


def _fifo(jobs: Sequence[Job], end: int, cost: Callable[[Job], int]) -> List[int]:
    """When each job would have been admitted. ``jobs`` are in the order in which they were taken."""
    served = sorted((job.admitted_ns, cost(job)) for job in jobs if job.admitted_ns is not None)
    times = [end] * len(jobs)
    credit = head = 0
    for at, units in served:
        credit += units
        while head < len(jobs) and jobs[head].taken_ns <= at and cost(jobs[head]) <= credit:
            credit -= cost(jobs[head])
            times[head] = at
            head += 1
    return times


@dataclass(frozen=True)
class Row:
    """The mean over the seeds of one client in one scenario."""

    scenario: str
    client: str
    minutes: float
    seeds: int
    yielded: float
    refused: float
    p50: float
    p99: float
    jain: Optional[float]
    wakeups: float


def mean(results: Sequence[Result]) -> Row:
    def of(values: List[float]) -> float:
        return sum(values) / len(values)

    first = results[0]
    indices = [result.jain for result in results if result.jain is not None]
    return Row(
        scenario=first.scenario,
        client=first.client,
        minutes=first.minutes,
        seeds=len(results),
        yielded=of([result.yielded for result in results]),
        refused=of([result.refused for result in results]),
        p50=of([result.p50 for result in results]),
        p99=of([result.p99 for result in results]),
        jain=of(indices) if indices else None,
        wakeups=of([result.wakeups for result in results]),
    )
