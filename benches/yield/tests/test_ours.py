"""libllmrl in virtual time: its manual clock moves with the loop, and its waiters wake when they are due."""

from __future__ import annotations

import asyncio
from typing import Any, List

import pytest
from llmrl import Limit, Limiter, Permit

import trial
import virtual
from clients.ours import Libllmrl, limits
from load import Job, Network
from scenarios import SCENARIOS, Setup, larger
from virtual import VirtualLoop


def ours(loop: VirtualLoop, setup: Setup) -> Libllmrl:
    return Libllmrl(setup, trial.World(loop, None, Network(1)))  # type: ignore[arg-type]


def prove(limiter: Limiter) -> None:
    """What is configured is a guess, half of which waits for the first answer."""
    with limiter.try_acquire(requests=1) as first:
        first.feedback(200, {})
        first.cancel()


def test_waiters_wake_at_their_own_time() -> None:
    """600 a minute: the bucket lets 600 in at once, then one each 0.1 s, each with one timer."""
    loop = VirtualLoop()
    granted: List[float] = []

    async def main() -> None:
        limiter = ours(loop, Setup("bucket", 600, 10**6)).limiter
        prove(limiter)

        async def one() -> None:
            await limiter.acquire(input=1)
            granted.append(loop.time())

        await asyncio.gather(*(one() for _ in range(1000)))

    virtual.run(loop, main())
    assert all(at < 0.001 for at in granted[:600])
    assert [at - 0.1 * n for n, at in enumerate(granted[600:], 1)] == pytest.approx([0.0005] * 400, abs=0.0007)
    assert loop.wakeups <= 1.2 * 400


def test_a_slot_given_back_wakes_the_next_at_once() -> None:
    loop = VirtualLoop()
    granted: List[float] = []

    async def main() -> None:
        limiter = ours(loop, Setup("slots", 10**6, slots=2)).limiter

        async def one() -> None:
            async with limiter.acquire():
                granted.append(loop.time())
                await loop.pause(1)

        await asyncio.gather(*(one() for _ in range(6)))

    virtual.run(loop, main())
    assert granted == pytest.approx([0, 0, 1, 1, 2, 2], abs=0.005)


def test_each_way_of_enforcing_has_its_kind() -> None:
    kinds = {
        "bucket": [Limit.requests(60), Limit.tokens(600)],
        "second": [Limit.pacing(60), Limit.tokens(600)],
        "ten seconds": [Limit.requests(60), Limit.requests(60, burst=10), Limit.tokens(600)],
        "rolling": [Limit.sliding_window(60), Limit.sliding_window(600, meter="tokens")],
        "slots": [Limit.requests(60), Limit.in_flight(5)],
    }
    for enforced, expected in kinds.items():
        assert limits(Setup(enforced, 60, 600, 5)) == expected, enforced


def test_windows_end_with_the_minute_of_the_wall_clock() -> None:
    loop = VirtualLoop(epoch_ns=1_700_000_040 * virtual.SECOND + 42 * virtual.SECOND)
    granted: List[float] = []

    async def main() -> None:
        limiter = ours(loop, Setup("minute", 2, 10**6)).limiter
        prove(limiter)

        async def one() -> None:
            await limiter.acquire(input=1)
            granted.append(loop.time())

        await asyncio.gather(*(one() for _ in range(6)))

    virtual.run(loop, main())
    assert granted == pytest.approx([0, 0, 18, 18, 78, 78], abs=0.005)


def test_the_hook_hears_every_answer() -> None:
    heard: List[Any] = []

    class Listens(Libllmrl):
        def answered(self, permit: Permit, status: int, headers: Any, body: bytes) -> float:
            assert permit.held
            assert b"usage" in body if status == 200 else b"error" in body
            heard.append((status, "x-ratelimit-remaining-tokens" in headers))
            return super().answered(permit, status, headers, body)

    result = trial.run(SCENARIOS["a x1.5"], "listens", Listens, 1, 2)
    assert {status for status, _ in heard} == {200, 429}
    assert all(told for _, told in heard)
    assert result.refused == pytest.approx(sum(status == 429 for status, _ in heard) / len(heard), abs=0.02)


def test_what_is_settled() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        body = b'{"usage": {"prompt_tokens": 300, "completion_tokens": 40, "total_tokens": 340}}'
        job = Job(1, 300, 310, 1000, 40)
        assert ours(loop, Setup("bucket", 60, 10**6, charge=larger)).charged(job, body) == 1000
        assert ours(loop, Setup("bucket", 60, 10**6, settles=True)).charged(job, body) == 340

    virtual.run(VirtualLoop(), main())


@pytest.mark.parametrize("key", ["a", "c", "d", "e", "f", "g", "a x1.5", "c x1.5", "d x1.5"])
def test_it_gets_nearly_all(key: str) -> None:
    result = trial.run(SCENARIOS[key], "libllmrl", Libllmrl, 1, 3)
    assert result.yielded >= 0.95, result
    assert result.jain is not None and result.jain > 0.99, result
    assert result.wakeups <= 1.5, result
    if key.endswith("x1.5"):
        assert result.refused <= 0.03, result
