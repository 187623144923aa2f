"""Waiting at the levels of a chain: in turn at each, ended anywhere, by tasks and threads."""

from __future__ import annotations

import asyncio
import random
import threading

import pytest

import llmrl
from chain_helpers import at_the_second_level, available, is_untouched, tokens
from conftest import PATIENCE, collect, until, until_async
from llmrl import Chain, ChainPermit, Limit


def test_the_shared_level_is_charged_last(clock, limiter):
    user, other, provider = limiter(tokens(100)), limiter(tokens(100)), limiter(tokens(150))
    chain = Chain(user, provider)
    chain.try_acquire(100).release()

    async def main() -> None:
        task = asyncio.ensure_future(chain.acquire(50))
        await until_async(lambda: user.stats().waiting == 1)
        assert available(provider) == 50, "others may use it meanwhile"
        Chain(other, provider).try_acquire(50).release()
        clock.advance(0.5)
        permit = await task
        assert available(provider) == 25, "75 have come back"
        permit.cancel()

    asyncio.run(main())
    assert (available(user), available(provider)) == (50, 75)


def test_cancelled_in_the_middle_of_the_second_level(clock, limiter):
    chain, user, provider = at_the_second_level(clock, limiter)

    async def main() -> None:
        task = asyncio.ensure_future(chain.acquire(50))
        await until_async(lambda: provider.stats().waiting == 1)
        assert (user.stats().in_flight, available(user)) == (1, 950)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert is_untouched(user, provider)


