"""Imports that these packages may make, and signatures that the documentation prints."""

from __future__ import annotations

import inspect
from dataclasses import fields

import pytest

from src.data.bundles.metadata import BundleMetadata
from src.data.polars import aggregation, schemas
from src.data.polars.parquet_daily_bars import PolarsParquetDailyReader
from src.data.polars.parquet_minute_bars import PolarsParquetMinuteReader
from src.data.polars.parquet_writer import ParquetWriter
from tests.contract.source import expect_none, imports, modules, room, targets

# No vendor, HTTP, retry or limit: bars come by the client and the facade alone.
FOREIGN = {"requests", "urllib3", "http", "tenacity", "aiohttp", "socket", "yfinance", "ccxt"}
BELOW = ("vendors", "net", "fundamentals", "provider_selector", "network", "cache")
# Names and families alone; how the text of another program's error is shown; a registered source is
# a vendor too; the time limit and the pauses of a program's own providers; threads that wait in place
# of an event loop.
ALLOWED = {
    "research.loading.providers": {"core.vendors.factory"},
    "research.sources.vendor_sources": {"core.vendors.base", "core.vendors.factory"},
    "research.calls": {"core.net.calls.deadline"},
    "research.loading.failover": {"core.net.limits.circuit_breaker"},
}
EVERYWHERE = {"core.registry", "core.vendors.foreign", "core.net.calls.call_threads"}


def test_the_layer_imports_neither_vendors_nor_the_network() -> None:
    mine = [m for m in modules() if m.top == "research"]
    assert len(mine) > 10
    expect_none(
        [f"{m.name}:{i.line} {i.foreign}" for m in mine for i in imports(m) if i.foreign in FOREIGN]
        + [
            f"{m.name}:{i.line} {t}"
            for m in mine
            for t, i in targets(m)
            if room(t) in BELOW and t not in EVERYWHERE | ALLOWED.get(m.name, set())
        ]
    )


@pytest.mark.parametrize(
    "function, names",
    [
        (PolarsParquetDailyReader.__init__, "parquet_dir enable_cache"),
        (PolarsParquetDailyReader.load_raw_arrays, "sids fields start_date end_date"),
        (PolarsParquetDailyReader.get_last_traded_dt, "asset_sid dt"),
        (PolarsParquetDailyReader.get_value, "sid dt field"),
        (PolarsParquetDailyReader.load_daily_bars, "sids start_date end_date fields"),
        (PolarsParquetDailyReader.load_spot_value, "sids target_date field"),
        (PolarsParquetMinuteReader.load_minute_bars, "sids start_dt end_dt fields"),
        (ParquetWriter.__init__, "bundle_path enable_metadata_catalog"),
        (ParquetWriter.write, "df resolution"),
        (
            ParquetWriter.write_daily_bars,
            "df compression dataset_id source_metadata bundle_name",
        ),
        (
            ParquetWriter.write_minute_bars,
            "df compression dataset_id source_metadata bundle_name",
        ),
        (ParquetWriter.get_compression_stats, ""),
        (BundleMetadata.set_db_path, "db_path"),
        (BundleMetadata.list_bundles, "source_type start_date end_date"),
        (BundleMetadata.add_symbol, "bundle_name symbol asset_type exchange"),
        (aggregation.resample_custom_interval, "df interval time_col"),
        (schemas.get_schema_for_frequency, "frequency"),
    ],
)
def test_the_documented_arguments_of_bundles_come_first(function: object, names: str) -> None:
    given = [name for name in inspect.signature(function).parameters if name != "self"]  # type: ignore[arg-type]
    assert given[: len(names.split())] == names.split()


def test_bundle_metadata_has_the_fields_of_older_programs() -> None:
    assert [field.name for field in fields(BundleMetadata)] == [
        "bundle_name", "symbols", "start_date", "end_date", "frequency", "source_type",
        "ingestion_time", "row_count", "size_bytes", "quality_score", "missing_data_pct",
        "schema_version",
    ]  # fmt: skip
