"""The chart model: rows, slots, gaps, marks, vendors, and refused input."""

from __future__ import annotations

import math
import re
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.core.model.answer.frame import with_filled
from src.data.errors import QueryError
from src.data.show.charts.chart import Chart
from src.data.show.charts.draw import svg_of
from src.data.show.charts.paints import PAINTS
from src.data.show.charts.reading import chart_of
from src.data.show.charts.ticks import price_ticks, time_ticks
from src.data.show.charts.values import chart_values
from tests.core.cache.counts import FULL
from tests.show.frames import COIN, SHARE, frame_of, gap
from tests.show.svgs import boxes, signs, texts, words

_SHARES = {"ACME": SHARE}
_PRICES = st.one_of(
    st.floats(1e-8, 5e5), st.sampled_from([float("nan"), float("inf"), -1.0, 0.0, 1e301])
)


@given(
    st.lists(st.tuples(st.integers(0, 3000), _PRICES, _PRICES), max_size=80),
    st.integers(1, 40),
)
@settings(max_examples=60 if FULL else 8, deadline=None)
def test_every_row_is_drawn_merged_or_refused(
    rows: list[tuple[int, float, float]], each: int
) -> None:
    """In any order, doubled, and with prices that are no numbers."""
    times = pd.Timestamp("2024-01-01") + pd.to_timedelta([row[0] for row in rows], unit="min")
    frame = frame_of([row[1] for row in rows], times=times, step="1m", symbol="BTCUSDT")
    frame["high"] = [row[2] for row in rows]
    chart = chart_of(frame, {"BTCUSDT": COIN})
    counts = chart.counts(each)
    assert counts.drawn == len(chart.series[0].merged(each).first)
    assert counts.given == len(rows)
    assert counts.drawn + counts.merged + counts.refused == counts.given
    assert counts.refused == sum(chart.series[0].refused.values())


@given(
    st.lists(st.floats(1, 1000), min_size=1, max_size=3000),
    st.integers(1, 400),
    st.integers(1, 5),
)
@settings(max_examples=60 if FULL else 8, deadline=None)
def test_thinning_keeps_the_extremes_of_each_column(
    closes: list[float], most: int, every: int
) -> None:
    """Checked against the rows themselves, column by column; slots without a bar are among them."""
    times = pd.date_range("2024-01-01", periods=len(closes), freq="min")
    frame = frame_of(closes, times=times, step="1m", symbol="BTCUSDT").iloc[::every]
    chart = chart_of(frame, {"BTCUSDT": COIN})
    series, slots = chart.series[0], len(chart.axis)
    columns = series.merged(chart.axis.each(most))
    assert len(columns.first) <= min(most, slots)
    place = np.arange(slots) // math.ceil(slots / most)
    for at, first, last, values in zip(
        columns.positions, columns.first, columns.last, columns.values.T, strict=True
    ):
        rows = frame[place[series.slots] == at]
        assert len(rows) == last - first + 1
        assert values[0] == rows["open"].iloc[0] and values[3] == rows["close"].iloc[-1]
        assert values[1] == rows["high"].max() and values[2] == rows["low"].min()
        assert values[4] == pytest.approx(rows["volume"].sum())


def test_the_high_of_a_day_is_seen_among_a_year_of_minutes() -> None:
    closes = np.full(100_000, 100.0)
    closes[77_777] = 250.0
    svg = svg_of(chart_of(frame_of(closes, step="1m", symbol="BTCUSDT"), {"BTCUSDT": COIN}))
    drawn = np.concatenate([boxes(svg, "up"), boxes(svg, "down")])
    assert len(drawn) <= 2 * 400, "a wick and a body each"
    assert drawn[:, 1].min() < np.median(drawn[:, 1]) - 150


def test_nights_weekends_and_holidays_take_no_room() -> None:
    """Over New Year's Day and a weekend: 2024-01-01 was a holiday, a Monday."""
    times = pd.DatetimeIndex(["2023-12-29", "2024-01-02", "2024-01-03"])
    chart = chart_of(frame_of([1, 2, 3], times=times), _SHARES)
    assert chart.series[0].slots.tolist() == [0, 1, 2] and len(chart.axis) == 3
    hours = pd.DatetimeIndex(["2024-01-02 20:30", "2024-01-03 14:30"])
    intraday = chart_of(frame_of([1, 2], times=hours, step="1h"), _SHARES)
    assert len(intraday.axis) == 2
    assert [intraday.axis.text(i) for i in range(2)] == ["2024-01-02 15:30", "2024-01-03 09:30"]
    assert intraday.axis.zone == "America/New_York"


