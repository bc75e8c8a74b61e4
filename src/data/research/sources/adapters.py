"""Adapters: sources that also validate, standardize, write and register what they fetch."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import logging
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial, wraps
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd

from ...core.calendars.calendar import calendar_for
from ...core.clock import Clock, SystemClock
from ...core.model.time.instant import DAY_MS
from ...core.model.time.span import Span
from ...core.model.words.caller import warn_user
from ...core.net.calls.call_threads import awaited
from ...core.own_loops.limiters import RateLimiter
from ...core.own_loops.retry import TRANSIENT_EXCEPTIONS, exponential_backoff
from ...errors import (
    QualityError,
    QueryError,
    RateLimitedError,
    ResponseFormatError,
    UnavailableError,
    wait_seconds,
)
from ..bundles.bundle_writer import ParquetWriter
from ..bundles.catalog_tables import RangeRow
from ..catalog.catalog import DataCatalog
from ..frames.frame_checks import checked_series, findings_of, standard_frame
from ..frames.frames import pl  # its error names the missing extra
from ..frames.panel import Market, grid_of
from ..settings.catalog_settings import catalog_settings
from .sources import (
    AwaitableValue,
    BundlePath,
    DataSource,
    DataSourceMetadata,
    SourceQuestion,
    answered,
    checked_frame,
    for_caller,
    ingested,
    started,
)
from .vendor_sources import (
    AlpacaDataSource,
    AlphaVantageDataSource,
    CCXTDataSource,
    CSVDataSource,
    DataSourceRegistry,
    PolygonDataSource,
    YFinanceDataSource,
)

if TYPE_CHECKING:
    from ...core.model.identity.instrument import Instrument
    from ...core.prices.judgement.findings import QualityFinding

# Documented names for errors that exist here under other names.
NetworkError = UnavailableError
RateLimitError = QuotaExceededError = RateLimitedError
DataParsingError = ResponseFormatError
ValidationError = InvalidDataError = QualityError

R = TypeVar("R")
_log = logging.getLogger(__name__)
# Maps the argument names of an adapter's ``fetch`` to those of a source's.
_NAMES = {"start_date": "start", "end_date": "end", "resolution": "frequency"}
_OTHER_NAMES = {**_NAMES, **{other: name for name, other in _NAMES.items()}}


class DatasetId(AwaitableValue, str):
    """The id of a dataset. Awaiting it returns the id itself."""


def _under_both_names(fetch: Callable[..., R]) -> Callable[..., R]:
    """Wrap ``fetch`` so that it accepts each argument under either of its documented names."""
    taken = inspect.signature(fetch).parameters

    @wraps(fetch)
    def called(*args: Any, **keywords: Any) -> R:
        """Call ``fetch`` with the names of its own arguments."""
        own = {
            name if name in taken or _OTHER_NAMES.get(name) not in taken else _OTHER_NAMES[name]: x
            for name, x in keywords.items()
        }
        if len(own) < len(keywords):
            raise QueryError(
                f"some of these arguments mean the same: {', '.join(sorted(keywords))}",
                hint="use either start, end, frequency or start_date, end_date, resolution",
            )
        return fetch(*args, **own)

    return called


def calculate_checksum(path: str | PathLike[str]) -> str:
    """Return the SHA256 digest of a file or folder as hex digits.

    The digest of a folder is computed from the digests and relative paths of its Parquet files.

    Raises:
        FileNotFoundError: The file does not exist, or the folder contains no Parquet file.
    """
    files = _files(path)
    if not files:
        raise FileNotFoundError(f"there are no Parquet files in {path}")
    if Path(path).is_file():
        return files[0][1]
    lines = (f"{sha256}  {place}\n" for place, sha256, _ in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _range_rows(
    rows: pl.DataFrame, question: SourceQuestion, markets: Mapping[str, Instrument | None]
) -> Iterator[RangeRow]:
    """Yield the range of each symbol with bars, in UTC seconds, and whether bars are missing in it.

    Which bars to expect is known only for symbols with an instrument in ``markets``.
    """
    # A bar of a day or longer covers its whole date.
    length = 0 if question.timeframe.is_intraday else DAY_MS // 1000 - 1
    parts = rows.partition_by("symbol", as_dict=True)
    for symbol, instrument in markets.items():
        stamps = parts[(symbol,)]["timestamp"].dt.epoch("ms").to_numpy()
        first, last = int(stamps[0]), int(stamps[-1])
        lacks = None
        if instrument is not None:
            grid = grid_of(Market(calendar_for(instrument), ()), question.timeframe, stamps)
            lacks = not np.isin(grid.opens(Span(first, last + 1)), stamps).all()
        yield RangeRow(symbol, first // 1000, last // 1000 + length, len(stamps), lacks)


def _files(path: str | PathLike[str]) -> list[tuple[str, str, int]]:
    """Return the path, SHA256 digest and size of each written Parquet file."""
    root = Path(path)
    files = [root] if root.is_file() else sorted(root.rglob("*.parquet"))
    contents = {file.relative_to(root.parent).as_posix(): file.read_bytes() for file in files}
    return [
        (place, hashlib.sha256(data).hexdigest(), len(data)) for place, data in contents.items()
    ]


class BaseDataAdapter(DataSource):
    """A source of bars that can also validate, standardize, write and register what it fetches.

    A custom adapter implements :meth:`fetch`, which makes it a
    :class:`~onetape.sources.DataSource`. Callers may name its arguments ``start_date, end_date,
    resolution`` or ``start, end, frequency``. Thread-safe, if ``fetch`` is.

    Args:
        name: Name of the source; if empty, the class name.
        rate_limit_per_second: Maximum number of calls to ``fetch`` per second, including retries.
        max_retries: Maximum number of calls to ``fetch`` in case of transient errors: ``OSError``,
            :class:`NetworkError`, :class:`RateLimitError`.
        initial_retry_delay, backoff_factor: Seconds to wait before the second call, and the factor
            by which each further wait grows. If the error has a longer ``retry_after``, that wait
            is used instead.
        validator: Object whose ``validate(frame)`` is also called with each frame; the frame is
            rejected if the result, its ``valid`` or its ``is_valid`` is false. None means no
            validator.
        timeout: Maximum number of seconds for fetching, including retries; None means no limit.
        clock: Clock for waiting and for detecting timestamps in the future; tests may pass their
            own.

    Attributes:
        name, source_name: Name of the source.
        rate_limiter: Rate limiter of ``fetch``. A ``fetch`` that sends several requests may call
            its ``acquire()`` before each.
        findings: Maps each symbol to unusual but valid values found by the last call to
            :meth:`validate`.

    Raises:
        QueryError: An argument is not a number in the accepted range (a ``ValueError``).
    """

    # Defaults for subclasses that have a constructor of their own.
    name: str = ""
    max_retries: int = 1
    initial_retry_delay: float = 1.0
    backoff_factor: float = 2.0
    timeout: float | None = None
    rate_limiter: RateLimiter | None = None
    findings: Mapping[str, Sequence[QualityFinding]] = {}
    _validator: Any = None
    _clock: Clock = SystemClock()

    def __init__(
        self,
        name: str = "",
        rate_limit_per_second: float = 10,
        max_retries: int = 3,
        initial_retry_delay: float = 1.0,
        backoff_factor: float = 2.0,
        validator: Any = None,
        *,
        timeout: float | None = None,
        clock: Clock | None = None,
    ) -> None:
        for what, value, least in (
            ("rate_limit_per_second", rate_limit_per_second, 0),
            ("max_retries", max_retries, 1),
            ("initial_retry_delay", initial_retry_delay, 0),
            ("backoff_factor", backoff_factor, 1),
        ):
            if not least <= value < float("inf"):
                raise QueryError(f"{what} is {value!r}; use a number of at least {least}")
        self.name = name or type(self).__name__
        self.max_retries, self.timeout = max_retries, timeout
        self.initial_retry_delay, self.backoff_factor = initial_retry_delay, backoff_factor
        self._validator, self._clock = validator, clock or SystemClock()
        self.rate_limiter = RateLimiter(rate_limit_per_second, 0, clock=self._clock)

    @property
    def source_name(self) -> str:
        """The name of the source, like ``name``."""
        return self.name

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        owner = next(base for base in cls.__mro__ if "fetch" in vars(base))
        fetch = vars(owner)["fetch"]
        is_wrapped = owner is not cls and issubclass(owner, BaseDataAdapter)
        if not is_wrapped and inspect.isfunction(fetch):
            cls.fetch = _under_both_names(fetch)  # type: ignore[method-assign]

    # --- the steps --------------------------------------------------------------------------

    @abstractmethod
    async def fetch(
        self,
        symbols: list[str],
        start_date: pd.Timestamp,
        end_date: pd.Timestamp,
        resolution: str,
    ) -> pl.DataFrame:
        """Return bars from ``start_date`` to ``end_date``, both inclusive.

        Args:
            symbols: Symbols as the source knows them.
            start_date, end_date: Bounds of the range; naive times are UTC.
            resolution: Timeframe, such as ``1d``, ``1h``, ``1m``.

        Returns:
            ``timestamp`` or ``date``, ``symbol`` and ``open high low close volume`` as numbers,
            in any order; :meth:`standardize` converts the numbers to Decimals.
        """

    def validate(self, df: pl.DataFrame) -> bool:
        """Check that all rows are valid bars; unusual but valid values go into :attr:`findings`.

        Prices that are out of order or not above zero, negative volumes and missing values are
        rejected, as are timestamps that are missing, in the future, or repeated for a symbol. Moves
        of more than three and volumes of more than five standard deviations are unusual (``info``),
        as is anything else that ``onetape validate`` finds in a single series. Columns other than
        prices may be missing. Naive timestamps are UTC. The result is always True. The section
        ``validation`` of ``./config/data_catalog.yaml`` can omit checks.

        Raises:
            ConfigError: The configuration file is invalid.
            ValidationError: Some rows are not valid bars; the message contains the reason and the
                first such row.
        """
        checks = catalog_settings().validation
        series = checked_series(df, self._clock.now_ms(), checks)
        if self._validator is not None:
            verdict = self._validator.validate(df)
            if not getattr(verdict, "valid", getattr(verdict, "is_valid", verdict)):
                raise ValidationError(f"the validator of {self.name} rejected the bars: {verdict}")
        self.findings = findings_of(series, with_outliers=checks.outlier_detection)
        for symbol, findings in self.findings.items():
            for finding in findings:
                level = logging.INFO if finding.severity == "info" else logging.WARNING
                _log.log(level, "%s: %s: %s", self.name, symbol, finding.text)
        return True

    def standardize(self, df: pl.DataFrame) -> pl.DataFrame:
        """Return the bars in the standard columns of :meth:`.DataSource.fetch`.

        Additional columns are kept.

        Raises:
            ValidationError: A column is missing.
            DecimalRangeError: A value does not fit into ``Decimal(18, 8)``, or a volume into
                ``(38, 8)``.
        """
        return standard_frame(df)

    def ingest(
        self,
        symbols: Sequence[str],
        start_date: pd.Timestamp,
        end_date: pd.Timestamp,
        resolution: str,
        catalog: Any,
        parquet_writer: Any,
    ) -> Any:
        """Fetch, validate, standardize, write, checksum and register bars; return the dataset's id.

        In a thread without a running event loop, the call returns when everything is done; its
        result is the id (a ``str``), which may also be awaited. If a loop is running, the result is
        an ``asyncio.Task`` that has already been started.

        Args:
            symbols, start_date, end_date, resolution: See :meth:`fetch`.
            catalog: Object whose ``register_dataset(source, symbols, start_date, end_date,
                resolution, checksum)`` is called and returns the id, such as a
                :class:`~onetape.bundles.DataCatalog`.
            parquet_writer: Object whose ``write(frame, resolution)`` is called and returns the path
                of the files it wrote, such as a
                :class:`~onetape.bundles.ParquetWriter`.

        Only the bars that arrived are written and registered: the range of these bars is
        registered, and a warning names each symbol without bars.

        Raises:
            ValidationError, DecimalRangeError: The bars are invalid; nothing was written.
            ProviderTimeoutError: Fetching took longer than ``timeout``.
            ForeignError: ``fetch`` raised an error from outside this library, which is its
                ``__cause__``.
            DataError: Fetching, writing or registering failed.
        """
        question = SourceQuestion.of(symbols, start_date, end_date, resolution)

        def store(rows: pl.DataFrame) -> DatasetId:
            """Write and register checked rows; return the dataset's id."""
            ours = isinstance(parquet_writer, ParquetWriter)
            origin = ({"source_type": self.name},) if ours else ()
            path = parquet_writer.write(rows, resolution, *origin)
            there = set(rows["symbol"].unique())
            names = [symbol for symbol in question.symbols if symbol in there]
            if absent := [symbol for symbol in question.symbols if symbol not in there]:
                warn_user(
                    f"{self.name} returned no bars for {', '.join(absent)}, which are not registered"
                )
            own = catalog if isinstance(catalog, DataCatalog) else None
            markets = {symbol: own.instrument(symbol) if own else None for symbol in names}
            ranges = list(_range_rows(rows, question, markets))
            # This library's catalog also records the path and the counts, which the documented call
            # lacks.
            more = {
                "parquet_path": path,
                "ranges": ranges,
                "files": _files(path),
                "markets": {s: (i.asset_class, i.exchange) for s, i in markets.items() if i},
            }
            dataset = catalog.register_dataset(
                source=self.name,
                symbols=names,
                start_date=pd.Timestamp(min(one.start for one in ranges), unit="s"),
                end_date=pd.Timestamp(max(one.end for one in ranges), unit="s"),
                resolution=resolution,
                checksum=calculate_checksum(path),
                **(more if own else {}),
            )
            return DatasetId(dataset)

        async def steps() -> DatasetId:
            """Fetch and check the bars, then store them in a thread."""
            rows = await self._checked_rows(question)
            return await awaited(for_caller(partial(store, rows)))

        return started(steps)

    async def _checked_rows(self, question: SourceQuestion) -> pl.DataFrame:
        """Fetch, validate and standardize bars, and return the requested rows."""
        frame = await answered(self._fetch_with_retries, self.name, question, self.timeout)

        def check() -> pl.DataFrame:
            """Check the frame, whose daily bars keep the dates in their own zone."""
            self.validate(frame)
            times = pl.selectors.by_name("timestamp", "date", require_all=False)
            zoned = times & pl.selectors.datetime(time_zone="*")
            is_daily = not question.timeframe.is_intraday
            kept = frame.with_columns(zoned.dt.replace_time_zone(None)) if is_daily else frame
            return checked_frame(self.standardize(kept), self.name, question)

        return await awaited(for_caller(check))

    async def _fetch_with_retries(self, *question: Any) -> Any:
        """Call ``fetch``, retrying after transient errors, and return its result."""
        waits = exponential_backoff(self.initial_retry_delay, factor=self.backoff_factor)
        left = self.max_retries
        while True:
            if self.rate_limiter is not None:
                await awaited(self.rate_limiter.wait_if_needed)
            try:
                frame = self.fetch(*question)
                return await frame if inspect.isawaitable(frame) else frame
            except TRANSIENT_EXCEPTIONS as error:
                left -= 1
                if left < 1:
                    raise
                wait = max(next(waits), wait_seconds(getattr(error, "retry_after", None)) or 0.0)
            await awaited(partial(self._clock.sleep, wait))

    # --- as a source ------------------------------------------------------------------------

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
        """Write validated bars to a new or existing bundle of this source; return the bundle's folder.

        If an event loop is running, the result is a started task, as in :meth:`ingest`.

        Args:
            bundle_name: Name of the bundle.
            symbols, start, end, frequency: See :meth:`fetch`; rows for other symbols or times are
                left out.
            folder: Folder of bundles; None means the configured one.

        Raises:
            BundleError: The bundle belongs to another source.
            DataError: See :meth:`ingest`; the bundle is unchanged.

        Warns:
            UserWarning: Rows were left out because they were not requested.
        """
        question = SourceQuestion.of(symbols, start, end, frequency)
        rows = partial(self._checked_rows, question)
        return started(partial(ingested, self, bundle_name, question, folder, rows))

    def get_metadata(self) -> DataSourceMetadata:
        """Return metadata with only the name; a custom adapter may return more."""
        return DataSourceMetadata(source_type=self.name)

    def supports_live(self) -> bool:
        """Return False, because an adapter does not stream."""
        return False


