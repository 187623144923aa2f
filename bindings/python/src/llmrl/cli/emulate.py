"""``llmrl emulate``: arguments, start and stop of the emulated provider."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from typing import Any

from . import amounts
from .batch_options import add_enforcement, requests_as
from .emulate_styles import STYLES
from .providers import LIMITS, add_provider, describe, fill, shown

DESCRIPTION = """\
A local server like OpenAI's and Anthropic's that really enforces rate limits: continuous token buckets (or windows) for
requests and tokens per minute and day, input and output together or apart, and a cap on concurrent requests. It refuses with the 429 bodies
and headers of the provider (OpenAI's, for /v1/messages Anthropic's, or those of --headers), answers with
invented text after realistic latencies, and counts everything. Answers, usage and latencies depend only on --seed
and on each request, so two runs can be compared.

It shares no code with the limiter: what it refuses was really too much.
"""

EPILOG = """\
example:
  llmrl emulate --port 8080 --rpm 500 --tpm 200000 --max-concurrent 50
  llmrl emulate --provider anthropic --tier start         # as Anthropic enforces, charges and refuses, with an example of its limits
  llmrl emulate --rpm 480 --requests-as fixed/1       # not more than 8 in each second
  curl http://127.0.0.1:8080/v1/chat/completions -H 'content-type: application/json' \\
       -d '{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 50}'

The first line on standard output is always   listening on http://HOST:PORT/v1
Routes: POST /v1/chat/completions, /v1/completions, /v1/embeddings, /v1/messages (all but embeddings stream); GET /v1/models,
/stats. For Anthropic's own client the address is without /v1. Any key is accepted, and none.

GET /stats (JSON): admitted, finished, refused by cause, tokens reserved, returned, charged and used, peak_concurrent,
window_seconds (first arrival to last admission), run_seconds (first arrival to last answer) and share: what was
admitted, over the most that each limit offered in the window: of a bucket the burst plus the production. Ctrl-C lets running
answers finish and prints the totals.
"""


def add_command(commands: Any) -> None:
    """Add the ``emulate`` parser to the command line."""
    parser = commands.add_parser(
        "emulate",
        help="a local server like OpenAI's and Anthropic's that enforces limits",
        description=DESCRIPTION,
        epilog=f"{EPILOG}\n{describe()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine only)"
    )
    port = amounts.number(int, 0, 65535, "a port number from 0 to 65535")
    parser.add_argument("--port", type=port, default=8080, help="port, 0 picks a free one (default: 8080)")
    add_provider(parser)
    parser.add_argument("--rpm", type=amounts.count, metavar="N", help="requests per minute (default: no limit, so for the others)")
    parser.add_argument("--tpm", type=amounts.count, metavar="N", help="tokens per minute, input and output together")
    parser.add_argument("--itpm", type=amounts.count, metavar="N", help="input tokens per minute")
    parser.add_argument("--otpm", type=amounts.count, metavar="N", help="output tokens per minute")
    parser.add_argument("--rpd", type=amounts.count, metavar="N", help="requests per day, produced evenly, full at the start")
    parser.add_argument("--tpd", type=amounts.count, metavar="N", help="tokens per day, likewise")
    parser.add_argument(
        "--max-concurrent", type=amounts.count, metavar="N", help="requests at the same time (default: no limit)"
    )
    parser.add_argument(
        "--burst-seconds",
        type=amounts.number(float, 1e-3, 86400, "a number of seconds from 0.001 to 86400"),
        metavar="S",
        help="how much of a rate can be saved up, in seconds (default: 60, OpenAI's buckets hold a whole minute); of "
        "windows, how long they are",
    )
    add_enforcement(parser)
    parser.add_argument(
        "--charge",
        choices=("reserve", "max", "settle", "end", "burndown"),
        help="what a request costs in tokens. reserve: prompt estimate + max_tokens, never returned (default). "
        "max: the larger of the two, never returned. settle: as reserve, corrected to the usage when it has ended. end: the prompt "
        "estimate, and what was put out when it has ended. burndown: as settle, with five times the output",
    )
    parser.add_argument(
        "--headers",
        choices=sorted(STYLES),
        help="how answers tell of limits, and with which words they refuse (default: openai, for /v1/messages anthropic)",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of answers, latencies and errors (default: 0)")
    parser.add_argument(
        "--latency-scale",
        type=amounts.number(float, 0, 1000, "a number from 0 to 1000"),
        default=1.0,
        metavar="X",
        help="multiplies all latencies: 1 is realistic (median about 4 s), 0.1 is ten times faster, 0 is none",
    )
    parser.add_argument(
        "--error-rate",
        type=amounts.number(float, 0, 1, "a number from 0 to 1"),
        default=0.0,
        metavar="P",
        help="share of admitted requests that end in a 500 or 503",
    )
    parser.add_argument("--quiet", action="store_true", help="print only the listening line")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM. Returns 0, or 2 if the address cannot be used."""
    import aiohttp  # noqa: F401  (reported by the caller if missing)

    try:
        taken = fill(args, burst_seconds=60.0, enforce="bucket", charge="reserve")
    except ValueError as error:
        print(f"llmrl emulate: {error}", file=sys.stderr)
        return 2
    if isinstance(args.requests_as, str):
        args.requests_as = requests_as(args.requests_as)
    if taken is not None and not args.quiet:
        print(f"llmrl emulate: {taken}", file=sys.stderr)
    return asyncio.run(_serve(args))


