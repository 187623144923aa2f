"""Runs a batch: one feeder takes lines in order through the limiter, one task per admitted request sees it through.

The feeder has at most one acquire pending, so the input is read no faster than the limits allow and memory does not
grow with it. Live tasks are the requests in flight and those that wait for another try; when too many wait, the
feeder holds back.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterable, Optional, Set, Tuple, Union

from llmrl import Never, read_answer
from llmrl.http import backoff, decode, read_request, usage_of

from .batch_answer import Verdict, judge
from .batch_charge import Account
from .batch_counts import Counts
from .batch_estimate import Estimator
from .batch_input import BadLine, Request, id_key
from .batch_output import OutputError, Results, make_line
from .batch_send import Lost, Reply, Sender, Unsent

UNREACHABLE = 20
"""Requests in a row whose tries all ended without any answer, after which the server counts as gone."""
LINES_PER_TURN = 64
"""Lines looked at before others get the event loop: skipping a million answered lines must not freeze the bar."""

Item = Union[Request, BadLine]


@dataclass
class Plan:
    """What the engine works with; see ``llmrl batch --help`` for the meaning of the numbers."""

    items: Iterable[Item]
    results: Results
    sender: Sender
    limiter: Any
    account: Account
    estimator: Estimator
    counts: Counts
    max_attempts: int
    max_waiting: int
    fsync_seconds: float
    say: Callable[[str], None]


class Engine:
    """One run over one input. Call :meth:`run` once; :meth:`stop` and :meth:`abort` from a signal handler."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.counts = plan.counts
        self.halted: Optional[str] = None
        """Why the batch ended early although nobody interrupted it."""
        self.interrupted = False
        self._feeder: Optional["asyncio.Task[None]"] = None
        self._live: Set["asyncio.Task[None]"] = set()
        self._between_tries: Set["asyncio.Task[Any]"] = set()
        self._room = asyncio.Event()
        self._room.set()
        self._lines: Dict[bytes, int] = {}
        self._unreachable = 0
        self._first_noted = False

    async def run(self) -> None:
        """Work through the input. Returns when everything has its result, or after :meth:`stop`."""
        self._feeder = asyncio.ensure_future(self._feed())
        syncer = asyncio.ensure_future(self._sync_now_and_then())
        try:
            await asyncio.wait([self._feeder])
            while self._live:
                await asyncio.wait(set(self._live))
        finally:
            syncer.cancel()
            await asyncio.gather(syncer, return_exceptions=True)
        if not self._feeder.cancelled() and self._feeder.exception() is not None:
            raise self._feeder.exception()  # type: ignore[misc]

    def stop(self) -> None:
        """Take no more work; requests in flight finish, those that wait for another try are left for the next run."""
        if self._feeder is not None:
            self._feeder.cancel()
        for task in list(self._between_tries):
            task.cancel()

    def abort(self) -> None:
        """Drop the requests in flight as well."""
        self.stop()
        for task in list(self._live):
            task.cancel()

    @property
    def stopping(self) -> bool:
        return self.interrupted or self.halted is not None

    def interrupt(self) -> None:
        """A Ctrl-C: the first one stops, the second aborts."""
        if self.interrupted:
            self.abort()
            return
        self.interrupted = True
        self.stop()

    def _halt(self, reason: str, now: bool = False) -> None:
        if self.halted is None:
            self.halted = reason
        if now:
            self.abort()
        else:
            self.stop()

    async def _feed(self) -> None:
        for index, item in enumerate(self.plan.items):
            if index % LINES_PER_TURN == 0:
                await asyncio.sleep(0)
            request = self._to_be_sent(item)
            if request is None:
                continue
            await self._room.wait()
            cost = self._cost(request)
            permit = await self._permit(request, cost)
            if permit is not None:
                task = asyncio.ensure_future(self._see_through(request, cost, permit))
                self._live.add(task)
                task.add_done_callback(self._live.discard)

    def _to_be_sent(self, item: Item) -> Optional[Request]:
        """The line as a request, unless it is malformed, repeated or already answered."""
        counts = self.counts
        if item.custom_id is not None:
            key = id_key(item.custom_id)
            first = self._lines.setdefault(key, item.line)
            if first != item.line:
                counts.bad_lines += 1
                self.plan.say(
                    f"line {item.line}: custom_id {_short(item.custom_id)} was already used in line {first}; not sent"
                )
                return None
            if key in self.plan.results.found.answered:
                counts.skipped += 1
                return None
        if isinstance(item, Request):
            return item
        counts.bad_lines += 1
        self.plan.say(f"line {item.line}: {item.reason}; not sent")
        if item.custom_id is not None:
            self._write(item.custom_id, None, {"code": "invalid_line", "message": f"line {item.line}: {item.reason}"})
        return None

    def _cost(self, request: Request) -> Tuple[int, int]:
        account = self.plan.account
        return account.cost(*self.plan.estimator.cost(request.url, request.body, account.settles))

    async def _permit(self, request: Request, cost: Tuple[int, int]) -> Any:
        """A permit for ``cost``, in turn; None if the request can never have one (recorded)."""
        limiter = self.plan.limiter
        try:
            permit = limiter.try_acquire(cost[0], cost[1])
            if permit is None:
                with self.counts.waiting(cost):
                    permit = await limiter.acquire(cost[0], cost[1])
        except Never:
            message = (
                f"about {sum(cost):,} tokens (prompt estimate + max_tokens), more than --tpm allows at once; not sent"
            )
            self._fail(request, message, "too_large")
            return None
        except ValueError as error:  # a token count that no limiter could hold
            self._fail(request, f"{error}; not sent", "too_large")
            return None
        self.plan.account.admitted(cost)
        self.counts.admitted()
        return permit

    async def _see_through(self, request: Request, cost: Tuple[int, int], permit: Any) -> None:
        """Try one request until it has its result, its tries are used up, or the batch stops."""
        attempt = 1
        while True:
            verdict, reply, error = await self._try(request, cost, permit)
            if verdict.kind == "ok" or verdict.kind == "final":
                self._record(request, verdict, reply, error)
                return
            if verdict.kind == "stop":
                self._record(request, verdict, reply, error)
                self._halt(verdict.reason)
                return
            if attempt >= self.plan.max_attempts:
                self._record(request, verdict, reply, error)
                return
            if self.stopping:
                return
            permit = await self._another_try(request, cost, backoff(verdict.wait, attempt))
            if permit is None:
                return
            attempt += 1
            self.counts.retries += 1

    async def _another_try(self, request: Request, cost: Tuple[int, int], delay: float) -> Any:
        task = asyncio.current_task()
        self._between_tries.add(task)  # type: ignore[arg-type]
        self._note_room()
        try:
            await asyncio.sleep(delay)
            return await self._permit(request, cost)
        finally:
            self._between_tries.discard(task)
            self._note_room()

    def _note_room(self) -> None:
        self.counts.between_tries = len(self._between_tries)
        if len(self._between_tries) < self.plan.max_waiting:
            self._room.set()
        else:
            self._room.clear()

    async def _try(
        self, request: Request, cost: Tuple[int, int], permit: Any
    ) -> "Tuple[Verdict, Optional[Reply], Optional[str]]":
        """Send once and end the permit. Returns the verdict and the answer, or why there is none."""
        account, counts = self.plan.account, self.counts
        sent = account.sending()
        counts.in_flight += 1
        try:
            reply = await self.plan.sender.post(request.url, request.body)
            self._unreachable = 0
        except Unsent as error:
            account.unsent(permit, cost)
            return Verdict("retry", "no connection"), None, str(error)
        except Lost as error:
            account.failed(permit)
            return Verdict("retry", "connection lost"), None, str(error)
        except BaseException:
            account.failed(permit)
            raise
        finally:
            counts.in_flight -= 1
        if not self._first_noted and self.plan.sender.first_delay is not None:
            self._first_noted = True
            account.first_on_the_wire(self.plan.sender.first_delay)
        body = decode(reply.raw)
        advice = account.feedback(permit, reply, sent)
        verdict = judge(reply.status, body, advice)
        if reply.status == 429:
            counts.too_many[read_answer(429, reply.headers, reply.raw).meter or "unknown"] += 1
        if verdict.kind == "ok":
            usage = usage_of(body)
            if usage is not None:
                self.plan.estimator.answered(read_request(request.url, request.body), usage.input, usage.output)
                counts.used(usage.input, usage.output)
            account.answered(permit, cost, usage)
        elif advice.answer_class not in ("ok", "other"):
            account.refused(permit, cost)
        elif verdict.kind == "retry":
            account.failed(permit)
        else:
            account.rejected(permit, cost)
        return verdict, reply, None

    def _record(self, request: Request, verdict: Verdict, reply: Optional[Reply], error: Optional[str]) -> None:
        if reply is None:
            tries = "1 try" if self.plan.max_attempts == 1 else f"{self.plan.max_attempts} tries"
            self._fail(request, f"{verdict.reason}: {error} (after {tries})", "connection_error")
            self._unreachable += 1
            if self._unreachable >= UNREACHABLE:
                self._halt(f"{UNREACHABLE} requests in a row got no answer at all: {error}")
            return
        body = reply.raw
        if decode(body) is None:
            body = json.dumps(body.decode("utf-8", "replace")).encode()
        head = json.dumps({"status_code": reply.status, "request_id": reply.request_id})[:-1].encode()
        # The body goes in as it came, not decoded and printed again. Line breaks are only ever white space in JSON.
        body = body.replace(b"\r", b" ").replace(b"\n", b" ")
        self._write(request.custom_id, head + b', "body": ' + body + b"}", None)
        if verdict.kind == "ok":
            self.counts.ok += 1
        else:
            self.counts.failed += 1
            self.plan.say(f"line {request.line}: {_short(request.custom_id)} failed: {verdict.reason}{_said(reply)}")

    def _fail(self, request: Request, message: str, code: str) -> None:
        self.counts.failed += 1
        self.plan.say(f"line {request.line}: {_short(request.custom_id)} failed: {message}")
        self._write(request.custom_id, None, {"code": code, "message": message})

    def _write(self, custom_id: str, response: Optional[bytes], error: Optional[Dict[str, Any]]) -> None:
        try:
            self.plan.results.write(make_line(custom_id, response, error))
        except OutputError as failure:
            self._halt(str(failure), now=True)

    async def _sync_now_and_then(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(max(0.05, self.plan.fsync_seconds))
            try:
                await loop.run_in_executor(None, self.plan.results.sync)
            except OutputError as failure:
                self._halt(str(failure), now=True)
                return


def _short(custom_id: str) -> str:
    return repr(custom_id if len(custom_id) <= 60 else custom_id[:57] + "...")


def _said(reply: Reply) -> str:
    """The server's own words, if it sent an error in a known shape."""
    body = decode(reply.raw)
    error = body.get("error") if isinstance(body, dict) else None
    message = error.get("message") if isinstance(error, dict) else None
    if not isinstance(message, str) or not message:
        return ""
    return ": " + (message if len(message) <= 200 else message[:197] + "...")
