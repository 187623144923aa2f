"""libllmrl through ctypes: the library that the package carries, its structures and its functions."""

from __future__ import annotations

import ctypes
import sys
from ctypes import POINTER, c_char_p, c_int32, c_int64, c_size_t, c_ssize_t, c_uint8, c_uint32, c_uint64, c_void_p
from pathlib import Path
from typing import Any

ABI_VERSION = 1


class Options(ctypes.Structure):
    _fields_ = [
        ("flags", c_uint32),
        ("max_waiters", c_uint32),
        ("max_permits", c_uint32),
        ("reserved0", c_uint32),
        ("clock", c_void_p),
        ("wake", c_void_p),
        ("wake_ctx", c_ssize_t),
        ("saved", c_char_p),
        ("saved_size", c_size_t),
        ("saved_now_ns", c_uint64),
    ]


class Cost(ctypes.Structure):
    _fields_ = [
        ("requests", c_uint64),
        ("input_tokens", c_uint64),
        ("output_tokens", c_uint64),
        ("cached_tokens", c_uint64),
        ("cache_write_tokens", c_uint64),
        ("reserved", c_uint64 * 3),
    ]


STATS = ("granted", "refused", "waiting", "in_flight", "cancelled", "timed_out", "wakes", "wait_total_ns", "wait_max_ns")
LIMIT_STATE = ("kind", "meter", "amount", "period_ns", "burst", "available", "paused_ns", "mode")


class Stats(ctypes.Structure):
    _fields_ = [(name, c_uint64) for name in STATS]


class LimitState(ctypes.Structure):
    _fields_ = [
        *zip(LIMIT_STATE, (c_uint32, c_uint32, c_uint64, c_uint64, c_uint64, c_int64, c_uint64, c_uint32)),
        ("reserved0", c_uint32),
    ]


MAP_STATS = ("keys", "shared", "created", "evictions", "full", "granted", "refused", "waiting", "in_flight")
MAP_KEY = ("granted", "refused", "waiting", "in_flight", "key_size")


class MapStats(ctypes.Structure):
    _fields_ = [(name, c_uint64) for name in MAP_STATS]


class MapKey(ctypes.Structure):
    _fields_ = [*((name, c_uint64) for name in MAP_KEY), ("key", c_uint8 * 64)]


class BucketMapStats(ctypes.Structure):
    _fields_ = [(name, c_uint64) for name in ("keys", "evictions", "overflows")]


class Header(ctypes.Structure):
    _fields_ = [("name", c_char_p), ("name_size", c_size_t), ("value", c_char_p), ("value_size", c_size_t)]


class Answer(ctypes.Structure):
    _fields_ = [
        ("status", c_uint32),
        ("reserved0", c_uint32),
        ("headers", POINTER(Header)),
        ("header_count", c_size_t),
        ("body", c_char_p),
        ("body_size", c_size_t),
        ("wall_now_ns", c_uint64),
    ]


QUOTA32 = ("meter", "pool", "flags")
QUOTA64 = ("limit", "remaining", "reset_ns", "utilization", "window_ns", "period_ns", "solved_low_ns", "solved_high_ns")
# In the order in which _feedback.make_reading wants them.
QUOTA = QUOTA32 + QUOTA64
READING = ("answer_class", "meter", "flags", "tripped", "wait_ns", "requested")


class Quota(ctypes.Structure):
    _fields_ = [
        *((name, c_uint32) for name in (*QUOTA32, "reserved0")),
        *((name, c_uint64) for name in QUOTA64),
        ("reserved", c_uint64 * 2),
    ]


class Reading(ctypes.Structure):
    _fields_ = [
        *((name, c_uint32) for name in ("answer_class", "meter", "flags", "quota_count", "tripped", "reserved0")),
        ("wait_ns", c_uint64),
        ("requested", c_uint64),
        ("quotas", Quota * 16),
    ]


class RouterOptions(ctypes.Structure):
    _fields_ = [("flags", c_uint32), ("replicas", c_uint32), ("wake", c_void_p), ("wake_ctx", c_ssize_t)]


class Routed(ctypes.Structure):
    _fields_ = [
        ("permit", c_uint64),
        ("ticket", c_uint64),
        ("wait_ns", c_uint64),
        ("limiter", c_void_p),
        ("node", c_uint32),
        ("reserved0", c_uint32),
    ]


FAIR_STATS = ("waiting", "batch", "keys", "aged", "passed")


class FairOptions(ctypes.Structure):
    _fields_ = [
        *((name, c_uint32) for name in ("flags", "passes", "max_waiters", "max_permits")),
        ("aging_ns", c_uint64),
        ("wake", c_void_p),
        ("wake_ctx", c_ssize_t),
    ]


class Share(ctypes.Structure):
    _fields_ = [("key", c_char_p), ("key_size", c_size_t), ("weight", c_uint32), ("flags", c_uint32)]


