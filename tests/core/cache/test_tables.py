"""Tests dated tables other than bars."""

from __future__ import annotations

import json
import threading
from datetime import datetime
from pathlib import Path

import pandas as pd
import pytest

from src.data.core.cache.beside.tables import TableStore
from src.data.core.clock import ManualClock
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.time.instant import to_ms
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.errors import QueryError, ResponseFormatError

from .frames import bars, older_file, same

KEY = SeriesKey("BTCUSDT", Timeframe.parse("8h"))
NOW = to_ms(datetime(2025, 6, 2))
ALL = Span(0, NOW)


@pytest.fixture
def store(tmp_path: Path) -> TableStore:
    """Return an empty store of funding rates at 2025-06-02 UTC."""
    return TableStore(tmp_path, "funding_rate", clock=ManualClock(NOW))


def rates(start: str, count: int) -> pd.DataFrame:
    return bars(start, count, "8h")[["close"]].rename(columns={"close": "fundingRate"})


def test_stored_rows_and_answered_spans_are_read_back(store: TableStore) -> None:
    one, other = rates("2024-12-30", 9), rates("2025-01-05", 3)
    spans = [Span(to_ms(datetime(2024, 12, 30)), to_ms(datetime(2025, 1, 2))),
             Span(to_ms(datetime(2025, 1, 4)), to_ms(datetime(2025, 1, 6)))]  # fmt: skip
    assert store.put(KEY, one, spans[0], "binance") == 9
    assert store.put(KEY, other, spans[1], "binance") == 3
    same(store.read(KEY, ALL), pd.concat([one, other]))
    assert store.answered(KEY) == spans
    assert store.years(KEY) == [2024, 2025]
    assert store.symbols() == ["BTCUSDT"]
    half = Span(to_ms(datetime(2025, 1, 1)), to_ms(datetime(2025, 1, 1, 8)))
    same(store.read(KEY, half), one.loc["2025-01-01 00:00":"2025-01-01 07:00"])


def test_a_document_has_the_keys_that_other_tools_read(store: TableStore, tmp_path: Path) -> None:
    span = Span(to_ms(datetime(2025, 1, 1)), to_ms(datetime(2025, 1, 2)))
    store.put(KEY, rates("2025-01-01", 3), span, "binance")
    (path,) = tmp_path.rglob("2025.metadata.json")
    document = json.loads(path.read_text())
    size = path.with_name("2025.csv.gz").stat().st_size
    assert document["file_info"] == {
        "format": "csv.gz", "size_bytes": size, "rows": 3, "columns": ["fundingRate"],
    }  # fmt: skip
    for name, value in {
        "symbol": "BTCUSDT", "timeframe": "8h", "year": 2025, "data_source": "binance",
        "provider_info": {"name": "binance"}, "last_updated": "2025-06-02T00:00:00",
        "start_date": "2025-01-01T00:00:00", "end_date": "2025-01-01T16:00:00",
    }.items():  # fmt: skip
        assert document[name] == value, name


def test_an_answer_without_rows_is_remembered(store: TableStore) -> None:
    span = Span(to_ms(datetime(2025, 1, 1)), to_ms(datetime(2025, 2, 1)))
    assert store.put(KEY, rates("2025-01-01", 0), span, "binance") == 0
    assert store.answered(KEY, span) == [span]
    assert store.read(KEY, ALL) is None


def test_concurrent_writers_lose_no_row(store: TableStore, tmp_path: Path) -> None:
    whole = rates("2025-01-01", 24)
    stores = [store, TableStore(tmp_path, "funding_rate", clock=ManualClock(NOW))]

    def write(part: int) -> None:
        for place in range(part, 24, 4):
            stores[part % 2].put(KEY, whole.iloc[[place]], None, "binance")

    threads = [threading.Thread(target=write, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    same(store.read(KEY, ALL), whole)


def test_files_of_older_tools_are_read(store: TableStore, tmp_path: Path) -> None:
    old, new = rates("2025-01-01", 5), rates("2025-02-01", 2)
    older_file(tmp_path / "funding_rate/BTCUSDT/8h", old, 2025, data_source="binance")
    same(store.read(KEY, ALL), old)
    assert store.answered(KEY) == []
    store.put(KEY, new, None, "binance")
    same(store.read(KEY, ALL), pd.concat([old, new]))
    document = store.document(KEY, 2025)
    assert document is not None
    assert document["created_at"] == "2025-01-15T10:30:00"


def test_a_table_without_times_is_refused(store: TableStore) -> None:
    with pytest.raises(ResponseFormatError):
        store.put(KEY, pd.DataFrame({"x": [1]}), None, "binance")
    with pytest.raises(ResponseFormatError):
        store.put(KEY, pd.DataFrame({"x": [1]}, index=pd.DatetimeIndex([pd.NaT])), None, "x")


@pytest.mark.parametrize("name", ["ohlcv", "fundamentals", "..", "A", "x/y"])
def test_each_type_of_table_has_its_own_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(QueryError):
        TableStore(tmp_path, name)
