"""The work of bundle operations: files read and written, and answers, all counted."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

import polars as pl
import pytest

from src.data import DataManager
from src.data.bundles.bundle import Bundle
from src.data.bundles.bundle_records import REWRITTEN
from src.data.clock import ManualClock
from src.data.disk.files import DiskStep
from src.data.model.actions import Action
from src.data.model.instant import parse_iso
from src.data.model.span import Span
from src.data.polars.parquet_daily_bars import PolarsParquetDailyReader
from src.data.polars.parquet_writer import ParquetWriter
from tests.bundles.test_bundle import revise
from tests.cache.counts import FULL
from tests.cache.crash import Quick

T = TypeVar("T")
RANGE = ("1d", "2024-01-02", "2024-03-08")
MONTHS = 3
JANUARY = "daily_bars/year=2024/month=01/data.parquet"


class Counting(Quick):
    """A disk that counts the partitions that are opened, and the files that are staged."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def perform(self, step: DiskStep, call: Callable[[], T]) -> T:
        if step.name == "open" and step.path.name == "data.parquet":
            self.counts["read"] += 1
        if step.name == "create" and step.path.suffix == ".new":
            self.counts["staged"] += 1
        return super().perform(step, call)

    def taken(self) -> tuple[int, int]:
        """Return how many partitions were read, and files written, since the last call."""
        counts, self.counts = self.counts, Counter()
        return counts["read"], counts["staged"]


@pytest.fixture
def manager(tmp_path: Path) -> DataManager:
    """Return a manager on an empty cache."""
    return DataManager(tmp_path / "cache")


@pytest.fixture
def disk() -> Counting:
    """Return a disk that counts the partitions opened and the files staged."""
    return Counting()


@pytest.fixture
def bundle(manager: DataManager, tmp_path: Path, disk: Counting) -> Bundle:
    """Return the bundle ``mine`` of MSFT and AAPL; the counts of ``disk`` are reset."""
    one = Bundle("mine", tmp_path / "bundles", disk=disk)
    one.create(manager, ["MSFT", "AAPL"], *RANGE, provider="mock")
    disk.taken()
    return one


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)


def test_a_state_and_a_refresh_without_new_bars_read_no_partition(
    bundle: Bundle, manager: DataManager, disk: Counting
) -> None:
    assert bundle.state(manager).state == "current"
    assert disk.taken() == (0, 0)
    assert bundle.refresh(manager, offline=True).written == ()
    assert disk.taken() == (0, 2)  # both files of metadata


def test_only_a_changed_partition_is_read(
    bundle: Bundle, manager: DataManager, disk: Counting
) -> None:
    path = bundle.path / JANUARY
    path.write_bytes(path.read_bytes())
    assert bundle.state(manager).state == "current"
    assert disk.taken() == (1, 0)
    flip(path)
    assert bundle.state(manager).state == "corrupt"
    assert disk.taken() == (1, 0)


def test_the_files_of_a_copied_bundle_are_read_at_each_check_until_a_refresh(
    bundle: Bundle, manager: DataManager, tmp_path: Path
) -> None:
    shutil.copytree(bundle.path, tmp_path / "copies" / "mine")
    disk = Counting()
    copy = Bundle("mine", tmp_path / "copies", disk=disk)
    for _ in range(2):
        assert copy.state(manager).state == "current"
        assert disk.taken() == (MONTHS, 0)
    copy.refresh(manager, offline=True)
    disk.taken()
    assert copy.state(manager).state == "current"
    assert disk.taken() == (0, 0)


