"""The bundle writer: each row in its own partition, merged; changes are atomic even if it is killed."""

from __future__ import annotations

import io
import sqlite3
import threading
from contextlib import closing
from datetime import date, datetime
from pathlib import Path

import polars as pl
import pytest

from src.data.core.disk.calls import state_at
from src.data.core.disk.files import Disk
from src.data.errors import (
    BundleError,
    DecimalRangeError,
    FormatVersionError,
    LockTimeoutError,
    QueryError,
    StorageError,
)
from src.data.polars.parquet_daily_bars import PolarsParquetDailyReader
from src.data.polars.parquet_writer import ParquetWriter
from src.data.research.bundles import bundle_files
from src.data.research.bundles.bundle_files import BundleFiles
from src.data.research.frames.frames import WIDE_VOLUME
from tests.core.cache.counts import FULL
from tests.core.cache.crash import Platter, Quick, Recorder, states
from tests.core.cache.disks import DyingDisk, FailingDisk, Killed
from tests.research.bundles.bars import days, minutes

JANUARY, MARCH = "year=2023/month=01", "year=2023/month=03"


def everything(bundle: Path) -> pl.DataFrame:
    return PolarsParquetDailyReader(bundle).load_daily_bars(range(100), None, None)


def file_of(bundle: Path, month: str = JANUARY) -> Path:
    return bundle / "daily_bars" / month / "data.parquet"


def written(tmp_path: Path, *frames: pl.DataFrame) -> Path:
    bundle = tmp_path / "b"
    for frame in frames or (days(date(2023, 1, 30), 40),):
        ParquetWriter(bundle, disk=Quick()).write(frame, "daily")
    return bundle


# --- partitions --------------------------------------------------------------------------------


def test_each_row_goes_to_the_partition_of_its_own_stamp(tmp_path: Path) -> None:
    bundle = written(tmp_path)
    for month, count in ((JANUARY, 2), ("year=2023/month=02", 28), (MARCH, 10)):
        frame = pl.read_parquet(file_of(bundle, month))
        assert len(frame) == count
        assert frame["date"].dt.strftime("year=%Y/month=%m").unique().to_list() == [month]


def test_rows_are_merged_with_those_of_the_month(tmp_path: Path) -> None:
    first, later = days(date(2023, 1, 2), 10, [1, 2]), days(date(2023, 1, 8), 10, [2, 3], price=20)
    bundle = written(tmp_path, first, later)
    frame = pl.read_parquet(file_of(bundle))
    assert frame.group_by("sid").len().sort("sid").rows() == [(1, 10), (2, 16), (3, 10)]
    assert frame.filter(sid=2)["open"].to_list() == [10] * 6 + [20] * 10
    assert frame.equals(frame.sort("sid", "date"))


def test_minutes_are_partitioned_by_day(tmp_path: Path) -> None:
    folder = ParquetWriter(tmp_path / "b", disk=Quick()).write(
        minutes(datetime(2023, 1, 2, 23, 58), 4), "minute"
    )
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.parquet"))
    assert files == [f"year=2023/month=01/day={day}/data.parquet" for day in ("02", "03")]


def test_files_are_zstd_and_contain_their_schema_and_source(tmp_path: Path) -> None:
    writer = ParquetWriter(tmp_path / "b", disk=Quick())
    writer.write_daily_bars(days(date(2023, 1, 2), 2), source_metadata={"source_type": "csv:mine"})
    metadata = pl.read_parquet_metadata(file_of(tmp_path / "b"))
    assert metadata["schema_version"] == "1"
    assert '"source_type":"csv:mine"' in metadata["onetape"]
    assert "ZSTD" in zstd_of(file_of(tmp_path / "b"))


def zstd_of(path: Path) -> str:
    parquet = pytest.importorskip("pyarrow.parquet")
    return str(parquet.ParquetFile(path).metadata.row_group(0).column(2).compression)


