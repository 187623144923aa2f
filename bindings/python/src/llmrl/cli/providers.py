"""What providers enforce, as data: limits of some of their tiers, how they are enforced, what a request is charged, how answers tell.

Examples for one model each, as others have reported, documented or measured them until ``AS_OF``; some are older. Limits differ by account
and model and change often: your provider's own page has the last word, and every option overrides what stands here. No code asks for a provider's name.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from typing import Any, Dict, Mapping, Optional

AS_OF = "October 2026"
LIMITS = ("rpm", "tpm", "itpm", "otpm", "rpd", "tpd")


@dataclass(frozen=True)
class Provider:
    """One row. The fields, but for ``tiers`` and ``note``, are defaults of the options of the same name."""

    tiers: Mapping[str, Mapping[str, int]]
    """By name, the lowest first: what options such as ``rpm`` are."""
    charge: str = "settle"
    """As in ``llmrl emulate --charge``."""
    enforce: str = "bucket"
    requests_as: Optional[str] = None
    headers: str = "none"
    free_cache_reads: bool = False
    day_resets: Optional[str] = None
    base_url: Optional[str] = None
    api_key_env: Optional[str] = None
    """An address of the user's own is looked for beside it: ``OPENAI_BASE_URL``."""
    key_header: str = "Authorization"
    note: str = field(default="", compare=False)


PROVIDERS: Dict[str, Provider] = {
    "openai": Provider(
        {
            "1": {"rpm": 500, "tpm": 200_000, "rpd": 10_000},
            "2": {"rpm": 5_000, "tpm": 2_000_000},
            "3": {"rpm": 5_000, "tpm": 4_000_000},
            "4": {"rpm": 10_000, "tpm": 10_000_000},
            "5": {"rpm": 30_000, "tpm": 150_000_000},
        },
        charge="max",
        headers="openai",
        base_url="https://api.openai.com/v1",
        api_key_env="OPENAI_API_KEY",
        note="a small model; continuous buckets that hold a minute; the larger of prompt and max_tokens is taken and kept",
    ),
    "azure": Provider(
        {"default": {"rpm": 720, "tpm": 120_000}, "more": {"rpm": 2_700, "tpm": 450_000}},
        charge="reserve",
        requests_as="fixed/10",
        headers="azure",
        api_key_env="AZURE_OPENAI_API_KEY",
        key_header="api-key",
        note="6 requests to 1,000 tokens; requests are counted in 10 s (some deployments: 1 s, --requests-as fixed/1)",
    ),
    "anthropic": Provider(
        {
            "start": {"rpm": 1_000, "itpm": 500_000, "otpm": 100_000},
            "scale": {"rpm": 4_000, "itpm": 4_000_000, "otpm": 800_000},
        },
        charge="end",
        headers="anthropic",
        free_cache_reads=True,
        base_url="https://api.anthropic.com/v1",
        api_key_env="ANTHROPIC_API_KEY",
        note="input and output apart; output counts as it is put out, reads from the cache do not; may refuse steep ramps as well",
    ),
    "gemini": Provider(
        {
            "free": {"rpm": 10, "itpm": 250_000, "rpd": 250},
            "1": {"rpm": 1_000, "itpm": 1_000_000, "rpd": 10_000},
            "2": {"rpm": 2_000, "itpm": 3_000_000, "rpd": 100_000},
        },
        day_resets="America/Los_Angeles",
        headers="gemini",
        base_url="https://generativelanguage.googleapis.com/v1beta/openai",
        api_key_env="GEMINI_API_KEY",
        note="input alone counts; days end at midnight Pacific; no headers",
    ),
    "groq": Provider(
        {"free": {"rpm": 30, "tpm": 6_000, "rpd": 14_400}, "developer": {"rpm": 1_000, "tpm": 300_000, "rpd": 500_000}},
        headers="groq",
        free_cache_reads=True,
        base_url="https://api.groq.com/openai/v1",
        api_key_env="GROQ_API_KEY",
        note="headers tell requests of the day and tokens of the minute; requests of the minute only the refusal",
    ),
    "mistral": Provider(
        {"free": {"rpm": 60, "tpm": 500_000}, "paid": {"rpm": 360, "tpm": 2_000_000}},
        enforce="fixed",
        headers="mistral",
        base_url="https://api.mistral.ai/v1",
        api_key_env="MISTRAL_API_KEY",
        note="minutes of the wall clock; a refusal does not say when to come back",
    ),
    "bedrock": Provider(
        {
            "default": {"tpm": 200_000, "tpd": 288_000_000},
            "more": {"tpm": 1_000_000, "tpd": 1_440_000_000},
        },
        charge="burndown",
        headers="bedrock",
        free_cache_reads=True,
        api_key_env="AWS_BEARER_TOKEN_BEDROCK",
        note="Claude 3.7 and later: prompt + max_tokens are taken, in the end output counts five times; no headers",
    ),
    "xai": Provider(
        {"default": {"rpm": 480, "tpm": 2_000_000}},
        requests_as="fixed/1",
        base_url="https://api.x.ai/v1",
        api_key_env="XAI_API_KEY",
        note="requests are counted by the second: 480 a minute are 8 in each",
    ),
    "cohere": Provider(
        {"trial": {"rpm": 20}},
        enforce="sliding",
        headers="cohere",
        base_url="https://api.cohere.ai/compatibility/v1",
        api_key_env="COHERE_API_KEY",
        note="a rolling minute; only the refusal's text states the limit",
    ),
    "deepseek": Provider(
        {"default": {"max_concurrent": 60}},
        base_url="https://api.deepseek.com/v1",
        api_key_env="DEEPSEEK_API_KEY",
        note="no rates, but a cap on what is in flight",
    ),
}


