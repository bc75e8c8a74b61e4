"""Migration of HDF5 files to bundles: verification, kills at any point, revert within seven days."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from src.data import DataManager
from src.data.bundles.catalog import DataCatalog
from src.data.core.clock import ManualClock
from src.data.core.model.time.instant import DAY_MS
from src.data.errors import (
    BundleError,
    BundleNotFoundError,
    DecimalRangeError,
    QueryError,
    StorageError,
)
from src.data.polars.parquet_daily_bars import PolarsParquetDailyReader
from src.data.polars.parquet_writer import ParquetWriter
from src.data.research.bundles.bundle import Bundle, bundle_names
from src.data.research.catalog.migration import DAYS_TO_REVERT, HDF5ToParquetMigrator
from src.data.research.frames.frames import DecimalFrame, decimal_frame
from tests.core.cache.counts import some
from tests.core.cache.crash import Quick
from tests.research.bundles.deaths import RANGE, SYMBOLS, Killer
from tests.research.bundles.hdf5_samples import FIELDS, WHY, bars, long, write, zipline
from tests.research.bundles.test_full_disk import Full

h5py = pytest.importorskip("h5py", reason=WHY)
pytest.importorskip("tables", reason=WHY)
on_posix = pytest.mark.skipif(os.name == "nt", reason="no fork, no SIGKILL there")
NOW = 1_760_000_000_000


@pytest.fixture
def source(bundles: Path) -> Path:
    """Return a folder with two HDF5 files of pandas."""
    write(bundles / "hdf5" / "a.h5", {"AAPL": bars(30), "MSFT": bars(30, 20.0)}, format="table")
    write(bundles / "hdf5" / "b.hdf5", {"prices": bars(30, 30.0).rename(columns=str.upper)})
    return bundles / "hdf5"


@pytest.fixture
def clock() -> ManualClock:
    """Return a clock at 2025-10-09 08:53:20 UTC."""
    return ManualClock(NOW)


@pytest.fixture
def migrator(source: Path, bundles: Path, clock: ManualClock) -> HDF5ToParquetMigrator:
    """Return a migrator from ``source`` to the bundle ``mine``; nothing is migrated yet."""
    return HDF5ToParquetMigrator(
        source, bundles / "mine", folder=bundles, disk=Quick(), clock=clock
    )


def content(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Return the bytes and times of all files in a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def rows(bundle: Bundle) -> pl.DataFrame:
    return PolarsParquetDailyReader(bundle.path).load_daily_bars(range(1, 99), None, None)


def of(folder: Path, frames: dict[str, pd.DataFrame], **options: Any) -> HDF5ToParquetMigrator:
    """Return a migrator of one file with these frames."""
    write(folder / "source" / "x.h5", frames, **options)
    return HDF5ToParquetMigrator(folder / "source", folder / "mine", folder=folder, disk=Quick())


def test_the_documented_call_writes_decimals_and_keeps_the_files(
    source: Path, bundles: Path
) -> None:
    before = content(source)
    migrator = HDF5ToParquetMigrator(
        source_bundle_dir=str(source), output_bundle_dir=str(bundles / "quandl_parquet")
    )
    result = migrator.migrate(
        validate=True, keep_hdf5=True, compression="zstd", compression_level=3
    )
    size = sum(len(data) for data, _ in before.values())
    stored = sum(path.stat().st_size for path in migrator.bundle.path.rglob("data.parquet"))
    assert result["row_count"] == 90 and result["symbols"] == 3
    assert result["hdf5_size_mb"] == size / 1e6 and result["parquet_size_mb"] == stored / 1e6
    assert f"{result['compression_ratio']:.2%}" == f"{stored / size:.2%}"
    assert content(source) == before
    found = rows(migrator.bundle)
    assert migrator.bundle.records().names() == {1: "AAPL", 2: "MSFT", 3: "b"}
    assert found.schema["close"] == pl.Decimal(18, 8)
    assert found.filter(pl.col("sid") == 2)["close"].to_list() == [
        Decimal(str(value)) for value in bars(30, 20.0)["close"]
    ]
    places = {path.parent.parent.name for path in migrator.bundle.path.rglob("data.parquet")}
    assert places == {"year=2024"} and len(migrator.bundle.records().files) == 2


def test_a_new_bundle_is_in_the_catalog_with_its_checksums(
    migrator: HDF5ToParquetMigrator, bundles: Path
) -> None:
    migrator.migrate()
    catalog = DataCatalog(folder=bundles)
    found = catalog.find_dataset(["AAPL", "b"], "2024-01-02", "2024-02-01", "1d")
    assert found is not None
    info = catalog.get_dataset_info(found)
    assert info is not None and info["source"] == "hdf5"
    with closing(sqlite3.connect(migrator.bundle.path / "metadata.db")) as db:
        sums = dict(db.execute("SELECT file_path, checksum FROM checksums").fetchall())
    assert sums == {place: one.sha256 for place, one in migrator.bundle.records().files.items()}
    migrator.revert()
    assert catalog.find_dataset(["AAPL"], "2024-01-02", "2024-02-01", "1d") is None


def test_a_bundle_elsewhere_is_found_by_its_name(
    source: Path, bundles: Path, tmp_path: Path
) -> None:
    elsewhere = HDF5ToParquetMigrator(source, tmp_path / "other" / "far", folder=bundles)
    elsewhere.migrate()
    assert Bundle("far", bundles).path == tmp_path / "other" / "far"
    catalog = DataCatalog(folder=bundles)
    assert catalog.find_dataset(["AAPL"], "2024-01-02", "2024-02-01", "1d") is not None
    before = (bundles / "metadata.db").read_bytes()
    elsewhere.migrate()
    assert (bundles / "metadata.db").read_bytes() == before, "once"
    elsewhere.revert()
    assert not Bundle("far", bundles).exists() and "far" not in bundle_names(bundles)


def test_bars_that_cannot_be_right_are_kept_counted_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    frame = bars().astype({"volume": float})
    frame.iloc[0, 1] = 1.0  # high
    frame.iloc[1, 3] = np.nan  # close
    frame.iloc[2, 4] = -1.0  # volume
    frame.iloc[3, 0] = 0.123456789  # open
    with caplog.at_level(logging.WARNING):
        result = of(tmp_path, {"A": frame}).migrate()
    assert (result["anomalies"], result["rounded"]) == (4, 1)
    assert "mine: 4 bars cannot be right" in caplog.text
    found = rows(Bundle("mine", tmp_path))
    assert found["close"].to_list()[1] is None and len(found) == 5
    assert found["open"][3] == Decimal("0.12345679")


def test_rows_may_be_in_any_order_and_equal_ones_are_stored_once(tmp_path: Path) -> None:
    frame = long("AAPL", "aapl").sample(frac=1, random_state=3)
    migrator = of(tmp_path, {"df": pd.concat([frame, frame.iloc[:3]])}, format="table")
    result = migrator.migrate()
    assert (result["row_count"], result["symbols"]) == (10, 2)
    assert migrator.bundle.records().names() == {1: "AAPL", 2: "aapl"}
    found = rows(migrator.bundle)
    assert found.filter(pl.col("sid") == 2)["low"].to_list() == [
        Decimal(str(value)) for value in bars(first=20.0)["low"]
    ]


def test_two_bars_for_one_time_are_an_error_and_no_bundle_is_written(tmp_path: Path) -> None:
    frame = bars()
    migrator = of(tmp_path, {"A": pd.concat([frame, frame.iloc[2:3] + 1])})
    with pytest.raises(QueryError, match="two different rows for symbol A at 2024-01-04"):
        migrator.migrate()
    assert not (tmp_path / "mine").exists()


def test_the_sids_of_zipline_are_kept(tmp_path: Path) -> None:
    prices = np.arange(1000, 1012).reshape(2, 6) * [[1], [0]] + [[0], [7]]
    zipline(tmp_path / "source" / "daily.h5", prices, [24, 8554])
    migrator = HDF5ToParquetMigrator(tmp_path / "source", tmp_path / "mine", folder=tmp_path)
    assert migrator.migrate()["row_count"] == 12
    found = PolarsParquetDailyReader(migrator.bundle.path).load_daily_bars([24, 8554], None, None)
    assert found.filter(pl.col("sid") == 24)["close"][1] == Decimal("1.001")
    assert set(found["sid"]) == {24, 8554}


@pytest.mark.parametrize("freq, timeframe", [
    ("min", "1m"), ("5min", "5m"), ("h", "1h"), ("D", "1d"), ("W", "1w"), ("MS", "1M"),
])  # fmt: skip
def test_the_timeframe_is_inferred_from_the_distances_of_timestamps(
    tmp_path: Path, freq: str, timeframe: str
) -> None:
    frame = bars(8, freq=freq)
    if freq == "h":
        frame.index = frame.index + pd.Timedelta(minutes=30)
    migrator = of(tmp_path, {"A": frame})
    assert migrator.migrate()["timeframe"] == migrator.check()["timeframe"]
    assert set(migrator.bundle.records().origin.resolutions.values()) == {timeframe}


@pytest.mark.parametrize("frames, said", [
    ({"A": bars(), "B": bars(freq="min")}, "5 rows without date or symbol"),
    (
        {"A/daily": bars(), "old/A": bars(9, 20.0, "W")},
        "both /A/daily and /old/A would become the symbol A",
    ),
    ({"A": bars(freq="s")}, "neither whole minutes"),
    ({"A": bars().set_axis(bars().index + pd.Timedelta(hours=21))}, "neither whole minutes"),
    ({"A": bars(0)}, "no bars were found in the HDF5 files"),
    ({"A": bars()[["close"]]}, "no bars were found in the HDF5 files .*no column for open, high, low"),
])  # fmt: skip
def test_unsuitable_hdf5_files_are_refused_and_no_bundle_is_written(
    tmp_path: Path, frames: dict[str, pd.DataFrame], said: str
) -> None:
    migrator = of(tmp_path, frames)
    for call in (migrator.check, migrator.migrate):
        with pytest.raises((BundleError, QueryError), match=said):
            call()
    assert not (tmp_path / "mine").exists()


def test_the_check_refuses_a_price_that_does_not_fit(tmp_path: Path) -> None:
    migrator = of(tmp_path, {"A": bars(first=2e10)})
    for call in (migrator.check, migrator.migrate):
        with pytest.raises(DecimalRangeError):
            call()
    assert not (tmp_path / "mine").exists()


def test_invalid_arguments_of_a_migration_are_refused(
    migrator: HDF5ToParquetMigrator, source: Path, bundles: Path
) -> None:
    with pytest.raises(QueryError, match="unsupported compression 'snappy'"):
        migrator.migrate(compression="snappy")
    with pytest.raises(QueryError, match="level 9"):
        migrator.migrate(compression_level=9)
    with pytest.raises(BundleError, match=r"no HDF5 files were found in .*bundles"):
        HDF5ToParquetMigrator(bundles, bundles.parent / "x" / "mine").migrate()
    assert bundle_names(bundles) == []


def test_a_folder_with_other_files_does_not_become_a_bundle(
    migrator: HDF5ToParquetMigrator, source: Path, bundles: Path
) -> None:
    with pytest.raises(BundleError, match="is not empty, and is not a bundle"):
        HDF5ToParquetMigrator(source, source, folder=bundles).migrate()
    (bundles / "mine").mkdir()
    (bundles / "mine" / "thesis.txt").write_text("a year of work")
    with pytest.raises(BundleError, match="is not empty, and is not a bundle"):
        migrator.migrate()


def test_files_are_deleted_only_if_wanted_and_after_the_comparison(
    migrator: HDF5ToParquetMigrator, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fewer(rows: pl.DataFrame, **options: Any) -> DecimalFrame:
        return DecimalFrame(decimal_frame(rows, **options).frame.head(3), 0)

    before = content(source)
    with monkeypatch.context() as patch:
        patch.setattr("src.data.research.bundles.bundle_writer.decimal_frame", fewer)
        with pytest.raises(BundleError, match="differs from"):
            migrator.migrate(validate=False, keep_hdf5=False)
    assert content(source) == before and not migrator.bundle.exists(), "the bundle was wrong"
    migrator.migrate(keep_hdf5=False)
    assert content(source) == {} and len(rows(migrator.bundle)) == 90


def test_files_with_anything_else_and_files_added_later_are_not_deleted(
    migrator: HDF5ToParquetMigrator, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compare = migrator._compare

    def late(*args: Any) -> None:
        """Compare, and have another program add a file."""
        compare(*args)
        shutil.copy(source / "b.hdf5", source / "late.h5")

    with h5py.File(source / "a.h5", "a") as file:
        file["notes"] = [1, 2]
    with pytest.raises(BundleError, match=r"not deleted: a.h5:/notes is not in a layout"):
        migrator.migrate(keep_hdf5=False)
    assert sorted(content(source)) == ["a.h5", "b.hdf5"] and len(rows(migrator.bundle)) == 90
    migrator.bundle.remove()
    with h5py.File(source / "a.h5", "a") as file:
        del file["notes"]
    monkeypatch.setattr(migrator, "_compare", late)
    migrator.migrate(keep_hdf5=False)
    assert sorted(content(source)) == ["late.h5"]


@pytest.mark.parametrize("what", ["bytes", "time", "inode"])
def test_a_file_that_was_changed_after_its_comparison_is_not_deleted(
    migrator: HDF5ToParquetMigrator, source: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """What differs is the size, the time alone, or the inode alone."""
    compare, path = migrator._compare, source / "a.h5"

    def late(*args: Any) -> None:
        """Compare, and have another program write the file."""
        compare(*args)
        facts = path.stat()
        if what == "inode":
            shutil.copy(path, source / "new")
            (source / "new").replace(path)
        else:
            path.write_bytes(path.read_bytes() + b"\0" * (what == "bytes"))
        later = facts.st_mtime_ns + (what == "time")
        os.utime(path, ns=(facts.st_atime_ns, later))

    monkeypatch.setattr(migrator, "_compare", late)
    with pytest.raises(
        BundleError, match=r"a\.h5 was not deleted: it was changed after the compar"
    ):
        migrator.migrate(keep_hdf5=False)
    assert sorted(content(source)) == ["a.h5", "b.hdf5"] and migrator.bundle.exists()


@on_posix
def test_places_that_cannot_be_read_or_written_are_errors_of_this_library(
    migrator: HDF5ToParquetMigrator, source: Path, bundles: Path
) -> None:
    """Links that lead to themselves, names that no file can have, and a file as the bundle."""
    (bundles / "loop").symlink_to("loop")
    for place in (bundles / "loop", bundles / ("a" * 300), Path("a\0")):
        with pytest.raises(BundleError, match="cannot be read"):
            HDF5ToParquetMigrator(place, bundles / "other", folder=bundles).migrate()
    (bundles / "file").write_text("notes")
    with pytest.raises(StorageError, match="file"):
        HDF5ToParquetMigrator(source, bundles / "file", folder=bundles).migrate()
    (source / "loop.h5").symlink_to("loop.h5")
    with pytest.raises(StorageError, match=r"loop\.h5"):
        migrator.migrate()


# --- the comparison ----------------------------------------------------------------------------


def _changed(
    migrator: HDF5ToParquetMigrator, change: Callable[[pl.DataFrame], pl.DataFrame]
) -> None:
    """Have a program write other rows over those of a bundle."""
    frame = rows(migrator.bundle).select("date", "sid", *FIELDS)
    ParquetWriter(migrator.bundle.path).write(change(frame.head(1)), "1d")


def test_a_bundle_with_another_number_of_bars_differs(migrator: HDF5ToParquetMigrator) -> None:
    migrator.migrate()
    _changed(migrator, lambda row: row.with_columns(pl.col("date").dt.offset_by("-1y")))
    for call in (migrator.check, migrator.migrate, migrator.revert):
        with pytest.raises(BundleError, match="it has 91 bars, not 90"):
            call()
    assert len(rows(migrator.bundle)) == 91, "files of another program are never removed"


def test_a_bundle_with_another_value_has_another_digest(migrator: HDF5ToParquetMigrator) -> None:
    migrator.migrate()
    _changed(migrator, lambda row: row.with_columns(pl.col("volume") + Decimal("0.00000001")))
    with pytest.raises(BundleError, match="its values have a different SHA256"):
        migrator.check()


def test_samples_find_wrong_decimals_that_have_the_same_digest_on_both_sides(
    migrator: HDF5ToParquetMigrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decimals that are wrong for every price have the same digest wherever they are made."""

    def wrong(rows: pl.DataFrame, **options: Any) -> DecimalFrame:
        frame = decimal_frame(rows, **options).frame
        if rows["close"].dtype.is_float():
            more = pl.col("close") + Decimal("0.00000100")
            frame = frame.with_columns(more.cast(pl.Decimal(18, 8)))
        return DecimalFrame(frame, 0)

    for module in ("research.bundles.bundle_writer", "research.catalog.migration"):
        monkeypatch.setattr(f"src.data.{module}.decimal_frame", wrong)
    with pytest.raises(BundleError, match=r"it has \(.*\), not \(.*\)"):
        migrator.migrate()
    assert not migrator.bundle.exists()
    migrator.migrate(validate=False)
    assert migrator.bundle.exists(), "nothing was compared"


