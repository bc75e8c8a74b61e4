"""Report, night and chart in a browser: no error, no request elsewhere, the numbers of their JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from src.data.charts.heat import STATES, Months, heat_map
from src.data.charts.page import page
from src.data.charts.report_page import SCRIPT, STYLE, Values, heat_shown
from src.data.model.html import element
from tests.browser.conftest import Open, Opened
from tests.charts.pages import differing
from tests.cli.conftest import Run

HALT = ("HALTUSDT", "1h", "--start", "2024-03-04", "--end", "2024-03-06")
# All values that a page shows, with their places, as the browser has them.
VALUES = """() => {
  const found = [...document.querySelectorAll("span[data-at]")].map(e => [e.dataset.at, e.textContent]);
  for (const row of document.querySelectorAll("tr[data-at]")) {
    const keys = [...row.closest("table").querySelectorAll("th[data-key]")].map(e => e.dataset.key);
    [...row.cells].forEach((cell, i) => found.push([`${row.dataset.at}/${keys[i]}`, cell.textContent]));
  }
  return found;
}"""
DATA = "() => document.getElementById('data').textContent"
# Each state's cell in grey: whether each point is lighter or darker than most of the cell.
GREY = """() => {
  const {top, wide, high} = JSON.parse(document.getElementById("heat").dataset.cell);
  const pen = document.querySelector("canvas.cells").getContext("2d"), cells = [];
  for (let i = 0; i < COUNT; i++) {
    const {data} = pen.getImageData(i * wide, top, wide - 1, high - 1), grey = [];
    for (let p = 0; p < data.length; p += 4)
      grey.push(data[p + 3] === 0 ? -1 : 0.3 * data[p] + 0.59 * data[p + 1] + 0.11 * data[p + 2]);
    const usual = [...grey].sort((a, b) => a - b)[Math.floor(grey.length / 2)];
    cells.push(grey.map(g => Math.abs(g - usual) > 40 ? "#" : ".").join(""));
  }
  return cells;
}"""


def check_values(one: Opened) -> Any:
    """Return the data of a page whose values are those of its data."""
    data, values = json.loads(one.page.evaluate(DATA)), one.page.evaluate(VALUES)
    assert len(values) > 5 and differing(data, [tuple(pair) for pair in values]) == []
    one.check()
    return data


@pytest.fixture
def filled(run: Run) -> Run:
    """Return the runner on a cache with a share and with a coin that has a hole."""
    run("fetch", "AAPL", "1d", "--start", "2018-01-02")
    run("fetch", *HALT)
    return run


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_report(filled: Run, open_page: Open, tmp_path: Path, scheme: str) -> None:
    for words, name in ((("AAPL", "1d"), "one.html"), (("--all",), "all.html")):
        assert filled("report", *words, "-o", str(tmp_path / name)).code == 0
        answer = filled("report", *words, "--json").json
        for width in (1200, 390):
            one = open_page(tmp_path / name, scheme=scheme, width=width)
            assert check_values(one) == answer
            assert one.page.evaluate("document.documentElement.scrollWidth") <= width, (
                "tables scroll"
            )
    paper = one.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") == (scheme == "light")
    assert one.page.locator("canvas.cells").count() == 1


def test_the_report_of_a_series_has_its_chart(filled: Run, open_page: Open, tmp_path: Path) -> None:
    filled("report", "HALTUSDT", "1h", "-o", str(tmp_path / "halt.html"))
    one = open_page(tmp_path / "halt.html")
    data = check_values(one)
    box = one.page.locator("main svg").first.bounding_box()
    assert box["width"] > 600 and box["height"] > 250
    assert one.page.locator("svg path").count() > 3
    drawn = data["series"][0]["drawn"]
    assert f"{drawn['given']} bars given: {drawn['drawn']} drawn" in one.page.text_content(
        "main svg"
    )


def test_the_map_reads_in_grey(open_page: Open, tmp_path: Path) -> None:
    signs = "".join(state.sign for state in STATES)
    heat = heat_map([("AAPL 1d", signs)], Months(2024 * 12, len(signs)))
    body = element("main", *heat_shown(Values({"heat": heat}).of("heat")))
    file = tmp_path / "heat.html"
    file.write_text(page("map", body, style=STYLE, script=SCRIPT, data={"heat": heat}))
    for scheme in ("light", "dark"):
        one = open_page(file, scheme=scheme)
        cells = one.page.evaluate(GREY.replace("COUNT", str(len(signs))))
        assert len(set(cells)) == len(signs), "each state has a shape of its own"
        one.check()


def test_the_page_of_a_night(run: Run, open_page: Open, tmp_path: Path) -> None:
    night = tmp_path / "night.html"
    ran = run("populate", "--symbols", "BTCUSDT,AAPL,NOPE", "--timeframes", "1d", "--start", "2024-05-01",
              "--report", str(night), "--json")  # fmt: skip
    one = open_page(night, width=390)
    assert check_values(one)["report"] == ran.json
    assert one.page.evaluate("document.documentElement.scrollWidth") <= 390


def test_no_other_host_can_be_reached(open_page: Open, tmp_path: Path) -> None:
    file = tmp_path / "outside.html"
    file.write_text('<img src="https://example.com/a.png">')
    with pytest.raises(AssertionError):
        open_page(file).check()
