"""``llmrl batch``: arguments, set-up and exit status. The work itself is in the ``batch_*`` modules."""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, List, Optional
from urllib.parse import urlsplit

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130

DESCRIPTION = """\
Run a file of requests against an OpenAI-compatible API, as fast as its limits allow and no faster.

IN.jsonl is in OpenAI's Batch input format, one request per line:
  {"custom_id": "a-1", "method": "POST", "url": "/v1/chat/completions",
   "body": {"model": "gpt-4o-mini", "max_tokens": 200, "messages": [{"role": "user", "content": "Hello"}]}}
OUT.jsonl gets one line per request, in OpenAI's Batch output format, as soon as its answer arrives:
  {"id": "batch_req_...", "custom_id": "a-1",
   "response": {"status_code": 200, "request_id": "...", "body": {...}}, "error": null}
"""

EPILOG = """\
example:
  export OPENAI_API_KEY=sk-...
  llmrl batch prompts.jsonl results.jsonl --rpm 500 --tpm 200000 --max-concurrent 50

To try it without an account, start   llmrl emulate --port 8080 --rpm 500 --tpm 200000   in another terminal and add
  --base-url http://127.0.0.1:8080/v1

Stopping and going on. Ctrl-C takes no new work and lets the requests in flight finish; a second Ctrl-C drops them.
Run the same command again to go on: whatever has a final answer in OUT.jsonl is not sent again. That holds after a
crash or kill -9 too: a result counts once its line is in the file, a torn last line is repaired, and only
requests that were in flight are sent twice. What an earlier run used of a day (or of another period longer than a
minute) is known with --state; else the provider's refusals tell. Requests that never got a final answer (no connection, 429 or 5xx to
the end, key refused, no quota) are tried again by the next run, which replaces their lines.

What is retried: 429 (after the server's own time), 408, 409, 5xx, lost connections; each try waits for its own
permit. Not retried: other 4xx, requests larger than the limit. A refused key (401), an exhausted quota, or a limit
that is not back within an hour ends the batch at once. Limits that the answers state are followed downwards.

Bad lines (no JSON, no custom_id, a custom_id used before ...) are reported with their line number and do not stop
the others; where they have a custom_id of their own they get an error line.

Exit status: 0 every line has a successful answer, 1 some have not (or the batch ended early), 2 wrong usage or files
that cannot be used, 130 interrupted (SIGINT or SIGTERM).

Memory: about 250 bytes per input line (to find repeated ids), plus the requests in flight.
"""


def add_command(commands: Any) -> None:
    """Add the ``batch`` parser to the command line."""
    parser = commands.add_parser(
        "batch",
        help="run a JSONL file of requests at the full speed the limits allow",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("input", metavar="IN.jsonl", type=Path, help="requests, one per line")
    parser.add_argument("output", metavar="OUT.jsonl", type=Path, help="results, appended; the record of what is done")

    limits = parser.add_argument_group("limits (as on your provider's limits page; leave out what does not apply)")
    limits.add_argument("--rpm", type=_rate, metavar="N", help="requests per minute")
    limits.add_argument("--tpm", type=_rate, metavar="N", help="tokens per minute, input and output together")
    limits.add_argument("--rpd", type=_count, metavar="N", help="requests per day")
    limits.add_argument("--tpd", type=_count, metavar="N", help="tokens per day")
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
        "--max-concurrent", type=_slots, default=64, metavar="N", help="requests in flight (default: 64)"
    )
    limits.add_argument(
        "--burst-seconds",
        type=_burst,
        default=60.0,
        metavar="S",
        help="how many seconds of a rate the provider lets you save up (default: 60, as OpenAI; 1 for providers that "
        "enforce requests per second)",
    )
    limits.add_argument(
        "--raise-limits",
        action="store_true",
        help="go up to what the provider's answers state as its limits; without it only down",
    )
    limits.add_argument(
        "--charge",
        choices=("auto", "settle", "reserve", "max"),
        default="auto",
        help="what a request costs in tokens. settle: what it used, and never more; the output is estimated from earlier "
        "answers. reserve: prompt + max_tokens, whatever it used. max: the larger of prompt and max_tokens. auto (default): "
        "prompt + max_tokens until it is answered, then what it used, unless the provider's headers show that it keeps "
        "reservations",
    )

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
        type=_ratio,
        default=4.0,
        metavar="X",
        help="characters per token at the start (default: 4)",
    )
    tokens.add_argument(
        "--default-output",
        type=_count,
        default=1024,
        metavar="N",
        help="output tokens assumed for a request without max_tokens (default: 1024; learned from answers)",
    )

    server = parser.add_argument_group("server")
    server.add_argument(
        "--base-url",
        default=os.environ.get("OPENAI_BASE_URL") or "https://api.openai.com/v1",
        metavar="URL",
        help="default: $OPENAI_BASE_URL, else https://api.openai.com/v1",
    )
    server.add_argument(
        "--api-key-env",
        default="OPENAI_API_KEY",
        metavar="NAME",
        help="environment variable with the key (default: OPENAI_API_KEY)",
    )
    server.add_argument(
        "--timeout", type=_seconds, default=600.0, metavar="S", help="seconds for one try (default: 600)"
    )
    server.add_argument("--max-attempts", type=_attempts, default=8, metavar="N", help="tries per request (default: 8)")

    show = parser.add_argument_group("files and display")
    show.add_argument(
        "--fsync",
        type=_fsync,
        default=1.0,
        metavar="S",
        help="force results to the disk every S seconds (default: 1); "
        "a power failure, unlike a crash of the program, may cost the results of that time, which are then "
        "requested again",
    )
    show.add_argument(
        "--state",
        type=Path,
        metavar="FILE",
        help="keep in FILE what was used of the limits, and go on with that: for limits of a day or longer",
    )
    show.add_argument(
        "--plain", action="store_true", help="plain lines instead of a bar (always so without a terminal)"
    )
    show.add_argument("--quiet", action="store_true", help="only problems and the table at the end")
    parser.set_defaults(run=run)


