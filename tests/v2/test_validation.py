"""The second layer's validation: its sentences, thresholds, weights and table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from src.data.calendars.calendar import calendar_for
from src.data.model.instant import parse_iso
from src.data.model.instrument import Instrument
from src.data.model.span import Span
from src.data.model.timeframe import Timeframe
from src.data.v2 import (
    CheckResult,
    DataAwareStrategySelector,
    DataQualityReport,
    DataQualityScorer,
    DataValidator,
)


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


def test_a_sound_frame_has_nothing_and_is_usable() -> None:
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


def test_gaps_count_from_one_in_a_hundred_on() -> None:
    whole = days()
    assert report_of(whole.drop(index=range(50, 56))).issues == []  # one gap, 0.5 %
    gone = [*range(50, 56), *range(90, 96), *range(120, 126)]
    assert report_of(whole.drop(index=gone)).issues == ["3 time gaps (1.6%)"]


def test_an_unknown_timeframe_is_a_warning_and_the_other_checks_go_on() -> None:
    report = report_of(days(), timeframe="2d")
    assert report.warnings[0] == "Unknown timeframe: 2d"


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


def test_volumes_warn() -> None:
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
    assert any("100 times larger" in issue for issue in report_of(frame).issues)


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
