"""Which rows are bars: every reason on its own, the counts, the score, and real series."""

from __future__ import annotations

import csv
import gzip
from dataclasses import replace
from datetime import date
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.core.calendars.calendar import calendar_for
from src.data.core.calendars.grid import BarGrid
from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.market.bars import NAN, Bar, BarTable
from src.data.core.model.time.instant import DAY_MS, HOUR_MS, MINUTE_MS, day_ms, parse_iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.prices.bar_rule import PRICE_TOLERANCE
from src.data.core.prices.quality import MAX_PROBLEMS, CheckedRows, check
from src.data.errors import QualityError
from tests.effort import calls_of
from tests.reference import needs_reference, reference

START = day_ms(date(2024, 1, 1))
NOW = day_ms(date(2024, 6, 3))
SPAN = Span(START, NOW)
HOURLY, DAILY = Timeframe.parse("1h"), Timeframe.parse("1d")
INF = float("inf")


def bar(hour: int = 0, /, **cells: Any) -> Bar:
    return Bar(START + hour * HOUR_MS, 10.0, 12.0, 9.0, 11.0, 100.0)._replace(**cells)


def judged(
    *bars: Bar, span: Span = SPAN, timeframe: Timeframe = HOURLY, **more: Any
) -> CheckedRows:
    table = BarTable.from_bars(bars)
    return check(table, span, timeframe=timeframe, now_ms=NOW, **more)


def grid(label: str, symbol: str = "AAPL", anchor: str = "session") -> BarGrid:
    share = Instrument("AAPL", "stock", calendar="XNYS", timezone="America/New_York")
    who = {
        "AAPL": share,
        "7203.T": replace(share, calendar="XTKS", timezone="Asia/Tokyo"),
        "EURUSD": Instrument("EURUSD", "forex", calendar="FX", timezone="America/New_York"),
        "BTCUSDT": Instrument("BTCUSDT", "crypto"),
    }[symbol]
    return BarGrid(calendar_for(who), Timeframe.parse(label), anchor)


@pytest.mark.parametrize(
    "where, on, off",
    [
        # A coin: the UTC grid. Binance, 2018: hours after a halt.
        (grid("1h", "BTCUSDT"), "2018-02-09T09:00 2024-02-29T23:00", "2018-02-09T09:28:14.789"),
        (grid("4h", "BTCUSDT"), "2024-03-10T08:00", "2024-03-10T07:00 2024-03-10T08:00:01"),
        (grid("1d", "BTCUSDT"), "2024-03-10", "2024-03-10T05:00"),
        (grid("1w", "BTCUSDT"), "2024-03-11", "2024-03-10 2024-03-13"),
        (grid("1M", "BTCUSDT"), "2024-03-01", "2024-03-31"),
        # From the open in New York: 14:30 UTC in winter, 13:30 in summer; on a Saturday too.
        (grid("1h"), "2024-03-08T14:30 2024-03-09T14:30 2024-03-11T13:30",
         "2024-03-08T14:00 2024-03-09T15:00 2024-03-11T14:00 2024-03-11T13:31"),
        (grid("4h"), "2024-03-08T14:30 2024-03-08T18:30 2024-03-11T13:30 2024-03-10T13:30",
         "2024-03-08T16:30 2024-03-11T14:30 2024-03-08T13:30"),
        (grid("1h", anchor="clock"), "2024-03-08T14:00 2024-03-09T15:00", "2024-03-08T14:30"),
        (grid("1d"), "2024-03-08 2024-03-09", "2024-03-08T05:00 2024-03-08T21:00"),
        # Two stretches a day: hours begin anew after the break (11:30 to 12:30 in Tokyo).
        (grid("1h", "7203.T"), "2024-03-08T00:00 2024-03-08T03:30 2024-03-08T08:00",
         "2024-03-08T00:30 2024-03-08T04:00"),
        # Currencies count from midnight in New York, whatever the season.
        (grid("4h", "EURUSD"), "2024-03-08T05:00 2024-03-11T04:00 2024-03-09T05:00",
         "2024-03-08T04:00 2024-03-11T05:00"),
    ],
)  # fmt: skip
def test_where_a_bar_can_open(where: BarGrid, on: str, off: str) -> None:
    for texts, wanted in ((on, True), (off, False)):
        stamps = np.array([parse_iso(text) for text in texts.split()])
        assert where.aligned(stamps).tolist() == [wanted] * len(stamps), (texts, wanted)