def test_granted_but_cancelled_before_it_ran(clock, limiter):
    chain, user, provider = at_the_second_level(clock, limiter)

    async def main() -> None:
        task = asyncio.ensure_future(chain.acquire(50))
        await until_async(lambda: provider.stats().waiting == 1)
        clock.advance(0.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert is_untouched(user, provider) and available(provider) == 50


def test_abandoned_in_the_middle_of_the_second_level(clock, limiter):
    chain, user, provider = at_the_second_level(clock, limiter)

    async def main() -> None:
        iterator = chain.acquire(50).__await__()
        assert next(iterator, None) is not None
        assert (user.stats().in_flight, provider.stats().waiting) == (1, 1)
        del iterator
        collect()

    asyncio.run(main())
    assert is_untouched(user, provider)


def test_closed_in_the_middle_of_the_second_level(clock, limiter):
    chain, user, provider = at_the_second_level(clock, limiter)

    async def main() -> None:
        task = asyncio.ensure_future(chain.acquire(50))
        await until_async(lambda: provider.stats().waiting == 1)
        provider.close()
        with pytest.raises(llmrl.Closed, match="^level 1: acquire: the limiter is closed") as caught:
            await task
        assert caught.value.level == 1

    asyncio.run(main())
    assert is_untouched(user, provider)


def test_a_thread_in_the_middle_of_the_second_level(clock, limiter):
    chain, user, provider = at_the_second_level(clock, limiter)
    outcome: list[BaseException] = []

    def body() -> None:
        try:
            chain.acquire(50).wait()
        except llmrl.Error as error:
            outcome.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    until(lambda: provider.stats().waiting == 1)
    assert user.stats().in_flight == 1
    provider.close()
    thread.join()
    assert outcome[0].level == 1 and is_untouched(user, provider)


def test_what_cannot_be_in_time_is_told_before_anything_is_taken(clock, limiter):
    chain, user, provider = at_the_second_level(clock, limiter)
    for timeout in (0, 0.499_999_999):
        with pytest.raises(llmrl.DeadlineExceeded, match="^level 1: acquire: not admitted within the timeout") as caught:
            chain.acquire(50, timeout=timeout).wait()
        assert caught.value.level == 1
    assert user.stats().granted == 0

    async def main() -> None:
        with pytest.raises(llmrl.DeadlineExceeded):
            await chain.acquire(50, timeout=0.25)
        # Just in time.
        task = asyncio.ensure_future(chain.acquire(50, timeout=0.5))
        await until_async(lambda: provider.stats().waiting == 1)
        clock.advance(0.5)
        (await task).cancel()

    asyncio.run(main())
    assert is_untouched(user, provider)


def test_the_timeout_counts_for_all_levels_together(clock, limiter):
    user, provider = limiter(tokens(1000)), limiter(tokens(100))
    chain = Chain(user, provider)
    user.charge(1000)

    async def main(charged: int) -> ChainPermit:
        task = asyncio.ensure_future(chain.acquire(100, timeout=1))
        await until_async(lambda: user.stats().waiting == 1)
        provider.charge(charged)
        clock.advance(0.1)
        return await asyncio.wait_for(task, PATIENCE)

    # Of the second 0.9 are left, and what the provider lacks takes 0.91.
    with pytest.raises(llmrl.DeadlineExceeded) as caught:
        asyncio.run(main(101))
    assert caught.value.level == 1 and available(user) == 100
    clock.advance(100)
    user.charge(1000)

    async def in_time() -> None:
        task = asyncio.ensure_future(main(100))
        await until_async(lambda: provider.stats().waiting == 1)
        clock.advance(0.9)
        (await task).release()

    asyncio.run(in_time())
    assert available(provider) == 0


def test_expired_at_the_second_level(clock, limiter):
    chain, user, provider = at_the_second_level(clock, limiter)

    async def main() -> None:
        task = asyncio.ensure_future(chain.acquire(50, timeout=1))
        await until_async(lambda: provider.stats().waiting == 1)
        provider.charge(1000)
        clock.advance(1)
        clock.advance_ns(1)
        with pytest.raises(llmrl.DeadlineExceeded) as caught:
            await task
        assert caught.value.level == 1

    asyncio.run(main())
    assert is_untouched(user, provider)


@pytest.mark.parametrize("seed", range(3))
def test_storm_without_time_returns_every_token(limiter, seed):
    """The clock stands still, so the ledgers can only get back what was taken from them: exactly all of it."""
    rng = random.Random(seed)
    users = [limiter(Limit.tokens(1000), Limit.in_flight(3)) for _ in range(4)]
    team, provider = limiter(Limit.tokens(2000), Limit.in_flight(6)), limiter(Limit.tokens(1500), Limit.in_flight(4))

    async def body() -> None:
        chain = Chain(rng.choice(users), team, provider)
        permit = await chain.acquire(rng.randrange(400), rng.randrange(400), timeout=rng.choice([None, 60]))
        try:
            for _ in range(rng.randrange(3)):
                await asyncio.sleep(0)
        finally:
            permit.cancel()

    async def main() -> None:
        tasks = [asyncio.ensure_future(body()) for _ in range(400)]
        pending = tasks
        while pending:
            for task in pending:
                if rng.random() < 0.03:
                    task.cancel()
            await asyncio.sleep(0)
            pending = [task for task in tasks if not task.done()]
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} <= {type(None), asyncio.CancelledError, llmrl.DeadlineExceeded}

    asyncio.run(main())
    levels = [*users, team, provider]
    assert [[state.available for state in level.limits()] for level in levels] == [[1000, 3]] * 4 + [[2000, 6], [1500, 4]]
    assert not any(level.stats().waiting for level in levels)


def test_threads_and_tasks(api):
    users = [api.Limiter(Limit.in_flight(2)) for _ in range(3)]
    provider = api.Limiter(Limit.in_flight(2))
    most: list[int] = []

    def body(number: int) -> None:
        chain = Chain(users[number % 3], provider)
        for _ in range(50):
            with chain.acquire():
                most.append(provider.stats().in_flight)

    async def task(number: int) -> None:
        chain = Chain(users[number % 3], provider)
        for _ in range(50):
            async with chain.acquire(timeout=60):
                most.append(provider.stats().in_flight)
                await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(*[task(number) for number in range(6)])

    threads = [threading.Thread(target=body, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    asyncio.run(main())
    for thread in threads:
        thread.join()
    assert len(most) == 600 and max(most) <= 2
    assert [level.limits()[0].available for level in (*users, provider)] == [2, 2, 2, 2]
