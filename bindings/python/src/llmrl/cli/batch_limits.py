"""From the limits on the command line to a limiter."""

from __future__ import annotations

import argparse
import re
from typing import Any, Dict, List, Optional, Tuple

from .batch_charge import Meters

DAY = 86_400
KINDS = (
    "token_bucket",
    "pacing",
    "fixed_window",
    "sliding_window_counter",
    "sliding_window",
    "sliding_window_log",
)
METERS = ("requests", "tokens", "input_tokens", "output_tokens")
MINUTES = (
    ("rpm", "requests/min", "requests"),
    ("tpm", "tokens/min", "tokens"),
    ("itpm", "input tokens/min", "input_tokens"),
    ("otpm", "output tokens/min", "output_tokens"),
)
_LIMIT = re.compile(r"(\w+):(\w+):([\d_,]+)/(\d+(?:\.\d+)?)")


def parse_limit(text: str) -> Tuple[str, Any]:
    """``KIND:METER:N/SECONDS`` as ``(what to call it, Limit)``. Fixed windows follow the wall clock."""
    from llmrl import Limit, until_reset

    parts = _LIMIT.fullmatch(text)
    if parts is None or parts[1] not in KINDS or parts[2] not in METERS:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not KIND:METER:N/SECONDS such as sliding_window:requests:20/60, with KIND {', '.join(KINDS)} "
            f"and METER {', '.join(METERS)}"
        )
    kind, meter, amount, seconds = parts.groups()
    try:
        per = float(seconds)
        options = {"resets_in": until_reset(per)} if kind == "fixed_window" else {}
        number = int(amount.replace("_", "").replace(",", "") or 0)
        limit = getattr(Limit, kind)(number, per, meter=meter, **options)
    except (ValueError, OverflowError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not possible: {error}") from None
    return f"{meter.replace('_', ' ')} in {per:g} s", limit


def parse_zone(text: str) -> str:
    """The name of a time zone, checked."""
    from llmrl import until_midnight

    try:
        until_midnight(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def build(args: argparse.Namespace, saved: Optional[bytes] = None, **options: Any) -> Tuple[Any, Meters]:
    """The limiter, with more ``options`` of its own, and which of its limits is which. Raises ValueError for what a limit cannot be, or
    saved state."""
    from llmrl import Limit, Limiter, Weights, until_midnight, until_reset

    limits: List[Any] = []
    names: Dict[int, str] = {}
    weighted: Dict[int, str] = {}

    def weighed(meter: str) -> Any:
        if not args.free_cache_reads:
            return meter
        return {"tokens": Weights(cached=0), "input_tokens": Weights(output=0, cached=0)}.get(meter, meter)

    def minute(amount: int, meter: str) -> Any:
        kind, seconds = args.enforce, args.burst_seconds
        if meter == "requests" and args.requests_as is not None:
            kind, seconds = args.requests_as
        share = max(1, int(amount * seconds / 60))
        if kind == "sliding":
            return Limit.sliding_window(share, seconds, meter=weighed(meter))
        if kind == "fixed" and seconds >= 60:
            return Limit.fixed_window(share, seconds, meter=weighed(meter), resets_in=until_reset(seconds))
        if kind == "fixed" and seconds <= 1:
            return Limit.pacing(amount, meter=weighed(meter))
        # In which of the short windows a request arrives, nobody knows here; produced evenly, none of them gets too many for long.
        return Limit.token_bucket(amount, meter=weighed(meter), burst=share)

    def day(amount: int, meter: str) -> Any:
        if args.day_resets is None:
            return Limit.token_bucket(amount, DAY, meter=weighed(meter))
        return Limit.fixed_window(amount, DAY, resets_in=until_midnight(args.day_resets), meter=weighed(meter))

    def add(name: str, limit: Any, meter: str = "") -> None:
        names[len(limits)] = name
        if weighed(meter) != meter:
            weighted[len(limits)] = meter
        limits.append(limit)

    for option, name, meter in MINUTES:
        if getattr(args, option) is not None:
            add(name, minute(getattr(args, option), meter), meter)
    for name, limit in args.limit:
        add(name, limit)
    if args.rpd is not None:
        add("requests/day", day(args.rpd, "requests"))
    if args.tpd is not None:
        add("tokens/day", day(args.tpd, "tokens"), "tokens")
    add("concurrency", Limit.in_flight(args.max_concurrent))
    limiter = Limiter(*limits, saved=saved, raise_limits=getattr(args, "raise_limits", False), **options)
    counted = [weighted.get(index, state.meter) for index, state in enumerate(limiter.limits())]

    def first(meter: str) -> Optional[int]:
        return counted.index(meter) if meter in counted else None

    return limiter, Meters(first("requests"), first("tokens"), first("in_flight"), names, weighted)


def assume_spent(limiter: Any, meters: Meters, idle: float) -> None:
    """The run before this one ended ``idle`` seconds ago and has probably used up everything until then; what the
    provider has produced since is all that may be counted on. Of longer periods than a minute nothing is known."""
    spent: Dict[str, int] = {}
    for index, state in enumerate(limiter.limits()):
        if 0 < state.per <= 60:
            produced = int(min(idle, 1e6) * state.amount / state.per)
            # The first limit of each kind: what is asked of the others is not known to be any better.
            spent.setdefault(meters.counted(index, state), max(0, state.burst - produced))
    output = spent.get("output_tokens", 0)
    input = max(spent.get("tokens", 0) - output, spent.get("input_tokens", 0))
    if input or output or spent.get("requests"):
        limiter.charge(requests=spent.get("requests", 0), input=input, output=output)
