"""A client whose limits are twice what the emulator enforces: it is refused, and its caller never sees that."""

from __future__ import annotations

import asyncio
import time

import pytest

openai = pytest.importorskip("openai")
pytest.importorskip("aiohttp", reason="needs the cli extra: pip install 'llmrl[cli]'")

from aiohttp.test_utils import TestServer  # noqa: E402

from llmrl import Limit  # noqa: E402
from llmrl.cli.emulate_bucket import Gate  # noqa: E402
from llmrl.cli.emulate_http import Emulator  # noqa: E402
from llmrl.http import Throttle, _exchange  # noqa: E402
from llmrl.httpx import limited  # noqa: E402

REQUESTS = 40
ASK = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 20}


@pytest.mark.parametrize("stream", [False, True])
def test_no_refusal_comes_through(api, monkeypatch, stream):
    monkeypatch.setattr(_exchange, "BACKOFF_CAP", 0.01)
    limiter = api.Limiter(Limit.requests(1200, burst=40), Limit.tokens(60_000, burst=2000), Limit.in_flight(8))
    throttle = Throttle(limiter, retries=20)
    options = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}

    async def ask(client) -> int:
        answer = await client.chat.completions.create(**ASK, **options)
        return [chunk async for chunk in answer][-1].usage.total_tokens if stream else answer.usage.total_tokens

    async def main() -> None:
        gate = Gate(time.monotonic_ns(), rpm=600, tpm=30_000, max_concurrent=4, burst_seconds=2, settles=True)
        emulator = Emulator(gate, "settle", latency_scale=0.0)
        async with TestServer(emulator.application()) as server:
            client = limited(openai.AsyncOpenAI(api_key="k", base_url=str(server.make_url("/v1")), max_retries=0), throttle)
            async with client:
                used = await asyncio.gather(*[ask(client) for _ in range(REQUESTS)])
        counts, seen = throttle.counts(), emulator.stats()
        assert counts.served == seen["admitted"] == REQUESTS and counts.input + counts.output == sum(used)
        # It was refused indeed, and has counted that as the emulator has.
        assert counts.refused == seen["refused"]["total"] > 0 and counts.tries == REQUESTS + counts.refused
        assert limiter.stats().in_flight == 0

    asyncio.run(main())
