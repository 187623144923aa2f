"""What an answer says about limits: header values, durations, error bodies, as ``emulate_styles`` has them."""

from __future__ import annotations

import time
from typing import Any, Dict, Optional

from .emulate_bucket import LIMITS, Gate, Refusal
from .emulate_styles import OPENAI, Style

SECOND_NS = 1_000_000_000


def go_duration(nanoseconds: int) -> str:
    """Print a duration as Go does, in whole milliseconds: ``0s``, ``120ms``, ``1.5s``, ``6m0s``, ``23h18m29.144s``.

    Rounds down to the millisecond, as OpenAI's reset headers do. Negative counts as zero.
    """
    ms = max(0, nanoseconds) // 1_000_000
    if ms == 0:
        return "0s"
    if ms < 1000:
        return f"{ms}ms"
    minutes, ms = divmod(ms, 60_000)
    seconds = f"{ms // 1000}.{ms % 1000:03d}".rstrip("0").rstrip(".") + "s"
    if minutes == 0:
        return seconds
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{seconds}" if hours else f"{minutes}m{seconds}"


def error_body(message: str, kind: str, code: Optional[str], param: Optional[str] = None) -> Dict[str, Any]:
    """The shape of every OpenAI error."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _reset(kind: str, reset_ns: int, wall_ns: int) -> str:
    if kind == "rfc3339":
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(-(-(wall_ns + reset_ns) // SECOND_NS)))
    return go_duration(reset_ns) if kind == "go" else str(reset_ns // SECOND_NS)


def limit_headers(gate: Gate, now_ns: int, style: Style = OPENAI, wall_ns: int = 0) -> Dict[str, str]:
    """Headers for the limits that exist. *reset* is the time until a bucket is full (a window over), not
    until the next request may go: that is what OpenAI sends. ``wall_ns``: the wall clock, for those that tell a date."""
    headers: Dict[str, str] = {}
    for group, (names, template) in style.headers.items():
        name = next((name for name in names if name in gate.meters), None)
        if name is None:
            continue
        meter = gate.meters[name]
        left = max(0, meter.available(now_ns))
        if style.rounded and LIMITS[name][0] != "requests":
            left = (left + 500) // 1000 * 1000
        headers[template.format(what="limit")] = str(meter.amount)
        headers[template.format(what="remaining")] = str(left)
        if style.reset is not None:
            headers[template.format(what="reset")] = _reset(style.reset, meter.reset_ns(now_ns), wall_ns)
        if style.period is not None:
            headers[style.period.format(group=group)] = str(meter.period_ns // SECOND_NS)
    return headers


def wait_headers(wait_ns: int, style: Style = OPENAI, name: str = "rpm") -> Dict[str, str]:
    """When to come back, as ``retry-after-ms`` and ``retry-after`` (seconds), rounded up: earlier would fail again."""
    ms = -(-wait_ns // 1_000_000)
    words = {"ms": ms, "seconds": -(-ms // 1000), **style.words.get(name, {})}
    return {header: _fill(template, words) for header, template in style.retry.items()}


def refusal_body(refusal: Refusal, model: str, style: Style = OPENAI) -> Any:
    """The 429 body in the provider's words."""
    ms = -(-(refusal.wait_ns or 0) // 1_000_000)
    words = {
        "model": model,
        "limit": refusal.limit,
        "used": refusal.used,
        "requested": refusal.requested,
        "go": go_duration(ms * 1_000_000),
        "seconds": -(-ms // 1000),
        "exact": f"{(refusal.wait_ns or 0) / 1e9:.9f}",
        **style.words.get(refusal.limit_name, {}),
    }
    body = {"concurrent": style.concurrent, "oversize": style.oversize}.get(refusal.cause)
    return _fill(style.body if body is None else body, words)


class _Words(Dict[str, Any]):
    """What a limit has no word for is the number in flight, of which most providers have none."""

    def __missing__(self, name: str) -> str:
        return "concurrent requests"


def _fill(template: Any, words: Dict[str, Any]) -> Any:
    if isinstance(template, str):
        return template.format_map(_Words(words))
    if isinstance(template, dict):
        return {key: _fill(value, words) for key, value in template.items()}
    return [_fill(item, words) for item in template] if isinstance(template, list) else template
