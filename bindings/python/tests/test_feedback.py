"""read_answer: the vectors that the Rust suite runs, arguments, and what openai-python and botocore make of the same headers."""

from __future__ import annotations

import importlib
import json
import time
import warnings
from email.utils import formatdate
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

import llmrl
from llmrl import _feedback

FOLDER = Path(__file__).resolve().parents[3] / "tests" / "feedback"
VECTORS = [
    vector for name in ("vectors", "examples") if (FOLDER / f"{name}.json").is_file() for vector in json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
]  # fmt: skip


def test_the_vectors_are_there():
    if not FOLDER.is_dir():
        pytest.skip("no vectors: not in the repository")
    assert len(VECTORS) >= 116 + 54


def ns(seconds: Any) -> Any:
    return None if seconds is None else round(seconds * 1e9)


def shown_quota(quota: llmrl.Quota) -> dict[str, Any]:
    low, high = quota.solved or (None, None)
    return {
        **quota._asdict(),
        "axis": quota.meter,
        "utilization": None if quota.utilization is None else round(quota.utilization * 1e6),
        "reset_ns": ns(quota.reset),
        "window_ns": ns(quota.window),
        "period_ns": ns(quota.period),
        "solved_low_s": None if low is None else int(low),
        "solved_high_s": None if high in (None, float("inf")) else int(high),
        "exhausted": quota.exhausted,
    }


def shown(reading: llmrl.Reading) -> dict[str, Any]:
    return {
        **reading._asdict(),
        "class": reading.answer_class,
        "axis": reading.meter,
        "wait_ns": ns(reading.wait),
        "quotas": [shown_quota(quota) for quota in reading.quotas],
    }


def compare(want: dict[str, Any], got: dict[str, Any]) -> None:
    for key, value in want.items():
        if key == "quotas":
            assert len(value) == len(got[key])
            for one, other in zip(value, got[key]):
                compare(one, other)
        elif isinstance(value, str) and value.isdigit():
            # The largest number is taken for "unknown" in C.
            assert got[key] == min(int(value), 2**64 - 2), key
        else:
            assert got[key] == value, key


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["id"] for vector in VECTORS])
def test_vector(api, vector):
    # U+03BC has no byte in Latin-1; on the wire it is UTF-8.
    headers = [(name.encode(), value.encode()) for name, value in vector["headers"]]
    compare(vector["expect"], shown(api.read_answer(vector["status"], headers, vector.get("body", ""), now=vector.get("now"))))


class Multi:
    """As aiohttp's and httpx's: not a Mapping, but with items()."""

    def items(self):
        return [("RateLimit", '"a";r=1'), ("RateLimit", '"b";r=2')]


@pytest.mark.parametrize(
    "headers",
    [
        {"Retry-After": "5"},
        MappingProxyType({b"retry-after": b"5"}),
        [("RETRY-AFTER", b"5")],
        (["retry-after", "5"],),
    ],
)
def test_forms_of_headers(api, headers):
    assert api.read_answer(429, headers).wait == 5.0


def test_headers_from_an_iterator(api):
    assert api.read_answer(429, iter([("retry-after", "5")])).wait == 5.0


def test_headers_that_occur_twice(api):
    assert [quota.remaining for quota in api.read_answer(200, Multi()).quotas] == [1, 2]


@pytest.mark.parametrize("body", ["retry after 5 seconds", b"retry after 5 seconds", bytearray(b"retry after 5 seconds"), memoryview(b"retry after 5 s")])
def test_forms_of_bodies(api, body):
    assert api.read_answer(429, {}, body).wait == 5.0


def test_any_text_is_taken(api):
    assert api.read_answer(429, {"retry-after": "\u20ac\ud800"}, "\ud800 retry after 5 seconds").wait == 5.0


def test_now(api):
    headers = {"retry-after": "Sun, 09 Aug 2026 12:05:00 GMT"}
    assert api.read_answer(429, headers, now=1786277100 - 7).wait == 7.0
    assert api.read_answer(429, {**headers, "date": "Sun, 09 Aug 2026 12:00:00 GMT"}, now=1).wait == 300.0
    soon = formatdate(time.time() + 100, usegmt=True)
    assert 90 < api.read_answer(429, {"retry-after": soon}).wait <= 100


@pytest.mark.parametrize(
    "error, arguments",
    [
        (TypeError, ("429", {})),
        (TypeError, (True, {})),
        (TypeError, (429.0, {})),
        (ValueError, (99, {})),
        (ValueError, (1000, {})),
        (ValueError, (2**64, {})),
        (TypeError, (429, "retry-after: 5")),
        (TypeError, (429, ["retry-after: 5"])),
        (TypeError, (429, [("a", "b", "c")])),
        (TypeError, (429, {"retry-after": 5})),
        (TypeError, (429, {5: "a"})),
        (TypeError, (429, None)),
        (TypeError, (429, {}, 5)),
        (TypeError, (429, {}, None)),
        (TypeError, (429,)),
        (TypeError, (429, {}, b"", 5)),
    ],
)
def test_arguments_that_are_refused(api, error, arguments):
    with pytest.raises(error):
        api.read_answer(*arguments)


