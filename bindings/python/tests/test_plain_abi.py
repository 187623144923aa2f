"""libllmrl.so without this package's code: plain ctypes, and cffi in ABI mode with the header itself."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path

import pytest

from llmrl import _abi

HEADER = Path(__file__).resolve().parents[3] / "include" / "llmrl.h"


def declarations() -> str:
    """The header as cffi reads it: without preprocessor lines but for plain integers."""
    text = HEADER.read_text(encoding="utf-8")
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.DOTALL)
    text = re.sub(r"//[^\n]*", " ", text)
    text = re.sub(r"\\\n", " ", text)
    text = re.sub(r"#ifdef __cplusplus.*?#endif[^\n]*", " ", text, flags=re.DOTALL)
    kept = []
    for line in text.splitlines():
        if not line.lstrip().startswith("#"):
            kept.append(line)
        elif re.fullmatch(r"\s*#define\s+\w+\s+-?\d+\s*", line):
            kept.append(line)
    return "\n".join(kept)


@pytest.fixture()
def cffi_library():
    cffi = pytest.importorskip("cffi")
    if not HEADER.is_file():
        pytest.skip("no header: not in the repository")
    ffi = cffi.FFI()
    ffi.cdef(declarations())
    return ffi, ffi.dlopen(str(_abi.library_path()))


def test_cffi_acquire_and_settle(cffi_library):
    ffi, lib = cffi_library
    assert lib.llmrl_abi_version() == lib.LLMRL_ABI_VERSION
    clock = ffi.new("llmrl_clock **")
    assert lib.llmrl_clock_new(0, clock) == lib.LLMRL_OK
    limits = ffi.new("llmrl_limit[2]")
    limits[0].kind, limits[0].meter, limits[0].amount = lib.LLMRL_TOKEN_BUCKET, lib.LLMRL_TOKENS, 600
    limits[1].kind, limits[1].amount = lib.LLMRL_IN_FLIGHT, 1
    woken = []
    wake = ffi.callback("void(void *, uint64_t)", lambda context, ticket: woken.append(ticket))
    options = ffi.new("llmrl_options *")
    options.clock, options.wake = clock[0], wake
    limiter = ffi.new("llmrl_limiter **")
    message = ffi.new("char[128]")
    status = lib.llmrl_limiter_new(limits, 2, options, ffi.sizeof("llmrl_options"), limiter, message, 128)
    assert status == lib.LLMRL_OK, ffi.string(message)

    cost = ffi.new("llmrl_cost *", {"requests": 1, "input_tokens": 100, "output_tokens": 50})
    permit, ticket, wait = ffi.new("uint64_t *"), ffi.new("uint64_t *"), ffi.new("uint64_t *")
    assert lib.llmrl_try_acquire(limiter[0], cost, permit, ffi.NULL) == lib.LLMRL_OK
    assert lib.llmrl_try_acquire(limiter[0], cost, ticket, wait) == lib.LLMRL_REFUSED
    assert wait[0] == 2**64 - 1
    assert lib.llmrl_enqueue(limiter[0], cost, 2**64 - 1, ticket, wait) == lib.LLMRL_PENDING
    actual = ffi.new("llmrl_cost *", {"requests": 1, "input_tokens": 100, "output_tokens": 500})
    assert lib.llmrl_settle(limiter[0], permit[0], actual) == lib.LLMRL_OK
    assert lib.llmrl_settle(limiter[0], permit[0], actual) == lib.LLMRL_ERR_STALE
    assert lib.llmrl_poll(limiter[0], ticket[0], wait) == lib.LLMRL_PENDING
    assert wait[0] == 15_000_000_000, "150 tokens at ten a second"
    assert lib.llmrl_clock_advance(clock[0], wait[0]) == lib.LLMRL_OK
    assert ticket[0] in woken
    assert lib.llmrl_poll(limiter[0], ticket[0], wait) == lib.LLMRL_OK
    state = ffi.new("llmrl_limit_state *")
    assert lib.llmrl_limiter_limit_state(limiter[0], 0, state, ffi.sizeof("llmrl_limit_state")) == lib.LLMRL_OK
    assert state.available == 0
    assert lib.llmrl_cancel(limiter[0], ticket[0]) == lib.LLMRL_OK
    lib.llmrl_limiter_free(limiter[0])
    lib.llmrl_clock_free(clock[0])


def test_cffi_permit_of_another_limiter(cffi_library):
    ffi, lib = cffi_library
    limit = ffi.new("llmrl_limit *", {"kind": lib.LLMRL_IN_FLIGHT, "amount": 1})
    limiters = []
    for _ in range(2):
        out = ffi.new("llmrl_limiter **")
        assert lib.llmrl_limiter_new(limit, 1, ffi.NULL, 0, out, ffi.NULL, 0) == lib.LLMRL_OK
        limiters.append(out[0])
    cost = ffi.new("llmrl_cost *", {"requests": 1})
    permit = ffi.new("uint64_t *")
    assert lib.llmrl_try_acquire(limiters[0], cost, permit, ffi.NULL) == lib.LLMRL_OK
    assert lib.llmrl_release(limiters[1], permit[0]) == lib.LLMRL_ERR_STALE
    assert lib.llmrl_release(limiters[0], permit[0]) == lib.LLMRL_OK
    for limiter in limiters:
        lib.llmrl_limiter_free(limiter)


def test_cffi_sizes_match_ours(cffi_library):
    ffi, _ = cffi_library
    for name, ours in (("options", _abi.Options), ("cost", _abi.Cost), ("stats", _abi.Stats), ("limit_state", _abi.LimitState), ("header", _abi.Header),
                       ("answer", _abi.Answer), ("map_stats", _abi.MapStats), ("map_key", _abi.MapKey), ("bucket_map_stats", _abi.BucketMapStats), ("quota", _abi.Quota), ("reading", _abi.Reading)):  # fmt: skip
        assert ffi.sizeof(f"llmrl_{name}") == ctypes.sizeof(ours)
        fields = dict(ffi.typeof(f"llmrl_{name}").fields)
        assert {n: f.offset for n, f in fields.items()} == {n: getattr(ours, n).offset for n in fields}
    assert ffi.sizeof("llmrl_limit") == 64


def test_plain_ctypes_acquire_and_settle():
    """What somebody writes who has only the shared library and the header to read."""
    lib = ctypes.CDLL(str(_abi.library_path()))

    class Limit(ctypes.Structure):
        _fields_ = [
            ("kind", ctypes.c_uint32),
            ("meter", ctypes.c_uint32),
            ("amount", ctypes.c_uint64),
            ("period_ns", ctypes.c_uint64),
            ("burst", ctypes.c_uint64),
            ("flags", ctypes.c_uint32),
            ("reserved0", ctypes.c_uint32),
            ("reserved", ctypes.c_uint64 * 3),
        ]

    limiter = ctypes.c_void_p()
    limit = Limit(kind=1, meter=2, amount=1000)
    assert (
        lib.llmrl_limiter_new(
            ctypes.byref(limit), ctypes.c_size_t(1), None, ctypes.c_size_t(0), ctypes.byref(limiter), None, ctypes.c_size_t(0)
        )
        == 0
    )
    cost = (ctypes.c_uint64 * 8)(1, 100, 50)
    permit = ctypes.c_uint64()
    assert lib.llmrl_acquire(limiter, cost, ctypes.c_uint64(2**64 - 1), ctypes.byref(permit)) == 0
    assert lib.llmrl_settle(limiter, permit, (ctypes.c_uint64 * 8)(1, 100, 20)) == 0
    assert lib.llmrl_settle(limiter, permit, cost) == -11
    lib.llmrl_limiter_free(limiter)
