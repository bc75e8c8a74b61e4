"""Bundle files with any byte or value changed: typed errors only, and a read changes no bar."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from src.data.bundles import DataCatalog
from src.data.bundles.metadata import BundleMetadata
from src.data.errors import DataError
from src.data.layer.bundle import Bundle, bundle_names
from src.data.polars.parquet_daily_bars import PolarsParquetDailyReader
from src.data.polars.parquet_writer import ParquetWriter
from tests.cache.counts import FULL
from tests.cache.crash import Quick
from tests.polars.bars import days

pytestmark = pytest.mark.timeout(600)
JANUARY = "daily_bars/year=2024/month=01/data.parquet"
HEAD = {"format": 1, "time": "2024-01-01T00:00:00Z"}
LINES: list[dict[str, Any]] = [
    {"type": "lineage", "run": "b", "event": "begin", "keep": None},
    {"type": "lineage", "run": "b", "event": "read", "n": 0, "series": "A 1d", "generation": 1,
     "read": [["2024-01-01", "2024-01-02", 1, "x"]], "adjustment": "split", "provider": None,
     "cache": "/c", "asked": "2024-01-02"},
]  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from([2**63, -(2**80), 10**4000])
    | st.floats() | st.text(max_size=4) | st.sampled_from(["\ud800", "/", "2024-01-01", "a\0b"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return the files of a folder with one bundle and a line of each kind."""
    folder = tmp_path_factory.mktemp("whole")
    bundle = Bundle("theirs", folder, disk=Quick())
    ParquetWriter(bundle.path, disk=Quick()).write(days(date(2024, 1, 2), 4, [1, 2]), "daily")
    lines = (json.dumps({**HEAD, **line}) + "\n" for line in LINES)
    (folder / "catalog.jsonl").write_text("".join(lines))
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
    yield catalog.close


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
            if place.endswith("/data.parquet") or place == "catalog.jsonl":
                assert (folder / place).read_bytes() == data, place


QUICKLY = settings(
    max_examples=300 if FULL else 2, deadline=None, derandomize=not FULL,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip


@QUICKLY
@given(data=st.data(), value=VALUES)
def test_changed_values_of_lines_are_typed_errors(
    tmp_path_factory: pytest.TempPathFactory, whole: dict[str, bytes], data: Any, value: Any
) -> None:
    line = {**HEAD, **data.draw(st.sampled_from(LINES))}
    line[data.draw(st.sampled_from(sorted(line)))] = value
    with suppress(ValueError):  # what JSON has no text for
        text = json.dumps(line)
        log = whole["catalog.jsonl"] + text.encode() + b"\n"
        attacked(tmp_path_factory.mktemp("lines"), {**whole, "catalog.jsonl": log})


@pytest.mark.parametrize("depth", [900, 5000])
def test_lines_that_are_nested_deeply_are_typed_errors(
    tmp_path: Path, whole: dict[str, bytes], depth: int
) -> None:
    """At 900 levels a parser may still read what another function can no longer walk."""
    lines = []
    for line in LINES:
        for field in sorted({*HEAD, *line}):
            text = json.dumps({**HEAD, **line, field: 0})
            lines.append(text.replace(f'"{field}": 0', f'"{field}": {"[" * depth}{"]" * depth}'))
    log = whole["catalog.jsonl"] + "\n".join([*lines, ""]).encode()
    attacked(tmp_path, {**whole, "catalog.jsonl": log})
