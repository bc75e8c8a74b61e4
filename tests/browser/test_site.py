"""The built site, opened from disk: no error, no request to a host."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from tests.browser.conftest import Open
from tests.contract.source import ROOT

QUESTIONS = {
    "adjusted prices": "adjusted for splits and dividends",
    "the last price": "manager.get_quote",
    "many symbols": "manager.get_ohlcv_batch",
    "what provisional means": "may still correct it",
    "why a bar is missing": "lists the gaps in an answer",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    runpy.run_path(str(ROOT / ".ci" / "site.py"))["build"](ROOT, folder / "pages", folder / "site")
    return folder / "site"


def test_every_page_opens_from_disk(site: Path, open_page: Open) -> None:
    paths = [
        path
        for path in sorted(site.rglob("*.html"))
        if "Moved" not in path.read_text("utf-8")[:200]
    ]
    assert len(paths) > 50
    opened = open_page(paths[0])
    for path in paths:
        opened.page.goto(path.as_uri())
        source = site / path.relative_to(site).with_suffix(".md")
        name = "README.md" if path.name == "index.html" else source.name
        heading = re.match(r"# (.*)", (path.parent / name).read_text("utf-8"))
        assert heading is not None
        shown = opened.page.locator("main h1").first.inner_text()
        assert _letters(shown) == _letters(heading[1]), path.name
        # A style sheet that was not read would leave the page without its columns.
        assert opened.page.locator("body").evaluate("b => getComputedStyle(b).display") == "grid"
    opened.check()


def _letters(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def test_the_pictures_of_the_first_page_are_drawn(site: Path, open_page: Open) -> None:
    opened = open_page(site / "index.html")
    widths = opened.page.locator("main img").evaluate_all(
        "all => all.map(i => i.complete && i.naturalWidth && i.clientWidth)"
    )
    assert len(widths) == 1 and all(width > 500 for width in widths), (
        "an SVG is as wide as its place"
    )
    opened.check()


def test_on_a_phone_the_menu_is_folded_and_the_page_comes_first(
    site: Path, open_page: Open
) -> None:
    opened = open_page(site / "docs" / "bars.html", width=390, height=844)
    top = opened.page.locator("main h1").bounding_box()["y"]
    assert top < 150 and opened.page.is_hidden("#search")
    opened.page.focus("#menu")
    opened.page.keyboard.press("Space")
    assert opened.page.is_visible("#search")
    code = opened.page.locator("pre:has(code span)").evaluate_all(
        "all => all.map(e => e.scrollWidth - e.clientWidth)"
    )
    assert max(code) <= 1, "no line of code is cut"
    opened.check()


def test_tables_of_output_keep_their_columns_on_a_phone(site: Path, open_page: Open) -> None:
    """A line is a line; what is wider than the page is moved sideways, and the page is not."""
    opened = open_page(site / "index.html", width=390, height=844)
    outputs = opened.page.locator(".codehilite pre:not(:has(code span))").evaluate_all(
        """all => all.map(e => {
          const {lineHeight, paddingTop} = getComputedStyle(e), rows = e.textContent.trimEnd().split("\\n");
          const drawn = (e.clientHeight - 2 * parseFloat(paddingTop)) / parseFloat(lineHeight);
          return [rows.length, Math.round(drawn), e.scrollWidth > e.clientWidth];
        })"""
    )
    assert outputs and all(drawn == rows for rows, drawn, _ in outputs)
    assert any(is_wide for *_, is_wide in outputs)
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_reader_of_yfinance_finds_it_within_two_clicks(
    question: str, site: Path, open_page: Open
) -> None:
    opened = open_page(site / "index.html")
    opened.page.locator("main").get_by_role("link", name="yfinance", exact=True).click()
    table = opened.page.locator("main table", has_text="you look for")
    table.get_by_role("link", name=question, exact=True).click()
    anchor = opened.page.url.partition("#")[2]
    heading = opened.page.locator(f"#{anchor}")
    top = heading.evaluate("h => h.getBoundingClientRect().top")
    assert -1 < top < 900, "the section is in view"
    section = heading.evaluate(
        "h => { let t = ''; for (let e = h.nextElementSibling; e && e.tagName != 'H2';"
        " e = e.nextElementSibling) t += e.innerText; return t; }"
    )
    assert QUESTIONS[question] in section
    opened.check()


def test_the_search_leads_to_a_section(site: Path, open_page: Open) -> None:
    opened = open_page(site / "docs" / "providers.html")
    opened.page.fill("#search", "provisional")
    first = opened.page.locator("#results li a").first
    assert first.inner_text() == "Glossary · Provisional"
    first.click()
    assert opened.page.url.endswith("docs/glossary.html#provisional")
    opened.page.fill("#search", "<b>no such word</b>")
    opened.page.get_by_text("nothing fits").wait_for()
    assert opened.page.locator("#results b").count() == 0
    opened.check()


def test_a_phone_reads_it_in_the_dark(site: Path, open_page: Open) -> None:
    opened = open_page(site / "docs" / "bars.html", scheme="dark", width=400, height=800)
    wide = opened.page.evaluate("document.documentElement.scrollWidth")
    assert wide <= 400, "tables and code scroll by themselves"
    colour = opened.page.locator("body").evaluate("b => getComputedStyle(b).backgroundColor")
    assert max(map(int, re.findall(r"\d+", colour))) < 64
    opened.check()
