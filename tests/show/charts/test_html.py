"""The HTML page of a chart: the frame's values, a bounded size, and a picture without the script."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest

from src.data.core.model.identity.instrument import Instrument
from src.data.show.charts.chart_page import html_of
from src.data.show.charts.picture import plot
from src.data.show.charts.reading import chart_of
from src.data.show.charts.values import MOST_COLUMNS
from tests.show.frames import COIN, SHARE, frame_of, gap
from tests.show.pages import columns_of, read_page

_SHARES, _COINS = {"ACME": SHARE}, {"BTCUSDT": COIN}
_AROUND = pd.DatetimeIndex(["2024-01-02", "2024-01-03", "2024-01-08", "2024-01-09"])
_GAPS = [gap("2024-01-04T00:00:00", "2024-01-06T00:00:00")]


def data_of(frame: pd.DataFrame, instruments: Any) -> Any:
    return read_page(html_of(chart_of(frame, instruments))).data


def test_the_numbers_of_a_page_are_those_of_the_frame() -> None:
    frame = frame_of([1, 2, 3, 4], times=_AROUND, gaps=_GAPS)
    frame["source"] = ["one", "one", "two", "two"]
    frame["state"] = ["final", "final", "final", "forming"]
    frame.loc["2024-01-09", "volume"] = float("nan")
    page = html_of(chart_of(frame, _SHARES))
    data, text = read_page(page).data, read_page(page).text
    bars = columns_of(data)
    for name in ("open", "high", "low", "close"):
        assert bars[name] == pytest.approx(frame[name].tolist())
    assert bars["volume"] == [1, 2, 3, None]
    assert bars["vendor"] == ["one", "one", "two", "two"]
    assert bars["time"] == [stamp.timestamp() for stamp in _AROUND]
    assert bars["at"] == [0, 1, 4, 5], "the gap has its room"
    assert data["series"][0]["pale"] == [5]
    assert data["counts"] == {"given": 4, "drawn": 4, "merged": 0, "refused": 0}
    assert (data["candle"], data["last"], data["sessions"]) == ("", None, [])
    assert data["series"][0]["breaks"] == [1], "after the last column before the gap"
    assert data["gaps"][0]["reason"] in text and data["gaps"][0]["place"] == [2, 4]
    assert data["series"][0]["vendors"] == ["one", "two"] and "4 bars given" in text
    assert data["series"][0]["vendor"] == [0, 0, -1, -1, 1, 1]


def test_prices_of_many_magnitudes_are_those_of_the_frame() -> None:
    """A coin that lost nearly everything in three weeks."""
    frame = frame_of([119.18, 0.77, 0.000149, 0.00000149], symbol="BTCUSDT")
    bars = columns_of(data_of(frame, _COINS))
    assert bars["close"] == [119.18, 0.77, 0.000149, 0.00000149]


def test_a_year_of_minutes_is_a_page_of_less_than_900_kilobytes() -> None:
    """Extremes are kept, volumes are summed, and the page says how long a candle is."""
    rng, count = np.random.default_rng(4), 525_600
    frame = frame_of(
        np.round(40_000 + np.cumsum(rng.normal(0, 9, count)), 2), step="1m", symbol="BTCUSDT"
    )
    frame["volume"] = np.round(rng.gamma(2, 20, count), 3)
    frame.iloc[300_001, 1] = 99_999.5
    page = html_of(chart_of(frame, _COINS))
    assert len(page) < 900_000
    shown = read_page(page)
    bars = columns_of(shown.data)
    assert len(bars["at"]) == count / 60 <= MOST_COLUMNS
    assert shown.data["candle"] == "1 h" and "one candle = 1 h" in shown.text
    assert max(bars["high"]) == 99_999.5
    assert sum(bars["volume"]) == pytest.approx(frame["volume"].sum())
    assert set(bars["bars"]) == {60}, "by which the script divides the sums"
    assert shown.data["counts"] == {
        "given": count,
        "drawn": 8_760,
        "merged": 516_840,
        "refused": 0,
    }


@pytest.mark.parametrize(("days", "each"), [(7, 1), (8, 2)])
def test_as_many_bars_as_have_room_are_embedded(days: int, each: int) -> None:
    """On each side of the threshold of 11,000."""
    data = data_of(frame_of(np.ones(days * 1440), step="1m", symbol="BTCUSDT"), _COINS)
    assert len(columns_of(data)["at"]) == days * 1440 // each


@pytest.mark.parametrize(("step", "text"), [("1m", "2 min"), ("1h", "2 h"), ("1d", "2 bars")])
def test_a_candle_of_several_bars_is_named_by_its_length_or_for_days_by_their_number(
    step: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("src.data.show.charts.values.MOST_COLUMNS", 10)
    data = data_of(frame_of(np.ones(20), step=step, symbol="BTCUSDT"), _COINS)
    assert (len(data["time"]), data["candle"]) == (10, text)


def test_bars_of_two_vendors_in_one_column_name_both() -> None:
    count = MOST_COLUMNS + 2
    frame = frame_of(np.arange(1.0, count + 1), step="1m", symbol="BTCUSDT")
    frame["source"] = ["one", "two"] * (count // 2)
    assert set(columns_of(data_of(frame, _COINS))["vendor"]) == {"one, two"}


def test_times_are_wall_times_which_never_go_back() -> None:
    """In New York, over the hour that clocks repeat on 2024-11-03."""
    times = pd.date_range("2024-11-03 04:00", periods=4, freq="h")
    share = Instrument("ACME", "stock", "", "America/New_York")
    frame = frame_of([1, 2, 3, 4], times=times, step="1h")
    chart = chart_of(frame, {"ACME": share})
    walls = columns_of(read_page(html_of(chart)).data)["time"]
    begin = pd.Timestamp("2024-11-03").timestamp()
    assert chart.axis.zone == "America/New_York"
    assert walls == [begin, begin + 3600, begin + 3601, begin + 7200]


def test_sessions_begin_where_their_dates_do() -> None:
    times = [pd.Timestamp(f"2024-05-{day} 13:30") + pd.Timedelta(minutes=n) for day in ("01", "02")
             for n in range(390)]  # fmt: skip
    data = data_of(frame_of(np.ones(780), times=pd.DatetimeIndex(times), step="1m"), _SHARES)
    assert data["sessions"] == [390] and not data["is_daily"]


@pytest.mark.parametrize("closes", [[1e299, 2e299], [1e14, 2.0], [1e301], []])
def test_prices_that_the_script_cannot_draw_are_not_drawn_by_it(closes: list[float]) -> None:
    page = html_of(chart_of(frame_of(closes), _SHARES))
    assert not read_page(page).data["is_live"]
    assert "<svg" in page or not closes or closes[0] > 1e300, "a small drawing"


def test_a_page_without_its_script_shows_the_picture_and_attributes_the_script() -> None:
    picture = plot(frame_of([1, 2, 3]))
    page = picture.html()
    shown = read_page(page)
    assert "3 bars given: 3 drawn" in shown.text and '<svg class="spark"' in page
    assert '<div class="ranges" hidden>' in page, "no button that does nothing"
    assert shown.text.rstrip().endswith("Charts: TradingView Lightweight Charts™")
    assert shown.urls == ["https://www.tradingview.com/"] and 'rel="noreferrer"' in page
    assert "attributionLogo: false" in page


def rows_of(page: str, title: str) -> list[list[str]]:
    """Return the cells of the rows of the table below a heading."""
    table = re.search(rf"<h2>{title}[^<]*</h2>.*?<table.*?</table>", page, re.DOTALL)
    assert table is not None, title
    rows = re.findall(r"<tr.*?</tr>", table[0], re.DOTALL)
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL) for row in rows]
    return [row for row in cells if row]


def test_the_table_of_vendors_never_crosses_a_gap() -> None:
    frame = frame_of([1, 2, 3, 4], times=_AROUND, gaps=_GAPS)
    frame["source"] = ["one", "one", "one", "two"]
    assert rows_of(html_of(chart_of(frame, _SHARES)), "Vendors") == [
        ["2024-01-02", "2024-01-03", "one"],
        ["2024-01-08", "2024-01-08", "one"],
        ["2024-01-09", "2024-01-09", "two"],
    ]


def test_one_vendor_is_named_once_and_needs_no_table() -> None:
    frame = frame_of([1, 2, 3, 4], times=_AROUND, gaps=_GAPS)
    frame["source"] = "one"
    page = html_of(chart_of(frame, _SHARES))
    assert "<h2>Vendors" not in page and page.count("All bars are from one.") == 1


def test_a_vendor_is_not_named_for_bars_whose_vendor_is_unknown() -> None:
    frame = frame_of([1, 2, 3])
    frame["source"] = ["one", "one", None]
    page = html_of(chart_of(frame))
    assert "All bars are from" not in page
    frame["source"] = "one"
    assert "All bars are from one." in html_of(chart_of(frame))


def test_the_table_of_marks_names_the_type_of_a_mark_once() -> None:
    """Also in the data, from which the line above the chart is made."""
    frame = frame_of([7, 7, 1])
    frame["split"], frame["dividend"] = [0.0, 0.0, 7.0], [0.0, 1.3, 0.0]
    page = html_of(chart_of(frame, _SHARES))
    assert rows_of(page, "Marks") == [
        ["2024-01-03", "dividend", "1.3 USD"],
        ["2024-01-04", "split", "7:1"],
    ]
    assert [mark["text"] for mark in read_page(page).data["marks"]] == ["1.3 USD", "7:1"]


def test_bars_without_a_volume_do_not_lower_the_volume_of_their_column() -> None:
    frame = frame_of(np.ones(20_002), step="1m", symbol="BTCUSDT")
    frame["volume"] = np.where(np.arange(20_002) % 3 == 1, np.nan, 6.0)
    bars = columns_of(data_of(frame, _COINS))
    assert {total / count for total, count in zip(bars["volume"], bars["bars"], strict=True)} == {6}
