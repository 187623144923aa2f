"""The transports under httpx, httpx2 and the SDKs, against a server on loopback: permits and tokens come out even."""

from __future__ import annotations

import asyncio
import threading
import tracemalloc

import pytest
from conftest import collect, until, until_async
from server import Answer, chat, chat_stream, message, message_stream, over_the_rate, refused, serving, squeezed

from llmrl import Chain, DeadlineExceeded, Limit, Limiter, Never, Router
from llmrl.http import Counts, Throttle, _exchange
from llmrl.httpx import AsyncTransport, Transport, limited

openai = pytest.importorskip("openai")
anthropic = pytest.importorskip("anthropic")
httpx = pytest.importorskip("httpx")

ASK = {"model": "m", "messages": [{"role": "user", "content": "x" * 40}], "max_tokens": 30}
USED = 19
YEAR = 86400 * 365


@pytest.fixture(autouse=True)
def no_back_off(monkeypatch):
    monkeypatch.setattr(_exchange, "BACKOFF_CAP", 0.0)


@pytest.fixture(params=["httpx", "httpx2"])
def package(request):
    return pytest.importorskip(request.param)


@pytest.fixture
def limiter(api):
    return api.Limiter(Limit.requests(600_000), Limit.tokens(100_000, YEAR), Limit.in_flight(3))


def used(limiter) -> tuple[int, int]:
    """Tokens charged, slots in use."""
    tokens, slots = limiter.limits()[1:3]
    return 100_000 - tokens.available, slots.amount - slots.available


def no_retries(server, kind, limiter):
    """An SDK's client with a transport; its own retries stay on, to see that they do not multiply."""
    key = {"api_key": "k", "base_url": server.url + ("/v1" if "OpenAI" in kind.__name__ else "")}
    return limited(kind(**key), limiter)


def test_openai(limiter):
    with serving(chat()) as server, no_retries(server, openai.OpenAI, limiter) as client:
        answer = client.chat.completions.create(**ASK)
        assert answer.choices[0].message.content == "hello" and used(limiter) == (USED, 0)
        assert server.requests[0][2] == ASK


def test_openai_async(limiter):
    async def main(server) -> None:
        async with no_retries(server, openai.AsyncOpenAI, limiter) as client:
            answers = await asyncio.gather(*[client.chat.completions.create(**ASK) for _ in range(20)])
        assert all(answer.usage.total_tokens == USED for answer in answers) and used(limiter) == (20 * USED, 0)

    with serving(chat()) as server:
        asyncio.run(main(server))


def test_openai_as_http_client(limiter):
    """The other way to write it."""
    with serving(chat()) as server:
        with openai.OpenAI(api_key="k", base_url=server.url + "/v1", http_client=httpx.Client(transport=Transport(limiter))) as client:
            client.chat.completions.create(**ASK)
    assert used(limiter) == (USED, 0)


def test_openai_streams(limiter):
    with serving(chat_stream()) as server, no_retries(server, openai.OpenAI, limiter) as client:
        stream = client.chat.completions.create(**ASK, stream=True, stream_options={"include_usage": True})
        assert used(limiter) == (40, 1)
        assert "".join(chunk.choices[0].delta.content for chunk in stream if chunk.choices) == "hello"
    assert used(limiter) == (USED, 0)


def test_a_stream_without_usage_keeps_the_estimate(limiter):
    with serving(chat_stream(usage=False)) as server, no_retries(server, openai.OpenAI, limiter) as client:
        for _ in client.chat.completions.create(**ASK, stream=True):
            pass
    assert used(limiter) == (40, 0)


def test_openai_responses_and_embeddings(limiter):
    vector = {"object": "list", "model": "e", "data": [{"object": "embedding", "index": 0, "embedding": [0.5, 1.0]}], "usage": {"prompt_tokens": 9, "total_tokens": 9}}
    answer = {"id": "r", "object": "response", "created_at": 1, "model": "m", "output": [], "usage": {"input_tokens": 4, "output_tokens": 5, "total_tokens": 9}}
    with serving(Answer(body=vector), Answer(body=answer)) as server, no_retries(server, openai.OpenAI, limiter) as client:
        client.embeddings.create(model="e", input=["a", "b"], encoding_format="float")
        assert used(limiter) == (9, 0)
        client.responses.create(model="m", input="abc")
    assert used(limiter) == (18, 0)


