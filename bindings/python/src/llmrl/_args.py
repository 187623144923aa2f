"""Arguments to the integers that the C library takes; every complaint names field, value and accepted range.

The C extension parses common arguments itself and comes here for all others, so that both backends complain alike.
"""

from __future__ import annotations

import math
import operator
from typing import SupportsIndex, Union

from ._types import FIXED_WINDOW, IN_FLIGHT, KINDS, TOKEN_BUCKET, Key

FOREVER = 2**64 - 1
MAX_COST = 2**40 - 1
MAX_CACHED = 2**36 - 1
MAX_IN_FLIGHT = 2**19 - 1
MAX_TABLE = 2**20

Number = Union[int, float]


def shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def whole(field: str, value: SupportsIndex, low: int = 0, high: int = MAX_COST) -> int:
    """Return ``value`` as an int within ``low..high``.

    Raises TypeError for bool, float, str and whatever else is no integer, ValueError outside the range.
    """
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{field} must be a whole number from {low} to {high}, got {type(value).__name__} {shown(value)}")
    number = operator.index(value)
    if not low <= number <= high:
        raise ValueError(f"{field} must be from {low} to {high}, got {shown(number)}")
    return number


def key(value: Key, most: int) -> bytes:
    """Return the key of a map as 1 to ``most`` bytes."""
    accepted = f"str or bytes, 1 to {most} of them in UTF-8"
    if isinstance(value, str):
        try:
            raw = value.encode()
        except UnicodeEncodeError:
            raise ValueError(f"key must be {accepted}, got {shown(value)}, which is no text") from None
    elif isinstance(value, bytes):
        raw = value
    else:
        raise TypeError(f"key must be {accepted}, got {type(value).__name__} {shown(value)}")
    if not 1 <= len(raw) <= most:
        raise ValueError(f"key must be {accepted}, got {len(raw)}: {shown(value)}")
    return raw


def seconds(field: str, value: Number, accepted: str) -> float:
    """Return ``value`` as a float, refusing whatever is no real number of seconds; infinity passes."""
    if isinstance(value, (bool, str, bytes)) or not (hasattr(value, "__float__") or hasattr(value, "__index__")):
        raise TypeError(f"{field} must be {accepted}, got {type(value).__name__} {shown(value)}")
    try:
        number = float(value)
    except OverflowError:
        raise ValueError(f"{field} must be {accepted}, got {shown(value)}") from None
    if math.isnan(number) or number < 0:
        raise ValueError(f"{field} must be {accepted}, got {shown(value)}")
    return number


def _times_1e9(value: Number, number: float) -> Number:
    # The value itself where it can be multiplied: an int, a Fraction or a Decimal is exact beyond the 53 bits of a float.
    try:
        return value * 1_000_000_000
    except TypeError:
        return number * 1e9


def duration_ns(field: str, value: Number, low_ns: int = 0, high_ns: int | None = None) -> int:
    """Return ``value`` seconds in nanoseconds; at most ``high_ns``, or 2**63-1 of them (292 years)."""
    low = "0" if low_ns == 0 else "1e-9"
    high = "9.2e9" if high_ns is None else f"{high_ns / 1e9:.15g}"
    accepted = f"seconds from {low} to {high}"
    number = seconds(field, value, accepted)
    ns = _times_1e9(value, number)
    if not low_ns <= ns <= (9.2e18 if high_ns is None else high_ns):
        raise ValueError(f"{field} must be {accepted}, got {shown(value)}")
    return round(ns)


def timeout_ns(value: Number | None, field: str = "timeout") -> int:
    """Return a timeout in nanoseconds; None and infinity are without end."""
    if value is None:
        return FOREVER
    number = seconds(field, value, "None or seconds >= 0")
    ns = _times_1e9(value, number)
    return FOREVER if ns >= 9.2e18 else round(ns)


def cost(
    input: SupportsIndex,
    output: SupportsIndex,
    requests: SupportsIndex,
    cached: SupportsIndex,
    cache_write: SupportsIndex,
    least_requests: int = 1,
) -> tuple[int, int, int, int, int]:
    """Return a cost in the order of ``llmrl_cost``."""
    return (
        whole("requests", requests, least_requests),
        whole("input", input),
        whole("output", output),
        whole("cached", cached, 0, MAX_CACHED),
        whole("cache_write", cache_write, 0, MAX_CACHED),
    )


def retune(amount: SupportsIndex, burst: SupportsIndex | None, per: Number, kind: int) -> tuple[int, int, int]:
    """Return amount, period_ns and burst as ``llmrl_limiter_retune`` wants them for a limit of that kind."""
    if kind == IN_FLIGHT:
        return whole("amount", amount, 1, MAX_IN_FLIGHT), 0, 0
    if kind == TOKEN_BUCKET:
        return rate(amount, per, burst)
    if burst is not None:
        raise ValueError(f"burst must be None, as a {KINDS[kind]} has none, got {shown(burst)}")
    number, period_ns, _ = rate(amount, per, None)
    return number, period_ns, 0


def align(resets_in: Number, kind: int, period_ns: int) -> int:
    """Return resets_in in nanoseconds, or 0 for what has no windows to align, which the library refuses."""
    return duration_ns("resets_in", resets_in, 1, period_ns) if kind == FIXED_WINDOW else 0


def rate(amount: SupportsIndex, per: Number, burst: SupportsIndex | None) -> tuple[int, int, int]:
    """Return amount, period_ns and burst of a token bucket; the burst defaults to the amount."""
    number = whole("amount", amount, 1)
    return number, duration_ns("per", per, 1), number if burst is None else whole("burst", burst, 1)
