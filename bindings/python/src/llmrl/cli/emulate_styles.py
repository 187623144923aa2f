"""How providers' answers tell of limits, as data: names and values of headers, words of refusals.

In templates: ``{model}``, ``{limit}``, ``{used}``, ``{requested}``; the wait as ``{go}`` (Go's duration), ``{seconds}`` (whole, rounded up) and
``{exact}`` (with a fraction); and what ``words`` has for the limit that refused. A body that is a list or an object is filled in place.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, Mapping, Optional, Tuple

_OPENAI_PAGE = "Visit https://platform.openai.com/account/rate-limits to learn more."
_OPENAI_WORDS = {
    "rpm": {"unit": "requests per min (RPM)", "type": "requests"},
    "rpd": {"unit": "requests per day (RPD)", "type": "requests"},
    "tpm": {"unit": "tokens per min (TPM)", "type": "tokens"},
    "tpd": {"unit": "tokens per day (TPD)", "type": "tokens"},
    "itpm": {"unit": "input tokens per minute (ITPM)", "type": "tokens"},
    "otpm": {"unit": "output tokens per minute (OTPM)", "type": "tokens"},
}
_WHERE = "for {model} in organization org-emulator"


def _openai(message: str, kind: str = "{type}") -> Dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": "rate_limit_exceeded"}}


def _anthropic(message: str) -> Dict[str, Any]:
    return {"type": "error", "error": {"type": "rate_limit_error", "message": message}}


@dataclass(frozen=True)
class Style:
    """One row."""

    body: Any
    """Of a refusal for a rate."""
    headers: Mapping[str, Tuple[Tuple[str, ...], str]] = field(default_factory=dict)
    """For each group of headers: the limits that it may be about (the first that there is), and a template with ``{what}``."""
    reset: Optional[str] = None
    """How *reset* is written: ``go``, ``seconds`` or ``rfc3339``; None: not at all."""
    rounded: bool = False
    """Whether what is left of tokens is told in whole thousands."""
    period: Optional[str] = None
    """The template of a header with the window's seconds."""
    retry: Mapping[str, str] = field(default_factory=dict)
    """Headers of a refusal beside those."""
    words: Mapping[str, Mapping[str, str]] = field(default_factory=lambda: _OPENAI_WORDS)
    concurrent: Any = None
    """The body when too many are in flight; by default that of a rate."""
    oversize: Any = None
    """The body when the request is larger than the limit; likewise."""


