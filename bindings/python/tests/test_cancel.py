"""Cancellation at every point: nothing is lost, nothing is gained, nobody is forgotten."""

from __future__ import annotations

import asyncio
import random
import sys
import threading
import weakref

import pytest

import llmrl
from conftest import collect, until, until_async
from llmrl import Limit


def test_while_waiting(api):
    limiter = api.Limiter(Limit.in_flight(1), clock=api.ManualClock())

    async def main() -> None:
        held = limiter.try_acquire()
        first = asyncio.ensure_future(limiter.acquire())
        second = asyncio.ensure_future(limiter.acquire())
        await until_async(lambda: limiter.stats().waiting == 2)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        held.release()
        (await second).release()

    asyncio.run(main())
    stats = limiter.stats()
    assert (stats.waiting, stats.in_flight, stats.granted) == (0, 0, 2)


def test_granted_but_cancelled_before_it_ran(api):
    limiter = api.Limiter(Limit.in_flight(1), Limit.tokens(1000), clock=api.ManualClock())

    async def main() -> None:
        held = limiter.try_acquire()
        first = asyncio.ensure_future(limiter.acquire(300))
        second = asyncio.ensure_future(limiter.acquire(400))
        await until_async(lambda: limiter.stats().waiting == 2)
        held.release()  # grants the first, whose task has not run yet
        assert limiter.limits()[0].available == 0
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        permit = await second
        assert limiter.limits()[1].available == 600, "the first gave its 300 back"
        permit.release()

    asyncio.run(main())
    assert limiter.limits()[0].available == 1


def test_granted_and_resumed_but_cancelled_together(api):
    """The grant has reached the future, and the task is cancelled in the same turn of the loop."""
    limiter = api.Limiter(Limit.in_flight(1), clock=api.ManualClock())

    async def main() -> None:
        for turns in range(6):
            held = limiter.try_acquire()
            task = asyncio.ensure_future(limiter.acquire())
            await until_async(lambda: limiter.stats().waiting == 1)
            held.release()
            for _ in range(turns):
                await asyncio.sleep(0)
            if task.cancel():
                with pytest.raises(asyncio.CancelledError):
                    await task
            else:
                task.result().release()
            assert limiter.limits()[0].available == 1

    asyncio.run(main())


def test_wait_for_and_timeout(api):
    limiter = api.Limiter(Limit.in_flight(1))

    async def main() -> None:
        held = limiter.try_acquire()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(limiter.acquire(), 0.01)
        if sys.version_info >= (3, 11):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    async with limiter.acquire():
                        raise AssertionError
        assert limiter.stats().waiting == 0
        held.release()
        (await asyncio.wait_for(limiter.acquire(), 10)).release()

    asyncio.run(main())
    assert limiter.limits()[0].available == 1


def test_a_cancelled_context_gives_nothing_twice(api):
    limiter = api.Limiter(Limit.in_flight(1), Limit.tokens(1000), clock=api.ManualClock())

    async def body(entered: asyncio.Event) -> None:
        async with limiter.acquire(100):
            entered.set()
            await asyncio.Event().wait()

    async def main() -> None:
        entered = asyncio.Event()
        task = asyncio.ensure_future(body(entered))
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert [state.available for state in limiter.limits()] == [1, 900], "it may have been sent: the estimate stands"


