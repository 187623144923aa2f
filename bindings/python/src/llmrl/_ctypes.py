"""The ctypes backend: the same API as the C extension, for PyPy, free-threaded builds, and where no C compiler was at hand.

Slower by microseconds a call, otherwise the same; the tests run over both.
"""

from __future__ import annotations

import ctypes
import warnings
from ctypes import byref, c_size_t, c_uint64, c_void_p
from typing import Any, Optional, SupportsIndex, Union

from . import _abi, _args, _limit
from ._args import FOREVER, Number, whole
from ._ctypes_bucket_map import BucketMap
from ._ctypes_charging import charging_cost, charging_of
from ._ctypes_fair import FairSlip, RawFair
from ._ctypes_feedback import answer_of, read_answer
from ._ctypes_lengths import lengths_estimate, lengths_new, lengths_record
from ._ctypes_map import Map
from ._ctypes_parts import ManualClock, Owner, TokenBucket, Wakes, check, created, flush, has_in_flight, lib
from ._ctypes_router import RawRouter, Slip, flush_routed, routed
from ._errors import ERR_BUSY, ERR_INDEX, ERR_SIZE, ERR_STALE, OK, PENDING, from_status
from ._feedback import Advice, Headers, make_advice
from ._hub import Hub, adopt
from ._once import Queued
from ._types import LimitState, Stats, make_limit_state, make_stats

__all__ = [
    "Acquire",
    "BucketMap",
    "FairSlip",
    "Limiter",
    "ManualClock",
    "Map",
    "Permit",
    "RawFair",
    "RawRouter",
    "Slip",
    "TokenBucket",
    "charging_cost",
    "charging_of",
    "lengths_estimate",
    "lengths_new",
    "lengths_record",
    "library_version",
    "read_answer",
]

library_version: str = lib.llmrl_version().decode()


def _cost(*arguments: Any, **least: int) -> _abi.Cost:
    return _abi.Cost(*_args.cost(*arguments, **least))


