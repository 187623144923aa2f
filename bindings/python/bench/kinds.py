"""Cases for every kind of limit, and the same kind in the peers that have it."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any, Iterator

from llmrl import Limit

MANY = 10**9
# A window that is short enough for logs and lists of time stamps to stay in memory.
SHORT = 0.001

Row = tuple[str, str, dict[str, Any]]


def ours(api: ModuleType, label: str) -> Iterator[Row]:
    for name, limit in (
        ("token bucket", Limit.requests(MANY, per=1.0)),
        ("pacing", Limit.pacing(MANY, per=1.0)),
        ("fixed window", Limit.fixed_window(MANY, per=60.0)),
        ("sliding window counter", Limit.sliding_window_counter(MANY, per=60.0)),
        ("sliding window", Limit.sliding_window(MANY, per=60.0)),
        ("sliding window log", Limit.sliding_window_log(MANY, per=SHORT, stamps=65536)),
    ):
        yield f"{label} {name}", "l.try_acquire()", {"l": api.Limiter(limit)}


def limits() -> Iterator[Row]:
    from limits import RateLimitItemPerMinute, RateLimitItemPerSecond, storage, strategies

    for name, kind, item in (
        ("fixed window", strategies.FixedWindowRateLimiter, RateLimitItemPerMinute(MANY)),
        ("sliding window counter", strategies.SlidingWindowCounterRateLimiter, RateLimitItemPerMinute(MANY)),
        ("moving window (a log)", strategies.MovingWindowRateLimiter, RateLimitItemPerSecond(MANY)),
    ):
        yield f"limits {name}", "l.hit(i, 'k')", {"l": kind(storage.MemoryStorage()), "i": item}


def pyrate() -> Iterator[Row]:
    from pyrate_limiter import InMemoryBucket, Limiter, Rate

    limiter = Limiter(InMemoryBucket([Rate(MANY, 1)]))
    yield "pyrate-limiter (a log)", "l.try_acquire('k', blocking=False)", {"l": limiter}


def throttled() -> Iterator[Row]:
    from throttled import Throttled, rate_limiter, store

    for name in ("token_bucket", "leaking_bucket", "fixed_window", "sliding_window", "gcra"):
        limiter = Throttled(key="k", using=name, quota=rate_limiter.per_min(MANY, burst=MANY), store=store.MemoryStore())
        yield f"throttled-py {name}", "l.limit()", {"l": limiter}


def flexible() -> str:
    """The table of rate-limiter-flexible, a peer in Node; or why there is none."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return "rate-limiter-flexible: not run, there is no Node here"
    with tempfile.TemporaryDirectory() as folder:
        install = [npm, "install", "--silent", "--prefix", folder, "rate-limiter-flexible@11.4.0"]
        subprocess.run(install, check=True, stdout=subprocess.DEVNULL)
        script = Path(__file__).with_name("flexible.mjs")
        return subprocess.run([node, str(script), folder], check=True, capture_output=True, text=True).stdout.rstrip()


def peers() -> Iterator[Row]:
    for peer in (limits, pyrate, throttled):
        try:
            yield from peer()
        except ImportError:
            pass
