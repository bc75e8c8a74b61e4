"""The page of a chart in a browser: zoom, pan, ranges, log, keyboard, colours, paper, no script."""

from __future__ import annotations

import base64
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from src.data.show.charts.chart_page import html_of
from src.data.show.charts.overlays import overlaid
from src.data.show.charts.picture import plot
from src.data.show.charts.reading import chart_of
from tests.browser.conftest import Open, Opened
from tests.show.frames import COIN, SHARE, frame_of, gap
from tests.show.pages import columns_of, read_page

_BARS = 900


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """Return the file of a chart of 900 days of two vendors, with a gap and a dividend."""
    rng = np.random.default_rng(5)
    frame = frame_of(
        np.round(100 + np.cumsum(rng.normal(size=_BARS)), 2),
        "2021-01-04",
        gaps=[gap("2021-02-01T00:00:00", "2021-02-06T00:00:00")],
    )
    frame["source"] = ["one"] * 700 + ["two"] * (_BARS - 700)
    frame["dividend"] = [0.25 if n == 850 else 0.0 for n in range(_BARS)]
    frame = frame.drop(frame.index[20:25])
    path = tmp_path / "chart.html"
    path.write_text(html_of(chart_of(frame, {"ACME": SHARE})))
    return path


def ready(one: Opened) -> Opened:
    one.page.wait_for_selector(".plot[data-ready]")
    return one


def shown(one: Opened) -> tuple[int, int]:
    """Return the first column in sight and the one after the last."""
    one.page.evaluate(
        "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
    )
    first, end = one.page.get_attribute(".plot", "data-shown").split()
    return int(first), int(end)


def settled(one: Opened, before: tuple[int, int]) -> tuple[int, int]:
    """Return what is in sight once that is no longer ``before``."""
    text = " ".join(map(str, before))
    one.page.wait_for_function(
        "text => document.querySelector('.plot').dataset.shown !== text", arg=text
    )
    return shown(one)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1280, 2560])
def test_it_fits_any_width_with_the_newest_end_in_sight(
    page: Path, open_page: Open, width: int, scheme: str
) -> None:
    one = ready(open_page(page, width=width, scheme=scheme))
    data = read_page(page.read_text()).data
    first, end = shown(one)
    slots = len(data["time"])
    assert end == slots and end - first > 20
    assert (end - first) * 5 < width or first <= 0, (
        "no bar is narrower than five pixels, or all are seen"
    )
    assert one.page.evaluate("document.documentElement.scrollWidth") <= width
    assert one.page.is_hidden(".figure .spark")
    last = columns_of(data)
    readout = one.page.inner_text(".readout")
    assert f"close {last['close'][-1]:g}" in readout and "two" in readout
    one.check()


def test_wheel_drag_buttons_and_log(page: Path, open_page: Open) -> None:
    one = ready(open_page(page, width=1200))
    begin = shown(one)
    one.page.hover(".plot", position={"x": 600, "y": 200})
    one.page.mouse.wheel(0, -300)
    near = settled(one, begin)
    assert near[1] - near[0] < begin[1] - begin[0]
    one.page.mouse.down()
    one.page.mouse.move(900, 400, steps=5)
    one.page.mouse.up()
    panned = settled(one, near)
    assert panned[0] < near[0] and abs((panned[1] - panned[0]) - (near[1] - near[0])) <= 1
    spans, before = {}, panned
    for name in ("1M", "6M", "1Y", "All"):
        one.page.click(f"text={name}")
        before = settled(one, before)
        spans[name] = before[1] - before[0]
    assert 19 <= spans["1M"] <= 24 and 120 <= spans["6M"] <= 135 and 255 <= spans["1Y"] <= 266
    assert spans["All"] >= _BARS
    one.page.click("text=1M")
    settled(one, before)
    log, percent = (one.page.locator("button", has_text=name) for name in ("Log", "%"))
    assert log.get_attribute("aria-pressed") == "false"
    log.click()
    assert log.get_attribute("aria-pressed") == "true"
    percent.click()
    assert (log.get_attribute("aria-pressed"), percent.get_attribute("aria-pressed")) == (
        "false",
        "true",
    )
    one.check()