def test_every_expected_stamp_is_one_at_which_a_bar_can_open() -> None:
    year = Span(parse_iso("2024-01-01"), parse_iso("2025-01-01"))
    for label in "1m 5m 30m 1h 90m 4h 7h 1d 3d 1w 2w 1M".split():
        for symbol in ("AAPL", "7203.T", "EURUSD", "BTCUSDT"):
            for anchor in ("session", "clock"):
                where = grid(label, symbol, anchor)
                span = Span(year.start, year.start + 30 * DAY_MS) if label == "1m" else year
                assert where.aligned(where.opens(span)).all(), (label, symbol, anchor)


class TestWithAGrid:
    def test_rows_off_the_grid_are_told_apart(self) -> None:
        rows = [bar(0), bar(1, stamp_ms=START + HOUR_MS + 789), bar(2, high=1.0), bar(3)]
        result = judged(*rows, span=Span(START, START + 4 * HOUR_MS), grid=grid("1h", "BTCUSDT"))
        assert result.good.stamps.tolist() == [START, START + 3 * HOUR_MS]
        assert [row.bar.stamp_ms for row in result.bad] == [START + 2 * HOUR_MS]
        (off,) = result.off_grid
        assert off == (rows[1], "off_grid: no 1h bar opens at 2024-01-01T01:00:00.789Z")
        # Two of four rows are bars, and of three of four slots something came, if not a bar.
        assert result.score == pytest.approx(2 / 4 * 3 / 4)

    @pytest.mark.parametrize(
        ("at", "session"),
        [
            ("2024-03-11T00:00", "2024-03-11"),  # Sunday 20:00 in New York, in summer
            ("2024-03-11T07:59", "2024-03-11"),
            ("2024-03-08T01:00", "2024-03-08"),  # Thursday 20:00, in winter
            ("2024-03-09T01:00", "2024-03-11"),  # Friday 20:00
            ("2024-03-29T00:00", "2024-04-01"),  # before Good Friday
            ("2024-03-11T08:00", None),  # 04:00
            ("2024-03-08T00:59", None),  # 19:59
        ],
    )
    @pytest.mark.parametrize("hours", ["XNYS", "XNYS@extended"])
    def test_rows_at_night_belong_to_the_next_session(
        self, at: str, session: str | None, hours: str
    ) -> None:
        row, day = bar(stamp_ms=parse_iso(at)), bar(stamp_ms=parse_iso("2024-03-08T15:00"))
        share = Instrument("AAPL", "stock", calendar=hours, timezone="America/New_York")
        minutes = BarGrid(calendar_for(share), Timeframe.parse("1m"), "session")
        result = judged(*sorted((day, row)), timeframe=minutes.timeframe, grid=minutes, nights=True)
        nights = [one.reason for one in result.off_grid if "overnight" in one.reason]
        told = f"off_grid: overnight trading at {at}:00Z, before the session of {session}"
        assert nights == ([told] if session else [])
        assert (row in result.good.bars()) is (session is None)
        unmarked = judged(*sorted((day, row)), timeframe=minutes.timeframe, grid=minutes)
        assert not unmarked.off_grid, "of another market, which trades then"

    def test_good_rows_where_none_is_expected_are_told(self) -> None:
        saturday = parse_iso("2024-01-06")
        rows = [bar(stamp_ms=saturday - DAY_MS), bar(stamp_ms=saturday)]
        result = judged(*rows, timeframe=DAILY, grid=grid("1d"))
        assert result.unexpected.tolist() == [saturday]
        assert len(result.good) == 2

    def test_stamps_of_rows_that_contradict_each_other_are_told(self) -> None:
        result = judged(bar(0), bar(0, close=10.5), bar(1), bar(1))
        assert result.contradicted.tolist() == [START]