def test_damage_with_unchanged_size_and_time_is_found_by_validate_and_repaired(
    bundle: Bundle, manager: DataManager, disk: Counting
) -> None:
    path, reported = bundle.path / JANUARY, bundle.records()
    good = path.read_bytes()
    with path.open("r+b") as file:  # as a disk that fails does: same inode, size and time
        stat = path.stat()
        file.seek(len(good) // 3)
        file.write(bytes([good[len(good) // 3] ^ 1]))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert bundle.state(manager).state == "current", "the change left no trace"
    disk.taken()
    assert [one.place for one in bundle.validate()] == [JANUARY]
    assert disk.taken()[0] == MONTHS, "each is read"
    assert bundle.records() == reported
    assert bundle.state(manager).state == "corrupt"
    assert bundle.refresh(manager, offline=True).written == (JANUARY,)
    assert bundle.validate() == () and bundle.state(manager).state == "current"
    assert pl.read_parquet(path).equals(pl.read_parquet(good))


def test_symbols_ingested_one_at_a_time_are_requested_once_each(
    manager: DataManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each new one costs its own answer, and each partition of its range once."""
    answered: list[str] = []
    real = type(manager).get_ohlcv_batch

    def batch(self: DataManager, symbols: Any, *arguments: Any, **options: Any) -> Any:
        answered.extend(symbols)
        return real(self, symbols, *arguments, **options)

    monkeypatch.setattr(type(manager), "get_ohlcv_batch", batch)
    costs = []
    counts = (3, 6, 12) if FULL else (1, 3)
    for count in counts:
        disk, first = Counting(), len(answered)
        bundle = Bundle(f"of-{count}", tmp_path / "bundles", disk=disk)
        for n in range(count):
            bundle.ingest(manager, [f"S{chr(65 + n)}"], *RANGE, provider="mock")
        assert len(answered) - first == count
        costs.append(disk.taken())
        assert bundle.state(manager).state == "current"
        frame = PolarsParquetDailyReader(bundle.path).load_daily_bars(range(99), None, None)
        assert frame["sid"].n_unique() == count
    assert costs == [(MONTHS * (n - 1), (MONTHS + 2) * n) for n in counts]


def test_a_symbol_of_one_month_rewrites_only_that_month(
    bundle: Bundle, manager: DataManager, disk: Counting
) -> None:
    manager.get_ohlcv("AAPL", "1d", "2024-04-01", "2024-04-30", provider="mock")
    outcome = bundle.ingest(manager, ["AAPL"], "1d", "2024-02-01", "2024-02-29", provider="mock")
    assert outcome.written == () and disk.taken() == (0, 2)


@pytest.mark.parametrize("end", [None, "2124-01-01"])
def test_a_range_without_an_end_in_the_past_is_requested_whole(
    manager: DataManager, tmp_path: Path, end: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = Bundle("open", tmp_path / "bundles", disk=Quick())
    bundle.ingest(manager, ["AAPL"], "1d", "2024-01-02", end, provider="mock")
    answered: list[Any] = []
    real = type(manager).get_ohlcv_batch

    def batch(self: DataManager, symbols: Any, *arguments: Any, **options: Any) -> Any:
        answered.append(list(symbols))
        return real(self, symbols, *arguments, **options)

    monkeypatch.setattr(type(manager), "get_ohlcv_batch", batch)
    bundle.ingest(manager, ["MSFT"], "1d", "2024-01-02", end, provider="mock")
    assert answered == [["AAPL", "MSFT"]]


def test_rows_overwritten_by_a_program_are_stale_and_written_again(
    bundle: Bundle, manager: DataManager
) -> None:
    reader = PolarsParquetDailyReader(bundle.path)
    before = reader.load_daily_bars([1], None, None)
    row = before.head(1).with_columns(close=pl.col("high"))
    ParquetWriter(bundle.path, disk=Quick()).write(row, "daily")
    assert bundle.records().origin.symbols["MSFT"].fingerprint == REWRITTEN
    state = bundle.state(manager)
    assert state.state == "stale" and [c.partition(":")[0] for c in state.causes] == ["MSFT"]
    assert bundle.refresh(manager, offline=True).written == (JANUARY,)
    assert reader.load_daily_bars([1], None, None).equals(before)
    assert bundle.state(manager).state == "current"
    bundle.clean(manager, date(2024, 2, 1))
    assert bundle.state(manager).state == "current"


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the symbols that are answered from now on."""
    symbols: list[str] = []
    real = DataManager.get_ohlcv_batch

    def batch(self: DataManager, wanted: Any, *arguments: Any, **options: Any) -> Any:
        symbols.extend(wanted)
        return real(self, wanted, *arguments, **options)

    monkeypatch.setattr(DataManager, "get_ohlcv_batch", batch)
    return symbols


def test_an_unchanged_series_is_not_read_again(
    bundle: Bundle, manager: DataManager, answered: list[str]
) -> None:
    assert bundle.state(manager).state == "current"
    assert bundle.refresh(manager, offline=True).written == ()
    assert bundle.refresh(manager).written == ()
    assert answered == []
    manager.get_ohlcv("AAPL", *RANGE, provider="mock", force_refresh=True)
    assert bundle.state(manager).state == "current"
    assert answered == ["AAPL"], "its bars are the same, but may have been others"
    bundle.refresh(manager)
    assert bundle.state(manager).state == "current" and answered == ["AAPL"] * 2


def test_a_bundle_without_an_end_date_is_read_each_time(
    manager: DataManager, tmp_path: Path, answered: list[str]
) -> None:
    bundle = Bundle("open", tmp_path / "bundles", disk=Quick())
    bundle.create(manager, ["AAPL"], "1d", "2024-01-02", None, provider="mock")
    answered.clear()
    bundle.state(manager)
    bundle.refresh(manager, offline=True)
    assert answered == ["AAPL"] * 2


def test_bars_of_a_deleted_and_refilled_cache_are_read_again(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its generations count from 1 again."""
    shutil.rmtree(tmp_path / "cache")
    again = DataManager(tmp_path / "cache")
    revise(again, monkeypatch, *RANGE[1:])
    again.get_ohlcv("MSFT", *RANGE, provider="mock")
    state = bundle.state(again)
    assert state.state == "stale"
    assert [cause.partition(":")[0] for cause in state.causes] == ["MSFT", "AAPL"]
    assert "generation 1, now 1" in state.causes[1]


def test_rows_of_a_damaged_partition_are_read_again_even_if_unchanged(
    bundle: Bundle, manager: DataManager, answered: list[str]
) -> None:
    flip(bundle.path / JANUARY)
    assert bundle.refresh(manager, offline=True).written == (JANUARY,)
    assert sorted(answered) == ["AAPL", "MSFT"]


def test_an_action_that_takes_effect_later_makes_a_bundle_stale(
    tmp_path: Path, answered: list[str]
) -> None:
    clock = ManualClock(parse_iso("2024-04-10T12:00:00"))
    manager = DataManager(tmp_path / "cache", clock=clock)
    bundle = Bundle("mine", tmp_path / "bundles", disk=Quick())
    bundle.create(manager, ["AAPL"], *RANGE, provider="mock")
    bundle.refresh(manager, offline=True)
    answered.clear()
    assert bundle.state(manager).state == "current"
    assert answered == []
    split = Action(date(2024, 4, 12), "split", parse_iso("2024-04-12"), 2, source="mock")
    asked = Span(parse_iso("2024-01-01"), parse_iso("2024-04-20"))
    manager.cache.store.add_actions("AAPL", [split], asked, "mock", clock.now_ms())
    bundle.refresh(manager, offline=True)
    answered.clear()
    for _ in range(2):
        bundle.state(manager)
    assert answered == ["AAPL"] * 2, "the split is near"
