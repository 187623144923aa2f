"""What the emulator enforces: token buckets (or windows) and a concurrency cap, in exact integers.

Nothing here comes from the library that is tested against it: the point of the emulator is a second
opinion. Time is always an argument (integer nanoseconds of a monotonic clock), so a test can drive every
class by hand.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, Optional, Union

from .emulate_window import FixedWindow, SlidingWindow

MINUTE_NS = 60_000_000_000


class Bucket:
    """A continuous token bucket: ``amount`` units per minute, at most ``capacity`` saved up, full at the start.

    The level is kept in unit-nanoseconds (units x 60e9), where one nanosecond produces exactly ``amount``.
    So nothing is ever rounded, however long the bucket lives.
    """

    def __init__(self, amount: int, capacity: int, now_ns: int) -> None:
        if amount < 1 or capacity < 1:
            raise ValueError(f"amount and capacity must be at least 1, not {amount} and {capacity}")
        self.amount = amount
        self.capacity = capacity
        self._full = capacity * MINUTE_NS
        self._level = self._full
        self._at = now_ns

    def _roll(self, now_ns: int) -> int:
        if now_ns > self._at:
            self._level = min(self._full, self._level + self.amount * (now_ns - self._at))
            self._at = now_ns
        return self._level

    def available(self, now_ns: int) -> int:
        """Whole units that could be taken now (negative while in debt)."""
        return self._roll(now_ns) // MINUTE_NS

    def take(self, units: int, now_ns: int) -> bool:
        """Take ``units`` if all of them are there; otherwise take nothing and say False."""
        if self._roll(now_ns) < units * MINUTE_NS:
            return False
        self._level -= units * MINUTE_NS
        return True

    def correct(self, units: int, now_ns: int, _taken_ns: int = 0) -> None:
        """Give ``units`` back (positive, never above the capacity) or charge them afterwards (negative)."""
        self._level = min(self._full, self._roll(now_ns) + units * MINUTE_NS)

    def wait_ns(self, units: int, now_ns: int) -> int:
        """Nanoseconds until ``units`` are there, rounded up; 0 if they are."""
        missing = units * MINUTE_NS - self._roll(now_ns)
        return -(-missing // self.amount) if missing > 0 else 0

    def reset_ns(self, now_ns: int) -> int:
        """Nanoseconds until the bucket is full again, rounded up: what OpenAI calls *reset*."""
        return -(-(self._full - self._roll(now_ns)) // self.amount)

    def offered(self, first_ns: int, last_ns: int) -> float:
        """The most that could be admitted from ``first_ns`` to ``last_ns``: the burst plus the production."""
        return self.capacity + self.amount * (last_ns - first_ns) / MINUTE_NS


Meter = Union[Bucket, FixedWindow, SlidingWindow]


@dataclass
class Refusal:
    """Why a request was not admitted. ``wait_ns`` is None when no waiting helps."""

    cause: str  # "requests" | "tokens" | "concurrent" | "oversize"
    limit: int
    used: int
    requested: int
    wait_ns: Optional[int]


@dataclass
class Admission:
    """An admitted request; hand it back to :meth:`Gate.finish` exactly once."""

    reserved: int
    at_ns: int
    open: bool = True


@dataclass
class Totals:
    """Counters since the start, in the units that their names say."""

    admitted: int = 0
    finished: int = 0
    refused: Dict[str, int] = field(
        default_factory=lambda: {"requests": 0, "tokens": 0, "concurrent": 0, "oversize": 0}
    )
    tokens_reserved: int = 0
    tokens_returned: int = 0
    tokens_used: int = 0
    peak_concurrent: int = 0


class Gate:
    """One key's limits: admits a request against all of them, or says which one refused it.

    ``rpm``, ``tpm`` and ``max_concurrent`` are None where there is no such limit. ``burst_seconds`` is how much
    of a rate can be saved up (60: OpenAI's buckets hold a whole minute). ``settles`` corrects a request's token
    charge to what it used when it ends; without it the reservation is never returned. ``enforce`` is ``bucket``, or
    ``fixed`` or ``sliding`` for windows of ``burst_seconds``; the fixed ones begin at ``origin_ns``, by default now.
    """

    def __init__(
        self,
        now_ns: int,
        rpm: Optional[int] = None,
        tpm: Optional[int] = None,
        max_concurrent: Optional[int] = None,
        burst_seconds: float = 60.0,
        settles: bool = False,
        enforce: str = "bucket",
        origin_ns: Optional[int] = None,
    ) -> None:
        def meter(amount: Optional[int]) -> Optional[Meter]:
            if amount is None:
                return None
            capacity, period_ns = max(1, int(amount * burst_seconds / 60)), round(burst_seconds * 1e9)
            if enforce == "fixed":
                return FixedWindow(capacity, period_ns, now_ns if origin_ns is None else origin_ns)
            return SlidingWindow(capacity, period_ns) if enforce == "sliding" else Bucket(amount, capacity, now_ns)

        self.requests = meter(rpm)
        self.tokens = meter(tpm)
        self.rpm, self.tpm, self.enforce = rpm, tpm, enforce
        self.max_concurrent = max_concurrent
        self.settles = settles
        self.active = 0
        self.totals = Totals()
        self.first_ns: Optional[int] = None
        self.last_ns: Optional[int] = None
        self._finished_ns = now_ns
        self._busy_ns = 0
        self._busy_at = now_ns
        self._busy_at_last_admission = 0

    def admit(self, tokens: int, now_ns: int) -> "Admission | Refusal":
        """Admit a request that reserves ``tokens``, or refuse it.

        As with OpenAI, a request that is refused for its tokens has still used up one request. One refused for
        concurrency, or one that could never fit, has used nothing.
        """
        if self.first_ns is None:
            self.first_ns = now_ns
        refusal = self._refusal(tokens, now_ns)
        if refusal is not None:
            self.totals.refused[refusal.cause] += 1
            return refusal
        self._count_busy(now_ns)
        self._busy_at_last_admission = self._busy_ns
        self.active += 1
        self.last_ns = now_ns
        self.totals.admitted += 1
        self.totals.tokens_reserved += tokens
        self.totals.peak_concurrent = max(self.totals.peak_concurrent, self.active)
        return Admission(tokens, now_ns)

    def _refusal(self, tokens: int, now_ns: int) -> Optional[Refusal]:
        if self.tokens is not None and tokens > self.tokens.capacity:
            return Refusal("oversize", self.tokens.capacity, 0, tokens, None)
        if self.max_concurrent is not None and self.active >= self.max_concurrent:
            return Refusal("concurrent", self.max_concurrent, self.active, 1, 1_000_000_000)
        if self.requests is not None and not self.requests.take(1, now_ns):
            return self._short("requests", self.requests, 1, now_ns)
        if self.tokens is not None and not self.tokens.take(tokens, now_ns):
            return self._short("tokens", self.tokens, tokens, now_ns)
        return None

    @staticmethod
    def _short(cause: str, meter: Meter, units: int, now_ns: int) -> Refusal:
        used = max(0, meter.amount - meter.available(now_ns))
        return Refusal(cause, meter.amount, used, units, meter.wait_ns(units, now_ns))

    def finish(self, admission: Admission, used_tokens: int, now_ns: int) -> None:
        """The request has ended and used ``used_tokens``. A second call for the same admission does nothing."""
        if not admission.open:
            return
        admission.open = False
        self._count_busy(now_ns)
        self.active -= 1
        self._finished_ns = now_ns
        self.totals.finished += 1
        self.totals.tokens_used += used_tokens
        if self.settles:
            self.totals.tokens_returned += admission.reserved - used_tokens
            if self.tokens is not None:
                self.tokens.correct(admission.reserved - used_tokens, now_ns, admission.at_ns)

    def _count_busy(self, now_ns: int) -> None:
        self._busy_ns += self.active * (now_ns - self._busy_at)
        self._busy_at = now_ns

    def stats(self) -> Dict[str, Any]:
        """A snapshot for ``GET /stats``; the fields are explained in ``llmrl emulate --help``.

        *share* is what was admitted, over what the limit had to offer in the window from the first request's
        arrival to the last admission: of a bucket the burst and the production. For *concurrent* it is busy slot time over slots x window. The window ends at the last admission because afterwards nobody wanted any.
        """
        totals = self.totals
        window_ns = (self.last_ns - self.first_ns) if self.first_ns is not None and self.last_ns is not None else 0
        charged = totals.tokens_reserved - totals.tokens_returned

        def share(meter: Optional[Meter], admitted: int) -> Optional[float]:
            if meter is None:
                return None
            start = self.first_ns or 0
            return admitted / meter.offered(start, start + window_ns)

        slots = None
        if self.max_concurrent is not None and window_ns:
            slots = self._busy_at_last_admission / (self.max_concurrent * window_ns)
        return {
            "limits": {
                "enforce": self.enforce,
                "rpm": self.rpm,
                "tpm": self.tpm,
                "max_concurrent": self.max_concurrent,
                "request_burst": self.requests.capacity if self.requests else None,
                "token_burst": self.tokens.capacity if self.tokens else None,
                "charge_settles": self.settles,
            },
            "window_seconds": window_ns / 1e9,
            "run_seconds": (self._finished_ns - self.first_ns) / 1e9
            if totals.finished and self.first_ns is not None
            else 0.0,
            "admitted": totals.admitted,
            "finished": totals.finished,
            "active": self.active,
            "peak_concurrent": totals.peak_concurrent,
            "busy_slot_seconds": self._busy_ns / 1e9,
            "refused": dict(totals.refused, total=sum(totals.refused.values())),
            "tokens": {
                "reserved": totals.tokens_reserved,
                "returned": totals.tokens_returned,
                "charged": charged,
                "used": totals.tokens_used,
            },
            "share": {
                "requests": share(self.requests, totals.admitted),
                "tokens": share(self.tokens, charged),
                "concurrent": slots,
            },
        }
