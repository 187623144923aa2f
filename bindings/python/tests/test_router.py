"""The router: where keys belong, which node admits, and waiting at all of them at once."""

from __future__ import annotations

import asyncio
import gc
import json
import signal
import threading
import weakref
from pathlib import Path

import pytest

import llmrl
from conftest import collect, until, until_async
from llmrl import Limit, _router
from llmrl._router import Router

VECTORS = Path(__file__).resolve().parents[3] / "tests" / "routing" / "vectors.json"


@pytest.fixture(autouse=True)
def backend(api, monkeypatch):
    monkeypatch.setattr(_router, "RawRouter", api.RawRouter)
    monkeypatch.setattr(_router, "Slip", api.Slip)


def two(api, *limits: Limit, clock=None):
    """A router over nodes "a" and "b" of the same limits."""
    nodes = [api.Limiter(*limits, clock=clock) for _ in range(2)]
    router = Router()
    for name, limiter in zip("ab", nodes):
        router.add(name, limiter)
    return router, nodes


def waiting(nodes) -> list[int]:
    return [limiter.stats().waiting for limiter in nodes]


def available(nodes) -> list[int]:
    return [limiter.limits()[0].available for limiter in nodes]


def as_bytes(value) -> bytes:
    return value.encode() if isinstance(value, str) else bytes.fromhex(value["hex"])


@pytest.mark.skipif(not VECTORS.exists(), reason="not in the repository")
def test_keys_belong_where_they_always_did(api):
    limiter = api.Limiter(Limit.requests(1))
    for case in json.loads(VECTORS.read_text(encoding="utf-8")):
        router = Router(replicas=case.get("replicas"))
        for node in case["nodes"]:
            router.add(as_bytes(node["name"]), limiter, node["weight"])
        for key, number in case["keys"]:
            assert router.route(as_bytes(key)) == router.nodes()[number], case["name"]


def test_text_and_bytes_are_the_same_keys_and_names(api):
    limiter = api.Limiter(Limit.requests(1))
    router = Router()
    router.add("ü", limiter)
    router.add(b"other", limiter)
    for key in ("a", "Zürich", "日本"):
        assert router.route(key) is router.route(bytearray(key.encode())) is router.route(memoryview(key.encode()))
    router.remove("ü".encode())
    assert [node.name for node in router.nodes()] == [b"other"]
    router.set_weight(b"other", 5)


def test_a_key_keeps_to_its_node_and_goes_on_to_the_next(api):
    clock = api.ManualClock()
    router, _ = two(api, Limit.requests(2, per=2), clock=clock)
    home = router.route("tenant")
    visited = []
    while (routed := router.try_acquire(key="tenant")) is not None:
        visited.append(routed.node.name)
        routed.permit.release()
    other = "b" if home.name == "a" else "a"
    assert visited == [home.name] * 2 + [other] * 2
    clock.advance(2)
    home.limiter.pause(0, 5)
    assert router.try_acquire(key="tenant").node.name == other
    assert router.route("tenant") is home, "a part of a limit stays where it is"


def test_the_permit_is_the_nodes(api):
    router, nodes = two(api, Limit.tokens(100), clock=api.ManualClock())
    node, permit = router.try_acquire(30, 10)
    assert isinstance(permit, api.Permit)
    assert node.limiter.limits()[0].available == 60
    permit.settle(5, 0)
    assert sorted(available(nodes)) == [95, 100]
    with router.acquire(20) as (node, permit):
        permit.adjust(10, 0)
    assert not permit.held
    assert sum(available(nodes)) == 185


def test_weights_spread_what_has_no_key(api):
    clock = api.ManualClock()
    router = Router()
    for name, weight in (("light", 1), ("heavy", 3), ("off", 0)):
        router.add(name, api.Limiter(Limit.requests(10_000), clock=clock), weight)
    names = [router.try_acquire().node.name for _ in range(2000)]
    assert 400 < names.count("light") < 600
    assert names.count("off") == 0
    router.set_weight("heavy", 0)
    assert {router.try_acquire().node.name for _ in range(50)} == {"light"}


def test_a_thread_waits_at_all_nodes(api):
    clock = api.ManualClock()
    router, nodes = two(api, Limit.requests(1, per=1, start_empty=True), clock=clock)
    nodes[0].charge(requests=500)
    nodes[1].charge(requests=1000)
    got = []
    thread = threading.Thread(target=lambda: got.append(router.acquire().wait()))
    thread.start()
    until(lambda: waiting(nodes) == [1, 1])
    clock.advance(501)
    thread.join()
    assert got[0].node.name == "a"
    assert waiting(nodes) == [0, 0]
    assert available(nodes) == [0, -499], "only one was charged"