async def _serve(args: argparse.Namespace) -> int:
    import time

    from aiohttp import web

    from .emulate_bucket import Gate
    from .emulate_http import Emulator

    now_ns = time.monotonic_ns()
    gate = Gate(
        now_ns,
        args.rpm,
        args.tpm,
        args.max_concurrent,
        args.burst_seconds,
        args.charge in ("settle", "end", "burndown"),
        args.enforce,
        origin_ns=now_ns - time.time_ns(),
        itpm=args.itpm,
        otpm=args.otpm,
        rpd=args.rpd,
        tpd=args.tpd,
        requests_as=args.requests_as,
    )
    emulator = Emulator(gate, args.charge, args.seed, args.latency_scale, args.error_rate, headers=args.headers)
    runner = web.AppRunner(emulator.application(), access_log=None, shutdown_timeout=10.0)
    await runner.setup()
    site = web.TCPSite(runner, args.host, args.port, backlog=1024)
    try:
        await site.start()
    except OSError as error:
        print(
            f"llmrl emulate: cannot listen on {args.host} port {args.port}: {os.strerror(error.errno or 0)}",
            file=sys.stderr,
        )
        await runner.cleanup()
        return 2
    port = runner.addresses[0][1]
    host = f"[{args.host}]" if ":" in args.host else args.host
    print(f"listening on http://{host}:{port}/v1", flush=True)
    if not args.quiet:
        print(_limits_line(args), flush=True)
    await _until_signal()
    if not args.quiet:
        print("stopping: running answers may finish", flush=True)
    await runner.cleanup()
    if not args.quiet:
        print(json.dumps(emulator.stats()), flush=True)
    return 0


def _limits_line(args: argparse.Namespace) -> str:
    given = {name: value for name in (*LIMITS, "max_concurrent") if (value := getattr(args, name)) is not None}
    kinds = {"bucket": "burst", "fixed": "fixed windows of", "sliding": "sliding windows of"}
    requests = "" if args.requests_as is None else "; requests: {} {:g} s".format(kinds[args.requests_as[0]], args.requests_as[1])
    return (
        f"enforcing {shown(given) or 'no limits'}; {kinds[args.enforce]} {args.burst_seconds:g} s{requests}, charge: {args.charge}; "
        "GET /stats for the counts, Ctrl-C to stop"
    )


async def _until_signal() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, stop.set)
        except NotImplementedError:  # Windows: no loop signal handlers
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))
    await stop.wait()
