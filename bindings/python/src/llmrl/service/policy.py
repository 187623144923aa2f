"""What answers say about limits: ``RateLimit`` and ``RateLimit-Policy`` as in draft-ietf-httpapi-ratelimit-headers-10, ``Retry-After``,
and errors in OpenAI's shape."""

from __future__ import annotations

from math import ceil, inf
from typing import Any, Iterator, List, Optional, Sequence, Tuple

from .. import Error, LimitState
from .admission import Refused
from .plan import Level

Headers = List[Tuple[bytes, bytes]]

_UNITS = {"requests": "", "in_flight": ';qu="concurrent-requests"'}
_LONGEST = 999_999_999_999_999
"""The largest integer of a structured field."""


def limit_name(level: Level, state: LimitState) -> str:
    """What a limit is called in headers, errors and metrics: ``user-requests-60s``."""
    return f"{level.kind}-{state.meter}" + (f"-{state.per:.15g}s" if state.per else "")


def _policies(levels: Sequence[Level]) -> Iterator[Tuple[str, Level, LimitState]]:
    seen: dict[str, int] = {}
    for level in levels:
        for state in level.limiter.limits():
            name = limit_name(level, state)
            seen[name] = seen.get(name, 0) + 1
            yield (name if seen[name] == 1 else f"{name}-{seen[name]}"), level, state


def _more_in(level: Level, state: LimitState) -> Optional[int]:
    """Whole seconds until there is more of it, where nothing is left and that is known."""
    if state.available > 0:
        return None
    # Until one more would be admitted, by this limit and the others beside it; of what comes evenly it is known by itself, too, but
    # for the part of one that is there already.
    wait = one_more(level, 0 if state.meter == "requests" else 1)
    if state.kind in ("token_bucket", "pacing"):
        even = max(state.paused, (1 - state.available) * state.per / state.amount)
        wait = even if wait is None else min(even, wait)
    return None if wait is None else min(_LONGEST, ceil(wait)) or None


def one_more(level: Level, tokens: int) -> Optional[float]:
    """Seconds for which one more small request would wait at a level, behind everybody in the queue; None if nobody knows."""
    try:
        wait = level.limiter.wait_time(tokens, tokens)
    except Error:
        return None
    return None if wait == inf else wait


def limit_headers(levels: Sequence[Level]) -> Headers:
    """The two fields for the limits of these levels; nothing where there are none."""
    policies, limits = [], []
    for name, level, state in _policies(levels):
        unit = _UNITS.get(state.meter, f';qu="{state.meter.replace("_", "-")}"')
        window = f";w={max(1, ceil(state.per))}" if state.per else ""
        policies.append(f'"{name}";q={state.amount}{unit}{window}')
        more = _more_in(level, state)
        limits.append(f'"{name}";r={max(0, state.available)}' + (f";t={more}" if more else ""))
    if not policies:
        return []
    return [(b"ratelimit-policy", ", ".join(policies).encode()), (b"ratelimit", ", ".join(limits).encode())]


def retry_headers(wait: Optional[float]) -> Headers:
    """``Retry-After`` in whole seconds, and the same in milliseconds for clients that read that; rounded up. A second if nobody knows."""
    ms = max(1, ceil((1.0 if wait is None else wait) * 1000))
    return [(b"retry-after", str(ceil(ms / 1000)).encode()), (b"retry-after-ms", str(ms).encode())]


def error_body(message: str, kind: str, code: Optional[str] = None, param: Optional[str] = None, **more: Any) -> dict[str, Any]:
    """The shape of every OpenAI error, and what is ours beside it."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code, **more}}


def _unit(state: LimitState) -> str:
    unit = "requests at the same time" if state.meter == "in_flight" else state.meter.replace("_", " ")
    return f"{unit} in {state.per:.15g} s" if state.per else unit


def refusal(refused: Refused) -> Tuple[int, Headers, dict[str, Any]]:
    """Status, headers and body for a request that was not admitted."""
    level, state = refused.level, refused.limit
    of = {"global": "all requests", "upstream": "upstream"}.get(level.kind, f"{level.kind} {level.name!r}")
    limit = {
        "name": limit_name(level, state),
        "kind": state.kind,
        "meter": state.meter,
        "amount": state.amount,
        "per": state.per,
        "available": state.available,
    }
    more: dict[str, Any] = {"level": level.kind, "limit": limit}
    if refused.reason == "oversize":
        message = (
            f"The request is larger than the limit of {of}, {state.amount} {_unit(state)}, and would never be admitted. "
            "Send less, or a smaller max_tokens."
        )
        return 413, [], error_body(message, "invalid_request_error", "request_too_large", **more)
    headers = retry_headers(refused.wait)
    if refused.reason != "limit":
        message = f"Too many requests wait for the limit of {of} already. Try again later."
        return 503, headers, error_body(message, "server_error", "queue_full", **more)
    when = "when others have ended" if refused.wait is None else f"in {refused.wait:.3f} s"
    message = f"Rate limit of {of} reached: {state.amount} {_unit(state)}. Please try again {when}."
    kind = "requests" if state.meter in ("requests", "in_flight") else "tokens"
    return 429, headers, error_body(message, kind, "rate_limit_exceeded", retry_after=refused.wait, **more)
