"""What the user sees: a bar on a terminal, plain lines elsewhere, a table at the end (rich)."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Callable, List, Optional, Tuple

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .batch_charge import Account
from .batch_counts import Counts

REFRESH = 0.2
PLAIN_EVERY = 5.0
"""Seconds between two plain lines."""
MAX_MESSAGES = 50
"""Messages about single lines that are printed; after that they are only counted."""


def clock(seconds: Optional[float]) -> str:
    """``0:04:09``; ``-:--:--`` if unknown."""
    if seconds is None or seconds > 359_999:
        return "-:--:--"
    whole = int(seconds + 0.5)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def printable(text: str) -> str:
    """No control characters: an input line or a server must not drive the terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)


class View:
    """Progress and messages on standard error. ``mode`` is *bar*, *plain* or *quiet*."""

    def __init__(self, counts: Counts, mode: str, hide: Callable[[str], str]) -> None:
        self.counts = counts
        self.mode = mode
        self.unsaid = 0
        self._said = 0
        self._hide = hide
        # Without a terminal nothing may be wrapped: one message is one line for whoever reads the log.
        self._console = Console(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty())
        self._live: Optional[Live] = None
        self._ticker: Optional["asyncio.Task[None]"] = None

    @staticmethod
    def pick_mode(quiet: bool, plain: bool) -> str:
        """A bar where one can be drawn and seen."""
        if quiet:
            return "quiet"
        return "bar" if sys.stderr.isatty() and not plain and not Console(stderr=True).is_dumb_terminal else "plain"

    def say(self, message: str) -> None:
        """One line about one thing; counted instead of printed when there are too many."""
        self._said += 1
        if self._said > MAX_MESSAGES:
            self.unsaid += 1
            return
        self.note(message)

    def note(self, message: str) -> None:
        """One line that is always printed."""
        self._console.print(Text(self._hide(printable(message))))

    async def __aenter__(self) -> "View":
        if self.mode == "bar":
            self._live = Live(self._frame(), console=self._console, auto_refresh=False, transient=False)
            self._live.start()
        if self.mode != "quiet":
            self._ticker = asyncio.ensure_future(self._tick())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._ticker is not None:
            self._ticker.cancel()
            await asyncio.gather(self._ticker, return_exceptions=True)
        if self._live is not None:
            self._live.update(self._frame(), refresh=True)
            self._live.stop()
        elif self.mode == "plain":
            self.note(self._line())
        if self.unsaid:
            self.note(f"... and {self.unsaid:,} more such messages")

    async def _tick(self) -> None:
        next_line = time.monotonic() + PLAIN_EVERY
        while True:
            await asyncio.sleep(REFRESH)
            if self._live is not None:
                self._live.update(self._frame(), refresh=True)
            elif time.monotonic() >= next_line:
                next_line += PLAIN_EVERY
                self.note(self._line())

    def _facts(self) -> List[str]:
        counts = self.counts
        requests, tokens = counts.rates()
        binding = counts.binding()
        return [
            f"waiting for {binding}" if binding else "not waiting",
            f"{requests:,.1f} requests/s",
            f"{tokens:,.0f} tokens/s",
            f"{counts.in_flight} in flight",
            f"429s {sum(counts.too_many.values())}",
            f"retries {counts.retries}",
        ]

    def _line(self) -> str:
        counts = self.counts
        head = f"{counts.done:,}/{counts.total:,} done, {clock(counts.elapsed)} gone, {clock(counts.eta())} left"
        return ", ".join([head] + self._facts())

    def _frame(self) -> Group:
        counts = self.counts
        grid = Table.grid(padding=(0, 1), expand=True)
        grid.add_column(ratio=1)
        for _ in range(3):
            grid.add_column(justify="right", no_wrap=True)
        share = counts.done / counts.total if counts.total else 1.0
        grid.add_row(
            ProgressBar(total=max(1, counts.total), completed=counts.done),
            Text(f"{counts.done:,}/{counts.total:,}"),
            Text(f"{share:4.0%}"),
            Text(f"{clock(counts.elapsed)} gone, {clock(counts.eta())} left", style="dim"),
        )
        facts = Text("  ".join(self._facts()), style="cyan", overflow="ellipsis", no_wrap=True)
        return Group(grid, facts)


def summary(counts: Counts, account: Account) -> List[Tuple[str, str]]:
    """The rows of the table at the end."""
    requests = f"{counts.ok:,} answered, {counts.failed:,} failed"
    if counts.skipped:
        requests += f", {counts.skipped:,} answered before"
    if counts.bad_lines:
        requests += f", {counts.bad_lines:,} bad line{'s' * (counts.bad_lines > 1)}"
    left = counts.total - counts.done
    if left > 0:
        requests += f", {left:,} left"
    elapsed = max(1e-3, counts.elapsed)
    rows = [
        ("requests", requests),
        ("tokens", f"{counts.tokens_in:,} in + {counts.tokens_out:,} out"),
        ("time", f"{elapsed:,.1f} s ({counts.ok / elapsed:,.1f} requests/s)"),
    ]
    for name, share in counts.shares(account.requests, account.tokens).items():
        rows.append((f"{name} used", f"{share:.1%} of what the limit offered"))
    waits = sorted(counts.bound_seconds.items(), key=lambda item: -item[1])
    bound = [f"{name} {seconds:,.1f} s" for name, seconds in waits if seconds >= 0.05]
    rows.append(("waited for", ", ".join(bound) or "nothing: no limit was reached"))
    causes = [f"{cause} {number:,}" for cause, number in sorted(counts.too_many.items(), key=lambda item: -item[1])]
    total = sum(counts.too_many.values())
    rows.append(("429 answers", f"{total:,}" + (f" ({', '.join(causes)})" if causes else "")))
    rows.append(("retries", f"{counts.retries:,}"))
    return rows


def print_table(rows: List[Tuple[str, str]]) -> None:
    """Two aligned columns on standard output; in colour only on a terminal."""
    console = Console(highlight=False, soft_wrap=True)
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        console.print(Text.assemble((name.ljust(width), "bold"), "  ", value))
