"""Counting with tiktoken: only where its data are, and nothing is fetched."""

from __future__ import annotations

import hashlib
import sys
from types import SimpleNamespace

import pytest

from llmrl.http import Estimator, _tokens, read_request

DATA = b"the ranks"


class Encoding:
    def encode_ordinary(self, text: str) -> list[int]:
        return [0] * len(text.split())


def encoding_name_for_model(model: str) -> str:
    return {"gpt-4o": "o200k_base", "gpt-4": "cl100k_base"}[model]


@pytest.fixture
def loaded(monkeypatch, tmp_path):
    loaded: list[str] = []

    def get_encoding(name: str) -> Encoding:
        loaded.append(name)
        return Encoding()

    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    module = SimpleNamespace(get_encoding=get_encoding, encoding_name_for_model=encoding_name_for_model)
    monkeypatch.setitem(sys.modules, "tiktoken", module)
    monkeypatch.setitem(_tokens._DATA, "o200k_base", hashlib.sha256(DATA).hexdigest())
    return loaded


def put(tmp_path, data: bytes) -> None:
    # What tiktoken calls the file.
    (tmp_path / "fb374d419588a4632f3f557e76b4b70aebbca790").write_bytes(data)


def test_counts_where_the_data_are(loaded, tmp_path):
    put(tmp_path, DATA)
    count = _tokens.counter()
    assert count is not None and loaded == ["o200k_base"]
    assert count("gpt-4o", ("one two", "three")) == 3
    assert count("gpt-4", ("one",)) is None and count("claude", ("one",)) is None
    assert count("gpt-4o", ("x" * (_tokens.MAX_TEXT + 1),)) is None
    ask = read_request("/v1/chat/completions", {"model": "gpt-4o", "messages": [{"content": "one two three"}]})
    assert Estimator(count=count).prompt(ask) == 3 + 4
    assert Estimator(count=count).prompt(ask._replace(model="claude")) == 4


@pytest.mark.parametrize("data", [None, b"other bytes, which tiktoken would replace by a download"])
def test_nothing_is_fetched(loaded, tmp_path, data):
    if data is not None:
        put(tmp_path, data)
    assert _tokens.counter() is None and loaded == []


@pytest.mark.parametrize("broken", [None, SimpleNamespace()])
def test_not_installed_or_of_another_kind(loaded, tmp_path, monkeypatch, broken):
    put(tmp_path, DATA)
    monkeypatch.setitem(sys.modules, "tiktoken", broken)
    assert _tokens.counter() is None