def test_the_keyboard_alone(page: Path, open_page: Open) -> None:
    """Tab to the chart, walk, zoom, go to either end; each bar has its values in the line above."""
    one = ready(open_page(page))
    bars = columns_of(read_page(page.read_text()).data)
    for _ in range(12):
        one.page.keyboard.press("Tab")
        if one.page.evaluate("document.activeElement.className") == "plot":
            break
    one.page.keyboard.press("ArrowLeft")
    one.page.keyboard.press("ArrowLeft")
    assert f"close {bars['close'][-2]:g}" in one.page.inner_text(".readout")
    one.page.keyboard.press("ArrowRight")
    assert f"close {bars['close'][-1]:g}" in one.page.inner_text(".readout")
    before = shown(one)
    one.page.keyboard.press("+")
    near = settled(one, before)
    assert near[1] - near[0] < before[1] - before[0]
    one.page.keyboard.press("Home")
    assert settled(one, near)[0] == 0
    one.check()


def test_what_a_bar_and_a_gap_are_is_said_at_the_pointer(page: Path, open_page: Open) -> None:
    one = ready(open_page(page))
    one.page.focus(".plot")
    for _ in range(_BARS - 850):
        one.page.keyboard.press("ArrowLeft")
    assert "dividend 0.25 USD" in one.page.inner_text(".readout")
    one.page.keyboard.press("Home")
    box = one.page.locator(".plot").bounding_box()
    (first, end) = read_page(page.read_text()).data["gaps"][0]["place"]
    before = shown(one)
    at = ((first + end) / 2 - before[0]) / (before[1] - before[0])
    one.page.mouse.move(box["x"] + at * (box["width"] - 60), box["y"] + 150)
    one.page.wait_for_function("document.querySelector('.readout').textContent.includes('gap: ')")
    assert "gap: the vendor has no bar" in one.page.inner_text(".readout")


def test_without_a_script_there_is_a_small_drawing(page: Path, open_page: Open) -> None:
    one = open_page(page, java_script_enabled=False)
    assert one.page.is_visible(".figure .spark") and one.page.is_hidden(".ranges")


def test_the_first_view_has_its_year_and_what_lies_to_the_left(page: Path, open_page: Open) -> None:
    one = opened_with_texts(open_page, page, width=390)
    labels = [text["text"] for text in texts_of(one) if text["is_time"]]
    assert labels and all("2024" in text for text in labels)
    hint = one.page.inner_text(".earlier")
    assert hint.startswith("2024-") and "earlier, from 2021-01-04" in hint
    one.page.click("text=All")
    one.page.wait_for_function(
        "!document.querySelector('.earlier').textContent.includes('earlier,')"
    )


def test_the_legend_says_what_each_sign_means(page: Path, open_page: Open) -> None:
    one = ready(open_page(page))
    legend = one.page.locator(".legend li").all_inner_texts()
    assert legend == ["● dividend", "▨ gap: bars are missing", "■ one", "■ two"]


def test_colours_follow_the_system(page: Path, open_page: Open) -> None:
    one = ready(open_page(page, scheme="light"))
    pixel = """() => { const one = document.querySelector(".plot canvas");
      return [...one.getContext("2d").getImageData(2, 2, 1, 1).data].slice(0, 3).join(); }"""
    assert one.page.evaluate(pixel) == "255,255,255"
    one.page.emulate_media(color_scheme="dark")
    one.page.wait_for_function(f"() => ({pixel})() === '20,24,31'")


