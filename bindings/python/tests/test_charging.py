"""Charging: what providers take and what they keep; the numbers are those of the Rust tests."""

from __future__ import annotations

import doctest

import pytest

from llmrl import Charging, _charging


@pytest.fixture(autouse=True)
def backend(api, monkeypatch):
    monkeypatch.setattr(_charging, "charging_of", api.charging_of)
    monkeypatch.setattr(_charging, "charging_cost", api.charging_cost)


@pytest.mark.parametrize(
    ("provider", "reserved", "settled"),
    [
        ("openai", (2000, 0), (2000, 0)),
        ("azure", (1000, 2000), (1000, 2000)),
        ("anthropic", (600, 0), (600, 250)),
        ("anthropic-reserving", (600, 2000), (600, 250)),
        ("gemini", (1000, 0), (1000, 0)),
        ("bedrock", (600, 2000), (600, 1250)),
    ],
)
def test_every_provider(provider, reserved, settled):
    rule = Charging.of(provider)
    known = {"max_tokens": 2000, "expected": 300, "cached": 400}
    assert rule.reserve(1000, **known) == reserved
    assert rule.settle(1000, 1100, 250, 500, **known) == settled


def test_a_rule_of_ones_own():
    rule = Charging.of("azure")._replace(settlement="maximum", output="expected")
    assert rule.reserve(1000, max_tokens=2000, expected=300) == (1000, 300)
    assert rule.settle(1000, 900, 400, expected=300) == (1000, 400)
    assert Charging() == (False, "allowed", "actual", True, 1)
    assert sum(Charging().reserve(2**40 - 1, max_tokens=2**40 - 1)) == 2**40 - 1


def test_what_is_wrong_is_named():
    for name in ("OpenAI", "", "openai\0", "\u00f6"):
        with pytest.raises(ValueError, match="there are openai, azure"):
            Charging.of(name)
    with pytest.raises(ValueError, match="output must be 'nothing', 'expected' or 'allowed', got 'all'"):
        Charging(output="all").reserve(1)
    with pytest.raises(ValueError, match="burndown"):
        Charging(burndown=0).reserve(1)
    with pytest.raises(ValueError, match="prompt"):
        Charging().reserve(-1)
    with pytest.raises(TypeError, match="max_tokens"):
        Charging().reserve(1, max_tokens=1.5)


def test_the_example():
    assert doctest.testmod(_charging).failed == 0
