"""What a provider charges for a request, of the ctypes backend: numbers in, numbers out; ``_charging.py`` has the names."""

from __future__ import annotations

import ctypes
from ctypes import byref
from typing import Optional, Tuple

from . import _abi
from ._ctypes_parts import check, lib

_Four = Tuple[int, int, int, int]


def charging_of(name: str) -> Optional[_Four]:
    raw = _abi.Charging()
    # What is behind a zero byte would not be looked at.
    if "\0" in name or lib.llmrl_charging_of(name.encode(), byref(raw), ctypes.sizeof(raw)) < 0:
        return None
    return raw.flags, raw.output, raw.settlement, raw.burndown


def charging_cost(rule: _Four, request: _Four, used: Optional[Tuple[int, int, int]]) -> Tuple[int, int]:
    charging, asked, cost = _abi.Charging(*rule), _abi.Request(*request), _abi.Cost()
    given = (byref(charging), ctypes.sizeof(charging), byref(asked), ctypes.sizeof(asked))
    if used is None:
        check(lib.llmrl_charging_reserve(*given, byref(cost)), "Charging")
    else:
        answered = _abi.Cost(requests=1, input_tokens=used[0], output_tokens=used[1], cached_tokens=used[2])
        check(lib.llmrl_charging_settle(*given, byref(answered), byref(cost)), "Charging")
    return cost.input_tokens, cost.output_tokens
