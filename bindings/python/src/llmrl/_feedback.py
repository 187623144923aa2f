"""What providers say about their limits: ``read_answer``, its arguments and its result, the same for both backends."""

from __future__ import annotations

import operator
from typing import Iterable, Mapping, NamedTuple, Optional, Sequence, SupportsIndex, Tuple, Union

from ._args import Number, duration_ns, shown

UNKNOWN = 2**64 - 1
NO_QUOTA = 2**32 - 1
MAX_QUOTAS = 16

# As the numbers in llmrl_reading and llmrl_quota.
CLASSES = ("", "ok", "rate", "concurrency", "overload", "long", "billing", "oversize", "other")
METERS = {1: "requests", 2: "tokens", 3: "input_tokens", 4: "output_tokens", 100: "concurrency", 101: "other"}
POOLS = ("", "standard", "project", "usage_based", "priority", "fast", "subscription", "overage", "uncached", "gateway")
_RETRYABLE, _SHOULD_RETRY, _SHOULD_NOT_RETRY, _WARNING = 1, 2, 4, 8
_MISLABELLED = 1

Text = Union[str, bytes]
Headers = Union[Mapping[str, str], Mapping[bytes, bytes], Iterable[Tuple[Text, Text]]]


class Quota(NamedTuple):
    """What an answer says about one limit. Whatever it did not say, or cannot be, is None."""

    meter: str
    """What it counts: ``requests``, ``tokens`` (usually input and output together), ``input_tokens``, ``output_tokens``,
    ``concurrency`` or ``other``."""
    pool: str
    """Which of several accounts: ``standard``, ``project``, ``usage_based``, ``priority``, ``fast``, ``subscription``, ``overage``,
    ``uncached`` or ``gateway``."""
    limit: Optional[int]
    """How much in a period."""
    remaining: Optional[int]
    """How much of it is left, at most ``limit``. Providers round it, Anthropic to thousands."""
    reset: Optional[float]
    """Seconds until all of it is back (a bucket) or the window ends. Of the next request it says nothing: see ``until``."""
    utilization: Optional[float]
    """How much is used, 1.0 is all, where shares are told instead of counts."""
    window: Optional[float]
    """Seconds of the period that the provider states, by the header's name or in its text."""
    period: Optional[float]
    """Seconds of the period that follows from limit, remaining and reset if it is a bucket, else of the stated one."""
    solved: Optional[Tuple[float, float]]
    """The period that follows lies from the first to before the second of these; infinity is no bound."""
    mislabelled: bool
    """Whether the provider states another period than follows from its numbers."""

    @property
    def exhausted(self) -> bool:
        """Whether nothing is left."""
        return self.remaining == 0 or (self.utilization is not None and self.utilization >= 1)

    def until(self, n: int) -> Optional[float]:
        """Seconds until ``n`` are there, if this is a bucket that refills evenly and nobody else takes any; None if not known, or never.

        At 500 requests a minute the next one is 0.12 s away when ``reset`` says a minute.
        """
        if self.limit is None or self.remaining is None or self.period is None or n > self.limit:
            return None
        return max(0, n - self.remaining) * self.period / self.limit if self.limit else 0.0


class Reading(NamedTuple):
    """What one answer says about limits; made by ``read_answer``."""

    answer_class: str
    """What became of the request:

    ``ok``: a status below 400. ``rate``: more than the rate; pause ``meter``, for everyone. ``concurrency``: too many at the same time;
    lower the number in flight. ``overload``: the provider is short of capacity, which has nothing to do with the account; back off.
    ``long``: a rate over a day or longer that is not back within an hour; park the request, or send it elsewhere. ``billing``: money or
    permission; it does not pass with time. ``oversize``: the request is larger than the limit, and would be refused for ever.
    ``other``: another failure."""
    meter: Optional[str]
    """What was exceeded, as ``Quota.meter``; None if it is not told and not the only thing that can be meant."""
    wait: Optional[float]
    """Seconds to wait, from when the provider answered, at most 366 days. 0.0, which comes with ``concurrency`` only, is "at once, but
    fewer at a time". None when nothing was said, or where waiting does not help."""
    requested: Optional[int]
    """How much the refused request asked for."""
    tripped: Optional[int]
    """The index of the quota that refused the request."""
    retryable: bool
    """Whether the same request may pass later."""
    should_retry: Optional[bool]
    """``x-should-retry``. Not to be obeyed blindly: Cerebras sends false with what passes soonest."""
    warning: bool
    """Served, but over or near a limit."""
    quotas: Tuple[Quota, ...]
    """What was said about each limit, at most 16."""


