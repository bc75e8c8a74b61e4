"""Sources of bars: their interface, and how custom sources are called, checked and written.

A custom source implements four methods, or subclasses :class:`.BaseDataAdapter`.
"""

from __future__ import annotations

import asyncio
import inspect
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np
import pandas as pd

from ...core.interface import LoopThread, awaited
from ...core.model.display.texts import counted
from ...core.model.request.query import distinct_symbols
from ...core.model.time.timeframe import Timeframe
from ...core.model.words.caller import called_from, warn_user, working_for
from ...core.prices.bar_rule import are_bars
from ...errors import (
    BundleError,
    NoDataAvailableError,
    QueryError,
    ResponseFormatError,
)
from ..bundles.bundle import Bundle
from ..bundles.bundle_writer import ParquetWriter
from ..bundles.catalog_tables import request_key
from ..calls import own_call
from ..frames.frame_checks import bar_rows, bar_table, column_fault, time_of
from ..frames.frames import (
    FIELDS,
    PRICES,
    decimal_frame,
    pl,  # its error names the missing extra
)

T = TypeVar("T")

# Seconds for which a portal waits for a source.
PATIENCE_S = 30.0
# For a bundle, a source may send thousands of requests, so it gets more time; a source that hangs
# is still stopped.
INGESTION_S = 3600.0
_MOST_NAMED = 5


@dataclass(frozen=True)
class DataSourceMetadata:
    """A source's description of itself.

    Attributes:
        source_type: Name of the source, such as ``yfinance``, ``ccxt:binance``.
        source_url: URL from which the source's bars come.
        api_version: Version of the API at ``source_url``.
        supports_live: Whether the source also streams live bars.
        rate_limit: Requests per minute; None if unlimited or unknown.
        auth_required: Whether the source needs a key.
        data_delay: Delay of the bars in minutes; None if unknown.
        supported_frequencies: Timeframes that can be fetched.
        additional_info: Further information.
    """

    source_type: str
    source_url: str = ""
    api_version: str = ""
    supports_live: bool = False
    rate_limit: int | None = None
    auth_required: bool = False
    data_delay: int | None = None
    supported_frequencies: Sequence[str] = ()
    additional_info: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DataSourceConfig:
    """Settings with which user code creates a source.

    Attributes:
        source_name: Name for ``DataSourceRegistry.get_source``.
        api_key, api_secret: Keys for the vendor; None means the keys in the environment.
        exchange, base_url: Exchange and base URL, if the source uses them.
        rate_limit_per_second: Requests per second.
        enable_caching: Whether answers are cached.
        additional_params: Further arguments for the source's class.
    """

    source_name: str
    api_key: str | None = field(default=None, repr=False)
    api_secret: str | None = field(default=None, repr=False)
    exchange: str | None = None
    base_url: str | None = None
    rate_limit_per_second: float = 10
    enable_caching: bool = False
    additional_params: Mapping[str, Any] = field(default_factory=dict)


class DataSource(ABC):
    """Base class for sources of bars."""

    def __new__(cls, *args: Any, **options: Any) -> Self:
        """Create a source that records its arguments, which identify its cached frames."""
        source = super().__new__(cls)
        vars(source)["_arguments"] = args, options
        return source

    @abstractmethod
    async def fetch(
        self, symbols: list[str], start: pd.Timestamp, end: pd.Timestamp, frequency: str
    ) -> pl.DataFrame:
        """Return bars from ``start`` to ``end``, both inclusive.

        Args:
            symbols: Symbols as the source spells them.
            start, end: Bounds of the range; naive times are UTC.
            frequency: Timeframe, such as ``1d``, ``1h``, ``1m``.

        Returns:
            A frame with ``timestamp`` (``Datetime("us")``, naive UTC, the bar's opening time; for
            daily bars, 00:00 of the session's date), ``symbol``, and ``open high low close volume``
            as ``Decimal(18, 8)``.
        """

    @abstractmethod
    async def ingest_to_bundle(
        self,
        bundle_name: str,
        symbols: list[str],
        start: pd.Timestamp,
        end: pd.Timestamp,
        frequency: str,
    ) -> Path:
        """Write the bars that :meth:`fetch` returns to a bundle, and return the bundle's folder.

        A custom class may ``return await super().ingest_to_bundle(...)`` with these arguments. The
        frame from the class's ``fetch`` is then checked and written, including additional columns,
        to a bundle that no other source may write to.

        Raises:
            BundleError: The bundle belongs to another source.
            DataError: ``fetch`` failed, or its frame does not contain valid bars; nothing is
                written.
        """
        question = SourceQuestion.of(symbols, start, end, frequency)
        return await ingested(self, bundle_name, question)

    @abstractmethod
    def get_metadata(self) -> DataSourceMetadata:
        """Return the source's description of itself."""

    @abstractmethod
    def supports_live(self) -> bool:
        """Return whether the source also streams live bars."""


