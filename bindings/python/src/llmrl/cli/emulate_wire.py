"""What an OpenAI answer says about limits: header values, durations, error bodies."""

from __future__ import annotations

from typing import Any, Dict, Optional

from .emulate_bucket import Gate, Meter, Refusal

ORGANIZATION = "org-emulator"
LIMITS_PAGE = "Visit https://platform.openai.com/account/rate-limits to learn more."


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


def limit_headers(gate: Gate, now_ns: int) -> Dict[str, str]:
    """``x-ratelimit-*`` for the limits that exist. *reset* is the time until a bucket is full (a window over), not
    until the next request may go: that is what OpenAI sends."""
    headers: Dict[str, str] = {}

    def add(name: str, meter: Optional[Meter]) -> None:
        if meter is None:
            return
        headers[f"x-ratelimit-limit-{name}"] = str(meter.amount)
        headers[f"x-ratelimit-remaining-{name}"] = str(max(0, meter.available(now_ns)))
        headers[f"x-ratelimit-reset-{name}"] = go_duration(meter.reset_ns(now_ns))

    add("requests", gate.requests)
    add("tokens", gate.tokens)
    return headers


def wait_headers(wait_ns: int) -> Dict[str, str]:
    """``retry-after-ms`` and ``retry-after`` (seconds), both rounded up: earlier would fail again."""
    ms = -(-wait_ns // 1_000_000)
    return {"retry-after-ms": str(ms), "retry-after": str(-(-ms // 1000))}


def refusal_body(refusal: Refusal, model: str) -> Dict[str, Any]:
    """The 429 body in OpenAI's words. The wait in the text follows from the three numbers beside it:
    (used + requested - limit) / limit minutes."""
    where = f"for {model} in organization {ORGANIZATION}"
    if refusal.cause == "oversize":
        message = (
            f"Request too large {where} on tokens per min (TPM): Limit {refusal.limit}, Requested {refusal.requested}. "
            f"The input or output tokens must be reduced in order to run successfully. {LIMITS_PAGE}"
        )
        return error_body(message, "tokens", "rate_limit_exceeded")
    if refusal.cause == "concurrent":
        message = (
            f"Too many concurrent requests {where}: Limit {refusal.limit}, Used {refusal.used}, "
            f"Requested {refusal.requested}. Please try again in 1s."
        )
        return error_body(message, "concurrent_requests", "rate_limit_exceeded")
    unit = "requests per min (RPM)" if refusal.cause == "requests" else "tokens per min (TPM)"
    wait_ms = -(-(refusal.wait_ns or 0) // 1_000_000)
    message = (
        f"Rate limit reached {where} on {unit}: Limit {refusal.limit}, Used {refusal.used}, "
        f"Requested {refusal.requested}. Please try again in {go_duration(wait_ms * 1_000_000)}. {LIMITS_PAGE}"
    )
    return error_body(message, refusal.cause, "rate_limit_exceeded")