class Limiter:
    """One to eight limits that admit all or nothing, and one FIFO queue for threads and asyncio tasks."""

    __slots__ = ("_handle", "_hub", "_woken", "_owner", "_in_flight", "_is_shared", "__weakref__")

    def __init__(self, *limits: Any, **options: Any) -> None:
        packed, count, max_waiters, max_permits, clock, saved, flags = _limit.options(*limits, **options)
        self._fill(Owner(c_void_p(), Wakes(), lib.llmrl_limiter_free), Hub(clock), has_in_flight(packed), False)
        filled = self._owner.wakes.options(flags, max_waiters, max_permits, clock, saved)
        message = ctypes.create_string_buffer(256)
        status = lib.llmrl_limiter_new(packed, count, byref(filled), ctypes.sizeof(filled), byref(self._handle), message, 256)
        created(status, "Limiter", message)
        self._adopt()

    def _fill(self, owner: Owner, hub: Hub, in_flight: bool, is_shared: bool) -> None:
        self._handle = owner.handle
        self._owner = owner
        self._woken = owner.wakes.woken
        self._hub = hub
        self._in_flight = in_flight
        self._is_shared = is_shared

    def _adopt(self) -> None:
        if isinstance(self._hub.clock, ManualClock):
            self._hub.clock._limiters.add(self)
        adopt(self)

    def _flush(self) -> None:
        flush(self._woken, self._hub)
        flush_routed()

    @property
    def is_shared(self) -> bool:
        """Whether other keys of its LimiterMap use it too, because there was no room for one more. False outside of maps."""
        return self._is_shared

    def try_acquire(
        self,
        input: SupportsIndex = 0,
        output: SupportsIndex = 0,
        *,
        requests: SupportsIndex = 1,
        cached: SupportsIndex = 0,
        cache_write: SupportsIndex = 0,
    ) -> Optional[Permit]:
        """Return a Permit if the request is admitted now, None if not; see the extension for the details."""
        cost = _cost(input, output, requests, cached, cache_write)
        permit = c_uint64()
        status = lib.llmrl_try_acquire(self._handle, byref(cost), byref(permit), None)
        if self._woken or routed:
            self._flush()
        check(status, "try_acquire", self, cost)
        return make_permit(self, permit.value) if status == OK else None

    def acquire(
        self,
        input: SupportsIndex = 0,
        output: SupportsIndex = 0,
        *,
        requests: SupportsIndex = 1,
        cached: SupportsIndex = 0,
        cache_write: SupportsIndex = 0,
        timeout: Optional[Number] = None,
    ) -> Acquire:
        """Return an acquisition: await it, use it with ``with`` or ``async with``, or call ``wait()`` on it."""
        return _make_acquire(self, _cost(input, output, requests, cached, cache_write), _args.timeout_ns(timeout))

    def wait_time(
        self,
        input: SupportsIndex = 0,
        output: SupportsIndex = 0,
        *,
        requests: SupportsIndex = 1,
        cached: SupportsIndex = 0,
        cache_write: SupportsIndex = 0,
    ) -> float:
        """Seconds until the request would be admitted if nobody else came; 0.0 is now, infinity depends on a release."""
        cost = _cost(input, output, requests, cached, cache_write)
        wait_ns = c_uint64()
        status = lib.llmrl_outlook(self._handle, byref(cost), byref(wait_ns), None)
        self._flush()
        check(status, "wait_time", self, cost)
        return float("inf") if wait_ns.value == FOREVER else wait_ns.value / 1e9

    def charge(
        self,
        input: SupportsIndex = 0,
        output: SupportsIndex = 0,
        *,
        requests: SupportsIndex = 1,
        cached: SupportsIndex = 0,
        cache_write: SupportsIndex = 0,
    ) -> None:
        """Count use that did not pass through here; a limit may go below zero. ``requests`` may be 0."""
        cost = _cost(input, output, requests, cached, cache_write, least_requests=0)
        status = lib.llmrl_limiter_charge(self._handle, byref(cost))
        self._flush()
        check(status, "charge", self)

    def retune(
        self, index: SupportsIndex, amount: SupportsIndex, per: Number = 60.0, burst: Optional[SupportsIndex] = None
    ) -> None:
        """Change limit ``index`` to ``amount`` per ``per`` seconds; for an in-flight limit ``amount`` is the slots."""
        where = whole("index", index)
        state = self._limit_state(where)
        if state is None:
            raise from_status(ERR_INDEX, "retune", self)
        status = lib.llmrl_limiter_retune(self._handle, where, *_args.retune(amount, burst, per, state.kind))
        self._flush()
        check(status, "retune", self)

    def pause(self, index: SupportsIndex, seconds: Number) -> None:
        """Let limit ``index`` admit nothing for ``seconds`` from now; 0 resumes. Any limit but one in flight."""
        where, ns = whole("index", index), _args.duration_ns("seconds", seconds)
        status = ERR_INDEX if where > 7 else lib.llmrl_limiter_pause(self._handle, where, ns)
        self._flush()
        check(status, "pause", self)

    def save(self) -> bytes:
        """What has been used of each limit, as bytes for ``Limiter(..., saved=...)``; see the extension for the details."""
        size = c_size_t()
        status = ERR_SIZE
        # What is to be saved may grow between the calls.
        while status == ERR_SIZE:
            buffer = ctypes.create_string_buffer(size.value)
            status = lib.llmrl_limiter_save(self._handle, 0, buffer, size.value, byref(size))
        check(status, "save", self)
        return buffer.raw[: size.value]

    def align(self, index: SupportsIndex, resets_in: Number) -> None:
        """The fixed window ``index`` ends ``resets_in`` seconds from now, > 0 and at most its period; its use stays until then."""
        where = whole("index", index)
        state = self._limit_state(where)
        if state is None:
            raise from_status(ERR_INDEX, "align", self)
        status = lib.llmrl_limiter_align(self._handle, where, _args.align(resets_in, state.kind, state.period_ns))
        self._flush()
        check(status, "align", self)

    def _end(self) -> None:
        status = lib.llmrl_limiter_close(self._handle)
        self._flush()
        check(status, "close", self)

    def close(self) -> None:
        """End all waiting with Closed and refuse whatever comes; permits may still be settled."""
        self._hub.closed_by = "close"
        self._end()

    def stats(self) -> Stats:
        """Return Stats: counters since the limiter was created."""
        raw = _abi.Stats()
        check(lib.llmrl_limiter_stats(self._handle, byref(raw), ctypes.sizeof(raw)), "stats", self)
        return make_stats([getattr(raw, name) for name in _abi.STATS])

    def _limit_state(self, index: int) -> Optional[_abi.LimitState]:
        raw = _abi.LimitState()
        if index > 7 or lib.llmrl_limiter_limit_state(self._handle, index, byref(raw), ctypes.sizeof(raw)) < 0:
            return None
        return raw

    def limits(self) -> list[LimitState]:
        """Return a list of LimitState, in the order of creation."""
        states: list[LimitState] = []
        while (raw := self._limit_state(len(states))) is not None:
            states.append(make_limit_state([getattr(raw, name) for name in _abi.LIMIT_STATE]))
        return states


