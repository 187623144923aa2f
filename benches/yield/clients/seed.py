"""The client of the document that this project grew from, written anew from what that one does.

Kept, because they are what is measured: requests in a sliding window counter that is polled ten times a second, tokens in
a bucket that herds, an adaptive bucket of 1 to 10 requests a second, each waited for in turn and never given back; a
semaphore last; after a 429 a sleep of the server's whole time under a lock and in a slot, and an exception.

Left out: its reader of headers, which raises on ``120ms`` and whose result is never used. The caller tries again at
once after the exception, since the sleep was done inside.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Optional

from clients.base import Client

if TYPE_CHECKING:
    from load import Job
    from scenarios import Setup
    from trial import World

MAX_CONCURRENT = 50


class RateLimited(Exception):
    pass


class WindowCounter:
    """This window's count, and of the last one's the share by which it still overlaps the last minute."""

    def __init__(self, limit: int, seconds: float = 60) -> None:
        self.limit = limit
        self.seconds = seconds
        self.current = 0
        self.previous = 0
        self.start = time.time()

    def count(self) -> float:
        now = time.time()
        start = now - now % self.seconds
        if start > self.start:
            self.previous = 0 if start > self.start + self.seconds else self.current
            self.current = 0
            self.start = start
        return self.previous * (1 - (now - self.start) / self.seconds) + self.current

    async def wait_and_take(self) -> None:
        while self.count() + 1 > self.limit:
            await asyncio.sleep(0.1)
        self.current += 1


class Bucket:
    """Whoever finds too little sleeps until enough would be there, as everybody else does, and looks again."""

    def __init__(self, per_second: float, capacity: int) -> None:
        self.rate = per_second
        self.capacity = capacity
        self.level = float(capacity)
        self.at = time.time()

    async def wait_and_take(self, units: int) -> None:
        while True:
            now = time.time()
            self.level = min(self.capacity, self.level + (now - self.at) * self.rate)
            self.at = now
            if self.level >= units:
                self.level -= units
                return
            await asyncio.sleep((units - self.level) / self.rate)


class Adaptive:
    """A tenth faster after every success, half as fast after every refusal."""

    LEAST, MOST, RECOVERY = 0.1, 10.0, 30.0

    def __init__(self, least_capacity: int) -> None:
        self.rate = 1.0
        self.recovering = False
        self.refused_at = 0.0
        self.bucket = Bucket(self.rate, int(self.rate * 2))
        self._least_capacity = least_capacity
        self._lock = asyncio.Lock()

    def _set(self, rate: float) -> None:
        self.rate = self.bucket.rate = rate
        # Below half a request a second the capacity is nothing, and nobody gets through ever after.
        self.bucket.capacity = max(self._least_capacity, int(rate * 2))

    async def succeeded(self) -> None:
        async with self._lock:
            if self.recovering and time.time() - self.refused_at >= self.RECOVERY:
                self.recovering = False
            if not self.recovering:
                self._set(min(self.rate * 1.1, self.MOST))

    async def refused(self, after: Optional[float]) -> None:
        async with self._lock:
            self.refused_at = time.time()
            self._set(max(self.rate * 0.5, self.LEAST))
            if after:
                await asyncio.sleep(after)
            self.recovering = True


class Seed(Client):
    LEAST_CAPACITY = 0

    def __init__(self, setup: Setup, world: World) -> None:
        super().__init__(setup, world)
        self._requests = WindowCounter(setup.rpm)
        self._tokens = Bucket(setup.tpm / 60, setup.tpm) if setup.tpm is not None else None
        self._adaptive = Adaptive(self.LEAST_CAPACITY)
        self._slots = asyncio.Semaphore(setup.slots or MAX_CONCURRENT)

    async def complete(self, job: Job) -> None:
        while True:
            try:
                await self._complete(job)
                return
            except RateLimited:
                pass

    async def _complete(self, job: Job) -> None:
        await self._requests.wait_and_take()
        if self._tokens is not None:
            await self._tokens.wait_and_take(job.estimate + job.max_tokens)
        await self._adaptive.bucket.wait_and_take(1)
        async with self._slots:
            answer = await self.world.send(job)
            if answer.status == 429:
                after = answer.headers.get("retry-after")
                await self._adaptive.refused(float(after) if after else None)
                raise RateLimited
            await self._adaptive.succeeded()


class SeedThatRecovers(Seed):
    """With a capacity of at least one."""

    LEAST_CAPACITY = 1