class FairStats(ctypes.Structure):
    _fields_ = [(name, c_uint64) for name in FAIR_STATS]


class Charging(ctypes.Structure):
    _fields_ = [(name, c_uint32) for name in ("flags", "output", "settlement", "burndown")]


class Request(ctypes.Structure):
    _fields_ = [(name, c_uint64) for name in ("prompt", "cached", "max_tokens", "expected")]


class Advice(ctypes.Structure):
    _fields_ = [("answer_class", c_uint32), ("flags", c_uint32), ("wait_ns", c_uint64)]


# The context goes back to the callback as a plain number; _ctypes.py says what it is good for.
WAKE = ctypes.CFUNCTYPE(None, c_ssize_t, c_uint64)

_out32 = POINTER(c_uint32)
_out64 = POINTER(c_uint64)
_routed = POINTER(Routed)
_outp = POINTER(c_void_p)
_cost = POINTER(Cost)
_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "llmrl_limiter_new": (c_int32, c_char_p, c_size_t, POINTER(Options), c_size_t, _outp, c_char_p, c_size_t),
    "llmrl_limiter_close": (c_int32, c_void_p),
    "llmrl_limiter_free": (None, c_void_p),
    "llmrl_try_acquire": (c_int32, c_void_p, _cost, _out64, _out64),
    "llmrl_outlook": (c_int32, c_void_p, _cost, _out64, POINTER(c_uint32)),
    "llmrl_enqueue": (c_int32, c_void_p, _cost, c_uint64, _out64, _out64),
    "llmrl_poll": (c_int32, c_void_p, c_uint64, _out64),
    "llmrl_adjust": (c_int32, c_void_p, c_uint64, _cost),
    "llmrl_settle": (c_int32, c_void_p, c_uint64, _cost),
    "llmrl_release": (c_int32, c_void_p, c_uint64),
    "llmrl_cancel": (c_int32, c_void_p, c_uint64),
    "llmrl_limiter_retune": (c_int32, c_void_p, c_uint32, c_uint64, c_uint64, c_uint64),
    "llmrl_limiter_pause": (c_int32, c_void_p, c_uint32, c_uint64),
    "llmrl_limiter_align": (c_int32, c_void_p, c_uint32, c_uint64),
    "llmrl_limiter_charge": (c_int32, c_void_p, _cost),
    "llmrl_limiter_save": (c_int32, c_void_p, c_uint64, c_char_p, c_size_t, POINTER(c_size_t)),
    "llmrl_limiter_stats": (c_int32, c_void_p, POINTER(Stats), c_size_t),
    "llmrl_limiter_limit_state": (c_int32, c_void_p, c_uint32, POINTER(LimitState), c_size_t),
    "llmrl_router_new": (c_int32, POINTER(RouterOptions), c_size_t, _outp, c_char_p, c_size_t),
    "llmrl_router_free": (None, c_void_p),
    "llmrl_router_add": (c_int32, c_void_p, c_char_p, c_size_t, c_uint32, c_void_p, _out32, c_char_p, c_size_t),
    "llmrl_router_set_weight": (c_int32, c_void_p, c_char_p, c_size_t, c_uint32),
    "llmrl_router_remove": (c_int32, c_void_p, c_char_p, c_size_t),
    "llmrl_router_node_for": (c_int32, c_void_p, c_char_p, c_size_t, _out32, _outp),
    "llmrl_router_try_acquire": (c_int32, c_void_p, _cost, c_char_p, c_size_t, _routed, c_size_t),
    "llmrl_router_enqueue": (c_int32, c_void_p, _cost, c_char_p, c_size_t, c_uint64, _routed, c_size_t),
    "llmrl_router_poll": (c_int32, c_void_p, c_uint64, _routed, c_size_t),
    "llmrl_router_cancel": (c_int32, c_void_p, c_uint64),
    "llmrl_map_new": (c_int32, c_char_p, c_size_t, POINTER(Options), c_size_t, c_size_t, c_size_t, _outp, c_char_p, c_size_t),
    "llmrl_map_free": (None, c_void_p),
    "llmrl_map_limiter": (c_int32, c_void_p, c_char_p, c_size_t, _outp, POINTER(c_int32)),
    "llmrl_map_set_limits": (c_int32, c_void_p, c_char_p, c_size_t, c_char_p, c_size_t, c_char_p, c_size_t),
    "llmrl_map_close": (c_int32, c_void_p),
    "llmrl_map_get_stats": (c_int32, c_void_p, POINTER(MapStats), c_size_t),
    "llmrl_map_top": (c_int32, c_void_p, c_uint32, POINTER(MapKey), c_size_t, c_size_t, POINTER(c_size_t)),
    "llmrl_fair_new": (c_int32, c_void_p, POINTER(FairOptions), c_size_t, _outp, c_char_p, c_size_t),
    "llmrl_fair_free": (None, c_void_p),
    "llmrl_fair_try_acquire": (c_int32, c_void_p, _cost, _out64, _out64),
    "llmrl_fair_enqueue": (c_int32, c_void_p, _cost, POINTER(Share), c_uint64, _out64, _out64),
    "llmrl_fair_poll": (c_int32, c_void_p, c_uint64, _out64),
    "llmrl_fair_adjust": (c_int32, c_void_p, c_uint64, _cost),
    "llmrl_fair_settle": (c_int32, c_void_p, c_uint64, _cost),
    "llmrl_fair_release": (c_int32, c_void_p, c_uint64),
    "llmrl_fair_cancel": (c_int32, c_void_p, c_uint64),
    "llmrl_fair_feedback": (c_int32, c_void_p, c_uint64, POINTER(Answer), c_size_t, POINTER(Advice), c_size_t),
    "llmrl_fair_get_stats": (c_int32, c_void_p, POINTER(FairStats), c_size_t),
    "llmrl_answer_read": (c_int32, POINTER(Answer), c_size_t, POINTER(Reading), c_size_t),
    "llmrl_feedback": (c_int32, c_void_p, c_uint64, POINTER(Answer), c_size_t, POINTER(Advice), c_size_t),
    "llmrl_charging_of": (c_int32, c_char_p, POINTER(Charging), c_size_t),
    "llmrl_charging_reserve": (c_int32, POINTER(Charging), c_size_t, POINTER(Request), c_size_t, _cost),
    "llmrl_charging_settle": (c_int32, POINTER(Charging), c_size_t, POINTER(Request), c_size_t, _cost, _cost),
    "llmrl_lengths_new": (c_int32, c_uint64, _outp),
    "llmrl_lengths_record": (c_int32, c_void_p, c_char_p, c_size_t, c_char_p, c_size_t, c_uint64),
    "llmrl_lengths_estimate": (c_int32, c_void_p, c_char_p, c_size_t, c_char_p, c_size_t, c_uint32, c_uint64, _out64),
    "llmrl_lengths_free": (None, c_void_p),
    "llmrl_clock_new": (c_int32, c_uint64, _outp),
    "llmrl_clock_advance": (c_int32, c_void_p, c_uint64),
    "llmrl_clock_now": (c_int32, c_void_p, _out64),
    "llmrl_clock_free": (None, c_void_p),
    "llmrl_bucket_new": (c_int32, c_char_p, c_void_p, _outp, c_char_p, c_size_t),
    "llmrl_bucket_try_take": (c_int32, c_void_p, c_uint64, _out64),
    "llmrl_bucket_refund": (c_int32, c_void_p, c_uint64),
    "llmrl_bucket_charge": (c_int32, c_void_p, c_uint64),
    "llmrl_bucket_retune": (c_int32, c_void_p, c_uint64, c_uint64, c_uint64),
    "llmrl_bucket_pause": (c_int32, c_void_p, c_uint64),
    "llmrl_bucket_available": (c_int32, c_void_p, POINTER(c_int64)),
    "llmrl_bucket_free": (None, c_void_p),
    "llmrl_bucket_map_new": (c_int32, c_char_p, c_size_t, c_uint32, c_void_p, _outp, c_char_p, c_size_t),
    "llmrl_bucket_map_try_take": (c_int32, c_void_p, c_char_p, c_size_t, c_uint64, _out64),
    "llmrl_bucket_map_refund": (c_int32, c_void_p, c_char_p, c_size_t, c_uint64),
    "llmrl_bucket_map_charge": (c_int32, c_void_p, c_char_p, c_size_t, c_uint64),
    "llmrl_bucket_map_available": (c_int32, c_void_p, c_char_p, c_size_t, POINTER(c_int64)),
    "llmrl_bucket_map_read_stats": (c_int32, c_void_p, POINTER(BucketMapStats), c_size_t),
    "llmrl_bucket_map_free": (None, c_void_p),
    "llmrl_version": (c_char_p,),
    "llmrl_abi_version": (c_uint32,),
}


def library_path() -> Path:
    """The libllmrl that came with this package."""
    here = Path(__file__).parent
    for pattern in ("libllmrl.so*", "libllmrl*.dylib", "llmrl.dll"):
        for found in sorted(here.glob(pattern)):
            return found
    raise ImportError(f"no libllmrl in {here}; reinstall the llmrl package")


def load() -> Any:
    """Load the library and declare its functions."""
    # PyDLL keeps the GIL: no function used here blocks, and giving it away costs a thousand times the call when other threads
    # want it. PyPy's PyDLL is for CPython's own API only.
    loader = ctypes.PyDLL if sys.implementation.name == "cpython" else ctypes.CDLL
    path = library_path()
    library = loader(str(path))
    for name, (result, *arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype = result
        function.argtypes = arguments
    if library.llmrl_abi_version() != ABI_VERSION:
        raise ImportError(
            f"{path} speaks ABI {library.llmrl_abi_version()}, this package {ABI_VERSION}; reinstall the llmrl package"
        )
    return library
