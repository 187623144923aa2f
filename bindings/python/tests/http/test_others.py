"""aiohttp, requests and LangChain against a server on loopback."""

from __future__ import annotations

import asyncio
import importlib
import sys
import threading

import pytest
from conftest import collect, until_async
from server import Answer, chat, chat_stream, refused, serving, squeezed

from llmrl import Limit, Limiter, Router
from llmrl.http import Throttle, _exchange

aiohttp = pytest.importorskip("aiohttp", "3.12")
requests = pytest.importorskip("requests")
pytest.importorskip("langchain_core")

from llmrl.aiohttp import Middleware  # noqa: E402
from llmrl.langchain import RateLimiter  # noqa: E402
from llmrl.requests import Adapter  # noqa: E402

ASK = {"model": "m", "messages": [{"role": "user", "content": "x" * 40}], "max_tokens": 30}
PATH = "/v1/chat/completions"
USED = 19
YEAR = 86400 * 365


@pytest.fixture(autouse=True)
def no_back_off(monkeypatch):
    monkeypatch.setattr(_exchange, "BACKOFF_CAP", 0.0)


@pytest.fixture
def limiter(api):
    return api.Limiter(Limit.requests(600_000), Limit.tokens(100_000, YEAR), Limit.in_flight(3))


def used(limiter) -> tuple[int, int]:
    tokens, slots = limiter.limits()[1:3]
    return 100_000 - tokens.available, slots.amount - slots.available


def over_aiohttp(limiter, answers, body):
    async def main() -> None:
        with serving(*answers) as server:
            async with aiohttp.ClientSession(server.url, middlewares=[Middleware(limiter)]) as session:
                await body(session, server)

    asyncio.run(main())


def test_aiohttp(limiter):
    async def body(session, server) -> None:
        async with session.post(PATH, json=ASK) as answer:
            assert answer.status == 200 and used(limiter)[1] == 1
            assert (await answer.json())["usage"]["completion_tokens"] == 7
        assert used(limiter) == (USED, 0) and len(server.requests) == 3
        assert (await (await session.get("/v1/models")).json())["model"] == "m"
        assert limiter.stats().granted == 3

    over_aiohttp(limiter, [refused(), squeezed(refused(503)), squeezed(chat())], body)


READS = {
    "lines": lambda content: content,
    "chunked": lambda content: content.iter_chunked(7),
    "any": lambda content: content.iter_any(),
    "chunks": lambda content: content.iter_chunks(),
}


async def by_hand(content, method):
    parts = [await content.readexactly(5), await content.readuntil(b"\n"), await content.readline(), await content.readchunk()]
    while not content.at_eof():
        parts.append(await content.readany())
        parts.append(content.read_nowait())
    return parts


@pytest.mark.parametrize("way", [*READS, "by hand"])
def test_aiohttp_streams(limiter, way):
    async def body(session, _) -> None:
        async with session.post(PATH, json=ASK) as answer:
            assert used(limiter)[1] == 1
            parts = [part async for part in READS[way](answer.content)] if way in READS else await by_hand(answer.content, way)
            # At the end of the body, not of the block.
            assert parts and used(limiter) == (USED, 0)

    over_aiohttp(limiter, [chat_stream()], body)


