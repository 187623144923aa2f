"""``llmrl serve``: arguments, and what needs no server."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

DESCRIPTION = """\
A service in front of OpenAI-compatible upstreams that keeps to limits: of each user, of each model, of all requests
together, and of each upstream. Requests wait in their turn, or are refused with Retry-After and RateLimit headers;
upstreams that refuse or fail are passed over; what answers say about limits and usage is learned and settled.
"""

EPILOG = """\
A configuration that begins:

  [admission]
  policy = "wait"                          # or "reject"
  max_wait = 30                            # seconds

  [users]
  limits = [{amount = 60}, {meter = "tokens", amount = 40_000}]      # a minute, each user

  [[upstream]]
  name = "east"
  base_url = "https://api.openai.com/v1"
  key_env = "OPENAI_API_KEY"               # the key itself never stands in the file
  limits = [{amount = 500}, {meter = "tokens", amount = 200_000}, {kind = "in_flight", amount = 50}]

  llmrl serve --check limits.toml          # says what is wrong, with key, value and what is accepted
  llmrl serve limits.toml
  curl http://127.0.0.1:8080/v1/chat/completions -H 'content-type: application/json' \\
       -d '{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}'

To try it without a provider: run `llmrl emulate --port 8081 --rpm 60`, with base_url = "http://127.0.0.1:8081/v1".

Every table and key, with defaults and ranges: llmrl serve --schema (JSON Schema, which editors read, too).

The first line on standard output is   listening on http://HOST:PORT   ; logs go to standard error.
  /                       a live page: each limit, queues, refusals, users with most requests
  /v1/chat/completions, /v1/completions, /v1/models, /v1/limits
  /health  /metrics (Prometheus)  /status (what the page shows)  /openapi.json

Signals: SIGHUP reads the file again (limits change in place; a bad file changes nothing and is logged). SIGTERM and
SIGINT stop: no new requests, those under way may end within server.shutdown seconds.

Exit status: 0 stopped, or the file is right; 1 the file is wrong; 2 wrong arguments, or the address cannot be used.
"""


def add_command(commands: Any) -> None:
    """Add the ``serve`` parser to the command line."""
    parser = commands.add_parser(
        "serve",
        help="a service that keeps to limits, in front of OpenAI-compatible upstreams",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", nargs="?", type=Path, help="the configuration, TOML")
    parser.add_argument("--check", action="store_true", help="say whether the file is right, and stop")
    parser.add_argument("--schema", action="store_true", help="print the JSON schema of the configuration, and stop")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until told to stop, or do what needs no server."""
    from ..service.config import BadConfig, load
    from ..service.schema import text

    if args.schema:
        print(text(), end="")
        return 0
    if args.file is None:
        print("llmrl serve: a configuration is needed: llmrl serve FILE; see llmrl serve --help", file=sys.stderr)
        return 2
    try:
        config = load(args.file)
    except BadConfig as error:
        for problem in error.problems:
            print(f"{args.file}: {problem}", file=sys.stderr)
        return 1
    if args.check:
        users = "none" if config.users is None else f"{len(config.users.limits)} limits each"
        print(f"{args.file}: right. {len(config.upstreams)} upstreams, {len(config.models)} models with limits, users: {users}")
        return 0
    from ..service.run import serve

    return serve(config, args.file)
