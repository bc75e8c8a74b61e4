"""The package root: few names, all resolvable, nothing loaded before it is used."""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import subprocess
import sys
import typing

import pytest

import src.data
from src.data.doors.older_paths import NAMES, ROWS
from tests.contract.source import ROOT, modules

HEAVY = ("pandas", "numpy", "requests", "yfinance", "binance", "yaml", "tenacity", "rich",
         "exchange_calendars", "filelock", "sqlite3", "logging", "asyncio")  # fmt: skip
# Removed paths, each with the sentence about its successor.
REMOVED = {path: row.marks["-"] for path, row in ROWS.items() if "-" in row.marks}
# What users' code takes from the root today; none of these may ever vanish.
PROMISED = {
    "DataManager", "get_data_manager", "ProviderSelector", "get_provider_selector", "UnifiedCache",
    "validate_ohlcv_data", "get_data_quality_score",
}  # fmt: skip
# Deep paths of older programs and what they take from there.
DEEP_PATHS = [
    ("data_manager", "DataManager get_data_manager ProviderSelector get_provider_selector"),
    ("data_manager", "RateLimitException NetworkException TimeoutException"),
    ("provider_selector", "ProviderSelector get_provider_selector"),
    ("cache.unified_cache", "UnifiedCache get_unified_cache configure_unified_cache"),
    ("cache.populate_cache", "populate_cache"),
    ("pipeline.run_pipeline", "DataPipelineRunner"),
    ("pipeline.step01_download_alpaca_1m", "AlpacaPipelineDownloader"),
    ("pipeline.step02_calculate_timeframes", "TimeframeCalculator"),
    ("cache.fundamentals_cache", "FundamentalsCache get_fundamentals_cache CacheMetadata"),
    ("cache.fundamentals_combiner", "FundamentalsCombiner get_fundamentals_combiner"),
    ("fundamentals.combiner", "FundamentalsCombiner get_fundamentals_combiner"),
    ("config.fundamentals_config_validator", "FundamentalsConfigValidator"),
    ("config.fundamentals_config_validator", "validate_fundamentals_config"),
    ("utils.populate_cache", "populate_cache"),
    ("utils.refresh_fundamentals_cache", "refresh_symbol_fundamentals get_cached_symbols"),
    ("utils.refresh_fundamentals_cache", "load_symbols_from_file"),
    ("utils.periodic_fundamentals_refresh", "periodic_refresh"),
    ("utils.rate_limiting", "RateLimiter ProviderRateLimiter AdaptiveRateLimiter"),
    ("utils.rate_limiting", "get_provider_limiter configure_provider_limits"),
    ("downloader.fmp_data_downloader", "FMPDataDownloader create_fmp_downloader"),
    ("downloader.mock_data_downloader", "MockDataSource"),
    ("utils.validation", "validate_ohlcv_data get_data_quality_score"),
    ("downloader.base_data_downloader", "BaseDataDownloader"),
    ("downloader.data_downloader_factory", "DataDownloaderFactory"),
    ("downloader.yahoo_data_downloader", "YahooDataDownloader"),
    ("downloader.binance_data_downloader", "BinanceDataDownloader"),
    ("downloader", "BinanceDataDownloader"),
    ("downloader.ibkr_data_downloader", "IBKRDataDownloader"),
    ("downloader.alpaca_data_downloader", "AlpacaDataDownloader"),
    ("downloader.alpha_vantage_data_downloader", "AlphaVantageDataDownloader"),
    ("downloader.ccxt_data_downloader", "CCXTDataDownloader"),
    ("downloader.coingecko_data_downloader", "CoinGeckoDataDownloader"),
    ("downloader.eodhd_data_downloader", "EODHDDataDownloader"),
    ("downloader.finnhub_data_downloader", "FinnhubDataDownloader"),
    ("downloader.local_data_downloader", "LocalDataDownloader"),
    ("downloader.polygon_data_downloader", "PolygonDataDownloader"),
    ("downloader.tiingo_data_downloader", "TiingoDataDownloader"),
    ("downloader.twelvedata_data_downloader", "TwelveDataDataDownloader"),
    ("downloader.paging", "check_symbol"),
    ("downloader.ibkr_downloader", "IBKRDownloader"),
    ("downloader.mock_data_downloader", "MockDataDownloader"),
    ("data_downloader_factory", "DataDownloaderFactory"),
    ("logs", "configure_logging ContextFilter JsonFormatter TextFormatter"),
    ("metrics_prometheus", "start_exporter MetricsCollector"),
    ("polars.cache_manager", "CacheManager LRUCache"),
    ("polars.catalog", "DataCatalog"),
    ("polars.parquet_daily_bars", "PolarsParquetDailyReader"),
    ("polars.parquet_minute_bars", "PolarsParquetMinuteReader"),
    ("polars.parquet_writer", "ParquetWriter"),
    ("polars", "PandasDataPortal PolarsDataPortal scan_series"),
    ("polars.aggregation", "resample_minute_to_daily resample_custom_interval"),
    ("polars.data_portal", "PolarsDataPortal"),
    ("polars.decimals", "decimal_frame float_frame"),
    ("polars.schemas", "get_schema_for_frequency validate_schema"),
    ("bundles", "scan"),
    ("bundles.migration", "HDF5ToParquetMigrator"),
    ("bundles.adapter_bundles", "yfinance_profiling_bundle csv_profiling_bundle"),
    ("bundles.adapter_bundles", "ccxt_hourly_profiling_bundle ccxt_minute_profiling_bundle"),
    ("ohlcv_contract", "REQUIRED_COLUMNS validate_normalized_ohlcv"),
    ("feed.base_live_data_feed", "BaseLiveDataFeed"),
    ("feed.binance_live_feed", "BinanceLiveDataFeed"),
    ("feed.binance_data_feed", "BinanceEnhancedFeed"),
    ("feed.yahoo_live_feed", "YahooLiveDataFeed"),
    ("feed.ibkr_live_feed", "IBKRLiveDataFeed"),
    ("feed.coingecko_live_feed", "CoinGeckoLiveDataFeed"),
    ("feed.file_data_feed", "FileDataFeed"),
    ("feed.data_feed_factory", "DataFeedFactory"),
    ("feed", "BaseLiveDataFeed"),
    ("db.models", "TelegramUser Alert Schedule Setting Feedback CommandAudit Trade BotInstance"),
    ("db.models", "PerformanceMetrics"),
    ("db.models.model_users", "User AuthIdentity VerificationCode Base"),
    (
        "db.models.model_jobs",
        "JobType RunStatus Schedule ScheduleRun ScheduleCreate ScheduleUpdate",
    ),
    (
        "db.models.model_jobs",
        "ScheduleResponse ScheduleRunCreate ScheduleRunUpdate ScheduleRunResponse",
    ),
    (
        "db.services.database_service",
        "get_database_service DatabaseService ReposBundle init_databases",
    ),
    ("db.services.database_service", "database_service"),
    ("db.services.telegram_service", "telegram_service"),
    ("db.services.users_service", "users_service UsersService"),
    ("db.services.trading_service", "trading_service get_bot_configuration_schema"),
    ("db.services.jobs_service", "JobsService"),
    ("db.services.base_service", "BaseDBService with_uow handle_db_error"),
    ("db.repos.repo_telegram", "SettingsRepo FeedbackRepo CommandAuditRepo"),
    ("db.repos.telegram_repository", "TelegramRepository"),
    ("db.repos.repo_users", "UsersRepo VerificationRepo"),
    ("db.repos.repo_trading", "BotsRepo MetricsRepo TradesRepo PositionsRepo TradeRepository"),
    ("db.repos.repo_jobs", "JobsRepository"),
    ("db.core.base", "Base"),
    ("db.core.json_types", "JsonType"),
    ("db.core.database", "DB_URL get_database_url make_engine get_engine get_session_factory"),
    ("db.core.database", "SessionLocal session_scope create_all_tables drop_all_tables"),
]


