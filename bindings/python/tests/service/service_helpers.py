"""``llmrl serve`` and ``llmrl emulate`` as processes, and an upstream that a test scripts."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, AsyncIterator, Awaitable, Callable, Dict, List, Optional

import aiohttp
from aiohttp import web

PATIENCE = 120.0
"""A test that waits for something gives up after this; nothing is timed by it."""
KEY = "sk-upstream-Zm9vYmFy0123456789"
CHAT = "/v1/chat/completions"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def chat(words: str = "hello", **more: Any) -> Dict[str, Any]:
    """A request."""
    return {"model": "m", "messages": [{"role": "user", "content": words}], "max_tokens": 10, **more}


def upstream(url: str, name: str = "east", limits: str = "[{amount = 100000}]", **more: str) -> str:
    """The TOML of an upstream."""
    lines = ["[[upstream]]", f'name = "{name}"', f'base_url = "{url}"', f"limits = {limits}"]
    return "\n".join([*lines, *(f"{key} = {value}" for key, value in more.items()), ""])


class Process:
    """A server of its own, that says where it listens in its first line."""

    def __init__(self, process: "asyncio.subprocess.Process", url: str) -> None:
        self.process = process
        self.url = url
        self.log: List[str] = []
        self._reader = asyncio.ensure_future(self._read())
        self._said = asyncio.Condition()

    async def _read(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            async with self._said:
                self.log.append(line.decode())
                self._said.notify_all()

    async def until_said(self, words: str) -> None:
        """Wait for a line of the log."""
        async with self._said:
            await asyncio.wait_for(self._said.wait_for(lambda: any(words in line for line in self.log)), PATIENCE)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    async def ended(self) -> int:
        status = await asyncio.wait_for(self.process.wait(), PATIENCE)
        await self._reader
        return status


@asynccontextmanager
async def process(*arguments: str, **environment: str) -> AsyncIterator[Process]:
    """``llmrl`` with these arguments; killed in the end, if it still runs."""
    started = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "llmrl.cli",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **environment},
    )
    try:
        assert started.stdout is not None and started.stderr is not None
        first = (await asyncio.wait_for(started.stdout.readline(), PATIENCE)).decode()
        assert first.startswith("listening on http://"), first + (await started.stderr.read()).decode()
        running = Process(started, first.split()[-1])
        yield running
    finally:
        if started.returncode is None:
            started.kill()
        await started.wait()


@asynccontextmanager
async def emulator(*options: str) -> AsyncIterator[Process]:
    """``llmrl emulate`` on a free port."""
    async with process("emulate", "--port", "0", "--quiet", *options) as running:
        yield running


class Service(Process):
    """A running ``llmrl serve``, and a client of it."""

    client: aiohttp.ClientSession
    file: Path

    async def post(self, body: Any, path: str = CHAT, **headers: str) -> "Answer":
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        async with self.client.post(self.url + path, data=data, headers=headers) as response:
            return Answer(response.status, dict(response.headers), await response.read())

    async def get(self, path: str, **headers: str) -> "Answer":
        async with self.client.get(self.url + path, headers=headers) as response:
            return Answer(response.status, dict(response.headers), await response.read())

    async def status(self) -> Dict[str, Any]:
        return json.loads((await self.get("/status")).body)

    async def until(self, condition: Callable[[Dict[str, Any]], bool]) -> Dict[str, Any]:
        """Ask for the status until it is as wanted."""

        async def ask() -> Dict[str, Any]:
            while not condition(status := await self.status()):
                pass
            return status

        return await asyncio.wait_for(ask(), PATIENCE)

    async def until_idle(self) -> None:
        """Wait until nothing is held anywhere: each permit has come back."""
        await self.until(idle)

    async def reload(self, text: str) -> None:
        """Another configuration; returns when it was read."""
        before = await self._reloads()
        self.file.write_text(text)
        self.signal(signal.SIGHUP)

        async def read() -> None:
            while await self._reloads() == before:
                pass

        await asyncio.wait_for(read(), PATIENCE)

    async def _reloads(self) -> List[str]:
        lines = (await self.get("/metrics")).body.decode().splitlines()
        return [line for line in lines if line.startswith("llmrl_config_reloads_total{")]


def idle(status: Dict[str, Any]) -> bool:
    held = sum(level["in_flight"] + level["waiting"] for level in status["levels"])
    users = status["users"]
    return status["active"] == held == (users["waiting"] if users else 0) == 0


class Answer:
    """An answer that was read."""

    def __init__(self, status: int, headers: Dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = {name.lower(): value for name, value in headers.items()}
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> Dict[str, Any]:
        return self.json["error"]


@asynccontextmanager
async def service(folder: Path, config: str, **environment: str) -> AsyncIterator[Service]:
    """``llmrl serve`` on a free port with this configuration, which should not say where to listen."""
    file = folder / "limits.toml"
    file.write_text(config if "[server]" in config else f"[server]\nport = 0\n{config}")
    async with process("serve", str(file), KEY=KEY, **environment) as running:
        running.__class__ = Service
        assert isinstance(running, Service)
        running.file = file
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as running.client:
            yield running


class Upstream:
    """An upstream in this process that answers with what the test gives; it remembers who asked."""

    def __init__(self, handler: Optional[Handler] = None) -> None:
        self.handler = handler or answered
        self.asked: List[Dict[str, Any]] = []
        self.headers: List[Dict[str, str]] = []
        self.changed = asyncio.Condition()
        self.gone = asyncio.Event()
        """Set when a request was cancelled because its client, the service, went away."""

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.headers.append(dict(request.headers))
        async with self.changed:
            self.asked.append(json.loads(await request.read()))
            self.changed.notify_all()
        try:
            return await self.handler(request)
        except (asyncio.CancelledError, ConnectionError):
            self.gone.set()
            raise

    async def until_asked(self, times: int) -> None:
        async with self.changed:
            await asyncio.wait_for(self.changed.wait_for(lambda: len(self.asked) >= times), PATIENCE)


@asynccontextmanager
async def scripted(handler: Optional[Handler] = None) -> AsyncIterator["tuple[Upstream, str]"]:
    """An Upstream and its base URL."""
    made = Upstream(handler)
    app = web.Application()
    app.router.add_post("/v1/{path:.*}", made._handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield made, f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


def usage(input: int = 5, output: int = 7) -> Dict[str, int]:
    return {"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output}


async def answered(_request: web.Request) -> web.StreamResponse:
    """A plain answer."""
    return web.json_response({"choices": [{"message": {"content": "yes"}}], "usage": usage()})


def failing(status: int, message: str = "no", **headers: str) -> Handler:
    """Answers with an error."""

    async def handler(_request: web.Request) -> web.StreamResponse:
        body = {"error": {"message": message, "type": "x", "param": None, "code": None}}
        return web.json_response(body, status=status, headers={name.replace("_", "-"): value for name, value in headers.items()})

    return handler


def held(answers: asyncio.Event) -> Handler:
    """Answers when the event is set."""

    async def handler(request: web.Request) -> web.StreamResponse:
        await answers.wait()
        return await answered(request)

    return handler


def run(test: Callable[[], Awaitable[None]]) -> None:
    """Run a test in an event loop of its own."""

    async def main() -> None:
        await asyncio.wait_for(test(), 3 * PATIENCE)

    asyncio.run(main())
