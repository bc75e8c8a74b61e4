"""Bundles and lines written by others: typed errors, no access outside the folder, bounded memory."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from src.data import DataManager
from src.data.bundles import Lineages, lineage, scan
from src.data.errors import BundleError, CorruptEntryError, DataError
from src.data.polars.parquet_daily_bars import PolarsParquetDailyReader
from src.data.polars.parquet_writer import ParquetWriter
from src.data.research.bundles.bundle import Bundle
from src.data.research.bundles.bundle_files import METADATA
from src.data.research.bundles.bundle_records import Records, packed
from src.data.research.bundles.sql import query
from src.data.research.lineage.lineage_export import exported
from tests.core.cache.counts import FULL
from tests.core.cache.crash import Quick
from tests.research.bundles.bars import days

JANUARY = "daily_bars/year=2024/month=01/data.parquet"


def test_an_export_that_is_nested_deeply_is_a_typed_error(tmp_path: Path) -> None:
    (tmp_path / "lineage.json").write_text("[" * 5000)
    with pytest.raises(CorruptEntryError):
        exported(tmp_path)


WRONG: list[Any] = [
    None, True, -(2**80), float("nan"), "", "x", "\ud800", "../x", "/etc/passwd", [], [[1]], {}, {"a": 1},
]  # fmt: skip


def places(plain: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield where the values of a document are."""
    entries = list(enumerate(plain)) if isinstance(plain, list) else []
    for key, value in plain.items() if isinstance(plain, dict) else entries:
        yield (*place, key)
        yield from places(value, (*place, key))


def changed(plain: Any, place: tuple[Any, ...], value: Any) -> Any:
    """Return a document with another value in a place."""
    copy = json.loads(json.dumps(plain))
    *outer, last = place
    inside = copy
    for key in outer:
        inside = inside[key]
    inside[last] = value
    return copy


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a lineage of one read and one failure, and what it was exported to."""
    folder = tmp_path_factory.mktemp("run")
    manager = DataManager(folder / "cache")
    with lineage("r", folder=folder, manager=manager):
        manager.get_ohlcv("AAPL", "1d", "2024-01-02", "2024-01-12", provider="mock")
        with suppress(DataError):
            manager.get_ohlcv("AAPL", "1d", "1999-01-04", "1999-01-08", offline=True)
    Lineages(folder, manager).export("r", folder / "out")
    return folder


def test_any_value_of_an_export_that_is_changed_is_a_typed_error(run: Path, tmp_path: Path) -> None:
    out = shutil.copytree(run / "out", tmp_path / "out")
    plain = json.loads((out / "lineage.json").read_text())
    for n, place in enumerate(places(plain)):
        for value in WRONG if FULL else [WRONG[n % len(WRONG)], WRONG[(n + 5) % len(WRONG)]]:
            (out / "lineage.json").write_text(json.dumps(changed(plain, place, value)))
            with suppress(DataError):
                exported(out)
    (out / "lineage.json").write_text(json.dumps(plain))
    bars = (out / "bars-0000.csv").read_text()
    for wrong in ("9" * 30 + bars[bars.index("\n") + 2 :], "\0", "9" * 5000):
        (out / "bars-0000.csv").write_text(bars[: bars.index("\n") + 1] + wrong)
        with pytest.raises(CorruptEntryError):
            exported(out)


FEBRUARY = "daily_bars/year=2024/month=02/data.parquet"
OUTSIDE = [
    "../victim.txt", "daily_bars/../../victim.txt", f"{FEBRUARY}/../../../../../victim.txt", "victim.txt", "",
    "daily_bars/year=2024/month=13/data.parquet", "Daily_bars/year=2024/month=02/data.parquet",
    FEBRUARY.replace("/", "\\"), f"{FEBRUARY}\n", f"{FEBRUARY}/", f"./{FEBRUARY}", f"/{FEBRUARY}",
    FEBRUARY.replace("2024", "\uff12\uff10\uff12\uff14"), "daily_bars/year=2024/month=02/DATA.parquet",
    "minute_bars/year=2024/month=02/data.parquet", *(f"../{n}.txt" for n in range(1000)),
]  # fmt: skip


@pytest.fixture
def only_copy(tmp_path: Path) -> Path:
    """Return a bundle of a program's own rows in January and February; a file of the user is beside it."""
    (tmp_path / "victim.txt").write_text("mine")
    bundle = tmp_path / "b"
    ParquetWriter(bundle, disk=Quick()).write(days(date(2024, 1, 1), 50, [1]), "daily")
    return bundle


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of each file in a folder, except lock files."""
    files = (p for p in folder.rglob("*") if p.is_file() and not p.name.endswith(".lock"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def list_places(bundle: Path, places: list[str]) -> None:
    """Add paths to the list of a bundle's files."""
    file = bundle / METADATA
    records = Records.parsed(file.read_bytes(), "")
    assert records is not None
    listed = pl.concat([records.table[-1].with_columns(file_path=pl.lit(p)) for p in places])
    file.write_bytes(packed(pl.concat([records.table, listed]), records.origin))


