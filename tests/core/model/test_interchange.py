"""Frames of bars as tables of Polars and Arrow: types, values, memory, provenance."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from src.data import to_arrow, to_polars
from src.data.core.model.answer.frame import build_frame, empty_frame
from src.data.core.model.answer.provenance import ATTRS_KEY, freeze
from src.data.core.model.market.bars import BarTable
from src.data.core.model.request.query import EXTRA_COLUMNS
from src.data.core.model.stored.coverage import Covered
from src.data.core.model.time.span import Span
from src.data.errors import MissingExtraError, QueryError, install_line

MINUTE_MS = 60_000
NAMES = ["timestamp", "open", "high", "low", "close", "volume"]
PRICES = NAMES[1:]
ON_PANDAS_3 = pytest.mark.skipif(
    int(pd.__version__.split(".")[0]) < 3, reason="pandas before 3 writes in place: it is copied"
)


def bars(count: int, adj: bool = False, source: str = "x") -> pd.DataFrame:
    """A frame as the library gives it; a long one takes the table's arrays as they are."""
    stamps = np.arange(count, dtype=np.int64) * MINUTE_MS + 1_700_000_000_000
    columns = [np.arange(count) / 7 + place for place in range(5)]
    index = stamps * 1_000_000
    table = BarTable(stamps, *columns, columns[3] if adj else None, index)
    frame = build_frame(table, [Covered(Span(0, 2**60), "final", source)])
    frame.attrs[ATTRS_KEY] = freeze({"symbol": source, "rows": count, "gaps": [{"reason": "ü"}]})
    return frame


def own(frame: pd.DataFrame) -> list[int]:
    """Where the columns of a frame lie, the index first."""
    columns = [frame.index, *(frame[name] for name in frame.columns)]
    return [column.to_numpy().ctypes.data for column in columns]


def polars_values(table: Any) -> dict[str, list[Any]]:
    return {name: table[name].to_list() for name in table.columns}


def arrow_values(table: Any) -> dict[str, list[Any]]:
    return {name: table[name].to_pandas().tolist() for name in table.column_names}


def types(table: Any) -> dict[str, str]:
    """Types by the names of Arrow, whichever library's the table is."""
    if hasattr(table, "schema") and hasattr(table, "column_names"):
        return {field.name: str(field.type) for field in table.schema}
    words = {
        "Float64": "double", "String": "string", "Boolean": "bool", "Int64": "int64",
        "Datetime(time_unit='ns', time_zone=None)": "timestamp[ns]",
    }  # fmt: skip
    return {name: words.get(str(kind), str(kind)) for name, kind in table.schema.items()}


