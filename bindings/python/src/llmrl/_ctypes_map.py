"""Limiters by key, of the ctypes backend; ``_map.py`` has what users see, and checks all arguments."""

from __future__ import annotations

import ctypes
from ctypes import byref, c_int32, c_size_t, c_void_p
from typing import TYPE_CHECKING, Optional, Tuple

from . import _abi
from ._ctypes_parts import ManualClock, Owner, Wakes, check, created, flush, has_in_flight, lib
from ._errors import ERR_FULL
from ._hub import Hub

if TYPE_CHECKING:
    from ._ctypes import Limiter


class Map:
    """See llmrl.LimiterMap."""

    __slots__ = ("_handle", "_hub", "_woken", "_owner", "_in_flight", "__weakref__")

    def __init__(
        self,
        packed: bytes,
        count: int,
        max_waiters: int,
        max_permits: int,
        clock: object,
        flags: int,
        capacity: int,
        shared: int,
        hub: Hub,
    ) -> None:
        self._handle = c_void_p()
        self._hub = hub
        self._owner = Owner(self._handle, Wakes(), lib.llmrl_map_free)
        self._woken = self._owner.wakes.woken
        self._in_flight = has_in_flight(packed)
        options = self._owner.wakes.options(flags, max_waiters, max_permits, clock)
        message = ctypes.create_string_buffer(256)
        given = (packed, count, byref(options), ctypes.sizeof(options), capacity, shared)
        created(lib.llmrl_map_new(*given, byref(self._handle), message, 256), "LimiterMap", message)
        if isinstance(clock, ManualClock):
            clock._limiters.add(self)

    def _flush(self) -> None:
        flush(self._woken, self._hub)

    def limiter(self, key: bytes, hub: Hub) -> Optional[Limiter]:
        """A Limiter over a new handle, whose waiters are those of ``hub``; None if there is no room."""
        from ._ctypes import Limiter  # which imports this module

        limiter = object.__new__(Limiter)
        owner = Owner(c_void_p(), self._owner.wakes, lib.llmrl_limiter_free)
        is_shared = c_int32()
        status = lib.llmrl_map_limiter(self._handle, key, len(key), byref(owner.handle), byref(is_shared))
        if status == ERR_FULL:
            return None
        check(status, "limiter")
        limiter._fill(owner, hub, self._in_flight, bool(is_shared.value))
        limiter._adopt()
        return limiter

    def set_limits(self, key: bytes, packed: bytes, count: int) -> None:
        """Give a key limits of its own."""
        message = ctypes.create_string_buffer(256)
        status = lib.llmrl_map_set_limits(self._handle, key, len(key), packed, count, message, 256)
        self._flush()
        created(status, "set_limits", message)

    def stats(self) -> Tuple[int, ...]:
        """The numbers of a MapStats."""
        raw = _abi.MapStats()
        check(lib.llmrl_map_get_stats(self._handle, byref(raw), ctypes.sizeof(raw)), "stats")
        return tuple(getattr(raw, name) for name in _abi.MAP_STATS)

    def top(self, n: int, by: int) -> list[tuple[bytes, int, int, int, int, int]]:
        """The numbers of up to ``n`` KeyStats."""
        keys, written = (_abi.MapKey * n)(), c_size_t()
        check(lib.llmrl_map_top(self._handle, by, keys, ctypes.sizeof(_abi.MapKey), n, byref(written)), "top")
        return [
            (bytes(key.key[: key.key_size]), key.key_size, key.granted, key.refused, key.waiting, key.in_flight)
            for key in keys[: written.value]
        ]

    def close(self) -> None:
        """End all waiting, and refuse new keys."""
        status = lib.llmrl_map_close(self._handle)
        self._flush()
        check(status, "close")
