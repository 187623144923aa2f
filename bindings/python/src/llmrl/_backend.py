"""Which backend is in use: the C extension, or ctypes where there is none.

``LLMRL_BACKEND=native`` or ``=ctypes`` in the environment forces one; ``llmrl.backend`` names the one in use.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

_asked = os.environ.get("LLMRL_BACKEND", "")
if _asked not in ("", "native", "ctypes"):
    raise ImportError(f"LLMRL_BACKEND must be 'native' or 'ctypes', or unset to choose by itself; got {_asked!r}")

if TYPE_CHECKING:
    from . import _native as _chosen

    backend: str
else:
    backend = _asked or "native"
    try:
        _chosen = import_module(f"._{backend}", __package__)
    except ModuleNotFoundError as error:
        # Only its absence is a reason to fall back; an extension that is there and does not load is a fault to be seen.
        if error.name != "llmrl._native" or _asked == "native":
            raise
        backend = "ctypes"
        _chosen = import_module("._ctypes", __package__)

Acquire = _chosen.Acquire
BucketMap = _chosen.BucketMap
FairSlip = _chosen.FairSlip
Limiter = _chosen.Limiter
ManualClock = _chosen.ManualClock
Map = _chosen.Map
Permit = _chosen.Permit
RawFair = _chosen.RawFair
RawRouter = _chosen.RawRouter
Slip = _chosen.Slip
TokenBucket = _chosen.TokenBucket
charging_cost = _chosen.charging_cost
charging_of = _chosen.charging_of
lengths_estimate = _chosen.lengths_estimate
lengths_new = _chosen.lengths_new
lengths_record = _chosen.lengths_record
library_version = _chosen.library_version
read_answer = _chosen.read_answer

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
    "backend",
    "charging_cost",
    "charging_of",
    "lengths_estimate",
    "lengths_new",
    "lengths_record",
    "library_version",
    "read_answer",
]
