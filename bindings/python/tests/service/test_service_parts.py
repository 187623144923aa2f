"""Headers, metrics and limiters of the service, without a server."""

from __future__ import annotations

import sys
from typing import Any

import pytest

if sys.version_info < (3, 11):
    pytest.importorskip("tomli", reason="needs the service extra: pip install 'llmrl[service]'")

from llmrl import Limit, Limiter, ManualClock, read_answer
from llmrl.service.admission import Refused
from llmrl.service.config import parse
from llmrl.service.metrics import Metrics, family
from llmrl.service.plan import Clients, Level, Plan, Secret, same
from llmrl.service.policy import limit_headers, refusal, retry_headers
from llmrl.service.status import History, gauges

UPSTREAM = '[[upstream]]\nname = "{}"\nbase_url = "http://a/v1"\nlimits = [{{amount = {}}}]\n'


def level(*limits: Limit, kind: str = "user", name: str = "ann", clock: Any = None) -> Level:
    return Level(kind, name, Limiter(*limits, clock=clock), limits)


def headers(*levels: Level) -> "dict[str, str]":
    return {name.decode(): value.decode() for name, value in limit_headers(levels)}


def test_rate_limit_fields() -> None:
    clock = ManualClock()
    user = level(Limit.requests(2, burst=1), Limit.tokens(1000, 0.5), Limit.requests(9, 60), clock=clock)
    everybody = level(Limit.in_flight(3), kind="global", name="", clock=clock)
    user.limiter.try_acquire(10, 90)
    held = everybody.limiter.try_acquire()
    assert held is not None and headers(user, everybody) == {
        "ratelimit-policy": '"user-requests-60s";q=2;w=60, "user-tokens-0.5s";q=1000;qu="tokens";w=1, '
        '"user-requests-60s-2";q=9;w=60, "global-in_flight";q=3;qu="concurrent-requests"',
        "ratelimit": '"user-requests-60s";r=0;t=30, "user-tokens-0.5s";r=900, "user-requests-60s-2";r=8, "global-in_flight";r=2',
    }
    clock.advance(29.5)
    assert '"user-requests-60s";r=0;t=1,' in headers(user)["ratelimit"], "rounded up: earlier it would be refused again"
    window = level(Limit.fixed_window(1, 3600), clock=clock)
    window.limiter.try_acquire()
    assert headers(window)["ratelimit"] == '"user-requests-3600s";r=0;t=3600'
    user.limiter.pause(0, 100)
    assert '"user-requests-60s";r=0;t=100,' in headers(user)["ratelimit"]
    assert headers() == {}
    held.release()


def test_our_own_reader_understands_the_fields() -> None:
    of = level(Limit.requests(60, 3600))
    of.limiter.try_acquire()
    (quota,) = read_answer(200, headers(of)).quotas
    assert (quota.limit, quota.remaining, quota.window) == (60, 59, 3600.0)


@pytest.mark.parametrize(
    "wait, whole, ms", [(0.0, "1", "1"), (0.0004, "1", "1"), (1.0, "1", "1000"), (1.0001, "2", "1001"), (None, "1", "1000")]
)
def test_retry_after_is_rounded_up(wait: Any, whole: str, ms: str) -> None:
    assert retry_headers(wait) == [(b"retry-after", whole.encode()), (b"retry-after-ms", ms.encode())]


def test_a_refusal_names_the_limit_that_is_waited_for_longest() -> None:
    clock = ManualClock()
    of = level(Limit.requests(60, burst=1), Limit.tokens(600), clock=clock)
    of.limiter.try_acquire(600)
    status, fields, body = refusal(Refused(of, "limit", (100, 200)))
    assert status == 429 and dict(fields)[b"retry-after"] == b"30"
    assert body["error"]["limit"]["meter"] == "tokens" and body["error"]["level"] == "user" and body["error"]["type"] == "tokens"
    assert body["error"]["retry_after"] == 30.0
    assert "user 'ann'" in body["error"]["message"] and "600 tokens in 60 s" in body["error"]["message"]
    full = level(Limit.requests(60), Limit.in_flight(1), clock=clock)
    permit = full.limiter.try_acquire()
    status, fields, body = refusal(Refused(full, "limit", (0, 0)))
    assert (
        body["error"]["limit"]["meter"] == "in_flight" and body["error"]["retry_after"] is None and dict(fields)[b"retry-after"] == b"1"
    )
    assert permit is not None
    permit.release()


