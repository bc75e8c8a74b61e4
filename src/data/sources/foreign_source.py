"""Writes a source's bars to a bundle; frames from a custom source are checked first."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Generator, Sequence
from datetime import UTC
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pandas as pd

from ..bundles.bundle import Bundle
from ..bundles.catalog_tables import request_key
from ..bundles.parquet_writer import ParquetWriter
from ..call_threads import awaited
from ..errors import (
    BundleError,
    DataError,
    ForeignError,
    NoDataAvailableError,
    ProviderTimeoutError,
    QueryError,
    ResponseFormatError,
)
from ..layer.frames import decimal_frame, pl
from ..model.caller import called_from, warn_user, working_for
from ..model.frame import REQUIRED_COLUMNS as FIELDS
from ..model.texts import counted
from ..model.timeframe import Timeframe

__all__ = [
    "BundlePath",
    "SourceQuestion",
    "answered",
    "begun",
    "checked_frame",
    "fetched",
    "for_caller",
    "ingested",
    "refuse_other",
    "started",
]

T = TypeVar("T")

# Seconds for which a portal waits for a source.
PATIENCE_S = 30.0
# For a bundle, a source may send thousands of requests, so it gets more time; a source that hangs
# is still stopped.
INGESTION_S = 3600.0
_MOST_NAMED = 5


class BundlePath(type(Path())):  # type: ignore[misc] # PosixPath or WindowsPath
    """The path of a bundle's folder; awaiting it returns the path itself."""

    def __await__(self) -> Generator[Any, None, BundlePath]:
        return _same_path(self).__await__()


async def _same_path(path: BundlePath) -> BundlePath:
    return path


# An event loop keeps no strong reference to a task, so a task that nothing awaits could be
# garbage-collected.
_tasks: set[asyncio.Task[Any]] = set()


def begun(work: Callable[[], Path]) -> BundlePath | asyncio.Task[BundlePath]:
    """Return the path that ``work`` returns or, if an event loop runs in this thread, a task for it.

    The task begins immediately, even if it is not awaited; the work is done in one of this
    library's threads.
    """
    done = for_caller(lambda: BundlePath(work()))
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return done()
    return started(awaited(done))


def for_caller(work: Callable[[], T]) -> Callable[[], T]:
    """Wrap work for another thread, so that its warnings point to the line of code that asks for it."""
    caller = called_from()

    def done() -> T:
        """Do the work."""
        with working_for(caller):
            return work()

    return done


def started(
    work: Coroutine[Any, Any, BundlePath],
) -> BundlePath | asyncio.Task[BundlePath]:
    """Return the path that ``work`` returns or, if an event loop runs in this thread, a task for it."""
    try:
        task = asyncio.get_running_loop().create_task(work)
    except RuntimeError:
        return asyncio.run(work)
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
    return task


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
        if isinstance(symbols, str) or not symbols:
            raise QueryError(
                f"symbols must be a list, not {symbols!r:.80}", hint=f"[{symbols!r:.80}]"
            )
        if odd := [symbol for symbol in symbols if not isinstance(symbol, str)]:
            raise QueryError(f"invalid symbol {odd[0]!r:.80}; use a string such as 'AAPL'")
        try:
            bounds = pd.Timestamp(start), pd.Timestamp(end)
        except (ValueError, TypeError, OverflowError) as error:
            raise QueryError(
                f"invalid start or end, {start!r:.40} to {end!r:.40}: {error}"
            ) from error
        if not _to_utc(bounds[0]) <= _to_utc(bounds[1]):  # also rejects values that are not times
            raise QueryError(f"the start {start} is not before the end {end}")
        return cls(tuple(dict.fromkeys(symbols)), *bounds, Timeframe.parse(frequency))

    @property
    def bounds(self) -> tuple[str, str]:
        """The bounds in UTC, as exact ISO strings."""
        start, end = (str(_to_utc(bound).isoformat()) for bound in (self.start, self.end))
        return start, end

    def key(self, identity: str) -> str:
        """Return the cache key for this request to a source with the given identity, as 64 hex digits."""
        return request_key(identity, self.symbols, *self.bounds, self.timeframe.label)

    def __str__(self) -> str:
        names, rest = self.symbols[:_MOST_NAMED], len(self.symbols) - _MOST_NAMED
        more = f" and {rest} more" if rest > 0 else ""
        return f"{self.timeframe} bars for {', '.join(names)}{more} from {self.start} to {self.end}"


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
    task = asyncio.ensure_future(_call(partial(fetch, *arguments)))
    try:
        await asyncio.wait({task}, timeout=patience_s)
    finally:
        if not task.done():
            task.cancel()
    if not task.done():
        raise ProviderTimeoutError(
            f"{about} returned no {question}: no answer within {patience_s:g} s", provider=about
        )
    error = asyncio.CancelledError() if task.cancelled() else task.exception()
    if error is None:
        return task.result()
    if isinstance(error, DataError):
        raise error
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    raise ForeignError(f"{about} returned no {question}: {text}", provider=about) from error


