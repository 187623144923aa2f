"""The small parts of the ctypes backend: the manual clock and the bare token bucket."""

from __future__ import annotations

import ctypes
import sys
import weakref
from collections import deque
from ctypes import byref, c_uint64, c_void_p
from typing import TYPE_CHECKING, Any, Optional, SupportsIndex

from . import _abi, _args, _limit
from ._args import Number, whole
from ._errors import ERR_MEMORY, ERR_NEVER, OK, Never, from_status
from ._types import IN_FLIGHT

if TYPE_CHECKING:
    from ._ctypes import Limiter
    from ._hub import Hub

# Free-threaded interpreters run finalizers at exit when they have emptied the modules: this may be None in any of them.
lib = _abi.load()


def check(status: int, what: str, limiter: Optional[Limiter] = None, cost: Optional[_abi.Cost] = None) -> None:
    if status < 0:
        weights = (cost.requests, cost.input_tokens, cost.output_tokens) if cost is not None else None
        raise from_status(status, what, limiter, weights)


def clock_handle(clock: object) -> Optional[c_void_p]:
    if clock is None:
        return None
    if not isinstance(clock, ManualClock):
        raise TypeError(f"clock must be a llmrl.ManualClock or None, got {clock!r}")
    return clock._handle


def created(status: int, what: str, message: ctypes.Array[ctypes.c_char]) -> None:
    if status < 0 and message.value and status != ERR_MEMORY:
        raise ValueError(f"{what}: {message.value.decode(errors='replace')}")
    check(status, what)


def has_in_flight(packed: bytes) -> bool:
    return any(int.from_bytes(packed[at : at + 4], sys.byteorder) == IN_FLIGHT for at in range(0, len(packed), 64))


# The callbacks of all that the library has not freed yet. PyPy clears weak references before it runs finalizers, its own to
# callbacks among them, and crashes in a callback that only what is being finalized refers to.
callbacks: dict[int, Any] = {}


class Wakes:
    """The tickets that the library has woken, of a limiter or of all limiters of a map, until they are passed on."""

    __slots__ = ("woken", "callback")

    def __init__(self) -> None:
        self.woken: deque[int] = deque()
        # The callback is deque.insert itself, with an index beyond any end as its context: it appends the ticket, and as no
        # Python code runs in it, no signal handler can raise in it.
        self.callback = _abi.WAKE(self.woken.insert)
        callbacks[id(self.callback)] = self.callback

    def __del__(self) -> None:
        if callbacks is not None:
            callbacks.pop(id(self.callback), None)

    def options(
        self, flags: int, max_waiters: int, max_permits: int, clock: object, saved: Optional[bytes] = None
    ) -> _abi.Options:
        wake = ctypes.cast(self.callback, c_void_p)
        handle = clock_handle(clock)
        return _abi.Options(flags, max_waiters, max_permits, 0, handle, wake, sys.maxsize, saved, len(saved or b""))


class Owner:
    """Frees a limiter or a map of the library when nobody can use it any more.

    Not the Limiter itself, for the sake of interpreters that run finalizers in any thread: an object that refers to none of those
    who call the library is finalized after all of them, on PyPy also where they are garbage in one cycle. CPython runs the
    finalizers of a cycle in any order, but one after the other: those of permits look whether the handle is still there.
    """

    __slots__ = ("handle", "wakes", "free")

    def __init__(self, handle: c_void_p, wakes: Wakes, free: Any) -> None:
        self.handle = handle
        self.wakes = wakes
        self.free = free

    def __del__(self) -> None:
        if lib is None:
            return
        handle, self.handle.value = self.handle.value, None
        if handle:
            self.free(handle)


def flush(woken: deque[int], hub: Hub) -> None:
    """Pass on the tickets that the library has woken."""
    while woken:
        try:
            ticket = woken.popleft()
        except IndexError:
            return  # another thread was faster
        try:
            hub.wake(ticket)
        except BaseException:
            woken.appendleft(ticket)  # a wake may be repeated, but not lost
            raise