class Permit:
    """An admitted request: settle it with what was really used, release it, or cancel it."""

    __slots__ = ("_limiter", "_id")
    _limiter: Limiter
    _id: int

    def __init__(self) -> None:
        raise TypeError("Permit objects are made by a Limiter")

    def __del__(self) -> None:
        if lib is not None and getattr(self, "_id", None) and self._limiter._handle:
            lib.llmrl_release(self._limiter._handle, self._id)
            self._limiter._flush()
            if self._limiter._in_flight:
                warnings.warn(
                    "llmrl: a permit of a limiter with an in-flight limit was dropped while held, which frees its slot; "
                    "use 'with' / 'async with', or settle(), release() or cancel() it",
                    ResourceWarning,
                    stacklevel=1,
                )

    def __repr__(self) -> str:
        return f"<llmrl.Permit {'held' if self._id else 'ended'}>"

    @property
    def held(self) -> bool:
        """True until the permit is settled, released or cancelled."""
        return self._id != 0

    def _finish(self, function: Any, what: str, *arguments: Any, ends: bool = True) -> None:
        status = function(self._limiter._handle, self._id, *arguments) if self._id else ERR_STALE
        if status == ERR_STALE or (ends and status >= 0):
            self._id = 0
        if self._limiter._woken or routed:
            self._limiter._flush()
        check(status, what, self._limiter)

    def settle(
        self,
        input: SupportsIndex,
        output: SupportsIndex,
        *,
        requests: SupportsIndex = 1,
        cached: SupportsIndex = 0,
        cache_write: SupportsIndex = 0,
    ) -> None:
        """End the permit: what was really used replaces the estimate, and the in-flight slot is given back."""
        self._finish(lib.llmrl_settle, "settle", byref(_cost(input, output, requests, cached, cache_write)))

    def adjust(
        self,
        input: SupportsIndex,
        output: SupportsIndex,
        *,
        requests: SupportsIndex = 1,
        cached: SupportsIndex = 0,
        cache_write: SupportsIndex = 0,
    ) -> None:
        """Replace the estimate and go on holding the permit, as while a stream runs."""
        self._finish(lib.llmrl_adjust, "adjust", byref(_cost(input, output, requests, cached, cache_write)), ends=False)

    def release(self) -> None:
        """End the permit: the estimate stands, the in-flight slot is given back."""
        self._finish(lib.llmrl_release, "release")

    def cancel(self) -> None:
        """End the permit and give everything back: the request was never sent."""
        self._finish(lib.llmrl_cancel, "cancel")

    def feedback(
        self,
        status: SupportsIndex,
        headers: Headers,
        body: Union[str, bytes, bytearray, memoryview] = b"",
        *,
        now: Optional[Number] = None,
    ) -> Advice:
        """The provider has answered this request: learn from it, for all who use the limiter."""
        answer, raw = answer_of(status, headers, body, now), _abi.Advice()
        structs = (byref(answer), ctypes.sizeof(answer), byref(raw), ctypes.sizeof(raw))
        self._finish(lib.llmrl_feedback, "feedback", *structs, ends=False)
        return make_advice(raw.answer_class, raw.flags, raw.wait_ns)

    def __enter__(self) -> Permit:
        if not self._id:
            raise from_status(ERR_STALE, "with", self._limiter)
        return self

    def __exit__(self, *exc: object) -> None:
        if self._id:
            self.release()


