"""Output lengths that were seen: the words and their checks, over both backends; what is estimated is tested in Rust."""

from __future__ import annotations

import doctest

import pytest

from llmrl import Lengths, _lengths


@pytest.fixture(autouse=True)
def backend(api, monkeypatch):
    for name in ("lengths_new", "lengths_record", "lengths_estimate"):
        monkeypatch.setattr(_lengths, name, getattr(api, name))


def test_what_was_seen():
    lengths = Lengths(2)
    assert lengths.estimate("key", "model") is None
    assert lengths.estimate("key", "model", max_tokens=4096) == 4096
    for output in range(1, 101):
        lengths.record("key", "model", output)
    assert lengths.estimate("key", "model") == 91, "90, in a bucket with 88 to 91"
    assert lengths.estimate("key", "model", 0.001) == 1
    assert lengths.estimate("key", "model", 1) == 103
    assert lengths.estimate("key", "model", 0.5, max_tokens=30) == 30
    assert lengths.estimate("another", "model", 0.5) == 51
    assert lengths.estimate("another", "one", 0.5) == 51


def test_names_are_any_text_or_bytes():
    lengths = Lengths()
    for key, length in (("\udcff", 1), (b"\xff", 2), ("a\0b", 3), ("a\0c", 4), (b"", 5), ("x" * 100_000, 6)):
        for _ in range(20):
            lengths.record(key, "", length)
        assert lengths.estimate(key, b"") == length
    assert lengths.estimate(b"a\0b", "") == 3, "a name is its bytes"


def test_what_is_wrong_is_named():
    for names in (0, 2**20 + 1, -1):
        with pytest.raises(ValueError, match="names must be from 1 to 1048576"):
            Lengths(names)
    lengths = Lengths()
    for quantile in (0, 0.0009, 1.001, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="quantile must be a number from 0.001 to 1, got"):
            lengths.estimate("k", "m", quantile)
    for quantile in (True, "0.9", None):
        with pytest.raises(TypeError, match="quantile must be a number from 0.001 to 1, got"):
            lengths.estimate("k", "m", quantile)
    with pytest.raises(TypeError, match="key must be str or bytes, got int 7"):
        lengths.record(7, "m", 1)
    with pytest.raises(TypeError, match="model must be str or bytes, got NoneType"):
        lengths.estimate("k", None)
    with pytest.raises(ValueError, match="output_tokens"):
        lengths.record("k", "m", -1)
    with pytest.raises(TypeError, match="max_tokens"):
        lengths.estimate("k", "m", max_tokens=1.5)


def test_the_backend_takes_nothing_else(api):
    with pytest.raises((ValueError, TypeError, AttributeError)):
        api.lengths_record(object(), b"", b"", 1)
    with pytest.raises(ValueError):
        api.lengths_new(0)
    with pytest.raises(ValueError):
        api.lengths_estimate(api.lengths_new(1), b"", b"", 1001, 0)


def test_the_example():
    assert doctest.testmod(_lengths).failed == 0
