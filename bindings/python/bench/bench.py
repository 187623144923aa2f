"""Micro-benchmarks of the Python package and its peers, side by side in one run.

    python -m venv peers && peers/bin/pip install -r requirements.txt ../ && peers/bin/python bench.py

Cases run in interleaved rounds of a few milliseconds each. The table gives the median and the minimum over the rounds in
nanoseconds per operation, less the empty loop, and the ratio to the floor of the group: a C method that does nothing, or an await of a
C object that is ready. Peers that are not installed are left out.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import os
import platform
import shlex
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any, Callable

import kinds
from llmrl import Limit

MANY = 10**9
SYNC, KINDS, ASYNC = "sync", "every kind of limit", "asyncio"


def floor() -> ModuleType:
    """Compile floor.c for this interpreter."""
    folder = tempfile.mkdtemp()
    target = os.path.join(folder, "floor" + sysconfig.get_config_var("EXT_SUFFIX"))
    source = Path(__file__).with_name("floor.c")
    compiler = shlex.split(sysconfig.get_config_var("CC") or "cc")
    include = sysconfig.get_paths()["include"]
    subprocess.run([*compiler, "-shared", "-fPIC", "-O2", f"-I{include}", str(source), "-o", target], check=True)
    spec = importlib.util.spec_from_file_location("floor", target)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Textbook:
    """The bucket that most programs write for themselves."""

    def __init__(self, rate: float, capacity: float) -> None:
        self.rate, self.capacity, self.tokens, self.last = rate, capacity, capacity, time.monotonic()
        self.lock = threading.Lock()

    def take(self, n: int = 1) -> bool:
        with self.lock:
            now = time.monotonic()
            self.tokens = min(self.capacity, self.tokens + (now - self.last) * self.rate)
            self.last = now
            if self.tokens < n:
                return False
            self.tokens -= n
            return True


class Case:
    """One statement, in a loop of its own so that nothing but the statement is in it."""

    def __init__(self, group: str, name: str, statement: str, **names: Any) -> None:
        self.group, self.name = group, name
        self.times: list[float] = []
        head = "async def run(r):" if group == ASYNC else "def run(r):"
        scope = dict(names)
        exec(f"{head}\n    for _ in r:\n        {statement}\n", scope)
        self.run: Callable[[range], Any] = scope["run"]
        self.count = 0

    def once(self, loop: asyncio.AbstractEventLoop, count: int) -> float:
        start = time.perf_counter_ns()
        if self.group == ASYNC:
            loop.run_until_complete(self.run(range(count)))
        else:
            self.run(range(count))
        return (time.perf_counter_ns() - start) / count

    def calibrate(self, loop: asyncio.AbstractEventLoop, ns: float) -> None:
        self.once(loop, 100)
        self.count = max(100, int(ns / self.once(loop, 1000)))


def ours(api: ModuleType, label: str) -> list[Case]:
    bucket = api.TokenBucket(MANY, per=1.0)
    by_key = api.BucketMap(MANY, per=1.0)
    one = api.Limiter(Limit.requests(MANY, per=1.0))
    three = api.Limiter(Limit.requests(MANY, per=1.0), Limit.tokens(MANY, per=1.0), Limit.in_flight(100))
    spent = api.Limiter(Limit.requests(1, per=3600.0))
    spent.try_acquire()
    cases = [
        Case(SYNC, f"{label} TokenBucket.try_take()", "b.try_take()", b=bucket),
        Case(SYNC, f"{label} BucketMap.try_take(key)", "b.try_take('alice@example.com')", b=by_key),
        Case(SYNC, f"{label} Limiter.try_acquire()", "l.try_acquire()", l=one),
        Case(SYNC, f"{label} Limiter.try_acquire(), refused", "l.try_acquire()", l=spent),
        Case(SYNC, f"{label} try_acquire(input=.., output=..)", "l.try_acquire(input=1200, output=400)", l=one),
        Case(SYNC, f"{label} try_acquire(..) + settle(..)", "l.try_acquire(1200, 400).settle(1100, 90)", l=one),
        Case(SYNC, f"{label} requests+tokens+in flight: acquire + release", "l.try_acquire(1, 1).release()", l=three),
        Case(SYNC, f"{label} with limiter.acquire()", "with l.acquire(): pass", l=one),
        Case(ASYNC, f"{label} await limiter.acquire()", "await l.acquire()", l=one),
        Case(ASYNC, f"{label} await limiter.acquire(input=.., output=..)", "await l.acquire(input=1200, output=400)", l=one),
        Case(ASYNC, f"{label} async with limiter.acquire()", "async with l.acquire(): pass", l=one),
        Case(ASYNC, f"{label} async with, 3 limits, settle", "async with l.acquire(1, 1) as p: p.settle(1, 0)", l=three),
    ]
    return cases


def peers() -> list[Case]:
    cases = [
        Case(SYNC, "textbook bucket with a Lock", "b.take()", b=Textbook(MANY, MANY)),
    ]
    try:
        from aiolimiter import AsyncLimiter

        limiter = AsyncLimiter(MANY, 1)
        cases.append(Case(ASYNC, "aiolimiter await acquire()", "await l.acquire()", l=limiter))
        cases.append(Case(ASYNC, "aiolimiter async with", "async with l: pass", l=limiter))
    except ImportError:
        pass
    try:
        from limits import RateLimitItemPerSecond, storage, strategies

        item = RateLimitItemPerSecond(MANY)
        fixed = strategies.FixedWindowRateLimiter(storage.MemoryStorage())
        cases.append(Case(SYNC, "limits fixed window hit()", "l.hit(i, 'k')", l=fixed, i=item))
    except ImportError:
        pass
    try:
        from pyrate_limiter import InMemoryBucket, Limiter, Rate

        limiter = Limiter(InMemoryBucket([Rate(MANY, 1000)]))
        cases.append(Case(SYNC, "pyrate-limiter try_acquire(blocking=False)", "l.try_acquire('k', blocking=False)", l=limiter))
    except ImportError:
        pass
    try:
        from langchain_core.rate_limiters import InMemoryRateLimiter

        limiter = InMemoryRateLimiter(requests_per_second=MANY, max_bucket_size=MANY)
        limiter.acquire(blocking=False)
        cases.append(Case(SYNC, "langchain-core acquire(blocking=False)", "l.acquire(blocking=False)", l=limiter))
        cases.append(Case(ASYNC, "langchain-core await aacquire()", "await l.aacquire()", l=limiter))
    except ImportError:
        pass
    return cases


def native() -> tuple[ModuleType, str]:
    """The extension, or the fallback where there is none."""
    try:
        from llmrl import _native
    except ImportError:
        from llmrl import _ctypes

        return _ctypes, "llmrl ctypes"
    return _native, "llmrl"


def backends() -> list[Case]:
    from llmrl import _ctypes

    api, label = native()
    cases = ours(api, label) if api is not _ctypes else []
    return cases + [case for case in ours(_ctypes, "llmrl ctypes") if "(input" not in case.name]


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--milliseconds", type=float, default=15.0, help="of each case in each round")
    options = parser.parse_args()
    # Permits without an end are what some of these cases are about.
    warnings.simplefilter("ignore", ResourceWarning)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

    nothing = floor().Floor()
    cases = [
        Case(SYNC, "empty loop", "pass"),
        Case(SYNC, "C method that does nothing (METH_FASTCALL)", "o.nop()", o=nothing),
        Case(KINDS, "empty loop", "pass"),
        Case(KINDS, "C method that does nothing (METH_FASTCALL)", "o.nop()", o=nothing),
        Case(ASYNC, "empty loop", "pass"),
        Case(ASYNC, "await of a C object that is ready", "await o.ready()", o=nothing),
        *backends(),
        *peers(),
        *(Case(KINDS, name, statement, **names) for name, statement, names in [*kinds.ours(*native()), *kinds.peers()]),
    ]
    loop = asyncio.new_event_loop()
    for case in cases:
        case.calibrate(loop, options.milliseconds * 1e6)
    for _ in range(options.rounds):
        for case in cases:
            case.times.append(case.once(loop, case.count))
    loop.close()

    print(f"CPython {platform.python_version()}, {processor()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
    print(f"{options.rounds} interleaved rounds of {options.milliseconds:g} ms; ns per operation, less the empty loop")
    for group in (SYNC, KINDS, ASYNC):
        members = [case for case in cases if case.group == group]
        empty = statistics.median(members[0].times)
        least = statistics.median(members[1].times) - empty
        print(f"\n{group:55} {'median':>9} {'min':>9} {'x floor':>8}")
        print(f"{members[0].name + ' (subtracted below)':55} {empty:9.1f} {min(members[0].times):9.1f}")
        for case in members[1:]:
            median, low = statistics.median(case.times) - empty, min(case.times) - empty
            print(f"{case.name:55} {median:9.1f} {low:9.1f} {median / least:8.1f}")
    print(f"\n{'kinds of limits in Node, less the empty loop':55} {'median':>9} {'min':>9}")
    print(kinds.flexible())


if __name__ == "__main__":
    sys.exit(main())
