"""What ``_router.py`` needs of the C ABI, through ctypes: a router of the library, and a slip, which owns what one request has of it.

Docstrings stand in ``_router.py``; the extension has the same two types in ``router.c``.
"""

from __future__ import annotations

import ctypes
import sys
import weakref
from collections import deque
from ctypes import byref, c_uint32, c_void_p
from typing import TYPE_CHECKING, Any, Optional

from . import _abi
from ._ctypes_parts import check, created, lib
from ._errors import ERR_BUSY, ERR_STALE

if TYPE_CHECKING:
    from ._ctypes import Limiter, Permit
    from ._hub import Hub

# Tickets of all routers and fair queues that were woken: a call on any limiter may wake one of any of them. Two with one number
# would be told both, which does no harm. As in _ctypes.py the callback is deque.insert itself; it is never freed.
routed: deque[int] = deque()
_callback = _abi.WAKE(routed.insert)
_hubs: weakref.WeakSet[Hub] = weakref.WeakSet()


def wakes(hub: Hub) -> tuple[Any, int]:
    """The callback for the tickets of ``hub``, and its context."""
    _hubs.add(hub)
    return ctypes.cast(_callback, c_void_p), sys.maxsize


def flush_routed() -> None:
    """Tell those whose tickets were woken."""
    while routed:
        try:
            ticket = routed.popleft()
        except IndexError:
            return  # another thread was faster
        try:
            for hub in list(_hubs):
                hub.wake(ticket)
        except BaseException:
            routed.appendleft(ticket)  # a wake may be repeated, but not lost
            raise


class RawRouter:
    __slots__ = ("_handle",)

    def __init__(self, replicas: int, hub: Hub) -> None:
        self._handle = c_void_p()
        options = _abi.RouterOptions(0, replicas, *wakes(hub))
        message = ctypes.create_string_buffer(256)
        status = lib.llmrl_router_new(byref(options), ctypes.sizeof(options), byref(self._handle), message, 256)
        created(status, "Router", message)

    def __del__(self) -> None:
        if lib is None or not hasattr(self, "_handle"):
            return
        handle, self._handle.value = self._handle.value, None
        if handle:
            lib.llmrl_router_free(handle)

    def add(self, name: bytes, weight: int, limiter: Limiter) -> int:
        node, message = c_uint32(), ctypes.create_string_buffer(256)
        status = lib.llmrl_router_add(self._handle, name, len(name), weight, limiter._handle, byref(node), message, 256)
        created(status, "add", message)
        return node.value

    def set_weight(self, name: bytes, weight: int) -> int:
        status: int = lib.llmrl_router_set_weight(self._handle, name, len(name), weight)
        return status

    def remove(self, name: bytes) -> int:
        status: int = lib.llmrl_router_remove(self._handle, name, len(name))
        return status

    def node_for(self, key: bytes) -> int:
        node = c_uint32()
        check(lib.llmrl_router_node_for(self._handle, key, len(key), byref(node), None), "route")
        return node.value


class Slip:
    __slots__ = ("_router", "_nodes", "_key", "_cost", "_timeout_ns", "_routed")

    def __init__(self, router: RawRouter, nodes: Any, cost: tuple[int, ...], key: Optional[bytes], timeout_ns: int) -> None:
        self._router = router
        self._nodes = nodes
        self._key = key
        self._cost = _abi.Cost(*cost)
        self._timeout_ns = timeout_ns
        # The library writes permit and ticket into it, so no interruption can lose them.
        self._routed = _abi.Routed()

    def __del__(self) -> None:
        if lib is not None and hasattr(self, "_routed"):
            self.drop()

    def _asked(self) -> tuple[Any, ...]:
        return (self._router._handle, byref(self._cost), self._key, len(self._key or b""))

    def _out(self) -> tuple[Any, ...]:
        return (byref(self._routed), ctypes.sizeof(self._routed))

    def ask(self) -> int:
        return self._done(lib.llmrl_router_try_acquire(*self._asked(), *self._out()), "try_acquire")

    def begin(self) -> int:
        return self._done(lib.llmrl_router_enqueue(*self._asked(), self._timeout_ns, *self._out()), "acquire")

    def poll(self) -> int:
        ticket = self.ticket
        status = lib.llmrl_router_poll(self._router._handle, ticket, *self._out()) if ticket else ERR_STALE
        if status < 0:
            self._routed.ticket = 0
        return self._done(status, "acquire")

    def _done(self, status: int, what: str) -> int:
        flush_routed()
        for node in self._nodes.all:
            if node.limiter._woken:
                node.limiter._flush()
        check(status, what)
        return status

    def drop(self) -> None:
        ticket, permit = self._routed.ticket, self._routed.permit
        self._routed.ticket = self._routed.permit = 0
        # Handles are gone where router, limiters and this are garbage together. Busy: without a GIL another thread may be polling
        # this ticket at this moment, which takes less than a microsecond.
        while ticket and self._router._handle and lib.llmrl_router_cancel(self._router._handle, ticket) == ERR_BUSY:
            pass
        node = self._nodes.by_number.get(self._routed.node)
        if permit and node is not None and node.limiter._handle:
            lib.llmrl_cancel(node.limiter._handle, permit)
        if ticket or permit:
            self._done(0, "drop")

    def take(self, limiter: Limiter) -> Permit:
        from ._ctypes import make_permit  # which imports this module

        if not self._routed.permit:
            check(ERR_STALE, "acquire")
        permit = make_permit(limiter, self._routed.permit)
        self._routed.permit = 0
        return permit

    @property
    def ticket(self) -> int:
        ticket: int = self._routed.ticket
        return ticket

    @property
    def node(self) -> int:
        node: int = self._routed.node
        return node

    @property
    def wait_ns(self) -> int:
        wait_ns: int = self._routed.wait_ns
        return wait_ns
