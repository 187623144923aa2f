"""Limiters by name: which one a key belongs to, and which one admits a request soonest; shared by both backends.

A backend has two types of its own: ``RawRouter``, the library's router, and ``Slip``, which owns the ticket or the permit that one
request has of it, and ends it when it dies. Waiting is the hub's, as for a single limiter.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Optional, SupportsIndex, Union

from . import _args
from ._args import FOREVER, Number, shown, whole
from ._backend import Limiter, Permit, RawRouter, Slip
from ._errors import ERR_NODE, ERR_RANGE, OK, PENDING, from_status
from ._hub import Hub, adopt
from ._once import Queued

Name = Union[str, bytes]
MAX_WEIGHT = 1_000_000
MAX_REPLICAS = 10_000


class Node(NamedTuple):
    """One limiter of a Router."""

    name: Name
    """As it was added."""
    limiter: Limiter
    """What admits there."""


class Routed(NamedTuple):
    """A request that was admitted, and where."""

    node: Node
    """Where the request is to be sent."""
    permit: Permit
    """To be settled, released or cancelled like any other."""


def _bytes(field: str, value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    raise TypeError(f"{field} must be str or bytes, got {type(value).__name__} {shown(value)}")


class _Nodes(NamedTuple):
    """What a router has at one time. Replaced by every change, so that those who wait keep the nodes that they wait for."""

    by_number: dict[int, Node]
    # The garbage collector empties dicts before it is done with the rest; a tuple holds on to the limiters until then.
    all: tuple[Node, ...]


def _nodes(by_number: dict[int, Node]) -> _Nodes:
    return _Nodes(by_number, tuple(by_number.values()))


class Router:
    """Limiters by name: parts of one limit, to which keys belong, or deployments of one model, of which the soonest is taken.

    By default keys are spread by weighted rendezvous hashing: exactly by weight, and a node that is added or removed moves only its
    own share. ``replicas``, 1 to 10000, asks for a ring of MD5 points instead, the placement of ``f"{name}:{i}"`` rings.
    Thread-safe, like a Limiter.
    """

    __slots__ = ("_raw", "_hub", "_nodes", "__weakref__")

    def __init__(self, *, replicas: Optional[SupportsIndex] = None) -> None:
        points = 0 if replicas is None else whole("replicas", replicas, 1, MAX_REPLICAS)
        self._hub = Hub(None)
        # Of what clock they are is known when there are nodes.
        self._hub.timed = False
        self._raw = RawRouter(points, self._hub)
        self._nodes = _nodes({})
        adopt(self)

    def add(self, name: Name, limiter: Limiter, weight: SupportsIndex = 1) -> None:
        """Add a node under a name of 1 to 255 bytes that no other has; ``weight``, 0 to 1000000, is its share.

        Whoever waits already has no place at it. Raises ValueError for a name that is there, or is too long, and for too many nodes.
        """
        if not hasattr(limiter, "_hub"):
            raise TypeError(f"limiter must be a Limiter, got {type(limiter).__name__} {shown(limiter)}")
        number = self._raw.add(_bytes("name", name), whole("weight", weight, 0, MAX_WEIGHT), limiter)
        self._nodes = _nodes({**self._nodes.by_number, number: Node(name, limiter)})
        self._hub.timed = self._hub.timed or limiter._hub.timed

    def remove(self, name: Name) -> None:
        """Take a node away. Permits are not touched; whoever waits may still be admitted there, unless its limiter is closed.

        Raises NoNode.
        """
        asked = _bytes("name", name)
        self._changed(self._raw.remove(asked), "remove", name)
        left = {number: node for number, node in self._nodes.by_number.items() if _bytes("name", node.name) != asked}
        self._nodes = _nodes(left)

    def set_weight(self, name: Name, weight: SupportsIndex) -> None:
        """Give a node another share, 0 to 1000000: keys move only to it, or only away from it. 0: no keys, no requests.

        Raises NoNode.
        """
        status = self._raw.set_weight(_bytes("name", name), whole("weight", weight, 0, MAX_WEIGHT))
        self._changed(status, "set_weight", name)

    @staticmethod
    def _changed(status: int, what: str, name: Name) -> None:
        if status == ERR_RANGE:
            raise ValueError(f"{what}: with this weight of {shown(name)} the ring would have more than 1048576 points")
        if status < 0:
            raise from_status(status, f"{what}({shown(name)})" if status == ERR_NODE else what)

    def nodes(self) -> list[Node]:
        """Return the nodes in the order in which they were added."""
        return list(self._nodes.all)

    def route(self, key: Union[str, bytes]) -> Node:
        """Return the node to which ``key`` belongs, whatever its limiter would say. Raises NoNode if none has a weight."""
        nodes = self._nodes
        return self._node(nodes, self._raw.node_for(_bytes("key", key)))

    def _node(self, nodes: _Nodes, number: int) -> Node:
        # One that was added while the library was asked is only in the newer of the two.
        return nodes.by_number.get(number) or self._nodes.by_number[number]

    def try_acquire(
        self,
        input: SupportsIndex = 0,
        output: SupportsIndex = 0,
        *,
        requests: SupportsIndex = 1,
        cached: SupportsIndex = 0,
        cache_write: SupportsIndex = 0,
        key: Union[str, bytes, None] = None,
    ) -> Optional[Routed]:
        """Return node and Permit if a node admits the request now, None if not.

        With a key its own node is asked first, then the others in the key's order; without, a node chosen by weight.
        Raises Never when no open node could ever admit it, Closed when all are closed, NoNode when none has a weight, QueueFull.
        """
        cost = _args.cost(input, output, requests, cached, cache_write)
        acquire = RoutedAcquire(self, cost, None if key is None else _bytes("key", key), FOREVER)
        return acquire._take() if acquire._slip.ask() == OK else None

    def acquire(
        self,
        input: SupportsIndex = 0,
        output: SupportsIndex = 0,
        *,
        requests: SupportsIndex = 1,
        cached: SupportsIndex = 0,
        cache_write: SupportsIndex = 0,
        key: Union[str, bytes, None] = None,
        timeout: Optional[Number] = None,
    ) -> RoutedAcquire:
        """Return an acquisition that waits at all nodes and is admitted by the first: await it, use it with ``with`` or
        ``async with``, or call ``wait()`` on it. Each gives a Routed: ``async with router.acquire() as (node, permit):``.

        Nodes that are paused, closed, full or too small are passed over. Waiting raises what the node that came closest says:
        DeadlineExceeded, QueueFull, Never or Closed; and NoNode.
        """
        cost = _args.cost(input, output, requests, cached, cache_write)
        return RoutedAcquire(self, cost, None if key is None else _bytes("key", key), _args.timeout_ns(timeout))

    def _end(self) -> None:
        """Nothing to close: its limiters are."""


class RoutedAcquire(Queued[Routed]):
    """An acquisition that begins when it is awaited, entered with ``with`` or ``async with``, or waited for. Made by a Router."""

    __slots__ = ("_router", "_nodes", "_slip", "_timeout_ns")
    _maker = "router"

    def __init__(self, router: Router, cost: tuple[int, int, int, int, int], key: Optional[bytes], timeout_ns: int) -> None:
        super().__init__()
        self._router = router
        self._nodes = router._nodes
        self._slip = Slip(router._raw, self._nodes, cost, key, timeout_ns)
        self._timeout_ns = timeout_ns

    @property
    def _hub(self) -> Hub:
        return self._router._hub

    @property
    def _ticket(self) -> int:
        return self._slip.ticket

    @property
    def _line(self) -> object:
        # Each stands in queues of its own choice.
        return self

    def _begin(self, what: str) -> Optional[Routed]:
        """Take a place in the queue of each node: what was admitted if it was at once."""
        self._use(what)
        return self._take() if self._slip.begin() == OK else None

    def _poll(self) -> Optional[int]:
        return self._slip.wait_ns if self._slip.poll() == PENDING else None

    def _drop(self) -> None:
        self._slip.drop()

    def _take(self) -> Routed:
        node = self._router._node(self._nodes, self._slip.node)
        return Routed(node, self._slip.take(node.limiter))

    def _permit_of(self, got: Routed) -> Permit:
        return got.permit
