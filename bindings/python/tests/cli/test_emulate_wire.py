"""Header values and 429 texts against published examples."""

from __future__ import annotations

import pytest

from llmrl import read_answer
from llmrl.cli.emulate_bucket import Gate, Refusal
from llmrl.cli.emulate_wire import go_duration, limit_headers, refusal_body, wait_headers

MS = 1_000_000


def seconds(text: str) -> float:
    """As the library reads it."""
    headers = {"x-ratelimit-limit-requests": "5", "x-ratelimit-remaining-requests": "4", "x-ratelimit-reset-requests": text}
    reset = read_answer(200, headers).quotas[0].reset
    assert reset is not None
    return reset


@pytest.mark.parametrize(
    "nanoseconds,text",
    [
        (0, "0s"),
        (999_999, "0s"),
        (1 * MS, "1ms"),
        (20 * MS, "20ms"),
        (120 * MS + 999_999, "120ms"),
        (1000 * MS, "1s"),
        (1500 * MS, "1.5s"),
        (7660 * MS, "7.66s"),
        (59_999 * MS, "59.999s"),
        (60_000 * MS, "1m0s"),
        (360_000 * MS, "6m0s"),
        (86_400 * MS, "1m26.4s"),
        (252_172 * MS, "4m12.172s"),
        (3_600_000 * MS, "1h0m0s"),
        (83_909_144 * MS, "23h18m29.144s"),
        (52_151_040 * MS, "14h29m11.04s"),
        (-5, "0s"),
    ],
)
def test_durations_are_printed_as_go_prints_them(nanoseconds: int, text: str) -> None:
    assert go_duration(nanoseconds) == text
    if nanoseconds % MS == 0 and nanoseconds >= 0:
        assert seconds(text) == pytest.approx(nanoseconds / 1e9, abs=1e-9)


@pytest.mark.parametrize(
    "limit,remaining,reset",
    [(5000, 4999, "12ms"), (160_000, 158_866, "425ms"), (10_000, 9_999, "6ms"), (60, 0, "1m0s")],
)
def test_reset_is_the_time_until_the_bucket_is_full(limit: int, remaining: int, reset: str) -> None:
    gate = Gate(0, tpm=limit)
    gate.admit(limit - remaining, 0)
    assert limit_headers(gate, 0) == {
        "x-ratelimit-limit-tokens": str(limit),
        "x-ratelimit-remaining-tokens": str(remaining),
        "x-ratelimit-reset-tokens": reset,
    }


@pytest.mark.parametrize(
    "limit,used,requested,wait",
    [(10_000, 8554, 3082, "9.816s"), (30_000, 14_567, 24_754, "18.642s")],
)
def test_the_published_texts_are_reproduced(limit: int, used: int, requested: int, wait: str) -> None:
    gate = Gate(0, tpm=limit)
    gate.admit(used, 0)
    refusal = gate.admit(requested, 0)
    assert isinstance(refusal, Refusal)
    error = refusal_body(refusal, "gpt-4")["error"]
    assert error["message"].startswith(
        f"Rate limit reached for gpt-4 in organization org-emulator on tokens per min (TPM): Limit {limit}, "
        f"Used {used}, Requested {requested}. Please try again in {wait}. "
    )
    assert (error["type"], error["code"], error["param"]) == ("tokens", "rate_limit_exceeded", None)
    assert wait_headers(refusal.wait_ns)["retry-after-ms"] == str(round(seconds(wait) * 1000))


def test_a_request_that_can_never_fit_has_no_used_and_no_time() -> None:
    gate = Gate(0, tpm=30_000)
    refusal = gate.admit(31_538, 0)
    message = refusal_body(refusal, "gpt-4o")["error"]["message"]
    assert "Request too large for gpt-4o" in message and "Limit 30000, Requested 31538." in message
    assert "Used" not in message and "try again" not in message


def test_waits_are_rounded_up() -> None:
    assert wait_headers(1) == {"retry-after-ms": "1", "retry-after": "1"}
    assert wait_headers(1_000_000_001) == {"retry-after-ms": "1001", "retry-after": "2"}
    assert wait_headers(20 * 10**9) == {"retry-after-ms": "20000", "retry-after": "20"}


def test_requests_per_minute_and_concurrency_have_their_own_words() -> None:
    gate = Gate(0, rpm=3, max_concurrent=1)
    gate.admit(0, 0)
    error = refusal_body(gate.admit(0, 0), "m")["error"]
    assert error["type"] == "concurrent_requests" and "Limit 1, Used 1, Requested 1" in error["message"]
    gate = Gate(0, rpm=3)
    for _ in range(3):
        gate.admit(0, 0)
    error = refusal_body(gate.admit(0, 0), "m")["error"]
    assert error["type"] == "requests"
    assert "on requests per min (RPM): Limit 3, Used 3, Requested 1. Please try again in 20s." in error["message"]
