"""The fair queue: shares by weight, batch and aging, threads and tasks in one queue, and every way to leave it."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import threading
import warnings
import weakref
from pathlib import Path

import pytest
from conftest import collect, until, until_async
from test_memory import resident

import llmrl
from llmrl import Limit, LimiterMap, _fair, _map
from llmrl._fair import FairQueue


@pytest.fixture(autouse=True)
def backend(api, monkeypatch):
    monkeypatch.setattr(_fair, "RawFair", api.RawFair)
    monkeypatch.setattr(_fair, "FairSlip", api.FairSlip)


def empty(api, *limits: Limit, **options):
    """A queue before a limiter of 100 tokens a second on a clock that is driven by hand; there are none now."""
    clock = api.ManualClock()
    limiter = api.Limiter(*limits or (Limit.tokens(100, per=1, start_empty=True),), clock=clock)
    return FairQueue(limiter, **options), limiter, clock


def busy(api, slots: int = 1, **options):
    """A queue before a limiter whose slots are all taken, and what takes them."""
    limiter = api.Limiter(Limit.in_flight(slots), clock=api.ManualClock())
    return FairQueue(limiter, **options), limiter, [limiter.try_acquire() for _ in range(slots)]


def jain(amounts: list[float]) -> float:
    """1: all have the same; 1 / n: one has everything."""
    return sum(amounts) ** 2 / (len(amounts) * sum(amount**2 for amount in amounts))


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_a_hot_key_gets_no_more_than_the_others(api):
    fair, _, clock = empty(api)
    keys = ["hot", *(f"calm {n}" for n in range(7))]
    got = dict.fromkeys(keys, 0)

    async def ask(key: str) -> None:
        while True:
            async with fair.acquire(key, 8, 2) as permit:
                got[key] += 10
                permit.settle(8, 2)

    async def main() -> None:
        tasks = [asyncio.ensure_future(ask("hot")) for _ in range(50)]
        tasks += [asyncio.ensure_future(ask(key)) for key in keys[1:]]
        await until_async(lambda: fair.stats().waiting == 57)
        for _ in range(800):
            clock.advance(0.1)
            await turns(6)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(main())
    assert sum(got.values()) > 7000
    assert jain(list(got.values())) > 0.99, got
    assert fair.stats()[:3] == (0, 0, 0)


def test_shares_are_by_weight_and_put_right(api):
    fair, _, clock = empty(api)
    got = {"three": 0, "one": 0}

    async def ask(key: str, weight: int, used: int) -> None:
        while True:
            permit = await fair.acquire(key, 20, weight=weight)
            got[key] += used
            permit.settle(used, 0)

    async def main() -> None:
        # What is charged in the end is what was used: of the estimate one uses all, the other a half.
        tasks = [asyncio.ensure_future(ask("three", 3, 20)) for _ in range(4)]
        tasks += [asyncio.ensure_future(ask("one", 1, 10)) for _ in range(4)]
        await until_async(lambda: fair.stats().keys == 2)
        for _ in range(400):
            clock.advance(0.1)
            await turns(6)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(main())
    assert sum(got.values()) > 3000
    assert 2.9 < got["three"] / got["one"] < 3.1, got


def test_batch_comes_after_the_others_until_it_has_aged(api):
    fair, limiter, clock = empty(api, aging=10)
    order = []

    async def ask(name: str, batch: bool) -> None:
        async with fair.acquire(name, 50, batch=batch):
            order.append(name)

    async def main() -> None:
        tasks = [asyncio.ensure_future(ask("night", True))]
        await turns()
        tasks.append(asyncio.ensure_future(ask("day", False)))
        await until_async(lambda: fair.stats().waiting == 2)
        assert fair.stats().batch == 1
        clock.advance(1)
        await asyncio.gather(*tasks)
        assert order == ["day", "night"]

        limiter.charge(1000)
        order.clear()
        tasks = [asyncio.ensure_future(ask("night", True))]
        await turns()
        clock.advance(10)
        tasks.append(asyncio.ensure_future(ask("day", False)))
        await turns()
        assert fair.stats()[:4] == (2, 0, 2, 1)
        clock.advance(1)
        await asyncio.gather(*tasks)
        assert order == ["night", "day"]

    asyncio.run(main())


@pytest.mark.parametrize("aging, seconds, batch", [(60, 59, 1), (60, 60, 0), (None, 5_000_000, 1), (float("inf"), 5_000_000, 1), (0, 1, 0)])
def test_aging_takes_a_minute_or_may_be_never_or_at_once(api, aging, seconds, batch):
    fair, limiter, clock = empty(api, aging=aging)
    limiter.pause(0, 10_000_000)
    thread = threading.Thread(target=lambda: pytest.raises(llmrl.Closed, fair.acquire("night", 1, batch=True).wait))
    thread.start()
    until(lambda: fair.stats().waiting == 1)
    clock.advance(seconds)
    until(lambda: fair.try_acquire(1) is None and fair.stats().batch == batch)
    limiter.close()
    thread.join()


def test_small_ones_pass(api):
    fair, _, clock = empty(api, passes=1)

    async def main() -> None:
        large = asyncio.ensure_future(fair.acquire("large", 80).__aenter__())
        await turns()
        small = [asyncio.ensure_future(fair.acquire("small", 10).__aenter__()) for _ in range(2)]
        await turns()
        clock.advance(0.5)
        assert fair.try_acquire(1) is None, "nobody passes who does not stand there"
        await turns()
        assert [task.done() for task in (large, *small)] == [False, True, False]
        assert fair.stats().passed == 1
        clock.advance(0.5)
        await turns()
        assert [task.done() for task in (large, *small)] == [True, True, True]
        for task in (large, *small):
            task.result().release()

    asyncio.run(main())


def test_threads_and_tasks_stand_in_one_queue(api):
    fair, limiter, held = busy(api)
    order = []

    def thread(key: str) -> None:
        with fair.acquire(key):
            order.append(key)

    async def task(key: str) -> None:
        async with fair.acquire(key):
            order.append(key)

    async def main() -> None:
        threads = []
        tasks = []
        for number in range(3):
            threads.append(threading.Thread(target=thread, args=("threads",)))
            threads[-1].start()
            await until_async(lambda: fair.stats().waiting == 2 * number + 1)
            tasks.append(asyncio.ensure_future(task("tasks")))
            await until_async(lambda: fair.stats().waiting == 2 * number + 2)
        held[0].release()
        await asyncio.gather(*tasks)
        await until_async(lambda: not any(thread.is_alive() for thread in threads))

    asyncio.run(main())
    assert order == ["threads", "tasks"] * 3
    assert limiter.stats().in_flight == 0


def test_a_permit_is_used_as_any_other(api):
    clock = api.ManualClock()
    limiter = api.Limiter(Limit.tokens(100), Limit.in_flight(2), clock=clock)
    fair = FairQueue(limiter)
    assert fair.limiter is limiter
    with fair.acquire("a", 30, 10) as permit:
        assert limiter.limits()[0].available == 60
        assert repr(permit) == "<llmrl.FairPermit held>"
        permit.adjust(20, 10)
        assert limiter.limits()[0].available == 70
        permit.settle(5, 0)
        assert repr(permit) == "<llmrl.FairPermit ended>"
        assert not permit.held
    with pytest.raises(llmrl.StalePermit, match="settle: this permit was settled"):
        permit.settle(5, 0)
    for end in (permit.release, permit.cancel, lambda: permit.adjust(1, 1), permit.__enter__):
        with pytest.raises(llmrl.StalePermit):
            end()
    with pytest.raises(llmrl.StalePermit):
        permit.feedback(200, {})
    assert limiter.limits()[0].available == 95
    with fair.acquire(b"a", 40):
        pass
    assert [state.available for state in limiter.limits()] == [55, 2]
    permit = fair.try_acquire(15)
    advice = permit.feedback(429, {"retry-after-ms": "2500"}, b'{"error": {"type": "tokens"}}')
    assert (advice.answer_class, advice.retry) == ("rate", True)
    with permit:
        permit.cancel()
    assert limiter.stats().in_flight == 0
    with pytest.raises(ValueError, match="input must be from 0 to"):
        permit.settle(-1, 0)


def test_every_way_to_acquire(api):
    limiter = api.Limiter(Limit.in_flight(1), clock=api.ManualClock())
    fair = FairQueue(limiter)

    async def main() -> None:
        permit = await fair.acquire("k")
        assert fair.try_acquire() is None
        permit.release()
        async with fair.acquire("k") as permit:
            assert permit.held
        assert not permit.held
        async with fair.acquire("k") as permit:
            permit.cancel()
        with pytest.raises(RuntimeError, match="event loop"):
            fair.acquire("k").wait()
        acquire = fair.acquire("k")
        (await acquire).release()
        with pytest.raises(RuntimeError, match=r"used before; call fair.acquire\(\) once"):
            await acquire

    asyncio.run(main())
    with fair.acquire("k"):
        assert limiter.stats().in_flight == 1
    fair.acquire("k").wait().release()
    assert limiter.stats().in_flight == 0


def test_with_a_real_clock(api):
    limiter = api.Limiter(Limit.requests(50, per=1, burst=1, start_empty=True))
    fair = FairQueue(limiter)
    done = []

    def thread() -> None:
        fair.acquire("thread").wait().release()
        done.append("thread")

    async def main() -> None:
        threads = [threading.Thread(target=thread) for _ in range(3)]
        for each in threads:
            each.start()
        await asyncio.gather(*(use(fair.acquire(f"task {n}")) for n in range(3)))
        await until_async(lambda: len(done) == 3)
        for each in threads:
            each.join()

    async def use(acquire: llmrl.FairAcquire) -> None:
        async with acquire:
            pass

    asyncio.run(main())
    assert fair.stats().waiting == limiter.stats().waiting == 0


def test_timeouts(api):
    fair, limiter, clock = empty(api)
    with pytest.raises(llmrl.DeadlineExceeded):
        fair.acquire("k", 50, timeout=0.25).wait()
    with pytest.raises(TimeoutError):
        with fair.acquire("k", 50, timeout=0):
            raise AssertionError("not admitted")

    async def main() -> None:
        first = asyncio.ensure_future(fair.acquire("a", 100).__aenter__())
        await turns()
        late = asyncio.ensure_future(fair.acquire("b", 60, timeout=0.6).__aenter__())
        last = asyncio.ensure_future(fair.acquire("a", 60, timeout=30).__aenter__())
        await until_async(lambda: fair.stats().waiting == 3)
        clock.advance_ns(600_000_001)
        with pytest.raises(llmrl.DeadlineExceeded):
            await late
        clock.advance(0.4)
        (await first).release()
        clock.advance(0.6)
        (await last).release()

    asyncio.run(main())
    assert fair.stats().waiting == limiter.stats().waiting == 0


def test_a_real_timeout_while_others_wait(api):
    limiter = api.Limiter(Limit.in_flight(1))
    fair = FairQueue(limiter)

    async def main() -> None:
        async with fair.acquire("a"):
            waits = [fair.acquire(key, timeout=0.05).__aenter__() for key in "abab"]
            assert all(isinstance(each, llmrl.DeadlineExceeded) for each in await asyncio.gather(*waits, return_exceptions=True))

    asyncio.run(main())
    with fair.acquire("a"):
        with pytest.raises(llmrl.DeadlineExceeded):
            fair.acquire("b", timeout=0.05).wait()
    assert fair.stats().waiting == limiter.stats().in_flight == 0


def test_a_task_that_is_cancelled_leaves_the_queue(api):
    fair, limiter, held = busy(api)

    async def main() -> None:
        tasks = [asyncio.ensure_future(fair.acquire(key).__aenter__()) for key in "abc"]
        await until_async(lambda: fair.stats().waiting == 3)
        # The first of all, who stands in the limiter's queue, and one behind.
        for task in (tasks[0], tasks[2]):
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert fair.stats().waiting == limiter.stats().waiting == 1
        held[0].release()
        (await tasks[1]).release()

    asyncio.run(main())
    assert limiter.stats().in_flight == 0


def test_cancelled_at_every_turn_of_the_grant(api):
    fair, limiter, held = busy(api)
    held[0].release()

    async def main() -> None:
        ends = set()
        for count in range(8):
            first = fair.try_acquire()
            tasks = [asyncio.ensure_future(fair.acquire(key).__aenter__()) for key in "ab"]
            await until_async(lambda: fair.stats().waiting == 2)
            first.release()
            await turns(count)
            ends.add(tasks[0].cancel())
            if tasks[0].done() and not tasks[0].cancelled():
                tasks[0].result().release()
            else:
                with pytest.raises(asyncio.CancelledError):
                    await tasks[0]
            (await tasks[1]).release()
            assert limiter.stats().in_flight == fair.stats().waiting == 0
        assert ends == {True, False}, "before and after"

    asyncio.run(main())


def test_closing_ends_all_waiting(api):
    fair, limiter, held = busy(api)
    errors = []

    def thread() -> None:
        try:
            fair.acquire("t").wait()
        except llmrl.Closed as error:
            errors.append(error)

    async def main() -> None:
        threads = [threading.Thread(target=thread) for _ in range(3)]
        for each in threads:
            each.start()
        tasks = [asyncio.ensure_future(fair.acquire(key).__aenter__()) for key in "abc"]
        await until_async(lambda: fair.stats().waiting == 6)
        limiter.close()
        for error in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(error, llmrl.Closed)
        await until_async(lambda: not any(each.is_alive() for each in threads))

    asyncio.run(main())
    assert len(errors) == 3
    held[0].release()
    with pytest.raises(llmrl.Closed, match="create a new Limiter"):
        fair.acquire("k").wait()
    with pytest.raises(llmrl.Closed):
        fair.try_acquire()


def test_a_waiter_that_is_abandoned_leaves(api):
    fair, limiter, held = busy(api)

    async def main() -> None:
        acquire = fair.acquire("gone")
        waiting = acquire.__await__()
        waiting.send(None)
        behind = asyncio.ensure_future(fair.acquire("behind").__aenter__())
        await until_async(lambda: fair.stats().waiting == 2)
        del acquire, waiting
        collect()
        assert fair.stats().waiting == 1
        held[0].release()
        (await behind).release()

    asyncio.run(main())
    # Its loop is closed while it waits.
    holder = fair.try_acquire()
    loop = asyncio.new_event_loop()
    task = loop.create_task(fair.acquire("closed").__aenter__())
    loop.run_until_complete(asyncio.sleep(0))
    assert fair.stats().waiting == 1
    loop.close()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        task._log_destroy_pending = False
        del task
        collect()
    holder.release()
    with fair.acquire("next", timeout=0) as permit:
        assert permit.held
    assert fair.stats().waiting == 0


def test_a_permit_that_is_dropped_frees_its_slot(api):
    limiter = api.Limiter(Limit.tokens(100), Limit.in_flight(1), clock=api.ManualClock())
    fair = FairQueue(limiter)
    permit = fair.acquire("k", 40).wait()
    with pytest.warns(ResourceWarning, match="was dropped while held"):
        del permit
        collect()
    assert [state.available for state in limiter.limits()] == [60, 1]
    # Without such a limit, and without a word.
    plain = FairQueue(api.Limiter(Limit.tokens(100), clock=api.ManualClock()))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        permit = plain.acquire("k", 40).wait()
        del permit
        collect()


def test_the_queue_keeps_its_limiter_and_lets_it_go(api):
    limiter = api.Limiter(Limit.in_flight(1), clock=api.ManualClock())
    fair = FairQueue(limiter)
    kept = weakref.ref(limiter)
    del limiter
    permit = fair.acquire("k").wait()
    gone = weakref.ref(fair)
    del fair
    collect()
    permit.release()
    del permit
    collect()
    assert gone() is None
    if sys.implementation.name == "cpython":
        assert kept() is None


def test_the_limiter_of_a_map(api, monkeypatch):
    monkeypatch.setattr(_map, "Map", api.Map)
    clock = api.ManualClock()
    models = LimiterMap(Limit.tokens(100, per=1, start_empty=True), clock=clock)
    fair = FairQueue(models.limiter("model"))

    async def main() -> None:
        tasks = [asyncio.ensure_future(fair.acquire(key, 50).__aenter__()) for key in "ab"]
        await until_async(lambda: fair.stats().waiting == 2)
        clock.advance(1)
        for task in tasks:
            (await task).release()

    asyncio.run(main())


def test_the_example_of_the_readme(api):
    readme = Path(__file__).resolve().parents[1] / "README.md"
    block = re.search(r"## Fair shares.*?```python\n(.*?)```", readme.read_text(encoding="utf-8"), re.DOTALL)
    clock = api.ManualClock()
    provider = api.Limiter(Limit.tokens(3200, per=1), clock=clock)
    sent = []

    class Client:
        async def post(self, *_: object) -> None:
            sent.append(len(sent))

    names = {"llmrl": llmrl, "provider": provider, "client": Client(), "used": lambda _: (1200, 400)}
    exec(block[1], names)

    async def main() -> None:
        tasks = [asyncio.ensure_future(names["nightly"]("job")) for _ in range(3)]
        await turns()
        assert len(sent) == 2
        tasks.append(asyncio.ensure_future(names["ask"]("alice", 3)))
        await turns()
        clock.advance(0.5)
        await tasks[3]
        assert not tasks[2].done()
        clock.advance(0.5)
        await asyncio.gather(*tasks)

    asyncio.run(main())
    assert len(sent) == 4


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="no /proc here")
def test_resident_memory_is_flat(api):
    limiter = api.Limiter(Limit.in_flight(1), max_waiters=100, max_permits=100)
    fair = FairQueue(limiter, max_waiters=100, max_permits=100)

    async def ask(key: str) -> None:
        async with fair.acquire(key, 1, 1):
            await asyncio.sleep(0)

    async def some(rounds: int) -> None:
        for number in range(rounds):
            await asyncio.gather(*(ask(f"key {number} {key}") for key in range(10)))

    asyncio.run(some(200))
    collect()
    before = resident()
    asyncio.run(some(1000))
    collect()
    # One leaked object of 100 bytes for each of the 10000 would be a megabyte.
    assert resident() - before < 1_000_000
    assert fair.stats()[:3] == (0, 0, 0)


def test_as_many_as_it_was_made_for(api):
    fair, limiter, held = busy(api, max_waiters=1, max_permits=1)

    async def main() -> None:
        task = asyncio.ensure_future(fair.acquire("a").__aenter__())
        await until_async(lambda: fair.stats().waiting == 1)
        with pytest.raises(llmrl.QueueFull):
            await fair.acquire("b")
        held[0].release()
        (await task).release()

    asyncio.run(main())
    with pytest.raises(llmrl.Never, match="cost of 2"):
        FairQueue(api.Limiter(Limit.requests(1))).acquire("a", requests=2).wait()


def test_what_is_wrong_is_named(api):
    limiter = api.Limiter(Limit.requests(1))
    fair = FairQueue(limiter)
    for key in ("", b"", "x" * 1025, "\ud800", 5, None):
        with pytest.raises((ValueError, TypeError), match="key must be str or bytes, 1 to 1024"):
            fair.acquire(key)
    fair.acquire("ü" * 512)
    with pytest.raises(ValueError, match="weight must be from 1 to 1000000, got 0"):
        fair.acquire("k", weight=0)
    with pytest.raises(ValueError, match="weight must be from 1 to 1000000, got 1000001"):
        fair.acquire("k", weight=1_000_001)
    with pytest.raises(TypeError, match="weight must be a whole number"):
        fair.acquire("k", weight=0.5)
    with pytest.raises(ValueError, match="requests must be from 1"):
        fair.acquire("k", requests=0)
    with pytest.raises(ValueError, match="timeout must be None or seconds >= 0"):
        fair.acquire("k", timeout=-1)
    with pytest.raises(ValueError, match="aging must be None or seconds >= 0, got -1"):
        FairQueue(limiter, aging=-1)
    with pytest.raises(TypeError, match="aging must be None or seconds >= 0"):
        FairQueue(limiter, aging="long")
    with pytest.raises(ValueError, match="passes must be from 0 to 4294967295, got -1"):
        FairQueue(limiter, passes=-1)
    with pytest.raises(ValueError, match="max_waiters must be from 1 to 1048576, got 0"):
        FairQueue(limiter, max_waiters=0)
    with pytest.raises(ValueError, match="max_permits must be from 1 to 1048576"):
        FairQueue(limiter, max_permits=2**20 + 1)
    with pytest.raises(TypeError, match="limiter must be a Limiter, got NoneType None"):
        FairQueue(None)
