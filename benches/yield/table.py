"""The results as text: a table for all runs, one for the headline, and their place in the README."""

from __future__ import annotations

import math
from pathlib import Path
from typing import List, Sequence

from clients import CLIENTS
from measure import Row
from scenarios import SCENARIOS, right

BEGIN = "<!-- results: written by make yield -->"
END = "<!-- end of results -->"


def results(rows: Sequence[Row]) -> str:
    """One line for each scenario and client, blank lines between scenarios."""
    head = ["scenario", "", "client", "min", "seeds", "yield %", "429 %", "p50 s", "p99 s", "Jain", "wake-ups"]
    lines: List[List[str]] = []
    last = ""
    for row in rows:
        first = row.scenario != last
        if first and last:
            lines.append([])
        last = row.scenario
        lines.append(
            [
                row.scenario if first else "",
                SCENARIOS[row.scenario].title if first else "",
                CLIENTS[row.client].title,
                f"{row.minutes:g}",
                str(row.seeds),
                f"{row.yielded:.1%}"[:-1],
                f"{row.refused:.1%}"[:-1],
                _seconds(row.p50, row),
                _seconds(row.p99, row),
                "-" if row.jain is None else f"{row.jain:.2f}",
                _count(row.wakeups),
            ]
        )
    return _aligned(head, lines, texts=3)


def headline(rows: Sequence[Row]) -> str:
    """For each client the worst yield and the worst share of refusals, over the scenarios that it knows the limits of."""
    known = [row for row in rows if row.scenario in right()]
    lines = []
    for key, entry in CLIENTS.items():
        own = [row for row in known if row.client == key]
        if own:
            least = min(own, key=lambda row: row.yielded)
            most = max(own, key=lambda row: row.refused)
            cells = [f"{least.yielded:.1%}"[:-1], f"in {least.scenario}", f"{most.refused:.1%}"[:-1], f"in {most.scenario}"]
            lines.append([entry.title, *cells])
    return _aligned(["client", "worst yield %", "", "worst 429 %", ""], lines, texts=1)


def write(path: Path, text: str) -> None:
    """Put ``text`` between the markers of the README."""
    before, rest = path.read_text(encoding="utf-8").split(BEGIN)
    path.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}", encoding="utf-8")


def _seconds(seconds: float, row: Row) -> str:
    return f">{row.minutes * 60:.0f}" if math.isinf(seconds) else f"{seconds:.0f}"


def _count(number: float) -> str:
    if math.isinf(number):
        return "-"
    return f"{number / 1000:.0f}k" if number >= 9999.5 else f"{number:.0f}" if number >= 99.5 else f"{number:.1f}"


def _aligned(head: List[str], lines: List[List[str]], texts: int) -> str:
    """The first ``texts`` columns to the left, and every one that begins with "in"; numbers to the right."""
    widths = [max(len(line[column]) for line in [head, *lines] if line) for column in range(len(head))]
    out = []
    for line in [head, *lines]:
        cells = [
            cell.ljust(width) if column < texts or cell.startswith("in ") else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths))
        ]
        out.append("  ".join(cells).rstrip())
    return "\n".join(out)
