# The C extension. Docstrings stand in the C sources, and, word for word where it matters, in _ctypes.py.
from types import TracebackType
from typing import Any, Generator, Optional, SupportsIndex, Union, final

from ._feedback import Advice, Headers, Reading
from ._hub import Hub
from ._limit import Limit
from ._types import LimitState, Stats

library_version: str

def read_answer(
    status: SupportsIndex,
    headers: Headers,
    body: Union[str, bytes, bytearray, memoryview] = b"",
    *,
    now: Optional[Union[int, float]] = None,
) -> Reading: ...

def charging_of(name: str, /) -> Optional[tuple[int, int, int, int]]: ...
def charging_cost(
    rule: tuple[int, int, int, int], request: tuple[int, int, int, int], used: Optional[tuple[int, int, int]], /
) -> tuple[int, int]: ...
@final
class ManualClock:
    def __new__(cls, start: Union[int, float] = 0) -> ManualClock: ...
    def advance(self, seconds: Union[int, float], /) -> None: ...
    def advance_ns(self, ns: SupportsIndex, /) -> None: ...
    def now_ns(self) -> int: ...

@final
class Map:
    def __new__(
        cls,
        packed: bytes,
        count: int,
        max_waiters: int,
        max_permits: int,
        clock: object,
        flags: int,
        capacity: int,
        shared: int,
        hub: Hub,
        /,
    ) -> Map: ...
    def limiter(self, key: bytes, hub: Hub, /) -> Optional[Limiter]: ...
    def set_limits(self, key: bytes, packed: bytes, count: int, /) -> None: ...
    def stats(self) -> tuple[int, ...]: ...
    def top(self, n: int, by: int, /) -> list[tuple[bytes, int, int, int, int, int]]: ...
    def close(self) -> None: ...

@final
class TokenBucket:
    def __new__(
        cls,
        amount: SupportsIndex,
        per: Union[int, float] = 60.0,
        burst: Optional[SupportsIndex] = None,
        clock: Optional[ManualClock] = None,
        *,
        oversize: str = "reject",
        start_empty: bool = False,
    ) -> TokenBucket: ...
    def try_take(self, n: SupportsIndex = 1, /) -> bool: ...
    def wait_time(self, n: SupportsIndex = 1, /) -> float: ...
    def refund(self, n: SupportsIndex, /) -> None: ...
    def charge(self, n: SupportsIndex, /) -> None: ...
    def retune(self, amount: SupportsIndex, per: Union[int, float] = 60.0, burst: Optional[SupportsIndex] = None) -> None: ...
    def pause(self, seconds: Union[int, float], /) -> None: ...
    @property
    def available(self) -> int: ...

@final
class Permit:
    def settle(
        self,
        input: SupportsIndex,
        output: SupportsIndex,
        *,
        requests: SupportsIndex = 1,
        cached: SupportsIndex = 0,
        cache_write: SupportsIndex = 0,
    ) -> None: ...
    def adjust(
        self,
        input: SupportsIndex,
        output: SupportsIndex,
        *,
        requests: SupportsIndex = 1,
        cached: SupportsIndex = 0,
        cache_write: SupportsIndex = 0,
    ) -> None: ...
    def feedback(
        self,
        status: SupportsIndex,
        headers: Headers,
        body: Union[str, bytes, bytearray, memoryview] = b"",
        *,
        now: Optional[Union[int, float]] = None,
    ) -> Advice: ...
    def release(self) -> None: ...
    def cancel(self) -> None: ...
    @property
    def held(self) -> bool: ...
    def __enter__(self) -> Permit: ...
    def __exit__(
        self, exc_type: Optional[type[BaseException]], exc: Optional[BaseException], traceback: Optional[TracebackType], /
    ) -> None: ...

@final
class Acquire:
    def wait(self) -> Permit: ...
    def __enter__(self) -> Permit: ...
    def __exit__(
        self, exc_type: Optional[type[BaseException]], exc: Optional[BaseException], traceback: Optional[TracebackType], /
    ) -> None: ...
    def __await__(self) -> Generator[Any, None, Permit]: ...
    async def __aenter__(self) -> Permit: ...
    async def __aexit__(
        self, exc_type: Optional[type[BaseException]], exc: Optional[BaseException], traceback: Optional[TracebackType], /
    ) -> None: ...
    @property
    def _ticket(self) -> int: ...
    @property
    def _timeout_ns(self) -> int: ...
    def _poll(self) -> Optional[int]: ...
    def _drop(self) -> None: ...
    def _take(self) -> Permit: ...

@final
class Limiter:
    def __new__(
        cls,
        *limits: Limit,
        max_waiters: SupportsIndex = 65536,
        max_permits: SupportsIndex = 65536,
        clock: Optional[ManualClock] = None,
        saved: Optional[bytes] = None,
        raise_limits: bool = False,
    ) -> Limiter: ...
    def try_acquire(
        self,
        input: SupportsIndex = 0,
        output: SupportsIndex = 0,
        *,
        requests: SupportsIndex = 1,
        cached: SupportsIndex = 0,
        cache_write: SupportsIndex = 0,
    ) -> Optional[Permit]: ...
    def acquire(
        self,
        input: SupportsIndex = 0,
        output: SupportsIndex = 0,
        *,
        requests: SupportsIndex = 1,
        cached: SupportsIndex = 0,
        cache_write: SupportsIndex = 0,
        timeout: Union[int, float, None] = None,
    ) -> Acquire: ...
    def wait_time(
        self,
        input: SupportsIndex = 0,
        output: SupportsIndex = 0,
        *,
        requests: SupportsIndex = 1,
        cached: SupportsIndex = 0,
        cache_write: SupportsIndex = 0,
    ) -> float: ...
    def charge(
        self,
        input: SupportsIndex = 0,
        output: SupportsIndex = 0,
        *,
        requests: SupportsIndex = 1,
        cached: SupportsIndex = 0,
        cache_write: SupportsIndex = 0,
    ) -> None: ...
    def retune(
        self, index: SupportsIndex, amount: SupportsIndex, per: Union[int, float] = 60.0, burst: Optional[SupportsIndex] = None
    ) -> None: ...
    def pause(self, index: SupportsIndex, seconds: Union[int, float]) -> None: ...
    def align(self, index: SupportsIndex, resets_in: Union[int, float]) -> None: ...
    def save(self) -> bytes: ...
    def close(self) -> None: ...
    def stats(self) -> Stats: ...
    def limits(self) -> list[LimitState]: ...
    @property
    def is_shared(self) -> bool: ...
    @property
    def _hub(self) -> Hub: ...
    def _end(self) -> None: ...
