"""One rule of a limiter."""

from __future__ import annotations

import struct
from typing import Any, SupportsIndex

from . import _args
from ._args import Number

_TOKEN_BUCKET = 1
_IN_FLIGHT = 2
_METERS = {"requests": 1, "tokens": 2, "input_tokens": 3, "output_tokens": 4}
_WHEN_FULL = 1
_START_EMPTY = 2
# struct llmrl_limit: kind, meter, amount, period_ns, burst, flags, reserved up to 64 bytes
_LAYOUT = struct.Struct("=IIQQQI28x")


def _flags(name: str, oversize: str, start_empty: bool) -> int:
    if oversize not in ("reject", "when_full"):
        raise ValueError(f"{name}: oversize must be 'reject' or 'when_full', got {oversize!r}")
    if not isinstance(start_empty, bool):
        raise TypeError(f"{name}: start_empty must be True or False, got {start_empty!r}")
    return (_WHEN_FULL if oversize == "when_full" else 0) | (_START_EMPTY if start_empty else 0)


class Limit:
    """One rule: so many requests or tokens in a period, or so many requests in flight.

    Made by ``Limit.requests``, ``.tokens``, ``.input_tokens``, ``.output_tokens`` and ``.in_flight``; immutable, and free to be
    used in several limiters (each has a ledger of its own).
    """

    __slots__ = ("_packed", "_text")
    _packed: bytes
    _text: str

    def __init__(self) -> None:
        raise TypeError("use Limit.requests(500), Limit.tokens(200_000), .input_tokens, .output_tokens or Limit.in_flight(50)")

    @classmethod
    def _make(cls, text: str, *fields: int) -> Limit:
        limit = object.__new__(cls)
        object.__setattr__(limit, "_packed", _LAYOUT.pack(*fields))
        object.__setattr__(limit, "_text", text)
        return limit

    @classmethod
    def _bucket(
        cls, meter: str, n: SupportsIndex, per: Number, burst: SupportsIndex | None, oversize: str, start_empty: bool
    ) -> Limit:
        name = f"Limit.{meter}"
        amount = _args.whole(f"{name}: n", n, 1)
        period_ns = _args.duration_ns(f"{name}: per", per, 1)
        size = amount if burst is None else _args.whole(f"{name}: burst", burst, 1)
        flags = _flags(name, oversize, start_empty)
        text = f"{name}({amount}, per={period_ns / 1e9:g}, burst={size}, oversize={oversize!r}, start_empty={start_empty})"
        return cls._make(text, _TOKEN_BUCKET, _METERS[meter], amount, period_ns, size, flags)

    @classmethod
    def requests(
        cls,
        n: SupportsIndex,
        per: Number = 60.0,
        burst: SupportsIndex | None = None,
        oversize: str = "reject",
        start_empty: bool = False,
    ) -> Limit:
        """At most ``n`` requests per ``per`` seconds.

        ``n``: 1 to 2**40-1. ``per``: seconds, > 0. ``burst``: most at once, 1 to 2**40-1, default ``n``.
        ``oversize``: a cost above ``burst`` is refused for good (``"reject"``), or admitted when the bucket is full and left as
        debt (``"when_full"``). ``start_empty``: begin with nothing instead of a full burst.
        """
        return cls._bucket("requests", n, per, burst, oversize, start_empty)

    @classmethod
    def tokens(
        cls,
        n: SupportsIndex,
        per: Number = 60.0,
        burst: SupportsIndex | None = None,
        oversize: str = "reject",
        start_empty: bool = False,
    ) -> Limit:
        """At most ``n`` tokens, input and output together, per ``per`` seconds. Arguments as for ``requests``."""
        return cls._bucket("tokens", n, per, burst, oversize, start_empty)

    @classmethod
    def input_tokens(
        cls,
        n: SupportsIndex,
        per: Number = 60.0,
        burst: SupportsIndex | None = None,
        oversize: str = "reject",
        start_empty: bool = False,
    ) -> Limit:
        """At most ``n`` input tokens per ``per`` seconds. Arguments as for ``requests``."""
        return cls._bucket("input_tokens", n, per, burst, oversize, start_empty)

    @classmethod
    def output_tokens(
        cls,
        n: SupportsIndex,
        per: Number = 60.0,
        burst: SupportsIndex | None = None,
        oversize: str = "reject",
        start_empty: bool = False,
    ) -> Limit:
        """At most ``n`` output tokens per ``per`` seconds. Arguments as for ``requests``."""
        return cls._bucket("output_tokens", n, per, burst, oversize, start_empty)

    @classmethod
    def in_flight(cls, n: SupportsIndex) -> Limit:
        """At most ``n`` requests at once, 1 to 2**19-1; a permit holds a slot until it is settled, released or cancelled."""
        slots = _args.whole("Limit.in_flight: n", n, 1, _args.MAX_IN_FLIGHT)
        return cls._make(f"Limit.in_flight({slots})", _IN_FLIGHT, 0, slots, 0, 0, 0)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"a Limit is immutable; cannot set {name}")

    def __repr__(self) -> str:
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Limit) and self._packed == other._packed

    def __hash__(self) -> int:
        return hash(self._packed)


def options(
    *limits: Limit,
    max_waiters: SupportsIndex = 65536,
    max_permits: SupportsIndex = 65536,
    clock: object = None,
) -> tuple[bytes, int, int, int, object]:
    """Check the arguments of ``Limiter(...)``: packed limits, their count, max_waiters, max_permits, clock."""
    for position, limit in enumerate(limits):
        if not isinstance(limit, Limit):
            raise TypeError(f"limit {position} must be a Limit such as Limit.requests(500), got {type(limit).__name__} {limit!r}")
    if not 1 <= len(limits) <= 8:
        raise ValueError(f"a Limiter takes 1 to 8 limits, got {len(limits)}")
    waiters = _args.whole("max_waiters", max_waiters, 1, _args.MAX_TABLE)
    permits = _args.whole("max_permits", max_permits, 1, _args.MAX_TABLE)
    return b"".join(limit._packed for limit in limits), len(limits), waiters, permits, clock


def bucket(
    amount: SupportsIndex,
    per: Number = 60.0,
    burst: SupportsIndex | None = None,
    clock: object = None,
    *,
    oversize: str = "reject",
    start_empty: bool = False,
) -> tuple[bytes, object]:
    """Check the arguments of ``TokenBucket(...)``: the packed limit and the clock."""
    number, period_ns, size = _args.rate(amount, per, burst)
    flags = _flags("TokenBucket", oversize, start_empty)
    return _LAYOUT.pack(_TOKEN_BUCKET, _METERS["requests"], number, period_ns, size, flags), clock
