"""The two kinds of bundles: a view is made again from the store, an only copy is set aside and named."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from src.data import DataManager
from src.data.bundles import DataCatalog, scan
from src.data.core.disk.files import DiskStep
from src.data.errors import BundleError, QueryError, StorageError
from src.data.research.bundles import bundle as module
from src.data.research.bundles.bundle import Bundle, bundle_names
from src.data.research.bundles.bundle_reader import PolarsParquetDailyReader
from src.data.research.bundles.bundle_writer import ParquetWriter
from tests.core.cache.crash import Quick
from tests.programs import PYTHONPATH, ROOT
from tests.research.bundles.bars import days

RANGE = ("1d", "2024-01-02", "2024-03-08")
FEBRUARY = "daily_bars/year=2024/month=02/data.parquet"
EARLIER = Path(__file__).with_name("earlier_bundles")


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def delete(path: Path) -> None:
    path.unlink()


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataManager:
    """Return the manager that readers use, with two stored series."""
    manager = DataManager(tmp_path / "cache")
    manager.get_ohlcv_batch(["MSFT", "AAPL"], *RANGE, provider="mock")
    monkeypatch.setattr(module, "get_data_manager", lambda: manager)
    return manager


@pytest.fixture
def view(manager: DataManager, tmp_path: Path) -> Bundle:
    """Return a bundle made from the store."""
    bundle = Bundle("view", tmp_path / "bundles", disk=Quick())
    bundle.create(manager, ["MSFT", "AAPL"], *RANGE, provider="mock")
    return bundle


@pytest.fixture
def own(tmp_path: Path) -> Bundle:
    """Return a bundle of a program's own rows, in three months."""
    bundle = Bundle("own", tmp_path / "bundles", disk=Quick())
    ParquetWriter(bundle.path, disk=Quick()).write(days(date(2024, 1, 30), 40), "daily")
    return bundle


def read(bundle: Bundle, *bounds: Any) -> pl.DataFrame:
    return scan(bundle.name, None, *bounds, folder=bundle.path.parent).collect()


def test_a_damaged_view_is_made_again_when_it_is_read(view: Bundle, manager: DataManager) -> None:
    before = read(view)
    damage(view.path / FEBRUARY)
    with pytest.warns(
        UserWarning, match=f"view was made again from the store: {FEBRUARY} is damaged"
    ):
        assert read(view).equals(before)
    assert view.state(manager).state == "current"
    damage(view.path / FEBRUARY)
    with pytest.warns(UserWarning, match="made again"):
        rows = PolarsParquetDailyReader(view.path).load_daily_bars([1], "2024-02-01", "2024-02-29")
    assert len(rows) == 20


def test_deleted_files_of_a_view_are_made_again_when_they_are_read(
    view: Bundle, manager: DataManager
) -> None:
    before = read(view)
    delete(view.path / FEBRUARY)
    with pytest.warns(UserWarning, match=f"{FEBRUARY} is missing"):
        assert read(view).equals(before)
    shutil.rmtree(view.path / "daily_bars")
    with pytest.warns(UserWarning, match="made again"):
        assert read(view).equals(before)
    (view.path / "metadata.parquet").unlink()
    damage(view.path / FEBRUARY)
    with pytest.warns(UserWarning, match="is damaged"):
        assert read(view).equals(before)
    shutil.rmtree(view.path.parent)
    assert bundle_names(view.path.parent) == []
    view.create(manager, ["MSFT", "AAPL"], *RANGE, provider="mock")
    assert read(view).equals(before) and view.state(manager).state == "current"


def test_a_view_that_the_store_cannot_make_again_is_named_and_left(
    view: Bundle, manager: DataManager
) -> None:
    damage(view.path / FEBRUARY)
    manager.clear_cache("AAPL")
    before = {path: path.read_bytes() for path in view.path.rglob("*.parquet")}
    with pytest.raises(BundleError, match=f"view/{FEBRUARY} is damaged.* cannot be made again"):
        PolarsParquetDailyReader(view.path).load_daily_bars([1], None, None)
    assert {path: path.read_bytes() for path in view.path.rglob("*.parquet")} == before
    rows = PolarsParquetDailyReader(view.path).load_daily_bars([1], "2024-03-01", None)
    assert len(rows) == 6, "other months are read"