@pytest.mark.parametrize("name", src.data.__all__)
def test_every_public_name_resolves(name: str) -> None:
    assert getattr(src.data, name) is not None


def test_the_names_are_listed_and_looked_up_on_use() -> None:
    lazy = set(src.data.__all__)
    assert lazy == set(dir(src.data)) - set(vars(src.data))
    assert set(src.data.__all__) <= set(dir(src.data))
    assert lazy >= PROMISED


def test_no_submodule_has_a_public_name() -> None:
    assert colliding({m.name for m in modules()}, src.data.__all__) == set()
    assert colliding({"populate", "a.DataManager"}, ["populate", "DataManager"]) == {"populate"}


def colliding(names: set[str], public: typing.Iterable[str]) -> set[str]:
    return {name for name in names if "." not in name} & set(public)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"onetape\.data.*no attribute 'DataManger'"):
        src.data.DataManger  # noqa: B018 - the access itself is the test
    with pytest.raises(ImportError):
        exec("from src.data import DataManger")


def test_a_patch_at_home_is_seen_at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    from src.data import errors

    stand_in = object()
    assert src.data.QueryError is errors.QueryError
    monkeypatch.setattr(errors, "QueryError", stand_in)
    assert vars(src.data).get("QueryError", src.data.__getattr__("QueryError")) is stand_in


