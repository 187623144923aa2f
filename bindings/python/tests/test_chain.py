"""Chains of limiters: all levels or none, one queue at a time, the shared one last."""

from __future__ import annotations

import asyncio
import doctest
import math
import random
import threading

import pytest

import llmrl
from conftest import PATIENCE, collect, until, until_async
from llmrl import Chain, ChainAcquire, ChainPermit, Limit, LimiterMap, _chain, _map


@pytest.fixture()
def clock(api):
    return api.ManualClock()


@pytest.fixture()
def limiter(api, clock):
    return lambda *limits, **options: api.Limiter(*limits, **{"clock": clock, **options})


def tokens(n: int) -> Limit:
    """So many a second, with so many at the start."""
    return Limit.tokens(n, per=1)


def available(limiter) -> int:
    return limiter.limits()[0].available


def test_a_refusal_takes_nothing(clock, limiter):
    user, team, provider = limiter(tokens(1000)), limiter(tokens(500), Limit.in_flight(1)), limiter(tokens(2000))
    chain = Chain(user, team, provider)
    permit = chain.try_acquire(400)
    assert isinstance(permit, ChainPermit)
    granted = user.stats().granted
    assert chain.try_acquire(1) is None
    assert chain.wait_time(1) == math.inf, "the team's only slot"
    permit.release()
    # Half a second at the user's, 0.6 at the team's.
    assert chain.wait_time(400) == 0.6
    clock.advance_ns(599_999_999)
    assert chain.try_acquire(400) is None
    assert user.stats().granted == granted, "refusals have looked, and not asked"
    clock.advance_ns(1)
    assert chain.wait_time(400) == 0
    chain.try_acquire(400).cancel()
    assert [available(level) for level in (user, team, provider)] == [1000, 400, 2000]


def test_errors_say_which_level(clock, limiter):
    user, team, provider = limiter(tokens(1000)), limiter(tokens(500)), limiter(tokens(2000))
    chain = Chain(user, team, provider)
    for call in (chain.try_acquire, chain.wait_time, lambda n: chain.acquire(n).wait()):
        with pytest.raises(llmrl.Never, match="^level 1: cost of 501 tokens can never fit limit 0, whose burst is 500") as caught:
            call(501)
        assert caught.value.level == 1
    provider.close()
    for call in (chain.try_acquire, chain.wait_time, lambda: chain.acquire().wait()):
        with pytest.raises(llmrl.Closed, match="^level 2: .*limiter is closed") as caught:
            call()
        assert caught.value.level == 2
    assert [level.stats().granted for level in (user, team, provider)] == [0, 0, 0]
    with pytest.raises(llmrl.Never) as caught:
        team.try_acquire(501)
    assert caught.value.level is None


def test_arguments_that_are_refused(api, limiter):
    user = limiter(tokens(5))
    for levels in ((), (user,) * 9):
        with pytest.raises(ValueError, match=f"1 to 8 limiters, the most private first, got {len(levels)}"):
            Chain(*levels)
    for wrong in (None, Limit.tokens(5), LimiterMap(Limit.tokens(5)), Chain(user)):
        with pytest.raises(TypeError, match="level 1 must be a Limiter, got"):
            Chain(user, wrong)
    chain = Chain(user, user)
    for call in (chain.try_acquire, chain.acquire, chain.wait_time):
        with pytest.raises(ValueError, match="input must be from 0"):
            call(-1)
        with pytest.raises(TypeError, match="output must be a whole number"):
            call(1, 1.5)
    with pytest.raises(ValueError, match="timeout must be"):
        chain.acquire(1, timeout=-1)
    assert user.stats().granted == 0


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


def at_the_second_level(clock, limiter):
    """A chain, the user's level with one slot, and the provider's, which has nothing left: 50 take half a second."""
    user, provider = limiter(tokens(1000), Limit.in_flight(1)), limiter(tokens(100))
    provider.charge(100)
    return Chain(user, provider), user, provider


def is_untouched(user, provider) -> bool:
    stats = [level.stats() for level in (user, provider)]
    return [state.available for state in user.limits()] == [1000, 1] and all(stat.waiting == stat.in_flight == 0 for stat in stats)


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


def test_a_permit_is_settled_at_every_level(limiter):
    user, provider = limiter(tokens(1000), Limit.in_flight(1)), limiter(tokens(2000), Limit.in_flight(1))
    chain = Chain(user, provider)

    def both() -> list[tuple[int, ...]]:
        return [tuple(state.available for state in level.limits()) for level in (user, provider)]

    permit = chain.acquire(600, timeout=1).wait()
    assert permit.held and repr(permit) == "<llmrl.ChainPermit held>"
    permit.adjust(500, 0)
    assert both() == [(500, 0), (1500, 0)]
    with pytest.raises(ValueError, match="input must be from 0"):
        permit.settle(-1, 0)
    assert permit.held and both() == [(500, 0), (1500, 0)]
    permit.settle(100, 0)
    assert both() == [(900, 1), (1900, 1)]
    assert not permit.held and repr(permit) == "<llmrl.ChainPermit ended>"
    for again in (permit.release, permit.cancel, lambda: permit.settle(0, 0), lambda: permit.adjust(0, 0), permit.__enter__,
                  lambda: permit.feedback(200, {})):  # fmt: skip
        with pytest.raises(llmrl.StalePermit):
            again()
    chain.try_acquire(100).release()
    assert both() == [(800, 1), (1800, 1)]
    chain.try_acquire(100).cancel()
    assert both() == [(800, 1), (1800, 1)]


