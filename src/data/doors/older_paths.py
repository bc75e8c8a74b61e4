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
from importlib.util import find_spec
from types import MappingProxyType
from typing import NamedTuple, NoReturn

_CACHE = "there is only one cache: use onetape.UnifiedCache"
_MANAGER = "one manager queries all vendors: use onetape.get_data_manager()"
_FACTORY = "use onetape.vendors.DataDownloaderFactory"
_VENDOR_CLASS = "subclass onetape.vendors.BaseDataDownloader"
_FAST = "frames are already read from memory-mapped columns; there is no replacement"
_BARS = "use get_ohlcv() of onetape.get_data_manager(), and validate_ohlcv_data()"
_EXPIRY = "freshness is decided for each bar, by cache.default_ttl_hours in the rules"
_NOTIFY = "messages are sent by the callable that a program passes to the alert job"
_HEALTH = "use onetape doctor, and metrics() of onetape.get_data_manager()"
_CONFIRM = (
    "bars of a second vendor are compared on request: use verify() of onetape.jobs, or "
    "validate(..., level='corroborated') of onetape.get_data_manager()"
)
_WEB = "onetape report creates pages; users' rights are in onetape.db.services.users_service"
_DOMAIN = "it belongs to one program: keep its tables there, using onetape.db.Database"
_CATALOG = (
    "onetape.data.catalog is deprecated and will be removed in December 2027 at the "
    "earliest: import DataCatalog from onetape.bundles"
)

