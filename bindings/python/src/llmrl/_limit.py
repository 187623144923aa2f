"""One rule of a limiter."""

from __future__ import annotations

import struct
from typing import Any, NamedTuple, SupportsIndex

from . import _args, _meter
from ._args import Number
from ._meter import Meter
from ._types import FIXED_WINDOW, IN_FLIGHT, KINDS, PACING, SLIDING_WINDOW, SLIDING_WINDOW_COUNTER, SLIDING_WINDOW_LOG, TOKEN_BUCKET

WHEN_FULL = 1
_START_EMPTY = 2
_LAYOUT = struct.Struct("=IIQQQIIQ4I")
_MOST_PARTS = 1000
_MOST_STAMPS = 65536


class _Fields(NamedTuple):
    """struct llmrl_limit."""

    kind: int
    meter: int
    amount: int
    period_ns: int = 0
    burst: int = 0
    flags: int = 0
    resolution: int = 0
    resets_in_ns: int = 0
    weights: tuple[int, int, int, int] = (0, 0, 0, 0)

    def pack(self) -> bytes:
        return _LAYOUT.pack(*self[:-1], *self.weights)


def _flags(name: str, oversize: str, start_empty: bool) -> int:
    if oversize not in ("reject", "when_full"):
        raise ValueError(f"{name}: oversize must be 'reject' or 'when_full', got {oversize!r}")
    if not isinstance(start_empty, bool):
        raise TypeError(f"{name}: start_empty must be True or False, got {start_empty!r}")
    return (WHEN_FULL if oversize == "when_full" else 0) | (_START_EMPTY if start_empty else 0)


