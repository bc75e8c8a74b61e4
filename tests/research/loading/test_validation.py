"""The second layer's validation: its sentences, thresholds, weights and table."""

from __future__ import annotations

import warnings
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from src.data.core.calendars.calendar import calendar_for
from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.time.instant import parse_iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.wiring import MANAGER
from src.data.data_manager import DataManager
from src.data.doors.compat.data_validator import (
    CheckResult,
    DataAwareStrategySelector,
    DataQualityReport,
    DataQualityScorer,
    DataValidator,
)
from src.data.doors.compat.missing_data import MissingDataHandler
from src.data.errors import QueryError
from tests.core.cache.counts import crossed


def days(count: int = 200) -> pd.DataFrame:
    """Return sound daily bars on the sessions of New York."""
    span = Span(parse_iso("2023-01-03"), parse_iso("2024-12-31"))
    calendar = calendar_for(Instrument("AAPL", "stock", "XNYS", "America/New_York"))
    stamps = calendar.opens(Timeframe(1, "d"), span)[:count]
    close = 100 * np.exp(0.01 * np.sin(np.arange(count) * 1.7))
    opened = np.append(close[:1], close[:-1])
    columns = {
        "timestamp": stamps.astype("M8[ms]").astype("M8[ns]"),
        "open": opened,
        "high": np.maximum(opened, close) * 1.001,
        "low": np.minimum(opened, close) * 0.999,
        "close": close,
        "volume": 1000.0 + np.arange(count) % 7,
    }
    return pd.DataFrame(columns)


def report_of(frame: Any, symbol: str = "AAPL", timeframe: str = "1d") -> DataQualityReport:
    return DataValidator().validate(frame, symbol, timeframe)


def test_a_sound_frame_has_no_issue_and_is_usable() -> None:
    report = report_of(days())
    assert (report.issues, report.warnings, report.quality_score) == ([], [], 1.0)
    assert (report.symbol, report.timeframe, report.record_count) == ("AAPL", "1d", 200)
    assert report.is_usable()
    assert report_of(days().iloc[::-1]) == report  # in any order
    assert report_of(days().set_index("timestamp")) == report


def test_an_empty_frame_is_not_usable() -> None:
    report = report_of(days().iloc[:0])
    assert report.issues[0] == "No data available"
    assert report.quality_score == 0.0
    assert not report.is_usable(0.0)


@pytest.mark.parametrize(("frame", "count"), [(None, 0), (5, 0), ("bars", 4), ([], 0)])
def test_something_other_than_a_frame_is_reported_and_not_raised(frame: Any, count: int) -> None:
    report = report_of(frame)
    assert report.issues and not report.is_usable(0.1)
    assert (report.quality_score, report.record_count) == (0.0, count)


def test_the_rules_of_the_process_manager_decide_what_a_symbol_means(tmp_path: Path) -> None:
    assert any("ambiguous" in issue for issue in report_of(days(), "SOL").issues)
    rules = tmp_path / "rules.yaml"
    rules.write_text("symbol_classification: {symbols: {SOL: SOL.US}}\n")
    MANAGER.forget()
    MANAGER.get(lambda: DataManager(tmp_path / "cache", rules))
    try:
        assert report_of(days(), "SOL") == replace(report_of(days()), symbol="SOL")
        assert MissingDataHandler().analyze_gaps(days(), "SOL", "1d") == (200, 0)
    finally:
        MANAGER.forget()


@pytest.mark.parametrize("timeframe", ["1D", "daily", "24h"])
def test_a_day_is_checked_as_a_day_in_any_spelling(timeframe: str) -> None:
    frame = days().drop(index=[*range(50, 56), *range(90, 96), *range(120, 126)])
    frame.loc[150:, ["open", "high", "low", "close"]] *= 3
    issues = report_of(frame).issues
    assert issues[:2] == ["3 time gaps (1.6%)", "1 extreme price moves (>50%)"]
    assert report_of(frame, timeframe=timeframe).issues == issues


