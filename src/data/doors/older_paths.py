"""The table of older paths: what programs import from places where nothing is stored any more.

A line without indentation has one or more paths below ``onetape.data``; a path with a slash at its end
is a package, and a package that serves no names needs no line. The lines below it say what the paths are:

- ``module: name other=name ~name``: Names, each with the module that defines it; ``other=`` is the
  older name, and ``import *`` leaves out a name after ``~``.
- ``* module``: The module itself; the older path is another name for it.
- ``> module: function``: The function that ``python -m`` runs.
- ``! text``: A warning for the line that imports the path.
- ``- text``: The path is not served; the text names its successor.

Some names and paths belonged to a second cache and a second router. These no longer exist, because the
two would disagree, and a program could not know which one had answered.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple, NoReturn

_CACHE = "there is only one cache: use onetape.UnifiedCache"
_MANAGER = "one manager queries all vendors: use onetape.get_data_manager()"
_FACTORY = "use onetape.data.downloader.DataDownloaderFactory"
_VENDOR_CLASS = "subclass onetape.data.downloader.BaseDataDownloader"
_FAST = "frames are already read from memory-mapped columns; there is no replacement"
_BARS = "use get_ohlcv() of onetape.get_data_manager(), and validate_ohlcv_data()"
_EXPIRY = "freshness is decided for each bar, by cache.default_ttl_hours in the rules"
_NOTIFY = "messages are sent by the callable that a program passes to the alert job"
_HEALTH = "use onetape doctor, and metrics() of onetape.get_data_manager()"
_WEB = "onetape report creates pages; users' rights are in onetape.data.db.services.users_service"
_DOMAIN = "it belongs to one program: keep its tables there, using onetape.data.db.Database"
_CATALOG = (
    "onetape.data.catalog is deprecated and will be removed in December 2027 at the "
    "earliest: import DataCatalog from onetape.data.bundles"
)

PATHS = f"""
adapters/
    layer.adapters: AdapterRegistry AlpacaAdapter AlphaVantageAdapter BaseDataAdapter
    layer.adapters: CCXTAdapter=CCXTDataAdapter CCXTDataAdapter CSVAdapter PolygonAdapter
    layer.adapters: YFinanceAdapter YFinanceDataAdapter=YFinanceAdapter
    layer.vendor_sources: AlpacaDataSource AlphaVantageDataSource CCXTDataSource CSVConfig
    layer.vendor_sources: CSVDataSource PolygonDataSource SchemaMapping YFinanceDataSource
adapters.base
    errors: AuthenticationError SymbolNotFoundError
    layer.adapters: BaseDataAdapter DataParsingError InvalidDataError NetworkError
    layer.adapters: QuotaExceededError RateLimitError ValidationError calculate_checksum
adapters.registry
    layer.adapters: AdapterRegistry
bundles/
    layer.catalog: DataCatalog
    layer.lineage: LineageRun Lineages lineage
    layer.scan: scan
bundles.adapter_bundles
    compat.adapter_bundles: ccxt_hourly_profiling_bundle ccxt_minute_profiling_bundle
    compat.adapter_bundles: csv_profiling_bundle yfinance_profiling_bundle
bundles.bundle
    layer.bundle: Bundle BundleChange BundleState FileProblem bundle_names
bundles.catalog
    layer.catalog: DataCatalog DatasetUse cache_key
bundles.export
    layer.lineage_export: export exported
bundles.metadata
    layer.catalog: BundleMetadata
bundles.migration
    layer.migration: HDF5ToParquetMigrator
cache.fill_gaps
    compat.gap_files: fill_gaps
    > compat.gap_commands: main_fill
cache.fundamentals_combiner
    fundamentals.combiner: FundamentalsCombiner get_fundamentals_combiner
cache.populate_cache utils.populate_cache
    compat.populator: CachePopulator
    jobs.populate: populate_cache
    > cli.populate: main
cache.validate_gaps
    compat.gap_files: validate_gaps
    > compat.gap_commands: main_validate
catalog
    layer.catalog: DataCatalog
    ! {_CATALOG}
data_downloader_factory
    vendors.factory: DataDownloaderFactory
db.core.json_types
    db.core.types: JsonType=JsonDocument
