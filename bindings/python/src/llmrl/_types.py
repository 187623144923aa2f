"""What a limiter says about itself."""

from __future__ import annotations

from typing import NamedTuple, Sequence, Union

# What a map knows a limiter or a bucket by.
Key = Union[str, bytes]

# As the numbers in llmrl_limit.kind and .meter; a kind is also the name of its constructor.
KINDS = (
    "",
    "token_bucket",
    "in_flight",
    "pacing",
    "fixed_window",
    "sliding_window_counter",
    "sliding_window",
    "sliding_window_log",
)
TOKEN_BUCKET, IN_FLIGHT, PACING, FIXED_WINDOW, SLIDING_WINDOW_COUNTER, SLIDING_WINDOW, SLIDING_WINDOW_LOG = range(1, 8)
METERS = ("in_flight", "requests", "tokens", "input_tokens", "output_tokens", "weighted_tokens")


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


class MapStats(NamedTuple):
    """Sums over all limiters of a ``LimiterMap``."""

    keys: int
    """Keys with a limiter of their own."""
    shared: int
    """Shared limiters that are in use."""
    created: int
    """Limiters that were ever made."""
    evictions: int
    """Limiters that were evicted."""
    full: int
    """Keys that were refused because the map was full."""
    granted: int
    """Acquisitions admitted by all limiters, the evicted ones included."""
    refused: int
    """``try_acquire`` calls of all limiters that got nothing."""
    waiting: int
    """Acquisitions in all queues now."""
    in_flight: int
    """Requests that hold an in-flight slot now; 0 without an in-flight limit."""


class KeyStats(NamedTuple):
    """One key of a ``LimiterMap``."""

    key: bytes
    """Its first 64 bytes, of the UTF-8 where it was given as str."""
    key_size: int
    """How many bytes all of it has."""
    granted: int
    """Acquisitions admitted since its limiter was made."""
    refused: int
    """``try_acquire`` calls that got nothing."""
    waiting: int
    """Acquisitions in its queue now."""
    in_flight: int
    """Requests that hold an in-flight slot now."""


class BucketMapStats(NamedTuple):
    """Counters of a ``BucketMap`` since it was created."""

    keys: int
    """Keys that have a bucket of their own, those included whose bucket is full and waits for somebody else to need it: up to twice
    the capacity."""
    evictions: int
    """How often a full bucket gave way to another key's."""
    overflows: int
    """Calls that found no room for their key. If these are not rare, the capacity is too small."""


class FairStats(NamedTuple):
    """How a ``FairQueue`` stands."""

    waiting: int
    """Who waits now."""
    batch: int
    """Of those, with ``batch=True``."""
    keys: int
    """Keys of which somebody waits; one that has both classes counts twice."""
    aged: int
    """Requests with ``batch=True`` that have become like the others, since the beginning."""
    passed: int
    """Requests that have passed a larger one, since the beginning."""


MODES = ("normal", "throttled", "recovering")


class LimitState(NamedTuple):
    """One limit of a limiter as it stands now."""

    kind: str
    """The name of its constructor: ``token_bucket`` (also of ``Limit.requests`` and the like), ``in_flight``, ``pacing``,
    ``fixed_window``, ``sliding_window_counter``, ``sliding_window`` or ``sliding_window_log``."""
    meter: str
    """``requests``, ``tokens``, ``input_tokens``, ``output_tokens``, ``weighted_tokens`` or ``in_flight``."""
    amount: int
    """Amount per period; slots for an in-flight limit."""
    per: float
    """Period in seconds; 0.0 for an in-flight limit."""
    burst: int
    """Most that can be admitted at once: of a bucket its burst, of a window its amount; 0 for pacing, where a cost of any size is
    admitted when nothing is owed, and for an in-flight limit."""
    available: int
    """What could be admitted now; negative while in debt."""
    paused: float
    """Seconds for which the limit still admits nothing; 0.0 when it is not paused."""
    mode: str
    """``normal``: as configured, or as the provider says. ``throttled``: less or nothing, because the provider has refused.
    ``recovering``: on its way back. See ``Permit.feedback``."""

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
    """Build LimitState from the eight numbers of ``llmrl_limit_state``."""
    kind, meter, amount, period_ns, burst, available, paused_ns, mode = raw
    return LimitState(KINDS[kind], METERS[meter], amount, period_ns / 1e9, burst, available, paused_ns / 1e9, MODES[mode])