def test_a_damaged_file_of_the_bundle_is_found(migrator: HDF5ToParquetMigrator) -> None:
    migrator.migrate()
    path = next(migrator.bundle.path.rglob("data.parquet"))
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(BundleError, match=r"data\.parquet is damaged"):
        migrator.check()


def test_the_same_files_are_compared_again_and_others_are_refused(
    migrator: HDF5ToParquetMigrator, source: Path
) -> None:
    assert migrator.check()["state"] == "new" and not migrator.bundle.exists()
    migrator.migrate()
    before = migrator.bundle.records()
    assert migrator.migrate()["row_count"] == 90
    assert migrator.check()["state"] == "migrated"
    assert migrator.bundle.records().origin == before.origin, "nothing was written again"
    write(source / "c.h5", {"NVDA": bars()})
    for call in (migrator.migrate, migrator.check, migrator.revert):
        with pytest.raises(BundleError, match="it has 90 bars, not 95"):
            call()
    with pytest.raises(BundleError, match="it has 90 bars, not 95"):
        migrator.migrate(validate=False)
    assert migrator.bundle.exists()


def test_a_bundle_of_another_origin_is_not_changed(
    migrator: HDF5ToParquetMigrator, bundles: Path
) -> None:
    row = {"date": [pd.Timestamp("2024-01-02").date()], "symbol": ["X"]}
    frame = pl.DataFrame(row).with_columns(pl.lit(1.0).alias(name) for name in FIELDS)
    ParquetWriter(bundles / "mine").write(frame, "1d")
    for call in (migrator.migrate, migrator.check):
        with pytest.raises(BundleError, match="it has 1 bars, not 90"):
            call()
    with pytest.raises(BundleError, match="was not migrated from HDF5 files"):
        migrator.revert()
    assert len(rows(migrator.bundle)) == 1