def test_lines_and_trades_of_a_program(tmp_path: Path, open_page: Open) -> None:
    frame = frame_of(np.linspace(50, 60, 60), "2024-01-02")
    trades: list[dict[str, Any]] = [{"time": frame.index[58], "side": "buy", "price": 59.5}]
    path = plot(frame, lines={"mean": frame["close"].rolling(5).mean()}, marks=trades).save(
        tmp_path / "a.html"
    )
    one = ready(open_page(path))
    one.page.focus(".plot")
    one.page.keyboard.press("ArrowLeft")
    one.page.keyboard.press("ArrowLeft")
    text = one.page.inner_text(".readout")
    mean = frame["close"].iloc[54:59].mean()
    assert "buy at 59.5" in text and f"mean {mean:.7g}"[:9] in text
    one.check()


def test_twenty_symbols_in_one_chart(tmp_path: Path, open_page: Open) -> None:
    frames = {f"S{n}": frame_of([1 + n, 2, 3 + n], symbol=f"S{n}") for n in range(20)}
    one = ready(open_page(plot(frames).save(tmp_path / "a.html"), width=390))
    text = one.page.inner_text(".readout")
    assert all(f"S{n} " in text for n in range(20))
    assert one.page.evaluate("document.documentElement.scrollWidth") <= 390
    one.check()


@pytest.mark.parametrize("closes", [[5.0], [5.0] * 30, [1e-8, 2e-8, 3e-8], [5e5, 4.9e5]])
def test_strange_bars(closes: list[float], tmp_path: Path, open_page: Open) -> None:
    path = tmp_path / "a.html"
    path.write_text(html_of(chart_of(frame_of(closes, symbol="BTCUSDT"), {"BTCUSDT": COIN})))
    one = ready(open_page(path))
    assert "close" in one.page.inner_text(".readout")
    one.check()


COUNTED = """
  window.made = 0;
  const format = Intl.NumberFormat, text = Number.prototype.toLocaleString;
  Intl.NumberFormat = function (...all) { window.made++; return new format(...all); };
  Number.prototype.toLocaleString = function (...all) { window.made++; return text.apply(this, all); };
  addEventListener("DOMContentLoaded", () => {
    const place = document.querySelector(".plot");
    new MutationObserver(() => { window.drawn ??= performance.now(); }).observe(place, {childList: true});
  });
"""


def test_the_page_is_painted_before_its_chart_is_drawn_in_the_place_kept_for_it(
    page: Path, open_page: Open
) -> None:
    one = open_page(page)
    one.page.add_init_script(COUNTED)
    one.page.reload()
    ready(one)
    painted = one.page.evaluate("performance.getEntriesByType('paint')[0].startTime")
    assert painted < one.page.evaluate("window.drawn")
    moved = one.page.evaluate(
        """() => new Promise(done => new PerformanceObserver(list =>
          done(list.getEntries().reduce((sum, entry) => sum + entry.value, 0))
        ).observe({type: "layout-shift", buffered: true}) ?? setTimeout(() => done(0), 100))"""
    )
    assert moved < 0.01
    one.check()


def test_frames_of_a_zoom_make_no_number_formats(page: Path, open_page: Open) -> None:
    one = open_page(page)
    one.page.add_init_script(COUNTED)
    one.page.reload()
    before = shown(ready(one))
    made = one.page.evaluate("window.made")
    one.page.focus(".plot")
    for key in "+-+-":
        one.page.keyboard.press(key)
        before = settled(one, before)
    assert made <= 4 and one.page.evaluate("window.made") == made
    one.check()


def test_the_axis_of_time_is_within_the_chart(page: Path, open_page: Open) -> None:
    """The styles of the page's tables do not move the one in which the script draws."""
    one = ready(open_page(page))
    chart, table = (one.page.locator(name).bounding_box() for name in (".plot", ".plot table"))
    assert table["y"] == chart["y"] and table["height"] <= chart["height"]


