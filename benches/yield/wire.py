"""What an answer looks like: header grammars and the texts of refusals, word for word as the providers send them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Dict, Mapping, Protocol

from meters import Meter
from virtual import SECOND

UNITS = {"requests": "requests per min (RPM)", "tokens": "tokens per min (TPM)"}


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


class Grammar(Protocol):
    def headers(self, meters: Mapping[str, Meter], now: int) -> Dict[str, str]: ...
    def refusal(self, axis: str, meter: Meter, units: int, wait_ns: int, now: int) -> Answer:
        """Without the headers above."""


def go_duration(ns: int) -> str:
    """As Go prints it, down to whole milliseconds: ``0s``, ``120ms``, ``1.5s``, ``6m0s``."""
    ms = ns // 1_000_000
    if 0 < ms < 1000:
        return f"{ms}ms"
    minutes, ms = divmod(ms, 60_000)
    seconds = f"{ms / 1000:.9g}s"
    return f"{minutes}m{seconds}" if minutes else seconds


def _error(message: str, kind: str, code: str) -> bytes:
    # Not by the json module, which would take a tenth of the time of a client that retries without end.
    return f'{{"error": {{"message": "{message}", "type": "{kind}", "param": null, "code": "{code}"}}}}'.encode()


def _up(ns: int, unit: int) -> int:
    return -(-ns // unit)


class OpenAI:
    """Durations as Go prints them; ``reset`` is the time until all of the limit is there. A refusal says exactly when."""

    def headers(self, meters: Mapping[str, Meter], now: int) -> Dict[str, str]:
        headers = {}
        for axis, meter in meters.items():
            headers[f"x-ratelimit-limit-{axis}"] = str(meter.limit)
            headers[f"x-ratelimit-remaining-{axis}"] = str(meter.remaining(now))
            headers[f"x-ratelimit-reset-{axis}"] = go_duration(meter.reset_ns(now))
        return headers

    def refusal(self, axis: str, meter: Meter, units: int, wait_ns: int, now: int) -> Answer:
        ms = _up(wait_ns, 1_000_000)
        message = (
            f"Rate limit reached for gpt-4o in organization org-yield on {UNITS[axis]}: Limit {meter.limit}, "
            f"Used {meter.limit - meter.remaining(now)}, Requested {units}. Please try again in "
            f"{go_duration(ms * 1_000_000)}. Visit https://platform.openai.com/account/rate-limits to learn more."
        )
        headers = {"retry-after-ms": str(ms), "retry-after": str(_up(ms, 1000))}
        return Answer(429, headers, _error(message, axis, "rate_limit_exceeded"))


class Azure:
    """Whole seconds, the limit of one window, and how long that is. A refusal says whole seconds, rounded up."""

    def headers(self, meters: Mapping[str, Meter], now: int) -> Dict[str, str]:
        headers = {}
        for axis, meter in meters.items():
            headers[f"x-ratelimit-limit-{axis}"] = str(meter.limit)
            headers[f"x-ratelimit-remaining-{axis}"] = str(meter.remaining(now))
            headers[f"x-ratelimit-reset-{axis}"] = str(meter.reset_ns(now) // SECOND)
            headers[f"x-ratelimit-renewalperiod-{axis}"] = str(meter.period_ns // SECOND)
        return headers

    def refusal(self, axis: str, meter: Meter, units: int, wait_ns: int, now: int) -> Answer:
        seconds = _up(wait_ns, SECOND)
        what = "token" if axis == "tokens" else "call"
        message = (
            "Requests to the ChatCompletions_Create Operation under Azure OpenAI API version 2024-10-21 have exceeded "
            f"{what} rate limit of your current OpenAI S0 pricing tier. Please retry after {seconds} seconds."
        )
        headers = {"retry-after": str(seconds), "x-ratelimit-type": axis.capitalize()}
        return Answer(429, headers, json.dumps({"error": {"code": "429", "message": message}}).encode())


class Bare:
    """Nothing about limits, as from those who cap what is in flight (Z.ai, DeepSeek). A refusal says: in a second."""

    def headers(self, meters: Mapping[str, Meter], now: int) -> Dict[str, str]:
        return {}

    def refusal(self, axis: str, meter: Meter, units: int, wait_ns: int, now: int) -> Answer:
        body = json.dumps({"error": {"code": "1302", "message": "Rate limit reached for requests"}}).encode()
        return Answer(429, {"retry-after": str(_up(wait_ns, SECOND))}, body)
