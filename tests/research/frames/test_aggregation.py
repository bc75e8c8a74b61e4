"""Longer bars out of shorter ones."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from src.data.errors import QueryError
from src.data.polars.parquet_minute_bars import PolarsParquetMinuteReader
from src.data.polars.parquet_writer import ParquetWriter
from src.data.research.frames.aggregation import (
    resample_custom_interval,
    resample_daily_to_monthly,
    resample_daily_to_weekly,
    resample_minute_to_daily,
)
from src.data.research.frames.frames import PRICES, decimal_frame, get_schema_for_frequency
from tests.core.cache.counts import FULL
from tests.research.bundles.bars import days, minutes


def test_a_day_of_each_of_a_thousand_symbols() -> None:
    count, each = 1000 if FULL else 60, 390
    rng = np.random.default_rng(1)
    start = datetime(2023, 1, 3, 14, 30)
    frame = pl.DataFrame(
        {
            "timestamp": [start + timedelta(minutes=n) for n in range(each)] * count,
            "sid": np.repeat(np.arange(count), each),
            **{
                name: rng.integers(1, 10**6, count * each) / 100 for name in ("open", "high", "low")
            },
            "close": rng.integers(1, 10**6, count * each) / 100,
            "volume": rng.integers(1, 1000, count * each).astype(float),
        }
    )
    made = resample_minute_to_daily(frame.sample(fraction=1.0, shuffle=True, seed=2))
    assert made["date"].unique().to_list() == [date(2023, 1, 3)] and len(made) == count
    cube = {name: frame[name].to_numpy().reshape(count, each) for name in frame.columns[2:]}
    assert (made["sid"].to_numpy() == np.arange(count)).all()
    assert (made["open"].to_numpy() == cube["open"][:, 0]).all()
    assert (made["high"].to_numpy() == cube["high"].max(1)).all()
    assert (made["low"].to_numpy() == cube["low"].min(1)).all()
    assert (made["close"].to_numpy() == cube["close"][:, -1]).all()
    assert (made["volume"].to_numpy() == cube["volume"].sum(1)).all()
    exact = resample_minute_to_daily(decimal_frame(frame).frame.lazy()).collect()
    assert exact.schema["volume"] == pl.Decimal(18, 8)
    assert exact["close"].cast(pl.Float64).to_list() == made["close"].to_list()


def test_a_days_call_of_the_reader_of_minutes(tmp_path: Path) -> None:
    """Of each of a thousand symbols, out of the files; checked by plain loops."""
    count, each, dice = 1000, 4, np.random.default_rng(5)
    starts = [datetime(2023, 1, 3, 23, 58), datetime(2023, 1, 6, 14, 30)]
    rows = pl.DataFrame(
        {
            "timestamp": [s + timedelta(minutes=n) for s in starts for n in range(each)] * count,
            "sid": np.repeat(np.arange(count), 2 * each),
            **{name: dice.integers(1, 10**6, 2 * each * count) / 100 for name in PRICES},
            "volume": dice.integers(1, 1000, 2 * each * count).astype(float),
        }
    )
    ParquetWriter(tmp_path).write(rows.sample(fraction=1.0, shuffle=True, seed=1), "minute")
    reader = PolarsParquetMinuteReader(tmp_path)
    made = reader.load_daily_bars(range(count), "2023-01-03", datetime(2023, 1, 6, 10))
    wanted: dict[tuple[int, date], list[float]] = {}
    for stamp, sid, *bar in rows.sort("sid", "timestamp").rows():
        day = wanted.setdefault((sid, stamp.date()), [bar[0], *bar[1:4], 0])
        day[:] = [day[0], max(day[1], bar[1]), min(day[2], bar[2]), bar[3], day[4] + bar[4]]
    assert made.schema == get_schema_for_frequency("daily")
    assert {(sid, day): list(map(float, bar)) for day, sid, *bar in made.rows()} == wanted
    assert made.select("sid", "date").rows() == sorted(wanted)
    some = reader.load_daily_bars([7, 3, 5000], "2023-01-04", None, ["close"])
    assert some.rows() == [
        (date(2023, 1, day), sid, pytest.approx(Decimal(str(wanted[sid, date(2023, 1, day)][3]))))
        for sid in (3, 7)
        for day in (4, 6)
    ]
    assert reader.load_daily_bars([3], "2024-01-01", "2024-01-02").is_empty()
    with pytest.raises(QueryError, match="vwap"):
        reader.load_daily_bars([3], None, None, ["vwap"])


def test_a_days_volume_may_need_more_digits_than_those_of_its_minutes(tmp_path: Path) -> None:
    nulls = {"open": None, "close": None, "volume": None}
    rows = minutes(datetime(2023, 1, 2, 12), 3, [1, 2]).with_columns(volume=9e9)
    first = rows.filter(pl.col("timestamp") == datetime(2023, 1, 2, 12), sid=2)
    rows = rows.filter(pl.col("sid") == 1).vstack(first.with_columns(**nulls).cast(rows.schema))
    ParquetWriter(tmp_path).write(rows, "minute")
    made = PolarsParquetMinuteReader(tmp_path).load_daily_bars([1, 2], None, None)
    assert made["volume"].to_list() == [27_000_000_000, None]
    assert made["close"].to_list() == [12, None]
    assert made.schema["volume"] == pl.Decimal(38, 8)


def test_days_are_resampled_to_weeks_and_months() -> None:
    frame = days(date(2023, 1, 4), 60, [1, 2])
    weeks = resample_daily_to_weekly(frame)
    assert weeks.filter(sid=1)["date"].to_list()[:3] == [
        date(2023, 1, 2), date(2023, 1, 9), date(2023, 1, 16)
    ]  # fmt: skip
    assert weeks.filter(sid=2)["volume"].to_list()[:2] == [500, 700]
    months = resample_daily_to_monthly(frame)
    assert months.rows()[0] == (date(2023, 1, 1), 1, 10, 38, 9, pytest.approx(37.01), 2800)


def test_custom_intervals_are_aligned_and_invalid_ones_refused() -> None:
    frame = minutes(datetime(2023, 1, 2, 23, 58), 8)
    made = resample_custom_interval(frame, "5m")
    assert made["timestamp"].to_list() == [
        datetime(2023, 1, 2, 23, 55), datetime(2023, 1, 3), datetime(2023, 1, 3, 0, 5)
    ]  # fmt: skip
    assert made["volume"].to_list() == [10, 25, 5]
    for interval in ("5x", "0m", "", None, "-1d"):
        with pytest.raises(QueryError, match="invalid interval"):
            resample_custom_interval(frame, interval)  # type: ignore[arg-type]


def test_resampling_ignores_nulls() -> None:
    frame = pl.DataFrame(
        {
            "timestamp": [datetime(2023, 1, 2, 10, n) for n in range(3)],
            "open": [None, 2.0, 3.0], "high": [None, 5.0, 4.0], "low": [None, 1.0, 2.0],
            "close": [4.0, 5.0, None], "volume": pl.Series([None] * 3, dtype=pl.Float64),
        }
    )  # fmt: skip
    assert resample_minute_to_daily(frame).rows() == [(date(2023, 1, 2), 2, 5, 1, 5, None)]


def test_open_and_close_of_a_resampled_bar_are_between_low_and_high() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        frame = minutes(datetime(2023, 1, 2, 12), 300, [1, 2]).sample(
            int(rng.integers(1, 600)), seed=int(rng.integers(99))
        )
        made = resample_custom_interval(frame, "7m")
        assert made.filter(pl.col("high") < pl.max_horizontal("open", "close", "low")).is_empty()
        assert made.filter(pl.col("low") > pl.min_horizontal("open", "close")).is_empty()
        assert made["volume"].sum() == frame["volume"].sum()


def test_resampling_refuses_a_frame_without_bars() -> None:
    frame = minutes(datetime(2023, 1, 2), 2)
    with pytest.raises(QueryError, match="close"):
        resample_minute_to_daily(frame.drop("close"))
    with pytest.raises(QueryError, match="does not contain times"):
        resample_minute_to_daily(frame.cast({"timestamp": pl.String}))
    empty = resample_minute_to_daily(frame.head(0))
    assert empty.is_empty() and empty.columns[:2] == ["date", "sid"]
