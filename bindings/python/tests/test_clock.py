"""Waiting on a manual clock: exact instants, order, timeouts, changes while somebody waits."""

from __future__ import annotations

import asyncio
import threading

import pytest

import llmrl
from conftest import until, until_async
from llmrl import Limit


def started(order: list, limiter, name, **cost) -> asyncio.Task:
    async def body() -> None:
        await limiter.acquire(**cost)
        order.append(name)

    return asyncio.ensure_future(body())


async def turns() -> None:
    """More turns of the loop than any wake needs to reach its task."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_granted_at_the_instant_and_in_order(api):
    clock = api.ManualClock()
    limiter = api.Limiter(Limit.requests(60, burst=1), clock=clock)
    order: list[int] = []

    async def main() -> None:
        limiter.try_acquire()
        tasks = [started(order, limiter, i) for i in range(5)]
        await turns()
        for i in range(5):
            clock.advance_ns(999_999_999)
            await turns()
            assert order == list(range(i)), "not a nanosecond early"
            clock.advance_ns(1)
            await turns()
            assert order == list(range(i + 1))
        await asyncio.gather(*tasks)

    asyncio.run(main())


def test_a_large_request_is_not_overtaken(api):
    clock = api.ManualClock()
    limiter = api.Limiter(Limit.tokens(60, burst=60), clock=clock)
    order: list[str] = []

    async def main() -> None:
        limiter.try_acquire(60).release()
        tasks = [started(order, limiter, "large", input=50), started(order, limiter, "small", input=1)]
        await turns()
        clock.advance(49)
        assert limiter.try_acquire(1) is None, "nobody passes the queue"
        await turns()
        assert order == []
        clock.advance(1)
        await turns()
        assert order == ["large"]
        clock.advance(1)
        await turns()
        assert order == ["large", "small"]
        await asyncio.gather(*tasks)

    asyncio.run(main())


def test_timeout_passes(api):
    clock = api.ManualClock()
    limiter = api.Limiter(Limit.in_flight(1), clock=clock)
    held = limiter.try_acquire()

    async def main() -> None:
        task = asyncio.ensure_future(limiter.acquire(timeout=5))
        await turns()
        clock.advance(4.999)
        await turns()
        assert not task.done()
        clock.advance(0.002)
        with pytest.raises(llmrl.DeadlineExceeded):
            await task

    asyncio.run(main())
    assert limiter.stats().timed_out == 1
    held.release()
    assert limiter.limits()[0].available == 1


def test_timeout_passes_in_a_thread(api):
    clock = api.ManualClock()
    limiter = api.Limiter(Limit.in_flight(1), clock=clock)
    held = limiter.try_acquire()
    outcome: list[BaseException] = []

    def body() -> None:
        try:
            limiter.acquire(timeout=5).wait()
        except llmrl.DeadlineExceeded as error:
            outcome.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    until(lambda: limiter.stats().waiting == 1)
    clock.advance(5.001)
    thread.join()
    assert len(outcome) == 1 and limiter.stats().waiting == 0
    held.release()


def test_retune_pause_and_resume_move_the_time(api):
    clock = api.ManualClock()
    limiter = api.Limiter(Limit.requests(60, burst=1), clock=clock)
    order: list[int] = []

    async def main() -> None:
        limiter.try_acquire()
        tasks = [started(order, limiter, i) for i in range(3)]
        await turns()
        limiter.retune(0, 600, burst=1)  # one each 0.1 s
        clock.advance(0.1)
        await turns()
        assert order == [0]
        limiter.pause(0, 10)
        clock.advance(9)
        await turns()
        assert order == [0]
        limiter.pause(0, 0)
        await turns()
        assert order == [0, 1], "the bucket filled meanwhile"
        clock.advance(0.1)
        await turns()
        assert order == [0, 1, 2]
        await asyncio.gather(*tasks)

    asyncio.run(main())


def test_a_refund_admits_at_once(api):
    clock = api.ManualClock()
    limiter = api.Limiter(Limit.tokens(1000), clock=clock)
    order: list[str] = []

    async def main() -> None:
        permit = limiter.try_acquire(1000)
        task = started(order, limiter, "next", input=900)
        await turns()
        permit.settle(100, 0)
        await turns()
        assert order == ["next"]
        await task

    asyncio.run(main())


def test_one_clock_for_several_limiters(api):
    clock = api.ManualClock()
    limiters = [api.Limiter(Limit.requests(60, burst=1), clock=clock) for _ in range(3)]
    order: list[int] = []

    async def main() -> None:
        for limiter in limiters:
            limiter.try_acquire()
        tasks = [started(order, limiter, i) for i, limiter in enumerate(limiters)]
        await turns()
        clock.advance(1)
        await turns()
        assert sorted(order) == [0, 1, 2]
        await asyncio.gather(*tasks)

    asyncio.run(main())


def test_limiters_keep_their_clock(api):
    limiter = api.Limiter(Limit.requests(60, burst=1), clock=api.ManualClock())
    limiter.try_acquire()
    assert limiter.wait_time() == 1.0


def test_machine_clock_in_loop_and_thread(api):
    limiter = api.Limiter(Limit.requests(1000, per=1.0, burst=1))
    order: list[int] = []

    async def main() -> None:
        tasks = [started(order, limiter, i) for i in range(50)]
        await asyncio.gather(*tasks)

    asyncio.run(main())
    assert order == list(range(50))
    for _ in range(20):
        limiter.acquire().wait()
    stats = limiter.stats()
    assert stats.granted == 70 and stats.waiting == 0


def test_a_real_timeout_of_the_limiter(api):
    limiter = api.Limiter(Limit.in_flight(1))
    held = limiter.try_acquire()

    async def main() -> None:
        with pytest.raises(llmrl.DeadlineExceeded):
            await limiter.acquire(timeout=0.02)
        with pytest.raises(llmrl.DeadlineExceeded):
            async with limiter.acquire(timeout=0.02):
                raise AssertionError

    asyncio.run(main())
    with pytest.raises(llmrl.DeadlineExceeded):
        limiter.acquire(timeout=0.02).wait()
    assert limiter.stats().timed_out == 3
    held.release()
    assert limiter.limits()[0].available == 1


def test_several_loops_share_a_limiter(api):
    limiter = api.Limiter(Limit.in_flight(2))
    inside = []
    most = []

    async def worker() -> None:
        for _ in range(50):
            async with limiter.acquire():
                inside.append(1)
                most.append(len(inside))
                await asyncio.sleep(0)
                inside.pop()

    async def main() -> None:
        await asyncio.gather(*[worker() for _ in range(5)])

    threads = [threading.Thread(target=lambda: asyncio.run(main())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) <= 2
    stats = limiter.stats()
    assert (stats.granted, stats.waiting, stats.in_flight) == (4 * 5 * 50, 0, 0)


def test_debug_mode_and_custom_tasks(api):
    """asyncio's debug mode checks that every callback is scheduled from the right thread."""
    limiter = api.Limiter(Limit.in_flight(1))

    async def main() -> None:
        held = await limiter.acquire()
        waiting = [asyncio.ensure_future(limiter.acquire()) for _ in range(3)]
        await until_async(lambda: limiter.stats().waiting == 3)
        thread = threading.Thread(target=held.release)
        thread.start()
        for task in waiting:
            (await task).release()
        thread.join()

    asyncio.run(main(), debug=True)
    assert limiter.limits()[0].available == 1