def describe() -> str:
    """A table for ``--help``."""
    lines = [f"providers and tiers of --provider (examples, {AS_OF}: yours may differ, every option overrides):"]
    for name, provider in PROVIDERS.items():
        lines.append(f"  {name:<10} {provider.note}")
        lines += [f"  {'':<10}   {tier}: {shown(limits)}" for tier, limits in provider.tiers.items()]
    return "\n".join(lines)


def shown(limits: Mapping[str, Any]) -> str:
    """``rpm 500, tpm 200,000``."""
    return ", ".join(f"{name.replace('_', '-')} {value:,}" for name, value in limits.items())


def add_provider(group: Any) -> None:
    """``--provider`` and ``--tier``."""
    group.add_argument(
        "--provider",
        choices=sorted(PROVIDERS),
        help="begin with what is known of this provider: how it enforces and charges, and an example of its limits (below)",
    )
    group.add_argument(
        "--tier",
        metavar="NAME",
        help="whose limits to take (default: those of the lowest tier, and none if you give limits of your own)",
    )


def fill(args: argparse.Namespace, **defaults: Any) -> Optional[str]:
    """Set every option that was not given: by the provider, else by ``defaults``. Returns a line that says what was taken for granted,
    if anything was; raises ValueError for a tier that there is not."""
    taken = None
    if args.provider is not None:
        provider = PROVIDERS[args.provider]
        tier = args.tier
        own = any(getattr(args, name, None) is not None for name in (*LIMITS, "max_concurrent")) or getattr(args, "limit", None)
        if tier is None and not own:
            tier = next(iter(provider.tiers))
        limits = tier_limits(args.provider, tier) if tier is not None else {}
        if limits:
            taken = f"{args.provider}, tier {tier}: {shown(limits)} (an example of {AS_OF}; give yours with --rpm, --tpm, ...)"
        given = {**vars(provider), **limits}
        for name in vars(args):
            if getattr(args, name) is None and name in given:
                setattr(args, name, given[name])
        args.tier = tier
    elif args.tier is not None:
        raise ValueError("--tier needs --provider")
    for name, value in defaults.items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    return taken


def tier_limits(provider: str, tier: str) -> Mapping[str, int]:
    """The limits of a tier. Raises ValueError with the names that there are."""
    tiers = PROVIDERS[provider].tiers
    if tier not in tiers:
        raise ValueError(f"{provider} has no tier {tier!r} here; there are {', '.join(tiers)}")
    return tiers[tier]