def test_aiohttp_unread_and_cancelled(limiter):
    gate = threading.Event()

    async def body(session, _) -> None:
        async with session.post(PATH, json=ASK) as answer:
            assert used(limiter) == (40, 1)
        assert used(limiter) == (40, 0) and answer.closed
        async def reads() -> None:
            async with session.post(PATH, json=ASK) as answer:
                async for _ in answer.content:
                    pass

        task = asyncio.ensure_future(reads())
        await until_async(lambda: used(limiter)[1] == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert used(limiter)[1] == 0
        gate.set()

    over_aiohttp(limiter, [chat_stream(gate)], body)


def test_aiohttp_dropped(limiter):
    """Until all of it has come, aiohttp itself keeps an answer that nobody has closed, and its connection."""

    async def body(session, _) -> None:
        answer = await session.post(PATH, json=ASK)
        assert used(limiter)[1] == 1
        await until_async(answer.content.is_eof)
        del answer
        collect()
        assert used(limiter) == (40, 0)

    over_aiohttp(limiter, [chat_stream()], body)


def test_aiohttp_hands_out_what_it_cannot_retry(limiter):
    async def pieces():
        yield b'{"model": "m"}'

    async def body(session, server) -> None:
        async with session.post(PATH, data=pieces()) as answer:
            assert answer.status == 429 and b"Too many" in await answer.read()
        assert len(server.requests) == 1
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.post("http://127.0.0.1:1/v1/chat/completions", json=ASK)
        assert used(limiter)[1] == 0

    over_aiohttp(limiter, [refused()], body)


def test_requests(limiter):
    with serving(refused(), squeezed(refused()), squeezed(chat()), chat_stream(), Answer(400, {"error": {"message": "no"}})) as server:
        session = requests.Session()
        session.mount("http://", Adapter(limiter))
        assert session.post(server.url + PATH, json=ASK).json()["usage"]["completion_tokens"] == 7
        assert used(limiter) == (USED, 0) and len(server.requests) == 3
        with session.post(server.url + PATH, json=ASK, stream=True) as answer:
            assert used(limiter)[1] == 1
            assert any(b"[DONE]" in line for line in answer.iter_lines())
        assert used(limiter) == (2 * USED, 0)
        assert session.post(server.url + PATH, json=ASK).json()["error"]["message"] == "no"
        assert session.get(server.url + "/v1/models").status_code == 400 and limiter.stats().granted == 5
        with pytest.raises(requests.ConnectionError):
            session.post("http://127.0.0.1:1" + PATH, json=ASK)
        session.close()
    assert used(limiter) == (2 * USED, 0)


def test_requests_unread(limiter):
    gate = threading.Event()
    with serving(chat_stream(gate)) as server, requests.Session() as session:
        session.mount("http://", Adapter(limiter))
        with session.post(server.url + PATH, json=ASK, stream=True) as answer:
            assert used(limiter) == (40, 1)
        assert used(limiter) == (40, 0) and answer.status_code == 200
        answer = session.post(server.url + PATH, json=ASK, stream=True)
        assert used(limiter) == (80, 1)
        del answer
        collect()
        assert used(limiter) == (80, 0)
        gate.set()
    with serving(chat_stream()) as server, requests.Session() as session:
        session.mount("http://", Adapter(limiter))
        with session.post(server.url + PATH, json=ASK, stream=True) as answer:
            while answer.raw.read(9):
                pass
        assert used(limiter) == (80 + USED, 0)
        with session.post(server.url + PATH, data=iter([b'{"model": "m"}']), stream=True) as answer:
            assert b"".join(answer.raw)
        assert used(limiter)[1] == 0


def test_requests_hands_out_what_it_cannot_retry(limiter):
    with serving(refused(), chat()) as server, requests.Session() as session:
        session.mount("http://", Adapter(Throttle(limiter)))
        assert session.post(server.url + PATH, data=iter([b'{"model": "m"}'])).status_code == 429
        assert len(server.requests) == 1 and used(limiter)[1] == 0


def test_langchain(api):
    limiter = api.Limiter(Limit.requests(2, YEAR), Limit.in_flight(1))
    bounds = RateLimiter(limiter)
    assert bounds.acquire() and asyncio.run(bounds.aacquire())
    assert not bounds.acquire(blocking=False) and not asyncio.run(bounds.aacquire(blocking=False))
    assert limiter.stats().in_flight == 0


def test_langchain_with_a_model():
    from langchain_core.language_models import GenericFakeChatModel

    router = Router()
    router.add("only", Limiter(Limit.requests(10, YEAR)))
    model = GenericFakeChatModel(messages=iter(["hello", "you"]), rate_limiter=RateLimiter(router))
    assert model.invoke("hi").content == "hello"
    assert asyncio.run(model.ainvoke("hi")).content == "you"
    assert router.nodes()[0].limiter.limits()[0].available == 8


@pytest.mark.parametrize("name, needs", [("aiohttp", "aiohttp"), ("requests", "requests"), ("langchain", "langchain_core")])
def test_what_is_not_installed_is_named(monkeypatch, name, needs):
    monkeypatch.delitem(sys.modules, f"llmrl.{name}")
    monkeypatch.setitem(sys.modules, needs, None)
    if name == "langchain":
        monkeypatch.setitem(sys.modules, "langchain_core.rate_limiters", None)
    with pytest.raises(ImportError, match="pip install"):
        importlib.import_module(f"llmrl.{name}")
