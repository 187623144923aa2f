"""How many tokens a request will be charged, before it is sent."""

from __future__ import annotations

from collections import deque
from typing import Any, Deque, Dict, Optional, Tuple

from llmrl import Lengths

MEDIA_TOKENS = 1000
"""Assumed for a part that is not text (an image, a sound, a file): its bytes say nothing about its tokens."""
REMEMBERED = 200
"""Answers that the calibration looks back on."""
MIN_ANSWERS = 20
"""Answers before anything learned is used."""


def text_size(body: Dict[str, Any]) -> Tuple[int, int]:
    """``(bytes of text, tokens of everything else)`` in a request body.

    UTF-8 bytes instead of characters: for English they are the same, and for scripts with more tokens per character
    they err on the side of more tokens.
    """
    size = flat = 0
    for field in ("messages", "prompt", "input", "instructions", "tools", "functions", "response_format"):
        if field in body:
            more_size, more_flat = _walk(body[field])
            size += more_size
            flat += more_flat
    return size, flat


def _walk(value: Any) -> Tuple[int, int]:
    size = flat = 0
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            size += len(item) if item.isascii() else len(item.encode("utf-8", "surrogatepass"))
        elif isinstance(item, list):
            if item and isinstance(item[0], int):
                flat += len(item)  # a prompt that is already tokens
            else:
                stack.extend(item)
        elif isinstance(item, dict):
            kind = item.get("type")
            if isinstance(kind, str) and kind.startswith(("image", "input_image", "input_audio", "input_file", "file")):
                flat += MEDIA_TOKENS
            else:
                stack.extend(v for k, v in item.items() if k not in ("role", "type"))
    return size, flat


class Estimator:
    """Estimates ``(input, output)`` tokens; learns from the usage in answers.

    Input is text bytes / ``chars_per_token``. Output is the request's own ``max_completion_tokens`` or
    ``max_tokens``, times ``n``: providers reserve that much, so a smaller guess would be refused. Where ``actual`` says that the
    provider charges what is put out, whatever the maximum is, it is what nine in ten answers of the model stayed under, if that is
    less. So is the output of a request that names no maximum.

    Input learned from answers is used only where ``settles`` says that the provider corrects its charge afterwards, and
    only ever to estimate more. A provider that keeps its reservation counts characters, not tokens: another number here
    would only move the two accounts apart. And a smaller one would run into refusals before it is corrected.
    """

    def __init__(self, chars_per_token: float, default_output: int, learn: bool, actual: bool = False) -> None:
        self.start = chars_per_token
        self.default_output = default_output
        self.learn = learn
        self.actual = actual
        self._seen: Deque[Tuple[int, int]] = deque(maxlen=REMEMBERED)
        self._lengths = Lengths()

    def chars_per_token(self, settles: bool) -> float:
        """The ratio in use: bytes over tokens of the answers remembered, from a quarter of the start up to the start."""
        if not settles or not self.learn or len(self._seen) < MIN_ANSWERS:
            return self.start
        size = sum(s for s, _ in self._seen)
        tokens = sum(t for _, t in self._seen)
        return min(self.start, max(self.start / 4, size / max(1, tokens)))

    def cost(self, url: str, body: Dict[str, Any], settles: bool) -> Tuple[int, int]:
        """``(input, output)`` tokens of a request, each at least 1 and 0."""
        size, flat = text_size(body)
        tokens = max(1, flat + int(-(-size // self.chars_per_token(settles))))
        if url.endswith("/embeddings") or url.endswith("/moderations"):
            return tokens, 0
        bound = output_bound(body)
        output = bound
        if bound is None or self.actual:
            output = self._lengths.estimate("", _model(body), 0.9, max_tokens=bound)
        return tokens, (self.default_output if output is None else output) * _choices(body)

    def answered(self, body: Dict[str, Any], prompt: int, completion: int) -> None:
        """Learn from an answer's usage, in tokens."""
        size, flat = text_size(body)
        if size and prompt > flat:
            self._seen.append((size, prompt - flat))
        if self.learn:
            self._lengths.record("", _model(body), -(-completion // _choices(body)))


def output_bound(body: Dict[str, Any]) -> Optional[int]:
    """The request's own bound on its output tokens, if it names a usable one."""
    for field in ("max_completion_tokens", "max_output_tokens", "max_tokens"):
        value = body.get(field)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
            return value
    return None


def _model(body: Dict[str, Any]) -> str:
    model = body.get("model")
    return model if isinstance(model, str) else ""


def _choices(body: Dict[str, Any]) -> int:
    choices = body.get("n")
    return choices if isinstance(choices, int) and not isinstance(choices, bool) and choices >= 1 else 1