async def _call(fetch: Callable[[], Any]) -> Any:
    value = fetch()
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
    try:
        whole = frame.collect() if isinstance(frame, pl.LazyFrame) else frame
    except pl.exceptions.PolarsError as error:
        raise _error(about, f"that cannot be read: {error}") from error
    if not isinstance(whole, pl.DataFrame):
        raise _error(about, f"of type {type(whole).__name__}", "use a Polars frame")
    rows = _columns(whole, about, question)
    first, last = (_to_utc(bound) for bound in (question.start, question.end))
    if not question.timeframe.is_intraday:
        first = first.normalize()
    stamp, name = pl.col("timestamp"), pl.col("symbol")
    within = rows.filter(stamp >= first, stamp <= last, name.is_in(list(question.symbols)))
    if within.is_empty():
        raise NoDataAvailableError(f"{about} has no {question}")
    if others := len(rows) - len(within):
        warn_user(f"{about} returned {others} rows besides the {question}, which are ignored")
    within = _unique_rows(within, about)
    impossible = within.filter(
        (pl.col("high") < pl.max_horizontal("open", "close", "low"))
        | (pl.col("low") > pl.min_horizontal("open", "close"))
        | (pl.col("volume") < 0)
    )
    if len(impossible):
        row = impossible.row(0, named=True)
        warn_user(
            f"{about} returned {counted(len(impossible), 'invalid row')}, the first for "
            f"{row['symbol']} at {row['timestamp']}; they are kept"
        )
    positions = {symbol: index for index, symbol in enumerate(question.symbols)}
    order = name.replace_strict(positions, return_dtype=pl.Int64)
    return within.sort(order, stamp)


def _columns(whole: pl.DataFrame, about: str, question: SourceQuestion) -> pl.DataFrame:
    """Return a frame with checked columns, bar columns first."""
    time = next((name for name in ("timestamp", "date") if name in whole.columns), "timestamp")
    if "symbol" not in whole.columns and len(question.symbols) == 1:
        whole = whole.with_columns(pl.lit(question.symbols[0]).alias("symbol"))
    lacking = [n for n in (time, "symbol", *FIELDS[:-1]) if n not in whole.columns]
    if lacking:
        raise _error(about, f"without {', '.join(lacking)}: it has {', '.join(whole.columns)}")
    if "volume" not in whole.columns:
        whole = whole.with_columns(pl.lit(None, pl.Float64).alias("volume"))
    types = whole.schema
    wrong = [f"{n} is {types[n]}" for n in FIELDS if not _is_number(types[n])]
    is_time = isinstance(types[time], pl.Date | pl.Datetime)
    wrong += [] if is_time else [f"{time} is {types[time]}"]
    is_text = types["symbol"] in (pl.String, pl.Categorical, pl.Enum)
    wrong += [] if is_text else [f"symbol is {types['symbol']}"]
    wrong += [f"{n} is null in {c} rows" for n in (time, "symbol") if (c := whole[n].null_count())]
    floats = [n for n in FIELDS if types[n].is_float()]
    wrong += [f"{n} has an infinity" for n in floats if whole[n].is_infinite().any()]
    if wrong:
        raise _error(about, f"whose {', '.join(wrong)}")
    column = pl.col(time)
    if not question.timeframe.is_intraday:
        column = column.cast(pl.Date) if types[time] == pl.Date else column.dt.date()
    elif getattr(types[time], "time_zone", None) is not None:
        column = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    others = [n for n in whole.columns if n not in (time, "timestamp", "symbol", *FIELDS)]
    return whole.select(
        column.cast(pl.Datetime("us")).alias("timestamp"),
        pl.col("symbol").cast(pl.String),
        *FIELDS,
        *others,
    )


