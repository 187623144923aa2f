"""Limiters from PyPI, unmodified, as a careful user of the provider sets them up from their documentation."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, List, Optional

from clients.base import Retrying

if TYPE_CHECKING:
    from load import Job
    from scenarios import Setup
    from trial import World
    from wire import Answer


class Naive(Retrying):
    """No limiter."""


class Aiolimiter(Retrying):
    """One limiter for requests, one for tokens, one more where requests are counted by the second, and a semaphore."""

    def __init__(self, setup: Setup, world: World) -> None:
        from aiolimiter import AsyncLimiter

        super().__init__(setup, world)
        self._requests: List[AsyncLimiter] = [AsyncLimiter(setup.rpm, 60)]
        part = {"second": 1, "ten seconds": 10}.get(setup.enforced)
        if part is not None:
            self._requests.append(AsyncLimiter(setup.rpm * part / 60, part))
        self._tokens = AsyncLimiter(setup.tpm, 60) if setup.tpm is not None else None
        self._slots: Optional[asyncio.Semaphore] = asyncio.Semaphore(setup.slots) if setup.slots is not None else None

    async def attempt(self, job: Job) -> Answer:
        async with AsyncExitStack() as stack:
            # First: a slot that is waited for after the rest would let bursts through when it comes.
            if self._slots is not None:
                await stack.enter_async_context(self._slots)
            for limiter in self._requests:
                await limiter.acquire()
            if self._tokens is not None:
                await self._tokens.acquire(self.setup.charge(job.estimate, job.max_tokens))
            return await self.world.send(job)


class LangChain(Retrying):
    """``InMemoryRateLimiter``. It knows requests only."""

    def __init__(self, setup: Setup, world: World) -> None:
        from langchain_core.rate_limiters import InMemoryRateLimiter

        super().__init__(setup, world)
        self._limiter = InMemoryRateLimiter(requests_per_second=setup.rpm / 60)

    async def attempt(self, job: Job) -> Answer:
        await self._limiter.aacquire()
        return await self.world.send(job)