@pytest.mark.parametrize("seed", range(4))
def test_storm_on_a_manual_clock_conserves_the_ledger(api, seed):
    clock = api.ManualClock()
    limiter = api.Limiter(Limit.tokens(1000, per=60), Limit.in_flight(7), clock=clock)
    rng = random.Random(seed)
    used = 0

    async def body() -> None:
        nonlocal used
        async with limiter.acquire(rng.randrange(400), rng.randrange(400)) as permit:
            for _ in range(rng.randrange(3)):
                await asyncio.sleep(0)
            end = rng.randrange(3)
            if end == 0:
                permit.cancel()
            elif end == 1:
                real = rng.randrange(300)
                permit.settle(real, 0)
                used += real
            else:
                permit.settle(0, 0)

    async def main() -> None:
        tasks = [asyncio.ensure_future(body()) for _ in range(600)]
        pending = set(tasks)
        while pending:
            for task in rng.sample(sorted(pending, key=id), min(len(pending), 3)):
                if rng.random() < 0.3:
                    task.cancel()
            clock.advance(rng.random())
            for _ in range(rng.randrange(4)):
                await asyncio.sleep(0)
            pending = {task for task in tasks if not task.done()}
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} <= {type(None), asyncio.CancelledError}

    asyncio.run(main())
    stats = limiter.stats()
    assert (stats.waiting, stats.in_flight) == (0, 0)
    tokens, in_flight = limiter.limits()
    assert in_flight.available == 7
    # Tasks that were cancelled inside their context leave their estimate spent, so the ledger is at most full; an hour fills it
    # whatever they left, and not above its burst.
    clock.advance(3600)
    assert limiter.limits()[0].available == 1000
    limiter.try_acquire(1000).cancel()


def test_storm_without_time_returns_every_token(api):
    """The clock stands still, so the ledger can only get back what was taken from it: exactly all of it."""
    limiter = api.Limiter(Limit.tokens(1000), Limit.requests(2000), Limit.in_flight(5), clock=api.ManualClock())
    rng = random.Random(7)

    async def body() -> None:
        permit = await limiter.acquire(rng.randrange(500), rng.randrange(500))
        try:
            for _ in range(rng.randrange(3)):
                await asyncio.sleep(0)
        finally:
            permit.cancel()

    async def main() -> None:
        tasks = [asyncio.ensure_future(body()) for _ in range(1500)]
        pending = tasks
        while pending:
            for task in pending:
                if rng.random() < 0.02:
                    task.cancel()
            await asyncio.sleep(0)
            pending = [task for task in tasks if not task.done()]

    asyncio.run(main())
    assert [state.available for state in limiter.limits()] == [1000, 2000, 5]
    assert limiter.stats().waiting == 0