# --- plain and awaited calls -------------------------------------------------------------


class AwaitableValue:
    """A base class of values that can also be awaited: awaiting a value returns the value itself."""

    def __await__(self) -> Generator[Any, None, Self]:
        yield from ()
        return self


class BundlePath(AwaitableValue, type(Path())):  # type: ignore[misc] # PosixPath or WindowsPath
    """The path of a bundle's folder; awaiting it returns the path itself."""


# An event loop keeps no strong reference to a task, so a task that nothing awaits could be
# garbage-collected.
_tasks: set[asyncio.Task[Any]] = set()
# Event loop for sources in synchronous calls. It is shared, so that a call can use a session that
# an earlier one left open.
_loop = LoopThread("onetape-source")


def for_caller(work: Callable[[], T]) -> Callable[[], T]:
    """Wrap work for another thread, so that its warnings point to the line of code that asks for it."""
    caller = called_from()

    def done() -> T:
        """Do the work."""
        with working_for(caller):
            return work()

    return done


def run_in_loop(work: Callable[[], Awaitable[T]], loop: LoopThread) -> T:
    """Run a coroutine function in an event loop of another thread, and return its result."""
    result, error = loop.run(work, None)
    if error is not None:
        raise error
    done: T = result
    return done


def started(work: Callable[[], Coroutine[Any, Any, T]]) -> T | asyncio.Task[T]:
    """Return the result of ``work`` or, if an event loop runs in this thread, a task for it.

    The task begins immediately, even if it is not awaited. Warnings point to the line of code that
    asks for the work.
    """
    caller = called_from()

    async def done() -> T:
        """Do the work."""
        with working_for(caller):
            return await work()

    if not _runs_loop():
        return run_in_loop(done, _loop)
    task = asyncio.get_running_loop().create_task(done())
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
    return task


def begun(work: Callable[[], Path]) -> BundlePath | asyncio.Task[BundlePath]:
    """Return the path that ``work`` returns or, if an event loop runs in this thread, a task for it.

    In the first case, the work is done in this thread; otherwise in one of this library's threads.
    """
    done = for_caller(lambda: BundlePath(work()))
    return started(partial(awaited, done)) if _runs_loop() else done()