downloader/
    vendors.alpaca.bars: AlpacaDataDownloader
    vendors.alpha_vantage.bars: AlphaVantageDataDownloader
    vendors.base: BaseDataDownloader
    vendors.binance.bars: BinanceDataDownloader
    vendors.ccxt.bars: CCXTDataDownloader
    vendors.coingecko.bars: CoinGeckoDataDownloader
    vendors.factory: DataDownloaderFactory
    vendors.demo.bars: DemoDataDownloader
    vendors.eodhd.bars: EODHDDataDownloader
    vendors.fmp.bars: FMPDataDownloader
    vendors.finnhub.bars: FinnhubDataDownloader
    vendors.ibkr.bars: IBKRDataDownloader
    vendors.local.bars: LocalDataDownloader
    vendors.mock.bars: MockDataDownloader
    vendors.polygon.bars: PolygonDataDownloader
    vendors.tiingo.bars: TiingoDataDownloader
    vendors.twelvedata.bars: TwelveDataDataDownloader
    vendors.yahoo.bars: YahooDataDownloader
downloader.alpaca_data_downloader
    vendors.alpaca.bars: AlpacaDataDownloader
downloader.alpha_vantage_data_downloader
    vendors.alpha_vantage.bars: AlphaVantageDataDownloader
downloader.base_data_downloader
    vendors.base: BaseDataDownloader Wired is_ours
downloader.binance_data_downloader
    vendors.binance.bars: BinanceDataDownloader
downloader.ccxt_data_downloader
    vendors.ccxt.bars: CCXTDataDownloader
downloader.coingecko_data_downloader
    vendors.coingecko.bars: CoinGeckoDataDownloader
downloader.data_downloader_factory
    vendors.factory: DataDownloaderFactory ProviderSpec
downloader.eodhd_data_downloader
    vendors.eodhd.bars: EODHDDataDownloader
downloader.finnhub_data_downloader
    vendors.finnhub.bars: FinnhubDataDownloader
downloader.fmp_data_downloader
    vendors.fmp.bars: FMPDataDownloader create_fmp_downloader
downloader.ibkr_data_downloader
    vendors.ibkr.bars: IBKRDataDownloader
downloader.ibkr_downloader
    vendors.ibkr.bars: IBKRDownloader=IBKRDataDownloader
downloader.local_data_downloader
    vendors.local.bars: LocalDataDownloader
downloader.mock_data_downloader
    vendors.mock.bars: MockDataDownloader MockDataSource
downloader.paging
    vendors.paging: check_symbol
downloader.polygon_data_downloader
    vendors.polygon.bars: PolygonDataDownloader
downloader.tiingo_data_downloader
    vendors.tiingo.bars: TiingoDataDownloader
downloader.twelvedata_data_downloader
    vendors.twelvedata.bars: TwelveDataDataDownloader
downloader.yahoo_data_downloader
    vendors.yahoo.bars: YahooDataDownloader
feed.base_live_data_feed
    feed.backtrader.live: BaseLiveDataFeed
feed.binance_data_feed
    feed.backtrader.live: BinanceEnhancedFeed=BinanceLiveDataFeed
feed.binance_live_feed
    feed.backtrader.live: BinanceLiveDataFeed
feed.coingecko_live_feed
    feed.backtrader.live: CoinGeckoLiveDataFeed
feed.data_feed_factory
    compat.data_feed_factory: DataFeedFactory
feed.ibkr_live_feed
    feed.backtrader.live: IBKRLiveDataFeed
feed.yahoo_live_feed
    feed.backtrader.live: YahooLiveDataFeed
logs
    observability.logs: LOGGERS ContextFilter JsonFormatter TextFormatter configure_logging
metrics_prometheus
    observability.prometheus: HasMetrics MetricsCollector start_exporter
ohlcv_contract
    model.frame: REQUIRED_COLUMNS coerce_ohlcv_timestamp_column validate_normalized_ohlcv
pipeline.run_pipeline
    compat.pipeline: DataPipelineRunner main
    > compat.pipeline: main
pipeline.step01_download_alpaca_1m
    compat.pipeline_minutes: AlpacaPipelineDownloader main
    > compat.pipeline_minutes: main
