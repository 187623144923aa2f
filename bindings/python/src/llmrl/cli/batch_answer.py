"""What an HTTP answer means for a batch: done, try again (when), or give up."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Optional, Tuple

from llmrl import Advice

MAX_WAIT = 3600.0
"""Seconds; a server that asks for more (a day's quota is gone) is treated as having no quota left."""
MAX_TOKENS = (1 << 40) - 1


@dataclass
class Verdict:
    """What to do with an answer.

    ``kind``: *ok*, *retry*, *final* (this request has failed), *stop* (so will every other: the batch ends).
    """

    kind: str
    reason: str = ""
    wait: Optional[float] = None
    """Seconds until the next try: 0.0 if the limiter itself holds it back, None if nobody has said anything."""


def judge(status: int, body: Any, advice: Advice) -> Verdict:
    """Classify one complete answer. ``body`` is the decoded JSON, or None if it was none; ``advice`` the limiter's."""
    if 200 <= status < 300:
        return Verdict("ok") if body is not None else Verdict("retry", f"status {status} without a JSON body")
    if status == 401:
        return Verdict("stop", "the API key was not accepted")
    if advice.answer_class == "billing":
        return Verdict("stop", "the account has no quota left")
    if advice.wait > MAX_WAIT:
        return Verdict("stop", f"the provider asks to wait {advice.wait / 3600:.1f} hours")
    if advice.answer_class == "long":
        return Verdict("stop", "a limit of a day or longer is used up")
    if advice.answer_class == "oversize":
        return Verdict("final", "the request is larger than the limit")
    if advice.retry:
        return Verdict("retry", f"status {status}", advice.wait)
    return Verdict("final", f"status {status}")


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
