"""The pages of ``onetape serve`` in a real browser: no error, no other host, and numbers that grey out."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from src.data.data_manager import DataManager
from src.data.server.facts import Facts
from tests.server.conftest import manager, market, share
from tests.server.test_serve import Site

from .conftest import Opened

__all__ = ["manager", "market", "share"]

Visit = Callable[..., Opened]
PAGES = ["/", "/series/AAPL/1d", "/series/BTCUSDT/1m", "/series/MSFT/1d", "/brief/AAPL"]


@pytest.fixture
def site(manager: DataManager, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr("src.data.server.first_page._PATIENCE_S", None)
    one = Site(Facts(manager))
    yield one
    one.stop()


@pytest.fixture
def visit(browser: Any, site: Site) -> Iterator[Visit]:
    """Return what opens a page of the server."""
    contexts = []

    def opened(path: str, width: int = 1280, scheme: str = "light") -> Opened:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, device_scale_factor=1
        )
        contexts.append(context)
        one = Opened(context.new_page())
        one.page.on("console", lambda m: one.errors.append(m.text) if m.type == "error" else None)
        one.page.on("pageerror", lambda error: one.errors.append(str(error)))
        one.page.on("request", lambda request: one.requests.append(request.url))
        one.page.goto(f"http://127.0.0.1:{site.port}{path}")
        return one

    yield opened
    for context in contexts:
        context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("path", PAGES)
def test_a_page_opens_without_an_error_and_fits_the_screen(
    visit: Visit, site: Site, path: str, width: int, scheme: str
) -> None:
    one = visit(path, width, scheme)
    one.page.wait_for_load_state("networkidle")
    own = f"http://127.0.0.1:{site.port}/"
    assert [url for url in one.requests if not url.startswith((own, "data:"))] == []
    assert len([url for url in one.requests if url.startswith(own)]) <= 6
    assert [text for text in one.errors if "404" not in text] == []
    assert one.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    if folder := os.environ.get("ONETAPE_SHOTS"):
        name = f"{path.strip('/').replace('/', '-') or 'board'}-{width}-{scheme}.png"
        one.page.screenshot(path=str(Path(folder) / name), full_page=True)


def test_the_chart_is_drawn(visit: Visit) -> None:
    one = visit("/series/AAPL/1d")
    one.page.wait_for_selector(".figure.live canvas")
    assert one.errors == []


def text_of(one: Opened) -> str:
    """Return the text of the page without its times, and without memory and disk."""
    return re.sub(r"\d\d:\d\d(:\d\d)?|.*(MB used|GB free).*", "", one.page.inner_text("main"))


def test_numbers_grey_out_when_the_server_ends_and_come_back_when_it_is_started_again(
    visit: Visit, site: Site, manager: DataManager
) -> None:
    one = visit("/")
    one.page.clock.install()
    one.page.reload()
    before = text_of(one)
    site.stop()
    one.page.clock.run_for(6000)
    one.page.wait_for_selector("body.lost")
    assert "No answer from the server" in one.page.inner_text("#alive")
    assert one.page.evaluate("getComputedStyle(document.querySelector('main')).opacity") < "1"
    again = Site(Facts(manager), port=site.port)
    try:
        one.page.clock.run_for(6000)
        one.page.wait_for_selector("body:not(.lost)")
        assert one.page.inner_text("#alive") == ""
        assert text_of(one) == before
    finally:
        again.stop()


def test_numbers_grey_out_when_the_server_hangs(visit: Visit) -> None:
    one = visit("/brief/AAPL")
    one.page.clock.install()
    one.page.route("**/alive", lambda _: None)  # is never answered
    one.page.reload()
    one.page.clock.run_for(5000)
    one.page.wait_for_selector("body.lost", timeout=15_000)


@pytest.mark.parametrize("minutes", [-5, 5])
def test_a_browser_whose_clock_is_wrong_shows_the_same(visit: Visit, minutes: int) -> None:
    one = visit("/")
    before = text_of(one)
    one.page.clock.install(time=time.time() + 60 * minutes)
    one.page.reload()
    one.page.clock.run_for(11_000)
    one.page.wait_for_load_state("networkidle")
    assert one.page.locator("body.lost").count() == 0
    assert text_of(one) == before


@pytest.mark.parametrize("path", ["/", "/series/AAPL/1d", "/brief/AAPL"])
def test_every_control_is_reached_by_the_keyboard_and_seen(visit: Visit, path: str) -> None:
    one = visit(path)
    one.page.wait_for_load_state("networkidle")
    controls = "a[href], button, input, select, summary, [tabindex='0']"
    ids = one.page.evaluate(
        """q => [...document.querySelectorAll(q)].filter(e => e.checkVisibility())
          .map((e, i) => e.dataset.stop = i)""",
        controls,
    )
    reached = set()
    for _ in range(3 * len(ids) + 20):
        one.page.keyboard.press("Tab")
        stop, outline = one.page.evaluate(
            "(e => [e.dataset.stop, getComputedStyle(e).outlineStyle])(document.activeElement)"
        )
        if stop is not None:
            assert outline != "none", one.page.evaluate("document.activeElement.outerHTML")
            reached.add(int(stop))
    assert sorted(reached) == ids


def test_the_focus_survives_a_renewal_and_selected_text_delays_it(visit: Visit) -> None:
    one = visit("/")
    one.page.clock.install()
    one.page.reload()
    link = one.page.locator("main a").first
    link.focus()
    one.page.evaluate("document.querySelector('main h1').textContent = 'old'")
    one.page.clock.run_for(5000)
    one.page.wait_for_selector("h1:has-text('What needs me')")
    assert one.page.evaluate("document.activeElement === document.querySelector('main a')")
    one.page.evaluate("document.querySelector('main h1').textContent = 'old'")
    one.page.evaluate("getSelection().selectAllChildren(document.querySelector('main h1'))")
    one.page.clock.run_for(5000)
    one.page.wait_for_selector("#alive:not(:empty)")
    assert "text is selected" in one.page.inner_text("#alive")
    assert one.page.inner_text("main h1") == "old"
