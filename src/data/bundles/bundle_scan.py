"""Bundles as one lazy frame, which reads only the files, symbols and columns that a query needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, time
from functools import partial
from os import PathLike
from typing import Any, cast

import polars as pl
from polars.io.plugins import register_io_source

from ..errors import BadRangeError, BundleError, BundleNotFoundError, QueryError
from ..model.query import check_no_string
from ..polars.predicate import TimeBounds, selected_names, time_bounds
from ..polars.schemas import (
    FIELDS,
    PRICE,
    WIDE_VOLUME,
    Frequency,
    get_schema_for_frequency,
    time_column,
)
from .bundle import Bundle
from .bundle_records import Records
from .commit import BundleFiles
from .parquet_daily_bars import PolarsParquetDailyReader
from .parquet_minute_bars import PolarsParquetMinuteReader
from .parquet_reader import bound_of
from .partitions import FOLDERS, frequency_of

__all__ = ["scan"]

_BUNDLE, _SYMBOL = "bundle", "symbol"
_MOST_READS = 20
_NAMED = 5


def scan(
    bundles: str | Bundle | Sequence[str | Bundle],
    symbols: Sequence[str] | None = None,
    start: Any = None,
    end: Any = None,
    *,
    frequency: Frequency | None = None,
    folder: str | PathLike[str] | None = None,
) -> pl.LazyFrame:
    """Return the bars of one or several bundles as one lazy frame.

    Each ``collect`` reads the bundles as they are at that time. In each bundle, a change by another
    process is seen completely or not at all. Only files in the range are opened, and only with the
    selected columns and symbols. A filter that compares the time with fixed times, or ``symbol``
    with fixed names, restricts the range and the symbols further.

    Args:
        bundles: Names of bundles, or :class:`Bundle` objects; one or a list.
        symbols: Symbols as the bundles contain them, or None for all. A bundle need not contain all
            of them.
        start, end: Bounds, inclusive: a date, or anything pandas accepts as one (for daily bars,
            the date in its own time zone). For minute bars, an instant (naive means UTC), or a date
            for the whole UTC day. None means no bound.
        frequency: ``"daily"`` or ``"minute"``, for bundles that have both; otherwise not needed.
        folder: Bundles folder in which names are looked up, or None for the configured one.

    Returns:
        ``bundle`` and ``symbol`` (``String``), ``date`` (``Date``) or ``timestamp``
        (``Datetime("us")``, naive UTC, the bar's opening time), and ``open high low close volume``
        (Decimal; volume is ``Decimal(38, 8)`` if any bundle has this type). Rows are in the order
        of the bundles, then of the symbols in the bundle, then of time. Rows that a program wrote
        without a symbol have their series number as symbol.

    Raises:
        QueryError: An argument is invalid, no bundle contains one of the symbols, or the bundles
            have different frequencies.
        BundleNotFoundError: A bundle does not exist, or has no bars of the frequency (can also be
            raised by ``collect``).
        BundleError: A file is damaged (can also be raised by ``collect``).
        FormatVersionError: A newer version of this library wrote a bundle.
    """
    sources = [_KeptBundle(bundle) for bundle in _bundles(bundles, folder)]
    frequency = _frequency(sources, frequency)
    names = _symbols(sources, symbols)
    bounds = _bounds(start, end, frequency)
    opened = [_OpenedBundle(source, frequency) for source in sources]
    schema = {_BUNDLE: pl.String(), _SYMBOL: pl.String(), **get_schema_for_frequency(frequency)}
    del schema["sid"]
    schema["volume"] = max((source.volume() for source in opened), key=_digits)

    def rows(
        columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, _: Any
    ) -> Iterator[pl.DataFrame]:
        """Yield the rows of each bundle, as it is now."""
        wanted = schema if columns is None else {name: schema[name] for name in columns}
        yield pl.DataFrame(schema=wanted)
        # Polars counts rows before it filters them, so a limit also counts rows to be left out.
        used = predicate if n_rows is None else None
        within = bounds.within(time_bounds(used, time_column(frequency)))
        room = n_rows
        for source in opened:
            if room == 0:
                return
            select = partial(selected_names, used, _SYMBOL)
            frame = source.rows(wanted, within, names, select)
            if room is not None:
                frame = frame.head(room)
                room -= len(frame)
            yield frame if predicate is None else frame.filter(predicate)

    return register_io_source(rows, schema=schema)


class _KeptBundle:
    """A bundle, and its records, which are read again if the bundle has changed. Thread-safe."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle, self.name = bundle, bundle.name
        self._files = BundleFiles(bundle.path)
        self._known: tuple[Any, Records] | None = None

    def moment(self) -> Any:
        """Return the state of the bundle, which each change alters."""
        return self._files.moment()

    def records(self) -> Records:
        """Return the current records; see :meth:`.Bundle.records`."""
        known, now = self._known, self.moment()
        if known is None or known[0] != now:
            known = self._known = now, self.bundle.records()
        return known[1]


class _OpenedBundle:
    """One of the scanned bundles, whose files are read again for each query. Thread-safe."""

    def __init__(self, kept: _KeptBundle, frequency: Frequency) -> None:
        self._kept, self._frequency = kept, frequency
        bundle = kept.bundle
        self._load: Callable[[list[int], Any, Any, Sequence[str]], pl.DataFrame]
        if frequency == "daily":
            self._load = PolarsParquetDailyReader(bundle.path, enable_cache=False).load_daily_bars
        else:
            self._load = PolarsParquetMinuteReader(bundle.path, enable_cache=False).load_minute_bars

    def volume(self) -> pl.Decimal:
        """Return the type of the volume, which is the same in all files of the bundle.

        Raises:
            BundleNotFoundError: The bundle has no bars of the frequency.
        """
        records = self._kept.records()
        if self._frequency not in set(map(frequency_of, records.files)):
            raise BundleNotFoundError(
                f"bundle {self._kept.name} has no {FOLDERS[self._frequency]}",
                hint="`onetape bundle list` shows the bundles and their contents",
            )
        return WIDE_VOLUME if records.origin.wide_volume else PRICE

    def rows(
        self,
        schema: Mapping[str, pl.DataType],
        bounds: TimeBounds,
        symbols: set[str] | None,
        select: Callable[[Sequence[str]], list[str]],
    ) -> pl.DataFrame:
        """Return the rows for some symbols; rows and symbols are from the same state of the bundle.

        Args:
            schema: Columns to read, with their types.
            bounds: Earliest and latest time.
            symbols: Symbols to read; None means all.
            select: Function that returns, from a list of symbols, those whose rows are needed.
        """
        for _ in range(_MOST_READS):
            before = self._kept.moment()
            names = self._kept.records().names()
            wanted = {n for n in names.values() if symbols is None or n in symbols}
            wanted = set(select(sorted(wanted)))
            names = {sid: name for sid, name in names.items() if name in wanted}
            if bounds.is_empty:
                bounds = TimeBounds(bounds.low, bounds.low)
                names = {}
            fields = [name for name in schema if name in FIELDS]
            frame = self._load(list(names), bounds.low, bounds.high, fields)
            if self._kept.moment() == before:
                return self._add_names(frame, names, schema)
        raise BundleError(
            f"bundle {self._kept.name} was rewritten during each of {_MOST_READS} attempts to read it",
            hint="read it when its writer has finished",
        )

    def _add_names(
        self, frame: pl.DataFrame, names: Mapping[int, str], schema: Mapping[str, pl.DataType]
    ) -> pl.DataFrame:
        """Return the columns as in ``schema``, with the bundle's name and the symbols added.

        Raises:
            BundleError: Volumes have become larger than the type of the column.
        """
        if "volume" in schema and _digits(frame.schema["volume"]) > _digits(schema["volume"]):
            raise BundleError(
                f"the volumes in bundle {self._kept.name} now have the type {frame.schema['volume']}",
                hint="call scan again",
            )
        sids, texts = pl.Series(list(names), dtype=pl.Int64), list(names.values())
        symbol = pl.col("sid").replace_strict(sids, texts, default=None, return_dtype=pl.String)
        rows = frame.lazy().with_columns(pl.lit(self._kept.name).alias(_BUNDLE))
        if _SYMBOL in schema:
            rows = rows.with_columns(symbol.alias(_SYMBOL))
        return rows.select(pl.col(name).cast(dtype) for name, dtype in schema.items()).collect()


def _bundles(bundles: Any, folder: str | PathLike[str] | None) -> list[Bundle]:
    """Return the bundles, all of which exist.

    Raises:
        QueryError: The values are not names or bundles, there are none, or a bundle is named twice.
        BundleNotFoundError: A bundle does not exist.
    """
    is_one = isinstance(bundles, str | Bundle)
    if not is_one and (not isinstance(bundles, Sequence) or isinstance(bundles, bytes)):
        raise QueryError(
            f"bundles must be names or Bundle objects, not {type(bundles).__name__}",
            hint='such as scan("mine") or scan(["mine", Bundle("theirs")])',
        )
    unique: list[Bundle] = []
    for name in [bundles] if is_one else bundles:
        bundle = name if isinstance(name, Bundle) else Bundle(name, folder)
        if any(other.path == bundle.path for other in unique):
            raise QueryError(f"bundle {bundle.name} is named twice")
        unique.append(bundle)
    if not unique:
        raise QueryError("scan needs at least one bundle", hint="`onetape bundle list` lists them")
    return unique


def _frequency(bundles: Sequence[_KeptBundle], frequency: Any) -> Frequency:
    """Return the one frequency of all bundles.

    Raises:
        QueryError: The frequency is unknown, or the bundles have different frequencies.
    """
    if frequency is not None:
        get_schema_for_frequency(frequency)
        return cast(Frequency, frequency)
    frequencies = {bundle.name: _frequencies(bundle) for bundle in bundles}
    common = set[Frequency].union(*frequencies.values())
    if len(common) == 1:
        return next(iter(common))
    if not common:
        raise BundleNotFoundError(f"bundle {bundles[0].name} has no bars")
    raise QueryError(
        "the bundles have daily and minute bars, which have different columns: "
        + "; ".join(f"{name}: {', '.join(sorted(has))}" for name, has in frequencies.items()),
        hint='pass frequency="daily" or frequency="minute"',
    )


def _frequencies(bundle: _KeptBundle) -> set[Frequency]:
    places = bundle.records().files
    return {frequency for place in places if (frequency := frequency_of(place)) is not None}


def _symbols(bundles: Sequence[_KeptBundle], symbols: Any) -> set[str] | None:
    """Return the symbols as a set; None means all.

    Raises:
        QueryError: The symbols are not a list of strings, or one of them is in no bundle.
    """
    if symbols is None:
        return None
    check_no_string(symbols, hint=f"[{symbols!r}]")
    try:
        wanted = list(symbols)
    except TypeError:
        raise QueryError(f"symbols must be a list, not {type(symbols).__name__}") from None
    for symbol in wanted:
        if not isinstance(symbol, str):
            raise QueryError(f"not a symbol: {symbol!r:.80}", hint="symbols are strings")
    available = {name for bundle in bundles for name in bundle.records().names().values()}
    unknown = [symbol for symbol in dict.fromkeys(wanted) if symbol not in available]
    if unknown:
        raise QueryError(
            f"no bundle contains {', '.join(ascii(symbol)[:40] for symbol in unknown[:_NAMED])}"
            + (f" and {len(unknown) - _NAMED} more symbols" if len(unknown) > _NAMED else ""),
            hint="`onetape bundle info NAME` lists the symbols of a bundle",
        )
    return set(wanted)


def _bounds(start: Any, end: Any, frequency: Frequency) -> TimeBounds:
    """Return the bounds as times.

    Raises:
        BadRangeError: A bound is not a time, or the start is after the end.
    """
    low, high = bound_of(start, frequency), bound_of(end, frequency, is_last=True)
    bounds = TimeBounds(_time_of(low), _time_of(high))
    if bounds.is_empty:
        raise BadRangeError(f"the start is after the end: {start} to {end}")
    return bounds


def _time_of(bound: Any) -> datetime | None:
    if bound is None or isinstance(bound, datetime):
        return bound
    return datetime.combine(bound, time())


def _digits(dtype: pl.DataType) -> int:
    return dtype.precision or 0 if isinstance(dtype, pl.Decimal) else 0