def test_gaps_count_from_one_in_a_hundred_on() -> None:
    whole = days()
    assert report_of(whole.drop(index=range(50, 56))).issues == []  # one gap, 0.5 %
    gone = [*range(50, 56), *range(90, 96), *range(120, 126)]
    assert report_of(whole.drop(index=gone)).issues == ["3 time gaps (1.6%)"]


def test_an_unknown_timeframe_is_a_warning_and_the_other_checks_go_on() -> None:
    report = report_of(days(), timeframe="2q")
    assert (report.warnings, report.issues) == (["Unknown timeframe: 2q"], [])


def test_every_timeframe_of_the_library_is_known() -> None:
    hours = pd.date_range("2024-06-01", periods=30, freq="4h")
    frame = days().head(30).assign(timestamp=hours)
    for timeframe in ("4h", "2h", "1w", "1M"):
        told = DataValidator().validate(frame, "BTCUSDT", timeframe)
        assert not any("timeframe" in text for text in told.warnings)
    holed = frame.drop(index=range(10, 16))
    assert "1 time gaps (4.2%)" in DataValidator().validate(holed, "BTCUSDT", "4h").issues


def test_prices_out_of_order_extreme_and_not_positive() -> None:
    frame = days()
    frame.loc[10, "high"] = 90.0
    frame.loc[20, "low"] = 120.0
    frame.loc[30, "close"] = -1.0
    issues = report_of(frame).issues
    assert "1 bars where high < max(open,close)" in issues
    assert "2 bars where low > min(open,close)" in issues
    assert "1 bars with zero/negative prices" in issues
    assert any(issue.endswith("extreme price moves (>50%)") for issue in issues)


def test_a_move_that_overflows_is_an_issue_without_a_warning_of_numpy() -> None:
    frame = days()
    frame.loc[30, "close"], frame.loc[31, "open"] = 1e-300, 1e300
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = report_of(frame)
    assert any(issue.endswith("extreme price moves (>50%)") for issue in report.issues)
    assert not any("failed" in issue for issue in report.issues)


def test_zero_and_extreme_volumes_are_warnings() -> None:
    frame = days()
    frame.loc[:10, "volume"] = 0
    frame.loc[40, "volume"] = 50_000
    report = report_of(frame)
    assert report.warnings == [
        "5.5% bars with zero volume",
        "1 extreme volume spikes (>20x median)",
    ]
    assert report.quality_score == pytest.approx(0.9)


def test_a_split_that_nothing_tells_of_and_a_wrong_unit_are_issues() -> None:
    frame = days()
    prices = ["open", "high", "low", "close"]
    frame.loc[:99, prices] *= 4
    frame.loc[:99, "volume"] /= 4
    frame.loc[100, "open"] = frame.loc[100, "close"]
    assert any("a split of 4:1" in issue for issue in report_of(frame).issues)
    frame = days()
    frame.loc[50:52, prices] *= 100
    assert any("100 times too large" in issue for issue in report_of(frame).issues)


def test_a_check_that_fails_is_an_issue() -> None:
    def broken(df: Any, symbol: str, timeframe: str) -> CheckResult:
        raise ZeroDivisionError("of the program's own")

    validator = DataValidator()
    validator.checks.append(broken)
    report = validator.validate(days(), "AAPL", "1d")
    assert report.issues == ["Validation check failed: of the program's own"]
    assert report.quality_score == pytest.approx(0.9)
    assert "Validation check failed" in report_of(pd.DataFrame({"a": [1]})).issues[0]


def test_frames_of_polars_are_taken() -> None:
    polars = pytest.importorskip("polars")
    frame = polars.from_pandas(days())
    assert report_of(frame) == report_of(days())
    assert DataQualityScorer().compute_score(frame, report_of(frame)) == pytest.approx(1.0)


