"""The live page, in a real browser."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any, Dict, List, Tuple

import pytest

pytest.importorskip("aiohttp", reason="needs the service extra: pip install 'llmrl[service]'")
pytest.importorskip("fastapi", reason="needs the service extra: pip install 'llmrl[service]'")
pytest.importorskip("uvicorn", reason="needs the service extra: pip install 'llmrl[service]'")

from page_helpers import browser, busy, chromium
from service_helpers import PATIENCE, chat, run, scripted, service, upstream

PAGE = Path(__file__).parents[2] / "src" / "llmrl" / "service" / "page.html"


def wait(driver: Any, script: str) -> Any:
    """What a script returns, as soon as that is something."""
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(driver, PATIENCE, 0.05).until(lambda driver: driver.execute_script(script))


def complaints(driver: Any) -> List[str]:
    return [entry["message"] for entry in driver.get_log("browser")]


def test_limits_queues_and_users_are_shown(tmp_path: Path) -> None:
    chromium()

    def look(url: str) -> Dict[str, Any]:
        with browser() as driver:
            driver.get(url)
            wait(driver, "return document.querySelectorAll('#users tbody tr').length >= 7")
            # Two samples, and it is drawn.
            wait(driver, "return document.querySelector('[data-level=global] path.line')")
            wait(driver, "return parseInt(document.querySelectorAll('.tile .number')[2].textContent) > 0")
            seen: Dict[str, Any] = driver.execute_script(
                """return {
                    state: document.getElementById('state').textContent,
                    cards: [...document.querySelectorAll('.cards h2')].map(node => node.textContent),
                    global: document.querySelector('[data-level=global]').innerText,
                    users: [...document.querySelectorAll('#users tbody td:first-child')].map(node => node.textContent),
                    charts: [...document.querySelectorAll('svg')].every(node => node.getAttribute('role') === 'img' && node.getAttribute('aria-label')),
                    wide: document.documentElement.scrollWidth > document.documentElement.clientWidth,
                    fetched: performance.getEntriesByType('resource').map(entry => entry.name),
                }"""
            )
            assert complaints(driver) == []
            driver.set_window_size(400, 800)
            assert not driver.execute_script("return document.documentElement.scrollWidth > document.documentElement.clientWidth")
            return seen

    async def test() -> None:
        async with busy(tmp_path) as serving:
            seen = await asyncio.to_thread(look, serving.url)
            assert seen["state"].startswith("live; requests wait for up to 8 s")
            assert seen["cards"] == ["All requests", "Model gpt-4o", "Upstream east", "Upstream west"]
            assert "900 requests a minute" in seen["global"] and "40 in flight" in seen["global"] and "% in use" in seen["global"]
            assert set(seen["users"]) == {"batch-1", "batch-2", "alice", "bob", "carol", "dan", "erin"}
            assert seen["charts"] and not seen["wide"]
            assert set(seen["fetched"]) == {f"{serving.url}/status"}, "nothing comes from elsewhere"

    run(test)


def test_names_of_users_are_text_and_nothing_else(tmp_path: Path) -> None:
    chromium()
    evil = "<img src=x onerror=\"document.title='evil'\">"

    def look(url: str) -> None:
        with browser() as driver:
            driver.get(url)
            shown = wait(driver, "const cell = document.querySelector('#users tbody td'); return cell && cell.textContent")
            assert shown == evil and driver.title == "llmrl serve"
            assert driver.execute_script("return document.querySelectorAll('#users img').length") == 0

    async def test() -> None:
        config = "[users]\nby = 'field'\nlimits = [{amount = 5}]\n"
        async with scripted() as (_, url), service(tmp_path, config + upstream(url)) as serving:
            assert (await serving.post(chat(user=evil))).status == 200
            assert "script-src 'sha256-" in (await serving.get("/")).headers["content-security-policy"]
            await asyncio.to_thread(look, serving.url)

    run(test)


def test_the_admin_key_is_asked_for_and_a_lost_service_is_told(tmp_path: Path) -> None:
    chromium()

    async def test() -> None:
        config = "[admin]\nkey_env = 'ADMIN'\n[global]\nlimits = [{amount = 5}]\n"
        async with scripted() as (_, url), service(tmp_path, config + upstream(url), ADMIN="secret") as serving:

            def look() -> None:
                with browser() as driver:
                    from selenium.webdriver.common.by import By

                    driver.get(serving.url)
                    wait(driver, "return !document.getElementById('login').hidden")
                    assert driver.execute_script("return document.querySelectorAll('.card[data-level]').length") == 0
                    for key, then in (("wrong", "return document.getElementById('state').textContent === 'this is not the admin key'"),
                                      ("secret", "return document.querySelector('[data-level=global]')")):  # fmt: skip
                        field = driver.find_element(By.ID, "key")
                        field.clear()
                        field.send_keys(key + "\n")
                        wait(driver, then)
                    serving.process.kill()
                    wait(driver, "return document.getElementById('state').textContent.startsWith('no connection')")

            await asyncio.to_thread(look)

    run(test)


def test_colours_have_contrast_in_both_schemes() -> None:
    """WCAG 2: 4.5 for text, 3 for what is drawn."""
    text = PAGE.read_text(encoding="utf-8")
    schemes = [dict(re.findall(r"--(\w+): (#[0-9a-f]{6});", part)) for part in re.split("prefers-color-scheme: dark", text, maxsplit=1)]
    assert len(schemes) == 2
    for colours in schemes:
        for back in ("card", "back"):
            for name in ("text", "soft", "warn", "full"):
                assert contrast(colours[name], colours[back]) >= 4.5, (name, back)
        for name in ("ok", "warn", "full"):
            assert contrast(colours[name], colours["track"]) >= 3, name


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("seconds, text", [(0.0, "no wait"), (5.25, "5.3 s"), (90, "2 min"), (7200, "2 h"), (None, "until others end")])
def test_times_as_the_page_writes_them(seconds: Any, text: str) -> None:
    script: Tuple[str, ...] = tuple(line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("const seconds"))
    chromium()
    with browser() as driver:
        assert driver.execute_script(f"{script[0]}; return seconds({json.dumps(seconds)});") == text
