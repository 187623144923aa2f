"""The textbook way to respect two limits: one token bucket for requests and one for tokens, waited on in turn.

A plain re-implementation of a design that is often recommended and copied, kept here to be compared with. Its
properties are the point, so they are kept:

* each bucket holds one and a half minutes of its rate and starts full;
* a waiter computes when enough will be there, sleeps that long, and looks again; nobody queues, so whoever wakes
  first takes, and several may have computed the same moment;
* the request bucket is paid first and the token bucket waited for afterwards;
* what a request did not use is never given back;
* a cost above the capacity waits for ever (the demo sends none).

One thing is kinder than in the original: monotonic time instead of the wall clock.
"""

from __future__ import annotations

import asyncio
import time

BURST_FACTOR = 1.5


class Bucket:
    """Refills at ``per_minute`` units a minute up to ``BURST_FACTOR`` minutes' worth."""

    def __init__(self, per_minute: int) -> None:
        self.per_second = per_minute / 60
        self.capacity = int(per_minute * BURST_FACTOR)
        self.level = float(self.capacity)
        self._refilled = time.monotonic()
        self._lock = asyncio.Lock()

    async def wait_and_take(self, units: int) -> None:
        """Take ``units``, sleeping as often as it takes until they are there."""
        while True:
            async with self._lock:
                now = time.monotonic()
                self.level = min(self.capacity, self.level + (now - self._refilled) * self.per_second)
                self._refilled = now
                if self.level >= units:
                    self.level -= units
                    return
                seconds = (units - self.level) / self.per_second
            await asyncio.sleep(seconds)


class DualBucket:
    """A request bucket and a token bucket; a request needs one unit of the first and its tokens of the second."""

    def __init__(self, requests_per_minute: int, tokens_per_minute: int) -> None:
        self.requests = Bucket(requests_per_minute)
        self.tokens = Bucket(tokens_per_minute)

    async def wait_and_take(self, tokens: int) -> None:
        await self.requests.wait_and_take(1)
        await self.tokens.wait_and_take(tokens)
