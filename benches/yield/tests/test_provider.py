"""Answers as the providers send them; admission over several limits."""

from __future__ import annotations

import json
import random

import pytest

import scenarios
from load import Job
from meters import Bucket, Rolling, Window
from provider import Provider
from virtual import MINUTE, SECOND
from wire import Azure, OpenAI, go_duration


def job(prompt: int, max_tokens: int = 100, output: int = 50) -> Job:
    return Job(1, prompt, prompt, max_tokens, output)


@pytest.mark.parametrize(
    "ms, text",
    [(0, "0s"), (12, "12ms"), (425, "425ms"), (1000, "1s"), (1500, "1.5s"), (9816, "9.816s"), (60_000, "1m0s"), (360_000, "6m0s")],
)
def test_go_duration(ms: int, text: str) -> None:
    assert go_duration(ms * 1_000_000) == text


def test_openai_headers_and_refusal() -> None:
    """The published triple 5000 / 4999 / 12ms and the published text 10000 / 8554 / 3082: 9.816s."""
    provider = Provider({"requests": Bucket(5000), "tokens": Bucket(10_000)}, scenarios.larger, OpenAI())
    provider.admit(job(8554), 0)
    answer = provider.finish(job(8554), 0)
    assert answer.headers["x-ratelimit-limit-requests"] == "5000"
    assert answer.headers["x-ratelimit-remaining-requests"] == "4999"
    assert answer.headers["x-ratelimit-reset-requests"] == "12ms"
    assert answer.headers["x-ratelimit-remaining-tokens"] == "1446"
    assert json.loads(answer.body)["usage"]["prompt_tokens"] == 8554
    assert provider.wait_ns(job(3082), 0) == 9.816 * SECOND
    refusal = provider.refusal(job(3082), 0)
    assert refusal is not None and refusal.status == 429
    assert refusal.headers["retry-after-ms"] == "9816" and refusal.headers["retry-after"] == "10"
    assert refusal.headers["x-ratelimit-remaining-tokens"] == "1446"
    error = json.loads(refusal.body)["error"]
    assert error["code"] == "rate_limit_exceeded" and error["type"] == "tokens"
    assert "tokens per min (TPM): Limit 10000, Used 8554, Requested 3082. Please try again in 9.816s." in error["message"]


def test_azure_says_whole_seconds_and_its_window() -> None:
    provider = Provider({"requests": Window(3, 10 * SECOND), "tokens": Bucket(1_500_000)}, scenarios.total, Azure())
    provider.admit(job(100), 0)
    headers = provider.finish(job(100), 2 * SECOND + 1).headers
    assert headers["x-ratelimit-limit-requests"] == "3" and headers["x-ratelimit-remaining-requests"] == "2"
    assert headers["x-ratelimit-reset-requests"] == "7" and headers["x-ratelimit-renewalperiod-requests"] == "10"
    provider.admit(job(100), 3 * SECOND)
    provider.admit(job(100), 3 * SECOND)
    refusal = provider.refusal(job(100), 3 * SECOND + 1)
    assert refusal is not None and refusal.headers["retry-after"] == "7" and refusal.headers["x-ratelimit-type"] == "Requests"
    assert b"exceeded call rate limit" in refusal.body


def test_all_limits_or_none() -> None:
    provider = Provider({"requests": Rolling(2), "tokens": Rolling(1000)}, scenarios.larger, OpenAI())
    provider.admit(job(900), 0)
    assert provider.wait_ns(job(200), SECOND) == MINUTE - SECOND, "tokens are short"
    assert provider.wait_ns(job(1, 1), SECOND) == 0 and provider.refusal(job(1, 1), SECOND) is None
    provider.admit(job(1, 1), SECOND)
    assert provider.wait_ns(job(1, 1), 2 * SECOND) == MINUTE - 2 * SECOND, "requests are short"


def test_a_refused_request_can_count() -> None:
    provider = Provider({"requests": Bucket(10), "tokens": Bucket(1000)}, scenarios.larger, OpenAI(), counts_refused=True)
    provider.admit(job(1000), 0)
    for _ in range(30):
        assert provider.refusal(job(1000), 0) is not None
    assert provider.meters["requests"].remaining(0) == 0
    assert provider.meters["requests"].wait_ns(1, 0) == 6 * SECOND, "no debt"


def test_settling_gives_back_what_was_not_used() -> None:
    provider = Provider({"requests": Bucket(10), "tokens": Bucket(1000)}, scenarios.total, OpenAI(), settles=True)
    provider.admit(job(300, 500, 80), 0)
    assert provider.meters["tokens"].remaining(0) == 200
    provider.finish(job(300, 500, 80), 0)
    assert provider.meters["tokens"].remaining(0) == 620
    assert provider.meters["tokens"].account(0) == (380, 380)


def test_halving() -> None:
    drawn = scenarios.halving(random.Random(1))
    tokens = drawn.provider.meters["tokens"]
    before = tokens.limit
    drawn.provider.halve(0)
    assert tokens.limit == before // 2 and tokens.remaining(0) == before // 2


@pytest.mark.parametrize("key", scenarios.SCENARIOS)
def test_scenarios_differ_by_seed_and_agree_with_their_documentation(key: str) -> None:
    scenario = scenarios.SCENARIOS[key]
    first, second = (scenario.draw(random.Random(seed)) for seed in (1, 2))
    assert first.setup.rpm != second.setup.rpm
    if first.setup.tpm is not None:
        assert first.provider.meters["tokens"].limit == first.setup.tpm
        assert first.setup.scaled(0.7).tpm == round(0.7 * first.setup.tpm)
    requests = first.provider.meters["requests"]
    assert requests.limit * MINUTE == first.setup.rpm * requests.period_ns
