"""The language-neutral vectors in tests/vectors of the repository, on both backends."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any, Optional

import pytest

import llmrl
from llmrl import Limit, Weights

FOLDER = Path(__file__).resolve().parents[3] / "tests" / "vectors"


def numbers(value: Any) -> Any:
    """Integers that JSON readers may round are written as strings."""
    if isinstance(value, dict):
        return {key: numbers(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [numbers(inner) for inner in value]
    if isinstance(value, str) and value.lstrip("-").isdigit():
        return int(value)
    return value


VECTORS = {path.stem: numbers(json.loads(path.read_text())) for path in sorted(FOLDER.glob("*.json"))}
# The bare in-flight counter has no Python class.
NAMES = [name for name, vector in VECTORS.items() if vector["subject"] != "in_flight"]
WORDS = {
    llmrl.Never: "NEVER",
    llmrl.QueueFull: "FULL",
    llmrl.DeadlineExceeded: "DEADLINE",
    llmrl.Closed: "CLOSED",
    llmrl.StalePermit: "STALE",
}
# What C tells apart by number is a ValueError in Python.
BAD_ARGUMENT = {"RANGE", "COST", "INDEX"}


def seconds(ns: int) -> Fraction:
    return Fraction(ns, 10**9)


# The fields of a limit that Python calls by other names, or in other units.
OPTIONS = {
    "burst": lambda spec, value: ("burst", value),
    "oversize_when_full": lambda spec, value: ("oversize", "when_full" if value else "reject"),
    "start_empty": lambda spec, value: ("start_empty", value),
    "resolution": lambda spec, value: ("parts" if spec["kind"] == "sliding_window" else "stamps", value),
    "resets_in_ns": lambda spec, value: ("resets_in", seconds(value)),
}


def limit(spec: dict[str, Any]) -> Limit:
    if spec["kind"] == "in_flight":
        return Limit.in_flight(spec["amount"])
    options = dict(OPTIONS[name](spec, value) for name, value in spec.items() if name in OPTIONS)
    if spec["kind"] == "pacing":
        options.pop("start_empty", None)  # it has nothing to start without
    meter = spec["meter"]
    if meter == "weighted_tokens":
        meter = Weights(**{name: Fraction(value, 1000) for name, value in spec["weights"].items()})
    elif spec["kind"] == "token_bucket":
        return getattr(Limit, meter)(spec["amount"], per=seconds(spec["period_ns"]), **options)
    return getattr(Limit, spec["kind"])(spec["amount"], per=seconds(spec["period_ns"]), meter=meter, **options)


class Driver:
    """Runs steps; an answer is a word and, for a wait, nanoseconds or None."""

    def __init__(self, api: Any, vector: dict[str, Any]) -> None:
        self.clock = api.ManualClock(seconds(vector["start_ns"]))

    def step(self, step: dict[str, Any]) -> tuple[str, Any]:
        self.clock.advance_ns(step["at"] - self.clock.now_ns())
        try:
            return getattr(self, step["op"])(step)
        except tuple(WORDS) as error:
            return WORDS[type(error)], None
        except ValueError:
            return "BAD_ARGUMENT", None


class LimiterDriver(Driver):
    def __init__(self, api: Any, vector: dict[str, Any]) -> None:
        super().__init__(api, vector)
        limits = [limit(spec) for spec in vector["limits"]]
        self.limiter = api.Limiter(*limits, max_waiters=vector.get("max_waiters", 64), clock=self.clock)
        self.permits: dict[str, Any] = {}
        self.tickets: dict[str, Any] = {}

    def available(self) -> list[int]:
        return [state.available for state in self.limiter.limits()]

    def end(self) -> None:
        for permit in self.permits.values():
            if permit.held:
                permit.cancel()

    def try_acquire(self, step: dict[str, Any]) -> tuple[str, Any]:
        permit = self.limiter.try_acquire(**step["cost"])
        if permit is None:
            return "REFUSED", self.limiter.wait_time(**step["cost"])
        self.permits[step["as"]] = permit
        return "OK", None

    def enqueue(self, step: dict[str, Any]) -> tuple[str, Any]:
        timeout = step.get("timeout_ns")
        ticket = self.limiter.acquire(**step["cost"], timeout=None if timeout is None else seconds(timeout))
        permit = begun(ticket)
        if permit is not None:
            self.permits[step["as"]] = permit
            return "OK", None
        self.tickets[step["as"]] = ticket
        return self.poll({"of": step["as"]})

    def poll(self, step: dict[str, Any]) -> tuple[str, Any]:
        name = step["of"]
        if name in self.tickets:
            wait_ns = self.tickets[name]._poll()
            if wait_ns is not None:
                return "PENDING", float("inf") if wait_ns == 2**64 - 1 else wait_ns / 1e9
            self.permits[name] = self.tickets.pop(name)._take()
        return self.on_permit(name, lambda permit: None)

    def on_permit(self, name: str, call: Any) -> tuple[str, Any]:
        permit = self.permits.get(name)
        if permit is None or not permit.held:
            return "STALE", None
        call(permit)
        return "OK", None

    def release(self, step: dict[str, Any]) -> tuple[str, Any]:
        return self.on_permit(step["of"], lambda permit: permit.release())

    def settle(self, step: dict[str, Any]) -> tuple[str, Any]:
        return self.on_permit(step["of"], lambda permit: permit.settle(**used(step)))

    def adjust(self, step: dict[str, Any]) -> tuple[str, Any]:
        return self.on_permit(step["of"], lambda permit: permit.adjust(**used(step)))

    def cancel(self, step: dict[str, Any]) -> tuple[str, Any]:
        ticket = self.tickets.pop(step["of"], None)
        if ticket is not None:
            word = "OK" if ticket._ticket else "STALE"
            ticket._drop()
            return word, None
        return self.on_permit(step["of"], lambda permit: permit.cancel())

    def charge(self, step: dict[str, Any]) -> tuple[str, Any]:
        self.limiter.charge(**step["cost"])
        return "OK", None

    def close(self, step: dict[str, Any]) -> tuple[str, Any]:
        self.limiter.close()
        return "OK", None

    def resize(self, step: dict[str, Any]) -> tuple[str, Any]:
        self.limiter.retune(step["limit"], step["slots"])
        return "OK", None

    def pause(self, step: dict[str, Any]) -> tuple[str, Any]:
        self.limiter.pause(step["limit"], seconds(step["ns"]))
        return "OK", None

    def retune(self, step: dict[str, Any]) -> tuple[str, Any]:
        self.limiter.retune(step["limit"], step["amount"], per=seconds(step["period_ns"]), burst=step.get("burst"))
        return "OK", None

    def align(self, step: dict[str, Any]) -> tuple[str, Any]:
        self.limiter.align(step["limit"], seconds(step["resets_in_ns"]))
        return "OK", None


class BucketDriver(Driver):
    def __init__(self, api: Any, vector: dict[str, Any]) -> None:
        super().__init__(api, vector)
        (spec,) = vector["limits"]
        self.bucket = api.TokenBucket(
            spec["amount"],
            per=seconds(spec["period_ns"]),
            burst=spec["burst"],
            clock=self.clock,
            oversize="when_full" if spec.get("oversize_when_full") else "reject",
            start_empty=spec.get("start_empty", False),
        )

    def available(self) -> list[int]:
        return [self.bucket.available]

    def end(self) -> None:
        pass

    def take(self, step: dict[str, Any]) -> tuple[str, Any]:
        if self.bucket.try_take(step["n"]):
            return "OK", None
        return "REFUSED", self.bucket.wait_time(step["n"])

    def refund(self, step: dict[str, Any]) -> tuple[str, Any]:
        self.bucket.refund(step["n"])
        return "OK", None

    def charge(self, step: dict[str, Any]) -> tuple[str, Any]:
        self.bucket.charge(step["n"])
        return "OK", None

    def pause(self, step: dict[str, Any]) -> tuple[str, Any]:
        self.bucket.pause(seconds(step["ns"]))
        return "OK", None

    def retune(self, step: dict[str, Any]) -> tuple[str, Any]:
        self.bucket.retune(step["amount"], per=seconds(step["period_ns"]), burst=step["burst"])
        return "OK", None


def used(step: dict[str, Any]) -> dict[str, int]:
    return {"input": 0, "output": 0, **step["cost"]}


def begun(acquisition: Any) -> Optional[Any]:
    """Take the place in the queue without an event loop to wait in."""
    if hasattr(acquisition, "_begin"):
        return acquisition._begin("enqueue")
    iterator = acquisition.__await__()
    if iterator is not acquisition:
        iterator.close()
        return None
    with pytest.raises(StopIteration) as end:
        next(iterator)
    return end.value.value


def test_there_are_vectors():
    if not FOLDER.is_dir():
        pytest.skip("not in the repository")
    assert len(NAMES) > 20


@pytest.mark.parametrize("name", NAMES)
def test_vector(api, name):
    vector = VECTORS[name]
    driver = {"limiter": LimiterDriver, "bucket": BucketDriver}[vector["subject"]](api, vector)
    for number, step in enumerate(vector["steps"], 1):
        place = f"{name}, step {number}: {step}"
        word, wait = driver.step(step)
        expected = step["is"]
        assert word == ("BAD_ARGUMENT" if expected in BAD_ARGUMENT else expected), place
        if "wait_ns" in step:
            want = step["wait_ns"]
            # Seconds as a float: exact to the nanosecond up to a hundred days, to a part in 2**51 beyond.
            assert wait == (float("inf") if want == "forever" else pytest.approx(want / 1e9, rel=2**-51, abs=0)), place
        if "available" in step:
            assert driver.available() == step["available"], place
    driver.end()
