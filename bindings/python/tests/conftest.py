"""Every test that takes ``api`` runs over both backends."""

from __future__ import annotations

import gc
import importlib
import sys
import time
from types import ModuleType
from typing import Callable

import pytest

# A test that waits for a condition gives up after this; nothing here is timed by it.
PATIENCE = 60.0


@pytest.fixture(params=["native", "ctypes"])
def api(request: pytest.FixtureRequest) -> ModuleType:
    name = f"llmrl._{request.param}"
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        pytest.skip("this build of the package has no C extension")


@pytest.fixture()
def clock(api):
    return api.ManualClock()


@pytest.fixture()
def limiter(api, clock):
    return lambda *limits, **options: api.Limiter(*limits, **{"clock": clock, **options})


def collect() -> None:
    """Collect all garbage. Where finalizers run after the collection, what they let go of takes another one."""
    for _ in range(1 if sys.implementation.name == "cpython" else 4):
        gc.collect()


def until(condition: Callable[[], bool]) -> None:
    """Give other threads the processor until ``condition`` holds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "the condition never came true"
        time.sleep(0.0001)


async def until_async(condition: Callable[[], bool]) -> None:
    """Let the event loop run until ``condition`` holds."""
    import asyncio

    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "the condition never came true"
        await asyncio.sleep(0)
