"""From ``--rpd``, ``--tpd`` and ``--limit`` to a limiter."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from llmrl import Limit, Limiter, ManualClock
from llmrl.cli import build_parser
from llmrl.cli.batch_charge import Meters
from llmrl.cli.batch_counts import Counts
from llmrl.cli.batch_limits import assume_spent, build, parse_limit
from llmrl.cli.batch_options import complete


def limiter(*options: str) -> "tuple[Any, Meters]":
    args = build_parser().parse_args(["batch", "in", "out", *options])
    complete(args)
    return build(args)


def test_days_and_windows() -> None:
    made, meters = limiter("--rpm", "500", "--tpm", "200000", "--rpd", "10_000", "--tpd", "2,000,000", "--burst-seconds", "6",
                           "--limit", "sliding_window:requests:20/10", "--limit", "pacing:output_tokens:5000/0.5")
    assert [(s.kind, s.meter, s.amount, s.per, s.burst) for s in made.limits()] == [
        ("token_bucket", "requests", 500, 60, 50),
        ("token_bucket", "tokens", 200_000, 60, 20_000),
        ("sliding_window", "requests", 20, 10, 20),
        ("pacing", "output_tokens", 5000, 0.5, 0),
        ("token_bucket", "requests", 10_000, 86_400, 10_000),
        ("token_bucket", "tokens", 2_000_000, 86_400, 2_000_000),
        ("in_flight", "in_flight", 64, 0, 0),
    ]  # fmt: skip
    assert meters == Meters(0, 1, 6, {
        0: "requests/min", 1: "tokens/min", 2: "requests in 10 s", 3: "output tokens in 0.5 s",
        4: "requests/day", 5: "tokens/day", 6: "concurrency",
    })  # fmt: skip


def test_days_that_end_at_midnight() -> None:
    made, meters = limiter("--rpd", "1500", "--tpd", "9000", "--day-resets", "UTC")
    assert [(s.kind, s.per) for s in made.limits()][:2] == [("fixed_window", 86_400)] * 2
    assert (meters.requests, meters.tokens) == (0, 1), "without a limit per minute these are what the provider means"


def test_a_fixed_window_follows_the_wall_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    from llmrl import _calendar

    monkeypatch.setattr(_calendar.time, "time_ns", lambda: 1_000_000_010 * 10**9)
    assert parse_limit("fixed_window:requests:20/60")[1] == Limit.fixed_window(20, resets_in=10)


@pytest.mark.parametrize("kind", ["token_bucket", "pacing", "sliding_window_counter", "sliding_window", "sliding_window_log"])
def test_every_kind(kind: str) -> None:
    assert parse_limit(f"{kind}:input_tokens:20_000/60") == ("input tokens in 60 s", getattr(Limit, kind)(20_000, meter="input_tokens"))


@pytest.mark.parametrize(
    "text, words",
    [
        ("20/60", "is not KIND:METER:N/SECONDS such as sliding_window:requests:20/60"),
        ("window:requests:20/60", "with KIND token_bucket, pacing, "),
        ("in_flight:requests:20/60", "with KIND token_bucket, pacing, "),
        ("pacing:token:20/60", "and METER requests, tokens, input_tokens, output_tokens"),
        ("pacing:tokens:-20/60", "is not KIND"),
        ("pacing:tokens:20/", "is not KIND"),
        ("pacing:tokens:0/60", "n must be from 1 to 1099511627775, got 0"),
        ("pacing:tokens:_/60", "n must be from 1 to"),
        ("pacing:tokens:20/0", "per must be seconds from 1e-9"),
        ("fixed_window:tokens:20/0", "period must be seconds from 1e-9"),
        ("pacing:tokens:20/" + "9" * 400, "per must be seconds"),
    ],
)
def test_what_is_no_limit(text: str, words: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=words):
        parse_limit(text)


def test_too_many(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(ValueError, match="1 to 8 limits, got 9"):
        limiter(*["--limit", "pacing:requests:1/1"] * 8)
    with pytest.raises(SystemExit):
        limiter("--day-resets", "Nowhere")
    assert "zone must be a time zone such as 'America/Los_Angeles'" in capsys.readouterr().err


def windows() -> "tuple[Any, Meters]":
    names = {0: "a", 1: "b", 2: "c", 3: "concurrency"}
    made = Limiter(
        Limit.requests(60), Limit.fixed_window(1000, 86_400), Limit.fixed_window(20, 10), Limit.in_flight(5), clock=ManualClock()
    )
    return made, Meters(0, None, 3, names)


def test_limits_are_raised_only_if_asked() -> None:
    for options, amount in (([], 500), (["--raise-limits"], 900)):
        made, _ = limiter("--rpm", "500", *options)
        for _ in range(3):
            with made.try_acquire() as permit:
                permit.feedback(200, {"x-ratelimit-limit-requests": "900", "x-ratelimit-remaining-requests": "890"})
        assert made.limits()[0].amount == amount


def test_what_is_waited_for_and_how_much_was_used() -> None:
    made, meters = windows()
    counts = Counts(made, meters, 1)
    for _ in range(20):
        made.try_acquire().release()
        counts.admitted()
    with counts.waiting((0, 0)):
        assert counts.binding() == "c"
    assert sorted(counts.shares(20, 0)) == ["a", "b", "c"]


def test_a_later_run_knows_nothing_of_days() -> None:
    made, meters = limiter("--rpd", "1500", "--tpm", "600")
    assume_spent(made, meters, idle=30)
    assert made.limits()[0].available == 300 and made.limits()[1].available >= 1499


def test_a_later_run_assumes_input_and_output_spent_as_well() -> None:
    made, meters = limiter("--rpm", "60", "--itpm", "6000", "--otpm", "600", "--rpd", "5000")
    assume_spent(made, meters, idle=30)
    left = [state.available for state in made.limits()]
    assert 30 <= left[0] <= 31 and 3000 <= left[1] <= 3100 and 300 <= left[2] <= 310 and left[3] == 4970