def _number(text: str, kind: Any, low: float, high: float, what: str) -> Any:
    try:
        value = kind(text.replace("_", "").replace(",", ""))
    except ValueError:
        value = None
    if value is None or not low <= value <= high:
        raise argparse.ArgumentTypeError(f"{text!r} is not {what}")
    return value


def _count(text: str) -> int:
    return int(_number(text, int, 1, 10**12, "a whole number from 1 to 10^12"))


def _rate(text: str) -> int:
    return int(_number(text, int, 1, 60_000_000_000, "a whole number from 1 to 60,000,000,000"))


def _slots(text: str) -> int:
    return int(_number(text, int, 1, 10_000, "a whole number from 1 to 10000"))


def _attempts(text: str) -> int:
    return int(_number(text, int, 1, 100, "a whole number from 1 to 100"))


def _burst(text: str) -> float:
    return float(_number(text, float, 0.01, 86_400, "a number of seconds from 0.01 to 86400"))


def _seconds(text: str) -> float:
    return float(_number(text, float, 0.1, 86_400, "a number of seconds from 0.1 to 86400"))


def _fsync(text: str) -> float:
    return float(_number(text, float, 0.05, 3600, "a number of seconds from 0.05 to 3600"))


def _ratio(text: str) -> float:
    return float(_number(text, float, 0.25, 20, "a number from 0.25 to 20"))


def _limit(text: str) -> Any:
    from .batch_limits import parse_limit

    return parse_limit(text)


def _zone(text: str) -> str:
    from .batch_limits import parse_zone

    return parse_zone(text)


class UsageError(Exception):
    """Something about the command line or the files; one line of text."""


def run(args: argparse.Namespace) -> int:
    """Run the batch. Returns the exit status described in ``--help``."""
    import aiohttp  # noqa: F401  (a missing one is reported by the caller)
    import rich  # noqa: F401

    from .batch_output import OutputError

    try:
        return asyncio.run(_batch(args))
    except (UsageError, OutputError) as error:
        print(f"llmrl batch: {error}", file=sys.stderr)
        return USAGE


def api_key(args: argparse.Namespace) -> Optional[str]:
    """The key from the environment, checked. The messages never contain it."""
    name = args.api_key_env
    key = os.environ.get(name, "").strip()
    if not key:
        if _is_loopback(args.base_url):
            return None
        # Somebody may have given the key itself as the name, so a name of their own is not repeated.
        shown = name if name == "OPENAI_API_KEY" else "named by --api-key-env"
        raise UsageError(f"the environment variable {shown} is not set; it must hold the API key (export NAME=...)")
    if not all(33 <= ord(c) <= 126 for c in key):
        raise UsageError("the API key in the environment has characters that no key has (spaces, line breaks, ...)")
    return key


def check_base_url(url: str) -> None:
    """Raise UsageError unless ``url`` is a plain http(s) address."""
    parts = urlsplit(url)
    try:
        usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if "@" in parts.netloc:
        raise UsageError("--base-url must not contain a user name or password; the key belongs into the environment")
    if not usable or parts.query or parts.fragment or any(ord(c) <= 32 for c in url):
        raise UsageError(f"--base-url needs an address such as https://api.openai.com/v1, not {url!r}")


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _files(args: argparse.Namespace) -> int:
    """Check both paths; the number of lines in the input."""
    from .batch_input import count_lines

    try:
        if args.output.exists() and os.path.samefile(args.input, args.output):
            raise UsageError("IN.jsonl and OUT.jsonl are the same file")
        if args.output.exists() and not args.output.is_file():
            raise UsageError(
                f"{args.output} is not a regular file; results must be readable again to go on after a stop"
            )
        return count_lines(args.input)
    except OSError as error:
        raise UsageError(f"cannot read {args.input}: {error.strerror}") from None


