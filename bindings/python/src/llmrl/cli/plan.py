"""``llmrl plan``: arguments, reading the input, and what is printed. The work is in the ``plan_*`` modules."""

from __future__ import annotations

import argparse
import copy
import importlib.util
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Tuple

from . import amounts
from .batch_options import add_estimates, add_limits, complete
from .providers import LIMITS, PROVIDERS, describe, shown, tier_limits

DESCRIPTION = """\
How long a batch will take, and which limit is to blame: nothing is sent, and no key is needed.

IN.jsonl is what llmrl batch reads. Its requests go, in virtual time, through the limiter that llmrl batch would use; answers take
--seconds-per-request and their output at --tokens-per-second. 100,000 requests take seconds.
"""

EPILOG = """\
example:
  llmrl plan prompts.jsonl --rpm 500 --tpm 200000 --max-concurrent 50
  llmrl plan prompts.jsonl --provider openai --tier 1 --compare               # and what each higher tier would change
  llmrl plan prompts.jsonl --rpm 500 --tpm 200000 --compare rpm=500,tpm=400000 --compare max-concurrent=200
  llmrl plan prompts.jsonl --provider anthropic --tier start --expected-output 300 --png plan.png

What is printed. For each limit: how long the next request in line waited for it (of all that it did not fit into, for the one that
would be there last), what part of the whole time that is, what was admitted over what the limit offered until the last admission
(burst and production), and when it was waited for. Two limits near 100 % used are both short; raising one alone shows the other.

What the plan takes for granted. The limits are full and nobody else uses them; nothing is refused and nothing fails; every answer is as
long as --expected-output, or as the request allows (max_tokens), which is the most that the batch can take. So compare with a few real
answers, and give what nine in ten of them stay under.

Exit status: 0, or 2 for wrong usage or files that cannot be used. Memory: about 400 bytes per request.
"""