pipeline.step02_calculate_timeframes
    compat.pipeline_timeframes: TimeframeCalculator main
    > compat.pipeline_timeframes: main
polars/
    layer.data_portal: DataPortal
    layer.portal: PandasDataPortal
    layer.polars_portal: PolarsDataPortal
    layer.frames: pl
    layer.series: scan_series
polars.aggregation
    layer.aggregation: resample_custom_interval resample_daily_to_monthly resample_daily_to_weekly
    layer.aggregation: resample_minute_to_daily
polars.cache_manager
    layer.stored: CacheManager LRUCache
polars.catalog
    layer.catalog: DataCatalog
polars.data_portal
    layer.polars_portal: PolarsDataPortal
polars.decimals
    layer.frames: DecimalFrame decimal_frame float_frame
polars.parquet_daily_bars
    layer.bundle_reader: PolarsParquetDailyReader
polars.parquet_minute_bars
    layer.bundle_reader: PolarsParquetMinuteReader
polars.parquet_writer
    layer.bundle_writer: ParquetWriter
polars.schemas
    layer.frames: ADJUSTMENTS_SCHEMA DAILY_BARS_SCHEMA MINUTE_BARS_SCHEMA get_schema_for_frequency
    layer.frames: validate_schema
sources/
    layer.vendor_sources: AlpacaDataSource AlphaVantageDataSource CCXTDataSource CSVConfig
    layer.vendor_sources: CSVDataSource DataSourceRegistry OnetapeDataSource PolygonDataSource
    layer.vendor_sources: SchemaMapping SourceAnswer VendorDataSource YFinanceDataSource
    layer.freshness: AlwaysStaleFreshnessPolicy CacheFreshnessPolicy FreshnessPolicyFactory
    layer.freshness: HybridFreshnessPolicy MarketCloseFreshnessPolicy NeverStaleFreshnessPolicy
    layer.freshness: TTLFreshnessPolicy
    layer.stored: CachedDataSource
    layer.sources: DataSource DataSourceConfig DataSourceMetadata
sources.base
    layer.sources: DataSource DataSourceConfig DataSourceMetadata
sources.cached_source
    layer.stored: CachedDataSource
sources.freshness
    layer.freshness: AlwaysStaleFreshnessPolicy CacheFreshnessPolicy FreshnessPolicyFactory
    layer.freshness: HybridFreshnessPolicy MarketCloseFreshnessPolicy NeverStaleFreshnessPolicy
    layer.freshness: TTLFreshnessPolicy
utils.periodic_fundamentals_refresh
    jobs.refresh_fundamentals: periodic_refresh
    > cli.populate: main_periodic
utils.rate_limiting
    compat.limiters: AdaptiveRateLimiter ProviderRateLimiter RateLimiter configure_provider_limits
    compat.limiters: get_all_provider_stats get_provider_limiter
utils.refresh_fundamentals_cache
    jobs.refresh_fundamentals: cleanup_fundamentals get_cached_symbols load_symbols_from_file
    jobs.refresh_fundamentals: refresh_fundamentals refresh_symbol_fundamentals
    > cli.populate: main_refresh
utils.retry
    compat.retry: TRANSIENT_EXCEPTIONS exponential_backoff request_with_backoff retry_on_exception
    compat.retry: retry_on_rate_limit
utils.validation
    compat.validation: REQUIRED_COLUMNS ValidationResult get_data_quality_score
    compat.validation: parse_interval_to_minutes validate_data_gaps validate_ohlcv_data
    compat.validation: validate_price_consistency validate_timestamps validate_volume_data
v2/
    layer.providers: AlphaVantageProvider DataProvider FMPProvider VendorProvider YFinanceProvider
    layer.providers: provider_for
    compat.data_validator: CheckResult DataAwareStrategySelector DataQualityReport DataQualityScorer
    compat.data_validator: DataValidator
    layer.columnar: ColumnarDataLoader
    layer.data_cache: DataCache
    errors: DataProviderError
    compat.universe_sync: DataSyncManager SyncReport
    layer.failover: HealthStatus MultiProviderDataManager ProviderHealthMonitor
    layer.lazy: LazyDataFrame
    layer.live: LiveDataPipeline PipelineBar
    compat.missing_data: MissingDataHandler
    layer.loader: SmartDataLoader
    layer.v1: V1CompatibilityAdapter
    compat.validation: ValidationResult
    db.symbols.processor: ~CorporateActionsProcessor
    db.universe.definition: ~UniverseDefinition
    db.universe.manager: ~UniverseManager