class TestGoodRows:
    def test_a_clean_answer_passes_without_a_copy(self) -> None:
        table = BarTable.from_bars([bar(n) for n in range(3)])
        result = check(table, SPAN, timeframe=HOURLY, now_ms=NOW)
        assert all(map(np.shares_memory, result.good.values(), table.values()))
        assert len(result.good) == 3
        assert (result.bad, result.nulls, result.duplicates, result.outside) == ((), 0, 0, 0)
        assert (result.unsorted, result.problems, result.score) == (False, (), 1.0)

    def test_an_empty_answer_scores_by_the_bars_expected(self) -> None:
        result = judged()
        assert len(result.good) == 0
        assert result.score == 1.0
        assert judged(expected=np.array([START])).score == 0.0

    @pytest.mark.parametrize(
        "cells",
        [
            {"volume": NAN},
            {"volume": 0.0},
            {"high": 11.0, "low": 10.0},
            {"open": 11.0, "high": 11.0, "low": 11.0},
            {"high": 11.0 * (1 - PRICE_TOLERANCE / 2)},
            {"low": 10.0 * (1 + PRICE_TOLERANCE / 2)},
            {"open": 1e-8, "low": 1e-9},
            {"adj_close": NAN},
        ],
    )
    def test_odd_but_possible_bars_are_good(self, cells: dict[str, float]) -> None:
        result = judged(bar(**cells))
        assert len(result.good) == 1
        assert result.problems == ()

    def test_a_bar_may_begin_within_the_coming_step(self) -> None:
        last = Bar(NOW + HOUR_MS, *bar()[1:])
        assert len(judged(last, span=Span(START, NOW + DAY_MS)).good) == 1

    def test_a_session_may_be_named_after_a_later_day(self) -> None:
        coming = Bar(NOW + 2 * DAY_MS, *bar()[1:])
        assert len(judged(coming, span=Span(START, NOW + 9 * DAY_MS), timeframe=DAILY).good) == 1

    def test_bars_need_not_stand_on_the_grid(self) -> None:
        assert len(judged(bar()._replace(stamp_ms=START + 30 * MINUTE_MS)).good) == 1


class TestBadRows:
    @pytest.mark.parametrize(
        "cells, reason",
        [
            ({"open": NAN}, "price missing"),
            ({"close": NAN, "high": NAN, "low": NAN}, "price missing"),
            ({"high": INF}, "price infinite"),
            ({"low": -INF}, "price infinite"),
            ({"low": 0.0}, "price not positive"),
            ({"open": -37.63, "low": -40.32}, "price not positive"),
            ({"high": 8.0}, "high below low"),
            ({"high": 10.5}, "high below open or close"),
            ({"high": 11.0 * (1 - 2 * PRICE_TOLERANCE)}, "high below open or close"),
            ({"low": 10.5}, "low above open or close"),
            ({"low": 10.0 * (1 + 2 * PRICE_TOLERANCE)}, "low above open or close"),
            ({"volume": -1.0}, "volume negative"),
            ({"volume": INF}, "volume infinite"),
            ({"volume": -INF}, "volume negative"),
        ],
    )
    def test_each_reason_why_a_row_is_not_a_bar_is_named(
        self, cells: dict[str, float], reason: str
    ) -> None:
        broken = bar(1, **cells)
        result = judged(bar(0), broken, bar(2))
        assert [row.reason for row in result.bad] == [reason]
        assert repr(result.bad[0].bar) == repr(broken)
        assert result.good.stamps.tolist() == [bar(0).stamp_ms, bar(2).stamp_ms]
        assert result.problems == ("1 rows cannot be bars", f"2024-01-01T01:00:00Z: {reason}")
        assert result.score == pytest.approx(2 / 3)

    def test_a_stamp_in_the_future(self) -> None:
        ahead = Bar(NOW + HOUR_MS + 1, *bar()[1:])
        result = judged(bar(), ahead, span=Span(START, NOW + DAY_MS))
        assert [row.reason for row in result.bad] == ["stamp in the future"]

    def test_rows_of_broken_order_are_kept_even_when_all_are(self) -> None:
        result = judged(*(bar(n, high=1.0) for n in range(3)))
        assert len(result.bad) == 3
        assert len(result.good) == 0
        assert result.score == 0.0

    def test_they_carry_their_adj_close(self) -> None:
        result = judged(bar(0, adj_close=5.0), bar(1, adj_close=6.0, high=1.0))
        assert result.bad[0].bar.adj_close == 6.0

    @pytest.mark.parametrize("value", [0.0, -1.0, INF])
    def test_an_impossible_adj_close_costs_only_itself(self, value: float) -> None:
        result = judged(bar(0, adj_close=5.0), bar(1, adj_close=value))
        assert len(result.good) == 2
        assert result.good.adj_close is not None
        assert result.good.adj_close[0] == 5.0
        assert np.isnan(result.good.adj_close[1])
        assert "adj_close" in result.problems[0]


