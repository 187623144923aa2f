"""The engine with a scripted sender: what happens to the permits and which limit is named, on a clock that stands still."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, Dict, List, Tuple

import pytest

pytest.importorskip("aiohttp", reason="needs the cli extra: pip install 'llmrl[cli]'")

from llmrl import Limit, Limiter, ManualClock
from llmrl.cli.batch_charge import Account, Meters
from llmrl.cli.batch_counts import Counts
from llmrl.cli.batch_engine import Engine, Plan
from llmrl.cli.batch_estimate import Estimator
from llmrl.cli.batch_input import parse_line
from llmrl.cli.batch_limits import assume_spent
from llmrl.cli.batch_output import Results
from llmrl.cli.batch_send import Lost, Reply, Unsent, encode_body, join_url
from llmrl.http import _exchange

OK = Reply(200, {}, b'{"usage": {"prompt_tokens": 5, "completion_tokens": 7}}')


class Sender:
    """Answers from a list; an exception in it is raised."""

    first_delay = None

    def __init__(self, *answers: Any) -> None:
        self.answers: List[Any] = list(answers)
        self.seen: List[List[int]] = []
        self.limiter: Any = None

    async def post(self, path: str, body: Dict[str, Any]) -> Reply:
        self.seen.append([state.available for state in self.limiter.limits()])
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *answers: Any) -> Tuple[Sender, Any, Counts]:
    """One request of 5 + 95 tokens against 60 requests and 1000 tokens a minute; what the limiter held at each try."""
    monkeypatch.setattr(_exchange, "BACKOFF_CAP", 0.0)
    limiter = Limiter(Limit.requests(60), Limit.tokens(1000), Limit.in_flight(3), clock=ManualClock())
    body = {"max_tokens": 95, "messages": [{"role": "user", "content": "x" * 20}]}
    item = parse_line(1, json.dumps({"custom_id": "a", "url": "/v1/chat/completions", "body": body}).encode())
    meters, sender = Meters(0, 1, 2), Sender(*answers)
    sender.limiter = limiter
    counts = Counts(limiter, meters, 1)

    async def main() -> None:
        results = Results(tmp_path / "out.jsonl")
        try:
            account = Account(limiter, meters, "settle", print)
            estimator = Estimator(4.0, 1024, True)
            await Engine(
                Plan([item], results, sender, limiter, account, estimator, counts, 3, 16, 1.0, print)  # type: ignore[arg-type]
            ).run()
        finally:
            results.close()

    asyncio.run(main())
    return sender, limiter, counts


def left(limiter: Any) -> List[int]:
    return [state.available for state in limiter.limits()]


def test_a_served_request_costs_what_it_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sender, limiter, counts = run(tmp_path, monkeypatch, OK)
    assert sender.seen == [[59, 900, 2]], "while it ran it held its estimate and a slot"
    assert left(limiter) == [59, 988, 3] and (counts.ok, counts.retries) == (1, 0)


def test_a_try_that_was_never_sent_gives_everything_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sender, limiter, counts = run(tmp_path, monkeypatch, Unsent("refused"), OK)
    assert sender.seen == [[59, 900, 2], [59, 900, 2]]
    assert left(limiter) == [59, 988, 3] and counts.retries == 1


@pytest.mark.parametrize("first", [Lost("broken pipe"), Reply(500, {}, b"")], ids=["lost", "500"])
def test_a_try_that_may_have_been_served_keeps_its_estimate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: Any
) -> None:
    sender, limiter, _ = run(tmp_path, monkeypatch, first, OK)
    assert sender.seen[1] == [58, 800, 2]
    assert left(limiter) == [58, 888, 3]


@pytest.mark.parametrize("status", [429, 503])
def test_a_try_that_was_refused_costs_one_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    refusal = Reply(status, {"x-ratelimit-type": "UserConcurrentRequests"}, b"")
    sender, limiter, counts = run(tmp_path, monkeypatch, refusal, OK)
    assert sender.seen[1][:2] == [58, 900]
    assert left(limiter)[:2] == [58, 988] and counts.too_many == ({"concurrency": 1} if status == 429 else {})


def test_a_rejected_request_costs_no_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, limiter, counts = run(tmp_path, monkeypatch, Reply(400, {}, b"{}"))
    assert left(limiter) == [59, 1000, 3] and counts.failed == 1


def test_every_permit_is_ended_when_the_tries_are_used_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sender, limiter, counts = run(tmp_path, monkeypatch, Lost("a"), Unsent("b"), Reply(500, {}, b""))
    assert left(limiter) == [58, 800, 3] and (counts.failed, counts.retries) == (1, 2) and not sender.answers


def test_the_limit_that_binds_is_the_one_that_frees_last() -> None:
    limiter = Limiter(Limit.requests(60), Limit.tokens(1000), Limit.in_flight(1), clock=ManualClock())
    counts = Counts(limiter, Meters(0, 1, 2), 1)
    assert counts.binding() is None
    held = limiter.try_acquire(10, 0)
    with counts.waiting((100, 0)):
        assert counts.binding() == "concurrency"
        limiter.charge(input=1000)
        assert counts.binding() == "tokens/min"
        limiter.pause(0, 3600.0)
        assert counts.binding() == "requests/min"
    assert counts.binding() is None
    held.cancel()


@pytest.mark.parametrize("idle,expected", [(0.0, [0, 0]), (30.0, [30, 500]), (60.0, [60, 1000]), (1e9, [60, 1000])])
def test_a_run_soon_after_another_counts_on_what_was_produced_since(idle: float, expected: List[int]) -> None:
    limiter = Limiter(Limit.requests(60), Limit.tokens(1000), Limit.in_flight(1), clock=ManualClock())
    assume_spent(limiter, Meters(0, 1, 2), idle)
    assert left(limiter)[:2] == expected


@pytest.mark.parametrize(
    "base,url",
    [
        ("https://h", "https://h/v1/chat/completions"),
        ("https://h/v1", "https://h/v1/chat/completions"),
        ("https://h/openai/v1/", "https://h/openai/v1/chat/completions"),
        ("http://[::1]:80/v2", "http://[::1]:80/v2/v1/chat/completions"),
    ],
)
def test_the_base_and_the_path_share_their_version(base: str, url: str) -> None:
    assert join_url(base, "/v1/chat/completions") == url


def test_bodies_that_utf_8_cannot_say_are_escaped() -> None:
    assert encode_body({"a": "\u00e9"}) == b'{"a":"\xc3\xa9"}'
    assert json.loads(encode_body({"a": "\ud800"})) == {"a": "\ud800"}