def test_a_damaged_file_of_an_only_copy_is_set_aside_and_named(
    own: Bundle, manager: DataManager
) -> None:
    path = own.path / FEBRUARY
    whole = path.read_bytes()
    damage(path)
    remains = path.read_bytes()
    with pytest.raises(BundleError, match=f"own/{FEBRUARY} is damaged.* the only copy") as caught:
        read(own)
    (aside,) = path.parent.glob("data.parquet.damaged-*")
    assert aside.name in str(caught.value) and aside.read_bytes() == remains
    with pytest.raises(BundleError, match=f"own/{FEBRUARY} is missing") as caught:
        read(own)
    assert aside.name in str(caught.value), "it is named as long as its bars are missing"
    assert len(read(own, "2024-03-01")) == 9, "other months are read"
    assert own.refresh(manager).written == ()
    assert own.state(manager).state == "corrupt" and not path.exists(), "it is never rebuilt over"
    path.write_bytes(whole)
    assert len(read(own)) == 40


def test_a_write_to_a_damaged_month_of_an_only_copy_is_refused_once(own: Bundle) -> None:
    """The next one begins the month anew; the damaged file stays beside it."""
    path, writer = own.path / FEBRUARY, ParquetWriter(own.path, disk=Quick())
    damage(path)
    with pytest.raises(BundleError, match=f"own/{FEBRUARY} is damaged.* the only copy"):
        writer.write(days(date(2024, 2, 28), 2, price=9), "daily")
    assert [one.place for one in own.validate()] == [FEBRUARY]
    writer.write(days(date(2024, 2, 28), 2, price=9), "daily")
    assert len(read(own)) == 2 + 2 + 9 and own.validate() == ()
    assert len([*path.parent.glob("data.parquet.damaged-*")]) == 1


def test_a_deleted_file_of_an_only_copy_is_named(own: Bundle, manager: DataManager) -> None:
    delete(own.path / FEBRUARY)
    for _ in range(2):
        with pytest.raises(BundleError, match=f"own/{FEBRUARY} is missing, and was the only copy"):
            read(own)
    (own.path / "metadata.parquet").unlink()
    damage(own.path / FEBRUARY.replace("=02", "=03"))
    own.records()
    with pytest.raises(BundleError, match=r"month=03/data.parquet is damaged.* the only copy"):
        read(own)
    assert len(read(own, "2024-01-01", "2024-01-31")) == 2, "the rest is found again"


