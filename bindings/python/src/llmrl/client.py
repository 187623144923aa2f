"""A client for APIs like OpenAI's that keeps within their limits. Needs httpx or httpx2.

::

    async with LLMClient(Limiter(Limit.requests(500), Limit.tokens(200_000), Limit.in_flight(50))) as client:
        answer = await client.chat("What is a token bucket?", model="gpt-4o-mini", max_tokens=300)
        print(answer["choices"][0]["message"]["content"])
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any, AsyncIterator, Dict, Iterator, List, Mapping, NoReturn, Optional, Tuple, Union
from urllib.parse import urlsplit

from ._args import Number
from ._backend import read_answer
from ._charging import Charging
from ._errors import Error
from .http import Limiting, Throttle, decode
from .httpx import AsyncTransport, Transport

OPENAI = "https://api.openai.com/v1"
_HIDDEN = "[API key]"
_SHORTEST_SECRET = 8  # a shorter key is a placeholder, and to blank it out would only damage texts
_MOST_SAID = 500

Messages = Union[str, List[Dict[str, Any]]]
Limits = Union[Limiting, Throttle]


class APIError(Error):
    """The provider has not done what was asked: it refused for good, or for longer than was worth to be waited for."""

    def __init__(self, message: str, status: Optional[int] = None, answer_class: str = "other", wait: Optional[float] = None) -> None:
        super().__init__(message)
        self.status = status
        """Of HTTP; None if there was no answer, or if it broke off."""
        self.answer_class = answer_class
        """As ``Reading.answer_class``: ``rate``, ``overload``, ``billing``, ``oversize``, ..."""
        self.wait = wait
        """Seconds after which the provider says to come again."""


def _package() -> Any:
    for name in ("httpx", "httpx2"):
        try:
            return import_module(name)
        except ImportError:
            continue
    raise ImportError("llmrl.client needs httpx: pip install httpx")


class _Client:
    """What both clients are made of."""

    _kind = ""
    _transport: Any = None

    def __init__(
        self,
        limiter: Limits,
        *,
        base_url: str = OPENAI,
        api_key: Optional[str] = None,
        key_env: Optional[str] = None,
        retries: int = 4,
        timeout: Optional[Number] = None,
        read_timeout: Number = 600,
        charging: Union[Charging, str, None] = None,
        headers: Optional[Mapping[str, str]] = None,
    ) -> None:
        if not base_url.startswith(("http://", "https://")):
            raise ValueError(f"base_url must begin with http:// or https://, got {base_url[:60]!r}")
        if api_key is None and key_env is None and base_url == OPENAI:
            key_env = "OPENAI_API_KEY"
        if api_key is None and key_env is not None:
            api_key = os.environ.get(key_env)
            if not api_key:
                raise ValueError(f"there is no API key: give api_key, or set {key_env} in the environment")
        self._key = (api_key or "").strip()
        if not self._key.isascii() or not self._key.isprintable():
            raise ValueError("the API key must be printable ASCII")  # and is not shown
        self._base = base_url.rstrip("/")
        if not isinstance(limiter, Throttle):
            limiter = Throttle(limiter, charging=charging, retries=retries, timeout=timeout, retry_errors=True)
        self.throttle = limiter
        self._package = _package()
        sent = {"user-agent": "llmrl", **(headers or {})}
        if self._key:
            sent["authorization"] = f"Bearer {self._key}"
        self._http: Any = getattr(self._package, self._kind)(
            transport=self._transport(self.throttle),
            headers=sent,
            timeout=self._package.Timeout(read_timeout, connect=10.0),
        )

    def __repr__(self) -> str:
        parts = urlsplit(self._base)
        return f"<llmrl.{type(self).__name__} of {parts.scheme}://{parts.hostname}{parts.path}>"

    def get_stats(self) -> Dict[str, Any]:
        """What became of the requests (``requests``), and, of a Limiter, how it stands (``limiter``) with each of its limits
        (``limits``)."""
        stats: Dict[str, Any] = {"requests": self.throttle.counts()._asdict()}
        limiter: Any = self.throttle.limiter
        if hasattr(limiter, "stats"):
            stats["limiter"] = limiter.stats()._asdict()
            stats["limits"] = [state._asdict() for state in limiter.limits()]
        return stats

    def _request(self, path: str, body: Dict[str, Any], timeout: Optional[Number]) -> Any:
        extensions = {} if timeout is None else {"llmrl_timeout": timeout}
        return self._http.build_request("POST", self._base + path, json=body, extensions=extensions)

    @staticmethod
    def _chat(messages: Messages, model: str, more: Dict[str, Any]) -> Dict[str, Any]:
        said = [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
        return {"model": model, "messages": said, **more}

    def _hide(self, text: str) -> str:
        return text.replace(self._key, _HIDDEN) if len(self._key) >= _SHORTEST_SECRET else text

    def _lost(self, error: Exception) -> NoReturn:
        # Not "from error": it refers to the request, and so to the key.
        raise APIError(self._hide(f"{type(error).__name__}: {error}")[:_MOST_SAID]) from None

    def _answer(self, response: Any) -> Dict[str, Any]:
        """The JSON of an answer. Raises APIError for any other."""
        data = decode(response.content)
        if response.status_code != 200 or not isinstance(data, dict):
            reading = read_answer(response.status_code, response.headers, response.content)
            raise APIError(
                f"status {response.status_code}{self._said(data)}", response.status_code, reading.answer_class, reading.wait
            )
        return data

    def _said(self, data: Any) -> str:
        error = data.get("error", data) if isinstance(data, dict) else data
        message = error.get("message") if isinstance(error, dict) else error
        return f": {self._hide(message)[:_MOST_SAID]}" if isinstance(message, str) and message else ""

    def _chunk(self, line: str) -> Tuple[Optional[Dict[str, Any]], bool]:
        """What is in a line of a stream, and whether it was the last one. Raises APIError when it tells of a failure."""
        if not line.startswith("data:"):
            return None, False
        text = line[5:].strip()
        if text == "[DONE]":
            return None, True
        data = decode(text.encode("utf-8", "replace"))
        if not isinstance(data, dict):
            return None, False
        if data.get("error"):
            raise APIError(f"the stream broke off{self._said(data)}")
        return data, False


class LLMClient(_Client):
    """An asynchronous client for any API that speaks like OpenAI's, for as many tasks at once as there are.

    ``limiter``: a Limiter (give it ``Limit.in_flight`` to bound how many are on their way), Chain, Router, or a function that
    chooses one; or a Throttle, which has ``charging``, ``retries`` and ``timeout`` of its own, as they are described there. ``base_url``: up
    to where ``/chat/completions`` begins. ``api_key``, or ``key_env``, the variable of the environment that has it: by default
    ``OPENAI_API_KEY`` for OpenAI's own address, and none for another. ``read_timeout``: seconds in which something must come.
    ``headers``: more of them.

    Every request is admitted in its turn, and tried again where that helps: a refusal when the limiter admits it anew, failures of the
    server and of the connection with a growing pause. Raises ``APIError`` when there is no answer, and what the limiter raises: ``Never``,
    ``DeadlineExceeded``, ... The key is in no repr and in no error. Close it with ``async with`` or ``aclose()``.
    """

    _kind = "AsyncClient"
    _transport = AsyncTransport

    async def chat(self, messages: Messages, *, model: str, timeout: Optional[Number] = None, **more: Any) -> Dict[str, Any]:
        """An answer to ``messages``, or to one of the user; ``more`` goes into the request, such as ``max_tokens=300``, which makes
        the estimate exact. ``timeout``: seconds to wait until it is admitted, all tries together."""
        return await self._post("/chat/completions", self._chat(messages, model, more), timeout)

    async def complete(self, prompt: str, *, model: str, timeout: Optional[Number] = None, **more: Any) -> Dict[str, Any]:
        """A completion of ``prompt`` by the older API."""
        return await self._post("/completions", {"model": model, "prompt": prompt, **more}, timeout)

    async def stream(
        self, messages: Messages, *, model: str, timeout: Optional[Number] = None, **more: Any
    ) -> AsyncIterator[Dict[str, Any]]:
        """The chunks of an answer as they come. The last one tells the usage and has no choices."""
        body = {"stream_options": {"include_usage": True}, **self._chat(messages, model, more), "stream": True}
        request = self._request("/chat/completions", body, timeout)
        try:
            response = await self._http.send(request, stream=True)
            try:
                if response.status_code != 200:
                    await response.aread()
                    self._answer(response)
                async for line in response.aiter_lines():
                    chunk, ends = self._chunk(line)
                    if chunk is not None:
                        yield chunk
                    if ends:
                        return
            finally:
                await response.aclose()
        except self._package.RequestError as error:
            self._lost(error)

    async def _post(self, path: str, body: Dict[str, Any], timeout: Optional[Number]) -> Dict[str, Any]:
        try:
            return self._answer(await self._http.send(self._request(path, body, timeout)))
        except self._package.RequestError as error:
            self._lost(error)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> LLMClient:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()


class SyncLLMClient(_Client):
    """The same for threads; see ``LLMClient``."""

    _kind = "Client"
    _transport = Transport

    def chat(self, messages: Messages, *, model: str, timeout: Optional[Number] = None, **more: Any) -> Dict[str, Any]:
        """As ``LLMClient.chat``."""
        return self._post("/chat/completions", self._chat(messages, model, more), timeout)

    def complete(self, prompt: str, *, model: str, timeout: Optional[Number] = None, **more: Any) -> Dict[str, Any]:
        """As ``LLMClient.complete``."""
        return self._post("/completions", {"model": model, "prompt": prompt, **more}, timeout)

    def stream(self, messages: Messages, *, model: str, timeout: Optional[Number] = None, **more: Any) -> Iterator[Dict[str, Any]]:
        """As ``LLMClient.stream``."""
        body = {"stream_options": {"include_usage": True}, **self._chat(messages, model, more), "stream": True}
        request = self._request("/chat/completions", body, timeout)
        try:
            response = self._http.send(request, stream=True)
            try:
                if response.status_code != 200:
                    response.read()
                    self._answer(response)
                for line in response.iter_lines():
                    chunk, ends = self._chunk(line)
                    if chunk is not None:
                        yield chunk
                    if ends:
                        return
            finally:
                response.close()
        except self._package.RequestError as error:
            self._lost(error)

    def _post(self, path: str, body: Dict[str, Any], timeout: Optional[Number]) -> Dict[str, Any]:
        try:
            return self._answer(self._http.send(self._request(path, body, timeout)))
        except self._package.RequestError as error:
            self._lost(error)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> SyncLLMClient:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
