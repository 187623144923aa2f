"""The parts of ``llmrl batch`` that need neither a network nor the library: reading, judging, estimating."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any, Dict, Optional

import pytest

from llmrl.cli import batch_input
from llmrl import Limit, Limiter, ManualClock
from llmrl.cli.batch_answer import Verdict, judge
from llmrl.cli.batch_estimate import Estimator
from llmrl.cli.batch_input import BadLine, Request, count_lines, parse_line, read_batch
from llmrl.cli.batch_output import OutputError, Results, make_line
from llmrl.http import Ask, decode, read_request, usage_of
from llmrl.http._estimate import MIN_ANSWERS
from llmrl.http._request import MEDIA_TOKENS, text_size


@pytest.mark.parametrize(
    "content,count",
    [
        (b"", 0),
        (b"\n\n", 0),
        (b"a", 1),
        (b"a\n", 1),
        (b"a\n\n  \nb", 2),
        (b"x" * (3 << 20), 1),
        (b"x" * ((1 << 20) - 1) + b"\n" + b"y", 2),
        (b" " * (1 << 20) + b"z\n" + b" " * (1 << 20) + b"\n", 1),
    ],
)
def test_lines_are_counted_without_blanks(tmp_path: Path, content: bytes, count: int) -> None:
    path = tmp_path / "in"
    path.write_bytes(content)
    assert count_lines(path) == count
    assert len(list(read_batch(path))) == count


def test_a_byte_order_mark_and_windows_line_ends_are_accepted(tmp_path: Path) -> None:
    path = tmp_path / "in"
    one = b'{"custom_id": "a", "url": "/v1/embeddings", "body": {"input": "x"}}'
    path.write_bytes(b"\xef\xbb\xbf" + one + b"\r\n\r\n" + one)
    items = list(read_batch(path))
    assert [(type(i), i.line) for i in items] == [(Request, 1), (Request, 3)]


def test_a_line_without_end_is_skipped_without_being_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_input, "MAX_LINE", 1000)
    path = tmp_path / "in"
    path.write_bytes(b"[" * 5_000_000 + b"\n" + b"3\n")
    items = list(read_batch(path))
    assert [i.line for i in items] == [1, 2] and "longer than" in items[0].reason


@pytest.mark.parametrize(
    "url",
    [
        "v1/x",
        "//evil/x",
        "/v1/../admin",
        "/v1/x?key=1",
        "/v1/x#y",
        "/v1/ x",
        "/v1/\u00e9",
        "/v1/x\n",
        "@evil",
        "/a@b",
        3,
    ],
)
def test_only_plain_paths_are_joined_with_the_base(url: Any) -> None:
    item = parse_line(1, json.dumps({"custom_id": "a", "url": url, "body": {}}).encode())
    assert isinstance(item, BadLine) and item.custom_id == "a" and "url" in item.reason


def test_numbers_that_python_refuses_are_bad_lines() -> None:
    item = parse_line(9, b'{"custom_id": "a", "url": "/v1/x", "body": {"n": ' + b"9" * 5000 + b"}}")
    assert isinstance(item, BadLine) and item.line == 9


def body(message: str = "", code: Optional[str] = None, kind: Optional[str] = None) -> Dict[str, Any]:
    return {"error": {"message": message, "type": kind, "code": code}}


TPM = (
    "Rate limit reached for m in organization o on tokens per min (TPM): Limit 10000, Used 8554, Requested 3082. "
    "Please try again in 9.816s."
)
RPD = "Rate limit reached for m in organization o on requests per day (RPD)."
AZURE = (
    "Requests to the ChatCompletions_Create Operation under Azure OpenAI API version 2024 have exceeded token rate "
    "limit of your current OpenAI S0 pricing tier. Please retry after 37 seconds."
)


@pytest.mark.parametrize(
    "status,headers,content,expected",
    [
        (200, {}, {}, Verdict("ok")),
        (200, {}, None, Verdict("retry", "status 200 without a JSON body")),
        (429, {}, body(TPM), Verdict("retry", "status 429", 0.0)),
        (429, {"retry-after-ms": "4321", "retry-after": "5"}, body(TPM), Verdict("retry", "status 429", 0.0)),
        (429, {"retry-after": "0", "x-ratelimit-type": "Tokens"}, body(AZURE), Verdict("retry", "status 429", 0.0)),
        (429, {"retry-after": "600"}, body(TPM), Verdict("retry", "status 429", 600.0)),
        (429, {"x-ratelimit-type": "UserConcurrentRequests"}, body(), Verdict("retry", "status 429", 1.0)),
        (429, {}, None, Verdict("retry", "status 429", 0.0)),
        (429, {}, [1], Verdict("retry", "status 429", 0.0)),
        (429, {"retry-after": "86400"}, body(), Verdict("stop", "the provider asks to wait 24.0 hours")),
        (429, {"retry-after": "7200"}, body(), Verdict("stop", "the provider asks to wait 2.0 hours")),
        (429, {}, body(RPD), Verdict("stop", "a limit of a day or longer is used up")),
        (
            429,
            {},
            body("You exceeded your current quota", "insufficient_quota"),
            Verdict("stop", "the account has no quota left"),
        ),
        (402, {}, None, Verdict("stop", "the account has no quota left")),
        (401, {}, body(), Verdict("stop", "the API key was not accepted")),
        (
            429,
            {},
            body("Request too large for m on tokens per min (TPM): Limit 3, Requested 9."),
            Verdict("final", "the request is larger than the limit"),
        ),
        (413, {}, None, Verdict("final", "the request is larger than the limit")),
        (503, {"retry-after": "2"}, None, Verdict("retry", "status 503", 2.0)),
        (500, {}, None, Verdict("retry", "status 500", 1.0)),
        (500, {"x-should-retry": "false"}, None, Verdict("final", "status 500")),
        (404, {}, None, Verdict("final", "status 404")),
        (302, {}, None, Verdict("final", "status 302")),
        (429, {}, {"error": {"message": 3, "code": [], "type": {}}}, Verdict("retry", "status 429", 0.0)),
    ],
)
def test_what_an_answer_means(status: int, headers: Dict[str, str], content: Any, expected: Verdict) -> None:
    limiter = Limiter(Limit.requests(60), Limit.tokens(10_000), Limit.in_flight(3), clock=ManualClock())
    permit = limiter.try_acquire(10, 10)
    assert permit is not None
    raw = b"" if content is None else json.dumps(content).encode()
    with permit:
        assert judge(status, content, permit.feedback(status, headers, raw)) == expected


@pytest.mark.parametrize(
    "usage,expected",
    [
        ({"prompt_tokens": 5, "completion_tokens": 7}, (5, 7)),
        ({"prompt_tokens": 5, "total_tokens": 5}, (5, 0)),
        ({"input_tokens": 5, "output_tokens": 7}, (5, 7)),
        ({"prompt_tokens": -1}, None),
        ({"prompt_tokens": True}, None),
        ({"prompt_tokens": 1 << 40}, None),
        ({"prompt_tokens": 5, "completion_tokens": "7"}, None),
        ({}, None),
        (None, None),
    ],
)
def test_only_sane_usage_is_used(usage: Any, expected: Any) -> None:
    used = usage_of({"usage": usage})
    assert (used and used[:2]) == expected


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff", b'{"a": NaN}', b"[" * 100_000])
def test_what_is_no_json_is_none(raw: bytes) -> None:
    assert decode(raw) is None


def test_text_is_measured_and_media_is_not() -> None:
    content = [
        {"type": "text", "text": "abcd"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 1_000_000}},
    ]
    assert text_size({"messages": [{"role": "user", "content": content}]}) == (4, MEDIA_TOKENS)
    assert text_size({"prompt": [1, 2, 3]}) == (0, 3)
    assert text_size({"input": "\u4f60\u597d"}) == (6, 0)


def asked(**body: Any) -> Ask:
    return read_request("/v1/chat/completions", body)


def chat(text: str, **more: Any) -> Dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], **more}


def test_an_estimate_is_text_plus_the_request_s_own_bound() -> None:
    estimator = Estimator(4.0, 1024, True)
    url = "/v1/chat/completions"
    assert estimator.cost(url, chat("x" * 41, max_tokens=30), True) == (11, 30)
    assert estimator.cost(url, chat("x", max_tokens=30, max_completion_tokens=50, n=3), True) == (1, 150)
    assert estimator.cost(url, chat("x"), True) == (1, 1024)
    assert estimator.cost("/v1/embeddings", {"input": "x" * 40}, True) == (10, 0)
    assert estimator.cost(url, chat("x", max_tokens="a lot", n="many"), True) == (1, 1024)
    assert estimator.cost(url, {}, True) == (1, 1024)


def test_learning_only_raises_inputs_and_only_where_the_charge_is_corrected() -> None:
    dense, sparse = Estimator(4.0, 1024, True), Estimator(4.0, 1024, True)
    fixed = Estimator(4.0, 1024, False)
    for _ in range(MIN_ANSWERS):
        dense.answered(asked(**chat("x" * 100)), 50, 10)
        fixed.answered(asked(**chat("x" * 100)), 50, 10)
        sparse.answered(asked(**chat("x" * 100)), 10, 10)
    assert dense.chars_per_token(settles=True) == 2.0
    assert dense.chars_per_token(settles=False) == 4.0
    assert sparse.chars_per_token(settles=True) == 4.0
    assert fixed.chars_per_token(settles=True) == 4.0
    assert dense.cost("/v1/x", chat("x" * 100, max_tokens=7), True) == (50, 7)


def test_output_is_expected_where_there_is_no_maximum_or_it_does_not_count() -> None:
    reserving, actual, fixed = (Estimator(4.0, 1024, *flags) for flags in ((True, False), (True, True), (False, True)))
    url, open_end, long, short = "/v1/x", chat("x", model="m"), chat("x", model="m", max_tokens=500), chat("x", max_tokens=7)
    for estimator in (reserving, actual, fixed):
        for output in range(1, 20):
            estimator.answered(asked(**chat("x", model="m", n=2)), 1, 2 * output)
        assert estimator.cost(url, open_end, True) == (1, 1024) and estimator.cost(url, long, True) == (1, 500)
        estimator.answered(asked(**open_end), 1, 20)
    assert [e.cost(url, open_end, True)[1] for e in (reserving, actual, fixed)] == [18, 18, 1024]
    assert [e.cost(url, long, True)[1] for e in (reserving, actual, fixed)] == [500, 18, 500]
    assert actual.cost(url, short, True)[1] == 7, "never more than the maximum"
    assert actual.cost(url, {**long, "n": 3}, True)[1] == 54


def test_results_say_what_is_final(tmp_path: Path) -> None:
    def response(status: int, message: str = "") -> bytes:
        return json.dumps({"status_code": status, "request_id": None, "body": body(message)}).encode()

    path = tmp_path / "out"
    final = {"ok": 200, "bad": 400, "long": 413}
    again = {"slow": 429, "down": 503, "key": 401, "money": 402}
    lines = [make_line(name, response(status), None) for name, status in {**final, **again}.items()]
    lines.append(make_line("large", response(429, "Request too large for m"), None))
    lines.append(make_line("lost", None, {"code": "connection_error", "message": "x"}))
    path.write_bytes(b"".join(lines))
    results = Results(path)
    try:
        assert results.found.answered == {batch_input.id_key(n) for n in [*final, "large"]}
        assert (results.found.ok, results.found.failed, results.found.again) == (1, 3, 5)
        kept = [json.loads(text)["custom_id"] for text in path.read_bytes().splitlines()]
        assert kept == [*final, "large"]
        with pytest.raises(OutputError, match="being written by another"):
            Results(path)
    finally:
        results.close()


def test_nothing_is_written_after_a_torn_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = Results(tmp_path / "out")
    real, room = os.write, [20]

    def nearly_full(fd: int, data: bytes) -> int:
        if not room[0]:
            room[0] = 1000  # somebody frees a little space afterwards
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = real(fd, data[: room[0]])
        room[0] -= written
        return written

    monkeypatch.setattr(os, "write", nearly_full)
    with pytest.raises(OutputError, match="No space left"):
        results.write(make_line("a", None, None))
    with pytest.raises(OutputError, match="may be torn"):
        results.write(make_line("b", None, None))
    monkeypatch.undo()
    results.close()
    assert len((tmp_path / "out").read_bytes()) == 20
    again = Results(tmp_path / "out")
    again.close()
    assert again.found.repaired and (tmp_path / "out").read_bytes() == b""


def test_a_custom_id_with_a_lone_surrogate_survives(tmp_path: Path) -> None:
    item = parse_line(1, b'{"custom_id": "a\\ud800", "url": "/v1/x", "body": {}}')
    assert isinstance(item, Request)
    results = Results(tmp_path / "out")
    results.write(make_line(item.custom_id, b'{"status_code": 200}', None))
    results.close()
    again = Results(tmp_path / "out")
    again.close()
    assert again.found.answered == {batch_input.id_key("a\ud800")}