def test_anthropic(limiter):
    with serving(message(), message_stream()) as server, no_retries(server, anthropic.Anthropic, limiter) as client:
        assert client.messages.create(**ASK).content[0].text == "hello"
        assert used(limiter) == (USED, 0)
        with client.messages.stream(**ASK) as stream:
            assert "".join(stream.text_stream) == "hello"
    assert used(limiter) == (2 * USED, 0)


def test_anthropic_async(limiter):
    async def main(server) -> None:
        async with no_retries(server, anthropic.AsyncAnthropic, limiter) as client:
            async for _ in await client.messages.create(**ASK, stream=True):
                pass

    with serving(message_stream()) as server:
        asyncio.run(main(server))
    assert used(limiter) == (USED, 0)


@pytest.mark.parametrize("kind, good", [("OpenAI", chat), ("Anthropic", message)])
def test_a_refusal_is_not_seen(limiter, kind, good):
    sdk = openai if kind == "OpenAI" else anthropic
    with serving(refused(), over_the_rate(), good()) as server, no_retries(server, getattr(sdk, kind), limiter) as client:
        create = client.chat.completions.create if kind == "OpenAI" else client.messages.create
        create(**ASK)
        assert len(server.requests) == 3 and used(limiter) == (USED, 0)
        # The SDK has not counted a retry of its own.
        assert all(headers.get("x-stainless-retry-count", "0") == "0" for _, headers, _ in server.requests)


def test_a_refusal_is_not_seen_async(limiter):
    async def main(server) -> None:
        async with no_retries(server, openai.AsyncOpenAI, limiter) as client:
            stream = await client.chat.completions.create(**ASK, stream=True)
            async for _ in stream:
                pass

    with serving(refused(), squeezed(refused(503)), chat_stream()) as server:
        asyncio.run(main(server))
        assert len(server.requests) == 3
    assert used(limiter) == (USED, 0)


def test_retries_do_not_multiply(limiter):
    with serving(refused()) as server, no_retries(server, openai.OpenAI, Throttle(limiter, retries=2)) as client:
        with pytest.raises(openai.RateLimitError) as caught:
            client.chat.completions.create(**ASK)
        assert len(server.requests) == 3 and "Too many concurrent" in str(caught.value)
    assert used(limiter) == (0, 0)


def test_what_is_no_matter_of_limits_is_left_to_the_sdk(limiter):
    with serving(Answer(500, {"error": {"message": "oops"}}, {"retry-after-ms": "1"}), chat()) as server:
        with no_retries(server, openai.OpenAI, limiter) as client:
            client.chat.completions.create(**ASK)
        assert [headers["x-stainless-retry-count"] for _, headers, _ in server.requests] == ["0", "1"]
    assert used(limiter) == (40 + USED, 0)


def test_errors_of_the_limiter(api):
    """Some SDKs let them through; others take them for a broken connection."""
    limiter = api.Limiter(Limit.tokens(35, YEAR))
    with serving(chat()) as server:
        with no_retries(server, openai.OpenAI, limiter) as client, pytest.raises((Never, openai.APIConnectionError)) as caught:
            client.with_options(max_retries=0).chat.completions.create(**ASK)
        assert isinstance(caught.value.__cause__ or caught.value, Never)
        limiter.try_acquire(20)
        throttle = Throttle(limiter, timeout=0.0, charging="azure")
        with no_retries(server, anthropic.Anthropic, throttle) as client, pytest.raises((DeadlineExceeded, anthropic.APIConnectionError)) as caught:
            client.with_options(max_retries=0).messages.create(**{**ASK, "max_tokens": 10})
        assert isinstance(caught.value.__cause__ or caught.value, DeadlineExceeded)
        assert server.requests == [] and limiter.stats().in_flight == 0


