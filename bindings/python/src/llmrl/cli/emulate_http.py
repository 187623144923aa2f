"""The emulator's HTTP side (aiohttp): routes, streams, and when a request's slot is given back."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any, Awaitable, Callable, Dict, Optional

from aiohttp import web

from . import emulate_anthropic as anthropic
from . import emulate_model as model
from . import emulate_openai as openai
from .emulate_bucket import Admission, Gate, Refusal
from .emulate_request import BadRequest, read_request
from .emulate_styles import STYLES, Style
from .emulate_wire import error_body, limit_headers, refusal_body, wait_headers

TOKENS_PER_EVENT = 8
"""Tokens in one event of a stream: fewer, larger events keep the emulator fast and change nothing else."""
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
MAX_BODY = 64 * 1024 * 1024
ROUTES = {
    "/v1/chat/completions": ("chat", openai, "openai"),
    "/v1/completions": ("completion", openai, "openai"),
    "/v1/embeddings": ("embedding", openai, "openai"),
    "/v1/messages": ("message", anthropic, "anthropic"),
}
"""What is asked for, who answers, and how limits are told if nothing else is wanted."""


class Emulator:
    """Handlers over one :class:`Gate`. Every admission is finished exactly once, whatever becomes of the client.

    ``headers`` is one of ``STYLES``, None for that of each route.
    """

    def __init__(
        self,
        gate: Gate,
        charge: str = "reserve",
        seed: int = 0,
        latency_scale: float = 1.0,
        error_rate: float = 0.0,
        now_ns: Callable[[], int] = time.monotonic_ns,
        headers: Optional[str] = None,
    ) -> None:
        self.gate = gate
        self.charge = charge
        self.seed = seed
        self.latency_scale = latency_scale
        self.error_rate = error_rate
        self.now_ns = now_ns
        self.headers = headers
        self.bad_requests = 0
        self.injected: Dict[str, int] = {}
        self._errors = random.Random(f"{seed}/errors")
        self._served = 0

    def application(self) -> web.Application:
        """The aiohttp application with all routes."""
        app = web.Application(client_max_size=MAX_BODY, middlewares=[_openai_errors])
        for path in ROUTES:
            app.router.add_post(path, self._serve)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/stats", self._stats)
        return app

    def stats(self) -> Dict[str, Any]:
        """What ``GET /stats`` answers."""
        return dict(self.gate.stats(), bad_requests=self.bad_requests, injected_errors=dict(self.injected))

    async def _models(self, request: web.Request) -> web.Response:
        speaker = anthropic if "anthropic-version" in request.headers else openai
        return web.json_response(speaker.models())

    async def _stats(self, _request: web.Request) -> web.Response:
        return web.json_response(self.stats())

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        kind, speaker, style_name = ROUTES[request.path]
        style = STYLES[self.headers or style_name]
        raw = await request.read()
        self._served += 1
        request_id = f"req_{self._served:012d}"
        headers = {speaker.REQUEST_ID: request_id}
        try:
            if kind == "message" and "anthropic-version" not in request.headers:
                raise BadRequest("anthropic-version: header is required", None, None)
            job = read_request(raw, kind, self.seed)
        except BadRequest as error:
            self.bad_requests += 1
            body = speaker.error(str(error), "invalid_request_error", error.code, error.param, request_id)
            return web.json_response(body, status=400, headers=headers)
        now = self.now_ns()
        input, output = job.reservation(self.charge)
        outcome = self.gate.admit(input, now, output)
        headers.update(limit_headers(self.gate, now, style, time.time_ns()))
        if isinstance(outcome, Refusal):
            return self._refuse(outcome, job, style, headers)
        try:
            if self._errors.random() < self.error_rate:
                return await self._fail(speaker, headers)
            if job.stream:
                return await self._stream(request, job, outcome, speaker, headers)
            await self._sleep(job.seconds())
            # Closed before the answer leaves: a client that has its answer may use the slot at once.
            self._finish(outcome, job, job.completion_tokens)
            return web.json_response(speaker.answer(job, request_id), headers=headers)
        finally:
            self.gate.finish(outcome, 0, self.now_ns())

    def _finish(self, admission: Admission, job: model.Job, produced: int) -> None:
        input, output = job.charged(self.charge, produced)
        self.gate.finish(admission, input, self.now_ns(), output)

    def _refuse(self, refusal: Refusal, job: model.Job, style: Style, headers: Dict[str, str]) -> web.Response:
        if refusal.wait_ns is not None:
            headers.update(wait_headers(refusal.wait_ns, style, refusal.limit_name))
        return web.json_response(refusal_body(refusal, job.model, style), status=429, headers=headers)

    async def _sleep(self, seconds: float) -> None:
        if self.latency_scale > 0:
            await asyncio.sleep(seconds * self.latency_scale)

    async def _fail(self, speaker: Any, headers: Dict[str, str]) -> web.Response:
        await self._sleep(0.1)
        status, kind, code, message = speaker.INJECTED[0 if self._errors.random() < 0.5 else 1]
        self.injected[str(status)] = self.injected.get(str(status), 0) + 1
        body = speaker.error(message, kind, code, None, headers[speaker.REQUEST_ID])
        return web.json_response(body, status=status, headers=headers)

    async def _stream(
        self, request: web.Request, job: model.Job, admission: Admission, speaker: Any, headers: Dict[str, str]
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers=dict(headers, **{"Content-Type": "text/event-stream; charset=utf-8"}))
        request_id = headers[speaker.REQUEST_ID]
        produced = 0
        texts = [model.words(job, choice) for choice in range(len(job.outputs))]
        try:
            await self._sleep(job.first_token_s)
            await response.prepare(request)
            await response.write(speaker.opening(job, request_id))
            for start in range(0, max(job.outputs), TOKENS_PER_EVENT):
                await self._sleep(job.per_token_s * TOKENS_PER_EVENT)
                for choice, pieces in enumerate(texts):
                    chunk = pieces[start : start + TOKENS_PER_EVENT]
                    if chunk:
                        produced += len(chunk)
                        await response.write(speaker.piece(job, request_id, choice, "".join(chunk), start == 0))
            self._finish(admission, job, job.completion_tokens)
            await response.write(speaker.closing(job, request_id))
            await response.write_eof()
        except (ConnectionError, asyncio.CancelledError):
            # The client has gone: what was produced until now has been used, as with a real provider.
            self._finish(admission, job, produced)
            raise
        return response


@web.middleware
async def _openai_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Unknown routes, wrong methods and oversized bodies get OpenAI-shaped errors as well."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        if error.status == 404:
            message, code = f"Invalid URL ({request.method} {request.path})", None
        elif error.status == 405:
            message = f"Not allowed to {request.method} on {request.path}."
            code = "method_not_supported"
        else:
            message, code = error.reason, None
        body = error_body(message, "invalid_request_error", code)
        return web.json_response(body, status=error.status)
