"""What is needed to limit requests to an LLM's API over whatever sends them: no input or output of its own.

``Throttle`` is a limiter with what it takes to apply it to requests over HTTP; ``Exchange`` is one request's life. ``llmrl.httpx``,
``llmrl.aiohttp`` and ``llmrl.requests`` are made of them.
"""

from __future__ import annotations

from ._estimate import Estimator
from ._exchange import MAX_ERROR, Exchange, backoff
from ._request import Ask, decode, read_request
from ._throttle import Counts, Limiting, Throttle
from ._usage import Usage, UsageReader, usage_of

__all__ = [
    "MAX_ERROR",
    "Ask",
    "Counts",
    "Estimator",
    "Exchange",
    "Limiting",
    "Throttle",
    "Usage",
    "UsageReader",
    "backoff",
    "decode",
    "read_request",
    "usage_of",
]
