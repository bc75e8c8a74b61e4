"""Lines and marks that a program draws over its bars: their positions, and invalid ones."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest

from src.data.errors import QueryError
from src.data.show.charts.chart_page import html_of
from src.data.show.charts.draw import svg_of
from src.data.show.charts.overlays import overlaid
from src.data.show.charts.picture import plot
from src.data.show.charts.reading import chart_of
from tests.show.frames import COIN, SHARE, frame_of, gap
from tests.show.pages import read_page
from tests.show.svgs import boxes, shapes, signs, texts


def test_a_line_is_drawn_on_its_bars_and_breaks_at_missing_values() -> None:
    frame = frame_of([1, 2, 3, 4, 5, 6])
    average = frame["close"].rolling(2).mean()
    average.iloc[3] = np.nan
    chart = plot(frame, lines={"mean": average}).chart
    (line,) = chart.lines
    assert line.name == "mean"
    assert line.values.tolist() == pytest.approx([np.nan, 1.5, 2.5, np.nan, 4.5, 5.5], nan_ok=True)
    svg = svg_of(chart)
    parts = shapes(svg, "hue-1")
    assert [len(part) for part in parts] == [2, 2]
    # At the height of its price: the line of 2.5 is as high as the tick of 2.5 would be.
    ticks = [(float(text), y) for text, _, y in texts(svg, "faint") if re.fullmatch(r"\d", text)]
    # A text is below the middle of its line.
    heights = np.interp([1.5, 2.5], *zip(*ticks, strict=True))
    assert np.diff(parts[0][:, 1]) == pytest.approx(np.diff(heights), abs=0.3)
    data = read_page(html_of(chart)).data
    assert data["lines"] == [{"name": "mean", "values": [None, 1.5, 2.5, None, 4.5, 5.5]}]


def test_a_number_of_bars_is_their_moving_average() -> None:
    frame = frame_of([1, 2, 3, 4, 5])
    short, long = plot(frame, lines={"3 bars": 3, "9 bars": 9}).chart.lines
    mean = frame["close"].rolling(3).mean().tolist()
    assert short.values.tolist() == pytest.approx(mean, nan_ok=True)
    assert np.isnan(long.values).all()


def test_a_line_beyond_the_prices_is_inside_the_picture() -> None:
    frame = frame_of([1, 2, 3])
    chart = plot(frame, lines={"high": pd.Series([50.0, 60.0, 70.0], frame.index)}).chart
    (drawn,) = shapes(svg_of(chart), "hue-1")
    assert (drawn[:, 1] > 62).all()


def test_trades_are_drawn_at_the_bar_that_contains_their_time() -> None:
    """Times in another zone, and beside bars of minutes; a sale above its bar, a buy below."""
    times = pd.date_range("2024-01-02 10:00", periods=4, freq="min")
    frame = frame_of([10, 11, 12, 11], times=times, step="1m", symbol="BTCUSDT")
    trades = pd.DataFrame({
        "time": pd.DatetimeIndex(["2024-01-02 11:01:30", "2024-01-02 11:02:59"]).tz_localize("Europe/Paris"),
        "side": ["buy", "SELL"], "price": [10.9, None], "text": ["", "stop"],
    })  # fmt: skip
    chart = overlaid(chart_of(frame, {"BTCUSDT": COIN}), marks=trades)
    assert chart.marks == ((1, "buy", "at 10.9"), (2, "sell", "stop"))
    svg = svg_of(chart)
    (buy,), (sale,) = signs(svg, "buy"), signs(svg, "sell")
    bars = np.concatenate([boxes(svg, "up"), boxes(svg, "down")])

    def near(x: float) -> Any:
        return bars[(bars[:, 0] <= x) & (x <= bars[:, 2])]

    assert buy[1] > near(buy[0])[:, 3].max() and sale[1] < near(sale[0])[:, 1].min()
    (first, second) = read_page(html_of(chart)).data["marks"]
    assert (first["at"], first["kind"], second["at"]) == (1, "buy", 2)


def test_the_price_of_a_trade_has_all_its_digits() -> None:
    prices = {"2024-01-02": 65432.12, "2024-01-03": 1234567.5, "2024-01-04": 0.0000149}
    marks = [{"time": day, "price": price} for day, price in prices.items()]
    chart = overlaid(chart_of(frame_of([1, 2, 3]), {"ACME": SHARE}), marks=marks)
    assert [mark.text for mark in chart.marks] == ["at 65432.12", "at 1234567.5", "at 0.0000149"]


def test_a_trade_on_a_daily_chart_is_drawn_at_the_date_of_its_venue() -> None:
    """2024-01-03 01:00 UTC is still the second in New York; a date is itself."""
    marks = [{"time": "2024-01-03 01:00", "text": "late"}, {"time": "2024-01-04", "text": "date"}]
    chart = overlaid(chart_of(frame_of([1, 2, 3, 4]), {"ACME": SHARE}), marks=marks)
    assert [(m.slot, m.label) for m in chart.marks] == [(0, "late"), (2, "date")]


def test_values_and_marks_outside_the_bars_are_counted() -> None:
    frame = frame_of([1, 2, 3])
    later = pd.Series([1.0, np.nan], pd.DatetimeIndex(["2025-01-02", "2025-01-03"]))
    chart = plot(frame, lines={"x": later}, marks=[{"time": "2020-01-01"}]).chart
    assert not chart.marks and not np.isfinite(chart.lines[0].values).any()
    notes = ["not drawn: 1 value of x outside the bars", "not drawn: 1 mark outside the bars"]
    assert list(chart.notes[-2:]) == notes
    assert notes[0] in plot(frame, lines={"x": later}).svg()


def _drawn(frame: pd.DataFrame, *times: str) -> list[str]:
    """Return the text of each mark that is drawn, which is its time, with the time of its bar."""
    marks = [{"time": time, "text": time} for time in times]
    chart = overlaid(chart_of(frame, {"ACME": SHARE}), marks=marks, instrument=SHARE)
    left_out = len(times) - len(chart.marks)
    notes = [f"not drawn: {left_out} mark{'s' * (left_out > 1)} outside the bars"]
    assert list(chart.notes) == notes[: bool(left_out)]
    return [mark.text for mark in chart.marks]


def test_a_mark_is_drawn_only_at_a_bar_that_contains_its_time() -> None:
    """Neither in a gap, nor between the last close of a day and the end of a full hour after it."""
    gaps = [gap("2024-01-03T00:00:00", "2024-01-04T00:00:00")]
    holed = frame_of([1, 2], times=["2024-01-02", "2024-01-04"], gaps=gaps)
    assert _drawn(holed, "2024-01-02", "2024-01-03", "2024-01-04") == ["2024-01-02", "2024-01-04"]
    times = ["2024-01-02 19:30", "2024-01-02 20:30", "2024-01-03 14:30"]
    hours = frame_of([1, 2, 3], times=times, step="1h")
    after = ("2024-01-02 20:59", "2024-01-02 21:05", "2024-01-03 15:29", "2024-01-03 15:31")
    assert _drawn(hours, *after) == ["2024-01-02 20:59", "2024-01-03 15:29"]
    days = frame_of([1, 2, 3, 4])
    days.attrs = hours.attrs = {}
    assert _drawn(days, "2024-01-05", "2024-01-06", "2024-01-08") == ["2024-01-05"]
    assert _drawn(hours, "2024-01-03 15:29", "2024-01-03 15:31") == ["2024-01-03 15:29"]


def test_lines_and_marks_at_midnight_in_a_market_are_drawn_at_their_dates() -> None:
    frame = frame_of([1, 2, 3]).tz_localize("Asia/Tokyo")
    frame.attrs = {}
    marks = [{"time": frame.index[1], "text": "second"}]
    chart = plot(frame, lines={"closes": frame["close"]}, marks=marks).chart
    assert chart.lines[0].values.tolist() == [1, 2, 3]
    assert [(mark.slot, mark.text) for mark in chart.marks] == [(1, "second")]


@pytest.mark.parametrize(
    ("wishes", "words"),
    [
        ({"lines": {"x": [1, 2, 3]}}, "line 'x' is a list"),
        ({"lines": {"x": 0}}, "line 'x' is a int"),
        ({"lines": {"x": True}}, "line 'x' is a bool"),
        ({"lines": {"x": pd.Series(["a", "b"], pd.date_range("2024", periods=2))}}, "not numbers"),
        ({"lines": {"x": pd.Series([1.0, 2.0])}}, "times cannot be parsed"),
        ({"marks": 7}, "marks must be a DataFrame or a list, not int"),
        ({"marks": ["2024-01-02"]}, "must be a mapping"),
        ({"marks": [{"side": "buy"}]}, "times cannot be parsed"),
        ({"marks": [{"time": "yesterday?"}]}, "times cannot be parsed"),
        ({"marks": [{"time": "2024-01-02", "side": "hold"}]}, "side for a mark: 'hold'"),
        ({"marks": [{"time": "2024-01-02", "price": "x" * 1000}]}, "price for a mark: 'xxx"),
    ],
)  # fmt: skip
def test_invalid_lines_and_marks_are_refused(wishes: Any, words: str) -> None:
    with pytest.raises(QueryError, match=words) as raised:
        plot(frame_of([1, 2, 3]), **wishes)
    assert len(str(raised.value)) < 200


def test_several_symbols_take_no_line_and_no_mark() -> None:
    frames = {"A": frame_of([1, 2], symbol="A"), "B": frame_of([1, 2], symbol="B")}
    with pytest.raises(QueryError, match="chart of one symbol"):
        plot(frames, marks=[{"time": "2024-01-02"}])
    assert plot(frames).chart.lines == ()


def test_hostile_names_are_texts() -> None:
    frame = frame_of([1, 2, 3])
    bad = "</script><img src=x>"
    page = plot(
        frame, lines={bad: frame["close"]}, marks=[{"time": "2024-01-02", "text": bad}]
    ).html()
    assert "<img" not in page.replace("&lt;img", "")