def test_storm_with_timeouts_threads_and_two_loops(api):
    limiter = api.Limiter(Limit.in_flight(3))

    async def body(rng: random.Random) -> None:
        try:
            async with limiter.acquire(timeout=rng.choice([None, 0.002, 0.01])):
                await asyncio.sleep(0)
        except llmrl.DeadlineExceeded:
            pass

    async def main(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(10):
            tasks = [asyncio.ensure_future(asyncio.wait_for(body(rng), rng.choice([0.001, 0.005, 5]))) for _ in range(60)]
            await asyncio.sleep(0)
            for task in rng.sample(tasks, 20):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def blocking(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(100):
            try:
                with limiter.acquire(timeout=rng.choice([None, 0.0005, 0.01])):
                    pass
            except llmrl.DeadlineExceeded:
                pass

    threads = [threading.Thread(target=lambda seed=seed: asyncio.run(main(seed))) for seed in range(2)]
    threads += [threading.Thread(target=blocking, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stats = limiter.stats()
    assert (stats.waiting, stats.in_flight) == (0, 0)
    assert limiter.limits()[0].available == 3


def test_await_object_that_is_never_resumed(api):
    """Somebody takes the iterator of an acquisition and forgets it."""
    limiter = api.Limiter(Limit.in_flight(1), clock=api.ManualClock())
    held = limiter.try_acquire()

    async def main() -> None:
        iterator = limiter.acquire().__await__()
        assert next(iterator, None) is not None
        assert limiter.stats().waiting == 1
        del iterator
        collect()

    asyncio.run(main())
    assert limiter.stats().waiting == 0
    held.release()
    assert limiter.limits()[0].available == 1


def test_tasks_of_a_loop_that_was_closed(api):
    limiter = api.Limiter(Limit.in_flight(1))
    loop = asyncio.new_event_loop()
    held = limiter.try_acquire()
    tasks = [loop.create_task(_wait(limiter)) for _ in range(3)]
    loop.run_until_complete(until_async(lambda: limiter.stats().waiting == 3))
    loop.close()
    # The grant goes to a task that can never run; it is passed on, down to the last one, and then nobody holds the slot.
    held.release()
    assert limiter.stats().waiting == 0
    assert limiter.limits()[0].available == 1
    for task in tasks:
        task._log_destroy_pending = False


async def _wait(limiter) -> None:
    await limiter.acquire()


def test_abandoned_with_its_loop_is_collected(api):
    limiter = api.Limiter(Limit.in_flight(1))
    gone = weakref.ref(limiter)
    loop = asyncio.new_event_loop()
    held = limiter.try_acquire()
    task = loop.create_task(_wait(limiter))
    loop.run_until_complete(until_async(lambda: limiter.stats().waiting == 1))
    loop.close()
    task._log_destroy_pending = False
    held.release()
    # The glue remembers the last loop of each thread.
    asyncio.run(_other())
    del limiter, task, held, loop
    collect()
    assert gone() is None


async def _other() -> None:
    from llmrl._loop import _reactor

    _reactor()


def test_interrupted_thread(api):
    """Whatever makes the sleep of a blocked thread end with an exception, its ticket is given back."""
    limiter = api.Limiter(Limit.in_flight(1), clock=api.ManualClock())
    held = limiter.try_acquire()

    class Interrupted(BaseException):
        pass

    class Acquisition:
        """A turn that fails on its second poll, in the place of one that gets a signal while it sleeps."""

        def __init__(self) -> None:
            self.acquisition = limiter.acquire()
            self.dropped = False
            self.polls = 0
            self._ticket = 12345

        def _poll(self) -> int:
            self.polls += 1
            if self.polls == 2:
                raise Interrupted
            limiter._hub.wake(self._ticket)
            return 1

        def _drop(self) -> None:
            self.dropped = True

    turn = Acquisition()
    with pytest.raises(Interrupted):
        limiter._hub.block(turn)
    assert turn.dropped and not limiter._hub.waiting
    held.release()


def test_a_wake_is_not_lost_when_a_signal_handler_raises_in_it(api):
    limiter = api.Limiter(Limit.in_flight(1), clock=api.ManualClock())
    held = limiter.try_acquire()
    outcome: list[bool] = []

    def body() -> None:
        with limiter.acquire() as permit:
            outcome.append(permit.held)

    thread = threading.Thread(target=body)
    thread.start()
    until(lambda: limiter.stats().waiting == 1 and len(limiter._hub.waiting) == 1)
    ((ticket, waiter),) = limiter._hub.waiting.items()

    class RaisesOnce:
        raised = False

        def wake(self) -> None:
            if not self.raised:
                self.raised = True
                raise KeyboardInterrupt
            waiter.wake()

    limiter._hub.waiting[ticket] = RaisesOnce()
    with pytest.raises(KeyboardInterrupt):
        held.release()
    limiter.stats()
    limiter.wait_time()  # any call passes on what an earlier one could not
    thread.join()
    assert outcome == [True]
    assert not held.held


def test_a_call_that_fails_still_passes_on_its_wakes(api):
    """The one whose deadline has passed makes room for the next, and is the only one who could tell him."""
    clock = api.ManualClock()
    limiter = api.Limiter(Limit.tokens(100), Limit.in_flight(5), clock=clock)
    large = limiter.try_acquire(100)

    async def main() -> None:
        first = asyncio.ensure_future(limiter.acquire(90, timeout=60))
        second = asyncio.ensure_future(limiter.acquire(10))
        await until_async(lambda: limiter.stats().waiting == 2)
        limiter.pause(0, 50)
        clock.advance(61)
        results = await asyncio.wait_for(asyncio.gather(first, second, return_exceptions=True), 30)
        for result in results:
            if isinstance(result, api.Permit):
                result.cancel()
            else:
                assert isinstance(result, llmrl.DeadlineExceeded)
        assert isinstance(results[1], api.Permit)

    asyncio.run(main())
    large.cancel()
    assert limiter.stats().waiting == 0
    assert not limiter._hub.waiting