def test_a_gap_takes_its_room_and_parts_a_line() -> None:
    times = pd.DatetimeIndex(["2024-01-02", "2024-01-03", "2024-01-08", "2024-01-09"])
    gaps = [gap("2024-01-04T00:00:00", "2024-01-08T00:00:00")]
    chart = chart_of(frame_of([1, 2, 3, 4], times=times, gaps=gaps), _SHARES)
    assert [(g.first, g.end, g.text) for g in chart.gaps] == [(2, 4, "the vendor has no bar")]
    assert chart.series[0].slots.tolist() == [0, 1, 4, 5]
    assert np.diff(chart.series[0].segments).tolist() == [0, 1, 0]


def test_without_a_calendar_a_gap_takes_its_room_all_the_same() -> None:
    times = pd.DatetimeIndex(["2024-01-02", "2024-01-05"])
    gaps = [gap("2024-01-03T00:00:00", "2024-01-05T00:00:00")]
    chart = chart_of(frame_of([1, 2], times=times, gaps=gaps))
    assert [(g.first, g.end) for g in chart.gaps] == [(1, 3)]


def test_more_gaps_than_listed_break_the_line_at_every_empty_slot() -> None:
    times = pd.DatetimeIndex(["2024-01-02", "2024-01-04", "2024-01-05"])
    frame = frame_of([1, 2, 3], times=times, gaps_total=90)
    chart = chart_of(frame, _SHARES)
    assert np.diff(chart.series[0].segments).tolist() == [1, 0]
    assert "90 more gaps are not shaded" in chart.notes


@pytest.mark.parametrize("is_listed", [True, False])
def test_a_gap_of_one_line_of_a_comparison_breaks_that_line_only(is_listed: bool) -> None:
    days = pd.bdate_range("2024-06-03", "2024-06-14")
    gap = {"start": "2024-06-06T00:00:00Z", "end": "2024-06-07T00:00:00Z", "reason": "no bar"}
    total = 1 if is_listed else 90
    share = frame_of(range(10, 19), times=days.delete(3), gaps=[gap], gaps_total=total)
    # A line whose list of gaps is incomplete has bars on all its days, but not on the coin's.
    other = frame_of(range(10, 20), times=days, symbol="OTHER", gaps_total=0 if is_listed else 90)
    coin = frame_of(range(10, 22), "2024-06-03", symbol="BTCUSDT")
    calendars = {"ACME": SHARE, "OTHER": SHARE, "BTCUSDT": COIN}
    chart = chart_of({"ACME": share, "OTHER": other, "BTCUSDT": coin}, calendars)
    broken = {one.symbol: np.flatnonzero(np.diff(one.segments)).tolist() for one in chart.series}
    assert broken == {"ACME": [2], "OTHER": [], "BTCUSDT": []}
    assert {one["symbol"]: one["breaks"] for one in chart_values(chart)["series"]} == {
        "ACME": [2], "OTHER": [], "BTCUSDT": [],
    }  # fmt: skip


def test_the_span_before_the_first_bar_is_not_a_gap() -> None:
    gaps = [gap("1990-01-02T00:00:00", "2024-01-02T00:00:00", "before the first bar")]
    chart = chart_of(frame_of([1, 2], gaps=gaps), _SHARES)
    assert not chart.gaps and len(chart.axis) == 2


@pytest.mark.parametrize("change", ["", "AAPL was renamed NEWA on 2024-01-04 (notice); use NEWA; "])
def test_the_span_after_the_end_of_a_series_is_a_note_and_not_a_gap(change: str) -> None:
    ended = "2024-01-04T00:00:00Z"
    gaps = [gap(ended[:-1], "2024-03-02T00:00:00", f"{change}after the last bar")]
    chart = chart_of(frame_of([1, 2], gaps=gaps, ended=ended), _SHARES)
    assert not chart.gaps and len(chart.axis) == 2
    assert "ENDED: no bars since 2024-01-04" in chart.notes
    assert not any("ENDED" in note for note in chart_of(frame_of([1, 2]), _SHARES).notes)


