"""The best that could be done: first come, first served, by somebody who sees the provider's own state."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Deque, Optional, Tuple

from clients.base import Client

if TYPE_CHECKING:
    from load import Job
    from scenarios import Setup
    from trial import World


class Oracle(Client):
    """Admits at the provider itself, without a way there on which time would pass."""

    def __init__(self, setup: Setup, world: World) -> None:
        super().__init__(setup, world)
        self._queue: Deque[Tuple[Job, asyncio.Future[None]]] = deque()
        self._timer: Optional[asyncio.TimerHandle] = None

    async def complete(self, job: Job) -> None:
        admitted = self.world.loop.create_future()
        self._queue.append((job, admitted))
        if len(self._queue) == 1:
            self._admit()
        await admitted
        await self.world.serve(job)
        self._admit()  # what it gave back may be what the first waits for

    def _admit(self) -> None:
        loop = self.world.loop
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._queue:
            job, admitted = self._queue[0]
            wait_ns = self.world.provider.wait_ns(job, loop.now_ns)
            if wait_ns > 0:
                self._timer = loop.call_later(wait_ns / 1e9, self._admit)
                return
            self._queue.popleft()
            if not admitted.cancelled():  # only when the run ends
                self.world.admit(job)
                admitted.set_result(None)
