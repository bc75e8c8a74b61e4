"""``DataCatalog``: registering and finding datasets, deletable views, and faults in its file."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import sqlite3
import sys
import uuid
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import date, timedelta
from functools import partial
from inspect import signature
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data import DataManager
from src.data.bundles import DataCatalog, Lineages, lineage
from src.data.bundles.catalog import cache_key
from src.data.bundles.metadata import BundleMetadata
from src.data.core.bars.client import BarsClient
from src.data.core.clock import ManualClock
from src.data.core.disk.files import Disk, DiskStep
from src.data.core.model.time.instant import parse_iso
from src.data.errors import (
    BundleError,
    DataError,
    FormatVersionError,
    LockTimeoutError,
    QueryError,
    StorageError,
)
from src.data.polars.parquet_writer import ParquetWriter
from src.data.research.bundles.bundle import Bundle, bundle_names
from src.data.research.bundles.catalog_tables import RangeRow
from src.data.research.catalog import catalog as module
from tests.core.cache.counts import FULL
from tests.core.cache.crash import Quick
from tests.research.bundles.bars import days

T = TypeVar("T")
YEAR = (pd.Timestamp("2023-01-01"), pd.Timestamp("2023-12-31"))
SHA = "ab" * 32
MOCK: dict[str, Any] = {"provider": "mock"}
# The join of S001:942-951, word for word.
JOIN = """
    SELECT d.dataset_id, d.source, d.resolution, d.start_date, d.end_date
    FROM datasets d
    JOIN backtest_data_links bdl ON d.dataset_id = bdl.dataset_id
    WHERE bdl.backtest_id = ?
"""


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a cache with AAPL and MSFT 1d from 2024-01-02 to 2024-03-08, for tests to copy."""
    folder = tmp_path_factory.mktemp("stored") / "cache"
    bounds = "2024-01-02", "2024-03-08"
    DataManager(folder).get_ohlcv_batch(["AAPL", "MSFT"], "1d", *bounds, **MOCK)
    return folder


@pytest.fixture(scope="module")
def nothing(tmp_path_factory: pytest.TempPathFactory) -> DataManager:
    """Return a manager on an empty cache, shared by the module's tests."""
    return DataManager(tmp_path_factory.mktemp("nothing") / "cache")


@pytest.fixture
def manager(stored: Path, tmp_path: Path) -> DataManager:
    """Return a manager on a copy of ``stored``."""
    shutil.copytree(stored, tmp_path / "cache")
    return DataManager(tmp_path / "cache")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a catalog's file that does not exist yet."""
    return tmp_path / "bundles" / "metadata.db"


@pytest.fixture
def catalog(path: Path, manager: DataManager) -> DataCatalog:
    """Return a catalog at ``path`` that is empty and uses ``manager``."""
    return DataCatalog(str(path), manager=manager)


def register(catalog: DataCatalog, *symbols: str, **changed: Any) -> str:
    bounds = {"start_date": YEAR[0], "end_date": YEAR[1], "resolution": "1d"}
    values = {"source": "yfinance", "checksum": SHA, **bounds, **changed}
    return catalog.register_dataset(symbols=symbols or ["AAPL", "MSFT"], **values)


def rows(path: Path, query: str, *values: Any) -> list[Any]:
    """Read the file as another program does."""
    with closing(sqlite3.connect(path)) as db:
        return db.execute(query, values).fetchall()


# --- as printed --------------------------------------------------------------------------------


def test_the_documented_calls_of_the_catalog_register_and_find_a_dataset(
    path: Path, catalog: DataCatalog
) -> None:
    dataset_id = catalog.register_dataset(
        source="yfinance",
        symbols=["AAPL", "MSFT"],
        start_date=pd.Timestamp("2023-01-01"),
        end_date=pd.Timestamp("2023-12-31"),
        resolution="1d",
        checksum=SHA,
    )
    assert uuid.UUID(dataset_id).version == 4
    query = (["AAPL"], pd.Timestamp("2023-02-01"), pd.Timestamp("2023-03-01"), "1d")
    assert catalog.find_dataset(*query) == dataset_id
    assert catalog.find_dataset(*query, source="yfinance") == dataset_id
    info = catalog.get_dataset_info(dataset_id)
    assert info["symbols"] == ["AAPL", "MSFT"] and info["checksum"] == SHA
    assert (info["start_date"], info["end_date"]) == (1672531200, 1703980800)
    catalog.link_backtest_to_dataset("uuid-backtest-a", dataset_id, pd.Timestamp("2024-05-01"))
    assert catalog.get_datasets_for_backtest("uuid-backtest-a") == [dataset_id]
    found = rows(path, JOIN, "uuid-backtest-a")
    assert found == [(dataset_id, "yfinance", "1d", 1672531200, 1703980800)]


def test_each_dataset_and_each_backtest_has_its_own_facts_and_links(
    path: Path, catalog: DataCatalog
) -> None:
    """Two datasets that differ in everything, and backtests of which one has the other's id in its own."""
    hour = {
        "source": "ccxt:kraken",
        "resolution": "1h",
        "checksum": "cd" * 32,
        "parquet_path": "hours",
    }
    day = {"start_date": "2024-05-01T03:00", "end_date": "2024-05-01T08:00"}
    start = int(pd.Timestamp(day["start_date"]).timestamp())
    ranges = [
        RangeRow("BTC/USD", start, start + 18000, 6, has_gaps=False),
        RangeRow("ETH/USD", start + 3600, start + 18000, 4, has_gaps=True),
    ]
    files = [("one.parquet", "11" * 32, 70), ("two.parquet", "22" * 32, 7)]
    first = register(catalog)
    second = register(catalog, "BTC/USD", "ETH/USD", **hour, **day, ranges=ranges, files=files)
    third = register(catalog, "ETH/USD", resolution="1w")
    assert len({first, second, third}) == 3
    assert catalog.find_dataset(["BTC/USD"], *day.values(), "1h") == second
    assert catalog.find_dataset(["AAPL"], *YEAR, "1d") == first
    for one, ids in (("run", [first]), (f"run {second}", [second, third]), ("run 1", [third])):
        for own in ids:
            catalog.link_backtest_to_dataset(one, own, "2024-05-02")
    assert catalog.get_datasets_for_backtest("run") == [first]
    assert catalog.get_datasets_for_backtest("run 1") == [third]
    assert catalog.get_datasets_for_backtest(f"run {second}") == [second, third]
    assert catalog.get_datasets_for_backtest(second) == []
    info = catalog.get_dataset_info(second)
    assert (info["row_count"], info["size_bytes"], info["checksum"]) == (10, 77, "cd" * 32)
    assert info["checksums"] == {"one.parquet": "11" * 32, "two.parquet": "22" * 32}
    assert info["symbols"] == ["BTC/USD", "ETH/USD"]
    query = "SELECT symbol FROM symbols WHERE dataset_id = ? ORDER BY 1"
    found = [[name for (name,) in rows(path, query, own)] for own in (first, second, third)]
    assert found == [["AAPL", "MSFT"], ["BTC/USD", "ETH/USD"], ["ETH/USD"]]
    assert catalog.get_dataset_info(first)["checksums"] == {}
    columns = "symbol, start_date, end_date, bar_count, has_gaps"
    query = f"SELECT {columns} FROM date_ranges WHERE dataset_id = ? ORDER BY symbol"
    assert rows(path, query, second) == [tuple(one) for one in ranges]
    query = (
        "SELECT file_path, checksum, last_validated FROM checksums WHERE dataset_id = ? ORDER BY 1"
    )
    at = info["last_updated"]
    assert at > start and rows(path, query, second) == [(*one[:2], at) for one in files]
    query = "SELECT backtest_id, count(*), count(DISTINCT cache_key) FROM backtest_data_links GROUP BY 1"
    assert set(rows(path, query)) == {("run", 1, 1), ("run 1", 1, 1), (f"run {second}", 2, 2)}
    catalog.link_backtest_to_dataset("run 1", third)  # read twice, and one dataset
    assert catalog.get_datasets_for_backtest("run 1") == [third]


