"""The documented adapters: the flow of an ingestion from end to end, signatures, settings, names."""

from __future__ import annotations

import asyncio
import inspect
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from src.data import adapters, errors
from src.data.adapters import base
from src.data.bundles.catalog import DataCatalog
from src.data.data_manager import DataManager
from src.data.errors import QueryError
from src.data.polars.parquet_daily_bars import PolarsParquetDailyReader
from src.data.polars.parquet_writer import ParquetWriter
from src.data.research.bundles.bundle import Bundle
from src.data.research.sources.adapters import AdapterRegistry, BaseDataAdapter, YFinanceAdapter
from src.data.research.sources.sources import DataSource
from src.data.research.sources.vendor_sources import DataSourceRegistry
from tests.research.sources.test_adapter_settings import PRINTED

START, END = pd.Timestamp("2024-01-02"), pd.Timestamp("2024-01-31")
NAMES = [
    "AlpacaAdapter", "AlphaVantageAdapter", "CCXTAdapter", "CCXTDataAdapter", "CSVAdapter",
    "PolygonAdapter", "YFinanceAdapter", "YFinanceDataAdapter",
]  # fmt: skip


@pytest.mark.parametrize("awaits", [False, True])
def test_from_a_vendor_to_a_dataset_that_is_found(
    manager: DataManager, tmp_path: Path, awaits: bool
) -> None:
    """Fetch, validate, standardize, write, checksum, register; then find it, and read it exactly."""
    adapter = adapters.YFinanceAdapter(manager=manager)
    catalog, bundle = DataCatalog(tmp_path / "metadata.db"), Bundle("mine", tmp_path)
    question = (["AAPL", "MSFT"], START, END, "1d", catalog, ParquetWriter(bundle.path))

    async def program() -> str:
        return str(await adapter.ingest(*question))

    dataset = asyncio.run(program()) if awaits else adapter.ingest(*question)
    assert catalog.find_dataset(["AAPL", "MSFT"], START, END, "1d", "yfinance") == dataset
    told = catalog.get_dataset_info(dataset)
    assert (told["source"], told["resolution"]) == ("yfinance", "1d")
    assert told["checksum"] == bundle.records().checksum()
    assert Path(told["parquet_path"]) == bundle.path / "daily_bars"
    reader = PolarsParquetDailyReader(bundle.path)
    stored = manager.get_ohlcv("MSFT", "1d", START.date(), END.date())
    read = reader.load_daily_bars([2], START, END, ["close"])
    assert [float(v) for v in read["close"]] == stored["close"].tolist()
    assert bundle.validate() == ()


def test_a_vendor_adapter_fetches_once_and_raises_the_error_of_the_vendor(
    manager: DataManager, tmp_path: Path
) -> None:
    """The router repeats and waits: the steps do not do so again."""
    adapter = adapters.YFinanceAdapter(manager=manager)
    calls = []
    fetch = adapter.fetch

    async def counted(*question: Any) -> Any:
        calls.append(question)
        return await fetch(*question)

    adapter.fetch = counted  # type: ignore[method-assign]
    catalog = DataCatalog(tmp_path / "metadata.db")
    with pytest.raises(errors.SymbolNotFoundError, match="NOSUCHX"):
        adapter.ingest(["NOSUCHX.L"], START, END, "1d", catalog, ParquetWriter(tmp_path / "mine"))
    assert len(calls) == 1 and not (tmp_path / "mine").exists()


# --- names and signatures ----------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_each_is_a_source_and_has_the_steps(name: str, tmp_path: Path) -> None:
    cls: Any = getattr(adapters, name)
    made = cls(tmp_path) if name == "CSVAdapter" else cls()
    assert isinstance(made, BaseDataAdapter) and isinstance(made, DataSource)
    given = DataSourceRegistry.get_source(made.name)
    assert isinstance(made, type(given)) and made.source_name == made.name == given.name  # type: ignore[attr-defined]
    assert made.max_retries == 1


@pytest.mark.parametrize(
    "function, names",
    [
        (BaseDataAdapter.__init__, "name rate_limit_per_second max_retries initial_retry_delay "
         "backoff_factor validator"),
        (BaseDataAdapter.fetch, "symbols start_date end_date resolution"),
        (BaseDataAdapter.validate, "df"),
        (BaseDataAdapter.standardize, "df"),
        (BaseDataAdapter.ingest, "symbols start_date end_date resolution catalog parquet_writer"),
        (BaseDataAdapter.ingest_to_bundle, "bundle_name symbols start end frequency"),
        (adapters.CCXTAdapter.__init__, "exchange_id testnet api_key api_secret"),
        (AdapterRegistry.register, "name adapter_class"),
        (AdapterRegistry.get_adapter, "name config"),
        (AdapterRegistry.list_adapters, ""),
        (AdapterRegistry.discover_adapters, ""),
        (AdapterRegistry.clear, ""),
    ],
)  # fmt: skip
def test_documented_arguments_come_first(function: Any, names: str) -> None:
    given = [name for name in inspect.signature(function).parameters if name != "self"]
    assert given[: len(names.split())] == names.split()


def test_the_defaults_of_an_adapter_are_the_documented_ones() -> None:
    defaults = inspect.signature(BaseDataAdapter.__init__).parameters
    assert [defaults[name].default for name in list(defaults)[2:7]] == [10, 3, 1.0, 2.0, None]
    assert inspect.iscoroutinefunction(BaseDataAdapter.fetch)


