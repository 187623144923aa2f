"""What permits become, against the real limiter: refusals, corrections, and noticing how a provider charges."""

from __future__ import annotations

from typing import Any, List, Tuple

import pytest

from llmrl import Limit, Limiter, ManualClock

from llmrl.cli.batch_answer import Verdict
from llmrl.cli.batch_charge import WINDOW, Account, Meters
from llmrl.cli.emulate_bucket import Admission, Gate
from llmrl.cli.emulate_wire import limit_headers


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
        acc.answered(take(limiter, acc, (400, 600)), (400, 600), (100, 200))
        assert available(limiter) == [99, tokens, 50]
        assert (acc.requests, acc.tokens) == (1, 10_000 - tokens)


def test_without_a_usage_the_estimate_stands() -> None:
    limiter, acc, _ = account("settle")
    acc.answered(take(limiter, acc, (400, 600)), (400, 600), None)
    acc.failed(take(limiter, acc, (400, 600)), (400, 600))
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


def test_a_token_refusal_brings_the_account_down_to_the_provider_s() -> None:
    limiter, acc, _ = account()
    verdict = Verdict("retry", "status 429", "tokens", 3.0, 10_000, 9_600)
    acc.refused(take(limiter, acc, (400, 600)), (400, 600), verdict)
    state = limiter.limits()[1]
    assert available(limiter)[0] == 99 and acc.tokens == 0
    assert state.available == 400 and state.paused == pytest.approx(3.0) and verdict.paused
    assert available(limiter)[2] == 50


def test_a_refusal_never_raises_the_account() -> None:
    limiter, acc, _ = account()
    held = take(limiter, acc, (9_000, 0))
    acc.refused(take(limiter, acc, (500, 0)), (500, 0), Verdict("retry", "", "tokens", 1.0, 10_000, 5_000))
    assert available(limiter)[1] == 1_000
    held.cancel()


def test_a_refusal_without_numbers_keeps_the_reservation() -> None:
    limiter, acc, _ = account()
    acc.refused(take(limiter, acc, (400, 600)), (400, 600), Verdict("retry", "", "tokens", 2.0))
    assert available(limiter) == [99, 9_000, 50]


def test_a_refusal_for_requests_keeps_the_request_and_gives_the_tokens_back() -> None:
    limiter, acc, _ = account()
    acc.refused(take(limiter, acc, (400, 600)), (400, 600), Verdict("retry", "", "requests", 2.0, 100, 100))
    states = limiter.limits()
    assert available(limiter) == [99, 10_000, 50]
    assert states[0].paused == pytest.approx(2.0) and states[1].paused == 0


def test_a_refusal_for_concurrency_gives_everything_back_and_pauses_nothing() -> None:
    limiter, acc, _ = account()
    verdict = Verdict("retry", "", "concurrent", 1.0, 5, 5)
    acc.refused(take(limiter, acc, (400, 600)), (400, 600), verdict)
    assert available(limiter) == [100, 10_000, 50] and not verdict.paused
    assert [state.paused for state in limiter.limits()[:2]] == [0, 0]


def test_a_shorter_wait_does_not_cut_a_longer_one_short() -> None:
    limiter, acc, _ = account()
    first, second = take(limiter, acc, (1, 0)), take(limiter, acc, (1, 0))
    acc.refused(first, (1, 0), Verdict("retry", "", "tokens", 30.0))
    acc.refused(second, (1, 0), Verdict("retry", "", "tokens", 2.0))
    assert limiter.limits()[1].paused == pytest.approx(30.0)


def test_without_such_a_limit_nothing_is_paused() -> None:
    limiter = Limiter(Limit.in_flight(5), clock=ManualClock())
    acc = Account(limiter, Meters(None, None, 0), "auto", print)
    for axis in ("tokens", "requests", None, "concurrent"):
        verdict = Verdict("retry", "", axis, 5.0, 10, 10)
        acc.refused(take(limiter, acc, (1, 1)), (1, 1), verdict)
        assert not verdict.paused
    assert limiter.limits()[0].available == 5


