"""LLMClient and SyncLLMClient against a server on loopback."""

from __future__ import annotations

import asyncio
import inspect
import threading

import pytest
from conftest import collect, until, until_async
from server import CHAT_USAGE, Answer, chat, chat_stream, event, refused, serving

from llmrl import DeadlineExceeded, Limit, Never
from llmrl.http import Throttle, _exchange

pytest.importorskip("httpx")

from llmrl.client import APIError, LLMClient, SyncLLMClient  # noqa: E402

KEY = "sk-secret-0123456789"
YEAR = 86400 * 365


@pytest.fixture(autouse=True)
def no_back_off(monkeypatch):
    monkeypatch.setattr(_exchange, "BACKOFF_CAP", 0.0)


@pytest.fixture
def limiter(api):
    return api.Limiter(Limit.requests(600_000), Limit.tokens(100_000, YEAR), Limit.in_flight(2))


class Both:
    """One client or the other, called alike."""

    def __init__(self, kind, limiter, url, **options):
        self.loop = asyncio.new_event_loop()
        self.client = kind(limiter, base_url=url + "/v1", **{"api_key": KEY, **options})

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.run(self.client.aclose() if hasattr(self.client, "aclose") else self.client.close())
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()

    def run(self, result):
        return self.loop.run_until_complete(result) if inspect.isawaitable(result) else result

    def chat(self, *arguments, **options):
        return self.run(self.client.chat(*arguments, model="m", **options))

    def all(self, **options):
        stream = self.client.stream("x" * 40, model="m", max_tokens=30, **options)

        async def read():
            return [chunk async for chunk in stream]

        return self.run(read()) if inspect.isasyncgen(stream) else list(stream)


@pytest.fixture(params=[LLMClient, SyncLLMClient])
def kind(request):
    return request.param


def used(limiter) -> tuple[int, int]:
    tokens, slots = limiter.limits()[1:3]
    return 100_000 - tokens.available, slots.amount - slots.available


def test_chat_and_completions(limiter, kind):
    with serving(chat()) as server, Both(kind, limiter, server.url) as client:
        assert client.chat("hi", max_tokens=9)["choices"][0]["message"]["content"] == "hello"
        assert client.chat([{"role": "system", "content": "be"}])["usage"] == CHAT_USAGE
        client.run(client.client.complete("once", model="m"))
        paths, headers, bodies = zip(*server.requests)
        assert paths == ("/v1/chat/completions", "/v1/chat/completions", "/v1/completions")
        assert bodies[0] == {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 9}
        assert bodies[2] == {"model": "m", "prompt": "once"} and headers[0]["authorization"] == f"Bearer {KEY}"
        stats = client.client.get_stats()
        assert stats["requests"] == {"requests": 3, "tries": 3, "served": 3, "refused": 0, "failed": 0, "input": 36, "output": 21}
        assert stats["limiter"]["granted"] == 3 and stats["limits"][2]["available"] == 2
    assert used(limiter) == (3 * 19, 0)


def test_streams(limiter, kind):
    with serving(refused(), chat_stream()) as server, Both(kind, limiter, server.url) as client:
        chunks = client.all()
        assert "".join(choice["delta"]["content"] for chunk in chunks for choice in chunk["choices"]) == "hello"
        assert chunks[-1]["usage"] == CHAT_USAGE and server.requests[-1][2]["stream_options"] == {"include_usage": True}
    assert used(limiter) == (19, 0)


def test_streams_that_fail(limiter, kind):
    broken = [event({"choices": []}), event(b"{nonsense"), event({"error": {"message": f"overloaded {KEY}"}}), event(b"[DONE]")]
    with serving(Answer(body=broken), Answer(400, {"error": {"message": "no such model"}})) as server:
        with Both(kind, limiter, server.url) as client:
            with pytest.raises(APIError, match=r"broke off: overloaded \[API key\]"):
                client.all()
            with pytest.raises(APIError, match="status 400: no such model"):
                client.all()
    assert used(limiter) == (40, 0)


def test_retries_by_class(limiter, kind):
    answers = [refused(), refused(503), Answer(500, b"oops"), Answer(502, b"<html>"), chat()]
    with serving(*answers) as server, Both(kind, limiter, server.url) as client:
        client.chat("x" * 40, max_tokens=30)
        assert len(server.requests) == 5
        assert client.client.get_stats()["requests"]["failed"] == 2
    # Of the two that failed by themselves nobody knows what they used.
    assert used(limiter) == (40 + 40 + 19, 0)


