"""The one frame: its form when full and when empty, and reading frames of others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from src.data.core.model.answer.frame import (
    LONG,
    build_frame,
    coerce_ohlcv_timestamp_column,
    empty_frame,
    table_of,
    validate_normalized_ohlcv,
)
from src.data.core.model.market.bars import Bar, BarTable, merge
from src.data.core.model.request.query import EXTRA_COLUMNS
from src.data.core.model.stored.coverage import Covered
from src.data.core.model.time.span import Span
from src.data.errors import ResponseFormatError

BARS = [Bar(0, 1.0, 2.0, 0.5, 1.5, 10.0), Bar(60_000, 1.5, 3.0, 1.0, 2.5, 20.0)]


@pytest.mark.parametrize("frame", [build_frame(BarTable.from_bars(BARS)), empty_frame()])
def test_the_form_is_the_same_full_and_empty(frame: pd.DataFrame) -> None:
    assert list(frame.columns) == ["open", "high", "low", "close", "volume"]
    assert set(frame.dtypes.astype(str)) == {"float64"}
    assert frame.index.name == "timestamp"
    assert str(frame.index.dtype) == "datetime64[ns]"
    assert frame.index.tz is None
    validate_normalized_ohlcv(frame)


def test_writing_into_a_frame_does_not_change_its_table() -> None:
    table = BarTable.from_bars(BARS)
    frame = build_frame(table)
    frame.iloc[0, 0] = 99.0
    assert table.open[0] == 1.0


def test_a_read_only_frame_becomes_a_table_of_its_own() -> None:
    """Arrays of frames under pandas 3 cannot be written to, and may be views of other arrays."""
    prices = np.array([[1.0, 2.0], [3.0, 4.0], [0.5, 1.0], [2.0, 3.0], [7.0, 8.0]])
    prices.flags.writeable = False
    days = pd.date_range("2024-01-02", periods=2, unit="ns", name="timestamp")
    names = ["open", "high", "low", "close", "volume"]
    frame = pd.DataFrame(prices.T, index=days, columns=names, copy=False)
    assert np.shares_memory(frame["close"].to_numpy(), prices)
    table = table_of(frame)
    for column in (table.stamps, *table.values()[:5]):
        column[0] = 99
    assert (prices[3].tolist(), frame.index[0]) == ([2.0, 3.0], days[0])


def test_adj_close_comes_last_where_known() -> None:
    frame = build_frame(BarTable.from_bars([BARS[0]._replace(adj_close=1.4)]))
    assert list(frame.columns)[-1] == "adj_close"


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_aware_stamps_of_each_unit_are_converted(unit: str) -> None:
    index = pd.DatetimeIndex(["2024-01-02 09:30"], tz="America/New_York").as_unit(unit)
    frame = pd.DataFrame({"Open": [1], "High": [2], "Low": [1], "Close": [2], "Volume": [3]}, index)
    assert table_of(frame).stamps.tolist() == [1704205800000]


def test_a_time_column_will_do() -> None:
    frame = pd.DataFrame(
        {"timestamp": ["2024-01-02"], "open": [1], "high": [1], "low": [1], "close": [1]}
    )
    table = table_of(frame)
    assert table.stamps.tolist() == [1704153600000]
    assert np.isnan(table.volume[0])


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (pd.DataFrame({"open": [1.0]}), "high, low, close"),
        (
            pd.DataFrame({c: [1.0] for c in ("open", "high", "low", "close")}),
            "neither a time index",
        ),
        (
            pd.DataFrame(
                {"date": ["soon"], **{c: [1.0] for c in ("open", "high", "low", "close")}}
            ),
            "'date'",
        ),
    ],
)
def test_frames_that_hold_no_bars_are_refused(frame: pd.DataFrame, said: str) -> None:
    with pytest.raises(ResponseFormatError, match=said):
        table_of(frame)


NO_PRICES = {
    "truth values": [True, False],
    "dates": pd.to_datetime(["2024-01-01", "2024-01-02"]),
    "dates of a zone": pd.to_datetime(["2024-01-01", "2024-01-02"], utc=True),
    "lengths of time": pd.to_timedelta([1, 2], unit="s"),
    "complex numbers": [1 + 1j, 2],
    # As a column of objects: pandas 2.2 cannot look at such numbers by itself.
    "integers beyond floats": lambda df: pd.Series([10**400, 1], df.index, dtype=object),
}


@pytest.mark.parametrize("name", NO_PRICES)
def test_a_column_of_another_type_is_refused_and_not_read_as_prices(name: str) -> None:
    frame = build_frame(BarTable.from_bars(BARS)).assign(close=NO_PRICES[name])
    with pytest.raises(
        ResponseFormatError, match="the column close contains values that are not num"
    ):
        table_of(frame)


def test_a_column_that_is_there_twice_is_refused() -> None:
    frame = build_frame(BarTable.from_bars(BARS))
    with pytest.raises(ResponseFormatError, match="has the column close twice"):
        table_of(pd.concat([frame, frame[["close"]]], axis=1))


def test_stamps_that_no_date_reaches_are_refused() -> None:
    times = pd.DatetimeIndex(np.array([1, 2**62], dtype="datetime64[s]"))
    with pytest.raises(ResponseFormatError, match="timestamps that are not valid dates"):
        table_of(build_frame(BarTable.from_bars(BARS)).set_axis(times))


def test_numbers_of_every_kind_are_read() -> None:
    frame = build_frame(BarTable.from_bars(BARS))
    for kind in ("object", "str", "category", "Float64", "Int64", pd.SparseDtype("float64")):
        numbers = frame.assign(volume=pd.Series([10, 20], index=frame.index).astype(kind))
        assert table_of(numbers).volume.tolist() == [10.0, 20.0]


def test_a_frame_is_converted_to_the_form_with_a_timestamp_column() -> None:
    frame = build_frame(BarTable.from_bars(BARS))
    column = coerce_ohlcv_timestamp_column(frame)
    assert column is not None
    assert column["timestamp"].tolist() == list(frame.index)
    assert "timestamp" not in frame.columns
    assert coerce_ohlcv_timestamp_column(None) is None
    assert coerce_ohlcv_timestamp_column(column) is column


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (None, "None"),
        (pd.DataFrame({"open": [1.0]}), "DatetimeIndex"),
        (build_frame(BarTable.from_bars(BARS)).tz_localize("UTC"), "naive"),
        (build_frame(BarTable.from_bars(BARS)).drop(columns="volume"), "volume"),
        (build_frame(BarTable.from_bars(BARS)).assign(timestamp=0), "timestamp"),
    ],
)
def test_foreign_forms_are_named(frame: pd.DataFrame | None, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        validate_normalized_ohlcv(frame)


def test_merging_keeps_the_newer_row_of_a_stamp_and_the_order() -> None:
    old = BarTable.from_bars(BARS)
    new = BarTable.from_bars([BARS[1]._replace(close=9.0), Bar(30_000, 1, 1, 1, 1, 1)])
    both = merge(old, new)
    assert both.stamps.tolist() == [0, 30_000, 60_000]
    assert both.close.tolist() == [1.5, 1.0, 9.0]


def test_what_is_told_beside_a_bar_is_that_of_its_stretch() -> None:
    stamps = [0, 10, 20, 30, 40, 50, 60]
    table = BarTable.from_bars([BARS[0]._replace(stamp_ms=stamp) for stamp in stamps])
    coverage = [
        Covered(Span(10, 20), "final", "a", fetched_at=5_000),
        Covered(Span(20, 40), "provisional", "b"),
        Covered(Span(45, 55), "suspect", "c", fetched_at=7_000),
        Covered(Span(55, 99), "provisional", "d", fetched_at=8_000, reason="forming"),
    ]
    frame = build_frame(table, coverage, EXTRA_COLUMNS)
    assert list(frame["source"]) == ["", "a", "b", "b", "", "c", "d"]
    assert list(frame["state"]) == [
        "suspect", "final", "provisional", "provisional", "suspect", "suspect", "forming",
    ]  # fmt: skip
    assert list(frame["is_final"]) == [False, True, False, False, False, False, False]
    told = [t.second if t == t else None for t in frame["fetched_at"]]
    assert told == [None, 5, None, None, None, 7, 8]


@pytest.mark.parametrize("rows", [0, 2])
def test_where_nobody_vouches_for_anything_the_form_stays(rows: int) -> None:
    frame = build_frame(BarTable.from_bars(BARS[:rows]), (), EXTRA_COLUMNS)
    types = {name: str(dtype) for name, dtype in empty_frame(EXTRA_COLUMNS).dtypes.items()}
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == types
    assert list(frame["source"]) == [""] * rows
    assert not frame["is_final"].any()


def test_a_change_of_a_frame_does_not_change_another_of_the_same_shape() -> None:
    table = BarTable.from_bars([Bar(0, 1.0, 2.0, 0.5, 1.5, 9.0), Bar(60_000, 1, 1, 1, 1, 1)])
    one, other = build_frame(table), build_frame(table)
    one.columns.name = "mine"
    one.index.name = "mine"
    one.index.freq = "min"  # type: ignore[attr-defined]
    one.loc[:, "open"] = 7.0
    assert (other.columns.name, other.index.name) == (None, "timestamp")
    assert (other.index.freq, build_frame(table).index.freq) == (None, None)  # type: ignore[attr-defined]
    assert other["open"].tolist() == [1.0, 1.0]
    assert table.open.tolist() == [1.0, 1.0]


def test_frames_with_the_same_timestamps_share_the_memory_of_their_index() -> None:
    def stamps_of(count: int, start: int = 0) -> NDArray[np.int64]:
        stamps = np.arange(start, start + count, dtype=np.int64) * 60_000
        table = BarTable(stamps, *([np.ones(count)] * 5))
        index: Any = build_frame(table).index
        assert index.asi8.tolist() == (stamps * 1_000_000).tolist()
        return index.asi8  # type: ignore[no-any-return]

    one = stamps_of(3)
    with pytest.raises(ValueError, match="read-only"):
        one[0] = 7
    assert np.shares_memory(one, stamps_of(3))
    assert not any(np.shares_memory(one, other) for other in (stamps_of(4), stamps_of(3, 1)))
    assert not np.shares_memory(stamps_of(LONG + 1), stamps_of(LONG + 1)), "none is kept that long"


@pytest.mark.parametrize("rows", [3, 20_000])
def test_a_table_that_is_nobody_elses_makes_the_same_frame(rows: int) -> None:
    stamps = np.arange(rows, dtype=np.int64) * 60_000
    values = [np.arange(rows) + n / 8 for n in range(6)]
    table = BarTable(stamps, *values)
    own = BarTable(stamps.copy(), *(v.copy() for v in values), stamps * 1_000_000)
    pd.testing.assert_frame_equal(build_frame(own), build_frame(table))
    frame = build_frame(own)
    frame.iloc[0, 0] = 99.0
    assert frame.iloc[0, 0] == 99.0
    assert frame.index.is_monotonic_increasing