@pytest.fixture(params=["polars", "pyarrow"])
def convert(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    pytest.importorskip(request.param, reason=f"{request.param} is not installed")
    return to_polars if request.param == "polars" else to_arrow


def listed(table: Any, name: str) -> list[Any]:
    column = table[name]
    return column.to_list() if hasattr(column, "to_list") else column.to_pylist()


BARS = dict.fromkeys(PRICES, "double")


@pytest.mark.parametrize("count", [0, 3, 20_000])
def test_every_value_arrives_with_its_type(convert: Callable[[Any], Any], count: int) -> None:
    frame = bars(count)
    table = convert(frame)
    assert types(table) == {"timestamp": "timestamp[ns]"} | BARS
    for name in PRICES:
        assert listed(table, name) == frame[name].tolist()
    stamps = np.array(table["timestamp"].to_numpy(), dtype="M8[ns]")
    assert (stamps == frame.index.to_numpy()).all() and len(stamps) == count


def polars_places(table: Any) -> list[int]:
    return [column.to_numpy(allow_copy=False).ctypes.data for column in table.get_columns()]


def arrow_places(table: Any) -> list[int]:
    return [column.chunk(0).buffers()[1].address for column in table.columns]


def places(table: Any) -> list[int]:
    return arrow_places(table) if hasattr(table, "column_names") else polars_places(table)


@ON_PANDAS_3
@pytest.mark.parametrize("count", [3, 20_000])
def test_a_converted_frame_shares_its_memory(convert: Callable[[Any], Any], count: int) -> None:
    frame = bars(count)
    assert places(convert(frame)) == own(frame)


@ON_PANDAS_3
def test_a_batch_is_not_copied_either(convert: Callable[[Any], Any]) -> None:
    frames = {"A": bars(20_000), "B": bars(12_000)}
    table = convert(frames)
    if hasattr(table, "column_names"):
        lie = [chunk.buffers()[1].address for chunk in table["close"].chunks]
    else:
        chunks = table["close"].get_chunks()
        lie = [chunk.to_numpy(allow_copy=False).ctypes.data for chunk in chunks]
    assert lie == [frame["close"].to_numpy().ctypes.data for frame in frames.values()]


@pytest.mark.parametrize("count", [3, 20_000])
def test_a_table_never_changes_with_its_frame(convert: Callable[[Any], Any], count: int) -> None:
    frame = bars(count)
    table = convert(frame)
    before = frame["close"].iloc[0]
    frame.iloc[0, 3] = 99.0
    frame["close"] *= 2
    assert listed(table, "close")[0] == before
    assert frame["close"].iloc[0] == 198.0


def test_a_table_outlives_its_frame(convert: Callable[[Any], Any]) -> None:
    frame = bars(20_000)
    expected = frame["low"].tolist()
    table = convert(frame)
    del frame
    noise = [np.full(20_000, -1.0) for _ in range(20)]
    assert listed(table, "low") == expected and len(noise) == 20


@pytest.mark.parametrize("rows", [0, 2])
def test_extra_columns_have_their_types_also_without_rows(
    convert: Callable[[Any], Any], rows: int
) -> None:
    stamps = np.arange(rows, dtype=np.int64) * MINUTE_MS
    table = BarTable(stamps, *[np.ones(rows)] * 5)
    half = [Covered(Span(0, MINUTE_MS), "final", "yahoo", fetched_at=86_400_000)]
    converted = convert(build_frame(table, half, EXTRA_COLUMNS))
    extra = {
        "source": "string",
        "state": "string",
        "is_final": "bool",
        "fetched_at": "timestamp[ns]",
        "dividend": "double",
        "split": "double",
        "capital_gain": "double",
    }
    assert types(converted) == {"timestamp": "timestamp[ns]"} | BARS | extra
    if rows:
        assert listed(converted, "state") == ["final", "suspect"]
        assert listed(converted, "is_final") == [True, False]
        first, second = listed(converted, "fetched_at")
        assert (pd.Timestamp(first), second) == (pd.Timestamp("1970-01-02"), None)


def test_nan_stays_nan_and_is_not_null(convert: Callable[[Any], Any]) -> None:
    frame = bars(3)
    frame.iloc[1, 4] = np.nan
    column = convert(frame)["volume"]
    assert (column.null_count if hasattr(column, "chunks") else column.null_count()) == 0
    assert np.isnan(listed(convert(frame), "volume")[1])


def test_a_batch_is_one_long_table(convert: Callable[[Any], Any]) -> None:
    failed = empty_frame()
    table = convert({"MSFT": bars(2), "NOPE": failed, "AAPL": bars(1, adj=True)})
    assert list(types(table)) == ["symbol", *NAMES, "adj_close"]
    assert listed(table, "symbol") == ["MSFT", "MSFT", "AAPL"]
    assert listed(table, "adj_close") == [None, None, 3.0]
    assert types(table) == {"symbol": "string", "timestamp": "timestamp[ns]"} | BARS | {
        "adj_close": "double"
    }


@pytest.mark.parametrize("frames", [{}, {"NOPE": empty_frame()}])
def test_a_batch_without_bars_has_the_columns_of_bars(
    convert: Callable[[Any], Any], frames: dict[str, pd.DataFrame]
) -> None:
    table = convert(frames)
    assert types(table) == {"symbol": "string", "timestamp": "timestamp[ns]"} | BARS
    assert listed(table, "symbol") == []


@pytest.mark.parametrize("unit", ["s", "us"])
def test_stamps_of_other_frames_become_naive_utc(convert: Callable[[Any], Any], unit: str) -> None:
    index = pd.DatetimeIndex(["2024-01-02 09:30"], tz="America/New_York").as_unit(unit)
    table = convert(pd.DataFrame({"close": np.array([1.5], ">f8")}, index))
    assert types(table) == {"timestamp": "timestamp[ns]", "close": "double"}
    assert [pd.Timestamp(t) for t in listed(table, "timestamp")] == [
        pd.Timestamp("2024-01-02 14:30")
    ]
    assert listed(table, "close") == [1.5]


def test_columns_beside_the_bars_keep_their_values_and_types(convert: Callable[[Any], Any]) -> None:
    frame = pd.DataFrame(
        {
            "n": [1, 2],
            "text": pd.Series(["a", None], dtype=object),
            "none": pd.Series([None, None], dtype=object),
            "maybe": pd.Series([1, None], dtype="Int64"),
            "kind": pd.Series(["x", "y"], dtype="category"),
        }
    )
    table = convert(frame)
    assert types(table) == {
        "n": "int64", "text": "string", "none": "string", "maybe": "int64", "kind": "string",
    }  # fmt: skip
    assert [listed(table, name) for name in ("text", "none", "maybe")] == [
        ["a", None], [None, None], [1, None],
    ]  # fmt: skip


@pytest.mark.parametrize(
    "wrong, words",
    [
        (None, "not None"),
        (bars(1)["close"], "expected a frame of bars or a dict"),
        ([bars(1)], "expected a frame of bars or a dict"),
        ({"A": None}, "not None"),
        (bars(1).rename(columns={"open": "close"}), "same name: close"),
        (bars(1).assign(timestamp=1.0), "same name: timestamp"),
        ({"A": bars(1).assign(symbol="A")}, "same name: symbol"),
        (pd.DataFrame({"a": [1, "x"]}), "'a' contains values of several types"),
        (pd.concat({"A": bars(1)}, axis=1), "several rows of column names"),
        (pd.concat({"A": bars(1)}), "several rows of column names"),
        ({"A": bars(1), "B": bars(1).astype({"volume": str})}, "cannot be combined into one table"),
    ],
)
def test_an_object_that_is_not_a_frame_of_bars_is_refused(
    convert: Callable[[Any], Any], wrong: Any, words: str
) -> None:
    with pytest.raises(QueryError, match=words):
        convert(wrong)


def test_arrow_keeps_the_proof() -> None:
    pa = pytest.importorskip("pyarrow")
    frame = bars(2)
    table = to_arrow(frame)
    assert json.loads(table.schema.metadata[b"onetape"]) == frame.attrs[ATTRS_KEY].copy()
    both = to_arrow({"A": bars(1, source="A"), "B": empty_frame()})
    told = json.loads(both.schema.metadata[b"onetape"])["symbols"]
    assert told == {"A": {"symbol": "A", "rows": 1, "gaps": [{"reason": "ü"}]}, "B": None}
    assert to_arrow(empty_frame()).schema.metadata is None
    assert isinstance(table, pa.Table)


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("polars", "pyarrow"):
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.usefixtures("without")
def test_a_missing_extra_is_named() -> None:
    with pytest.raises(MissingExtraError) as polars:
        to_polars(bars(1))
    assert polars.value.hint == install_line("polars")
    with pytest.raises(MissingExtraError) as arrow:
        to_arrow(bars(1))
    assert arrow.value.hint == install_line("parquet")


def test_polars_needs_no_pyarrow(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("polars", reason="polars is not installed")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    table = to_polars({"A": bars(2).assign(source="x"), "B": empty_frame(("source",))})
    assert table["source"].to_list() == ["x", "x"]
