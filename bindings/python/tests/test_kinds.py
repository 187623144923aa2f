"""Every kind of limit, on a manual clock and in small numbers; the vectors have the rest."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

import pytest

import llmrl
from llmrl import Limit, Weights


def waits(api, limit, *amounts):
    """What ``wait_time`` says for each amount of tokens, of a limiter of which the first amount has been taken."""
    limiter = api.Limiter(limit, clock=api.ManualClock(7))
    limiter.try_acquire(amounts[0]).release()
    return [limiter.wait_time(amount) for amount in amounts[1:]]


def test_pacing(api):
    assert waits(api, Limit.pacing(600, meter="tokens"), 25, 1, 1000) == [2.5, 2.5]


def test_fixed_window(api):
    assert waits(api, Limit.fixed_window(10, resets_in=20, meter="tokens"), 8, 2, 3) == [0.0, 20.0]
    assert waits(api, Limit.fixed_window(10, 5, meter="tokens"), 8, 3) == [5.0]


def test_sliding_window_counter(api):
    assert waits(api, Limit.sliding_window_counter(100, meter="tokens"), 100, 10) == [66.0]


def test_sliding_window(api):
    limit = Limit.sliding_window(10, parts=6, meter="tokens")
    assert waits(api, limit, 10, 1) == [70.0], "counted until the end of its part is a minute ago"


def test_sliding_window_log(api):
    clock = api.ManualClock()
    limiter = api.Limiter(Limit.sliding_window_log(10, meter="tokens"), clock=clock)
    for _ in range(5):
        limiter.try_acquire(2).release()
        clock.advance(1)
    assert [limiter.wait_time(amount) for amount in (1, 3, 10)] == [55.0, 56.0, 59.0]
    joined = api.Limiter(Limit.sliding_window_log(100, stamps=3, meter="tokens"), clock=clock)
    for _ in range(6):
        joined.try_acquire(10).release()
        clock.advance(1)
    assert joined.wait_time(41) == 56.0, "the first three count as made at the time of the third"


def test_weights(api):
    weights = Weights(input=1, output=5, cached=0.1, cache_write=1.25)
    limiter = api.Limiter(Limit.token_bucket(1000, meter=weights), clock=api.ManualClock())
    limiter.try_acquire(150, 10, cached=101, cache_write=40).release()
    state = limiter.limits()[0]
    assert (state.kind, state.meter, state.available) == ("token_bucket", "weighted_tokens", 1000 - 120)
    with pytest.raises(llmrl.Never, match="by its weights, can never fit limit 0"):
        limiter.try_acquire(0, 201)


def test_the_state_names_the_kind(api):
    limits = [
        Limit.token_bucket(9, 30, 4),
        Limit.pacing(9, 30),
        Limit.fixed_window(9, 30),
        Limit.sliding_window_counter(9, 30),
        Limit.sliding_window(9, 30),
        Limit.sliding_window_log(9, 30),
        Limit.in_flight(9),
    ]
    states = api.Limiter(*limits, clock=api.ManualClock()).limits()
    assert [state.kind for state in states] == [
        "token_bucket",
        "pacing",
        "fixed_window",
        "sliding_window_counter",
        "sliding_window",
        "sliding_window_log",
        "in_flight",
    ]
    assert [(state.amount, state.per, state.burst) for state in states] == [(9, 30.0, 4), (9, 30.0, 0), *[(9, 30.0, 9)] * 4, (9, 0, 0)]
    assert all(getattr(Limit, state.kind) for state in states), "a kind is the name of its constructor"


def test_never_names_what_is_too_small(api):
    limiter = api.Limiter(Limit.pacing(1, meter="tokens"), Limit.sliding_window(100, meter="tokens"), clock=api.ManualClock())
    with pytest.raises(llmrl.Never, match="cost of 101 tokens can never fit limit 1, whose amount is 100"):
        limiter.try_acquire(101)


def test_oversize_and_start_empty(api):
    assert waits(api, Limit.fixed_window(10, oversize="when_full", meter="tokens"), 25, 1) == [60.0], "gone with its window"
    for limit in (Limit.fixed_window(10, start_empty=True), Limit.sliding_window_log(10, start_empty=True)):
        assert api.Limiter(limit, clock=api.ManualClock()).wait_time() == 60.0


def test_align(api):
    clock = api.ManualClock()
    limiter = api.Limiter(Limit.requests(100), Limit.fixed_window(2), clock=clock)
    limiter.try_acquire(requests=2).release()
    limiter.align(1, 5)
    assert limiter.wait_time() == 5.0
    limiter.align(index=1, resets_in=60)
    assert limiter.wait_time() == 60.0
    for value, error in ((0, ValueError), (60.1, ValueError), (-1, ValueError), (math.inf, ValueError), ("1", TypeError)):
        with pytest.raises(error, match="resets_in must be seconds from 1e-9 to 60, got"):
            limiter.align(1, value)
    for index in (0, 2, 2**39):
        with pytest.raises(ValueError, match="align: .* accepted indices are those of fixed windows: 1"):
            limiter.align(index, 5)
    with pytest.raises(TypeError, match="index must be a whole number"):
        limiter.align("1", 5)
    with pytest.raises(ValueError, match="there is none"):
        api.Limiter(Limit.requests(1)).align(0, 5)


def test_retune(api):
    clock = api.ManualClock()
    limiter = api.Limiter(Limit.pacing(60), Limit.sliding_window(10), clock=clock)
    limiter.retune(0, 120)
    limiter.retune(1, 4, per=30)
    limiter.try_acquire(requests=3).release()
    assert [(state.amount, state.per, state.burst) for state in limiter.limits()] == [(120, 60.0, 0), (4, 30.0, 4)]
    assert limiter.wait_time() == 1.5
    clock.advance(1.5)
    assert limiter.wait_time(requests=2) == 30.5 - 1.5
    for index, kind in ((0, "pacing"), (1, "sliding_window")):
        with pytest.raises(ValueError, match=f"burst must be None, as a {kind} has none, got 5"):
            limiter.retune(index, 5, burst=5)


def test_pause(api):
    limiter = api.Limiter(Limit.fixed_window(2), clock=api.ManualClock())
    limiter.pause(0, 2.5)
    assert limiter.wait_time() == 2.5 and limiter.limits()[0].paused == 2.5


def test_smoothed(api):
    minute = Limit.sliding_window(300)
    assert minute.smoothed(10) == Limit.sliding_window(50, 10)
    assert Limit.requests(90).smoothed(1) == Limit.requests(90, burst=1), "rounded down, the rate is exact"
    assert Limit.requests(5).smoothed(1) == Limit.requests(5, burst=1), "at least 1"
    assert Limit.pacing(90).smoothed(1) == Limit.pacing(90)
    assert Limit.sliding_window_log(600).smoothed(1) == Limit.sliding_window_log(10, 1)
    assert Limit.sliding_window_log(600, stamps=7).smoothed(1) == Limit.sliding_window_log(10, 1, stamps=7)
    assert Limit.fixed_window(600).smoothed(10) == Limit.fixed_window(100, 10)
    assert Limit.fixed_window(600, resets_in=25).smoothed(10) == Limit.fixed_window(100, 10, resets_in=5)
    assert Limit.fixed_window(600, resets_in=20).smoothed(10) == Limit.fixed_window(100, 10, resets_in=10)
    limiter = api.Limiter(Limit.requests(60), Limit.requests(60).smoothed(1), clock=api.ManualClock())
    limiter.try_acquire().release()
    assert limiter.wait_time() == 1.0
    with pytest.raises(ValueError, match="Limit.in_flight.5. has no period"):
        Limit.in_flight(5).smoothed(1)
    with pytest.raises(ValueError, match="smoothed: window must be seconds from 1e-9"):
        minute.smoothed(0)
    with pytest.raises(ValueError, match="which must be from 1 to 1099511627775"):
        Limit.tokens(2**40 - 1).smoothed(120)


def test_limits_are_values():
    same = [
        (Limit.token_bucket(5), Limit.requests(5)),
        (Limit.token_bucket(5, meter=Weights(cached=0)), Limit.token_bucket(5, meter=Weights(1.0, 1, 0, 1))),
        (Limit.sliding_window(5), Limit.sliding_window(5, 60, parts=60)),
        (Limit.sliding_window_log(5), Limit.sliding_window_log(5, stamps=5)),
        (Limit.sliding_window_log(200_000), Limit.sliding_window_log(200_000, stamps=65536)),
    ]
    assert all(a == b and hash(a) == hash(b) for a, b in same)
    kinds = [Limit.pacing, Limit.fixed_window, Limit.sliding_window_counter, Limit.sliding_window, Limit.sliding_window_log]
    different = [make(5, meter=meter) for make in kinds for meter in ("requests", "tokens", Weights(), Weights(output=5))]
    assert len(set(different)) == 20


@pytest.mark.parametrize(
    "limit",
    [
        Limit.requests(5, per=0.1),
        Limit.output_tokens(5, burst=2, oversize="when_full"),
        Limit.token_bucket(5, meter=Weights(output=5, cached=0.125)),
        Limit.pacing(60, meter="tokens"),
        Limit.fixed_window(1500, 86400, resets_in=7200.25),
        Limit.fixed_window(5, start_empty=True),
        Limit.sliding_window_counter(5, 1234567.5),
        Limit.sliding_window(5, parts=9, oversize="when_full"),
        Limit.sliding_window_log(5, stamps=9, meter="input_tokens"),
        Limit.in_flight(5),
    ],
    ids=lambda limit: repr(limit)[:30],
)
def test_a_repr_makes_the_same(limit):
    assert eval(repr(limit), {"Limit": Limit, "Weights": Weights}) == limit


BAD = [
    (lambda: Limit.pacing(0), ValueError, "Limit.pacing: n must be from 1 to 1099511627775, got 0"),
    (lambda: Limit.fixed_window("5"), TypeError, "Limit.fixed_window: n must be a whole number"),
    (lambda: Limit.fixed_window(5, resets_in=0), ValueError, "resets_in must be seconds from 1e-9 to 60, got 0"),
    (lambda: Limit.fixed_window(5, 86400, resets_in=86401), ValueError, "resets_in must be seconds from 1e-9 to 86400, got 86401"),
    (lambda: Limit.fixed_window(5, resets_in=True), TypeError, "resets_in must be seconds"),
    (lambda: Limit.sliding_window(5, parts=0), ValueError, "Limit.sliding_window: parts must be from 1 to 1000, got 0"),
    (lambda: Limit.sliding_window(5, parts=1001), ValueError, "parts must be from 1 to 1000, got 1001"),
    (lambda: Limit.sliding_window(5, 5e-9), ValueError, "parts must be from 1 to 5, got 60"),
    (lambda: Limit.sliding_window_log(5, stamps=65537), ValueError, "stamps must be from 1 to 65536, got 65537"),
    (lambda: Limit.sliding_window_log(5, stamps=1.5), TypeError, "stamps must be a whole number from 1 to 65536, got float 1.5"),
    (lambda: Limit.pacing(5, meter="token"), ValueError, "Limit.pacing: meter must be 'requests', 'tokens', 'input_tokens', "),
    (lambda: Limit.pacing(5, meter=2), TypeError, "Limit.pacing: meter must be 'requests'.*got 2"),
    (lambda: Limit.sliding_window(5, oversize=1), ValueError, "Limit.sliding_window: oversize must be"),
    (lambda: Limit.sliding_window(5, start_empty=1), TypeError, "Limit.sliding_window: start_empty must be"),
    (lambda: Weights(output=0.0001), ValueError, "Weights: output must be a number from 0 to 100 with at most three decimals, got 0.0001"),
    (lambda: Weights(input=100.001), ValueError, "Weights: input must be a number from 0 to 100 .* got 100.001"),
    (lambda: Weights(cached=-1), ValueError, "Weights: cached must be a number from 0 to 100"),
    (lambda: Weights(cached=math.nan), ValueError, "Weights: cached must be a number .* got nan"),
    (lambda: Weights(cache_write=math.inf), ValueError, "Weights: cache_write must be a number .* got inf"),
    (lambda: Weights(input="1"), TypeError, "Weights: input must be a number .* got str '1'"),
    (lambda: Weights(input=True), TypeError, "Weights: input must be a number .* got bool True"),
    (lambda: Weights(0, 0, 0, 0), ValueError, "Weights: input, output, cached and cache_write are all 0"),
]


@pytest.mark.parametrize("make, error, words", BAD, ids=[words[:40] for _, _, words in BAD])
def test_bad_arguments(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_what_only_the_library_refuses(api):
    for limit in (Limit.pacing(2**40 - 1, per=1e-9), Limit.fixed_window(5, per=4e8)):
        with pytest.raises(ValueError, match=r"Limiter: limits\[0\]\..* is outside"):
            api.Limiter(limit)


def test_weights_are_exact():
    for thousandths in range(1, 100_001, 7):
        assert Weights(output=thousandths / 1000)._thousandths()[1] == thousandths
    assert Weights(cached=Fraction(1, 10)) == Weights(cached=Decimal("0.1")) == Weights(cached=0.1)
    assert repr(Weights(output=5)) == "Weights(input=1.0, output=5.0, cached=1.0, cache_write=1.0)"
