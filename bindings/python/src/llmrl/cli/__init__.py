"""The command line of llmrl: ``llmrl batch``, ``llmrl emulate`` and ``llmrl serve``.

Only the argument parsers are imported here. What a command needs beyond the standard library (the
``cli`` extra, for ``serve`` the ``service`` extra) is imported when that command runs, so ``--help`` always works and a
missing extra is one line of text instead of a traceback.
"""

from __future__ import annotations

import argparse
import sys
from typing import Optional, Sequence

from . import batch, emulate, plan, serve

__all__ = ["main"]

DESCRIPTION = """\
Rate limiting for LLM API clients, from the command line.

  llmrl batch    run a file of requests at the full speed that the provider's limits allow
  llmrl plan     how long that will take, and which limit is to blame, without sending anything
  llmrl emulate  a local server like OpenAI's and Anthropic's that enforces limits, to try things against
  llmrl serve    a service that keeps to limits, in front of OpenAI-compatible upstreams
"""


def _version() -> str:
    try:
        from importlib.metadata import version

        return version("llmrl")
    except Exception:  # not installed as a distribution: run from a source tree
        return "unknown"


def build_parser() -> argparse.ArgumentParser:
    """The whole command line, without importing anything outside the standard library."""
    parser = argparse.ArgumentParser(
        prog="llmrl", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"llmrl {_version()}")
    commands = parser.add_subparsers(dest="command", metavar="command")
    batch.add_command(commands)
    emulate.add_command(commands)
    plan.add_command(commands)
    serve.add_command(commands)
    return parser


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run one command and return its exit status; ``argv`` defaults to the process's arguments."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.command is None:
        parser.print_help()
        return 2
    try:
        return int(args.run(args))
    except ModuleNotFoundError as error:
        missing = (error.name or "").split(".")[0]
        if missing in ("aiohttp", "rich", "fastapi", "starlette", "uvicorn", "tomli"):
            extra = "service" if args.command == "serve" else "cli"
            print(
                f"llmrl {args.command} needs {missing}, which is not installed: pip install 'llmrl[{extra}]'",
                file=sys.stderr,
            )
            return 2
        raise
    except KeyboardInterrupt:
        return 130
