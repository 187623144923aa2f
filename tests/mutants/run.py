#!/usr/bin/env python3
"""The mutant matrix: each rule of the protocol is broken on purpose, and the model checkers must notice.

    tests/mutants/run.py              run all
    tests/mutants/run.py M4 27        run some
    tests/mutants/run.py --list       say what each one breaks

A mutant is one replacement in one file (mutants.toml beside this script). It is applied to a copy of the sources;
a replacement that no longer fits its file is an error, so the list cannot rot. For each mutant the tests that it
names are run, with loom or with shuttle, and at least one of them must fail. Needs Python 3.11 or later.
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
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Iterator

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "target" / "mutants"
SECONDS = 300


def prepare() -> None:
    """A copy of what the tests are built from; the build directory is kept between runs."""
    for name in ("src", "tests"):
        shutil.rmtree(WORK / name, ignore_errors=True)
        shutil.copytree(ROOT / name, WORK / name)
    for name in ("Cargo.toml", "Cargo.lock", "build.rs", "README.md"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, WORK / name)
    # The copy has no benches, and is not part of the package around it.
    manifest = re.sub(r"\[\[bench\]\]\n(.+\n)+", "", (WORK / "Cargo.toml").read_text())
    (WORK / "Cargo.toml").write_text(manifest + "\n[workspace]\n")


def run(tool: str, tests: list[str], schedules: int) -> str | None:
    """Runs tests by name; gives the first that fails, by an assertion, a deadlock or an endless loop."""
    env = os.environ | {
        "RUSTFLAGS": f"--cfg {tool} -A dead_code -A warnings",
        "CARGO_TARGET_DIR": str(WORK / f"target-{tool}"),
        "LLMRL_LOOM_SECONDS": "60",
        "LLMRL_SHUTTLE_SCHEDULES": str(schedules),
    }
    cargo = ["cargo", "test", "-q", "--profile", "model"]
    # Only what is needed: nearly all of the time is the compiler's.
    targets = {test: ["--lib"] if "::" in test else ["--test", tool] for test in tests}
    needed = [word for target in (["--lib"], ["--test", tool]) if target in targets.values() for word in target]
    build = subprocess.run([*cargo, *needed, "--no-run"], cwd=WORK, env=env, capture_output=True, text=True)
    if build.returncode:
        sys.exit(f"a mutant does not compile:\n{build.stderr}")
    for test in tests:
        try:
            ran = subprocess.run(
                [*cargo, *targets[test], "--", "--exact", test],
                cwd=WORK, env=env, capture_output=True, text=True, timeout=SECONDS,
            )
        except subprocess.TimeoutExpired:
            return f"{tool}: {test} (never ends)"
        if ran.returncode:
            return f"{tool}: {test}"
        if "1 passed" not in ran.stdout:
            sys.exit(f"there is no {tool} test {test}")
    return None


def killer_of(mutant: dict[str, object]) -> str | None:
    """Runs the mutant's tests on the sources as they are now."""
    # Where it takes a stall at one instruction, over the whole of another thread's run, the mutant asks for more.
    schedules = mutant.get("schedules", 8_000)
    for tool in ("loom", "shuttle"):
        tests = mutant.get(tool, [])
        if killer := tests and run(tool, tests, schedules):
            return killer
    return None


@contextmanager
def narrow() -> Iterator[None]:
    """Counters of 4 bits in the gate and in the accounts, so that a wrap-around within one stall is likely."""
    wide = {path: path.read_text() for path in (WORK / "src/ring/gate.rs", WORK / "src/limit/account.rs")}
    for path, text in wide.items():
        path.write_text(re.sub(r"const (HEAD|EVENT|TAG)_BITS: u32 = \d+;", r"const \1_BITS: u32 = 4;", text))
    yield
    for path, text in wide.items():
        path.write_text(text)


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
    WORK.mkdir(parents=True, exist_ok=True)
    prepare()
    survivors = 0
    chosen = [mutant for mutant in mutants if not options.mutants or mutant["id"] in options.mutants]
    # All of them at once, before the first takes its time.
    for mutant in chosen:
        fits = (WORK / mutant["file"]).read_text().count(mutant["old"])
        if fits != 1:
            sys.exit(f"mutant {mutant['id']}: {fits} places in {mutant['file']} fit, not 1")
    for mutant in chosen:
        path = WORK / mutant["file"]
        source = path.read_text()
        start = time.monotonic()
        with narrow() if mutant.get("narrow") else nullcontext():
            # Counters that short may break the protocol by themselves: then the kill would mean nothing.
            if mutant.get("narrow") and (failed := killer_of(mutant)):
                sys.exit(f"mutant {mutant['id']}: {failed} fails without it")
            path.write_text(source.replace(mutant["old"], mutant["new"]))
            killer = killer_of(mutant)
        path.write_text(source)
        survivors += killer is None
        verdict = f"killed by {killer}" if killer else "SURVIVED"
        print(f"{mutant['id']:>4}  {mutant['breaks']:<66} {verdict} ({time.monotonic() - start:.0f} s)", flush=True)
    print(f"{len(chosen) - survivors} passed, {survivors} failed")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
