"""Bundle files with any byte or value changed: typed errors only, and a read changes no bar."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from src.data.bundles import DataCatalog, Lineages, bundle_records, lineage
from src.data.bundles.bundle import Bundle, bundle_names
from src.data.bundles.metadata import BundleMetadata
from src.data.errors import DataError
from src.data.layer.run_records import RunFolder
from src.data.polars.parquet_daily_bars import PolarsParquetDailyReader
from src.data.polars.parquet_writer import ParquetWriter
from tests.cache.counts import FULL
from tests.cache.crash import Quick
from tests.polars.bars import days

pytestmark = pytest.mark.timeout(600)
JANUARY = "daily_bars/year=2024/month=01/data.parquet"
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from([2**63, -(2**80), 10**4000])
    | st.floats() | st.text(max_size=4) | st.sampled_from(["\ud800", "/", "2024-01-01", "a\0b"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return the files of a folder with one bundle and one run."""
    folder = tmp_path_factory.mktemp("whole")
    bundle = Bundle("theirs", folder, disk=Quick())
    ParquetWriter(bundle.path, disk=Quick()).write(days(date(2024, 1, 2), 4, [1, 2]), "daily")
    with lineage("b", folder=folder):
        pass
    catalog = DataCatalog(folder / "metadata.db")
    catalog.link_backtest_to_dataset("b", catalog.register_dataset("s", ["A"], 1, 2, "1d", "x"))
    catalog.store_metadata({"bundle_name": "theirs", "source_type": "csv", "outlier_count": 3})
    catalog.refresh()
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def uses(folder: Path) -> Iterator[Callable[[], Any]]:
    """Yield everything that reads a bundle, or what is recorded of it."""
    bundle = Bundle("theirs", folder, disk=Quick())
    reader = PolarsParquetDailyReader(bundle.path)
    rows: type[BundleMetadata] = type("Rows", (BundleMetadata,), {"_folder": folder})
    catalog = DataCatalog(folder / "metadata.db")
    yield lambda: Bundle("other", folder)
    yield lambda: bundle_names(folder)
    yield lambda: bundle.validate()
    yield lambda: bundle.records()
    yield lambda: reader.load_daily_bars([1, 2], None, None)
    yield lambda: reader.load_daily_bars([1], None, None, ["close", "more"])
    yield lambda: reader.get_value(1, "2024-01-02", "close")
    yield lambda: reader.get_last_traded_dt(1, "2024-01-09")
    yield lambda: BundleMetadata.load("theirs", folder)
    yield lambda: rows.list_bundles(start_date="2023-01-01")
    yield lambda: rows.get_symbols("theirs")
    yield lambda: catalog.list_bundles()
    yield lambda: catalog.popular_datasets()
    yield lambda: catalog.get_datasets_for_backtest("b")
    yield lambda: catalog.get_dataset_info("d")
    yield lambda: catalog.get_cache_size()
    yield lambda: Lineages(folder).list()
    yield lambda: Lineages(folder).check("b")


def attacked(folder: Path, files: dict[str, bytes]) -> None:
    """Read all of it."""
    for place, data in files.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_bytes(data)
    try:
        every = uses(folder)
        while True:
            with suppress(DataError):
                use = next(every, None)
                if use is None:
                    break
                use()
    finally:
        for place, data in files.items():
            if place.endswith("/data.parquet"):
                assert (folder / place).read_bytes() == data, place


RECORD = f".lineage/{RunFolder(Path()).file('b').name}"
BYTES = ["theirs/" + JANUARY, "theirs/metadata.parquet", "theirs/metadata.db", "metadata.db",
         RECORD]  # fmt: skip
