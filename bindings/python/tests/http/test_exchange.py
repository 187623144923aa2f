"""The life of a request: whatever becomes of it, its permit has one outcome."""

from __future__ import annotations

import asyncio
import threading

import pytest
from conftest import collect, until, until_async

from llmrl import Chain, Charging, Closed, Limit, Limiter, LimiterMap, Router, Weights
from llmrl.http import Counts, Estimator, Throttle, Usage, _exchange, _wait, backoff

URL = "/v1/chat/completions"
# 40 bytes: 10 tokens, and 30 of output.
BODY = b'{"model": "m", "messages": [{"content": "' + b"x" * 40 + b'"}], "max_tokens": 30}'
ANSWER = b'{"choices": [], "usage": {"prompt_tokens": 12, "completion_tokens": 7}}'
JSON = {"Content-Type": "application/json"}
REFUSAL = b'{"error": {"code": "rate_limit_exceeded", "message": "Rate limit reached on requests per min (RPM): Limit 100, Used 100, Requested 1."}}'


@pytest.fixture
def clock(api):
    return api.ManualClock()


@pytest.fixture
def limiter(api, clock):
    return api.Limiter(Limit.requests(100), Limit.tokens(1000), Limit.in_flight(3), clock=clock)


def left(limiter) -> list[int]:
    """Requests, tokens and slots that are to be had."""
    return [state.available for state in limiter.limits()]


def admitted(limiter, url: str = URL, body: bytes = BODY, **options):
    exchange = Throttle(limiter, **options).exchange(url, body)
    exchange.wait()
    return exchange


def test_settled_with_what_was_used(limiter):
    exchange = admitted(limiter)
    assert left(limiter) == [99, 960, 2]
    assert exchange.answered(200, JSON) is None
    exchange.feed(ANSWER[:30])
    exchange.feed(ANSWER[30:])
    exchange.end()
    assert left(limiter) == [99, 981, 3] and exchange.usage == Usage(12, 7)
    for again in (exchange.end, exchange.drop, lambda: exchange.drop(sent=False)):
        again()
    assert left(limiter) == [99, 981, 3]
    assert exchange._throttle.counts() == Counts(requests=1, tries=1, served=1, input=12, output=7)


@pytest.mark.parametrize("kind, body", [("application/json", b'{"choices": []}'), ("audio/mpeg", ANSWER)])
def test_the_estimate_stands_where_nothing_was_told(limiter, kind, body):
    exchange = admitted(limiter)
    exchange.answered(200, {"content-type": kind})
    exchange.feed(body)
    exchange.end()
    assert left(limiter) == [99, 960, 3]


def test_what_was_not_sent_is_given_back(limiter):
    admitted(limiter).drop(sent=False)
    assert left(limiter) == [100, 1000, 3]


@pytest.mark.parametrize("told, tokens", [(b"", 960), (b'data: {"usage": {"prompt_tokens": 12, "completion_tokens": 7}}\n', 981)])
def test_forgotten(limiter, told, tokens):
    exchange = admitted(limiter)
    exchange.answered(200, {"content-type": "text/event-stream"})
    exchange.feed(told)
    del exchange
    collect()
    assert left(limiter) == [99, tokens, 3]


def test_a_refusal_gives_back_its_tokens_and_is_tried_again(limiter):
    exchange = admitted(limiter, retries=1)
    assert exchange.answered(429, {"retry-after": "2"}, REFUSAL) == 0.0
    assert limiter.stats().in_flight == 0 and left(limiter)[1] == 1000
    # The limiter itself holds the next one back.
    assert limiter.wait_time() > 0
    assert not exchange.final


def test_tries_are_bounded(limiter, clock):
    exchange = Throttle(limiter, retries=2).exchange(URL, BODY)
    for _ in range(2):
        clock.advance(60)
        exchange.wait()
        assert exchange.answered(429, {"retry-after": "1"}, REFUSAL) is not None
    clock.advance(60)
    exchange.wait()
    assert exchange.answered(429, {"retry-after": "1"}, REFUSAL) is None
    assert exchange.final and exchange.tries == 3 and limiter.stats().in_flight == 0
    assert exchange._throttle.counts() == Counts(requests=1, tries=3, refused=3)


