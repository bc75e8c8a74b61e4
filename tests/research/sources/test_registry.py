"""Sources by name, and what their documented constructors take."""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Iterator
from dataclasses import fields
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import polars as pl
import pytest

import src.data.adapters as adapters
from src.data import sources
from src.data.bundles.bundle import Bundle
from src.data.bundles.metadata import BundleMetadata
from src.data.data_manager import DataManager, get_data_manager, reset_data_manager
from src.data.errors import DataError, QueryError, UnknownProviderError
from src.data.jobs.vendors.vendors import describe_vendor
from src.data.research.sources.sources import DataSource, DataSourceMetadata
from src.data.research.sources.vendor_sources import (
    DataSourceRegistry,
    SchemaMapping,
    VendorDataSource,
)
from tests.research.portal.portal_stage import Fake, long_frame

# What the package ccxt has of an exchange takes a second to load.
IS_FULL = bool(os.environ.get("ONETAPE_FULL"))
NAMES = ["alpaca", "alphavantage", "ccxt", "csv", "onetape", "polygon", "yfinance"]


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    yield
    DataSourceRegistry.reset()


@pytest.fixture
def default(rules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DataManager]:
    """Return the manager of this process, whose vendors are the scripted server."""
    monkeypatch.setenv("ONETAPE_RULES", str(rules))
    monkeypatch.setenv("DATA_CACHE_DIR", str(tmp_path / "cache"))
    reset_data_manager()
    yield get_data_manager()
    reset_data_manager()


class MyCustomDataSource(DataSource):
    """As the documents print it, with four methods."""

    async def fetch(self, symbols, start, end, frequency) -> pl.DataFrame:  # type: ignore[no-untyped-def]
        return long_frame({symbol: [1717372800000] for symbol in symbols})

    async def ingest_to_bundle(self, bundle_name, symbols, start, end, frequency):  # type: ignore[no-untyped-def]
        return await super().ingest_to_bundle(bundle_name, symbols, start, end, frequency)

    def get_metadata(self) -> DataSourceMetadata:
        return DataSourceMetadata(source_type="my_custom")

    def supports_live(self) -> bool:
        return False


START, END = pd.Timestamp("2024-06-03"), pd.Timestamp("2024-06-07")


def test_the_printed_new_api(default: DataManager, bundles: Path) -> None:
    """A file of Python with `await` inside, as the documents print it."""

    async def program() -> None:
        source = DataSourceRegistry.get_source("yfinance")
        await source.ingest_to_bundle(
            bundle_name="my-data", symbols=["AAPL"], start=START, end=END, frequency="1d"
        )

    asyncio.run(program())
    metadata = BundleMetadata.load("my-data")
    assert metadata.quality_score == 1.0
    assert metadata.row_count == 5
    assert metadata.source_type == "yahoo"


def test_the_printed_old_api_warns_and_works(default: DataManager, bundles: Path) -> None:
    from src.data.bundles.adapter_bundles import yfinance_profiling_bundle

    with pytest.warns(DeprecationWarning, match=r"get_source\('yfinance'\)") as caught:
        path = yfinance_profiling_bundle(
            symbols=["AAPL"], start_date="2024-06-03", end_date="2024-06-07"
        )
    assert caught[0].filename == __file__
    assert isinstance(path, Path)
    assert BundleMetadata.load("yfinance-profiling").row_count == 5


def test_the_printed_custom_source() -> None:
    DataSourceRegistry.register("my_custom", MyCustomDataSource)
    source = DataSourceRegistry.get_source("my_custom")
    df = asyncio.run(source.fetch(["SYM"], START, END, "1d"))
    assert df["symbol"].to_list() == ["SYM"]
    assert DataSourceRegistry.list_sources() == sorted([*NAMES, "my_custom"])
    info = DataSourceRegistry.get_source_info("my_custom")
    assert info["class_name"] == "MyCustomDataSource"
    assert info["rate_limit"] is None
    DataSourceRegistry.reset()
    assert DataSourceRegistry.list_sources() == NAMES


class Floats(MyCustomDataSource):
    """A source of days with a further column, which counts its calls."""

    asked: ClassVar[list[tuple[str, str, str]]] = []

    async def fetch(self, symbols, start, end, frequency) -> pl.DataFrame:  # type: ignore[no-untyped-def]
        self.asked.append((*symbols, str(start.date()), str(end.date())))
        days = [datetime(2024, 6, day) for day in (3, 4, 6, 7)]
        prices = dict.fromkeys(("open", "high", "low", "close", "volume"), 5.0)
        frame = pl.DataFrame({"timestamp": days, "symbol": symbols[0], **prices, "note": "x"})
        return frame.filter(pl.col("timestamp").is_between(start, end))


