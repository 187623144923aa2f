"""Which backend is in use: the C extension, or ctypes where there is none.

``LLMRL_BACKEND=native`` or ``=ctypes`` in the environment forces one; ``llmrl.backend`` names the one in use.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

_asked = os.environ.get("LLMRL_BACKEND", "")
if _asked not in ("", "native", "ctypes"):
    raise ImportError(f"LLMRL_BACKEND must be 'native' or 'ctypes', or unset to choose by itself; got {_asked!r}")

if TYPE_CHECKING:
    from ._native import (
        Acquire,
        Limiter,
        ManualClock,
        Permit,
        TokenBucket,
        charging_cost,
        charging_of,
        library_version,
        read_answer,
    )

    backend: str
elif _asked == "ctypes":
    from ._ctypes import (
        Acquire,
        Limiter,
        ManualClock,
        Permit,
        TokenBucket,
        charging_cost,
        charging_of,
        library_version,
        read_answer,
    )

    backend = "ctypes"
else:
    try:
        from ._native import (
        Acquire,
        Limiter,
        ManualClock,
        Permit,
        TokenBucket,
        charging_cost,
        charging_of,
        library_version,
        read_answer,
    )

        backend = "native"
    except ModuleNotFoundError as error:
        # Only its absence is a reason to fall back; an extension that is there and does not load is a fault to be seen.
        if error.name != "llmrl._native" or _asked == "native":
            raise
        from ._ctypes import (
        Acquire,
        Limiter,
        ManualClock,
        Permit,
        TokenBucket,
        charging_cost,
        charging_of,
        library_version,
        read_answer,
    )

        backend = "ctypes"

__all__ = [
    "Acquire",
    "Limiter",
    "ManualClock",
    "Permit",
    "TokenBucket",
    "backend",
    "charging_cost",
    "charging_of",
    "library_version",
    "read_answer",
]
