"""The emulator's model: reads a request, decides what it answers, how many tokens that is and how long it takes.

Everything that a request leads to (text, usage, latencies) follows from the seed and the request's own content. So
the same batch gives the same answers in any order, on any machine, however often it is retried.
"""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Dict, List, Optional

CHARS_PER_TOKEN = 4
DEFAULT_OUTPUT = 1024
"""Output tokens reserved, and at most produced, for a request that names no maximum."""
MAX_OUTPUT = 1_000_000
MAX_CHOICES = 16
EMBEDDING_DIMENSIONS = 1536

# No word is longer than one token of `count_tokens`, so n words are n tokens.
WORDS = (
    "the of a to in it is was for on as by at be are this that from with have each one its not but "
    "rate limit token queue clock burst share quota slot retry batch cost time plan data line test "
    "steady short long open full empty early late small large first last next more less same other"
).split()
_WORDS = [word for word in WORDS if len(word) <= 5]
_TOKEN = re.compile(r"\w{1,5}|[^\w\s]")


class BadRequest(ValueError):
    """A request that OpenAI would answer with status 400; ``param`` and ``code`` go into the error body."""

    def __init__(self, message: str, param: Optional[str], code: Optional[str]) -> None:
        super().__init__(message)
        self.param = param
        self.code = code


@dataclass
class Job:
    """One checked request. Token counts are per choice; latencies in seconds, unscaled."""

    model: str
    kind: str  # "chat" | "completion" | "embedding"
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

    def reservation(self, charge: str) -> int:
        """Tokens charged at admission. ``max`` is the larger of prompt and output bound, otherwise their sum."""
        output = self.max_output * len(self.outputs)
        return max(self.prompt_estimate, output) if charge == "max" else self.prompt_estimate + output

    def usage(self) -> Dict[str, Any]:
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


