"""What the acquisitions of a limiter, a router and a chain have in common: each is for one request, and has a block."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Generator, Generic, Optional, Protocol, TypeVar

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
