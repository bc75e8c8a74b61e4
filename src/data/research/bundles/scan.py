"""Bundles as one lazy frame, of which Polars reads only the rows and columns that a query needs."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from os import PathLike
from typing import Any

from ...core.model.request.query import check_no_string
from ...core.model.words.suggestion import did_you_mean
from ...errors import BadRangeError, BundleError, BundleNotFoundError, QueryError
from ..frames.frames import (
    FIELDS,
    PRICE,
    WIDE_VOLUME,
    Frequency,
    get_schema_for_frequency,
    pl,
)
from .bundle import Bundle
from .bundle_reader import (
    ParquetReader,
    PolarsParquetDailyReader,
    PolarsParquetMinuteReader,
    bound_of,
    narrowed,
)
from .bundle_records import Records
from .partitions import FOLDERS, frequency_of

__all__ = ["common_frequency", "reader_of", "scan"]

_BUNDLE, _SYMBOL = "bundle", "symbol"
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
    process is seen completely or not at all. Only files in the range are opened; in these, Polars
    reads only the selected columns, and skips the rows that the range, the symbols or a filter
    exclude by the files' statistics.

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
    chosen = {bundle: bundle.records() for bundle in _bundles(bundles, folder)}
    frequency = common_frequency(chosen, frequency)
    names = _symbols(chosen.values(), symbols)
    low, high = bound_of(start, frequency), bound_of(end, frequency, is_last=True)
    if low is not None and high is not None and low > high:
        raise BadRangeError(f"the start is after the end: {start} to {end}")
    schema = {_BUNDLE: pl.String(), _SYMBOL: pl.String(), **get_schema_for_frequency(frequency)}
    del schema["sid"]
    is_wide = any(records.origin.wide_volume for records in chosen.values())
    schema["volume"] = WIDE_VOLUME if is_wide else PRICE

    def scanned(bundle: Bundle, reader: ParquetReader) -> pl.LazyFrame:
        """Return the lazy frame of one bundle."""

        def rows(
            columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, _: Any
        ) -> Iterator[pl.DataFrame]:
            """Yield the rows of the bundle as it is now; rows and symbols are of one state."""

            def query(records: Records, frame: pl.LazyFrame) -> pl.LazyFrame:
                """Return the part that is needed of the bundle's rows, with their symbols."""
                if records.origin.wide_volume and not is_wide and "volume" in (columns or schema):
                    raise BundleError(
                        f"the volumes in bundle {bundle.name} now have the type {WIDE_VOLUME}",
                        hint="call scan again",
                    )
                symbols = records.symbols
                if names is not None:
                    symbols = symbols.filter(pl.col(_SYMBOL).is_in(names))
                    frame = frame.filter(pl.col("sid").is_in(symbols["sid"].implode()))
                frame = frame.join(symbols.lazy(), on="sid", how="left", maintain_order="left")
                if is_wide != records.origin.wide_volume:
                    frame = frame.cast({"volume": WIDE_VOLUME})
                frame = frame.select(pl.lit(bundle.name).alias(_BUNDLE), *[*schema][1:])
                return narrowed(frame, columns, predicate, n_rows)

            yield reader.collect(FIELDS, low, high, query)

        return pl.io.plugins.register_io_source(rows, schema=schema)

    return pl.concat(scanned(bundle, reader_of(bundle, frequency)) for bundle in chosen)


def reader_of(bundle: Bundle, frequency: Frequency) -> ParquetReader:
    """Return the reader for the bars of one frequency in a bundle."""
    reader = PolarsParquetDailyReader if frequency == "daily" else PolarsParquetMinuteReader
    return reader(bundle.path, enable_cache=False)


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


def common_frequency(chosen: Mapping[Bundle, Records], frequency: Any) -> Frequency:
    """Return the one frequency of all bundles.

    Raises:
        QueryError: The frequency is unknown, or the bundles have different frequencies.
        BundleNotFoundError: A bundle has no bars, or none of the frequency.
    """
    if frequency is not None:
        get_schema_for_frequency(frequency)
    found = {
        bundle.name: {each for place in records.files if (each := frequency_of(place))}
        for bundle, records in chosen.items()
    }
    common: set[Frequency] = {frequency} if frequency else set().union(*found.values())
    if len(common) > 1:
        raise QueryError(
            "the bundles have daily and minute bars, which have different columns: "
            + "; ".join(f"{name}: {', '.join(sorted(has))}" for name, has in found.items()),
            hint='pass frequency="daily" or frequency="minute"',
        )
    for name, has in found.items():
        if not common or not has >= common:
            raise BundleNotFoundError(
                f"bundle {name} has no {FOLDERS.get(frequency, 'bars')}",
                hint="`onetape bundle list` shows the bundles and their contents",
            )
    return common.pop()


def _symbols(bundles: Collection[Records], symbols: Any) -> set[str] | None:
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
    available = {name for records in bundles for name in records.names().values()}
    unknown = [symbol for symbol in dict.fromkeys(wanted) if symbol not in available]
    if unknown:
        near = did_you_mean(unknown[0], available)
        raise QueryError(
            f"no bundle contains {', '.join(ascii(symbol)[:40] for symbol in unknown[:_NAMED])}"
            + (f" and {len(unknown) - _NAMED} more symbols" if len(unknown) > _NAMED else ""),
            hint=f"{near}`onetape bundle info NAME` lists the symbols of a bundle",
        )
    return set(wanted)
