"""Bundle writers killed before each changing call: the change is complete or absent."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from src.data import DataManager
from src.data.bundles.metadata import BundleMetadata
from src.data.errors import BundleError, BundleNotFoundError
from src.data.polars.parquet_daily_bars import PolarsParquetDailyReader
from src.data.research.bundles.bundle import Bundle, bundle_names
from src.data.research.lineage.lineage import Lineages, lineage
from tests.core.cache.counts import FULL
from tests.core.cache.crash import Quick
from tests.research.bundles.deaths import RANGE, SYMBOLS, Killer, add, create, refresh

on_posix = pytest.mark.skipif(os.name == "nt", reason="no fork, no SIGKILL there")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a cache with MSFT, AAPL and IBM 1d from 2024-01-02 to 2024-02-09."""
    path = tmp_path_factory.mktemp("stored") / "cache"
    DataManager(path).get_ohlcv_batch(SYMBOLS, *RANGE, provider="mock")
    return path


@pytest.fixture(scope="module")
def manager(cache: Path) -> DataManager:
    """Return a manager on ``cache``."""
    return DataManager(cache)


def rows(bundle: Bundle) -> pl.DataFrame:
    return PolarsParquetDailyReader(bundle.path).load_daily_bars(range(1, 9), None, None)


def raw(bundle: Bundle) -> pl.DataFrame:
    """Return what a program reads that only knows the files."""
    frame = pl.read_parquet(bundle.path / "daily_bars/**/data.parquet", hive_partitioning=False)
    return frame.sort("sid", "date")


def left_over(bundle: Bundle) -> list[str]:
    remains = (".tmp", ".new", ".former")
    return [p.name for p in bundle.path.parent.rglob("*") if p.name.endswith(remains)]


@pytest.fixture
def made(manager: DataManager, tmp_path: Path) -> Path:
    """Return a folder with the bundle ``mine`` of two symbols, in which a user has left a file."""
    one = Bundle("mine", tmp_path / "made", disk=Quick())
    create(one, manager)
    (one.path / "_quarantine").mkdir()
    for name in ("notes.txt", "_quarantine/old.1", "_quarantine/old.2"):
        (one.path / name).write_text("of old")
    return tmp_path / "made"


@pytest.fixture(scope="module")
def killer() -> Iterator[Killer]:
    """Yield what kills changes in the middle."""
    with Killer() as killer:
        yield killer


@on_posix
def test_a_bundle_whose_removal_is_killed_is_whole_or_gone(
    killer: Killer, manager: DataManager, cache: Path, made: Path, tmp_path: Path
) -> None:
    """Each way of looking gives the same answer, and the next writer finishes the work."""
    before, found = rows(Bundle("mine", made)), []
    for folder in killer.deaths("remove", cache, made, tmp_path / "dead"):
        one = Bundle("mine", folder, disk=Quick())
        is_there = one.exists()
        found.append(is_there)
        assert bundle_names(folder) == (["mine"] if is_there else [])
        if is_there:
            assert rows(one).equals(before)
            assert one.validate() == () and one.state(manager).state == "current"
        else:
            with pytest.raises(BundleNotFoundError):
                rows(one)
            with pytest.raises(BundleNotFoundError):
                one.state(manager)
            with pytest.raises(BundleNotFoundError):
                BundleMetadata.load("mine", folder)
        if is_there:
            one.remove()
        create(one, manager)
        assert rows(one).equals(before) and raw(one).select(before.columns).equals(before)
        assert {path.name for path in one.path.iterdir()} == {
            "daily_bars",
            "metadata.parquet",
            "metadata.db",
        }, "no rows of the old bundle"
        assert one.state(manager).state == "current" and not left_over(one)
    assert found == sorted(found, reverse=True) and {*found} == {True, False}


@on_posix
def test_a_bundle_whose_creation_is_killed_is_all_or_nothing(
    killer: Killer, manager: DataManager, cache: Path, tmp_path: Path
) -> None:
    whole = Bundle("mine", tmp_path / "whole", disk=Quick())
    create(whole, manager)
    after, found = rows(whole), []
    (tmp_path / "none").mkdir()
    for folder in killer.deaths(
        "create", cache, tmp_path / "none", tmp_path / "dead", every=1 if FULL else 2
    ):
        one = Bundle("mine", folder, disk=Quick())
        found.append(one.exists())
        if found[-1]:
            assert rows(one).equals(after)
            assert one.validate() == () and one.state(manager).state == "current"
            with pytest.raises(BundleError, match="already exists"):
                create(one, manager)
        else:
            assert bundle_names(folder) == []
            create(one, manager)
        one.refresh(manager, offline=True)
        assert raw(one).select(after.columns).equals(after) and not left_over(one)
    assert found == sorted(found) and {*found} == {True, False}


