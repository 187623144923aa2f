"""The same batch, three ways, against a local server that really enforces rate limits.

    python examples/demo/run.py            # needs the package with its command line: pip install 'llmrl[cli]'

Every way gets a fresh server with the same seed, so the answers, their sizes and their latencies are the same. All
figures in the tables come from that server's own counts (GET /stats), none from the clients.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator, List, Optional

import other_ways
import prompts

REQUESTS = 600
SEED = 7
RPM = 3000
MAX_CONCURRENT = 64
LATENCY_SCALE = 0.1


@dataclass(frozen=True)
class Provider:
    """One kind of enforcement. ``tpm`` is such that the tokens bind and the batch takes about a quarter of a minute."""

    charge: str
    tpm: int
    title: str


PROVIDERS = (
    Provider("reserve", 970_000, "Provider A keeps what a request reserves (prompt + max_tokens), whatever it used"),
    Provider(
        "settle", 650_000, "Provider B reserves the same, but gives back what was not used when the answer is done"
    ),
)

LEGEND = """\
libllmrl      llmrl batch: requests and tokens admitted together, first come first served; settles with the usage in
              the answers and finds out from the headers whether the provider does so too (it is not told)
no limiter    {workers} workers, and the OpenAI SDK's default on a 429: two retries after the server's time, then the
              call has failed; failed calls are made again until all are answered
dual bucket   the same workers and retries, each call behind a textbook pair of token buckets (seed_dual_bucket.py):
              burst 1.5 minutes, no queue, nothing given back
best possible the earliest moment at which the last request could be admitted, from burst and rate of every limit

admitted in   first request to last admission       time  first request to last answer (both at the server)
token share   tokens admitted / (burst + production until the last admission); request share likewise
failed calls  calls that ended in an error, after their retries
"""


@contextmanager
def emulator(provider: Provider) -> Iterator[str]:
    """A fresh server on a free loopback port; its base URL."""
    command = [sys.executable, "-m", "llmrl.cli", "emulate", "--port", "0", "--quiet", "--seed", str(SEED)]
    command += ["--rpm", str(RPM), "--tpm", str(provider.tpm), "--max-concurrent", str(MAX_CONCURRENT)]
    command += ["--latency-scale", str(LATENCY_SCALE), "--charge", provider.charge]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        if not line.startswith("listening on "):
            raise SystemExit(
                "the emulated provider did not start; is the command line installed? pip install 'llmrl[cli]'"
            )
        yield line.split()[-1]
    finally:
        server.terminate()
        server.wait()


def stats(base_url: str) -> dict:
    """The server's own counts."""
    with urllib.request.urlopen(base_url[: -len("/v1")] + "/stats", timeout=10) as answer:
        return json.load(answer)


def with_libllmrl(batch: Path, base_url: str, provider: Provider) -> int:
    """The command line, with its own progress bar; the number of requests that failed."""
    results = batch.with_name(f"results-{provider.charge}.jsonl")
    command = [sys.executable, "-m", "llmrl.cli", "batch", str(batch), str(results), "--base-url", base_url]
    command += ["--rpm", str(RPM), "--tpm", str(provider.tpm), "--max-concurrent", str(MAX_CONCURRENT)]
    finished = subprocess.run(command, stdout=subprocess.DEVNULL)
    with open(results, encoding="utf-8") as file:
        answered = sum(1 for line in file if json.loads(line)["response"]["status_code"] == 200)
    if finished.returncode != 0 or answered != REQUESTS:
        raise SystemExit(f"llmrl batch ended with status {finished.returncode} and {answered} of {REQUESTS} answers")
    return 0


def ways(provider: Provider) -> "List[tuple[str, Callable[[Path, str], int]]]":
    """The rows of the table: a name, and what runs the batch and returns the number of failed calls."""

    def naive(batch: Path, url: str) -> int:
        return asyncio.run(other_ways.without_limiter(batch, url, MAX_CONCURRENT))

    def dual(batch: Path, url: str) -> int:
        return asyncio.run(other_ways.with_dual_bucket(batch, url, MAX_CONCURRENT, RPM, provider.tpm))

    return [
        ("libllmrl", lambda batch, url: with_libllmrl(batch, url, provider)),
        ("no limiter", naive),
        ("dual bucket", dual),
    ]


def best_possible(seen: dict) -> float:
    """Seconds until the last admission if no unit of any limit were ever wasted, from what the server counted."""
    limits = seen["limits"]
    return max(
        0.0,
        (seen["admitted"] - limits["request_burst"]) / limits["rpm"] * 60,
        (seen["tokens"]["charged"] - limits["token_burst"]) / limits["tpm"] * 60,
        seen["busy_slot_seconds"] / limits["max_concurrent"],
    )


def row(name: str, seen: dict, failed: Optional[int]) -> List[str]:
    share = seen["share"]
    return [
        name,
        f"{seen['admitted']:,}",
        f"{seen['tokens']['used']:,}",
        f"{seen['window_seconds']:.1f} s",
        f"{seen['run_seconds']:.1f} s",
        f"{share['tokens']:.1%}",
        f"{share['requests']:.1%}",
        f"{seen['refused']['total']:,}",
        f"{failed:,}",
    ]


def table(rows: List[List[str]]) -> str:
    """Aligned columns: the first to the left, numbers to the right."""
    head = ["", "requests", "tokens", "admitted in", "time", "token share", "request share", "429s", "failed calls"]
    widths = [max(len(r[i]) for r in [head] + rows) for i in range(len(head))]
    lines = []
    for cells in [head] + rows:
        first, *rest = (cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(cells, widths)))
        lines.append("  ".join([first] + rest).rstrip())
    lines.insert(1, "-" * max(map(len, lines)))
    return "\n".join(lines)


def compare(provider: Provider, batch: Path) -> str:
    """Run the batch every way and return the table."""
    print(
        f"\n{provider.title}.\nIts limits: {RPM:,} requests/min, {provider.tpm:,} tokens/min (a minute of each can be "
        f"saved up), {MAX_CONCURRENT} at the same time.\n",
        file=sys.stderr,
    )
    rows: List[List[str]] = []
    ideal = 0.0
    for name, run in ways(provider):
        print(f"{name}:", file=sys.stderr, flush=True)
        with emulator(provider) as url:
            failed = run(batch, url)
            seen = stats(url)
        rows.append(row(name, seen, failed))
        ideal = max(ideal, best_possible(seen))
    rows.append(["best possible", f"{REQUESTS:,}", "", f"{ideal:.1f} s", "", "100.0%", "", "0", "0"])
    return f"{provider.title}:\n\n{table(rows)}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--provider", choices=("both", "reserve", "settle"), default="both", help="which enforcement")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="llmrl-demo-") as folder:
        batch = Path(folder) / "prompts.jsonl"
        prompts.write_batch(batch, REQUESTS, SEED)
        chosen = [p for p in PROVIDERS if args.provider in ("both", p.charge)]
        tables = [compare(provider, batch) for provider in chosen]
    print()
    for text in tables:
        print(text, end="\n\n")
    print(LEGEND.format(workers=MAX_CONCURRENT), end="")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
