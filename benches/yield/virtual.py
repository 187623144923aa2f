"""Virtual time: an asyncio loop that jumps to the next timer, and a ``time`` module that follows it.

Importing this module patches ``time``. Import it before anything that may take a function out of ``time``: then peers
run unmodified. Outside a virtual loop the patched functions answer as before.
"""

from __future__ import annotations

import asyncio
import math
import selectors
import time
from asyncio import _get_running_loop
from typing import Any, Callable, Coroutine, List, Optional, TypeVar

T = TypeVar("T")
SECOND = 1_000_000_000
MINUTE = 60 * SECOND

TURN_NS = 1_000
"""What one turn of the loop takes. Without it, a peer whose timer comes out a rounding error short would set another one
of no length for ever."""


class _Jump(selectors.SelectSelector):
    """Nothing is ever read or written, so instead of waiting for that, time passes."""

    loop: VirtualLoop

    def select(self, timeout: Optional[float] = None) -> List[Any]:
        if timeout is None:
            raise RuntimeError("nothing is left to happen: no timer is set, and every task waits for another")
        # Like epoll, which knows whole milliseconds and is never early.
        self.loop.advance(TURN_NS + math.ceil(timeout * 1e3) * 1_000_000)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time stands still while tasks run, and otherwise jumps.

    Everything that waits for the world (the network, the provider) uses ``pause``. Any other timer belongs to the client
    under test and is counted when it fires.
    """

    def __init__(self, epoch_ns: int = 0) -> None:
        self.now_ns = 0
        self.epoch_ns = epoch_ns
        """The wall clock at the start."""
        self.followers: List[Callable[[int], None]] = []
        """Called with the nanoseconds by which time moves, before any timer fires."""
        self.wakeups = 0
        selector = _Jump()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now_ns / SECOND

    def advance(self, ns: int) -> None:
        self.now_ns += ns
        for follow in self.followers:
            follow(ns)

    def call_at(  # type: ignore[override]  # generic in the stubs
        self, when: float, callback: Callable[..., Any], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        return super().call_at(when, self._woken, callback, *args, context=context)

    def _woken(self, callback: Callable[..., Any], *args: Any) -> None:
        self.wakeups += 1
        callback(*args)

    async def pause(self, seconds: float) -> None:
        future = self.create_future()
        super().call_at(self.time() + seconds, _resolve, future)
        await future


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():  # its task may have been cancelled
        future.set_result(None)


def run(loop: VirtualLoop, main: Coroutine[Any, Any, T]) -> T:
    """Run ``main`` to its end in virtual time and close the loop."""
    try:
        return loop.run_until_complete(main)
    finally:
        loop.close()


def _followed(real: Callable[[], Any], virtual: Callable[[VirtualLoop], Any]) -> Callable[[], Any]:
    def now() -> Any:
        loop = _get_running_loop()
        return virtual(loop) if type(loop) is VirtualLoop else real()

    return now


for _name in ("monotonic", "perf_counter"):
    setattr(time, _name, _followed(getattr(time, _name), lambda loop: loop.now_ns / SECOND))
    setattr(time, f"{_name}_ns", _followed(getattr(time, f"{_name}_ns"), lambda loop: loop.now_ns))
time.time = _followed(time.time, lambda loop: (loop.epoch_ns + loop.now_ns) / SECOND)
time.time_ns = _followed(time.time_ns, lambda loop: loop.epoch_ns + loop.now_ns)
