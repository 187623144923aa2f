"""The service end to end: a real server, real upstreams, loopback ports."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import List

import pytest

aiohttp = pytest.importorskip("aiohttp", reason="needs the service extra: pip install 'llmrl[service]'")
pytest.importorskip("fastapi", reason="needs the service extra: pip install 'llmrl[service]'")
pytest.importorskip("uvicorn", reason="needs the service extra: pip install 'llmrl[service]'")

from aiohttp import web
from service_helpers import CHAT, KEY, PATIENCE, chat, emulator, failing, held, run, scripted, service, upstream, usage

import llmrl

# Not nice: comments, both kinds of line ends, half a character at the end of a piece, no event at the end of another.
PIECES = [
    b': hello\n\ndata: {"choices":[{"delta":{"content":"caf\xc3',
    b'\xa9"}}]}\r\n\r\ndata: ',
    b'{"choices":[],"usage":{"prompt_tokens":11,"completion_tokens":3}}\n',
    b"\ndata: [DONE]\n\n",
]


def test_a_stream_passes_byte_for_byte_and_piece_by_piece_and_is_settled(tmp_path: Path) -> None:
    steps: List[asyncio.Event] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream", "x-ratelimit-remaining-requests": "3"})
        await response.prepare(request)
        for piece, step in zip(PIECES, steps):
            await step.wait()
            await response.write(piece)
        return response

    async def test() -> None:
        steps.extend(asyncio.Event() for _ in PIECES)
        async with (
            scripted(handler) as (provider, url),
            service(
                tmp_path,
                "[users]\nlimits = [{amount = 60}, {meter = 'tokens', amount = 1000, per = 316224000}]\n"
                + upstream(url, key_env='"KEY"'),
            ) as serving,
        ):
            async with serving.client.post(serving.url + CHAT, json=chat(stream=True), headers={"cookie": "a=b"}) as response:
                steps[0].set()
                # The head and each piece are here before the upstream goes on.
                got = await response.content.readexactly(len(PIECES[0]))
                assert response.status == 200 and response.headers["content-type"] == "text/event-stream"
                assert "x-ratelimit-remaining-requests" not in response.headers
                for piece, step in zip(PIECES[1:], steps[1:]):
                    step.set()
                    got += await response.content.readexactly(len(piece))
                assert await response.content.read() == b"" and got == b"".join(PIECES)
            await serving.until_idle()
            limits = (await serving.get("/v1/limits")).json["data"][0]["limits"]
            assert limits[1]["available"] == 1000 - 11 - 3, "not what was estimated"
            metrics = (await serving.get("/metrics")).body.decode()
            assert 'llmrl_tokens_total{model="other",direction="input"} 11' in metrics
            assert 'llmrl_tokens_total{model="other",direction="output"} 3' in metrics
            assert provider.headers[0]["Authorization"] == f"Bearer {KEY}" and "Cookie" not in provider.headers[0]
            assert provider.asked == [chat(stream=True)]

    run(test)


def test_every_answer_carries_the_limits_and_they_are_what_our_own_reader_expects(tmp_path: Path) -> None:
    async def test() -> None:
        config = "[global]\nlimits = [{amount = 7, per = 3600}, {kind = 'in_flight', amount = 3}]\n"
        async with scripted() as (_, url), service(tmp_path, config + upstream(url)) as serving:
            answers = [
                await serving.post(chat()),
                await serving.post(b"{"),
                await serving.post({"model": "m"}),
                await serving.get("/v1/models"),
                await serving.get("/v1/limits"),
            ]
            assert [answer.status for answer in answers] == [200, 400, 400, 200, 200]
            for answer in answers:
                policy = '"global-requests-3600s";q=7;w=3600, "global-in_flight";q=3;qu="concurrent-requests"'
                assert answer.headers["ratelimit-policy"] == policy
                assert answer.headers["x-request-id"].startswith("req_")
                quota = llmrl.read_answer(answer.status, answer.headers).quotas[0]
                assert (quota.limit, quota.remaining, quota.window) == (7, 6, 3600.0)

    run(test)


def test_a_request_waits_in_its_turn(tmp_path: Path) -> None:
    async def test() -> None:
        go = asyncio.Event()
        config = "[global]\nlimits = [{kind = 'in_flight', amount = 1}]\n"
        async with scripted(held(go)) as (provider, url), service(tmp_path, config + upstream(url)) as serving:
            first = asyncio.ensure_future(serving.post(chat("first")))
            await provider.until_asked(1)
            rest = []
            for turn in range(3):
                rest.append(asyncio.ensure_future(serving.post(chat(f"turn {turn}"))))
                await serving.until(lambda status: status["levels"][0]["waiting"] == turn + 1)
            assert len(provider.asked) == 1
            go.set()
            assert [(await answer).status for answer in [first, *rest]] == [200] * 4
            words = [body["messages"][0]["content"] for body in provider.asked]
            assert words == ["first", "turn 0", "turn 1", "turn 2"]
            await serving.until_idle()

    run(test)


@pytest.mark.parametrize("policy", ["policy = 'reject'", "max_wait = 5"])
def test_what_cannot_be_admitted_in_time_is_refused_with_level_limit_and_time(tmp_path: Path, policy: str) -> None:
    async def test() -> None:
        config = f"[admission]\n{policy}\n[users]\nlimits = [{{amount = 2, per = 3600}}]\n"
        async with scripted() as (provider, url), service(tmp_path, config + upstream(url)) as serving:
            assert [(await serving.post(chat())).status for _ in range(2)] == [200, 200]
            refused = await serving.post(chat())
            assert refused.status == 429 and len(provider.asked) == 2
            assert refused.error["level"] == "user" and refused.error["code"] == "rate_limit_exceeded"
            assert refused.error["limit"]["amount"] == 2 and refused.error["limit"]["per"] == 3600
            assert "2 requests in 3600 s" in refused.error["message"]
            wait = refused.error["retry_after"]
            assert 0 < wait <= 1800 and int(refused.headers["retry-after"]) == -(-int(refused.headers["retry-after-ms"]) // 1000)
            assert wait * 1000 <= int(refused.headers["retry-after-ms"]) < wait * 1000 + 1
            assert '"user-requests-3600s";r=0;t=' in refused.headers["ratelimit"]
            # Another one has a budget of his own, and what was refused has cost nobody anything.
            assert (await serving.post(chat(), authorization="Bearer another")).status == 200
            await serving.until_idle()

    run(test)


def test_a_request_that_would_never_fit_is_told_so(tmp_path: Path) -> None:
    async def test() -> None:
        config = "[users]\nlimits = [{meter = 'tokens', amount = 1000}]\n"
        async with scripted() as (provider, url), service(tmp_path, config + upstream(url)) as serving:
            for most in (1001, 10**30):
                refused = await serving.post(chat(max_tokens=most))
                assert refused.status == 413 and refused.error["code"] == "request_too_large" and not provider.asked
            # SDKs try again after 429 and 503, not after this.
            assert "retry-after" not in refused.headers

    run(test)


def test_levels_stand_one_above_the_other_and_who_is_refused_takes_nothing(tmp_path: Path) -> None:
    config = """
    [admission]
    policy = "reject"
    [users]
    by = "field"
    limits = [{amount = 3, per = 3600}]
    [users.named.vip]
    limits = [{amount = 100, per = 3600}]
    [models.small]
    limits = [{amount = 4, per = 3600}]
    [global]
    limits = [{amount = 6, per = 3600}]
    """

    async def test() -> None:
        async with scripted() as (_, url), service(tmp_path, config + upstream(url)) as serving:

            async def level(user: str, model: str = "large") -> str:
                answer = await serving.post(chat(user=user, model=model))
                return "ok" if answer.status == 200 else answer.error["level"]

            assert [await level("ann") for _ in range(4)] == ["ok", "ok", "ok", "user"]
            # Many refusals at one level leave those above it as they are.
            assert {await level("ann") for _ in range(20)} == {"user"}
            assert [await level("vip", "small") for _ in range(4)] == ["ok", "ok", "ok", "global"]
            levels = {level["level"]: level["limits"][0]["available"] for level in (await serving.status())["levels"]}
            assert levels == {"global": 0, "model": 1, "upstream": 100000}

    run(test)


def test_a_429_is_failed_over_and_the_client_does_not_see_it(tmp_path: Path) -> None:
    async def test() -> None:
        refusing = failing(429, "Rate limit reached. Please try again in 40s.", retry_after="40")
        async with (
            scripted(refusing) as (east, url),
            scripted() as (west, other),
            service(tmp_path, upstream(url, weight="1000000") + upstream(other, "west", limits="[{amount = 1000}]")) as serving,
        ):
            answers = await asyncio.gather(*(serving.post(chat()) for _ in range(20)))
            assert [answer.status for answer in answers] == [200] * 20
            assert len(west.asked) == 20 and 1 <= len(east.asked) <= 20
            seen = len(east.asked)
            # Its limiter knows of the refusal: nobody is sent there until it is over.
            assert [(await serving.post(chat())).status for _ in range(5)] == [200] * 5 and len(east.asked) == seen
            assert 'llmrl_upstream_answers_total{upstream="east",class="rate"}' in (await serving.get("/metrics")).body.decode()
            await serving.until_idle()

    run(test)


def test_a_429_of_the_only_upstream_is_waited_out(tmp_path: Path) -> None:
    async def test() -> None:
        tries: List[int] = []

        async def handler(request: web.Request) -> web.StreamResponse:
            tries.append(1)
            refuse = failing(429, "Rate limit reached. Please try again in 50ms.", retry_after_ms="50")
            return await (refuse(request) if len(tries) == 1 else ok(request))

        async def ok(_request: web.Request) -> web.StreamResponse:
            return web.json_response({"usage": usage()})

        async with scripted(handler) as (_, url), service(tmp_path, upstream(url)) as serving:
            assert (await serving.post(chat())).status == 200 and len(tries) == 2
            await serving.until_idle()

    run(test)


@pytest.mark.parametrize(
    "status, message, told, code",
    [
        (429, "Rate limit reached for org-secret. Please try again in 3h.", 429, "rate_limit_exceeded"),
        (500, "stack trace", 502, "upstream_failed"),
        (401, f"Incorrect API key provided: {KEY}", 502, "upstream_failed"),
        (
            429,
            "Request too large for m in organization org-secret on tokens per min (TPM): Limit 10, Requested 20.",
            413,
            "request_too_large",
        ),
    ],
)
def test_failures_are_bounded_and_say_nothing_of_the_account(tmp_path: Path, status: int, message: str, told: int, code: str) -> None:
    async def test() -> None:
        async with (
            scripted(failing(status, message)) as (provider, url),
            service(
                tmp_path,
                "[users]\nlimits = [{amount = 3, per = 316224000}]\n"
                + upstream(url, key_env='"KEY"', limits="[{amount = 1000}, {kind = 'in_flight', amount = 5}]"),
            ) as serving,
        ):
            answer = await serving.post(chat())
            assert answer.status == told and answer.error["code"] == code and answer.error["level"] == "upstream"
            assert 1 <= len(provider.asked) <= 3
            assert KEY.encode() not in answer.body and b"org-secret" not in answer.body and b"trace" not in answer.body
            await serving.until_idle()
            limits = (await serving.get("/v1/limits")).json["data"][0]["limits"]
            assert limits[0]["available"] == 3, "what was only refused costs the user nothing"
            everything = (await serving.get("/metrics")).body + (await serving.get("/status")).body
            serving.signal(signal.SIGTERM)
            assert await serving.ended() == 0
            assert KEY not in "".join(serving.log) and KEY.encode() not in everything

    run(test)


def test_errors_that_are_the_clients_pass_as_they_are(tmp_path: Path) -> None:
    async def test() -> None:
        async with scripted(failing(400, "Invalid 'messages'")) as (provider, url), service(tmp_path, upstream(url)) as serving:
            answer = await serving.post(chat())
            assert answer.status == 400 and answer.error["message"] == "Invalid 'messages'" and len(provider.asked) == 1

    run(test)


def test_an_upstream_that_is_not_there_is_passed_over(tmp_path: Path) -> None:
    async def test() -> None:
        async with (
            scripted() as (_, url),
            service(tmp_path, upstream("http://127.0.0.1:9/v1", "dead", weight="1000000") + upstream(url, "alive")) as serving,
        ):
            assert [(await serving.post(chat())).status for _ in range(5)] == [200] * 5
            assert (await serving.get("/health")).json["passed_over"] == ["dead"]
            await serving.until_idle()

    run(test)


def test_models_go_where_they_are_served(tmp_path: Path) -> None:
    async def test() -> None:
        async with (
            scripted() as (east, url),
            scripted() as (west, other),
            service(tmp_path, upstream(url, models='["a", "both"]') + upstream(other, "west", models='["b", "both"]')) as serving,
        ):
            assert (await serving.post(chat(model="a"))).status == 200 and len(east.asked) == 1
            assert (await serving.post(chat(model="b"))).status == 200 and len(west.asked) == 1
            missing = await serving.post(chat(model="c"))
            assert missing.status == 404 and missing.error["code"] == "model_not_found"
            assert [model["id"] for model in (await serving.get("/v1/models")).json["data"]] == ["a", "b", "both"]
            # What belongs together stays together.
            for _ in range(10):
                await serving.post(chat(model="both", prompt_cache_key="conversation"))
            assert sorted((len(east.asked), len(west.asked))) == [1, 11]

    run(test)


def test_a_client_that_goes_away_cancels_its_wait_and_its_upstream_request(tmp_path: Path) -> None:
    async def test() -> None:
        go = asyncio.Event()
        config = "[global]\nlimits = [{kind = 'in_flight', amount = 1}]\n"
        async with scripted(held(go)) as (provider, url), service(tmp_path, config + upstream(url)) as serving:
            first = asyncio.ensure_future(serving.post(chat()))
            await provider.until_asked(1)
            second = asyncio.ensure_future(serving.post(chat()))
            await serving.until(lambda status: status["levels"][0]["waiting"] == 1)
            second.cancel()
            await serving.until(lambda status: status["levels"][0]["waiting"] == 0)
            first.cancel()
            await asyncio.wait_for(provider.gone.wait(), PATIENCE)
            await serving.until_idle()
            assert len(provider.asked) == 1
            assert "llmrl_disconnects_total 2" in (await serving.get("/metrics")).body.decode()

    run(test)


def test_a_killed_upstream_breaks_streams_off_and_leaks_nothing(tmp_path: Path) -> None:
    async def test() -> None:
        config = "[global]\nlimits = [{kind = 'in_flight', amount = 50}]\n"
        # Slow enough to be in the middle when it dies.
        async with (
            emulator("--latency-scale", "5") as provider,
            service(
                tmp_path, config + upstream(provider.url, limits="[{amount = 1000}, {kind = 'in_flight', amount = 50}]")
            ) as serving,
        ):

            async def stream(number: int, begun: List[int]) -> bool:
                async with serving.client.post(serving.url + CHAT, json=chat(f"r{number}", stream=True, max_tokens=4000)) as response:
                    assert response.status == 200
                    try:
                        async for line in response.content:
                            if number not in begun:
                                begun.append(number)
                            if b"[DONE]" in line:
                                return True
                    except aiohttp.ClientPayloadError:
                        return False
                    return True  # ended as if it were whole

            begun: List[int] = []
            streams = [asyncio.ensure_future(stream(number, begun)) for number in range(20)]
            while len(begun) < 20:
                await asyncio.sleep(0)
            provider.signal(signal.SIGKILL)
            assert await asyncio.gather(*streams) == [False] * 20, "no part of an answer looks like all of it"
            await serving.until_idle()
            serving.signal(signal.SIGTERM)
            assert await serving.ended() == 0
            assert sum('outcome="broke off"' in line for line in serving.log) == 20
            assert "Traceback" not in "".join(serving.log)

    run(test)


def test_a_killed_client_leaks_nothing(tmp_path: Path) -> None:
    async def test() -> None:
        limits = "[{amount = 1000}, {kind = 'in_flight', amount = 50}]"
        async with (
            emulator("--latency-scale", "5") as provider,
            service(tmp_path, f"[global]\nlimits = {limits}\n" + upstream(provider.url, limits=limits)) as serving,
        ):
            script = (
                "import asyncio, aiohttp, json, sys\n"
                "async def one(session, number):\n"
                f"    async with session.post({serving.url + CHAT!r}, json={{**{chat(stream=True, max_tokens=4000)!r}, 'seed': number}}) as response:\n"
                "        await response.content.readany()\n"
                "        print('begun', flush=True)\n"
                "        await response.read()\n"
                "async def main():\n"
                "    async with aiohttp.ClientSession() as session:\n"
                "        await asyncio.gather(*(one(session, number) for number in range(10)))\n"
                "asyncio.run(main())\n"
            )
            client = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE)
            assert client.stdout is not None
            for _ in range(10):
                assert await asyncio.wait_for(client.stdout.readline(), PATIENCE) == b"begun\n"
            client.kill()
            await client.wait()
            await serving.until_idle()
            # The upstream was told to stop, too.
            active = 10
            while active:
                async with serving.client.get(provider.url[: -len("/v1")] + "/stats") as response:
                    active = (await response.json())["active"]

    run(test)


def test_keys_of_clients_and_of_the_admin(tmp_path: Path) -> None:
    async def test() -> None:
        (tmp_path / "bob.key").write_text("bob's-key\n")
        config = """
        [admin]
        key_env = "ADMIN"
        [clients]
        ann = {key_env = "ANN"}
        bob = {key_file = "bob.key"}
        [users]
        limits = [{amount = 5}]
        """
        async with scripted() as (provider, url), service(tmp_path, config + upstream(url), ADMIN="adm", ANN="ann-key") as serving:
            for path in ("/v1/models", "/v1/limits"):
                assert (await serving.get(path)).status == 401
            for key in ("", "Bearer ", "Bearer ann-keX", "Basic ann-key", "Bearer adm"):
                refused = await serving.post(chat(), authorization=key)
                assert refused.status == 401 and refused.error["code"] == "invalid_api_key" and not provider.asked
            for key in ("Bearer ann-key", "bearer bob's-key"):
                assert (await serving.post(chat(), authorization=key)).status == 200
            assert "Authorization" not in provider.headers[0], "the key of a client is not for upstreams"
            for path in ("/metrics", "/status"):
                assert (await serving.get(path)).status == (await serving.get(path, authorization="Bearer ann-key")).status == 401
                assert (await serving.get(path, authorization="Bearer adm")).status == 200
            users = (await serving.get("/status", authorization="Bearer adm")).json["users"]["top"]
            assert sorted(user["user"] for user in users) == ["ann", "bob"]
            # The page itself has nothing to hide.
            assert (await serving.get("/")).status == 200

    run(test)


def test_limits_are_told_with_every_answer(tmp_path: Path) -> None:
    async def test() -> None:
        config = "[global]\nlimits = [{amount = 700}]\n[users]\nlimits = [{amount = 5}]\n[clients]\nann = {key_env = 'ANN'}\n"
        async with scripted() as (_, url), service(tmp_path, config + upstream(url), ANN="ann-key") as serving:
            for path, status, more in (("/v1/models", 401, {}), ("/nowhere", 404, {}), ("/v1/models", 431, {"x-long": "x" * 40_000})):
                answer = await serving.get(path, **more)
                assert (answer.status, answer.headers["ratelimit"]) == (status, '"global-requests-60s";r=700')
            known = (await serving.get("/v1/models", authorization="Bearer ann-key")).headers["ratelimit"]
            assert known == '"user-requests-60s";r=5, "global-requests-60s";r=700'

    run(test)


def test_bodies_and_headers_are_bounded(tmp_path: Path) -> None:
    async def test() -> None:
        config = "[server]\nport = 0\nmax_body = 2000\nmax_header = 4096\n"
        async with scripted() as (provider, url), service(tmp_path, config + upstream(url)) as serving:
            assert (await serving.post(chat("x" * 3000))).status == 413

            async def pieces():
                for _ in range(100):
                    yield b" " * 100

            async with serving.client.post(serving.url + CHAT, data=pieces()) as response:
                assert response.status == 413
            assert (await serving.get("/health", **{"x-long": "x" * 5000})).status == 431
            assert (await serving.get("/health", **{"x-long": "x" * 1_000_000})).status in (400, 431)
            assert not provider.asked
            assert (await serving.post(chat())).status == 200

    run(test)


def test_hostile_bodies_are_answered_with_a_reason(tmp_path: Path) -> None:
    bodies = [b"", b"null", b"[]", b"\xff", b'{"model": NaN}', b"[" * 100_000, b'{"model":"\\ud800","messages":[]}', b'{"model":"a\\nb","messages":[]}',
              b'{"model":"","messages":[]}', b'{"model":["m"],"messages":[]}', b'{"messages":[]}', b'{"model":"m"}']  # fmt: skip
    odd = [
        chat(n=10**40),
        chat(max_tokens=-1),
        chat(max_tokens="x"),
        chat(stream="yes"),
        {"model": "m", "messages": 3},
        chat(tools=[[[]]]),
    ]

    async def test() -> None:
        config = "[users]\nby = 'field'\nlimits = [{amount = 1000}]\n"
        async with emulator("--latency-scale", "0") as provider, service(tmp_path, config + upstream(provider.url)) as serving:
            for body in bodies:
                answer = await serving.post(body)
                assert answer.status == 400 and answer.error["message"], body
            for more in odd:
                assert (await serving.post(more)).status in (200, 400), more
            for user in ("", "x" * 257, 3, "a\nb", "\ud800"):
                answer = await serving.post(json.dumps(chat(user=user)).encode())
                assert answer.status == 400 and answer.error["param"] == "user", user
            await serving.until_idle()

    run(test)
