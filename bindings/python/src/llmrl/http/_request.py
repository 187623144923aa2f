"""What a request to an LLM's API asks for, read from its URL and its body."""

from __future__ import annotations

import json
import re
from typing import Any, Dict, List, NamedTuple, Optional, Tuple, Union
from urllib.parse import unquote, urlsplit

MEDIA_TOKENS = 1000
"""Assumed for a part that is not text (an image, a sound, a file): its bytes say nothing about its tokens."""

_PROMPTS = ("messages", "prompt", "input", "contents", "content", "instructions", "system", "systemInstruction", "system_instruction")
_TEXTS = (*_PROMPTS, "tools", "functions", "response_format")
_MEDIA = ("image", "input_image", "input_audio", "input_file", "file", "document")
_INLINE = ("inlineData", "inline_data", "fileData", "file_data")
_BOUNDS = ("max_completion_tokens", "max_output_tokens", "max_tokens")

# Ends of a path; what of them has an output, and what has none.
_GENERATING = ("/chat/completions", "/completions", "/responses", "/messages", ":generateContent", ":streamGenerateContent")
_SILENT = ("/embeddings", "/moderations", "/rerank", "/count_tokens", ":countTokens", ":embedContent", ":batchEmbedContents")
_MODEL = re.compile(r"/(?:models?|deployments)/([^/]+?)(?::\w*Content\w*)?(?:/|$)")
_HOSTS = (
    ("api.openai.com", "openai"),
    (".openai.azure.com", "azure"),
    (".cognitiveservices.azure.com", "azure"),
    ("api.anthropic.com", "anthropic"),
    ("generativelanguage.googleapis.com", "gemini"),
    ("aiplatform.googleapis.com", "gemini"),
)


class Ask(NamedTuple):
    """What a request asks for; made by ``read_request``."""

    provider: str
    """By whose rule it is charged, as for ``Charging.of``; ``""`` if neither host nor path tell."""
    model: str
    """``""`` if it names none."""
    stream: bool
    """Whether the answer comes in events."""
    generates: bool
    """Whether tokens are put out: not by embeddings, nor by what has no prompt."""
    size: int
    """UTF-8 bytes of text in it."""
    flat: int
    """Tokens of everything else: media, and prompts that are tokens already."""
    texts: Tuple[str, ...]
    """The text itself."""
    max_tokens: Optional[int]
    """Its own bound on the output of one choice; None if it names no usable one."""
    choices: int
    """How many answers it asks for, at least 1."""


def read_request(url: str, body: Union[bytes, Dict[str, Any]] = b"") -> Ask:
    """Read a request for chat/completions, completions, responses, embeddings (OpenAI and those who speak like it), messages
    (Anthropic) or generateContent (Gemini).

    ``url``: all of it, or its path. ``body``: the JSON, or what is in it. Whatever cannot be read is left out, and nothing raises: a
    body that is no JSON object asks for no tokens.
    """
    host, path = _place(url)
    data = body if isinstance(body, dict) else _object(body)
    size, flat, texts = _text(data)
    silent = path.endswith(_SILENT)
    generating = path.endswith(_GENERATING) or any(field in data for field in _PROMPTS)
    return Ask(
        _provider(host, path),
        _model(path, data),
        data.get("stream") is True or "streamGenerateContent" in path,
        generating and not silent,
        size,
        flat,
        texts,
        _bound(data),
        _count(data.get("n")) or _count(_settings(data).get("candidateCount")) or 1,
    )


def _place(url: str) -> Tuple[str, str]:
    try:
        parts = urlsplit(url)
        return (parts.hostname or "").lower(), parts.path.rstrip("/")
    except ValueError:
        return "", ""


def _provider(host: str, path: str) -> str:
    for name, provider in _HOSTS:
        if host.endswith(name):
            return provider
    if host.startswith("bedrock-runtime."):
        return "bedrock"
    if path.endswith("/messages"):
        return "anthropic"
    return "gemini" if path.endswith((":generateContent", ":streamGenerateContent")) else ""


def _object(body: bytes) -> Dict[str, Any]:
    data = decode(body) if body else None
    return data if isinstance(data, dict) else {}


def decode(raw: bytes) -> Any:
    """The JSON in ``raw``, or None. Only what may stand in a JSONL line as it is counts as JSON."""

    def no_constant(name: str) -> Any:
        raise ValueError(name)

    try:
        return json.loads(raw.decode("utf-8"), parse_constant=no_constant)
    except (ValueError, RecursionError):
        return None


def _model(path: str, data: Dict[str, Any]) -> str:
    model = data.get("model")
    if isinstance(model, str):
        return model
    found = _MODEL.search(path)
    return unquote(found[1]) if found else ""


def _count(value: Any) -> Optional[int]:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 1 else None


def _settings(data: Dict[str, Any]) -> Dict[str, Any]:
    settings = data.get("generationConfig", data.get("generation_config"))
    return settings if isinstance(settings, dict) else {}


def _bound(data: Dict[str, Any]) -> Optional[int]:
    for field in _BOUNDS:
        bound = _count(data.get(field))
        if bound is not None:
            return bound
    settings = _settings(data)
    return _count(settings.get("maxOutputTokens", settings.get("max_output_tokens")))


def text_size(body: Dict[str, Any]) -> Tuple[int, int]:
    """``(bytes of text, tokens of everything else)`` in a request body.

    UTF-8 bytes instead of characters: for English they are the same, and for scripts with more tokens per character
    they err on the side of more tokens.
    """
    return _text(body)[:2]


def _text(body: Dict[str, Any]) -> Tuple[int, int, Tuple[str, ...]]:
    size = flat = 0
    texts: List[str] = []
    # By a stack of its own, so that no nesting is too deep.
    stack: List[Any] = [body[field] for field in reversed(_TEXTS) if field in body]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            texts.append(item)
            size += len(item) if item.isascii() else len(item.encode("utf-8", "surrogatepass"))
        elif isinstance(item, list):
            if item and isinstance(item[0], int):
                flat += len(item)  # a prompt that is already tokens
            else:
                stack.extend(reversed(item))
        elif isinstance(item, dict):
            kind = item.get("type")
            if (isinstance(kind, str) and kind.startswith(_MEDIA)) or any(field in item for field in _INLINE):
                flat += MEDIA_TOKENS
            else:
                stack.extend(v for k, v in reversed(list(item.items())) if k not in ("role", "type"))
    return size, flat, tuple(texts)