async def _batch(args: argparse.Namespace) -> int:
    from .batch_output import Results
    from .batch_send import Sender

    check_base_url(args.base_url)
    key = api_key(args)
    limiter, meters, is_known = _limiter(args)
    total = _files(args)
    try:
        # What the state knows need not be assumed.
        idle = float("inf") if is_known else max(0.0, time.time() - args.output.stat().st_mtime)
    except OSError:
        idle = float("inf")
    results = Results(args.output)
    try:
        sender = Sender(args.base_url, key, args.timeout, through_proxy=not _is_loopback(args.base_url))
        async with sender:
            return await _with_results(args, results, sender, limiter, meters, total, idle)
    finally:
        results.close()


async def _with_results(
    args: argparse.Namespace, results: Any, sender: Any, limiter: Any, meters: Any, total: int, idle: float
) -> int:
    from .batch_charge import Account
    from .batch_counts import Counts
    from .batch_engine import Engine, Plan
    from .batch_estimate import Estimator
    from .batch_input import read_batch
    from .batch_limits import assume_spent
    from .batch_state import State
    from .batch_view import View, print_table, summary

    found = results.found
    if found.answered:
        assume_spent(limiter, meters, idle)
    counts = Counts(limiter, meters, total)
    view = View(counts, View.pick_mode(args.quiet, args.plain), sender.hide)
    account = Account(limiter, meters, args.charge, view.note)
    estimator = Estimator(
        args.chars_per_token, args.default_output, args.estimate == "learn", args.charge == "settle"
    )
    for line in _opening(args, found):
        view.note(line)
    engine = Engine(
        Plan(
            items=read_batch(args.input),
            results=results,
            sender=sender,
            limiter=limiter,
            account=account,
            estimator=estimator,
            counts=counts,
            max_attempts=args.max_attempts,
            max_waiting=max(16, 2 * args.max_concurrent),
            fsync_seconds=args.fsync,
            say=view.say,
        )
    )
    _on_signals(engine, view)
    async with view, State(args.state, view.note).kept(limiter):
        await engine.run()
    if engine.halted:
        view.note(f"llmrl batch: stopped early: {engine.halted}")
    print_table(summary(counts, account))
    left = counts.total - counts.done
    if left > 0:
        view.note(f"{left:,} requests are left. Run the same command again to go on.")
    if engine.interrupted:
        return INTERRUPTED
    return FAILED if counts.failed or counts.bad_lines or left > 0 or found.failed else OK


def _limiter(args: argparse.Namespace) -> "tuple[Any, Any, bool]":
    """The limiter, its meters, and whether it knows what an earlier run has used."""
    from .batch_limits import build
    from .batch_state import State

    try:
        saved = State(args.state, print).read()
    except OSError as error:
        raise UsageError(f"cannot read {args.state}: {error.strerror}") from None
    try:
        if saved is not None:
            return (*build(args, saved), True)
    except ValueError as error:
        raise UsageError(f"cannot go on with {args.state}: {error}. To start fresh, delete it") from None
    try:
        return (*build(args), False)
    except ValueError as error:  # a burst beyond what a limit can hold, too many limits
        raise UsageError(f"these limits are not possible: {error}") from None


def _opening(args: argparse.Namespace, found: Any) -> List[str]:
    lines = []
    if found.repaired:
        lines.append(found.repaired)
    if found.answered:
        errors = f" ({found.failed:,} with an error that is final)" if found.failed else ""
        lines.append(
            f"{len(found.answered):,} requests are already answered{errors} in {args.output}: going on after them"
        )
    if found.again:
        lines.append(f"{found.again:,} that had got no final answer are tried again")
    if urlsplit(args.base_url).scheme == "http" and not _is_loopback(args.base_url):
        lines.append("note: the API key travels unencrypted to an http:// address")
    return lines


def _on_signals(engine: Any, view: Any) -> None:
    def interrupt() -> None:
        if engine.interrupted:
            view.note("stopping at once")
        else:
            view.note("stopping: requests in flight may finish; Ctrl-C again to drop them")
        engine.interrupt()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, interrupt)
        except NotImplementedError:  # Windows: no loop signal handlers
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(interrupt))
