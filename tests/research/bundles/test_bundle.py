"""Bundles, which store an answer as files: stale or damaged partitions are detected and rewritten."""

from __future__ import annotations

import errno
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

from src.data import DataManager
from src.data.bundles import DataCatalog
from src.data.bundles.metadata import BundleMetadata
from src.data.core.clock import ManualClock
from src.data.core.disk.files import Disk, DiskStep
from src.data.core.model.time.instant import parse_iso
from src.data.core.vendors.mock.bars import MockDataDownloader
from src.data.errors import (
    BundleError,
    BundleNotFoundError,
    QueryError,
    StorageError,
)
from src.data.polars.parquet_daily_bars import PolarsParquetDailyReader
from src.data.polars.parquet_minute_bars import PolarsParquetMinuteReader
from src.data.polars.parquet_writer import ParquetWriter
from src.data.research.bundles.bundle import Bundle, bundle_names
from src.data.research.frames.frames import float_frame
from tests.core.cache.counts import FULL
from tests.core.cache.crash import Quick
from tests.core.cache.disks import DyingDisk, FailingDisk, Killed
from tests.research.bundles.bars import days, minutes

FEBRUARY = "daily_bars/year=2024/month=02/data.parquet"
ARGUMENTS: dict[str, Any] = {"adjustment": "split", "provider": "mock"}


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with two symbols, filled once."""
    folder = tmp_path_factory.mktemp("stored") / "cache"
    DataManager(folder).get_ohlcv_batch(
        ["AAPL", "MSFT"], "1d", "2024-01-02", "2024-03-08", provider="mock"
    )
    return folder


@pytest.fixture
def manager(stored: Path, tmp_path: Path) -> DataManager:
    """Return a manager on a copy of ``stored``."""
    shutil.copytree(stored, tmp_path / "cache")
    return DataManager(tmp_path / "cache")


@pytest.fixture(scope="module")
def made(stored: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the bundle ``mine`` of ``stored``, for tests to copy."""
    folder = tmp_path_factory.mktemp("made")
    one, manager = Bundle("mine", folder, disk=Quick()), DataManager(stored)
    one.create(manager, ["MSFT", "AAPL"], "1d", date(2024, 1, 2), "2024-03-08", provider="mock")
    return folder


@pytest.fixture
def bundle(made: Path, tmp_path: Path) -> Bundle:
    """Return the bundle ``mine``: MSFT and AAPL 1d from 2024-01-02 to 2024-03-08, by ``mock``."""
    shutil.copytree(made, tmp_path / "bundles")
    return Bundle("mine", tmp_path / "bundles", disk=Quick())


def revise(
    manager: DataManager,
    monkeypatch: pytest.MonkeyPatch,
    start: str = "2024-02-05",
    end: str = "2024-02-09",
    *,
    factor: float = 1.01,
) -> None:
    """Have the vendor send other bars from now on, and fetch a stretch of one symbol."""
    real = MockDataDownloader.fetch

    def fetch(self: MockDataDownloader, query: Any) -> Any:
        fetched = real(self, query)
        table = fetched.table
        return replace(
            fetched, table=table.__class__(**{**_fields(table), "volume": table.volume * factor})
        )

    monkeypatch.setattr(MockDataDownloader, "fetch", fetch)
    manager.get_ohlcv("AAPL", "1d", start, end, provider="mock", force_refresh=True)


def _fields(table: Any) -> dict[str, Any]:
    names = table._fields if hasattr(table, "_fields") else table.__dataclass_fields__
    return {name: getattr(table, name) for name in names}