def test_files_are_compressed_with_level_three(tmp_path: Path) -> None:
    """Parquet does not record the level: the bytes are compared with those of each level."""
    path = file_of(written(tmp_path, days(date(2023, 1, 1), 31, range(200))))
    metadata = pl.read_parquet_metadata(path)
    metadata.pop("ARROW:schema", None)
    frame, sizes = pl.read_parquet(path, hive_partitioning=False), {}
    for level in (1, 3, 9):
        buffer = io.BytesIO()
        frame.write_parquet(buffer, compression="zstd", compression_level=level, metadata=metadata)
        sizes[level] = len(buffer.getvalue())
    assert path.stat().st_size == sizes[3] and len({*sizes.values()}) == 3


def test_further_columns_are_kept_and_break_no_reader(tmp_path: Path) -> None:
    more = days(date(2023, 2, 1), 2).with_columns(open_interest=pl.lit(7))
    bundle = written(tmp_path, days(date(2023, 1, 2), 2), more)
    assert everything(bundle).columns == ["date", "sid", "open", "high", "low", "close", "volume"]
    reader = PolarsParquetDailyReader(bundle)
    found = reader.load_daily_bars([1], None, None, ["close", "open_interest"])
    assert found["open_interest"].to_list() == [None, None, 7, 7]


def test_one_volume_that_does_not_fit_widens_all_files_of_the_bundle(tmp_path: Path) -> None:
    bundle = written(tmp_path, days(date(2023, 1, 2), 2), days(date(2023, 3, 2), 1, volume=3e10))
    assert pl.read_parquet_schema(file_of(bundle))["volume"] == WIDE_VOLUME
    assert everything(bundle)["volume"].to_list() == [100, 100, 30_000_000_000]
    written(tmp_path, days(date(2023, 4, 2), 1))
    assert pl.read_parquet_schema(file_of(bundle, "year=2023/month=04"))["volume"] == WIDE_VOLUME


def test_equal_rows_rewrite_no_partition(tmp_path: Path) -> None:
    bundle = written(tmp_path)
    before = state_at(file_of(bundle))
    written(tmp_path, days(date(2023, 1, 30), 2), days(date(2023, 3, 5), 1, price=9))
    assert state_at(file_of(bundle)) == before


def test_symbols_keep_their_numbers(tmp_path: Path) -> None:
    def of(*symbols: str) -> pl.DataFrame:
        frame = days(date(2023, 1, 2), 1, range(len(symbols)))
        return frame.with_columns(symbol=pl.Series(symbols)).drop("sid")

    bundle = written(tmp_path, of("B", "C"), of("A", "C"))
    assert everything(bundle)["sid"].to_list() == [1, 2, 3]
    with closing(sqlite3.connect(bundle / "metadata.db")) as db:
        assert db.execute("SELECT symbol FROM symbols ORDER BY symbol_id").fetchall() == [
            ("B",), ("C",), ("A",)
        ]  # fmt: skip


# --- bad input ---------------------------------------------------------------------------------

