"""Rate limiting for LLM API clients: several limits at once, one FIFO queue for threads and asyncio, exact times.

from llmrl import Limit, Limiter

limiter = Limiter(Limit.requests(500), Limit.tokens(200_000), Limit.in_flight(50))

async with limiter.acquire(input=1200, output=400) as permit:
    answer = await call_the_api()
    permit.settle(input=answer.usage.input_tokens, output=answer.usage.output_tokens)
"""

from __future__ import annotations

from ._backend import Acquire, BucketMap, Limiter, ManualClock, Permit, TokenBucket, backend, library_version, read_answer
from ._calendar import until_midnight, until_reset
from ._chain import Chain, ChainAcquire, ChainPermit
from ._charging import Charging
from ._errors import Closed, DeadlineExceeded, Error, MapFull, Never, NoNode, QueueFull, StalePermit
from ._fair import FairAcquire, FairPermit, FairQueue
from ._feedback import Advice, Quota, Reading
from ._lengths import Lengths
from ._limit import Limit
from ._map import LimiterMap
from ._meter import Weights
from ._router import Node, Routed, RoutedAcquire, Router
from ._types import BucketMapStats, FairStats, KeyStats, LimitState, MapStats, Stats

__version__ = library_version

__all__ = [
    "Advice",
    "Acquire",
    "BucketMap",
    "BucketMapStats",
    "Chain",
    "ChainAcquire",
    "ChainPermit",
    "Charging",
    "Closed",
    "DeadlineExceeded",
    "Error",
    "FairAcquire",
    "FairPermit",
    "FairQueue",
    "FairStats",
    "KeyStats",
    "Lengths",
    "Limit",
    "LimitState",
    "Limiter",
    "LimiterMap",
    "ManualClock",
    "MapFull",
    "MapStats",
    "Never",
    "NoNode",
    "Node",
    "Permit",
    "QueueFull",
    "Quota",
    "Reading",
    "Routed",
    "RoutedAcquire",
    "Router",
    "StalePermit",
    "Stats",
    "TokenBucket",
    "Weights",
    "__version__",
    "backend",
    "read_answer",
    "until_midnight",
    "until_reset",
]
