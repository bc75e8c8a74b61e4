"""Packaged sources: single vendors, all vendors in the rules, the user's own files; and the registry."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, time
from functools import lru_cache, partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from ... import errors
from ...core.config.credentials import note_key
from ...core.config.offered import name_fault, offers, program_offers
from ...core.config.schema import (
    Form,
    Problem,
    as_switch,
    attributes,
    number,
    record,
    switch,
    text,
    whole,
)
from ...core.config.schema import Path as KeyPath
from ...core.config.settings import working_dir
from ...core.interface import (
    BaseDataDownloader,
    LoopThread,
    awaited,
    canonical_name,
    forget_registered,
    register,
)
from ...core.model.answer.frame import REQUIRED_COLUMNS as FIELDS
from ...core.model.answer.interchange import to_polars
from ...core.model.answer.provenance import ATTRS_KEY
from ...core.model.request.query import check_no_string
from ...core.model.stored.reasons import REJECTED
from ...core.model.time.timeframe import Timeframe
from ...core.model.words.caller import warn_user
from ...core.model.words.suggestion import did_you_mean
from ...core.registry import row_of
from ...data_manager import DataManager, get_data_manager
from ...errors import (
    DataError,
    IncompleteDataWarning,
    NoDataAvailableError,
    QualityError,
    QueryError,
    UnknownProviderError,
)
from ...jobs.vendors.vendors import describe_vendor, has_stream, keys_of, use_keys
from ..bundles.bundle import Bundle
from ..frames.frames import (
    decimal_frame,
    pl,  # its error names the missing extra
)
from ..settings.settings_file import read_settings
from .sources import (
    BundlePath,
    DataSource,
    DataSourceMetadata,
    SourceQuestion,
    begun,
    fetched,
    for_caller,
    joined_symbols,
    run_in_loop,
)

if TYPE_CHECKING:
    import pandas as pd


# Arguments of documented constructors about which the rules decide; the value that is the rules'
# own, and the reason why another value is refused, if it is.
_DECIDED: Mapping[str, tuple[object, str]] = {
    "testnet": (False, "bars from a test network are not market data"),
    "is_paper": (True, "bars are the same for both kinds of accounts"),
    "fetch_dividends": (True, ""),
    "fetch_splits": (True, ""),
    **dict.fromkeys(("request_delay", "rate_limit_per_second", "tier", "asset_type"), (None, "")),
    **dict.fromkeys(("max_retries", "initial_retry_delay", "backoff_factor"), (None, "")),
}


class SourceAnswer(NamedTuple):
    """Bars for some symbols, with the provenance of each.

    Attributes:
        frame: Frame as returned by :meth:`.DataSource.fetch`.
        attrs: Maps each symbol to ``attrs["onetape"]`` of its answer from ``get_ohlcv``.
        is_hit: True if no vendor was queried.
    """

    frame: pl.DataFrame
    attrs: Mapping[str, Mapping[str, Any]]
    is_hit: bool


class VendorDataSource(DataSource):
    """A source of bars from one vendor, or from all vendors in the rules, based on a data manager.

    Thread-safe.

    Args:
        manager: Data manager to use; None means :func:`~onetape.get_data_manager`, called on first use.
        provider: Name of the vendor, if the class does not determine it.
        **config: ``timeout``: seconds allowed for each call; ``adjustment``: ``raw``, ``split``
            (default) or ``all``, see ``get_ohlcv``; ``api_key`` and ``api_secret``: keys to use
            instead of those in the environment. Other arguments of documented constructors
            (``request_delay``, ``tier``, ``max_retries`` …) have no effect, because the rules
            decide; one warning states what applies instead. Arguments that are not given are taken
            from ``config/data_adapters.yaml`` in the working directory, if it contains them.

    Attributes:
        name: Name of the source.
        provider: Name of the vendor; None means all vendors in the rules.
        adjustment: Adjustment of the prices.

    Raises:
        QueryError: An argument is unknown, or requests something unsupported (a
            ``ValueError``).
        UnknownProviderError: The vendor does not exist.
    """

    name: str = ""
    provider: str | None = None

    def __init__(
        self, manager: DataManager | None = None, *, provider: str | None = None, **config: Any
    ) -> None:
        if provider is not None:
            if self.provider or self.name:
                raise QueryError(
                    f"{type(self).__name__} does not take a provider: its bars come only from {self.name}"
                )
            if canonical_name(provider) is None:
                raise UnknownProviderError(
                    f"unknown vendor {provider!r:.80}", hint="`onetape providers` lists them"
                )
            self.name = self.provider = provider
        if manager is not None and not isinstance(manager, DataManager):
            # The value is not shown, because it may be a key passed by position.
            raise QueryError(
                f"{type(self).__name__}: manager is a {type(manager).__name__}, not a data manager",
                hint="pass the other arguments by name",
            )
        for name, value in adapter_settings(self.name).items():
            if name in ("timeout", "adjustment"):
                config.setdefault(name, value)
        self._given, self._timeout = manager, config.pop("timeout", None)
        self.adjustment = config.pop("adjustment", "split")
        self._keys = self._keys_of(config.pop("api_key", None), config.pop("api_secret", None))
        self._check(config)
        self._own: DataManager | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    @property
    def manager(self) -> DataManager:
        """The data manager in use.

        If this source has its own keys, a separate manager is created on first use.
        """
        base = self._given or get_data_manager()
        if not self._is_apart:
            return base
        if self._own is None:
            self._own = self._separate_manager(base)
        return self._own

    @property
    def _is_apart(self) -> bool:
        """Whether the source needs its own manager."""
        return bool(self._keys)

    def _separate_manager(self, base: DataManager) -> DataManager:
        """Return a data manager with the same cache and rules, and with the keys of this source."""
        manager = manager_like(base, base.provider_selector.rules)
        self._use_keys(manager)
        return manager

    def _use_keys(self, manager: DataManager) -> None:
        """Make a manager used only by this source use the source's keys, if it has any."""
        if self._keys:
            use_keys(manager.provider_selector, str(self.provider), self._keys)

    def _keys_of(self, *keys: Any) -> tuple[str, ...]:
        """Return the given keys after checking them.

        Raises:
            QueryError: A key is not a string, or the first one is missing.

        Warns:
            UserWarning: The vendor does not need such a key.
        """
        given = [key for key in keys if key is not None]
        if not all(isinstance(key, str) and key.strip() for key in given):
            raise QueryError(f"{self.name}: a key must be a non-empty string")
        for key in given:
            note_key(key.strip())  # from here on, logs and messages never show it
        if given and keys[0] is None:
            raise QueryError(f"{self.name}: api_secret was given without api_key")
        count = len(keys_of(self.provider)) if given else 0
        if len(given) > count:
            extra = ", ".join(("api_key", "api_secret")[count:])
            warn_user(f"{self.name}: {extra} has no effect, because bars need no such key")
        return tuple(key.strip() for key in given[:count])

    def _check(self, config: Mapping[str, Any]) -> None:
        """Reject invalid arguments; warn about arguments that have no effect because the rules decide.

        Raises:
            QueryError: An argument is unknown, or requests something unsupported.
        """
        every = (*_DECIDED, "adjustment", "timeout", "api_key", "api_secret")
        for name in config.keys() - _DECIDED.keys():
            hint = did_you_mean(name, every) + f"arguments: manager, {', '.join(every)}"
            raise QueryError(f"{type(self).__name__} has no argument {name}", hint=hint)
        unused = [name for name, value in config.items() if value is not _DECIDED[name][0]]
        for name in unused:
            if reason := _DECIDED[name][1]:
                raise QueryError(
                    f"{self.name}: {name}={config[name]!r:.20} is not supported: {reason}"
                )
        if unused:
            warn_user(
                f"{self.name}: {', '.join(unused)} has no effect: the rules decide about limits "
                "(`rate_limits`) and retries (`failover`), and splits and dividends are stored with "
                "the bars"
            )

    # --- bars -------------------------------------------------------------------------------

    def answer(
        self,
        symbols: Sequence[str],
        start: Any,
        end: Any,
        frequency: str,
        *,
        refresh: bool,
        offline: bool = False,
    ) -> SourceAnswer:
        """Return bars from ``start`` to ``end``, both inclusive, with their provenance.

        Args:
            symbols, frequency: See ``get_ohlcv_batch``; rows are in the order of the symbols.
            start, end: See ``get_ohlcv_batch``; for daily and longer bars, midnight UTC stands for
                the session of that date.
            refresh: Whether to request everything from the vendor again; if False, only bars that
                are not stored are requested.
            offline: Whether to return only stored bars.

        Raises:
            NoDataAvailableError: No symbol has any bars in the range.
            DataError: A symbol failed; the error is that of the first such symbol, and its message
                says how many others failed.
            QueryError: An argument is invalid (a ``ValueError``).

        Warns:
            IncompleteDataWarning: Some bars are missing; see ``attrs``.
        """
        check_no_string(symbols, hint=f"[{symbols!r}]")
        timeframe = Timeframe.parse(frequency)
        frames = self.manager.get_ohlcv_batch(
            symbols,
            str(timeframe),
            bound_of(start, timeframe),
            bound_of(end, timeframe),
            force_refresh=refresh,
            offline=offline,
            provider=self.provider,
            adjustment=self.adjustment,
            timeout=self._timeout,
        )
        attrs = {symbol: frame.attrs[ATTRS_KEY] for symbol, frame in frames.items()}
        _refuse_failed(attrs)
        if not any(map(len, frames.values())):
            raise NoDataAvailableError(
                f"{self.name} has no {timeframe} bar for {joined_symbols(list(frames))} from {start} "
                f"to {end}",
                symbol=next(iter(frames)) if len(frames) == 1 else None,
            )
        is_hit = not any(facts.get("attempts") for facts in attrs.values())
        return SourceAnswer(_combine_frames(frames), attrs, is_hit)

    async def fetch(
        self, symbols: list[str], start: pd.Timestamp, end: pd.Timestamp, frequency: str
    ) -> pl.DataFrame:
        """Request bars from the vendor, store them, and return them.

        Stored bars are requested again, unlike in :meth:`answer`, which describes the arguments,
        errors and warnings. The event loop is not blocked.
        """
        ask = partial(self.answer, symbols, start, end, frequency, refresh=True)
        return (await awaited(for_caller(ask))).frame

    def ingest_to_bundle(  # type: ignore[override] # a task, or a path that may be awaited
        self,
        bundle_name: str,
        symbols: list[str],
        start: pd.Timestamp,
        end: pd.Timestamp,
        frequency: str,
        *,
        folder: str | PathLike[str] | None = None,
    ) -> BundlePath | asyncio.Task[BundlePath]:
        """Write bars to a new or existing bundle of this source; return the bundle's folder.

        If an event loop is running in this thread, the result is a task, which begins immediately;
        otherwise, the bars have been written when the method returns. Both results can be awaited.
        No vendor is queried for stored bars.

        Args:
            bundle_name: Name of the bundle.
            symbols, start, end, frequency: See :meth:`answer`.
            folder: Folder that contains the bundles; None means the configured one.

        Raises:
            BundleError: The bundle has a different vendor, timeframe or adjustment, or there was no
                answer for any symbol; the bundle is unchanged.
            QueryError: An argument is invalid (a ``ValueError``).

        Warns:
            IncompleteDataWarning: Some symbols failed; the bundle contains the others.
        """
        timeframe = Timeframe.parse(frequency)
        bounds = bound_of(start, timeframe), bound_of(end, timeframe)
        bundle = Bundle(bundle_name, folder)

        def write() -> Path:
            """Write the bundle, and warn about symbols that are missing from it."""
            self._check_rows(symbols, *bounds, str(timeframe))
            change = bundle.ingest(
                self.manager,
                symbols,
                str(timeframe),
                *bounds,
                adjustment=self.adjustment,
                provider=self.provider,
                timeout=self._timeout,
            )
            if change.failed:
                texts = "; ".join(f"{symbol}: {why}" for symbol, why in change.failed.items())
                warn_user(f"bundle {bundle_name} lacks {texts}", IncompleteDataWarning)
            return bundle.path

        return begun(write)

    def _check_rows(self, *question: Any) -> None:
        """Raise an error if the rows must not be written to a bundle."""

    # --- description -------------------------------------------------------------------------

    def get_metadata(self) -> DataSourceMetadata:
        """Return the facts about the vendor from its class and the rules, without querying it.

        ``additional_info`` contains ``provider``, ``asset_classes``, ``adjustment``, ``keys``
        (whether each environment variable for a key is set) and, if the vendor cannot be queried
        here, the reason as ``why_not``.
        """
        selector = self.manager.provider_selector
        provider = selector.canonical(self.provider) or str(self.provider)
        facts = describe_vendor(selector, provider)
        reported = "asset_classes", "adjustment", "keys", "why_not"
        return DataSourceMetadata(
            source_type=self.name,
            source_url=facts["base_url"],
            supports_live=has_stream(provider),
            rate_limit=facts["per_minute"],
            auth_required=facts["requires_api_key"],
            supported_frequencies=tuple(facts["timeframes"]),
            additional_info={"provider": provider} | {name: facts[name] for name in reported},
        )

    def supports_live(self) -> bool:
        """Return whether the vendor has a stream; to open one, use ``live_feed`` of the data manager."""
        return self.get_metadata().supports_live


