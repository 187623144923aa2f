"""How many tokens a request will be charged, before it is sent."""

from __future__ import annotations

from collections import deque
from typing import Any, Deque, Dict, Optional, Tuple

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
    ``max_tokens``, times ``n``: providers reserve that much, so a smaller guess would be refused. Only a request
    that names no maximum is estimated from what others produced.

    Input learned from answers is used only where ``settles`` says that the provider corrects its charge afterwards, and
    only ever to estimate more. A provider that keeps its reservation counts characters, not tokens: another number here
    would only move the two accounts apart. And a smaller one would run into refusals before it is corrected.
    """

    def __init__(self, chars_per_token: float, default_output: int, learn: bool) -> None:
        self.start = chars_per_token
        self.default_output = default_output
        self.learn = learn
        self._seen: Deque[Tuple[int, int]] = deque(maxlen=REMEMBERED)
        self._outputs: Deque[int] = deque(maxlen=REMEMBERED)

    def chars_per_token(self, settles: bool) -> float:
        """The ratio in use: bytes over tokens of the answers remembered, from a quarter of the start up to the start."""
        if not settles or not self.learn or len(self._seen) < MIN_ANSWERS:
            return self.start
        size = sum(s for s, _ in self._seen)
        tokens = sum(t for _, t in self._seen)
        return min(self.start, max(self.start / 4, size / max(1, tokens)))

    def open_output(self) -> int:
        """Output tokens for a request without a maximum: what nine in ten answers stayed under."""
        if not self.learn or len(self._outputs) < MIN_ANSWERS:
            return self.default_output
        return sorted(self._outputs)[len(self._outputs) * 9 // 10]

    def cost(self, url: str, body: Dict[str, Any], settles: bool) -> Tuple[int, int]:
        """``(input, output)`` tokens of a request, each at least 1 and 0."""
        size, flat = text_size(body)
        tokens = max(1, flat + int(-(-size // self.chars_per_token(settles))))
        if url.endswith("/embeddings") or url.endswith("/moderations"):
            return tokens, 0
        bound = output_bound(body)
        choices = body.get("n")
        if isinstance(choices, bool) or not isinstance(choices, int) or choices < 1:
            choices = 1
        return tokens, (self.open_output() if bound is None else bound) * choices

    def answered(self, body: Dict[str, Any], prompt: int, completion: int) -> None:
        """Learn from an answer's usage, in tokens."""
        size, flat = text_size(body)
        if size and prompt > flat:
            self._seen.append((size, prompt - flat))
        if output_bound(body) is None:
            self._outputs.append(completion)


def output_bound(body: Dict[str, Any]) -> Optional[int]:
    """The request's own bound on its output tokens, if it names a usable one."""
    for field in ("max_completion_tokens", "max_output_tokens", "max_tokens"):
        value = body.get(field)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
            return value
    return None
