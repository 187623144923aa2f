"""A headless Chromium, and a service with traffic for it to look at."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import sys
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, AsyncIterator, Iterator, List

import pytest
from service_helpers import Service, chat, emulator, service, upstream

CONFIG = """
[admission]
max_wait = 8
[global]
limits = [{amount = 900}, {kind = "in_flight", amount = 40}]
[users]
by = "field"
limits = [{amount = 90}, {meter = "tokens", amount = 30_000}]
[models."gpt-4o"]
limits = [{meter = "tokens", amount = 60_000}]
"""
EAST = "[{amount = 300}, {meter = 'tokens', amount = 60_000}]"
WEST = "[{amount = 600}, {meter = 'tokens', amount = 90_000}]"


def chromium() -> str:
    """The browser. Where there is none the test is left out, and says so; in CI that is a failure."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    missing = "" if found and driver else "chromium and chromium-driver"
    if importlib.util.find_spec("selenium") is None:
        missing = "selenium (pip install 'llmrl[test-service]')"
    if missing:
        if os.environ.get("CI"):
            pytest.fail(f"the live page: {missing} not found")
        pytest.skip(f"{missing} not found")
    return str(found)


@contextmanager
def browser(dark: bool = False, size: str = "1200,1000") -> Iterator[Any]:
    """A headless Chromium that knows no other machine than this."""
    binary = chromium()
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service as Driver

    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", f"--window-size={size}",
                     "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--no-proxy-server"):  # fmt: skip
        options.add_argument(argument)
    if dark:
        options.add_argument("--force-dark-mode")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Driver(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


async def traffic(serving: Service, until: asyncio.Event) -> None:
    """Users of different hunger, two models, some who want too much."""

    async def user(name: str, model: str, most: int) -> None:
        number = 0
        while not until.is_set():
            number += 1
            body = chat(f"{name} {number} " + "word " * 200, user=name, model=model, max_tokens=most, stream=number % 2 == 0)
            answer = await serving.post(body)
            if answer.status == 429:
                await asyncio.sleep(int(answer.headers["retry-after-ms"]) / 1000)

    hungry: List[Any] = [user(f"batch-{n % 2 + 1}", "gpt-4o", 600) for n in range(24)]
    others = [user(name, "gpt-4o-mini", 300) for name in ("alice", "bob", "carol", "dan", "erin") for _ in range(3)]
    tasks = [asyncio.ensure_future(one) for one in hungry + others]
    await until.wait()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def busy(folder: Path) -> AsyncIterator[Service]:
    """A service with traffic."""
    async with emulator("--rpm", "240", "--tpm", "60000", "--latency-scale", "0.2") as east, emulator("--latency-scale", "0.2") as west:
        upstreams = upstream(east.url, limits=EAST) + upstream(west.url, "west", limits=WEST)
        async with service(folder, CONFIG + upstreams) as serving:
            over = asyncio.Event()
            clients = asyncio.ensure_future(traffic(serving, over))
            try:
                yield serving
            finally:
                over.set()
                await clients


async def shoot(path: Path, seconds: float, dark: bool = False) -> None:
    """A picture of the page after so many seconds of traffic: python page_helpers.py FILE [SECONDS [dark]]"""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        async with busy(Path(folder)) as serving:
            await asyncio.sleep(seconds)
            await asyncio.to_thread(_shoot, serving.url, path, dark)


def _shoot(url: str, path: Path, dark: bool) -> None:
    import time

    with browser(dark, "1200,1200") as driver:
        driver.get(url)
        time.sleep(5)
        driver.save_screenshot(str(path))


if __name__ == "__main__":
    asyncio.run(shoot(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 60, sys.argv[3:] == ["dark"]))
