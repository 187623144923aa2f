"""What a running batch has counted, and which limit it is waiting for."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from contextlib import contextmanager
from typing import Any, Deque, Dict, Iterator, List, Optional, Tuple

from .batch_charge import Meters

RATE_WINDOW = 10.0
"""Seconds over which the shown rates are averaged."""


def binding(limiter: Any, meters: Meters, cost: Tuple[int, int]) -> Optional[int]:
    """The limit that a request waits for: of those it does not fit into, the one that frees last.

    Concurrency counts only if the rates would let the request pass: nobody can say when a slot frees, and a
    rate that is short as well will still be short then.
    """
    worst, longest = meters.in_flight, 0.0
    for index, state in enumerate(limiter.limits()):
        if index == meters.in_flight:
            continue
        # As a bucket would have it; near enough to compare windows as well.
        wait = max(state.paused, (meters.weight(index, state, cost) - state.available) * state.per / state.amount)
        if wait > longest:
            worst, longest = index, wait
    return worst


class Counts:
    """Counters of one run. Rates are over the last ten seconds; times are seconds of a monotonic clock."""

    def __init__(self, limiter: Any, meters: Meters, total: int) -> None:
        self.limiter = limiter
        self.meters = meters
        self.total = total
        """Lines in the input that are not blank."""
        self.started = time.monotonic()
        self.ok = self.failed = self.skipped = self.bad_lines = 0
        self.retries = self.in_flight = self.between_tries = 0
        self.tokens_in = self.tokens_out = 0
        self.too_many: Dict[str, int] = defaultdict(int)
        """429 answers by the limit that tripped."""
        self.bound_seconds: Dict[str, float] = defaultdict(float)
        """Time that the head of the queue waited, by the limit that it waited for."""
        self._first_admission: Optional[float] = None
        self._last_admission = 0.0
        self._queue: List[List[Tuple[int, int]]] = []
        self._bound: Optional[str] = None
        self._bound_since = 0.0
        self._marks: Deque[Tuple[float, int, int]] = deque()

    @property
    def done(self) -> int:
        """Lines that need nothing more."""
        return self.ok + self.failed + self.skipped + self.bad_lines

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.started

    def admitted(self) -> None:
        """A permit was granted now."""
        self._last_admission = time.monotonic()
        if self._first_admission is None:
            self._first_admission = self._last_admission

    def used(self, prompt: int, completion: int) -> None:
        self.tokens_in += prompt
        self.tokens_out += completion

    @contextmanager
    def waiting(self, cost: Tuple[int, int]) -> Iterator[None]:
        """While a request waits for its permit; the time counts for the limit that the head of the queue needs."""
        self._add_bound_time()
        entry = [cost]
        self._queue.append(entry)
        self._bound = self.binding()
        try:
            yield
        finally:
            self._add_bound_time()
            self._queue = [other for other in self._queue if other is not entry]
            self._bound = self.binding()

    def _add_bound_time(self) -> None:
        now = time.monotonic()
        if self._bound is not None:
            self.bound_seconds[self._bound] += now - self._bound_since
        self._bound_since = now

    def binding(self) -> Optional[str]:
        """The limit that the next request waits for. None: nothing is waiting."""
        if not self._queue:
            return None
        worst = binding(self.limiter, self.meters, self._queue[0][0])
        return None if worst is None else self.meters.names[worst]

    def rates(self) -> Tuple[float, float]:
        """``(requests per second, tokens per second)`` of the last ten seconds."""
        now = time.monotonic()
        answered, tokens = self.ok + self.failed, self.tokens_in + self.tokens_out
        if not self._marks:
            self._marks.append((self.started, 0, 0))
        self._marks.append((now, answered, tokens))
        while len(self._marks) > 2 and self._marks[1][0] <= now - RATE_WINDOW:
            self._marks.popleft()
        then, before, tokens_before = self._marks[0]
        span = max(1e-3, now - then)
        return (answered - before) / span, (tokens - tokens_before) / span

    def eta(self) -> Optional[float]:
        """Seconds until the end at the present rate; None while there is no rate."""
        left = max(0, self.total - self.done)
        rate = self.rates()[0]
        return 0.0 if left == 0 else left / rate if rate > 0 else None

    def shares(self, requests: int, tokens: int) -> Dict[str, float]:
        """Units that stand, over what each limit offered from the first admission to the last (burst + production)."""
        if self._first_admission is None:
            return {}
        window = self._last_admission - self._first_admission
        shares = {}
        for index, state in enumerate(self.limiter.limits()):
            units = {"requests": requests, "tokens": tokens}.get(self.meters.counted(index, state))
            if units is not None:
                shares[self.meters.names[index]] = units / (state.burst + state.amount * window / state.per)
        return shares
