"""``llmrl plan``: exact cases, the engine on the same clock, and what is printed."""

from __future__ import annotations

import asyncio
import json
import math
import selectors
import subprocess
import sys
from pathlib import Path
from typing import Any, List, Optional

import pytest

pytest.importorskip("aiohttp", reason="needs the cli extra: pip install 'llmrl[cli]'")
pytest.importorskip("rich", reason="needs the cli extra: pip install 'llmrl[cli]'")

from batch_helpers import line, write
from test_commands import PYTHON, in_a_terminal

from llmrl import Limiter, ManualClock
from llmrl.cli import build_parser
from llmrl.cli.batch_charge import Account
from llmrl.cli.batch_counts import Counts
from llmrl.cli.batch_engine import Engine, Plan
from llmrl.cli.batch_estimate import Estimator
from llmrl.cli.batch_input import read_batch
from llmrl.cli.batch_limits import build
from llmrl.cli.batch_options import complete
from llmrl.cli.batch_output import Results
from llmrl.cli.batch_send import Reply
from llmrl.cli.emulate_bucket import Admission, Gate
from llmrl.cli.plan_run import Latency, Outcome, simulate
from llmrl.cli.plan_table import clock, when
from llmrl.http import read_request

INSTANT = Latency(0, 1e9, 0)


def arguments(*options: str) -> Any:
    args = build_parser().parse_args(["plan", "in", *options])
    complete(args)
    return args


def planned(count: int, *options: str, latency: Latency = INSTANT, size: int = 4, **body: Any) -> Outcome:
    body = {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "x" * size}], **body}
    asks = [read_request("/v1/chat/completions", body)] * count
    return simulate(arguments(*options), asks, latency)


def test_six_hundred_requests_at_sixty_a_minute_take_nine_minutes() -> None:
    outcome = planned(600, "--rpm", "60", "--max-concurrent", "100")
    assert outcome.seconds == pytest.approx(540, abs=1e-6)
    assert outcome.waited() == {"requests/min": pytest.approx(540, abs=1e-6)}
    assert [(span.start, span.limit) for span in outcome.waits] == [(0, "requests/min")]
    assert outcome.used(0) == pytest.approx(1) and len(outcome.done) == 600


@pytest.mark.parametrize(
    "options, seconds",
    [
        (["--rpm", "60", "--burst-seconds", "1"], 599),
        (["--rpm", "60", "--requests-as", "bucket/10"], 590),
        (["--rpm", "60", "--requests-as", "fixed/1"], 599),
        (["--limit", "sliding_window_log:requests:60/60"], 540),
        # 101 tokens each: one of the prompt, and max_tokens.
        (["--tpm", "6060", "--charge", "reserve"], 540),
        (["--tpm", "6000", "--charge", "max"], 540),
        (["--rpd", "600"], 0),
        (["--rpd", "300"], 86_400),
    ],
)
def test_closed_forms(options: List[str], seconds: float) -> None:
    outcome = planned(600, *options, "--max-concurrent", "1000")
    assert outcome.seconds == pytest.approx(seconds, abs=1e-3)


def test_slots_of_ten_seconds_each() -> None:
    # 8 seconds, and 100 tokens at 50 a second.
    outcome = planned(50, "--max-concurrent", "10", latency=Latency(8, 50, None))
    assert outcome.seconds == 50 and outcome.peak_in_flight == 10
    assert outcome.waited() == {"concurrency": 40}


def test_what_is_settled_comes_back() -> None:
    """600 reserve 101 tokens and use 11; with the minute's bucket full at the start and answers after a second nobody waits."""
    used = Latency(1, 1e9, 10)
    assert planned(600, "--tpm", "60600", "--max-concurrent", "1000", latency=used).seconds == pytest.approx(1)
    settled = planned(3000, "--tpm", "60600", "--max-concurrent", "10000", latency=used)
    kept = planned(3000, "--tpm", "60600", "--charge", "reserve", "--max-concurrent", "10000", latency=used)
    assert kept.seconds == pytest.approx(241) and settled.seconds < 12


