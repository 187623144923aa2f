"""The routes (FastAPI)."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import time
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, AsyncIterator, Callable, Dict, Optional, Tuple

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from .. import __version__
from .exchange import Exchange, Who, answer_headers
from .logs import LOGGER
from .metrics import CONTENT_TYPE
from .plan import Level
from .policy import Headers, error_body, limit_headers
from .routes import CHAT, COMPLETION, ERROR, LIMITS, LIST
from .service import Service
from .status import gauges, levels
from .upstream import passed_on

MAX_MODEL, MAX_USER, MAX_CACHE_KEY = 256, 256, 1024


class _Problem(Exception):
    """A request that is not served, and why."""

    def __init__(
        self, status: int, message: str, code: Optional[str] = None, param: Optional[str] = None, kind: str = "invalid_request_error"
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = error_body(message, kind, code, param)


def _json(status: int, body: Any, headers: Headers = ()) -> Response:  # type: ignore[assignment]
    response = Response(json.dumps(body), status, media_type="application/json")
    response.raw_headers.extend(headers)
    return response


class _Handed(Response):
    """An exchange that answers by itself."""

    def __init__(self, exchange: Exchange) -> None:
        super().__init__()
        self.exchange = exchange

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.exchange(scope, receive, send)


async def _body(request: Request, most: int) -> bytes:
    length = request.headers.get("content-length", "0")
    if not length.isdigit() or int(length) > most:
        raise _too_large(most)
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > most:
            raise _too_large(most)
    return bytes(body)


def _too_large(most: int) -> _Problem:
    return _Problem(413, f"The body of a request may have {most} bytes at most.", "body_too_large")


def _object(body: bytes) -> Dict[str, Any]:
    def no_constant(name: str) -> Any:
        raise ValueError(name)

    try:
        data = json.loads(body.decode("utf-8"), parse_constant=no_constant)
    except (ValueError, RecursionError):
        raise _Problem(400, "The body of the request is no JSON; a JSON object is expected.", "invalid_json") from None
    if not isinstance(data, dict):
        raise _Problem(400, f"The body of the request must be a JSON object, got {type(data).__name__}.", "invalid_json")
    return data


def _text(data: Dict[str, Any], field: str, most: int) -> Optional[str]:
    """A field that is text, if it is there. Half a surrogate pair is none."""
    value = data.get(field)
    if value is None:
        return None
    if not isinstance(value, str) or not 1 <= len(value.encode("utf-8", "replace")) <= most or not value.isprintable():
        raise _Problem(400, f"Invalid {field!r}: it must be text of 1 to {most} printable bytes.", "invalid_value", field)
    return value


class _Bounded:
    """Refuses requests whose head is too large. The server's own bound is for heads that do not end; this one is exact."""

    def __init__(self, app: Any, service: Service) -> None:
        self.app = app
        self.service = service
        self.most = service.plan.config.server.max_header

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            size = len(scope.get("raw_path") or b"") + len(scope["query_string"])
            size += sum(len(name) + len(value) + 4 for name, value in scope["headers"])
            if size > self.most:
                message = f"The line and the headers of a request may have {self.most} bytes at most, got {size}."
                await _json(431, error_body(message, "invalid_request_error", "header_too_large"), _of_all(self.service))(scope, receive, send)
                return
        await self.app(scope, receive, send)


def _of_all(service: Service) -> Headers:
    """The limits for those of whom nothing is known: the ones for all requests."""
    return limit_headers([] if service.plan.all is None else [service.plan.all])


