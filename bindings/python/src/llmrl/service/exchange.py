"""One request of a client: through its limits, to the upstreams, and back."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from typing import Any, Awaitable, Callable, List, MutableMapping, NamedTuple, Optional, Tuple

from .. import ChainPermit
from ..http import Usage, backoff
from .admission import Deadline, Refused, pass_levels, pass_upstream
from .logs import event
from .plan import Level, Node, Plan
from .policy import Headers, error_body, limit_headers, refusal, retry_headers
from .service import Service
from .upstream import Answer, Failed, Job, sent

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Who(NamedTuple):
    """Whose request it is, and which."""

    id: str
    user: str
    arrived: float
    """On the monotonic clock."""


def answer_headers(who: Who, levels: Tuple[Level, ...], more: Headers) -> Headers:
    """The headers of every answer under /v1."""
    return [*more, (b"x-request-id", who.id.encode()), *limit_headers(levels)]


class Exchange:
    """A request with its body, as an ASGI application that answers it.

    The client's going away cancels whatever it waits for; nothing that was acquired outlives the call.
    """

    def __init__(self, service: Service, who: Who, job: Job, key: Optional[str]) -> None:
        self.service = service
        self.plan: Plan = service.plan
        self.who = who
        self.job = job
        self.key = key
        """Requests with the same key go to the same upstream while it admits them, for the sake of its cache."""
        admission = self.plan.config.admission
        self.deadline = Deadline.after(admission.patience)
        self.levels = self.plan.levels(who.user, job.ask.model)
        self.failed: set[str] = set()
        self.status = 0
        self.answered = False
        self.sent_upstream = False
        self.usage: Optional[Usage] = None
        self.waited = 0.0
        self.attempts = 0
        self.upstream: Optional[str] = None
        self.outcome = "complete"

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        self.send = send
        self.service.history.active += 1
        work = asyncio.ensure_future(self._serve())
        gone = asyncio.ensure_future(_gone(receive))
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            # The end of the answer is told in the same way as the client's going away.
            if self.answered:
                await asyncio.wait({work})
            if not work.done():
                self.outcome = "disconnected"
                self.service.metrics.disconnects.add()
        except asyncio.CancelledError:
            # The time after SIGTERM is over. An answer that has begun is broken off by the return.
            self.outcome = "shutdown"
        finally:
            gone.cancel()
            work.cancel()
            await asyncio.gather(work, gone, return_exceptions=True)
            self.service.history.active -= 1
        if self.outcome == "shutdown" and not self.status:
            message = "The service stops. Please try again: there may be another one."
            await self._say(503, retry_headers(None), error_body(message, "server_error", "shutdown"))
        self._log()
        if not work.cancelled() and work.exception() is not None:
            raise work.exception()  # type: ignore[misc]

    async def _serve(self) -> None:
        if not self.plan.serving(self.job.ask.model):
            model = self.job.ask.model
            message = f"The model {model!r} is served by no upstream; GET /v1/models lists those that are."
            await self._say(404, [], error_body(message, "invalid_request_error", "model_not_found", "model"))
            return
        permit: Optional[ChainPermit] = None
        try:
            cost = (self.job.prompt, self.job.expected)
            began = time.monotonic()
            permit = await pass_levels(self.levels, cost, self.deadline)
            self.waited += time.monotonic() - began
            await self._attempts()
        except Refused as refused:
            self.service.metrics.refusals.add(refused.level.kind, refused.reason)
            self.outcome = f"refused by {refused.level.kind}: {refused.reason}"
            await self._say(*refusal(refused))
        finally:
            if self.usage is not None:
                self.service.settled(self.job, self.usage)
            if permit is not None:
                self._end(permit)

    def _end(self, permit: ChainPermit) -> None:
        """What a request has really used counts at its user, its model and for all; what was only refused, nothing."""
        if self.usage is not None:
            usage = self.usage
            permit.settle(usage.input, usage.output, cached=usage.cached, cache_write=usage.cache_write)
        elif not self.sent_upstream:
            permit.cancel()
        elif 400 <= self.status:
            permit.settle(0, 0)
        else:
            permit.release()

    async def _attempts(self) -> None:
        config = self.plan.config.admission
        failed: Optional[Failed] = None
        for attempt in range(config.attempts):
            if attempt:
                self.service.metrics.retries.add(self.upstream or "")
            nodes = self._nodes()
            cost = _most([self.job.reserve(node.upstream.charging) for node in nodes.values()])
            began = time.monotonic()
            node, permit = await pass_upstream(self.plan, nodes, cost, self.deadline, self.key)
            self.waited += time.monotonic() - began
            self.upstream = node.upstream.name
            self.attempts = attempt + 1
            if len(nodes) > 1:
                permit.adjust(*self.job.reserve(node.upstream.charging))
            self.sent_upstream = True
            try:
                async with sent(self.service.client, node, permit, self.job) as answer:
                    await self._relay(node, answer)
                return
            except Failed as reason:
                self._note(node, reason)
                if self.status:
                    return  # the client has a part of the answer; no other can be sent
                self.sent_upstream = False
                failed = reason
                if not reason.again or not await self._worth(attempt):
                    break
        assert failed is not None
        await self._give_up(failed)

    def _nodes(self) -> dict[str, Node]:
        return self.plan.serving(self.job.ask.model, self.service.away.names() | self.failed)

    async def _worth(self, attempt: int) -> bool:
        """Whether to try once more, at once if another upstream is there that has not failed yet, else after a while."""
        if not self.failed >= self._nodes().keys():
            return True
        pause = backoff(None, attempt)
        if pause > self.deadline.left():
            return False
        await asyncio.sleep(pause)
        return True

    def _note(self, node: Node, reason: Failed) -> None:
        name = node.upstream.name
        if reason.elsewhere:
            self.failed.add(name)
        self.service.away.note(name, reason.away)
        self.service.metrics.answers.add(name, reason.reason)
        if self.status:
            self.outcome = "broke off"
            self.service.metrics.broken.add(name)
        level = logging.ERROR if reason.reason in ("credentials", "billing") else logging.WARNING
        event("upstream failed", level, id=self.who.id, upstream=name, reason=reason.reason, attempt=self.attempts)

    async def _give_up(self, failed: Failed) -> None:
        self.outcome = f"failed: {failed.reason}"
        if failed.reason == "oversize":
            message = "The upstream says that the request is larger than its limit, and would never admit it. Send less."
            await self._say(413, [], error_body(message, "invalid_request_error", "request_too_large", level="upstream"))
        elif failed.reason in ("rate", "concurrency", "overload", "long"):
            nodes = self._nodes().values()
            waits = [wait for node in nodes if (wait := node.limiter.wait_time()) < float("inf")]
            headers = retry_headers(min(waits, default=None))
            message = (
                "The upstream has refused the request because of its rate limits, as often as it may be sent. Please try again later."
            )
            self.service.metrics.refusals.add("upstream", "refused")
            await self._say(429, headers, error_body(message, "requests", "rate_limit_exceeded", level="upstream"))
        else:
            message = f"The upstream has not answered: {failed.reason}, after {self.attempts} attempts."
            await self._say(502, [], error_body(message, "server_error", "upstream_failed", level="upstream"))

    async def _relay(self, node: Node, answer: Answer) -> None:
        self.service.metrics.wait.add(self.waited)
        self.service.metrics.first.add(time.monotonic() - self.who.arrived)
        await self._start(answer.status, answer.headers)
        try:
            async for piece in answer.pieces():
                await self.send({"type": "http.response.body", "body": piece, "more_body": True})
        finally:
            self.usage = answer.usage
        self.service.metrics.answers.add(node.upstream.name, "ok" if answer.status < 400 else "other")
        await self._finish(b"")

    async def _start(self, status: int, headers: Headers) -> None:
        self.status = status
        named = [(name, value) for name, value in headers if name != b"x-request-id"]
        await self.send({"type": "http.response.start", "status": status, "headers": answer_headers(self.who, self.levels, named)})

    async def _say(self, status: int, headers: Headers, body: dict[str, Any]) -> None:
        raw = json.dumps(body).encode()
        more: Headers = [(b"content-type", b"application/json"), (b"content-length", str(len(raw)).encode())]
        await self._start(status, [*headers, *more])
        await self._finish(raw)

    async def _finish(self, rest: bytes) -> None:
        self.answered = True
        await self.send({"type": "http.response.body", "body": rest, "more_body": False})

    def _log(self) -> None:
        usage, seconds = self.usage, time.monotonic() - self.who.arrived
        self.service.metrics.duration.add(seconds)
        self.service.metrics.requests.add(self.job.path, str(self.status or "none"))
        event(
            "request",
            id=self.who.id,
            path=self.job.path,
            user=self.who.user,
            model=self.job.ask.model,
            status=self.status or None,
            outcome=self.outcome,
            upstream=self.upstream,
            attempts=self.attempts,
            waited=round(self.waited, 3),
            seconds=round(seconds, 3),
            input=usage and usage.input,
            output=usage and usage.output,
        )


def _most(costs: List[Tuple[int, int]]) -> Tuple[int, int]:
    """A cost that covers each of these."""
    return max(input for input, _ in costs), max(output for _, output in costs)


async def _gone(receive: Receive) -> None:
    """Return when the client has gone away."""
    while (await receive())["type"] != "http.disconnect":
        pass