class TestCounts:
    def test_rows_without_any_price_say_nothing(self) -> None:
        null = bar(1, open=NAN, high=NAN, low=NAN, close=NAN, volume=0.0)
        result = judged(bar(0), null)
        assert (result.nulls, result.bad, len(result.good)) == (1, (), 1)
        assert result.score == 1.0

    def test_only_such_rows_are_no_error(self) -> None:
        null = bar(1, open=NAN, high=NAN, low=NAN, close=NAN)
        result = judged(null)
        assert (result.nulls, len(result.good), result.score) == (1, 0, 0.0)

    def test_such_a_row_never_replaces_a_bar(self) -> None:
        null = bar(0, open=NAN, high=NAN, low=NAN, close=NAN)
        result = judged(bar(0), null)
        assert (result.nulls, result.duplicates, len(result.good)) == (1, 0, 1)

    def test_equal_duplicates_are_counted_and_cost_nothing(self) -> None:
        result = judged(bar(0, volume=NAN), bar(1), bar(0, volume=NAN), bar(1))
        assert result.duplicates == 2
        assert result.good.stamps.tolist() == [bar(0).stamp_ms, bar(1).stamp_ms]
        assert result.problems == ()
        assert result.score == 1.0

    def test_of_different_duplicates_the_last_wins_and_it_is_said(self) -> None:
        result = judged(bar(0), bar(1, close=10.0), bar(1, close=11.5))
        assert result.good.close.tolist() == [11.0, 11.5]
        assert result.duplicates == 1
        assert result.problems == (
            "2024-01-01T01:00:00Z: rows of this stamp contradict each other",
        )
        assert result.score == 0.5

    def test_a_bad_row_never_wins_over_a_good_one(self) -> None:
        result = judged(bar(0, close=10.5), bar(0, high=1.0))
        assert result.good.close.tolist() == [10.5]
        assert result.bad == ()
        assert result.duplicates == 1
        assert "contradict" in result.problems[0]

    def test_of_bad_duplicates_the_last_is_shown(self) -> None:
        result = judged(bar(0), bar(1, high=1.0), bar(1, high=2.0))
        assert [row.bar.high for row in result.bad] == [2.0]

    def test_the_span_is_half_open(self) -> None:
        span = Span(START + HOUR_MS, START + 3 * HOUR_MS)
        result = judged(*(bar(n) for n in range(5)), span=span)
        assert result.good.stamps.tolist() == [START + HOUR_MS, START + 2 * HOUR_MS]
        assert result.outside == 3
        assert result.problems == ("3 rows outside the window were cut off",)
        assert result.score == 1.0

    @pytest.mark.parametrize("order", [[2, 1, 0], [1, 0, 2], [0, 2, 1]])
    def test_any_order_comes_out_ascending(self, order: list[int]) -> None:
        result = judged(*(bar(n, volume=float(n)) for n in order))
        assert result.unsorted
        assert result.good.volume.tolist() == [0.0, 1.0, 2.0]
        assert result.problems == ()
        assert result.score == 1.0

    def test_missing_and_unexpected_bars_lower_the_score_and_are_listed(self) -> None:
        expected = START + HOUR_MS * np.arange(4)
        result = judged(bar(0), bar(1), bar(9), expected=expected)
        assert result.score == 0.5
        assert result.problems == (
            "2 of 4 expected bars are missing",
            "1 bars are where the calendar expects none",
        )

    def test_the_score_multiplies_completeness_and_validity(self) -> None:
        expected = START + HOUR_MS * np.arange(4)
        rows = [bar(0), bar(1), bar(1, close=10.5), bar(2), bar(3, high=1.0)]
        assert judged(*rows, expected=expected).score == pytest.approx(3 / 4 * 3 / 4), (
            "a bad row is not missing besides"
        )

    def test_bars_without_a_volume_are_counted_and_lower_the_score(self) -> None:
        rows = [bar(0), bar(1), bar(2, volume=float("nan")), bar(3)]
        counted = judged(*rows, volume=True)
        assert (counted.score, counted.problems) == (
            0.75, ("missing_volume: 1 of 4 bars have no volume",),
        )  # fmt: skip
        assert (judged(*rows, volume=False).score, judged(*rows, volume=False).problems) == (1, ())

    def test_days_that_are_not_at_midnight_are_named(self) -> None:
        result = judged(bar(0), bar(24 + 16), timeframe=DAILY)
        assert len(result.good) == 2
        assert result.problems == ("1 1d bars are not stamped with a session date at 00:00",)

    def test_the_number_of_listed_problems_is_bounded(self) -> None:
        result = judged(*(bar(n, high=1.0) for n in range(50)))
        assert len(result.bad) == 50
        assert len(result.problems) == MAX_PROBLEMS
        assert result.problems[0] == "50 rows cannot be bars"


