"""The pictures of README and the pages are those that the code draws: by their texts and shapes."""

from __future__ import annotations

import html
import re
from collections import Counter
from importlib.util import module_from_spec, spec_from_file_location
from typing import Any

import pytest

from tests.contract.source import ROOT

FOLDER = ROOT / "docs" / "img"
# Measured anew by each run; lines of tables are as long as the measured times are wide.
_MEASURED = re.compile(r"[\d,.]+ ms|─+|[\d,]+ times as fast|20[2-9]\d-\d\d-\d\d(?: [\d:.]+)?")


def drawer() -> Any:
    """Return the script that draws them."""
    spec = spec_from_file_location("picture", FOLDER / "picture.py")
    assert spec is not None and spec.loader is not None
    spec.loader.exec_module(module := module_from_spec(spec))
    return module


DRAWER = drawer()


def texts(picture: str) -> list[str]:
    """Return the words that a picture shows without what is measured, and without dates of now."""
    inside = re.findall(r"<(?:text|h1|p|b)\b[^>]*>(.*?)</(?:text|h1|p|b)>", picture, re.DOTALL)
    text = " ".join(html.unescape(re.sub(r"<[^>]+>", " ", one)) for one in inside)
    return _MEASURED.sub(" ", text.replace("\xa0", " ")).split()


def shapes(picture: str) -> Counter[str]:
    """Return how many elements of each kind a picture has."""
    return Counter(re.findall(r"<(path|rect|line|polygon|circle|polyline)\b", picture))


@pytest.mark.parametrize("name", DRAWER.PICTURES)
def test_each_stored_picture_equals_the_one_drawn_now(name: str) -> None:
    pytest.importorskip("bokeh_sampledata", reason="bokeh_sampledata is not installed")
    drawn, kept = DRAWER.PICTURES[name](), (FOLDER / name).read_text("utf-8")
    assert texts(drawn) == texts(kept), "run `make pictures`"
    assert len(texts(kept)) > 20
    if name != "demo.svg":  # boxes behind words are as long as the measured times
        assert shapes(drawn) == shapes(kept), "run `make pictures`"


def test_each_picture_is_drawn_and_shown() -> None:
    kept = {path.name for path in FOLDER.glob("*.[sp][vn]g")}
    assert kept == set(DRAWER.PICTURES)
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    shown = {
        name for page in pages for name in re.findall(r"img/([\w.-]+)\)", page.read_text("utf-8"))
    }
    assert shown == kept


@pytest.mark.parametrize("name", DRAWER.PICTURES)
def test_a_picture_loads_no_file(name: str) -> None:
    text = (FOLDER / name).read_text("utf-8")
    assert not re.search(
        r"@font-face|@import|url\((?!#)|<image|<script|(?:xlink:)?href=[\"'](?!#)", text
    )


def test_a_changed_text_is_seen() -> None:
    a = '<text x="1">250 bars<tspan> 3 ms</tspan></text>'
    assert texts(a) == texts(a.replace("3 ms", "1,204.5 ms")) != texts(a.replace("250", "251"))
    rule = "<text>onetape ─── 250 bars</text>"
    assert texts(rule) == texts(rule.replace("───", "────"))
