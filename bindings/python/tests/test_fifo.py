"""Threads and tasks in one queue, at scale."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from conftest import until
from llmrl import Limit

TASKS = 10_000
THREADS = 200


def test_ten_thousand_tasks_and_two_hundred_threads(api):
    limiter = api.Limiter(Limit.in_flight(1), Limit.requests(1_000_000_000, per=1))
    order: list[int] = []
    threads: list[threading.Thread] = []

    def in_thread(number: int) -> None:
        with limiter.acquire():
            order.append(number)

    async def in_task(number: int) -> None:
        async with limiter.acquire():
            order.append(number)

    async def main() -> None:
        held = limiter.try_acquire()
        tasks: list[asyncio.Task[None]] = []
        # One thread after each group of tasks, all in a queue whose order is known.
        for _ in range(THREADS):
            for _ in range(TASKS // THREADS):
                tasks.append(asyncio.ensure_future(in_task(len(tasks) + len(threads))))
            await asyncio.sleep(0)
            thread = threading.Thread(target=in_thread, args=(len(tasks) + len(threads),), daemon=True)
            threads.append(thread)
            thread.start()
            until(lambda: limiter.stats().waiting == len(tasks) + len(threads))
        wall, busy = time.monotonic(), time.process_time()
        await asyncio.sleep(0.5)
        wall, busy = time.monotonic() - wall, time.process_time() - busy
        print(f"processor time while {TASKS} tasks and {THREADS} threads wait: {busy / wall:.2%} of the wall clock")
        assert busy < 0.5 * wall, "those who wait must not spin"
        assert limiter.stats().wakes == 0 or limiter.stats().wakes < TASKS
        held.release()
        await asyncio.gather(*tasks)

    asyncio.run(main())
    for thread in threads:
        thread.join()
    assert order == list(range(TASKS + THREADS))
    stats = limiter.stats()
    print(f"wakes per grant: {stats.wakes / stats.granted:.3f}")
    assert (stats.granted, stats.waiting, stats.in_flight) == (TASKS + THREADS + 1, 0, 0)
    # Each grant here needs a release of somebody else, so each needs a wake; two for each would still be no herd.
    assert stats.wakes <= 2 * stats.granted


def test_threads_only(api):
    limiter = api.Limiter(Limit.in_flight(1))
    order: list[int] = []
    held = limiter.try_acquire()

    def body(number: int) -> None:
        with limiter.acquire():
            order.append(number)

    threads = []
    for number in range(50):
        threads.append(threading.Thread(target=body, args=(number,)))
        threads[-1].start()
        until(lambda: limiter.stats().waiting == number + 1)
    held.release()
    for thread in threads:
        thread.join()
    assert order == list(range(50))


def test_self_timed_waiters_need_no_wakes(api):
    """With token buckets alone every waiter knows its own time, so nobody has to be woken."""
    limiter = api.Limiter(Limit.requests(2000, per=1.0, burst=1))
    order: list[int] = []

    async def body(number: int) -> None:
        await limiter.acquire()
        order.append(number)

    async def main() -> None:
        await asyncio.gather(*[body(number) for number in range(400)])

    asyncio.run(main())
    assert order == list(range(400))
    stats = limiter.stats()
    assert stats.granted == 400
    assert stats.wakes <= stats.granted // 2


@pytest.mark.parametrize("slots", [1, 3])
def test_never_more_than_the_slots(api, slots):
    limiter = api.Limiter(Limit.in_flight(slots))
    inside = 0
    most = 0
    lock = threading.Lock()

    def enter() -> None:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)

    def leave() -> None:
        nonlocal inside
        with lock:
            inside -= 1

    def in_thread() -> None:
        for _ in range(100):
            with limiter.acquire():
                enter()
                time.sleep(0)
                leave()

    async def in_task() -> None:
        for _ in range(100):
            async with limiter.acquire():
                enter()
                await asyncio.sleep(0)
                leave()

    async def main() -> None:
        await asyncio.gather(*[in_task() for _ in range(10)])

    threads = [threading.Thread(target=in_thread) for _ in range(8)]
    for thread in threads:
        thread.start()
    asyncio.run(main())
    for thread in threads:
        thread.join()
    assert most == slots
    assert limiter.stats().granted == 1800
    assert limiter.limits()[0].available == slots
