"""Throughput of ``llmrl serve`` beside LiteLLM's proxy and no gateway, on the same upstream in one run.

    python -m venv /tmp/litellm && /tmp/litellm/bin/pip install 'litellm[proxy]'
    python bench/gateway.py --litellm /tmp/litellm/bin/litellm

The upstream is ``llmrl emulate`` without limits and without latencies, so what is measured is the gateways and the machine: one
process each, as many clients as ``--clients`` in a process of their own. llmrl serve keeps to limits of each user, of all requests and of
the upstream; LiteLLM's proxy to none, as those of users need its database. Rounds take turns; the table has the best of each.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Dict, Iterator, List, Tuple

SERVE = """
[server]
port = 0
log = "json"
[clients]
bench = {{key_env = "LITELLM_MASTER_KEY"}}
[global]
limits = [{{amount = 10_000_000}}, {{kind = "in_flight", amount = 10000}}]
[users]
by = "field"
limits = [{{amount = 1_000_000}}, {{meter = "tokens", amount = 1_000_000_000}}]
[[upstream]]
name = "emulator"
base_url = "{url}"
limits = [{{amount = 10_000_000}}, {{meter = "tokens", amount = 10_000_000_000}}]
"""
LITELLM = """
model_list:
  - model_name: m
    litellm_params: {{model: openai/m, api_base: "{url}", api_key: none}}
litellm_settings: {{telemetry: false}}
"""
START = 180.0
KEY = "sk-0123456789abcdef0123456789abcdef"
"""Both gateways ask for it: LiteLLM's proxy does not start without one."""


@contextmanager
def running(command: List[str], log: Path, speaks: bool = True, **environment: str) -> Iterator["subprocess.Popen[str]"]:
    """A process, ended in the end. Whether it ``speaks``: what it writes is read; else it goes to the log as well."""
    with log.open("w") as errors:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE if speaks else errors,
            stderr=errors,
            text=True,
            env={**os.environ, "LITELLM_MASTER_KEY": KEY, **environment},
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(30)


def told(process: "subprocess.Popen[str]") -> str:
    """The address in the first line of ``llmrl``."""
    assert process.stdout is not None
    return process.stdout.readline().split()[-1]


def until_ready(url: str, process: "subprocess.Popen[str]", log: Path) -> None:
    end = time.monotonic() + START
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            if time.monotonic() > end or process.poll() is not None:
                sys.exit(f"LiteLLM's proxy does not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.5)


async def load(url: str, clients: int, requests: int, stream: bool) -> List[float]:
    """Ask, from so many clients at a time; the seconds that each answer took."""
    import aiohttp

    headers = {"content-type": "application/json", "authorization": f"Bearer {KEY}"}
    took: List[float] = []
    numbers = iter(range(requests))

    async def client(session: "aiohttp.ClientSession", name: int) -> None:
        for number in numbers:
            body = {
                "model": "m",
                "messages": [{"role": "user", "content": f"hello {number}"}],
                "max_tokens": 50,
                "stream": stream,
                "user": f"user-{name}",
            }
            began = time.perf_counter()
            async with session.post(f"{url}/v1/chat/completions", data=json.dumps(body), headers=headers) as answer:
                raw = await answer.read()
            took.append(time.perf_counter() - began)
            assert answer.status == 200 and (b"[DONE]" in raw) == stream, raw[:500]

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(client(session, name) for name in range(clients)))
    return took


def measured(url: str, clients: int, requests: int, stream: bool) -> Tuple[float, float, float]:
    """Requests per second, and milliseconds that half and 99 in 100 stayed under; by a process of its own."""
    arguments = [sys.executable, __file__, "--load", url, str(clients), str(requests), str(int(stream))]
    seconds, *took = json.loads(subprocess.run(arguments, check=True, capture_output=True, text=True).stdout)
    took.sort()
    return requests / seconds, took[len(took) // 2] * 1e3, took[len(took) * 99 // 100] * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--litellm", type=Path, help="LiteLLM's executable; without it the others are measured")
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--requests", type=int, default=2000, help="in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--load", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.load:
        url, clients, requests, stream = args.load
        began = time.perf_counter()
        took = asyncio.run(load(url, int(clients), int(requests), stream == "1"))
        print(json.dumps([time.perf_counter() - began, *took]))
        return
    llmrl = [sys.executable, "-m", "llmrl.cli"]
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        emulator = stack.enter_context(
            running([*llmrl, "emulate", "--port", "0", "--quiet", "--latency-scale", "0"], folder / "emulator.log")
        )
        upstream = told(emulator)
        (folder / "limits.toml").write_text(SERVE.format(url=upstream))
        ours = stack.enter_context(running([*llmrl, "serve", str(folder / "limits.toml")], folder / "serve.log"))
        urls: Dict[str, str] = {"no gateway": upstream[: -len("/v1")], "llmrl serve": told(ours)}
        if args.litellm:
            (folder / "litellm.yaml").write_text(LITELLM.format(url=upstream))
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            command = [
                str(args.litellm),
                "--config",
                str(folder / "litellm.yaml"),
                "--host",
                "127.0.0.1",
                "--port",
                str(port),
                "--num_workers",
                "1",
            ]
            log = folder / "litellm.log"
            theirs = stack.enter_context(running(command, log, False, LITELLM_LOCAL_MODEL_COST_MAP="True", LITELLM_LOG="ERROR"))
            urls["LiteLLM proxy"] = f"http://127.0.0.1:{port}"
            until_ready(f"{urls['LiteLLM proxy']}/health/liveliness", theirs, log)
        print(f"{args.clients} clients, {args.requests} requests in a round, the best of {args.rounds} rounds\n")
        print(f"{'':16}{'answers':10}{'requests/s':>12}{'median ms':>12}{'p99 ms':>12}")
        for stream in (False, True):
            best: Dict[str, Tuple[float, float, float]] = {}
            for _ in range(args.rounds):
                for gateway, url in urls.items():
                    best[gateway] = max(best.get(gateway, (0.0, 0.0, 0.0)), measured(url, args.clients, args.requests, stream))
            for gateway, (rate, median, high) in best.items():
                print(f"{gateway:16}{'streamed' if stream else 'plain':10}{rate:12.0f}{median:12.1f}{high:12.1f}")


if __name__ == "__main__":
    main()
