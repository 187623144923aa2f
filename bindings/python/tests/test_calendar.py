"""When a day ends where, also on the days on which the clocks change."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from llmrl import Limit, until_midnight, until_reset
from llmrl import _calendar

HOUR = 3600
PACIFIC = "America/Los_Angeles"


@pytest.fixture()
def at(monkeypatch):
    """Set the wall clock to an instant of Greenwich."""

    def set_clock(text: str) -> None:
        instant = datetime.fromisoformat(text).replace(tzinfo=timezone.utc)
        ns = (instant - datetime(1970, 1, 1, tzinfo=timezone.utc)) // timedelta(microseconds=1) * 1000
        monkeypatch.setattr(_calendar.time, "time_ns", lambda: ns)

    return set_clock


@pytest.fixture()
def pacific():
    zoneinfo = pytest.importorskip("zoneinfo")
    try:
        return zoneinfo.ZoneInfo(PACIFIC)
    except zoneinfo.ZoneInfoNotFoundError:
        pytest.skip("this machine has no time zones")


def test_until_reset(at):
    at("2026-11-21T14:24:39.250")
    assert until_reset(60) == 20.75
    assert until_reset(0.5) == 0.25
    assert until_reset(86400) == 9 * HOUR + 35 * 60 + 20.75
    assert until_reset(86400, -8 * HOUR) == 17 * HOUR + 35 * 60 + 20.75
    assert until_reset(86400, utc_offset=19800) == 4 * HOUR + 5 * 60 + 20.75
    at("2026-11-21T14:24:00")
    assert until_reset(60) == 60.0, "a period that begins now is whole"


@pytest.mark.parametrize(
    "instant, hours",
    [
        ("2026-07-01T06:00:00", 1),  # summer: 23:00 the day before
        ("2026-07-01T07:00:00", 24),
        ("2026-01-01T07:00:00", 1),  # winter
        ("2026-03-08T08:00:00", 23),  # the day that has 23 hours
        ("2026-03-08T20:00:00", 11),
        ("2026-11-01T08:00:00", 24),  # the day that has 25, an hour of it gone
        ("2026-11-01T07:30:00", 24),  # half an hour gone: no more than a day
        ("2026-11-01T09:30:00", 22.5),  # the second 01:30
    ],
)
def test_until_midnight(at, pacific, instant, hours):
    at(instant)
    assert until_midnight(PACIFIC) == until_midnight(pacific) == hours * HOUR


def test_other_zones(at):
    at("2026-11-21T14:24:39.250")
    assert until_midnight() == until_reset(86400)
    assert until_midnight(timezone(timedelta(hours=-8))) == until_reset(86400, -8 * HOUR)


def test_it_is_what_a_window_takes():
    for _ in range(1000):
        Limit.fixed_window(1500, 86400, resets_in=until_midnight())
        Limit.fixed_window(10, 1e-3, resets_in=until_reset(1e-3))


def test_bad_arguments():
    for value in ("America/Nowhere", "", "../etc/passwd", "America", "\0"):
        with pytest.raises(ValueError, match="until_midnight: zone must be a time zone such as 'America/Los_Angeles'.* got"):
            until_midnight(value)
    with pytest.raises(TypeError, match="zone must be a time zone .* got int -8"):
        until_midnight(-8)
    with pytest.raises(ValueError, match="until_reset: period must be seconds from 1e-9 to 9.2e9, got 0"):
        until_reset(0)
    with pytest.raises(ValueError, match="until_reset: utc_offset must be from -86400 to 86400, got 86401"):
        until_reset(60, 86401)
