"""The usage in answers: wherever the bytes are cut, and whatever else they are."""

from __future__ import annotations

import doctest
import json
import random
from typing import Any

import pytest

from llmrl.http import Usage, UsageReader, _usage, usage_of

EVENTS = "text/event-stream; charset=utf-8"
OPENAI = (
    b'data: {"choices":[{"delta":{"content":"a \\"usage\\": {\\"prompt_tokens\\": 9}"}}],"usage":null}\n\n'
    b": keep-alive \"\n\n"
    b'data: {"choices":[],"usage":{"prompt_tokens":12,"completion_tokens":7,"prompt_tokens_details":{"cached_tokens":4}}}\n\n'
    b"data: [DONE]\n\n"
)
ANTHROPIC = (
    b'event: message_start\r\ndata: {"type":"message_start","message":{"id":"m","content":[],"usage":{"input_tokens":5,'
    b'"cache_read_input_tokens":100,"cache_creation_input_tokens":20,"output_tokens":1}}}\r\n\r\n'
    b'event: content_block_delta\r\ndata: {"type":"content_block_delta","delta":{"text":"{[\\\\"}}\r\n\r\n'
    b'event: message_delta\r\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":15}}\r\n\r\n'
    b'event: message_stop\r\ndata: {"type":"message_stop"}\r\n\r\n'
)
RESPONSES = b'event: response.completed\rdata:{"type":"response.completed","response":{"output":[{"usage":{"input_tokens":1}}],"usage":{"input_tokens":36,"output_tokens":87}}}\r\r'
GEMINI = b'data: {"candidates":[],"usageMetadata":{"promptTokenCount":4,"candidatesTokenCount":5,"thoughtsTokenCount":6,"cachedContentTokenCount":2}}\n\n'
TOOL = json.dumps(
    {
        "content": [{"type": "tool_use", "input": {"usage": {"input_tokens": 1, "output_tokens": 1}, "message": {"usage": {"input_tokens": 2}}}}],
        "message": {"input": {"usage": {"input_tokens": 3}}},
        "usage": {"input_tokens": 10, "output_tokens": 20},
        "metadata": {"usage": {"input_tokens": 4}, "x": ["usage", {"input_tokens": 5}], "response": [{"usage": {"input_tokens": 6}}]},
    },
    indent=1,
).encode()
LIST = b'[{"usageMetadata": {"promptTokenCount": 4}}\n,\n{"usageMetadata": {"promptTokenCount": 4, "candidatesTokenCount": 9}}]'

CASES = [
    (EVENTS, OPENAI, Usage(12, 7, 4)),
    (EVENTS, ANTHROPIC, Usage(125, 15, 100, 20)),
    (EVENTS, RESPONSES, Usage(36, 87)),
    (EVENTS, GEMINI, Usage(4, 11, 2)),
    (EVENTS, b'{"usage": {"prompt_tokens": 1}}\nxdata: {"usage": {"prompt_tokens": 1}}\n', None),
    (EVENTS, b'data: {"a": "unfinished\ndata: {"usage": {"prompt_tokens": 3}}', Usage(3, 0)),
    (EVENTS, b'data: {"a": {"b": {\ndata: {"usage": {"prompt_tokens": 3}}\n', Usage(3, 0)),
    ("application/json", TOOL, Usage(10, 20)),
    ("", b'{"usage": {"prompt_tokens": 8, "total_tokens": 8}}', Usage(8, 0)),
    ("application/json", LIST, Usage(4, 9)),
    ("application/json", b"\xff\x00}}]]\"\\" * 50, None),
    ("application/json", b'{"usage": {"prompt_tokens": 1' + b" " * 20_000 + b"}}", None),
    ("application/json", b'{"usage": {"prompt_tokens": 1e400}, "usage": {"prompt_tokens": -1}}', None),
    ("application/json", b'{"usage": {"prompt_tokens": [[' + b"[" * 9_000 + b"}}", None),
    ("application/json", b"[" * 100_000 + b'{"usage": {"prompt_tokens": 1}}', None),
]  # fmt: skip


def read(kind: str, pieces: list[bytes]) -> Any:
    reader = UsageReader(kind)
    for piece in pieces:
        reader.feed(piece)
    return reader.usage


@pytest.mark.parametrize("kind, body, expected", CASES)
def test_wherever_it_is_cut(kind, body, expected):
    assert read(kind, [body]) == expected
    assert read(kind, [bytes([byte]) for byte in body]) == expected
    step = 1 if len(body) < 2_000 else len(body) // 20
    for at in range(0, len(body), step):
        assert read(kind, [body[:at], b"", body[at:]]) == expected, at


def test_random_pieces_and_random_bytes():
    rng = random.Random(7)
    parts = [b'"usage":', b"{", b"}", b"[", b"]", b'"', b"\\", b"\n", b"\r", b"data:", b'"prompt_tokens":3', b",", b"\xff", b'"message":', b"[DONE]"]
    for _ in range(300):
        body = b"".join(rng.choice(parts) for _ in range(rng.randrange(200)))
        for kind in (EVENTS, "application/json"):
            cuts = sorted(rng.randrange(len(body) + 1) for _ in range(rng.randrange(8)))
            whole = read(kind, [body])
            assert read(kind, [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)])]) == whole, body


def test_nothing_grows_with_what_passes_by():
    for kind in (EVENTS, "application/json"):
        reader = UsageReader(kind)
        for number in range(3000):
            reader.feed(b'data: {"usage": {"a%d": "%s"}, "%s": [{' % (number, b"x" * 500, b"k" * 500))
            reader.feed(b"\n" if number % 2 else b"")
        scanner = reader._scanner
        assert not scanner.found and len(reader._head) <= 7 and len(scanner._open) <= 3
        assert len(scanner._name) <= 2 * _usage.MAX_NAME + 1 and len(scanner._kept or b"") <= 2 * _usage.MAX_OBJECT + 1


@pytest.mark.parametrize("number", [True, -1, 1 << 40, 1.5, "5", [], {}])
def test_numbers_that_are_none(number):
    assert usage_of({"usage": {"prompt_tokens": number}}) is None
    assert usage_of({"usage": {"prompt_tokens": 5, "completion_tokens": number}}) is None
    assert usage_of({"usage": {"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": number}}}) == Usage(5, 0)


@pytest.mark.parametrize("body", [None, [], "usage", {}, {"usage": None}, {"usage": []}, {"usage": {}}])
def test_answers_without_one(body):
    assert usage_of(body) is None


def test_sums_stay_what_a_limiter_takes():
    most = (1 << 40) - 1
    usage = usage_of({"usage": {"input_tokens": most, "cache_read_input_tokens": most, "output_tokens": most}})
    assert usage is not None and usage.input + usage.output <= most and usage.cached + usage.cache_write <= usage.input


def test_the_start_of_a_stream_is_not_all_of_it():
    reader = UsageReader(EVENTS)
    start, delta = ANTHROPIC.split(b"event: message_delta")
    reader.feed(start)
    assert reader.usage == Usage(125, 1, 100, 20) and not reader.final
    reader.feed(b"event: message_delta" + delta)
    assert reader.final


def test_the_example():
    assert doctest.testmod(_usage).failed == 0