class TestRefused:
    def test_an_answer_with_all_rows_outside_of_the_range_is_refused(self) -> None:
        with pytest.raises(QualityError, match=r"none of 2 1h rows .* is in the window") as caught:
            judged(bar(0), bar(1), span=Span(START + DAY_MS, NOW))
        assert caught.value.hint is None

    @pytest.mark.parametrize(
        "factor, unit", [(1e-3, "seconds"), (1e3, "microseconds"), (1e6, "nanoseconds")]
    )
    def test_a_wrong_unit_of_time_is_named(self, factor: float, unit: str) -> None:
        rows = [bar(n)._replace(stamp_ms=int((START + n * HOUR_MS) * factor)) for n in range(3)]
        with pytest.raises(QualityError, match=f"if the stamps were in {unit}"):
            judged(*rows)

    @pytest.mark.parametrize("count", [1, 30])
    def test_seconds_are_found_in_a_window_that_holds_1970_too(self, count: int) -> None:
        rows = [bar(n)._replace(stamp_ms=(START + n * DAY_MS) // 1000) for n in range(count)]
        with pytest.raises(QualityError, match="January 1970") as caught:
            judged(*rows, span=Span(-DAY_MS, NOW), timeframe=DAILY)
        assert caught.value.hint == "seconds instead of milliseconds?"

    def test_days_of_january_1970_can_be_asked_for(self) -> None:
        rows = [bar()._replace(stamp_ms=n * DAY_MS) for n in range(20)]
        span = Span(0, 31 * DAY_MS)
        assert len(judged(*rows, span=span, timeframe=DAILY).good) == 20

    def test_everything_in_the_future(self) -> None:
        years_on = bar()._replace(stamp_ms=NOW + 900 * DAY_MS)
        with pytest.raises(QualityError, match="in the future"):
            judged(years_on, span=Span(START, NOW + 1000 * DAY_MS))

    def test_bars_of_another_timeframe_are_refused(self) -> None:
        with pytest.raises(QualityError, match="3600 s apart"):
            judged(*(bar(n) for n in range(48)), timeframe=DAILY)

    @pytest.mark.parametrize("timeframe", ["1w", "1M"])
    def test_days_are_no_weeks_and_no_months(self, timeframe: str) -> None:
        rows = [bar(24 * n) for n in range(10)]
        with pytest.raises(QualityError, match="86400 s apart"):
            judged(*rows, timeframe=Timeframe.parse(timeframe))

    @pytest.mark.parametrize("label, days", [("1m", 2), ("1h", 5), ("12h", 20)])
    def test_days_of_a_coin_are_no_minutes_and_no_hours(self, label: str, days: int) -> None:
        start = START - START % DAY_MS
        rows = [bar()._replace(stamp_ms=start + n * DAY_MS) for n in range(days)]
        more: dict[str, Any] = {
            "timeframe": Timeframe.parse(label), "span": Span(start, start + days * DAY_MS),
        }  # fmt: skip
        with pytest.raises(QualityError, match=f"all {days} {label} rows are at midnight UTC"):
            judged(*rows, grid=grid(label, "BTCUSDT", "clock"), **more)
        # Fewer of them may be the only bars, and a share may trade only in an auction.
        assert judged(*rows[:-1], grid=grid(label, "BTCUSDT", "clock"), **more)
        assert judged(*rows, grid=grid(label, "7203.T", "clock"), **more)

    def test_few_rows_and_short_last_bars_are_no_other_timeframe(self) -> None:
        forming = bar()._replace(stamp_ms=START + 90_000)
        assert len(judged(bar(0), forming).good) == 2
        half_days = [bar(24 * d + h) for d in range(5) for h in (14, 18, 20)]
        assert len(judged(*half_days, timeframe=Timeframe.parse("4h")).good) == 15

    @pytest.mark.parametrize("value", [0.0, -1.0, INF])
    def test_not_one_usable_price(self, value: float) -> None:
        cells = dict.fromkeys(("open", "high", "low", "close"), value)
        with pytest.raises(QualityError, match=r"no row \(2 in all\) has a usable price"):
            judged(bar(0, **cells), bar(1, **cells))


@settings(max_examples=60, derandomize=True, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 6),
            st.sampled_from([{}, {"high": 1.0}, {"close": 10.5}, {"volume": NAN}, {"low": NAN},
                             dict.fromkeys(("open", "high", "low", "close"), NAN)]),
        ),
        max_size=20,
    )
)  # fmt: skip
def test_every_row_is_accounted_for_once(rows: list[tuple[int, dict[str, float]]]) -> None:
    span = Span(START + HOUR_MS, START + 6 * HOUR_MS)
    bars = [bar(hour, **cells) for hour, cells in rows]
    if bars and not any(b.stamp_ms in span for b in bars):
        return
    result = judged(*bars, span=span)
    told = len(result.good) + len(result.bad) + result.nulls + result.duplicates + result.outside
    assert told == len(bars)
    last_good: dict[int, Bar] = {}
    for one in bars:
        usable = one.high >= max(one.open, one.close) and one.low <= min(one.open, one.close)
        if one.stamp_ms in span and usable:
            last_good[one.stamp_ms] = one
    assert result.good.stamps.tolist() == sorted(last_good)
    assert result.good.close.tolist() == [last_good[s].close for s in sorted(last_good)]
    assert not {row.bar.stamp_ms for row in result.bad} & set(last_good)
    assert 0.0 <= result.score <= 1.0


