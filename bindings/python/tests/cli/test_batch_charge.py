"""What permits become, against the real limiter: refusals, corrections, and noticing how a provider charges."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, List, Tuple

import pytest

from llmrl import Limit, Limiter, ManualClock

from llmrl.http import Usage
from llmrl.cli.batch_charge import WINDOW, Account, Meters
from llmrl.cli.emulate_bucket import Admission, Gate
from llmrl.cli.emulate_wire import limit_headers, refusal_body, wait_headers


def account(
    mode: str = "settle", tpm: int = 10_000, rpm: int = 100, clock: Any = None
) -> Tuple[Any, Account, List[str]]:
    said: List[str] = []
    limiter = Limiter(Limit.requests(rpm), Limit.tokens(tpm), Limit.in_flight(50), clock=clock or ManualClock())
    return limiter, Account(limiter, Meters(0, 1, 2), mode, said.append), said


def available(limiter: Any) -> List[int]:
    return [state.available for state in limiter.limits()]


def take(limiter: Any, acc: Account, cost: Tuple[int, int]) -> Any:
    permit = limiter.try_acquire(*cost)
    assert permit is not None
    acc.admitted(cost)
    return permit


def test_settling_and_keeping() -> None:
    for mode, tokens in (("settle", 9_700), ("reserve", 9_000)):
        limiter, acc, _ = account(mode)
        acc.answered(take(limiter, acc, (400, 600)), (400, 600), Usage(100, 200))
        assert available(limiter) == [99, tokens, 50]
        assert (acc.requests, acc.tokens) == (1, 10_000 - tokens)


def test_without_a_usage_the_estimate_stands() -> None:
    limiter, acc, _ = account("settle")
    acc.answered(take(limiter, acc, (400, 600)), (400, 600), None)
    acc.failed(take(limiter, acc, (400, 600)))
    assert available(limiter) == [98, 8_000, 50] and acc.tokens == 2_000


def test_what_was_never_sent_costs_nothing_and_what_was_rejected_one_request() -> None:
    limiter, acc, _ = account()
    acc.unsent(take(limiter, acc, (400, 600)), (400, 600))
    assert available(limiter) == [100, 10_000, 50] and (acc.requests, acc.tokens) == (0, 0)
    acc.rejected(take(limiter, acc, (400, 600)), (400, 600))
    assert available(limiter) == [99, 10_000, 50] and (acc.requests, acc.tokens) == (1, 0)


def test_max_reserves_the_larger_of_the_two() -> None:
    _, acc, _ = account("max")
    assert acc.cost(700, 300) == (700, 0) and acc.cost(300, 700) == (0, 700)
    assert account("reserve")[1].cost(300, 700) == (300, 700)


def reply(status: int, headers: Any = (), body: Any = None) -> Any:
    return SimpleNamespace(status=status, headers=dict(headers), raw=b"" if body is None else json.dumps(body).encode())


def test_what_was_refused_costs_one_request_and_what_the_limiter_keeps() -> None:
    limiter, acc, _ = account()
    permit = take(limiter, acc, (400, 600))
    advice = acc.feedback(permit, reply(429, {"retry-after-ms": "1000"}), acc.sending())
    acc.refused(permit, (400, 600))
    assert advice.answer_class == "rate" and advice.wait == 0.0
    assert (acc.requests, acc.tokens) == (1, 0) and available(limiter)[2] == 50
    assert limiter.wait_time(400, 600) >= 1.0


def converse(charge: str, gate: Gate, headers: bool = True, rounds: int = 120) -> Tuple[Any, Account, List[str]]:
    """Requests of 100 that use 40, each answered when eight more were sent. Only refusals take time."""
    clock, now = ManualClock(), 0
    limiter, acc, said = account(charge, rpm=100_000, clock=clock)
    cost = (50, 50)
    on_the_way: List[Tuple[Any, Any, Any, Any]] = []
    for _ in range(rounds):
        permit = limiter.try_acquire(*cost)
        if permit is None:
            clock.advance(0.6)
            now += 600_000_000
        else:
            acc.admitted(cost)
            sent = acc.sending()
            admission = gate.admit(sum(cost), now)
            stated = limit_headers(gate, now) if headers else {}
            on_the_way.append((permit, sent, admission, stated))
        if len(on_the_way) > 8 or (permit is None and on_the_way):
            permit, sent, admission, stated = on_the_way.pop(0)
            if isinstance(admission, Admission):
                acc.feedback(permit, reply(200, stated), sent)
                gate.finish(admission, 40, now)
                acc.answered(permit, cost, Usage(20, 20))
            else:
                told = {**stated, **wait_headers(admission.wait_ns or 0)}
                acc.feedback(permit, reply(429, told, refusal_body(admission, "m")), sent)
                acc.refused(permit, cost)
    for permit, _, admission, _ in on_the_way:
        gate.finish(admission, 40, now)
        acc.answered(permit, cost, Usage(20, 20))
    return limiter, acc, said


def provider(settles: bool) -> Gate:
    return Gate(0, rpm=100_000, tpm=10_000, settles=settles)


def test_a_provider_that_keeps_reservations_is_noticed_before_it_refuses() -> None:
    gate = provider(settles=False)
    limiter, acc, said = converse("auto", gate, rounds=90)
    assert acc.mode == "reserve" and len(said) == 1 and "keeps what a request reserved" in said[0]
    assert limiter.limits()[1].available == gate.tokens.available(0), "what was given back has been charged after all"
    assert acc.tokens == gate.stats()["tokens"]["charged"]
    gate = provider(settles=False)
    converse("auto", gate, rounds=400)
    assert gate.totals.refused["tokens"] == 0


def test_a_provider_that_settles_is_left_alone() -> None:
    gate = provider(settles=True)
    limiter, acc, said = converse("auto", gate)
    assert acc.settles and said == [] and gate.totals.refused["tokens"] == 0
    assert limiter.limits()[1].available == gate.tokens.available(0)


def test_without_headers_a_few_refusals_say_the_same() -> None:
    gate = provider(settles=False)
    _, acc, said = converse("auto", gate, headers=False, rounds=600)
    assert acc.mode == "reserve" and len(said) == 1
    assert 0 < gate.totals.refused["tokens"] <= 12, "and from then on there are none"
    gate = provider(settles=True)
    _, acc, said = converse("auto", gate, headers=False, rounds=600)
    assert acc.mode == "settle" and said == [] and gate.totals.refused["tokens"] == 0


def test_a_few_answers_are_no_evidence() -> None:
    limiter, acc, _ = account("auto")
    for _ in range(4 * WINDOW):
        permit = take(limiter, acc, (50, 50))
        sent = acc.sending()
        stated = {"x-ratelimit-limit-tokens": "10000", "x-ratelimit-remaining-tokens": "0"}
        acc.feedback(permit, reply(200, stated), sent)
        acc.answered(permit, (50, 50), Usage(50, 45))
    assert acc.mode == "settle" and not acc.settles, "an eighth of the bucket has not been given back"


@pytest.mark.parametrize("mode", ["auto", "settle", "reserve"])
def test_a_lower_limit_is_followed_in_every_mode(mode: str) -> None:
    limiter, acc, _ = account(mode)
    for _ in range(3):
        permit = take(limiter, acc, (1, 1))
        stated = {"x-ratelimit-limit-tokens": "3000", "x-ratelimit-remaining-tokens": "2900"}
        acc.feedback(permit, reply(200, stated), acc.sending())
        acc.answered(permit, (1, 1), Usage(1, 1))
    assert limiter.limits()[1].amount == 3000


@pytest.mark.parametrize("stated", ["-1", "", "many", "9" * 40])
def test_unusable_headers_are_ignored(stated: str) -> None:
    limiter, acc, said = account("auto")
    permit = take(limiter, acc, (1, 1))
    headers = {"x-ratelimit-limit-tokens": stated, "x-ratelimit-remaining-tokens": stated}
    acc.feedback(permit, reply(200, headers), acc.sending())
    acc.answered(permit, (1, 1), Usage(1, 1))
    assert said == [] and acc.mode == "settle" and available(limiter)[1] == 9_998


def test_what_connecting_took_is_charged() -> None:
    limiter, acc, _ = account()
    acc.first_on_the_wire(0.6)
    assert available(limiter)[:2] == [98, 9_800]
    acc.first_on_the_wire(0.0)
    assert available(limiter)[:2] == [98, 9_800]
