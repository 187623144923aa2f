"""libllmrl through its Python package, as a user of each provider configures it from the package's README."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Dict, List, Mapping

from llmrl import Limit, Limiter, ManualClock, until_reset

from clients.base import Client

if TYPE_CHECKING:
    from llmrl import Permit
    from load import Job
    from scenarios import Setup
    from trial import World


def limits(setup: Setup) -> List[Limit]:
    """The kind of limit that is made for what the provider enforces."""
    rpm, tpm = setup.rpm, setup.tpm
    if setup.enforced == "slots":
        assert setup.slots is not None
        return [Limit.requests(rpm), Limit.in_flight(setup.slots)]
    assert tpm is not None
    if setup.enforced == "second":
        return [Limit.pacing(rpm), Limit.tokens(tpm)]
    if setup.enforced == "ten seconds":
        minute = Limit.requests(rpm)
        return [minute, minute.smoothed(10), Limit.tokens(tpm)]
    if setup.enforced == "minute":
        rest = until_reset(60)
        return [Limit.fixed_window(rpm, resets_in=rest), Limit.fixed_window(tpm, resets_in=rest, meter="tokens")]
    if setup.enforced == "rolling":
        return [Limit.sliding_window(rpm), Limit.sliding_window(tpm, meter="tokens")]
    return [Limit.requests(rpm), Limit.tokens(tpm)]


class Libllmrl(Client):
    def __init__(self, setup: Setup, world: World) -> None:
        super().__init__(setup, world)
        self.clock = ManualClock()
        world.loop.followers.append(self.advance)
        # A thousand workers fit; every move of a manual clock looks at every place.
        self.limiter = Limiter(*limits(setup), clock=self.clock, max_waiters=1024, raise_limits=True)
        self.limiter._hub.timed = True

    def advance(self, ns: int) -> None:
        """With a manual clock, waiters set no timers but are woken by advance(). Here the loop moves the clock, and it jumps from
        timer to timer: let them set theirs, as they do with a real clock, and hear nothing from this one."""
        hub = self.limiter._hub
        waiting, hub.waiting = hub.waiting, {}
        self.clock.advance_ns(ns)
        hub.waiting = waiting

    async def complete(self, job: Job) -> None:
        while True:
            permit = await self.limiter.acquire(input=self.setup.charge(job.estimate, job.max_tokens))
            answer = await self.world.send(job)
            again = self.answered(permit, answer.status, answer.headers, answer.body)
            if answer.status == 200:
                permit.settle(self.charged(job, answer.body), 0)
                return
            await asyncio.sleep(again)

    def charged(self, job: Job, body: bytes) -> int:
        """What the provider has taken in the end, by its documentation and the usage in the answer."""
        usage: Dict[str, int] = json.loads(body)["usage"]
        if self.setup.settles:
            return usage["total_tokens"]
        return self.setup.charge(usage["prompt_tokens"], job.max_tokens)

    def answered(self, permit: Permit, status: int, headers: Mapping[str, str], body: bytes) -> float:
        """Tell the limiter what the provider said. After a refusal: seconds to wait before asking for a new permit.

        Called after every answer, while the permit is held. An admitted request is settled by the caller, a refused one's permit
        ends here.
        """
        advice = permit.feedback(status, headers, body)
        if status != 429:
            return 0.0
        permit.release()
        return advice.wait
