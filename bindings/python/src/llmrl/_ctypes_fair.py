"""What ``_fair.py`` needs of the C ABI, through ctypes: a fair queue of the library, and a slip, which owns what one request has of it.

Docstrings stand in ``_fair.py``; the extension has the same two types in ``fair.c``.
"""

from __future__ import annotations

import ctypes
from ctypes import byref, c_uint64, c_void_p
from typing import TYPE_CHECKING, Any, Optional, SupportsIndex, Union

from . import _abi
from ._args import Number
from ._ctypes_feedback import answer_of
from ._ctypes_parts import check, created, lib
from ._ctypes_router import routed, wakes
from ._errors import ERR_BUSY, ERR_STALE
from ._feedback import Advice, Headers, make_advice

if TYPE_CHECKING:
    from ._ctypes import Limiter
    from ._hub import Hub


class RawFair:
    __slots__ = ("_handle", "_limiter", "_hub")

    def __init__(self, limiter: Limiter, aging_ns: int, passes: int, max_waiters: int, max_permits: int, hub: Hub) -> None:
        self._handle = c_void_p()
        self._limiter = limiter
        self._hub = hub
        options = _abi.FairOptions(0, passes, max_waiters, max_permits, aging_ns, *wakes(hub))
        message = ctypes.create_string_buffer(256)
        status = lib.llmrl_fair_new(limiter._handle, byref(options), ctypes.sizeof(options), byref(self._handle), message, 256)
        created(status, "FairQueue", message)

    def __del__(self) -> None:
        if lib is None or not hasattr(self, "_handle"):
            return
        handle, self._handle.value = self._handle.value, None
        if handle:
            lib.llmrl_fair_free(handle)

    def stats(self) -> tuple[int, ...]:
        raw = _abi.FairStats()
        check(lib.llmrl_fair_get_stats(self._handle, byref(raw), ctypes.sizeof(raw)), "stats")
        return tuple(getattr(raw, name) for name in _abi.FAIR_STATS)


class FairSlip:
    __slots__ = ("_fair", "_cost", "_share", "_timeout_ns", "_number", "_wait_ns")

    def __init__(
        self, fair: RawFair, cost: tuple[int, ...], key: Optional[bytes], weight: int, flags: int, timeout_ns: int
    ) -> None:
        self._fair = fair
        self._cost = _abi.Cost(*cost)
        self._share = _abi.Share(key, len(key or b""), weight, flags)
        self._timeout_ns = timeout_ns
        # The library writes into them, so no interruption can lose a ticket.
        self._number = c_uint64()
        self._wait_ns = c_uint64()

    def __del__(self) -> None:
        if lib is not None and hasattr(self, "_wait_ns"):
            self.drop()

    def _flush(self) -> None:
        if self._fair._limiter._woken or routed:
            self._fair._limiter._flush()

    def _asked(self, status: int, what: str) -> int:
        if status < 0:
            self._number.value = 0
        self._flush()
        check(status, what, self._fair._limiter, self._cost)
        return status

    def ask(self) -> int:
        status = lib.llmrl_fair_try_acquire(self._fair._handle, byref(self._cost), byref(self._number), None)
        return self._asked(status, "try_acquire")

    def begin(self) -> int:
        asked = (self._fair._handle, byref(self._cost), byref(self._share), self._timeout_ns)
        return self._asked(lib.llmrl_fair_enqueue(*asked, byref(self._number), byref(self._wait_ns)), "acquire")

    def poll(self) -> int:
        number = self.number
        status = lib.llmrl_fair_poll(self._fair._handle, number, byref(self._wait_ns)) if number else ERR_STALE
        return self._asked(status, "acquire")

    def drop(self) -> None:
        number = self.number
        if not number:
            return
        self._number.value = 0
        # The handle is gone where queue and slips are garbage together. Busy: without a GIL another thread may be polling this
        # ticket at this moment, which takes less than a microsecond.
        while self._fair._handle and lib.llmrl_fair_cancel(self._fair._handle, number) == ERR_BUSY:
            pass
        self._flush()

    def _finish(self, call: Any, what: str, *arguments: Any, ends: bool = True) -> None:
        number = self.number
        status = call(self._fair._handle, number, *arguments) if number and self._fair._handle else ERR_STALE
        if status == ERR_STALE or (ends and status >= 0):
            self._number.value = 0
        self._flush()
        check(status, what, self._fair._limiter)

    def settle(self, *cost: int) -> None:
        self._finish(lib.llmrl_fair_settle, "settle", byref(_abi.Cost(*cost)))

    def adjust(self, *cost: int) -> None:
        self._finish(lib.llmrl_fair_adjust, "adjust", byref(_abi.Cost(*cost)), ends=False)

    def release(self) -> None:
        self._finish(lib.llmrl_fair_release, "release")

    def cancel(self) -> None:
        self._finish(lib.llmrl_fair_cancel, "cancel")

    def feedback(
        self,
        status: SupportsIndex,
        headers: Headers,
        body: Union[str, bytes, bytearray, memoryview] = b"",
        *,
        now: Optional[Number] = None,
    ) -> Advice:
        answer, raw = answer_of(status, headers, body, now), _abi.Advice()
        structs = (byref(answer), ctypes.sizeof(answer), byref(raw), ctypes.sizeof(raw))
        self._finish(lib.llmrl_fair_feedback, "feedback", *structs, ends=False)
        return make_advice(raw.answer_class, raw.flags, raw.wait_ns)

    @property
    def number(self) -> int:
        number: int = self._number.value
        return number

    @property
    def wait_ns(self) -> int:
        wait_ns: int = self._wait_ns.value
        return wait_ns