def source_name(source: Any) -> str:
    """Return a source's own name, or the name of its class if the source does not have one."""
    if isinstance(source, str):
        return source
    if isinstance(source, VendorDataSource):
        return source.name
    metadata = source.get_metadata() if callable(getattr(source, "get_metadata", None)) else None
    return str(getattr(metadata, "source_type", None) or type(source).__name__)


class OnetapeDataSource(VendorDataSource):
    """A source of the bars that ``get_ohlcv`` returns, from all vendors in the rules. Thread-safe.

    For the arguments, see :class:`VendorDataSource`; API keys are not accepted.
    """

    name = "onetape"

    def get_metadata(self) -> DataSourceMetadata:
        """Return a description with the rules' timeframes, and their ``vendors`` in ``additional_info``."""
        rules = self.manager.provider_selector.parsed_rules.rules.values()
        labels = {label for rule in rules for label in rule.timeframes}
        vendors = sorted({vendor for rule in rules for vendor in rule.vendors})
        return DataSourceMetadata(
            source_type=self.name,
            supports_live=True,
            supported_frequencies=tuple(
                sorted(labels, key=lambda label: Timeframe.parse(label).longest_ms)
            ),
            additional_info={"provider": None, "vendors": vendors},
        )


def manager_like(base: DataManager, rules: dict[str, Any]) -> DataManager:
    """Return a data manager with the cache and clock of ``base``, but with different rules."""
    selector = base.provider_selector
    made = DataManager(selector.cache_dir, selector.config_path, clock=base.client.clock)
    made.provider_selector.rules = rules
    return made


