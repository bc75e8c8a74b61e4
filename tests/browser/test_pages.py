"""Report, night and chart in a browser: no error, no request elsewhere, the numbers of their JSON."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from src.data.show.charts.chart_page import SCRIPTS
from src.data.show.charts.heat import STATES, Months, heat_map
from src.data.show.charts.pages import page
from src.data.show.reports.night import night_page
from src.data.show.reports.report_pages import coverage_map
from tests.browser.conftest import Open, Opened
from tests.cli.conftest import Run
from tests.show.reports.test_report import NIGHT, recorded_night

HALT = ("HALTUSDT", "1h", "--start", "2024-03-04", "--end", "2024-03-06")
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
    """Return the data of a page, whose figures are among its text."""
    data, text = json.loads(one.page.evaluate(DATA)), one.page.inner_text("main")
    summary = data["look"]
    assert str(summary["number"]) in text and summary["text"] in text
    for series in data.get("series", ()):
        assert f"{(series.get('quality') or series)['rows']:,}" in text
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
    one.page.wait_for_selector(".plot[data-ready]")
    box = one.page.locator(".plot").bounding_box()
    assert box["width"] > 600 and box["height"] > 250
    blocked = open_page(tmp_path / "halt.html", java_script_enabled=False)
    assert blocked.page.is_visible(".figure .spark") and blocked.page.is_hidden(".ranges")
    assert one.page.is_hidden(".figure .spark")
    assert data["series"][0]["drawn"]["given"] == 69


@pytest.mark.parametrize("width", [320, 390, 2560])
def test_a_line_of_the_report_of_everything_leads_to_a_chart(
    filled: Run, open_page: Open, tmp_path: Path, width: int
) -> None:
    filled("report", "--all", "-o", str(tmp_path / "all.html"))
    one = open_page(tmp_path / "all.html", width=width)
    one.page.focus("a[href='#series-1']")
    one.page.keyboard.press("Enter")
    one.page.wait_for_selector("#series-1 .plot[data-ready]")
    assert one.page.is_hidden(".list") and "close" in one.page.inner_text("#series-1 .readout")
    first, end = map(int, one.page.get_attribute("#series-1 .plot", "data-shown").split())
    count = len(json.loads(one.page.evaluate(DATA))["series"][1]["line"]["closes"])
    assert first <= 0 and count - 1 <= end, "all of its closes are in sight"
    assert one.page.evaluate("document.documentElement.scrollWidth") <= width
    one.page.click("#series-1 >> text=← all series")
    one.page.wait_for_selector(".list", state="visible")
    one.page.fill("#filter", "halt")
    rows = one.page.locator(".filtered tbody tr:visible")
    assert rows.count() == 1 and one.page.inner_text("#filtered") == "1 of 2"
    one.check()


def test_on_a_phone_the_rows_of_tables_are_cards(
    filled: Run, open_page: Open, tmp_path: Path
) -> None:
    filled("report", "HALTUSDT", "1h", "-o", str(tmp_path / "halt.html"))
    one = open_page(tmp_path / "halt.html", width=390)
    wide = one.page.locator(".wide").evaluate_all(
        "all => all.map(e => e.scrollWidth - e.clientWidth)"
    )
    assert wide and max(wide) <= 1, "nothing is beyond the edge"
    names = one.page.locator("table.records td").first.evaluate(
        "e => getComputedStyle(e, '::before').content"
    )
    assert names != "none"
    # Code within a sentence does not break it into columns.
    left = one.page.locator("table.records td").evaluate_all(
        """all => all.filter(e => getComputedStyle(e, "::before").content !== "none").flatMap(e => {
          const range = document.createRange(), {left} = e.getBoundingClientRect();
          return [...e.childNodes].flatMap(node => {
            range.selectNodeContents(node);
            return [...range.getClientRects()].map(one => one.left - left);
          });
        })"""
    )
    assert len(left) > 20 and min(left) > 130, "values stand beside the names"


def test_a_card_on_a_phone_has_the_name_of_its_series_as_its_title(
    filled: Run, open_page: Open, tmp_path: Path
) -> None:
    filled("report", "--all", "-o", str(tmp_path / "all.html"))
    one = open_page(tmp_path / "all.html", width=390)
    rows = one.page.locator(".filtered tbody tr")
    for place, name in enumerate(("HALTUSDT1h", "AAPL1d")):
        assert rows.nth(place).inner_text().strip().startswith(name)
        symbol, timeframe, line = (
            rows.nth(place).locator(of).bounding_box()
            for of in ("td >> nth=0", "td >> nth=1", "th")
        )
        assert symbol["y"] == timeframe["y"] and abs(line["y"] - symbol["y"]) < 12, "one line"
        assert line["x"] > timeframe["x"] + timeframe["width"] and line["x"] + line["width"] <= 390
    before = "all => all.map(e => getComputedStyle(e, '::before').content)"
    assert set(rows.first.locator("td >> nth=0").evaluate_all(before)) == {"none"}


@pytest.mark.parametrize("width", [320, 2560])
@pytest.mark.parametrize("words", [("HALTUSDT", "1h"), ("--all",)])
def test_a_report_fits_the_smallest_and_the_widest_window(
    filled: Run, open_page: Open, tmp_path: Path, words: tuple[str, ...], width: int
) -> None:
    filled("report", *words, "-o", str(tmp_path / "a.html"))
    one = open_page(tmp_path / "a.html", width=width, scheme="dark")
    assert one.page.evaluate("document.documentElement.scrollWidth") <= width
    one.check()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_report_on_paper(filled: Run, open_page: Open, tmp_path: Path, scheme: str) -> None:
    """The chart in the colours of paper, no buttons, and dark letters on white on any system."""
    filled("report", "HALTUSDT", "1h", "-o", str(tmp_path / "halt.html"))
    one = open_page(tmp_path / "halt.html", scheme=scheme)
    one.page.wait_for_selector(".plot[data-ready]")
    one.page.emulate_media(media="print", color_scheme=scheme)
    assert one.page.is_visible(".plot") and one.page.is_hidden(".ranges")
    colours = "() => [getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    assert one.page.evaluate(colours) == ["rgb(255, 255, 255)", "rgb(28, 36, 48)"]
    one.page.wait_for_function(
        """() => [...document.querySelector(".plot canvas").getContext("2d")
          .getImageData(2, 2, 1, 1).data].slice(0, 3).join() === "255,255,255\""""
    )


