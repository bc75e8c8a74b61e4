"""Figures of a bundle: every expected bar of every requested symbol counts, in SQLite too."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from src.data import DataManager
from src.data.bundles import DataCatalog
from src.data.bundles.metadata import BundleMetadata
from src.data.core.clock import ManualClock
from src.data.core.model.time.instant import parse_iso
from src.data.core.vendors.mock.bars import MockDataDownloader
from src.data.polars.parquet_writer import ParquetWriter
from src.data.research.bundles.bundle import Bundle
from tests.core.cache.crash import Quick
from tests.research.bundles.bars import days

pytestmark = pytest.mark.filterwarnings("ignore::src.data.errors.IncompleteDataWarning")
FIRST, LAST = "2024-01-02", "2024-01-31"
SESSIONS = 21  # without the holiday of 15 January
HOLES = {"AAPL": 3, "MSFT": 1}


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataManager:
    """A vendor without some days of two symbols, and without any bar of GONE."""
    real = MockDataDownloader.fetch

    def fetch(self: MockDataDownloader, query: Any) -> Any:
        fetched, symbol = real(self, query), query.instrument.symbol
        kept = np.ones(len(fetched.table), dtype=bool)
        if symbol == "GONE":
            kept[:] = False
        kept[5 : 5 + HOLES.get(symbol, 0)] = False
        return replace(fetched, table=fetched.table.take(kept))

    monkeypatch.setattr(MockDataDownloader, "fetch", fetch)
    return DataManager(tmp_path / "cache")


@pytest.fixture
def bundles(tmp_path: Path, of_a_folder: type[BundleMetadata]) -> Path:
    """Return the folder of bundles to which the metadata class is set."""
    folder = tmp_path / "bundles"
    of_a_folder.set_db_path(folder / "metadata.db")
    return folder


def create(manager: DataManager, folder: Path, symbols: list[str], **options: Any) -> Bundle:
    bundle = Bundle("mine", folder, disk=Quick())
    bundle.create(manager, symbols, "1d", FIRST, LAST, provider="mock", **options)
    return bundle


def figures(folder: Path) -> tuple[float, float, bool, int]:
    reported, row = BundleMetadata.load("mine", folder), BundleMetadata.get("mine")
    assert row is not None
    return (
        round(reported.missing_data_pct, 6),
        round(reported.quality_score, 6),
        row["validation_passed"],
        row["missing_days_count"],
    )


def test_a_whole_bundle_has_no_missing_bars(manager: DataManager, bundles: Path) -> None:
    create(manager, bundles, ["NVDA"])
    assert figures(bundles) == (0.0, 1.0, True, 0)


def test_holes_count_as_missing_and_bad(manager: DataManager, bundles: Path) -> None:
    manager.get_ohlcv_batch(["AAPL", "MSFT"], "1d", FIRST, LAST, provider="mock")
    create(manager, bundles, ["AAPL", "MSFT"], offline=True)  # no score of a fetch
    share = 4 / (2 * SESSIONS)
    assert figures(bundles) == (round(100 * share, 6), round(1 - share, 6), False, 4)


def test_the_quality_score_of_a_bundle_is_weighted_by_bars(
    manager: DataManager, bundles: Path
) -> None:
    """A share of rows that can be bars would be 1, and a mean of the scores something else."""
    bundle = create(manager, bundles, ["NVDA", "AAPL", "GONE"])
    sources, bars = bundle.records().origin.symbols, SESSIONS - HOLES["AAPL"]
    score = sources["AAPL"].quality
    assert score is not None and 0.5 < score < 1.0 and sources["NVDA"].quality == 1.0
    good = SESSIONS + score * bars
    assert figures(bundles)[1] == round(good / (3 * SESSIONS), 6)
    assert figures(bundles)[0] == round(100 * (SESSIONS + HOLES["AAPL"]) / (3 * SESSIONS), 6)


@pytest.mark.parametrize("wrong", ["GONE", "EURUSD", "NONE1", "no symbol"])
def test_a_symbol_without_an_answer_lacks_all_of_its_bars(
    manager: DataManager, bundles: Path, wrong: str
) -> None:
    """EURUSD is ambiguous: the market of the others counts."""
    manager.get_ohlcv("NVDA", "1d", FIRST, LAST, provider="mock")
    create(manager, bundles, ["NVDA", wrong], offline=True)
    assert figures(bundles) == (50.0, 0.5, False, SESSIONS)


def test_missing_bars_are_counted_in_the_timeframe_of_the_bundle(
    manager: DataManager, bundles: Path
) -> None:
    for name, timeframe, last, expected in (("w", "1w", LAST, 4), ("h", "1h", FIRST, 7)):
        bundle = Bundle(name, bundles, disk=Quick())
        bundle.create(manager, ["NVDA", "GONE"], timeframe, FIRST, last, provider="mock")
        assert bundle.records().origin.symbols["GONE"].missing == expected
        assert bundle.records().origin.symbols["NVDA"].missing == 0


def test_bars_that_have_not_closed_are_not_missing(
    manager: DataManager, bundles: Path, tmp_path: Path
) -> None:
    """In the session of 31 January; without a start, so many are expected as an answer has."""
    clock = ManualClock(parse_iso(f"{LAST}T18:00:00"))
    then = DataManager(tmp_path / "cache", clock=clock)
    bundle = Bundle("mine", bundles, disk=Quick())
    bundle.create(then, ["NVDA", "GONE"], "1d", FIRST, "2024-02-29", provider="mock")
    assert figures(bundles) == (50.0, 0.5, False, SESSIONS - 1)
    other = Bundle("open", bundles, disk=Quick())
    other.create(then, ["NVDA", "GONE"], "1h", None, LAST, provider="mock")
    sources, rows = other.records().origin.symbols, other.records().dataset().row_count
    assert sources["GONE"].missing == rows > 0 == sources["NVDA"].missing


def test_bars_in_the_bundle_of_a_symbol_that_fails_later_are_not_missing(
    manager: DataManager, bundles: Path
) -> None:
    bundle = create(manager, bundles, ["NVDA", "AAPL"])
    manager.cache.clear("NVDA")
    assert list(bundle.refresh(manager, offline=True).failed) == ["NVDA"]
    assert bundle.records().origin.symbols["NVDA"].missing == 0
    assert figures(bundles)[3] == HOLES["AAPL"]


def test_missing_bars_are_counted_again_after_a_clean(manager: DataManager, bundles: Path) -> None:
    bundle = Bundle("mine", bundles, disk=Quick())
    bundle.create(manager, ["AAPL", "GONE"], "1d", FIRST, "2024-02-29", provider="mock")
    assert bundle.records().origin.symbols["AAPL"].missing == HOLES["AAPL"]
    bundle.clean(manager, date(2024, 2, 1))
    assert bundle.records().origin.symbols["AAPL"].missing == 0
    assert bundle.records().origin.symbols["GONE"].missing == 20


def test_rows_written_by_a_program_are_judged_without_expected_bars(bundles: Path) -> None:
    frame = days(date(2024, 1, 2), 4)
    wrong = days(date(2024, 1, 8), 1).with_columns(high=1.0)
    ParquetWriter(bundles / "mine", disk=Quick()).write_batch([frame, wrong])
    assert figures(bundles) == (0.0, 0.8, False, 0)
    with closing(sqlite3.connect(bundles / "mine" / "metadata.db")) as db:
        ranges = db.execute("SELECT has_gaps FROM date_ranges").fetchall()
    assert {*ranges} == {(None,)}, "no bar is expected of them"


def test_the_sqlite_tables_of_a_bundle_contain_its_gaps_counts_and_checksums(
    manager: DataManager, bundles: Path
) -> None:
    bundle = create(manager, bundles, ["NVDA", "AAPL", "GONE"])
    written = bundle.records().origin.ingested_at // 1000
    with closing(sqlite3.connect(bundle.path / "metadata.db")) as db:
        ranges = dict(db.execute("SELECT symbol, has_gaps FROM date_ranges").fetchall())
        bars = dict(db.execute("SELECT symbol, bar_count FROM date_ranges").fetchall())
        sums = db.execute("SELECT file_path, checksum, last_validated FROM checksums").fetchall()
    assert ranges == {"NVDA": 0, "AAPL": 1}
    assert bars == {"NVDA": SESSIONS, "AAPL": SESSIONS - HOLES["AAPL"]}
    place = "daily_bars/year=2024/month=01/data.parquet"
    digest = hashlib.sha256((bundle.path / place).read_bytes()).hexdigest()
    assert sums == [(place, digest, written)]
    catalog = DataCatalog(bundles / "metadata.db")
    assert catalog.find_dataset(["NVDA"], FIRST, LAST, "1d")
    with closing(sqlite3.connect(bundles / "metadata.db")) as db:
        row = db.execute("SELECT missing_days_count, validation_passed FROM bundle_metadata")
        assert row.fetchall() == [(SESSIONS + HOLES["AAPL"], 0)]


def test_a_checksum_has_the_time_at_which_its_file_was_written_or_found_equal(
    bundles: Path,
) -> None:
    """The bundle is an hour older than what its second writer leaves."""
    clock = ManualClock(parse_iso("2024-06-03T10:00:00"))
    writer = ParquetWriter(bundles / "mine", disk=Quick(), clock=clock)
    writer.write_daily_bars(days(date(2024, 1, 2), 4))
    clock.advance(3600)
    writer.write_daily_bars(days(date(2024, 2, 2), 4))
    with closing(sqlite3.connect(bundles / "mine" / "metadata.db")) as db:
        times = db.execute("SELECT created_at, last_updated FROM datasets").fetchall()
        validated = db.execute("SELECT DISTINCT last_validated FROM checksums").fetchall()
    first = parse_iso("2024-06-03T10:00:00") // 1000
    assert times == [(first, first + 3600)] and validated == [(first + 3600,)]


def test_validate_updates_the_time_of_unchanged_files(
    bundles: Path,
) -> None:
    """In the bundle's own SQLite file and in the catalog's; a damaged file keeps its time."""
    clock = ManualClock(parse_iso("2024-06-03T10:00:00"))
    writer = ParquetWriter(bundles / "mine", disk=Quick(), clock=clock)
    for month in (1, 2, 3):
        writer.write_daily_bars(days(date(2024, month, 2), 4))
    written = clock.now_ms() // 1000
    clock.advance(3600)
    damaged = bundles / "mine" / "daily_bars/year=2024/month=02/data.parquet"
    damaged.write_bytes(b"PAR1" + damaged.read_bytes())
    bundle = Bundle("mine", bundles, disk=Quick(), clock=clock)
    (problem,) = bundle.validate()
    expected = [(1, written + 3600), (2, written), (3, written + 3600)]
    DataCatalog(bundles / "metadata.db").find_dataset(["AAPL"], FIRST, LAST, "1d")
    for file in (bundles / "mine" / "metadata.db", bundles / "metadata.db"):
        with closing(sqlite3.connect(file)) as db:
            rows = db.execute("SELECT file_path, last_validated FROM checksums ORDER BY 1")
            assert [(int(place[-15:-13]), time) for place, time in rows] == expected, file
    assert "month=02" in problem.place
    # A change writes what it found by then.
    clock.advance(3600)
    writer.write_daily_bars(days(date(2024, 5, 2), 4))
    with closing(sqlite3.connect(bundles / "mine" / "metadata.db")) as db:
        times = db.execute("SELECT DISTINCT last_validated FROM checksums").fetchall()
    assert times == [(written + 7200,)]


def test_validate_neither_creates_a_database_nor_writes_to_a_foreign_one(bundles: Path) -> None:
    path = bundles / "mine" / "metadata.db"
    ParquetWriter(bundles / "mine", disk=Quick()).write_daily_bars(days(date(2024, 1, 2), 4))
    bundle = Bundle("mine", bundles, disk=Quick())
    path.unlink()
    assert bundle.validate() == () and not path.exists()
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE theirs (a)")
    before = path.read_bytes()
    assert bundle.validate() == () and path.read_bytes() == before