GOOD = days(date(2023, 1, 2), 2)
BAD = {
    "no rows": (GOOD.head(0), QueryError, "no rows"),
    "no close": (GOOD.drop("close"), QueryError, "close"),
    "no date": (GOOD.drop("date"), QueryError, "date"),
    "no sid": (GOOD.drop("sid"), QueryError, "sid"),
    "text in date": (GOOD.cast({"date": pl.String}), QueryError, "does not contain times"),
    "text in sid": (GOOD.cast({"sid": pl.String}), QueryError, "sid has type String"),
    "text in close": (
        GOOD.cast({"close": pl.String}),
        DecimalRangeError,
        "close does not contain numbers",
    ),
    "null in date": (
        GOOD.with_columns(date=pl.lit(None, pl.Date)),
        QueryError,
        "rows without date or sid",
    ),
    "null in sid": (
        GOOD.with_columns(sid=pl.lit(None, pl.Int64)),
        QueryError,
        "rows without date or sid",
    ),
    "doubled": (pl.concat([GOOD, days(date(2023, 1, 3), 1, price=3)]), QueryError, "two different"),
    "too large": (days(date(2023, 1, 2), 1, price=1e11), DecimalRangeError, "1e"),
    "pandas": ("a frame", QueryError, "str"),
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a bundle with 40 days from 2023-01-30, shared by the module's tests."""
    return written(tmp_path_factory.mktemp("bad"))


@pytest.mark.parametrize("name", BAD)
def test_bad_rows_are_refused_and_no_file_changes(bundle: Path, name: str) -> None:
    before = {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()}
    frame, error, text = BAD[name]
    with pytest.raises(error, match=text if text != "1e" else "does not fit"):
        ParquetWriter(bundle, disk=Quick()).write(frame, "daily")
    assert {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()} == before


def test_unsorted_and_repeated_rows_are_accepted(tmp_path: Path) -> None:
    frame = days(date(2023, 1, 2), 5, [2, 1])
    bundle = written(tmp_path, pl.concat([frame.reverse(), frame.head(3)]))
    assert len(everything(bundle)) == 10


def test_aware_and_naive_stamps_are_one_bar(tmp_path: Path) -> None:
    naive = minutes(datetime(2023, 1, 2, 14, 30), 2)
    aware = naive.with_columns(
        pl.col("timestamp").dt.replace_time_zone("UTC").dt.convert_time_zone("America/New_York")
    )
    writer = ParquetWriter(tmp_path / "b", disk=Quick())
    writer.write(naive, "1m")
    writer.write(aware, "1m")
    (path,) = (tmp_path / "b" / "minute_bars").rglob("data.parquet")
    assert pl.read_parquet(path)["timestamp"].to_list() == naive["timestamp"].to_list()


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "Europe/London", "UTC", "America/New_York"])
def test_a_daily_bar_with_a_zone_has_the_date_in_that_zone(tmp_path: Path, zone: str) -> None:
    frame = days(date(2023, 6, 5), 3)
    zoned = frame.with_columns(pl.col("date").cast(pl.Datetime("us")).dt.replace_time_zone(zone))
    bundle = written(tmp_path, zoned)
    assert everything(bundle)["date"].to_list() == frame["date"].to_list()


@pytest.mark.parametrize("resolution", ["5m", "hourly", ""])
def test_one_bundle_has_one_timeframe_of_each_kind(tmp_path: Path, resolution: str) -> None:
    writer = ParquetWriter(tmp_path / "b", disk=Quick())
    writer.write(minutes(datetime(2023, 1, 2), 2), "minute")
    with pytest.raises(QueryError):
        writer.write(minutes(datetime(2023, 1, 3), 2), resolution)
    with pytest.raises(QueryError, match="snappy"):
        writer.write_minute_bars(minutes(datetime(2023, 1, 3), 2), "snappy")


def test_a_bundle_with_a_newer_schema_is_not_changed(tmp_path: Path) -> None:
    bundle = written(tmp_path)
    path = bundle / "metadata.parquet"
    pl.read_parquet(path).write_parquet(path, metadata={"schema_version": "2"})
    with pytest.raises(FormatVersionError, match="schema_version 2"):
        everything(bundle)
    with pytest.raises(FormatVersionError):
        written(tmp_path, days(date(2023, 1, 3), 1))


def test_a_foreign_database_is_not_replaced_and_a_damaged_one_is(tmp_path: Path) -> None:
    bundle = written(tmp_path)
    (bundle / "metadata.db").write_bytes(b"rubbish")
    written(tmp_path, days(date(2023, 1, 2), 1))
    (bundle / "metadata.db").unlink()
    with closing(sqlite3.connect(bundle / "metadata.db")) as db:
        db.execute("CREATE TABLE mine (x)")
    with pytest.raises(BundleError, match="another program"):
        written(tmp_path, days(date(2023, 1, 3), 1))
    assert len(everything(bundle)) == 41


def test_a_reader_of_the_database_does_not_block_a_writer(tmp_path: Path) -> None:
    bundle = written(tmp_path)
    with closing(sqlite3.connect(bundle / "metadata.db", isolation_level=None)) as db:
        db.execute("BEGIN EXCLUSIVE")
        written(tmp_path, days(date(2023, 1, 2), 1))
    with closing(sqlite3.connect(bundle / "metadata.db")) as db:
        (row,) = db.execute("SELECT bar_count FROM date_ranges").fetchall()
    assert row == (41,)


