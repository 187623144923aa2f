"""Bare token buckets by key."""

from __future__ import annotations

import functools
import math
import re
import threading
import types
from pathlib import Path

import pytest

import llmrl


def buckets(api, amount=60, **options):
    options.setdefault("capacity", 1000)
    options.setdefault("clock", api.ManualClock())
    return api.BucketMap(amount, **options)


def test_each_key_has_its_own(api):
    clock = api.ManualClock()
    users = buckets(api, burst=10, clock=clock)
    assert users.try_take("alice", 9) is True
    assert users.try_take("alice") is True
    assert users.try_take("alice") is False
    assert users.try_take("bob", 10) is True
    assert (users.available("alice"), users.available("bob"), users.available("carol")) == (0, 0, 10)
    assert users.wait_time("alice") == 1.0
    assert users.wait_time("alice", 10) == 10.0
    clock.advance_ns(999_999_999)
    assert users.try_take("alice") is False
    clock.advance_ns(1)
    assert users.wait_time("alice") == 0.0
    assert users.available("alice") == 1, "asking for the time takes nothing"
    assert users.try_take("alice") is True


def test_refund_and_charge(api):
    users = buckets(api)
    users.charge("alice", 100)
    assert users.available("alice") == -40
    users.refund("alice", 20)
    assert users.available("alice") == -20
    assert users.wait_time("alice") == 21.0
    users.refund("bob", 20)
    assert users.available("bob") == 60, "no bucket ever holds more than its burst"


def test_text_is_its_utf8(api):
    users = buckets(api)
    assert users.try_take("größe", 60)
    assert not users.try_take("größe".encode())
    assert users.try_take("with\0zero", 60)
    assert users.available("with") == 60 and users.available(b"with\0zero") == 0
    assert users.try_take("\U0001f600" * 16384) and users.available(("\U0001f600" * 16384).encode()) == 59


