"""Limits for httpx and httpx2, and for whatever sends through them: the SDKs of OpenAI, Anthropic, Google, Mistral, Groq and others.

::

    limiter = Limiter(Limit.requests(500), Limit.tokens(200_000))
    client = limited(openai.AsyncOpenAI(), limiter)

Neither package is imported here; it is the one that the request comes from.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import zlib
from functools import cache
from typing import Any, AsyncIterator, Callable, Iterator, List, Optional, Tuple, TypeVar, Union

from ._router import Node
from .http import MAX_ERROR, Exchange, Limiting, Throttle

Route = Callable[[Node, Any], None]
AnyClient = TypeVar("AnyClient")

# What the SDKs ask for themselves; httpx alone would stop at 100 connections.
_CONNECTIONS, _KEPT = 1000, 100
# Errors of httpx before anything of the request has left.
_UNSENT = {"ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "UnsupportedProtocol"}
_READABLE = ("gzip", "deflate", "identity")
_PIECE = 64 * 1024


class _Plain:
    """An answer's body without its compression, piece by piece; nothing of one that cannot be read."""

    def __init__(self, headers: Any) -> None:
        encoding = headers.get("content-encoding", "").strip().lower()
        # 47: a header of gzip or of zlib, whichever it is.
        self._inflate = zlib.decompressobj(47) if encoding in ("gzip", "deflate") else None
        self._readable = encoding in ("", *_READABLE)

    def pieces(self, data: bytes) -> Iterator[bytes]:
        if not self._readable:
            return
        if self._inflate is None:
            yield data
            return
        try:
            while data:
                yield self._inflate.decompress(data, _PIECE)
                data = self._inflate.unconsumed_tail
        except zlib.error:
            self._readable = False


class _Watched:
    """The body of an answer on its way to the caller."""

    def __init__(self, response: Any, exchange: Exchange) -> None:
        self._stream = response.stream
        self._exchange = exchange
        self._plain = _Plain(response.headers)
        self._head: List[bytes] = []
        self._rest: Any = None

    def _passes(self, data: bytes) -> None:
        for piece in self._plain.pieces(data):
            self._exchange.feed(piece)

    def _beginning(self) -> bytes:
        """As much of what was read ahead as is worth to be looked at."""
        seen = b""
        for piece in self._plain.pieces(b"".join(self._head)):
            seen += piece
            if len(seen) >= MAX_ERROR:
                break
        return seen


class _SyncWatched(_Watched):
    def read_ahead(self) -> bytes:
        self._rest = iter(self._stream)
        size = 0
        while size < MAX_ERROR and (data := next(self._rest, None)) is not None:
            self._head.append(data)
            size += len(data)
        return self._beginning()

    def __iter__(self) -> Iterator[bytes]:
        yield from self._head
        for data in self._stream if self._rest is None else self._rest:
            self._passes(data)
            yield data
        self._exchange.end()

    def close(self) -> None:
        try:
            self._stream.close()
        finally:
            self._exchange.end()


class _AsyncWatched(_Watched):
    async def read_ahead(self) -> bytes:
        self._rest = self._stream.__aiter__()
        size = 0
        async for data in self._rest:
            self._head.append(data)
            size += len(data)
            if size >= MAX_ERROR:
                break
        return self._beginning()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for data in self._head:
            yield data
        async for data in self._stream if self._rest is None else self._rest:
            self._passes(data)
            yield data
        self._exchange.end()

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            self._exchange.end()


def _package(thing: Any) -> Any:
    """httpx or httpx2, whichever ``thing`` is of."""
    for kind in type(thing).__mro__:
        module = sys.modules.get(kind.__module__.partition(".")[0])
        if hasattr(module, "AsyncByteStream"):
            return module
    raise TypeError(f"{type(thing).__name__} is neither of httpx nor of httpx2")


@cache
def _kinds(package: Any) -> Tuple[Any, Any]:
    """The two streams as the package wants them: of its own classes."""
    return (
        type("Watched", (_SyncWatched, package.SyncByteStream), {}),
        type("Watched", (_AsyncWatched, package.AsyncByteStream), {}),
    )


class _Base:
    def __init__(self, limiter: Union[Limiting, Throttle], inner: Any = None, *, route: Optional[Route] = None) -> None:
        self.throttle = Throttle.of(limiter)
        self._given = inner
        self._route = route
        self._lock = threading.Lock()

    def _inner(self, request: Any, kind: str) -> Any:
        with self._lock:
            if self._given is None:
                package = _package(request)
                limits = package.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=_KEPT)
                self._given = getattr(package, kind)(limits=limits)
            return self._given

    def _begin(self, request: Any) -> Tuple[Exchange, bool]:
        """The exchange of a request, and whether it can be sent twice."""
        try:
            body: Optional[bytes] = request.content
        except RuntimeError:  # RequestNotRead: it comes from an iterator or a form
            body = None
        timeout = request.extensions.get("llmrl_timeout")
        exchange = self.throttle.exchange(str(request.url), body or b"", request.method, timeout)
        if exchange.limited:
            # Else the usage in the answer could not be read.
            asked = [name.strip() for name in request.headers.get("accept-encoding", "").split(",")]
            left = [name for name in asked if name.partition(";")[0].strip().lower() in _READABLE]
            if left and left != asked:
                request.headers["accept-encoding"] = ", ".join(left)
        return exchange, body is not None

    def _send_to(self, exchange: Exchange, request: Any) -> None:
        if exchange.node is not None and self._route is not None:
            self._route(exchange.node, request)

    @staticmethod
    def _lost(exchange: Exchange, error: BaseException, again: bool) -> Optional[float]:
        sent = not any(kind.__name__ in _UNSENT for kind in type(error).__mro__)
        if isinstance(error, Exception) and again:
            return exchange.lost(sent)
        exchange.drop(sent)
        return None

    @staticmethod
    def _hand_out(exchange: Exchange, response: Any, body: Any) -> Any:
        if exchange.final:
            # The SDKs of OpenAI and Anthropic, and those generated like them, try again by themselves if this does not say no.
            response.headers["x-should-retry"] = "false"
        response.stream = body
        return response