def test_metrics_are_what_prometheus_reads() -> None:
    parser = pytest.importorskip("prometheus_client.parser", reason="prometheus_client is not installed: pip install 'llmrl[test]'")
    plan = Plan(parse("[global]\nlimits = [{amount = 5}]\n[users]\nlimits = [{amount = 7}]\n" + UPSTREAM.format("east", 3)))
    metrics = Metrics()
    metrics.requests.add('a"\\\n', "200")
    for seconds in (0.001, 0.002, 100.0, 1e9):
        metrics.wait.add(seconds)
    text = metrics.render() + gauges(plan, 3)
    families = {found.name: found for found in parser.text_string_to_metric_families(text)}
    assert {name: found.type for name, found in families.items() if found.type != "gauge"} == {
        **dict.fromkeys(
            ("llmrl_requests", "llmrl_refusals", "llmrl_disconnects", "llmrl_upstream_answers", "llmrl_upstream_retries"), "counter"
        ),
        **dict.fromkeys(("llmrl_upstream_broken", "llmrl_tokens", "llmrl_config_reloads", "llmrl_users_evicted"), "counter"),
        **dict.fromkeys(("llmrl_wait_seconds", "llmrl_first_byte_seconds", "llmrl_request_seconds"), "histogram"),
    }
    assert families["llmrl_requests"].samples[0].labels == {"route": 'a"\\\n', "status": "200"}
    waits = {
        sample.labels.get("le"): sample.value for sample in families["llmrl_wait_seconds"].samples if sample.name.endswith("_bucket")
    }
    assert waits["0.001"] == 1 and waits["0.005"] == 2 and waits["120"] == 3 and waits["+Inf"] == 4
    amounts = {sample.labels["level"]: sample.value for sample in families["llmrl_limit_amount"].samples}
    assert amounts == {"global": 5, "upstream": 3}


def test_a_family_without_labels() -> None:
    assert family("a", "gauge", "An a.", (), [((), 1.5)]) == "# HELP a An a.\n# TYPE a gauge\na 1.5\n"


def test_a_new_plan_takes_over_what_it_can() -> None:
    old = Plan(parse("[global]\nlimits = [{amount = 100, per = 3600}]\n" + UPSTREAM.format("a", 5) + UPSTREAM.format("b", 6)))
    assert old.all is not None
    old.all.limiter.try_acquire()
    new = Plan(parse("[global]\nlimits = [{amount = 10, per = 3600}]\n" + UPSTREAM.format("b", 6) + UPSTREAM.format("c", 7)), old)
    assert new.all is not None and new.all.limiter is old.all.limiter and new.notes == []
    state = new.all.limiter.limits()[0]
    assert (state.amount, state.burst) == (10, 10)
    assert new.nodes[0].limiter is old.nodes[1].limiter and new.nodes[1].limiter is not old.nodes[0].limiter
    other = Plan(parse("[global]\nlimits = [{amount = 10, meter = 'tokens'}]\n" + UPSTREAM.format("b", 6)), new)
    assert other.all is not None and other.all.limiter is not new.all.limiter
    assert other.notes == ["global: its limits are of other kinds, and begin anew"]


def test_what_was_learned_stays_when_its_limit_is_not_changed() -> None:
    text = UPSTREAM.format("a", 500)
    old = Plan(parse(text))
    for _ in range(2):
        permit = old.nodes[0].limiter.try_acquire()
        assert permit is not None
        permit.feedback(
            200, {"x-ratelimit-limit-requests": "60", "x-ratelimit-remaining-requests": "50", "x-ratelimit-reset-requests": "10s"}
        )
        permit.settle(1, 1)
    learned = old.nodes[0].limiter.limits()[0].amount
    assert learned == 60
    assert Plan(parse(text), old).nodes[0].limiter.limits()[0].amount == learned
    assert Plan(parse(UPSTREAM.format("a", 400)), old).nodes[0].limiter.limits()[0].amount == 400


def test_a_fixed_window_is_not_moved_by_reading_the_file_again() -> None:
    text = "[global]\nlimits = [{kind = 'fixed_window', amount = 10, per = 3600}]\n" + UPSTREAM.format("a", 5)
    old = Plan(parse(text))
    assert old.all is not None and old.all.limiter.try_acquire() is not None
    new = Plan(parse(text), old)
    assert new.all is not None and new.all.limiter.limits()[0].available == 9


def test_clients_are_found_by_their_keys() -> None:
    clients = Clients({"ann": Secret("one"), "bob": Secret("two")})
    assert [clients.name(key) for key in ("one", "two", "three", "", "\udcff")] == ["ann", "bob", None, None, None]
    assert same(Secret("k"), "k") and not same(Secret("k"), "\u00e4") and not same(Secret("k"), "\udcff")


def test_there_are_no_more_series_however_many_users_and_models_there_are() -> None:
    plan = Plan(parse("[users]\nlimits = [{amount = 7}]\ncapacity = 100\n" + UPSTREAM.format("east", 3)))
    lines = len(gauges(plan, 0).splitlines())
    for number in range(1000):
        plan.levels(f"user-{number}", f"model-{number}")[0].limiter.try_acquire()
    assert len(gauges(plan, 0).splitlines()) == lines
    status = History(Metrics()).status(plan)
    assert len(status["users"]["top"]) == 10 and status["users"]["known"] <= 100