# --- going back --------------------------------------------------------------------------------


def test_a_migration_is_reverted_within_seven_days(
    migrator: HDF5ToParquetMigrator, source: Path, clock: ManualClock
) -> None:
    before = content(source)
    migrator.migrate()
    clock.set(NOW + DAYS_TO_REVERT * DAY_MS)
    migrator.revert()
    assert not migrator.bundle.path.exists() and content(source) == before
    with pytest.raises(BundleNotFoundError):
        migrator.revert()
    assert migrator.migrate()["row_count"] == 90


def test_a_migration_is_not_reverted_later(
    migrator: HDF5ToParquetMigrator, clock: ManualClock
) -> None:
    migrator.migrate()
    clock.set(NOW + DAYS_TO_REVERT * DAY_MS + 1)
    with pytest.raises(BundleError, match=r"of 2025-10-09 was not migrated .* last 7 days"):
        migrator.revert()
    assert len(rows(migrator.bundle)) == 90


def test_a_migration_is_not_reverted_without_the_files(
    migrator: HDF5ToParquetMigrator, source: Path
) -> None:
    migrator.migrate()
    (source / "a.h5").rename(source / "a.h5.gone")
    with pytest.raises(BundleError, match="it has 90 bars, not 30"):
        migrator.revert()
    shutil.rmtree(source)
    with pytest.raises(BundleError, match="cannot be read"):
        migrator.revert()
    assert len(rows(migrator.bundle)) == 90


