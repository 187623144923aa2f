"""The emulator's model: what a request is answered, how many tokens that is and how long it takes.

Everything that a request leads to (text, usage, latencies) follows from the seed and the request's own content. So
the same batch gives the same answers in any order, on any machine, however often it is retried.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import Any, Dict, List, Tuple

BURNDOWN = 5
"""So often output counts in the end with ``burndown``."""

# No word is longer than one token of `count_tokens`, so n words are n tokens.
WORDS = (
    "the of a to in it is was for on as by at be are this that from with have each one its not but "
    "rate limit token queue clock burst share quota slot retry batch cost time plan data line test "
    "steady short long open full empty early late small large first last next more less same other"
).split()
_WORDS = [word for word in WORDS if len(word) <= 5]
_TOKEN = re.compile(r"\w{1,5}|[^\w\s]")


@dataclass
class Job:
    """One checked request. Token counts are per choice; latencies in seconds, unscaled."""

    model: str
    kind: str  # "chat" | "completion" | "embedding" | "message"
    prompt_estimate: int
    prompt_tokens: int
    max_output: int
    outputs: List[int]
    inputs: int
    first_token_s: float
    per_token_s: float
    stream: bool
    include_usage: bool
    dimensions: int
    base64: bool
    seed: int

    @property
    def completion_tokens(self) -> int:
        return sum(self.outputs)

    @property
    def used(self) -> int:
        """Tokens that the request really uses."""
        return self.prompt_tokens + self.completion_tokens

    def reservation(self, charge: str) -> Tuple[int, int]:
        """Tokens of input and output charged at admission."""
        input, output = self.prompt_estimate, self.max_output * len(self.outputs)
        if charge == "max":
            return (input, 0) if input >= output else (0, output)
        return input, 0 if charge == "end" else output

    def charged(self, charge: str, produced: int) -> Tuple[int, int]:
        """Tokens of input and output charged in the end, by whoever corrects a charge."""
        return self.prompt_tokens, produced * (BURNDOWN if charge == "burndown" else 1)

    def usage(self) -> Dict[str, Any]:
        if self.kind == "message":
            return {
                "input_tokens": self.prompt_tokens,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 0,
                "output_tokens": self.completion_tokens,
            }
        usage = {"prompt_tokens": self.prompt_tokens, "total_tokens": self.used}
        if self.kind != "embedding":
            usage["completion_tokens"] = self.completion_tokens
        return usage

    def finish_reason(self, choice: int) -> str:
        return "length" if self.outputs[choice] >= self.max_output else "stop"

    def seconds(self) -> float:
        """How long the whole answer takes at scale 1: choices are produced side by side."""
        return self.first_token_s + self.per_token_s * max(self.outputs, default=0)


def count_tokens(text: str) -> int:
    """The emulator's tokenizer: pieces of up to five letters or digits, and single punctuation marks."""
    return sum(1 for _ in _TOKEN.finditer(text))


def words(job: Job, choice: int) -> List[str]:
    """The text of one choice: exactly ``job.outputs[choice]`` tokens, each with its leading space but the first."""
    rng = random.Random(f"{job.seed}/{choice}")
    picked = rng.choices(_WORDS, k=job.outputs[choice])
    return [word if i == 0 else " " + word for i, word in enumerate(picked)]


def embedding(job: Job, index: int) -> List[float]:
    """One unit vector."""
    rng = random.Random(f"{job.seed}/e{index}")
    vector = [rng.gauss(0.0, 1.0) for _ in range(job.dimensions)]
    norm = sum(x * x for x in vector) ** 0.5 or 1.0
    return [x / norm for x in vector]
