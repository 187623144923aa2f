"""How many tokens a request will take, before it is sent."""

from __future__ import annotations

from collections import deque
from typing import Callable, Deque, Optional, Tuple

from .._lengths import Lengths
from ._request import Ask
from ._usage import MAX_TOKENS

REMEMBERED = 200
"""Answers that the calibration looks back on."""
MIN_ANSWERS = 20
"""Answers before anything learned is used."""
_AROUND_TEXT = 4  # tokens that a message costs beside its text

Count = Callable[[str, Tuple[str, ...]], Optional[int]]


class Estimator:
    """Estimates tokens; learns from the usage in answers. Thread-safe.

    The prompt is text bytes / ``chars_per_token``, or what ``count(model, texts)`` says, if that is not None. The output is what nine
    in ten answers of the model stayed under, ``default_output`` until there are any.

    What is learned of prompts is only ever used to estimate more, and only where ``settles`` says that the provider corrects its
    charge afterwards. A provider that keeps its reservation counts characters, not tokens: another number here would only move the
    two accounts apart. And a smaller one would run into refusals before it is corrected.
    """

    def __init__(
        self, chars_per_token: float = 4.0, default_output: int = 1024, learn: bool = True, count: Optional[Count] = None
    ) -> None:
        self.start = chars_per_token
        self.default_output = default_output
        self.learn = learn
        self.count = count
        self._seen: Deque[Tuple[int, int]] = deque(maxlen=REMEMBERED)
        self._lengths = Lengths()

    def chars_per_token(self, settles: bool) -> float:
        """The ratio in use: bytes over tokens of the answers remembered, from a quarter of the start up to the start."""
        if not settles or not self.learn or len(self._seen) < MIN_ANSWERS:
            return self.start
        seen = self._seen.copy()
        ratio = sum(size for size, _ in seen) / max(1, sum(tokens for _, tokens in seen))
        return min(self.start, max(self.start / 4, ratio))

    def prompt(self, ask: Ask, settles: bool = True) -> int:
        """Tokens of the prompt, at least 1."""
        counted = self.count(ask.model, ask.texts) if self.count is not None else None
        if counted is not None:
            return max(1, ask.flat + counted + _AROUND_TEXT * len(ask.texts))
        return max(1, ask.flat + int(-(-ask.size // self.chars_per_token(settles))))

    def expected(self, ask: Ask) -> int:
        """Tokens of all choices together that will probably be put out, never more than the request allows."""
        if not ask.generates:
            return 0
        most = None if ask.max_tokens is None else min(ask.max_tokens, MAX_TOKENS)
        output = self._lengths.estimate("", ask.model, 0.9, max_tokens=most)
        return (self.default_output if output is None else output) * ask.choices

    def answered(self, ask: Ask, input: int, output: int) -> None:
        """Learn from an answer's usage, in tokens."""
        if ask.size and input > ask.flat:
            self._seen.append((ask.size, input - ask.flat))
        if self.learn and ask.generates:
            self._lengths.record("", ask.model, -(-output // ask.choices))
