"""Stopping and going on: kill -9, Ctrl-C, torn lines, a full disk. Nothing that was answered is lost or repeated."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path

import pytest

pytest.importorskip("aiohttp", reason="needs the cli extra: pip install 'llmrl[cli]'")
pytest.importorskip("rich", reason="needs the cli extra: pip install 'llmrl[cli]'")

from batch_helpers import Answer, Script, complete_lines, error, gated, line, ok, results, run, start, write


@pytest.mark.parametrize("seed", range(4))
def test_kill_9_at_random_points_loses_and_repeats_nothing(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    total, slots = 240, 6
    target = tmp_path / "out.jsonl"

    async def main() -> None:
        async def respond(name: str, _before: int) -> Answer:
            await asyncio.sleep(rng.random() * 0.004)
            return 200, dict(ok(name)[1], padding="x" * rng.randrange(20_000)), {}

        script = Script(respond)
        source = write(tmp_path / "in.jsonl", [line(f"r{i}") for i in range(total)])
        kills = 0
        async with script.serving() as url:
            for _ in range(4):
                batch = await start(source, target, url, "--max-concurrent", str(slots))
                goal = len(script.answered) + rng.randint(1, 50)
                await script.until(lambda: len(script.answered) >= goal)
                batch.kill()
                assert (await batch.finish()).status == -9
                kills += 1
                recorded = complete_lines(target)
                assert len(recorded) == len(set(recorded))
                asked_before = len(script.asked)
            done = await run(source, target, url, "--max-concurrent", str(slots))
        assert done.status == 0, done.err
        assert len(results(target)) == total
        assert not set(script.asked[asked_before:]) & set(recorded), "a recorded answer was asked for again"
        assert len(script.asked) - total <= kills * slots, "only what was in flight is sent twice"

    asyncio.run(main())


def test_a_recorded_answer_is_never_asked_for_again(tmp_path: Path) -> None:
    async def main() -> None:
        script = Script(lambda name, _: error(400) if name == "r3" else ok(name))
        source = write(tmp_path / "in.jsonl", [line(f"r{i}") for i in range(10)])
        async with script.serving() as url:
            first = await run(source, tmp_path / "out.jsonl", url)
            before = (tmp_path / "out.jsonl").read_bytes()
            second = await run(source, tmp_path / "out.jsonl", url)
        assert first.status == second.status == 1, "a refused request stays a failure"
        assert "10 requests are already answered" in second.err and len(script.asked) == 10
        assert (tmp_path / "out.jsonl").read_bytes() == before

    asyncio.run(main())


def test_a_torn_last_line_is_repaired_wherever_it_was_torn(tmp_path: Path) -> None:
    async def main() -> None:
        script = Script(lambda name, _: ok(name))
        source = write(tmp_path / "in.jsonl", [line("a"), line("b")])
        target = tmp_path / "out.jsonl"
        async with script.serving() as url:
            await run(source, target, url, "--max-concurrent", "1")
            whole = target.read_bytes()
            first, second = whole.splitlines(keepends=True)
            for cut in [1, 5, 17, 40, len(second) // 2, len(second) - 2]:
                script.asked.clear()
                target.write_bytes(first + second[:cut])
                done = await run(source, target, url)
                assert done.status == 0 and "line 2 of" in done.err and "was torn" in done.err
                assert script.asked == ["b"] and sorted(results(target)) == ["a", "b"]
            script.asked.clear()
            target.write_bytes(whole[:-1])
            done = await run(source, target, url)
            assert done.status == 0 and "had lost its line end" in done.err
            assert script.asked == [] and target.read_bytes() == whole

    asyncio.run(main())


@pytest.mark.parametrize("tail", [b"my own notes", b'{"name": "x"}', b"\x00\x00\x00"])
def test_a_last_line_of_another_kind_is_not_touched(tmp_path: Path, tail: bytes) -> None:
    source = write(tmp_path / "in.jsonl", [line("a")])
    target = tmp_path / "out.jsonl"
    target.write_bytes(tail)
    done = asyncio.run(run(source, target, "http://127.0.0.1:1/v1"))
    assert done.status == 2 and "nothing was changed" in done.err and target.read_bytes() == tail


def test_ctrl_c_lets_requests_in_flight_finish_and_the_next_run_goes_on(tmp_path: Path) -> None:
    async def main() -> None:
        script, gate = gated(lambda name, _: ok(name))
        source = write(tmp_path / "in.jsonl", [line(f"r{i}") for i in range(20)])
        target = tmp_path / "out.jsonl"
        async with script.serving() as url:
            batch = await start(source, target, url, "--max-concurrent", "5")
            await script.until(lambda: len(script.asked) == 5)
            batch.interrupt()
            await batch.until_said("requests in flight may finish")
            gate.set()
            done = await batch.finish()
            assert done.status == 130 and "15 requests are left" in done.err and "5 answered" in done.out
            assert sorted(results(target)) == sorted(script.asked) and len(script.asked) == 5
            done = await run(source, target, url)
        assert done.status == 0 and len(results(target)) == 20 and len(script.asked) == 20

    asyncio.run(main())


def test_a_second_ctrl_c_stops_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        script, never = gated(lambda name, _: ok(name))
        source = write(tmp_path / "in.jsonl", [line(f"r{i}") for i in range(20)])
        async with script.serving() as url:
            batch = await start(source, tmp_path / "out.jsonl", url, "--max-concurrent", "5")
            await script.until(lambda: len(script.asked) == 5)
            batch.interrupt()
            await batch.until_said("requests in flight may finish")
            batch.interrupt()
            done = await batch.finish()
            never.set()
        assert done.status == 130 and "stopping at once" in done.err and "Traceback" not in done.err
        assert results(tmp_path / "out.jsonl") == {}

    asyncio.run(main())


def test_ctrl_c_while_waiting_for_a_limit_or_for_another_try(tmp_path: Path) -> None:
    """One request waits an hour for tokens, another for its retry; neither is in flight, so nothing is waited for."""

    async def main() -> None:
        script = Script(lambda name, _: error(503, retry_after="3000") if name == "busy" else ok(name))
        source = write(tmp_path / "in.jsonl", [line("busy"), line("a", max_tokens=900), line("b", max_tokens=900)])
        async with script.serving() as url:
            options = ["--tpm", "1000", "--charge", "reserve", "--plain"]
            batch = await start(source, tmp_path / "out.jsonl", url, *options)
            await script.until(lambda: {"busy", "a"} <= set(script.answered))
            await batch.until_said("waiting for tokens/min")
            batch.interrupt()
            done = await batch.finish()
        assert done.status == 130 and "2 requests are left" in done.err
        assert sorted(results(tmp_path / "out.jsonl")) == ["a"]

    asyncio.run(main())


def test_after_ctrl_c_nothing_is_tried_again(tmp_path: Path) -> None:
    async def main() -> None:
        script, gate = gated(lambda name, before: error(503, retry_after="3000") if before < 1 else ok(name))
        source = write(tmp_path / "in.jsonl", [line(f"r{i}") for i in range(9)])
        async with script.serving() as url:
            batch = await start(source, tmp_path / "out.jsonl", url, "--max-concurrent", "3")
            await script.until(lambda: len(script.asked) == 3)
            batch.interrupt()
            await batch.until_said("requests in flight may finish")
            gate.set()
            done = await batch.finish()
            assert done.status == 130 and "9 requests are left" in done.err and len(script.asked) == 3
            assert results(tmp_path / "out.jsonl") == {}

    asyncio.run(main())


def test_no_more_lines_are_read_while_many_wait_for_another_try(tmp_path: Path) -> None:
    async def main() -> None:
        script = Script(lambda name, _: error(503, retry_after="3000"))
        source = write(tmp_path / "in.jsonl", [line(f"r{i}") for i in range(2000)])
        async with script.serving() as url:
            batch = await start(source, tmp_path / "out.jsonl", url, "--max-concurrent", "4", "--plain")
            await batch.until_said("retries 0")  # the first plain line, after seconds in which nobody held back
            batch.interrupt()
            assert (await batch.finish()).status == 130
        assert 16 <= len(script.asked) <= 16 + 4

    asyncio.run(main())


def test_one_results_file_has_one_writer(tmp_path: Path) -> None:
    async def main() -> None:
        script, gate = gated(lambda name, _: ok(name))
        source = write(tmp_path / "in.jsonl", [line("a")])
        async with script.serving() as url:
            batch = await start(source, tmp_path / "out.jsonl", url)
            await script.until(lambda: len(script.asked) == 1)
            done = await run(source, tmp_path / "out.jsonl", url)
            assert done.status == 2 and "is being written by another llmrl batch" in done.err
            gate.set()
            assert (await batch.finish()).status == 0

    asyncio.run(main())


def test_a_full_disk_ends_the_batch_and_the_next_run_goes_on(tmp_path: Path) -> None:
    """The file size limit of the process stands in for a full disk: a write fails in the middle of a line."""
    import resource
    import subprocess
    import sys

    async def main() -> None:
        script = Script(lambda name, _: (200, dict(ok(name)[1], padding="x" * 3000), {}))
        source = write(tmp_path / "in.jsonl", [line(f"r{i}") for i in range(30)])
        target = tmp_path / "out.jsonl"
        async with script.serving() as url:
            program = (
                "import resource, signal, sys\n"
                "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n"
                "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
                "from llmrl.cli import main\n"
                f"sys.exit(main(['batch', {str(source)!r}, {str(target)!r}, '--base-url', {url!r}]))"
            )
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", program, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            _, err = await asyncio.wait_for(process.communicate(), 60)
            assert process.returncode == 1 and b"cannot write" in err and b"Traceback" not in err, err
            kept = complete_lines(target)
            assert 1 <= len(kept) < 30
            script.asked.clear()
            done = await run(source, target, url)
        assert done.status == 0 and len(results(target)) == 30
        assert not set(kept) & set(script.asked)

    assert resource.RLIMIT_FSIZE is not None
    asyncio.run(main())


def test_a_corrected_line_replaces_its_error(tmp_path: Path) -> None:
    async def main() -> None:
        script = Script(lambda name, _: ok(name))
        source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
        write(source, [line("a"), json.dumps({"custom_id": "b", "url": "/v1/chat/completions", "body": 3})])
        async with script.serving() as url:
            assert (await run(source, target, url)).status == 1
            assert results(target)["b"]["error"]["code"] == "invalid_line"
            write(source, [line("a"), line("b")])
            assert (await run(source, target, url)).status == 0
        assert results(target)["b"]["error"] is None and script.asked == ["a", "b"]

    asyncio.run(main())


def test_what_was_used_of_a_day_is_kept(tmp_path: Path) -> None:
    async def main() -> None:
        script = Script(lambda name, _: ok(name))
        state = tmp_path / "state"
        options = ("--rpd", "3", "--state", str(state))
        first, second = (write(tmp_path / f"{name}.jsonl", [line(name)]) for name in ("one", "two"))
        async with script.serving() as url:
            done = await run(first, tmp_path / "a.jsonl", url, *options)
            assert done.status == 0 and state.is_file() and not list(tmp_path.glob("*.new")), done.err
            done = await run(second, tmp_path / "b.jsonl", url, *options)
            assert done.status == 0, done.err
        from llmrl import Limit, Limiter

        limiter = Limiter(Limit.token_bucket(3, 86_400, meter="requests"), Limit.in_flight(64), saved=state.read_bytes())
        assert limiter.limits()[0].available == 1

    asyncio.run(main())


def test_a_state_that_is_none_is_refused_with_a_way_out(tmp_path: Path) -> None:
    async def main() -> None:
        source, state = write(tmp_path / "in.jsonl", [line("a")]), tmp_path / "state"
        for content, words in ((b"nonsense", "it is something else"), (b"", "it is empty")):
            state.write_bytes(content)
            done = await run(source, tmp_path / "out.jsonl", "http://127.0.0.1:9/v1", "--rpd", "3", "--state", str(state))
            assert done.status == 2 and words in done.err and "To start fresh, delete it" in done.err
        assert state.read_bytes() == b"", "it is left as it was"

    asyncio.run(main())
