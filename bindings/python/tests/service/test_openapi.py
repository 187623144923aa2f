"""Requests made up from the service's own description: none of them makes it fail."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, Iterator, List

import pytest

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed: pip install 'llmrl[test-service]'")
pytest.importorskip("aiohttp", reason="needs the service extra: pip install 'llmrl[service]'")
pytest.importorskip("fastapi", reason="needs the service extra: pip install 'llmrl[service]'")
pytest.importorskip("uvicorn", reason="needs the service extra: pip install 'llmrl[service]'")

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from service_helpers import emulator, service, upstream

CONFIG = (
    "[users]\nby = 'field'\nlimits = [{amount = 100000}]\n[global]\nlimits = [{amount = 100000}, {kind = 'in_flight', amount = 9}]\n"
)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service that runs beside the test."""
    ready, found = threading.Event(), []

    async def main() -> None:
        async with emulator("--latency-scale", "0") as provider:
            async with service(tmp_path_factory.mktemp("openapi"), CONFIG + upstream(provider.url)) as serving:
                over = asyncio.Event()
                found.extend([serving.url, asyncio.get_running_loop(), over])
                ready.set()
                await over.wait()
                await serving.until_idle()
                assert "Traceback" not in "".join(serving.log)

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    assert ready.wait(120)
    yield found[0]
    found[1].call_soon_threadsafe(found[2].set)
    thread.join(120)
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def description(url: str) -> Any:
    return schemathesis.openapi.from_url(f"{url}/openapi.json")


ROUTES = [
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/completions"),
    ("GET", "/v1/models"),
    ("GET", "/v1/limits"),
    ("GET", "/health"),
    ("GET", "/metrics"),
    ("GET", "/status"),
]
MODES = [schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE]


@pytest.mark.parametrize("mode", MODES, ids=["as described", "otherwise"])
@pytest.mark.parametrize("method, path", ROUTES)
def test_nothing_that_is_sent_makes_it_fail(description: Any, method: str, path: str, mode: Any) -> None:
    seen: List[int] = []

    @given(case=description[path][method].as_strategy(generation_mode=mode))
    @settings(max_examples=60, deadline=None, derandomize=True, database=None, phases=[Phase.explicit, Phase.generate],
              suppress_health_check=list(HealthCheck))  # fmt: skip
    def send(case: Any) -> None:
        answer = case.call()
        seen.append(answer.status_code)
        assert answer.status_code < 500, answer.text
        if answer.status_code >= 400:
            assert answer.json()["error"]["message"]

    try:
        send()
    except Unsatisfiable:
        assert mode is MODES[1]  # there is nothing to be done wrong
        return
    assert seen
    if path.endswith("completions") and mode is MODES[0]:
        assert 200 in seen, "what is described is served"


def test_the_description_names_every_route(description: Any) -> None:
    found = {(operation.ok().method.upper(), operation.ok().path) for operation in description.get_all_operations()}
    assert found == set(ROUTES)