# As the documents print them.
INDEXES = {
    "idx_datasets_source": ("datasets", "source"),
    "idx_datasets_resolution": ("datasets", "resolution"),
    "idx_datasets_dates": ("datasets", "start_date", "end_date"),
    "idx_symbols_dataset": ("symbols", "dataset_id"),
    "idx_symbols_symbol": ("symbols", "symbol"),
    "idx_date_ranges_dataset": ("date_ranges", "dataset_id"),
    "idx_date_ranges_symbol": ("date_ranges", "symbol"),
    "idx_checksums_dataset": ("checksums", "dataset_id"),
    "idx_backtest_links_backtest": ("backtest_data_links", "backtest_id"),
    "idx_backtest_links_dataset": ("backtest_data_links", "dataset_id"),
    "idx_backtest_links_cache_key": ("backtest_data_links", "cache_key"),
}


def test_documented_indexes_and_rules_are_in_both_kinds_of_file(
    path: Path, catalog: DataCatalog, manager: DataManager
) -> None:
    bundle = create(manager, path.parent, "mine", "AAPL", end="2024-01-09")
    catalog.refresh()
    for file in (path, bundle.path / "metadata.db"):
        listed = rows(
            file, "SELECT name, tbl_name FROM sqlite_master WHERE name LIKE 'idx!_%' ESCAPE '!'"
        )
        found = {
            name: (table, *(row[2] for row in rows(file, f"PRAGMA index_info({name})")))
            for name, table in listed
        }
        assert {name: found.get(name) for name in INDEXES} == INDEXES
        with closing(sqlite3.connect(file)) as db:
            own = bundle.records().origin.dataset_id
            query = "SELECT file_path FROM checksums WHERE dataset_id = ?"
            (place,) = db.execute(query, (own,)).fetchone()
            put = "INSERT INTO symbols (dataset_id, symbol, asset_type) VALUES (?, ?, ?)"
            for wrong in ((own, "AAPL", "stock"), (own, "MSFT", None)):
                with pytest.raises(sqlite3.IntegrityError):
                    db.execute(put, wrong)
            db.execute(put, (own, "MSFT", "stock"))
            columns = "dataset_id, file_path, checksum, last_validated"
            put = f"INSERT INTO checksums ({columns}) VALUES (?, ?, 'x', 0)"
            with pytest.raises(sqlite3.IntegrityError):
                db.execute(put, (own, place))


def test_symbols_have_their_kind_and_market(
    path: Path, catalog: DataCatalog, manager: DataManager
) -> None:
    bundle = create(manager, path.parent, "mine", "BTCUSDT", "VOD.L", end="2024-01-09")
    catalog.refresh()
    query = (
        "SELECT symbol, asset_type, exchange, metadata FROM symbols WHERE dataset_id = ? ORDER BY 1"
    )
    own = bundle.records().origin.dataset_id
    lane = catalog.find_dataset(["VOD.L"], SPRING[0], "2024-01-09", "1d", source="mock")
    for file in (path, bundle.path / "metadata.db"):
        coin, share = rows(file, query, own)
        assert coin[:3] == ("BTCUSDT", "crypto", None) and json.loads(coin[3])["sid"] == 1
        assert share[:3] == ("VOD.L", "stock", "LSE") and json.loads(share[3])["sid"] == 2
    assert [one[:3] for one in rows(path, query, lane)] == [share[:3]]


def test_a_second_backtest_reuses_dataset_and_key(path: Path, catalog: DataCatalog) -> None:
    dataset_id_1 = register(catalog)
    catalog.link_backtest_to_dataset("a", dataset_id_1, pd.Timestamp.now())
    again = catalog.find_dataset(["MSFT", "AAPL"], *YEAR, "1d")
    assert again == dataset_id_1
    catalog.link_backtest_to_dataset("b", again, pd.Timestamp.now())
    assert catalog.get_datasets_for_backtest("b") == [dataset_id_1]
    keys = rows(path, "SELECT DISTINCT cache_key FROM backtest_data_links")
    assert keys == [(cache_key("yfinance", ["MSFT", "AAPL"], *YEAR, "1d"),)]


