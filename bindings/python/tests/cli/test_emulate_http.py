"""The emulator over HTTP: routes, refusals, streams, determinism. Time is driven by hand, latencies are zero."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from typing import Any, Awaitable, Callable, List

import pytest

aiohttp = pytest.importorskip("aiohttp", reason="needs the cli extra: pip install 'llmrl[cli]'")

from aiohttp.test_utils import TestClient, TestServer

from llmrl.cli.emulate_bucket import Gate
from llmrl.cli.emulate_http import Emulator
from llmrl.cli.emulate_model import count_tokens

CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello there, world!"}], "max_tokens": 40}


def serve(
    test: Callable[[TestClient, Emulator], Awaitable[None]],
    charge: str = "reserve",
    seed: int = 0,
    error_rate: float = 0.0,
    **limits: Any,
) -> None:
    async def main() -> None:
        gate = Gate(0, settles=charge == "settle", **limits)
        emulator = Emulator(gate, charge, seed, latency_scale=0, error_rate=error_rate, now_ns=lambda: 0)
        async with TestClient(TestServer(emulator.application())) as client:
            await test(client, emulator)

    asyncio.run(main())


async def post(client: TestClient, body: Any, path: str = "/v1/chat/completions") -> "tuple[int, Any, Any]":
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with client.post(path, data=data) as response:
        return response.status, await response.json(), response.headers


def test_a_chat_answer_its_usage_and_its_headers() -> None:
    async def test(client: TestClient, emulator: Emulator) -> None:
        status, body, headers = await post(client, CHAT)
        assert status == 200
        usage = body["usage"]
        text = body["choices"][0]["message"]["content"]
        assert count_tokens(text) == usage["completion_tokens"] <= 40
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
        assert body["choices"][0]["finish_reason"] in ("stop", "length")
        reserved = 5 + 40  # 19 characters are 5 tokens
        assert headers["x-ratelimit-limit-requests"] == "60" and headers["x-ratelimit-remaining-requests"] == "59"
        assert headers["x-ratelimit-reset-requests"] == "1s"
        assert headers["x-ratelimit-remaining-tokens"] == str(1000 - reserved)
        assert headers["x-ratelimit-reset-tokens"] == "2.7s"
        stats = emulator.stats()
        assert stats["admitted"] == stats["finished"] == 1
        assert stats["tokens"]["used"] == usage["total_tokens"] and stats["tokens"]["charged"] == reserved

    serve(test, rpm=60, tpm=1000)


@pytest.mark.parametrize("charge,charged", [("reserve", 45), ("max", 40)])
def test_what_a_request_costs(charge: str, charged: int) -> None:
    async def test(client: TestClient, emulator: Emulator) -> None:
        await post(client, CHAT)
        assert emulator.stats()["tokens"]["charged"] == charged

    serve(test, charge=charge, tpm=1000)


def test_settling_charges_the_usage() -> None:
    async def test(client: TestClient, emulator: Emulator) -> None:
        _, body, _ = await post(client, CHAT)
        assert emulator.stats()["tokens"]["charged"] == body["usage"]["total_tokens"]
        assert emulator.gate.tokens.available(0) == 1000 - body["usage"]["total_tokens"]

    serve(test, charge="settle", tpm=1000)


def test_refusals_carry_times_and_openai_bodies() -> None:
    async def test(client: TestClient, _emulator: Emulator) -> None:
        assert (await post(client, CHAT))[0] == 200
        status, body, headers = await post(client, CHAT)
        assert status == 429
        assert headers["retry-after-ms"] == "12000" and headers["retry-after"] == "12"
        assert body["error"]["code"] == "rate_limit_exceeded" and "Please try again in 12s" in body["error"]["message"]
        status, body, headers = await post(client, dict(CHAT, max_tokens=100))
        assert status == 429 and "retry-after" not in headers
        assert body["error"]["message"].startswith("Request too large for gpt-4o-mini")

    serve(test, tpm=75, rpm=100)


def test_the_same_request_gets_the_same_answer_whatever_its_spelling_or_turn() -> None:
    answers: List[List[str]] = []

    async def test(client: TestClient, _emulator: Emulator) -> None:
        other = dict(CHAT, max_tokens=39)
        first = await post(client, CHAT)
        second = await post(client, other)
        again = await post(client, json.dumps(dict(reversed(list(CHAT.items()))), indent=3).encode())
        assert again[1]["choices"] == first[1]["choices"] and again[1]["usage"] == first[1]["usage"]
        assert second[1]["choices"] != first[1]["choices"]
        answers.append([first[1]["choices"], second[1]["choices"]])

    serve(test, seed=1)
    serve(test, seed=1)
    serve(test, seed=2)
    assert answers[0] == answers[1] != answers[2]


def events(raw: bytes) -> List[Any]:
    lines = raw.decode().split("\n\n")
    assert lines[-1] == "" and lines[-2] == "data: [DONE]"
    return [json.loads(line[len("data: ") :]) for line in lines[:-2]]


def test_a_stream_says_the_same_as_the_plain_answer() -> None:
    async def test(client: TestClient, emulator: Emulator) -> None:
        body = dict(CHAT, stream=True, stream_options={"include_usage": True})
        async with client.post("/v1/chat/completions", json=body) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            assert response.headers["x-ratelimit-limit-tokens"] == "1000"
            chunks = events(await response.read())
        text = "".join(c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"])
        assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
        assert all(c["object"] == "chat.completion.chunk" for c in chunks)
        assert chunks[-1]["choices"] == [] and all(c["usage"] is None for c in chunks[:-1])
        usage = chunks[-1]["usage"]
        assert count_tokens(text) == usage["completion_tokens"]
        assert chunks[-2]["choices"][0]["finish_reason"] in ("stop", "length")
        assert emulator.stats()["tokens"]["used"] == usage["total_tokens"] and emulator.gate.active == 0
        del body["stream_options"]
        async with client.post("/v1/chat/completions", json=body) as response:
            assert all("usage" not in c for c in events(await response.read()))

    serve(test, tpm=1000)


def test_a_client_that_leaves_a_stream_frees_its_slot_and_pays_for_what_was_made() -> None:
    async def main() -> None:
        gate = Gate(0, tpm=100_000, settles=True, max_concurrent=1)
        emulator = Emulator(gate, "settle", 3, latency_scale=0.2, now_ns=lambda: 0)
        server = TestServer(emulator.application())
        async with server:
            async with aiohttp.ClientSession() as session:
                body = dict(CHAT, stream=True, max_tokens=1000)
                response = await session.post(server.make_url("/v1/chat/completions"), json=body)
                await response.content.readany()
                assert gate.active == 1
                response.close()
                while gate.active:
                    await asyncio.sleep(0.01)
        assert 0 < gate.stats()["tokens"]["used"] < gate.totals.tokens_reserved

    asyncio.run(asyncio.wait_for(main(), 30))


def test_embeddings_and_completions() -> None:
    async def test(client: TestClient, _emulator: Emulator) -> None:
        request = {"model": "m", "input": ["one two", "three"], "dimensions": 8}
        _, plain, _ = await post(client, request, "/v1/embeddings")
        assert [len(item["embedding"]) for item in plain["data"]] == [8, 8]
        assert sum(x * x for x in plain["data"][0]["embedding"]) == pytest.approx(1)
        assert plain["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
        _, coded, _ = await post(client, dict(request, encoding_format="base64"), "/v1/embeddings")
        raw = base64.b64decode(coded["data"][0]["embedding"])
        assert len(struct.unpack("<8f", raw)) == 8
        _, text, _ = await post(
            client, {"model": "m", "prompt": ["a", "b"], "max_tokens": 4, "n": 2}, "/v1/completions"
        )
        assert len(text["choices"]) == 4 and text["object"] == "text_completion"
        async with client.get("/v1/models") as response:
            assert "gpt-4o-mini" in [m["id"] for m in (await response.json())["data"]]

    serve(test)


@pytest.mark.parametrize(
    "body,param,words",
    [
        (b'{"model": ', None, "could not parse the JSON"),
        (b'{"model": "m", "messages": [], "x": NaN}', None, "could not parse the JSON"),
        (b"\xff\xfe{}", None, "could not parse the JSON"),
        (b"[" * 100_000, None, "could not parse the JSON"),
        ([], None, "expected an object"),
        ({"messages": []}, "model", "Missing required parameter: 'model'"),
        ({"model": 3, "messages": []}, "model", "got an integer"),
        ({"model": "m"}, "messages", "Missing required parameter: 'messages'"),
        ({"model": "m", "messages": []}, "messages", "empty array"),
        ({"model": "m", "messages": "hi"}, "messages", "got a string"),
        ({"model": "m", "messages": [3]}, "messages[0]", "expected an object"),
        ({"model": "m", "messages": [{"content": "x"}]}, "messages[0].role", "Missing"),
        ({"model": "m", "messages": [{"role": "user", "content": 3}]}, "messages[0].content", "got an integer"),
        (dict(CHAT, max_tokens="9"), "max_tokens", "got a string"),
        (dict(CHAT, max_tokens=0), "max_tokens", "out of range"),
        (dict(CHAT, max_tokens=10**30), "max_tokens", "out of range"),
        (dict(CHAT, max_tokens=True), "max_tokens", "got a boolean"),
        (dict(CHAT, n=-1), "n", "out of range"),
        (dict(CHAT, stream="yes"), "stream", "expected a boolean"),
        (dict(CHAT, stream_options={}), "stream_options", "only allowed when 'stream'"),
    ],
)
def test_bad_requests_get_openai_shaped_400s_and_cost_nothing(body: Any, param: Any, words: str) -> None:
    async def test(client: TestClient, emulator: Emulator) -> None:
        status, answer, _ = await post(client, body)
        assert status == 400
        assert answer["error"]["type"] == "invalid_request_error" and answer["error"]["param"] == param
        assert words in answer["error"]["message"]
        stats = emulator.stats()
        assert stats["bad_requests"] == 1 and stats["admitted"] == 0 and emulator.gate.requests.available(0) == 60

    serve(test, rpm=60)


def test_unknown_routes_and_methods_answer_in_the_same_shape() -> None:
    async def test(client: TestClient, _emulator: Emulator) -> None:
        status, body, _ = await post(client, {}, "/v1/nothing")
        assert status == 404 and "Invalid URL (POST /v1/nothing)" in body["error"]["message"]
        async with client.get("/v1/embeddings") as response:
            assert response.status == 405 and (await response.json())["error"]["code"] == "method_not_supported"

    serve(test)


def test_injected_errors_are_counted_and_free_their_slots() -> None:
    async def test(client: TestClient, emulator: Emulator) -> None:
        statuses = [(await post(client, dict(CHAT, max_tokens=n + 1)))[0] for n in range(60)]
        stats = emulator.stats()
        assert set(statuses) == {200, 500, 503}
        assert stats["injected_errors"] == {"500": statuses.count(500), "503": statuses.count(503)}
        assert stats["admitted"] == 60 and stats["active"] == 0

    serve(test, error_rate=0.5, max_concurrent=1)


def test_a_concurrency_cap_is_held_and_its_peak_counted() -> None:
    async def main() -> None:
        gate = Gate(0, max_concurrent=3)
        emulator = Emulator(gate, latency_scale=0.05, now_ns=lambda: 0)
        async with TestClient(TestServer(emulator.application())) as client:
            results = await asyncio.gather(*(post(client, dict(CHAT, max_tokens=n + 1)) for n in range(12)))
        assert [r[0] for r in results].count(200) == 3
        assert {r[1]["error"]["type"] for r in results if r[0] == 429} == {"concurrent_requests"}
        assert gate.totals.peak_concurrent == 3 and gate.totals.refused["concurrent"] == 9

    asyncio.run(main())