def test_a_registered_source_is_a_vendor_whose_bars_are_stored(
    manager: DataManager, tmp_path: Path
) -> None:
    """Stored bars are not requested again, a bundle of them is a view, and an error names the source."""
    DataSourceRegistry.register("mine", Floats)
    Floats.asked.clear()
    week = "1d", "2024-06-03", "2024-06-07"
    bars = manager.get_ohlcv("AAPL", *week, provider="mine")
    assert bars["close"].tolist() == [5.0] * 4
    assert [one["provider"] for one in bars.attrs["onetape"]["attempts"]] == ["mine"]
    assert len(Floats.asked) == 1
    source = VendorDataSource(manager, provider="mine")
    assert source.answer(["AAPL"], START, pd.Timestamp("2024-06-04"), "1d", refresh=False).is_hit
    assert len(Floats.asked) == 1
    path = source.ingest_to_bundle("own", ["AAPL"], *week[1:], "1d", folder=tmp_path)
    assert Bundle("own", tmp_path).records().origin.request is not None and path.name == "own"
    DataSourceRegistry.register("mine", Broken)
    with pytest.raises(DataError, match=r"Broken returned no 1d bars for MSFT .*no such symbol"):
        manager.get_ohlcv("MSFT", *week, provider="mine")
    DataSourceRegistry.reset()
    with pytest.raises(UnknownProviderError, match="mine"):
        VendorDataSource(manager, provider="mine")


def test_a_registered_source_may_ask_the_manager_for_bars_of_another(manager: DataManager) -> None:
    """Its coroutine blocks the loop that runs it; the other source needs one as well."""

    class Asking(MyCustomDataSource):
        async def fetch(self, symbols, start, end, frequency) -> pl.DataFrame:  # type: ignore[no-untyped-def]
            bars = manager.get_ohlcv("AAPL", "1d", "2024-06-03", "2024-06-07", provider="mine")
            return pl.from_pandas(bars.reset_index()).with_columns(pl.col("close") * 1)

    DataSourceRegistry.register("mine", Floats)
    DataSourceRegistry.register("asking", Asking)
    bars = manager.get_ohlcv(
        "MSFT", "1d", "2024-06-03", "2024-06-07", provider="asking", timeout=20
    )
    assert bars["close"].tolist() == [5.0] * 4


class Broken(MyCustomDataSource):
    async def fetch(self, symbols, start, end, frequency) -> pl.DataFrame:  # type: ignore[no-untyped-def]
        raise ValueError("no such symbol")


@pytest.mark.parametrize("name", ["bloomberg", "", "ccxt:../x", 5, "finra", "yfinance:x"])
def test_an_unknown_source_names_those_there_are(name: Any) -> None:
    with pytest.raises(ValueError, match="Unknown data source") as raised:
        DataSourceRegistry.get_source(name)
    assert isinstance(raised.value, UnknownProviderError)
    assert f"Available sources: {', '.join(NAMES)}" in str(raised.value)


@pytest.mark.parametrize(
    "name, cls, why",
    [
        ("yfinance", MyCustomDataSource, "invalid source name"),
        ("tiingo", MyCustomDataSource, "invalid source name"),
        ("a b", MyCustomDataSource, "invalid source name"),
        (None, MyCustomDataSource, "invalid source name"),
        ("mine", object, "lacks fetch, ingest_to_bundle, get_metadata, supports_live"),
        ("mine", MyCustomDataSource(), "lacks a class"),
        ("mine", DataSource, "lacks fetch, get_metadata, ingest_to_bundle, supports_live"),
    ],
)
def test_an_invalid_source_is_not_registered(name: Any, cls: Any, why: str) -> None:
    with pytest.raises(QueryError, match=why):
        DataSourceRegistry.register(name, cls)
    assert DataSourceRegistry.list_sources() == NAMES


def test_four_methods_are_enough_without_the_base_class() -> None:
    DataSourceRegistry.register("Plain", Fake)
    assert isinstance(DataSourceRegistry.get_source("plain", frame="x"), Fake)
    DataSourceRegistry.register("plain", MyCustomDataSource)
    assert isinstance(DataSourceRegistry.get_source("PLAIN"), MyCustomDataSource)


