"""One request sent to one upstream: the permit's life from there on, and what the answer means for the others."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import AsyncIterator, Iterable, List, Mapping, NamedTuple, Optional, Tuple

import aiohttp

from .. import Advice, Charging, Permit
from ..http import Ask, Usage, UsageReader
from .plan import Node

MAX_ERROR_BODY = 64 * 1024
CONNECT_TIMEOUT = 10.0
MAX_AWAY = 60.0
"""Seconds for which an upstream that fails is passed over at most."""

# Of what a client sends, only this goes on; of what an upstream answers, all but what speaks of the connection or of its own account.
_PASSED_ON = ("accept", "content-type", "idempotency-key", "openai-beta", "traceparent", "tracestate", "user-agent", "x-request-id")
_KEPT_BACK = (
    "alt-svc",
    "connection",
    "date",
    "keep-alive",
    "openai-organization",
    "openai-project",
    "proxy-authenticate",
    "proxy-connection",
    "retry-after",
    "retry-after-ms",
    "server",
    "set-cookie",
    "strict-transport-security",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
)
_ACCOUNT = ("x-ratelimit", "ratelimit", "anthropic-ratelimit", "anthropic-organization", "llm_provider-")

_PASSING = ("rate", "concurrency", "overload")


class Job(NamedTuple):
    """What is to be sent, and what it is expected to take."""

    path: str
    body: bytes
    headers: Mapping[str, str]
    ask: Ask
    prompt: int
    """Tokens of the prompt, estimated."""
    expected: int
    """Tokens that will probably be put out."""
    most: Optional[int]
    """Tokens that may be put out, if the request says so."""

    def reserve(self, rule: Charging) -> Tuple[int, int]:
        """What to take at an upstream with that rule."""
        return rule.reserve(self.prompt, max_tokens=self.most, expected=self.expected)

    def settle(self, permit: Permit, rule: Charging, usage: Usage) -> None:
        """End a permit there with what was used."""
        used = rule.settle(self.prompt, usage.input, usage.output, usage.cached, max_tokens=self.most, expected=self.expected)
        # Where the rule has not counted the cache already, limits with weights do.
        if rule.cached and not rule.joint and rule.settlement == "actual":
            permit.settle(*used, cached=usage.cached, cache_write=usage.cache_write)
        else:
            permit.settle(*used)


class Failed(Exception):
    """An attempt that has not brought an answer for the client."""

    def __init__(self, reason: str, again: bool = True, elsewhere: bool = True, away: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.again = again
        """Whether the same request may succeed."""
        self.elsewhere = elsewhere
        """Whether another upstream is to be asked first."""
        self.away = away
        """Seconds for which nobody should be sent there."""


def passed_on(headers: Iterable[Tuple[bytes, bytes]]) -> dict[str, str]:
    """The headers of a client's request that go upstream."""
    given = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers}
    return {name: given[name] for name in _PASSED_ON if name in given}


def passed_back(headers: Iterable[Tuple[bytes, bytes]]) -> List[Tuple[bytes, bytes]]:
    """The headers of an upstream's answer that go to the client."""
    lower = ((name.lower(), value) for name, value in headers)
    return [
        (name, value) for name, value in lower if (text := name.decode("latin-1")) not in _KEPT_BACK and not text.startswith(_ACCOUNT)
    ]


class Answer:
    """An upstream's answer whose headers are here, and whose body is read with ``pieces``."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self._usage = UsageReader(response.headers.get("content-type", ""))
        self.status = response.status
        self.whole = False
        """Whether all of it has been read."""

    @property
    def headers(self) -> List[Tuple[bytes, bytes]]:
        """Those for the client."""
        return passed_back(self._response.raw_headers)

    @property
    def usage(self) -> Optional[Usage]:
        """What it has told until now."""
        return self._usage.usage if self._usage.final else None

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises Failed when it breaks off."""
        try:
            async for piece in self._response.content.iter_any():
                self._usage.feed(piece)
                yield piece
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
            raise Failed(_why(error), again=False) from None
        self.whole = True