db.models.model_kestrel db.services.kestrel_service
    - {_DOMAIN}
db.models.model_short_squeeze db.services.short_squeeze_service
    - {_DOMAIN}
db.models.model_notification db.services.notification_service
    - {_NOTIFY}
db.models.model_system_health db.services.system_health_service
    - {_HEALTH}
db.models.model_webui db.services.webui_service
    - {_WEB}
sources.base_data_source
    - {_VENDOR_CLASS}
sources.data_aggregator
    - {_MANAGER}
sources.data_source_factory
    - {_FACTORY}
utils.advanced_caching utils.caching utils.file_based_cache
    - {_CACHE}
utils.data_handler
    - {_BARS}
utils.performance_optimization
    - {_FAST}
"""

# Names in the package root.
NAMES: Mapping[str, str] = MappingProxyType(
    {
        "BaseDataSource": _VENDOR_CLASS,
        "DataSourceFactory": _FACTORY,
        "DataAggregator": _MANAGER,
        "get_data_source_factory": _FACTORY,
        "register_data_source": "register the class as an entry point in the group onetape.providers",
        "create_data_source": "use DataDownloaderFactory.create_downloader()",
        "get_data_source": _MANAGER,
        "get_data_handler": _BARS,
        "DataHandler": _BARS,
        "DataCache": f"{_CACHE}, or onetape.data.v2.DataCache",
        "get_advanced_cache": _CACHE,
        "configure_advanced_cache": _CACHE,
        "LazyDataLoader": _FAST,
        "ParallelProcessor": "use get_ohlcv_batch() of onetape.get_data_manager()",
        "MemoryOptimizer": _FAST,
        "PerformanceMonitor": "use metrics() of onetape.get_data_manager()",
        "get_performance_monitor": "use metrics() of onetape.get_data_manager()",
        "get_memory_optimizer": _FAST,
        "get_data_compressor": _FAST,
        "optimize_dataframe_performance": _FAST,
        "compress_dataframe_efficiently": _FAST,
        "TimeBasedInvalidation": _EXPIRY,
        "VersionBasedInvalidation": _EXPIRY,
    }
)


class OlderPath(NamedTuple):
    """One path of the table.

    Attributes:
        names: Defining module and name of each served name.
        public: Names that ``import *`` imports.
        marks: Text after each of the marks ``*``, ``>``, ``!`` and ``-``.
        is_package: Whether there may be paths below it.
    """

    names: dict[str, tuple[str, str]]
    public: list[str]
    marks: dict[str, str]
    is_package: bool


def _parse(text: str) -> dict[str, OlderPath]:
    """Return the rows of a table, and an empty one for each package that only contains others."""
    rows: dict[str, OlderPath] = {}
    for head, lines in re.findall(r"^(\S.*)\n((?: .*\n)*)", text, re.MULTILINE):
        row = OlderPath({}, [], {}, head.endswith("/"))
        rows.update(dict.fromkeys(head.rstrip("/").split(), row))
        for line in lines.splitlines():
            module, _, rest = line.strip().partition(" ")
            if not module.endswith(":"):
                row.marks[module] = rest
                continue
            for word in rest.split():
                shown, _, name = word.lstrip("~").partition("=")
                row.names[shown] = module[:-1], name or shown
                if not word.startswith("~"):
                    row.public.append(shown)
    for path in [*rows]:
        while path := path.rpartition(".")[0]:
            rows.setdefault(path, OlderPath({}, [], {}, is_package=True))
    return rows


ROWS: Mapping[str, OlderPath] = MappingProxyType(_parse(PATHS))


def refuse_name(name: str) -> NoReturn:
    """Refuse to import a removed name from the package root.

    Raises:
        ImportError: Always; the message names the successor.
    """
    raise ImportError(f"onetape.data.{name} is not available: {NAMES[name]}", name=name)