def _runs_loop() -> bool:
    """Return whether an event loop is running in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


# --- custom sources ----------------------------------------------------------------------


class SourceQuestion(NamedTuple):
    """A request for bars to a source.

    Attributes:
        symbols: Symbols as the source spells them.
        start, end: Bounds of the range, both inclusive; naive times are UTC.
        timeframe: Timeframe of the bars.
    """

    symbols: tuple[str, ...]
    start: pd.Timestamp
    end: pd.Timestamp
    timeframe: Timeframe

    @classmethod
    def of(cls, symbols: Sequence[str], start: Any, end: Any, frequency: str) -> SourceQuestion:
        """Check the arguments, and return the request.

        Raises:
            QueryError: An argument is invalid.
        """
        names = distinct_symbols(symbols)
        if not names or not all(isinstance(name, str) for name in names):
            raise QueryError(f"symbols must be a list of strings, not {symbols!r:.80}")
        try:
            bounds = pd.Timestamp(start), pd.Timestamp(end)
        except (ValueError, TypeError, OverflowError) as error:
            raise QueryError(
                f"invalid start or end, {start!r:.40} to {end!r:.40}: {error}"
            ) from error
        if not _to_utc(bounds[0]) <= _to_utc(bounds[1]):  # also rejects values that are not times
            raise QueryError(f"the start {start} is not before the end {end}")
        return cls(tuple(names), *bounds, Timeframe.parse(frequency))

    @property
    def bounds(self) -> tuple[str, str]:
        """The bounds in UTC, as exact ISO strings."""
        start, end = (str(_to_utc(bound).isoformat()) for bound in (self.start, self.end))
        return start, end

    def key(self, identity: str) -> str:
        """Return the cache key for this request to a source with the given identity, as 64 hex digits."""
        return request_key(identity, self.symbols, *self.bounds, self.timeframe.label)

    def __str__(self) -> str:
        names = joined_symbols(self.symbols)
        return f"{self.timeframe} bars for {names} from {self.start} to {self.end}"


def joined_symbols(symbols: Sequence[str]) -> str:
    """Return the first symbols, and how many others there are, for a message."""
    more = f" and {len(symbols) - _MOST_NAMED} more" if len(symbols) > _MOST_NAMED else ""
    return ", ".join(symbols[:_MOST_NAMED]) + more


async def fetched(
    source: Any, question: SourceQuestion, patience_s: float = PATIENCE_S
) -> pl.DataFrame:
    """Call ``fetch`` of a custom source, and return its frame after checking it.

    Args:
        source: Source whose ``fetch(symbols, start, end, frequency)`` is a function or a coroutine
            function.
        question: Bars to request.
        patience_s: Seconds to wait for the answer.

    Raises:
        ForeignError: ``fetch`` raised an error that is not this library's, or was cancelled.
        ProviderTimeoutError: ``fetch`` did not answer in time.
        ResponseFormatError, NoDataAvailableError: See :func:`checked_frame`.
        DataError: ``fetch`` raised this error itself.
    """
    about = type(source).__name__
    frame = await answered(source.fetch, about, question, patience_s)
    return checked_frame(frame, about, question)


async def answered(
    fetch: Callable[..., Any], about: str, question: SourceQuestion, patience_s: float | None
) -> Any:
    """Call a custom ``fetch``, and return its result unchecked.

    Args:
        fetch: Method of a source, which may be a coroutine function.
        about: Name of the source, for messages.
        question: Bars to request.
        patience_s: Seconds to wait; None means no limit.

    Raises:
        ForeignError, ProviderTimeoutError, DataError: See :func:`fetched`.
    """
    arguments = list(question.symbols), question.start, question.end, question.timeframe.label
    ask = partial(_call, partial(fetch, *arguments))
    return await own_call(about, ask, patience_s, wanted=f"{about} returned no {question}: ")


async def _call(fetch: Callable[[], Any]) -> Any:
    """Call a function in a thread, or a coroutine function in this event loop."""
    value = fetch() if inspect.iscoroutinefunction(fetch) else await awaited(fetch)
    return await value if inspect.isawaitable(value) else value


def checked_frame(frame: Any, about: str, question: SourceQuestion) -> pl.DataFrame:
    """Return the requested rows of a custom source's frame; no value or column is changed.

    Args:
        frame: Frame with ``timestamp`` (or ``date``), ``symbol`` if several were requested, and
            ``open high low close`` as numbers; a missing ``volume`` becomes null.
        about: Name of the source, for messages.
        question: Bars that were requested.

    Returns:
        A frame with ``timestamp`` (``Datetime("us")``, naive UTC; for daily and longer bars, 00:00
        of the date in the zone of the column), ``symbol``, prices, volume, and any additional
        columns. Rows are grouped by symbol in the requested order, and ascending.

    Raises:
        ResponseFormatError: The value is not a frame; or a column is missing; or a value is
            infinite or not a number, or a time is invalid, or a time or symbol is null; or there
            are two different rows for the same time and symbol.
        NoDataAvailableError: The frame does not contain any of the requested rows.

    Warns:
        UserWarning: Rows were left out, or are invalid.
    """
    rows = _bar_rows(frame, about, question)
    first, last = (_to_utc(bound) for bound in (question.start, question.end))
    if not question.timeframe.is_intraday:
        first = first.normalize()
    stamp, name = pl.col("timestamp"), pl.col("symbol")
    within = rows.filter(stamp >= first, stamp <= last, name.is_in(list(question.symbols)))
    others = len(rows) - len(within)
    if within.is_empty():
        instead = f"; it returned a row for {_named(rows)}" if others else ""
        raise NoDataAvailableError(f"{about} has no {question}{instead}")
    if others:
        warn_user(f"{about} returned {others} rows besides the {question}, which are ignored")
    within = _unique_rows(within, about)
    impossible = np.flatnonzero(~are_bars(bar_table(within)))
    if len(impossible):
        warn_user(
            f"{about} returned {counted(len(impossible), 'invalid row')}, the first for "
            f"{_named(within[int(impossible[0]) :])}; they are kept"
        )
    return within.sort(name.cast(pl.Enum(question.symbols)), stamp)


def _bar_rows(frame: Any, about: str, question: SourceQuestion) -> pl.DataFrame:
    """Return the rows of a custom source's frame, bar columns first."""
    try:
        whole = frame.collect() if isinstance(frame, pl.LazyFrame) else frame
    except pl.exceptions.PolarsError as error:
        raise _rejected(about, f"it cannot be collected: {error}") from error
    if isinstance(whole, pl.DataFrame):
        absent = {"volume": pl.lit(None, pl.Float64)}
        if len(question.symbols) == 1:
            absent["symbol"] = pl.lit(question.symbols[0])
        whole = whole.with_columns(
            value.alias(name) for name, value in absent.items() if name not in whole.columns
        )
    time = time_of(whole) if isinstance(whole, pl.DataFrame) else ""
    if fault := column_fault(whole, (time, "symbol", *PRICES)):
        raise _rejected(about, fault)
    for name in FIELDS:
        if whole.schema[name].is_float() and whole[name].is_infinite().any():
            raise _rejected(about, f"{name} has an infinity")
    return bar_rows(whole, is_daily=not question.timeframe.is_intraday)