class Limit:
    """One rule: so many requests or tokens in a period, or so many requests in flight.

    ``Limit.requests``, ``.tokens``, ``.input_tokens`` and ``.output_tokens`` are token buckets, which most providers keep; the
    other kinds are ``.token_bucket`` (of anything), ``.pacing``, ``.fixed_window``, ``.sliding_window_counter``,
    ``.sliding_window``, ``.sliding_window_log`` and ``.in_flight``. Immutable, and free to be used in several limiters (each has
    a ledger of its own).

    Arguments that they share: ``n``: how much, 1 to 2**40-1. ``per``: seconds, > 0, up to 3660 days. ``meter``: what is counted,
    ``"requests"``, ``"tokens"`` (input and output together), ``"input_tokens"``, ``"output_tokens"`` or ``Weights(...)``.
    ``oversize``: a cost above ``n`` (of a bucket: ``burst``) is refused for good (``"reject"``), or admitted when the bucket is
    full or the window empty, and nothing after it until that is paid or has left the window (``"when_full"``). ``start_empty``:
    begin with nothing to be had.
    """

    __slots__ = ("_fields",)
    _fields: _Fields

    def __init__(self) -> None:
        raise TypeError(
            "use Limit.requests(500), Limit.tokens(200_000), .input_tokens, .output_tokens, Limit.in_flight(50), or one of "
            "Limit.token_bucket, .pacing, .fixed_window, .sliding_window_counter, .sliding_window, .sliding_window_log"
        )

    @classmethod
    def _of(cls, fields: _Fields) -> Limit:
        limit = object.__new__(cls)
        object.__setattr__(limit, "_fields", fields)
        return limit

    @classmethod
    def _make(
        cls,
        name: str,
        kind: int,
        n: SupportsIndex,
        per: Number,
        meter: Meter,
        oversize: str = "reject",
        start_empty: bool = False,
        burst: SupportsIndex | None = None,
    ) -> Limit:
        amount = _args.whole(f"{name}: n", n, 1)
        number, weights = _meter.packed(f"{name}: meter", meter)
        size = amount if burst is None else _args.whole(f"{name}: burst", burst, 1)
        period_ns = _args.duration_ns(f"{name}: per", per, 1)
        flags = _flags(name, oversize, start_empty)
        return cls._of(_Fields(kind, number, amount, period_ns, size if kind == TOKEN_BUCKET else 0, flags, weights=weights))

    def _with(self, **fields: Any) -> Limit:
        return self._of(self._fields._replace(**fields))

    @classmethod
    def requests(
        cls,
        n: SupportsIndex,
        per: Number = 60.0,
        burst: SupportsIndex | None = None,
        oversize: str = "reject",
        start_empty: bool = False,
    ) -> Limit:
        """At most ``n`` requests per ``per`` seconds, as a token bucket: ``n`` are produced evenly in each ``per`` seconds.

        ``burst``: what an idle bucket holds, most at once, 1 to 2**40-1, default ``n``. The others: see ``Limit``.
        """
        return cls._make("Limit.requests", TOKEN_BUCKET, n, per, "requests", oversize, start_empty, burst)

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
        return cls._make("Limit.tokens", TOKEN_BUCKET, n, per, "tokens", oversize, start_empty, burst)

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
        return cls._make("Limit.input_tokens", TOKEN_BUCKET, n, per, "input_tokens", oversize, start_empty, burst)

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
        return cls._make("Limit.output_tokens", TOKEN_BUCKET, n, per, "output_tokens", oversize, start_empty, burst)

    @classmethod
    def token_bucket(
        cls,
        n: SupportsIndex,
        per: Number = 60.0,
        burst: SupportsIndex | None = None,
        *,
        meter: Meter = "requests",
        oversize: str = "reject",
        start_empty: bool = False,
    ) -> Limit:
        """The same for any ``meter``: ``Limit.token_bucket(2_000_000, meter=Weights(output=5, cached=0))``."""
        return cls._make("Limit.token_bucket", TOKEN_BUCKET, n, per, meter, oversize, start_empty, burst)

    @classmethod
    def pacing(cls, n: SupportsIndex, per: Number = 60.0, *, meter: Meter = "requests") -> Limit:
        """A leaky bucket: ``n`` per ``per`` seconds at even distances, whatever was idle before.

        The first request goes at once, the next one when the cost of that has been produced. A large one delays those behind it,
        and none is too large. Distances are never shorter, and a microsecond longer at most; it can be retuned up to a thousand times
        the rate it was made with.
        """
        return cls._make("Limit.pacing", PACING, n, per, meter)

    @classmethod
    def fixed_window(
        cls,
        n: SupportsIndex,
        per: Number = 60.0,
        *,
        resets_in: Number | None = None,
        meter: Meter = "requests",
        oversize: str = "reject",
        start_empty: bool = False,
    ) -> Limit:
        """``n`` in each ``per`` seconds, all of which comes back at their end; what was not used is forfeited.

        ``resets_in``: the first window ends so many seconds after the limiter is made, > 0 and at most ``per`` (the default):
        ``until_reset(60)``, ``until_midnight("America/Los_Angeles")``, or what the provider says. See ``Limiter.align``.
        """
        limit = cls._make("Limit.fixed_window", FIXED_WINDOW, n, per, meter, oversize, start_empty)
        if resets_in is None:
            return limit
        most = limit._fields.period_ns
        return limit._with(resets_in_ns=_args.duration_ns("Limit.fixed_window: resets_in", resets_in, 1, most))

    @classmethod
    def sliding_window_counter(
        cls,
        n: SupportsIndex,
        per: Number = 60.0,
        *,
        meter: Meter = "requests",
        oversize: str = "reject",
        start_empty: bool = False,
    ) -> Limit:
        """``n`` in ``per`` seconds, estimated from two counters: this period's use, and the last one's in proportion to what of it
        is less than ``per`` seconds ago. In the worst window nearly twice ``n`` is admitted.
        """
        return cls._make("Limit.sliding_window_counter", SLIDING_WINDOW_COUNTER, n, per, meter, oversize, start_empty)

    @classmethod
    def sliding_window(
        cls,
        n: SupportsIndex,
        per: Number = 60.0,
        *,
        parts: SupportsIndex = 60,
        meter: Meter = "requests",
        oversize: str = "reject",
        start_empty: bool = False,
    ) -> Limit:
        """Never more than ``n`` in any ``per`` seconds, which are cut into ``parts`` (1 to 1000).

        What was used counts until the end of its part is ``per`` seconds ago: steady use reaches parts / (parts + 1) of ``n``, and
        a request that arrives up to a part late is no surprise to the provider.
        """
        limit = cls._make("Limit.sliding_window", SLIDING_WINDOW, n, per, meter, oversize, start_empty)
        most = min(_MOST_PARTS, limit._fields.period_ns)
        return limit._with(resolution=_args.whole("Limit.sliding_window: parts", parts, 1, most))

    @classmethod
    def sliding_window_log(
        cls,
        n: SupportsIndex,
        per: Number = 60.0,
        *,
        stamps: SupportsIndex | None = None,
        meter: Meter = "requests",
        oversize: str = "reject",
        start_empty: bool = False,
    ) -> Limit:
        """Never more than ``n`` in any ``per`` seconds, to the nanosecond: a time stamp for each admission.

        ``stamps``: how many are kept, 16 bytes each, 1 to 65536, default ``n`` but at most that. When there are more, the two
        oldest count as one, made at the time of the younger.
        """
        limit = cls._make("Limit.sliding_window_log", SLIDING_WINDOW_LOG, n, per, meter, oversize, start_empty)
        if stamps is None:
            stamps = min(limit._fields.amount, _MOST_STAMPS)
        return limit._with(resolution=_args.whole("Limit.sliding_window_log: stamps", stamps, 1, _MOST_STAMPS))

    @classmethod
    def in_flight(cls, n: SupportsIndex) -> Limit:
        """At most ``n`` requests at once, 1 to 2**19-1; a permit holds a slot until it is settled, released or cancelled."""
        return cls._of(_Fields(IN_FLIGHT, 0, _args.whole("Limit.in_flight: n", n, 1, _args.MAX_IN_FLIGHT)))

    def smoothed(self, window: Number) -> Limit:
        """The companion that enforces this limit in windows of ``window`` seconds: ``n`` in proportion, rounded down, at least 1.

        For providers that enforce "60 a minute" as one a second. Give both to the limiter:
        ``Limiter(minute, minute.smoothed(1))``. A token bucket keeps its rate and gets that ``burst``; pacing stays as it is.
        """
        fields = self._fields
        if fields.kind == IN_FLIGHT:
            raise ValueError(f"smoothed: {self!r} has no period; a limit on requests or tokens is needed")
        window_ns = _args.duration_ns("smoothed: window", window, 1)
        share = max(1, fields.amount * window_ns // fields.period_ns)
        if share > _args.MAX_COST:
            raise ValueError(f"smoothed: window of {window} s makes an n of {share}, which must be from 1 to {_args.MAX_COST}")
        if fields.kind == TOKEN_BUCKET:
            return self._with(burst=share)
        if fields.kind == PACING:
            return self
        resolution, reset = fields.resolution, fields.resets_in_ns
        return self._with(
            amount=share,
            period_ns=window_ns,
            resolution=min(resolution, share) if fields.kind == SLIDING_WINDOW_LOG else resolution,
            # One of its windows ends together with the large one.
            resets_in_ns=reset and (reset - 1) % window_ns + 1,
        )

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"a Limit is immutable; cannot set {name}")

    def __repr__(self) -> str:
        fields = self._fields
        kind = KINDS[fields.kind]
        if fields.kind == IN_FLIGHT:
            return f"Limit.in_flight({fields.amount})"
        meter = _meter.unpacked(fields.meter, fields.weights)
        parts = [f"{fields.amount}, per={fields.period_ns / 1e9:.15g}"]
        if fields.kind == TOKEN_BUCKET:
            parts.append(f"burst={fields.burst}")
        elif fields.kind == FIXED_WINDOW:
            parts.append(f"resets_in={f'{fields.resets_in_ns / 1e9:.15g}' if fields.resets_in_ns else None}")
        elif fields.kind == SLIDING_WINDOW:
            parts.append(f"parts={fields.resolution}")
        elif fields.kind == SLIDING_WINDOW_LOG:
            parts.append(f"stamps={fields.resolution}")
        if fields.kind == TOKEN_BUCKET and isinstance(meter, str):
            kind = meter
        else:
            parts.append(f"meter={meter!r}")
        if fields.kind != PACING:
            oversize = "when_full" if fields.flags & WHEN_FULL else "reject"
            parts.append(f"oversize={oversize!r}, start_empty={bool(fields.flags & _START_EMPTY)}")
        return f"Limit.{kind}({', '.join(parts)})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Limit) and self._fields == other._fields

    def __hash__(self) -> int:
        return hash(self._fields)