def test_find_dataset_returns_the_best_dataset_that_covers_the_request(
    catalog: DataCatalog,
) -> None:
    both = register(catalog)
    one = register(catalog, "AAPL", end_date="2023-06-30")
    find = catalog.find_dataset
    assert find(["AAPL"], "2023-01-01", "2023-06-30", "1d") == one  # fewer symbols
    assert find(["AAPL"], "2023-01-01", "2023-07-01", "1d") == both
    newer = register(catalog, "AAPL", end_date="2023-06-30")
    assert find(["AAPL"], "2023-01-01", "2023-06-30", "1d") == newer != one
    newest = register(catalog)
    assert (
        find(["AAPL"], "2023-01-01", "2023-06-30", "1d") == newer
    )  # before newer ones of more symbols
    assert find(["AAPL", "MSFT"], *YEAR, "1d") == newest != both
    assert find(["AAPL", "MSFT", "X"], *YEAR, "1d") is None
    assert find(["AAPL"], "2022-12-31", "2023-06-30", "1d") is None
    assert find(["AAPL"], "2023-01-01", "2024-01-01", "1d") is None
    assert find(["AAPL"], *YEAR, "1h") is None
    assert find(["AAPL"], *YEAR, "1d", source="polygon") is None
    assert find(["AAPL"], "2023-01-01T02:00+02:00", "2023-02-01", "1d") == newer
    # Each symbol must cover the whole range.
    first, last = (int(bound.timestamp()) for bound in YEAR)
    inner = RangeRow("TSLA", first + 86400, last - 86400, 363, has_gaps=False)
    pair = register(catalog, "NVDA", "TSLA", ranges=[inner])
    assert find(["NVDA", "TSLA"], "2023-01-02", "2023-12-30", "1d") == pair
    assert find(["NVDA", "TSLA"], "2023-01-01", "2023-12-30", "1d") is None
    assert find(["NVDA", "TSLA"], "2023-01-02", "2023-12-31", "1d") is None


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"symbols": "AAPL"}, "symbols must be a list"),
        ({"symbols": []}, "at least one symbol"),
        ({"symbols": ["AAPL", 3]}, "symbol must be a printable string"),
        ({"symbols": ["A\nB"]}, "symbol must be a printable string"),
        ({"source": ""}, "source must be a printable string"),
        ({"checksum": None}, "checksum must be a printable string"),
        ({"resolution": "1x"}, "1x"),
        ({"start_date": pd.NaT}, "start_date is not a time"),
        ({"start_date": "2024-01-01"}, "is after end_date"),
        ({"end_date": "soon"}, "end_date is not a time"),
    ],
)
def test_bad_input_is_refused_and_no_file_is_written(
    path: Path, catalog: DataCatalog, changed: dict[str, Any], message: str
) -> None:
    values: dict[str, Any] = {"symbols": ["AAPL"], "start_date": YEAR[0], "end_date": YEAR[1]}
    values |= {"source": "s", "resolution": "1d", "checksum": SHA, **changed}
    with pytest.raises(QueryError, match=message):
        catalog.register_dataset(**values)
    assert not path.parent.exists()


def test_an_unknown_dataset_id_raises_a_query_error(catalog: DataCatalog) -> None:
    for call in (
        lambda: catalog.get_dataset_info("no"),
        lambda: catalog.link_backtest_to_dataset("a", "no"),
        lambda: catalog.warm(["no"]),
        lambda: catalog.link_backtest_to_dataset("", register(catalog)),
    ):
        with pytest.raises(QueryError):
            call()
    assert catalog.get_datasets_for_backtest("never") == []


# --- bundles, lanes, lineage -------------------------------------------------------------------

SPRING = ("2024-01-02", "2024-03-08")


def create(
    manager: DataManager, folder: Path, name: str, *symbols: str, end: str = SPRING[1]
) -> Bundle:
    bundle = Bundle(name, folder, disk=Quick())
    bundle.create(manager, symbols, "1d", SPRING[0], end, **MOCK)
    return bundle


def test_the_catalog_lists_a_bundle_until_the_bundle_is_removed(
    path: Path, catalog: DataCatalog, manager: DataManager
) -> None:
    find = catalog.find_dataset
    assert find(["AAPL", "MSFT"], *SPRING, "1d") is None
    bundle = create(manager, path.parent, "mine", "AAPL", "MSFT")
    own = find(["AAPL", "MSFT"], *SPRING, "1d")
    assert own == bundle.records().origin.dataset_id
    info = catalog.get_dataset_info(own)
    assert info["kind"] == "bundle" and info["parquet_path"] == "mine"
    assert {(r["symbol"], r["has_gaps"]) for r in info["date_ranges"]} == {
        ("AAPL", False),
        ("MSFT", False),
    }
    assert info["checksum"] == bundle.records().checksum() and len(info["checksums"]) == 3
    assert catalog.register_bundle("mine", bundle.path) == own
    shutil.copytree(bundle.path, path.parent / "copy")
    assert len(rows(path, "SELECT 1 FROM datasets")) == 1
    assert catalog.get_cache_size() == 2 * info["size_bytes"]
    ids = rows(path, "SELECT dataset_id FROM datasets")
    assert len(ids) == 2  # the copy has an id of its own
    assert find(["AAPL"], *SPRING, "1d") in [one for (one,) in ids]
    assert {catalog.get_dataset_info(one)["parquet_path"] for (one,) in ids} == {"mine", "copy"}
    bundle.remove()
    shutil.rmtree(path.parent / "copy")
    assert find(["AAPL", "MSFT"], *SPRING, "1d") is None
    assert rows(path, "SELECT bundle_name FROM bundle_metadata") == []