def _unique_rows(rows: pl.DataFrame, about: str) -> pl.DataFrame:
    """Return the rows without duplicates; reject different rows with the same time and symbol."""
    keys = ["timestamp", "symbol"]
    if not rows.select(keys).is_duplicated().any():
        return rows
    try:
        rows = rows.unique()
    except pl.exceptions.PolarsError as error:  # the columns cannot be compared
        raise _rejected(about, f"it has two rows for one time and symbol: {error}") from error
    if len(twice := rows.filter(rows.select(keys).is_duplicated())):
        raise _rejected(about, f"it has different rows for {_named(twice)}")
    return rows


def _named(rows: pl.DataFrame) -> str:
    """Return the symbol and time of the first row."""
    row = rows.row(0, named=True)
    return f"{row['symbol']} at {row['timestamp']}"


def _rejected(about: str, fault: str) -> ResponseFormatError:
    return ResponseFormatError(
        f"{about} returned an invalid frame: {fault}",
        provider=about,
        hint="use a Polars frame with timestamp, symbol, open high low close, volume",
    )


def _to_utc(moment: pd.Timestamp) -> pd.Timestamp:
    """Return a time as naive UTC."""
    return moment if moment.tzinfo is None else moment.tz_convert(UTC).tz_localize(None)


# --- bundles --------------------------------------------------------------------------------------


async def ingested(
    source: Any,
    bundle_name: str,
    question: SourceQuestion,
    folder: str | PathLike[str] | None = None,
    fetch: Callable[[], Awaitable[pl.DataFrame]] | None = None,
) -> BundlePath:
    """Write the bars from a custom source to a bundle, and return the bundle's folder.

    If the bundle already contains bars from this source, the new bars are added, and rows with the
    same time and symbol are replaced. The bars are never stored together with vendors' bars.

    Args:
        source: See :func:`fetched`; the source must also have ``get_metadata``.
        bundle_name: Name of the bundle.
        question: Bars to request.
        folder: Folder that contains the bundles; None means the configured one.
        fetch: Function that returns the checked frame; None means :func:`fetched`.

    Raises:
        BundleError: The bundle belongs to another source, or was built from the store.
        DecimalRangeError: A value is too large for the bundle's decimal type; nothing is written.
        DataError: See :func:`fetched`; nothing is written.

    Warns:
        UserWarning: See :func:`checked_frame`; also issued if values with more than eight decimals
            were rounded.
    """
    bundle, metadata = Bundle(bundle_name, folder), source.get_metadata()
    about = {
        name: getattr(metadata, name, "") for name in ("source_type", "source_url", "api_version")
    }
    about["source_type"] = about["source_type"] or type(source).__name__
    await awaited(partial(_refuse_other, bundle, about["source_type"]))
    frame = await (fetched(source, question, INGESTION_S) if fetch is None else fetch())

    def write() -> BundlePath:
        """Convert the frame and write the bundle."""
        converted, rounded = decimal_frame(frame)
        finer = [n for n in FIELDS if getattr(frame.schema[n], "scale", 0) > 8]
        rounded += sum(int((frame[n] != converted[n]).sum()) for n in finer)
        if rounded:
            warn_user(f"bundle {bundle_name}: values rounded to eight decimals: {rounded:,}")
        ParquetWriter(bundle.path).write(converted, str(question.timeframe), about)
        return BundlePath(bundle.path)

    return await awaited(for_caller(write))


def _refuse_other(bundle: Bundle, source_type: str) -> None:
    """Raise an error if a bundle belongs to another source or was built from the store.

    Raises:
        BundleError: The bundle must not be overwritten.
    """
    if not bundle.exists():
        return
    origin = bundle.records().origin
    of = origin.source_type if origin.request is None else "the store"
    if of != source_type:
        raise BundleError(
            f"bundle {bundle.name} is made from {of}, not from {source_type}",
            hint="use another name",
        )
