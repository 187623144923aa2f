"""How providers count: bucket, window, rolling log, slots. Exact integers; time is always an argument, in nanoseconds.

Every meter answers the same questions:

* ``wait_ns(units, now)``: 0 if so many units are there, otherwise nanoseconds until they are;
* ``take`` and ``give`` move units; ``take`` does not ask whether they are there;
* ``remaining`` and ``reset_ns`` are what the headers say;
* ``account(now)`` returns two growing sums, what was used and what is gone (used or lost for ever). Between two moments,
  yield is the growth of the first over the growth of the second.
"""

from __future__ import annotations

from collections import deque
from typing import Deque, Protocol, Tuple

from virtual import MINUTE, SECOND


class Meter(Protocol):
    limit: int
    period_ns: int

    def wait_ns(self, units: int, now: int) -> int: ...
    def take(self, units: int, now: int) -> None: ...
    def give(self, units: int, now: int) -> None: ...
    def remaining(self, now: int) -> int: ...
    def reset_ns(self, now: int) -> int: ...
    def account(self, now: int) -> Tuple[float, float]: ...


class Bucket:
    """Continuous: ``limit`` units per period, produced evenly; a whole period's worth can be saved up. Starts full.

    The level is kept in units x nanoseconds of a period, in which one nanosecond produces exactly ``limit``.
    """

    def __init__(self, limit: int, period_ns: int = MINUTE) -> None:
        self.limit = limit
        self.period_ns = period_ns
        self._level = limit * period_ns
        self._at = 0
        self._used = 0
        self._lost = 0

    def _roll(self, now: int) -> int:
        level = self._level + self.limit * (now - self._at)
        full = self.limit * self.period_ns
        self._at = now
        if level > full:
            self._lost += level - full
            level = full
        self._level = level
        return level

    def wait_ns(self, units: int, now: int) -> int:
        missing = units * self.period_ns - self._roll(now)
        return -(-missing // self.limit) if missing > 0 else 0

    def take(self, units: int, now: int) -> None:
        self._roll(now)
        self._level -= units * self.period_ns
        self._used += units

    def give(self, units: int, now: int) -> None:
        """Settle: negative units are charged on top."""
        self._level += units * self.period_ns
        self._used -= units
        self._roll(now)

    def take_by_others(self, units: int, now: int) -> None:
        """By force, as somebody who does not ask; the level may fall below nothing. Neither used nor lost by the client."""
        self._roll(now)
        self._level -= units * self.period_ns

    def retune(self, limit: int, now: int) -> None:
        """A new rate and capacity. What is above the new capacity is taken away, which is nobody's loss."""
        level = self._roll(now)
        self.limit = limit
        self._level = min(level, limit * self.period_ns)

    def remaining(self, now: int) -> int:
        return max(0, self._roll(now) // self.period_ns)

    def reset_ns(self, now: int) -> int:
        """Until it is full: what OpenAI calls reset."""
        return -(-(self.limit * self.period_ns - self._roll(now)) // self.limit)

    def account(self, now: int) -> Tuple[float, float]:
        self._roll(now)
        return self._used, self._used + self._lost / self.period_ns


class Window:
    """``limit`` units in each period, all of which come back at its end. ``origin_ns`` is the start of one of them."""

    def __init__(self, limit: int, period_ns: int = MINUTE, origin_ns: int = 0) -> None:
        self.limit = limit
        self.period_ns = period_ns
        self._origin = origin_ns
        self._number = -origin_ns // period_ns
        self._here = 0
        self._used = 0
        self._gone = 0

    def _roll(self, now: int) -> None:
        number = (now - self._origin) // self.period_ns
        if number > self._number:
            self._used += self._here
            self._gone += (number - self._number) * self.limit
            self._here = 0
            self._number = number

    def wait_ns(self, units: int, now: int) -> int:
        self._roll(now)
        return 0 if self._here + units <= self.limit else self.reset_ns(now)

    def take(self, units: int, now: int) -> None:
        self._roll(now)
        self._here += units

    def give(self, units: int, now: int) -> None:
        self._roll(now)
        self._here -= units

    def remaining(self, now: int) -> int:
        self._roll(now)
        return self.limit - self._here

    def reset_ns(self, now: int) -> int:
        return self.period_ns - (now - self._origin) % self.period_ns

    def account(self, now: int) -> Tuple[float, float]:
        """Of whole windows only."""
        self._roll(now)
        return self._used, self._gone


class Rolling:
    """Never more than ``limit`` units in any period: an exact log.

    Used: how full the log was, on average. Counting what was admitted would be off by a whole limit for bursts
    that the last moment just includes or misses.
    """

    def __init__(self, limit: int, period_ns: int = MINUTE) -> None:
        self.limit = limit
        self.period_ns = period_ns
        self._log: Deque[Tuple[int, int]] = deque()
        self._here = 0
        self._left = 0
        self._moments = 0
        """Sum of units x time over the log."""

    def _roll(self, now: int) -> None:
        while self._log and self._log[0][0] + self.period_ns <= now:
            at, units = self._log.popleft()
            self._here -= units
            self._left += units
            self._moments -= units * at

    def wait_ns(self, units: int, now: int) -> int:
        self._roll(now)
        over = self._here + units - self.limit
        if over <= 0:
            return 0
        for at, taken in self._log:
            over -= taken
            if over <= 0:
                return at + self.period_ns - now
        raise ValueError(f"{units} units will never fit into {self.limit}")

    def take(self, units: int, now: int) -> None:
        self._roll(now)
        self._log.append((now, units))
        self._here += units
        self._moments += units * now

    def give(self, units: int, now: int) -> None:
        raise NotImplementedError("no provider is known to settle in a rolling window")

    def remaining(self, now: int) -> int:
        self._roll(now)
        return self.limit - self._here

    def reset_ns(self, now: int) -> int:
        """Until the last of them has left."""
        self._roll(now)
        return self._log[-1][0] + self.period_ns - now if self._log else 0

    def account(self, now: int) -> Tuple[float, float]:
        self._roll(now)
        return self._left + (self._here * now - self._moments) / self.period_ns, self.limit * now / self.period_ns


class Slots:
    """So many requests at the same time. Used: the time that slots were busy."""

    period_ns = SECOND
    """What a refusal says, because nobody knows when a slot gets free."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.busy = 0
        self._at = 0
        self._busy_ns = 0

    def _roll(self, now: int) -> None:
        self._busy_ns += self.busy * (now - self._at)
        self._at = now

    def wait_ns(self, units: int, now: int) -> int:
        return 0 if self.busy + units <= self.limit else self.period_ns

    def take(self, units: int, now: int) -> None:
        self._roll(now)
        self.busy += units

    def give(self, units: int, now: int) -> None:
        self._roll(now)
        self.busy -= units

    def remaining(self, now: int) -> int:
        return self.limit - self.busy

    def reset_ns(self, now: int) -> int:
        return 0

    def account(self, now: int) -> Tuple[float, float]:
        self._roll(now)
        return self._busy_ns / SECOND, self.limit * now / SECOND
