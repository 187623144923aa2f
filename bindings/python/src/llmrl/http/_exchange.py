"""The life of one request: admitted, answered, settled."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any, Optional

from .._errors import Error
from .._feedback import Advice, Headers
from .._router import Node, Routed
from ._request import Ask
from ._usage import Usage, UsageReader
from ._wait import wait_anywhere

if TYPE_CHECKING:
    from ._throttle import Throttle

MAX_WAIT = 300.0
"""Seconds. Who asks for more, as when a day's quota is gone, is not waited for; the limiter waits as long by itself."""
MAX_ERROR = 64 * 1024
"""Bytes of an error's body that are worth reading."""
BACKOFF_BASE = 0.5
BACKOFF_CAP = 30.0
"""Full-jitter back-off: uniform between 0 and base x 2^tries seconds, at most the cap."""
_LIMITS = ("rate", "concurrency", "overload")


def backoff(wait: Optional[float], tries: int) -> float:
    """Seconds until a request queues again: none if the limiter holds it back, in order and without a herd. Otherwise full jitter
    on top of what the server asked for; None is nothing."""
    if wait == 0.0:
        return 0.0
    return (wait or 0.0) + random.uniform(0.0, min(BACKOFF_CAP, BACKOFF_BASE * 2**tries))


class Exchange:
    """One request, from its place in the queue to what it really used. Made by ``Throttle.exchange``; for one task or thread at a time.

    ::

        exchange = throttle.exchange(url, body)
        while True:
            exchange.wait()                                # or: await exchange.admit()
            try:
                response = send(...)
            except ConnectError:
                exchange.drop(sent=False)                  # everything is given back
                raise
            again = exchange.answered(response.status, response.headers, error_body)
            if again is None:
                break
            time.sleep(again)                              # refused, and worth another try
        for piece in response:
            exchange.feed(piece)
        exchange.end()                                     # settled by the usage that passed by

    Each admission has one outcome, whatever becomes of the caller: what is neither ended nor dropped keeps its estimate, also when the
    object is forgotten. After the first outcome ``end`` and ``drop`` do nothing.
    """

    __slots__ = ("ask", "node", "tries", "final", "_throttle", "_limiter", "_permit", "_reader", "_cost", "_end", "__weakref__")

    def __init__(self, throttle: Throttle, ask: Ask, limiter: Any, timeout: Optional[float]) -> None:
        self.ask = ask
        """What the request asks for."""
        self.node: Optional[Node] = None
        """Where it is to be sent, if a Router has admitted it."""
        self.tries = 0
        """How often it was admitted."""
        self.final = False
        """Whether it has been tried as often as is sensible: whoever stands above need not try again."""
        self._throttle = throttle
        self._limiter = limiter
        self._permit: Any = None
        self._reader: Optional[UsageReader] = None
        self._cost = throttle._estimate(ask)
        self._end = None if timeout is None else time.monotonic() + timeout

    def __del__(self) -> None:
        # As far as __init__ has come.
        if getattr(self, "_permit", None) is not None:
            try:
                self.end()
            except Exception:
                pass  # the limiter was collected together with it, or the interpreter exits

    def _acquire(self) -> Any:
        left = None if self._end is None else max(0.0, self._end - time.monotonic())
        input, output = self._cost.reserve()
        return self._limiter.acquire(input, output, timeout=left)

    def _admitted(self, permit: Any) -> None:
        self.node, self._permit = permit if isinstance(permit, Routed) else (None, permit)
        self._reader = None
        self.tries += 1
        self._throttle._count(tries=1, requests=1 if self.tries == 1 else 0)

    @property
    def limited(self) -> bool:
        """Whether there is anything to wait for: else the request is to pass as it is."""
        return self._limiter is not None

    def wait(self) -> None:
        """Block this thread until the request is admitted. Raises as ``acquire`` does: Never, DeadlineExceeded, QueueFull, Closed.

        In a thread whose event loop runs (a notebook's cell) it blocks that loop, as the synchronous request will that is to follow.
        """
        if self._limiter is not None:
            self._admitted(wait_anywhere(self._acquire()))

    async def admit(self) -> None:
        """Wait until the request is admitted. Raises as ``acquire`` does."""
        if self._limiter is not None:
            self._admitted(await self._acquire())

    def answered(self, status: int, headers: Headers, body: bytes = b"") -> Optional[float]:
        """The head of an answer is there, and of a failure (status 400 and above) the body: the limiter learns from it.

        Seconds after which to try again, or None if the answer is to be handed out; that of a failure has ended the exchange then.
        """
        permit = self._permit
        if permit is None:
            return None
        advice = self._feedback(permit, status, headers, body)
        if 200 <= status < 300:
            kind = _header(headers, "content-type").lower()
            # Not what is spoken or drawn.
            if not kind or "json" in kind or "event-stream" in kind:
                self._reader = UsageReader(kind)
            return None
        if advice is None:
            self.drop()
            return None
        refused = advice.answer_class not in ("ok", "other")
        if refused or status >= 500:
            self.drop()
        else:
            # It never reached the model: one request was counted, no tokens.
            self._settle(0, 0)
        self._throttle._count(refused=int(refused), failed=int(not refused and status >= 400))
        wanted = advice.answer_class in _LIMITS or self._throttle.retry_errors
        again = self._again(advice.wait) if advice.retry and wanted else None
        self.final = again is None and (refused or wanted) and self._throttle.retries > 0
        return again

    def lost(self, sent: bool = True) -> Optional[float]:
        """There was no answer: the connection broke, or (not ``sent``) none came about. Seconds after which to try again, or None."""
        self.drop(sent)
        self._throttle._count(failed=1)
        return self._again(None) if self._throttle.retry_errors and self._limiter is not None else None

    def _again(self, wait: Optional[float]) -> Optional[float]:
        seconds = backoff(wait, self.tries)
        late = self._end is not None and time.monotonic() + seconds >= self._end
        return None if self.tries > self._throttle.retries or (wait or 0.0) > MAX_WAIT or late else seconds

    @staticmethod
    def _feedback(permit: Any, status: int, headers: Headers, body: bytes) -> Optional[Advice]:
        try:
            advice: Advice = permit.feedback(status, headers, body[:MAX_ERROR])
            return advice
        except (Error, ValueError, TypeError):
            return None  # closed meanwhile; or no status at all

    def feed(self, data: bytes) -> None:
        """More of the answer's body passes by. Never raises."""
        if self._reader is not None:
            self._reader.feed(data)

    @property
    def usage(self) -> Optional[Usage]:
        """What the answer has said until now was used."""
        return None if self._reader is None else self._reader.usage

    def end(self) -> None:
        """No more of the answer is read: settle with what it said was used, or keep the estimate. Does nothing the second time.

        It need not be all of it: SDKs stop at the last event that they understand.
        """
        usage = self.usage
        if self._permit is None or usage is None or self._reader is None or not self._reader.final:
            self.drop()
            return
        self._throttle.estimator.answered(self.ask, usage.input, usage.output)
        self._throttle._count(served=1, input=usage.input, output=usage.output)
        self._settle(*self._cost.settle(usage))

    def _settle(self, input: int, output: int, cached: int = 0, cache_write: int = 0) -> None:
        permit, self._permit = self._permit, None
        try:
            permit.settle(input, output, cached=cached, cache_write=cache_write)
        except Error:
            pass  # the limiter was closed meanwhile

    def drop(self, sent: bool = True) -> None:
        """It ends here: with the estimate, as something was used and nobody knows what; if nothing was ``sent``, with nothing."""
        permit, self._permit = self._permit, None
        if permit is None:
            return
        try:
            if sent:
                permit.release()
            else:
                permit.cancel()
        except Error:
            pass  # as above


def _header(headers: Headers, name: str) -> str:
    items = headers.items() if hasattr(headers, "items") else headers
    for key, value in items:
        key, value = (part.decode("latin-1") if isinstance(part, bytes) else part for part in (key, value))
        if key.lower() == name:
            return value
    return ""