class Transport(_Base):
    """A transport for ``httpx.Client`` or ``httpx2.Client`` that admits requests by a limiter: ``httpx.Client(transport=Transport(limiter))``.

    ``limiter``: a Limiter, Chain or Router, a function that chooses one (see ``Throttle``), or a Throttle, which has the options.
    ``inner``: what sends; by default an ``HTTPTransport`` with as many connections as the SDKs allow, without proxies of the
    environment. ``route(node, request)``: with a Router, change the request to where it is to go, such as ``request.url``.

    Each POST waits for its turn, then for its answer. A refusal is read by the limiter; if its body can be sent again, the request waits
    as the limiter says and is tried again; what is handed out in the end has ``x-should-retry: false``, so that an SDK does not begin
    anew. The permit is settled with the usage that passes by in the body, also in a stream (OpenAI tells it if asked with
    ``stream_options={"include_usage": True}``); where none is told, the estimate stands. What the limiter raises (``Never``,
    ``DeadlineExceeded``, ...) is raised by the client. ``extensions={"llmrl_timeout": 5}`` bounds the wait of one request of httpx.
    Thread-safe.
    """

    def handle_request(self, request: Any) -> Any:
        """Send one request; called by the client."""
        inner = self._inner(request, "HTTPTransport")
        exchange, again = self._begin(request)
        if not exchange.limited:
            return inner.handle_request(request)
        while True:
            exchange.wait()
            try:
                self._send_to(exchange, request)
                response = inner.handle_request(request)
                body = _kinds(_package(response))[0](response, exchange)
                seen = body.read_ahead() if response.status_code >= 400 else b""
                wait = exchange.answered(response.status_code, response.headers, seen)
                if wait is None or not again:
                    return self._hand_out(exchange, response, body)
                body.close()
            except BaseException as error:
                wait = self._lost(exchange, error, again)
                if wait is None:
                    raise
            time.sleep(wait)

    def close(self) -> None:
        """Close the inner transport; called by the client."""
        if self._given is not None:
            self._given.close()

    def __enter__(self) -> Transport:
        if self._given is not None:
            self._given.__enter__()
        return self

    def __exit__(self, *exc: Any) -> None:
        self.close()


class AsyncTransport(_Base):
    """The same for ``httpx.AsyncClient`` and ``httpx2.AsyncClient`` in asyncio; see ``Transport``. For any number of event loops as far as
    ``inner`` is."""

    async def handle_async_request(self, request: Any) -> Any:
        """Send one request; called by the client."""
        inner = self._inner(request, "AsyncHTTPTransport")
        exchange, again = self._begin(request)
        if not exchange.limited:
            return await inner.handle_async_request(request)
        while True:
            await exchange.admit()
            try:
                self._send_to(exchange, request)
                response = await inner.handle_async_request(request)
                body = _kinds(_package(response))[1](response, exchange)
                seen = await body.read_ahead() if response.status_code >= 400 else b""
                wait = exchange.answered(response.status_code, response.headers, seen)
                if wait is None or not again:
                    return self._hand_out(exchange, response, body)
                await body.aclose()
            except BaseException as error:
                wait = self._lost(exchange, error, again)
                if wait is None:
                    raise
            await asyncio.sleep(wait)

    async def aclose(self) -> None:
        """Close the inner transport; called by the client."""
        if self._given is not None:
            await self._given.aclose()

    async def __aenter__(self) -> AsyncTransport:
        if self._given is not None:
            await self._given.__aenter__()
        return self

    async def __aexit__(self, *exc: Any) -> None:
        await self.aclose()


def limited(client: AnyClient, limiter: Union[Limiting, Throttle], *, route: Optional[Route] = None) -> AnyClient:
    """Put a ``Transport`` before those that a client has, with its proxies, certificates and timeouts, and return the client.

    ``client``: of httpx or httpx2, or an SDK's that keeps one, such as ``openai.OpenAI()`` and ``anthropic.AsyncAnthropic()``; copies
    made by ``with_options`` share it. Raises TypeError for what has none, ValueError for one that is limited already.
    """
    inside: Any = client
    while not hasattr(inside, "_transport") and hasattr(inside, "_client"):
        inside = inside._client
    if not hasattr(inside, "_transport") or not hasattr(inside, "_mounts"):
        raise TypeError(f"client must be one of httpx or httpx2, or an SDK's that has one as _client, got {type(client).__name__}")
    kind = AsyncTransport if hasattr(inside, "aclose") else Transport
    throttle = Throttle.of(limiter)
    if isinstance(inside._transport, _Base):
        raise ValueError(f"this {type(client).__name__} is limited already")
    inside._transport = kind(throttle, inside._transport, route=route)
    inside._mounts = {
        pattern: None if transport is None else kind(throttle, transport, route=route)
        for pattern, transport in inside._mounts.items()
    }
    return client
