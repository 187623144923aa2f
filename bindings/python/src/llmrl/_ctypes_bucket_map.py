"""Token buckets by key, of the ctypes backend."""

from __future__ import annotations

import ctypes
import sys
from ctypes import byref, c_int64, c_uint64, c_void_p
from typing import Optional, SupportsIndex

from . import _abi, _args, _limit
from ._args import Number, whole
from ._ctypes_parts import ManualClock, check, clock_handle, created, lib
from ._errors import ERR_FULL, ERR_NEVER, OK, REFUSED, bucket_refusal
from ._types import BucketMapStats, Key

MAX_KEY = 65536


class BucketMap:
    """A bare token bucket for each key: ``amount`` per ``per`` seconds, at most ``burst`` (default ``amount``) at once. No queue.

    A key is str or bytes, 1 to 65536 of them in UTF-8; one that was not seen before has a full bucket. Only a bucket that is full
    gives way to another key's, so a key that has used up what it has gets nothing new before it is due.

    ``capacity``: keys that are remembered at a time, 1 to 2**30; their memory, 32.25 bytes each, is taken at once. ``overflow``: a
    key for which there is no room shares a bucket with others (``'share'``), and gets no more than its own, or is refused with
    MapFull (``'refuse'``). ``clock``: a ManualClock, or None for the machine's. Any thread may use it.
    """

    __slots__ = ("_handle", "_shown", "_burst")

    def __init__(
        self,
        amount: SupportsIndex,
        per: Number = 60.0,
        burst: Optional[SupportsIndex] = None,
        clock: Optional[ManualClock] = None,
        *,
        capacity: SupportsIndex = 65536,
        overflow: str = "share",
        oversize: str = "reject",
    ) -> None:
        self._handle = c_void_p()
        packed, keys, flags, checked, self._shown = _limit.bucket_map(
            amount, per, burst, clock, capacity=capacity, overflow=overflow, oversize=oversize
        )
        self._burst = int.from_bytes(packed[24:32], sys.byteorder)
        message = ctypes.create_string_buffer(256)
        status = lib.llmrl_bucket_map_new(packed, keys, flags, clock_handle(checked), byref(self._handle), message, 256)
        created(status, "BucketMap", message)

    def __del__(self) -> None:
        # There is none if the arguments did not fit the signature.
        handle = getattr(self, "_handle", None)
        if handle and lib is not None:
            lib.llmrl_bucket_map_free(handle)
            handle.value = None

    def __repr__(self) -> str:
        return self._shown

    def _done(self, status: int, what: str, n: int = 0) -> None:
        if status in (ERR_NEVER, ERR_FULL):
            raise bucket_refusal(status, what, n, self._burst)
        check(status, what)

    def try_take(self, key: Key, n: SupportsIndex = 1, /) -> bool:
        """Take ``n`` (1 to 2**40-1) from the bucket of ``key`` if they are there: True or False.

        Raises Never when ``n`` is above the burst; MapFull when there is no room for the key, with ``overflow='refuse'``.
        """
        number, name = whole("n", n, 1), _args.key(key, MAX_KEY)
        status: int = lib.llmrl_bucket_map_try_take(self._handle, name, len(name), number, None)
        self._done(status, "try_take", number)
        return status == OK

    def wait_time(self, key: Key, n: SupportsIndex = 1, /) -> float:
        """Seconds until ``try_take(key, n)`` would succeed if nobody else came; 0.0 is now. Takes nothing."""
        number, name = whole("n", n, 1), _args.key(key, MAX_KEY)
        if self._available(name) >= number:
            return 0.0
        wait_ns = c_uint64()
        status = lib.llmrl_bucket_map_try_take(self._handle, name, len(name), number, byref(wait_ns))
        self._done(status, "wait_time", number)
        if status == OK:
            lib.llmrl_bucket_map_refund(self._handle, name, len(name), number)
        return wait_ns.value / 1e9 if status == REFUSED else 0.0

    def refund(self, key: Key, n: SupportsIndex, /) -> None:
        """Give ``n`` back that were taken for ``key`` and not used."""
        number, name = whole("n", n, 1), _args.key(key, MAX_KEY)
        self._done(lib.llmrl_bucket_map_refund(self._handle, name, len(name), number), "refund")

    def charge(self, key: Key, n: SupportsIndex, /) -> None:
        """Take ``n`` for ``key`` without asking; its bucket may go below zero."""
        number, name = whole("n", n, 1), _args.key(key, MAX_KEY)
        self._done(lib.llmrl_bucket_map_charge(self._handle, name, len(name), number), "charge")

    def _available(self, name: bytes) -> int:
        available = c_int64()
        check(lib.llmrl_bucket_map_available(self._handle, name, len(name), byref(available)), "available")
        return available.value

    def available(self, key: Key, /) -> int:
        """What could be taken for ``key`` now; negative while in debt."""
        return self._available(_args.key(key, MAX_KEY))

    def stats(self) -> BucketMapStats:
        """Return BucketMapStats: keys, evictions, overflows."""
        raw = _abi.BucketMapStats()
        check(lib.llmrl_bucket_map_read_stats(self._handle, byref(raw), ctypes.sizeof(raw)), "stats")
        return BucketMapStats(raw.keys, raw.evictions, raw.overflows)
