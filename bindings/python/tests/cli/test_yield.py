"""How much of a provider's limit the matching kind gets, and how often it is refused.

A hundred minutes of a client that always wants more, in virtual time: the limiter on a manual clock, the emulator's gate
(which shares no code with it) on the same time, and a network that delays every request by 20 to 120 ms. As a program,
prints the table.
"""

from __future__ import annotations

import heapq
import json
import random
from typing import Any, List, Tuple

import pytest

from llmrl import Limit, Limiter, ManualClock, Permit
from llmrl.cli.emulate_bucket import Admission, Gate
from llmrl.cli.emulate_wire import limit_headers, refusal_body, wait_headers

SECOND = 10**9
MINUTES = 100
PHASE = 37
"""Seconds until the provider's first window ends."""


def play(limits: List[Limit], enforce: str, tokens: bool, jitter_ms: int = 100) -> Tuple[float, float]:
    """Shares: of the limit that was used, and of the requests sent that were refused."""
    rng = random.Random(7)
    end = MINUTES * 60 * SECOND
    rate = {"tpm": 30_000} if tokens else {"rpm": 60}
    gate = Gate(0, **rate, enforce=enforce, origin_ns=(PHASE - 60) * SECOND)
    clock = ManualClock()
    limiter = Limiter(*limits, clock=clock)
    on_the_way: List[Tuple[int, int, int, Permit]] = []
    again: List[int] = []
    now = sent = admitted = refused = 0
    while now < end:
        while True:
            cost = again.pop() if again else rng.randint(50, 700) if tokens else 1
            permit = limiter.try_acquire(input=cost)
            if permit is None:
                again.append(cost)
                break
            sent += 1
            heapq.heappush(on_the_way, (now + (20 + rng.randint(0, jitter_ms)) * 1_000_000, sent, cost, permit))
        then = now + max(1, round(limiter.wait_time(input=cost) * 1e9))
        if on_the_way:
            then = min(then, max(now, on_the_way[0][0]))
        clock.advance_ns(then - now)
        now = then
        while on_the_way and on_the_way[0][0] <= now:
            _, _, cost, permit = heapq.heappop(on_the_way)
            answer = gate.admit(cost, now)
            headers = limit_headers(gate, now)
            if isinstance(answer, Admission):
                admitted += cost
                permit.feedback(200, headers)
            else:
                refused += 1
                again.append(cost)
                headers.update(wait_headers(answer.wait_ns or 0))
                permit.feedback(429, headers, json.dumps(refusal_body(answer, "m")))
            permit.release()
    meter = gate.tokens if tokens else gate.requests
    assert meter is not None
    for _, _, _, permit in on_the_way:
        permit.cancel()
    return admitted / meter.offered(0, end - 1), refused / sent


MATCHING = {
    "bucket": lambda n, meter: Limit.token_bucket(n, meter=meter),
    "fixed": lambda n, meter: Limit.fixed_window(n, resets_in=PHASE, meter=meter),
    "sliding": lambda n, meter: Limit.sliding_window(n, meter=meter),
}
OTHERS = [
    ("fixed", "fixed_window, its end not known", lambda n, meter: Limit.fixed_window(n, meter=meter)),
    ("fixed", "token_bucket", MATCHING["bucket"]),
    ("sliding", "token_bucket", MATCHING["bucket"]),
    ("sliding", "sliding_window_log", lambda n, meter: Limit.sliding_window_log(n, meter=meter)),
    ("sliding", "sliding_window_counter", lambda n, meter: Limit.sliding_window_counter(n, meter=meter)),
]


def limit(make: Any, tokens: bool) -> Limit:
    return make(30_000, "tokens") if tokens else make(60, "requests")


@pytest.mark.parametrize("tokens", [False, True], ids=["requests", "tokens"])
@pytest.mark.parametrize("enforce", MATCHING)
def test_the_matching_kind_gets_the_limit(enforce: str, tokens: bool) -> None:
    share, refusals = play([limit(MATCHING[enforce], tokens)], enforce, tokens)
    assert share >= 0.97 and refusals <= 0.02, (share, refusals)


def test_a_window_whose_end_is_not_known_is_found() -> None:
    share, refusals = play([Limit.fixed_window(60)], "fixed", False)
    assert share >= 0.97 and refusals <= 0.02, (share, refusals)


def test_a_log_needs_a_network_without_jitter() -> None:
    share, refusals = play([Limit.sliding_window_log(60)], "sliding", False, jitter_ms=0)
    assert share >= 0.99 and refusals == 0
    assert play([Limit.sliding_window_log(60)], "sliding", False)[1] > 0.02, "so the others could fail"


def main() -> None:
    rows = [(enforce, f"the matching one: {enforce}", make) for enforce, make in MATCHING.items()] + OTHERS
    for enforce, name, make in rows:
        share, refusals = play([limit(make, False)], enforce, False)
        print(f"provider: {enforce:10} limiter: {name:34} {share:6.1%} of the limit, {refusals:.1%} refused")


if __name__ == "__main__":
    main()