def test_a_score_has_its_weights() -> None:
    scorer, frame = DataQualityScorer(), days()
    clean = report_of(frame)
    assert scorer.compute_score(frame, clean) == pytest.approx(1.0)
    assert scorer.compute_score(frame.iloc[:0], clean) == 0.0
    half = frame.copy()
    half.loc[half.index[::2], "volume"] = 0
    assert scorer.compute_score(half, clean) == pytest.approx(0.9)
    odd = frame.copy()
    odd.loc[:99, "high"] = 1.0
    assert scorer.compute_score(odd, clean) == pytest.approx(0.85)
    gone = frame.drop(index=range(50, 100))
    assert scorer.compute_score(gone, clean) == pytest.approx(1 - 0.4 * 0.25)
    told = DataQualityReport("AAPL", "1d", ["a", "b"], ["c"], 0.0, 200)
    assert scorer.compute_score(frame, told) == pytest.approx(1 - 0.1 * 0.25)
    told = DataQualityReport("AAPL", "1d", ["a"] * 200, [], 0.0, 200)
    assert scorer.compute_score(frame, told) == 0.0, "never below zero"


def test_the_bars_that_a_score_expects_are_those_of_the_timeframe() -> None:
    hours = pd.date_range("2024-06-03", periods=48, freq="h", name="timestamp")
    frame = pd.DataFrame(1.0, hours, ["open", "high", "low", "close", "volume"])
    report = DataQualityReport("BTCUSDT", "1h", [], [], 1.0, 48)
    assert DataQualityScorer().compute_score(frame, report) == pytest.approx(1.0)
    gone = frame.drop(index=hours[6:18])
    assert DataQualityScorer().compute_score(gone, report) == pytest.approx(1 - 0.4 * 0.25)


def test_strategies_are_filtered_by_the_worst_of_their_data() -> None:
    selector = DataAwareStrategySelector()
    names = ["high_frequency_mm", "intraday_orb", "daily_trend", "robust_mean", "other"]
    assert selector.filter_strategies(names, {"A": 0.99, "B": 0.96}) == names
    assert selector.filter_strategies(names, {"A": 0.99, "B": 0.86}) == names[1:]
    assert selector.filter_strategies(names, {"A": 0.7}) == ["daily_trend", "robust_mean", "other"]
    assert selector.filter_strategies(names, {"A": 0.5}) == ["robust_mean"]
    assert selector.filter_strategies(names, {"A": 0.49}) == []
    assert selector.filter_strategies(names, {}) == []
    assert selector.filter_strategies(names, {"A": 1.0}, {"A": 0.15}) == ["robust_mean", "other"]
    assert selector.strategy_requirements["intraday"] == {"min_quality": 0.85, "max_gaps": 0.05}


# --- rows that are no bars -------------------------------------------------------------------


def spoilt(change: Any, rows: slice = slice(None)) -> pd.DataFrame:
    frame = days()
    for name in ("open", "high", "low", "close"):
        frame[name] = frame[name].astype(object) if isinstance(change, str) else frame[name]
        frame.loc[frame.index[rows], name] = change
    return frame


@pytest.mark.parametrize(
    ("change", "rows"),
    crossed([np.nan, np.inf, -np.inf, "100.5"], [slice(None), slice(None, None, 2)]),
)
def test_rows_without_prices_that_are_numbers_are_not_usable(change: Any, rows: slice) -> None:
    report = report_of(spoilt(change, rows))
    assert report.issues
    assert report.quality_score <= 0.45
    assert not report.is_usable()


def test_how_many_rows_lack_prices_is_told() -> None:
    assert "40 bars without finite prices" in report_of(spoilt(np.nan, slice(0, 40))).issues
    one = report_of(spoilt(np.nan, slice(5, 6)))
    assert (one.issues, one.is_usable()) == (["1 bars without finite prices"], True)
    assert one.quality_score == pytest.approx(0.9 * 199 / 200)
    none = report_of(spoilt(np.nan))
    assert "No data available: no bar has prices" in none.issues
    assert not none.is_usable(0.0)


def test_doubled_rows_are_not_usable() -> None:
    report = report_of(pd.concat([days(), days()]))
    assert "200 bars whose time another one has" in report.issues
    assert report.quality_score <= 0.45


