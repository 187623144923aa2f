"""``llmrl batch`` as a user runs it: results, bad input, retries, refusals, the key."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

pytest.importorskip("aiohttp", reason="needs the cli extra: pip install 'llmrl[cli]'")
pytest.importorskip("rich", reason="needs the cli extra: pip install 'llmrl[cli]'")

from batch_helpers import KEY, Answer, Script, error, line, ok, results, run, write


def test_every_request_gets_one_line_in_openai_s_batch_format(tmp_path: Path) -> None:
    async def main() -> None:
        script = Script(lambda name, _: (200, ok(name)[1], {"x-request-id": f"req_{name}"}))
        source = write(tmp_path / "in.jsonl", [line(f"r{i}") for i in range(50)])
        async with script.serving() as url:
            done = await run(source, tmp_path / "out.jsonl", url, "--rpm", "6000", "--tpm", "1000000")
        assert done.status == 0, done.err
        found = results(tmp_path / "out.jsonl")
        assert sorted(found) == sorted(f"r{i}" for i in range(50)) and len(script.asked) == 50
        record = found["r7"]
        assert record["id"].startswith("batch_req_") and record["error"] is None
        assert record["response"]["status_code"] == 200 and record["response"]["request_id"] == "req_r7"
        assert record["response"]["body"]["choices"][0]["message"]["content"] == "answer to r7"
        assert "50 answered, 0 failed" in done.out and "250 in + 350 out" in done.out
        assert script.headers[0]["Authorization"] == f"Bearer {KEY}"
        assert script.paths[0] == "/v1/chat/completions"

    asyncio.run(main())


def test_answers_are_kept_as_they_came(tmp_path: Path) -> None:
    """Numbers that a float cannot hold, odd escapes and line breaks between tokens survive."""
    body = b'{"n": 123456789012345678901234567890.10,\r\n "s": "\\ud83d\\ude00 \\u2028 \xc3\xa9"}'

    async def main() -> None:
        script = Script(lambda name, _: (200, body, {}))
        source = write(tmp_path / "in.jsonl", [line("a")])
        async with script.serving() as url:
            assert (await run(source, tmp_path / "out.jsonl", url)).status == 0
        raw = (tmp_path / "out.jsonl").read_bytes()
        assert body.replace(b"\r\n", b"  ") in raw and raw.count(b"\n") == 1

    asyncio.run(main())


def test_bad_lines_name_their_number_and_stop_nobody(tmp_path: Path) -> None:
    bad = [
        (b"{not json", "line 2: not JSON: Expecting property name enclosed in double quotes at column 2"),
        (b'{"custom_id": "\xff\xfe"}', "line 3: not UTF-8 at byte 16"),
        (b"[1, 2]", "line 4: an object is needed"),
        (b'{"url": "/v1/x", "body": {}}', "line 5: custom_id must be a non-empty string"),
        (b'{"custom_id": 7, "url": "/v1/x", "body": {}}', "line 6: custom_id must be a non-empty string"),
        (b'{"custom_id": "no-body", "url": "/v1/x"}', "line 7: body must be an object"),
        (b'{"custom_id": "get", "method": "GET", "url": "/v1/x", "body": {}}', "line 8: method must be"),
        (b'{"custom_id": "far", "url": "https://evil.example/", "body": {}}', "line 9: url must be a plain path"),
        (b'{"custom_id": "nan", "url": "/v1/x", "body": {"t": NaN}}', "line 10: not usable JSON: NaN"),
        (line("stream", stream=True).encode(), "line 11: body.stream must be false"),
        (b'{"custom_id": "deep", "body": ' + b"[" * 100_000, "line 12: not usable JSON: nested too deeply"),
        (b'{"custom_id": "esc\\u001b[31m", "url": "/v1/x", "body": 3}', "line 13: body must be an object"),
    ]

    async def main() -> None:
        script = Script(lambda name, _: ok(name))
        source = write(tmp_path / "in.jsonl", [line("first")] + [raw for raw, _ in bad] + ["", "   ", line("last")])
        async with script.serving() as url:
            done = await run(source, tmp_path / "out.jsonl", url)
        assert done.status == 1
        for _, words in bad:
            assert words in done.err
        assert "\x1b" not in done.err + done.out
        found = results(tmp_path / "out.jsonl")
        assert sorted(script.asked) == ["first", "last"]
        errors = {name: record["error"] for name, record in found.items() if record["response"] is None}
        assert sorted(errors) == ["esc\x1b[31m", "far", "get", "no-body", "stream"]
        assert errors["get"] == {"code": "invalid_line", "message": "line 8: method must be \"POST\", not 'GET'"}
        assert "2 answered, 0 failed, 12 bad lines" in done.out

    asyncio.run(main())


def test_a_repeated_custom_id_is_reported_with_both_lines_and_sent_once(tmp_path: Path) -> None:
    async def main() -> None:
        script = Script(lambda name, _: ok(name))
        source = write(tmp_path / "in.jsonl", [line("a"), line("b"), line("a")])
        async with script.serving() as url:
            for _ in range(2):  # the same on a second run, where all are answered already
                done = await run(source, tmp_path / "out.jsonl", url)
                assert done.status == 1
                assert "line 3: custom_id 'a' was already used in line 1; not sent" in done.err
        assert sorted(script.asked) == ["a", "b"] and sorted(results(tmp_path / "out.jsonl")) == ["a", "b"]

    asyncio.run(main())


RETRIED = {
    "rate": error(
        429,
        "Rate limit reached for m in organization o on tokens per min (TPM): Limit 100000, Used 99990, "
        "Requested 20. Please try again in 6ms.",
        "rate_limit_exceeded",
        "tokens",
        retry_after_ms="6",
    ),
    "bare-429": (429, b"slow down", {}),
    "timeout": error(408),
    "conflict": error(409),
    "broken": error(500),
    "overloaded": error(503, retry_after_ms="5"),
    "cloud": error(529),
    "garbage": (200, b"<html>not json</html>", {}),
}
GIVEN_UP = {
    "bad": error(400, "do \x1b[31mnot\x07 do that"),
    "forbidden": error(403),
    "unknown": error(404),
    "long": error(422),
    "moved": (307, b"", {"Location": "http://127.0.0.1:1/elsewhere"}),
    "too-large": error(
        429,
        "Request too large for m in organization o on tokens per min (TPM): Limit 3, Requested 9. "
        "The input or output tokens must be reduced in order to run successfully.",
        "rate_limit_exceeded",
    ),
}


@pytest.mark.parametrize("limits", [[], ["--rpm", "60000", "--tpm", "100000"]], ids=["no-rates", "rates"])
def test_what_is_tried_again_and_what_is_not(tmp_path: Path, limits: list) -> None:
    async def main() -> None:
        def respond(name: str, before: int) -> Answer:
            if name in GIVEN_UP:
                return GIVEN_UP[name]
            return RETRIED[name] if before < 1 else ok(name)

        script = Script(respond)
        source = write(tmp_path / "in.jsonl", [line(name) for name in [*RETRIED, *GIVEN_UP]])
        async with script.serving() as url:
            done = await run(source, tmp_path / "out.jsonl", url, *limits)
        assert done.status == 1
        found = results(tmp_path / "out.jsonl")
        for name in RETRIED:
            assert script.asked.count(name) == 2, name
            assert found[name]["response"]["status_code"] == 200
        for name, answer in GIVEN_UP.items():
            assert script.asked.count(name) == 1, name
            assert found[name]["response"]["status_code"] == answer[0]
        assert f"{len(RETRIED)} answered, {len(GIVEN_UP)} failed" in done.out
        assert "'bad' failed: status 400: do ?[31mnot? do that" in done.err, "a server must not drive the terminal"

    asyncio.run(main())


def test_tries_are_counted_and_end(tmp_path: Path) -> None:
    async def main() -> None:
        script = Script(lambda name, _: error(503, retry_after_ms="1"))
        source = write(tmp_path / "in.jsonl", [line("a")])
        async with script.serving() as url:
            done = await run(source, tmp_path / "out.jsonl", url, "--max-attempts", "3")
        assert (done.status, len(script.asked)) == (1, 3)
        assert results(tmp_path / "out.jsonl")["a"]["response"]["status_code"] == 503

    asyncio.run(main())


@pytest.mark.parametrize(
    "answer,words",
    [
        (error(401, "Incorrect API key provided"), "the API key was not accepted"),
        (error(429, "You exceeded your current quota", "insufficient_quota", "insufficient_quota"), "no quota left"),
        (error(402, "pay"), "no quota left"),
        (
            error(429, "on requests per day (RPD): Limit 1, Used 1, Requested 1. Please try again in 14h29m11.04s."),
            "14.5 hours",
        ),
    ],
)
def test_what_would_refuse_every_request_ends_the_batch(tmp_path: Path, answer: Answer, words: str) -> None:
    async def main() -> None:
        closed = True
        script = Script(lambda name, _: answer if closed else ok(name))
        source = write(tmp_path / "in.jsonl", [line(f"r{i}") for i in range(500)])
        async with script.serving() as url:
            done = await run(source, tmp_path / "out.jsonl", url, "--max-concurrent", "4")
            assert done.status == 1 and words in done.err
            assert len(script.asked) <= 8, "nobody else is sent into the same refusal"
            assert "Run the same command again" in done.err
            closed = False
            done = await run(source, tmp_path / "out.jsonl", url)
            assert done.status == 0, done.err
        assert len(results(tmp_path / "out.jsonl")) == 500
        assert all(r["response"]["status_code"] == 200 for r in results(tmp_path / "out.jsonl").values())

    asyncio.run(main())


def test_no_connection_is_retried_then_recorded_and_tried_again_by_the_next_run(tmp_path: Path) -> None:
    async def main() -> None:
        script = Script(lambda name, _: ok(name))
        source = write(tmp_path / "in.jsonl", [line("a"), line("b")])
        async with script.serving() as url:
            pass  # a port on which nobody listens any more
        done = await run(source, tmp_path / "out.jsonl", url, "--max-attempts", "2")
        assert done.status == 1
        record = results(tmp_path / "out.jsonl")["a"]
        assert record["response"] is None and record["error"]["code"] == "connection_error"
        async with script.serving() as url:
            done = await run(source, tmp_path / "out.jsonl", url)
        assert done.status == 0 and "2 that had got no final answer are tried again" in done.err
        assert [r["response"]["status_code"] for r in results(tmp_path / "out.jsonl").values()] == [200, 200]

    asyncio.run(main())


def test_a_status_that_is_none_is_a_lost_connection(tmp_path: Path) -> None:
    async def main() -> None:
        async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"}")
            writer.write(b"HTTP/1.1 042 Odd\r\nContent-Length: 2\r\n\r\n{}")
            writer.close()

        source = write(tmp_path / "in.jsonl", [line("a")])
        async with await asyncio.start_server(respond, "127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
            done = await run(source, tmp_path / "out.jsonl", url, "--max-attempts", "1")
        assert done.status == 1 and "Traceback" not in done.err
        assert "status 42" in results(tmp_path / "out.jsonl")["a"]["error"]["message"]

    asyncio.run(main())


def test_a_server_that_is_gone_ends_the_batch(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", [line(f"r{i}") for i in range(500)])
    done = asyncio.run(
        run(source, tmp_path / "out.jsonl", "http://127.0.0.1:1/v1", "--max-attempts", "1", "--max-concurrent", "2")
    )
    assert (
        done.status == 1 and "20 requests in a row got no answer at all: cannot connect to 127.0.0.1 port 1" in done.err
    )
    assert len(results(tmp_path / "out.jsonl")) <= 25 and "requests are left" in done.err


def test_a_request_larger_than_the_limit_is_told_so_and_not_sent(tmp_path: Path) -> None:
    async def main() -> None:
        script = Script(lambda name, _: ok(name))
        source = write(
            tmp_path / "in.jsonl", [line("big", max_tokens=5000), line("huge", max_tokens=10**30), line("small")]
        )
        async with script.serving() as url:
            done = await run(source, tmp_path / "out.jsonl", url, "--tpm", "3000")
        assert done.status == 1 and script.asked == ["small"]
        found = results(tmp_path / "out.jsonl")
        assert found["big"]["error"]["code"] == "too_large" and "5,001 tokens" in found["big"]["error"]["message"]
        assert found["huge"]["error"]["code"] == "too_large"

    asyncio.run(main())


def test_a_smaller_concurrency_of_the_provider_is_respected(tmp_path: Path) -> None:
    async def main() -> None:
        inside = 0

        async def respond(name: str, _before: int) -> Answer:
            nonlocal inside
            if inside >= 3:
                return error(
                    429, "Too many concurrent requests: Limit 3, Used 3, Requested 1.", None, "concurrent_requests"
                )
            inside += 1
            await asyncio.sleep(0.005)
            inside -= 1
            return ok(name)

        script = Script(respond)
        source = write(tmp_path / "in.jsonl", [line(f"r{i}") for i in range(60)])
        async with script.serving() as url:
            done = await run(source, tmp_path / "out.jsonl", url, "--max-concurrent", "8")
        assert done.status == 0, done.err
        assert "(concurrency " in done.out
        assert len(script.asked) < 60 + 20

    asyncio.run(main())


def test_the_key_is_in_no_output(tmp_path: Path) -> None:
    """The server repeats the key wherever it can: bodies, messages, request ids, and a key with JSON escapes."""

    async def main() -> None:
        def respond(name: str, before: int) -> Answer:
            said = f"you sent Bearer {KEY} !"
            if name == "echo":
                return 200, json.dumps({"k": KEY, "l": said}).replace("/", "\\/").encode(), {"x-request-id": KEY}
            if name == "bad":
                return error(400, said)
            if name == "quota":
                return error(402, said)
            return (500, said.encode(), {"x-request-id": f"r-{KEY}"}) if before < 1 else ok(name)

        script = Script(respond)
        source = write(tmp_path / "in.jsonl", [line(name) for name in ("echo", "bad", "html")])
        quota = write(tmp_path / "quota.jsonl", [line("quota")])
        async with script.serving() as url:
            first = await run(source, tmp_path / "out.jsonl", url)
            second = await run(
                quota, tmp_path / "out2.jsonl", url, "--plain", "--api-key-env", "OTHER", key=None, OTHER=KEY
            )
        third = await run(source, tmp_path / "out3.jsonl", "http://127.0.0.1:1/v1", "--max-attempts", "1")
        assert len(script.asked) == 5 and all(h["Authorization"] == f"Bearer {KEY}" for h in script.headers)
        written = "".join(p.read_text() for p in tmp_path.glob("out*"))
        assert "[API key]" in written
        everything = written + "".join(d.out + d.err for d in (first, second, third))
        for form in (KEY, KEY.replace("/", "\\/"), KEY[3:20]):
            assert form not in everything

    asyncio.run(main())


@pytest.mark.parametrize(
    "options,words",
    [
        (["--rpm", "0"], "is not a whole number from 1"),
        (["--tpm", "many"], "is not a whole number from 1"),
        (["--tpm", "-5"], "argument --tpm"),
        (["--tpm", "60000000001"], "from 1 to 60,000,000,000"),
        (["--tpm", "60000000000", "--burst-seconds", "86400"], "these limits are not possible: "),
        (["--max-concurrent", "0"], "from 1 to 10000"),
        (["--burst-seconds", "nan"], "is not a number of seconds"),
        (["--timeout", "inf"], "is not a number of seconds"),
        (["--chars-per-token", "0"], "is not a number from 0.25"),
        (["--base-url", "ftp://x/v1"], "--base-url needs an address such as"),
        (["--base-url", "http://user:pw@127.0.0.1/v1"], "must not contain a user name"),
        (["--base-url", "http://127.0.0.1:x/v1"], "--base-url needs"),
    ],
)
def test_wrong_options_are_named(tmp_path: Path, options: list, words: str) -> None:
    source = write(tmp_path / "in.jsonl", [line("a")])
    done = asyncio.run(run(source, tmp_path / "out.jsonl", "http://127.0.0.1:1/v1", *options))
    assert done.status == 2 and words in done.err and "Traceback" not in done.err
    assert not (tmp_path / "out.jsonl").exists()


def test_unusable_keys_and_files_are_named(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", [line("a")])
    foreign = write(tmp_path / "notes.txt", ["dear diary"])

    async def main() -> None:
        done = await run(source, tmp_path / "out.jsonl", "https://api.example/v1", key=None)
        assert done.status == 2 and "OPENAI_API_KEY is not set" in done.err
        done = await run(source, tmp_path / "out.jsonl", "http://127.0.0.1:1/v1", key="sk-secret\nX: y")
        assert done.status == 2 and "has characters that no key has" in done.err and "secret" not in done.err
        done = await run(source, tmp_path / "out.jsonl", "https://api.example/v1", "--api-key-env", KEY, key=None)
        assert done.status == 2 and "named by --api-key-env is not set" in done.err and KEY not in done.err
        done = await run(tmp_path / "none.jsonl", tmp_path / "out.jsonl", "http://127.0.0.1:1/v1")
        assert done.status == 2 and "cannot read" in done.err
        done = await run(source, source, "http://127.0.0.1:1/v1")
        assert done.status == 2 and "same file" in done.err
        done = await run(source, tmp_path / "no" / "out.jsonl", "http://127.0.0.1:1/v1")
        assert done.status == 2 and "cannot open" in done.err
        done = await run(source, foreign, "http://127.0.0.1:1/v1")
        assert done.status == 2 and "line 1 of" in done.err and "is not a batch result; nothing was changed" in done.err
        assert foreign.read_text() == "dear diary\n"
        done = await run(source, Path("/dev/full"), "http://127.0.0.1:1/v1")
        assert done.status == 2 and "not a regular file" in done.err

    asyncio.run(main())


def test_an_empty_input_is_no_error(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", [])
    done = asyncio.run(run(source, tmp_path / "out.jsonl", "http://127.0.0.1:1/v1"))
    assert done.status == 0 and "0 answered" in done.out


def test_without_a_terminal_there_are_plain_lines_and_no_control_characters(tmp_path: Path) -> None:
    async def main() -> None:
        script = Script(lambda name, _: ok(name))
        source = write(tmp_path / "in.jsonl", [line(f"r{i}") for i in range(5)])
        async with script.serving() as url:
            done = await run(source, tmp_path / "out.jsonl", url, "--rpm", "600")
            quiet = await run(source, tmp_path / "out2.jsonl", url, "--quiet")
        assert "5/5 done" in done.err and "429s 0" in done.err
        assert not [c for c in done.err + done.out if ord(c) < 32 and c != "\n"]
        assert quiet.err == "" and "5 answered" in quiet.out

    asyncio.run(main())


def test_lines_of_a_megabyte(tmp_path: Path) -> None:
    async def main() -> None:
        script = Script(lambda name, _: ok(name))
        source = write(tmp_path / "in.jsonl", [line(f"r{i}", padding="x" * (1 << 20)) for i in range(8)])
        async with script.serving() as url:
            done = await run(source, tmp_path / "out.jsonl", url, "--max-concurrent", "3")
        assert done.status == 0 and len(results(tmp_path / "out.jsonl")) == 8

    asyncio.run(main())