# --- the views ---------------------------------------------------------------------------------


def test_the_digest_of_every_file_is_recorded(tmp_path: Path) -> None:
    import hashlib

    bundle = written(tmp_path)
    recorded = dict(
        pl.read_parquet(bundle / "metadata.parquet").select("file_path", "sha256").rows()
    )
    found = {
        path.relative_to(bundle).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (bundle / "daily_bars").rglob("data.parquet")
    }
    assert recorded == found and len(found) == 3


def test_deleted_metadata_views_of_a_bundle_are_written_again(tmp_path: Path) -> None:
    bundle = written(tmp_path)
    before = pl.read_parquet(bundle / "metadata.parquet")
    (bundle / "metadata.parquet").unlink()
    (bundle / "metadata.db").unlink()
    written(tmp_path, days(date(2023, 1, 30), 1))
    assert pl.read_parquet(bundle / "metadata.parquet").equals(before)
    assert (bundle / "metadata.db").is_file()


# --- faults ------------------------------------------------------------------------------------

OLD = days(date(2023, 1, 30), 4)
NEW = days(date(2023, 1, 31), 40, price=20)


def _change(disk: Disk, bundle: Path) -> None:
    ParquetWriter(bundle, disk=disk).write(NEW, "daily")


def _opens(frame: pl.DataFrame) -> list[int]:
    return [int(value) for value in frame.sort("date")["open"]]


# Beyond the last step nothing fails.
STEPS = range(1, 200) if FULL else range(1, 200, 5)
NEW_ROWS = [10] + [20] * 40
# Each file is in its old or its new state.
STATES = {1: ([10, 10], [10, 20]), 2: ([10, 10], [20] * 28), 3: ([], [20] * 11)}


def _months(bundle: Path) -> tuple[bool, ...]:
    """Return whether each month has its new rows; it has its old ones otherwise."""
    frame = everything(bundle)
    months = [frame.filter(pl.col("date").dt.month() == month) for month in STATES]
    return tuple(
        pair.index(_opens(rows)) > 0 for rows, pair in zip(months, STATES.values(), strict=True)
    )


def test_a_write_killed_at_any_step_leaves_each_file_old_or_new(tmp_path: Path) -> None:
    seen = set()
    for step in STEPS:
        bundle = tmp_path / str(step) / "b"
        ParquetWriter(bundle, disk=Quick()).write(OLD, "daily")
        try:
            _change(DyingDisk(step), bundle)
        except Killed:
            pass
        else:
            break
        seen.add(_months(bundle))
        assert BundleFiles(bundle).records().checksum(), "the records are made again"
        _change(Quick(), bundle)
        assert _opens(everything(bundle)) == NEW_ROWS
        assert list(bundle.rglob("*.tmp")) + list(bundle.rglob("*.new")) == []
    assert seen >= {(False,) * 3, (True,) * 3} and step > 15


def test_the_next_write_removes_what_killed_writers_left_in_other_months(tmp_path: Path) -> None:
    for step in STEPS:
        bundle = tmp_path / str(step) / "b"
        ParquetWriter(bundle, disk=Quick()).write(OLD, "daily")
        users = [bundle / ".notes.tmp", bundle / "daily_bars" / ".keep.1.tmp"]
        for path in users:
            path.write_bytes(b"a user's")
        try:
            _change(DyingDisk(step), bundle)
        except Killed:
            pass
        else:
            break
        ParquetWriter(bundle).write(OLD[:1], "daily")  # January alone
        assert sorted(bundle.rglob("*.tmp")) == sorted(users), step
    assert step > 15
    # Nothing outside the bundle, whatever its name is.
    outside = tmp_path / "outside"
    outside.mkdir()
    named = outside / ".data.parquet.1.2.3.tmp"
    named.write_bytes(b"a user's")
    (bundle / "daily_bars" / "year=1999").symlink_to(outside)
    ParquetWriter(bundle).write(OLD[:1], "daily")
    assert named.is_file()