def _combine_frames(frames: Mapping[str, pd.DataFrame]) -> pl.DataFrame:
    """Combine the frames of a batch into one, with the columns of :meth:`.DataSource.fetch`.

    Raises:
        DecimalRangeError: A value is too large for the frame's decimal type.
    """
    columns = {s: f[[name for name in FIELDS if name in f.columns]] for s, f in frames.items()}
    rows = to_polars(columns)
    lacking = (pl.lit(None, pl.Float64).alias(n) for n in FIELDS if n not in rows.columns)
    stamps = pl.col("timestamp").cast(pl.Datetime("us"))
    return decimal_frame(rows.with_columns(*lacking).select(stamps, "symbol", *FIELDS)).frame


def bound_of(value: Any, timeframe: Timeframe) -> Any:
    """Convert a bound for ``get_ohlcv``; for daily bars, midnight UTC stands for a session date."""
    if timeframe.is_intraday or not isinstance(value, datetime) or value != value:  # not a time
        return value
    moment = value if value.tzinfo is None else value.astimezone(UTC)
    return moment.date() if moment.time() == time() else value


def _refuse_failed(attrs: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise the error of the first failed symbol, ignoring symbols without data."""
    every = {symbol: facts["error"] for symbol, facts in attrs.items() if "error" in facts}
    failures = {symbol: error for symbol, error in every.items() if error["reason"] != "no_data"}
    if not failures:
        return
    symbol, entry = next(iter(failures.items()))
    more = f", and {len(failures) - 1} more symbols failed" if len(failures) > 1 else ""
    raise recorded_error(entry, symbol, more)


def recorded_error(entry: Mapping[str, Any], symbol: str, more: str = "") -> DataError:
    """Return the error that ``attrs["onetape"]["error"]`` of a frame describes.

    Args:
        entry: Description of the error.
        symbol: Symbol that failed.
        more: Text to add to the message.
    """
    error_type: type[DataError] = getattr(errors, entry["type"], DataError)
    error = error_type(f"{entry['message']}{more}", symbol=symbol)
    error.candidates = tuple(entry["candidates"])
    if error.reason != entry["reason"]:
        vars(error)["because"] = entry["reason"]
    return error


class YFinanceDataSource(VendorDataSource):
    """A source of bars from Yahoo Finance; see :class:`VendorDataSource` for the arguments."""

    name, provider = "yfinance", "yahoo"


class PolygonDataSource(VendorDataSource):
    """A source of bars from Polygon (``POLYGON_API_KEY``); arguments as in :class:`VendorDataSource`."""

    name, provider = "polygon", "polygon"


class AlpacaDataSource(VendorDataSource):
    """A source of bars from Alpaca (``ALPACA_API_KEY`` and ``ALPACA_API_SECRET``).

    See :class:`VendorDataSource` for the arguments.
    """

    name, provider = "alpaca", "alpaca"


class AlphaVantageDataSource(VendorDataSource):
    """A source of bars from Alpha Vantage (``ALPHAVANTAGE_API_KEY``).

    See :class:`VendorDataSource` for the arguments.
    """

    name, provider = "alphavantage", "alpha_vantage"


class CCXTDataSource(VendorDataSource):
    """A source of spot bars from an exchange through ccxt, named ``ccxt:binance`` and so on.

    Args:
        exchange_id: Name of the exchange in ccxt, which may also be passed as ``exchange``. None
            means the exchange in ``config/data_adapters.yaml``, or else ``binance``.
        testnet: Must be False, because bars from a test network are not market data.
        api_key, api_secret: Not needed for bars.
        manager, **config: See :class:`VendorDataSource`.

    Raises:
        QueryError: See :class:`VendorDataSource`.
    """

    def __init__(
        self,
        exchange_id: str | None = None,
        testnet: bool = False,
        api_key: str | None = None,
        api_secret: str | None = None,
        *,
        manager: DataManager | None = None,
        **config: Any,
    ) -> None:
        given = config.pop("exchange", None) or exchange_id
        named = given or adapter_settings("ccxt").get("exchange_id", "binance")
        exchange = str(named).strip().lower()
        config |= {"testnet": testnet, "api_key": api_key, "api_secret": api_secret}
        super().__init__(manager, provider=f"ccxt:{exchange}", **config)


# --- the user's own files -----------------------------------------------------------------


@dataclass(frozen=True)
class SchemaMapping:
    """The names of the columns in a file of bars.

    Attributes:
        date_column: Column of the timestamps: the bars' opening times, or dates.
        open_column, high_column, low_column, close_column, volume_column: Columns of the prices and
            the volume.
        symbol_column: Column with the symbol of each row; None means that the file has only one symbol.
    """

    date_column: str = "date"
    open_column: str = "open"
    high_column: str = "high"
    low_column: str = "low"
    close_column: str = "close"
    volume_column: str = "volume"
    symbol_column: str | None = None


@dataclass(frozen=True)
class CSVConfig:
    """The layout of the user's own files: CSV, gzip CSV or Parquet with a header line.

    Attributes:
        file_path: Path of a file, or of a folder with one file per symbol (``AAPL.csv``); empty
            means the folder in the rules.
        schema_mapping: Names of the columns; may be a plain mapping.
        delimiter: ``,``, ``;``, ``|`` or a tab; None means a comma.
        has_header: Must be True, because columns are found by their names.
        date_format: ``strptime`` format of the timestamps; None means ISO 8601 or seconds since
            1970.
        timezone: Time zone of naive timestamps.
        missing_data_strategy: ``fail``: a row without a price is an error. ``skip``: such a row is
            left out, like any row that cannot be a bar.
    """

    file_path: str | PathLike[str] = ""
    schema_mapping: SchemaMapping | Mapping[str, str] = field(default_factory=SchemaMapping)
    delimiter: str | None = None
    has_header: bool = True
    date_format: str | None = None
    timezone: str = "UTC"
    missing_data_strategy: str = "fail"


class CSVDataSource(VendorDataSource):
    """A source of bars from the user's own files, which the vendor ``local`` reads.

    The bars are stored in the cache; a file is read again if it changes.

    Args:
        config: Layout of the files, or the path of a file or folder; None means the layout under
            ``providers.local`` in the rules.
        manager: See :class:`VendorDataSource`.
        symbol: Symbol for a file without a symbol column; None means the file's name up to the
            first ``_`` or ``.``.
        **more: Fields of :class:`CSVConfig`, ``csv_dir`` for its ``file_path``, and arguments of
            :class:`VendorDataSource`. If no :class:`CSVConfig` is given, missing fields are taken
            from ``config/data_adapters.yaml``.

    Raises:
        QueryError: An argument is unknown, or requests something unsupported (a
            ``ValueError``).
    """

    name, provider = "csv", "local"

    def __init__(
        self,
        config: CSVConfig | str | PathLike[str] | None = None,
        *,
        manager: DataManager | None = None,
        symbol: str | None = None,
        **more: Any,
    ) -> None:
        names = {setting.name for setting in fields(CSVConfig)}
        given = {name: more.pop(name) for name in names & more.keys()}
        if (folder := more.pop("csv_dir", None)) is not None:
            given.setdefault("file_path", folder)
        if isinstance(config, CSVConfig):
            config = replace(config, **given)
        else:
            settings = adapter_settings(self.name)
            given = {name: settings[name] for name in names & settings.keys()} | given
            if config is not None:
                given.setdefault("file_path", config)
            config = CSVConfig(**given)
        if not config.has_header:
            raise QueryError(
                "csv: has_header=False is not supported: columns are found by their names",
                hint="add a header line to each file, such as timestamp,open,high,low,close,volume",
            )
        if config.missing_data_strategy not in ("fail", "skip"):
            raise QueryError(
                f"csv: missing_data_strategy={config.missing_data_strategy!r:.20} is not supported",
                hint="use fail or skip; values are never made up",
            )
        self._config, self._symbol = config, symbol
        self._mapping = _mapping(config.schema_mapping) if given or config.file_path else None
        super().__init__(manager, **more)

    def answer(self, *question: Any, refresh: bool, **options: Any) -> SourceAnswer:
        """Return bars like :meth:`VendorDataSource.answer`, without the rows that have no price.

        Raises:
            QualityError: A row has no price, and ``missing_data_strategy`` is ``fail``.
        """
        answer = super().answer(*question, refresh=refresh, **options)
        lost = [
            (gap["start"], symbol)
            for symbol, facts in answer.attrs.items()
            for gap in facts.get("gaps", ())
            if gap["reason"] == f"{REJECTED}price missing"
        ]
        if lost and self._config.missing_data_strategy == "fail":
            start, symbol = min(lost)
            raise QualityError(
                f"csv: rows without a price, the first for {symbol} at {start}",
                hint="missing_data_strategy='skip' leaves them out",
            )
        return answer

    def _check_rows(self, *question: Any) -> None:
        """Raise an error if a row has no price and the strategy is ``fail``."""
        if self._config.missing_data_strategy == "fail":
            self.answer(*question, refresh=False)

    @property
    def _is_apart(self) -> bool:
        return self._mapping is not None

    def _separate_manager(self, base: DataManager) -> DataManager:
        """Return a data manager with the same cache, and with rules that contain this file layout."""
        rules = dict(base.provider_selector.rules)
        providers = dict(rules.get("providers") or {})
        providers["local"] = {**(providers.get("local") or {}), **self._layout()}
        return manager_like(base, {**rules, "providers": providers})

    def _layout(self) -> dict[str, Any]:
        """Return this file layout in the form of ``providers.local`` in the rules."""
        config, mapping = self._config, self._mapping
        assert mapping is not None
        layout: dict[str, Any] = {
            "time_column": mapping.date_column,
            "columns": {name: getattr(mapping, f"{name}_column") for name in FIELDS},
            "timezone": config.timezone,
            "delimiter": config.delimiter,
            "time_format": config.date_format,
        }
        path = Path(config.file_path).expanduser().absolute()
        if config.file_path and path.is_dir():
            layout |= {"folder": str(path), "pattern": "{symbol}"}
        elif config.file_path:
            # A glob pattern in which braces have no meaning.
            pattern = path.name.replace("{", "{{").replace("}", "}}")
            layout |= {"folder": str(path.parent), "pattern": pattern}
            named = {"symbol": self._symbol or path.name.split(".")[0].split("_")[0]}
            layout |= {"symbol_column": mapping.symbol_column} if mapping.symbol_column else named
        return {name: value for name, value in layout.items() if value is not None}


def _mapping(given: SchemaMapping | Mapping[str, str]) -> SchemaMapping:
    """Return the column names; a mapping need only contain names that differ from the defaults.

    Raises:
        QueryError: The mapping names an unknown column.
    """
    if isinstance(given, SchemaMapping):
        return given
    names = [column.name for column in fields(SchemaMapping)]
    if unknown := sorted(set(given) - set(names)):
        raise QueryError(
            f"csv: schema_mapping has unknown columns: {', '.join(unknown)}",
            hint=f"valid ones: {', '.join(names)}",
        )
    return SchemaMapping(**given)


# --- config/data_adapters.yaml ------------------------------------------------------------------

ADAPTERS_FILE = Path("config", "data_adapters.yaml")
_DAY_S = 86_400
_COLUMNS = ("date", "open", "high", "low", "close", "volume", "symbol")
_log = logging.getLogger(__name__)


def _no_testnet(value: Any, path: KeyPath) -> Iterator[Problem]:
    """Accept only false."""
    problems = list(switch.check(value, path))
    yield from problems
    if not problems and as_switch(value):
        yield Problem(path, "must be false: bars from a test network are not market data")


# Keys with a name (`named`) are constructor arguments, in the constructors' units. Limits and
# retries are those of the router, regardless of the file.
_ADAPTERS = {
    "ccxt": record(
        {
            "exchange": text().named("exchange_id"),
            "testnet": Form(_no_testnet),
            "rate_limit": switch,
            "timeout": number(100, _DAY_S * 1000).to(lambda ms: ms / 1000).named("timeout"),
            "retry_attempts": whole(0),
            "retry_delay": number(0),
        }
    ),
    "yfinance": record(
        {
            "timeout": number(0.1, _DAY_S).to(float).named("timeout"),
            "retry_attempts": whole(0),
            # The vendor has no raw prices: even its unadjusted prices are adjusted for splits.
            "adjusted_prices": switch.to({True: "all", False: "split"}.get).named("adjustment"),
        }
    ),
    "csv": record(
        {
            "schema_mapping": record({f"{name}_column": text() for name in _COLUMNS}).named(
                "schema_mapping"
            ),
            **{name: text().named(name) for name in ("date_format", "delimiter", "timezone")},
        }
    ),
}
_FORM = record({"adapters": record(_ADAPTERS)})


def adapter_settings(source: str) -> dict[str, Any]:
    """Return the constructor arguments for a source from ``./config/data_adapters.yaml``.

    Args:
        source: ``ccxt``, ``yfinance`` or ``csv``; anything after a colon is ignored. Other sources
            have no arguments in the file.

    Returns:
        A new mapping with the arguments that the file contains; times are in seconds. For ccxt,
        these can be ``exchange_id`` and ``timeout``; for yfinance, ``timeout`` and ``adjustment``
        (``split`` or ``all``); for csv, ``schema_mapping``, ``date_format``, ``delimiter`` and
        ``timezone``.

    Raises:
        ConfigError: The file cannot be read; a :class:`.RulesError` lists every error with its
            line.
    """
    path, name = working_dir() / ADAPTERS_FILE, source.partition(":")[0]
    adapters = read_settings(path, _FORM.check).get("adapters") or {}
    unused = [
        f"{adapter}.{key}"
        for adapter, keys in adapters.items()
        for key, value in (keys or {}).items()
        if key.startswith("retry_") or (key == "rate_limit" and not as_switch(value))
    ]
    if unused:
        _warn_of(path, ", ".join(unused))
    return attributes(_ADAPTERS[name].keys, adapters[name]) if name in adapters else {}


@lru_cache(4)
def _warn_of(path: Path, names: str) -> None:
    """Log once which settings have no effect."""
    _log.warning(
        "%s: %s: no effect; limits and retries come from the rules (providers, failover)",
        path,
        names,
    )


# --- names --------------------------------------------------------------------------------

_PACKAGED: Mapping[str, type[VendorDataSource]] = {
    "alpaca": AlpacaDataSource,
    "alphavantage": AlphaVantageDataSource,
    "ccxt": CCXTDataSource,
    "csv": CSVDataSource,
    "onetape": OnetapeDataSource,
    "polygon": PolygonDataSource,
    "yfinance": YFinanceDataSource,
}
_METHODS = ("fetch", "ingest_to_bundle", "get_metadata", "supports_live")


class SourceVendor(BaseDataDownloader):
    """Base class of vendors whose bars come from a registered custom source.

    Attributes:
        source_class: Class of the source.
    """

    source_class: ClassVar[type[Any]]

    def get_ohlcv(  # type: ignore[override] # the form for vendors that only have this method
        self, symbol: str, interval: str, start_date: datetime, end_date: datetime
    ) -> pd.DataFrame:
        """Return bars from a new source of the class, indexed by naive UTC time."""
        source = DataSourceRegistry.get_source(self.name)
        question = SourceQuestion.of([symbol], start_date, end_date, interval)
        # A loop of its own, because a source may block it with a call for another source's bars.
        frame = run_in_loop(partial(fetched, source, question), LoopThread(self.name))
        prices = frame.select("timestamp", pl.col(*FIELDS).cast(pl.Float64))
        bars: pd.DataFrame = prices.to_pandas().set_index("timestamp")
        return bars


def source_classes() -> dict[str, type[Any]]:
    """Return the registered classes of custom sources, by name."""
    return {
        name: offer.cls.source_class
        for name, offer in program_offers().items()
        if issubclass(offer.cls, SourceVendor)
    }


class DataSourceRegistry:
    """The registry of sources by name, for the whole process. Thread-safe; names are case-insensitive."""

    @classmethod
    def get_source(cls, name: str, **config: Any) -> DataSource:
        """Create a source, given its name.

        Args:
            name: Name from :meth:`list_sources`, an exchange such as ``ccxt:kraken``, or any vendor
                in the rules, such as ``tiingo``.
            **config: Arguments for the source's class.

        Raises:
            UnknownProviderError: No source has this name (a ``ValueError``).
            QueryError: An argument is unknown, or requests something unsupported (a
                ``ValueError``).
        """
        key = name.strip().lower() if isinstance(name, str) else ""
        if (registered := source_classes().get(key)) is not None:
            return registered(**config)  # type: ignore[no-any-return]
        vendor = canonical_name(key) or ""
        key = row_of(vendor).source or key
        if key in _PACKAGED:
            return _PACKAGED[key](**config)
        if vendor.startswith("ccxt:"):
            return CCXTDataSource(vendor.removeprefix("ccxt:"), **config)
        if vendor:
            return VendorDataSource(provider=vendor, **config)
        names = cls.list_sources()
        raise UnknownProviderError(
            f"Unknown data source {name!r:.80}. Available sources: {', '.join(names)}",
            hint=f"{did_you_mean(key, names)}any vendor is a source too, such as tiingo or ccxt:kraken",
        )

    @classmethod
    def register(cls, name: str, source_class: type[Any]) -> None:
        """Register a custom class as a source and as a vendor, until the process ends.

        A class registered later under the same name replaces it. As a vendor, the class is
        available to every data manager under this name, in ``provider=`` and in rules read
        afterwards: its bars are then stored, and gaps, failover and lineages are those of any
        vendor. For this, the class must have a constructor that needs no arguments, and is created
        for each request. Prices are stored as floats; columns other than those of bars are not
        stored.

        Args:
            name: Letters, digits and ``_``, beginning with a letter; at most 40 characters. Not the
                name of a vendor or of a packaged source.
            source_class: Class with the four methods of :class:`.DataSource`.

        Raises:
            QueryError: The name is invalid or taken, or methods are missing (a ``ValueError``).
        """
        key = name.strip().lower() if isinstance(name, str) else ""
        if name_fault(key) or (key in offers() and key not in source_classes()):
            raise QueryError(
                f"invalid source name {name!r:.80}",
                hint="use letters, digits and _, but not the name of a vendor",
            )
        lacking = [n for n in _METHODS if not callable(getattr(source_class, n, None))]
        lacking += sorted(getattr(source_class, "__abstractmethods__", ()))
        if not isinstance(source_class, type) or lacking:
            methods = ", ".join(dict.fromkeys(lacking)) or "a class"
            raise QueryError(f"{source_class!r:.80} is not a source: it lacks {methods}")
        register(type(key, (SourceVendor,), {"name": key, "source_class": source_class}))

    @classmethod
    def is_registered(cls, name: str) -> bool:
        """Return whether a program or an installed package has registered a class under this name."""
        return name.strip().lower() in offers()

    @classmethod
    def list_sources(cls) -> list[str]:
        """Return the sorted names of the packaged sources and of all registered classes.

        Any other vendor in the rules is also a source.
        """
        return sorted({*_PACKAGED, *offers()})

    @classmethod
    def get_source_info(cls, name: str) -> dict[str, Any]:
        """Return a source's description of itself.

        The source is created without arguments and not queried.

        Returns:
            A mapping with ``name``, ``class_name``, ``source_type``, ``supports_live``,
            ``auth_required``, ``rate_limit``, ``data_delay``, ``supported_frequencies`` and
            ``metadata`` (the whole :class:`.DataSourceMetadata`).

        Raises:
            UnknownProviderError, QueryError: See :meth:`get_source`.
        """
        source = cls.get_source(name)
        metadata = source.get_metadata()
        facts = "auth_required", "rate_limit", "data_delay"
        return {
            "name": name,
            "class_name": type(source).__name__,
            "source_type": metadata.source_type,
            "supports_live": source.supports_live(),
            **{fact: getattr(metadata, fact) for fact in facts},
            "supported_frequencies": list(metadata.supported_frequencies),
            "metadata": metadata,
        }

    @classmethod
    def reset(cls) -> None:
        """Forget the classes that user code has registered as sources, also as vendors."""
        forget_registered(SourceVendor)
