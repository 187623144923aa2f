"""Who is admitted, and what is said to those who are not."""

from __future__ import annotations

import time
from math import inf
from typing import NamedTuple, Optional, Sequence, Tuple

from .. import Chain, ChainPermit, Closed, DeadlineExceeded, Error, Limiter, LimitState, Never, NoNode, Permit, QueueFull
from .plan import Level, Node, Plan

Cost = Tuple[int, int]
"""Input and output tokens of one request."""


class Refused(Exception):
    """A request that was not admitted: which level has refused it, why, and for how long that stands."""

    def __init__(self, level: Level, reason: str, cost: Cost) -> None:
        super().__init__(f"{level.kind} {level.name}: {reason}")
        self.level = level
        self.reason = reason
        """``limit``, ``queue_full``, ``oversize`` or ``closed``."""
        self.wait = _wait(level.limiter, cost)
        """Seconds until it would be admitted if nobody else came; None if nobody knows."""
        self.limit = _binding(level.limiter, cost)
        """The limit that is in the way."""


def _wait(limiter: Limiter, cost: Cost) -> Optional[float]:
    try:
        wait = limiter.wait_time(*cost)
    except Error:
        return None
    return None if wait == inf else wait


def _binding(limiter: Limiter, cost: Cost) -> LimitState:
    """The limit that a request waits for longest; where the meter is weighted, as if each token weighed one."""
    input, output = cost
    needs = {"requests": 1, "input_tokens": input, "output_tokens": output, "in_flight": 1}

    def lack(state: LimitState) -> Tuple[float, float]:
        missing = needs.get(state.meter, input + output) - state.available
        # What is in flight ends nobody knows when: nothing else is as long.
        return (state.paused, missing * state.per / state.amount if state.per else (inf if missing > 0 else -inf))

    return max(limiter.limits(), key=lack)


class Deadline(NamedTuple):
    """Until when a request may wait, on the monotonic clock."""

    end: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """That many seconds from now."""
        return cls(time.monotonic() + seconds)

    def left(self) -> float:
        """Seconds that are left, 0 if none."""
        return max(0.0, self.end - time.monotonic())


_REASONS = ((Never, "oversize"), (QueueFull, "queue_full"), (Closed, "closed"), (DeadlineExceeded, "limit"))


def _reason(error: Error) -> str:
    return next((reason for kind, reason in _REASONS if isinstance(error, kind)), "closed")


async def pass_levels(levels: Sequence[Level], cost: Cost, deadline: Deadline) -> Optional[ChainPermit]:
    """A permit of all levels, None where there are none. Raises Refused; cancelled, it gives everything back."""
    if not levels:
        return None
    try:
        return await Chain(*(level.limiter for level in levels)).acquire(*cost, timeout=deadline.left())
    except Error as error:
        raise Refused(levels[error.level or 0], _reason(error), cost) from None


async def pass_upstream(
    plan: Plan, nodes: dict[str, Node], cost: Cost, deadline: Deadline, key: Optional[str] = None
) -> Tuple[Node, Permit]:
    """An upstream and its permit: of these the one that admits the request soonest. Raises Refused."""
    router = plan.router(nodes)
    try:
        routed = await router.acquire(*cost, timeout=deadline.left(), key=key)
    except (Error, NoNode) as error:
        level = _closest(nodes, cost)
        raise Refused(level, _reason(error), cost) from None
    return nodes[str(routed.node.name)], routed.permit


def _closest(nodes: dict[str, Node], cost: Cost) -> Level:
    """The upstream that would admit it first."""

    def wait(node: Node) -> float:
        known = _wait(node.limiter, cost)
        return inf if known is None else known

    node = min(nodes.values(), key=wait)
    return Level("upstream", node.upstream.name, node.limiter, node.upstream.limits)
