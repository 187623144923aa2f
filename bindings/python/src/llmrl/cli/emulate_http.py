"""The emulator's HTTP side (aiohttp): routes, answers, streams, and when a request's slot is given back."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import struct
import time
from typing import Any, Awaitable, Callable, Dict, List, Optional

from aiohttp import web

from . import emulate_model as model
from .emulate_bucket import Admission, Gate, Refusal
from .emulate_wire import error_body, limit_headers, refusal_body, wait_headers

TOKENS_PER_EVENT = 8
"""Tokens in one event of a stream: fewer, larger events keep the emulator fast and change nothing else."""
MODELS = ("gpt-4o-mini", "gpt-4o", "text-embedding-3-small")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
MAX_BODY = 64 * 1024 * 1024
CREATED = 1_700_000_000
"""A fixed creation time: answers stay the same from run to run."""


class Emulator:
    """Handlers over one :class:`Gate`. Every admission is finished exactly once, whatever becomes of the client."""

    def __init__(
        self,
        gate: Gate,
        charge: str = "reserve",
        seed: int = 0,
        latency_scale: float = 1.0,
        error_rate: float = 0.0,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.gate = gate
        self.charge = charge
        self.seed = seed
        self.latency_scale = latency_scale
        self.error_rate = error_rate
        self.now_ns = now_ns
        self.bad_requests = 0
        self.injected: Dict[str, int] = {"500": 0, "503": 0}
        self._errors = random.Random(f"{seed}/errors")
        self._served = 0

    def application(self) -> web.Application:
        """The aiohttp application with all routes."""
        app = web.Application(client_max_size=MAX_BODY, middlewares=[_openai_errors])
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/completions", self._completion)
        app.router.add_post("/v1/embeddings", self._embedding)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/stats", self._stats)
        return app

    def stats(self) -> Dict[str, Any]:
        """What ``GET /stats`` answers."""
        return dict(self.gate.stats(), bad_requests=self.bad_requests, injected_errors=dict(self.injected))

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, "chat")

    async def _completion(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, "completion")

    async def _embedding(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, "embedding")

    async def _models(self, _request: web.Request) -> web.Response:
        data = [{"id": name, "object": "model", "created": CREATED, "owned_by": "emulator"} for name in MODELS]
        return web.json_response({"object": "list", "data": data})

    async def _stats(self, _request: web.Request) -> web.Response:
        return web.json_response(self.stats())

    async def _serve(self, request: web.Request, kind: str) -> web.StreamResponse:
        raw = await request.read()
        self._served += 1
        headers = {"x-request-id": f"req_{self._served:012d}"}
        try:
            job = model.read_request(raw, kind, self.seed)
        except model.BadRequest as error:
            self.bad_requests += 1
            body = error_body(str(error), "invalid_request_error", error.code, error.param)
            return web.json_response(body, status=400, headers=headers)
        now = self.now_ns()
        outcome = self.gate.admit(job.reservation(self.charge), now)
        headers.update(limit_headers(self.gate, now))
        if isinstance(outcome, Refusal):
            if outcome.wait_ns is not None:
                headers.update(wait_headers(outcome.wait_ns))
            return web.json_response(refusal_body(outcome, job.model), status=429, headers=headers)
        try:
            if self._errors.random() < self.error_rate:
                return await self._fail(headers)
            if job.stream:
                return await self._stream(request, job, outcome, headers)
            await self._sleep(job.seconds())
            # Closed before the answer leaves: a client that has its answer may use the slot at once.
            self._finish(outcome, job.used)
            return web.json_response(_answer(job, headers["x-request-id"]), headers=headers)
        finally:
            self._finish(outcome, 0)

    def _finish(self, admission: Admission, used: int) -> None:
        self.gate.finish(admission, used, self.now_ns())

    async def _sleep(self, seconds: float) -> None:
        if self.latency_scale > 0:
            await asyncio.sleep(seconds * self.latency_scale)

    async def _fail(self, headers: Dict[str, str]) -> web.Response:
        await self._sleep(0.1)
        if self._errors.random() < 0.5:
            self.injected["500"] += 1
            message = "The server had an error while processing your request. Sorry about that!"
            return web.json_response(error_body(message, "server_error", None), status=500, headers=headers)
        self.injected["503"] += 1
        message = "The engine is currently overloaded, please try again later."
        return web.json_response(error_body(message, "server_error", "overloaded"), status=503, headers=headers)

    async def _stream(
        self, request: web.Request, job: model.Job, admission: Admission, headers: Dict[str, str]
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers=dict(headers, **{"Content-Type": "text/event-stream; charset=utf-8"}))
        produced = 0
        texts = [model.words(job, choice) for choice in range(len(job.outputs))]
        try:
            await self._sleep(job.first_token_s)
            await response.prepare(request)
            for start in range(0, max(job.outputs), TOKENS_PER_EVENT):
                await self._sleep(job.per_token_s * TOKENS_PER_EVENT)
                for choice, pieces in enumerate(texts):
                    chunk = pieces[start : start + TOKENS_PER_EVENT]
                    if chunk:
                        produced += len(chunk)
                        await response.write(_event(_chunk(job, headers, choice, "".join(chunk), start == 0, None)))
            closing = [
                _event(_chunk(job, headers, choice, None, False, job.finish_reason(choice)))
                for choice in range(len(texts))
            ]
            if job.include_usage:
                closing.append(_event(dict(_head(job, headers["x-request-id"], True), choices=[], usage=job.usage())))
            self._finish(admission, job.used)
            await response.write(b"".join(closing) + b"data: [DONE]\n\n")
            await response.write_eof()
        except (ConnectionError, asyncio.CancelledError):
            # The client has gone: what was produced until now has been used, as with a real provider.
            self._finish(admission, job.prompt_tokens + produced)
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


def _event(data: Dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(data, separators=(",", ":")).encode() + b"\n\n"


def _head(job: model.Job, request_id: str, chunk: bool = False) -> Dict[str, Any]:
    prefix, name = ("chatcmpl", "chat.completion") if job.kind == "chat" else ("cmpl", "text_completion")
    if chunk and job.kind == "chat":
        name += ".chunk"
    return {"id": f"{prefix}-{request_id[4:]}", "object": name, "created": CREATED, "model": job.model}


def _chunk(
    job: model.Job, headers: Dict[str, str], choice: int, text: Optional[str], first: bool, finish: Optional[str]
) -> Dict[str, Any]:
    item: Dict[str, Any] = {"index": choice, "finish_reason": finish}
    if job.kind == "chat":
        item["delta"] = {} if text is None else ({"role": "assistant", "content": text} if first else {"content": text})
    else:
        item["text"] = text or ""
    data = dict(_head(job, headers["x-request-id"], True), choices=[item])
    if job.include_usage:
        data["usage"] = None
    return data


def _answer(job: model.Job, request_id: str) -> Dict[str, Any]:
    if job.kind == "embedding":
        return {"object": "list", "data": _vectors(job), "model": job.model, "usage": job.usage()}
    choices: List[Dict[str, Any]] = []
    for choice in range(len(job.outputs)):
        text = "".join(model.words(job, choice))
        item: Dict[str, Any] = {"index": choice, "finish_reason": job.finish_reason(choice), "logprobs": None}
        if job.kind == "chat":
            item["message"] = {"role": "assistant", "content": text}
        else:
            item["text"] = text
        choices.append(item)
    return dict(_head(job, request_id), choices=choices, usage=job.usage())


def _vectors(job: model.Job) -> List[Dict[str, Any]]:
    vectors = []
    for index in range(job.inputs):
        values: Any = model.embedding(job, index)
        if job.base64:
            values = base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()
        vectors.append({"object": "embedding", "index": index, "embedding": values})
    return vectors