def test_rows_of_a_program_are_not_written_into_a_view(view: Bundle) -> None:
    before = {path: path.read_bytes() for path in view.path.rglob("*") if path.is_file()}
    with pytest.raises(BundleError, match="view is made from the store"):
        ParquetWriter(view.path, disk=Quick()).write(days(date(2024, 2, 1), 3, [77]), "daily")
    assert {path: path.read_bytes() for path in view.path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("step", ["create", "replace", "link"])
def test_a_refresh_on_a_disk_that_fails_leaves_the_view(
    view: Bundle, manager: DataManager, step: str
) -> None:
    class Failing(Quick):
        def perform(self, one: DiskStep, call: Callable[[], object]) -> object:  # type: ignore[override]
            if one.name == step:
                raise OSError(28, "No space left on device")
            return super().perform(one, call)

    before = read(view)
    with pytest.raises(StorageError):
        Bundle("view", view.path.parent, disk=Failing()).refresh(manager, offline=True)
    assert read(view).equals(before) and view.state(manager).state == "current"
    assert view.refresh(manager, offline=True).written == ()
    assert sorted(path.name for path in view.path.parent.iterdir()) == [".view.lock", "view"]


@pytest.mark.skipif(os.name == "nt", reason="no such permissions there")
def test_a_view_in_a_read_only_folder_is_read(view: Bundle, manager: DataManager) -> None:
    before = read(view)

    class ReadOnly(Quick):
        def perform(self, one: DiskStep, call: Callable[[], object]) -> object:  # type: ignore[override]
            if one.name not in ("stat", "read", "list", "open", "close", "fstat"):
                raise OSError(30, "Read-only file system")
            return super().perform(one, call)

        def lock(self, path: Path, *_: Any, **__: Any) -> Any:
            raise StorageError(f"cannot open {path}: read-only")

    (view.path / "metadata.parquet").unlink()
    here = PolarsParquetDailyReader(view.path, disk=ReadOnly())
    assert len(here.load_daily_bars([1, 2], None, None)) == len(before)
    damage(view.path / FEBRUARY)
    with pytest.raises(BundleError, match="cannot be made again"):
        here.load_daily_bars([1], None, None)


_REFRESH = """
import sys
from src.data import DataManager
from src.data.research.bundles.bundle import Bundle
cache, folder = sys.argv[1:]
for _ in range(4):
    Bundle("view", folder).refresh(DataManager(cache), offline=True)
"""


def test_two_processes_refresh_a_view_while_a_third_reads_it(
    view: Bundle, manager: DataManager, tmp_path: Path
) -> None:
    before, folders = read(view), (str(tmp_path / "cache"), str(view.path.parent))
    variables = {**os.environ, "PYTHONPATH": PYTHONPATH}
    programs = [
        subprocess.Popen([sys.executable, "-c", _REFRESH, *folders], cwd=ROOT, env=variables)
        for _ in range(2)
    ]
    while any(program.poll() is None for program in programs):
        assert read(view).equals(before)
    assert [program.wait() for program in programs] == [0, 0]
    assert view.records().origin.commit == 9 and view.state(manager).state == "current"


def test_an_unknown_symbol_is_refused_with_the_nearest_names_and_nothing_is_written(
    manager: DataManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = DataManager.get_ohlcv_batch

    def batch(self: DataManager, symbols: Any, *arguments: Any, **options: Any) -> Any:
        """Answer as if a market knew all symbols but one."""
        frames = real(self, symbols, *arguments, **options)
        if "AAPLX" in frames:
            message = "AAPLX is not known at any of the available markets (did you mean AAPL?)"
            error = {"type": "UnknownSymbolError", "message": message, "reason": "unknown_symbol"}
            frames["AAPLX"].attrs["onetape"] = {**frames["AAPLX"].attrs["onetape"], "error": error}
        return frames

    monkeypatch.setattr(DataManager, "get_ohlcv_batch", batch)
    bundle = Bundle("new", tmp_path / "bundles", disk=Quick())
    with pytest.raises(BundleError, match=r"AAPLX is not known.*did you mean AAPL\?"):
        bundle.create(manager, ["MSFT", "AAPLX"], *RANGE, provider="mock")
    assert not (tmp_path / "bundles").exists()
    bundle.create(manager, ["MSFT"], *RANGE, provider="mock")
    before = read(bundle)
    with pytest.raises(BundleError, match=r"did you mean AAPL\?"):
        bundle.ingest(manager, ["AAPLX"], *RANGE, provider="mock")
    assert read(bundle).equals(before) and [*bundle.records().origin.symbols] == ["MSFT"]
    with pytest.raises(QueryError, match="no bundle contains 'MSFTX'") as caught:
        scan("new", ["MSFTX"], folder=bundle.path.parent)
    assert "did you mean 'MSFT'?" in str(caught.value.hint)


# --- bundles that an earlier version wrote -----------------------------------------------------


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """Return a copy of the bundles that were written before there were two kinds."""
    return shutil.copytree(EARLIER, tmp_path / "earlier")


def test_bundles_of_an_earlier_version_are_read(earlier: Path) -> None:
    counts = {name: len(scan(name, folder=earlier).collect()) for name in bundle_names(earlier)}
    assert counts == {"imported": 6, "mixed": 18, "own": 906, "source": 6, "store": 30}
    ours = {name: Bundle(name, earlier).records().origin for name in counts}
    assert [name for name, one in ours.items() if one.request] == ["store"]
    assert ours["source"].source_type == "Own" and ours["imported"].source_type == "hdf5"
    assert ours["source"].source == {"source_url": "https://x"}


def test_a_view_of_an_earlier_version_is_refreshed_and_made_again(
    earlier: Path, manager: DataManager
) -> None:
    bundle = Bundle("store", earlier, disk=Quick())
    before = read(bundle)
    assert bundle.state(manager).state == "current"
    damage(bundle.path / FEBRUARY)
    with pytest.warns(UserWarning, match="made again"):
        assert read(bundle).equals(before)
    (bundle.path / "metadata.parquet").unlink()
    assert bundle.state(manager).state == "current" and bundle.validate() == ()


def test_rows_that_an_earlier_version_let_a_program_write_into_a_view_stay(
    earlier: Path, manager: DataManager
) -> None:
    """They exist nowhere else, so such a bundle is an only copy."""
    bundle = Bundle("mixed", earlier, disk=Quick())
    before = read(bundle)
    assert bundle.refresh(manager, offline=True).written == ()
    with pytest.raises(BundleError, match="written by user code"):
        bundle.ingest(manager, ["MSFT"], *RANGE, provider="mock")
    assert read(bundle).equals(before) and bundle.state(manager).state == "foreign"
    damage(bundle.path / FEBRUARY)
    with pytest.raises(BundleError, match="the only copy"):
        read(bundle)


def test_a_write_joins_the_files_of_a_month_that_an_earlier_version_wrote(earlier: Path) -> None:
    bundle = Bundle("own", earlier, disk=Quick())
    before, january = read(bundle), bundle.path / "daily_bars/year=2024/month=01"
    assert (january / "1/data.parquet").is_file()
    ParquetWriter(bundle.path, disk=Quick()).write(days(date(2024, 1, 1), 1, [99]), "daily")
    assert sorted(bundle.records().files) == [str(FEBRUARY).replace("=02", "=01"), FEBRUARY]
    assert not (january / "1/data.parquet").exists()
    assert read(bundle).filter(pl.col("symbol") != "99").equals(before) and bundle.validate() == ()


def test_a_change_that_an_earlier_version_did_not_finish_is_named(earlier: Path) -> None:
    staging = earlier / "own/.staging"
    staging.mkdir()
    (staging / "journal.json").write_text('{"daily_bars/x": "0.new"}')
    with pytest.raises(
        BundleError, match="own has a change that an earlier version did not finish"
    ):
        Bundle("own", earlier).records()
    assert (staging / "journal.json").is_file()


def test_a_bundle_whose_symbols_share_no_day_is_registered_with_the_range_of_each(
    tmp_path: Path,
) -> None:
    writer = ParquetWriter(tmp_path / "elsewhere/apart", disk=Quick())
    for symbol, first in (("OLD", date(2020, 1, 1)), ("NEW", date(2024, 1, 1))):
        writer.write(days(first, 5).with_columns(symbol=pl.lit(symbol)).drop("sid"), "daily")
    catalog = DataCatalog(folder=tmp_path / "bundles")
    dataset = catalog.register_bundle("apart", tmp_path / "elsewhere/apart")
    assert catalog.find_dataset(["OLD"], "2020-01-01", "2020-01-05", "1d") == dataset
    assert catalog.find_dataset(["NEW"], "2024-01-01", "2024-01-05", "1d") == dataset
    assert catalog.find_dataset(["OLD"], "2024-01-01", "2024-01-05", "1d") is None
    ranges = {r["symbol"]: r["bar_count"] for r in catalog.get_dataset_info(dataset)["date_ranges"]}
    assert ranges == {"OLD": 5, "NEW": 5}
