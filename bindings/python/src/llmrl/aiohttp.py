"""Limits for aiohttp's client, 3.12 and later.

::

    session = aiohttp.ClientSession(middlewares=[llmrl.aiohttp.Middleware(limiter)])
"""

from __future__ import annotations

import asyncio
from typing import Any, AsyncIterator, Awaitable, Callable, Tuple, Union

from .http import Exchange, Limiting, Throttle

try:
    from aiohttp import ClientConnectorError, ClientRequest, ClientResponse, ConnectionTimeoutError
    from aiohttp.payload import BytesPayload
except ImportError as error:
    raise ImportError("llmrl.aiohttp needs aiohttp 3.12 or later: pip install 'aiohttp>=3.12'") from error

_UNSENT = (ClientConnectorError, ConnectionTimeoutError)


class _Content:
    """The ``content`` of an answer, which tells an exchange of what is read from it."""

    def __init__(self, content: Any, exchange: Exchange) -> None:
        self._content = content
        self._exchange = exchange

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)

    def _passes(self, data: bytes) -> bytes:
        self._exchange.feed(data)
        if self._content.at_eof():
            self._exchange.end()
        return data

    def set_exception(self, *arguments: Any) -> None:
        """Closed or released before its end, or broken."""
        self._exchange.end()
        self._content.set_exception(*arguments)

    async def read(self, n: int = -1) -> bytes:
        return self._passes(await self._content.read(n))

    async def readany(self) -> bytes:
        return self._passes(await self._content.readany())

    async def readline(self, **options: Any) -> bytes:
        return self._passes(await self._content.readline(**options))

    async def readuntil(self, *arguments: Any, **options: Any) -> bytes:
        return self._passes(await self._content.readuntil(*arguments, **options))

    async def readexactly(self, n: int) -> bytes:
        return self._passes(await self._content.readexactly(n))

    async def readchunk(self) -> Tuple[bytes, bool]:
        data, ends = await self._content.readchunk()
        return self._passes(data), ends

    def read_nowait(self, n: int = -1) -> bytes:
        return self._passes(self._content.read_nowait(n))

    async def _each(self, read: Callable[[], Awaitable[bytes]]) -> AsyncIterator[bytes]:
        while data := await read():
            yield data

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._each(self.readline)

    def iter_any(self) -> AsyncIterator[bytes]:
        return self._each(self.readany)

    def iter_chunked(self, n: int) -> AsyncIterator[bytes]:
        return self._each(lambda: self.read(n))

    async def iter_chunks(self) -> AsyncIterator[Tuple[bytes, bool]]:
        while (chunk := await self.readchunk()) != (b"", False):
            yield chunk


class Middleware:
    """A client middleware that admits requests by a limiter.

    ``limiter``: a Limiter, Chain or Router, a function that chooses one, or a Throttle, which has the options; all else as with
    ``llmrl.httpx.Transport``. aiohttp counts the wait for the limiter as a part of ``ClientTimeout(total=...)``, five minutes unless it
    is told otherwise.
    """

    def __init__(self, limiter: Union[Limiting, Throttle]) -> None:
        self.throttle = Throttle.of(limiter)

    async def __call__(
        self, request: ClientRequest, handler: Callable[[ClientRequest], Awaitable[ClientResponse]]
    ) -> ClientResponse:
        """Send one request; called by the session."""
        again = isinstance(request.body, BytesPayload)
        body = await request.body.as_bytes() if isinstance(request.body, BytesPayload) else b""
        exchange = self.throttle.exchange(str(request.url), body, request.method)
        if not exchange.limited:
            return await handler(request)
        while True:
            await exchange.admit()
            try:
                response = await handler(request)
                seen = await response.read() if response.status >= 400 else b""
                wait = exchange.answered(response.status, response.headers, seen)
                if wait is None or not again:
                    response.content = _Content(response.content, exchange)  # type: ignore[assignment]
                    return response
            except BaseException as error:
                sent = not isinstance(error, _UNSENT)
                wait = exchange.lost(sent) if isinstance(error, Exception) else None
                exchange.drop(sent)
                if wait is None or not again:
                    raise
            await asyncio.sleep(wait)
