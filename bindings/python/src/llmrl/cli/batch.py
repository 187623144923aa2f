"""``llmrl batch``: arguments, set-up and exit status. The work itself is in the ``batch_*`` modules."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, List
from urllib.parse import urlsplit

from . import amounts
from .batch_options import add_estimates, add_limits, complete
from .batch_server import UsageError, aim, api_key, check_base_url, is_loopback
from .providers import describe

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
_SECONDS = amounts.number(float, 0.1, 86_400, "a number of seconds from 0.1 to 86400")
_ATTEMPTS = amounts.number(int, 1, 100, "a whole number from 1 to 100")
_FSYNC = amounts.number(float, 0.05, 3600, "a number of seconds from 0.05 to 3600")

DESCRIPTION = """\
Run a file of requests against an API like OpenAI's or Anthropic's, as fast as its limits allow and no faster.

IN.jsonl is in OpenAI's Batch input format, one request per line; url may be /v1/messages (Anthropic) as well:
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

  export ANTHROPIC_API_KEY=sk-ant-...
  llmrl batch messages.jsonl results.jsonl --provider anthropic --tier start

How long it will take, and which limit is to blame:   llmrl plan prompts.jsonl --rpm 500 --tpm 200000

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
        epilog=f"{EPILOG}\n{describe()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("input", metavar="IN.jsonl", type=Path, help="requests, one per line")
    parser.add_argument("output", metavar="OUT.jsonl", type=Path, help="results, appended; the record of what is done")

    limits = add_limits(parser)
    limits.add_argument(
        "--raise-limits",
        action="store_true",
        help="go up to what the provider's answers state as its limits; without it only down",
    )
    add_estimates(parser)

    server = parser.add_argument_group("server")
    server.add_argument(
        "--base-url",
        metavar="URL",
        help="default: $OPENAI_BASE_URL, else https://api.openai.com/v1; with --provider, or where the first request is for "
        "/v1/messages, the like of that provider",
    )
    server.add_argument(
        "--api-key-env",
        metavar="NAME",
        help="environment variable with the key (default: OPENAI_API_KEY, or ANTHROPIC_API_KEY, ... as above)",
    )
    server.add_argument(
        "--timeout", type=_SECONDS, default=600.0, metavar="S", help="seconds for one try (default: 600)"
    )
    server.add_argument("--max-attempts", type=_ATTEMPTS, default=8, metavar="N", help="tries per request (default: 8)")

    show = parser.add_argument_group("files and display")
    show.add_argument(
        "--fsync",
        type=_FSYNC,
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

    try:
        taken = complete(args)
    except ValueError as error:
        raise UsageError(str(error)) from None
    total = _files(args)
    key_header = aim(args)
    check_base_url(args.base_url)
    key = api_key(args)
    limiter, meters, is_known = _limiter(args)
    if taken is not None and not args.quiet:
        print(f"llmrl batch: {taken}", file=sys.stderr)
    try:
        # What the state knows need not be assumed.
        idle = float("inf") if is_known else max(0.0, time.time() - args.output.stat().st_mtime)
    except OSError:
        idle = float("inf")
    results = Results(args.output)
    try:
        sender = Sender(args.base_url, key, args.timeout, through_proxy=not is_loopback(args.base_url), key_header=key_header)
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
    if urlsplit(args.base_url).scheme == "http" and not is_loopback(args.base_url):
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