def session() -> aiohttp.ClientSession:
    """What all requests upstream are sent with. The limits, not the connections, bound how many there are."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=60),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
    )


@asynccontextmanager
async def sent(client: aiohttp.ClientSession, node: Node, permit: Permit, job: Job) -> AsyncIterator[Answer]:
    """Send a job, and yield its answer if it is one for the client; else raise Failed. The permit ends with this, however it ends."""
    upstream = node.upstream
    headers = {**job.headers, "accept-encoding": "identity", "content-type": "application/json"}
    if upstream.key is not None:
        headers["authorization"] = f"Bearer {upstream.key.reveal()}"
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT, sock_read=upstream.timeout)
    answer: Optional[Answer] = None
    try:
        async with client.post(
            upstream.base_url + job.path, data=job.body, headers=headers, timeout=timeout, allow_redirects=False
        ) as response:
            # Leaving this before the end closes the connection: the upstream is to stop.
            answer = await _answered(response, permit)
            yield answer
            if answer.status >= 400:
                permit.settle(0, 0)  # counted as a request; it never reached the model
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
        permit.cancel()  # nothing was sent
        raise Failed(_why(error), away=5.0) from None
    except aiohttp.InvalidURL:
        permit.cancel()
        raise Failed("the base_url is none", again=False) from None
    except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
        raise Failed(_why(error)) from None
    finally:
        # What was used nobody knows, then: the estimate stands.
        if permit.held:
            if answer is not None and answer.usage is not None:
                job.settle(permit, upstream.charging, answer.usage)
            else:
                permit.release()


def _why(error: BaseException) -> str:
    """A kind of failure. Never the text of the error, which may quote what was sent."""
    if isinstance(error, asyncio.TimeoutError):
        return "timeout"
    return "not reachable" if isinstance(error, aiohttp.ClientConnectorError) else "connection lost"


async def _answered(response: aiohttp.ClientResponse, permit: Permit) -> Answer:
    if response.status < 400:
        permit.feedback(response.status, response.raw_headers)
        return Answer(response)
    answer = Answer(response)
    refused = response.status in (401, 402, 403, 407, 408, 429) or response.status >= 500
    if not refused:
        permit.feedback(response.status, response.raw_headers)
        return answer
    body = await _error_body(response)
    advice = permit.feedback(response.status, response.raw_headers, body)
    raise _failure(response.status, advice)


async def _error_body(response: aiohttp.ClientResponse) -> bytes:
    body = b""
    async for piece in response.content.iter_any():
        body += piece
        if len(body) >= MAX_ERROR_BODY:
            break
    return body[:MAX_ERROR_BODY]


def _failure(status: int, advice: Advice) -> Failed:
    kind = advice.answer_class
    if kind == "oversize":
        return Failed("oversize", again=False)
    if kind in _PASSING:
        # The limiter holds back by itself what it has to; longer than that means that another one is better.
        return Failed(kind, elsewhere=advice.wait > 0, away=min(advice.wait, MAX_AWAY))
    if kind == "long":
        return Failed(kind, away=MAX_AWAY)
    if status in (401, 402, 403, 407) or kind == "billing":
        return Failed("credentials" if kind != "billing" else kind, away=MAX_AWAY)
    return Failed(f"status {status}")


class Away:
    """Upstreams that nobody is sent to for a while, because they have failed."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def note(self, name: str, seconds: float) -> None:
        """Pass it over for so long."""
        if seconds > 0:
            self._until[name] = max(self._until.get(name, 0.0), time.monotonic() + seconds)

    def names(self) -> frozenset[str]:
        """Those that are passed over now."""
        if not self._until:
            return frozenset()
        now = time.monotonic()
        self._until = {name: until for name, until in self._until.items() if until > now}
        return frozenset(self._until)

    def keep(self, names: Iterable[str]) -> None:
        """Forget all others."""
        self._until = {name: self._until[name] for name in names if name in self._until}