def test_an_unread_stream(limiter):
    with serving(chat_stream()) as server, no_retries(server, openai.OpenAI, limiter) as client:
        stream = client.chat.completions.create(**ASK, stream=True)
        stream.close()
        assert used(limiter) == (40, 0)
        stream = client.chat.completions.create(**ASK, stream=True)
        assert used(limiter) == (80, 1)
        del stream
        collect()
        assert used(limiter) == (80, 0)


def test_an_unread_stream_async(limiter):
    async def main(server) -> None:
        client = no_retries(server, openai.AsyncOpenAI, limiter)
        stream = await client.chat.completions.create(**ASK, stream=True)
        assert used(limiter) == (40, 1)
        del stream
        collect()
        assert used(limiter) == (40, 0)
        async with client:
            pass

    with serving(chat_stream()) as server:
        asyncio.run(main(server))


@pytest.mark.parametrize("kind", ["OpenAI", "Anthropic"])
def test_cancelled_in_the_middle_of_a_stream(limiter, kind):
    gate = threading.Event()

    async def main(server) -> None:
        sdk = openai if kind == "OpenAI" else anthropic
        begun = asyncio.Event()

        async def body(client) -> None:
            create = client.chat.completions.create if kind == "OpenAI" else client.messages.create
            async for _ in await create(**ASK, stream=True):
                begun.set()

        async with no_retries(server, getattr(sdk, f"Async{kind}"), limiter) as client:
            task = asyncio.ensure_future(body(client))
            await begun.wait()
            assert used(limiter)[1] == 1
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            del task
            collect()
            await until_async(lambda: used(limiter)[1] == 0)
        gate.set()

    answer = chat_stream(gate) if kind == "OpenAI" else message_stream(gate)
    with serving(answer) as server:
        asyncio.run(main(server))
    # What was really used, nobody has said.
    assert used(limiter) == (40 if kind == "OpenAI" else 10, 0)