@pytest.mark.parametrize(
    "status, headers, body, tokens, again",
    [
        (400, {}, b'{"error": {"message": "no"}}', 1000, False),
        (302, {}, b"", 1000, False),
        (500, {}, b"", 960, False),
        (401, {}, b"\xff", 1000, False),
        (429, {"retry-after": "90000"}, REFUSAL, 1000, False),
        (503, {}, b'{"error": {"message": "overloaded"}}', 1000, True),
        (99, {}, b"", 960, False),
        (1000, {}, b"", 960, False),
    ],
)
def test_failures(limiter, status, headers, body, tokens, again):
    exchange = admitted(limiter)
    assert (exchange.answered(status, headers, body) is not None) is again
    assert left(limiter)[1] == tokens and limiter.stats().in_flight == 0


def test_other_failures_are_tried_again_where_nobody_else_does(limiter, monkeypatch):
    monkeypatch.setattr(_exchange, "BACKOFF_CAP", 0.0)
    throttle = Throttle(limiter, retry_errors=True)
    exchange = throttle.exchange(URL, BODY)
    exchange.wait()
    assert exchange.answered(500, {}, b"") is not None
    exchange.wait()
    assert exchange.lost() is not None
    exchange.wait()
    assert exchange.lost(sent=False) is not None
    exchange.wait()
    assert exchange.answered(400, {}, b"") is None
    assert throttle.counts() == Counts(requests=1, tries=4, failed=4)
    assert left(limiter) == [97, 920, 3]


def test_back_off():
    assert backoff(0.0, 5) == 0.0
    assert all(2.0 <= backoff(2.0, 1) <= 3.0 for _ in range(100))
    assert all(0.0 <= backoff(None, 50) <= 30.0 for _ in range(100))


def test_time_that_is_left(limiter):
    exchange = admitted(limiter, timeout=5)
    # Ten seconds would be too late.
    assert exchange.answered(503, {"retry-after": "10"}, b"") is None and exchange.final


@pytest.mark.parametrize(
    "charging, url, reserved, settled",
    [
        (None, URL, 40, 19),
        (None, "https://api.openai.com" + URL, 30, 30),
        ("azure", URL, 40, 40),
        (None, "/v1/messages", 10, 19),
        ("bedrock", URL, 40, 12 + 35),
        (Charging(output="expected"), URL, 40, 19),
        (None, "/v1/embeddings", 1, 19),
    ],
)
def test_rules_of_providers(limiter, charging, url, reserved, settled):
    body = BODY if "embeddings" not in url else b'{"input": "abc"}'
    exchange = admitted(limiter, url, body, charging=charging)
    assert left(limiter)[1] == 1000 - reserved
    exchange.answered(200, JSON)
    exchange.feed(ANSWER)
    exchange.end()
    assert left(limiter)[1] == 1000 - settled


def test_cached_tokens_are_weighed(api, clock):
    limiter = api.Limiter(Limit.token_bucket(1000, meter=Weights(cached=0)), clock=clock)
    exchange = admitted(limiter)
    exchange.answered(200, JSON)
    exchange.feed(b'{"usage": {"prompt_tokens": 100, "completion_tokens": 10, "prompt_tokens_details": {"cached_tokens": 90}}}')
    exchange.end()
    assert left(limiter) == [980]


def test_what_is_no_post_passes(limiter):
    exchange = Throttle(limiter).exchange("/v1/models", method="GET")
    exchange.wait()
    assert exchange.answered(429, {}, REFUSAL) is None
    exchange.feed(ANSWER)
    exchange.end()
    assert left(limiter) == [100, 1000, 3]


def test_a_limiter_for_each_model(api):
    limiters = LimiterMap(Limit.tokens(100))
    throttle = Throttle(lambda ask: limiters.limiter(ask.model) if ask.model == "m" else None)
    throttle.exchange("/v1/x", b'{"model": "other", "messages": ["text"]}').wait()
    exchange = throttle.exchange(URL, BODY)
    exchange.wait()
    assert left(limiters.limiter("m")) == [60] and limiters.stats().keys == 1
    exchange.drop()


def test_a_chain(api, clock, limiter):
    user = api.Limiter(Limit.tokens(500), clock=clock)
    exchange = admitted(Chain(user, limiter))
    assert (left(user), left(limiter)) == ([460], [99, 960, 2])
    exchange.answered(200, JSON)
    exchange.feed(ANSWER)
    exchange.end()
    assert (left(user), left(limiter)) == ([481], [99, 981, 3])