@pytest.mark.parametrize("path, names", DEEP_PATHS)
def test_older_import_paths_work(path: str, names: str) -> None:
    home = importlib.import_module(f"src.data.{path}")
    assert [name for name in names.split() if not hasattr(home, name)] == []


def test_every_module_keeps_its_own_list() -> None:
    names = sorted({m.name for m in modules()} - {"__main__"})
    homes = [importlib.import_module(f"src.data.{name}" if name else "src.data") for name in names]
    lacking = [
        (h.__name__, n) for h in homes for n in getattr(h, "__all__", ()) if not hasattr(h, n)
    ]
    assert lacking == []


@pytest.mark.parametrize("name", sorted(REMOVED))
def test_a_module_that_is_not_served_names_its_successor(name: str) -> None:
    with pytest.raises(
        ImportError, match=re.escape(f"onetape.data.{name} is not available: {REMOVED[name]}")
    ):
        importlib.import_module(f"src.data.{name}")


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_name_that_is_not_served_names_its_successor(name: str) -> None:
    with pytest.raises(
        ImportError, match=re.escape(f"onetape.data.{name} is not available: {NAMES[name]}")
    ):
        exec(f"from src.data import {name}")


@pytest.mark.parametrize("sentence", sorted({*NAMES.values(), *REMOVED.values()}))
def test_a_successor_that_is_named_exists(sentence: str) -> None:
    factory = importlib.import_module("src.data.core.vendors.factory").DataDownloaderFactory
    assert all(hasattr(factory, name) for name in re.findall(r"Factory\.(\w+)\(", sentence))
    for path in re.findall(r"(?<!group )onetape(?:\.\w+)+", sentence):
        module, _, name = path.rpartition(".")
        is_name = hasattr(importlib.import_module(module), name)
        assert is_name or importlib.util.find_spec(path), path


def test_no_name_is_both_served_and_refused() -> None:
    assert set(NAMES) & set(src.data.__all__) == set()
    assert set(ROWS) & {m.name for m in modules() if not m.is_package} == set()
    assert [path for path in REMOVED if ROWS[path].names or len(ROWS[path].marks) > 1] == []


@pytest.mark.parametrize("name", ["base", "base.deeper", "DataSourceFactory"])
def test_a_submodule_of_an_unserved_module_is_refused_with_its_message(name: str) -> None:
    with pytest.raises(
        ImportError,
        match=r"onetape\.data\.utils\.data_handler is not available: use get_ohlcv\(\) of",
    ):
        importlib.import_module(f"src.data.utils.data_handler.{name}")


def loaded_by(statement: str) -> set[str]:
    """Run ``statement`` in a fresh interpreter and return which heavy modules it loaded."""
    script = (
        f"import json, sys; sys.path.insert(0, {str(ROOT)!r}); before = set(sys.modules)\n"
        f"{statement}\nprint(json.dumps(sorted(set(sys.modules) - before)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=300
    )
    names = {name.split(".")[0] for name in json.loads(result.stdout)}
    return names & set(HEAVY)


@pytest.mark.parametrize("root", ["src.data", "onetape"])
def test_importing_the_root_loads_no_heavy_package(root: str) -> None:
    assert loaded_by(f"import {root}; {root}.__version__; dir({root})") == set()


def test_importing_an_error_loads_no_heavy_package() -> None:
    assert loaded_by("from src.data import DataError, IncompleteDataWarning") == set()


def test_a_module_called_like_a_guess_is_imported_without_a_look_at_the_guesses() -> None:
    look = "import sys; assert 'onetape.data.core.guesses' not in sys.modules"
    assert loaded_by(f"from src.data.core import bars, prices; {look}") == set()


def test_the_command_line_starts_without_pandas() -> None:
    assert loaded_by("from src.data.cli import main") & {"pandas", "numpy", "requests"} == set()


def test_importing_get_data_manager_loads_no_pandas() -> None:
    loaded = loaded_by("from src.data import get_data_manager")
    assert loaded & {"pandas", "requests", "sqlite3", "yaml", "exchange_calendars"} == set()


def test_importing_the_data_manager_loads_no_module_that_only_requests_need() -> None:
    below = (
        "cache.actions cache.format cache.lane_files cache.layout cache.legacy cache.read cache.store "
        "model.request.http model.request.shape model.stored.stored prices.adjustment vendors"
    )
    code = (
        "import sys, onetape; onetape.DataManager\n"
        "print(*sorted(n for n in sys.modules if n.startswith('onetape')))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = ran.stdout.split()
    prefixes = tuple(f"onetape.data.core.{name}" for name in below.split())
    assert [name for name in loaded if name.startswith(prefixes)] == []
    assert len(loaded) <= 103, "each module is read before the first answer"


def test_the_probe_sees_loaded_modules() -> None:
    assert loaded_by("import sqlite3") == {"sqlite3"}