def test_a_bundle_is_the_answer_of_a_batch(bundle: Bundle, manager: DataManager) -> None:
    reader = PolarsParquetDailyReader(bundle.path)
    frames = manager.get_ohlcv_batch(
        ["MSFT", "AAPL"], "1d", "2024-01-02", "2024-03-08", provider="mock"
    )
    for sid, frame in enumerate(frames.values(), start=1):
        rows = float_frame(reader.load_daily_bars([sid], None, None))
        for field in ("open", "high", "low", "close", "volume"):
            assert rows[field].to_numpy().tobytes() == frame[field].to_numpy().tobytes()
    assert bundle.state(manager).state == "current"
    sources = bundle.records().origin.symbols
    assert {(s.sid, s.lane, s.generation) for s in sources.values()} == {
        (1, "1d@mock", 1),
        (2, "1d@mock", 1),
    }
    assert all(s.fingerprint and s.actions for s in sources.values())


def test_a_revised_bar_makes_a_bundle_stale_and_a_refresh_rewrites_one_partition(
    bundle: Bundle, manager: DataManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    revise(manager, monkeypatch)
    state = bundle.state(manager)
    assert state.state == "stale"
    assert [cause.partition(":")[0] for cause in state.causes] == ["AAPL"]
    assert "generation 1, now 2" in state.causes[0]
    before = {path: path.stat().st_ino for path in bundle.path.rglob("data.parquet")}
    assert bundle.refresh(manager, offline=True).written == (FEBRUARY,)
    changed = {path for path, inode in before.items() if path.stat().st_ino != inode}
    assert changed == {bundle.path / FEBRUARY}
    assert bundle.state(manager).state == "current"
    assert bundle.refresh(manager, offline=True).written == ()


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)


def test_a_flipped_bit_is_named_and_the_partition_made_again(
    bundle: Bundle, manager: DataManager
) -> None:
    before = (bundle.path / FEBRUARY).read_bytes()
    flip(bundle.path / FEBRUARY)
    state = bundle.state(manager)
    assert state.state == "corrupt" and FEBRUARY in state.causes[0] and "SHA256" in state.causes[0]
    outcome = bundle.refresh(manager, offline=True)
    assert outcome.written == (FEBRUARY,)
    again, old = pl.read_parquet(bundle.path / FEBRUARY), pl.read_parquet(before)
    assert again.equals(old)
    assert bundle.state(manager).state == "current"


def test_a_missing_partition_is_made_again(bundle: Bundle, manager: DataManager) -> None:
    (bundle.path / FEBRUARY).unlink()
    assert bundle.state(manager).causes == (f"{FEBRUARY} is missing",)
    assert bundle.refresh(manager, offline=True).written == (FEBRUARY,)
    assert bundle.state(manager).state == "current"


