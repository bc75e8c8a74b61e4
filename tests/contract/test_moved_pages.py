"""Links to pages of earlier versions lead to the section that has their text now."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from src.data.jobs.doctor.documentation import find_page, text_of
from tests.contract.source import ROOT

DOCS = ROOT / "docs"
ROWS = dict(line.split("\t") for line in (DOCS / "moved.tsv").read_text("utf-8").splitlines())
# The pages of the version that had the most.
BEFORE = """
adding-a-provider alerts architecture asyncio bars benchmarks bundles cache charts cheat coming-from-ccxt
coming-from-freqtrade coming-from-yfinance command compatibility contents core currencies database decisions
errors features filings first-change first-try format fundamentals futures gaps glossary handing-on jobs keys
known-limits live-feeds many-hosts observability other-tools own-files pipeline pitfalls precision provenance
providers quotes receipt-format receipts recording records reference releasing reports search second-layer
server sources symbols telegram-bot times trouble universes validation vendors vendors/alpaca
vendors/alpha_vantage vendors/binance vendors/ccxt vendors/coingecko vendors/demo vendors/eodhd
vendors/finnhub vendors/fmp vendors/ibkr vendors/local vendors/mock vendors/polygon
vendors/tiingo vendors/twelvedata vendors/yahoo
""".split()


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as the site and the hosts of repositories make them."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    titles = [
        re.sub(r"\]\([^)]*\)|[`*\[]", "", title)
        for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    ]
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", BEFORE)
def test_each_page_of_before_is_a_page_or_leads_to_a_section(page: str) -> None:
    old = f"{page}.md"
    assert (DOCS / old).is_file() != (old in ROWS)
    name = page.rpartition("/")[2]
    found = find_page(name)
    assert found is not None, "onetape docs shows it"
    target, _, anchor = ROWS.get(old, old).partition("#")
    assert found.file == target
    assert not anchor or anchor in anchors(text_of(found))


def test_no_row_leads_to_a_page_that_moved_and_none_is_superfluous() -> None:
    assert not {new.partition("#")[0] for new in ROWS.values()} & ROWS.keys()
    assert ROWS.keys() <= {f"{page}.md" for page in BEFORE}


def test_the_site_has_a_page_in_the_place_of_each_that_moved(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    runpy.run_path(str(ROOT / ".ci" / "site.py"))["redirect"](ROOT, tmp_path)
    for old, new in ROWS.items():
        page = (tmp_path / "docs" / old).with_suffix(".html")
        (target,) = set(re.findall(r'(?:url=|href=")([^"]+)"', page.read_text("utf-8")))
        file, _, anchor = target.partition("#")
        lead = (page.parent / file).resolve().relative_to(tmp_path.resolve())
        assert f"{lead.with_suffix('.md')}#{anchor}".rstrip("#") == f"docs/{new}"


def test_each_anchor_that_a_message_or_a_docstring_prints_is_a_heading() -> None:
    printed = {
        (page, anchor)
        for path in (*(ROOT / "src").rglob("*.py"), *(ROOT / "onetape").glob("*.py"))
        for page, anchor in re.findall(r"([\w-]+\.md)#([\w-]+)", path.read_text("utf-8"))
    }
    pages = {
        page for path in (ROOT / "src").rglob("*.py")
        for page in re.findall(r"docs/([\w-]+\.md)", path.read_text("utf-8"))
    }  # fmt: skip
    assert len(pages) > 5
    assert [page for page in sorted(pages) if not (DOCS / page).is_file()] == []
    assert [
        one for one in sorted(printed) if one[1] not in anchors((DOCS / one[0]).read_text("utf-8"))
    ] == []


def test_each_anchor_of_a_link_between_pages_is_a_heading() -> None:
    files = [*DOCS.glob("*.md"), *ROOT.glob("*.md")]
    headings = {path.resolve(): anchors(path.read_text("utf-8")) for path in files}
    lost = []
    for path in files:
        for target, anchor in re.findall(r"\]\(([^)#:\s]*)#([^)\s]+)\)", path.read_text("utf-8")):
            page = (path.parent / target).resolve() if target else path.resolve()
            if page in headings and anchor not in headings[page]:
                lost.append(f"{path.name}: {target}#{anchor}")
    assert lost == []
