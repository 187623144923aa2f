"""What the bench asks of a client, and the retries that most clients share."""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Mapping, Optional

if TYPE_CHECKING:
    from load import Job
    from scenarios import Setup
    from trial import World
    from wire import Answer


class Client(ABC):
    """Made inside the running loop, with the provider as documented and the world to send requests to."""

    def __init__(self, setup: Setup, world: World) -> None:
        self.setup = setup
        self.world = world

    @abstractmethod
    async def complete(self, job: Job) -> None:
        """Get this job done, however many requests that takes."""


def retry_after(headers: Mapping[str, str]) -> Optional[float]:
    """Seconds that the server asks for. The milliseconds are more exact."""
    if "retry-after-ms" in headers:
        return float(headers["retry-after-ms"]) / 1000
    if "retry-after" in headers:
        return float(headers["retry-after"])
    return None


class Retrying(Client):
    """A limiter in front of an SDK that backs off as openai-python does, and never gives up.

    Every try passes the limiter. With the SDK's own two retries inside of one permit, 429 shares double.
    """

    def __init__(self, setup: Setup, world: World) -> None:
        super().__init__(setup, world)
        self._rng = random.Random("back-off")

    async def complete(self, job: Job) -> None:
        tries = 0
        while (answer := await self.attempt(job)).status == 429:
            await self.back_off(answer, tries)
            tries += 1

    async def attempt(self, job: Job) -> Answer:
        """Wait as the limiter says, and send once."""
        return await self.world.send(job)

    async def back_off(self, answer: Answer, tries: int) -> None:
        asked = retry_after(answer.headers)
        if asked is not None and 0 < asked <= 60:
            await asyncio.sleep(asked)
        else:
            await asyncio.sleep(min(0.5 * 2.0**tries, 8.0) * (1 - 0.25 * self._rng.random()))