class ManualClock:
    """A clock for tests: it starts at ``start`` seconds and moves only by ``advance``."""

    __slots__ = ("_handle", "_limiters")

    def __init__(self, start: Number = 0) -> None:
        self._handle = c_void_p()
        # Limiters and maps.
        self._limiters: weakref.WeakSet[Any] = weakref.WeakSet()
        check(lib.llmrl_clock_new(_args.duration_ns("start", start), byref(self._handle)), "ManualClock")

    def __del__(self) -> None:
        handle, self._handle.value = self._handle.value, None
        if handle and lib is not None:
            lib.llmrl_clock_free(handle)

    def _advance(self, ns: int) -> None:
        check(lib.llmrl_clock_advance(self._handle, ns), "advance")
        for limiter in list(self._limiters):
            limiter._flush()

    def advance(self, seconds: Number) -> None:
        """Move time forward by ``seconds`` >= 0 and wake whoever becomes due, in every limiter with this clock."""
        self._advance(_args.duration_ns("seconds", seconds))

    def advance_ns(self, ns: SupportsIndex) -> None:
        """The same in whole nanoseconds, 0 to 2**63-1."""
        self._advance(whole("ns", ns, 0, 2**63 - 1))

    def now_ns(self) -> int:
        """The time in nanoseconds."""
        now = c_uint64()
        check(lib.llmrl_clock_now(self._handle, byref(now)), "now_ns")
        return now.value


class TokenBucket:
    """A bare token bucket: ``amount`` per ``per`` seconds, at most ``burst`` (default ``amount``) at once. No queue."""

    __slots__ = ("_handle", "_burst")

    def __init__(
        self,
        amount: SupportsIndex,
        per: Number = 60.0,
        burst: Optional[SupportsIndex] = None,
        clock: Optional[ManualClock] = None,
        *,
        oversize: str = "reject",
        start_empty: bool = False,
    ) -> None:
        self._handle = c_void_p()
        packed, checked = _limit.bucket(amount, per, burst, clock, oversize=oversize, start_empty=start_empty)
        self._burst = int.from_bytes(packed[24:32], sys.byteorder)
        message = ctypes.create_string_buffer(256)
        status = lib.llmrl_bucket_new(packed, clock_handle(checked), byref(self._handle), message, 256)
        created(status, "TokenBucket", message)

    def __del__(self) -> None:
        handle, self._handle.value = self._handle.value, None
        if handle and lib is not None:
            lib.llmrl_bucket_free(handle)

    def _done(self, status: int, what: str, n: int = 0) -> None:
        if status == ERR_NEVER:
            raise Never(
                f"{what}: n of {n} can never fit a burst of {self._burst}; take less at once or retune with a larger burst"
            )
        check(status, what)

    def try_take(self, n: SupportsIndex = 1, /) -> bool:
        """Take ``n`` (1 to 2**40-1) if they are there. Raises Never when ``n`` is above the burst."""
        number = whole("n", n, 1)
        status: int = lib.llmrl_bucket_try_take(self._handle, number, None)
        self._done(status, "try_take", number)
        return status == OK

    def wait_time(self, n: SupportsIndex = 1, /) -> float:
        """Seconds until ``try_take(n)`` would succeed if nobody else came; 0.0 is now."""
        number = whole("n", n, 1)
        wait_ns = c_uint64()
        status = lib.llmrl_bucket_try_take(self._handle, number, byref(wait_ns))
        self._done(status, "wait_time", number)
        if status == OK:
            lib.llmrl_bucket_refund(self._handle, number)
            return 0.0
        return wait_ns.value / 1e9

    def refund(self, n: SupportsIndex, /) -> None:
        """Give ``n`` back that were taken and not used."""
        self._done(lib.llmrl_bucket_refund(self._handle, whole("n", n)), "refund")

    def charge(self, n: SupportsIndex, /) -> None:
        """Take ``n`` without asking; the bucket may go below zero."""
        self._done(lib.llmrl_bucket_charge(self._handle, whole("n", n)), "charge")

    def retune(self, amount: SupportsIndex, per: Number = 60.0, burst: Optional[SupportsIndex] = None) -> None:
        """Change the rate to ``amount`` per ``per`` seconds, and the burst."""
        number, period_ns, size = _args.rate(amount, per, burst)
        self._done(lib.llmrl_bucket_retune(self._handle, number, period_ns, size), "retune")
        self._burst = size

    def pause(self, seconds: Number, /) -> None:
        """Admit nothing for ``seconds`` from now; 0 resumes."""
        self._done(lib.llmrl_bucket_pause(self._handle, _args.duration_ns("seconds", seconds)), "pause")

    @property
    def available(self) -> int:
        """What could be taken now; negative while in debt."""
        available = ctypes.c_int64()
        self._done(lib.llmrl_bucket_available(self._handle, byref(available)), "available")
        return available.value