def test_two_limits_one_after_the_other() -> None:
    """A burst of requests first, then tokens: 100 a minute of 101 tokens, at 60 requests at once."""
    outcome = planned(300, "--rpm", "120", "--tpm", "10100", "--charge", "reserve", "--max-concurrent", "1000")
    assert [span.limit for span in outcome.waits][-1] == "tokens/min"
    assert outcome.seconds == pytest.approx(120, abs=1e-3)


def test_requests_that_are_too_large_are_counted() -> None:
    assert planned(3, "--tpm", "50").too_large == 3


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop that jumps to its next timer and takes a manual clock along."""

    def __init__(self, clock: ManualClock) -> None:
        self.now_ns, self.clock = 0, clock
        self.limiter: Optional[Limiter] = None
        selector = selectors.SelectSelector()
        selector.select = self.jump  # type: ignore[method-assign]
        super().__init__(selector)

    def time(self) -> float:
        return self.now_ns / 1e9

    def jump(self, timeout: Optional[float] = None) -> List[Any]:
        assert timeout is not None, "nothing is left to happen"
        step = 1 + math.ceil(timeout * 1e6) * 1000
        self.now_ns += step
        # Waiters set timers of their own, as with a real clock, and hear nothing of this one.
        hub = self.limiter._hub
        waiting, hub.waiting = hub.waiting, {}
        self.clock.advance_ns(step)
        hub.waiting = waiting
        return []


class Provider:
    """Answers as the plan's model has it, behind the emulator's gate, which shares no code with the limiter."""

    first_delay = 0.0

    def __init__(self, loop: VirtualLoop, gate: Gate, latency: Latency) -> None:
        self.loop, self.gate, self.latency = loop, gate, latency
        self.finished = 0.0

    async def post(self, url: str, body: Any) -> Reply:
        ask = read_request(url, body)
        output = self.latency.output(ask, 1024)
        input = -(-ask.size // 4)
        admission = self.gate.admit(input, self.loop.now_ns, ask.max_tokens or 0)
        assert isinstance(admission, Admission), admission
        await asyncio.sleep(self.latency.nanoseconds(ask, output) / 1e9)
        self.gate.finish(admission, input, self.loop.now_ns, output)
        self.finished = self.loop.time()
        usage = {"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output}
        return Reply(200, {}, json.dumps({"usage": usage}).encode())


@pytest.mark.parametrize(
    "options, limits",
    [
        (["--rpm", "120"], {"rpm": 120}),
        (["--tpm", "20000"], {"tpm": 20_000}),
        (["--rpm", "300", "--tpm", "40000", "--max-concurrent", "12"], {"rpm": 300, "tpm": 40_000, "max_concurrent": 12}),
    ],
)
def test_the_engine_takes_what_the_plan_said(tmp_path: Path, options: List[str], limits: Any) -> None:
    source = write(tmp_path / "in", [line(f"{i} " + "word " * (i % 40), max_tokens=50 + i % 7 * 40) for i in range(400)])
    latency, args = Latency(0.5, 75, 60), arguments(*options)
    said = simulate(args, [read_request(item.url, item.body) for item in read_batch(source)], latency)

    now = ManualClock()
    loop = VirtualLoop(now)
    limiter, meters = build(args, clock=now, max_waiters=64)
    loop.limiter = limiter
    limiter._hub.timed = True
    provider = Provider(loop, Gate(0, settles=True, **limits), latency)
    results = Results(tmp_path / "out")
    account = Account(limiter, meters, args.charge, print)
    estimator = Estimator(args.chars_per_token, args.default_output, True)
    counts = Counts(limiter, meters, 400)
    engine = Engine(Plan(read_batch(source), results, provider, limiter, account, estimator, counts, 1, 100, 1e6, print))
    try:
        loop.run_until_complete(engine.run())
    finally:
        loop.close()
        results.close()
    assert counts.ok == 400 and provider.gate.totals.refused == {"requests": 0, "tokens": 0, "concurrent": 0, "oversize": 0}
    assert provider.finished == pytest.approx(said.seconds, rel=0.02)
    assert said.seconds > 30, "limits that nobody meets would prove nothing"


def plan(*options: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*PYTHON, "plan", *options], capture_output=True, text=True)


def batch(tmp_path: Path, count: int = 600) -> str:
    return str(write(tmp_path / "in.jsonl", [*(line(f"r{i}") for i in range(count)), "{", line("r0")]))


def test_the_tables(tmp_path: Path) -> None:
    done = plan(
        batch(tmp_path), "--rpm", "60", "--max-concurrent", "100", "--seconds-per-request", "0", "--tokens-per-second", "1e9",
        "--compare", "rpm=600", "--compare", "rpm=0,max-concurrent=1",
    )  # fmt: skip
    assert done.returncode == 0 and done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0] == "requests   600, 2 bad lines" and lines[2].startswith("time       0:09:00 (540.0 s, 1.1 requests/s)")
    assert [text.split() for text in lines if text.startswith("requests/min")] == [
        ["requests/min", "60", "0:09:00", "100.0%", "100.0%", "0:00:00", "-", "0:09:00"]
    ]
    compared = lines[-3:]
    assert compared[0].startswith("these limits") and "requests/min (100% of the time)" in compared[0]
    assert compared[1].split()[:2] == ["rpm=600", "0:00:00"]
    assert compared[2].startswith("rpm=0,max-concurrent=1") and len({text.index("  ") for text in compared}) == 3


def test_all_higher_tiers(tmp_path: Path) -> None:
    done = plan(batch(tmp_path), "--provider", "openai", "--tier", "3", "--compare")
    assert done.returncode == 0 and "(an example of October 2026" in done.stderr
    rows = [text for text in done.stdout.splitlines() if text.startswith("tier")]
    assert [row.split()[1].rstrip(":") for row in rows] == ["3", "4", "5"]


@pytest.mark.parametrize(
    "options, words",
    [
        (["--compare"], "--compare needs limits such as rpm=1000"),
        (["--rpm", "5", "--compare", "tmp=4"], "'tmp=4' is not one of rpm, tpm"),
        (["--rpm", "5", "--compare", "rpm=many"], "'many' is not a whole number"),
        (["--provider", "openai", "--tier", "9"], "openai has no tier '9' here; there are 1, 2"),
        (["--tier", "9"], "--tier needs --provider"),
        (["--png", "/nowhere/plan.png"], "cannot write /nowhere/plan.png"),
    ],
)
def test_wrong_usage_is_one_line(options: List[str], words: str, tmp_path: Path) -> None:
    if "--png" in options:
        pytest.importorskip("matplotlib", reason="needs the plan extra: pip install 'llmrl[plan]'")
    done = plan(batch(tmp_path, 3), *options)
    assert done.returncode == 2 and words in done.stderr and done.stderr.count("\n") == 1
    missing = plan(str(tmp_path / "none"))
    assert missing.returncode == 2 and "No such file" in missing.stderr


def test_a_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs the plan extra: pip install 'llmrl[plan]'")
    picture = tmp_path / "plan.png"
    done = plan(batch(tmp_path), "--rpm", "60", "--rpd", "500", "--compare", "rpm=600", "--png", str(picture))
    assert done.returncode == 0, done.stderr
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_a_picture_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    program = "import sys; sys.modules['matplotlib'] = None; from llmrl.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "plan", "missing", "--png", "plan.png"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "llmrl plan --png needs matplotlib, which is not installed: pip install 'llmrl[plan]'\n"


def test_a_terminal_gets_a_bar(tmp_path: Path) -> None:
    done = in_a_terminal([*PYTHON, "plan", batch(tmp_path), "--rpm", "60"])
    assert done.status == 0 and "planning" in done.out and "━" in done.out and "requests/min" in done.out


def test_times_and_phases() -> None:
    assert [clock(seconds) for seconds in (0, 59.6, 3600, 90_061)] == ["0:00:00", "0:01:00", "1:00:00", "1 d 1:01:01"]
    spans = [(minute * 60 * 10**9, (minute + 1) * 60 * 10**9, "x") for minute in (0, 10, 20, 30, 40)]
    assert when([], 100) == ""
    assert when(spans[:1], 6000) == "0:00:00 - 0:01:00"
    assert when(spans, 6000).endswith("0:20:00 - 0:21:00 and 2 times more")
