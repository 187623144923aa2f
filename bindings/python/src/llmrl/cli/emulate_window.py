"""Windows that the emulator can enforce instead of token buckets, with the methods of :class:`emulate_bucket.Bucket`.

``amount`` is what a window allows. Nothing here comes from the library that is tested against it.
"""

from __future__ import annotations

from collections import deque
from typing import Deque, List, Optional


class FixedWindow:
    """``amount`` in each period; periods follow each other, one of them beginning at ``origin_ns``."""

    def __init__(self, amount: int, period_ns: int, origin_ns: int) -> None:
        if amount < 1 or period_ns < 1:
            raise ValueError(f"amount and period_ns must be at least 1, not {amount} and {period_ns}")
        self.amount = self.capacity = amount
        self.period_ns = period_ns
        self._origin = origin_ns
        self._window: Optional[int] = None
        self._used = 0

    def _number(self, at_ns: int) -> int:
        return (at_ns - self._origin) // self.period_ns

    def _roll(self, now_ns: int) -> int:
        if self._window is None or self._number(now_ns) > self._window:
            self._window, self._used = self._number(now_ns), 0
        return self.amount - self._used

    def available(self, now_ns: int) -> int:
        """What could be taken now (negative while in debt)."""
        return self._roll(now_ns)

    def take(self, units: int, now_ns: int) -> bool:
        """Take ``units`` if all of them are there; otherwise take nothing and say False."""
        if self._roll(now_ns) < units:
            return False
        self._used += units
        return True

    def correct(self, units: int, now_ns: int, taken_ns: int) -> None:
        """Give back (or, negative, charge) what was taken at ``taken_ns``; in a later window that changes nothing."""
        self._roll(now_ns)
        if self._number(taken_ns) == self._window:
            self._used -= units

    def wait_ns(self, units: int, now_ns: int) -> int:
        """Nanoseconds until ``units`` are there; 0 if they are."""
        return 0 if self._roll(now_ns) >= units else self.reset_ns(now_ns)

    def reset_ns(self, now_ns: int) -> int:
        """Nanoseconds until the window ends."""
        return self.period_ns - (now_ns - self._origin) % self.period_ns

    def offered(self, first_ns: int, last_ns: int) -> float:
        """The most that could be admitted from ``first_ns`` to ``last_ns``."""
        return self.amount * (self._number(last_ns) - self._number(first_ns) + 1)


class SlidingWindow:
    """At most ``amount`` in any period: a log of everything that was taken less than a period ago."""

    def __init__(self, amount: int, period_ns: int) -> None:
        if amount < 1 or period_ns < 1:
            raise ValueError(f"amount and period_ns must be at least 1, not {amount} and {period_ns}")
        self.amount = self.capacity = amount
        self.period_ns = period_ns
        self._log: Deque[List[int]] = deque()  # [time, units]
        self._used = 0

    def _roll(self, now_ns: int) -> int:
        while self._log and self._log[0][0] <= now_ns - self.period_ns:
            self._used -= self._log.popleft()[1]
        return self.amount - self._used

    def available(self, now_ns: int) -> int:
        """What could be taken now (negative while in debt)."""
        return self._roll(now_ns)

    def take(self, units: int, now_ns: int) -> bool:
        """Take ``units`` if all of them are there; otherwise take nothing and say False."""
        if self._roll(now_ns) < units:
            return False
        self._log.append([now_ns, units])
        self._used += units
        return True

    def correct(self, units: int, now_ns: int, taken_ns: int) -> None:
        """Give back (or, negative, charge) what was taken at ``taken_ns``; when that has left the window, nothing changes."""
        self._roll(now_ns)
        for entry in self._log:
            if entry[0] == taken_ns:
                entry[1] -= units
                self._used -= units
                return

    def wait_ns(self, units: int, now_ns: int) -> int:
        """Nanoseconds until ``units`` are there; 0 if they are."""
        left = self._roll(now_ns)
        if left >= units:
            return 0
        for at_ns, taken in self._log:
            left += taken
            if left >= units:
                return at_ns + self.period_ns - now_ns
        return self.period_ns  # more than there ever is

    def reset_ns(self, now_ns: int) -> int:
        """Nanoseconds until the window is empty."""
        self._roll(now_ns)
        return self._log[-1][0] + self.period_ns - now_ns if self._log else 0

    def offered(self, first_ns: int, last_ns: int) -> float:
        """The most that could be admitted from ``first_ns`` to ``last_ns``."""
        return self.amount * ((last_ns - first_ns) // self.period_ns + 1)