def test_text_is_told_by_validate_and_typed_by_the_score() -> None:
    frame = days()
    frame["close"] = frame["close"].astype(str)
    report = report_of(frame)
    assert report.issues[0] == "close does not contain numbers"
    assert not report.is_usable()
    with pytest.raises(QueryError, match="close does not contain numbers"):
        DataQualityScorer().compute_score(frame, report)
    with pytest.raises(QueryError, match="lacks the column close"):
        DataQualityScorer().compute_score(frame.drop(columns="close"), report)
    exact = days()
    exact["close"] = [Decimal(repr(value)) for value in exact["close"]]
    assert report_of(exact).is_usable()


# --- each threshold, on either side ----------------------------------------------------------


def intraday(timeframe: str, rows: int, symbol: str = "AAPL") -> pd.DataFrame:
    """Return bars in the sessions of New York, or of each step of the clock."""
    frame, step = days(rows), Timeframe.parse(timeframe)
    where = Instrument("AAPL", "stock", "XNYS", "America/New_York")
    where = where if symbol == "AAPL" else Instrument(symbol, "crypto", "24/7")
    span = Span(parse_iso("2023-03-01"), parse_iso("2023-12-31"))
    stamps = calendar_for(where).opens(step, span)[:rows]
    return frame.assign(timestamp=stamps.astype("M8[ms]").astype("M8[ns]"))


@pytest.mark.parametrize("timeframe", ["1m", "5m", "15m", "1h"])
def test_nights_of_a_share_are_no_gaps(timeframe: str) -> None:
    frame = intraday(timeframe, 200)
    assert frame["timestamp"].diff().max() > pd.Timedelta(hours=12) or timeframe == "1m"
    report = report_of(frame, timeframe=timeframe)
    assert (report.issues, report.quality_score) == ([], 1.0)


@pytest.mark.parametrize(
    ("timeframe", "gap"), crossed(["1m", "5m", "15m", "1h"], [(2, False), (3, True)])
)
def test_a_gap_is_longer_than_three_steps(timeframe: str, gap: tuple[int, bool]) -> None:
    missing, is_gap = gap
    frame = intraday(timeframe, 200, "BTCUSDT")
    gone = [at + k for at in (20, 60, 100) for k in range(missing)]
    report = report_of(frame.drop(index=gone), "BTCUSDT", timeframe)
    assert any("3 time gaps" in issue for issue in report.issues) == is_gap


def test_a_gap_of_an_unknown_market_counts_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = intraday("1h", 200)

    def unknown(*_: object) -> None:
        raise QueryError("no such symbol")

    monkeypatch.setattr("src.data.doors.compat.data_validator.expected_times", unknown)
    assert any("time gaps" in issue for issue in report_of(frame, timeframe="1h").issues)


@pytest.mark.parametrize(("sessions", "is_gap"), [(1, False), (2, True)])
def test_days_are_a_gap_beyond_four(sessions: int, is_gap: bool) -> None:
    frame = days()
    mondays = frame.index[frame["timestamp"].dt.dayofweek == 0][2:20:6]
    gone = [at + k for at in mondays for k in range(sessions)]  # Friday to Tuesday, or to Wednesday
    report = report_of(frame.drop(index=gone))
    assert any("3 time gaps" in issue for issue in report.issues) == is_gap


@pytest.mark.parametrize(("rows", "is_issue"), [(100, False), (99, True)])
def test_gaps_are_an_issue_above_one_in_a_hundred(rows: int, is_issue: bool) -> None:
    frame = days(rows + 6).drop(index=range(50, 56))
    assert len(frame) == rows
    assert any("time gaps" in issue for issue in report_of(frame).issues) == is_issue


@pytest.mark.parametrize(
    ("move", "is_extreme"), [(1.499, False), (1.501, True), (0.499, True), (0.501, False)]
)
def test_a_day_is_extreme_above_a_half(move: float, is_extreme: bool) -> None:
    frame = days()
    frame.loc[100, ["open", "high", "low", "close"]] = frame.loc[99, "close"]
    frame.loc[101:, ["open", "high", "low", "close"]] = frame.loc[99, "close"] * move
    assert any("1 extreme price moves" in i for i in report_of(frame).issues) == is_extreme
    hours = intraday("1h", 200).assign(**{n: frame[n] for n in ("open", "high", "low", "close")})
    assert not any("extreme price" in i for i in report_of(hours, timeframe="1h").issues)