def test_the_ribbon_of_vendors_is_whole_over_the_volume(page: Path, open_page: Open) -> None:
    one = ready(open_page(page))
    shown(one)
    changes = one.page.evaluate("""() => {
      const all = [...document.querySelectorAll(".plot canvas")];
      const wide = Math.max(...all.map(one => one.width)), panes = all.filter(one => one.width === wide);
      const high = Math.max(...panes.map(one => one.height));
      return panes.filter(one => one.height === high).map(one => {
        const {data} = one.getContext("2d").getImageData(0, high - 3, wide, 1);
        let found = 0;
        for (let at = 4; at < data.length; at += 4)
          found += data[at] !== data[at - 4] || data[at + 3] !== data[at - 1];
        return found;
      });
    }""")
    # The newest bars are all of one vendor: its colour begins and ends.
    assert max(changes) <= 4


def test_lines_vendors_and_symbols_have_their_colour_beside_their_values(
    page: Path, tmp_path: Path, open_page: Open
) -> None:
    hue = "e => [e.parentNode.textContent, e.style.background]"
    one = ready(open_page(page))
    assert one.page.locator(".readout i").evaluate_all(f"all => all.map({hue})") == [
        ["from two", "var(--p-hue-1)"]
    ]
    frames = {f"S{n}": frame_of([1 + n, 2, 3 + n], symbol=f"S{n}") for n in range(3)}
    two = ready(open_page(plot(frames).save(tmp_path / "a.html")))
    colours = two.page.locator(".readout i").evaluate_all(f"all => all.map({hue})")
    assert [colour for _, colour in colours] == [f"var(--p-hue-{n})" for n in range(3)]
    assert colours[1][0] == "S1 200.00", "an index has two decimals"


def test_a_constant_volume_is_flat_where_columns_have_unequal_numbers_of_bars(
    tmp_path: Path, open_page: Open
) -> None:
    """25,000 minutes are columns of three bars, and one of one bar at the end."""
    minutes = pd.date_range("2024-01-01", periods=25_000, freq="min")
    frame = pd.DataFrame({"close": 100.0, "volume": 5.0}, index=minutes)
    frame[["open", "high", "low"]] = 100.0
    path = plot(frame).save(tmp_path / "a.html")
    assert set(read_page(path.read_text()).data["series"][0]["bars"]) == {1, 3}
    one = ready(open_page(path))
    shown(one)
    tops = one.page.evaluate("""() => {
      const tops = new Set();
      for (const canvas of document.querySelectorAll(".plot canvas")) {
        const {width, height} = canvas, {data} = canvas.getContext("2d").getImageData(0, 0, width, height);
        for (let x = 0; x < width; x++) {
          let tall = 0;  // the columns of volume are all that reaches up from the lower edge
          while (tall < height && data[((height - 2 - tall) * width + x) * 4 + 3] === 255
            && data[((height - 2 - tall) * width + x) * 4] < 200) tall++;
          if (tall > 30) tops.add(tall);
        }
      }
      return [...tops];
    }""")
    assert len(tops) == 1


# Every text that is drawn, with its left and right edge and those of its canvas, all in pixels of the page.
TEXTS = """
  window.texts = [];
  const write = CanvasRenderingContext2D.prototype.fillText;
  CanvasRenderingContext2D.prototype.fillText = function (text, x, y, ...rest) {
    const ratio = this.getTransform().a || 1, width = this.measureText(text).width;
    const left = this.textAlign === "center" ? x - width / 2 : x;
    const {canvas} = this, high = canvas.height / ratio, wide = canvas.width / ratio;
    const is_time = !!canvas.closest(".plot tr:last-child");
    const is_price = !!canvas.closest(".plot tr:first-child td:last-child");
    window.texts.push({text, left, right: left + width, y, high, wide, is_time, is_price});
    return write.call(this, text, x, y, ...rest);
  };
"""


