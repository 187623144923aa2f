"""What an HTTP answer means for a batch: done, try again (when, and which limit tripped), or give up."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Mapping, Optional, Tuple

from .batch_output import is_oversize

MAX_WAIT = 3600.0
"""Seconds; a server that asks for more (a day's quota is gone) is treated as having no quota left."""
MAX_TOKENS = (1 << 40) - 1
RETRYABLE = frozenset((408, 409, 425, 500, 502, 503, 504, 520, 522, 524, 529))

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9}
_PART = re.compile(r"(\d{1,12}(?:\.\d{1,12})?)(ms|us|µs|μs|ns|h|m|s)")
_TRY_AGAIN = re.compile(
    r"(?:try again|retry) (?:in|after) ((?:\d+(?:\.\d+)?(?:ms|us|ns|h|m|s))+|\d+(?:\.\d+)? seconds)"
)
_NUMBERS = re.compile(r"Limit:? (\d{1,15}), (?:Used:? (\d{1,15}), )?Requested:? (\d{1,15})")


@dataclass
class Verdict:
    """What to do with an answer.

    ``kind``: *ok*, *retry*, *final* (this request has failed), *stop* (so will every other: the batch ends).
    For a 429, ``axis`` is *requests*, *tokens*, *concurrent* or None (not said), ``wait`` the server's own time in
    seconds, ``limit`` and ``used`` its account in that axis's units.
    """

    kind: str
    reason: str = ""
    axis: Optional[str] = None
    wait: Optional[float] = None
    limit: Optional[int] = None
    used: Optional[int] = None
    paused: bool = False
    """The limit that tripped was paused for ``wait``: whoever queues for a permit is held back by that."""


def seconds(text: str) -> Optional[float]:
    """Read ``6m0s``, ``120ms``, ``1.5s`` (Go) or ``12``, ``12.5``, ``37 seconds``; None for anything else."""
    text = text.strip()
    if text.endswith(" seconds"):
        text = text[: -len(" seconds")]
    if re.fullmatch(r"\d{1,12}(\.\d{1,12})?", text):
        return float(text)
    total, at = 0.0, 0
    for part in _PART.finditer(text):
        if part.start() != at:
            return None
        total += float(part.group(1)) * _UNITS[part.group(2)]
        at = part.end()
    return total if at and at == len(text) else None


def judge(status: int, headers: Mapping[str, str], body: Any) -> Verdict:
    """Classify one complete answer. ``body`` is the decoded JSON, or None if it was none."""
    if 200 <= status < 300:
        if body is None:
            return Verdict("retry", f"status {status} without a JSON body")
        return Verdict("ok")
    error = body.get("error") if isinstance(body, dict) else None
    error = error if isinstance(error, dict) else {}
    message, code = (value if isinstance(value, str) else "" for value in (error.get("message"), error.get("code")))
    if (
        status == 402
        or code in ("insufficient_quota", "billing_hard_limit_reached")
        or error.get("type") == "insufficient_quota"
    ):
        return Verdict("stop", "the account has no quota left")
    if status == 401:
        return Verdict("stop", "the API key was not accepted")
    if status == 429:
        return _too_many(headers, body, message, error.get("type"))
    if status in RETRYABLE:
        return Verdict("retry", f"status {status}", wait=_header_wait(headers))
    return Verdict("final", f"status {status}")


def _too_many(headers: Mapping[str, str], body: Any, message: str, kind: Any) -> Verdict:
    if is_oversize(body):
        return Verdict("final", "the request is larger than the limit")
    wait = _header_wait(headers)
    if wait is None:
        said = _TRY_AGAIN.search(message)
        wait = seconds(said.group(1)) if said else None
    if wait is not None and wait > MAX_WAIT:
        return Verdict("stop", f"the provider asks to wait {wait / 3600:.1f} hours")
    numbers = _NUMBERS.search(message)
    limit, used = (int(numbers.group(1)), numbers.group(2)) if numbers else (None, None)
    axis = _axis(message, kind, headers)
    return Verdict("retry", "status 429", axis, wait, limit, int(used) if used else None)


def _axis(message: str, kind: Any, headers: Mapping[str, str]) -> Optional[str]:
    """Which limit tripped: the text in brackets, then the error's type, then Azure's header."""
    low = message.lower()
    if "concurren" in low or kind == "concurrent_requests":
        return "concurrent"
    if "(tpm)" in low or "on tokens" in low or kind == "tokens":
        return "tokens"
    if "(rpm)" in low or "on requests" in low or kind == "requests":
        return "requests"
    stated = headers.get("x-ratelimit-type", "").lower()
    if "concurren" in stated:
        return "concurrent"
    if "token" in stated:
        return "tokens"
    return "requests" if stated else None


def _header_wait(headers: Mapping[str, str]) -> Optional[float]:
    """``retry-after-ms``, then ``retry-after``. Zero is no time: Azure sends it on minute-long waits."""
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        value = seconds(headers.get(name, ""))
        if value:
            return value * unit
    return _date_wait(headers.get("retry-after", ""), headers.get("date", ""))


def _date_wait(until: str, now: str) -> Optional[float]:
    """A ``retry-after`` that is a date, measured from the answer's own date: the two clocks then agree."""
    try:
        wait = (parsedate_to_datetime(until) - parsedate_to_datetime(now)).total_seconds()
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return wait if wait > 0 else None


def usage_of(body: Any) -> Optional[Tuple[int, int]]:
    """``(prompt, completion)`` tokens of an answer, if it states usable ones."""
    usage = body.get("usage") if isinstance(body, dict) else None
    if not isinstance(usage, dict):
        return None
    prompt = _tokens(usage.get("prompt_tokens", usage.get("input_tokens")))
    completion = _tokens(usage.get("completion_tokens", usage.get("output_tokens", 0)))
    return None if prompt is None or completion is None else (prompt, completion)


def _tokens(value: Any) -> Optional[int]:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_TOKENS:
        return None
    return value


def decode(raw: bytes) -> Any:
    """The JSON in an answer, or None. Only what may stand in a JSONL line as it is counts as JSON."""

    def no_constant(name: str) -> Any:
        raise ValueError(name)

    try:
        return json.loads(raw.decode("utf-8"), parse_constant=no_constant)
    except (ValueError, RecursionError):
        return None
