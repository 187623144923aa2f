"""A server that a test scripts, and ``llmrl batch`` as a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, AsyncIterator, Awaitable, Callable, Dict, Iterable, List, Optional, Tuple

from aiohttp import web

KEY = "sk-test-Zm9vYmFy-0123456789/abc"
PATIENCE = 60.0
"""A test that waits for something gives up after this; nothing is timed by it."""

Answer = Tuple[int, Any, Dict[str, str]]


def line(custom_id: str, **body: Any) -> str:
    """One input line; its prompt is its custom_id, by which the scripted server knows it."""
    body = {"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": custom_id}], **body}
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body})


def ok(custom_id: str, prompt: int = 5, completion: int = 7) -> Answer:
    """A plain 200."""
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return 200, {"choices": [{"message": {"content": f"answer to {custom_id}"}}], "usage": usage}, {}


def error(status: int, message: str = "no", code: Optional[str] = None, kind: str = "x", **headers: str) -> Answer:
    """An OpenAI-shaped error."""
    named = {k.replace("_", "-"): v for k, v in headers.items()}
    return status, {"error": {"message": message, "type": kind, "param": None, "code": code}}, named


class Script:
    """Answers each request with ``respond(custom_id, how many times it was asked before)``; remembers who asked."""

    def __init__(self, respond: Callable[[str, int], "Answer | Awaitable[Answer]"]) -> None:
        self.respond = respond
        self.asked: List[str] = []
        self.answered: List[str] = []
        self.headers: List[Dict[str, str]] = []
        self.paths: List[str] = []
        self.changed = asyncio.Condition()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        custom_id = body["messages"][0]["content"]
        before = self.asked.count(custom_id)
        self.headers.append(dict(request.headers))
        self.paths.append(request.path)
        await self._note(self.asked, custom_id)
        answer = self.respond(custom_id, before)
        if asyncio.iscoroutine(answer):
            answer = await answer
        status, content, headers = answer
        await self._note(self.answered, custom_id)
        if isinstance(content, bytes):
            return web.Response(status=status, body=content, headers=headers)
        return web.json_response(content, status=status, headers=headers)

    async def _note(self, where: List[str], custom_id: str) -> None:
        async with self.changed:
            where.append(custom_id)
            self.changed.notify_all()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until ``condition`` holds, looked at whenever somebody asks or is answered."""
        async with self.changed:
            await asyncio.wait_for(self.changed.wait_for(condition), PATIENCE)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Listen on a free loopback port; yields the base URL."""
        app = web.Application(client_max_size=1 << 30)
        app.router.add_post("/{path:.*}", self.handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        finally:
            await runner.cleanup()


def gated(respond: Callable[[str, int], Answer]) -> Tuple[Script, asyncio.Event]:
    """A script whose answers wait for the event."""
    gate = asyncio.Event()

    async def wait(name: str, before: int) -> Answer:
        await gate.wait()
        return respond(name, before)

    return Script(wait), gate


@dataclass
class Finished:
    """How a process ended."""

    status: int
    out: str
    err: str


class Batch:
    """A running ``llmrl batch``."""

    def __init__(self, process: "asyncio.subprocess.Process") -> None:
        self.process = process
        self.err: List[str] = []
        self._said = asyncio.Condition()
        self._reader = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        assert self.process.stderr is not None
        while True:
            text = await self.process.stderr.readline()
            async with self._said:
                self.err.append(text.decode("utf-8", "replace"))
                self._said.notify_all()
            if not text:
                return

    async def until_said(self, words: str) -> None:
        async with self._said:
            found = self._said.wait_for(lambda: any(words in line for line in self.err) or self.err[-1:] == [""])
            await asyncio.wait_for(found, PATIENCE)
        assert any(words in line for line in self.err), self.err

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)

    async def finish(self) -> Finished:
        assert self.process.stdout is not None
        out = await asyncio.wait_for(self.process.stdout.read(), PATIENCE)
        await asyncio.wait_for(self._reader, PATIENCE)
        status = await asyncio.wait_for(self.process.wait(), PATIENCE)
        return Finished(status, out.decode("utf-8", "replace"), "".join(self.err))


async def start(
    source: Path, target: Path, base_url: str, *options: str, key: Optional[str] = KEY, **environment: str
) -> Batch:
    """Start ``llmrl batch``; without limits unless the options name some."""
    variables = {k: v for k, v in os.environ.items() if not k.startswith("OPENAI_")}
    variables.update(environment)
    if key is not None:
        variables["OPENAI_API_KEY"] = key
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "llmrl.cli",
        "batch",
        str(source),
        str(target),
        "--base-url",
        base_url,
        *options,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=variables,
    )
    return Batch(process)


async def run(source: Path, target: Path, base_url: str, *options: str, **more: Any) -> Finished:
    """Run ``llmrl batch`` to its end."""
    return await (await start(source, target, base_url, *options, **more)).finish()


def write(path: Path, lines: Iterable["str | bytes"]) -> Path:
    """Write lines (text or raw bytes) and return the path."""
    path.write_bytes(b"".join((x if isinstance(x, bytes) else x.encode()) + b"\n" for x in lines))
    return path


def results(path: Path) -> Dict[str, dict]:
    """The results by custom_id; every line must be whole and no custom_id may have two."""
    found: Dict[str, dict] = {}
    raw = path.read_bytes()
    assert raw.endswith(b"\n") or not raw
    for text in raw.splitlines():
        record = json.loads(text)
        assert set(record) == {"id", "custom_id", "response", "error"}
        assert record["custom_id"] not in found, f"two results for {record['custom_id']}"
        found[record["custom_id"]] = record
    return found


def complete_lines(path: Path) -> List[str]:
    """custom_ids of the whole lines of a results file, as it is found after a crash."""
    raw = path.read_bytes() if path.exists() else b""
    return [json.loads(text)["custom_id"] for text in raw.split(b"\n")[:-1]]
