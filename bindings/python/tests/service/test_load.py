"""A thousand clients that stream at the same time: nothing is lost, nothing comes twice, and memory stays as it is."""

from __future__ import annotations

import asyncio
import json
import os
import resource
from pathlib import Path
from typing import Dict, List, Tuple

import pytest

aiohttp = pytest.importorskip("aiohttp", reason="needs the service extra: pip install 'llmrl[service]'")
pytest.importorskip("fastapi", reason="needs the service extra: pip install 'llmrl[service]'")
pytest.importorskip("uvicorn", reason="needs the service extra: pip install 'llmrl[service]'")

from service_helpers import CHAT, chat, emulator, run, service, upstream

from llmrl.cli.emulate_model import count_tokens

CLIENTS = int(os.environ.get("LLMRL_CLIENTS", "1000"))
WAVES = int(os.environ.get("LLMRL_WAVES", "3"))
CONFIG = """
[server]
port = 0
log = "json"
[admission]
max_wait = 600
[global]
limits = [{kind = "in_flight", amount = 100000}]
[users]
by = "field"
limits = [{amount = 100000}, {meter = "tokens", amount = 100_000_000}]
"""


def resident(pid: int) -> float:
    """Megabytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


async def stream(client: "aiohttp.ClientSession", url: str, number: int, together: "asyncio.Barrier") -> Tuple[str, str]:
    """The id of the answer, and its text; each of its tokens is there exactly once."""
    body = chat(f"client {number}", stream=True, max_tokens=100, user=f"user-{number % 50}", stream_options={"include_usage": True})
    raw = b""
    async with client.post(url, data=json.dumps(body).encode()) as response:
        assert response.status == 200
        # All of them are open at the same time.
        await together.wait()
        async for piece in response.content.iter_any():
            raw += piece
    lines = [line for line in raw.decode().split("\n\n") if line]
    assert lines[-1] == "data: [DONE]"
    events = [json.loads(line[len("data: ") :]) for line in lines[:-1]]
    text = "".join(choice["delta"].get("content", "") for event in events for choice in event["choices"])
    usage = [event["usage"] for event in events if event.get("usage")]
    assert [one["completion_tokens"] for one in usage] == [count_tokens(text)]
    (identity,) = {event["id"] for event in events}
    return identity, text


@pytest.mark.skipif(not hasattr(asyncio, "Barrier"), reason="needs Python 3.11")
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="no /proc here")
def test_a_thousand_streams_at_a_time(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 3 * CLIENTS + 200
    if hard != resource.RLIM_INFINITY and hard < needed:
        pytest.skip(f"needs {needed} open files")
    # Inherited by the servers.
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))

    async def test() -> None:
        # Fast enough, and long enough for all to be open at once.
        async with emulator("--latency-scale", "1") as provider, service(tmp_path, CONFIG + upstream(provider.url)) as serving:
            answers: Dict[str, str] = {}
            texts: List[Dict[int, str]] = []
            sizes: List[float] = []
            for _ in range(WAVES):
                together = asyncio.Barrier(CLIENTS)
                # Each has a connection of its own; one that was kept could be closed by the server at the wrong moment.
                connector = aiohttp.TCPConnector(limit=0, force_close=True)
                async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None)) as client:
                    asked = (stream(client, serving.url + CHAT, number, together) for number in range(CLIENTS))
                    found = await asyncio.gather(*asked)
                answers.update(found)
                texts.append({number: text for number, (_, text) in enumerate(found)})
                await serving.until_idle()
                sizes.append(resident(serving.process.pid))
            assert len(answers) == WAVES * CLIENTS, "no answer went to two clients"
            assert all(text == texts[0] for text in texts), "each client got its own"
            async with serving.client.get(provider.url[: -len("/v1")] + "/stats") as response:
                stats = await response.json()
            assert stats["admitted"] == stats["finished"] == WAVES * CLIENTS
            metrics = (await serving.get("/metrics")).body.decode()
            used = sum(count_tokens(text) for text in answers.values())
            assert f'llmrl_tokens_total{{model="other",direction="output"}} {used}\n' in metrics
            print(f"resident after each wave of {CLIENTS}: {', '.join(f'{size:.1f} MB' for size in sizes)}")
            # The first wave pays for connections and caches. A kilobyte that each later request left behind would be seen.
            assert sizes[-1] - sizes[0] <= max(2.0, 0.001 * (WAVES - 1) * CLIENTS), sizes

    run(test)