def add_command(commands: Any) -> None:
    """Add the ``plan`` parser to the command line."""
    parser = commands.add_parser(
        "plan",
        help="how long a batch will take, and which limit is to blame, without sending anything",
        description=DESCRIPTION,
        epilog=f"{EPILOG}\n{describe()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("input", metavar="IN.jsonl", type=Path, help="requests, one per line, as for llmrl batch")
    add_limits(parser)
    add_estimates(parser)
    answers = parser.add_argument_group("answers")
    answers.add_argument(
        "--seconds-per-request",
        type=amounts.number(float, 0, 86_400, "a number of seconds from 0 to 86400"),
        default=0.5,
        metavar="S",
        help="what an answer takes beside its tokens (default: 0.5)",
    )
    answers.add_argument(
        "--tokens-per-second",
        type=amounts.number(float, 0.01, 1e9, "a number from 0.01 to 10^9"),
        default=75.0,
        metavar="X",
        help="how fast one answer is put out (default: 75)",
    )
    answers.add_argument(
        "--expected-output",
        type=amounts.count,
        metavar="N",
        help="tokens that an answer has, if the request allows as many (default: all that it allows, --default-output without a bound)",
    )
    show = parser.add_argument_group("more")
    show.add_argument(
        "--compare",
        nargs="?",
        action="append",
        const="",
        default=[],
        metavar="WITH",
        help="plan again with other limits, such as rpm=1000,tpm=400000 (the rest as it is; rpm=0: no such limit) or, with --provider, "
        "a tier; alone: all higher tiers. May be given again",
    )
    show.add_argument("--png", type=Path, metavar="FILE", help="draw it: needs matplotlib, pip install 'llmrl[plan]'")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Plan and print. Returns the exit status described in ``--help``."""
    import rich  # noqa: F401  (a missing one is reported by the caller)

    from .plan_run import Latency, Outcome, simulate
    from .plan_table import aligned, comparison, facts, limits

    if args.png is not None and importlib.util.find_spec("matplotlib") is None:
        print("llmrl plan --png needs matplotlib, which is not installed: pip install 'llmrl[plan]'", file=sys.stderr)
        return 2
    latency = Latency(args.seconds_per_request, args.tokens_per_second, args.expected_output)
    outcomes: Dict[str, Outcome] = {}
    try:
        taken = complete(args)
        ways = _ways(args)
        with _bar(args.input) as (begin, advance):
            asks, bad_lines = _read(args, begin, advance)
            for name, way in ways.items():
                begin(f"planning {name}" if len(ways) > 1 else "planning", len(asks))
                outcomes[name] = simulate(way, asks, latency, advance)
    except ValueError as error:
        print(f"llmrl plan: these limits are not possible: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"llmrl plan: cannot read {args.input}: {error.strerror}", file=sys.stderr)
        return 2
    if taken is not None:
        print(f"llmrl plan: {taken}", file=sys.stderr)
    first = next(iter(outcomes.values()))
    rows = facts(first, len(asks), bad_lines)
    print("\n".join(f"{name:<9}  {value}" for name, value in rows))
    print("\n" + "\n".join(aligned(limits(first))))
    if len(outcomes) > 1:
        print("\n" + "\n".join(aligned(comparison(outcomes))))
    if args.png is not None:
        from .plan_plot import draw

        try:
            draw(outcomes, args.png)
        except (OSError, ValueError) as error:  # a folder that is not there, an ending that is no picture's
            print(f"llmrl plan: cannot write {args.png}: {error}", file=sys.stderr)
            return 2
    return 0


def _ways(args: argparse.Namespace) -> Dict[str, argparse.Namespace]:
    """What is planned, by its name: first what was asked for, then what it is compared with."""
    ways = {f"tier {args.tier}" if args.tier is not None else "these limits": args}
    for text in args.compare:
        for name, values in _compared(args, text):
            way = copy.copy(args)
            vars(way).update(values)
            ways[name] = way
    return ways


def _compared(args: argparse.Namespace, text: str) -> List[Tuple[str, Dict[str, Any]]]:
    if "=" in text:
        values: Dict[str, Any] = {}
        for part in text.split(","):
            option, _, number = part.partition("=")
            name = option.strip().lstrip("-").replace("-", "_")
            if name not in (*LIMITS, "max_concurrent"):
                raise ValueError(f"--compare {part!r} is not one of {', '.join(LIMITS)}, max-concurrent with a number: rpm=1000")
            try:
                values[name] = amounts.count(number) if number != "0" else None
            except argparse.ArgumentTypeError as error:
                raise ValueError(f"--compare {option}: {error}") from None
        if values.get("max_concurrent", 1) is None:
            raise ValueError("--compare max-concurrent must be at least 1")
        return [(text, values)]
    if args.provider is None:
        raise ValueError("--compare needs limits such as rpm=1000,tpm=400000, or --provider for its tiers")
    tiers = list(PROVIDERS[args.provider].tiers)
    if text:
        wanted = [text]
    else:
        wanted = tiers[tiers.index(args.tier) + 1 :] if args.tier is not None else tiers
    nothing = dict.fromkeys(LIMITS)
    found = [(f"tier {tier}", tier_limits(args.provider, tier)) for tier in wanted]
    return [(f"{name}: {shown(limits)}", {**nothing, **limits}) for name, limits in found]


def _read(
    args: argparse.Namespace, begin: Callable[[str, int], None], advance: Callable[[int], None]
) -> "tuple[List[Any], int]":
    """What the input asks for, and how many of its lines are of no use."""
    from llmrl.http import read_request

    from .batch_input import BadLine, count_lines, id_key, read_batch
    from .plan_run import REPORT_EVERY

    begin("reading", count_lines(args.input))
    asks: List[Any] = []
    seen = set()
    bad_lines = 0
    for number, item in enumerate(read_batch(args.input)):
        if number % REPORT_EVERY == 0:
            advance(number)
        key = id_key(item.custom_id) if item.custom_id is not None else None
        if isinstance(item, BadLine) or key in seen:
            bad_lines += 1
            continue
        seen.add(key)
        # Without the text, of which only the size counts from here on.
        asks.append(read_request(item.url, item.body)._replace(texts=()))
    return asks, bad_lines


@contextmanager
def _bar(source: Path) -> "Iterator[Tuple[Callable[[str, int], None], Callable[[int], None]]]":
    """``(begin, advance)`` of a bar on standard error, which is seen only on a terminal and is gone at the end."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(str(source))

        def begin(what: str, total: int) -> None:
            progress.reset(task, description=what, total=total)

        yield begin, lambda done: progress.update(task, completed=done)
