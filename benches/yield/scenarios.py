"""The providers of the bench: what each of them enforces, drawn anew for every seed so that nothing is tuned to one run."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Awaitable, Callable, Dict, List, Optional

from meters import Bucket, Rolling, Slots, Window
from provider import Charge, Provider
from trial import World
from virtual import MINUTE, SECOND
from wire import Azure, Bare, OpenAI

EPOCH_NS = 1_700_000_040 * SECOND
"""A full minute of the wall clock."""


def larger(prompt: int, max_tokens: int) -> int:
    return max(prompt, max_tokens)


def total(prompt: int, max_tokens: int) -> int:
    return prompt + max_tokens


@dataclass(frozen=True)
class Setup:
    """What the documentation of a provider tells its users, and with it every client under test."""

    enforced: str
    """``bucket``, ``second``, ``ten seconds``, ``minute``, ``rolling`` or ``slots``."""
    rpm: int
    tpm: Optional[int] = None
    slots: Optional[int] = None
    charge: Charge = larger
    settles: bool = False

    def scaled(self, factor: float) -> Setup:
        """As somebody believes who is wrong by ``factor``."""
        return replace(self, rpm=round(self.rpm * factor), tpm=self.tpm and round(self.tpm * factor))


Happening = Callable[[World, float], Awaitable[None]]
"""What goes on at the provider meanwhile: (world, seconds of the run)."""


@dataclass(frozen=True)
class Drawn:
    setup: Setup
    provider: Provider
    epoch_ns: int = EPOCH_NS
    happening: Optional[Happening] = None


@dataclass(frozen=True)
class Scenario:
    key: str
    title: str
    binding: str
    """The axis whose use is the yield."""
    draw: Callable[[random.Random], Drawn]
    believed: float = 1.0
    """The client's configuration in units of the right one."""


def _token_bound(rng: random.Random, enforced: str, charge: Charge = larger, settles: bool = False) -> Setup:
    # 400 tokens to a request: jobs take at least twice that, so requests are never what is short.
    tpm = rng.randrange(300_000, 900_001, 10_000)
    return Setup(enforced, tpm // 400, tpm, charge=charge, settles=settles)


def _request_bound(rng: random.Random, enforced: str, charge: Charge = larger) -> Setup:
    # 6000 tokens to a request: more than the largest job takes.
    rpm = rng.randrange(240, 1201, 60)
    return Setup(enforced, rpm, rpm * 6000, charge=charge)


def _buckets(setup: Setup) -> Provider:
    assert setup.tpm is not None
    meters = {"requests": Bucket(setup.rpm), "tokens": Bucket(setup.tpm)}
    return Provider(meters, setup.charge, OpenAI(), settles=setup.settles, counts_refused=True)


def continuous(rng: random.Random) -> Drawn:
    setup = _token_bound(rng, "bucket")
    return Drawn(setup, _buckets(setup))


def continuous_requests(rng: random.Random) -> Drawn:
    setup = _request_bound(rng, "bucket")
    return Drawn(setup, _buckets(setup))


def _azure(rng: random.Random, enforced: str, seconds: int) -> Drawn:
    setup = _request_bound(rng, enforced, total)
    assert setup.tpm is not None
    phase = rng.randrange(MINUTE)
    requests = Window(setup.rpm * seconds // 60, seconds * SECOND, -phase)
    provider = Provider({"requests": requests, "tokens": Bucket(setup.tpm)}, setup.charge, Azure())
    return Drawn(setup, provider, EPOCH_NS + phase)


def per_second(rng: random.Random) -> Drawn:
    return _azure(rng, "second", 1)


def ten_seconds(rng: random.Random) -> Drawn:
    return _azure(rng, "ten seconds", 10)


def minutes(rng: random.Random) -> Drawn:
    setup = _token_bound(rng, "minute")
    assert setup.tpm is not None
    phase = rng.randrange(MINUTE)
    meters = {"requests": Window(setup.rpm, origin_ns=-phase), "tokens": Window(setup.tpm, origin_ns=-phase)}
    return Drawn(setup, Provider(meters, setup.charge, OpenAI()), EPOCH_NS + phase)


def rolling(rng: random.Random) -> Drawn:
    setup = _token_bound(rng, "rolling")
    assert setup.tpm is not None
    return Drawn(setup, Provider({"requests": Rolling(setup.rpm), "tokens": Rolling(setup.tpm)}, setup.charge, OpenAI()))


def settling(rng: random.Random) -> Drawn:
    setup = _token_bound(rng, "bucket", total, settles=True)
    return Drawn(setup, _buckets(setup))


def concurrency(rng: random.Random) -> Drawn:
    slots = rng.randint(40, 80)
    # A request takes about 4 s: 15 a minute and slot are possible.
    setup = Setup("slots", slots * 30, slots=slots)
    return Drawn(setup, Provider({"requests": Bucket(setup.rpm), "slots": Slots(slots)}, setup.charge, Bare()))


def shared(rng: random.Random) -> Drawn:
    """Others take 30 % of the tokens: half of the time 50 %, half of the time 10 %, in turns of half a minute on average."""
    setup = _token_bound(rng, "bucket")
    assert setup.tpm is not None
    per_second = setup.tpm / 60

    async def happening(world: World, seconds: float) -> None:
        loop, share = world.loop, 0.5
        change = rng.expovariate(1 / 30)
        while True:
            # Many small requests: 800 tokens on average.
            await loop.pause(rng.expovariate(share * per_second / 800))
            while loop.time() >= change:
                share = 0.6 - share
                change += rng.expovariate(1 / 30)
            world.provider.take_by_others(rng.randint(100, 1500), loop.now_ns)

    return Drawn(setup, _buckets(setup), happening=happening)


def halving(rng: random.Random) -> Drawn:
    setup = _token_bound(rng, "bucket")

    async def happening(world: World, seconds: float) -> None:
        await world.loop.pause(seconds / 2)
        world.provider.halve(world.loop.now_ns)

    return Drawn(setup, _buckets(setup), happening=happening)


_RIGHT = [
    Scenario("a", "buckets, tokens short", "tokens", continuous),
    Scenario("a2", "buckets, requests short", "requests", continuous_requests),
    Scenario("b", "requests by the second", "requests", per_second),
    Scenario("azure", "requests by ten seconds", "requests", ten_seconds),
    Scenario("c", "minutes of the clock", "tokens", minutes),
    Scenario("d", "rolling minute", "tokens", rolling),
    Scenario("e", "reserve, settle at the end", "tokens", settling),
    Scenario("f", "concurrency cap", "slots", concurrency),
    Scenario("g", "others use the key", "tokens", shared),
    Scenario("h", "limit halves half-way", "tokens", halving),
]


def _wrong(key: str, factor: float) -> Scenario:
    right = next(scenario for scenario in _RIGHT if scenario.key == key)
    too = "too fast" if factor > 1 else "too slow"
    return replace(right, key=f"{key} x{factor}", title=f"{right.title}; {too}", believed=factor)


SCENARIOS: Dict[str, Scenario] = {
    scenario.key: scenario for scenario in _RIGHT + [_wrong(key, factor) for key in "acd" for factor in (1.5, 0.7)]
}


def right() -> List[str]:
    """Those in which the client knows the true limits."""
    return [key for key, scenario in SCENARIOS.items() if scenario.believed == 1.0]