@pytest.mark.parametrize(
    "name, provider, own_name",
    [
        ("yfinance", "yahoo", "yfinance"),
        ("Yahoo", "yahoo", "yfinance"),
        ("alphavantage", "alpha_vantage", "alphavantage"),
        ("av", "alpha_vantage", "alphavantage"),
        ("alpaca", "alpaca", "alpaca"),
        ("massive", "polygon", "polygon"),
        ("csv", "local", "csv"),
        ("tiingo", "tiingo", "tiingo"),
        ("binance", "binance", "binance"),
        ("ccxt", "ccxt:binance", "ccxt:binance"),
        ("ccxt:Kraken", "ccxt:kraken", "ccxt:kraken"),
        ("onetape", None, "onetape"),
    ],
)
def test_each_name_is_a_vendor_of_the_router(
    name: str, provider: str | None, own_name: str
) -> None:
    source = DataSourceRegistry.get_source(name)
    assert isinstance(source, VendorDataSource)
    assert (source.provider, source.name) == (provider, own_name)


@pytest.mark.parametrize("name", [name for name in NAMES if IS_FULL or name != "ccxt"])
def test_source_info_agrees_with_the_vendors_capabilities(default: DataManager, name: str) -> None:
    info = DataSourceRegistry.get_source_info(name)
    assert set(info) == {
        "name", "class_name", "source_type", "supports_live", "auth_required", "rate_limit",
        "data_delay", "supported_frequencies", "metadata",
    }  # fmt: skip
    assert info["name"] == name
    provider = info["metadata"].additional_info["provider"]
    if provider is None:
        assert "yahoo" in info["metadata"].additional_info["vendors"]
        return
    facts = describe_vendor(default.provider_selector, provider)
    assert info["auth_required"] is facts["requires_api_key"]
    assert info["rate_limit"] == facts["per_minute"]
    assert info["supported_frequencies"] == facts["timeframes"]
    assert info["supports_live"] is (name in ("alpaca", "polygon"))
    assert info["metadata"].additional_info["keys"] == facts["keys"]


def test_limits_are_those_of_the_rules(default: DataManager) -> None:
    assert DataSourceRegistry.get_source_info("yfinance")["rate_limit"] == 60000
    assert DataSourceRegistry.get_source_info("polygon")["auth_required"]


# --- documented constructors ------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*no effect:UserWarning")
def test_constructors_accept_their_documented_arguments() -> None:
    """Weakness 72 of the ancestor: its command passed arguments that the constructors did not take."""
    adapters.YFinanceAdapter(request_delay=1.0, fetch_dividends=True, fetch_splits=True)
    kraken = adapters.CCXTAdapter("kraken", testnet=False, api_key="K1", api_secret="S1")
    assert kraken.provider == "ccxt:kraken"
    assert adapters.CCXTDataAdapter(exchange_id="OKX").provider == "ccxt:okx"
    assert adapters.CCXTDataSource(exchange="okx").provider == "ccxt:okx"
    adapters.PolygonAdapter(tier="free", asset_type="stocks", api_key="K2")
    adapters.AlpacaAdapter(is_paper=True, api_key="K3", api_secret="S3")
    adapters.AlphaVantageAdapter(tier="free", asset_type="stocks")
    adapters.CSVAdapter(adapters.CSVConfig("x.csv", SchemaMapping(date_column="Date")))
    for name, config in {
        "csv": {"csv_dir": "."},
        "polygon": {"api_key": "K"},
        "alpaca": {"api_key": "K", "api_secret": "S"},
        "ccxt": {"exchange": "kraken", "api_key": None},
        "yfinance": {"timeout": 30.0, "adjustment": "all"},
    }.items():
        DataSourceRegistry.get_source(name, **config)


def test_keys_that_a_source_does_not_need_are_warned_about() -> None:
    with pytest.warns(UserWarning, match="ccxt:kraken: api_key, api_secret has no effect"):
        adapters.CCXTAdapter("kraken", api_key="K", api_secret="S")
    with pytest.warns(UserWarning, match="polygon: api_secret has no effect"):
        adapters.PolygonAdapter(api_key="K", api_secret="S")