def _unique_rows(rows: pl.DataFrame, about: str) -> pl.DataFrame:
    """Return the rows without duplicates; reject different rows with the same time and symbol."""
    twice = rows.select("timestamp", "symbol").is_duplicated()
    if not twice.any():
        return rows
    try:
        unlike = rows.filter(twice).unique()
    except pl.exceptions.PolarsError as error:  # the columns cannot be compared
        raise _error(about, f"with two rows for one time and symbol: {error}") from error
    if unlike.select("timestamp", "symbol").is_duplicated().any():
        row = unlike.row(0, named=True)
        raise _error(
            about, f"with different rows for {row['symbol']} at {row['timestamp']}", ": give one"
        )
    return pl.concat([rows.filter(~twice), unlike])


def _error(about: str, what: str, hint: str = "use a frame of bars") -> ResponseFormatError:
    return ResponseFormatError(f"{about} returned a frame {what}", provider=about, hint=hint)


def _is_number(dtype: Any) -> bool:
    return bool(dtype.is_numeric() or dtype == pl.Null)


def _to_utc(moment: pd.Timestamp) -> pd.Timestamp:
    """Return a time as naive UTC."""
    return moment if moment.tzinfo is None else moment.tz_convert(UTC).tz_localize(None)


# --- bundles --------------------------------------------------------------------------------------


async def ingested(
    source: Any,
    bundle_name: str,
    question: SourceQuestion,
    folder: str | PathLike[str] | None = None,
) -> BundlePath:
    """Write the bars from a custom source to a bundle, and return the bundle's folder.

    If the bundle already contains bars from this source, the new bars are added, and rows with the
    same time and symbol are replaced. The bars are never stored together with vendors' bars.

    Args:
        source: See :func:`fetched`; the source must also have ``get_metadata``.
        bundle_name: Name of the bundle.
        question: Bars to request.
        folder: Folder that contains the bundles; None means the configured one.

    Raises:
        BundleError: The bundle belongs to another source, or was built from the store.
        DecimalRangeError: A value is too large for the bundle's decimal type; nothing is written.
        DataError: See :func:`fetched`; nothing is written.

    Warns:
        UserWarning: See :func:`checked_frame`; also issued if values with more than eight decimals
            were rounded.
    """
    caller = called_from()
    bundle, metadata = Bundle(bundle_name, folder), source.get_metadata()
    about = {
        name: getattr(metadata, name, "") for name in ("source_type", "source_url", "api_version")
    }
    about["source_type"] = about["source_type"] or type(source).__name__
    await awaited(partial(refuse_other, bundle, about["source_type"]))
    frame = await fetched(source, question, INGESTION_S)

    def write() -> BundlePath:
        """Write the bundle; warnings point to the line of user code that awaits it."""
        with working_for(caller):
            converted, rounded = decimal_frame(frame)
            rounded += sum(
                int((frame[n] != converted[n]).sum()) for n in FIELDS if _is_fine(frame[n])
            )
            if rounded:
                warn_user(f"bundle {bundle_name}: values rounded to eight decimals: {rounded:,}")
            ParquetWriter(bundle.path).write(converted, str(question.timeframe), about)
            return BundlePath(bundle.path)

    return await awaited(write)


def _is_fine(column: pl.Series) -> bool:
    """Return whether a column is of type Decimal with more decimal places than bundles have."""
    return isinstance(column.dtype, pl.Decimal) and column.dtype.scale > 8


def refuse_other(bundle: Bundle, source_type: str) -> None:
    """Raise an error if a bundle belongs to another source or was built from the store.

    Raises:
        BundleError: The bundle must not be overwritten.
    """
    if not bundle.exists():
        return
    origin = bundle.records().origin
    if origin.request is not None or origin.source_type != source_type:
        of = "the store" if origin.request is not None else origin.source_type
        raise BundleError(
            f"bundle {bundle.name} is made from {of}, not from {source_type}",
            hint="use another name",
        )