def test_a_part_of_an_answer_has_the_gaps_between_its_own_bars_alone() -> None:
    times = pd.DatetimeIndex(["2024-01-02", "2024-01-05", "2024-01-09", "2024-01-10"])
    gaps = [
        gap("2024-01-03T00:00:00", "2024-01-05T00:00:00"),
        gap("2024-01-08T00:00:00", "2024-01-09T00:00:00"),
    ]
    frame = frame_of([1, 2, 3, 4], times=times, gaps=gaps)
    assert len(chart_of(frame, _SHARES).gaps) == 2
    part = chart_of(frame.iloc[1:], _SHARES)
    assert [(g.first, g.end) for g in part.gaps] == [(1, 2)] and len(part.axis) == 4
    assert not chart_of(frame.iloc[:0], _SHARES).gaps


def test_a_gap_of_a_century_of_minutes_takes_its_room_without_a_slot_for_each() -> None:
    gaps = [gap("1900-01-01T00:00:00", "2024-01-02T00:00:00")]
    frame = frame_of([1, 2, 3], step="1m", symbol="BTCUSDT", gaps=gaps)
    chart = chart_of(frame, {"BTCUSDT": COIN})
    assert len(chart.axis) < 2000 and [(g.first, g.text) for g in chart.gaps] == [
        (0, "the vendor has no bar")
    ]


def test_an_invalid_provenance_is_ignored() -> None:
    frame = frame_of([1, 2])
    frame.attrs["onetape"] = "mine"
    assert chart_of(frame).title == "bars"


def test_refused_and_reordered_rows_are_counted() -> None:
    times = pd.DatetimeIndex(["2024-01-03", "2024-01-02", "2024-01-03", "2024-01-04", "2024-01-05"])
    frame = frame_of([1, 2, 3, 4, float("nan")], times=times)
    series = chart_of(frame, _SHARES).series[0]
    assert series.refused == {
        "price that is not a number": 1,
        "time that occurs twice": 1,
    }
    assert series.unordered == 1
    assert series.values[3].tolist() == [2.0, 1.0, 4.0], "of two the first is drawn"


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Tokyo"])
@pytest.mark.parametrize("is_known", [True, False])
def test_daily_bars_at_midnight_in_their_market_are_drawn_at_their_dates(
    zone: str, is_known: bool
) -> None:
    naive = frame_of([1, 2, 3, 4])
    aware = naive.tz_localize(zone)
    aware.attrs = naive.attrs if is_known else {}
    instruments = _SHARES if is_known else {}
    chart = chart_of(aware, instruments)
    assert chart.axis.stamps.tolist() == chart_of(naive, instruments).axis.stamps.tolist()
    assert (len(chart.axis), chart.series[0].slots.tolist()) == (4, [0, 1, 2, 3])
    elsewhere = naive.tz_localize("UTC").tz_convert(zone)
    elsewhere.attrs = aware.attrs
    assert chart_of(elsewhere, instruments).axis.stamps.tolist() == chart.axis.stamps.tolist()


def test_splits_dividends_and_doubts_are_marked() -> None:
    frame = frame_of(
        [7, 7, 1, 1],
        flagged=[{"stamp": "2024-01-03T00:00:00Z", "reason": "outside the sessions"}],
        spans=[
            {"start": "2024-01-05T00:00:00Z", "end": "2024-01-06T00:00:00Z", "rows": 1}
            | {"vendor": "acme", "state": "suspect", "reason": "grave: day x100"}
        ],
    )
    frame["split"] = [0.0, 0.0, 7.0, 0.0]
    frame["dividend"] = [0.0, 0.5, 0.0, 0.0]
    marks = chart_of(frame, _SHARES).marks
    assert [(m.slot, m.type, m.text) for m in marks] == [
        (1, "dividend", "0.5 USD"),
        (1, "doubt", "outside the sessions"),
        (2, "split", "7:1"),
        (3, "doubt", "almost certainly wrong: day x100"),
    ]


def test_each_split_is_labelled_and_dividends_at_one_place_are_one_diamond() -> None:
    frame = frame_of(np.ones(1000))
    days = frame.index[500:502]
    frame["split"], frame["dividend"] = 0.0, 0.0
    frame.loc[days, "split"] = [7.0, 2.0]
    frame.loc[days, "dividend"] = 0.5
    svg = svg_of(chart_of(frame, _SHARES), 800, 400)
    assert [text for text in words(svg, "split") if ":" in text] == ["split 7:1", "split 2:1"]
    assert len(signs(svg, "dividend")) == 1


