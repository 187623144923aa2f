"""What the acquisitions of a limiter, a router, a chain and a fair queue have in common: each is for one request, and has a block."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Generator, Generic, Optional, Protocol, TypeVar

from ._hub import Hub, refuse_in_loop

T = TypeVar("T")


class Ends(Protocol):
    """What a block releases."""

    @property
    def held(self) -> bool: ...

    def release(self) -> None: ...


class Once(ABC, Generic[T]):
    """Begins when it is awaited, entered with ``with`` or ``async with``, or waited for, and only once."""

    __slots__ = ("_used", "_permit")
    _maker: str

    def __init__(self) -> None:
        self._used = False
        self._permit: Optional[Ends] = None

    def _use(self, what: str) -> None:
        if self._used:
            raise RuntimeError(f"{what}: this acquisition was used before; call {self._maker}.acquire() once for each request")
        self._used = True

    @abstractmethod
    def wait(self) -> T:
        """Block this thread until admitted."""

    @abstractmethod
    def __await__(self) -> Generator[Any, None, T]: ...

    @abstractmethod
    def _permit_of(self, got: T) -> Ends:
        """What is released at the end of a block."""

    def __enter__(self) -> T:
        got = self.wait()
        self._permit = self._permit_of(got)
        return got

    def __exit__(self, *exc: object) -> None:
        permit, self._permit = self._permit, None
        if permit is not None and permit.held:
            permit.release()

    async def __aenter__(self) -> T:
        got = await self
        self._permit = self._permit_of(got)
        return got

    async def __aexit__(self, *exc: object) -> None:
        self.__exit__()


class Queued(Once[T]):
    """One with a ticket of its own, which waits for that at a hub: a ``Turn``."""

    __slots__ = ()
    _timeout_ns: int

    @property
    @abstractmethod
    def _hub(self) -> Hub: ...

    @property
    @abstractmethod
    def _ticket(self) -> int: ...

    @property
    @abstractmethod
    def _line(self) -> object: ...

    @abstractmethod
    def _begin(self, what: str) -> Optional[T]:
        """Take a place: what was admitted if it was at once."""

    @abstractmethod
    def _poll(self) -> Optional[int]: ...

    @abstractmethod
    def _drop(self) -> None: ...

    @abstractmethod
    def _take(self) -> T:
        """What the ticket has become."""

    def wait(self) -> T:
        """Block this thread until admitted, and return what ``await`` does.

        Raises DeadlineExceeded, QueueFull, Never or Closed; RuntimeError in a thread whose event loop runs.
        """
        refuse_in_loop()
        got = self._begin("wait")
        if got is None:
            self._hub.block(self)
            got = self._take()
        return got

    def __await__(self) -> Generator[Any, None, T]:
        got = self._begin("await")
        if got is None:
            got = yield from self._hub.wait(self)
        return got