def test_a_report_of_everything_without_scripts_leads_to_its_series(
    filled: Run, open_page: Open, tmp_path: Path
) -> None:
    filled("report", "--all", "-o", str(tmp_path / "all.html"))
    one = open_page(tmp_path / "all.html", java_script_enabled=False, reduced_motion="reduce")
    assert one.page.is_hidden("#filter"), "a field that filters nothing"
    for _ in range(3):
        one.page.keyboard.press("Tab")
        if one.page.locator("a[href='#series-0']:focus").count():
            break
    one.page.keyboard.press("Enter")
    assert one.page.is_visible("#series-0 .spark") and one.page.is_hidden(".list")
    assert one.page.is_hidden("#series-0 .ranges")
    one.check()


def test_a_picture_is_not_black_in_a_white_notebook_on_a_dark_system(
    filled: Run, open_page: Open, tmp_path: Path
) -> None:
    filled("plot", "HALTUSDT", "1h", "-o", str(tmp_path / "halt.svg"), "--period", "1y")
    svg = (tmp_path / "halt.svg").read_text()
    host = tmp_path / "host.html"
    host.write_text(f"<body style='background:#fff;color:#000'>{svg}<img src=halt.svg></body>")
    one = open_page(host, scheme="dark")
    fills = one.page.evaluate("""() => ["path", "text"].map(name =>
      getComputedStyle(document.querySelector(`svg ${name}`)).fill)""")
    assert fills[0] == "rgb(255, 255, 255)" and fills[1] == "rgb(93, 104, 120)"
    covered = one.page.locator("svg path").first.evaluate("e => e.getBBox().width")
    assert covered >= float(re.search(r'viewBox="0 0 (\d+)', svg)[1])


def test_the_map_reads_in_grey(open_page: Open, tmp_path: Path) -> None:
    signs = "".join(state.sign for state in STATES)
    heat = heat_map([("AAPL 1d", signs)], Months(2024 * 12, len(signs)))
    file = tmp_path / "heat.html"
    data = {"data": {"heat": heat}}
    file.write_text(page("map", coverage_map(heat), data, scripts=(*SCRIPTS, "report.js")))
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


def test_the_small_bars_of_nights_end_at_the_right(open_page: Open, tmp_path: Path) -> None:
    """An empty place there would be a night that did not run."""
    record = [recorded_night(day, 1) for day in (1, 2)]
    path = tmp_path / "night.html"
    ends = ("2024-06-03T22:00:00Z", "2024-06-03T22:01:00Z")
    path.write_text(night_page(NIGHT, "sync", *ends, record))
    for width in (390, 1280):
        one = open_page(path, width=width)
        room = one.page.locator("svg.bars").evaluate_all(
            """all => all.map(e => e.getBoundingClientRect().right
              - e.querySelector("rect:last-of-type").getBoundingClientRect().right)"""
        )
        assert room and all(-0.5 <= beside <= 2.5 for beside in room)
        one.check()


def test_no_other_host_can_be_reached(open_page: Open, tmp_path: Path) -> None:
    file = tmp_path / "outside.html"
    file.write_text('<img src="https://example.com/a.png">')
    with pytest.raises(AssertionError):
        open_page(file).check()
