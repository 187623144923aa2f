"""Limiters one above the other: a request needs all of them. The same over both backends."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any, Callable, Generator, Optional, SupportsIndex, Union

from ._args import FOREVER, Number, shown
from ._errors import ERR_DEADLINE, Error, from_status
from ._feedback import Advice, Headers
from ._hub import refuse_in_loop
from ._once import Once

if TYPE_CHECKING:
    from ._backend import Acquire, Limiter, Permit

_MOST_LEVELS = 8


def _name(level: int, error: BaseException) -> None:
    """Let an error say of which level it tells."""
    if isinstance(error, Error):
        error.level = level
        error.args = (f"level {level}: {error}",)


def _give_back(permits: list[Permit]) -> None:
    """Cancel them, the newest first: what most wait for comes back first."""
    try:
        while permits:
            permits.pop().cancel()
    finally:
        if permits:  # a signal handler has raised
            _give_back(permits)


def _failed(permits: list[Permit], error: BaseException) -> None:
    """The level above those of ``permits`` has admitted nothing."""
    _name(len(permits), error)
    _give_back(permits)


class _Cost:
    """What a request asks for at each level."""

    __slots__ = ("tokens", "rest")

    def __init__(
        self,
        input: SupportsIndex,
        output: SupportsIndex,
        requests: SupportsIndex,
        cached: SupportsIndex,
        cache_write: SupportsIndex,
    ) -> None:
        self.tokens = (input, output)
        self.rest = {"requests": requests, "cached": cached, "cache_write": cache_write}

    def waits(self, levels: tuple[Limiter, ...]) -> list[float]:
        """How long it would wait at each level. Takes nothing."""
        waits: list[float] = []
        try:
            for limiter in levels:
                waits.append(limiter.wait_time(*self.tokens, **self.rest))
        except Error as error:
            _name(len(waits), error)
            raise
        return waits

    def acquire(self, limiter: Limiter, timeout: Optional[Number]) -> Acquire:
        return limiter.acquire(*self.tokens, timeout=timeout, **self.rest)


class Chain:
    """One to eight limiters one above the other, the most private first, such as a user's, a team's, and that of the provider's
    key: a request needs all of them.

    >>> provider = Limiter(Limit.tokens(200_000), Limit.in_flight(50))
    >>> user = Limiter(Limit.tokens(10_000))
    >>> chain = Chain(user, provider)
    >>> with chain.acquire(input=9_000, output=1_000, timeout=30) as permit:
    ...     permit.settle(input=8_800, output=210)
    >>> chain.try_acquire(input=2_000) is None          # the user's tokens
    True

    At each level who comes first is served first. Whoever waits stands in one queue at a time, from the first to the last, and
    keeps what it has got below; so nobody takes from the shared limit before everything else is there. Whatever was taken is
    given back when a later level refuses, when the timeout has passed, and when the caller is cancelled or interrupted.

    Errors are those of ``Limiter``; their ``level`` says which limiter it was, 0 is the first. Chains cost nothing to make and
    hold nothing but their limiters, which may be those of a ``LimiterMap``. Any thread and any event loop may use one.
    """

    __slots__ = ("_levels",)

    def __init__(self, *limiters: Limiter) -> None:
        if not 1 <= len(limiters) <= _MOST_LEVELS:
            raise ValueError(f"a Chain takes 1 to {_MOST_LEVELS} limiters, the most private first, got {len(limiters)}")
        for level, limiter in enumerate(limiters):
            if not hasattr(limiter, "limits"):
                raise TypeError(f"level {level} must be a Limiter, got {type(limiter).__name__} {shown(limiter)}")
        self._levels = limiters

    def try_acquire(
        self,
        input: SupportsIndex = 0,
        output: SupportsIndex = 0,
        *,
        requests: SupportsIndex = 1,
        cached: SupportsIndex = 0,
        cache_write: SupportsIndex = 0,
    ) -> Optional[ChainPermit]:
        """Return a ChainPermit if every level admits the request now, None if not.

        Looks at all levels first; so it takes nothing from any, unless somebody else is faster in between.
        """
        cost = _Cost(input, output, requests, cached, cache_write)
        if any(cost.waits(self._levels)):
            return None
        permits: list[Permit] = []
        try:
            for limiter in self._levels:
                permit = limiter.try_acquire(*cost.tokens, **cost.rest)
                if permit is None:
                    _give_back(permits)
                    return None
                permits.append(permit)
        except BaseException as error:
            _failed(permits, error)
            raise
        return ChainPermit(permits, requests)

    def acquire(
        self,
        input: SupportsIndex = 0,
        output: SupportsIndex = 0,
        *,
        requests: SupportsIndex = 1,
        cached: SupportsIndex = 0,
        cache_write: SupportsIndex = 0,
        timeout: Optional[Number] = None,
    ) -> ChainAcquire:
        """Return an acquisition: await it, use it with ``with`` or ``async with``, or call ``wait()`` on it.

        ``timeout`` counts for all levels together; a request that cannot be in time at one of them is refused before any has given
        something. Everything else is as with ``Limiter.acquire``.
        """
        cost = _Cost(input, output, requests, cached, cache_write)
        # Begins nothing, but refuses what is wrong.
        timeout_ns = cost.acquire(self._levels[0], timeout)._timeout_ns
        return ChainAcquire(self._levels, cost, timeout_ns)

    def wait_time(
        self,
        input: SupportsIndex = 0,
        output: SupportsIndex = 0,
        *,
        requests: SupportsIndex = 1,
        cached: SupportsIndex = 0,
        cache_write: SupportsIndex = 0,
    ) -> float:
        """Seconds until all levels would admit the request if nobody else came: the longest of their times. Takes nothing."""
        return max(_Cost(input, output, requests, cached, cache_write).waits(self._levels))


class ChainAcquire(Once["ChainPermit"]):
    """An acquisition at all levels of a chain that begins when it is awaited, entered with ``with`` or ``async with``, or waited for."""

    __slots__ = ("_levels", "_cost", "_timeout_ns", "_end_ns")
    _maker = "chain"

    def __init__(self, levels: tuple[Limiter, ...], cost: _Cost, timeout_ns: int) -> None:
        super().__init__()
        self._levels = levels
        self._cost = cost
        self._timeout_ns = timeout_ns
        self._end_ns = 0

    def _begin(self, what: str) -> None:
        self._use(what)
        for level, wait in enumerate(self._cost.waits(self._levels)):
            if wait < inf and round(wait * 1e9) > self._timeout_ns:
                error = from_status(ERR_DEADLINE, "acquire")
                _name(level, error)
                raise error
        self._end_ns = self._levels[0]._hub.now_ns() + self._timeout_ns

    def _turn(self, limiter: Limiter) -> Acquire:
        """The acquisition at one level, with what is left of the time."""
        if self._timeout_ns == FOREVER:
            return self._cost.acquire(limiter, None)
        return self._cost.acquire(limiter, max(0, self._end_ns - self._levels[0]._hub.now_ns()) / 1e9)

    def wait(self) -> ChainPermit:
        """Block this thread until all levels have admitted the request, and return the ChainPermit.

        Raises DeadlineExceeded, QueueFull, Never or Closed, with their ``level``; RuntimeError in a thread whose event loop runs.
        """
        refuse_in_loop()
        self._begin("wait")
        permits: list[Permit] = []
        try:
            for limiter in self._levels:
                permits.append(self._turn(limiter).wait())
        except BaseException as error:
            _failed(permits, error)
            raise
        return ChainPermit(permits, self._cost.rest["requests"])

    # A generator, like that of an Acquire: one that is abandoned is closed, and gives everything back.
    def __await__(self) -> Generator[Any, None, ChainPermit]:
        self._begin("await")
        permits: list[Permit] = []
        try:
            for limiter in self._levels:
                permits.append((yield from self._turn(limiter).__await__()))
        except BaseException as error:
            _failed(permits, error)
            raise
        return ChainPermit(permits, self._cost.rest["requests"])

    def _permit_of(self, got: ChainPermit) -> ChainPermit:
        return got


class ChainPermit:
    """A request that all levels of a chain have admitted: as a ``Permit``, at each of them."""

    __slots__ = ("_permits", "_requests")

    def __init__(self, permits: list[Permit], requests: SupportsIndex) -> None:
        self._permits = permits
        self._requests = requests

    def __repr__(self) -> str:
        return f"<llmrl.ChainPermit {'held' if self.held else 'ended'}>"

    @property
    def held(self) -> bool:
        """True until the permit is settled, released or cancelled."""
        return any(permit.held for permit in self._permits)

    def _each(self, do: Callable[[Permit], None]) -> None:
        # The newest first, as when giving back. If it has ended, one of them is to say so.
        for permit in [permit for permit in reversed(self._permits) if permit.held] or self._permits[-1:]:
            do(permit)

    def settle(
        self,
        input: SupportsIndex,
        output: SupportsIndex,
        *,
        requests: SupportsIndex = 1,
        cached: SupportsIndex = 0,
        cache_write: SupportsIndex = 0,
    ) -> None:
        """End the permit: what was really used replaces the estimate at every level. Raises StalePermit when it has ended."""
        self._each(lambda permit: permit.settle(input, output, requests=requests, cached=cached, cache_write=cache_write))

    def adjust(
        self,
        input: SupportsIndex,
        output: SupportsIndex,
        *,
        requests: SupportsIndex = 1,
        cached: SupportsIndex = 0,
        cache_write: SupportsIndex = 0,
    ) -> None:
        """Replace the estimate at every level and go on holding the permit. Raises StalePermit when it has ended."""
        self._each(lambda permit: permit.adjust(input, output, requests=requests, cached=cached, cache_write=cache_write))
        self._requests = requests

    def release(self) -> None:
        """End the permit: the estimate stands, slots in flight are given back. Raises StalePermit when it has ended."""
        self._each(lambda permit: permit.release())

    def cancel(self) -> None:
        """End the permit and give everything back: the request was never sent. Raises StalePermit when it has ended."""
        self._each(lambda permit: permit.cancel())

    def feedback(
        self,
        status: SupportsIndex,
        headers: Headers,
        body: Union[str, bytes, bytearray, memoryview] = b"",
        *,
        now: Optional[Number] = None,
    ) -> Advice:
        """The provider has answered: the last level, which is the provider's, learns from it, as with ``Permit.feedback``.

        If it was refused, its tokens are given back at all levels. The permit stays held: release it, wait as the Advice says, and
        acquire another one.
        """
        *others, last = self._permits
        advice = last.feedback(status, headers, body, now=now)
        if advice.answer_class not in ("ok", "other"):
            for permit in others:
                permit.adjust(0, 0, requests=self._requests)
        return advice

    def __enter__(self) -> ChainPermit:
        if not self.held:
            self._permits[-1].__enter__()  # which says that it has ended
        return self

    def __exit__(self, *exc: object) -> None:
        if self.held:
            self.release()