def make_permit(limiter: Limiter, number: int) -> Permit:
    permit = object.__new__(Permit)
    permit._limiter = limiter
    permit._id = number
    return permit


class Acquire(Queued[Permit]):
    """An acquisition that begins when it is awaited, entered with ``with`` or ``async with``, or waited for."""

    __slots__ = ("_limiter", "_cost", "_timeout_ns", "_number")
    _maker = "limiter"
    _limiter: Limiter
    _cost: _abi.Cost
    _timeout_ns: int
    _number: c_uint64

    def __init__(self) -> None:
        raise TypeError("Acquire objects are made by a Limiter")

    def __del__(self) -> None:
        if lib is not None and hasattr(self, "_number") and self._limiter._handle:
            self._drop()

    @property
    def _hub(self) -> Hub:
        return self._limiter._hub

    @property
    def _ticket(self) -> int:
        return self._number.value

    @property
    def _line(self) -> object:
        return self._limiter

    def _begin(self, what: str) -> Optional[Permit]:
        """Take a place in the queue: the permit if admitted at once."""
        self._use(what)
        wait_ns = c_uint64()
        # The library writes the ticket into this object, which ends it when it dies: no interruption can lose it.
        status = lib.llmrl_enqueue(
            self._limiter._handle, byref(self._cost), self._timeout_ns, byref(self._number), byref(wait_ns)
        )
        if self._limiter._woken or routed:
            self._limiter._flush()
        check(status, "acquire", self._limiter, self._cost)
        return self._take() if status == OK else None

    def _poll(self) -> Optional[int]:
        wait_ns = c_uint64()
        ticket = self._number.value
        status = lib.llmrl_poll(self._limiter._handle, ticket, byref(wait_ns)) if ticket else ERR_STALE
        if status < 0:
            self._number.value = 0
        if self._limiter._woken or routed:
            self._limiter._flush()
        check(status, "acquire", self._limiter, self._cost)
        return wait_ns.value if status == PENDING else None

    def _drop(self) -> None:
        ticket = self._number.value
        if ticket:
            self._number.value = 0
            # Busy: without a GIL another thread may be polling this ticket at this moment, which takes less than a microsecond.
            while lib.llmrl_cancel(self._limiter._handle, ticket) == ERR_BUSY:
                pass
            self._limiter._flush()

    def _take(self) -> Permit:
        ticket = self._number.value
        if not ticket:
            raise from_status(ERR_STALE, "acquire", self._limiter)
        permit = make_permit(self._limiter, ticket)
        self._number.value = 0
        return permit

    def _permit_of(self, got: Permit) -> Permit:
        return got


def _make_acquire(limiter: Limiter, cost: _abi.Cost, timeout_ns: int) -> Acquire:
    acquire = object.__new__(Acquire)
    Queued.__init__(acquire)
    acquire._limiter = limiter
    acquire._cost = cost
    acquire._timeout_ns = timeout_ns
    acquire._number = c_uint64()
    return acquire
