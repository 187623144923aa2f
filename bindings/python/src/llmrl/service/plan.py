"""The limiters of a configuration: who has to pass which of them, and which upstreams there are.

A Plan is never changed. A new configuration makes a new one, which takes over the limiters that it can; requests keep the
plan that they began with until they end.
"""

from __future__ import annotations

import hmac
import os
from hashlib import blake2b
from typing import Iterator, Mapping, NamedTuple, Optional, Tuple

from .. import Limiter, LimiterMap, Router
from .._map import kind_of
from .._types import FIXED_WINDOW, IN_FLIGHT, TOKEN_BUCKET
from .config import Config, Limits, Secret, Upstream, Users

_MOST_ROUTERS = 256


class Level(NamedTuple):
    """One limiter that a request has to pass, and what to call it."""

    kind: str
    """``user``, ``model``, ``global`` or ``upstream``."""
    name: str
    """Which user, model or upstream; empty for ``global``."""
    limiter: Limiter
    limits: Limits
    """As configured; what is in force now is ``limiter.limits()``."""


class Node(NamedTuple):
    """An upstream and its limiter."""

    upstream: Upstream
    limiter: Limiter


class Clients:
    """Clients by key. Found by a keyed hash, so that the time which that takes says nothing about any key."""

    __slots__ = ("_secret", "_names")

    def __init__(self, keys: Mapping[str, Secret]) -> None:
        self._secret = os.urandom(32)
        self._names = {self._digest(key.reveal()): name for name, key in keys.items()}

    def _digest(self, key: str) -> bytes:
        return blake2b(key.encode("utf-8", "surrogateescape"), key=self._secret, digest_size=32).digest()

    def name(self, key: str) -> Optional[str]:
        """Whose key it is; None if nobody's."""
        return self._names.get(self._digest(key))


def same(key: Secret, offered: str) -> bool:
    """Whether it is that key, in constant time."""
    return hmac.compare_digest(key.reveal().encode(), offered.encode("utf-8", "surrogateescape"))


class Plan:
    """The limiters of ``config``; those of ``old`` go on, retuned in place, where they can. ``notes`` says where they could not."""

    def __init__(self, config: Config, old: Optional[Plan] = None) -> None:
        self.config = config
        self.notes: list[str] = []
        self.clients = None if config.clients is None else Clients(config.clients)
        self.all: Optional[Level] = self._level("global", "", config.all, old.all if old else None) if config.all else None
        self.models: Mapping[str, Level] = {
            name: self._level("model", name, limits, old.models.get(name) if old else None) for name, limits in config.models.items()
        }
        self.users = self._users(config.users, old)
        before = {node.upstream.name: node for node in old.nodes} if old else {}
        self.nodes: Tuple[Node, ...] = tuple(self._node(upstream, before.get(upstream.name)) for upstream in config.upstreams)
        self._routers: dict[frozenset[str], Router] = {}

    def _limiter(self, where: str, limits: Limits, raise_limits: bool, old: Optional[Limiter], was: Limits) -> Limiter:
        if old is not None:
            if _retuned(old, was, limits):
                return old
            self.notes.append(f"{where}: its limits are of other kinds, and begin anew")
        return Limiter(*limits, max_waiters=self.config.admission.max_waiting, raise_limits=raise_limits)

    def _level(self, kind: str, name: str, limits: Limits, old: Optional[Level]) -> Level:
        where = f"{kind} {name}".rstrip()
        return Level(kind, name, self._limiter(where, limits, False, old and old.limiter, old.limits if old else ()), limits)

    def _node(self, upstream: Upstream, old: Optional[Node]) -> Node:
        if old is not None and old.upstream.raise_limits != upstream.raise_limits:
            self.notes.append(f"upstream {upstream.name}: raise_limits is another, and its limits begin anew")
            old = None
        was = old.upstream.limits if old else ()
        limiter = self._limiter(f"upstream {upstream.name}", upstream.limits, upstream.raise_limits, old and old.limiter, was)
        return Node(upstream, limiter)

    def _users(self, users: Optional[Users], old: Optional[Plan]) -> Optional[LimiterMap]:
        if users is None:
            return None
        before = old.config.users if old else None
        if old is not None and old.users is not None and before is not None:
            if _numbers(before.limits) == _numbers(users.limits) and before.capacity == users.capacity:
                for name in before.named.keys() - users.named.keys():
                    old.users.set_limits(name)
                for name, limits in users.named.items():
                    old.users.set_limits(name, *limits)
                return old.users
            self.notes.append("users: limits or capacity are others, and each user begins anew")
        waiting = self.config.admission.max_waiting
        made = LimiterMap(*users.limits, capacity=users.capacity, max_waiters=waiting, max_permits=max(1024, waiting))
        for name, limits in users.named.items():
            made.set_limits(name, *limits)
        return made

    def levels(self, user: str, model: str) -> Tuple[Level, ...]:
        """What a request passes before its upstream, the most private first."""
        found = []
        if self.users is not None and self.config.users is not None:
            limits = self.config.users.named.get(user, self.config.users.limits)
            found.append(Level("user", user, self.users.limiter(user), limits))
        if model in self.models:
            found.append(self.models[model])
        if self.all is not None:
            found.append(self.all)
        return tuple(found)

    def serving(self, model: str, without: frozenset[str] = frozenset()) -> dict[str, Node]:
        """The upstreams of a model by name, less some; with these if there are no others."""
        nodes = {
            node.upstream.name: node
            for node in self.nodes
            if node.upstream.weight and (node.upstream.models is None or model in node.upstream.models)
        }
        return {name: node for name, node in nodes.items() if name not in without} or nodes

    def router(self, nodes: Mapping[str, Node]) -> Router:
        """What admits a request at one of these."""
        names = frozenset(nodes)
        router = self._routers.get(names)
        if router is None:
            if len(self._routers) >= _MOST_ROUTERS:
                self._routers.clear()
            router = self._routers[names] = Router()
            for name, node in nodes.items():
                router.add(name, node.limiter, node.upstream.weight)
        return router

    def shared_levels(self) -> Iterator[Level]:
        """All limiters but those of users."""
        if self.all is not None:
            yield self.all
        yield from self.models.values()
        for node in self.nodes:
            yield Level("upstream", node.upstream.name, node.limiter, node.upstream.limits)


def _numbers(limits: Limits) -> list[Tuple[object, ...]]:
    """What of limits a new file may change: not when a window ends, which depends on when the file was read."""
    return [(kind_of(limit), limit._fields.amount, limit._fields.period_ns, limit._fields.burst) for limit in limits]


def _retuned(limiter: Limiter, old: Limits, new: Limits) -> bool:
    """Give a limiter other numbers, if that is all that is different."""
    if [kind_of(limit) for limit in old] != [kind_of(limit) for limit in new]:
        return False
    try:
        for index, (was, limit) in enumerate(zip(_numbers(old), new)):
            fields = limit._fields
            if was == _numbers((limit,))[0]:
                continue  # what it has learned from answers stays, too
            per = 60.0 if fields.kind == IN_FLIGHT else fields.period_ns / 1e9
            limiter.retune(index, fields.amount, per, fields.burst if fields.kind == TOKEN_BUCKET else None)
            if fields.kind == FIXED_WINDOW:
                limiter.align(index, fields.resets_in_ns / 1e9)
    except ValueError:  # pacing, to more than a thousand times the rate it was made with
        return False
    return True
