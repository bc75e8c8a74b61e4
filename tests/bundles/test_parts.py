"""Partitions in several parts: adding series one by one does not rewrite the existing rows."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from datetime import date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from src.data.bundles import parquet_writer
from src.data.bundles.bundle import Bundle
from src.data.bundles.commit import BundleFiles
from src.data.bundles.parquet_writer import rebuilt
from src.data.bundles.partitions import main_of
from src.data.layer.frames import decimal_frame
from src.data.polars.parquet_daily_bars import PolarsParquetDailyReader
from src.data.polars.parquet_minute_bars import PolarsParquetMinuteReader
from src.data.polars.parquet_writer import ParquetWriter
from tests.cache.counts import FULL
from tests.cache.crash import Quick
from tests.cache.disks import DyingDisk, Killed

FIRST, DAYS = date(2023, 1, 1), 59


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make partitions of few rows large ones."""
    monkeypatch.setattr(parquet_writer, "FEW_ROWS", 40)


class Weighing(Quick):
    """A disk that counts the bytes of partitions that are written."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def write(self, handle: Any, data: Any, at: int) -> int:
        self.bytes += (
            len(data) if b"onetape" in bytes(data) and b"file_path" not in bytes(data) else 0
        )
        return super().write(handle, data, at)


def days(sid: int, count: int = DAYS, by: float = 0.0, first: date = FIRST) -> pl.DataFrame:
    n = pl.int_range(0, count)
    price = ((n * (1 + sid % 7) * 37 % 991) / 100 + 50 + sid + by).round(3)
    return pl.DataFrame({"date": [first + timedelta(i) for i in range(count)]}).with_columns(
        sid=pl.lit(sid), open=price, high=price * 2, low=price / 2, close=price, volume=n * 1.0
    )


def parts_of(bundle: Path) -> list[str]:
    return sorted(p.relative_to(bundle).as_posix() for p in bundle.rglob("data.parquet"))


def sids_in(path: Path) -> set[int]:
    return set(pl.read_parquet(path)["sid"].unique())


def read(bundle: Path) -> pl.DataFrame:
    return PolarsParquetDailyReader(bundle).load_daily_bars(range(999), None, None)


def test_bytes_grow_with_the_number_of_series_that_are_added_one_by_one(tmp_path: Path) -> None:
    written = []
    for count in (8, 16, 32) if FULL else (8, 16):
        disk = Weighing()
        for sid in range(count):
            ParquetWriter(tmp_path / str(count), False, disk=disk).write(days(sid), "daily")
        written.append(disk.bytes)
        assert len(parts_of(tmp_path / str(count))) <= 2 * 8
    assert written[0] > 8 * 2 * 1000
    assert all(many / few < 2.4 for few, many in pairwise(written))


def test_parts_are_read_as_one_bundle_even_by_other_readers(tmp_path: Path) -> None:
    one, many = tmp_path / "one", tmp_path / "many"
    ParquetWriter(one, disk=Quick()).write_batch([days(sid) for sid in range(11)])
    for sid in range(11):
        ParquetWriter(many, disk=Quick()).write(days(sid), "daily")
    assert len(parts_of(one)) == 2 and len(parts_of(many)) > 4
    assert {main_of(place) for place in parts_of(many)} == set(parts_of(one))
    whole = read(one)
    assert read(many).equals(whole) and len(whole) == 11 * DAYS
    mine, theirs = (PolarsParquetDailyReader(path) for path in (many, one))
    for sid in (0, 5, 10):
        assert mine.get_value(sid, "2023-02-03", "close") == theirs.get_value(
            sid, "2023-02-03", "close"
        )
        assert mine.get_last_traded_dt(sid, "2023-02-20") == theirs.get_last_traded_dt(
            sid, "2023-02-20"
        )
    for pattern in ("daily_bars/**/data.parquet", "daily_bars/**/*.parquet", "daily_bars"):
        scan = pl.scan_parquet(many / pattern, hive_partitioning=pattern != "daily_bars")
        assert scan.select(whole.columns).sort("sid", "date").collect().equals(whole), pattern
    months = pl.scan_parquet(many / "daily_bars/**/data.parquet", hive_partitioning=True)
    assert len(months.filter(pl.col("month") == 2).collect()) == 11 * 28
    bundle = Bundle("many", tmp_path)
    reported = bundle.records()
    (many / "metadata.parquet").unlink()
    assert bundle.records().spans() == reported.spans() and bundle.validate() == ()
    assert bundle.records().origin.symbols == reported.origin.symbols


def test_daily_bars_are_aggregated_from_minutes_in_several_parts(tmp_path: Path) -> None:
    stamps = [datetime(2024, 1, 2, 14, 30) + timedelta(minutes=n) for n in range(30)]
    for sid in range(9):
        rows = days(sid, 30).select(pl.Series("timestamp", stamps), pl.exclude("date"))
        ParquetWriter(tmp_path / "m", disk=Quick()).write(rows, "minute")
    assert len(parts_of(tmp_path / "m")) > 1
    bars = PolarsParquetMinuteReader(tmp_path / "m").load_daily_bars(
        range(9), "2024-01-02", "2024-01-02"
    )
    assert bars["sid"].to_list() == list(range(9))
    assert [float(v) for v in bars["volume"]] == [sum(range(30))] * 9


@pytest.mark.parametrize("seed", range(6))
def test_any_sequence_of_writes_and_replacements_keeps_the_rows_of_a_reference_model(
    tmp_path: Path, seed: int
) -> None:
    """A series has its rows of a partition in one part, and the first part is always there."""
    chance, model, path = random.Random(seed), dict[int, pl.DataFrame](), tmp_path / "b"
    writer = ParquetWriter(path, disk=Quick())
    for step in range(25 if FULL else 6):
        sids = chance.sample(range(20), chance.choice((1, 1, 1, 3)))
        first = FIRST + timedelta(chance.choice((0, 0, 40)))
        rows = pl.concat(days(s, chance.randint(1, 59), step / 5, first) for s in sids)
        gone = chance.sample(sorted(model), min(len(model), 2)) if chance.random() < 0.3 else []
        files = BundleFiles(path, Quick())
        with files.writing() as commit:
            records = Bundle("b", tmp_path).records() if step else rebuilt(files, commit)
            writer.replace_rows(commit, records, "daily", rows, drop=gone)
        for sid in gone:
            model.pop(sid)
        for (sid,), part in rows.partition_by("sid", as_dict=True).items():
            both = [p for p in (model.get(sid), part) if p is not None]
            model[sid] = pl.concat(both).unique("date", keep="last").sort("date")
        whole = decimal_frame(pl.concat(model[sid] for sid in sorted(model))).frame
        assert read(path).equals(whole.cast({"sid": pl.Int64}))
        places = parts_of(path)
        assert set(Bundle("b", tmp_path).records().files) == set(places)
        assert {main_of(place) for place in places} <= set(places)
        for main in {main_of(place) for place in places}:
            held = Counter(s for p in places if main_of(p) == main for s in sids_in(path / p))
            assert set(held.values()) <= {1}
    assert Bundle("b", tmp_path).validate() == ()


def test_the_first_part_exists_after_all_its_series_were_removed(tmp_path: Path) -> None:
    writer = ParquetWriter(tmp_path / "b", disk=Quick())
    writer.write_batch([days(0, 31), days(1, 31)])
    writer.write(days(2, 31), "daily")
    mains = {main_of(place) for place in parts_of(tmp_path / "b")}
    assert len(parts_of(tmp_path / "b")) > len(mains)
    with BundleFiles(tmp_path / "b", Quick()).writing() as commit:
        records = Bundle("b", tmp_path).records()
        writer.replace_rows(commit, records, "daily", days(2).clear(), drop=[0, 1])
    assert parts_of(tmp_path / "b") == sorted(mains)
    assert sids_in(tmp_path / "b" / min(mains)) == {2} and len(read(tmp_path / "b")) == 31


def test_a_larger_volume_widens_every_part(tmp_path: Path) -> None:
    for sid in range(9):
        ParquetWriter(tmp_path / "b", disk=Quick()).write(days(sid), "daily")
    assert len(parts_of(tmp_path / "b")) > 2
    ParquetWriter(tmp_path / "b", disk=Quick()).write(days(9).with_columns(volume=1e12), "daily")
    types = {
        pl.read_parquet_schema(tmp_path / "b" / place)["volume"]
        for place in parts_of(tmp_path / "b")
    }
    assert types == {pl.Decimal(38, 8)}
    assert len(read(tmp_path / "b")) == 10 * DAYS


def test_a_process_killed_while_joining_parts_leaves_the_old_or_the_new_bundle(
    tmp_path: Path,
) -> None:
    """Each file is one of the bundle before or after, at every step."""
    before = tmp_path / "before"
    for sid in range(7):
        ParquetWriter(before, disk=Quick()).write(days(sid), "daily")
    old, step, died = read(before), 0, 1
    sizes = set[int]()
    while died:
        step, died = step + (3 if FULL else 17), 0
        path = tmp_path / "b"
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(before, path)
        try:
            ParquetWriter(path, disk=DyingDisk(step)).write(days(7), "daily")
        except Killed:
            died = 1
        found = read(path)
        assert found.filter(pl.col("sid") < 7).equals(old), step
        sizes.add(len(found))
        ParquetWriter(path, disk=Quick()).write(days(7), "daily")
        assert len(read(path)) == 8 * DAYS and Bundle("b", tmp_path).validate() == ()
    assert sizes == {7 * DAYS, 8 * DAYS} and step > 30