def test_a_router_says_where_to():
    router = Router()
    for name in ("east", "west"):
        router.add(name, Limiter(Limit.requests(1)))
    first, second = admitted(router), admitted(router)
    assert {first.node.name, second.node.name} == {"east", "west"}
    first.drop(sent=False)
    second.drop()
    assert sorted(left(node.limiter)[0] for node in router.nodes()) == [0, 1]


def test_a_limiter_that_was_closed(limiter):
    exchanges = [admitted(limiter) for _ in range(3)]
    limiter.close()
    assert exchanges[0].answered(429, {}, REFUSAL) == 0.0
    with pytest.raises(Closed):
        exchanges[0].wait()
    exchanges[1].answered(200, JSON)
    exchanges[1].feed(ANSWER)
    exchanges[1].end()
    exchanges[2].drop(sent=False)


def test_tasks_wait_in_turn_and_a_cancelled_one_takes_nothing(api):
    async def main() -> None:
        limiter = api.Limiter(Limit.in_flight(1), Limit.tokens(1000))
        throttle = Throttle(limiter)
        first = throttle.exchange(URL, BODY)
        await first.admit()
        order: list[int] = []

        async def body(number: int) -> None:
            exchange = throttle.exchange(URL, BODY)
            await exchange.admit()
            order.append(number)
            exchange.drop(sent=False)

        tasks = [asyncio.ensure_future(body(number)) for number in range(3)]
        await until_async(lambda: limiter.stats().waiting == 3)
        tasks[1].cancel()
        await until_async(tasks[1].done)
        first.drop(sent=False)
        await asyncio.gather(*tasks, return_exceptions=True)
        assert order == [0, 2] and left(limiter) == [1, 1000]

    asyncio.run(main())


def test_a_thread_that_runs_a_loop_may_wait(api):
    """As in a notebook: the synchronous client is called where a loop runs."""
    limiter = api.Limiter(Limit.in_flight(1))
    held = limiter.try_acquire()

    async def main() -> None:
        exchange = Throttle(limiter).exchange(URL, BODY)
        exchange.wait()
        assert limiter.stats().in_flight == 1
        exchange.drop()

    def release() -> None:
        until(lambda: limiter.stats().waiting == 1)
        held.release()

    thread = threading.Thread(target=release)
    thread.start()
    asyncio.run(main())
    thread.join()
    assert left(limiter) == [1]


def test_one_that_is_interrupted_there_gives_back_what_comes_later(api, monkeypatch):
    limiter = api.Limiter(Limit.in_flight(1))
    held = limiter.try_acquire()

    class Interrupted(_wait.Future):  # type: ignore[type-arg]
        def result(self, timeout=None):
            if not self.done():
                until(lambda: limiter.stats().waiting == 1)
                raise KeyboardInterrupt
            return super().result(timeout)

    monkeypatch.setattr(_wait, "Future", Interrupted)

    async def main() -> None:
        with pytest.raises(KeyboardInterrupt):
            Throttle(limiter).exchange(URL, BODY).wait()

    asyncio.run(main())
    held.release()
    until(lambda: left(limiter) == [1] and limiter.stats().granted == 2)


def test_learns_from_answers(limiter, clock):
    throttle = Throttle(limiter, charging=Charging(output="expected"), estimator=Estimator())
    for _ in range(20):
        clock.advance(60)
        exchange = throttle.exchange(URL, BODY)
        exchange.wait()
        exchange.answered(200, JSON)
        exchange.feed(b'{"usage": {"prompt_tokens": 20, "completion_tokens": 5}}')
        exchange.end()
    clock.advance(60)
    exchange = throttle.exchange(URL, BODY)
    exchange.wait()
    assert left(limiter)[1] == 1000 - 20 - 5
    exchange.drop()


@pytest.mark.parametrize(
    "error, options",
    [
        (TypeError, {"limiter": "x"}),
        (ValueError, {"retries": -1}),
        (ValueError, {"retries": 101}),
        (TypeError, {"retries": 1.5}),
        (ValueError, {"timeout": -1}),
        (ValueError, {"charging": "nobody"}),
    ],
)
def test_arguments_that_are_refused(limiter, error, options):
    with pytest.raises(error):
        Throttle(**{"limiter": limiter, **options})


def test_a_throttle_is_taken_as_it_is(limiter):
    throttle = Throttle(limiter)
    assert Throttle.of(throttle) is throttle and Throttle.of(limiter).limiter is limiter