class Advice(NamedTuple):
    """What to do with a request, now that it was answered; made by ``Permit.feedback``."""

    answer_class: str
    """What became of it, as ``Reading.answer_class``."""
    retry: bool
    """Whether the same request may be admitted later."""
    wait: float
    """Seconds to wait before asking the limiter again. 0.0 where the limiter itself holds requests back, which it does for five minutes
    at most because of one answer: more means that the provider said so, and that another one may be the better choice."""


def _bytes(what: str, text: object) -> bytes:
    if isinstance(text, str):
        # What Latin-1 lacks is in no header that is looked at.
        return text.encode("latin-1", "replace")
    if isinstance(text, bytes):
        return text
    raise TypeError(f"{what} must be str or bytes, got {type(text).__name__}")


def arguments(
    status: SupportsIndex, headers: Headers, body: Union[Text, bytearray, memoryview] = b"", *, now: Optional[Number] = None
) -> Tuple[int, list[Tuple[bytes, bytes]], bytes, int]:
    """Check the arguments of ``read_answer``: status, headers, body, and the wall-clock time in nanoseconds, 0 for the system's."""
    if isinstance(status, bool) or not hasattr(status, "__index__"):
        raise TypeError(f"status must be a whole number from 100 to 999, got {type(status).__name__} {shown(status)}")
    code = operator.index(status)
    if not 100 <= code <= 999:
        raise ValueError(f"status must be from 100 to 999, got {shown(code)}")
    if isinstance(headers, (str, bytes)):
        raise TypeError(f"headers must be a mapping or pairs of name and value, got {type(headers).__name__}")
    items = headers.items() if isinstance(headers, Mapping) or hasattr(headers, "items") else headers
    pairs = []
    for item in items:
        if not isinstance(item, (tuple, list)) or len(item) != 2:
            raise TypeError(f"headers must be a mapping or pairs of name and value; one of them is a {type(item).__name__}")
        pairs.append((_bytes("the name of a header", item[0]), _bytes("the value of a header", item[1])))
    if isinstance(body, str):
        body = body.encode("utf-8", "replace")
    elif not isinstance(body, (bytes, bytearray, memoryview)):
        raise TypeError(f"body must be bytes or str, got {type(body).__name__}")
    now_ns = 0 if now is None else duration_ns("now", now, 1)
    return code, pairs, bytes(body), now_ns


def _known(number: int) -> Optional[int]:
    return None if number == UNKNOWN else number


def _seconds(ns: int) -> Optional[float]:
    return None if ns == UNKNOWN else ns / 1e9


def _make_quota(raw: Sequence[int]) -> Quota:
    meter, pool, flags, limit, remaining, reset_ns, utilization, window_ns, period_ns, low_ns, high_ns = raw
    low, high = _seconds(low_ns), _seconds(high_ns)
    return Quota(
        meter=METERS.get(meter, "other"),
        pool=POOLS[pool] if pool < len(POOLS) else "other",
        limit=_known(limit),
        remaining=_known(remaining),
        reset=_seconds(reset_ns),
        utilization=None if utilization == UNKNOWN else utilization / 1e6,
        window=_seconds(window_ns),
        period=_seconds(period_ns),
        solved=None if low is None else (low, float("inf") if high is None else high),
        mislabelled=bool(flags & _MISLABELLED),
    )


def make_advice(answer_class: int, flags: int, wait_ns: int) -> Advice:
    return Advice(CLASSES[answer_class] if answer_class < len(CLASSES) else "other", bool(flags & 1), wait_ns / 1e9)


def make_reading(raw: Sequence[int], quotas: Iterable[Sequence[int]]) -> Reading:
    """Build a Reading from the numbers of ``llmrl_reading`` and of each ``llmrl_quota``, without those that are reserved."""
    answer_class, meter, flags, tripped, wait_ns, requested = raw
    should_retry = True if flags & _SHOULD_RETRY else False if flags & _SHOULD_NOT_RETRY else None
    return Reading(
        answer_class=CLASSES[answer_class] if answer_class < len(CLASSES) else "other",
        meter=METERS.get(meter, "other") if meter else None,
        wait=_seconds(wait_ns),
        requested=_known(requested),
        tripped=None if tripped == NO_QUOTA else tripped,
        retryable=bool(flags & _RETRYABLE),
        should_retry=should_retry,
        warning=bool(flags & _WARNING),
        quotas=tuple(_make_quota(quota) for quota in quotas),
    )
