"""The pages of ``onetape serve`` in a real browser: no error, no other host, and numbers that grey out."""

from __future__ import annotations

import os
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
def site(manager: DataManager) -> Iterator[Site]:
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


def test_numbers_grey_out_when_the_server_ends_and_come_back(visit: Visit, site: Site) -> None:
    one = visit("/")
    one.page.clock.install()
    one.page.reload()
    site.stop()
    one.page.clock.run_for(6000)
    one.page.wait_for_selector("body.lost")
    assert "No answer from the server" in one.page.inner_text("#alive")