USES: list[Callable[[Path], object]] = [
    lambda b: Bundle("b", b.parent).clean(DataManager(b.parent / "cache"), date(2024, 2, 1)),
    lambda b: Bundle("b", b.parent).clean(
        DataManager(b.parent / "cache"), date(2024, 2, 1), dry_run=True
    ),
    lambda b: Bundle("b", b.parent).validate(),
    lambda b: Bundle("b", b.parent).state(DataManager(b.parent / "cache")),
    lambda b: PolarsParquetDailyReader(b).load_daily_bars([1], None, None),
    lambda b: PolarsParquetDailyReader(b).get_value(1, "2024-02-05", "close"),
    lambda b: ParquetWriter(b).write(days(date(2024, 2, 20), 1, [1]), "daily"),
    lambda b: query("SELECT * FROM bundle('b', 'daily')", folder=b.parent),
    lambda b: scan("b", frequency="daily", folder=b.parent).collect(),
]


@pytest.mark.parametrize("use", USES, ids=range(len(USES)))
def test_a_bundle_that_lists_files_outside_of_it_is_refused_and_nothing_is_touched(
    only_copy: Path, use: Callable[[Path], object]
) -> None:
    folder, whole = only_copy.parent, (only_copy / METADATA).read_bytes()
    for place in [*OUTSIDE[:15], str(folder / "victim.txt")]:
        (only_copy / METADATA).write_bytes(whole)
        list_places(only_copy, [place])
        before = contents(folder)
        with pytest.raises(BundleError, match="not a path of a bundle's file") as caught:
            use(only_copy)
        assert repr(place) in str(caught.value) and "remove b/metadata.parquet" in str(caught.value)
        assert contents(folder) == before


def test_a_list_of_a_thousand_files_outside_is_refused_and_made_again_after_its_removal(
    only_copy: Path,
) -> None:
    bars = PolarsParquetDailyReader(only_copy).load_daily_bars([1], None, None)
    list_places(only_copy, OUTSIDE)
    with pytest.raises(BundleError, match="victim"):
        PolarsParquetDailyReader(only_copy).load_daily_bars([1], None, None)
    (only_copy / METADATA).unlink()
    assert PolarsParquetDailyReader(only_copy).load_daily_bars([1], None, None).equals(bars)
    assert (only_copy.parent / "victim.txt").read_text() == "mine"


def test_damaged_files_without_records_are_those_of_the_ranges_that_need_them(
    only_copy: Path,
) -> None:
    bars = PolarsParquetDailyReader(only_copy).load_daily_bars([1], None, None)
    for month in ("03", "04"):
        file = only_copy / f"daily_bars/year=2024/month={month}/data.parquet"
        file.parent.mkdir()
        file.write_bytes(b"rubbish" * 50)
    (only_copy / METADATA).unlink()
    reader = PolarsParquetDailyReader(only_copy)
    assert reader.load_daily_bars([1], "2024-01-01", "2024-02-28").equals(bars)
    assert not list(only_copy.rglob("*.damaged-*"))
    for _ in range(2):  # the second time, the file has been set aside
        with pytest.raises(BundleError, match=r"month=03/data\.parquet .* only copy"):
            reader.load_daily_bars([1], "2024-02-01", "2024-03-05")
    assert len(list(only_copy.rglob("*.damaged-*"))) == 1
    assert reader.load_daily_bars([1], None, "2024-02-29").equals(bars)
    (only_copy / "daily_bars/year=2024/month=04/data.parquet").write_bytes(
        (only_copy / FEBRUARY).read_bytes()
    )
    assert len(reader.load_daily_bars([1], "2024-04-01", "2024-04-30")) == 0  # a restored file


def test_prices_of_another_program_may_be_floats(only_copy: Path) -> None:
    bars = PolarsParquetDailyReader(only_copy).load_daily_bars([1], None, None)
    (only_copy / METADATA).unlink()
    for file in (only_copy / "daily_bars").rglob("*.parquet"):
        decimals = pl.col("open", "high", "low", "close", "volume")
        rows = pl.read_parquet(file).with_columns(decimals.cast(pl.Float64))
        rows.write_parquet(file)
    reader, fifth = PolarsParquetDailyReader(only_copy), bars.filter(date=date(2024, 2, 5))
    assert reader.load_daily_bars([1], None, None).equals(bars)
    value = reader.get_value(1, "2024-02-05", "close")
    assert value == fifth["close"][0] and isinstance(value, Decimal)
    lazy = reader.load_raw_arrays([1], ["close"], "2024-02-05", "2024-02-05")
    assert lazy.collect().equals(fifth.select("date", "sid", "close"))
