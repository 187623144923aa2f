"""One try of one request over HTTP (aiohttp). The only module that knows the API key."""

from __future__ import annotations

import asyncio
import json
import os
import time
from dataclasses import dataclass
from typing import Any, Dict, Mapping, Optional
from urllib.parse import urlsplit

import aiohttp

ANTHROPIC_VERSION = "2023-06-01"
HIDDEN = "[API key]"
SHORTEST_SECRET = 8
"""Shorter keys are placeholders ("none", "x"): blanking them out would only damage answers."""


class Unsent(Exception):
    """No connection came about: the server has not seen the request."""


class Lost(Exception):
    """The connection broke or timed out after the request went out: the server may have served it."""


@dataclass
class Reply:
    """A complete answer. ``raw`` has the API key blanked out, should the server have repeated it."""

    status: int
    headers: Mapping[str, str]
    raw: bytes

    @property
    def request_id(self) -> Optional[str]:
        return self.headers.get("x-request-id") or self.headers.get("request-id")


def join_url(base: str, path: str) -> str:
    """``https://host/v1`` + ``/v1/chat/completions``: a part that both have is not repeated."""
    base = base.rstrip("/")
    last = urlsplit(base).path.rsplit("/", 1)[-1]
    if last and path.startswith(f"/{last}/"):
        path = path[len(last) + 1 :]
    return base + path


def encode_body(body: Dict[str, Any]) -> bytes:
    """The JSON to send: UTF-8 as it is, escaped only where UTF-8 cannot say it (lone surrogates)."""
    try:
        return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return json.dumps(body, separators=(",", ":")).encode()


class Sender:
    """A connection pool towards one provider. Use as an async context manager."""

    def __init__(
        self, base_url: str, key: Optional[str], timeout: float, through_proxy: bool, key_header: str = "Authorization"
    ) -> None:
        self._base = base_url
        self._key = key
        self._key_header = key_header
        self._timeout = timeout
        self._proxy = through_proxy
        self._session: Optional[aiohttp.ClientSession] = None
        self.first_delay: Optional[float] = None
        """Seconds that the first request took until it was sent: connecting, and the TLS handshake."""

    async def __aenter__(self) -> "Sender":
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),  # the limiter counts what is in flight
            timeout=aiohttp.ClientTimeout(total=self._timeout, sock_connect=min(30.0, self._timeout)),
            headers={"Content-Type": "application/json", "User-Agent": "llmrl-batch"},
            trust_env=self._proxy,
            trace_configs=[self._trace()],
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    def _trace(self) -> aiohttp.TraceConfig:
        async def start(_session: Any, context: Any, _params: Any) -> None:
            context.started = time.monotonic()

        async def sent(_session: Any, context: Any, _params: Any) -> None:
            if self.first_delay is None:
                self.first_delay = time.monotonic() - context.started

        trace = aiohttp.TraceConfig()
        trace.on_request_start.append(start)
        trace.on_request_headers_sent.append(sent)
        return trace

    def _auth(self, path: str) -> Dict[str, str]:
        """Anthropic's Messages API has a way of its own, wherever it is served."""
        messages = path.endswith("/messages")
        headers = {"anthropic-version": ANTHROPIC_VERSION} if messages else {}
        name = "x-api-key" if messages else self._key_header
        if self._key:
            headers[name] = f"Bearer {self._key}" if name == "Authorization" else self._key
        return headers

    def hide(self, text: str) -> str:
        """``text`` without the API key."""
        if self._key and len(self._key) >= SHORTEST_SECRET:
            return text.replace(self._key, HIDDEN)
        return text

    async def post(self, path: str, body: Dict[str, Any]) -> Reply:
        """Send once and read the whole answer. Raises :class:`Unsent` or :class:`Lost`."""
        assert self._session is not None
        try:
            # A redirect would carry the key elsewhere; it is reported as the failure it is.
            async with self._session.post(
                join_url(self._base, path), data=encode_body(body), headers=self._auth(path), allow_redirects=False
            ) as response:
                if response.status < 100:  # as 042; nothing can be made of it
                    raise Lost(f"the server answered with status {response.status}")
                raw = await response.read()
                return self._reply(response, raw)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise Unsent(self._describe(error)) from None
        except (aiohttp.ClientError, OSError, asyncio.TimeoutError) as error:
            raise Lost(self._describe(error)) from None

    def _reply(self, response: aiohttp.ClientResponse, raw: bytes) -> Reply:
        headers: Mapping[str, str] = response.headers
        if self._key and len(self._key) >= SHORTEST_SECRET:
            for form in {self._key, json.dumps(self._key)[1:-1], self._key.replace("/", "\\/")}:
                raw = raw.replace(form.encode(), HIDDEN.encode())
            headers = {name.lower(): value for name, value in headers.items() if self._key not in value}
        return Reply(response.status, headers, raw)

    def _describe(self, error: BaseException) -> str:
        if isinstance(error, asyncio.TimeoutError):
            return f"no answer within {self._timeout:g} s"
        if isinstance(error, aiohttp.ClientConnectorError):
            number = error.os_error.errno
            reason = os.strerror(number) if number and number > 0 else str(error.os_error)
            return self.hide(f"cannot connect to {error.host} port {error.port}: {reason}")
        if isinstance(error, aiohttp.ServerDisconnectedError):
            return "the server closed the connection without an answer"
        text = self.hide(str(error)) or type(error).__name__
        return text if len(text) <= 300 else text[:297] + "..."
