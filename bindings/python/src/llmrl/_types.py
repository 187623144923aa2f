"""What a limiter says about itself."""

from __future__ import annotations

from typing import NamedTuple, Sequence

_KINDS = {1: "token_bucket", 2: "in_flight"}
_METERS = {0: "in_flight", 1: "requests", 2: "tokens", 3: "input_tokens", 4: "output_tokens"}


class Stats(NamedTuple):
    """Counters of one limiter since it was created, read without stopping it."""

    granted: int
    """Acquisitions admitted."""
    refused: int
    """``try_acquire`` calls that got nothing."""
    waiting: int
    """Acquisitions in the queue now."""
    in_flight: int
    """Requests that hold an in-flight slot now; 0 without an in-flight limit."""
    cancelled: int
    """Waiters and permits that were cancelled."""
    timed_out: int
    """Waiters whose timeout passed."""
    wakes: int
    """Signals sent to sleeping waiters."""
    wait_total: float
    """Seconds that all granted waiters together spent in the queue."""
    wait_max: float
    """Seconds that the longest of them spent there."""


class LimitState(NamedTuple):
    """One limit of a limiter as it stands now."""

    kind: str
    """``token_bucket`` or ``in_flight``."""
    meter: str
    """``requests``, ``tokens``, ``input_tokens``, ``output_tokens`` or ``in_flight``."""
    amount: int
    """Amount per period; slots for an in-flight limit."""
    per: float
    """Period in seconds; 0.0 for an in-flight limit."""
    burst: int
    """Most that can be admitted at once."""
    available: int
    """What could be admitted now; negative while in debt."""
    paused: float
    """Seconds for which the limit still admits nothing; 0.0 when it is not paused."""

    def _weight(self, cost: Sequence[int]) -> int:
        requests, input_tokens, output_tokens = cost
        weights = {
            "requests": requests,
            "tokens": input_tokens + output_tokens,
            "input_tokens": input_tokens,
            "output_tokens": output_tokens,
        }
        return weights.get(self.meter, 0)


def make_stats(raw: Sequence[int]) -> Stats:
    """Build Stats from the nine numbers of ``llmrl_stats``."""
    *counts, wait_total_ns, wait_max_ns = raw
    return Stats._make((*counts, wait_total_ns / 1e9, wait_max_ns / 1e9))


def make_limit_state(raw: Sequence[int]) -> LimitState:
    """Build LimitState from the seven numbers of ``llmrl_limit_state``."""
    kind, meter, amount, period_ns, burst, available, paused_ns = raw
    return LimitState(_KINDS[kind], _METERS[meter], amount, period_ns / 1e9, burst, available, paused_ns / 1e9)
