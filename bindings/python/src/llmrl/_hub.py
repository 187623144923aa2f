"""Those who wait for one limiter, and how they sleep; shared by both backends.

Waiting never happens inside the C library. An acquisition that cannot be admitted at once gets a ticket, and whoever waits for
it sleeps here: a thread on a lock, an asyncio task on a future (``_loop.py``). That keeps three promises at once:

* every call into the library is made while the GIL is held and returns at once, so its wake callback never has to wait for the
  GIL. A callback that waits for the GIL in a thread that the library has parked would be killed by the interpreter's
  shutdown in the middle of the library's frames;
* a blocked thread sleeps in ``lock.acquire``, which a signal interrupts: Ctrl-C works without waking up to look for it;
* threads and tasks are tickets in the same queue, so one FIFO order holds for all of them.

The callback itself only notes the ticket; the backend hands it to ``Hub.wake`` once the library's call has returned. Python code
can be interrupted by a signal handler that raises, and inside the callback nobody could take that exception.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
import weakref
from typing import Any, Generator, Optional, Protocol

from ._args import FOREVER


class Waiter(Protocol):
    def wake(self) -> None: ...


class Clock(Protocol):
    def now_ns(self) -> int: ...


class Turn(Protocol):
    """An acquisition with a ticket, as a backend provides it."""

    @property
    def _ticket(self) -> int: ...

    @property
    def _line(self) -> object:
        """The same for all turns of one FIFO queue: none of them is held before those that came earlier."""

    @property
    def _timeout_ns(self) -> int:
        """For how long to wait at most; FOREVER is no limit."""

    def _poll(self) -> Optional[int]:
        """None: the ticket is held. Otherwise nanoseconds after which to ask again. Raises when the ticket has ended."""

    def _drop(self) -> None:
        """End the ticket, waiting or held, and give everything back. Does nothing when it has ended."""

    def _take(self) -> Any:
        """The permit that the held ticket has become."""


class Hub:
    """The waiters of one limiter by ticket."""

    # A limiter refers to its hub, never the hub to its limiter; only a waiter ties them together for as long as it waits.
    __slots__ = ("waiting", "clock", "timed", "closed_by", "__weakref__")

    def __init__(self, clock: Optional[Clock]) -> None:
        self.waiting: dict[int, Waiter] = {}
        self.clock = clock
        # With a manual clock a real timer means nothing; advancing that clock wakes whoever is due.
        self.timed = clock is None
        self.closed_by = ""

    def now_ns(self) -> int:
        """The time by which those wait who wait here."""
        return time.monotonic_ns() if self.clock is None else self.clock.now_ns()

    def branch(self) -> Hub:
        """Return the hub of one limiter of the map that this is the hub of, which hears of the tickets of all its limiters."""
        # Not one hub for all: those who wait for another key do not stand in the same line.
        hub = Hub(self.clock)
        hub.waiting = self.waiting
        hub.closed_by = self.closed_by
        return hub

    def wake(self, ticket: int) -> None:
        """Tell whoever waits for ``ticket`` to ask again. An unknown ticket is one whose waiter left or has not asked yet."""
        try:
            waiter = self.waiting.get(ticket)
        except AttributeError:
            return  # the garbage collector takes limiter and waiters down together
        if waiter is not None:
            waiter.wake()

    def block(self, turn: Turn) -> None:
        """Sleep until the ticket of ``turn`` is held. Raises what the ticket ended with, or KeyboardInterrupt."""
        waiter = _ThreadWait()
        ticket = turn._ticket
        self.waiting[ticket] = waiter
        try:
            # The first poll stands after the line above, because a wake sent before it found nobody.
            while (wait_ns := turn._poll()) is not None:
                waiter.sleep(wait_ns if self.timed else FOREVER)
        except BaseException:
            turn._drop()
            raise
        finally:
            self.waiting.pop(ticket, None)

    def wait(self, turn: Turn) -> Generator[Any, None, Any]:
        """Return the generator that waits for the ticket of ``turn`` and returns its permit."""
        # Not at the top: asyncio costs more to import than all of llmrl, and users of threads have no need of it.
        from ._loop import wait

        return wait(self, turn)


class _ThreadWait:
    __slots__ = ("lock",)

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.lock.acquire()

    def wake(self) -> None:
        try:
            self.lock.release()
        except RuntimeError:
            # Woken before and not asleep again yet: it will ask anyway.
            pass

    def sleep(self, wait_ns: int) -> None:
        seconds = wait_ns * 1e-9
        self.lock.acquire(timeout=-1 if seconds > threading.TIMEOUT_MAX else seconds)


_limiters: weakref.WeakSet[Any] = weakref.WeakSet()


def refuse_in_loop() -> None:
    """Raise RuntimeError in a thread whose event loop runs: to block it could block the task that is to release."""
    asyncio = sys.modules.get("asyncio")  # not imported: no loop can be running
    if asyncio is not None and asyncio._get_running_loop() is not None:
        raise RuntimeError(
            "this would block the running event loop; use 'async with limiter.acquire(...)' or 'await limiter.acquire(...)' here"
        )


def adopt(limiter: Any) -> None:
    """Close ``limiter``, a map or a router, when the process forks or the interpreter exits, should it live until then."""
    _limiters.add(limiter)


def _close_all(reason: str) -> None:
    limiters = list(_limiters)
    # First all reasons: to end a map ends its limiters.
    for limiter in limiters:
        hub = limiter._hub
        if not hub.closed_by:
            hub.closed_by = reason
        # Nobody is to be woken: after a fork their threads are not here, and at exit their loops have ended. Not by another
        # limiter either, at which the router of one of them waits as well.
        hub.waiting.clear()
    for limiter in limiters:
        limiter._end()


atexit.register(_close_all, "exit")
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _close_all("fork"))