def test_cancelled_before_the_answer(limiter):
    async def main(server) -> None:
        async with no_retries(server, openai.AsyncOpenAI, limiter) as client:
            task = asyncio.ensure_future(client.chat.completions.create(**ASK))
            await until_async(lambda: used(limiter)[1] == 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert used(limiter)[1] == 0

    with serving(chat()) as server:
        asyncio.run(main(server))


def test_cancelled_in_the_queue(api):
    limiter = api.Limiter(Limit.in_flight(1), Limit.tokens(1000))
    held = limiter.try_acquire()

    async def main(server) -> None:
        async with no_retries(server, openai.AsyncOpenAI, limiter) as client:
            task = asyncio.ensure_future(client.chat.completions.create(**ASK))
            await until_async(lambda: limiter.stats().waiting == 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert server.requests == []

    with serving(chat()) as server:
        asyncio.run(main(server))
    held.cancel()
    assert [state.available for state in limiter.limits()] == [1, 1000]


def test_no_connection_takes_nothing(limiter):
    with openai.OpenAI(api_key="k", base_url="http://127.0.0.1:1/v1", max_retries=0) as client:
        limited(client, limiter)
        with pytest.raises(openai.APIConnectionError):
            client.chat.completions.create(**ASK)
    assert used(limiter) == (0, 0) and limiter.limits()[0].available == 600_000


def test_bare_clients(package, limiter):
    with serving(squeezed(chat()), refused(), chat_stream()) as server:
        with package.Client(transport=Transport(limiter)) as client:
            answer = client.post(server.url + "/v1/chat/completions", json=ASK)
            assert answer.json()["usage"]["completion_tokens"] == 7 and used(limiter) == (USED, 0)
            assert server.requests[0][1]["accept-encoding"] == "gzip, deflate" and answer.elapsed
            with client.stream("POST", server.url + "/v1/chat/completions", json=ASK) as answer:
                assert b"[DONE]" in answer.read()
        assert used(limiter) == (2 * USED, 0)

    async def main(server) -> None:
        async with package.AsyncClient(transport=AsyncTransport(limiter)) as client:
            answer = await client.post(server.url + "/v1/chat/completions", json=ASK)
            assert answer.json()["usage"]["completion_tokens"] == 7 and answer.elapsed

    with serving(refused(), squeezed(chat())) as server:
        asyncio.run(main(server))
    assert used(limiter) == (3 * USED, 0)


def test_an_error_is_handed_out_whole(package, limiter):
    large = {"error": {"message": "no", "x": ["y" * 1000] * 200}}
    for answer in (Answer(400, large), squeezed(Answer(400, large)), Answer(400, b"\x1f\x8b broken", {"content-encoding": "br"})):
        with serving(answer) as server, package.Client(transport=Transport(limiter)) as client:
            with client.stream("POST", server.url + "/v1/chat/completions", json=ASK) as response:
                assert b"".join(response.iter_raw()) == answer.raw()
    assert used(limiter) == (0, 0)


def test_a_body_that_cannot_be_sent_twice_is_not(package, limiter):
    def pieces():
        yield b'{"model": "m"}'

    with serving(refused(), chat()) as server, package.Client(transport=Transport(limiter)) as client:
        assert client.post(server.url + "/v1/chat/completions", content=pieces()).status_code == 429
        assert len(server.requests) == 1 and used(limiter)[1] == 0


def test_what_is_no_post_passes(package, limiter):
    with serving(refused()) as server, package.Client(transport=Transport(limiter)) as client:
        assert client.get(server.url + "/v1/models").status_code == 429
        assert server.requests[0][1]["accept-encoding"] == client.headers["accept-encoding"]
    assert limiter.stats().granted == 0


def test_a_router_sends_to_another(package):
    with serving(over_the_rate(60_000), chat()) as east, serving(chat()) as west:
        router = Router()
        for server in (east, west):
            router.add(server.url, Limiter(Limit.requests(1000), Limit.tokens(1000)))

        def route(node, request) -> None:
            request.url = package.URL(node.name).join(request.url.raw_path.decode())
            request.headers["host"] = request.url.netloc.decode()

        with package.Client(transport=Transport(router, route=route)) as client:
            for _ in range(20):
                assert client.post("http://any/v1/chat/completions", json=ASK).status_code == 200
        assert len(east.requests) + len(west.requests) == 21 and west.requests


def test_a_chain(api, limiter):
    user = api.Limiter(Limit.tokens(1000, YEAR))
    with serving(chat()) as server, no_retries(server, openai.OpenAI, Chain(user, limiter)) as client:
        client.chat.completions.create(**ASK)
    assert user.limits()[0].available == 1000 - USED and used(limiter) == (USED, 0)


def test_many_threads(limiter):
    throttle = Throttle(limiter)
    with serving(chat()) as server, no_retries(server, openai.OpenAI, throttle) as client:
        most: list[int] = []

        def body() -> None:
            for _ in range(5):
                client.chat.completions.create(**ASK)
                most.append(limiter.stats().in_flight)

        threads = [threading.Thread(target=body) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        until(lambda: used(limiter) == (40 * USED, 0))
        assert max(most) <= 3 and throttle.counts() == Counts(40, 40, 40, 0, 0, 40 * 12, 40 * 7)


def test_a_bomb_is_not_unpacked(package, limiter):
    bomb = squeezed(Answer(429, b"x" * (16 << 20), {"retry-after-ms": "1"}))
    with serving(bomb, chat()) as server, package.Client(transport=Transport(limiter)) as client:
        tracemalloc.start()
        try:
            assert client.post(server.url + "/v1/chat/completions", json=ASK).status_code == 200
            # That of the server, too, which is of this process.
            assert tracemalloc.get_traced_memory()[1] < 4 << 20
        finally:
            tracemalloc.stop()


def test_proxies_stay_and_are_limited(package, limiter):
    with serving(chat()) as server:
        direct = package.HTTPTransport()
        with limited(package.Client(mounts={"http://": direct, "all://none": None}), limiter) as client:
            assert client.post(server.url + "/v1/chat/completions", json=ASK).status_code == 200
            assert None in client._mounts.values() and direct not in client._mounts.values()
    assert used(limiter) == (USED, 0)


def test_clients_that_cannot_be_limited(limiter):
    with pytest.raises(TypeError, match="got object"):
        limited(object(), limiter)
    client = limited(openai.OpenAI(api_key="k"), limiter)
    with pytest.raises(ValueError, match="limited already"):
        limited(client.with_options(timeout=5), limiter)
    client.close()
