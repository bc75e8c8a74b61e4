"""Bundle files with any byte or value changed: typed errors only, and a read changes no bar."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from src.data.bundles import DataCatalog, Lineages, lineage
from src.data.bundles.metadata import BundleMetadata
from src.data.errors import DataError
from src.data.polars.parquet_daily_bars import PolarsParquetDailyReader
from src.data.polars.parquet_writer import ParquetWriter
from src.data.research.bundles.bundle import Bundle, bundle_names
from src.data.research.lineage.run_records import RunFolder
from tests.core.cache.counts import FULL
from tests.core.cache.crash import Quick
from tests.research.bundles.bars import days

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
BYTES = ["metadata.db", RECORD]
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