def _page() -> Tuple[bytes, Headers]:
    page = Path(__file__).with_name("page.html").read_bytes()
    script = page.partition(b"<script>")[2].partition(b"</script>")[0]
    digest = base64.b64encode(sha256(script).digest()).decode()
    policy = (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; connect-src 'self'; "
        "frame-ancestors 'none'"
    )
    return page, [
        (b"content-security-policy", policy.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
    ]


def create_app(service: Service, started: Callable[[], None] = lambda: None) -> FastAPI:
    """The application over a service; ``started`` is called when it is ready."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        service.open()
        samples = asyncio.ensure_future(service.run())
        started()
        try:
            yield
        finally:
            samples.cancel()
            await asyncio.gather(samples, return_exceptions=True)
            await service.close()

    # No pages of documentation: they come from elsewhere. The description itself is at /openapi.json.
    app = FastAPI(title="llmrl serve", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.add_middleware(_Bounded, service=service)
    page, page_headers = _page()
    began = time.monotonic()

    def known(request: Request) -> Who:
        who = service.client_of(request.headers.get("authorization", ""))
        if who is None:
            message = "A key of this service is needed: Authorization: Bearer KEY."
            raise _Problem(401, message, "invalid_api_key", kind="authentication_error")
        return Who(f"req_{os.urandom(12).hex()}", who, time.monotonic())

    def admin(request: Request) -> None:
        if not service.is_admin(request.headers.get("authorization", "")):
            message = "The admin key of this service is needed: Authorization: Bearer KEY."
            raise _Problem(401, message, "invalid_api_key", kind="authentication_error")

    def levels_of(who: Who, model: str = "") -> Tuple[Level, ...]:
        return service.plan.levels(who.user, model)

    async def complete(request: Request, prompt: str) -> Response:
        who = known(request)
        try:
            body = await _body(request, service.plan.config.server.max_body)
            data = _object(body)
            model = _text(data, "model", MAX_MODEL)
            for field, value in (("model", model), (prompt, data.get(prompt))):
                if value is None:
                    raise _Problem(400, f"Missing required parameter: {field!r}.", "missing_required_parameter", field)
            users = service.plan.config.users
            if users is not None and users.by == "field":
                who = who._replace(user=_text(data, "user", MAX_USER) or who.user)
            key = _text(data, "prompt_cache_key", MAX_CACHE_KEY)
            job = service.job(request.url.path, body, data, passed_on(request.headers.raw))
        except _Problem as problem:
            service.metrics.requests.add(request.url.path[len("/v1") :], str(problem.status))
            return _json(problem.status, problem.body, answer_headers(who, levels_of(who), []))
        return _Handed(Exchange(service, who, job, key))

    @app.post("/v1/chat/completions", **CHAT)
    async def chat_completions(request: Request) -> Response:
        return await complete(request, "messages")

    @app.post("/v1/completions", **COMPLETION)
    async def completions(request: Request) -> Response:
        return await complete(request, "prompt")

    @app.get("/v1/models", **LIST)
    async def models(request: Request) -> Response:
        who = known(request)
        data = [{"id": name, "object": "model", "created": 0, "owned_by": "llmrl"} for name in await service.models()]
        return _json(200, {"object": "list", "data": data}, answer_headers(who, levels_of(who), []))

    @app.get("/v1/limits", **LIMITS)
    async def limits(request: Request, model: str = "") -> Response:
        who = known(request)
        found = levels_of(who, model)
        return _json(200, levels(found), answer_headers(who, found, []))

    @app.get("/health", summary="Whether the service runs, and which upstreams are passed over for having failed")
    async def health() -> Response:
        away = sorted(service.away.names())
        status = "degraded" if away else "ok"
        return _json(
            200, {"status": status, "version": __version__, "seconds": round(time.monotonic() - began, 1), "passed_over": away}
        )

    @app.get("/metrics", summary="Counters for Prometheus", responses={401: ERROR})
    async def metrics(request: Request) -> Response:
        admin(request)
        text = service.metrics.render() + gauges(service.plan, service.history.active)
        return Response(text, headers={"content-type": CONTENT_TYPE})

    @app.get("/status", summary="What the page shows", responses={401: ERROR})
    async def status(request: Request) -> Response:
        admin(request)
        return _json(200, service.history.status(service.plan), [(b"cache-control", b"no-store")])

    @app.get("/", include_in_schema=False)
    async def live() -> Response:
        response = Response(page, media_type="text/html")
        response.raw_headers.extend(page_headers)
        return response

    @app.exception_handler(_Problem)
    async def problem(_request: Request, error: _Problem) -> Response:
        more: Headers = [(b"www-authenticate", b"Bearer")] if error.status == 401 else []
        return _json(error.status, error.body, [*more, *_of_all(service)])

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        message = {
            404: f"There is no {request.method} {request.url.path}.",
            405: f"Not allowed to {request.method} on {request.url.path}.",
        }
        body = error_body(
            message.get(error.status_code, str(error.detail)), "invalid_request_error", {404: "not_found"}.get(error.status_code)
        )
        headers = [(k.lower().encode(), v.encode()) for k, v in (error.headers or {}).items()]
        return _json(error.status_code, body, [*headers, *_of_all(service)])

    @app.exception_handler(ClientDisconnect)
    async def gone(_request: Request, _error: ClientDisconnect) -> Response:
        service.metrics.disconnects.add()
        return Response(status_code=499)

    @app.exception_handler(Exception)
    async def broken(_request: Request, error: Exception) -> Response:
        LOGGER.log(logging.ERROR, "internal error", exc_info=error)
        return _json(500, error_body("The service has failed. This is a bug in it.", "server_error", "internal_error"))

    return app
