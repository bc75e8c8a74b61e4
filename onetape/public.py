"""The public names: the only list of them, by module, each with the module that defines it.

``__all__`` of each module, what it looks up, the types that checkers read, the reference and the list of
promised names are made from it; ``make lists docs`` writes those that are files.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

# Maps each public module to its names, by the module below `onetape.data` that defines them; those that
# the public module defines itself follow `.`.
PUBLIC = {
    "onetape": {
        "data_manager": "DataManager get_data_manager reset_data_manager",
        "core.cache.facade.unified_cache": "UnifiedCache",
        "core.provider_selector": "ProviderSelector get_provider_selector",
        "core.vendors.factory": "register",
        "features.recipes": "register_recipe",
        "features.check": "check_features",
        "core.observability.logs": "configure_logging",
        "core.model.answer.proof": "describe fingerprint",
        "show.charts.picture": "plot",
        "core.model.answer.interchange": "to_polars to_arrow",
        "core.model.identity.listings": "Listing",
        "core.model.market.quote": "Quote Quotes",
        "errors": "DataError QueryError ProviderError NoDataError IncompleteDataError IncompleteDataWarning",
        "_version": "__version__",
    },
    "onetape.aio": {".": "AsyncDataManager get_data_manager"},
    "onetape.bundles": {
        "research.bundles.bundle": "Bundle bundle_names",
        "research.catalog.catalog": "BundleMetadata DataCatalog",
        "research.bundles.scan": "scan",
        "research.frames.series": "scan_series",
        "research.bundles.sql": "query",
        "research.lineage.lineage": "lineage LineageRun Lineages",
        "research.lineage.lineage_export": "exported",
        "research.portal.data_portal": "DataPortal",
        "research.portal.portal": "PandasDataPortal",
        "research.portal.polars_portal": "PolarsDataPortal",
        "research.bundles.bundle_reader": "PolarsParquetDailyReader PolarsParquetMinuteReader",
        "research.bundles.bundle_writer": "ParquetWriter",
        "research.frames.frames": "decimal_frame float_frame",
        "research.catalog.migration": "HDF5ToParquetMigrator",
    },
    "onetape.currencies": {"research.currencies": "convert"},
    "onetape.db": {
        "db.core.database": "Database SessionLocal get_database adapted locked",
        "db.symbols.models": "Symbol",
        "db.symbols.processor": "CorporateActionsProcessor",
        "db.symbols.tables": "import_changes resolve",
        "db.universe.definition": "UniverseDefinition",
        "db.universe.manager": "UniverseManager StoredUniverses open_universes",
        "db.alert_records": "StoredAlerts",
    },
    "onetape.db.models": {
        "db.core.base": "Base",
        "db.models.model_users": "AuthIdentity TelegramUser User VerificationCode",
        "db.models.model_telegram": "CommandAudit Feedback Setting",
        "db.models.model_jobs": (
            "Alert JobType RunStatus Schedule ScheduleCreate ScheduleResponse ScheduleRun "
            "ScheduleRunCreate ScheduleRunResponse ScheduleRunUpdate ScheduleUpdate"
        ),
        "db.models.model_trading": "BotInstance PerformanceMetrics Position Trade",
    },
    "onetape.db.repos": {
        "db.repos.repo_users": "UsersRepo VerificationRepo",
        "db.repos.repo_telegram": "CommandAuditRepo FeedbackRepo SettingsRepo TelegramRepository",
        "db.repos.repo_jobs": "AlertsRepo JobsRepository SchedulesRepo",
        "db.repos.repo_trading": "BotsRepo MetricsRepo PositionsRepo TradeRepository TradesRepo",
    },
    "onetape.db.services": {
        "db.services.database_service": (
            "DatabaseService ReposBundle database_service get_database_service init_databases"
        ),
        "db.services.base_service": "BaseDBService handle_db_error with_uow",
        "db.services.jobs_service": "JobsService",
        "db.services.telegram_service": "TelegramService new_verification_code telegram_service",
        "db.services.trading_service": "TradingService get_bot_configuration_schema trading_service",
        "db.services.users_service": "UsersService users_service",
    },
    "onetape.errors": {
        "errors": (
            "DataError ConfigError RulesError MissingCredentialsError UnknownProviderError "
            "MissingExtraError QueryError BadSymbolError BadTimeframeError BadRangeError "
            "UniverseError FeatureError NoProviderError ProviderError TransientError "
            "ProviderTimeoutError UnavailableError ForeignError RateLimitedError RefusedError "
            "AuthenticationError EntitlementError RegionError UnsupportedError SymbolNotFoundError "
            "CapabilityError NoDataError ResponseFormatError QualityError KindMismatchError "
            "SpliceConflictError CircuitOpenError AllProvidersFailedError DataProviderError "
            "UnknownSymbolError IncompleteDataError FeedLagError DataPortalError "
            "NoDataAvailableError LookaheadError IncompleteDataWarning SeriesEndedWarning "
            "SurvivorshipWarning ReadOnlyCacheWarning CacheError CorruptEntryError "
            "FormatVersionError LockTimeoutError StorageError LogUnreachableError OvertakenError "
            "BundleError BundleNotFoundError DecimalRangeError DatabaseError DatabaseUrlError "
            "SchemaError"
        ),
    },
    "onetape.feeds": {
        "feed.live_feed": "LiveFeed",
        "feed.file_data_feed": "FileDataFeed",
        "feed.replay": "replay_feed",
        "feed.backtrader.live": (
            "BaseLiveDataFeed BinanceLiveDataFeed CoinGeckoLiveDataFeed IBKRLiveDataFeed "
            "YahooLiveDataFeed"
        ),
        "feed.backtrader.backtest": "BacktestFeed",
        "feed.backtrader.feed": "BacktraderFeed run_live",
        "doors.compat.data_feed_factory": "DataFeedFactory",
        "core.config.feed_presets": "load_preset",
    },
    "onetape.futures": {"research.futures": "stitch rolls_by_days rolls_by_volume"},
    "onetape.jobs": {
        "jobs.fill.populate": "populate_cache populate_series sync_cache",
        "jobs.fill.refresh_plan": "Choice",
        "jobs.fill.refresh_fundamentals": (
            "Refresh periodic_refresh refresh_fundamentals refresh_symbol_fundamentals"
        ),
        "core.config.fundamentals_config_validator": "validate_fundamentals_config",
        "jobs.validation.repair": "repaired",
        "jobs.validation.validate": "validate_series",
        "jobs.validation.verify": "verify",
        "core.prices.judgement.precision": "MEASURED",
        "jobs.alerting.types": "Alert",
        "jobs.alerting.job": "AlertJob Message",
        "jobs.alerting.bars": "read_bars",
        "core.model.request.outcome": "Outcome",
        "core.model.words.printable": "printable",
        "doors.compat.gap_files": "fill_gaps validate_gaps",
        "doors.compat.pipeline": "DataPipelineRunner",
        "core.observability.logs": "ContextFilter JsonFormatter TextFormatter",
        "core.observability.prometheus": "MetricsCollector start_exporter",
    },
    "onetape.receipts": {
        "research.receipts.made": "make",
        "research.receipts.receipt": "Line Receipt read_receipt",
        "research.receipts.verify": "Finding Findings verify",
        "research.receipts.compare": "differences in_toto",
    },
    "onetape.sources": {
        "research.sources.sources": "DataSource DataSourceConfig DataSourceMetadata",
        "research.sources.vendor_sources": (
            "AlpacaDataSource AlphaVantageDataSource CCXTDataSource CSVConfig CSVDataSource "
            "DataSourceRegistry OnetapeDataSource PolygonDataSource SchemaMapping SourceAnswer "
            "VendorDataSource YFinanceDataSource"
        ),
        "research.sources.frame_store": "FrameStore",
        "research.sources.cache_manager": "CacheManager",
        "research.sources.cached_source": "CachedDataSource",
        "research.sources.source_due": (
            "AlwaysStaleFreshnessPolicy CacheFreshnessPolicy FreshnessPolicyFactory "
            "HybridFreshnessPolicy MarketCloseFreshnessPolicy NeverStaleFreshnessPolicy "
            "TTLFreshnessPolicy"
        ),
        "research.sources.adapters": "BaseDataAdapter",
        "research.loading.providers": (
            "AlphaVantageProvider DataProvider FMPProvider YFinanceProvider provider_for"
        ),
        "research.loading.columnar": "ColumnarDataLoader",
        "research.loading.data_cache": "DataCache",
        "research.loading.failover": "MultiProviderDataManager ProviderHealthMonitor",
        "research.loading.live": "LiveDataPipeline",
        "research.loading.loader": "SmartDataLoader",
        "research.loading.v1": "V1CompatibilityAdapter",
        "research.frames.lazy": "LazyDataFrame",
        "doors.compat.data_validator": (
            "DataAwareStrategySelector DataQualityReport DataQualityScorer DataValidator"
        ),
        "doors.compat.missing_data": "MissingDataHandler",
        "doors.compat.universe_sync": "DataSyncManager",
    },
    "onetape.testing": {".": "examine", "core.clock": "ManualClock"},
    "onetape.vendors": {
        "core.vendors.base": "BaseDataDownloader",
        "core.vendors.factory": "DataDownloaderFactory register",
        "core.vendors.dates": "day label list_of number stamp_of",
        "core.vendors.paging": "check_interval check_symbol",
        "core.own_loops.limiters": "RateLimiter",
        "core.model.request.capabilities": "BarPage Capabilities FetchQuery Fetched Limits",
        "core.model.request.http": "HttpRequest HttpResponse",
        "core.model.identity.instrument": "Instrument",
        "core.model.identity.kind": "Kind",
        "core.model.market.bars": "Bar",
        "core.model.time.span": "Span",
        "core.model.time.timeframe": "Timeframe",
        "core.net.http.status": "error_of",
        "core.vendors.fundamentals_table": "SYMBOL Ask Key Pick TableAnswer VendorTable",
        "core.model.market.stream": (
            "Heard Ready StreamAddress StreamEvent StreamRefusal StreamReply Subscribed Topic"
        ),
        "core.vendors.stream_protocol": "StreamTraits bar_of key_of seen spelled understood",
    },
    "onetape.yf": {
        "doors.yf.arguments": "NotServedError",
        "doors.yf.download": "download",
        "doors.yf.not_served": "set_tz_cache_location",
        "doors.yf.search": "Search",
        "doors.yf.ticker": "FastInfo Ticker Tickers",
    },
}
# Names that the root has besides those in its `__all__`, for programs of earlier versions; also the errors.
UNLISTED = {
    "core.model.answer.frame": "coerce_ohlcv_timestamp_column",
    "doors.compat.data_feed_factory": "DataFeedFactory",
    "core.own_loops.limiters": "RateLimiter",
    "doors.compat.validation": "validate_ohlcv_data get_data_quality_score",
}


def homes(*tables: dict[str, str]) -> dict[str, str]:
    """Return the module of each name in some tables of this list."""
    return {
        name: home for table in tables for home, names in table.items() for name in names.split()
    }


# The names of `onetape.data`: those in the root's `__all__`, its others, and the errors.
OF_DATA = homes(PUBLIC["onetape"], UNLISTED, PUBLIC["onetape.errors"])


def homes_of(module: str) -> dict[str, str]:
    """Return the module of each name of a public module, which for vendors include each vendor's class."""
    found = homes(PUBLIC[module])
    if module == "onetape.vendors":
        from .data.core.registry import VENDORS

        paths = [row.bars.split(":") for row in VENDORS.values() if row.bars]
        found |= {name: f"core.vendors.{home}" for home, name in paths}
    return found


