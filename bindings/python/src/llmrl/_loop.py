"""Waiting in asyncio: one timer and at most one pending callback per event loop, whatever the number of waiters.

Of those who wait in one loop in one line, only the first has to ask when it is due: nobody behind it is served before it, and
when it is decided, the next one asks. So a limit that is corrected while a thousand wait moves one timer and not a thousand. The
others have timers for their deadlines alone.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from asyncio import _get_running_loop  # the cheap one: None instead of an exception
from collections import OrderedDict, deque
from heapq import heapify, heappop, heappush
from math import inf
from typing import Any, Generator, Optional

from ._args import FOREVER
from ._errors import Error
from ._hub import Hub, Turn

_local = threading.local()
_order = itertools.count()


class _Wait:
    """One ticket that a task of this loop waits for."""

    __slots__ = ("reactor", "hub", "turn", "future", "number", "deadline", "due")

    def __init__(self, reactor: _Reactor, hub: Hub, turn: Turn) -> None:
        self.reactor = reactor
        self.hub = hub
        self.turn = turn
        self.future: asyncio.Future[None] = reactor.loop.create_future()
        self.number = next(_order)
        timeout_ns = turn._timeout_ns
        self.deadline = reactor.loop.time() + timeout_ns * 1e-9 if timeout_ns < FOREVER else inf
        # Time of this wait's live entry in the reactor's heap; every other entry of it is stale.
        self.due: Optional[float] = None

    def wake(self) -> None:
        self.reactor.wake(self)

    def step(self) -> None:
        """Ask how the ticket stands and let the task know if that is decided."""
        if self.future.done():
            self.reactor.leave(self)  # decided before, or cancelled: then the task itself ends the ticket
            return
        try:
            wait_ns = self.turn._poll()
        except Error as error:
            self.reactor.leave(self)
            self.future.set_exception(error)
            return
        if wait_ns is not None:
            if self.hub.timed:
                self.reactor.arm(self, wait_ns)
            return
        # Whoever came earlier is held as well, and is asked first: tasks are to go on in the order in which they came.
        line = self.reactor.lines[self.turn._line]
        while (first := next(iter(line))) is not self:
            first.step()
            if line.get(first):
                break
        self.reactor.leave(self)
        self.future.set_result(None)


class _Reactor:
    """What one event loop needs in order to wait for tickets of any number of limiters."""

    __slots__ = ("loop", "lines", "woken", "scheduled", "heap", "stale", "timer", "timer_at")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        # Those of whom nothing is decided yet, in the order in which they came. Ordered, because taking the first from a plain
        # dict gets slower with each that was taken before.
        self.lines: dict[object, OrderedDict[_Wait, bool]] = {}
        self.woken: deque[_Wait] = deque()
        self.scheduled = False
        self.heap: list[tuple[float, int, _Wait]] = []
        self.stale = 0
        self.timer: Optional[asyncio.TimerHandle] = None
        self.timer_at = 0.0

    def enter(self, wait: _Wait) -> None:
        self.lines.setdefault(wait.turn._line, OrderedDict())[wait] = True

    def leave(self, wait: _Wait) -> None:
        line = self.lines.get(wait.turn._line)
        if line is None or wait not in line:
            return
        first = next(iter(line))
        del line[wait]
        if not line:
            del self.lines[wait.turn._line]
        elif first is wait and wait.hub.timed:
            self.wake(next(iter(line)))

    def wake(self, wait: _Wait) -> None:
        """Any thread. A burst of wakes costs the loop one callback: the first schedules it, the others join the list."""
        # First into the list, then the look at `scheduled`; drain() clears the flag before it reads the list.
        self.woken.append(wait)
        if self.scheduled:
            return
        self.scheduled = True
        try:
            if _get_running_loop() is self.loop:
                self.loop.call_soon(self.drain)  # spares the write to the loop's self-pipe
            else:
                self.loop.call_soon_threadsafe(self.drain)
        except RuntimeError:
            # The loop is closed. None of its tasks will ever run again, and what they wait for belongs to others.
            # `scheduled` stays set meanwhile: a drop that wakes the next of this loop only lengthens the list.
            while self.woken:
                self.woken.popleft().turn._drop()
            self.scheduled = False

    def drain(self) -> None:
        self.scheduled = False
        # Not until there are none: steps wake others, and the loop has more to do than this.
        for _ in range(len(self.woken) + 50):
            if not self.woken:
                break
            self.woken.popleft().step()

    def arm(self, wait: _Wait, wait_ns: int) -> None:
        """Let ``wait`` ask again: after ``wait_ns`` if it is the first or its time is over, else at its deadline."""
        self.disarm(wait)
        now = self.loop.time()
        due = wait.deadline
        if wait_ns < FOREVER and (due <= now or next(iter(self.lines[wait.turn._line])) is wait):
            due = now + wait_ns * 1e-9
        if due == inf:
            return
        wait.due = due
        heappush(self.heap, (due, next(_order), wait))
        self.set_timer()

    def disarm(self, wait: _Wait) -> None:
        if wait.due is None:
            return
        wait.due = None
        self.stale += 1
        # Waiters that leave early must not stay in memory until the time that they would have been due.
        if self.stale > 64 and self.stale * 2 > len(self.heap):
            self.heap = [entry for entry in self.heap if entry[2].due == entry[0]]
            heapify(self.heap)
            self.stale = 0

    def set_timer(self) -> None:
        while self.heap and self.heap[0][2].due != self.heap[0][0]:
            heappop(self.heap)
            self.stale -= 1
        due = self.heap[0][0] if self.heap else inf
        if self.timer is not None:
            if self.timer_at == due:
                return
            self.timer.cancel()
            self.timer = None
        if due < inf:
            self.timer_at = due
            self.timer = self.loop.call_at(due, self.fire)

    def fire(self) -> None:
        self.timer = None
        now = self.loop.time()
        while self.heap and self.heap[0][0] <= now:
            due, _, wait = heappop(self.heap)
            if wait.due == due:
                wait.due = None
                wait.step()
            else:
                self.stale -= 1
        self.set_timer()


def _reactor() -> _Reactor:
    loop = asyncio.get_running_loop()
    reactor: Optional[_Reactor] = getattr(_local, "reactor", None)
    if reactor is None or reactor.loop is not loop:
        reactor = _local.reactor = _Reactor(loop)
    return reactor


# A generator, because PyPy does not close coroutines that nobody refers to any more, and the ticket of one would stay for ever.
def wait(hub: Hub, turn: Turn) -> Generator[Any, None, Any]:
    """Wait until the ticket of ``turn`` is held and return its permit; give everything back if that is interrupted."""
    reactor = _reactor()
    waiting = _Wait(reactor, hub, turn)
    ticket = turn._ticket
    hub.waiting[ticket] = waiting
    reactor.enter(waiting)
    try:
        # Polls once more, because a wake sent before the line above found nobody.
        waiting.step()
        yield from waiting.future
        return turn._take()
    except BaseException:
        # Also when the ticket was granted and the task cancelled before it ran again: nothing was sent for it.
        turn._drop()
        raise
    finally:
        hub.waiting.pop(ticket, None)
        reactor.leave(waiting)
        reactor.disarm(waiting)
