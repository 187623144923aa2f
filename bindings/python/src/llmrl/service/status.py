"""How the service stands: what the page shows, ``/v1/limits`` answers and ``/metrics`` has as gauges."""

from __future__ import annotations

import time
from collections import deque
from typing import Any, Iterator, Optional, Sequence

from .. import LimitState
from .metrics import Metrics, family
from .plan import Level, Plan
from .policy import limit_name, one_more

INTERVAL = 2.0
"""Seconds between two samples of the page's history."""
SAMPLES = 150
TOP = 10


def _used(state: LimitState) -> float:
    """The share of a limit that cannot be had now: 0 is unused, 1 all used, above 1 is debt."""
    if state.paused:
        return 1.0
    whole = state.burst or state.amount
    return max(0.0, 1 - state.available / whole)


def _limit(level: Level, state: LimitState) -> dict[str, Any]:
    return {
        "name": limit_name(level, state),
        "kind": state.kind,
        "meter": state.meter,
        "amount": state.amount,
        "per": state.per,
        "burst": state.burst,
        "available": state.available,
        "used": round(_used(state), 4),
        "paused": state.paused,
        "mode": state.mode,
    }


def level(of: Level) -> dict[str, Any]:
    """One level with its limits, its queue, and how long one more small request would wait there."""
    stats = of.limiter.stats()
    return {
        "level": of.kind,
        "name": of.name,
        "waiting": stats.waiting,
        "in_flight": stats.in_flight,
        "granted": stats.granted,
        "expected_wait": expected_wait(of),
        "limits": [_limit(of, state) for state in of.limiter.limits()],
    }


def expected_wait(of: Level) -> Optional[float]:
    """Seconds for which one more small request would wait; None if nobody knows."""
    wait = one_more(of, 1)
    return None if wait is None else round(wait, 3)


def levels(of: Sequence[Level]) -> dict[str, Any]:
    """What ``/v1/limits`` answers."""
    return {"object": "list", "data": [level(one) for one in of]}


class History:
    """Samples of the last five minutes: how much of each limit is used, who waits, what was refused."""

    def __init__(self, metrics: Metrics) -> None:
        self.metrics = metrics
        self.samples: deque[dict[str, Any]] = deque(maxlen=SAMPLES)
        self.active = 0

    def sample(self, plan: Plan) -> None:
        """Take one."""
        used = {
            f"{of.kind}/{of.name}/{index}": round(_used(state), 3)
            for of in plan.shared_levels()
            for index, state in enumerate(of.limiter.limits())
        }
        answers = self.metrics.answers.values.items()
        self.samples.append(
            {
                "at": round(time.time(), 1),
                "used": used,
                "waiting": self.waiting(plan),
                "active": self.active,
                "requests": self.metrics.requests.total(),
                "refused": self.metrics.refusals.total(),
                "throttled": sum(count for (_, answer), count in answers if answer in ("rate", "concurrency", "long", "overload")),
            }
        )

    @staticmethod
    def waiting(plan: Plan) -> int:
        """Requests that wait anywhere."""
        # One that waits for a router stands in the queues of several upstreams: the longest of them counts.
        shared = [of for of in plan.shared_levels()]
        upstream = max((of.limiter.stats().waiting for of in shared if of.kind == "upstream"), default=0)
        users = plan.users.stats().waiting if plan.users else 0
        return users + upstream + sum(of.limiter.stats().waiting for of in shared if of.kind != "upstream")

    def status(self, plan: Plan) -> dict[str, Any]:
        """What the page asks for."""
        return {
            "now": round(time.time(), 1),
            "interval": INTERVAL,
            "active": self.active,
            "waiting": self.waiting(plan),
            "policy": plan.config.admission.policy,
            "max_wait": plan.config.admission.max_wait,
            "levels": [level(of) for of in plan.shared_levels()],
            "users": _users(plan),
            "requests": _by_labels(self.metrics.requests.values),
            "refusals": _by_labels(self.metrics.refusals.values),
            "answers": _by_labels(self.metrics.answers.values),
            "history": list(self.samples),
        }


def _by_labels(values: dict[Any, float]) -> list[list[Any]]:
    return [[*labels, count] for labels, count in sorted(values.items())]


def _users(plan: Plan) -> Optional[dict[str, Any]]:
    if plan.users is None or plan.config.users is None:
        return None
    stats = plan.users.stats()
    top = []
    for key in plan.users.top(TOP):
        name = key.key.decode("utf-8", "replace")
        one = {"user": name, "granted": key.granted, "waiting": key.waiting}
        if key.key_size == len(key.key):
            of = Level("user", name, plan.users.limiter(key.key), plan.config.users.limits)
            one["limits"] = [_limit(of, state) for state in of.limiter.limits()]
        top.append(one)
    return {"known": stats.keys, "capacity": plan.config.users.capacity, "waiting": stats.waiting, "top": top}


def gauges(plan: Plan, active: int) -> str:
    """The state of the limits for ``/metrics``."""
    states = [
        ((of.kind, of.name, limit_name(of, state), str(index)), state)
        for of in plan.shared_levels()
        for index, state in enumerate(of.limiter.limits())
    ]
    labels = ("level", "name", "limit", "index")
    text = family("llmrl_limit_amount", "gauge", "The limit as it is in force now.", labels, ((l, s.amount) for l, s in states))
    text += family("llmrl_limit_available", "gauge", "What could be admitted now.", labels, ((l, s.available) for l, s in states))
    text += family(
        "llmrl_limit_paused_seconds", "gauge", "For how long it still admits nothing.", labels, ((l, s.paused) for l, s in states)
    )
    shared = list(plan.shared_levels())
    waiting = (((of.kind, of.name), of.limiter.stats().waiting) for of in shared)
    text += family("llmrl_waiting", "gauge", "Requests in the queue.", ("level", "name"), waiting)
    known = (((of.kind, of.name), wait) for of, wait in _expected(shared))
    text += family("llmrl_expected_wait_seconds", "gauge", "How long one more request would wait.", ("level", "name"), known)
    text += family("llmrl_requests_active", "gauge", "Requests that wait or are being answered.", (), [((), active)])
    if plan.users is not None:
        stats = plan.users.stats()
        text += family("llmrl_users", "gauge", "Users with limits of their own.", (), [((), stats.keys)])
        text += family("llmrl_users_waiting", "gauge", "Requests that wait for the limits of their user.", (), [((), stats.waiting)])
        text += family("llmrl_users_evicted_total", "counter", "Users that were forgotten.", (), [((), stats.evictions)])
    return text


def _expected(shared: Sequence[Level]) -> Iterator[Any]:
    for of in shared:
        wait = expected_wait(of)
        if wait is not None:
            yield of, wait
