"""One run: a thousand workers, one client, one provider, so many virtual minutes."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Callable, List

import virtual
from clients.base import Client
from load import Job, Jobs, Network
from measure import Result, fairness, percentile
from provider import Provider
from virtual import SECOND, VirtualLoop
from wire import Answer

if TYPE_CHECKING:
    from scenarios import Drawn, Scenario, Setup

    MakeClient = Callable[[Setup, "World"], Client]

WORKERS = 1000
WARM_UP = 60
"""Seconds at the start that do not count for the yield: what was saved up before the run is used up by then."""


class World:
    """What a client meets: the provider behind a network."""

    def __init__(self, loop: VirtualLoop, provider: Provider, network: Network) -> None:
        self.loop = loop
        self.provider = provider
        self.sent = 0
        self.refused = 0
        self.admitted = 0
        self._network = network

    async def send(self, job: Job) -> Answer:
        """One request and its answer, as an HTTP client has it."""
        await self.loop.pause(self._network.upstream())
        refusal = self.provider.refusal(job, self.loop.now_ns)
        if refusal is not None:
            self.sent += 1
            self.refused += 1
            return refusal
        self.admit(job)
        return await self.serve(job)

    def admit(self, job: Job) -> None:
        self.sent += 1
        self.admitted += 1
        job.admitted_ns = self.loop.now_ns
        self.provider.admit(job, self.loop.now_ns)

    async def serve(self, job: Job) -> Answer:
        await self.loop.pause(self._network.response(job))
        return self.provider.finish(job, self.loop.now_ns)


def run(scenario: Scenario, name: str, make: MakeClient, seed: int, minutes: float) -> Result:
    drawn = scenario.draw(random.Random(f"scenario {scenario.key.split()[0]} {seed}"))
    loop = VirtualLoop(drawn.epoch_ns)
    return virtual.run(loop, _run(loop, scenario, drawn, name, make, seed, minutes))


async def _run(
    loop: VirtualLoop, scenario: Scenario, drawn: Drawn, name: str, make: MakeClient, seed: int, minutes: float
) -> Result:
    world = World(loop, drawn.provider, Network(seed))
    client = make(drawn.setup.scaled(scenario.believed), world)
    jobs, taken = Jobs(seed), []

    async def work() -> None:
        while True:
            job = jobs.next()
            job.taken_ns = loop.now_ns
            taken.append(job)
            await client.complete(job)
            assert job.admitted_ns is not None, f"{name} gave job {job.number} up"

    seconds = minutes * 60
    tasks: List[asyncio.Task[None]] = [loop.create_task(work()) for _ in range(WORKERS)]
    if drawn.happening is not None:
        tasks.append(asyncio.ensure_future(drawn.happening(world, seconds)))
    meter = drawn.provider.meters[scenario.binding]
    await loop.pause(WARM_UP)
    used_before, gone_before = meter.account(loop.now_ns)
    await loop.pause(seconds - WARM_UP)
    used, gone = meter.account(loop.now_ns)
    for task in tasks:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, BaseException) and not isinstance(outcome, asyncio.CancelledError):
            raise outcome
    end = round(seconds * SECOND)
    # Where requests are short or slots, one job is served for another; where tokens are, so many tokens.
    cost = (lambda job: drawn.provider.cost(job, "tokens")) if scenario.binding == "tokens" else (lambda job: 1)
    return Result(
        scenario=scenario.key,
        client=name,
        seed=seed,
        minutes=minutes,
        yielded=(used - used_before) / (gone - gone_before),
        refused=world.refused / max(1, world.sent),
        p50=percentile(taken, end, 0.50),
        p99=percentile(taken, end, 0.99),
        jain=fairness(taken, end, cost),
        wakeups=loop.wakeups / world.admitted if world.admitted else float("inf"),
    )