def test_a_task_waits_at_all_nodes(api):
    router, nodes = two(api, Limit.in_flight(1), clock=api.ManualClock())

    async def main() -> None:
        held = [limiter.try_acquire() for limiter in nodes]
        first = asyncio.ensure_future(router.acquire())
        second = asyncio.ensure_future(router.acquire(key="k"))
        await until_async(lambda: waiting(nodes) == [2, 2])
        held[1].release()
        node, permit = await first
        assert node.name == "b"
        assert waiting(nodes) == [1, 1]
        held[0].release()
        again = await second
        assert again.node.name == "a"
        again.permit.release()
        permit.release()

    asyncio.run(main())
    assert waiting(nodes) == [0, 0]


def test_two_nodes_grant_before_the_task_runs(api):
    router, nodes = two(api, Limit.in_flight(1), clock=api.ManualClock())

    async def main() -> None:
        held = [limiter.try_acquire() for limiter in nodes]
        task = asyncio.ensure_future(router.acquire())
        await until_async(lambda: waiting(nodes) == [1, 1])
        for permit in held:
            permit.release()
        assert available(nodes) == [0, 0]
        routed = await task
        assert sum(available(nodes)) == 1
        routed.permit.release()

    asyncio.run(main())
    assert available(nodes) == [1, 1]


def test_cancelled_at_every_turn_of_the_loop(api):
    router, nodes = two(api, Limit.in_flight(1), clock=api.ManualClock())

    async def main() -> None:
        for turns in range(6):
            held = [limiter.try_acquire() for limiter in nodes]
            task = asyncio.ensure_future(router.acquire())
            await until_async(lambda: waiting(nodes) == [1, 1])
            for permit in held:
                permit.release()
            for _ in range(turns):
                await asyncio.sleep(0)
            if task.cancel():
                with pytest.raises(asyncio.CancelledError):
                    await task
            else:
                task.result().permit.release()
            assert available(nodes) == [1, 1]
            assert waiting(nodes) == [0, 0]

    asyncio.run(main())


def test_a_context_releases_and_gives_nothing_twice(api):
    router, nodes = two(api, Limit.in_flight(1), clock=api.ManualClock())

    async def main() -> None:
        async with router.acquire(key="k") as (node, permit):
            assert node is router.route("k")
            assert sum(available(nodes)) == 1
        assert not permit.held
        async with router.acquire() as (_, permit):
            permit.cancel()

    asyncio.run(main())
    assert available(nodes) == [1, 1]


def test_with_a_real_timer(api):
    router, nodes = two(api, Limit.requests(50, per=1, burst=1, start_empty=True))

    async def main() -> None:
        (await asyncio.wait_for(router.acquire(), 30)).permit.release()

    asyncio.run(main())
    router.acquire().wait().permit.release()
    assert waiting(nodes) == [0, 0]


def test_timeouts_and_ends(api):
    clock = api.ManualClock()
    router, nodes = two(api, Limit.requests(1, per=1, start_empty=True), clock=clock)
    with pytest.raises(llmrl.DeadlineExceeded):
        router.acquire(timeout=0.5).wait()
    with pytest.raises(llmrl.Never):
        router.acquire(requests=2).wait()
    with pytest.raises(llmrl.Never):
        router.try_acquire(requests=2)

    async def main() -> None:
        task = asyncio.ensure_future(router.acquire(timeout=2))
        lasting = asyncio.ensure_future(router.acquire())
        await until_async(lambda: waiting(nodes) == [2, 2])
        for limiter in nodes:
            limiter.pause(0, 10)
        clock.advance(2.1)
        with pytest.raises(llmrl.DeadlineExceeded):
            await task
        nodes[0].close()
        assert waiting(nodes)[1] == 1
        nodes[1].close()
        with pytest.raises(llmrl.Closed):
            await lasting

    asyncio.run(main())
    with pytest.raises(llmrl.Closed):
        router.try_acquire()
    assert waiting(nodes) == [0, 0]


def test_a_task_and_a_thread_keep_their_order(api):
    router, nodes = two(api, Limit.in_flight(1), clock=api.ManualClock())
    order: list[str] = []

    def threads_turn() -> None:
        with router.acquire():
            order.append("thread")

    async def main() -> None:
        held = [limiter.try_acquire() for limiter in nodes]
        thread = threading.Thread(target=threads_turn)
        thread.start()
        await until_async(lambda: waiting(nodes) == [1, 1])
        task = asyncio.ensure_future(router.acquire())
        await until_async(lambda: waiting(nodes) == [2, 2])
        held[0].release()
        (await task).permit.release()
        order.append("task")
        thread.join()
        held[1].release()

    asyncio.run(main())
    assert order == ["thread", "task"]


