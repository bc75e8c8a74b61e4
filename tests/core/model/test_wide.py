"""A batch as one frame: fields and symbols side by side, and what each lacks."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pandas as pd
import pytest

from src.data import describe, to_arrow
from src.data.core.model.answer.frame import build_frame, empty_frame
from src.data.core.model.answer.provenance import ATTRS_KEY, freeze
from src.data.core.model.answer.wide import BatchWishes, wide_frame
from src.data.core.model.market.bars import BarTable
from src.data.core.model.request.query import EXTRA_COLUMNS
from src.data.core.model.stored.coverage import Covered
from src.data.core.model.time.instant import DAY_MS, iso
from src.data.core.model.time.span import Span
from src.data.data_manager import DataManager
from src.data.errors import IncompleteDataWarning, QueryError


def days(*numbers: int, adj: bool = False, extra: tuple[str, ...] = ()) -> pd.DataFrame:
    """A frame of some days after 1970, with the entries of a provenance that are read here."""
    stamps = np.array(numbers, dtype=np.int64) * DAY_MS
    columns = [stamps / DAY_MS + place / 10 for place in range(5)]
    table = BarTable(stamps, *columns, columns[0] if adj else None)
    covered = [Covered(Span(0, 2**60), "final", "yahoo", fetched_at=DAY_MS)]
    frame = build_frame(table, covered, extra)
    ends = [iso(int(stamp)) for stamp in stamps[[0, -1]]] if numbers else [None, None]
    facts: dict[str, Any] = dict(zip(("first", "last"), ends, strict=True))
    frame.attrs[ATTRS_KEY] = freeze({"rows": len(frame), "complete": True, "spans": []} | facts)
    return frame


def failed(extra: tuple[str, ...] = ()) -> pd.DataFrame:
    frame = empty_frame(extra)
    error = {"type": "UnknownSymbolError", "message": "no vendor knows NOPE"}
    frame.attrs[ATTRS_KEY] = freeze({"rows": 0, "complete": False, "spans": [], "error": error})
    return frame


def side_by_side(frames: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """The same by pandas' own joining."""
    return pd.concat(frames, axis=1, sort=True)


def test_every_value_stands_at_its_stamp_field_and_symbol() -> None:
    frames = {
        "MSFT": days(1, 2, 4),
        "AAPL": days(2, 3, adj=True),
        "BTCUSDT": days(0, 1, 2, 3, 4, 5),
    }
    wide = wide_frame(frames)
    expected = side_by_side(frames)
    fields = ["open", "high", "low", "close", "volume", "adj_close"]
    assert list(wide.columns) == [(field, name) for field in fields for name in frames]
    assert wide.columns.names == ["field", "symbol"]
    for field, name in wide.columns:
        column = wide[field, name]
        if (name, field) in expected:
            np.testing.assert_array_equal(column, expected[name, field])
        else:
            assert column.isna().all()
    assert (wide.index == expected.index).all()
    assert (wide.index.name, str(wide.index.dtype)) == ("timestamp", "datetime64[ns]")
    assert set(wide.dtypes.astype(str)) == {"float64"}
    assert list(wide["close"]) == ["MSFT", "AAPL", "BTCUSDT"]


def test_the_frame_is_the_callers_own() -> None:
    frames = {"A": days(1, 2), "B": days(1, 2)}
    wide = wide_frame(frames)
    wide.loc[:, ("close", "A")] = 9.0
    assert frames["A"]["close"].tolist() == [1.3, 2.3]
    assert wide["close"]["B"].tolist() == [1.3, 2.3]


@pytest.mark.parametrize("frames", [{}, {"A": days()}])
def test_a_wide_frame_without_bars_has_its_columns_and_types(
    frames: dict[str, pd.DataFrame],
) -> None:
    wide = wide_frame(frames)
    assert (len(wide), wide.columns.nlevels, len(wide.columns)) == (0, 2, 5 * len(frames))
    assert (wide.index.name, str(wide.index.dtype)) == ("timestamp", "datetime64[ns]")
    assert wide.attrs[ATTRS_KEY]["complete"] is True


def test_extra_columns_say_of_no_bar_that_nothing_is_known() -> None:
    frames = {"A": days(1, extra=EXTRA_COLUMNS), "B": days(2, extra=EXTRA_COLUMNS)}
    wide = wide_frame(frames)
    assert list(dict.fromkeys(wide.columns.get_level_values(0)))[5:] == list(EXTRA_COLUMNS)
    assert wide["source", "A"].isna().tolist() == [False, True]
    assert wide["is_final"].dtypes.astype(str).tolist() == ["boolean", "boolean"]
    assert wide["is_final", "B"].isna().tolist() == [True, False]
    assert wide["fetched_at"].dtypes.astype(str).tolist() == ["datetime64[ns]"] * 2
    assert wide["state", "A"].iloc[0] == "final"


def test_failed_symbols_are_named_and_each_keeps_its_provenance() -> None:
    good = days(1, 2)
    with pytest.warns(IncompleteDataWarning, match="1 of 2 symbols have no bars: NOPE; .* knows"):
        wide = wide_frame({"AAPL": good, "NOPE": failed()})
    facts = wide.attrs[ATTRS_KEY]
    assert (facts["failed"], facts["complete"]) == (["NOPE"], False)
    assert facts["symbols"]["AAPL"] == good.attrs[ATTRS_KEY]
    assert wide["close", "NOPE"].isna().all()


def test_a_wide_frame_can_be_described() -> None:
    with pytest.warns(IncompleteDataWarning):
        wide = wide_frame({"AAPL": days(1, 2, extra=("source",)), "NOPE": failed(("source",))})
    text = str(describe(wide))
    assert "complete     no\n" in text
    assert "complete     yes\n" in str(describe(wide_frame({"AAPL": days(1, 2)})))
    assert "AAPL         2 bars, 1970-01-02T00:00:00Z .. 1970-01-03T00:00:00Z" in text
    assert "NOPE         UnknownSymbolError: no vendor knows NOPE" in text
    assert describe(wide).changed == ""
    assert "fewer bars of AAPL" in describe(wide.iloc[:1]).changed
    assert "closes of 1 symbols" in describe(wide.drop(columns="NOPE", level=1)).changed
    assert "is part of" in describe(wide["close"]).changed
    other = wide.copy()
    other.loc["1970-01-02", ("close", "AAPL")] = 7.0
    assert describe(other).fingerprint != describe(wide).fingerprint


def test_a_wide_frame_is_no_table_of_others() -> None:
    pytest.importorskip("pyarrow")
    with pytest.raises(QueryError, match='layout="dict"'):
        to_arrow(wide_frame({"A": days(1)}))
    closes = to_arrow(wide_frame({"A": days(1), "B": days(2)})["close"])
    assert closes.column_names == ["timestamp", "A", "B"]


def test_what_type_checkers_are_told_is_what_the_method_takes() -> None:
    parameters = inspect.signature(DataManager.get_ohlcv_batch).parameters.values()
    keywords = {p.name: str(p.annotation) for p in parameters if p.kind is p.KEYWORD_ONLY}
    for name in ("layout", "universe", "as_of"):  # in the overloads
        keywords.pop(name)
    told = {name: kind.__forward_arg__ for name, kind in BatchWishes.__annotations__.items()}
    told |= dict.fromkeys(("start", "end", "closed_by"), "When")
    assert told == keywords
