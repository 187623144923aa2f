"""Counters and histograms in Prometheus' text format, version 0.0.4.

Labels take only values that the configuration names, or that stand in a list here: however many users and models clients make up,
there are no more series.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Iterable, Iterator, Sequence, Tuple

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# From what is not worth telling apart up to the longest wait that can be configured.
SECONDS = (0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)

Labels = Tuple[str, ...]
Sample = Tuple[str, Labels, float]


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float) -> str:
    return "+Inf" if value == float("inf") else f"{value:.15g}"


def family(name: str, kind: str, text: str, labels: Sequence[str], samples: Iterable[Tuple[Labels, float]]) -> str:
    """One metric and its series; ``kind`` is ``counter`` or ``gauge``."""
    lines = [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
    lines.extend(_line(name, labels, values, number) for values, number in samples)
    return "\n".join(lines) + "\n"


def _line(name: str, labels: Sequence[str], values: Labels, number: float) -> str:
    pairs = ",".join(f'{label}="{_escaped(value)}"' for label, value in zip(labels, values))
    return f"{name}{{{pairs}}} {_number(number)}" if pairs else f"{name} {_number(number)}"


class Counter:
    """How often something happened, by labels. For one event loop, as everything here."""

    def __init__(self, name: str, text: str, labels: Sequence[str] = ()) -> None:
        self.name, self.text, self.labels = name, text, labels
        self.values: dict[Labels, float] = {} if labels else {(): 0}

    def add(self, *values: str, by: float = 1) -> None:
        """Count ``by`` more."""
        self.values[values] = self.values.get(values, 0) + by

    def total(self) -> float:
        """The sum over all labels."""
        return sum(self.values.values())

    def render(self) -> str:
        """The family as text."""
        return family(self.name, "counter", self.text, self.labels, sorted(self.values.items()))


class Histogram:
    """How long something took, in seconds."""

    def __init__(self, name: str, text: str) -> None:
        self.name, self.text = name, text
        self.counts = [0] * (len(SECONDS) + 1)
        self.sum = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(SECONDS, seconds)] += 1
        self.sum += seconds

    def _samples(self) -> Iterator[str]:
        below = 0
        for bound, count in zip((*SECONDS, float("inf")), self.counts):
            below += count
            yield _line(f"{self.name}_bucket", ("le",), (_number(bound),), below)
        yield f"{self.name}_sum {_number(self.sum)}"
        yield f"{self.name}_count {below}"

    def render(self) -> str:
        """The family as text."""
        return "\n".join([f"# HELP {self.name} {self.text}", f"# TYPE {self.name} histogram", *self._samples()]) + "\n"


class Metrics:
    """What the service counts."""

    def __init__(self) -> None:
        self.requests = Counter("llmrl_requests_total", "Requests that were answered, by route and status.", ("route", "status"))
        self.refusals = Counter("llmrl_refusals_total", "Requests that were not admitted.", ("level", "reason"))
        self.disconnects = Counter("llmrl_disconnects_total", "Requests whose client went away before the end of the answer.")
        self.answers = Counter(
            "llmrl_upstream_answers_total", "Answers of upstreams, by what became of the request.", ("upstream", "class")
        )
        self.retries = Counter("llmrl_upstream_retries_total", "Requests that were sent again.", ("upstream",))
        self.broken = Counter("llmrl_upstream_broken_total", "Answers that broke off in the middle.", ("upstream",))
        self.tokens = Counter("llmrl_tokens_total", "Tokens that were settled.", ("model", "direction"))
        self.reloads = Counter("llmrl_config_reloads_total", "Times that the configuration was read again.", ("result",))
        self.wait = Histogram("llmrl_wait_seconds", "How long admitted requests waited for their limits.")
        self.first = Histogram("llmrl_first_byte_seconds", "From the arrival of a request to the first byte of its answer.")
        self.duration = Histogram("llmrl_request_seconds", "From the arrival of a request to the end of its answer.")

    def render(self) -> str:
        """All of them as text."""
        return "".join(metric.render() for metric in vars(self).values())