CALLS = {
    "try_take": lambda users, key: users.try_take(key),
    "wait_time": lambda users, key: users.wait_time(key),
    "refund": lambda users, key: users.refund(key, 1),
    "charge": lambda users, key: users.charge(key, 1),
    "available": lambda users, key: users.available(key),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(
    "key, error, message",
    [
        ("", ValueError, "key must be str or bytes, 1 to 65536 of them in UTF-8, got 0: ''"),
        (b"", ValueError, "got 0: b''"),
        ("k" * 65537, ValueError, "got 65537: 'kkk"),
        ("ö" * 32769, ValueError, "got 65538: 'ööö"),
        ("\ud800", ValueError, r"got '\\ud800', which is no text"),
        (7, TypeError, "1 to 65536 of them in UTF-8, got int 7"),
        (None, TypeError, "got NoneType None"),
        (bytearray(b"key"), TypeError, "got bytearray"),
    ],
    ids=repr,
)
def test_keys_that_are_refused(api, name, key, error, message):
    users = buckets(api)
    with pytest.raises(error, match=message):
        CALLS[name](users, key)
    assert users.stats().keys == 0


@pytest.mark.parametrize("name", ["try_take", "wait_time", "refund", "charge"])
@pytest.mark.parametrize("n, error", [(0, ValueError), (-1, ValueError), (2**40, ValueError), (1.0, TypeError), (True, TypeError)])
def test_numbers_that_are_refused(api, name, n, error):
    users = buckets(api)
    with pytest.raises(error, match=r"n must be (a whole number )?from 1 to 1099511627775, got"):
        getattr(users, name)("alice", n)
    assert users.stats().keys == 0


def test_how_many_arguments(api):
    users = buckets(api)
    for call in (users.try_take, users.wait_time, users.refund, users.charge):
        for arguments in ((), ("alice", 1, 2)):
            with pytest.raises(TypeError):
                call(*arguments)
    for call in (users.refund, users.charge):
        with pytest.raises(TypeError):
            call("alice")


def test_more_than_a_bucket_holds(api):
    users = buckets(api, burst=5)
    for name in ("try_take", "wait_time"):
        with pytest.raises(llmrl.Never, match=f"{name}: n of 6 can never fit a burst of 5; take less at once"):
            getattr(users, name)("alice", 6)
    patient = buckets(api, burst=5, oversize="when_full")
    assert patient.wait_time("alice", 6) == 0.0
    assert patient.available("alice") == 5, "asking for the time takes nothing"
    assert patient.try_take("alice", 6) is True
    assert patient.available("alice") == -1


def test_keys_without_room(api):
    clock = api.ManualClock()
    sharing, refusing = (buckets(api, capacity=1, overflow=overflow, clock=clock) for overflow in ("share", "refuse"))
    keys = [f"user {number}" for number in range(1000)]
    taken = [sharing.try_take(key, 60) for key in keys]
    assert True in taken and False in taken
    stats = sharing.stats()
    assert isinstance(stats, llmrl.BucketMapStats) and 0 < stats.keys < 1000
    assert stats.evictions == 0 and stats.overflows >= taken.count(False)
    refused = 0
    for key in keys:
        try:
            assert refusing.try_take(key, 60) is True
        except llmrl.MapFull as error:
            assert "try_take: the map is full" in str(error) and "overflow='share'" in str(error)
            refused += 1
    assert refused == 1000 - refusing.stats().keys > 0
    last = keys[-1]
    with pytest.raises(llmrl.MapFull, match="charge: the map is full"):
        refusing.charge(last, 1)
    # Full again, a bucket gives way.
    clock.advance(60)
    assert refusing.try_take(last) is True
    assert refusing.stats().evictions == 1


def test_asking_for_the_time_takes_nothing_of_what_is_shared(api):
    sharing = buckets(api, capacity=1)
    number = 0
    while sharing.stats().overflows == 0:
        assert number < 1000
        sharing.charge(f"user {number}", 1)
        number += 1
    shared = f"user {number - 1}"
    before = sharing.available(shared)
    assert sharing.wait_time(shared) == 0.0
    assert sharing.available(shared) == before


def test_no_key_is_forgotten_before_it_is_due(api):
    clock = api.ManualClock()
    users = buckets(api, capacity=100, clock=clock)
    assert users.try_take("alice", 60)
    for number in range(10_000):
        users.try_take(f"user {number}")
        clock.advance_ns(1_000_000)
    assert users.available("alice") == 10, "ten seconds, and nothing else"


def test_arguments_that_are_refused(api):
    for wrong, error, message in [
        ({"amount": 0}, ValueError, "amount must be from 1 to 1099511627775, got 0"),
        ({"per": 0}, ValueError, "per must be seconds from 1e-9"),
        ({"burst": 2**40}, ValueError, "burst must be from 1"),
        ({"capacity": 0}, ValueError, "capacity must be from 1 to 1073741824, got 0"),
        ({"capacity": 2**30 + 1}, ValueError, "capacity must be from 1 to 1073741824"),
        ({"capacity": 10.0}, TypeError, "capacity must be a whole number"),
        ({"overflow": "drop"}, ValueError, "overflow must be 'share' or 'refuse', got 'drop'"),
        ({"oversize": "later"}, ValueError, "BucketMap: oversize must be 'reject' or 'when_full', got 'later'"),
        ({"clock": 5}, TypeError, "clock must be a llmrl.ManualClock or None, got 5"),
        ({"amount": 2**40 - 1, "per": 1e-9}, ValueError, "BucketMap: "),
    ]:
        with pytest.raises(error, match=message):
            buckets(api, **{"amount": 60, **wrong})
    with pytest.raises(TypeError):
        api.BucketMap(60, start_empty=True)


def test_repr(api):
    assert repr(buckets(api)) == "BucketMap(60, per=60, burst=60, capacity=1000, overflow='share', oversize='reject')"
    given = api.BucketMap(5, 0.5, 7, capacity=10, overflow="refuse", oversize="when_full")
    assert repr(given) == "BucketMap(5, per=0.5, burst=7, capacity=10, overflow='refuse', oversize='when_full')"


def test_the_machines_clock(api):
    users = api.BucketMap(1, per=3600)
    assert users.try_take("alice") and not users.try_take("alice")
    assert 3590 < users.wait_time("alice") <= 3600


def test_threads_share_a_key(api):
    users = buckets(api, 1000)
    taken = []

    def take() -> None:
        taken.append(sum(users.try_take("alice") for _ in range(1000)))

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(taken) == 1000


def test_the_example_of_the_readme(api):
    readme = Path(__file__).resolve().parents[1] / "README.md"
    block = re.search(r"## Buckets by key.*?```python\n(.*?)```", readme.read_text(encoding="utf-8"), re.DOTALL)
    clock = api.ManualClock()
    # As it stands there, on a clock that stands still.
    names = {"llmrl": types.SimpleNamespace(BucketMap=functools.partial(api.BucketMap, clock=clock)), "math": math}
    exec(block[1], names)
    assert [names["answer"]("alice") for _ in range(10)] == [(200, {})] * 10
    assert names["answer"]("alice") == (429, {"Retry-After": "1"})
    clock.advance(1)
    assert names["answer"]("alice") == (200, {})
