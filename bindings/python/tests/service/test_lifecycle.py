"""Reading the configuration again, and stopping."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

import pytest

aiohttp = pytest.importorskip("aiohttp", reason="needs the service extra: pip install 'llmrl[service]'")
pytest.importorskip("fastapi", reason="needs the service extra: pip install 'llmrl[service]'")
pytest.importorskip("uvicorn", reason="needs the service extra: pip install 'llmrl[service]'")

from service_helpers import CHAT, PATIENCE, chat, held, process, run, scripted, service, upstream

HEAD = "[server]\nport = 0\n"


def test_a_new_file_changes_limits_in_place_and_drops_nothing(tmp_path: Path) -> None:
    async def test() -> None:
        go = asyncio.Event()
        async with scripted(held(go)) as (provider, url), scripted() as (another, other):
            config = "[global]\nlimits = [{{amount = 100, per = 3600}}, {{kind = 'in_flight', amount = {}}}]\n"
            async with service(tmp_path, HEAD + config.format(1) + upstream(url)) as serving:
                first = asyncio.ensure_future(serving.post(chat("first")))
                await provider.until_asked(1)
                second = asyncio.ensure_future(serving.post(chat("second")))
                await serving.until(lambda status: status["levels"][0]["waiting"] == 1)
                # Who waits already is admitted by the new limit, and goes where the file sent it when it came.
                await serving.reload(HEAD + config.format(2) + upstream(other, "west"))
                await provider.until_asked(2)
                go.set()
                assert (await first).status == (await second).status == 200
                assert (await serving.post(chat("third"))).status == 200 and len(another.asked) == 1
                available = (await serving.status())["levels"][0]["limits"][0]["available"]
                assert available == 97, "what was used before counts on"
                assert (await serving.get("/metrics")).body.count(b'llmrl_config_reloads_total{result="ok"} 1') == 1

    run(test)


def test_a_bad_file_keeps_the_old_one_and_says_so(tmp_path: Path) -> None:
    async def test() -> None:
        async with scripted() as (_, url), service(tmp_path, HEAD + upstream(url)) as serving:
            await serving.reload(HEAD + "[global]\nlimits = [{amount = 0}]\n" + upstream(url))
            await serving.until_said("global.limits[0].amount must be a whole number from 1 to 1099511627775, got 0")
            assert (await serving.post(chat())).status == 200
            assert 'llmrl_config_reloads_total{result="failed"} 1' in (await serving.get("/metrics")).body.decode()
            serving.file.unlink()
            serving.signal(signal.SIGHUP)
            await serving.until_said("cannot be read")
            assert (await serving.post(chat())).status == 200

    run(test)


def test_what_needs_a_restart_or_begins_anew_is_said(tmp_path: Path) -> None:
    async def test() -> None:
        users = "[users]\nlimits = [{amount = 2, per = 3600}]\n[users.named.key]\nlimits = [{amount = 3, per = 3600}]\n"
        async with scripted() as (_, url), service(tmp_path, HEAD + users + upstream(url)) as serving:
            assert (await serving.post(chat())).status == 200
            await serving.reload(HEAD + "max_header = 5000\n" + users.replace("amount = 3", "amount = 5") + upstream(url))
            await serving.until_said("server.max_header")
            # Another named user's limits do not touch this one's.
            assert (await serving.get("/v1/limits")).json["data"][0]["limits"][0]["available"] == 1
            await serving.reload(HEAD + users.replace("amount = 2", "amount = 4") + upstream(url))
            await serving.until_said("each user begins anew")
            assert (await serving.get("/v1/limits")).json["data"][0]["limits"][0]["available"] == 4

    run(test)


def test_stopping_lets_requests_end_and_takes_no_new_ones(tmp_path: Path) -> None:
    async def test() -> None:
        go = asyncio.Event()
        config = HEAD + "log = 'json'\n[global]\nlimits = [{kind = 'in_flight', amount = 1}]\n"
        async with scripted(held(go)) as (provider, url), service(tmp_path, config + upstream(url)) as serving:
            first = asyncio.ensure_future(serving.post(chat("first")))
            await provider.until_asked(1)
            second = asyncio.ensure_future(serving.post(chat("second")))
            await serving.until(lambda status: status["levels"][0]["waiting"] == 1)
            serving.signal(signal.SIGTERM)

            async def refused() -> None:
                while True:
                    try:
                        async with aiohttp.ClientSession() as session, session.get(serving.url + "/health"):
                            pass
                    except aiohttp.ClientConnectorError:
                        return

            await asyncio.wait_for(refused(), PATIENCE)
            go.set()
            assert (await first).status == (await second).status == 200
            assert await serving.ended() == 0
            lines = [json.loads(line) for line in serving.log]
            assert [line["event"] for line in lines] == ["started", "request", "request", "stopped"]
            assert lines[1]["status"] == 200 and lines[1]["user"] == "anonymous" and lines[1]["output"] == 7

    run(test)


def test_stopping_does_not_wait_for_ever(tmp_path: Path) -> None:
    async def test() -> None:
        never = asyncio.Event()
        config = HEAD + "shutdown = 1\n[global]\nlimits = [{kind = 'in_flight', amount = 1}]\n"
        async with scripted(held(never)) as (provider, url), service(tmp_path, config + upstream(url)) as serving:
            answers = [asyncio.ensure_future(serving.post(chat(f"{number}"))) for number in range(2)]
            await provider.until_asked(1)
            await serving.until(lambda status: status["levels"][0]["waiting"] == 1)
            serving.signal(signal.SIGTERM)
            assert [(await answer).status for answer in answers] == [503, 503]
            await asyncio.wait_for(provider.gone.wait(), PATIENCE)
            assert await serving.ended() == 0
            assert "Traceback" not in "".join(serving.log)

    run(test)


def test_an_address_in_use_is_reported(tmp_path: Path) -> None:
    async def test() -> None:
        async with scripted() as (_, url), service(tmp_path, upstream(url)) as serving:
            port = serving.url.rpartition(":")[2]
            (tmp_path / "other.toml").write_text(f"[server]\nport = {port}\n" + upstream(url))
            with pytest.raises(AssertionError, match=f"cannot listen on 127.0.0.1 port {port}: Address already in use"):
                async with process("serve", str(tmp_path / "other.toml")):
                    pass
            # The one that was there still is.
            assert (await serving.get("/health")).status == 200
            assert (await serving.post(chat(), CHAT)).status == 200

    run(test)