def texts_of(one: Opened) -> list[dict[str, Any]]:
    """Return the texts of a frame of the chart."""
    one.page.evaluate("window.texts = []")
    size = one.page.viewport_size
    one.page.set_viewport_size({"width": size["width"] * 3 // 4, "height": size["height"]})
    one.page.wait_for_function("() => window.texts.length > 0")
    one.page.set_viewport_size(size)
    shown(one)
    found: list[dict[str, Any]] = one.page.evaluate("window.texts")
    return found


def opened_with_texts(open_page: Open, path: Path, **how: Any) -> Opened:
    one = open_page(path, **how)
    one.page.add_init_script(TEXTS)
    one.page.reload()
    return ready(one)


def minutes(count: int, start: str = "2024-01-08 09:30", **more: Any) -> pd.DataFrame:
    """Return bars of a minute without a provenance."""
    closes = 100 + np.random.default_rng(3).normal(size=count).cumsum() / 20
    index = pd.date_range(start, periods=count, freq="min")
    columns = {"open": closes, "high": closes, "low": closes, "close": closes, "volume": 1.0}
    return pd.DataFrame(columns | more, index=index)


@pytest.mark.parametrize("width", [390, 1280])
def test_no_label_of_an_axis_is_cut(width: int, tmp_path: Path, open_page: Open) -> None:
    path = plot(minutes(1500)).save(tmp_path / "a.html")
    one = opened_with_texts(open_page, path, width=width)
    one.page.focus(".plot")
    moved = set()
    for _ in range(12):  # each zoom has other labels at the edges
        found = texts_of(one)
        times = [text for text in found if text["is_time"]]
        assert times and all(t["left"] >= -0.5 and t["right"] <= t["wide"] + 0.5 for t in times)
        prices = [text for text in found if text["is_price"]]
        assert prices and all(5 <= text["y"] <= text["high"] - 5 for text in prices)
        moved |= {text["text"] for text in times if text["left"] < 0.5}
        before = shown(one)
        one.page.keyboard.press("-")
        settled(one, before)
    assert moved or width > 390, "a label at the edge is moved inside"
    one.check()


@pytest.mark.parametrize("width", [390, 1280])
def test_every_day_in_sight_has_its_date_on_an_axis_of_minutes(
    width: int, tmp_path: Path, open_page: Open
) -> None:
    path = plot(minutes(8 * 1440, "2024-01-28 00:00")).save(tmp_path / "a.html")
    one = opened_with_texts(open_page, path, width=width)
    assert "4 Feb" in {text["text"] for text in texts_of(one)}, "within a day"
    before = shown(one)
    one.page.click("text=All")
    settled(one, before)
    found = {text["text"] for text in texts_of(one) if not text["is_time"]}
    long = ["28 Jan", "29 Jan", "30 Jan", "31 Jan", "1 Feb", "2 Feb", "3 Feb", "4 Feb"]
    assert all(date in found or date.split()[0] in found for date in long)
    assert width < 1000 or found >= set(long), "there is room for the month"
    one.check()


@pytest.mark.parametrize(
    ("frame", "names"),
    [
        (minutes(390), "All"),
        (minutes(3 * 1440), "1D All"),
        (minutes(10_680), "1D 1W All"),
        (frame_of(np.linspace(50, 60, 100), "2024-01-02"), "1M All"),
        (frame_of(np.linspace(50, 60, 600), "2022-01-03"), "1M 6M 1Y All"),
        (frame_of([5.0]), "All"),
    ],
)
def test_a_range_has_a_button_if_it_has_fewer_bars_than_all(
    frame: pd.DataFrame, names: str, tmp_path: Path, open_page: Open
) -> None:
    one = ready(open_page(plot(frame).save(tmp_path / "a.html")))
    buttons = one.page.locator(".ranges button").all_inner_texts()
    assert " ".join(buttons) == f"{names} Log % PNG"
    if "1D" in names:
        before = shown(one)
        one.page.click("text=1D")
        first, end = settled(one, before)
        assert end - first == 1440
    one.check()


# The colours of a column of pixels of the chart, at a share of its width.
COLUMN = """at => {
  const found = [];
  for (const canvas of document.querySelectorAll(".plot tr:first-child td:nth-child(2) canvas")) {
    const {width, height} = canvas, x = Math.round(at * width);
    const {data} = canvas.getContext("2d").getImageData(x, 20, 1, height - 20);  // below the dates
    for (let n = 0; n < data.length; n += 4)
      if (data[n + 3] === 255) found.push([...data.slice(n, n + 3)].join());
  }
  return found;
}"""
GAP, GRID, BLUE, ORANGE, GREEN = "243,227,195", "227,231,236", "31,95,191", "194,90,0", "11,122,92"


def hours(slope: float, symbol: str) -> pd.DataFrame:
    """Return 400 hours of closes on a slope, without those from the 150th to the 250th."""
    frame = frame_of(np.linspace(100, 100 + slope, 400), step="1h", symbol=symbol,
                     gaps=[gap("2024-01-08T06:00:00", "2024-01-12T10:00:00")])  # fmt: skip
    return frame.drop(frame.index[150:250])


def colours_at(one: Opened, column: int) -> Counter[str]:
    """Return the colours at a column and their pixels; all columns are in sight as lines or an area."""
    before = shown(one)
    one.page.click("text=All")
    left, right = settled(one, before)
    return Counter(one.page.evaluate(COLUMN, (column + 0.5 - left) / (right + 1 - left)))


def test_no_line_is_drawn_across_its_gap_and_the_gap_is_hatched(
    tmp_path: Path, open_page: Open
) -> None:
    path = tmp_path / "a.html"
    chart = chart_of(hours(90, "BTCUSDT"), {"BTCUSDT": COIN})
    path.write_text(html_of(overlaid(chart, {"mean": 5})))
    one = ready(open_page(path, width=600))
    inside = colours_at(one, 200)
    assert ORANGE not in inside and inside[GAP] > 200, "the hatch crosses it"
    frames = {"AUSDT": hours(90, "AUSDT"), "BUSDT": hours(50, "BUSDT")}
    whole = frame_of(np.linspace(100, 120, 400), step="1h", symbol="CUSDT")
    coins = dict.fromkeys(("AUSDT", "BUSDT", "CUSDT"), COIN)
    path.write_text(html_of(chart_of(frames | {"CUSDT": whole}, coins)))
    two = ready(open_page(path, width=600))
    inside = colours_at(two, 200)
    assert not {BLUE, ORANGE, GAP} & set(inside) and GREEN in inside, "the third line goes on"
    assert {BLUE, ORANGE} <= set(two.page.evaluate(COLUMN, 0.2)), "where bars are, lines are"


def test_a_line_stands_where_a_session_begins(tmp_path: Path, open_page: Open) -> None:
    frames = {"AUSDT": hours(90, "AUSDT"), "BUSDT": hours(50, "BUSDT")}
    path = tmp_path / "a.html"
    path.write_text(html_of(chart_of(frames, {"AUSDT": COIN, "BUSDT": COIN})))
    one = ready(open_page(path, width=1200))
    before = shown(one)
    one.page.click("text=All")
    left, right = settled(one, before)

    def of_grid(column: float) -> int:
        """Return the most pixels of the grid's colour at the left edge of a column."""
        share = (column - left) / (right + 1 - left)
        return max(one.page.evaluate(COLUMN, share + n / 1200).count(GRID) for n in (-1, 0, 1))

    midnights = [24 * day for day in (1, 2, 3, 12, 13)]
    assert all(of_grid(at) > 300 for at in midnights)
    assert all(of_grid(at + 12) < 50 for at in midnights)


def test_a_line_of_a_program_breaks_where_it_has_no_value(tmp_path: Path, open_page: Open) -> None:
    frame = frame_of(np.linspace(100, 200, 400), step="1h", symbol="BTCUSDT")
    line = frame["close"] + 30
    line.iloc[150:250] = np.nan
    one = ready(open_page(plot(frame, lines={"mean": line}).save(tmp_path / "a.html"), width=600))
    assert ORANGE not in colours_at(one, 200)
    one.page.keyboard.press("Escape")
    assert ORANGE in one.page.evaluate(COLUMN, 0.2)


def test_a_bar_between_two_gaps_is_a_dot(tmp_path: Path, open_page: Open) -> None:
    """As in the picture."""
    frame = frame_of(np.linspace(100, 190, 400), step="1h", symbol="AUSDT",
                     gaps=[gap("2024-01-08T06:00:00", "2024-01-10T08:00:00"),
                           gap("2024-01-10T09:00:00", "2024-01-12T10:00:00")])  # fmt: skip
    frames = {"AUSDT": frame.drop([*frame.index[150:200], *frame.index[201:250]])}
    frames["BUSDT"] = frame_of(np.linspace(100, 50, 400), step="1h", symbol="BUSDT")
    path = tmp_path / "a.html"
    path.write_text(html_of(chart_of(frames, dict.fromkeys(frames, COIN))))
    one = ready(open_page(path, width=600))
    assert colours_at(one, 200)[BLUE] >= 2


def test_texts_of_marks_are_beside_the_bars(tmp_path: Path, open_page: Open) -> None:
    """The chart has their signs; the line above and the table below have their words."""
    frame = frame_of(np.linspace(50, 60, 60), "2024-01-02")
    frame["split"] = [2.0 if n == 40 else 1.0 for n in range(60)]
    frame["dividend"] = [0.5 if n == 45 else 0.0 for n in range(60)]
    trades = [{"time": frame.index[58], "side": "buy", "text": "an entry that is long"}]
    path = plot(frame, marks=trades).save(tmp_path / "a.html")
    one = opened_with_texts(open_page, path)
    drawn = {text["text"] for text in texts_of(one)}
    assert "2:1" in drawn and not any("entry" in text or "0.5" in text for text in drawn)
    one.page.focus(".plot")
    one.page.keyboard.press("ArrowLeft")
    one.page.keyboard.press("ArrowLeft")
    readout = one.page.inner_text(".readout")
    assert readout.count("an entry that is long") == 1 and readout.count("buy") == 1
    assert one.page.locator("td", has_text="an entry that is long").count() == 1


def test_a_dividend_is_said_once_at_the_pointer(page: Path, open_page: Open) -> None:
    one = ready(open_page(page))
    one.page.focus(".plot")
    for _ in range(_BARS - 850):
        one.page.keyboard.press("ArrowLeft")
    readout = one.page.inner_text(".readout")
    assert readout.count("dividend") == 1 and readout.count("0.25") == 1
    assert readout.count("USD") == 1


def test_symbols_side_by_side_leave_no_empty_lines_above_the_chart(
    tmp_path: Path, open_page: Open
) -> None:
    """Where a symbol has no bar, its value is a dash: the chart does not move."""
    frames = {"A": frame_of([1, 2, 3], symbol="A"), "B": frame_of([1, 2, 3], symbol="B").iloc[:2]}
    one = ready(open_page(plot(frames).save(tmp_path / "a.html"), width=390))
    line = one.page.locator(".readout > *").first.bounding_box()["height"]
    assert one.page.locator(".readout").bounding_box()["height"] < 2 * line
    assert "B –" in one.page.inner_text(".readout")


def test_a_click_on_the_name_of_a_line_hides_it(tmp_path: Path, open_page: Open) -> None:
    frame = frame_of(np.linspace(60, 50, 60), "2024-01-02").iloc[
        1:
    ]  # no candle has the line's colour
    frame["source"] = ["one"] * 29 + ["two"] * 30
    path = plot(frame, lines={"mean": frame["close"] + 0.2}).save(tmp_path / "a.html")
    one = ready(open_page(path))
    count = """() => {
      const hue = getComputedStyle(document.body).getPropertyValue("--p-hue-2").trim();
      const [r, g, b] = hue.slice(1).match(/../g).map(x => parseInt(x, 16));
      let found = 0;
      for (const canvas of document.querySelectorAll(".plot canvas")) {
        const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        for (let at = 0; at < data.length; at += 4)
          found += data[at] === r && data[at + 1] === g && data[at + 2] === b;
      }
      return found;
    }"""
    name = one.page.locator(".readout button", has_text="mean")
    assert name.locator("i").evaluate("e => e.style.background") == "var(--p-hue-2)", (
        "the colours of the two vendors are theirs"
    )
    shown(one)
    assert one.page.evaluate(count) > 200 and name.get_attribute("aria-pressed") == "true"
    name.click()
    shown(one)
    assert one.page.evaluate(count) == 0 and name.get_attribute("aria-pressed") == "false"
    one.page.keyboard.press("Enter")
    shown(one)
    assert one.page.evaluate(count) > 200, "the focus stays on the name"
    one.check()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_picture_of_what_is_shown_can_be_saved(
    tmp_path: Path, open_page: Open, page: Path, scheme: str
) -> None:
    one = opened_with_texts(open_page, page, scheme=scheme, accept_downloads=True)
    one.page.evaluate("window.texts = []")
    with one.page.expect_download() as download:
        one.page.click("text=PNG")
    assert download.value.suggested_filename == "ACME 1d.png"
    data = Path(download.value.path()).read_bytes()
    assert data.startswith(b"\x89PNG")
    wide, high = (int.from_bytes(data[at : at + 4], "big") for at in (16, 20))
    box = one.page.locator(".plot").bounding_box()
    assert wide == round(box["width"]) + 24 and high > box["height"] + 60
    texts = {text["text"] for text in one.page.evaluate("window.texts")}
    assert "ACME 1d" in texts and any(text.startswith("close") for text in texts)
    corner = one.page.evaluate(
        """async text => { const image = new Image(); image.src = "data:image/png;base64," + text;
          await image.decode(); const canvas = document.createElement("canvas");
          canvas.width = image.width; canvas.height = image.height;
          const pen = canvas.getContext("2d"); pen.drawImage(image, 0, 0);
          return [...pen.getImageData(2, 2, 1, 1).data].join(); }""",
        base64.b64encode(data).decode(),
    )
    assert corner == ("255,255,255,255" if scheme == "light" else "20,24,31,255")
    one.check()


def touches(one: Opened) -> Any:
    """Return what sends touches of fingers at places of the page."""
    session = one.page.context.new_cdp_session(one.page)

    def send(kind: str, *points: tuple[float, float]) -> None:
        each = [{"x": x, "y": y, "id": n} for n, (x, y) in enumerate(points)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": each})

    return send


def test_two_fingers_zoom(page: Path, open_page: Open) -> None:
    one = ready(open_page(page, width=390, height=844, has_touch=True, is_mobile=True))
    before = shown(one)
    box = one.page.locator(".plot").bounding_box()
    y, middle, send = box["y"] + 150, box["x"] + 150, touches(one)
    send("touchStart", (middle - 20, y), (middle + 20, y))
    for step in range(1, 9):
        send("touchMove", (middle - 20 - 10 * step, y), (middle + 20 + 10 * step, y))
    send("touchEnd")
    near = settled(one, before)
    assert near[1] - near[0] < (before[1] - before[0]) * 0.6
    assert one.page.evaluate("visualViewport.scale") == 1, "the chart zooms, not the page"
    one.check()


# What the page asks of the library that draws.
ASKED = """
  let kept;
  Object.defineProperty(window, "LightweightCharts", {get: () => kept, set: value => {
    kept = {...value, createChart: (place, options) => value.createChart(place, window.asked = options)};
  }});
"""


@pytest.mark.parametrize(("wish", "goes_on"), [("no-preference", True), ("reduce", False)])
def test_a_flick_of_a_finger_goes_on_unless_the_reader_wants_no_motion(
    page: Path, open_page: Open, wish: str, goes_on: bool
) -> None:
    one = open_page(page, reduced_motion=wish)
    one.page.add_init_script(ASKED)
    one.page.reload()
    ready(one)
    assert one.page.evaluate("asked.kineticScroll") == {"touch": goes_on, "mouse": False}
    assert one.page.evaluate("document.getAnimations().length") == 0
    one.check()
