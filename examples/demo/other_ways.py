"""The two ways to run a batch that the demo compares with: no limiter, and a dual token bucket.

Both send with as many workers as the provider allows concurrent requests, and both treat a 429 as the OpenAI SDK
does by default: two retries after the server's time (or 0.5 s x 2^n), then the request has failed. A failed request is
sent again in another round, as somebody would who runs the script once more, until all are answered.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import deque
from pathlib import Path
from typing import Awaitable, Callable, Deque, Optional

import aiohttp

from prompts import CHARS_PER_TOKEN
from seed_dual_bucket import DualBucket

SDK_RETRIES = 2
MAX_ROUNDS = 100

Before = Optional[Callable[[int], Awaitable[None]]]


def sdk_delay(headers: "aiohttp.typedefs.LooseHeaders", attempt: int) -> float:
    """Seconds before retry number ``attempt`` (from 0), after openai-python's default rule."""
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) * unit
        except (KeyError, ValueError):
            continue
        if 0 < seconds <= 60:
            return seconds
    return min(0.5 * 2.0**attempt, 8.0) * (1 - 0.25 * random.random())


async def send(session: aiohttp.ClientSession, base_url: str, line: dict) -> bool:
    """One SDK call: the try and up to two retries. False if it failed."""
    for attempt in range(SDK_RETRIES + 1):
        async with session.post(base_url + line["url"].removeprefix("/v1"), json=line["body"]) as response:
            await response.read()
            if response.status == 200:
                return True
            headers = response.headers
        if attempt < SDK_RETRIES:
            await asyncio.sleep(sdk_delay(headers, attempt))
    return False


async def run_batch(path: Path, base_url: str, workers: int, before: Before) -> int:
    """Run the whole file; the number of SDK calls that failed on the way."""
    with open(path, encoding="utf-8") as file:
        todo: Deque[dict] = deque(json.loads(line) for line in file)
    total, answered, failed = len(todo), 0, 0
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        for _ in range(MAX_ROUNDS):
            again: Deque[dict] = deque()

            async def worker() -> None:
                nonlocal answered
                while todo:
                    line = todo.popleft()
                    if before is not None:
                        await before(cost(line["body"]))
                    if await send(session, base_url, line):
                        answered += 1
                        show(f"{answered}/{total} answered, {failed + len(again)} failed calls")
                    else:
                        again.append(line)

            await asyncio.gather(*(worker() for _ in range(workers)))
            failed += len(again)
            if not again:
                break
            todo.extend(again)
    show(f"{answered}/{total} answered, {failed} failed calls", last=True)
    return failed


def cost(body: dict) -> int:
    """What the provider will reserve: the prompt by its characters, plus max_tokens."""
    chars = sum(len(message["content"]) for message in body["messages"])
    return -(-chars // CHARS_PER_TOKEN) + body["max_tokens"]


_shown = 0.0


def show(text: str, last: bool = False) -> None:
    """A counter on a terminal, one line elsewhere."""
    import sys
    import time

    global _shown
    terminal = sys.stderr.isatty()
    if last or (terminal and time.monotonic() - _shown > 0.1):
        _shown = time.monotonic()
        end = "\n" if last else ""
        sys.stderr.write(f"\r{text}{end}" if terminal else f"{text}\n")
        sys.stderr.flush()


async def without_limiter(path: Path, base_url: str, workers: int) -> int:
    """Plain concurrency."""
    return await run_batch(path, base_url, workers, None)


async def with_dual_bucket(path: Path, base_url: str, workers: int, rpm: int, tpm: int) -> int:
    """Every SDK call waits for both buckets first."""
    return await run_batch(path, base_url, workers, DualBucket(rpm, tpm).wait_and_take)
