"""``read_answer`` of the ctypes backend."""

from __future__ import annotations

import ctypes
from ctypes import byref
from typing import Optional, SupportsIndex, Union

from . import _abi, _feedback
from ._args import Number
from ._ctypes_parts import check, lib
from ._feedback import Headers, Reading


def answer_of(
    status: SupportsIndex, headers: Headers, body: Union[str, bytes, bytearray, memoryview], now: Optional[Number]
) -> _abi.Answer:
    """The struct that C reads, which keeps alive what it points to."""
    code, pairs, content, now_ns = _feedback.arguments(status, headers, body, now=now)
    array = (_abi.Header * len(pairs))(*(_abi.Header(name, len(name), value, len(value)) for name, value in pairs))
    return _abi.Answer(code, 0, array, len(pairs), content, len(content), now_ns)


def read_answer(
    status: SupportsIndex,
    headers: Headers,
    body: Union[str, bytes, bytearray, memoryview] = b"",
    *,
    now: Optional[Number] = None,
) -> Reading:
    """Read what a provider's answer says about limits; see the extension for the details."""
    answer = answer_of(status, headers, body, now)
    raw = _abi.Reading()
    check(lib.llmrl_answer_read(byref(answer), ctypes.sizeof(answer), byref(raw), ctypes.sizeof(raw)), "read_answer")
    quotas = [[getattr(quota, name) for name in _abi.QUOTA] for quota in raw.quotas[: raw.quota_count]]
    return _feedback.make_reading([getattr(raw, name) for name in _abi.READING], quotas)