def test_a_bundle_with_the_files_in_its_folder_is_not_reverted(
    migrator: HDF5ToParquetMigrator, source: Path
) -> None:
    migrator.migrate()
    inside = source.rename(migrator.bundle.path / "hdf5")
    again = HDF5ToParquetMigrator(inside, migrator.bundle.path, clock=ManualClock(NOW))
    with pytest.raises(BundleError, match="its folder contains them"):
        again.revert()
    assert len(content(inside)) == 2


# --- faults ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a cache with MSFT, AAPL and IBM 1d from 2024-01-02 to 2024-02-09."""
    path = tmp_path_factory.mktemp("stored") / "cache"
    DataManager(path).get_ohlcv_batch(SYMBOLS, *RANGE, provider="mock")
    return path


@pytest.fixture(scope="module")
def killer() -> Iterator[Killer]:
    """Yield what kills changes in the middle."""
    with Killer() as killer:
        yield killer


@on_posix
@pytest.mark.parametrize("change", ["migrate", "revert"])
def test_a_killed_migration_leaves_both_formats_readable_and_the_next_one_completes(
    killer: Killer, cache: Path, migrator: HDF5ToParquetMigrator, source: Path, bundles: Path,
    tmp_path: Path, change: str,
) -> None:  # fmt: skip
    files = content(source)
    whole = HDF5ToParquetMigrator(source, tmp_path / "whole" / "mine", folder=tmp_path / "whole")
    whole.migrate()
    after, found = rows(whole.bundle), []
    if change == "revert":
        HDF5ToParquetMigrator(source, bundles / "mine", folder=bundles).migrate()
    for folder in killer.deaths(change, cache, bundles, tmp_path / "dead"):
        assert {name: data for name, (data, _) in content(folder / "hdf5").items()} == {
            name: data for name, (data, _) in files.items()
        }
        again = HDF5ToParquetMigrator(folder / "hdf5", folder / "mine", folder=folder, disk=Quick())
        found.append(again.bundle.exists())
        if found[-1]:
            assert rows(again.bundle).equals(after) and again.bundle.validate() == ()
        else:
            assert bundle_names(folder) == []
        assert again.migrate()["row_count"] == 90
        assert rows(again.bundle).equals(after)
        again.revert()
        assert not again.bundle.exists() and len(content(folder / "hdf5")) == 2
    assert {*found} == {True, False}
    assert found == sorted(found, reverse=change == "revert")


def test_a_migration_on_a_full_disk_leaves_no_bundle_and_the_next_succeeds(
    source: Path, bundles: Path, tmp_path: Path
) -> None:
    files = content(source)
    counting = Full(10**6)
    HDF5ToParquetMigrator(source, bundles / "whole", folder=bundles, disk=counting).migrate()
    calls, ends = 10**6 - counting.left, []
    for step in some(range(1, calls + 1), 7):
        folder = tmp_path / str(step)
        disk = Full(step)
        failed = ""
        try:
            HDF5ToParquetMigrator(source, folder / "mine", folder=folder, disk=disk).migrate()
        except StorageError as error:
            failed = str(error)
        ends.append(failed)
        assert not failed or "free some space" in failed
        assert content(source) == files
        again = HDF5ToParquetMigrator(source, folder / "mine", folder=folder, disk=Quick())
        assert again.migrate()["row_count"] == 90 and again.check()["state"] == "migrated"
    assert ends and all(ends)
