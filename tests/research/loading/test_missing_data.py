"""Filling is asked for, flagged, and never stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from src.data import UnifiedCache
from src.data.core.model.answer.frame import filled_rows, table_of
from src.data.doors.compat.missing_data import MissingDataHandler
from src.data.errors import QueryError, ResponseFormatError

HANDLER = MissingDataHandler()


def bars(times: pd.DatetimeIndex) -> pd.DataFrame:
    """Return bars whose close counts them."""
    close = np.arange(1.0, len(times) + 1)
    columns = {"open": close, "high": close + 1, "low": close - 1, "close": close, "volume": 7.0}
    return pd.DataFrame(columns, index=times.rename("timestamp"))


def days(first: str, last: str, *without: str) -> pd.DataFrame:
    """Return a bar for every weekday, but for those left out."""
    whole = bars(pd.bdate_range(first, last, unit="ns"))
    return whole.drop(pd.to_datetime(list(without)))


def minutes(day: str, *without: str) -> pd.DataFrame:
    """Return minutes of a day in New York from 8:00 to 17:00 local time, naive UTC."""
    local = pd.date_range(f"{day} 08:00", f"{day} 16:59", freq="min", tz="America/New_York")
    whole = bars(local.tz_convert("UTC").tz_localize(None).as_unit("ns"))
    gone = [pd.Timestamp(f"{day} {time}", tz="America/New_York") for time in without]
    return whole.drop([stamp.tz_convert("UTC").tz_localize(None) for stamp in gone])


def test_forward_fill_repeats_the_bar_before_with_no_volume() -> None:
    frame = days("2024-06-03", "2024-06-14", "2024-06-06")
    made = HANDLER.handle_missing_data(frame, "AAPL", "1d", "forward_fill")
    added = made[made["filled"]]
    assert list(added.index) == [pd.Timestamp("2024-06-06")]
    assert added[["open", "high", "low", "close", "volume"]].to_numpy().tolist() == [
        [3, 4, 2, 3, 0]
    ]
    assert made["filled"].dtype == bool
    assert made[~made["filled"]].drop(columns="filled").equals(frame)
    assert "filled" not in frame, "the caller's frame stays as it is"


def test_no_holiday_is_filled() -> None:
    frame = days("2024-06-17", "2024-06-21", "2024-06-19")
    assert not HANDLER.handle_missing_data(frame, "AAPL", "1d", "forward_fill")["filled"].any()


def test_interpolate_draws_a_line_between_the_neighbours() -> None:
    frame = days("2024-06-03", "2024-06-14", "2024-06-05", "2024-06-06")
    made = HANDLER.handle_missing_data(frame, "AAPL", "1d", "interpolate")
    assert made["close"].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    assert made.loc[made["filled"], "volume"].tolist() == [0, 0]


def test_drop_adds_nothing_and_removes_rows_without_a_price() -> None:
    frame = days("2024-06-03", "2024-06-14", "2024-06-05")
    frame.loc["2024-06-07", "close"] = np.nan
    made = HANDLER.handle_missing_data(frame, "AAPL", "1d", "drop")
    assert len(made) == 8
    assert not made["filled"].any()


def test_a_row_without_a_price_is_filled_and_keeps_its_volume() -> None:
    frame = days("2024-06-03", "2024-06-07")
    frame.loc["2024-06-05", "close"] = np.nan
    row = HANDLER.handle_missing_data(frame, "AAPL", "1d", "forward_fill").loc["2024-06-05"]
    assert (row["close"], row["volume"], row["filled"]) == (2, 7, True)


def test_a_first_row_without_a_price_is_left_out() -> None:
    frame = days("2024-06-03", "2024-06-07")
    frame.loc["2024-06-03", "open"] = np.nan
    assert len(HANDLER.handle_missing_data(frame, "AAPL", "1d", "forward_fill")) == 4


@pytest.mark.parametrize("symbol", ["AAPL", "BTCUSDT", "VOD.L"])
def test_market_hours_fills_only_new_yorks_hours_for_any_symbol(symbol: str) -> None:
    frame = minutes("2024-06-03", "08:30", "09:29", "09:30", "12:00", "15:59", "16:00")
    made = HANDLER.handle_missing_data(frame, symbol, "1m", "market_hours")
    added = made.index[made["filled"]].tz_localize("UTC").tz_convert("America/New_York")
    assert [f"{time:%H:%M}" for time in added] == ["09:30", "12:00", "15:59"]
    assert made.loc[made["filled"], "volume"].eq(0).all()
    assert len(made) == len(frame) + 3, "rows outside of the hours stay"


def test_no_night_and_no_weekend_is_filled_with_minutes() -> None:
    both = pd.concat([minutes("2024-06-07"), minutes("2024-06-10")])
    assert not HANDLER.handle_missing_data(both, "AAPL", "1m")["filled"].any()


@pytest.mark.parametrize(
    ("lost", "strategy"),
    [(4, "forward_fill"), (5, "interpolate"), (14, "interpolate"), (15, "drop")],
)
def test_auto_chooses_by_the_missing_share_of_days(lost: int, strategy: str) -> None:
    sessions = days("2024-06-03", "2024-10-23", "2024-06-19", "2024-07-04", "2024-09-02")
    frame = sessions.drop(sessions.index[3 : 3 + lost])
    share = HANDLER.analyze_gaps(frame, "AAPL", "1d")
    assert share == (100, lost)
    assert share.gap_pct == lost / 100
    by_name = HANDLER.handle_missing_data(frame, "AAPL", "1d", strategy)
    assert HANDLER.handle_missing_data(frame, "AAPL", "1d").equals(by_name)


def test_auto_takes_market_hours_for_minutes() -> None:
    frame = minutes("2024-06-03", "08:30", "12:00")
    by_name = HANDLER.handle_missing_data(frame, "AAPL", "1m", "market_hours")
    assert HANDLER.handle_missing_data(frame, "AAPL", "1m").equals(by_name)


def test_a_coin_trades_on_sundays() -> None:
    frame = bars(pd.date_range("2024-06-01", "2024-06-30", unit="ns")).drop(
        pd.Timestamp("2024-06-09")
    )
    made = HANDLER.handle_missing_data(frame, "BTCUSDT", "1d")
    assert list(made.index[made["filled"]]) == [pd.Timestamp("2024-06-09")]


def test_hours_from_the_open_and_hours_on_the_clock() -> None:
    for start in ("13:30", "14:00"):
        index = pd.date_range(f"2024-06-03 {start}", "2024-06-03 19:59", freq="h", unit="ns")
        frame = bars(index).drop(index[2])
        made = HANDLER.handle_missing_data(frame, "AAPL", "1h", "forward_fill")
        assert list(made.index) == list(index)


def test_the_form_of_the_frame_is_kept() -> None:
    frame = days("2024-06-03", "2024-06-14", "2024-06-06").assign(is_final=True, source="yahoo")
    aware = frame.tz_localize("UTC").tz_convert("America/New_York")
    made = HANDLER.handle_missing_data(aware, "AAPL", "1d", "forward_fill")
    assert made.index.tz == aware.index.tz
    assert made["is_final"].tolist() == (~made["filled"]).tolist()
    column = HANDLER.handle_missing_data(frame.reset_index(), "AAPL", "1d", "forward_fill")
    assert column.columns[0] == "timestamp"
    assert column["filled"].tolist() == made["filled"].tolist()
    polars = pytest.importorskip("polars")
    table = polars.DataFrame({name: column[name].to_numpy() for name in column.columns[:6]})
    again = HANDLER.handle_missing_data(table, "AAPL", "1d", "drop")
    assert isinstance(again, polars.DataFrame)
    assert again.columns == ["timestamp", "open", "high", "low", "close", "volume", "filled"]
    assert len(again) == len(column)


@pytest.mark.parametrize("strategy", ["forward_fill", "interpolate", "drop", "market_hours"])
@pytest.mark.parametrize("rows", [8, 0])
def test_a_polars_frame_keeps_its_types_and_nulls(strategy: str, rows: int) -> None:
    pl = pytest.importorskip("polars")
    frame = days("2024-06-03", "2024-06-14", "2024-06-06", "2024-06-12")[:rows]
    closes = pl.Series(frame["close"].to_list(), dtype=pl.Float32)
    table = pl.DataFrame({
        "date": pl.Series([time.date() for time in frame.index], dtype=pl.Date),
        "open": closes, "high": closes, "low": closes, "close": closes,
        "volume": pl.Series([7] * rows, dtype=pl.Int64),
        "adj_close": pl.Series([None] * rows, dtype=pl.Float64),
        "source": pl.Series([None] * rows, dtype=pl.String),
        "trades": pl.Series([3] * rows, dtype=pl.UInt16),
    })  # fmt: skip
    made = HANDLER.handle_missing_data(table, "AAPL", "1d", strategy)
    assert made.schema == {**table.schema, "filled": pl.Boolean}
    kept = made.filter(~pl.col("filled")).drop("filled")
    assert kept.equals(table)
    assert made.filter("filled")["trades"].to_list() == [None] * (len(made) - rows)


def test_interpolated_prices_of_a_column_of_integers_are_not_rounded() -> None:
    pl = pytest.importorskip("polars")
    frame = days("2024-06-03", "2024-06-14", "2024-06-10")  # a Monday
    table = pl.from_pandas(frame.reset_index()).with_columns(pl.col("close").cast(pl.Int64))
    made = HANDLER.handle_missing_data(table, "AAPL", "1d", "interpolate")
    assert made.filter("filled")["close"].to_list() == [6.5]


def test_an_empty_frame_stays_empty() -> None:
    made = HANDLER.handle_missing_data(days("2024-06-03", "2024-06-07")[:0], "AAPL", "1d")
    assert len(made) == 0
    assert made["filled"].dtype == bool


@pytest.mark.parametrize(
    ("frame", "strategy", "message"),
    [
        (days("2024-06-03", "2024-06-07"), "guess", "unknown strategy 'guess'"),
        (days("2024-06-03", "2024-06-07")[::-1], "drop", "must be ascending"),
        (days("2024-06-03", "2024-06-07").drop(columns="high"), "drop", "lacks the column high"),
        (days("2024-06-03", "2024-06-07").reset_index(drop=True), "drop", "neither a time index"),
        ([1, 2], "drop", "expected a pandas or Polars frame, not list"),
    ],
)
def test_an_unknown_strategy_or_bad_frame_is_refused(
    frame: Any, strategy: str, message: str
) -> None:
    with pytest.raises(QueryError, match=message):
        HANDLER.handle_missing_data(frame, "AAPL", "1d", strategy)


# --- never stored ---------------------------------------------------------------------------------


@pytest.fixture
def made() -> pd.DataFrame:
    frame = days("2024-06-03", "2024-06-14", "2024-06-06")
    return HANDLER.handle_missing_data(frame, "AAPL", "1d", "forward_fill")


@pytest.mark.parametrize("form", ["as made", "without the flag", "times in a column", "cut"])
def test_the_cache_refuses_filled_rows(made: pd.DataFrame, form: str, tmp_path: Path) -> None:
    forms = {
        "as made": made,
        "without the flag": made.drop(columns="filled"),
        "times in a column": made.drop(columns="filled").reset_index(),
        "cut": made["2024-06-06":"2024-06-10"],
    }
    cache = UnifiedCache(tmp_path / "cache")
    with pytest.raises(QueryError, match="cannot be stored as bars") as refused:
        cache.put(forms[form], "AAPL", "1d")
    assert refused.value.hint == 'frame[~frame["filled"]] has only the bars'
    assert cache.get("AAPL", "1d", "2024-06-03", "2024-06-14") is None
    with pytest.raises(ResponseFormatError, match="filled-in rows"):
        table_of(forms[form])


def test_the_bars_among_them_are_stored(made: pd.DataFrame, tmp_path: Path) -> None:
    bare = made[~made["filled"]]
    assert filled_rows(bare) == 0
    assert UnifiedCache(tmp_path / "cache").put(bare, "AAPL", "1d")
