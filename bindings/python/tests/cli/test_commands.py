"""Both commands together, end to end, and what surrounds them: help, missing extras, the bar on a terminal."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, List

import pytest

aiohttp = pytest.importorskip("aiohttp", reason="needs the cli extra: pip install 'llmrl[cli]'")
pytest.importorskip("rich", reason="needs the cli extra: pip install 'llmrl[cli]'")

from batch_helpers import KEY, PATIENCE, Finished, line, results, run, write

PYTHON = [sys.executable, "-m", "llmrl.cli"]


@contextmanager
def emulator(*options: str) -> Iterator[str]:
    """``llmrl emulate`` on a free port; it must stop cleanly on SIGINT."""
    command = [*PYTHON, "emulate", "--port", "0", "--quiet", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            first = server.stdout.readline()
            assert first.startswith("listening on http://127.0.0.1:"), first
            yield first.split()[-1]
            server.send_signal(signal.SIGINT)
            assert server.stdout.read() == ""
            assert server.wait(PATIENCE) == 0
        finally:
            if server.poll() is None:
                server.kill()


def stats(url: str) -> dict:
    with urllib.request.urlopen(url[: -len("/v1")] + "/stats", timeout=PATIENCE) as answer:
        return json.load(answer)


def batch(path: Path, count: int, max_tokens: int = 300) -> Path:
    return write(
        path, [line(f"r{i} " + "some words to count " * (i % 40), max_tokens=max_tokens) for i in range(count)]
    )


def limits(**values: int) -> List[str]:
    return [text for name, value in values.items() for text in (f"--{name.replace('_', '-')}", str(value))]


@pytest.mark.parametrize("charge", ["reserve", "settle", "max"])
def test_a_batch_at_the_limit_meets_almost_no_refusals(tmp_path: Path, charge: str) -> None:
    """The whole chain: estimates, the limiter, the enforcing server. Tokens bind."""
    bounds = limits(rpm=6000, tpm=600_000, max_concurrent=32)
    options = [*bounds, "--burst-seconds", "4"]
    source = batch(tmp_path / "in.jsonl", 300)
    asked = charge if charge == "max" else "auto"
    with emulator(*options, "--charge", charge, "--latency-scale", "0.02") as url:
        done = asyncio.run(run(source, tmp_path / "out.jsonl", url, *options, "--charge", asked))
        seen = stats(url)
    assert done.status == 0, done.err
    assert len(results(tmp_path / "out.jsonl")) == seen["admitted"] == 300
    assert seen["refused"]["concurrent"] == 0
    assert seen["refused"]["total"] <= 15, "5 % of the requests: the first refusals tell auto how this provider charges"
    assert seen["share"]["tokens"] > 0.7 and "tokens/min" in done.out
    used = sum(r["response"]["body"]["usage"]["total_tokens"] for r in results(tmp_path / "out.jsonl").values())
    assert used == seen["tokens"]["used"]


def test_requests_per_minute_can_bind_too(tmp_path: Path) -> None:
    options = [*limits(rpm=1200, max_concurrent=16), "--burst-seconds", "2"]
    source = batch(tmp_path / "in.jsonl", 100)
    with emulator(*options, "--latency-scale", "0.01") as url:
        done = asyncio.run(run(source, tmp_path / "out.jsonl", url, *options))
        seen = stats(url)
    assert done.status == 0 and seen["refused"]["total"] <= 5
    assert "requests/min" in done.out.split("waited for")[1].splitlines()[0]


@pytest.mark.parametrize("enforce, kind", [("fixed", "fixed_window"), ("sliding", "sliding_window")])
def test_windows_instead_of_buckets(tmp_path: Path, enforce: str, kind: str) -> None:
    """40 in 2 seconds. How few are refused is for test_yield.py, which has no network to wait for."""
    source = batch(tmp_path / "in.jsonl", 100)
    options = ["--rpm", "1200", "--burst-seconds", "2", "--enforce", enforce, "--latency-scale", "0.01"]
    with emulator(*options) as url:
        done = asyncio.run(run(source, tmp_path / "out.jsonl", url, "--limit", f"{kind}:requests:40/2", "--rpd", "100000"))
        seen = stats(url)
    assert done.status == 0, done.err
    assert len(results(tmp_path / "out.jsonl")) == seen["admitted"] == 100
    assert seen["limits"]["enforce"] == enforce and seen["limits"]["request_burst"] == 40
    assert "requests in 2 s" in done.out.split("waited for")[1].splitlines()[0]
    assert "requests/day used" in done.out


def test_injected_errors_are_retried_until_all_are_answered(tmp_path: Path) -> None:
    source = batch(tmp_path / "in.jsonl", 60)
    with emulator("--error-rate", "0.1", "--latency-scale", "0") as url:
        done = asyncio.run(run(source, tmp_path / "out.jsonl", url, "--max-attempts", "20"))
        seen = stats(url)
    assert done.status == 0, done.err
    assert len(results(tmp_path / "out.jsonl")) == 60
    injected = sum(seen["injected_errors"].values())
    assert injected > 0 and seen["admitted"] == 60 + injected


def test_a_stopping_emulator_lets_running_answers_finish() -> None:
    async def main() -> None:
        server = await asyncio.create_subprocess_exec(
            *PYTHON, "emulate", "--port", "0", "--latency-scale", "0.3", stdout=asyncio.subprocess.PIPE
        )
        assert server.stdout is not None
        url = (await server.stdout.readline()).decode().split()[-1]
        assert b"enforcing no limits" in await server.stdout.readline()
        async with aiohttp.ClientSession() as session:
            body = json.loads(line("x", max_tokens=50))["body"]
            asking = asyncio.ensure_future(session.post(url + "/chat/completions", json=body))
            while stats_active(await get(session, url)) == 0:
                await asyncio.sleep(0)
            server.send_signal(signal.SIGTERM)
            response = await asking
            assert response.status == 200 and (await response.json())["usage"]["total_tokens"] > 0
        rest = (await server.stdout.read()).decode().splitlines()
        assert rest[0] == "stopping: running answers may finish" and json.loads(rest[1])["finished"] == 1
        assert await server.wait() == 0

    async def get(session: aiohttp.ClientSession, url: str) -> dict:
        async with session.get(url[: -len("/v1")] + "/stats") as response:
            return await response.json()

    def stats_active(seen: dict) -> int:
        return int(seen["active"])

    asyncio.run(asyncio.wait_for(main(), PATIENCE))


def test_an_address_in_use_is_reported() -> None:
    with emulator() as url:
        port = url.split(":")[2].split("/")[0]
        done = subprocess.run([*PYTHON, "emulate", "--port", port], capture_output=True, text=True)
    assert done.returncode == 2 and "cannot listen on 127.0.0.1 port" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "options", [["--rpm", "0"], ["--error-rate", "1.5"], ["--latency-scale", "nan"], ["--port", "70000"]]
)
def test_wrong_emulator_options_are_named(options: List[str]) -> None:
    done = subprocess.run([*PYTHON, "emulate", *options], capture_output=True, text=True)
    assert done.returncode == 2 and f"argument {options[0]}" in done.stderr and repr(options[1]) in done.stderr


def test_help_teaches_and_needs_no_extra() -> None:
    for command, words in (
        ("batch", ["OPENAI_API_KEY", "Exit status", "Ctrl-C", "llmrl emulate"]),
        ("emulate", ["/stats", "curl", "/v1/messages", "anthropic", "fixed/10"]),
        ("plan", ["--compare", "--expected-output", "llmrl plan prompts.jsonl", "tier", "matplotlib"]),
    ):
        done = subprocess.run([*without_extra(), command, "--help"], capture_output=True, text=True)
        assert done.returncode == 0 and all(word in done.stdout for word in words)
    assert subprocess.run([*PYTHON], capture_output=True).returncode == 2


def without_extra() -> List[str]:
    """The command line in an interpreter that has no aiohttp."""
    return [
        sys.executable,
        "-c",
        "import sys; sys.modules['aiohttp'] = None; from llmrl.cli import main; sys.exit(main())",
    ]


@pytest.mark.parametrize("arguments", [["emulate", "--port", "0"], ["batch", "in.jsonl", "out.jsonl"]])
def test_a_missing_extra_is_one_line_that_says_how_to_install_it(arguments: List[str], tmp_path: Path) -> None:
    done = subprocess.run([*without_extra(), *arguments], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == f"llmrl {arguments[0]} needs aiohttp, which is not installed: pip install 'llmrl[cli]'\n"


def in_a_terminal(command: List[str]) -> Finished:
    """Run ``command`` with all three streams on a pseudo-terminal."""
    parent, child = pty.openpty()
    variables = dict(os.environ, OPENAI_API_KEY=KEY, TERM="xterm", COLUMNS="100", LINES="30")
    process = subprocess.Popen(command, stdin=child, stdout=child, stderr=child, env=variables)
    os.close(child)
    shown = b""
    while True:
        try:
            more = os.read(parent, 65536)
        except OSError:  # how Linux says that the other side is closed
            break
        if not more:
            break
        shown += more
    os.close(parent)
    return Finished(process.wait(PATIENCE), shown.decode("utf-8", "replace"), "")


def test_a_terminal_gets_a_bar_with_rates_and_the_limit_that_binds(tmp_path: Path) -> None:
    options = [*limits(rpm=600, tpm=10_000_000, max_concurrent=8), "--burst-seconds", "0.5"]
    source = batch(tmp_path / "in.jsonl", 25)
    with emulator(*options, "--latency-scale", "0.01") as url:
        command = [*PYTHON, "batch", str(source), str(tmp_path / "out.jsonl"), "--base-url", url, *options]
        done = in_a_terminal(command)
    assert done.status == 0
    for words in (
        "━",
        "25/25",
        "100%",
        "requests/s",
        "tokens/s",
        "waiting for requests/min",
        "429s",
        "retries",
        "left",
    ):
        assert words in done.out, words
    assert "\x1b[?25h" in done.out, "the cursor is shown again"
    assert KEY not in done.out