@pytest.mark.parametrize(
    "answer, tries, said",
    [
        (Answer(401, {"error": {"message": f"Incorrect API key provided: {KEY}"}}), 1, ("status 401: Incorrect API key provided: [API key]", "other")),
        (Answer(429, {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}), 1, ("status 429: You exceeded", "billing")),
        (refused(), 3, ("status 429: Too many", "concurrency")),
        (Answer(200, b"<html>"), 1, ("status 200", "ok")),
        (Answer(404, b"\xff" * 100_000), 1, ("status 404", "other")),
        (Answer(400, {"error": "x" * 5000}), 1, ("status 400: " + "x" * 500, "other")),
    ],
)
def test_what_is_final(limiter, kind, answer, tries, said):
    with serving(answer) as server, Both(kind, limiter, server.url, retries=2) as client:
        with pytest.raises(APIError) as caught:
            client.chat("hi")
        assert len(server.requests) == tries
        assert str(caught.value).startswith(said[0]) and len(str(caught.value)) < 600
        assert (caught.value.status, caught.value.answer_class) == (answer.status, said[1])
        assert KEY not in repr(caught.value)
    assert used(limiter)[1] == 0


def test_no_connection(limiter, kind):
    with Both(kind, limiter, "http://127.0.0.1:1", retries=2) as client:
        with pytest.raises(APIError) as caught:
            client.chat("hi")
        assert caught.value.status is None and client.client.get_stats()["requests"]["failed"] == 3
        with pytest.raises(APIError):
            client.all()
    assert used(limiter) == (0, 0)


def test_deadlines(api, kind):
    limiter = api.Limiter(Limit.tokens(100, YEAR))
    with serving(chat()) as server, Both(kind, limiter, server.url, timeout=60) as client:
        client.chat("x" * 40, max_tokens=70)
        with pytest.raises(DeadlineExceeded):
            client.chat("x" * 40, max_tokens=80, timeout=0)
        with pytest.raises(DeadlineExceeded):
            client.chat("x" * 40, max_tokens=80)
        with pytest.raises(Never):
            client.chat("hi", max_tokens=1000)
        assert len(server.requests) == 1


def test_concurrency_is_the_limiter_s(limiter):
    async def main(server) -> None:
        most: list[int] = []

        async def body() -> None:
            await client.chat("hi", model="m")
            most.append(limiter.stats().in_flight)

        async with LLMClient(limiter, base_url=server.url) as client:
            await asyncio.gather(*[body() for _ in range(20)])
        assert max(most) <= 2 and used(limiter) == (20 * 19, 0)

    with serving(chat()) as server:
        asyncio.run(main(server))
        assert "authorization" not in server.requests[0][1]


def test_streams_that_are_left(limiter):
    gate = threading.Event()

    async def main(server) -> None:
        async with LLMClient(limiter, base_url=server.url) as client:
            async for _ in client.stream("hi", model="m"):
                break
            collect()
            await until_async(lambda: used(limiter)[1] == 0)
            gate.set()

    with serving(chat_stream(gate)) as server:
        asyncio.run(main(server))
        with SyncLLMClient(limiter, base_url=server.url) as client:
            stream = client.stream("hi", model="m")
            next(stream)
            stream.close()
            until(lambda: used(limiter)[1] == 0)


def test_the_key(limiter, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    client = LLMClient(limiter)
    assert client._http.headers["authorization"] == f"Bearer {KEY}" and KEY not in repr(vars(client)["_http"].headers)
    assert repr(client) == "<llmrl.LLMClient of https://api.openai.com/v1>"
    # Another address gets no key that is not meant for it.
    assert "authorization" not in LLMClient(limiter, base_url="http://user:word@localhost/v1")._http.headers
    assert "word" not in repr(LLMClient(limiter, base_url="http://user:word@localhost/v1"))
    monkeypatch.setenv("OTHER", KEY + "\n")
    assert LLMClient(limiter, base_url="http://localhost/v1", key_env="OTHER")._http.headers["authorization"] == f"Bearer {KEY}"
    for wrong in ("sk\nx" + KEY, "sk-\u20ac" + KEY):
        with pytest.raises(ValueError, match="printable ASCII") as caught:
            LLMClient(limiter, api_key=wrong)
        assert KEY not in str(caught.value)
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(ValueError, match="OPENAI_API_KEY"):
        SyncLLMClient(limiter)
    with pytest.raises(ValueError, match="base_url"):
        LLMClient(limiter, base_url="localhost", api_key=KEY)


def test_a_throttle_is_taken_as_it_is(limiter):
    throttle = Throttle(limiter, retries=0)
    with serving(refused()) as server, Both(SyncLLMClient, throttle, server.url) as client:
        with pytest.raises(APIError):
            client.chat("hi")
        assert len(server.requests) == 1 and throttle.counts().refused == 1
        # Of what is no Limiter there is nothing but counts.
    assert list(SyncLLMClient(lambda ask: limiter, base_url="http://x").get_stats()) == ["requests"]
