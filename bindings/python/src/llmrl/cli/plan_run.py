"""A batch in virtual time: the limiter that ``llmrl batch`` would use, on a manual clock, and a model of how long answers take."""

from __future__ import annotations

import argparse
import heapq
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from llmrl import ManualClock, Never
from llmrl._hub import Hub, Turn
from llmrl.http import Ask, Usage

from .batch_charge import Account
from .batch_counts import binding
from .batch_estimate import Estimator
from .batch_limits import build

SAMPLES = 1000
"""Moments of ``Outcome.spent``, about."""
REPORT_EVERY = 1000
"""Requests between two calls of ``progress``."""


@dataclass(frozen=True)
class Latency:
    """How long an answer takes: ``seconds``, and its output at ``tokens_per_second``. ``expected`` is how much is put out, None for
    as much as the request allows."""

    seconds: float
    tokens_per_second: float
    expected: Optional[int]

    def output(self, ask: Ask, default: int) -> int:
        """Tokens that the answer has."""
        if not ask.generates:
            return 0
        most = ask.max_tokens
        if self.expected is None:
            each = default if most is None else most
        else:
            each = self.expected if most is None else min(self.expected, most)
        return each * ask.choices

    def nanoseconds(self, ask: Ask, output: int) -> int:
        """From the admission to the last token; choices are produced side by side."""
        return round((self.seconds + output / ask.choices / self.tokens_per_second) * 1e9)


class Span(NamedTuple):
    """A time in which the head of the queue waited for one limit; nanoseconds."""

    start: int
    end: int
    limit: str


class Done(NamedTuple):
    """One request's life; nanoseconds since the start."""

    admitted: int
    finished: int
    input: int
    output: int


@dataclass
class Outcome:
    """What a plan found out. Times are nanoseconds since the start."""

    limits: List[Tuple[str, Any]]
    """Name and state of each limit, as configured."""
    counted: List[str]
    """What each of them counts: ``requests``, ``tokens``, ``input_tokens``, ``output_tokens`` or ``in_flight``."""
    done: List[Done] = field(default_factory=list)
    waits: List[Span] = field(default_factory=list)
    """In order; those that touch and are for the same limit are one."""
    spent: List[Tuple[int, List[float]]] = field(default_factory=list)
    """Now and then: what of each limit was used up just after an admission, 0 to 1 (more: in debt)."""
    too_large: int = 0
    """Requests that are larger than a limit and would not be sent."""
    peak_in_flight: int = 0
    seconds: float = 0.0
    """From the start to the last answer."""
    last_admission: int = 0

    def waited(self) -> Dict[str, float]:
        """Seconds by limit, the longest first."""
        sums: Dict[str, int] = {}
        for span in self.waits:
            sums[span.limit] = sums.get(span.limit, 0) + span.end - span.start
        return {name: ns / 1e9 for name, ns in sorted(sums.items(), key=lambda item: -item[1])}

    def units(self, counted: str) -> Callable[[Done], int]:
        """What one request has taken of a limit that counts ``counted``."""
        readers: Dict[str, Callable[[Done], int]] = {
            "requests": lambda done: 1,
            "tokens": lambda done: done.input + done.output,
            "input_tokens": lambda done: done.input,
            "output_tokens": lambda done: done.output,
            "in_flight": lambda done: 0,
        }
        return readers[counted]

    def used(self, index: int) -> Optional[float]:
        """What was admitted over what the limit offered until the last admission (burst and production); None for a number in flight."""
        _, state = self.limits[index]
        if not state.per:
            return None
        offered = state.burst + state.amount * self.last_admission / 1e9 / state.per
        return sum(map(self.units(self.counted[index]), self.done)) / max(1.0, offered)


class _Stepper(NamedTuple):
    """What a thread that waits does instead of sleeping: lets so many nanoseconds pass, or less."""

    step: Callable[[int], None]


class _Steps(Hub):
    """Waits of a single thread that moves the clock itself."""

    __slots__ = ()

    def block(self, turn: Turn) -> None:
        while (wait_ns := turn._poll()) is not None:
            self.clock.step(wait_ns)  # type: ignore[union-attr]


def simulate(
    args: argparse.Namespace, asks: Sequence[Ask], latency: Latency, progress: Callable[[int], None] = lambda done: None
) -> Outcome:
    """Run the batch. Requests go in order, as the engine of ``llmrl batch`` sends them. Raises ValueError for limits that are not
    possible."""
    clock = ManualClock()
    # Nobody waits in its queue, and whenever a manual clock moves, every place of it is looked at.
    limiter, meters = build(args, clock=clock, max_waiters=1)
    account = Account(limiter, meters, args.charge, lambda line: None)
    # Nobody contradicts an assumption here.
    account.assume_settling()
    estimator = Estimator(args.chars_per_token, args.default_output, args.estimate == "learn", args.charge == "settle")
    states = limiter.limits()
    outcome = Outcome(
        [(meters.names[index], state) for index, state in enumerate(states)],
        [meters.counted(index, state) for index, state in enumerate(states)],
    )
    running: List[Tuple[int, int, Any, Tuple[int, int], Ask, Usage]] = []
    now = 0
    sample_every = max(1, len(asks) // SAMPLES)

    def pass_until(then: int) -> None:
        nonlocal now
        clock.advance_ns(then - now)
        now = then

    def finish() -> None:
        at, _, permit, cost, ask, usage = heapq.heappop(running)
        pass_until(max(at, now))
        estimator.answered(ask, usage.input, usage.output)
        account.answered(permit, cost, usage)

    def step(wait_ns: int) -> None:
        since, limit = now, meters.names[binding(limiter, meters, cost) or 0]
        if running and running[0][0] <= now + wait_ns:
            finish()
        else:
            pass_until(now + max(1, wait_ns))
        _add(outcome.waits, Span(since, now, limit))

    limiter._hub.__class__, limiter._hub.clock = _Steps, _Stepper(step)
    for number, ask in enumerate(asks):
        if number % REPORT_EVERY == 0:
            progress(number)
        # Answers of this very moment are there before the next request is sent.
        while running and running[0][0] <= now:
            finish()
        # What prompts really take, nobody tells here: the estimate is taken for it, and there is nothing to be learned from that.
        prompt, most = estimator.cost_of(ask, settles=False)
        cost = account.cost(prompt, most)
        try:
            # In the queue, as the engine: there the limiter notices what has overflowed while permits were held.
            permit = limiter.try_acquire(*cost) or limiter.acquire(*cost).wait()
        except (Never, ValueError):
            outcome.too_large += 1
            continue
        account.admitted(cost)
        output = latency.output(ask, args.default_output)
        usage = Usage(prompt, output)
        at = now + latency.nanoseconds(ask, output)
        heapq.heappush(running, (at, number, permit, cost, ask, usage))
        outcome.peak_in_flight = max(outcome.peak_in_flight, len(running))
        stands = (prompt, output) if account.settles else cost
        outcome.done.append(Done(now, at, *stands))
        outcome.last_admission = now
        if number % sample_every == 0:
            outcome.spent.append((now, [1 - state.available / max(1, state.burst or state.amount) for state in limiter.limits()]))
    while running:
        finish()
    outcome.seconds = max((done.finished for done in outcome.done), default=0) / 1e9
    limiter.close()
    progress(len(asks))
    return outcome


def _add(spans: List[Span], span: Span) -> None:
    if span.end == span.start:
        return
    if spans and spans[-1].limit == span.limit and spans[-1].end == span.start:
        spans[-1] = Span(spans[-1].start, span.end, span.limit)
    else:
        spans.append(span)
