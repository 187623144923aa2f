"""What ``llmrl plan`` prints."""

from __future__ import annotations

from typing import Dict, List, Sequence, Tuple

from .plan_run import Outcome, Span

PHASES = 3
"""So many times are named in which a limit was waited for; pauses shorter than a hundredth of the whole do not part them."""


def clock(seconds: float) -> str:
    """``0:04:09``, ``9 d 0:04:09``."""
    days, rest = divmod(int(seconds + 0.5), 86_400)
    return (f"{days:,} d " if days else "") + f"{rest // 3600}:{rest // 60 % 60:02d}:{rest % 60:02d}"


def facts(outcome: Outcome, total: int, bad_lines: int) -> List[Tuple[str, str]]:
    """The rows above the table."""
    tokens_in = sum(done.input for done in outcome.done)
    tokens_out = sum(done.output for done in outcome.done)
    requests = f"{len(outcome.done):,}"
    if outcome.too_large:
        requests += f", {outcome.too_large:,} more are larger than a limit and would not be sent"
    if bad_lines:
        requests += f", {bad_lines:,} bad line{'s' * (bad_lines > 1)}"
    pace = len(outcome.done) / outcome.seconds if outcome.seconds else 0.0
    return [
        ("requests", requests),
        ("tokens", f"{tokens_in:,} in + {tokens_out:,} out"),
        ("time", f"{clock(outcome.seconds)} ({outcome.seconds:,.1f} s, {pace:,.1f} requests/s)"),
        ("in flight", f"{outcome.peak_in_flight:,} at most"),
    ]


def limits(outcome: Outcome) -> List[List[str]]:
    """A row for each limit, with a head."""
    waited = outcome.waited()
    rows = [["limit", "allows", "waited for", "of the time", "used", "when"]]
    for index, (name, state) in enumerate(outcome.limits):
        seconds = waited.get(name, 0.0)
        used = outcome.used(index)
        rows.append(
            [
                name,
                f"{state.amount:,}",
                clock(seconds) if seconds else "never",
                f"{seconds / outcome.seconds:.1%}" if outcome.seconds else "0.0%",
                "" if used is None else f"{used:.1%}",
                when([span for span in outcome.waits if span.limit == name], outcome.seconds),
            ]
        )
    return rows


def when(spans: Sequence[Span], seconds: float) -> str:
    """``0:01:00 - 0:09:00, ...``."""
    merged: List[Tuple[int, int]] = []
    for start, end, _ in spans:
        if merged and start - merged[-1][1] <= seconds * 1e7:
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((start, end))
    named = [f"{clock(start / 1e9)} - {clock(end / 1e9)}" for start, end in merged[:PHASES]]
    return ", ".join(named) + (f" and {len(merged) - PHASES} times more" if len(merged) > PHASES else "")


def comparison(outcomes: Dict[str, Outcome]) -> List[List[str]]:
    """A row for each, with a head; the first is what the others are compared with."""
    rows = [["with", "takes", "faster", "requests/s", "in flight", "waits most for"]]
    first = next(iter(outcomes.values())).seconds
    for name, outcome in outcomes.items():
        waited = next(iter(outcome.waited().items()), None)
        rows.append(
            [
                name,
                clock(outcome.seconds),
                f"{first / outcome.seconds:,.1f}x" if outcome.seconds else "",
                f"{len(outcome.done) / outcome.seconds:,.1f}" if outcome.seconds else "",
                f"{outcome.peak_in_flight:,}",
                "nothing" if waited is None else f"{waited[0]} ({waited[1] / outcome.seconds:.0%} of the time)",
            ]
        )
    return rows


def aligned(rows: List[List[str]]) -> List[str]:
    """Columns of equal width; the first and the last to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    last = len(widths) - 1
    return [
        "  ".join(
            cell if i == last else cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    ]
