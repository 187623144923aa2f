"""The work: a stream of jobs that is the same for every client, and how long the world takes for each."""

from __future__ import annotations

import math
import random
from typing import Optional


class Job:
    """One completion that somebody wants, and what became of it."""

    __slots__ = ("number", "prompt", "estimate", "max_tokens", "output", "taken_ns", "admitted_ns")

    def __init__(self, number: int, prompt: int, estimate: int, max_tokens: int, output: int) -> None:
        self.number = number
        self.prompt = prompt
        self.estimate = estimate
        """What the client takes the prompt for; the tokenizer is at the provider."""
        self.max_tokens = max_tokens
        self.output = output
        self.taken_ns = 0
        self.admitted_ns: Optional[int] = None


class Jobs:
    """Prompts log-uniform, outputs log-normal, estimates with 5 % standard deviation. The ranges depend on the seed."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(f"jobs {seed}")
        self._least, self._most = self._rng.randint(30, 80), self._rng.randint(3000, 5000)
        self.max_tokens = self._rng.choice((800, 1024, 1300))
        self._median = self._rng.randint(180, 320)
        self._count = 0

    def next(self) -> Job:
        rng = self._rng
        prompt = round(math.exp(rng.uniform(math.log(self._least), math.log(self._most))))
        output = round(min(max(20.0, rng.lognormvariate(math.log(self._median), 0.8)), self.max_tokens))
        estimate = max(1, round(prompt * rng.gauss(1, 0.05)))
        self._count += 1
        return Job(self._count, prompt, estimate, self.max_tokens, output)


class Network:
    """20 to 120 ms until a request is looked at; then the first token after 0.4 s and 75 tokens a second, both log-normal."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(f"network {seed}")

    def upstream(self) -> float:
        return self._rng.uniform(0.020, 0.120)

    def response(self, job: Job) -> float:
        return 0.4 * self._rng.lognormvariate(0, 0.4) + job.output / 75 * self._rng.lognormvariate(0, 0.2)