def test_contexts_release_what_is_still_held(limiter):
    user, provider = limiter(tokens(1000), Limit.in_flight(1)), limiter(tokens(2000), Limit.in_flight(1))
    chain = Chain(user, provider)
    with chain.acquire(10) as permit:
        assert provider.stats().in_flight == 1
    assert not permit.held
    with pytest.raises(ZeroDivisionError):
        with chain.try_acquire(10):
            raise ZeroDivisionError
    with chain.acquire(10) as permit:
        permit.settle(0, 0)

    async def main() -> None:
        async with chain.acquire(10) as permit:
            assert permit.held
        with pytest.raises(ZeroDivisionError):
            async with chain.acquire(10):
                raise ZeroDivisionError
        async with chain.acquire(10) as permit:
            permit.cancel()

    asyncio.run(main())
    assert (user.stats().in_flight, provider.stats().in_flight) == (0, 0)
    assert (available(user), available(provider)) == (960, 1960)


def test_an_acquisition_is_good_for_one_wait(limiter):
    chain = Chain(limiter(tokens(1000)), limiter(tokens(1000)))
    acquisition = chain.acquire(10)
    assert isinstance(acquisition, ChainAcquire)
    acquisition.wait()
    with pytest.raises(RuntimeError, match="used before; call chain.acquire"):
        acquisition.wait()

    async def main() -> None:
        with pytest.raises(RuntimeError, match="used before"):
            await acquisition
        with pytest.raises(RuntimeError, match="async with"):
            chain.acquire().wait()

    asyncio.run(main())


REFUSED = (429, {"retry-after-ms": "2500"}, b'{"error": {"type": "tokens"}}')


def test_the_last_level_learns(limiter):
    user, provider = limiter(tokens(1000), Limit.requests(10)), limiter(tokens(2000))
    permit = Chain(user, provider).try_acquire(600, requests=3)
    advice = permit.feedback(*REFUSED)
    assert advice.retry and permit.held
    assert [state.available for state in user.limits()] == [1000, 7], "its tokens are back, its requests are not"
    assert available(provider) < 0
    permit.release()
    assert [state.available for state in user.limits()] == [1000, 7]


@pytest.mark.parametrize("status", [200, 404])
def test_answers_that_are_no_refusals_keep_the_tokens(limiter, status):
    user, provider = limiter(tokens(1000)), limiter(tokens(2000))
    permit = Chain(user, provider).try_acquire(600)
    assert permit.feedback(status, {}).answer_class in ("ok", "other")
    assert (available(user), available(provider)) == (400, 1400)
    permit.release()


def test_the_newest_is_given_back_first(limiter):
    order: list[str] = []

    class Held:
        held = True

        def __init__(self, name: str, interrupted: bool = False) -> None:
            self.name, self.interrupted = name, interrupted

        def cancel(self) -> None:
            order.append(self.name)
            if self.interrupted:
                raise KeyboardInterrupt

    _chain._give_back([Held("user"), Held("team")])
    assert order == ["team", "user"]
    order.clear()
    with pytest.raises(KeyboardInterrupt):
        _chain._give_back([Held("user"), Held("team", interrupted=True), Held("provider")])
    assert order == ["provider", "team", "user"]


def test_somebody_is_faster_between_the_look_and_the_asking(limiter):
    user, provider = limiter(tokens(1000), Limit.in_flight(1)), limiter(tokens(100))

    class Raced:
        """The provider's, whose last tokens go to somebody else after the look."""

        limits = provider.limits

        def wait_time(self, *cost, **rest) -> float:
            wait = provider.wait_time(*cost, **rest)
            provider.charge(100)
            return wait

        def __getattr__(self, name):
            return getattr(provider, name)

    chain = Chain(user, Raced())
    assert chain.try_acquire(50) is None
    assert is_untouched(user, provider) and user.stats().granted == 1


def test_limiters_of_a_map(api, clock, monkeypatch):
    monkeypatch.setattr(_map, "Map", api.Map)
    provider = api.Limiter(Limit.in_flight(2), clock=clock)
    users = LimiterMap(Limit.in_flight(1), clock=clock)
    order: list[str] = []

    async def ask(key: str) -> None:
        async with Chain(users.limiter(key), provider).acquire():
            order.append(key)
            await asyncio.sleep(0)

    async def main() -> None:
        held = [provider.try_acquire(), provider.try_acquire()]
        tasks = [asyncio.ensure_future(ask(key)) for key in ("alice", "alice", "alice", "bob")]
        await until_async(lambda: (users.stats().waiting, provider.stats().waiting) == (2, 2))
        for permit in held:
            permit.release()
        await asyncio.gather(*tasks)

    asyncio.run(main())
    # Alice's others stand in her own queue, so Bob is not behind them.
    assert order[:2] == ["alice", "bob"] and sorted(order[2:]) == ["alice", "alice"]


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


def test_the_example(api):
    assert doctest.testmod(_chain, extraglobs={"Limiter": api.Limiter, "Limit": Limit}).failed == 0
