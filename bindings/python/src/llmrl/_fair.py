"""Fair shares of one limiter, by key; shared by both backends.

A backend has two types of its own: ``RawFair``, the library's queue, and ``FairSlip``, which owns the ticket or the permit that one
request has of it, and gives it back when it dies. Waiting is the hub's, as for a single limiter.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Optional, SupportsIndex, Union

from . import _args
from ._args import FOREVER, MAX_TABLE, Number, shown, whole
from ._backend import FairSlip, RawFair
from ._errors import ERR_STALE, OK, PENDING, from_status
from ._feedback import Advice, Headers
from ._hub import Hub, adopt
from ._map import MAX_KEY
from ._once import Queued
from ._types import FairStats, Key

if TYPE_CHECKING:
    from ._backend import Limiter

MAX_WEIGHT = 1_000_000
_MOST_PASSES = 2**32 - 1
# As in llmrl_share.flags.
_BATCH = 1


class FairQueue:
    """A limiter that many share, each by weight.

    >>> provider = Limiter(Limit.tokens(200_000))
    >>> fair = FairQueue(provider)
    >>> with fair.acquire("alice", input=1_200, output=400, weight=3) as permit:
    ...     permit.settle(input=1_180, output=212)
    >>> with fair.acquire("nightly job", input=1_200, output=400, batch=True):
    ...     pass

    A limiter's own queue serves who comes first: whoever sends a thousand requests has a thousand places in it. Here each key (a
    user, a tenant, a job) gets its share, however much it asks for: while keys wait, what they get in tokens is as their weights,
    to within one request of each. What one does not use goes to the others. Within a key who comes first is served first.

    Requests with ``batch=True`` come after all others, and by shares of their own; one that has waited for ``aging`` seconds counts
    as one of the others (None: never). With ``passes`` a small request need not wait for a large one: so many may pass one that
    waits for its tokens, each an eighth of it or less. ``max_waiters`` and ``max_permits``, 1 to 2**20: how many may wait, and how
    many permits may be held at once.

    Shares are counted by the estimates, and put right when permits are settled, adjusted or cancelled. The one whose turn it is
    stands in the limiter's own queue: who uses the limiter directly is one more who stands there. Make one queue for a limiter.
    Any thread and any event loop may use it.
    """

    __slots__ = ("_raw", "_hub", "_limiter", "_in_flight", "__weakref__")

    def __init__(
        self,
        limiter: Limiter,
        *,
        aging: Optional[Number] = 60.0,
        passes: SupportsIndex = 0,
        max_waiters: SupportsIndex = 65536,
        max_permits: SupportsIndex = 65536,
    ) -> None:
        if not hasattr(limiter, "_hub") or not hasattr(limiter, "limits"):
            raise TypeError(f"limiter must be a Limiter, got {type(limiter).__name__} {shown(limiter)}")
        # 0 is the library's default; a nanosecond is at once.
        aging_ns = max(1, _args.timeout_ns(aging, "aging"))
        number = whole("passes", passes, 0, _MOST_PASSES)
        waiters = whole("max_waiters", max_waiters, 1, MAX_TABLE)
        permits = whole("max_permits", max_permits, 1, MAX_TABLE)
        self._limiter = limiter
        self._in_flight = any(state.kind == "in_flight" for state in limiter.limits())
        self._hub = Hub(limiter._hub.clock)
        self._raw = RawFair(limiter, aging_ns, number, waiters, permits, self._hub)
        adopt(self)

    @property
    def limiter(self) -> Limiter:
        """What is shared."""
        return self._limiter

    def try_acquire(
        self,
        input: SupportsIndex = 0,
        output: SupportsIndex = 0,
        *,
        requests: SupportsIndex = 1,
        cached: SupportsIndex = 0,
        cache_write: SupportsIndex = 0,
    ) -> Optional[FairPermit]:
        """Return a FairPermit if the request is admitted now, None if not; always None while others wait.

        Without a key: who does not wait is charged nothing. Raises Never, Closed, QueueFull.
        """
        slip = FairSlip(self._raw, _args.cost(input, output, requests, cached, cache_write), None, 0, 0, FOREVER)
        return FairPermit(self, slip) if slip.ask() == OK else None

    def acquire(
        self,
        key: Key,
        input: SupportsIndex = 0,
        output: SupportsIndex = 0,
        *,
        requests: SupportsIndex = 1,
        cached: SupportsIndex = 0,
        cache_write: SupportsIndex = 0,
        weight: SupportsIndex = 1,
        batch: bool = False,
        timeout: Optional[Number] = None,
    ) -> FairAcquire:
        """Return an acquisition on the account of ``key``: await it, use it with ``with`` or ``async with``, or call ``wait()`` on it.

        ``key``: 1 to 1024 bytes, as they are or as UTF-8. ``weight``, 1 to 1000000: how much it gets beside others; it counts for
        this request, and others of the same key may have another one. Everything else is as with ``Limiter.acquire``.
        """
        cost = _args.cost(input, output, requests, cached, cache_write)
        name = _args.key(key, MAX_KEY)
        part = whole("weight", weight, 1, MAX_WEIGHT)
        timeout_ns = _args.timeout_ns(timeout)
        return FairAcquire(self, FairSlip(self._raw, cost, name, part, _BATCH if batch else 0, timeout_ns), timeout_ns)

    def stats(self) -> FairStats:
        """Return FairStats: who waits, and what has aged and passed."""
        return FairStats._make(self._raw.stats())

    def _end(self) -> None:
        """Nothing to close: its limiter is."""


class FairAcquire(Queued["FairPermit"]):
    """An acquisition that begins when it is awaited, entered with ``with`` or ``async with``, or waited for. Made by a FairQueue."""

    __slots__ = ("_queue", "_slip", "_timeout_ns")
    _maker = "fair"

    def __init__(self, queue: FairQueue, slip: FairSlip, timeout_ns: int) -> None:
        super().__init__()
        self._queue = queue
        self._slip: Optional[FairSlip] = slip
        self._timeout_ns = timeout_ns

    @property
    def _own(self) -> FairSlip:
        slip = self._slip
        if slip is None:
            raise from_status(ERR_STALE, "acquire", self._queue._limiter)
        return slip

    @property
    def _hub(self) -> Hub:
        return self._queue._hub

    @property
    def _ticket(self) -> int:
        return self._own.number

    @property
    def _line(self) -> object:
        # Who came earlier need not be served earlier.
        return self

    def _begin(self, what: str) -> Optional[FairPermit]:
        """Take a place in the queue: the permit if admitted at once."""
        self._use(what)
        return self._take() if self._own.begin() == OK else None

    def _poll(self) -> Optional[int]:
        slip = self._own
        return slip.wait_ns if slip.poll() == PENDING else None

    def _drop(self) -> None:
        if self._slip is not None:
            self._slip.drop()

    def _take(self) -> FairPermit:
        permit = FairPermit(self._queue, self._own)
        self._slip = None
        return permit

    def _permit_of(self, got: FairPermit) -> FairPermit:
        return got


class FairPermit:
    """A request that a fair queue has admitted: as a ``Permit``. What ends it puts the share of its key right, too."""

    __slots__ = ("_queue", "_slip")

    def __init__(self, queue: FairQueue, slip: FairSlip) -> None:
        self._queue = queue
        self._slip = slip

    def __repr__(self) -> str:
        return f"<llmrl.FairPermit {'held' if self.held else 'ended'}>"

    @property
    def held(self) -> bool:
        """True until the permit is settled, released or cancelled."""
        return self._slip.number != 0

    def settle(
        self,
        input: SupportsIndex,
        output: SupportsIndex,
        *,
        requests: SupportsIndex = 1,
        cached: SupportsIndex = 0,
        cache_write: SupportsIndex = 0,
    ) -> None:
        """End the permit: what was really used replaces the estimate. Raises StalePermit when it has ended."""
        self._slip.settle(*_args.cost(input, output, requests, cached, cache_write))

    def adjust(
        self,
        input: SupportsIndex,
        output: SupportsIndex,
        *,
        requests: SupportsIndex = 1,
        cached: SupportsIndex = 0,
        cache_write: SupportsIndex = 0,
    ) -> None:
        """Replace the estimate and go on holding the permit. Raises StalePermit when it has ended."""
        self._slip.adjust(*_args.cost(input, output, requests, cached, cache_write))

    def release(self) -> None:
        """End the permit: the estimate stands, the slot in flight is given back. Raises StalePermit when it has ended."""
        self._slip.release()

    def cancel(self) -> None:
        """End the permit and give everything back: the request was never sent. Raises StalePermit when it has ended."""
        self._slip.cancel()

    def feedback(
        self,
        status: SupportsIndex,
        headers: Headers,
        body: Union[str, bytes, bytearray, memoryview] = b"",
        *,
        now: Optional[Number] = None,
    ) -> Advice:
        """The provider has answered this request: the limiter learns from it, as with ``Permit.feedback``."""
        return self._slip.feedback(status, headers, body, now=now)

    def __enter__(self) -> FairPermit:
        if not self.held:
            raise from_status(ERR_STALE, "with", self._queue._limiter)
        return self

    def __exit__(self, *exc: object) -> None:
        if self.held:
            self.release()

    def __del__(self) -> None:
        # Dropped without a word: the estimate stands, the slot is given back.
        if not hasattr(self, "_slip") or not self.held:
            return
        self.release()
        if self._queue._in_flight:
            warnings.warn(
                "llmrl: a permit of a limiter with an in-flight limit was dropped while held, which frees its slot; "
                "use 'with' / 'async with', or settle(), release() or cancel() it",
                ResourceWarning,
                stacklevel=1,
            )