@on_posix
def test_a_bundle_whose_change_is_killed_has_the_old_or_the_new_rows(
    killer: Killer, manager: DataManager, cache: Path, made: Path, tmp_path: Path
) -> None:
    shutil.copytree(made, tmp_path / "whole")
    before, whole = rows(Bundle("mine", made)), Bundle("mine", tmp_path / "whole", disk=Quick())
    add(whole, manager)
    after, found = rows(whole), []
    assert len(after) > len(before)
    for folder in killer.deaths("add", cache, made, tmp_path / "dead", every=1 if FULL else 2):
        one = Bundle("mine", folder, disk=Quick())
        found.append(len(rows(one)))
        assert rows(one).equals(before if found[-1] == len(before) else after)
        assert one.validate() == () and one.state(manager).state == "current"
        assert raw(one).select(after.columns).equals(rows(one)), "the change was finished"
        add(one, manager)
        assert rows(one).equals(after) and raw(one).select(after.columns).equals(after)
        assert BundleMetadata.load("mine", folder).row_count == len(after)
        assert not left_over(one)
    assert found == sorted(found) and {*found} == {len(before), len(after)}


@pytest.fixture
def behind(tmp_path: Path) -> Path:
    """Return a folder with the bundle ``mine``, made of a store that lacks a symbol and a month."""
    less = DataManager(tmp_path / "less")
    less.get_ohlcv(SYMBOLS[0], "1d", RANGE[1], "2024-01-31", provider="mock")
    create(Bundle("mine", tmp_path / "behind", disk=Quick()), less)
    return tmp_path / "behind"


@on_posix
def test_a_bundle_whose_refresh_is_killed_has_the_old_or_the_new_rows(
    killer: Killer, manager: DataManager, cache: Path, behind: Path, tmp_path: Path
) -> None:
    shutil.copytree(behind, tmp_path / "whole")
    before, whole = rows(Bundle("mine", behind)), Bundle("mine", tmp_path / "whole", disk=Quick())
    refresh(whole, manager)
    after, found = rows(whole), []
    assert len(after) > 2 * len(before) > 0
    for folder in killer.deaths(
        "refresh", cache, behind, tmp_path / "dead", every=1 if FULL else 2
    ):
        one = Bundle("mine", folder, disk=Quick())
        is_new = len(rows(one)) == len(after)
        found.append(is_new)
        assert rows(one).equals(after if is_new else before) and one.validate() == ()
        assert one.state(manager).state == ("current" if is_new else "stale")
        assert one.records().origin.symbols["AAPL"].missing == (0 if is_new else 28)
        assert raw(one).select(after.columns).equals(rows(one)), "the change was finished"
        refresh(one, manager)
        assert rows(one).equals(after) and raw(one).select(after.columns).equals(after)
        assert one.state(manager).state == "current" and not left_over(one)
    assert found == sorted(found) and {*found} == {True, False}


def test_a_folder_that_is_not_a_bundle_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("a year of work")
    with pytest.raises(BundleNotFoundError):
        Bundle("mine", tmp_path).remove()
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


@on_posix
def test_a_killed_lineage_keeps_its_written_reads_and_all_other_lineages(
    killer: Killer, manager: DataManager, cache: Path, tmp_path: Path
) -> None:
    before, found = tmp_path / "before", []
    with lineage("before", folder=before, manager=manager):
        manager.get_ohlcv(SYMBOLS[2], *RANGE, provider="mock")
    for folder in killer.deaths("record", cache, before, tmp_path / "dead"):
        lineages = Lineages(folder, manager)
        runs = {one.run: one for one in lineages.list()}
        assert lineages.check("before").is_identical
        is_there = "mine" in runs
        found.append((is_there, len(runs["mine"].reads), runs["mine"].ended) if is_there else ())
        if is_there:
            report = lineages.check("mine")
            assert {one.state for one in report.series} <= {"identical"}
            assert report.is_identical == bool(report.record.ended)
        with lineage("next" if is_there else "mine", folder=folder, manager=manager):
            manager.get_ohlcv(SYMBOLS[1], *RANGE, provider="mock")
        assert lineages.check("next" if is_there else "mine").is_identical
        assert lineages.check("before").is_identical
    counts = [one[1] if one else -1 for one in found]
    assert counts == sorted(counts) and {*counts} == {-1, 0, 1, 2}


def test_a_refresh_removes_what_a_killed_repair_of_a_view_left(
    manager: DataManager, made: Path
) -> None:
    left, users = (made / "mine" / name for name in (".metadata.parquet.1.2.3.tmp", ".notes.tmp"))
    for path in (left, users):
        path.write_bytes(b"half")
    refresh(Bundle("mine", made), manager)
    assert not left.exists() and users.is_file()
