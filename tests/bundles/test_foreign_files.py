"""Bundles and lines written by others: typed errors, no access outside the folder, bounded memory."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from src.data import DataManager
from src.data.bundles import Lineages, lineage
from src.data.bundles.bundle import Bundle
from src.data.bundles.bundle_records import check_rows
from src.data.bundles.parquet_writer import ParquetWriter, parsed
from src.data.errors import BundleError, CorruptEntryError, DataError
from src.data.layer.lineage_export import exported
from src.data.polars.parquet_daily_bars import PolarsParquetDailyReader
from tests.cache.counts import FULL
from tests.cache.crash import Quick
from tests.polars.bars import days

JANUARY = "daily_bars/year=2024/month=01/data.parquet"


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """Return the bundle ``theirs``: four days from 2024-01-02, written without a manager."""
    one = Bundle("theirs", tmp_path / "bundles", disk=Quick())
    ParquetWriter(one.path, disk=Quick()).write(days(date(2024, 1, 2), 4), "daily")
    return one


def parquet(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd")
    return buffer.getvalue()


@pytest.mark.parametrize(
    "outside", ["../../secret", "/{folder}/secret", "x/../../../secret", "a.new"]
)
def test_a_journal_with_a_path_outside_is_refused_and_links_no_file(
    bundle: Bundle, tmp_path: Path, outside: str
) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"not of the bundle")
    staged = outside.replace("/{folder}", str(tmp_path))
    staging = bundle.path / ".staging"
    staging.mkdir(exist_ok=True)
    (staging / "a.new").write_bytes(b"x")
    (staging / "journal.json").write_text(json.dumps({"taken.parquet": staged}))
    before = (bundle.path / JANUARY).read_bytes()
    uses: list[Any] = [bundle.records, bundle.validate]
    for use in uses:
        with pytest.raises(BundleError, match="is not a valid journal:"):
            use()
    with pytest.raises(BundleError, match="is not a valid journal:"):
        ParquetWriter(bundle.path, disk=Quick()).write(days(date(2024, 2, 2), 4), "daily")
    assert not (bundle.path / "taken.parquet").exists()
    assert os.stat(secret).st_nlink == 1 and secret.read_bytes() == b"not of the bundle"
    assert (bundle.path / JANUARY).read_bytes() == before


@pytest.mark.parametrize(
    "text",
    [
        '{"a\\u0000b": null}',
        '{"\\ud800": null}',
        "[]",
        "[[1]]",
        "3",
        '{"a": 1}',
        '{"a": {}}',
        "[" * 5000,
        "{",
        "null",
    ],
)
def test_an_invalid_journal_is_a_typed_error(bundle: Bundle, text: str) -> None:
    (bundle.path / ".staging").mkdir(exist_ok=True)
    (bundle.path / ".staging" / "journal.json").write_text(text)
    with pytest.raises(BundleError, match="is not a valid journal:"):
        bundle.records()


@pytest.mark.parametrize(
    "change",
    [
        pl.col("close").cast(pl.String),
        pl.col("date").cast(pl.String),
        pl.col("sid").cast(pl.Float64),
        pl.lit(None, pl.Int64).alias("sid"),
        pl.lit(None, pl.Date).alias("date"),
        pl.struct("open").alias("high"),
        pl.col("volume").cast(pl.Float64).reshape((-1, 1)).alias("volume"),
    ],
)
def test_a_partition_with_wrong_column_types_is_a_typed_error(
    bundle: Bundle, change: pl.Expr
) -> None:
    path = bundle.path / JANUARY
    path.write_bytes(parquet(pl.read_parquet(path).with_columns(change)))
    (bundle.path / "metadata.parquet").unlink()
    with pytest.raises(BundleError, match="is damaged"):
        bundle.records()
    with pytest.raises(DataError):
        ParquetWriter(bundle.path, disk=Quick()).write(days(date(2024, 1, 9), 2), "daily")


def test_more_rows_than_bytes_can_be_are_refused_before_they_are_read(
    bundle: Bundle,
) -> None:
    row = pl.read_parquet(bundle.path / JANUARY)[:1]
    count = 2_000_001
    bomb = parquet(pl.select(pl.repeat(row[name][0], count, dtype=row.schema[name]).alias(name)
                             for name in row.columns))  # fmt: skip
    assert len(bomb) < 500_000
    with pytest.raises(BundleError, match=r"declares 2,000,001 rows"):
        parsed(bomb, "theirs/bomb")
    (bundle.path / JANUARY).write_bytes(bomb)
    reader = PolarsParquetDailyReader(bundle.path)
    with pytest.raises(BundleError, match="declares 2,000,001 rows"):
        reader.get_value(1, "2024-01-02", "close")
    (bundle.path / "metadata.parquet").write_bytes(bomb)
    with pytest.raises(BundleError, match="declares 2,000,001 rows"):
        bundle.records()
    plain = parquet(days(date(2024, 1, 2), 400, range(50)))
    check_rows(pl.scan_parquet(io.BytesIO(plain)), "plain", len(plain))


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
