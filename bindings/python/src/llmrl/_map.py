"""Limiters by key: one for each user, team or model, the same over both backends."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Optional, SupportsIndex
from weakref import WeakValueDictionary

from . import _args, _limit
from ._args import shown, whole
from ._backend import Map
from ._errors import MapFull, closed
from ._hub import Hub, adopt
from ._limit import Limit
from ._types import Key, KeyStats, MapStats

if TYPE_CHECKING:
    from ._backend import Limiter, ManualClock

MAX_KEY = 1024
_MOST_KEYS = 2**24
_MOST_SHARED = 2**16
_MOST_TOP = 1000
# As the numbers of llmrl_map_top().
_BY = ("use", "waiting")


def kind_of(limit: Limit) -> tuple[object, ...]:
    """What a limit of a key must have in common with that of the map."""
    fields = limit._fields
    return fields.kind, fields.meter, fields.weights, fields.resolution, fields.flags & _limit.WHEN_FULL


class LimiterMap:
    """Limiters by key, one for each user, team or model, made of ``limits`` when it is first asked for, in bounded memory.

    >>> users = LimiterMap(Limit.requests(60), Limit.tokens(40_000), capacity=10_000)
    >>> users.set_limits("alice", Limit.requests(600), Limit.tokens(400_000))
    >>> alice = users.limiter("alice")              # keep it while she is active
    >>> with alice.acquire(input=300_000) as permit:
    ...     permit.settle(input=290_000, output=512)
    >>> users.limiter("bob").limits()[1].amount
    40000
    >>> users.top(1)
    [KeyStats(key=b'alice', key_size=5, granted=1, refused=0, waiting=0, in_flight=0)]

    ``capacity``: limiters that are kept, 1 to 2**24. One is evicted only when nobody can tell it from a new one: full, idle,
    nobody waiting, nothing held, no pause, and no ``Limiter`` of it anywhere; so no key gets a fresh budget by having been
    forgotten. ``shared``: so many limiters more, 1 to 2**16, serve all keys for which there is no room: such a key may get less
    than its limits, never more. With 0 they are refused (``MapFull``). The other arguments are those of ``Limiter``;
    ``max_waiters`` and ``max_permits`` are for each key.

    Any thread and any event loop may use it. ``limiter`` takes about a microsecond for a key whose ``Limiter`` somebody
    keeps, else tens of them; ``stats`` and ``top`` take a tenth of one for each key, during which no Python code runs elsewhere.
    """

    __slots__ = ("_map", "_hub", "_limits", "_capacity", "_limiters", "_making", "__weakref__")

    def __init__(
        self,
        *limits: Limit,
        capacity: SupportsIndex = 65536,
        shared: SupportsIndex = 16,
        max_waiters: SupportsIndex = 256,
        max_permits: SupportsIndex = 256,
        clock: Optional[ManualClock] = None,
        raise_limits: bool = False,
    ) -> None:
        packed, count, waiters, permits, _, _, flags = _limit.options(
            *limits, max_waiters=max_waiters, max_permits=max_permits, raise_limits=raise_limits
        )
        self._limits = limits
        self._capacity = whole("capacity", capacity, 1, _MOST_KEYS)
        sharing = whole("shared", shared, 0, _MOST_SHARED)
        self._hub = Hub(clock)
        self._map = Map(packed, count, waiters, permits, clock, flags, self._capacity, sharing, self._hub)
        self._limiters: WeakValueDictionary[bytes, Limiter] = WeakValueDictionary()
        # A finalizer or a signal handler may ask for a limiter while this thread makes one.
        self._making = threading.RLock()
        adopt(self)

    def limiter(self, key: Key) -> Limiter:
        """The limiter of ``key``, 1 to 1024 bytes as they are or as UTF-8; the same object as long as somebody refers to it.

        What was used is known when nobody does, and so is who waits or holds a permit, which refer to it. Keep it while the key is
        active: making it takes memory for ``max_waiters`` and ``max_permits``, 64 bytes each.

        Its ``is_shared`` says whether it serves other keys too, because there was no room. To ``close()`` it closes it for all.

        Raises MapFull, Closed; ValueError or TypeError for the key.
        """
        name = _args.key(key, MAX_KEY)
        # Before the lock, which a fork may have left in the hands of a thread that is not here.
        if self._hub.closed_by:
            raise closed("limiter", self._hub.closed_by, "LimiterMap")
        return self._limiters.get(name) or self._make(name)

    def _make(self, name: bytes) -> Limiter:
        with self._making:
            limiter = self._limiters.get(name)
            if limiter is None:
                limiter = self._map.limiter(name, self._hub.branch())
                if limiter is None:
                    raise MapFull(
                        f"limiter: the map is full: each of its {self._capacity} limiters is in use; ask again later, or create the "
                        "map with a larger capacity, or with shared=16 so that keys without room share"
                    )
                self._limiters[name] = limiter
            return limiter

    def set_limits(self, key: Key, *limits: Limit) -> None:
        """Give ``key`` limits of its own, of the same kinds and meters as the map's and in the same order; none: the map's again.

        Who waits is re-timed, and what was used stays used. They are remembered until they are taken back, whether the key is in
        use or not; a shared limiter keeps to the map's.

        Raises ValueError or TypeError that names what is wrong.
        """
        name = _args.key(key, MAX_KEY)
        if limits and len(limits) != len(self._limits):
            raise ValueError(f"set_limits takes {len(self._limits)} limits, as the map has, or none; got {len(limits)}")
        for index, (limit, ours) in enumerate(zip(limits, self._limits)):
            if not isinstance(limit, Limit):
                raise TypeError(f"limit {index} must be a Limit such as {ours!r}, got {type(limit).__name__} {shown(limit)}")
            if kind_of(limit) != kind_of(ours):
                raise ValueError(f"limit {index} must be of the kind and meter of the map's, {ours!r}, got {limit!r}")
        self._map.set_limits(name, b"".join(limit._fields.pack() for limit in limits), len(limits))

    def stats(self) -> MapStats:
        """Return MapStats: sums over all limiters."""
        return MapStats._make(self._map.stats())

    def top(self, n: SupportsIndex = 10, by: str = "use") -> list[KeyStats]:
        """The ``n`` keys (1 to 1000) with most acquisitions admitted (``by="use"``) or most that wait now (``by="waiting"``), most
        first; only those with any, and none that share."""
        number = whole("n", n, 1, _MOST_TOP)
        if by not in _BY:
            raise ValueError(f"by must be 'use' or 'waiting', got {shown(by)}")
        return [KeyStats._make(key) for key in self._map.top(number, _BY.index(by))]

    def close(self) -> None:
        """Close every limiter, and refuse whatever comes; permits may still be settled."""
        if self._hub.closed_by:
            return
        with self._making:
            self._hub.closed_by = "close"
            for limiter in self._limiters.values():
                limiter._hub.closed_by = "close"
        self._end()

    def _end(self) -> None:
        self._map.close()
