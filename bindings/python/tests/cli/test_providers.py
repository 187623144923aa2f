"""The table of providers: what it says can be enforced and obeyed, and answers in every style are understood by the library."""

from __future__ import annotations

import json
from typing import Any, Optional

import pytest

from llmrl import read_answer
from llmrl.cli import build_parser
from llmrl.cli.batch_limits import build
from llmrl.cli.batch_options import complete, requests_as
from llmrl.cli.emulate_bucket import Admission, Gate, Refusal
from llmrl.cli.emulate_styles import STYLES
from llmrl.cli.emulate_wire import limit_headers, refusal_body, wait_headers
from llmrl.cli.providers import LIMITS, PROVIDERS, describe

SECOND = 10**9


def filled(*options: str) -> Any:
    args = build_parser().parse_args(["plan", "in", *options])
    args.taken = complete(args)
    return args


@pytest.mark.parametrize("name", PROVIDERS)
def test_every_row_makes_a_limiter_and_a_gate(name: str) -> None:
    provider = PROVIDERS[name]
    assert provider.headers in STYLES and provider.charge in ("settle", "reserve", "max", "end", "burndown")
    assert f"  {name} " in describe() and provider.note
    for tier, limits in provider.tiers.items():
        assert limits and set(limits) <= {*LIMITS, "max_concurrent"}
        args = filled("--provider", name, "--tier", tier)
        limiter, _ = build(args)
        assert len(limiter.limits()) == len({**limits, "max_concurrent": 1})
        as_requests = None if provider.requests_as is None else requests_as(provider.requests_as)
        gate = Gate(0, enforce=provider.enforce, requests_as=as_requests, **limits)
        assert isinstance(gate.admit(1, 0, 1), Admission)
        limiter.close()


def test_every_option_overrides_the_table() -> None:
    args = filled("--provider", "azure", "--tier", "default", "--rpm", "60", "--charge", "auto", "--requests-as", "bucket/60")
    assert (args.rpm, args.tpm, args.charge, args.requests_as) == (60, 120_000, "auto", ("bucket", 60.0))
    assert filled("--provider", "azure", "--rpm", "60").tpm is None, "limits of one's own are not mixed with an example's"
    assert filled("--provider", "azure").rpm == 720, "the lowest tier"
    assert filled("--provider", "openai", "--tier", "2").taken.startswith("openai, tier 2: rpm 5,000, tpm 2,000,000 (an example of ")
    assert filled("--rpm", "60").taken is None and filled("--rpm", "60").max_concurrent == 64


def test_how_a_provider_charges_becomes_how_a_client_accounts() -> None:
    charges = {name: filled("--provider", name).charge for name in PROVIDERS}
    assert charges["openai"] == "max" and charges["azure"] == "reserve" and charges["anthropic"] == "settle"
    assert charges["bedrock"] == "burndown" and charges["groq"] == "auto"


def test_requests_by_the_second_and_cache_reads_for_nothing() -> None:
    limiter, meters = build(filled("--provider", "xai"))
    assert limiter.limits()[0].kind == "pacing"
    limiter, meters = build(filled("--provider", "azure"))
    assert (limiter.limits()[0].amount, limiter.limits()[0].burst) == (720, 120)
    limiter, meters = build(filled("--itpm", "1000", "--tpm", "5000", "--free-cache-reads"))
    with limiter.try_acquire(500, 100) as permit:
        permit.settle(500, 100, cached=400)
    assert [state.available for state in limiter.limits()][:2] == [5000 - 200, 1000 - 100]
    assert meters.tokens == 0 and meters.weight(1, limiter.limits()[1], (500, 100)) == 500


@pytest.mark.parametrize("text", ["fixed", "fixed/0", "pacing/1", "fixed/x", "/10", "fixed/nan"])
def test_what_is_no_enforcement(text: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        filled("--requests-as", text)
    assert "is not KIND/SECONDS such as fixed/10" in capsys.readouterr().err


# What of a refusal after one admission of a single request a minute is understood: the meter, and the seconds to wait.
UNDERSTOOD = {
    "openai": ("requests", 60),
    "anthropic": ("requests", 60),
    "azure": ("requests", 60),
    "gemini": ("requests", 60),
    "groq": ("requests", 60),
    "mistral": (None, None),
    "bedrock": (None, None),
    "cohere": ("requests", None),
    "none": (None, 60),
}


@pytest.mark.parametrize("name", STYLES)
def test_each_style_is_understood(name: str) -> None:
    style, gate = STYLES[name], Gate(0, rpm=1)
    assert isinstance(gate.admit(1, 0), Admission)
    refusal = gate.admit(1, 0)
    assert isinstance(refusal, Refusal) and refusal.limit_name == "rpm"
    wall = 1_800_000_000 * SECOND
    headers = {**limit_headers(gate, 0, style, wall), **wait_headers(refusal.wait_ns or 0, style, "rpm")}
    reading = read_answer(429, headers, json.dumps(refusal_body(refusal, "m", style)), now=wall / 1e9)
    meter, wait = UNDERSTOOD[name]
    assert reading.answer_class == "rate" and reading.retryable
    assert meter is None or reading.meter == meter
    assert wait is None or reading.wait == pytest.approx(wait)
    for cause, limit_name in (("concurrent", "max_concurrent"), ("oversize", "tpm"), ("tokens", "tpd"), ("tokens", "otpm")):
        body = json.dumps(refusal_body(Refusal(cause, limit_name, 5, 5, 1, SECOND), "m", style))
        assert read_answer(429, {}, body).answer_class != "ok" and "{" + "unit" not in body


@pytest.mark.parametrize(
    "kind, at, admitted",
    [("fixed/10", 9, 0), ("fixed/10", 10, 2), ("sliding/10", 10, 2), ("sliding/10", 9, 0), ("bucket/10", 5, 1)],
)
def test_requests_enforced_otherwise_than_tokens(kind: str, at: int, admitted: int) -> None:
    """Twelve a minute are two in ten seconds."""
    gate = Gate(0, rpm=12, tpm=1000, requests_as=requests_as(kind))
    assert [isinstance(gate.admit(1, 0), Admission) for _ in range(3)] == [True, True, False]
    assert sum(isinstance(gate.admit(1, at * SECOND), Admission) for _ in range(3)) == admitted
    assert gate.tokens is not None and gate.tokens.capacity == 1000


def test_input_and_output_apart_and_days() -> None:
    gate = Gate(0, itpm=100, otpm=50, rpd=3, settles=True)
    first = gate.admit(60, 0, 0)
    assert isinstance(first, Admission)
    gate.finish(first, 60, 0, 80)
    refused = gate.admit(1, 0, 0)
    assert isinstance(refused, Refusal) and (refused.limit_name, refused.wait_ns) == ("otpm", 36 * SECOND), "30 in debt"
    assert gate.meters["itpm"].available(0) == 40, "what was taken of the input came back with the refusal"
    assert isinstance(gate.admit(1, 36 * SECOND, 0), Admission)
    day: Optional[Any] = gate.admit(1, 36 * SECOND, 0)
    assert isinstance(day, Refusal) and day.limit_name == "rpd" and 28_000 * SECOND < (day.wait_ns or 0) <= 28_800 * SECOND
