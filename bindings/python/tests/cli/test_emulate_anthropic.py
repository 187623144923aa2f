"""Anthropic's Messages API as the emulator speaks it, asked by Anthropic's own client, and by ``llmrl batch``."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, Awaitable, Callable, Dict, Optional

import pytest

aiohttp = pytest.importorskip("aiohttp", reason="needs the cli extra: pip install 'llmrl[cli]'")
anthropic = pytest.importorskip("anthropic", reason="needs the test extra: pip install 'llmrl[test]'")
pytest.importorskip("rich", reason="needs the cli extra: pip install 'llmrl[cli]'")

from aiohttp.test_utils import TestServer
from batch_helpers import KEY, results, run, write

from llmrl import read_answer
from llmrl.cli.emulate_bucket import Gate
from llmrl.cli.emulate_http import Emulator
from llmrl.cli.emulate_model import count_tokens

ASK: Dict[str, Any] = {"model": "claude", "max_tokens": 40, "messages": [{"role": "user", "content": "Hello there, world!"}]}


def serve(test: Callable[[str, Emulator], Awaitable[None]], charge: str = "end", error_rate: float = 0.0, **limits: Any) -> None:
    """Run ``test(address, emulator)``; latencies are zero, and time stands still."""

    async def main() -> None:
        gate = Gate(0, settles=charge in ("end", "settle"), **limits)
        emulator = Emulator(gate, charge, latency_scale=0, error_rate=error_rate, now_ns=lambda: 0)
        async with TestServer(emulator.application()) as server:
            await test(str(server.make_url("/")).rstrip("/"), emulator)

    asyncio.run(main())


def client(url: str) -> Any:
    return anthropic.AsyncAnthropic(base_url=url, api_key=KEY, max_retries=0)


def test_a_message_its_usage_and_its_headers() -> None:
    async def test(url: str, emulator: Emulator) -> None:
        async with client(url) as claude:
            raw = await claude.messages.with_raw_response.create(system="Be brief.", **ASK)
            answer = await raw.parse()
            assert (answer.type, answer.role, answer.model) == ("message", "assistant", "claude")
            assert count_tokens(answer.content[0].text) == answer.usage.output_tokens <= 40
            assert answer.stop_reason in ("end_turn", "max_tokens")
            assert raw.headers["request-id"] == answer._request_id != ""
            # 19 + 9 characters of input are 7 tokens, output counts in the end.
            quotas = {quota.meter: quota for quota in read_answer(200, raw.headers).quotas}
            assert (quotas["requests"].limit, quotas["requests"].remaining) == (60, 59)
            assert quotas["input_tokens"].limit == 30_000 and quotas["input_tokens"].remaining == 30_000, "rounded to thousands"
            assert quotas["output_tokens"].limit == 8_000 and raw.headers["anthropic-ratelimit-requests-reset"].endswith("Z")
            stats = emulator.stats()["tokens"]
            assert stats["charged"] == stats["used"] == answer.usage.input_tokens + answer.usage.output_tokens
            assert emulator.gate.meters["otpm"].available(0) == 8_000 - answer.usage.output_tokens
            assert [m.id for m in (await claude.models.list()).data] == ["claude-sonnet-4-5", "claude-haiku-4-5"]

    serve(test, rpm=60, itpm=30_000, otpm=8_000)


def test_a_stream_says_the_same_as_the_plain_answer() -> None:
    async def test(url: str, emulator: Emulator) -> None:
        async with client(url) as claude:
            names = []
            async with claude.messages.stream(**ASK) as stream:
                async for event in stream:
                    names.append(event.type)
                answer = await stream.get_final_message()
        assert names[0] == "message_start" and names[-1] == "message_stop" and "content_block_delta" in names
        assert count_tokens(answer.content[0].text) == answer.usage.output_tokens > 0
        assert emulator.stats()["tokens"]["used"] == answer.usage.input_tokens + answer.usage.output_tokens
        assert emulator.gate.active == 0

    serve(test, otpm=8_000)


def test_the_synchronous_client() -> None:
    async def test(url: str, _emulator: Emulator) -> None:
        def ask() -> Any:
            with anthropic.Anthropic(base_url=url, api_key=KEY, max_retries=0) as claude:
                with claude.messages.stream(**ASK) as stream:
                    text = "".join(stream.text_stream)
                return text, claude.messages.create(**ASK)

        text, answer = await asyncio.get_running_loop().run_in_executor(None, ask)
        assert count_tokens(text) > 0 and answer.content[0].text

    serve(test)


@pytest.mark.parametrize(
    "limits, meter, wait", [({"rpm": 1}, "requests", 60), ({"itpm": 6}, "input_tokens", 110), ({"otpm": 1}, "output_tokens", None)]
)
def test_refusals_name_the_limit_and_when_to_come_back(limits: Dict[str, int], meter: str, wait: Optional[int]) -> None:
    async def test(url: str, _emulator: Emulator) -> None:
        async with client(url) as claude:
            await claude.messages.create(**ASK)
            with pytest.raises(anthropic.RateLimitError) as refused:
                await claude.messages.create(**ASK)
        error = refused.value
        assert error.body["error"]["type"] == "rate_limit_error" and "would exceed the rate limit" in error.body["error"]["message"]
        reading = read_answer(429, error.response.headers, error.response.content)
        assert (reading.answer_class, reading.meter) == ("rate", meter)
        assert wait is None or reading.wait == wait

    serve(test, **limits)


@pytest.mark.parametrize(
    "body, words",
    [
        ({"model": "claude", "messages": ASK["messages"]}, "max_tokens"),
        ({**ASK, "messages": []}, "messages"),
        ({**ASK, "messages": [{"role": "system", "content": "x"}]}, "Input should be 'user' or 'assistant'"),
        ({**ASK, "system": 3}, "system"),
    ],
)
def test_bad_requests_get_anthropics_shape_and_cost_nothing(body: Dict[str, Any], words: str) -> None:
    async def test(url: str, emulator: Emulator) -> None:
        async with aiohttp.ClientSession() as session:
            for headers, expected in (({"anthropic-version": "2023-06-01"}, words), ({}, "anthropic-version: header is required")):
                async with session.post(f"{url}/v1/messages", json=body, headers=headers) as answer:
                    said = await answer.json()
                    assert answer.status == 400 and said["type"] == "error" and said["error"]["type"] == "invalid_request_error"
                    assert expected in said["error"]["message"] and said["request_id"] == answer.headers["request-id"]
        assert emulator.stats()["admitted"] == 0 and emulator.stats()["bad_requests"] == 2

    serve(test)


def test_injected_errors_are_anthropics() -> None:
    async def test(url: str, emulator: Emulator) -> None:
        async with client(url) as claude:
            for _ in range(20):
                with pytest.raises(anthropic.InternalServerError):
                    await claude.messages.create(**ASK)
        assert set(emulator.stats()["injected_errors"]) == {"500", "529"} and emulator.gate.active == 0

    serve(test, error_rate=1.0)


def test_a_batch_of_messages_with_anthropics_key(tmp_path: Path) -> None:
    seen = []

    async def test(url: str, emulator: Emulator) -> None:
        bodies = ({**ASK, "messages": [{"role": "user", "content": f"number {i}"}]} for i in range(20))
        lines = (json.dumps({"custom_id": str(i), "url": "/v1/messages", "body": body}) for i, body in enumerate(bodies))
        source, target = write(tmp_path / "in.jsonl", lines), tmp_path / "out.jsonl"
        more = {"ANTHROPIC_API_KEY": KEY}
        done = await run(source, target, url, "--provider", "anthropic", "--tier", "start", key=None, **more)
        assert done.status == 0, done.err
        assert "anthropic, tier start: rpm 1,000, itpm 500,000, otpm 100,000" in done.err and KEY not in done.err + done.out
        answers = results(target).values()
        assert len(answers) == 20 and all(a["response"]["body"]["type"] == "message" for a in answers)
        assert all(a["response"]["request_id"].startswith("req_") for a in answers)
        used = sum(sum(a["response"]["body"]["usage"][name] for name in ("input_tokens", "output_tokens")) for a in answers)
        assert emulator.stats()["tokens"]["used"] == used and emulator.stats()["refused"]["total"] == 0
        seen.append(used)

    serve(test, rpm=1_000, itpm=500_000, otpm=100_000)
    assert seen


def test_without_a_provider_the_first_line_tells_whose_key_is_needed(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", [json.dumps({"custom_id": "a", "url": "/v1/messages", "body": ASK})])
    done = asyncio.run(run(source, tmp_path / "out.jsonl", "https://example.invalid/v1", key="sk-of-openai"))
    assert done.status == 2 and "ANTHROPIC_API_KEY is not set" in done.err and "sk-of-openai" not in done.err