@pytest.mark.parametrize(
    ("unit", "currency", "text"),
    [
        ("GBp", None, "0.5"),  # prices in pence: the dividend may be in pounds
        ("GBp", "GBP", "0.5 GBP"),
        ("USD", "EUR", "0.5 EUR"),
        ("USD", "", "0.5"),
    ],
)
def test_a_dividend_has_its_own_currency(unit: str, currency: str | None, text: str) -> None:
    frame = frame_of([7, 7], kind={"session": "regular", "unit": unit})
    frame["dividend"] = [0.0, 0.5]
    (mark,) = chart_of(frame, _SHARES, currency=currency).marks
    assert (mark.text, mark.label) == (text, f"dividend {text}")


@pytest.mark.parametrize("width", [300, 640, 800])
@pytest.mark.parametrize("count", [150, 700, 1_000, 5_003])
def test_a_constant_volume_is_drawn_flat(width: int, count: int) -> None:
    """However many bars share a column of pixels, beside a gap and at the end."""
    frame = frame_of(np.full(count, 5.0), step="1m", symbol="BTCUSDT")
    frame["volume"] = 7.0
    frame = frame.drop(frame.index[count // 3 : count // 3 + 5])
    columns = boxes(svg_of(chart_of(frame, {"BTCUSDT": COIN}), width, 300), "volume")
    heights = columns[:, 3] - columns[:, 1]
    assert len(columns) > 40 and heights.min() == heights.max() and heights.min() > 20
    assert np.ptp(columns[:, 2] - columns[:, 0]) <= 0.2, "columns are of equal length"


def test_twice_the_volume_is_drawn_twice_as_high() -> None:
    frame = frame_of(np.full(3_000, 5.0), step="1m", symbol="BTCUSDT")
    frame["volume"] = np.repeat([3.0, 6.0], 1_500)
    chart = chart_of(frame, {"BTCUSDT": COIN})
    columns = boxes(svg_of(chart, 800, 300), "volume")
    heights = columns[:, 3] - columns[:, 1]
    assert heights[-1] == pytest.approx(2 * heights[0], abs=0.2)
    assert chart.series[0].merged(9).values[4].sum() == frame["volume"].sum(), "sums are kept"


def test_the_ribbon_of_vendors_never_crosses_a_gap() -> None:
    """One vendor before and after a gap, another one at the end."""
    times = pd.DatetimeIndex(
        ["2024-01-02", "2024-01-03", "2024-01-08", "2024-01-09", "2024-01-10", "2024-01-11"]
    )
    holes = [gap("2024-01-04T00:00:00", "2024-01-06T00:00:00")]
    frame = frame_of([1, 2, 3, 4, 5, 6], times=times, gaps=holes)
    frame["source"] = ["one", "one", "one", "one", "two", "two"]
    chart = chart_of(frame, _SHARES)
    assert [run[:3] for run in chart.ribbon] == [(0, 2, "one"), (4, 6, "one"), (6, 8, "two")]
    svg = svg_of(chart, 800, 400)
    (hole,) = boxes(svg, "gap")
    ribbon = np.concatenate([boxes(svg, "hue-0"), boxes(svg, "hue-1")])
    assert len(ribbon) == 3
    assert all(right <= hole[0] + 0.1 or left >= hole[2] - 0.1 for left, _, right, _ in ribbon)


@pytest.mark.parametrize(("second", "rects"), [("one", 0), ("two", 2)])
def test_the_ribbon_is_drawn_for_two_vendors_or_more(second: str, rects: int) -> None:
    frame = frame_of([1, 2, 3, 4])
    frame["source"] = ["one", "one", second, second]
    svg = svg_of(chart_of(frame, _SHARES), 800, 400)
    assert len(boxes(svg, "hue-0")) + len(boxes(svg, "hue-1")) == rects
    legend = words(svg)
    assert ("from one" in legend) == (rects == 0) and ("■ one" in legend) == (rects == 2)


@pytest.mark.parametrize("days", [1, 2, 3, 5, 8, 12])
def test_every_day_has_its_date_on_an_axis_of_minutes(days: int) -> None:
    """As drawn: no date gives way to an hour, nor to another date."""
    sessions = pd.bdate_range("2024-05-01", periods=days)
    times = [day + pd.Timedelta(hours=13, minutes=30 + n) for day in sessions for n in range(390)]
    frame = frame_of(np.ones(390 * days), times=pd.DatetimeIndex(times), step="1m")
    svg = svg_of(chart_of(frame, _SHARES), 800, 400)
    below = [text for text, _, y in texts(svg, "faint") if y > 300]
    drawn = [text.split()[0] for text in below if re.fullmatch(r"\d+( May( 2024)?)?", text)]
    assert drawn == [str(day.day) for day in sessions]
    assert "1 May 2024" in below or days > 7, "the first date has the year"
    assert (days > 3) or any(re.fullmatch(r"\d\d:\d\d", text) for text in below)


def test_unknown_splits_are_noted() -> None:
    frame = frame_of([1, 2])
    frame["split"] = [float("nan"), 0.0]
    chart = chart_of(frame, _SHARES)
    assert "not known for all of it: splits" in chart.notes and not chart.marks


@pytest.mark.parametrize("as_columns", [True, False])
def test_vendors_and_states_are_those_of_the_answer(as_columns: bool) -> None:
    """By the columns of each bar, or by the stretches of the provenance."""
    spans: list[dict[str, Any]] = [
        {"start": "2024-01-02T00:00:00Z", "end": "2024-01-04T00:00:00Z", "rows": 2}
        | {"vendor": "one", "state": "final"},
        {"start": "2024-01-04T00:00:00Z", "end": "2024-01-06T00:00:00Z", "rows": 2}
        | {"vendor": "two", "state": "provisional"},
    ]
    frame = frame_of([1, 2, 3, 4], spans=[] if as_columns else spans)
    if as_columns:
        frame["source"] = ["one", "one", "two", "two"]
        frame["state"] = ["final", "final", "provisional", "forming"]
    chart = chart_of(frame, _SHARES)
    assert [tuple(run)[:3] for run in chart.ribbon] == [(0, 2, "one"), (2, 4, "two")]
    assert chart.series[0].pale.tolist() == [False, False, True, True]


def test_a_merged_provenance_draws_no_vendor_ribbon() -> None:
    """Its stretches overlap: what they say of one bar is not known."""
    span = {"start": "2024-01-02T00:00:00Z", "end": "2024-01-06T00:00:00Z", "rows": 4}
    frame = frame_of([1, 2], spans=[span | {"vendor": "one", "state": "final", "merged": True}])
    assert chart_of(frame, _SHARES).ribbon == ()


def test_bars_that_are_almost_certainly_wrong_are_noted_if_they_cannot_be_marked() -> None:
    span = {"start": "2024-01-02T00:00:00Z", "end": "2024-01-06T00:00:00Z", "rows": 2}
    span |= {
        "vendor": "one",
        "state": "suspect",
        "reason": "grave: unit: 1 row 100 times too large",
    }
    problems = ["grave: unit: 1 row 100 times too large", "settled: stale: a bar repeats another"]
    wrong = "almost certainly wrong: unit: 1 row 100 times too large"
    whole = frame_of([1, 100], spans=[span], problems=problems)
    assert chart_of(whole, _SHARES).notes == ()
    merged = frame_of([1, 100], spans=[span | {"merged": True}], problems=problems)
    assert chart_of(merged, _SHARES).notes == (wrong,)
    both = {"ACME": whole, "OTHER": frame_of([7, 14], symbol="OTHER")}
    assert chart_of(both).notes == (f"ACME: {wrong}",)


def test_several_series_are_100_at_their_first_common_bar() -> None:
    chart = chart_of(
        {
            "ACME": frame_of([50, 100, 110], "2024-01-02"),
            "OTHER": frame_of([7, 14], "2024-01-03", symbol="OTHER"),
        }
    )
    assert chart.is_indexed and chart.given == 5
    first, second = chart.series
    assert first.closes.tolist() == pytest.approx([50, 100, 110])
    assert second.closes.tolist() == pytest.approx([100, 200])
    assert "100 at 2024-01-03" in chart.about


def test_each_series_is_100_at_its_own_first_bar_in_common_with_another() -> None:
    chart = chart_of(
        {
            "A": frame_of([50, 60, 70, 80], symbol="A"),
            "B": frame_of([8, 9, 10], "2024-01-03", symbol="B"),
            "YOUNG": frame_of([7], "2024-01-05", symbol="YOUNG"),
        }
    )
    assert [one.closes.tolist() for one in chart.series] == [
        pytest.approx([50 / 0.6, 100, 70 / 0.6, 80 / 0.6]),
        pytest.approx([100, 112.5, 125]),
        [100],
    ]
    assert [one.title for one in chart.series] == ["A", "B", "YOUNG from 2024-01-05"]
    assert "closes, 100 at 2024-01-03 or later" in chart.about


def test_a_series_without_a_bar_in_common_is_left_out_by_name() -> None:
    living = {name: frame_of([1, 2, 3], symbol=name) for name in "AB"}
    gone = frame_of([9, 8], "2020-01-02", symbol="GONE", ended="2020-01-04T00:00:00Z")
    chart = chart_of({**living, "GONE": gone, "NONE": frame_of([], symbol="NONE", empty="none")})
    assert [one.symbol for one in chart.series] == ["A", "B", "NONE"] and len(chart.axis) == 3
    assert chart.notes[0] == (
        "GONE is left out, its bars are from 2020-01-02 to 2020-01-03: no other series has bars then"
    )
    assert not chart.complete and chart.given == 6
    assert chart.title == "A · B · NONE · 1d" and chart.about.startswith("2024-01-02 to 2024-01-04")


@pytest.mark.parametrize("place", [0, 5, 11])
@pytest.mark.parametrize("factor", [100.0, 0.01])
def test_a_wrong_bar_of_one_series_does_not_change_the_scale(place: int, factor: float) -> None:
    closes, wrong = np.linspace(50, 60, 12), np.linspace(20, 22, 12)
    wrong[place] *= factor
    chart = chart_of({"A": frame_of(closes, symbol="A"), "B": frame_of(wrong, symbol="B")})
    assert chart.extent[0] > 99 and chart.extent[1] < 121
    assert [chart.outside(one).tolist() for one in chart.series] == [[], [place]]
    (remark,) = chart.remarks()
    day = chart.axis.text(place)
    assert remark == f"B: the close {wrong[place]:,.6g} of {day} is outside the scale"
    values = chart_values(chart)
    assert [one["outside"] for one in values["series"]] == [[], [place]]
    assert values["extent"] == chart.extent


def test_prices_that_often_leap_are_inside_the_scale() -> None:
    leaps = [5, 1, 9, 1, 9, 1, 5]
    chart = chart_of({"A": frame_of(leaps, symbol="A"), "B": frame_of(leaps, symbol="B")})
    assert chart.extent == pytest.approx((20, 180)) and not chart.remarks()
    alone = chart_of(frame_of([1, 1, 900, 1, 1]))
    assert not len(alone.outside(alone.series[0])), "bars of one symbol are drawn as they are"


def test_a_failed_symbol_is_named_in_the_notes_of_a_chart() -> None:
    failed = frame_of([], error={"type": "NoDataError", "message": "nothing"}, complete=False)
    chart = chart_of({"ACME": frame_of([1, 2]), "GONE": failed.copy()})
    assert any("NoDataError: nothing" in note for note in chart.notes)
    assert not chart.complete and chart.counts().drawn == 2


@pytest.mark.parametrize(
    "other, word",
    [
        (frame_of([1, 2], symbol="B", adjustment="raw"), "adjustments"),
        (frame_of([1, 2], symbol="B", step="1h"), "timeframes"),
        (frame_of([1, 2], symbol="B", kind={"session": "extended"}), "sessions"),
        (frame_of([1, 2], symbol="B", made_up=True), "origins"),
        (frame_of([1, 2], "2030-01-02", symbol="B"), "no bar in common"),
        (frame_of([0, 2], symbol="B"), ", so it cannot be rebased to 100 there"),
    ],
)
def test_series_that_cannot_share_a_chart_are_refused(other: pd.DataFrame, word: str) -> None:
    with pytest.raises(QueryError, match=word):
        chart_of({"A": frame_of([1, 2]), "B": other})


def _bare(frequency: str, count: int = 6, start: str = "2024-01-01") -> pd.DataFrame:
    """Return bars without a provenance."""
    index = pd.date_range(start, periods=count, freq=frequency)
    prices = dict.fromkeys(("open", "high", "low", "close", "volume"), 1.0)
    return pd.DataFrame(prices, index=index)


@pytest.mark.parametrize(
    "one, other, words",
    [
        ("D", "h", "A 1d, B 1h"),
        ("D", "W-MON", "A 1d, B 7d"),
        ("min", "5min", "A 1m, B 5m"),
        ("90min", "h", "A 90m, B 1h"),
        ("W-MON", "MS", "A 7d, B 1M"),
        ("MS", "QS", "A 1M, B 3M"),
    ],
)
def test_frames_without_provenance_of_several_timeframes_are_refused(
    one: str, other: str, words: str
) -> None:
    with pytest.raises(QueryError, match=f"different timeframes: {words}"):
        chart_of({"A": _bare(one), "B": _bare(other)})


@pytest.mark.parametrize(
    "one, other",
    [
        (_bare("D"), _bare("B")),
        (_bare("MS"), _bare("MS", 3, "2024-02-01")),
        (_bare("h"), _bare("h").iloc[[0, 1, 2, 5]]),
        (_bare("D"), _bare("D").iloc[[0, 3]]),
    ],
)
def test_frames_without_provenance_of_one_timeframe_are_drawn_together(
    one: pd.DataFrame, other: pd.DataFrame
) -> None:
    """Weekends, months of any length, missing bars, and too few bars to tell."""
    assert chart_of({"A": one, "B": other}).given == len(one) + len(other)


def test_a_coin_and_a_share_share_a_chart_without_gaps_on_weekends() -> None:
    share = frame_of([50, 51, 52, 53], "2024-01-04", kind={"session": "regular"})
    coin = frame_of([1, 2, 3, 4, 5, 6], "2024-01-04", symbol="B", kind={"session": "24h"})
    chart = chart_of({"ACME": share, "B": coin})
    assert chart.counts().drawn == 10 and not chart.gaps
    assert len(chart.axis.stamps) == 6, "the share has no bars of the weekend, the coin has"


_NOT_FRAMES = [
    (dict, "no frame"),
    (lambda: [1, 2], ", not list"),
    (lambda: pd.DataFrame({"close": [1.0]}), "does not contain bars"),
    (lambda: frame_of([1, 2]).reset_index(drop=True), "does not contain bars"),
    (lambda: pd.concat([frame_of([1]), frame_of([1])], axis=1), "same name"),
    (
        lambda: pd.concat({"A": frame_of([1])}, axis=1),
        "a chart needs a frame with one symbol, or several frames by symbol",
    ),
    (lambda: with_filled(frame_of([1, 2]), pd.DatetimeIndex(["2024-01-02"])), "filled"),
]


@pytest.mark.parametrize("frames, word", _NOT_FRAMES)
def test_a_frame_without_bars_is_refused(frames: Any, word: str) -> None:
    with pytest.raises(QueryError, match=word):
        chart_of(frames())


def test_a_frame_without_provenance_is_drawn() -> None:
    """Aware stamps in a column, capital names, no provenance."""
    frame = frame_of([1, 2, 3]).rename(columns=str.capitalize).reset_index(names="Date")
    frame["Date"] = frame["Date"].dt.tz_localize("America/New_York")
    frame.attrs = {}
    chart = chart_of(frame)
    assert chart.title == "bars" and chart.counts().drawn == 3


@pytest.mark.parametrize(
    "closes",
    [[1.5], [1e-8, 2e-8, 1.5e-8], [5e5, 4e5], [3.0] * 9, [0.0, 0.0], [1e299, 1e-300], [-5.0, 5.0]],
)
def test_extreme_prices_are_drawn_inside_the_picture(closes: list[float]) -> None:
    svg = svg_of(chart_of(frame_of(closes), _SHARES))
    drawn = np.concatenate([boxes(svg, "up"), boxes(svg, "down")])
    assert len(drawn) == 2 * len(closes) and np.isfinite(drawn).all()
    assert (drawn >= 0).all() and (drawn <= 800).all()


def test_only_gaps_are_no_empty_picture() -> None:
    gaps = [gap("2024-01-02T00:00:00", "2024-01-06T00:00:00", "the vendor is down")]
    chart: Chart = chart_of(frame_of([], gaps=gaps, empty="the vendor is down"), _SHARES)
    drawn = words(svg_of(chart))
    assert "no bar to draw" in drawn and "no bars in this range: the vendor is down" in drawn
    assert [(g.first, g.end) for g in chart.gaps] == [(0, 4)]


@pytest.mark.parametrize("size", [(199, 500), (800, 9000), (True, 500), (800.0, 500), ("8", 500)])
def test_an_invalid_size_of_a_chart_is_refused(size: Any) -> None:
    with pytest.raises(QueryError, match="invalid"):
        svg_of(chart_of(frame_of([1, 2])), *size)


@pytest.mark.parametrize(
    "low, high, most, texts",
    [
        (0.0, 10.0, 5, ["0", "2", "4", "6", "8", "10"]),
        (99.0, 108.0, 4, ["100.0", "102.5", "105.0", "107.5"]),
        (1e-8, 2e-8, 2, ["0.000000010", "0.000000015", "0.000000020"]),
        (480_000.0, 520_000.0, 2, ["480,000", "500,000", "520,000"]),
        (-1e13, 1e13, 2, ["-1e+13", "0", "1e+13"]),
    ],
)
def test_prices_on_the_axis_are_round(low: float, high: float, most: int, texts: list[str]) -> None:
    values, labels = price_ticks(low, high, most)
    assert labels == texts
    assert all(low <= value <= high for value in values)


def test_times_on_the_axis_are_where_a_unit_begins() -> None:
    """In New York's time, whose clocks changed on 2024-03-10; a month of minutes, thinned."""
    sessions = pd.DatetimeIndex(
        [
            day + pd.Timedelta(hours=14 if day < pd.Timestamp("2024-03-10") else 13, minutes=30 + n)
            for day in pd.bdate_range("2024-03-07", "2024-03-13")
            for n in range(390)
        ]
    )
    axis = chart_of(frame_of(np.ones(len(sessions)), times=sessions, step="1m"), _SHARES).axis
    ticks = time_ticks(axis, 6)
    days = ["7 Mar 2024", "8 Mar", "11 Mar", "12 Mar", "13 Mar"]
    assert [text for _, text in ticks] == days
    assert [axis.text(slot)[-5:] for slot, _ in ticks] == ["09:30"] * 5
    assert [text for _, text in time_ticks(axis, 3)] == ["7 Mar 2024", "8", "11", "12", "13"]
    months = chart_of(frame_of(np.ones(500), "2023-01-03"), _SHARES).axis
    quarters = ["Jan 2023", "Apr", "Jul", "Oct", "Jan 2024", "Apr", "Jul", "Oct"]
    assert [text for _, text in time_ticks(months, 8)] == quarters
    decade = chart_of(frame_of(np.ones(2600), "2014-09-02"), _SHARES).axis
    years = [str(year) for year in range(2015, 2025)]
    assert [text for _, text in time_ticks(decade, 12)] == years


# --- several symbols


def test_a_line_that_ended_says_so_in_the_legend() -> None:
    days = pd.bdate_range("2021-05-03", "2021-07-30")
    gone = frame_of(np.ones(20), times=days[:20], symbol="HCO", ended="2021-05-29T00:00:00Z")
    chart = chart_of({"HCO": gone, "ACME": frame_of(np.ones(65), times=days)}, _SHARES)
    assert [one.until for one in chart.series] == ["2021-05-28", ""]
    assert "— HCO until 2021-05-28 100.00" in words(svg_of(chart), "hue-0")
    late = chart_of({"A": frame_of(np.ones(64), times=days[:64]), "B": gone.iloc[:0]})
    assert [one.until for one in late.series] == ["", ""], "the newest bar of all"


def test_twenty_colours_can_be_told_apart_and_stand_out_from_the_paper() -> None:
    def light(colour: str) -> tuple[Any, float]:
        """Return a colour in a space of equal differences (OKLab), and its luminance."""
        part = np.array([int(colour[n : n + 2], 16) for n in (1, 3, 5)]) / 255
        linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
        cones = np.array(
            [[0.4122, 0.5363, 0.0514], [0.2119, 0.6807, 0.1074], [0.0883, 0.2817, 0.63]]
        )
        axes = np.array(
            [[0.2105, 0.7936, -0.0041], [1.978, -2.4286, 0.4506], [0.0259, 0.7828, -0.8087]]
        )
        return axes @ np.cbrt(cones @ linear), float(linear @ [0.2126, 0.7152, 0.0722])

    for scheme in (0, 1):
        hues = [light(PAINTS[f"hue-{n}"][scheme]) for n in range(20)]
        apart = [np.linalg.norm(a - b) for (a, _), (b, _) in combinations(hues, 2)]
        assert min(apart) > 0.08
        paper = light(PAINTS["paper"][scheme])[1]
        ratios = [(max(x, paper) + 0.05) / (min(x, paper) + 0.05) for _, x in hues]
        assert min(ratios) >= 3


@pytest.mark.parametrize(
    ("closes", "places"),
    [
        ([100.5, 101.25], 2),
        ([134.239487, 1.1], 2),
        ([1.08351, 1.0911], 4),
        ([1e-8, 2e-8], 8),
        ([5], 0),
    ],
)
def test_prices_have_a_common_number_of_places(closes: list[float], places: int) -> None:
    frame = frame_of(closes)
    frame["open"] = frame["high"] = frame["low"] = frame["close"]
    chart = chart_of(frame, _SHARES)
    assert chart.places == chart_values(chart)["places"] == places
    assert f"last {closes[-1]:.{places}f}" in words(svg_of(chart))