@pytest.mark.parametrize(
    ("name", "price"),
    crossed(["open", "high", "low", "close"], [(0.0, True), (-1.0, True), (1e-9, False)]),
)
def test_each_price_is_above_zero(name: str, price: tuple[float, bool]) -> None:
    frame = days()
    frame.loc[10, name], is_issue = price
    assert ("1 bars with zero/negative prices" in report_of(frame).issues) == is_issue


@pytest.mark.parametrize("end", ["open", "close"])
def test_high_and_low_are_held_against_open_and_close(end: str) -> None:
    for name, factor in (("high", 0.9999), ("low", 1.0001)):
        frame = days()
        other = "close" if end == "open" else "open"
        outer = (max if name == "high" else min)(frame.loc[10, "open"], frame.loc[10, "close"])
        frame.loc[10, end] = outer
        frame.loc[10, other] = outer * (0.99 if name == "high" else 1.01)
        frame.loc[10, "high"], frame.loc[10, "low"] = outer * 1.02, outer * 0.98
        assert not any("bars where" in issue for issue in report_of(frame).issues)
        frame.loc[10, name] = outer
        assert not any("bars where" in issue for issue in report_of(frame).issues)
        frame.loc[10, name] = outer * factor
        assert any(f"1 bars where {name}" in issue for issue in report_of(frame).issues)


@pytest.mark.parametrize(("rows", "is_told"), [(10, False), (11, True)])
def test_zero_volume_is_told_above_five_in_a_hundred(rows: int, is_told: bool) -> None:
    frame = days()
    frame.loc[: rows - 1, "volume"] = 0
    assert any("zero volume" in text for text in report_of(frame).warnings) == is_told


@pytest.mark.parametrize(("times", "is_told"), [(19.9, False), (20.1, True)])
def test_a_volume_is_a_spike_above_twenty_medians(times: float, is_told: bool) -> None:
    frame = days()
    frame.loc[40, "volume"] = frame["volume"].median() * times
    told = report_of(frame).warnings
    assert ("1 extreme volume spikes (>20x median)" in told) == is_told


def test_bars_without_a_volume_do_not_make_spikes_of_the_others() -> None:
    frame = days()
    frame.loc[frame.index % 5 < 3, "volume"] = 0
    assert not any("spikes" in text for text in report_of(frame).warnings)
    frame["volume"] = 0
    assert not any("spikes" in text for text in report_of(frame).warnings)


def test_a_bar_that_leaves_and_returns_warns() -> None:
    frame = days()
    frame.loc[100, ["open", "high", "low", "close"]] *= 1.4
    assert any("far from the neighbours" in text for text in report_of(frame).warnings)
    frame = days()
    frame.loc[100, ["open", "high", "low", "close"]] *= 1.03
    assert report_of(frame).warnings == []


@pytest.mark.parametrize(("score", "is_usable"), [(0.7, True), (0.6999, False)])
def test_seven_tenths_are_usable(score: float, is_usable: bool) -> None:
    assert DataQualityReport("A", "1d", [], [], score, 9).is_usable() == is_usable
    assert DataQualityReport("A", "1d", [], [], 0.5, 9).is_usable(0.5)


@pytest.mark.parametrize(
    ("name", "quality", "gaps"),
    [
        ("high_frequency", 0.95, 0.01),
        ("intraday", 0.85, 0.05),
        ("daily", 0.7, 0.1),
        ("robust", 0.5, 0.2),
        ("other", 0.7, 1.0),
    ],
)
def test_a_strategy_needs_its_quality_and_takes_so_many_gaps(
    name: str, quality: float, gaps: float
) -> None:
    choose = DataAwareStrategySelector().filter_strategies
    assert choose([name], {"A": quality}, {"A": gaps}) == [name]
    assert choose([name], {"A": quality - 1e-6}) == []
    assert choose([name], {"A": 1.0}, {"A": gaps + 1e-6}) == []