@pytest.mark.parametrize(
    "name, ours",
    [
        ("NetworkError", errors.UnavailableError), ("RateLimitError", errors.RateLimitedError),
        ("QuotaExceededError", errors.RateLimitedError), ("ValidationError", errors.QualityError),
        ("AuthenticationError", errors.AuthenticationError), ("InvalidDataError", errors.QualityError),
        ("SymbolNotFoundError", errors.SymbolNotFoundError),
        ("DataParsingError", errors.ResponseFormatError),
    ],
)  # fmt: skip
def test_documented_errors_are_ours(name: str, ours: type[Exception]) -> None:
    assert getattr(base, name) is ours


def test_the_registry_of_adapters_is_that_of_sources() -> None:
    class Own(BaseDataAdapter):
        async def fetch(self, *question: Any) -> Any:
            return None

    try:
        AdapterRegistry.register(Own)
        AdapterRegistry.register("other", Own)
        assert isinstance(DataSourceRegistry.get_source("own"), Own)
        assert isinstance(AdapterRegistry.get_adapter("other", max_retries=2), Own)
        assert AdapterRegistry.list_adapters() == DataSourceRegistry.list_sources()
        assert {"own", "other", "ccxt"} <= set(AdapterRegistry.discover_adapters())
        with pytest.raises(errors.QueryError):
            AdapterRegistry.register("yahoo", Own)
        with pytest.raises(errors.QueryError, match="is not a source"):
            AdapterRegistry.register("none")
    finally:
        AdapterRegistry.clear()
    assert "own" not in AdapterRegistry.list_adapters()
    with pytest.raises(ValueError, match=r"Unknown data source 'own'\. Available sources: "):
        AdapterRegistry.get_adapter("own")


# --- config/data_adapters.yaml -----------------------------------------------------------------


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file in the working directory, with what the documents print but for the exchange."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "config" / "data_adapters.yaml"
    path.parent.mkdir()
    path.write_text(PRINTED.replace('"binance"', '"kraken"').replace("false        #", "true  #"))
    return path


def test_omitted_arguments_are_taken_from_the_settings_file(
    settings: Path, manager: DataManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert adapters.CCXTAdapter().name == "ccxt:kraken"
    assert adapters.CCXTAdapter(exchange_id="okx").name == "ccxt:okx"
    assert DataSourceRegistry.get_source("ccxt:binance").name == "ccxt:binance"  # type: ignore[attr-defined]
    assert adapters.YFinanceAdapter().adjustment == "all"
    assert adapters.YFinanceAdapter(adjustment="split").adjustment == "split"
    assert adapters.PolygonAdapter().adjustment == "split"
    waited: list[float] = []

    def refuse(*_: Any, timeout: float, **__: Any) -> None:
        waited.append(timeout)
        raise QueryError("not now")

    monkeypatch.setattr(DataManager, "get_ohlcv_batch", refuse)
    for more in ({}, {"timeout": 3}):
        adapter = adapters.YFinanceAdapter(manager=manager, **more)
        with pytest.raises(QueryError, match="not now"):
            adapter.answer(["AAPL"], START, END, "1d", refresh=False)
    assert waited == [30.0, 3]


def test_own_files_are_read_with_the_layout_of_the_settings_file(
    settings: Path, manager: DataManager, tmp_path: Path
) -> None:
    settings.write_text(settings.read_text().replace('delimiter: ","', 'delimiter: ";"'))
    lines = ["Date;Open;High;Low;Close;Volume"]
    lines += [f"2024-01-{day:02d};10;11;9;10.5;100" for day in (2, 3, 4, 5)]
    (tmp_path / "AAPL.csv").write_text("\n".join(lines))
    own = adapters.CSVAdapter(adapters.CSVConfig(tmp_path / "AAPL.csv"), manager=manager)
    with pytest.raises(errors.DataError):
        asyncio.run(own.fetch(["AAPL"], START, pd.Timestamp("2024-01-05"), "1d"))
    adapter = adapters.CSVAdapter(str(tmp_path / "AAPL.csv"), manager=manager)
    frame = asyncio.run(adapter.fetch(["AAPL"], START, pd.Timestamp("2024-01-05"), "1d"))
    assert [float(value) for value in frame["close"]] == [10.5] * 4


def test_mistakes_in_the_settings_file_are_raised_by_the_constructors(settings: Path) -> None:
    settings.write_text("adapters:\n  ccxt: {testnet: true}\n")
    for name in ("ccxt", "yfinance", "csv"):
        with pytest.raises(errors.RulesError, match="test network"):
            DataSourceRegistry.get_source(name)


@pytest.mark.parametrize(
    "named",
    [
        {"start": "2024-06-03", "end": "2024-06-07", "frequency": "1d"},
        {"start_date": "2024-06-03", "end_date": "2024-06-07", "resolution": "1d"},
    ],
)
def test_both_documented_sets_of_names_are_taken(
    manager: DataManager, named: dict[str, Any]
) -> None:
    adapter = YFinanceAdapter(manager=manager)
    frame = asyncio.run(adapter.fetch(["AAPL"], **named))
    assert len(frame) == 5
    assert asyncio.run(adapter.fetch(symbols=["AAPL"], **named)).equals(frame)
    twice = {**named, "start": "2024-06-03", "start_date": "2024-06-03"}
    with pytest.raises(QueryError, match="mean the same"):
        asyncio.run(adapter.fetch(["AAPL"], **twice))