QUICKLY = settings(
    max_examples=300 if FULL else 2, deadline=None, derandomize=not FULL,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip


@pytest.mark.parametrize("place", BYTES)
@QUICKLY
@given(seed=st.integers(0, 2**32), kind=st.sampled_from(["flip", "cut", "zero", "double"]))
def test_changed_bytes_are_typed_errors(
    tmp_path_factory: pytest.TempPathFactory,
    whole: dict[str, bytes],
    place: str,
    seed: int,
    kind: str,
) -> None:
    chosen, data = random.Random(seed), bytearray(whole[place])
    # Where the structure of a Parquet file is, more often than elsewhere.
    at = chosen.randrange(len(data)) if chosen.random() < 0.4 else -chosen.randrange(1, 400)
    at = at % len(data)
    if kind == "flip":
        data[at] ^= 1 << chosen.randrange(8)
    elif kind == "cut":
        del data[at:]
    elif kind == "zero":
        data[at : at + 8] = bytes(len(data[at : at + 8]))
    else:
        data[at:at] = data[at : at + chosen.randrange(64)]
    attacked(tmp_path_factory.mktemp("bytes"), {**whole, place: bytes(data)})


@QUICKLY
@given(data=st.data(), value=VALUES, is_record=st.booleans())
def test_changed_values_of_an_origin_are_typed_errors(
    tmp_path_factory: pytest.TempPathFactory,
    whole: dict[str, bytes],
    data: Any,
    value: Any,
    is_record: bool,
) -> None:
    place = f"theirs/{'metadata.parquet' if is_record else JANUARY}"
    files = dict(whole)
    if not is_record:
        del files["theirs/metadata.parquet"]
    kept = pl.read_parquet_metadata(io.BytesIO(files[place]))
    origin = json.loads(kept["onetape"])
    origin[data.draw(st.sampled_from(sorted(origin)))] = value
    with suppress(ValueError):
        buffer = io.BytesIO()
        metadata = {"schema_version": "1", "onetape": json.dumps(origin)}
        pl.read_parquet(io.BytesIO(files[place])).write_parquet(buffer, metadata=metadata)
        attacked(tmp_path_factory.mktemp("origin"), {**files, place: buffer.getvalue()})


@pytest.mark.parametrize("name", ["sid_first", "sid_last", "sid_rows", "size_bytes"])
def test_records_with_numbers_that_no_bar_has_are_made_again(
    tmp_path: Path, whole: dict[str, bytes], name: str
) -> None:
    for place, data in whole.items():
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(data)
    path = tmp_path / "theirs" / "metadata.parquet"
    reported, metadata = BundleMetadata.load("theirs", tmp_path), pl.read_parquet_metadata(path)
    frame = pl.read_parquet(path)
    wrong = pl.Series(name, [-(2**60)])
    if frame[name].dtype == pl.List(pl.Int64):
        wrong = pl.Series(name, [[-(2**60)] * 2])
    own = {key: metadata[key] for key in ("onetape", "schema_version")}
    frame.with_columns(wrong).write_parquet(path, metadata=own)
    assert BundleMetadata.load("theirs", tmp_path) == reported


def test_a_partition_with_a_date_that_no_bar_has_is_damaged(
    tmp_path: Path, whole: dict[str, bytes]
) -> None:
    frame = pl.read_parquet(io.BytesIO(whole["theirs/" + JANUARY]))
    path = tmp_path / "theirs" / JANUARY
    path.parent.mkdir(parents=True)
    frame.with_columns(date=pl.lit(10**8, pl.Int32).cast(pl.Date)).write_parquet(path)
    with pytest.raises(DataError, match="after 2259"):
        BundleMetadata.load("theirs", tmp_path)


@pytest.mark.parametrize("method", ["more", "eager", "single"])
def test_rows_of_a_partition_are_bounded_before_any_reader_reads_them(
    tmp_path: Path, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    row = pl.read_parquet(io.BytesIO(whole["theirs/" + JANUARY]))[:1]
    count = 200_001
    monkeypatch.setattr(bundle_records, "FEW_ROWS", 1000)
    bomb = pl.select(pl.repeat(row[name][0], count, dtype=row.schema[name]).alias(name)
                     for name in row.columns)  # fmt: skip
    path = tmp_path / JANUARY
    path.parent.mkdir(parents=True)
    bomb.with_columns(more=pl.lit(1)).write_parquet(path, compression="zstd")
    reader = PolarsParquetDailyReader(tmp_path)
    reads: dict[str, Callable[[], Any]] = {
        "more": lambda: reader.load_daily_bars([1], None, None, ["close", "more"]),
        "eager": lambda: reader.load_daily_bars([1], None, None),
        "single": lambda: reader.get_last_traded_dt(1, "2024-02-01"),
    }
    with pytest.raises(DataError, match="declares 200,001 rows"):
        reads[method]()
    lazy = reader.load_raw_arrays([1], ["close"], None, None)
    # Some versions of Polars make errors of their own of ours.
    with pytest.raises((DataError, pl.exceptions.ComputeError), match="declares 200,001 rows"):
        lazy.collect()
