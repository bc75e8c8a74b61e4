"""Codes that are stored stay as they are, byte for byte, and users read sentences instead."""

from __future__ import annotations

import csv
import gzip
import re
from pathlib import Path

import pytest

from src.data.core.model.stored import reasons
from src.data.core.model.stored.reasons import sentence
from tests.core.cache.bars import store_in
from tests.core.cache.crash import Quick
from tests.golden import make

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests/golden/format-1-codes"


def listed() -> dict[str, tuple[str, str]]:
    """Return the codes of the page, each with where it is found and what is shown."""
    page = (ROOT / "docs/format.md").read_text(encoding="utf-8")
    table = page.split("## Reasons", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| `(.+?)` \| (.+?) \| (.+?) \|$", table, re.MULTILINE)
    return {code: (place, shown) for code, place, shown in rows}


def test_the_page_lists_every_code() -> None:
    names = [name for name in vars(reasons) if re.fullmatch(r"[A-Z][A-Z_]+", name)]
    codes = {getattr(reasons, name) for name in names if name != "PLAINLY_NONE"}
    assert codes == set(listed())


@pytest.mark.parametrize("code", listed())
def test_the_page_of_stored_codes_shows_the_sentences_that_users_read(code: str) -> None:
    shown = listed()[code][1]
    shown = {"as it is": code, "only what follows": ""}.get(shown, shown.strip("`"))
    assert sentence(code) == shown
    assert sentence(f"3 of 24 1h bars: {code}") == f"3 of 24 1h bars: {shown}"
    after = "and more" if code.endswith(" ") else "; and more"
    assert sentence(code + after) == shown + after


@pytest.mark.parametrize(
    "text",
    [
        "off_grids",
        "market closed early: a code of a newer version",
        "forming bars are not sent on this plan",
        "acme: grave: market closed",
        "acme: 3 of 24 1h bars: grave: \x1b[2J",
        "1 of 2 1h bars:grave: x",
        " grave: x",
        "withdrawn by grave: x",
        "",
    ],
)
def test_text_that_is_not_a_stored_code_is_shown_unchanged(text: str) -> None:
    assert sentence(text) == text


def test_the_text_after_a_stored_code_is_shown_unchanged() -> None:
    assert (
        sentence("grave: settled: market closed")
        == "almost certainly wrong: settled: market closed"
    )


def test_golden_files_contain_the_stored_codes() -> None:
    store = store_in(GOLDEN, Quick())
    coverage = store.view(make.ALL_CODES).coverage.opened()
    ends = tuple(code for code, (place, _) in listed().items() if place.startswith("end of"))
    assert all(any(part.reason.endswith(end) for part in coverage) for end in ends)
    # The longest code with which each reason begins.
    stored = [max(filter(part.reason.startswith, listed()), key=len) for part in coverage]
    file = GOLDEN / "ohlcv/CODES/1d/_quarantine/2024.rows.csv.gz"
    with gzip.open(file, "rt", encoding="ascii", newline="") as text:
        out = [row["reason"] for row in csv.DictReader(text)]
    rows = [max(filter(reason.startswith, listed()), key=len) for reason in out]
    assert [part.reason for part in coverage] == [reason for reason, _ in make.CODES]
    assert {*stored} == {code for code, (place, _) in listed().items() if "stretches" in place}
    assert {*rows} == {code for code, (place, _) in listed().items() if "quarantine" in place}
