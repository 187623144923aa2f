"""When a provider's clock resets a limit. The wall clock is read here and nowhere else."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, tzinfo
from typing import SupportsIndex, Union

from . import _args
from ._args import Number

DAY = 86_400


def until_reset(period: Number, utc_offset: SupportsIndex = 0) -> float:
    """Seconds until the present ``period`` of the calendar is over, above 0 and at most ``period``.

    Periods follow each other from midnight of 1 January 1970 on, ``utc_offset`` seconds east of Greenwich (-86400 to 86400):
    ``until_reset(60)`` is the rest of this minute, ``until_reset(86400, -8 * 3600)`` that of this day in a Californian winter.
    """
    period_ns = _args.duration_ns("until_reset: period", period, 1)
    offset = _args.whole("until_reset: utc_offset", utc_offset, -DAY, DAY)
    return (period_ns - (time.time_ns() + offset * 1_000_000_000) % period_ns) / 1e9


def until_midnight(zone: Union[str, tzinfo] = "UTC") -> float:
    """Seconds until midnight in ``zone``, a name as in ``"America/Los_Angeles"`` or a ``tzinfo``; summer time is known.

    At most 86400, which is what a window of a day can hold: in the first hour of the day that has 25, the answer is up to an
    hour short. A window goes on in days of 24 hours; ``limiter.align(index, until_midnight(zone))`` moves it after a change.
    """
    now = datetime.fromtimestamp(time.time_ns() / 1e9, _zone(zone))
    midnight = datetime(now.year, now.month, now.day, tzinfo=now.tzinfo) + timedelta(days=1)
    return min(midnight.timestamp() - now.timestamp(), float(DAY))


def _zone(zone: Union[str, tzinfo]) -> tzinfo:
    if isinstance(zone, tzinfo):
        return zone
    accepted = "a time zone such as 'America/Los_Angeles' that this machine knows, or a datetime.tzinfo"
    if not isinstance(zone, str):
        raise TypeError(f"until_midnight: zone must be {accepted}, got {type(zone).__name__} {_args.shown(zone)}")
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(zone)
    except (KeyError, ValueError, OSError):  # not found, not a name, a directory
        raise ValueError(f"until_midnight: zone must be {accepted}, got {_args.shown(zone)}") from None