def test_deleted_metadata_files_of_a_bundle_are_written_again(
    bundle: Bundle, manager: DataManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files are of two changes, and the facts of the latest one count."""
    revise(manager, monkeypatch)
    assert bundle.refresh(manager, offline=True).written == (FEBRUARY,)
    before = PolarsParquetDailyReader(bundle.path).load_daily_bars([1, 2], None, None)
    reported = BundleMetadata.load("mine", bundle.path.parent)
    for name in ("metadata.parquet", "metadata.db"):
        (bundle.path / name).unlink()
    again = BundleMetadata.load("mine", bundle.path.parent)
    assert (bundle.path / "metadata.parquet").is_file() and (bundle.path / "metadata.db").is_file()
    assert again == reported
    assert bundle.state(manager).state == "current"
    shutil.rmtree(bundle.path)
    bundle.create(manager, ["MSFT", "AAPL"], "1d", date(2024, 1, 2), "2024-03-08", provider="mock")
    assert PolarsParquetDailyReader(bundle.path).load_daily_bars([1, 2], None, None).equals(before)


def test_a_bundle_killed_during_a_refresh_stays_readable(
    bundle: Bundle, manager: DataManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    revise(manager, monkeypatch)
    killed = 0
    for step in (1, 4, 9, 14, 19, 25) if FULL else (1, 9, 14, 19):
        dying = Bundle("mine", bundle.path.parent, disk=DyingDisk(step))
        try:
            dying.refresh(manager, offline=True)
        except Killed:
            killed += 1
        assert bundle.state(manager).state in ("current", "stale"), step
        full = Bundle("mine", bundle.path.parent, disk=FailingDisk(step))
        try:
            full.refresh(manager, offline=True)
        except StorageError:
            assert bundle.state(manager).state in ("current", "stale"), step
    assert killed >= 4


def test_a_symbol_without_an_answer_is_reported_and_its_bars_stay(
    manager: DataManager, tmp_path: Path
) -> None:
    bundle = Bundle("some", tmp_path / "bundles", disk=Quick())
    outcome = bundle.create(
        manager, ["AAPL", "NONE1"], "1d", "2024-01-02", "2024-03-08", provider="mock", offline=True
    )
    assert list(outcome.failed) == ["NONE1"]
    state, (cause,) = bundle.state(manager)
    assert state == "stale" and cause.startswith("NONE1: there has never been an answer: ")
    manager.clear_cache("AAPL")
    causes = bundle.state(manager).causes
    assert causes[0].startswith("AAPL: the cache no longer has an answer: ") and len(causes) == 2
    with pytest.raises(BundleError, match="the bundle was not changed"):
        bundle.refresh(manager, offline=True)
    assert len(PolarsParquetDailyReader(bundle.path).load_daily_bars([1], None, None)) == 47


def test_a_symbol_that_fails_later_keeps_its_bars(bundle: Bundle, manager: DataManager) -> None:
    manager.clear_cache("AAPL")
    outcome = bundle.refresh(manager, offline=True)
    assert list(outcome.failed) == ["AAPL"]
    assert len(PolarsParquetDailyReader(bundle.path).load_daily_bars([2], None, None)) == 47


@pytest.mark.filterwarnings("ignore::src.data.errors.IncompleteDataWarning")
def test_a_bundle_of_five_minute_bars_is_read_by_the_minute_reader(
    manager: DataManager, tmp_path: Path
) -> None:
    bundle = Bundle("minutes", tmp_path / "bundles", disk=Quick())
    bundle.create(
        manager, ["BTCUSDT"], "5m", "2024-01-02 23:00", "2024-01-03 00:55", provider="mock"
    )
    frame = PolarsParquetMinuteReader(bundle.path).load_minute_bars([1], None, None)
    assert len(frame) == 24 and bundle.records().origin.resolutions == {"minute": "5m"}
    assert bundle.state(manager).state == "current"


@pytest.mark.filterwarnings("ignore::src.data.errors.IncompleteDataWarning")
@pytest.mark.parametrize(
    ("symbol", "first", "second", "wider", "ends"),
    [
        # A date without hyphens is a date.
        ("AAPL", ("20240603", "20240605"), ("2024-06-03", "2024-06-04"), (0, 0),
         ("2024-06-03 13:30", "2024-06-05 19:45")),
        ("AAPL", ("2024-06-04", "2024-06"), ("2024-06-03", "2024-06-07"), (1, 0),
         ("2024-06-03 13:30", "2024-06-07 19:45")),
        ("AAPL", ("2024-06-04T15:00", "2024-06-04T16:00"), ("2024-06-03T15:00", "2024-06-04"),
         (1, None), None),
    ],
)  # fmt: skip
def test_a_bundle_is_widened_to_what_the_bounds_mean_in_the_market(
    tmp_path: Path, symbol: str, first: Any, second: Any, wider: Any, ends: Any
) -> None:
    manager = DataManager(tmp_path / "cache", clock=ManualClock(parse_iso("2024-06-08T12:00")))
    bundle = Bundle("mine", tmp_path / "bundles", disk=Quick())
    bundle.create(manager, [symbol], "15m", *first, provider="mock")
    before = PolarsParquetMinuteReader(bundle.path).load_minute_bars([1], None, None)
    if ends is None:  # a date and a time
        with pytest.raises(BundleError, match="cannot be extended to 2024-06-04"):
            bundle.ingest(manager, [symbol], "15m", *second, provider="mock")
        return
    bundle.ingest(manager, [symbol], "15m", *second, provider="mock")
    after = PolarsParquetMinuteReader(bundle.path).load_minute_bars([1], None, None)
    assert before.join(after, on=before.columns, how="anti").is_empty()
    assert [str(after["timestamp"].min())[:16], str(after["timestamp"].max())[:16]] == list(ends)
    request = bundle.records().origin.request
    assert request is not None
    bounds = [request["start_date"], request["end_date"]]
    assert bounds == [(first, second)[n][place] for place, n in enumerate(wider)]


@pytest.mark.parametrize("name", ["..", "a/b", "/tmp/x", "", ".hidden", "a\\b", "x" * 101, "é"])
def test_an_invalid_bundle_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(QueryError, match="invalid bundle name"):
        Bundle(name, tmp_path)
    with pytest.raises(QueryError):
        BundleMetadata.load(name, tmp_path)


def test_a_missing_bundle_and_an_existing_one_are_typed_errors(
    bundle: Bundle, manager: DataManager, tmp_path: Path
) -> None:
    none = Bundle("none", tmp_path / "bundles")
    for call in (none.validate, none.records, lambda: none.state(manager)):
        with pytest.raises(BundleNotFoundError):
            call()
    assert not none.path.exists()
    with pytest.raises(BundleError, match="already exists"):
        bundle.create(manager, ["AAPL"], "1d", provider="mock")
    with pytest.raises(BundleError, match="would be empty"):
        none.create(
            manager, ["NONE1"], "1d", "2024-01-02", "2024-01-05", provider="mock", offline=True
        )
    with pytest.raises(QueryError):
        none.create(manager, [], "1d")
    with pytest.raises(QueryError, match="symbols must be a list"):
        none.create(manager, "AAPL", "1d")
    empty = Bundle("empty", tmp_path / "bundles")
    empty.path.mkdir()
    with pytest.raises(BundleNotFoundError):
        empty.records()
    assert list(empty.path.iterdir()) == []
    assert not none.path.exists()
    assert bundle_names(tmp_path / "bundles") == ["mine"]


# --- BundleMetadata ----------------------------------------------------------------------------


def test_bundle_metadata_has_the_documented_fields(bundle: Bundle) -> None:
    reported = BundleMetadata.load("mine", bundle.path.parent)
    assert (reported.bundle_name, reported.symbols) == ("mine", ["MSFT", "AAPL"])
    assert (reported.start_date, reported.end_date) == (
        pd.Timestamp("2024-01-02"),
        pd.Timestamp("2024-03-08"),
    )
    assert (reported.frequency, reported.source_type, reported.schema_version) == (
        "1d",
        "mock",
        "1",
    )
    assert reported.row_count == 94 and reported.size_bytes > 0
    assert reported.quality_score == 1.0 and reported.missing_data_pct == 0.0


def test_a_bundle_has_the_time_of_its_first_and_of_its_last_change(
    tmp_path: Path, of_a_folder: type[BundleMetadata]
) -> None:
    """As a value, by name, as a dataset and in both files that another program reads."""
    folder, clock = tmp_path / "bundles", ManualClock(978_307_200_000)  # 2001
    writer = ParquetWriter(folder / "mine", disk=Quick(), clock=clock)
    writer.write(days(date(2000, 1, 3), 3), "daily")
    clock.advance(86_400)
    writer.write(minutes(datetime(2000, 2, 1), 4, [2]), "1m")
    times = 978_307_200, 978_307_200 + 86_400
    own = DataCatalog(folder / "metadata.db").find_dataset(["1"], "2000-01-03", "2000-01-03", "1d")
    for place in ("metadata.db", "mine/metadata.db"):
        with closing(sqlite3.connect(folder / place)) as db:
            query = "SELECT dataset_id, created_at, last_updated FROM datasets"
            assert db.execute(query).fetchall() == [(own, *times)]
    with closing(sqlite3.connect(folder / "metadata.db")) as db:
        query = "SELECT created_at, updated_at, fetch_timestamp FROM bundle_metadata"
        assert db.execute(query).fetchall() == [(*times, times[1])]
    reported = BundleMetadata.load("mine", folder)
    assert reported.ingestion_time == pd.Timestamp(times[1], unit="s")
    assert reported.size_bytes == sum(p.stat().st_size for p in folder.rglob("data.parquet"))
    assert (reported.frequency, reported.row_count) == ("1d,1m", 7)
    assert reported.start_date == pd.Timestamp("2000-01-03")
    assert reported.end_date == pd.Timestamp("2000-02-01 00:03")
    of_a_folder.set_db_path(folder / "metadata.db")
    of_a_folder.update("mine", source_type="csv")  # now, long after
    row = of_a_folder.get("mine")
    assert row is not None and row["created_at"] == times[0] < row["updated_at"]
    assert row["fetch_timestamp"] == times[1] < row["updated_at"]


def test_the_last_change_of_an_only_copy_may_be_a_clean(
    tmp_path: Path, manager: DataManager, of_a_folder: type[BundleMetadata]
) -> None:
    folder, clock = tmp_path / "bundles", ManualClock(978_307_200_000)  # 2001
    ParquetWriter(folder / "mine", disk=Quick(), clock=clock).write(
        days(date(2000, 1, 3), 40), "daily"
    )
    clock.advance(86_400)
    bundle = Bundle("mine", folder, disk=Quick(), clock=clock)
    before = bundle.records().origin
    assert bundle.clean(manager, date(2000, 2, 1), dry_run=True).written
    assert bundle.records().origin == before
    assert bundle.clean(manager, date(2000, 2, 1)).written
    times = {"created_at": 978_307_200_000, "ingested_at": 978_393_600_000}
    assert bundle.records().origin == replace(before, commit=before.commit + 1, **times)
    of_a_folder.set_db_path(folder / "metadata.db")
    row = of_a_folder.get("mine")
    assert row is not None and row["created_at"] == 978_307_200
    assert row["updated_at"] == row["fetch_timestamp"] == 978_393_600


@pytest.fixture
def by_name(bundle: Bundle, of_a_folder: type[BundleMetadata]) -> type[BundleMetadata]:
    """Return the metadata class, set to the folder of ``bundle``."""
    of_a_folder.set_db_path(bundle.path.parent / "metadata.db")
    return of_a_folder


def test_bundle_metadata_is_read_and_updated_by_name(
    by_name: type[BundleMetadata], bundles: Path
) -> None:
    by_name.set_db_path(None)
    assert by_name.get("mine") is None, "not in the configured folder"
    by_name.set_db_path(bundles / "metadata.db")
    row = by_name.get("mine")
    assert row is not None and row["row_count"] == 94 and row["source_type"] == "mock"
    assert by_name.get("other") is None
    with pytest.raises(ValueError, match="requires a source_type"):
        by_name.update("other", row_count=3)
    with pytest.raises(QueryError, match="colour"):
        by_name.update("other", source_type="csv", colour="red")
    by_name.update(
        "other", source_type="csv", row_count=3, start_date="2020-01-01", end_date="2020-02-01"
    )
    by_name.update("other", outlier_count=1)
    other = by_name.get("other")
    assert other is not None and (other["row_count"], other["outlier_count"]) == (3, 1)
    assert [row["bundle_name"] for row in by_name.list_bundles()] == ["mine", "other"]
    assert [row["bundle_name"] for row in by_name.list_bundles(source_type="csv")] == ["other"]
    assert [row["bundle_name"] for row in by_name.list_bundles(start_date="2023-01-01")] == ["mine"]
    assert by_name.add_symbol("other", "X", "equity", "NYSE") == 1
    assert by_name.add_symbol("other", "Y", "equity", None) == 2
    assert by_name.add_symbol("other", "X", "equity", "NYSE") == 1
    assert [row["symbol"] for row in by_name.get_symbols("other")] == ["X", "Y"]
    assert [row["symbol"] for row in by_name.get_symbols("mine")] == ["MSFT", "AAPL"]
    metrics = by_name.get_quality_metrics("mine")
    assert metrics is not None and metrics["ohlcv_violations"] == 0
    assert by_name.count_bundles() == 2 and by_name.count_symbols("other") == 2
    assert by_name.delete("other") and not by_name.delete("other")
    assert by_name.get("other") is None


def test_facts_from_the_files_override_those_a_program_recorded(
    by_name: type[BundleMetadata],
) -> None:
    by_name.update("mine", row_count=1, data_version="7")
    row = by_name.get("mine")
    assert row is not None and (row["row_count"], row["data_version"]) == (94, "7")


@pytest.mark.filterwarnings("ignore::src.data.errors.IncompleteDataWarning")
@pytest.mark.parametrize(("symbol", "hour"), [("BHP.AX", 0), ("BTCUSDT", 0), ("AAPL", 14)])
def test_a_bundle_of_minutes_is_current_after_a_clean(
    tmp_path: Path, symbol: str, hour: int
) -> None:
    """Its partitions are days in UTC; a session in Sydney begins on the day before."""
    manager = DataManager(tmp_path / "cache", clock=ManualClock(parse_iso("2024-01-10T15:00")))
    bundle = Bundle("mine", tmp_path / "bundles", disk=Quick())
    bundle.create(manager, [symbol], "30m", "2024-01-02", "2024-01-08", provider="mock")
    bundle.clean(manager, date(2024, 1, 4))
    assert bundle.state(manager).state == "current"
    before = PolarsParquetMinuteReader(bundle.path).load_minute_bars([1], None, None)
    assert before["timestamp"][0].replace(minute=0) == datetime(2024, 1, 4, hour)
    assert bundle.refresh(manager).written == ()
    after = PolarsParquetMinuteReader(bundle.path).load_minute_bars([1], None, None)
    assert after.equals(before)


def test_a_read_only_bundle_can_be_compared(bundle: Bundle, manager: DataManager) -> None:
    class ReadOnly(Disk):
        def perform(self, step: DiskStep, call: Any) -> Any:
            if step.name not in ("stat", "read", "list", "open", "close", "fstat"):
                raise OSError(errno.EROFS, step.name)
            return super().perform(step, call)

        def lock(self, path: Path, *_: Any, **__: Any) -> Any:
            raise StorageError(f"cannot open {path}: read-only")

    here = Bundle("mine", bundle.path.parent, disk=ReadOnly())
    assert here.state(manager).state == "current"
    flipped = bundle.path / FEBRUARY
    data = bytearray(flipped.read_bytes())
    data[200] ^= 1
    flipped.write_bytes(bytes(data))
    assert [one.place for one in here.validate()] == [FEBRUARY]
    data[200] ^= 1
    flipped.write_bytes(bytes(data))
    (bundle.path / "metadata.parquet").unlink()
    assert here.state(manager).state == "current"
    with pytest.raises(StorageError):
        here.refresh(manager)
    assert not (bundle.path / "metadata.parquet").exists()


def test_a_foreign_metadata_file_has_no_records(bundle: Bundle) -> None:
    pl.DataFrame({"x": [1]}).write_parquet(bundle.path / "metadata.parquet")
    assert bundle.records().origin.symbols.keys() == {"MSFT", "AAPL"}


def test_a_bundle_refuses_half_of_a_surrogate_pair_as_a_symbol(
    manager: DataManager, tmp_path: Path
) -> None:
    one = Bundle("half", tmp_path / "halves")
    with pytest.raises(QueryError, match="surrogate"):
        one.create(manager, ["MSFT", "\ud800X"], "1d", "2024-01-02", "2024-01-09", provider="mock")
    assert not one.exists()
