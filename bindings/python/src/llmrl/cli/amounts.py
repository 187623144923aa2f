"""Numbers of the command line: each says what it accepts."""

from __future__ import annotations

import argparse
from typing import Any, Callable

Reader = Callable[[str], Any]


def number(kind: Any, low: float, high: float, what: str) -> Reader:
    """A reader of ``kind`` (int or float) from ``low`` to ``high``, for ``add_argument(type=...)``; ``what`` stands in its complaint."""

    def read(text: str) -> Any:
        try:
            value = kind(text.replace("_", "").replace(",", ""))
        except ValueError:
            value = None
        if value is None or not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not {what}")
        return value

    return read


count = number(int, 1, 10**12, "a whole number from 1 to 10^12")
rate = number(int, 1, 60_000_000_000, "a whole number from 1 to 60,000,000,000")
slots = number(int, 1, 10_000, "a whole number from 1 to 10000")
