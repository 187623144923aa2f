"""Chains of limiters: all levels or none, one queue at a time, the shared one last."""

from __future__ import annotations

import asyncio
import doctest
import math

import pytest

import llmrl
from chain_helpers import available, is_untouched, tokens
from conftest import until_async
from llmrl import Chain, ChainAcquire, ChainPermit, Limit, LimiterMap, _chain, _map


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


def test_the_example(api):
    assert doctest.testmod(_chain, extraglobs={"Limiter": api.Limiter, "Limit": Limit}).failed == 0