def test_a_year_of_minutes_is_checked_quickly() -> None:
    count = 525_600
    close = 100 + np.cumsum(np.random.default_rng(7).normal(0, 0.01, count))
    stamps = START - count * MINUTE_MS + MINUTE_MS * np.arange(count)
    table = BarTable(stamps, close, close + 1, close - 1, close, close)
    span, minute = Span(int(stamps[0]), NOW), Timeframe.parse("1m")
    for rows in (table, table.take(slice(None, None, -1))):
        checked = partial(check, rows, span, timeframe=minute, now_ms=NOW, expected=stamps)
        assert calls_of(checked) < 1000  # not one for each bar


def _read(name: str) -> BarTable:
    with gzip.open(reference("market", *name.split("/")), "rt") as file:
        rows = list(csv.DictReader(file))
    return BarTable.from_bars(
        [
            Bar(parse_iso(row["timestamp"]), *(float(row.get(c) or NAN) for c in Bar._fields[1:]))
            for row in rows
        ]
    )


@needs_reference
class TestRealSeries:
    @pytest.mark.parametrize(
        "name, timeframe, rows, bad",
        [
            ("SPY-1d-2008-2017-yahoo.csv.gz", "1d", 2519, 2),
            ("BTCUSDT-1d-2019-binance.csv.gz", "1d", 365, 176),
            ("quality/ABDP-L-1d-bad-div.csv.gz", "1d", 665, 44),
            ("AAPL-1d-2004-2018-yahoo.csv.gz", "1d", 3379, 0),
            ("GBPUSD-1m-2012-02-bid.csv.gz", "1m", 30117, 0),
            ("SPY-1h-2013-2021-raw.csv.gz", "1h", 14475, 0),
            ("XRPETH-1m-freqtrade.csv.gz", "1m", 2469, 0),
        ],
    )
    def test_in_real_series_only_the_known_bad_rows_are_found(
        self, name: str, timeframe: str, rows: int, bad: int
    ) -> None:
        table = _read(name)
        span = Span(int(table.stamps.min()), int(table.stamps.max()) + 1)
        result = check(table, span, timeframe=Timeframe.parse(timeframe), now_ms=span.end)
        assert (len(result.good), len(result.bad)) == (rows - bad, bad)
        assert result.score == pytest.approx(1 - bad / rows)

    def test_an_answer_that_was_not_sorted(self) -> None:
        table = _read("quality/AET-L-1d-100x-error.csv.gz")
        span = Span(int(table.stamps.min()), int(table.stamps.max()) + 1)
        result = check(table, span, timeframe=DAILY, now_ms=span.end)
        assert result.unsorted
        assert result.good.stamps.tolist() == sorted(table.stamps.tolist())

    def test_no_real_violation_is_near_the_tolerance(self) -> None:
        """The figure behind ``PRICE_TOLERANCE``: the smallest real one is sixty times larger."""
        smallest = []
        for name in (
            "SPY-1d-2008-2017-yahoo",
            "BTCUSDT-1d-2019-binance",
            "quality/ABDP-L-1d-bad-div",
        ):
            t = _read(f"{name}.csv.gz")
            over = np.maximum(t.open, t.close) / t.high - 1
            under = 1 - np.minimum(t.open, t.close) / t.low
            off = np.maximum(over, under)
            smallest.append(off[off > 0].min())
        assert min(smallest) > 50 * PRICE_TOLERANCE