OPENAI = Style(
    # The wait in the text follows from the three numbers beside it: (used + requested - limit) / limit minutes.
    body=_openai(
        f"Rate limit reached {_WHERE} on {{unit}}: Limit {{limit}}, Used {{used}}, Requested {{requested}}. "
        f"Please try again in {{go}}. {_OPENAI_PAGE}"
    ),
    headers={
        "requests": (("rpm", "rpd"), "x-ratelimit-{what}-requests"),
        "tokens": (("tpm", "tpd"), "x-ratelimit-{what}-tokens"),
    },
    reset="go",
    retry={"retry-after-ms": "{ms}", "retry-after": "{seconds}"},
    concurrent=_openai(
        f"Too many concurrent requests {_WHERE}: Limit {{limit}}, Used {{used}}, Requested {{requested}}. Please try again in {{go}}.",
        "concurrent_requests",
    ),
    oversize=_openai(
        f"Request too large {_WHERE} on {{unit}}: Limit {{limit}}, Requested {{requested}}. "
        f"The input or output tokens must be reduced in order to run successfully. {_OPENAI_PAGE}"
    ),
)
ANTHROPIC = Style(
    body=_anthropic("This request would exceed the rate limit for your organization (00000000-0000-0000-0000-000000000000) of {limit:,} {unit}."),
    headers={
        "requests": (("rpm",), "anthropic-ratelimit-requests-{what}"),
        "tokens": (("tpm",), "anthropic-ratelimit-tokens-{what}"),
        "input": (("itpm",), "anthropic-ratelimit-input-tokens-{what}"),
        "output": (("otpm",), "anthropic-ratelimit-output-tokens-{what}"),
    },
    reset="rfc3339",
    rounded=True,
    retry={"retry-after": "{seconds}"},
    words={
        "rpm": {"unit": "requests per minute"},
        "rpd": {"unit": "requests per day"},
        "tpm": {"unit": "tokens per minute"},
        "tpd": {"unit": "tokens per day"},
        "itpm": {"unit": "input tokens per minute"},
        "otpm": {"unit": "output tokens per minute"},
    },
    concurrent=_anthropic("Number of concurrent connections has exceeded your rate limit. Please try again later."),
)
STYLES: Dict[str, Style] = {
    "openai": OPENAI,
    "anthropic": ANTHROPIC,
    "azure": Style(
        body={
            "error": {
                "code": "429",
                "message": "Requests to the ChatCompletions_Create Operation under Azure OpenAI API version 2024-10-21 have exceeded "
                "{unit} rate limit of your current OpenAI S0 pricing tier. Please retry after {seconds} seconds.",
            }
        },
        headers=OPENAI.headers,
        reset="seconds",
        period="x-ratelimit-renewalperiod-{group}",
        retry={"retry-after": "{seconds}", "retry-after-ms": "{ms}", "x-ratelimit-type": "{type}"},
        words={
            name: {"unit": "call" if name.startswith("r") else "token", "type": "Requests" if name.startswith("r") else "Tokens"}
            for name in _OPENAI_WORDS
        },
    ),
    "gemini": Style(
        body={
            "error": {
                "code": 429,
                "message": "You exceeded your current quota, please check your plan and billing details. \n* Quota exceeded for metric: "
                "generativelanguage.googleapis.com/{metric}, limit: {limit}, model: {model}\nPlease retry in {exact}s.",
                "status": "RESOURCE_EXHAUSTED",
                "details": [
                    {
                        "@type": "type.googleapis.com/google.rpc.QuotaFailure",
                        "violations": [
                            {
                                "quotaMetric": "generativelanguage.googleapis.com/{metric}",
                                "quotaId": "{quota}",
                                "quotaDimensions": {"location": "global", "model": "{model}"},
                                "quotaValue": "{limit}",
                            }
                        ],
                    },
                    {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "{seconds}s"},
                ],
            }
        },
        words={
            "rpm": {"metric": "generate_content_paid_tier_requests", "quota": "GenerateRequestsPerMinutePerProjectPerModel"},
            "rpd": {"metric": "generate_content_paid_tier_requests", "quota": "GenerateRequestsPerDayPerProjectPerModel"},
            **{
                name: {
                    "metric": "generate_content_paid_tier_input_token_count",
                    "quota": "GenerateContentInputTokensPerModelPerMinute",
                }
                for name in ("tpm", "itpm", "otpm")
            },
            "tpd": {
                "metric": "generate_content_paid_tier_input_token_count",
                "quota": "GenerateContentInputTokensPerModelPerDay",
            },
        },
        concurrent={"error": {"code": 429, "message": "Resource exhausted. Please try again later.", "status": "RESOURCE_EXHAUSTED"}},
    ),
    "groq": Style(
        body=_openai(
            "Rate limit reached for model `{model}` in organization `org-emulator` service tier `on_demand` on {unit}: Limit {limit}, "
            "Used {used}, Requested {requested}. Please try again in {go}."
        ),
        headers={
            "requests": (("rpd", "rpm"), "x-ratelimit-{what}-requests"),
            "tokens": (("tpm", "tpd"), "x-ratelimit-{what}-tokens"),
        },
        reset="go",
        retry={"retry-after": "{seconds}"},
        oversize=_openai(
            "Request too large for model `{model}` in organization `org-emulator` service tier `on_demand` on {unit}: Limit {limit}, "
            "Requested {requested}, please reduce your message size and try again."
        ),
    ),
    "mistral": Style(
        body={"object": "error", "message": "Rate limit exceeded", "type": "rate_limited", "param": None, "code": "1300"},
        headers={
            "requests": (("rpm",), "x-ratelimit-{what}-req-minute"),
            "tokens": (("tpm",), "x-ratelimit-{what}-tokens-minute"),
        },
    ),
    "bedrock": Style(
        body={"__type": "ThrottlingException", "message": "{unit}, please wait before trying again."},
        words={
            name: {"unit": "Too many " + ("requests" if name.startswith("r") else "tokens") + (" per day" if name.endswith("d") else "")}
            for name in _OPENAI_WORDS
        },
    ),
    "cohere": Style(
        body={"message": "You are using a Trial key, which is limited to {limit} API calls / minute."},
        headers={"requests": (("rpm",), "x-trial-endpoint-call-{what}")},
    ),
    "none": Style(
        body={"error": {"message": "Rate limit exceeded"}},
        concurrent={"error": {"message": "Rate limit reached for requests", "code": "1302"}},
        retry={"retry-after": "{seconds}"},
    ),
}
