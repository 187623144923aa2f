"""What the emulator enforces: token buckets (or windows) and a concurrency cap, in exact integers.

Nothing here comes from the library that is tested against it: the point of the emulator is a second
opinion. Time is always an argument (integer nanoseconds of a monotonic clock), so a test can drive every
class by hand.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Tuple, Union

from .emulate_window import FixedWindow, SlidingWindow

MINUTE_NS = 60_000_000_000


class Bucket:
    """A continuous token bucket: ``amount`` units per period, at most ``capacity`` saved up, full at the start.

    The level is kept in unit-nanoseconds (units x period), where one nanosecond produces exactly ``amount``.
    So nothing is ever rounded, however long the bucket lives.
    """

    def __init__(self, amount: int, capacity: int, now_ns: int, period_ns: int = MINUTE_NS) -> None:
        if amount < 1 or capacity < 1:
            raise ValueError(f"amount and capacity must be at least 1, not {amount} and {capacity}")
        self.amount = amount
        self.capacity = capacity
        self.period_ns = period_ns
        self._full = capacity * period_ns
        self._level = self._full
        self._at = now_ns

    def _roll(self, now_ns: int) -> int:
        if now_ns > self._at:
            self._level = min(self._full, self._level + self.amount * (now_ns - self._at))
            self._at = now_ns
        return self._level

    def available(self, now_ns: int) -> int:
        """Whole units that could be taken now (negative while in debt)."""
        return self._roll(now_ns) // self.period_ns

    def take(self, units: int, now_ns: int) -> bool:
        """Take ``units`` if all of them are there; otherwise take nothing and say False."""
        if self._roll(now_ns) < units * self.period_ns:
            return False
        self._level -= units * self.period_ns
        return True

    def correct(self, units: int, now_ns: int, _taken_ns: int = 0) -> None:
        """Give ``units`` back (positive, never above the capacity) or charge them afterwards (negative)."""
        self._level = min(self._full, self._roll(now_ns) + units * self.period_ns)

    def wait_ns(self, units: int, now_ns: int) -> int:
        """Nanoseconds until ``units`` are there, rounded up; 0 if they are."""
        missing = units * self.period_ns - self._roll(now_ns)
        return -(-missing // self.amount) if missing > 0 else 0

    def reset_ns(self, now_ns: int) -> int:
        """Nanoseconds until the bucket is full again, rounded up: what OpenAI calls *reset*."""
        return -(-(self._full - self._roll(now_ns)) // self.amount)

    def offered(self, first_ns: int, last_ns: int) -> float:
        """The most that could be admitted from ``first_ns`` to ``last_ns``: the burst plus the production."""
        return self.capacity + self.amount * (last_ns - first_ns) / self.period_ns


Meter = Union[Bucket, FixedWindow, SlidingWindow]


@dataclass
class Refusal:
    """Why a request was not admitted. ``wait_ns`` is None when no waiting helps."""

    cause: str  # "requests" | "tokens" | "concurrent" | "oversize"
    limit_name: str  # which of LIMITS, or "max_concurrent"
    limit: int
    used: int
    requested: int
    wait_ns: Optional[int]


@dataclass
class Admission:
    """An admitted request; hand it back to :meth:`Gate.finish` exactly once."""

    input: int
    output: int
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


LIMITS = {
    "rpm": ("requests", MINUTE_NS),
    "rpd": ("requests", 1440 * MINUTE_NS),
    "tpm": ("tokens", MINUTE_NS),
    "itpm": ("input", MINUTE_NS),
    "otpm": ("output", MINUTE_NS),
    "tpd": ("tokens", 1440 * MINUTE_NS),
}
"""What each limit counts, and its period, in the order in which they are asked."""


class Gate:
    """One key's limits: admits a request against all of them, or says which one refused it.

    ``rpm``, ``tpm``, ``max_concurrent``, ``itpm``, ``otpm``, ``rpd`` and ``tpd`` are None where there is no such limit. ``burst_seconds`` is how much
    of a rate can be saved up (60: OpenAI's buckets hold a whole minute). ``settles`` corrects a request's token
    charge to what it used when it ends; without it the reservation is never returned. ``enforce`` is ``bucket``, or
    ``fixed`` or ``sliding`` for windows of ``burst_seconds``; the fixed ones begin at ``origin_ns``, by default now.
    ``requests_as`` is a kind and seconds by which requests per minute are enforced otherwise. Days are buckets, full at the start.
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
        itpm: Optional[int] = None,
        otpm: Optional[int] = None,
        rpd: Optional[int] = None,
        tpd: Optional[int] = None,
        requests_as: Optional[Tuple[str, float]] = None,
    ) -> None:
        def meter(name: str, amount: int) -> Meter:
            counted, period_ns = LIMITS[name]
            if period_ns > MINUTE_NS:
                return Bucket(amount, amount, now_ns, period_ns)
            kind, seconds = requests_as if counted == "requests" and requests_as is not None else (enforce, burst_seconds)
            capacity, window_ns = max(1, int(amount * seconds / 60)), round(seconds * 1e9)
            if kind == "fixed":
                return FixedWindow(capacity, window_ns, now_ns if origin_ns is None else origin_ns)
            return SlidingWindow(capacity, window_ns) if kind == "sliding" else Bucket(amount, capacity, now_ns)

        self.amounts = {"rpm": rpm, "rpd": rpd, "tpm": tpm, "itpm": itpm, "otpm": otpm, "tpd": tpd}
        self.meters = {name: meter(name, amount) for name, amount in self.amounts.items() if amount is not None}
        self.requests, self.tokens = self.meters.get("rpm"), self.meters.get("tpm")
        self.enforce = enforce
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

    def admit(self, input: int, now_ns: int, output: int = 0) -> "Admission | Refusal":
        """Admit a request that reserves ``input`` and ``output`` tokens, or refuse it.

        As with OpenAI, a request that is refused for its tokens has still used up one request. One refused for
        concurrency, or one that could never fit, has used nothing.
        """
        if self.first_ns is None:
            self.first_ns = now_ns
        refusal = self._refusal({"requests": 1, "tokens": input + output, "input": input, "output": output}, now_ns)
        if refusal is not None:
            self.totals.refused[refusal.cause] += 1
            return refusal
        self._count_busy(now_ns)
        self._busy_at_last_admission = self._busy_ns
        self.active += 1
        self.last_ns = now_ns
        self.totals.admitted += 1
        self.totals.tokens_reserved += input + output
        self.totals.peak_concurrent = max(self.totals.peak_concurrent, self.active)
        return Admission(input, output, now_ns)

    def _refusal(self, units: Dict[str, int], now_ns: int) -> Optional[Refusal]:
        for name, meter in self.meters.items():
            wanted = units[LIMITS[name][0]]
            if wanted > meter.capacity:
                return Refusal("oversize", name, meter.capacity, 0, wanted, None)
        if self.max_concurrent is not None and self.active >= self.max_concurrent:
            return Refusal("concurrent", "max_concurrent", self.max_concurrent, self.active, 1, 1_000_000_000)
        taken: List[Tuple[Meter, int]] = []
        for name, meter in self.meters.items():
            counted = LIMITS[name][0]
            if not meter.take(units[counted], now_ns):
                for earlier, tokens in taken:
                    earlier.correct(tokens, now_ns, now_ns)
                used = max(0, meter.amount - meter.available(now_ns))
                cause = "requests" if counted == "requests" else "tokens"
                return Refusal(cause, name, meter.amount, used, units[counted], meter.wait_ns(units[counted], now_ns))
            if counted != "requests":
                taken.append((meter, units[counted]))
        return None

    def finish(self, admission: Admission, input: int, now_ns: int, output: int = 0) -> None:
        """The request has ended and is charged ``input`` and ``output`` tokens where charges are corrected. A second call for the same
        admission does nothing."""
        if not admission.open:
            return
        admission.open = False
        self._count_busy(now_ns)
        self.active -= 1
        self._finished_ns = now_ns
        self.totals.finished += 1
        self.totals.tokens_used += input + output
        if self.settles:
            back = {"input": admission.input - input, "output": admission.output - output}
            back["tokens"] = back["input"] + back["output"]
            self.totals.tokens_returned += back["tokens"]
            for name, meter in self.meters.items():
                if LIMITS[name][0] != "requests":
                    meter.correct(back[LIMITS[name][0]], now_ns, admission.at_ns)

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
                **self.amounts,
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
