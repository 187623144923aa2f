"""Limits for requests.

::

    session = requests.Session()
    session.mount("https://", llmrl.requests.Adapter(limiter))
"""

from __future__ import annotations

import time
from typing import Any, Iterator, Union

from .http import Exchange, Limiting, Throttle

try:
    from requests import PreparedRequest, Response
    from requests.adapters import HTTPAdapter
    from requests.exceptions import ConnectionError, ConnectTimeout
    from urllib3.exceptions import MaxRetryError, NewConnectionError
except ImportError as error:
    raise ImportError("llmrl.requests needs requests: pip install requests") from error


class _Raw:
    """The ``raw`` of an answer, which tells an exchange of what is read from it."""

    def __init__(self, raw: Any, exchange: Exchange) -> None:
        self._raw = raw
        self._exchange = exchange

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def read(self, *arguments: Any, **options: Any) -> bytes:
        data: bytes = self._raw.read(*arguments, **options)
        self._exchange.feed(data)
        if not data:
            self._exchange.end()
        return data

    def stream(self, *arguments: Any, **options: Any) -> Iterator[bytes]:
        for data in self._raw.stream(*arguments, **options):
            self._exchange.feed(data)
            yield data
        self._exchange.end()

    def __iter__(self) -> Iterator[bytes]:
        return self.stream()

    def close(self) -> None:
        self._exchange.end()
        self._raw.close()


def _sent(error: BaseException) -> bool:
    """Whether the server may have seen the request."""
    cause = error.args[0] if isinstance(error, ConnectionError) and error.args else None
    refused = isinstance(cause, MaxRetryError) and isinstance(cause.reason, NewConnectionError)
    return not (isinstance(error, ConnectTimeout) or refused)


class Adapter(HTTPAdapter):
    """An adapter that admits requests by a limiter.

    ``limiter``: a Limiter, Chain or Router, a function that chooses one, or a Throttle, which has the options; all else as with
    ``llmrl.httpx.Transport``. ``options``: those of ``HTTPAdapter``.
    """

    def __init__(self, limiter: Union[Limiting, Throttle], **options: Any) -> None:
        self.throttle = Throttle.of(limiter)
        super().__init__(**options)

    def send(self, request: PreparedRequest, *arguments: Any, **options: Any) -> Response:
        """Send one request; called by the session."""
        body = request.body
        data = body.encode() if isinstance(body, str) else body if isinstance(body, bytes) else b""
        again = body is None or isinstance(body, (str, bytes))
        exchange = self.throttle.exchange(request.url or "", data, request.method or "")
        if not exchange.limited:
            return super().send(request, *arguments, **options)
        while True:
            exchange.wait()
            try:
                response = super().send(request, *arguments, **options)
                seen = response.content if response.status_code >= 400 else b""
                wait = exchange.answered(response.status_code, response.headers, seen)
                if wait is None or not again:
                    response.raw = _Raw(response.raw, exchange)
                    return response
            except BaseException as error:
                wait = exchange.lost(_sent(error)) if isinstance(error, Exception) else None
                exchange.drop(_sent(error))
                if wait is None or not again:
                    raise
            time.sleep(wait)
