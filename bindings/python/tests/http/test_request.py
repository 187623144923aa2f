"""What a request asks for: every API that is known, and what cannot be read."""

from __future__ import annotations

import json

import pytest

from llmrl.http import Estimator, read_request
from llmrl.http._request import MEDIA_TOKENS

CHAT = {"model": "m", "messages": [{"role": "user", "content": "x" * 40}], "max_tokens": 30, "n": 2, "stream": True}
GEMINI = {
    "contents": [{"role": "user", "parts": [{"text": "x" * 8}, {"inlineData": {"mimeType": "image/png", "data": "A" * 10_000}}]}],
    "systemInstruction": {"parts": [{"text": "y" * 4}]},
    "generationConfig": {"maxOutputTokens": 77, "candidateCount": 3},
}
CLAUDE = {
    "model": "c", "max_tokens": 50, "system": "s" * 4,
    "messages": [{"role": "user", "content": [{"type": "text", "text": "x" * 4}, {"type": "document", "source": {"data": "A" * 9_000}}]}],
}  # fmt: skip


@pytest.mark.parametrize(
    "url, body, expected",
    [
        # provider, model, stream, generates, size, flat, max_tokens, choices
        ("https://api.openai.com/v1/chat/completions", CHAT, ("openai", "m", True, True, 40, 0, 30, 2)),
        ("http://127.0.0.1:1/v1/chat/completions?x=1", CHAT, ("", "m", True, True, 40, 0, 30, 2)),
        ("/v1/chat/completions", {"max_tokens": 5, "max_completion_tokens": 9}, ("", "", False, True, 0, 0, 9, 1)),
        ("/v1/responses", {"model": "m", "input": "abcd", "instructions": "ef", "max_output_tokens": 8}, ("", "m", False, True, 6, 0, 8, 1)),
        ("/v1/embeddings", {"model": "e", "input": ["ab", "cd"], "max_tokens": 3}, ("", "e", False, False, 4, 0, 3, 1)),
        ("/v1/embeddings", {"model": "e", "input": [[1, 2], [3]]}, ("", "e", False, False, 0, 3, None, 1)),
        ("https://api.anthropic.com/v1/messages", CLAUDE, ("anthropic", "c", False, True, 8, MEDIA_TOKENS, 50, 1)),
        ("/v1/messages", CLAUDE, ("anthropic", "c", False, True, 8, MEDIA_TOKENS, 50, 1)),
        ("/v1/messages/count_tokens", CLAUDE, ("", "c", False, False, 8, MEDIA_TOKENS, 50, 1)),
        ("https://generativelanguage.googleapis.com/v1beta/models/gem-2:generateContent", GEMINI, ("gemini", "gem-2", False, True, 12, MEDIA_TOKENS, 77, 3)),
        ("/v1beta/models/gem:streamGenerateContent?alt=sse", GEMINI, ("gemini", "gem", True, True, 12, MEDIA_TOKENS, 77, 3)),
        ("https://x.openai.azure.com/openai/deployments/my%20d/chat/completions", {"messages": []}, ("azure", "my d", False, True, 0, 0, None, 1)),
        ("https://bedrock-runtime.us-east-1.amazonaws.com/model/a.c-v2:0/invoke", {"messages": []}, ("bedrock", "a.c-v2:0", False, True, 0, 0, None, 1)),
        ("/v1/files", {}, ("", "", False, False, 0, 0, None, 1)),
        ("/other", {"prompt": "abc"}, ("", "", False, True, 3, 0, None, 1)),
    ],
)  # fmt: skip
def test_every_api(url, body, expected):
    ask = read_request(url, body)
    assert ask[:6] + ask[7:] == expected
    assert read_request(url, json.dumps(body).encode()) == ask


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"[1]", b'"x"', b'{"messages": NaN}', b'{"n": 1' + b"0" * 5000 + b"}", b"--form\r\nx: y\r\n\r\n"],
)
def test_bodies_that_cannot_be_read(body):
    ask = read_request("/v1/chat/completions", body)
    assert (ask.size, ask.flat, ask.max_tokens, ask.choices) == (0, 0, None, 1)


@pytest.mark.parametrize("url", ["", "http://[", "/\ud800", "http://x:99999999/v1/messages", "\x00"])
def test_urls_that_cannot_be_read(url):
    assert read_request(url).choices == 1


@pytest.mark.parametrize("value", [True, 0, -1, 1.5, "9", None, [], {}])
def test_numbers_that_are_none(value):
    ask = read_request("/v1/chat/completions", {"max_tokens": value, "n": value, "model": 5, "stream": "yes", "generationConfig": value})
    assert (ask.max_tokens, ask.choices, ask.model, ask.stream) == (None, 1, "", False)


def test_texts_come_in_their_order():
    ask = read_request("/v1/chat/completions", {"messages": [{"content": "a"}, {"content": [{"type": "text", "text": "b"}]}], "input": "c"})
    assert ask.texts == ("a", "b", "c")


def test_what_is_expected_is_never_more_than_is_allowed():
    estimator = Estimator()
    for _ in range(30):
        estimator.answered(read_request("/v1/messages", CLAUDE), 100, 40)
    assert 40 <= estimator.expected(read_request("/v1/messages", {**CLAUDE, "max_tokens": 10**30})) <= 43
    assert estimator.expected(read_request("/v1/messages", {**CLAUDE, "max_tokens": 7})) == 7
    assert estimator.expected(read_request("/v1/embeddings", {"input": "x"})) == 0
