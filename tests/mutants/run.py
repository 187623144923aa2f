#!/usr/bin/env python3
"""The mutant matrix: each rule of the protocol is broken on purpose, and the model checkers must notice.

    tests/mutants/run.py              run all
    tests/mutants/run.py M4 27        run some
    tests/mutants/run.py --list       say what each one breaks

A mutant is one replacement in one file (mutants.toml beside this script). It is applied to a copy of the sources;
a replacement that no longer fits its file is an error, so the list cannot rot. For each mutant the tests that it
names are run, with loom or with shuttle, and at least one of them must fail. As many at a time as there are
processors, up to four, because nearly all of the time is the compiler's. Needs Python 3.11 or later.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from queue import SimpleQueue
from typing import Iterator

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "target" / "mutants"
SECONDS = 300


def prepare(work: Path) -> None:
    """A copy of what the tests are built from; the build directory is kept between runs."""
    work.mkdir(parents=True, exist_ok=True)
    for name in ("src", "tests"):
        shutil.rmtree(work / name, ignore_errors=True)
        shutil.copytree(ROOT / name, work / name)
    for name in ("Cargo.toml", "Cargo.lock", "build.rs", "README.md"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, work / name)
    # The copy has no benches, and is not part of the package around it.
    manifest = re.sub(r"\[\[bench\]\]\n(.+\n)+", "", (work / "Cargo.toml").read_text())
    (work / "Cargo.toml").write_text(manifest + "\n[workspace]\n")


def run(work: Path, tool: str, tests: list[str], schedules: int) -> str | None:
    """Runs tests by name; gives the first that fails, by an assertion, a deadlock or an endless loop."""
    env = os.environ | {
        "RUSTFLAGS": f"--cfg {tool} -A dead_code -A warnings",
        "CARGO_TARGET_DIR": str(work / f"target-{tool}"),
        "LLMRL_LOOM_SECONDS": "60",
        "LLMRL_SHUTTLE_SCHEDULES": str(schedules),
    }
    cargo = ["cargo", "test", "-q", "--profile", "model"]
    # Only what is needed.
    targets = {test: ["--lib"] if "::" in test else ["--test", tool] for test in tests}
    needed = [word for target in (["--lib"], ["--test", tool]) if target in targets.values() for word in target]
    build = subprocess.run([*cargo, *needed, "--no-run"], cwd=work, env=env, capture_output=True, text=True)
    if build.returncode:
        sys.exit(f"a mutant does not compile:\n{build.stderr}")
    for test in tests:
        try:
            ran = subprocess.run(
                [*cargo, *targets[test], "--", "--exact", test],
                cwd=work, env=env, capture_output=True, text=True, timeout=SECONDS,
            )
        except subprocess.TimeoutExpired:
            return f"{tool}: {test} (never ends)"
        if ran.returncode:
            return f"{tool}: {test}"
        if "1 passed" not in ran.stdout:
            sys.exit(f"there is no {tool} test {test}")
    return None


def killer_of(work: Path, mutant: dict[str, object]) -> str | None:
    """Runs the mutant's tests on the sources as they are now."""
    # Where it takes a stall at one instruction, over the whole of another thread's run, the mutant asks for more.
    schedules = mutant.get("schedules", 8_000)
    for tool in ("loom", "shuttle"):
        tests = mutant.get(tool, [])
        if killer := tests and run(work, tool, tests, schedules):
            return killer
    return None


@contextmanager
def narrow(work: Path) -> Iterator[None]:
    """Counters of 4 bits in the gate and in the accounts, so that a wrap-around within one stall is likely."""
    wide = {path: path.read_text() for path in (work / "src/ring/gate.rs", work / "src/limit/account.rs")}
    for path, text in wide.items():
        path.write_text(re.sub(r"const (HEAD|EVENT|TAG)_BITS: u32 = \d+;", r"const \1_BITS: u32 = 4;", text))
    yield
    for path, text in wide.items():
        path.write_text(text)


def break_on_purpose(work: Path, mutant: dict[str, object]) -> bool:
    """Says whether anybody notices."""
    path = work / mutant["file"]
    source = path.read_text()
    start = time.monotonic()
    with narrow(work) if mutant.get("narrow") else nullcontext():
        # Counters that short may break the protocol by themselves: then the kill would mean nothing.
        if mutant.get("narrow") and (failed := killer_of(work, mutant)):
            sys.exit(f"mutant {mutant['id']}: {failed} fails without it")
        path.write_text(path.read_text().replace(mutant["old"], mutant["new"]))
        killer = killer_of(work, mutant)
    path.write_text(source)
    verdict = f"killed by {killer}" if killer else "SURVIVED"
    print(f"{mutant['id']:>4}  {mutant['breaks']:<66} {verdict} ({time.monotonic() - start:.0f} s)", flush=True)
    return killer is not None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mutants", nargs="*", help="ids; all by default")
    parser.add_argument("--list", action="store_true", help="say what each mutant breaks")
    options = parser.parse_args()
    mutants = tomllib.loads((Path(__file__).parent / "mutants.toml").read_text())["mutant"]
    known = {mutant["id"] for mutant in mutants}
    if unknown := set(options.mutants) - known:
        parser.error(f"no mutant {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
    if options.list:
        for mutant in mutants:
            print(f"{mutant['id']:>4}  {mutant['breaks']}")
        return 0
    chosen = [mutant for mutant in mutants if not options.mutants or mutant["id"] in options.mutants]
    # All of them at once, before the first takes its time.
    for mutant in chosen:
        fits = (ROOT / mutant["file"]).read_text().count(mutant["old"])
        if fits != 1:
            sys.exit(f"mutant {mutant['id']}: {fits} places in {mutant['file']} fit, not 1")
    at_a_time = min(len(chosen), os.cpu_count() or 1, 4)
    free: SimpleQueue[Path] = SimpleQueue()
    for number in range(at_a_time):
        prepare(WORK / str(number))
        free.put(WORK / str(number))

    def is_killed(mutant: dict[str, object]) -> bool:
        work = free.get()
        try:
            return break_on_purpose(work, mutant)
        finally:
            free.put(work)

    with ThreadPoolExecutor(at_a_time) as pool:
        survivors = sum(not killed for killed in pool.map(is_killed, chosen))
    print(f"{len(chosen) - survivors} passed, {survivors} failed")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
