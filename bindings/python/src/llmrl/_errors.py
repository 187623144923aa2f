"""What can go wrong, and how a status of the C library becomes an exception.

Both backends raise through :func:`from_status`, so that an error reads the same whichever of them is in use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional, Protocol, Sequence

if TYPE_CHECKING:
    from ._types import LimitState

OK = 0
PENDING = 1
REFUSED = 2
ERR_NULL = -1
ERR_SIZE = -2
ERR_FLAGS = -3
ERR_RANGE = -4
ERR_COST = -5
ERR_INDEX = -6
ERR_NEVER = -7
ERR_FULL = -8
ERR_DEADLINE = -9
ERR_CLOSED = -10
ERR_STALE = -11
ERR_BUSY = -12
ERR_MEMORY = -13
ERR_PANIC = -14
ERR_HANDLE = -15
ERR_SAVED = -16
ERR_NODE = -17


class Error(Exception):
    """Base of every error that is about limits rather than about arguments."""

    level: Optional[int] = None
    """Of which limiter of a ``Chain`` it tells, 0 is the first; None where there is no chain."""


class Never(Error, ValueError):
    """The cost is larger than a limit's burst: no amount of waiting would admit it."""


class QueueFull(Error):
    """``max_waiters`` acquisitions wait already, or ``max_permits`` permits are held."""


class MapFull(Error):
    """There is no room for another key: all limiters of a ``LimiterMap`` with ``shared=0`` are in use, or too many buckets of a
    ``BucketMap`` with ``overflow='refuse'``."""


class DeadlineExceeded(Error, TimeoutError):
    """The timeout has passed, or it was clear at once that it could not be met."""


class Closed(Error):
    """The limiter was closed: by ``close()``, by a fork, or because the interpreter exits."""


class StalePermit(Error):
    """The permit has ended already: it was settled, released or cancelled before."""


class _Hub(Protocol):
    closed_by: str


class _Limiter(Protocol):
    @property
    def _hub(self) -> _Hub: ...

    def limits(self) -> list[LimitState]: ...


class NoNode(Error, LookupError):
    """A router has no node of that name; or none that a request could go to, as there is none or all weights are 0."""


# requests, input, output
Cost = Sequence[int]

_CLOSED_BY = {
    "": "the limiter is closed",
    "close": "the limiter is closed; create a new {0} to go on",
    "fork": (
        "this limiter was created before fork(), and a copy in the child would let through the same limit a second time; "
        "create a {0} in each process, with that process's share of the limit"
    ),
    "exit": "the interpreter is exiting, and all limiters were closed",
}


def closed(what: str, closed_by: str, kind: str = "Limiter") -> Closed:
    """Return the exception for a call on what was closed for that reason; ``kind`` is what to create instead."""
    return Closed(f"{what}: {_CLOSED_BY[closed_by].format(kind)}")


def _never(limiter: Optional[_Limiter], cost: Optional[Cost]) -> Never:
    if limiter is not None and cost:
        states = limiter.limits()
        for index, state in enumerate(states):
            weight = state._weight(cost)
            # Pacing admits a cost of any size.
            if weight > state.burst and state.kind != "pacing":
                bucket = state.kind == "token_bucket"
                return Never(
                    f"cost of {weight} {state.meter.replace('_', ' ')} can never fit limit {index}, whose "
                    f"{'burst' if bucket else 'amount'} is {state.burst}; send a smaller request, "
                    f"{'raise burst, ' if bucket else ''}or give that limit oversize='when_full'"
                )
        weighted = [str(index) for index, state in enumerate(states) if state.meter == "weighted_tokens"]
        if weighted:
            return Never(
                f"the cost, by its weights, can never fit limit {' or '.join(weighted)}; send a smaller request, or give that limit "
                "oversize='when_full'"
            )
    return Never("the cost is larger than the burst of a limit and can never fit; send a smaller request or raise burst")


def bucket_refusal(status: int, what: str, n: int, burst: int) -> Error:
    """Return the exception for ERR_NEVER or ERR_FULL, which a call on a ``BucketMap`` got back."""
    if status == ERR_NEVER:
        return Never(f"{what}: n of {n} can never fit a burst of {burst}; take less at once or create the map with a larger burst")
    return MapFull(
        f"{what}: the map is full: too many of its buckets are in use; ask again later, or create the map with a larger capacity, "
        "or with overflow='share' so that keys without room share"
    )


def from_status(
    status: int,
    what: str,
    limiter: Optional[_Limiter] = None,
    cost: Optional[Cost] = None,
) -> BaseException:
    """Return the exception for a negative ``status`` that the call ``what`` got back."""
    if status == ERR_NEVER:
        return _never(limiter, cost)
    if status == ERR_FULL:
        return QueueFull(
            f"{what}: the limiter is full: max_waiters acquisitions wait or max_permits permits are held; "
            "shed load, or create the limiter with larger numbers"
        )
    if status == ERR_DEADLINE:
        return DeadlineExceeded(f"{what}: not admitted within the timeout; wait longer, send less, or treat it as overload")
    if status == ERR_CLOSED:
        return closed(what, limiter._hub.closed_by if limiter is not None else "")
    if status == ERR_STALE:
        return StalePermit(f"{what}: this permit was settled, released or cancelled before; each permit ends once")
    if status == ERR_INDEX:
        accepted = "those of limits()"
        if limiter is not None and what == "align":
            windows = [str(index) for index, state in enumerate(limiter.limits()) if state.kind == "fixed_window"]
            accepted = f"those of fixed windows: {', '.join(windows) or 'there is none'}"
        elif limiter is not None:
            accepted = f"0 to {len(limiter.limits()) - 1}"
        return ValueError(f"{what}: no such limit, or not of the kind that this call is for; accepted indices are {accepted}")
    if status == ERR_RANGE:
        return ValueError(
            f"{what}: a value is outside its accepted range: amount 1 to 2**40-1 (in flight: 1 to 2**19-1), "
            "burst 1 to 2**40-1, per one nanosecond to 3660 days, the rate of a bucket or of pacing at most 1e9 per second"
        )
    if status == ERR_COST:
        return ValueError(
            f"{what}: a cost is outside its accepted range: requests 1 to 2**40-1, input and output 0 to 2**40-1, "
            "together as well, cached and cache_write 0 to 2**36-1"
        )
    if status == ERR_NODE:
        return NoNode(f"{what}: the router has no such node; or none that has a weight: add one, or give one a weight above 0")
    if status == ERR_MEMORY:
        return MemoryError(f"{what}: the C library could not allocate")
    return SystemError(f"{what}: unexpected status {status} from the C library; this is a bug in llmrl")
