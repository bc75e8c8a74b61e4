"""Pages in a real browser, opened from disk; part of `make test-browser` alone.

No other host can be reached: the browser resolves none.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import bare, cache, fill, machine, rules, run

__all__ = ["bare", "cache", "fill", "machine", "rules", "run"]

# `make test` has no browser: what it proves of pages it reads out of their text.
collect_ignore_glob = [] if os.environ.get("ONETAPE_BROWSER") else ["test_*.py"]

CHROMIUM = Path(os.environ.get("CHROMIUM") or "/usr/bin/chromium")
ARGUMENTS = ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]


@dataclass
class Opened:
    """A page that is open, and what happened in it."""

    page: Any
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def check(self) -> None:
        """Fail where it logged an error, or asked for anything but itself."""
        assert self.errors == []
        assert [url for url in self.requests if not url.startswith(("file://", "data:"))] == []


Open = Callable[..., Opened]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Start the system's Chromium once."""
    from playwright.sync_api import sync_playwright

    if not CHROMIUM.exists():
        pytest.fail(f"there is no browser at {CHROMIUM}: install chromium, or name one by CHROMIUM")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Open]:
    """Return what opens a file as a page."""
    contexts = []

    def opened(
        path: Path,
        *,
        scheme: str = "light",
        width: int = 1200,
        height: int = 900,
        **wishes: Any,
    ) -> Opened:
        size = {"width": width, "height": height}
        context = browser.new_context(
            viewport=size, color_scheme=scheme, device_scale_factor=1, **wishes
        )
        contexts.append(context)
        one = Opened(context.new_page())
        one.page.on("console", lambda m: one.errors.append(m.text) if m.type == "error" else None)
        one.page.on("pageerror", lambda error: one.errors.append(str(error)))
        one.page.on("request", lambda request: one.requests.append(request.url))
        one.page.goto(path.resolve().as_uri())
        return one

    yield opened
    for context in contexts:
        context.close()