def read_request(raw: bytes, kind: str, seed: int) -> Job:
    """Check a request body and decide its answer. Raises :class:`BadRequest` with OpenAI's wording."""
    try:
        body = json.loads(raw.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise BadRequest(
            "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP "
            "library correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON.)",
            None,
            None,
        ) from None
    if not isinstance(body, dict):
        raise BadRequest(f"Invalid type for the body: expected an object, but got {_name(body)} instead.", None, None)
    model = _required(body, "model")
    if not isinstance(model, str) or not model:
        raise _wrong("model", "a non-empty string", model)
    texts, inputs, flat_tokens = _PROMPTS[kind](body)
    # Over the content, not the bytes: another client's spacing or order of fields must not change the answer.
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"))
    digest = blake2b(f"{seed}/{kind}/{canonical}".encode(), digest_size=8).digest()
    job_seed = int.from_bytes(digest, "big")
    rng = random.Random(job_seed)
    per_prompt = 1 if kind == "embedding" else _integer(body, "n", 1, 1, MAX_CHOICES)
    choices = 0 if kind == "embedding" else per_prompt * (inputs if kind == "completion" else 1)
    limit = _output_limit(body, kind)
    stream = _boolean(body, "stream") if kind != "embedding" else False
    overhead = 4 * inputs + 3 if kind == "chat" else 0
    prompt_tokens = sum(count_tokens(text) for text in texts) + flat_tokens + overhead
    return Job(
        model=model,
        kind=kind,
        prompt_estimate=-(-sum(len(text) for text in texts) // CHARS_PER_TOKEN) + flat_tokens,
        prompt_tokens=prompt_tokens,
        max_output=limit,
        outputs=[min(limit, max(1, round(rng.lognormvariate(5.6, 0.7)))) for _ in range(choices)],
        inputs=inputs,
        first_token_s=0.4 * rng.lognormvariate(0.0, 0.4) + prompt_tokens / 20_000,
        per_token_s=rng.lognormvariate(0.0, 0.25) / 75,
        stream=stream,
        include_usage=_include_usage(body, stream),
        dimensions=_integer(body, "dimensions", EMBEDDING_DIMENSIONS, 1, 8192),
        base64=body.get("encoding_format") == "base64",
        seed=job_seed,
    )


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _name(value: Any) -> str:
    names = {
        str: "a string",
        bool: "a boolean",
        int: "an integer",
        float: "a decimal",
        list: "an array",
        dict: "an object",
    }
    return names.get(type(value), "null")


def _required(body: Dict[str, Any], field: str) -> Any:
    if body.get(field) is None:
        raise BadRequest(f"Missing required parameter: '{field}'.", field, "missing_required_parameter")
    return body[field]


def _wrong(field: str, expected: str, value: Any) -> BadRequest:
    return BadRequest(
        f"Invalid type for '{field}': expected {expected}, but got {_name(value)} instead.", field, "invalid_type"
    )


def _integer(body: Dict[str, Any], field: str, default: int, low: int, high: int) -> int:
    value = body.get(field)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong(field, "an integer", value)
    if not low <= value <= high:
        raise BadRequest(
            f"Invalid '{field}': integer out of range. Expected a value from {low} to {high}, but got {value} instead.",
            field,
            "integer_below_min_value" if value < low else "integer_above_max_value",
        )
    return value


def _boolean(body: Dict[str, Any], field: str) -> bool:
    value = body.get(field)
    if value is not None and not isinstance(value, bool):
        raise _wrong(field, "a boolean", value)
    return bool(value)


def _output_limit(body: Dict[str, Any], kind: str) -> int:
    if kind == "embedding":
        return 0
    field = (
        "max_completion_tokens" if kind == "chat" and body.get("max_completion_tokens") is not None else "max_tokens"
    )
    return _integer(body, field, DEFAULT_OUTPUT, 1, MAX_OUTPUT)


def _include_usage(body: Dict[str, Any], stream: bool) -> bool:
    options = body.get("stream_options")
    if options is None:
        return False
    if not stream:
        raise BadRequest(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options", None
        )
    if not isinstance(options, dict):
        raise _wrong("stream_options", "an object", options)
    return _boolean(options, "include_usage")


# Each reader returns (texts, how many inputs there are, tokens of the parts that are not text).


def _chat_prompt(body: Dict[str, Any]) -> "tuple[List[str], int, int]":
    messages = _required(body, "messages")
    if not isinstance(messages, list):
        raise _wrong("messages", "an array of objects", messages)
    if not messages:
        raise BadRequest(
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.",
            "messages",
            "empty_array",
        )
    texts: List[str] = []
    flat = 0
    for i, message in enumerate(messages):
        if not isinstance(message, dict):
            raise _wrong(f"messages[{i}]", "an object", message)
        role = _required_at(message, "role", f"messages[{i}].role")
        if not isinstance(role, str):
            raise _wrong(f"messages[{i}].role", "a string", role)
        content = message.get("content")
        if isinstance(content, str):
            texts.append(content)
        elif isinstance(content, list):
            for part in content:
                if isinstance(part, dict) and isinstance(part.get("text"), str):
                    texts.append(part["text"])
                else:
                    flat += 1000
        elif content is not None or role in ("system", "user"):
            raise _wrong(f"messages[{i}].content", "a string or an array of parts", content)
    return texts, len(messages), flat


def _required_at(message: Dict[str, Any], field: str, path: str) -> Any:
    if message.get(field) is None:
        raise BadRequest(f"Missing required parameter: '{path}'.", path, "missing_required_parameter")
    return message[field]


def _plain_prompt(field: str) -> Any:
    def read(body: Dict[str, Any]) -> "tuple[List[str], int, int]":
        value = _required(body, field)
        if isinstance(value, str):
            return [value], 1, 0
        if isinstance(value, list) and value:
            if all(isinstance(item, str) for item in value):
                return list(value), len(value), 0
            if all(isinstance(item, int) and not isinstance(item, bool) for item in value):
                return [], 1, len(value)
            if all(isinstance(item, list) for item in value):
                return [], len(value), sum(len(item) for item in value)
        raise _wrong(field, "a string or an array of strings or tokens", value)

    return read


_PROMPTS = {"chat": _chat_prompt, "completion": _plain_prompt("prompt"), "embedding": _plain_prompt("input")}