def find(name: str, home: str) -> Any:
    """Return a name from its module, without keeping it, so that a patched module is respected.

    Raises:
        MissingExtraError: The module, or a package that it needs, is not installed.
    """
    from .data.core.parts import load_part

    if home not in ("errors", "_version"):
        # First, because a fork then waits for the imports that follow.
        from .data.core.runtime import forks as forks
    return getattr(load_part(home), name)


def door(module: str) -> tuple[tuple[str, ...], Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``__all__``, ``__getattr__`` and ``__dir__`` of a public module."""
    names = homes_of(module)
    parts = [one.rpartition(".")[2] for one in PUBLIC if one.rpartition(".")[0] == module]

    def look_up(name: str) -> Any:
        """Return a public name or module; the error for any other name suggests a similar one."""
        if name in names:
            return find(name, names[name])
        if name in parts:
            return import_module(f"{module}.{name}")
        if not name.startswith("_"):
            from .data.core.guesses import refuse_package_name

            refuse_package_name(module, name, (*names, *parts), find("DataManager", "data_manager"))
        raise AttributeError(f"module {module!r} has no attribute {name!r}")

    def list_names() -> list[str]:
        """List the public names and modules, and attributes such as ``__file__``."""
        own = vars(import_module(module))
        return sorted({*names, *parts, *(name for name in own if name.startswith("__"))})

    return tuple(names), look_up, list_names