def options(
    *limits: Limit,
    max_waiters: SupportsIndex = 65536,
    max_permits: SupportsIndex = 65536,
    clock: Any = None,
    saved: bytes | None = None,
    raise_limits: bool = False,
) -> tuple[bytes, int, int, int, Any, bytes | None, int]:
    """Check the arguments of ``Limiter(...)``: packed limits, their count, max_waiters, max_permits, clock, saved, flags."""
    for position, limit in enumerate(limits):
        if not isinstance(limit, Limit):
            raise TypeError(f"limit {position} must be a Limit such as Limit.requests(500), got {type(limit).__name__} {limit!r}")
    if not 1 <= len(limits) <= 8:
        raise ValueError(f"a Limiter takes 1 to 8 limits, got {len(limits)}")
    waiters = _args.whole("max_waiters", max_waiters, 1, _args.MAX_TABLE)
    permits = _args.whole("max_permits", max_permits, 1, _args.MAX_TABLE)
    if not isinstance(saved, (bytes, type(None))):
        raise TypeError(f"saved must be bytes from Limiter.save(), or None, got {type(saved).__name__}")
    return b"".join(limit._fields.pack() for limit in limits), len(limits), waiters, permits, clock, saved, int(bool(raise_limits))


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
    return _Fields(TOKEN_BUCKET, _meter.NUMBERS["requests"], number, period_ns, size, flags).pack(), clock


def bucket_map(
    amount: SupportsIndex,
    per: Number = 60.0,
    burst: SupportsIndex | None = None,
    clock: object = None,
    *,
    capacity: SupportsIndex = 65536,
    overflow: str = "share",
    oversize: str = "reject",
) -> tuple[bytes, int, int, object, str]:
    """Check the arguments of ``BucketMap(...)``: the packed limit, capacity, flags, clock, and what ``repr`` says."""
    number, period_ns, size = _args.rate(amount, per, burst)
    keys = _args.whole("capacity", capacity, 1, 2**30)
    if overflow not in ("share", "refuse"):
        raise ValueError(f"BucketMap: overflow must be 'share' or 'refuse', got {overflow!r}")
    flags = _flags("BucketMap", oversize, False)
    shown = (
        f"BucketMap({number}, per={period_ns / 1e9:.15g}, burst={size}, capacity={keys}, overflow={overflow!r}, oversize={oversize!r})"
    )
    packed = _Fields(TOKEN_BUCKET, _meter.NUMBERS["requests"], number, period_ns, size, flags).pack()
    return packed, keys, int(overflow == "refuse"), clock, shown
