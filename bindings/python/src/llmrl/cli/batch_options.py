"""Options that ``llmrl batch`` and ``llmrl plan`` share: the limits, and how tokens are estimated."""

from __future__ import annotations

import argparse
from typing import Any, Optional

from . import amounts
from .providers import add_provider, fill

DEFAULTS = {"max_concurrent": 64, "burst_seconds": 60.0, "enforce": "bucket", "free_cache_reads": False}
CLIENT_CHARGE = {"settle": "auto", "end": "settle"}
"""What a provider's way of charging is called here. Whoever counts output as it is put out is asked for what is expected of it."""


def add_limits(parser: argparse.ArgumentParser) -> Any:
    """The group of options that make a limiter; read by :func:`complete` and ``batch_limits.build``."""
    limits = parser.add_argument_group("limits (as on your provider's limits page; leave out what does not apply)")
    add_provider(limits)
    limits.add_argument("--rpm", type=amounts.rate, metavar="N", help="requests per minute")
    limits.add_argument("--tpm", type=amounts.rate, metavar="N", help="tokens per minute, input and output together")
    limits.add_argument("--itpm", type=amounts.rate, metavar="N", help="input tokens per minute")
    limits.add_argument("--otpm", type=amounts.rate, metavar="N", help="output tokens per minute")
    limits.add_argument("--rpd", type=amounts.count, metavar="N", help="requests per day")
    limits.add_argument("--tpd", type=amounts.count, metavar="N", help="tokens per day")
    limits.add_argument(
        "--day-resets",
        type=_zone,
        metavar="ZONE",
        help="the days of --rpd and --tpd end at midnight there, such as America/Los_Angeles for Gemini, instead of being "
        "produced evenly, as at OpenAI",
    )
    limits.add_argument(
        "--limit",
        type=_limit,
        action="append",
        default=[],
        metavar="KIND:METER:N/SECONDS",
        help="any other limit; may be given again (8 limits in all): sliding_window:requests:20/60, pacing:requests:10/1, "
        "fixed_window:input_tokens:500000/60. KIND: token_bucket, pacing, fixed_window (of the wall clock: a minute from "
        ":00 to :00), sliding_window_counter, sliding_window or sliding_window_log; METER: requests, tokens, input_tokens "
        "or output_tokens",
    )
    limits.add_argument(
        "--max-concurrent", type=amounts.slots, metavar="N", help="requests in flight (default: 64)"
    )
    limits.add_argument(
        "--burst-seconds",
        type=amounts.number(float, 0.01, 86_400, "a number of seconds from 0.01 to 86400"),
        metavar="S",
        help="how many seconds of a rate the provider lets you save up (default: 60, as OpenAI; 1 for providers that "
        "enforce requests per second)",
    )
    add_enforcement(limits)
    limits.add_argument(
        "--free-cache-reads",
        action="store_true",
        default=None,
        help="tokens that the provider reads from its prompt cache do not count (Anthropic, Bedrock, Groq)",
    )
    limits.add_argument(
        "--charge",
        choices=("auto", "settle", "reserve", "max", "burndown"),
        help="what a request costs in tokens. settle: what it used, and never more; the output is estimated from earlier "
        "answers. reserve: prompt + max_tokens, whatever it used. max: the larger of prompt and max_tokens. burndown: "
        "prompt + max_tokens, then prompt + five times the output (Bedrock). auto (default): "
        "prompt + max_tokens until it is answered, then what it used, unless the provider's headers show that it keeps "
        "reservations",
    )
    return limits


def add_enforcement(group: Any) -> None:
    """``--enforce`` and ``--requests-as``, the same for whoever enforces and whoever obeys."""
    group.add_argument(
        "--enforce",
        choices=("bucket", "fixed", "sliding"),
        help="how rates are enforced. bucket: continuously (default). fixed: in windows of --burst-seconds by the wall "
        "clock, with 60 from :00 to :00. sliding: never more than their share in any --burst-seconds",
    )
    group.add_argument(
        "--requests-as",
        type=requests_as,
        metavar="KIND/SECONDS",
        help="requests per minute are enforced otherwise than tokens: fixed/1 (so many in each second, as xAI), fixed/10 (in "
        "ten seconds, as Azure), sliding/60, bucket/1",
    )


def requests_as(text: str) -> "tuple[str, float]":
    """``fixed/10`` as ``("fixed", 10.0)``."""
    kind, _, seconds = text.partition("/")
    try:
        period = float(seconds)
    except ValueError:
        period = 0.0
    if kind not in ("bucket", "fixed", "sliding") or not 0.01 <= period <= 86_400:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not KIND/SECONDS such as fixed/10, with KIND bucket, fixed or sliding, 0.01 to 86400"
        )
    return kind, period


def add_estimates(parser: argparse.ArgumentParser) -> None:
    """The group about tokens that nobody has counted yet."""
    tokens = parser.add_argument_group("token estimates (before the answer says what was used)")
    tokens.add_argument(
        "--estimate",
        choices=("learn", "fixed"),
        default="learn",
        help="learn (default): more tokens per character if the answers' usage shows it (not for providers "
        "that keep reservations: they count characters), and the output of requests without max_tokens, or of all with "
        "--charge settle. fixed: never",
    )
    tokens.add_argument(
        "--chars-per-token",
        type=amounts.number(float, 0.25, 20, "a number from 0.25 to 20"),
        default=4.0,
        metavar="X",
        help="characters per token at the start (default: 4)",
    )
    tokens.add_argument(
        "--default-output",
        type=amounts.count,
        default=1024,
        metavar="N",
        help="output tokens assumed for a request without max_tokens (default: 1024; learned from answers)",
    )


def complete(args: argparse.Namespace) -> Optional[str]:
    """Fill in what was not given, as :func:`providers.fill`, which this is made of."""
    own = args.charge
    taken = fill(args, charge="auto", **DEFAULTS)
    if own is None:
        args.charge = CLIENT_CHARGE.get(args.charge, args.charge)
    if isinstance(args.requests_as, str):
        args.requests_as = requests_as(args.requests_as)
    return taken


def _limit(text: str) -> Any:
    from .batch_limits import parse_limit

    return parse_limit(text)


def _zone(text: str) -> str:
    from .batch_limits import parse_zone

    return parse_zone(text)