PATHS = f"""
adapters/
    research.sources.adapters: AdapterRegistry AlpacaAdapter AlphaVantageAdapter BaseDataAdapter
    research.sources.adapters: CCXTAdapter=CCXTDataAdapter CCXTDataAdapter CSVAdapter PolygonAdapter
    research.sources.adapters: YFinanceAdapter YFinanceDataAdapter=YFinanceAdapter
    research.sources.vendor_sources: AlpacaDataSource AlphaVantageDataSource CCXTDataSource CSVConfig
    research.sources.vendor_sources: CSVDataSource PolygonDataSource SchemaMapping YFinanceDataSource
adapters.base
    errors: AuthenticationError SymbolNotFoundError
    research.sources.adapters: BaseDataAdapter DataParsingError InvalidDataError NetworkError
    research.sources.adapters: QuotaExceededError RateLimitError ValidationError calculate_checksum
adapters.registry
    research.sources.adapters: AdapterRegistry
bundles/
    research.catalog.catalog: DataCatalog
    research.lineage.lineage: LineageRun Lineages lineage
    research.bundles.scan: scan
bundles.adapter_bundles
    doors.compat.adapter_bundles: ccxt_hourly_profiling_bundle ccxt_minute_profiling_bundle
    doors.compat.adapter_bundles: csv_profiling_bundle yfinance_profiling_bundle
bundles.bundle
    research.bundles.bundle: Bundle BundleChange BundleState FileProblem bundle_names
bundles.catalog
    research.catalog.catalog: DataCatalog DatasetUse cache_key
bundles.export
    research.lineage.lineage_export: export exported
bundles.metadata
    research.catalog.catalog: BundleMetadata
bundles.migration
    research.catalog.migration: HDF5ToParquetMigrator
cache.fill_gaps
    doors.compat.gap_files: fill_gaps
    > doors.compat.gap_commands: main_fill
cache.fundamentals_cache
    * core.cache.beside.fundamentals_cache
cache.fundamentals_combiner
    core.fundamentals.combiner: FundamentalsCombiner get_fundamentals_combiner
cache.populate_cache utils.populate_cache
    doors.compat.populator: CachePopulator
    jobs.fill.populate: populate_cache
    > cli.populate: main
cache.unified_cache
    * core.cache.facade.unified_cache
cache.validate_gaps
    doors.compat.gap_files: validate_gaps
    > doors.compat.gap_commands: main_validate
catalog
    research.catalog.catalog: DataCatalog
    ! {_CATALOG}
config.fundamentals_config_validator
    * core.config.fundamentals_config_validator
data_downloader_factory
    core.vendors.factory: DataDownloaderFactory
db.core.json_types
    db.core.types: JsonType=JsonDocument
db.repos.telegram_repository
    db.repos.repo_telegram: TelegramRepository
downloader/
    core.vendors.alpaca.bars: AlpacaDataDownloader
    core.vendors.alpha_vantage.bars: AlphaVantageDataDownloader
    core.vendors.base: BaseDataDownloader
    core.vendors.binance.bars: BinanceDataDownloader
    core.vendors.ccxt.bars: CCXTDataDownloader
    core.vendors.coingecko.bars: CoinGeckoDataDownloader
    core.vendors.factory: DataDownloaderFactory
    core.vendors.demo.bars: DemoDataDownloader
    core.vendors.eodhd.bars: EODHDDataDownloader
    core.vendors.fmp.bars: FMPDataDownloader
    core.vendors.finnhub.bars: FinnhubDataDownloader
    core.vendors.ibkr.bars: IBKRDataDownloader
    core.vendors.local.bars: LocalDataDownloader
    core.vendors.mock.bars: MockDataDownloader
    core.vendors.polygon.bars: PolygonDataDownloader
    core.vendors.tiingo.bars: TiingoDataDownloader
    core.vendors.twelvedata.bars: TwelveDataDataDownloader
    core.vendors.yahoo.bars: YahooDataDownloader
downloader.alpaca_data_downloader
    core.vendors.alpaca.bars: AlpacaDataDownloader
downloader.alpha_vantage_data_downloader
    core.vendors.alpha_vantage.bars: AlphaVantageDataDownloader
downloader.base_data_downloader
    core.vendors.base: BaseDataDownloader Wired is_ours
downloader.binance_data_downloader
    core.vendors.binance.bars: BinanceDataDownloader
downloader.ccxt_data_downloader
    core.vendors.ccxt.bars: CCXTDataDownloader
downloader.coingecko_data_downloader
    core.vendors.coingecko.bars: CoinGeckoDataDownloader
downloader.data_downloader_factory
    core.vendors.factory: DataDownloaderFactory ProviderSpec
downloader.eodhd_data_downloader
    core.vendors.eodhd.bars: EODHDDataDownloader
downloader.finnhub_data_downloader
    core.vendors.finnhub.bars: FinnhubDataDownloader
downloader.fmp_data_downloader
    core.vendors.fmp.bars: FMPDataDownloader create_fmp_downloader
downloader.ibkr_data_downloader
    core.vendors.ibkr.bars: IBKRDataDownloader
downloader.ibkr_downloader
    core.vendors.ibkr.bars: IBKRDownloader=IBKRDataDownloader
downloader.local_data_downloader
    core.vendors.local.bars: LocalDataDownloader
downloader.mock_data_downloader
    core.vendors.mock.bars: MockDataDownloader MockDataSource
downloader.paging
    core.vendors.paging: check_symbol
downloader.polygon_data_downloader
    core.vendors.polygon.bars: PolygonDataDownloader
downloader.tiingo_data_downloader
    core.vendors.tiingo.bars: TiingoDataDownloader
downloader.twelvedata_data_downloader
    core.vendors.twelvedata.bars: TwelveDataDataDownloader
downloader.yahoo_data_downloader
    core.vendors.yahoo.bars: YahooDataDownloader
feed.base_live_data_feed
    feed.backtrader.live: BaseLiveDataFeed
feed.binance_data_feed
    feed.backtrader.live: BinanceEnhancedFeed=BinanceLiveDataFeed
feed.binance_live_feed
    feed.backtrader.live: BinanceLiveDataFeed
feed.coingecko_live_feed
    feed.backtrader.live: CoinGeckoLiveDataFeed
feed.data_feed_factory
    doors.compat.data_feed_factory: DataFeedFactory
feed.ibkr_live_feed
    feed.backtrader.live: IBKRLiveDataFeed
feed.yahoo_live_feed
    feed.backtrader.live: YahooLiveDataFeed
fundamentals.combiner
    * core.fundamentals.combiner
jobs.alerts
    jobs.alerting.bars: ~ClosedBars ~Problem read_bars
    jobs.alerting.job: AlertJob ~AlertRecords Message ~RunReport ~StoredAlert
    jobs.alerting.state: ~AlertState
    jobs.alerting.types: Alert crossings evaluate ~bars_needed
layer.freshness
    * research.sources.source_due
layer.stored
    research.sources.cache_manager: CacheManager LRUCache
    research.sources.cached_source: CachedDataSource
    research.sources.frame_store: FrameStore StoredFrame
    ! onetape.data.layer.stored is deprecated: import its names from onetape.sources
logs
    core.observability.logs: LOGGERS ContextFilter JsonFormatter TextFormatter configure_logging
metrics_prometheus
    core.observability.prometheus: HasMetrics MetricsCollector start_exporter
ohlcv_contract
    core.model.answer.frame: REQUIRED_COLUMNS coerce_ohlcv_timestamp_column validate_normalized_ohlcv
pipeline.run_pipeline
    doors.compat.pipeline: DataPipelineRunner main
    > doors.compat.pipeline: main
pipeline.step01_download_alpaca_1m
    doors.compat.pipeline_minutes: AlpacaPipelineDownloader main
    > doors.compat.pipeline_minutes: main
pipeline.step02_calculate_timeframes
    doors.compat.pipeline_timeframes: TimeframeCalculator main
    > doors.compat.pipeline_timeframes: main
polars/
    research.portal.data_portal: DataPortal
    research.portal.portal: PandasDataPortal
    research.portal.polars_portal: PolarsDataPortal
    research.frames.frames: pl
    research.frames.series: scan_series
polars.aggregation
    research.frames.aggregation: resample_custom_interval resample_daily_to_monthly resample_daily_to_weekly
    research.frames.aggregation: resample_minute_to_daily
polars.cache_manager
    research.sources.cache_manager: CacheManager LRUCache
polars.catalog
    research.catalog.catalog: DataCatalog
polars.data_portal
    research.portal.polars_portal: PolarsDataPortal
polars.decimals
    research.frames.frames: DecimalFrame decimal_frame float_frame
polars.parquet_daily_bars
    research.bundles.bundle_reader: PolarsParquetDailyReader
polars.parquet_minute_bars
    research.bundles.bundle_reader: PolarsParquetMinuteReader
polars.parquet_writer
    research.bundles.bundle_writer: ParquetWriter
polars.schemas
    research.frames.frames: ADJUSTMENTS_SCHEMA DAILY_BARS_SCHEMA MINUTE_BARS_SCHEMA get_schema_for_frequency
    research.frames.frames: validate_schema
provider_selector
    * core.provider_selector
quality.gaps
    * jobs.validation.gap_classes
sources/
    research.sources.vendor_sources: AlpacaDataSource AlphaVantageDataSource CCXTDataSource CSVConfig
    research.sources.vendor_sources: CSVDataSource DataSourceRegistry OnetapeDataSource PolygonDataSource
    research.sources.vendor_sources: SchemaMapping SourceAnswer VendorDataSource YFinanceDataSource
    research.sources.source_due: AlwaysStaleFreshnessPolicy CacheFreshnessPolicy FreshnessPolicyFactory
    research.sources.source_due: HybridFreshnessPolicy MarketCloseFreshnessPolicy NeverStaleFreshnessPolicy
    research.sources.source_due: TTLFreshnessPolicy
    research.sources.cached_source: CachedDataSource
    research.sources.sources: DataSource DataSourceConfig DataSourceMetadata
sources.base
    research.sources.sources: DataSource DataSourceConfig DataSourceMetadata
sources.cached_source
    research.sources.cached_source: CachedDataSource
sources.freshness
    research.sources.source_due: AlwaysStaleFreshnessPolicy CacheFreshnessPolicy FreshnessPolicyFactory
    research.sources.source_due: HybridFreshnessPolicy MarketCloseFreshnessPolicy NeverStaleFreshnessPolicy
    research.sources.source_due: TTLFreshnessPolicy
utils.periodic_fundamentals_refresh
    jobs.fill.refresh_fundamentals: periodic_refresh
    > cli.populate: main_periodic
utils.rate_limiting
    core.own_loops.limiters: AdaptiveRateLimiter ProviderRateLimiter RateLimiter configure_provider_limits
    core.own_loops.limiters: get_all_provider_stats get_provider_limiter
utils.refresh_fundamentals_cache
    jobs.fill.refresh_fundamentals: cleanup_fundamentals get_cached_symbols load_symbols_from_file
    jobs.fill.refresh_fundamentals: refresh_fundamentals refresh_symbol_fundamentals
    > cli.populate: main_refresh
utils.retry
    core.own_loops.retry: TRANSIENT_EXCEPTIONS exponential_backoff request_with_backoff retry_on_exception
    core.own_loops.retry: retry_on_rate_limit
utils.validation
    doors.compat.validation: REQUIRED_COLUMNS ValidationResult get_data_quality_score
    doors.compat.validation: parse_interval_to_minutes validate_data_gaps validate_ohlcv_data
    doors.compat.validation: validate_price_consistency validate_timestamps validate_volume_data
v2/
    research.loading.providers: AlphaVantageProvider DataProvider FMPProvider VendorProvider YFinanceProvider
    research.loading.providers: provider_for
    doors.compat.data_validator: CheckResult DataAwareStrategySelector DataQualityReport DataQualityScorer
    doors.compat.data_validator: DataValidator
    research.loading.columnar: ColumnarDataLoader
    research.loading.data_cache: DataCache
    errors: DataProviderError
    doors.compat.universe_sync: DataSyncManager SyncReport
    research.loading.failover: HealthStatus MultiProviderDataManager ProviderHealthMonitor
    research.frames.lazy: LazyDataFrame
    research.loading.live: LiveDataPipeline PipelineBar
    doors.compat.missing_data: MissingDataHandler
    research.loading.loader: SmartDataLoader
    research.loading.v1: V1CompatibilityAdapter
    doors.compat.validation: ValidationResult
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
jobs.confirm
    - {_CONFIRM}
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
        "create_data_source": "use create_downloader() of onetape.vendors.DataDownloaderFactory",
        "get_data_source": _MANAGER,
        "get_data_handler": _BARS,
        "DataHandler": _BARS,
        "DataCache": f"{_CACHE}, or onetape.sources.DataCache",
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

# Inner modules that pages showed before they moved: after the module whose names replace them, the package
# of each now, and its older path. Importing one by this path warns.
MOVED = """
onetape core: hosts
onetape core.model.answer: model.frame model.interchange model.proof
onetape core.model.identity: model.listings
onetape core.model.market: model.quote
onetape core.model.words: model.printable
onetape core.observability: observability.logs
onetape doors.compat: compat.validation
onetape features: indicators.check indicators.recipes indicators.rolling
onetape jobs.run: jobs.nights
onetape show.charts: charts.picture
onetape.bundles research.bundles: layer.sql
onetape.feeds core.config: config.feed_presets
onetape.feeds doors.compat: compat.data_feed_factory
onetape.jobs core.model.request: model.outcome
onetape.jobs core.observability: observability.prometheus
onetape.jobs core.prices.judgement: prices.judgement.precision
onetape.jobs jobs.fill: jobs.populate jobs.refresh_fundamentals
onetape.jobs jobs.validation: jobs.validate jobs.verify quality.repair
onetape.testing core: clock
onetape.vendors core.model.identity: model.instrument model.kind
onetape.vendors core.model.market: model.bars model.stream
onetape.vendors core.model.request: model.capabilities model.http
onetape.vendors core.model.time: model.span model.timeframe
onetape.vendors core.net.http: net.status
onetape.vendors core.own_loops: compat.limiters
onetape.vendors core.vendors: vendors.base vendors.factory vendors.fundamentals_table vendors.paging
onetape.vendors core.vendors: vendors.stream_protocol
onetape.yf doors.yf: yf.arguments yf.download yf.search yf.ticker
"""


# Modules and whole packages whose objects may be in pickles of former versions, such as frames, reports and
# downloaders; without a warning.
VALUES = """
core: cache config disk prices symbols vendors
core.model.answer: model.member_frames model.provenance
core.model.display: model.picture model.stored_report
core.model.identity: model.classification model.series model.symbol_changes model.universe
core.model.market: model.actions model.figures model.fundamentals
core.model.request: model.explanation model.health model.plan model.query model.settings
core.model.stored: model.coverage model.incident model.lifetime model.reasons model.retention model.stored
core.model.time: model.edges model.instant model.length
core.model.words: model.frozen
core.cache.beside: cache.fundamentals_folder
core.observability: observability.events
core.own_loops: compat.retry
core.prices: prices.judgement
doors: compat
jobs.progress: progress.by_symbol progress.cost progress.events progress.results
jobs.run: jobs.job_report jobs.runner
jobs.validation: jobs.gaps jobs.quarantine
jobs.vendors: jobs.checks jobs.matrix
research.bundles: layer.bundle layer.bundle_files layer.bundle_reader layer.bundle_writer layer.scan
research.catalog: layer.catalog layer.migration
research.frames: layer.aggregation layer.frames layer.lazy layer.series
research.lineage: layer.lineage layer.lineage_check layer.lineage_export layer.run_records
research.loading: layer.columnar layer.data_cache layer.failover layer.live layer.loader layer.providers
research.loading: layer.v1
research.portal: layer.polars_portal layer.portal
research.sources: layer.adapters layer.sources layer.vendor_sources
show: charts
show.reports: charts.report
"""


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
            rows[path] = rows.get(path, OlderPath({}, [], {}, True))._replace(is_package=True)
    return rows


def _moved(text: str) -> str:
    """Return the rows of modules that have moved; those of a line that names a public module warn."""
    rows = ""
    for line in text.split("\n")[1:-1]:
        head, _, older = line.partition(": ")
        public, _, package = head.rpartition(" ")
        for old in older.split():
            now = f"{package}.{old.rpartition('.')[2]}"
            rows += f"{old}\n    * {now}\n"
            rows += _WARNING.format(old=old, public=public, now=now) if public else ""
    return rows


_WARNING = (
    "    ! onetape.data.{old} is deprecated: import its names from {public} or, if they are not there, "
    "from onetape.data.{now}\n"
)
ROWS: Mapping[str, OlderPath] = MappingProxyType(_parse(PATHS + _moved(MOVED) + _moved(VALUES)))


def find(path: str) -> OlderPath | None:
    """Return the row of a path, or one for a module of a package that has moved; None for other paths."""
    package, _, module = path.rpartition(".")
    if path in ROWS or not package:
        return ROWS.get(path)
    row = find(package)
    now = f"{row.marks['*']}.{module}" if row and "*" in row.marks else ""
    if not now or find_spec(f"..{now}", __package__) is None:
        return None
    return OlderPath({}, [], {"*": now}, is_package=False)


def refuse_name(name: str) -> NoReturn:
    """Refuse to import a removed name from the package root.

    Raises:
        ImportError: Always; the message names the successor.
    """
    raise ImportError(f"onetape.data.{name} is not available: {NAMES[name]}", name=name)