def test_secrets_are_in_no_complaint(api):
    with pytest.raises(TypeError) as caught:
        api.read_answer(429, [("authorization", "sk-secret", 1)])
    assert "secret" not in str(caught.value)
    with pytest.raises(TypeError) as caught:
        api.read_answer(429, [("authorization", ["sk-secret"])])
    assert "secret" not in str(caught.value)


def test_until(api):
    headers = {"x-ratelimit-limit-requests": "500", "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1m0s"}
    (quota,) = api.read_answer(200, headers).quotas
    assert quota.until(0) == 0.0
    assert quota.until(1) == pytest.approx(0.12)
    assert quota.until(500) == pytest.approx(60)
    assert quota.until(501) is None
    assert quota._replace(period=None).until(1) is None


def test_many_headers_and_a_large_body(api):
    headers = [(f"x-ai-ratelimit-limit-{at}-a", "5") for at in range(10_000)]
    assert len(api.read_answer(429, headers, b"[" * 1_000_000).quotas) == _feedback.MAX_QUOTAS


@pytest.fixture(scope="module")
def openai_client():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        openai = pytest.importorskip("openai", reason="openai is not installed: pip install 'llmrl[test]'")
    return openai.OpenAI(api_key="none", base_url="http://localhost:1")


@pytest.fixture(scope="module")
def httpx(openai_client):
    """The HTTP library that this version of openai is built on."""
    return importlib.import_module(type(openai_client._client.headers).__module__.partition(".")[0])


# What it reads and we read alike. Not among them: 0, which it hands on and we take for no answer (Azure), and dates, which it
# compares with the local clock unless that is what there is.
SAME = [
    {"retry-after-ms": "4321"},
    {"retry-after-ms": "250", "retry-after": "1"},
    {"retry-after-ms": "0.5"},
    {"retry-after-ms": "oops", "retry-after": "3"},
    {"retry-after": "5"},
    {"retry-after": "7.66"},
    {"retry-after": "86400"},
    {"retry-after": "abc"},
    {"retry-after": "1,5"},
    {"retry-after": ""},
    {"Retry-After": " 12 "},
    {},
]


@pytest.mark.parametrize("headers", SAME, ids=str)
def test_the_wait_is_openais(api, headers, openai_client, httpx):
    assert api.read_answer(429, headers).wait == pytest.approx(openai_client._parse_retry_after_header(httpx.Headers(headers)))


def test_the_wait_until_a_date_is_openais(api, openai_client, httpx):
    headers = {"retry-after": formatdate(time.time() + 300, usegmt=True)}
    theirs = openai_client._parse_retry_after_header(httpx.Headers(headers))
    assert api.read_answer(429, headers).wait == pytest.approx(theirs, abs=2)


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 408, 409, 422, 429, 500, 502, 503, 504, 529])
@pytest.mark.parametrize("header", [None, "true", "false"])
def test_what_openai_would_retry(api, status, header, openai_client, httpx):
    headers = {} if header is None else {"x-should-retry": header}
    theirs = openai_client._should_retry(httpx.Response(status, headers=headers))
    reading = api.read_answer(status, headers)
    if reading.answer_class == "other" or header is None:
        assert reading.retryable == theirs
    # Where the class is known it has the last word, whatever the header says; the header can be read as well.
    assert reading.should_retry == {None: None, "true": True, "false": False}[header]


@pytest.fixture(scope="module")
def botocore():
    """The retries of the AWS SDK."""
    return pytest.importorskip("botocore.retries.standard", reason="botocore is not installed: pip install 'llmrl[test]'")


class Context:
    """As much of a retry context as botocore looks at."""

    def __init__(self, status: int, headers: dict[str, str], code: str) -> None:
        self.http_response = type("Response", (), {"status_code": status, "headers": headers})
        self.code = code

    def get_error_code(self) -> str:
        return self.code


@pytest.mark.parametrize("value", ["1500", "0250", "86400000", "oops", "-5", "", "1e3"])
def test_the_wait_is_botocores(api, value, botocore):
    headers = {"x-amz-retry-after": value}
    theirs = botocore.ExponentialBackoff()._get_retry_after_delay(Context(429, headers, ""))
    # What is no number of milliseconds is left out by both; ours knows decimals and exponents no more than theirs does.
    assert api.read_answer(429, headers).wait == (None if theirs is None else pytest.approx(theirs))


def test_what_botocore_calls_throttled_may_come_again(api, botocore):
    checker = botocore.ThrottledRetryableChecker()
    codes = checker._throttled_error_codes
    assert "ThrottlingException" in codes
    for code in codes:
        context = Context(429, {"x-amzn-errortype": code}, code)
        assert checker.is_retryable(context)
        reading = api.read_answer(429, context.http_response.headers)
        assert reading.retryable and reading.answer_class == "rate", code
