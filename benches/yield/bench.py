"""How much of a provider's limits a thousand clients get through each limiter, in virtual time.

Runs every client in every scenario, prints a table, and after a full run writes it to README.md beside a plot.
See README.md for what the scenarios and columns are.
"""

from __future__ import annotations

import virtual  # before everything else: it patches time

import argparse
import multiprocessing
import os
import sys
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Dict, List, NamedTuple, Tuple

import table
import trial
from clients import CLIENTS
from measure import Result, Row, mean
from scenarios import SCENARIOS

HERE = Path(__file__).resolve().parent
MINUTES = 15.0
SEEDS = 3


class Task(NamedTuple):
    scenario: str
    client: str
    seed: int
    minutes: float


def perform(task: Task) -> Result:
    return trial.run(SCENARIOS[task.scenario], task.client, CLIENTS[task.client].make, task.seed, task.minutes)


def tasks(scenarios: List[str], clients: List[str], seeds: int, minutes: float) -> List[Task]:
    """Those that take longest first, so that no processor is idle at the end."""
    chosen = []
    for client in sorted(clients, key=lambda key: CLIENTS[key].minutes or 0, reverse=True):
        entry = CLIENTS[client]
        for scenario in scenarios:
            if SCENARIOS[scenario].believed != 1.0 and not entry.wrong:
                continue
            for seed in range(1, seeds + 1 if entry.minutes is None else 2):
                chosen.append(Task(scenario, client, seed, min(minutes, entry.minutes or minutes)))
    return chosen


class Progress:
    """A bar on a terminal, nothing elsewhere."""

    WIDTH = 30

    def __init__(self, total: int) -> None:
        self._total = total
        self._start = time.monotonic()
        self._shown = sys.stderr.isatty()

    def show(self, done: int, last: str) -> None:
        if not self._shown:
            return
        filled = self.WIDTH * done // self._total
        seconds = round(time.monotonic() - self._start)
        bar = "#" * filled + "." * (self.WIDTH - filled)
        end = "\n" if done == self._total else ""
        sys.stderr.write(f"\r\033[K[{bar}] {done}/{self._total}  {seconds // 60}:{seconds % 60:02}  {last}{end}")
        sys.stderr.flush()


def perform_all(chosen: List[Task], processes: int) -> List[Row]:
    """Rows in the order of the scenarios, and in each of the clients."""
    progress = Progress(len(chosen))
    progress.show(0, "")
    by_row: Dict[Tuple[str, str], List[Result]] = defaultdict(list)
    # Fresh processes: time is patched in each of them before a peer is imported.
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        try:
            futures = [pool.submit(perform, task) for task in chosen]
            for done, future in enumerate(as_completed(futures), 1):
                result = future.result()
                by_row[result.scenario, result.client].append(result)
                progress.show(done, f"{result.scenario}, {CLIENTS[result.client].title}")
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return [mean(by_row[key]) for key in ((s, c) for s in SCENARIOS for c in CLIENTS) if key in by_row]


def arguments() -> argparse.Namespace:
    keys = "\n".join(f"  {key:8} {scenario.title}" for key, scenario in SCENARIOS.items())
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"scenarios (x1.5: the client believes in 1.5 times the limit):\n{keys}\n\nclients: {', '.join(CLIENTS)}",
    )
    usual = [key for key, entry in CLIENTS.items() if not entry.extra]
    parser.add_argument("--scenario", action="append", choices=SCENARIOS, metavar="KEY", help="repeat for several; default: all")
    parser.add_argument(
        "--client", action="append", choices=CLIENTS, metavar="KEY", help=f"repeat for several; default: {', '.join(usual)}"
    )
    parser.add_argument("--seeds", type=int, default=SEEDS, metavar="N", help=f"runs of each (default {SEEDS}; polling clients: 1)")
    parser.add_argument(
        "--minutes",
        type=float,
        default=MINUTES,
        metavar="M",
        help=f"virtual minutes of a run, at least 2 (default {MINUTES:g}; polling clients: at most 2 or 10)",
    )
    parser.add_argument("--processes", type=int, default=os.cpu_count(), metavar="N", help="at a time (default: all processors)")
    args = parser.parse_args()
    args.full = not args.scenario and not args.client and args.seeds >= SEEDS and args.minutes >= MINUTES
    args.scenario = args.scenario or list(SCENARIOS)
    args.client = args.client or usual
    if args.minutes < 2:
        parser.error("--minutes: the first is not measured, so at least 2")
    if args.seeds < 1 or args.processes < 1:
        parser.error("--seeds and --processes must be at least 1")
    return args


def main() -> int:
    args = arguments()
    chosen = tasks(args.scenario, args.client, args.seeds, args.minutes)
    if not chosen:
        print("bench.py: none of these clients runs in any of these scenarios", file=sys.stderr)
        return 2
    rows = perform_all(chosen, args.processes)
    print(table.results(rows), end="\n\n")
    print(table.headline(rows))
    if args.full:
        import plot

        plot.draw(rows, HERE / "yield.png")
        table.write(HERE / "README.md", f"```text\n{table.headline(rows)}\n\n{table.results(rows)}\n```")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