def test_ctrl_c_leaves_all_queues(api):
    router, nodes = two(api, Limit.in_flight(1), clock=api.ManualClock())
    held = [limiter.try_acquire() for limiter in nodes]

    def interrupt() -> None:
        until(lambda: waiting(nodes) == [1, 1])
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        router.acquire().wait()
    thread.join()
    assert waiting(nodes) == [0, 0]
    for permit in held:
        permit.release()


def test_an_acquisition_that_nobody_takes_is_given_back(api):
    router, nodes = two(api, Limit.tokens(100), clock=api.ManualClock())
    slip = _router.Slip(router._raw, router._nodes, (1, 30, 0, 0, 0), None, 0)
    assert slip.ask() == 0
    assert sum(available(nodes)) == 170
    del slip
    collect()
    assert sum(available(nodes)) == 200


def test_a_loop_that_ends_leaves_nobody_behind(api):
    router, nodes = two(api, Limit.in_flight(1), clock=api.ManualClock())
    held = [limiter.try_acquire() for limiter in nodes]

    async def main() -> None:
        task = asyncio.ensure_future(router.acquire())
        await until_async(lambda: waiting(nodes) == [1, 1])
        task.get_loop()._llmrl_task = task

    asyncio.run(main())
    collect()
    assert waiting(nodes) == [0, 0]
    for permit in held:
        permit.release()
    assert available(nodes) == [1, 1]


def test_router_and_limiters_go_when_nobody_has_them(api):
    router, nodes = two(api, Limit.requests(1))
    gone = weakref.ref(router)
    if api.__name__.endswith("native"):
        limiter = weakref.ref(nodes[0])
    router.remove("b")
    del router
    collect()
    assert gone() is None
    nodes[0].try_acquire().release()
    del nodes
    collect()
    gc.collect()
    if api.__name__.endswith("native"):
        assert limiter() is None


def test_what_is_wrong_is_named(api):
    limiter = api.Limiter(Limit.requests(1))
    router = Router()
    with pytest.raises(llmrl.NoNode, match="no such node; or none that has a weight"):
        router.route("k")
    with pytest.raises(llmrl.NoNode):
        router.try_acquire()
    with pytest.raises(llmrl.NoNode):
        router.acquire().wait()
    with pytest.raises(LookupError, match=r"remove\('x'\)"):
        router.remove("x")
    with pytest.raises(LookupError, match=r"set_weight\('x'\)"):
        router.set_weight("x", 1)
    with pytest.raises(ValueError, match=r"name \(bytes\) = 0 is outside 1..=255"):
        router.add("", limiter)
    with pytest.raises(ValueError, match=r"name \(bytes\) = 256 is outside 1..=255"):
        router.add(b"x" * 256, limiter)
    with pytest.raises(ValueError, match="weight must be from 0 to 1000000, got 1000001"):
        router.add("x", limiter, 1_000_001)
    with pytest.raises(TypeError, match="name must be str or bytes, got int 5"):
        router.add(5, limiter)
    with pytest.raises(TypeError, match="limiter must be a Limiter, got NoneType None"):
        router.add("x", None)
    router.add("x", limiter, 0)
    with pytest.raises(ValueError, match="nodes of that name = 2 is outside 1..=1"):
        router.add("x", limiter)
    with pytest.raises(TypeError, match="key must be str or bytes, got float"):
        router.acquire(key=1.5)
    with pytest.raises(ValueError, match="requests must be from 1"):
        router.try_acquire(requests=0)
    with pytest.raises(ValueError, match="replicas must be from 1 to 10000, got 0"):
        Router(replicas=0)
    ring = Router(replicas=10_000)
    ring.add("x", limiter)
    with pytest.raises(ValueError, match="more than 1048576 points"):
        ring.set_weight("x", 105)
    acquire = router.acquire()
    with pytest.raises(llmrl.NoNode):
        acquire.wait()
    with pytest.raises(RuntimeError, match="used before"):
        acquire.wait()


def test_blocking_is_refused_in_a_loop(api):
    router, _ = two(api, Limit.requests(1))

    async def main() -> None:
        with pytest.raises(RuntimeError, match="event loop"):
            router.acquire().wait()

    asyncio.run(main())