def test_a_power_loss_leaves_each_file_old_or_new(tmp_path: Path) -> None:
    bundle = tmp_path / "root" / "b"
    ParquetWriter(bundle).write(OLD, "daily")
    before, recorder = Platter(tmp_path / "root"), Recorder()
    _change(recorder, bundle)
    found = states(before, recorder.disk_calls(), 60 if FULL else 2)
    assert len(found) > 20
    target = tmp_path / "after"
    for state in found if FULL else found[:: len(found) // 5 or 1]:
        state.tree.put(target)
        assert _months(target / "b"), state.step


def test_a_full_disk_leaves_the_bundle_and_no_remains(tmp_path: Path) -> None:
    for step in STEPS:
        bundle = tmp_path / str(step) / "b"
        ParquetWriter(bundle, disk=Quick()).write(OLD, "daily")
        try:
            _change(FailingDisk(step), bundle)
        except StorageError:
            pass
        else:
            break
        assert _months(bundle), step
        _change(Quick(), bundle)
        assert _opens(everything(bundle)) == NEW_ROWS
        assert list(bundle.rglob("*.tmp")) + list(bundle.rglob("*.new")) == []
    assert step > 15


def test_concurrent_writers_lose_no_row(tmp_path: Path) -> None:
    bundle, january = tmp_path / "b", (3, 4) if FULL else (3,)

    def write(sid: int) -> None:
        for day in january:
            ParquetWriter(bundle, disk=Quick()).write(days(date(2023, 1, day), 1, [sid]), "1d")

    threads = [threading.Thread(target=write, args=(sid,)) for sid in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(everything(bundle)) == 6 * len(january)


def test_a_write_raises_an_error_if_another_writer_holds_the_lock_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    bundle = written(tmp_path)
    monkeypatch.setattr(bundle_files, "LOCK_TIMEOUT_S", 0.05)
    with BundleFiles(bundle).locked(), pytest.raises(LockTimeoutError):
        written(tmp_path, days(date(2023, 1, 2), 1))


def test_a_link_out_of_the_bundle_is_not_followed(tmp_path: Path) -> None:
    bundle = written(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (bundle / "daily_bars" / "year=2024").symlink_to(elsewhere)
    with pytest.raises(StorageError):
        ParquetWriter(bundle).write(days(date(2024, 1, 2), 1), "1d")
    assert list(elsewhere.iterdir()) == []


def test_a_batch_is_one_change_and_its_later_frame_wins(tmp_path: Path) -> None:
    writer = ParquetWriter(tmp_path / "b", disk=Quick(), enable_metadata_catalog=False)
    writer.write_batch([days(date(2023, 1, 2), 3), days(date(2023, 1, 4), 3, price=20)], "1d")
    assert _opens(everything(tmp_path / "b")) == [10, 10, 20, 20, 20]
    assert not (tmp_path / "b" / "metadata.db").exists()
    with pytest.raises(QueryError):
        writer.write_batch([days(date(2023, 2, 2), 3), days(date(2023, 2, 2), 3).drop("low")])
    stats = writer.get_compression_stats()
    assert (stats["file_count"], stats["row_count"]) == (1, 5)
    assert stats["compression_ratio"] == stats["size_bytes"] / stats["uncompressed_bytes"]


def test_the_order_of_symbols_and_rows_does_not_count(tmp_path: Path) -> None:
    frame = days(date(2023, 1, 2), 40, [1, 2, 3])
    written(tmp_path / "1", frame)
    written(tmp_path / "2", frame.sample(fraction=1.0, shuffle=True, seed=5))
    first, second = (everything(tmp_path / n / "b") for n in ("1", "2"))
    assert first.equals(second)
    assert not first.select("sid", "date").is_duplicated().any()


@pytest.mark.parametrize("facts", [{"source_type": "X\ud800"}, {"note\udfff": "x"}])
def test_half_of_a_surrogate_pair_is_refused_as_a_fact_about_a_source(
    tmp_path: Path, facts: dict[str, str]
) -> None:
    frame = days(date(2024, 1, 2), 2).drop("sid").with_columns(symbol=pl.lit("A"))
    with pytest.raises(QueryError, match="unpaired surrogate"):
        ParquetWriter(tmp_path / "mine").write(frame, "1d", facts)
    assert not (tmp_path / "mine").exists()
