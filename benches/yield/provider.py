"""One key at a provider: admits a request against all limits or refuses it, and answers."""

from __future__ import annotations

import json
from typing import Callable, Mapping, Optional

from load import Job
from meters import Bucket, Meter
from wire import Answer, Grammar

Charge = Callable[[int, int], int]
"""(tokens of the prompt, max_tokens) -> tokens that are taken when a request is admitted."""


class Provider:
    """``meters`` by axis: ``requests``, ``tokens``, ``slots``. ``settles``: at the end, what was reserved and not used comes
    back. ``counts_refused``: a refused request uses up one of the requests, if there is one."""

    def __init__(
        self, meters: Mapping[str, Meter], charge: Charge, grammar: Grammar, settles: bool = False, counts_refused: bool = False
    ) -> None:
        self.meters = meters
        self._charge = charge
        self._grammar = grammar
        self._settles = settles
        self._counts_refused = counts_refused
        self._told = {axis: meter for axis, meter in meters.items() if axis != "slots"}

    def cost(self, job: Job, axis: str) -> int:
        return self._charge(job.prompt, job.max_tokens) if axis == "tokens" else 1

    def wait_ns(self, job: Job, now: int) -> int:
        """Nanoseconds until this request would be admitted if nobody else came; 0: now."""
        return max(meter.wait_ns(self.cost(job, axis), now) for axis, meter in self.meters.items())

    def refusal(self, job: Job, now: int) -> Optional[Answer]:
        """None if the request can be admitted, otherwise the answer, from the limit that holds out longest."""
        waits = {axis: meter.wait_ns(self.cost(job, axis), now) for axis, meter in self.meters.items()}
        axis = max(waits, key=waits.__getitem__)
        if waits[axis] == 0:
            return None
        if self._counts_refused and waits["requests"] == 0:
            self.meters["requests"].take(1, now)
        refusal = self._grammar.refusal(axis, self.meters[axis], self.cost(job, axis), waits[axis], now)
        return Answer(429, {**self._grammar.headers(self._told, now), **refusal.headers}, refusal.body)

    def admit(self, job: Job, now: int) -> None:
        for axis, meter in self.meters.items():
            meter.take(self.cost(job, axis), now)

    def finish(self, job: Job, now: int) -> Answer:
        """The end of an admitted request."""
        if "slots" in self.meters:
            self.meters["slots"].give(1, now)
        if self._settles:
            self.meters["tokens"].give(self.cost(job, "tokens") - job.prompt - job.output, now)
        usage = {"prompt_tokens": job.prompt, "completion_tokens": job.output, "total_tokens": job.prompt + job.output}
        return Answer(200, self._grammar.headers(self._told, now), json.dumps({"usage": usage}).encode())

    def take_by_others(self, tokens: int, now: int) -> None:
        for axis, meter in self.meters.items():
            assert isinstance(meter, Bucket)
            meter.take_by_others(tokens if axis == "tokens" else 1, now)

    def halve(self, now: int) -> None:
        for meter in self.meters.values():
            assert isinstance(meter, Bucket)
            meter.retune(meter.limit // 2, now)
