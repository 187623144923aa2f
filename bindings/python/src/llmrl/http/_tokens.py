"""Exact counts of tokens, where tiktoken and its data are on this machine already. Nothing is ever downloaded."""

from __future__ import annotations

import hashlib
import os
import tempfile
from importlib import import_module
from typing import Any, Dict, Optional, Tuple

from ._estimate import Count

MAX_TEXT = 256 * 1024
"""Characters. Longer prompts are estimated: to count them would keep an event loop waiting for longer than it is worth."""

# tiktoken removes and fetches anew what has another hash, so that is compared first.
_DATA = {
    "o200k_base": "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    "cl100k_base": "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
}
_SOURCE = "https://openaipublic.blob.core.windows.net/encodings/{}.tiktoken"


def _path(name: str) -> str:
    """Where tiktoken keeps its data."""
    folder = os.environ.get("TIKTOKEN_CACHE_DIR", os.environ.get("DATA_GYM_CACHE_DIR"))
    if folder is None:
        folder = os.path.join(tempfile.gettempdir(), "data-gym-cache")
    return os.path.join(folder, hashlib.sha1(_SOURCE.format(name).encode()).hexdigest()) if folder else ""


def _is_there(name: str) -> bool:
    try:
        with open(_path(name), "rb") as file:
            return hashlib.sha256(file.read()).hexdigest() == _DATA[name]
    except OSError:
        return False


def counter() -> Optional[Count]:
    """A function that counts the tokens of texts for an OpenAI model, or None where that is not possible. It is given the name
    of a model and the texts, and returns None for models of others and for very long texts.

    Where it is possible, it takes some tenths of a second to read the data.
    """
    there = [name for name in _DATA if _is_there(name)]
    if not there:
        return None
    try:
        tiktoken = import_module("tiktoken")
        encodings: Dict[str, Any] = {name: tiktoken.get_encoding(name) for name in there}
    except Exception:  # not installed, or of another kind than this was written for
        return None

    def count(model: str, texts: Tuple[str, ...]) -> Optional[int]:
        try:
            encoding = encodings.get(tiktoken.encoding_name_for_model(model))
        except KeyError:
            return None
        if encoding is None or sum(map(len, texts)) > MAX_TEXT:
            return None
        return sum(len(encoding.encode_ordinary(text)) for text in texts)

    return count