def converse(settles: bool, headers: bool = True, rounds: int = 120) -> Tuple[Any, Account, Gate, List[str]]:
    """Requests of 100 that use 40, one after the other, at a provider of either kind. Only refusals take time."""
    clock, now = ManualClock(), 0
    limiter, acc, said = account("auto", rpm=100_000, clock=clock)
    gate = Gate(0, rpm=100_000, tpm=10_000, settles=settles)
    cost = (50, 50)
    for _ in range(rounds):
        permit = limiter.try_acquire(*cost)
        if permit is None:
            clock.advance(0.6)
            now += 600_000_000
            continue
        acc.admitted(cost)
        sent = acc.sending(cost)
        admission = gate.admit(sum(cost), now)
        stated = limit_headers(gate, now)
        if not isinstance(admission, Admission):
            wait = admission.wait_ns / 1e9
            acc.refused(permit, cost, Verdict("retry", "", "tokens", wait, admission.limit, admission.used))
            continue
        gate.finish(admission, 40, now)
        acc.answered(permit, cost, (20, 20))
        if headers:
            acc.headers(sent, stated)
    return limiter, acc, gate, said


def test_a_provider_that_keeps_reservations_is_noticed_before_it_refuses() -> None:
    limiter, acc, gate, said = converse(settles=False, rounds=50)
    assert acc.mode == "reserve" and len(said) == 1 and "keeps what a request reserved" in said[0]
    assert limiter.limits()[1].available == gate.tokens.available(0), "what was given back has been charged after all"
    assert acc.tokens == gate.stats()["tokens"]["charged"]
    limiter, acc, gate, _ = converse(settles=False)
    assert gate.totals.refused["tokens"] == 0


def test_a_provider_that_settles_is_left_alone() -> None:
    limiter, acc, gate, said = converse(settles=True)
    assert acc.mode == "settle" and said == []
    assert limiter.limits()[1].available == gate.tokens.available(0)


def test_without_headers_a_few_refusals_say_the_same() -> None:
    _, acc, gate, said = converse(settles=False, headers=False, rounds=600)
    assert acc.mode == "reserve" and len(said) == 1
    assert 0 < gate.totals.refused["tokens"] <= 12, "and from then on there are none"
    _, acc, gate, said = converse(settles=True, headers=False, rounds=600)
    assert acc.mode == "settle" and gate.totals.refused["tokens"] == 0


def test_one_overtaken_request_is_no_evidence() -> None:
    limiter, acc, _ = account("auto")
    cost = (50, 50)
    for i in range(4 * WINDOW):
        permit = take(limiter, acc, cost)
        sent = acc.sending(cost)
        ahead = sent.available - (5_000 if i % WINDOW else -100)
        acc.answered(permit, cost, (20, 20))
        acc.headers(sent, {"x-ratelimit-limit-tokens": "10000", "x-ratelimit-remaining-tokens": str(max(0, ahead))})
    assert acc.mode == "settle"


def test_another_limit_than_the_stated_one_is_said_once_and_not_compared() -> None:
    limiter, acc, said = account("auto")
    for _ in range(40):
        permit = take(limiter, acc, (50, 50))
        sent = acc.sending((50, 50))
        acc.answered(permit, (50, 50), (1, 1))
        acc.headers(sent, {"x-ratelimit-limit-tokens": "30000", "x-ratelimit-remaining-tokens": "0"})
    assert acc.mode == "settle"
    assert said == ["the provider states a limit of 30,000 tokens, but 10,000 per minute was given here"]


@pytest.mark.parametrize("stated", ["-1", "", "many", "9" * 40])
def test_unusable_headers_are_ignored(stated: str) -> None:
    limiter, acc, said = account("auto")
    permit = take(limiter, acc, (1, 1))
    sent = acc.sending((1, 1))
    acc.answered(permit, (1, 1), (1, 1))
    acc.headers(sent, {"x-ratelimit-limit-tokens": stated, "x-ratelimit-remaining-tokens": stated})
    assert said == [] and acc.mode == "settle"


def test_what_connecting_took_is_charged() -> None:
    limiter, acc, _ = account()
    acc.first_on_the_wire(1.2)
    assert available(limiter)[:2] == [98, 9_800]
    acc.first_on_the_wire(0.0)
    assert available(limiter)[:2] == [98, 9_800]
