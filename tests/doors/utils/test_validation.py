"""The older names for checks of a frame, and what they say about good and odd frames."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pandas as pd
import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.answer.frame import table_of
from src.data.core.model.time.instant import parse_iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.prices.quality import check
from src.data.errors import QualityError
from src.data.utils.validation import (
    ValidationResult,
    get_data_quality_score,
    parse_interval_to_minutes,
    validate_data_gaps,
    validate_ohlcv_data,
    validate_price_consistency,
    validate_timestamps,
    validate_volume_data,
)
from tests.reference import needs_reference, reference


def frame(
    rows: int = 30, freq: str = "1h", start: str = "2024-01-01", **columns: Any
) -> pd.DataFrame:
    index = pd.date_range(start, periods=rows, freq=freq, name="timestamp", unit="ns")
    cells = {"open": 10.0, "high": 12.0, "low": 9.0, "close": 11.0, "volume": 5.0} | columns
    return pd.DataFrame(cells, index=index)


def stock_days(rows: int = 30) -> pd.DataFrame:
    return frame(rows, freq="B")


class TestValidateOhlcvData:
    @pytest.mark.parametrize(
        "freq, interval", [("1min", "1m"), ("1h", "1h"), ("1D", "1d"), ("B", "1d")]
    )
    def test_a_good_frame_is_valid_at_every_interval(self, freq: str, interval: str) -> None:
        assert validate_ohlcv_data(frame(freq=freq)) == (True, [])
        assert validate_ohlcv_data(frame(freq=freq), symbol="X", interval=interval) == (True, [])

    @pytest.mark.parametrize("freq, interval", [("W-MON", "1w"), ("MS", "1M")])
    def test_weekly_and_monthly_frames_are_valid(self, freq: str, interval: str) -> None:
        assert validate_ohlcv_data(frame(freq=freq), interval=interval) == (True, [])
        assert validate_ohlcv_data(frame(freq=freq)) == (True, [])

    def test_a_frame_with_timestamps_in_a_column_is_valid(self) -> None:
        assert validate_ohlcv_data(frame().reset_index()) == (True, [])

    @pytest.mark.parametrize("df", [None, pd.DataFrame(), frame(0)])
    def test_an_empty_frame_is_invalid(self, df: pd.DataFrame | None) -> None:
        assert validate_ohlcv_data(df) == (False, ["DataFrame is empty"])

    def test_none_is_scored_as_an_empty_frame(self) -> None:
        assert get_data_quality_score(None) == get_data_quality_score(pd.DataFrame())
        assert ValidationResult.of(None) == ValidationResult.of(pd.DataFrame())

    def test_fewer_rows_than_the_minimum_are_invalid(self) -> None:
        assert validate_ohlcv_data(frame(9))[1] == ["Insufficient data points: 9 < 10"]
        assert validate_ohlcv_data(frame(3), min_data_points=3)[0]

    def test_missing_required_columns_are_named(self) -> None:
        bare = frame().drop(columns="close").reset_index(drop=True)
        assert validate_ohlcv_data(bare)[1] == ["Missing required columns: ['timestamp', 'close']"]
        assert validate_ohlcv_data(frame(), required_columns=["adj_close"])[1] == [
            "Missing required columns: ['adj_close']"
        ]

    def test_missing_values_are_counted_by_column(self) -> None:
        df = frame()
        df.iloc[3, 0] = np.nan
        assert validate_ohlcv_data(df)[1] == ["Column 'open' has 1 missing values"]

    def test_duplicate_timestamps_are_invalid_unless_allowed(self) -> None:
        df = frame()
        twice = pd.concat([df, df.iloc[[-1]]])
        assert validate_ohlcv_data(twice)[1] == ["Found 1 duplicate timestamps"]
        assert validate_ohlcv_data(twice, allow_duplicate_timestamps=True)[0]

    def test_volume_may_be_waived(self) -> None:
        quotes = frame(volume=np.nan)
        assert not validate_ohlcv_data(quotes)[0]
        assert validate_ohlcv_data(quotes, require_volume_data=False)[0]
        assert validate_ohlcv_data(quotes.drop(columns="volume"), require_volume_data=False)[0]

    def test_prices_may_be_waived(self) -> None:
        odd = frame(high=1.0)
        assert validate_ohlcv_data(odd)[1] == [
            "Found 30 rows that break 0 < low <= open, close <= high"
        ]
        assert validate_ohlcv_data(odd, price_sanity_check=False)[0]

    def test_an_invalid_interval_is_an_error(self) -> None:
        assert validate_ohlcv_data(frame(), interval="often")[1] == [
            "Invalid interval format: often"
        ]

    def test_a_gap_round_the_clock(self) -> None:
        df = frame(24 * 10)
        assert validate_ohlcv_data(df.drop(df.index[30:50]))[0]
        assert validate_ohlcv_data(df.drop(df.index[30:60]))[1] == [
            "Found 1 gaps larger than 24 hours"
        ]

    def test_a_gap_in_a_market_with_weekends(self) -> None:
        df = stock_days(60)
        assert validate_ohlcv_data(df.drop(df.index[20:26]))[0]
        assert validate_ohlcv_data(df.drop(df.index[20:30]))[1] == [
            "Found 1 gaps larger than 168 hours"
        ]


class TestParts:
    def test_invalid_timestamps_are_errors(self) -> None:
        assert validate_timestamps(pd.Series(["2024-01-01"])) == [
            "Timestamps must be datetime objects"
        ]
        missing = pd.Series(pd.to_datetime(["2024-01-01", None, "2024-01-02"]))
        assert validate_timestamps(missing) == ["Timestamps contain None/NaT values"]

    @pytest.mark.parametrize("as_series", [False, True])
    def test_zone_order_and_gaps(self, as_series: bool) -> None:
        index = pd.DatetimeIndex(["2024-01-01", "2024-01-06", "2024-01-02"])
        stamps: Any = pd.Series(index) if as_series else index
        aware: Any = pd.Series(index.tz_localize("UTC")) if as_series else index.tz_localize("UTC")
        said = ["Timestamps are not in ascending order", "Found 1 gaps larger than 24 hours"]
        assert validate_timestamps(stamps) == said
        assert validate_timestamps(stamps, check_order=False, check_gaps=False) == []
        assert validate_timestamps(stamps, max_gap_hours=200)[1:] == []
        assert validate_timestamps(aware)[0] == "Timestamps must be timezone-naive"
        assert validate_timestamps(aware, timezone_aware=True) == said
        assert (
            validate_timestamps(stamps, timezone_aware=True)[0]
            == "Timestamps must be timezone-aware"
        )

    def test_weekends_are_no_gaps(self) -> None:
        assert validate_timestamps(stock_days().index) == []
        assert validate_data_gaps(stock_days().index, "1d") == []

    @pytest.mark.parametrize(
        "columns, said",
        [
            ({"low": -1.0}, "Column 'low' has 30 negative prices"),
            ({"low": 1e-5}, "Column 'low' has 30 prices below 0.0001"),
            ({"high": 2e6}, "Column 'high' has 30 prices above 1e+06"),
            ({"low": 10.5}, "Found 30 rows that break 0 < low <= open, close <= high"),
            ({"close": [10.0] * 29 + [4.9], "low": 1.0}, "Found 1 price changes > 50%"),
        ],
    )
    def test_inconsistent_prices_are_named(self, columns: dict[str, Any], said: str) -> None:
        assert said in validate_price_consistency(frame(**columns))

    def test_rounding_noise_is_no_error(self) -> None:
        assert validate_price_consistency(frame(high=11.0 * (1 - 1e-9))) == []

    def test_incomplete_rows_are_not_called_broken(self) -> None:
        df = frame()
        df.iloc[3, 1] = np.nan
        assert validate_price_consistency(df) == []

    @pytest.mark.parametrize(
        "volumes, said",
        [
            ([1.0, 0.0, np.nan], []),
            ([1.0, -1.0], ["Volume data has 1 negative values"]),
            ([1.0, 2e15], ["Volume data has 1 values above 1e+15"]),
            ([0.0, 0.0], ["All volume values are zero"]),
            ([], []),
        ],
    )
    def test_negative_excessive_or_all_zero_volumes_are_named(
        self, volumes: list[float], said: list[str]
    ) -> None:
        assert validate_volume_data(pd.Series(volumes, dtype=float)) == said

    def test_steps_that_do_not_match_the_interval(self) -> None:
        index = frame(10).index
        assert validate_data_gaps(index, "1h") == []
        assert validate_data_gaps(pd.Series(index), "1h") == []
        assert validate_data_gaps(index.delete(4), "1h") == [
            "Found 1 gaps that do not match the interval 1h"
        ]
        assert validate_data_gaps(index.delete(4), "1h", tolerance_minutes=60) == []
        assert len(validate_data_gaps(index, "5m")) == 1
        assert validate_data_gaps(index[:1], "1h") == []
        assert validate_data_gaps(index, "every hour") == ["Invalid interval format: every hour"]

    @pytest.mark.parametrize("freq, interval", [("W-MON", "1w"), ("MS", "1M")])
    def test_a_removed_bar_of_a_long_interval_is_one_gap(self, freq: str, interval: str) -> None:
        index = frame(24, freq=freq).index
        assert validate_data_gaps(index, interval) == []
        assert len(validate_data_gaps(index.delete(5), interval)) == 1

    @pytest.mark.parametrize(
        "text, minutes",
        [("1m", 1), ("5m", 5), ("1h", 60), ("60m", 60), ("1d", 1440), ("1w", 10080), ("1M", 43200),
         ("1mo", 43200), ("x", None), ("", None), ("0m", None), ("m", None)],
    )  # fmt: skip
    def test_interval_texts_are_parsed_to_minutes(self, text: str, minutes: int | None) -> None:
        assert parse_interval_to_minutes(text) == minutes


BAD_CELLS: dict[str, dict[str, Any]] = {
    "text as a price": {"open": "abc"},
    "an infinite price": {"high": np.inf},
    "a price of zero": {"low": 0.0},
    "a negative price": {"open": -1.0, "low": -1.0},
    "no price": {"close": np.nan},
    "a high below the low": {"high": 8.0},
    "a low above the close": {"low": 11.5},
    "a negative volume": {"volume": -1.0},
    "an infinite volume": {"volume": np.inf},
}


def stored(df: pd.DataFrame, interval: str) -> list[bool]:
    """Tell row by row whether the flow of an answer would store it."""
    table = table_of(df)
    span = Span(int(table.stamps[0]), int(table.stamps[-1]) + 1)
    now_ms = parse_iso("2026-06-01")
    checked = check(table, span, timeframe=Timeframe.parse(interval), now_ms=now_ms)
    return [int(stamp) in set(checked.good.stamps.tolist()) for stamp in table.stamps]


class TestOneJudgement:
    """A row that the store would not take is not valid here either, and the other way round."""

    @pytest.mark.parametrize("cells", BAD_CELLS.values(), ids=BAD_CELLS)
    def test_a_row_that_is_not_stored_is_not_valid(self, cells: dict[str, Any]) -> None:
        df = frame(20).astype(object)
        for name, value in cells.items():
            df.loc[df.index[7], name] = value
        if "abc" not in cells.values():
            df = df.astype(float)
        assert stored(df, "1h") == [i != 7 for i in range(20)]
        valid, errors = validate_ohlcv_data(df)
        assert not valid
        assert errors
        score = get_data_quality_score(df)
        assert score["consistency_score"] == pytest.approx(0.95)
        assert not score["is_valid"]
        result = ValidationResult.of(df, interval="1h")
        assert (result.is_valid, result.logical_consistency) == (False, False)
        assert result.quality_score < 1

    @pytest.mark.parametrize("name", ["open", "close", "volume"])
    @pytest.mark.parametrize("text", ["abc", "10.0"])
    def test_a_column_of_text_is_not_valid(self, name: str, text: str) -> None:
        df = frame(24, **{name: text})
        assert f"Column '{name}' has 24 values that are not numbers" in validate_ohlcv_data(df)[1]
        assert not get_data_quality_score(df)["is_valid"]
        result = ValidationResult.of(df)
        assert (result.is_valid, result.data_types_valid) == (False, False)
        if text == "abc":
            assert get_data_quality_score(df)["missing_cells"] == 24
            assert result.quality_score < 1

    def test_stamps_of_text_are_not_valid(self) -> None:
        df = frame().reset_index().astype({"timestamp": str})
        assert validate_ohlcv_data(df) == (False, ["Timestamps must be datetime objects"])

    @pytest.mark.parametrize("price", [8.42e-6, 1.2e9])
    def test_no_price_is_too_low_or_too_high_by_itself(self, price: float) -> None:
        cells = {"open": price, "high": price * 1.1, "low": price * 0.9, "close": price}
        df = frame(24, **cells)
        assert all(stored(df, "1h"))
        assert ValidationResult.of(df).is_valid

    @pytest.mark.parametrize("interval", [None, "1h"])
    def test_bars_of_the_future(self, interval: str | None) -> None:
        df = frame(24, start="2099-01-01")
        with pytest.raises(QualityError, match="future"):
            stored(df, "1h")
        assert validate_ohlcv_data(df, interval=interval)[1] == [
            "Found 24 timestamps in the future"
        ]
        assert get_data_quality_score(df)["consistency_score"] == 0.0
        result = ValidationResult.of(df, interval=interval)
        assert (result.is_valid, result.logical_consistency) == (False, False)

    @pytest.mark.parametrize(
        "freq, interval, now, late",
        [
            ("1h", "1h", "2024-01-01T23:00:00Z", 0),
            ("1h", None, "2024-01-01T22:00:00Z", 0),
            ("1h", None, "2024-01-01T21:59:59Z", 1),
            ("1D", "1d", "2024-01-21", 0),
            ("1D", None, "2024-01-21", 0),
            ("1D", None, "2024-01-20", 1),
            ("MS", None, "2025-11-01", 0),
            ("MS", "1M", "2025-01-01", 10),
        ],
    )
    def test_the_running_bar_is_not_of_the_future(
        self, freq: str, interval: str | None, now: str, late: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = ManualClock(parse_iso(now))
        monkeypatch.setattr("src.data.doors.compat.validation.SystemClock", lambda: clock)
        errors = [f"Found {late} timestamps in the future"] if late else []
        assert validate_ohlcv_data(frame(24, freq=freq), interval=interval)[1] == errors

    def test_a_bar_alone_may_be_of_any_length(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = ManualClock(parse_iso("2023-12-31T12:00:00Z"))
        monkeypatch.setattr("src.data.doors.compat.validation.SystemClock", lambda: clock)
        assert ValidationResult.of(frame(1)).is_valid


class TestScore:
    def test_a_good_frame_scores_one_in_every_field(self) -> None:
        assert get_data_quality_score(frame()) == {
            "is_valid": True, "quality_score": 1.0, "completeness": 1.0, "consistency_score": 1.0,
            "total_rows": 30, "missing_cells": 0, "errors": [], "error_count": 0,
        }  # fmt: skip

    def test_a_quality_score_is_the_mean_of_completeness_and_consistency(self) -> None:
        df = frame(20, high=[12.0] * 15 + [1.0] * 5).drop(columns="volume")
        score = get_data_quality_score(df)
        assert score["missing_cells"] == 20
        assert score["completeness"] == pytest.approx(5 / 6)
        assert score["consistency_score"] == 0.75
        assert score["quality_score"] == pytest.approx((5 / 6 + 0.75) / 2)
        assert score["error_count"] == len(score["errors"]) == 2
        assert not score["is_valid"]

    def test_duplicate_rows_halve_the_consistency_score(self) -> None:
        df = frame(10)
        assert get_data_quality_score(pd.concat([df, df]))["consistency_score"] == 0.5

    def test_an_empty_frame_scores_zero(self) -> None:
        score = get_data_quality_score(frame(0))
        assert (score["quality_score"], score["is_valid"]) == (0.0, False)


class TestResult:
    def test_a_validation_result_has_its_documented_fields(self) -> None:
        assert [f.name for f in fields(ValidationResult)] == [
            "is_valid", "errors", "quality_score", "gaps", "duplicates", "missing_columns",
            "data_types_valid", "logical_consistency",
        ]  # fmt: skip
        assert ValidationResult(True, [], 1.0, 0, 0, [], True, True).is_valid

    def test_a_validation_result_of_a_good_frame_has_no_findings(self) -> None:
        for df, interval in ((frame(), "1h"), (frame(), None), (stock_days(), "1d")):
            result = ValidationResult.of(df, interval=interval)
            assert result == ValidationResult(True, [], 1.0, 0, 0, [], True, True)

    def test_a_validation_result_counts_the_faults_of_an_odd_frame(self) -> None:
        df = frame(20, high=1.0).drop(columns="volume")
        df["open"] = df["open"].astype(str)
        df = pd.concat([df.drop(df.index[4:6]), df.iloc[[-1]]])
        result = ValidationResult.of(df, interval="1h")
        assert not result.is_valid
        assert (result.gaps, result.duplicates, result.missing_columns) == (1, 1, ["volume"])
        assert not result.data_types_valid
        assert not result.logical_consistency
        assert 0 < result.quality_score < 0.5

    def test_a_validation_result_names_missing_timestamps(self) -> None:
        result = ValidationResult.of(frame().reset_index(drop=True))
        assert not result.data_types_valid
        assert result.missing_columns == ["timestamp"]


@needs_reference
@pytest.mark.parametrize(
    "name, interval, valid",
    [
        ("AAPL-1d-2004-2018-yahoo.csv.gz", "1d", True),
        ("ORCL-1d-1995-2014-yahoo.csv.gz", "1d", True),
        ("SPY-1h-2013-2021-raw.csv.gz", "1h", True),
        ("ETHBTC-5m-freqtrade.csv.gz", "5m", True),
        ("BTCUSDT-1d-2019-binance.csv.gz", "1d", False),
    ],
)
def test_real_series_are_judged_valid_or_not_as_listed(
    name: str, interval: str, valid: bool
) -> None:
    df = pd.read_csv(reference("market", name), index_col=0, parse_dates=True).tz_localize(None)
    told, errors = validate_ohlcv_data(df, interval=interval)
    assert told == valid, errors
    assert (get_data_quality_score(df)["quality_score"] == 1.0) == valid