# --- the documented adapters --------------------------------------------------------------


class AlpacaAdapter(AlpacaDataSource, BaseDataAdapter):
    """:class:`AlpacaDataSource` with ``validate``, ``standardize`` and ``ingest``."""


class AlphaVantageAdapter(AlphaVantageDataSource, BaseDataAdapter):
    """:class:`AlphaVantageDataSource` with ``validate``, ``standardize`` and ``ingest``."""


class CCXTDataAdapter(CCXTDataSource, BaseDataAdapter):
    """:class:`CCXTDataSource` with ``validate``, ``standardize`` and ``ingest``."""


class CSVAdapter(CSVDataSource, BaseDataAdapter):
    """:class:`CSVDataSource` with ``validate``, ``standardize`` and ``ingest``."""


class PolygonAdapter(PolygonDataSource, BaseDataAdapter):
    """:class:`PolygonDataSource` with ``validate``, ``standardize`` and ``ingest``."""


class YFinanceAdapter(YFinanceDataSource, BaseDataAdapter):
    """:class:`YFinanceDataSource` with ``validate``, ``standardize`` and ``ingest``."""


class AdapterRegistry:
    """A :class:`~onetape.sources.DataSourceRegistry` under other method names. Thread-safe.

    Both classes share the same sources.
    """

    get_adapter = DataSourceRegistry.get_source
    list_adapters = DataSourceRegistry.list_sources
    discover_adapters = DataSourceRegistry.list_sources
    clear = DataSourceRegistry.reset

    @classmethod
    def register(cls, name: str | type[Any], adapter_class: type[Any] | None = None) -> None:
        """Register a class as a source, like :meth:`.DataSourceRegistry.register`.

        Args:
            name: Name of the source. If only the class is passed, the name is the class's own name
                in lowercase.
            adapter_class: Class with the four methods of :class:`.DataSource`.

        Raises:
            QueryError: See :meth:`.DataSourceRegistry.register`.
        """
        named: Any = adapter_class if isinstance(name, str) else name
        text = name if isinstance(name, str) else name.__name__.lower()
        DataSourceRegistry.register(text, named)
