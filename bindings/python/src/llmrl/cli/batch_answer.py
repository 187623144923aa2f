"""What an HTTP answer means for a batch: done, try again (when), or give up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional

from llmrl import Advice

MAX_WAIT = 3600.0
"""Seconds; a server that asks for more (a day's quota is gone) is treated as having no quota left."""


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