@pytest.mark.parametrize(
    "make, why",
    [
        (lambda: adapters.CCXTAdapter(testnet=True), "test network"),
        (lambda: adapters.CCXTAdapter("../x"), "unknown vendor 'ccxt:../x'"),
        (lambda: adapters.AlpacaAdapter(is_paper=False), "both kinds of accounts"),
        (lambda: adapters.AlpacaAdapter(api_secret="S"), "without api_key"),
        (lambda: adapters.PolygonAdapter(api_key=" "), "a key must be a non-empty string"),
        (lambda: adapters.PolygonAdapter("a-secret-key"), "manager is a str, not a data manager"),
        (lambda: adapters.YFinanceAdapter(provider="tiingo"), "does not take a provider"),
        (lambda: DataSourceRegistry.get_source("yfinance", csv_dir="."), "has no argument csv_dir"),
    ],
)
def test_arguments_that_would_change_the_bars_are_refused(make: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why) as raised:
        make()
    assert isinstance(raised.value, DataError)
    assert "a-secret-key" not in str(raised.value)


def test_adapters_are_the_sources_with_the_steps_of_an_ingestion() -> None:
    for adapter, source in {
        "YFinanceAdapter": "YFinanceDataSource", "CCXTAdapter": "CCXTDataSource",
        "CCXTDataAdapter": "CCXTDataSource", "PolygonAdapter": "PolygonDataSource",
        "AlpacaAdapter": "AlpacaDataSource", "AlphaVantageAdapter": "AlphaVantageDataSource",
        "CSVAdapter": "CSVDataSource",
    }.items():  # fmt: skip
        assert getattr(adapters, source) is getattr(sources, source)
        assert issubclass(getattr(adapters, adapter), getattr(sources, source))
    with pytest.raises(AttributeError, match="no attribute"):
        adapters.Nothing  # noqa: B018 - the access itself is the test
    assert all(hasattr(adapters, name) for name in adapters.__all__)
    assert all(hasattr(sources, name) for name in sources.__all__)


@pytest.mark.parametrize(
    "path, names",
    [
        ("sources.base", "DataSource DataSourceConfig DataSourceMetadata"),
        ("sources.cached_source", "CachedDataSource"),
        ("sources.freshness", "CacheFreshnessPolicy FreshnessPolicyFactory"),
        ("adapters.base", "BaseDataAdapter ValidationError calculate_checksum"),
        ("adapters.registry", "AdapterRegistry"),
    ],
)
def test_documented_import_paths(path: str, names: str) -> None:
    module = import_module(f"src.data.{path}")
    assert set(names.split()) <= set(module.__all__)
    assert all(hasattr(module, name) for name in module.__all__)


@pytest.mark.parametrize(
    "function, names",
    [
        (DataSource.fetch, "symbols start end frequency"),
        (DataSource.ingest_to_bundle, "bundle_name symbols start end frequency"),
        (VendorDataSource.fetch, "symbols start end frequency"),
        (VendorDataSource.ingest_to_bundle, "bundle_name symbols start end frequency"),
        (DataSourceRegistry.get_source, "name config"),
        (DataSourceRegistry.register, "name source_class"),
        (DataSourceRegistry.get_source_info, "name"),
        (DataSourceRegistry.list_sources, ""),
        (DataSourceRegistry.reset, ""),
        (adapters.CCXTAdapter.__init__, "exchange_id testnet api_key api_secret"),
    ],
)
def test_documented_arguments_come_first(function: Any, names: str) -> None:
    given = [name for name in inspect.signature(function).parameters if name != "self"]
    assert given[: len(names.split())] == names.split()


def test_the_fields_of_the_documented_values() -> None:
    assert [one.name for one in fields(adapters.CSVConfig)] == [
        "file_path", "schema_mapping", "delimiter", "has_header", "date_format", "timezone",
        "missing_data_strategy",
    ]  # fmt: skip
    assert [one.name for one in fields(SchemaMapping)] == [
        "date_column", "open_column", "high_column", "low_column", "close_column", "volume_column",
        "symbol_column",
    ]  # fmt: skip
    assert [one.name for one in fields(DataSourceMetadata)] == [
        "source_type", "source_url", "api_version", "supports_live", "rate_limit", "auth_required",
        "data_delay", "supported_frequencies", "additional_info",
    ]  # fmt: skip
    assert inspect.iscoroutinefunction(VendorDataSource.fetch)
    assert not inspect.iscoroutinefunction(VendorDataSource.ingest_to_bundle)
    assert DataSource.__abstractmethods__ == {
        "fetch", "ingest_to_bundle", "get_metadata", "supports_live",
    }  # fmt: skip
