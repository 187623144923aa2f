"""Requests to the emulator: checked, with the words that OpenAI has for what is wrong, and made into jobs."""

from __future__ import annotations

import json
import random
from hashlib import blake2b
from typing import Any, Dict, List, Optional

from .emulate_model import Job, count_tokens

CHARS_PER_TOKEN = 4
DEFAULT_OUTPUT = 1024
"""Output tokens reserved, and at most produced, for a request that names no maximum."""
MAX_OUTPUT = 1_000_000
MAX_CHOICES = 16
EMBEDDING_DIMENSIONS = 1536


class BadRequest(ValueError):
    """A request that OpenAI would answer with status 400; ``param`` and ``code`` go into the error body."""

    def __init__(self, message: str, param: Optional[str], code: Optional[str]) -> None:
        super().__init__(message)
        self.param = param
        self.code = code


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
    per_prompt = 1 if kind in ("embedding", "message") else _integer(body, "n", 1, 1, MAX_CHOICES)
    choices = 0 if kind == "embedding" else per_prompt * (inputs if kind == "completion" else 1)
    limit = _output_limit(body, kind)
    stream = kind != "embedding" and _boolean(body, "stream")
    overhead = 4 * inputs + 3 if kind in ("chat", "message") else 0
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
    if kind == "message":
        _required(body, "max_tokens")
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


def _message_prompt(body: Dict[str, Any]) -> "tuple[List[str], int, int]":
    texts, inputs, flat = _chat_prompt(body)
    for i, message in enumerate(body["messages"]):
        if message["role"] not in ("user", "assistant"):
            raise BadRequest(f"messages.{i}.role: Input should be 'user' or 'assistant'", f"messages[{i}].role", None)
    system = body.get("system")
    if isinstance(system, str):
        texts.append(system)
    elif isinstance(system, list):
        texts += [part["text"] for part in system if isinstance(part, dict) and isinstance(part.get("text"), str)]
    elif system is not None:
        raise _wrong("system", "a string or an array of text blocks", system)
    return texts, inputs, flat


_PROMPTS = {"chat": _chat_prompt, "completion": _plain_prompt("prompt"), "embedding": _plain_prompt("input"), "message": _message_prompt}