def test_only_a_bundle_changed_by_another_process_is_read_again(
    path: Path, catalog: DataCatalog, manager: DataManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        create(manager, path.parent, name, "AAPL", end="2024-02-09")
    assert catalog.find_dataset(["AAPL"], SPRING[0], "2024-02-12", "1d") is None
    looked: list[str] = []
    real = module._records_in

    def read(folder: Path) -> Any:
        looked.append(folder.name)
        return real(folder)

    later = Bundle("two", path.parent, disk=Quick())
    records = later.records()
    later.ingest(manager, ["AAPL"], "1d", *SPRING, **MOCK)
    monkeypatch.setattr(module, "_records_in", read)
    wider = catalog.find_dataset(["AAPL"], SPRING[0], "2024-02-12", "1d")
    assert wider == records.origin.dataset_id and looked == ["two"]
    assert later.records().dataset().end_date > records.dataset().end_date


def test_dates_around_hours_are_whole_days_of_the_market(tmp_path: Path, path: Path) -> None:
    """A bar at midnight is not a day; New York has no bars at night."""
    manager = DataManager(tmp_path / "cache", clock=ManualClock(parse_iso("2024-06-08T12:00")))
    catalog = DataCatalog(str(path), manager=manager)
    find = partial(catalog.find_dataset, resolution="1h", source="mock")
    manager.get_ohlcv("BTCUSDT", "1h", "2024-06-03T00:00", "2024-06-05T00:00", **MOCK)
    assert find(["BTCUSDT"], "2024-06-03", "2024-06-04")
    assert find(["BTCUSDT"], "2024-06-03", "2024-06-05T00:00")
    for day in ("2024-06-05", "20240605", date(2024, 6, 5)):
        assert find(["BTCUSDT"], "2024-06-03", day) is None
    manager.get_ohlcv("BTCUSDT", "1h", "2024-06-05", "2024-06-05T23:00", **MOCK)
    assert find(["BTCUSDT"], "2024-06-03", "2024-06-05")
    manager.get_ohlcv("AAPL", "1h", "2024-06-03", "2024-06-04", **MOCK)
    assert find(["AAPL"], "2024-06-03", "2024-06-04")
    assert find(["AAPL"], "2024-06-03", "2024-06-05") is None
    assert find(["AAPL"], "2024-05-31", "2024-06-04") is None


def test_a_registered_range_of_hours_ends_with_the_day_of_its_date(catalog: DataCatalog) -> None:
    hours = {"resolution": "1h", "start_date": "2024-06-03", "end_date": date(2024, 6, 5)}
    own = register(catalog, "BTCUSDT", **hours)
    assert catalog.find_dataset(["BTCUSDT"], "2024-06-03", "2024-06-05", "1h") == own
    assert catalog.find_dataset(["BTCUSDT"], "2024-06-05", "2024-06-05T23:00", "1h") == own
    assert catalog.find_dataset(["BTCUSDT"], "2024-06-05", "2024-06-06T00:00", "1h") is None
    unknown = register(catalog, "?", **{**hours, "end_date": "2024-06-05T16:00"})
    assert catalog.find_dataset(["?"], "2024-06-03", "2024-06-05", "1h") == unknown


def test_a_symbol_without_bars_and_a_day_that_was_not_over_are_not_covered(
    path: Path, catalog: DataCatalog, manager: DataManager
) -> None:
    create(manager, path.parent, "mine", "AAPL", end="2099-12-31")
    assert catalog.find_dataset(["AAPL"], SPRING[0], "2099-01-01", "1d") is None
    assert catalog.find_dataset(["AAPL"], SPRING[0], SPRING[1], "1d") is not None
    assert catalog.find_dataset(["AAPL"], "2024-01-01", SPRING[1], "1d") is None


def test_a_lane_is_a_dataset_without_a_file(
    path: Path, catalog: DataCatalog, manager: DataManager
) -> None:
    find, lane = catalog.find_dataset, "mock/1d@mock"
    own = find(["AAPL"], *SPRING, "1d", source=lane)
    assert own == find(["AAPL"], "2024-02-01", "2024-02-10", "1d", source="mock")
    assert find(["AAPL"], *SPRING, "1d") is None  # sample bars answer where they are named
    assert find(["AAPL", "MSFT"], *SPRING, "1d", source=lane) is None
    assert find(["AAPL"], SPRING[0], "2024-04-01", "1d", source=lane) is None
    assert own is not None
    info = catalog.get_dataset_info(own)
    assert (info["kind"], info["source"], info["symbols"]) == ("lane", lane, ["AAPL"])
    (part,) = info["date_ranges"]
    assert part["bar_count"] == info["row_count"] == 47 and not part["has_gaps"]
    manager.get_ohlcv("AAPL", "1d", "2024-03-09", "2024-04-01", **MOCK)
    assert find(["AAPL"], SPRING[0], "2024-04-01", "1d", source=lane) == own
    manager.get_ohlcv("AAPL", "1d", "2024-05-01", "2024-05-10", **MOCK)
    assert find(["AAPL"], "2024-03-01", "2024-05-03", "1d", source=lane) is None
    assert catalog.get_dataset_info(own)["date_ranges"][0]["has_gaps"]
    assert rows(path, "SELECT source, parquet_path FROM datasets WHERE dataset_id = ?", own) == [
        (lane, "")
    ]


def test_datasets_read_by_a_backtest_are_linked_to_the_backtest(
    path: Path, catalog: DataCatalog, manager: DataManager
) -> None:
    def read() -> None:
        manager.get_ohlcv("AAPL", "1d", "2024-02-01", "2024-02-09", offline=True, **MOCK)

    with lineage("run-1", folder=path.parent, manager=manager):
        read()
    (own,) = catalog.get_datasets_for_backtest("run-1")
    assert catalog.popular_datasets()[0][:2] == (own, 1)
    assert [row[0] for row in rows(path, JOIN, "run-1")] == [own]
    assert own == catalog.find_dataset(["AAPL"], *SPRING, "1d", source="mock")
    registered = register(catalog)
    catalog.link_backtest_to_dataset("run-1", registered, pd.Timestamp("2024-05-01"))
    assert catalog.get_datasets_for_backtest("run-1") == [registered, own]
    Lineages(path.parent, manager).forget("run-1")
    assert catalog.get_datasets_for_backtest("run-1") == [registered]
    catalog.popular_datasets()
    assert [row[0] for row in rows(path, JOIN, "run-1")] == [registered]
    with lineage("run-1", folder=path.parent, manager=manager):
        read()
    assert catalog.get_datasets_for_backtest("run-1") == [registered, own]


def test_a_deleted_lane_stays_described_for_its_linked_backtest(
    path: Path, catalog: DataCatalog, manager: DataManager, tmp_path: Path
) -> None:
    own = catalog.find_dataset(["AAPL"], *SPRING, "1d", source="mock")
    assert own is not None
    catalog.link_backtest_to_dataset("a", own, pd.Timestamp("2024-05-01"))
    before = catalog.get_dataset_info(own)
    shutil.rmtree(tmp_path / "cache")
    other = DataCatalog(path, manager=DataManager(tmp_path / "cache"))
    info = other.get_dataset_info(own)
    assert info["kind"] == "read" and before["kind"] == "lane"
    for name in (
        "source",
        "resolution",
        "start_date",
        "end_date",
        "row_count",
        "symbols",
        "checksum",
    ):
        assert info[name] == before[name]
    assert [row[0] for row in rows(path, JOIN, "a")] == [own]


def test_a_lane_of_which_parts_were_read_has_the_bars_of_all_of_them(
    path: Path, catalog: DataCatalog, manager: DataManager, tmp_path: Path
) -> None:
    """Where the store is gone its figures are those of the line of the run."""
    with lineage("run-1", folder=path.parent, manager=manager):
        for first, last in ((1, 2), (-23, -22), (26, 30)):  # within February, before, and after it
            start, end = (date(2024, 1, 31) + timedelta(n) for n in (first, last))
            manager.get_ohlcv("AAPL", "1d", start, end, offline=True, **MOCK)
    (own,) = catalog.get_datasets_for_backtest("run-1")
    shutil.rmtree(tmp_path / "cache")
    info = DataCatalog(path, manager=DataManager(tmp_path / "cache")).get_dataset_info(own)
    bounds = [int(pd.Timestamp(day).timestamp()) for day in ("2024-01-08", "2024-03-02")]
    assert (info["kind"], info["start_date"], info["end_date"] + 1) == ("read", *bounds)
    assert info["row_count"] == 2 + 2 + 5


def test_popular_predicted_and_warmed_datasets_follow_recorded_use(
    path: Path, catalog: DataCatalog, manager: DataManager
) -> None:
    create(manager, path.parent, "mine", "AAPL", "MSFT")
    bundle = catalog.find_dataset(["AAPL", "MSFT"], *SPRING, "1d")
    lane = catalog.find_dataset(["MSFT"], *SPRING, "1d", source="mock/1d@mock")
    rates, lonely = register(catalog, "RATES"), register(catalog, "LONELY")
    assert bundle and lane
    # One backtest that reads a dataset twice is one use.
    for n, ids in enumerate(([bundle], [bundle, rates], [bundle, rates, lane], [lonely, lonely])):
        for own in ids:
            catalog.link_backtest_to_dataset(f"b{n}", own, pd.Timestamp(2024, 5, 1 + n))
    uses = catalog.popular_datasets()
    assert [(use.dataset_id, use.backtests) for use in uses] == [
        (bundle, 3), (rates, 2), (lonely, 1), (lane, 1),
    ]  # fmt: skip
    assert uses[0].last == pd.Timestamp("2024-05-03")
    assert catalog.predicted(["AAPL"]) == [bundle, rates, lane]
    assert catalog.predicted(["LONELY"]) == [lonely] and catalog.predicted(["X"]) == []
    assert catalog.predicted(["AAPL"], backtests=1) == sorted([bundle, rates, lane])
    read = catalog.warm()
    size = catalog.get_dataset_info(bundle)["size_bytes"]
    assert read == {bundle: size, rates: 0, lonely: 0, lane: 47 * 8 * 6}


def test_warming_reads_every_byte_and_every_column(
    path: Path, catalog: DataCatalog, manager: DataManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(manager, path.parent, "mine", "AAPL", "MSFT")
    bundle = catalog.find_dataset(["AAPL", "MSFT"], *SPRING, "1d")
    lane = catalog.find_dataset(["MSFT"], *SPRING, "1d", source="mock/1d@mock")
    assert bundle and lane
    taken: dict[str, int] = {}

    class Counting(Disk):
        def perform(self, step: DiskStep, call: Callable[[], T]) -> T:
            value = call()
            if step.name == "read" and step.path.suffix == ".parquet" and isinstance(value, bytes):
                taken[step.path.parent.name] = taken.get(step.path.parent.name, 0) + len(value)
            return value

    warmer = DataCatalog(str(path), manager=manager, disk=Counting())
    assert warmer.get_dataset_info(bundle)["kind"] == "bundle"
    taken.clear()
    assert warmer.warm([bundle])[bundle] == sum(taken.values())
    files = (path.parent / "mine").rglob("data.parquet")
    assert taken == {file.parent.name: file.stat().st_size for file in files} and len(taken) == 3

    summed: list[str] = []

    class Column(list[float]):
        def sum(self) -> float:
            summed.append("column")
            return 0.0

    table = SimpleNamespace(stamps=Column([1, 2]), values=lambda: [Column([1, 2])] * 5)
    monkeypatch.setattr(BarsClient, "columns", lambda *_: SimpleNamespace(table=table))
    assert catalog.warm([lane]) == {lane: 8 * 2 * 6} and len(summed) == 6


def test_the_file_of_one_bundle_means_the_catalog_of_its_folder(
    path: Path, catalog: DataCatalog, manager: DataManager
) -> None:
    """A bundle writes its own file again at each change, so nothing is registered in it."""
    bundle = create(manager, path.parent, "mine", "AAPL")
    own = DataCatalog(bundle.path / "metadata.db", manager=manager)
    assert own.metadata_db_path == str(path)
    registered = register(own, "X")
    bundle.ingest(manager, ["MSFT"], "1d", *SPRING, **MOCK)
    assert catalog.find_dataset(["X"], *YEAR, "1d") == registered
    assert bundle.state(manager).state == "current"


def test_a_bundle_is_not_written_over_a_catalog(
    path: Path, catalog: DataCatalog, manager: DataManager
) -> None:
    own = register(catalog)
    with pytest.raises(BundleError, match="in bundle bundles is a catalog"):
        create(manager, path.parent.parent, path.parent.name, "AAPL")
    assert catalog.get_dataset_info(own)["symbols"] == ["AAPL", "MSFT"]


# --- a catalog that is lost --------------------------------------------------------------------


def answers(catalog: DataCatalog, path: Path) -> list[Any]:
    """Return what can be found again in the folder, in the store and in the log of runs."""
    catalog.refresh()
    lane = catalog.find_dataset(["MSFT"], *SPRING, "1d", source="mock/1d@mock")
    bundle = catalog.find_dataset(["AAPL", "MSFT"], *SPRING, "1d")
    assert lane and bundle
    metadata = catalog.list_bundles()
    for row in metadata:
        del row["source_url"]
    return [
        catalog.get_datasets_for_backtest("run"),
        [catalog.get_dataset_info(own) for own in (lane, bundle)],
        catalog.popular_datasets(),
        metadata,
        sorted(rows(path, JOIN, "run")),
        *(len(rows(path, f"SELECT * FROM {name}")) for name in ("symbols", "date_ranges")),
    ]


@pytest.mark.parametrize("damage", ["deleted", "rubbish", "zeros", "cut"])
def test_a_lost_catalog_forgets_only_what_was_registered_in_it(
    path: Path, catalog: DataCatalog, manager: DataManager, damage: str
) -> None:
    create(manager, path.parent, "mine", "AAPL", "MSFT")
    with lineage("run", folder=path.parent, manager=manager):
        manager.get_ohlcv("MSFT", "1d", *SPRING, offline=True, **MOCK)
    expected = answers(catalog, path)
    own = register(catalog)
    catalog.link_backtest_to_dataset("run", own)
    catalog.store_metadata({"bundle_name": "mine", "source_url": "u"})
    whole = path.read_bytes()
    content = {"rubbish": b"notes " * 999, "zeros": bytes(len(whole)), "cut": whole[:5000]}
    if damage == "deleted":
        path.unlink()
    else:
        path.write_bytes(content[damage])
    damaged = path.read_bytes() if path.exists() else None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = answers(DataCatalog(path, manager=manager), path)
        assert answers(catalog, path) == found
    shown = [row.pop("updated_at") for row in (*expected[3], *found[3])]
    assert found == expected and shown
    with pytest.raises(QueryError, match="does not exist"):
        catalog.get_dataset_info(own)
    aside = list(path.parent.glob("metadata.db.damaged-????????"))
    assert [one.read_bytes() for one in aside] == ([] if damaged is None else [damaged])
    told = [str(one.message) for one in caught]
    assert len(told) == len(aside) and all(aside[0].name in one for one in told)
    assert catalog.find_dataset(["AAPL"], *YEAR, "1d") is None
    assert bundle_names(path.parent) == ["mine"]


@st.composite
def _datasets(draw: Any) -> tuple[list[str], int, int, str]:
    names = draw(st.lists(st.sampled_from("ABCDE"), min_size=1, max_size=4, unique=True))
    start = draw(st.integers(0, 20))
    return names, start, start + draw(st.integers(0, 10)), draw(st.sampled_from(["1d", "1h"]))


@settings(max_examples=200 if FULL else 12, deadline=None)
@given(st.lists(_datasets(), min_size=1, max_size=8), st.lists(_datasets(), min_size=1, max_size=8))
def test_find_dataset_agrees_with_a_linear_search(
    tmp_path_factory: pytest.TempPathFactory, nothing: DataManager, registered: Any, asked: Any
) -> None:
    folder = tmp_path_factory.mktemp("found")
    catalog = DataCatalog(folder / "metadata.db", manager=nothing)
    day = pd.Timestamp("2024-01-01")

    def span(start: int, end: int) -> tuple[pd.Timestamp, pd.Timestamp]:
        return day + pd.Timedelta(days=start), day + pd.Timedelta(days=end)

    ids = [
        catalog.register_dataset("s", names, *span(a, b), label, "x")
        for names, a, b, label in registered
    ]
    for names, a, b, label in asked:
        fitting = [
            (len(have), -n, ids[n])
            for n, (have, c, d, of) in enumerate(registered)
            if set(names) <= set(have) and c <= a and b <= d and of == label
        ]
        expected = min(fitting)[2] if fitting else None
        assert catalog.find_dataset(names, *span(a, b), label) == expected


@given(
    st.lists(st.text("AB.é/", min_size=1, max_size=4), min_size=1, max_size=6),
    st.randoms(),
    st.integers(0, 10**10),
    st.integers(0, 10**10),
)
@settings(max_examples=300 if FULL else 30, deadline=None)
def test_a_cache_key_ignores_the_order_of_symbols_and_differs_for_other_requests(
    names: list[str], random: Any, a: int, b: int
) -> None:
    mixed = random.sample(names, len(names))
    key = cache_key("s", names, a, b, "1d")
    assert key == cache_key("s", mixed, a, b, "1d") and len(key) == 64
    others = {
        cache_key("t", names, a, b, "1d"),
        cache_key("s", [*names, "".join(names) + "!"], a, b, "1d"),
        cache_key("s", names, a + 1, b, "1d"),
        cache_key("s", names, a, b + 1, "1d"),
        cache_key("s", names, a, None, "1d"),
        cache_key("s", names, a, b, "1h"),
    }
    assert len(others) == 6 and key not in others


def test_finding_a_dataset_takes_no_longer_among_more_datasets(
    path: Path, catalog: DataCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted in steps of SQLite; each dataset has a symbol that is asked for."""
    steps, counts = 0, []

    def count_step() -> int:
        nonlocal steps
        steps += 1
        return 0

    opened = module.CatalogFile._opened

    def watched(self: Any) -> sqlite3.Connection:
        db = opened(self)
        db.set_progress_handler(count_step, 1)
        return db

    first = 0
    for count in (50, 100, 200):
        for n in range(first, count):
            register(catalog, "ALL", f"S{n}")
        first = count
        with monkeypatch.context() as patch:
            patch.setattr(module.CatalogFile, "_opened", watched)
            steps = 0
            assert catalog.find_dataset(["ALL"], *YEAR, "1d")
            assert catalog.find_dataset([f"S{count - 9}", "ALL"], *YEAR, "1d")
            assert catalog.find_dataset(["X"], *YEAR, "1d") is None
            counts.append(steps)
    assert counts[2] < 1.2 * counts[0], counts


# --- what is wrong with the file ---------------------------------------------------------------


def test_a_foreign_file_in_place_of_the_catalog_is_not_changed(
    path: Path, catalog: DataCatalog
) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE theirs (x)")
        db.commit()
    before = path.read_bytes()
    register_error = "database of another program"
    for call in (catalog.popular_datasets, catalog.refresh):
        with pytest.raises(BundleError, match=register_error):
            call()
    assert path.read_bytes() == before
    path.unlink()
    path.mkdir()
    with pytest.raises(StorageError, match="not a regular file"):
        catalog.popular_datasets()
    path.rmdir()
    own = register(catalog)
    assert catalog.find_dataset(["AAPL"], *YEAR, "1d") == own


def test_a_catalog_of_a_newer_version_is_not_changed(
    path: Path, catalog: DataCatalog, manager: DataManager
) -> None:
    register(catalog)
    catalog.popular_datasets()
    catalog.close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 9")
    newer = DataCatalog(path, manager=manager)
    for call in (newer.popular_datasets, newer.refresh):
        with pytest.raises(FormatVersionError, match="newer version"):
            call()


def test_a_reader_sees_a_catalog_that_is_being_written_and_a_writer_waits_for_another(
    path: Path, catalog: DataCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("src.data.research.catalog.catalog_file.BUSY_S", 0.01)
    own = register(catalog)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        db.execute("UPDATE datasets SET source = 'theirs'")
        assert catalog.get_dataset_info(own)["source"] == "yfinance"
        with pytest.raises(LockTimeoutError, match="locked by another process"):
            register(catalog, "X")
        db.execute("COMMIT")
        assert catalog.get_dataset_info(own)["source"] == "theirs"
        db.execute("BEGIN; ".rstrip("; "))
        assert db.execute("SELECT count(*) FROM datasets").fetchone() == (1,)
        register(catalog, "X")  # which a reader does not hold up
    assert rows(path, "SELECT count(*) FROM datasets") == [(2,)]


class ReadOnly(Disk):
    """A disk on which no file can be created."""

    def perform(self, step: DiskStep, call: Callable[[], T]) -> T:
        if step.name in ("create", "mkdir", "link"):
            raise OSError(errno.EROFS, "Read-only file system")
        return super().perform(step, call)


@pytest.mark.parametrize("is_there", [False, True])
def test_a_catalog_in_a_read_only_folder_finds_bundles_and_registers_no_dataset(
    path: Path, manager: DataManager, monkeypatch: pytest.MonkeyPatch, is_there: bool
) -> None:
    create(manager, path.parent, "mine", "AAPL")
    own = None
    if is_there:
        own = register(DataCatalog(path, manager=manager), "X", adjustment="split")

        refused_error = sqlite3.OperationalError("unable to open database file")
        refused_error.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
        monkeypatch.setattr(
            "src.data.research.catalog.catalog_file.connect_existing", Raising(refused_error)
        )
    catalog = DataCatalog(path, manager=manager, disk=ReadOnly())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert catalog.find_dataset(["AAPL"], *SPRING, "1d") is not None
        assert catalog.find_dataset(["X"], *YEAR, "1d") == own
        with pytest.raises(StorageError):
            register(catalog, "Y")
    assert {str(one.message)[:34] for one in caught} == {"a copy of the catalog in memory is"}
    assert path.exists() is is_there


class Raising:
    """A function that raises an error."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __call__(self, *_: Any) -> Any:
        raise self.error


def test_a_killed_process_loses_no_registration_that_has_returned(
    path: Path, catalog: DataCatalog
) -> None:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:  # nothing of pytest may run on in the child
        try:
            while True:
                os.write(write, f"{register(catalog, 'X')}\n".encode())
        finally:
            os._exit(4)
    os.close(write)
    with os.fdopen(read) as lines:
        ids = [lines.readline().strip() for _ in range(5)]
        os.kill(child, signal.SIGKILL)
        ids += [line.strip() for line in lines if line.endswith("\n")]
    os.waitpid(child, 0)
    assert {catalog.get_dataset_info(own)["dataset_id"] for own in ids} == {*ids}
    assert register(catalog) not in ids


def test_a_registration_that_fails_halfway_leaves_no_rows(path: Path, catalog: DataCatalog) -> None:
    register(catalog)
    with pytest.raises(StorageError, match="cannot be used"):
        register(catalog, "X", ranges=[RangeRow("X", 0, 2**70, 1, None)])
    for table, count in (("datasets", 1), ("symbols", 2), ("date_ranges", 0)):
        assert rows(path, f"SELECT count(*) FROM {table}") == [(count,)]


def test_two_processes_register_datasets_without_loss_or_warnings(
    path: Path, catalog: DataCatalog
) -> None:
    count = 100 if FULL else 8

    def work(name: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for n in range(count):
                own = register(catalog, f"{name}{n}", "B", adjustment="split")
                catalog.link_backtest_to_dataset(name, own, "2024-05-01")
                assert catalog.find_dataset([f"{name}{n}", "B"], *YEAR, "1d") == own

    with forked(lambda: work("P")):
        work("Q")
    for name in ("P", "Q"):
        assert len(catalog.get_datasets_for_backtest(name)) == count
        catalog.popular_datasets()
        assert len(rows(path, JOIN, name)) == count


@contextmanager
def forked(work: Callable[[], object]) -> Iterator[None]:
    """Do something in a child meanwhile."""
    child = os.fork()
    if child == 0:  # nothing of pytest may run on in the child
        try:
            work()
            os._exit(0)
        finally:
            os._exit(4)
    yield
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_threads_and_forks_share_a_catalog(path: Path, catalog: DataCatalog) -> None:
    def work(name: str) -> list[str | None]:
        ids = [register(catalog, f"{name}{n}") for n in range(6)]
        return [
            None if catalog.find_dataset([f"{name}{n}"], *YEAR, "1d") == own else own
            for n, own in enumerate(ids)
        ]

    with ThreadPoolExecutor(4) as pool:
        assert [wrong for found in pool.map(work, "ABCD") for wrong in found if wrong] == []
    with forked(lambda: register(catalog, "CHILD")):
        pass
    assert catalog.find_dataset(["CHILD"], *YEAR, "1d") is not None
    assert rows(path, "SELECT count(*) FROM datasets") == [(25,)]


# --- names of other programs -------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, arguments",
    [
        ("__init__", "metadata_db_path"),
        ("register_dataset", "source symbols start_date end_date resolution checksum"),
        ("find_dataset", "symbols start_date end_date resolution source"),
        ("get_dataset_info", "dataset_id"),
        ("link_backtest_to_dataset", "backtest_id dataset_id cached_at"),
        ("get_datasets_for_backtest", "backtest_id"),
        ("register_bundle", "name path"),
        ("store_metadata", "metadata"),
        ("get_bundle_metadata", "bundle_name"),
        ("list_bundles", "source_type start_date end_date"),
        ("store_quality_metrics", "metadata"),
        ("get_quality_metrics", "bundle_name"),
        ("find_cached_bundle", "cache_key"),
        ("get_cache_size", ""),
    ],
)
def test_the_documented_arguments_of_the_catalog_come_first(name: str, arguments: str) -> None:
    given = [one for one in signature(getattr(DataCatalog, name)).parameters if one != "self"]
    assert given[: len(arguments.split())] == arguments.split()


def test_the_bundle_methods_of_older_programs_work(
    path: Path, manager: DataManager, tmp_path: Path
) -> None:
    catalog = DataCatalog(db_path=path, manager=manager)
    bundle = create(manager, path.parent, "mine", "MSFT", "AAPL")
    key = cache_key("mock", ["AAPL", "MSFT"], *SPRING, "1d")
    found = catalog.find_cached_bundle(key)
    assert found is not None and found["bundle_path"] == str(bundle.path)
    assert found["symbols"] == ["MSFT", "AAPL"] and found["row_count"] == 94
    assert catalog.find_cached_bundle("0" * 64) is None
    assert catalog.get_cache_size() == found["size_bytes"]
    catalog.store_metadata({"bundle_name": "theirs", "source_type": "csv"})
    catalog.store_quality_metrics({"bundle_name": "theirs", "outlier_count": 3})
    metrics = catalog.get_quality_metrics("theirs")
    assert metrics is not None and metrics["outlier_count"] == 3
    row = catalog.get_bundle_metadata("mine")
    assert row is not None and row["row_count"] == 94
    assert [row["bundle_name"] for row in catalog.list_bundles()] == ["mine", "theirs"]
    catalog.popular_datasets()
    query = "SELECT bundle_name, source_type, outlier_count FROM bundle_metadata ORDER BY 1"
    assert rows(path, query) == [("mine", "mock", None), ("theirs", "csv", 3)]
    query = "SELECT bundle_name, symbol_id, symbol FROM bundle_symbols ORDER BY 2"
    assert rows(path, query) == [("mine", 1, "MSFT"), ("mine", 2, "AAPL")]
    with pytest.raises(QueryError, match="bundle_name must be a printable string"):
        catalog.store_metadata({"source_type": "csv"})
    outside = create(manager, tmp_path / "elsewhere", "far", "AAPL")
    own = catalog.register_bundle("near", outside.path)
    assert catalog.find_dataset(["AAPL"], *SPRING, "1d", source="mock") == own
    assert catalog.warm([own])[own] > 0
    near = catalog.get_bundle_metadata("near")
    assert near is not None and near["file_checksum"] == outside.records().checksum()
    with pytest.raises(BundleError):
        catalog.register_bundle("none", tmp_path / "nothing")
    with pytest.raises(
        QueryError,
        match="metadata_db_path and db_path are two names for one argument; pass only one of them",
    ):
        DataCatalog(path, db_path=path)


def test_a_registered_bundle_has_the_range_of_each_symbol(
    path: Path, catalog: DataCatalog, tmp_path: Path
) -> None:
    """Its symbols have no day in common."""
    bundle = Bundle("far", tmp_path / "elsewhere", disk=Quick())
    writer = ParquetWriter(bundle.path, disk=Quick())
    writer.write_daily_bars(days(date(2023, 1, 3), 5, [1]))
    writer.write_daily_bars(days(date(2024, 1, 2), 4, [2]))
    own = catalog.register_bundle("near", bundle.path)
    info, records = catalog.get_dataset_info(own), bundle.records()
    assert [(r["symbol"], r["bar_count"]) for r in info["date_ranges"]] == [("1", 5), ("2", 4)]
    assert info["row_count"] == 9 and info["checksum"] == records.checksum()
    assert info["checksums"] == {place: one.sha256 for place, one in records.files.items()}
    assert info["size_bytes"] == sum(p.stat().st_size for p in bundle.path.rglob("data.parquet"))
    find = catalog.find_dataset
    assert find(["1"], "2023-01-03", "2023-01-07", "1d") == own
    assert find(["2"], "2024-01-02", "2024-01-05", "1d") == own
    assert find(["2"], "2023-01-03", "2023-01-07", "1d") is None
    assert find(["1", "2"], "2023-01-03", "2023-01-03", "1d") is None


def test_a_bundle_outside_the_folder_is_loaded_by_its_registered_name(
    path: Path, catalog: DataCatalog, manager: DataManager, tmp_path: Path,
    of_a_folder: type[BundleMetadata],
) -> None:  # fmt: skip
    create(manager, path.parent, "mine", "MSFT")
    outside = create(manager, tmp_path / "elsewhere", "far", "AAPL")
    for name in ("near", "mine"):
        catalog.register_bundle(name, outside.path)
    rows_by_name = of_a_folder
    rows_by_name.set_db_path(path)
    reported = rows_by_name.load("near")
    assert (reported.bundle_name, reported.symbols) == ("far", ["AAPL"])
    assert [row["symbol"] for row in rows_by_name.get_symbols("near")] == ["AAPL"]
    assert rows_by_name.load("mine").symbols == ["MSFT"]
    assert rows_by_name.load("near", path.parent) == reported
    rows_by_name.update("near", outlier_count=2)
    assert rows_by_name.load("near") == reported
    rows_by_name.delete("near")
    with pytest.raises(BundleError, match="near"):
        rows_by_name.load("near")


def test_a_registered_bundle_is_opened_by_its_registered_name(
    path: Path, catalog: DataCatalog, manager: DataManager, tmp_path: Path,
    of_a_folder: type[BundleMetadata],
) -> None:  # fmt: skip
    of_a_folder.set_db_path(path)
    mine = create(manager, path.parent, "mine", "MSFT")
    outside = create(manager, tmp_path / "elsewhere", "far", "AAPL")
    for name in ("near", "mine"):
        catalog.register_bundle(name, outside.path)
    near = Bundle("near", path.parent, disk=Quick())
    assert (near.path, near.name, near.is_elsewhere) == (outside.path, "near", True)
    assert near.state(manager).state == "current" and near.validate() == ()
    assert list(near.records().origin.symbols) == ["AAPL"]
    assert Bundle("mine", path.parent).path == mine.path
    assert bundle_names(path.parent) == ["mine", "near"]
    with pytest.raises(BundleError, match="bundle near already exists"):
        near.create(manager, ["AAPL"], "1d", **MOCK)
    found = catalog.find_dataset(["AAPL"], "2024-01-10", "2024-01-20", "1d", "mock")
    assert found is not None and catalog.get_dataset_info(found)["kind"] == "line"
    of_a_folder.delete("near")
    assert not Bundle("near", path.parent).exists()
    catalog.register_bundle("near", outside.path)
    outside.remove()
    gone = Bundle("near", path.parent)
    assert not gone.exists() and bundle_names(path.parent) == ["mine"]


def test_the_old_path_warns_once_and_names_the_users_line(tmp_path: Path) -> None:
    sys.modules.pop("onetape.data.catalog", None)
    program = "\nfrom onetape.data.catalog import DataCatalog\nimport onetape.data.catalog\n"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        names: dict[str, Any] = {}
        exec(compile(program, "theirs.py", "exec"), names)
        names["DataCatalog"](tmp_path / "metadata.db").popular_datasets()
    (warning,) = [w for w in caught if w.category is DeprecationWarning]
    assert (warning.filename, warning.lineno) == ("theirs.py", 2)
    assert "from onetape.bundles" in str(warning.message)
    assert names["DataCatalog"] is DataCatalog


def test_the_catalog_file_is_in_the_data_folder_or_where_the_settings_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert DataCatalog().metadata_db_path == str(tmp_path / "data/onetape/bundles/metadata.db")
    Path("config").mkdir()
    text = 'catalog:\n  metadata_db: "index/catalog.db"\n  parquet_dir: "there"\n'
    Path("config/data_catalog.yaml").write_text(text)
    named = DataCatalog()
    assert named.metadata_db_path == str(tmp_path / "index/catalog.db")
    own = register(named, "AAPL", "MSFT")
    assert named.find_dataset(["AAPL", "MSFT"], *YEAR, "1d") == own
    assert (tmp_path / "index/catalog.db").exists()
    assert DataCatalog("x/c.db").metadata_db_path == str(tmp_path / "x/c.db")
    for wrong in ("", 3):
        with pytest.raises((DataError, TypeError)):
            DataCatalog(wrong)  # type: ignore[arg-type]
    assert rows(tmp_path / "index/catalog.db", "SELECT dataset_id FROM datasets") == [(own,)]
