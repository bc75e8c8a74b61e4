"""Bars as frames of Polars: floats or Decimals, the columns of a bundle's files, and their checks.

The store's float64 values are authoritative; Decimals are a view of them for output. A float whose
shortest text has at most eight decimals becomes exactly that Decimal, which converts back to the
same float. A float with more decimals is rounded, and the rounded values are counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from ...errors import DecimalRangeError, MissingExtraError, QueryError, install_line

try:
    import polars as pl
except ImportError as missing:
    raise MissingExtraError(
        "Polars frames need the `polars` extra", hint=install_line("polars")
    ) from missing

if TYPE_CHECKING:
    from ...core.bars.client import Rows

__all__ = [
    "ADJUSTMENTS_SCHEMA",
    "DAILY_BARS_SCHEMA",
    "FIELDS",
    "MINUTE_BARS_SCHEMA",
    "PRICE",
    "PRICES",
    "SCHEMA_VERSION",
    "WIDE_VOLUME",
    "DecimalFrame",
    "bars_frame",
    "decimal_frame",
    "float_frame",
    "get_schema_for_frequency",
    "pl",
    "time_column",
    "validate_schema",
]

Frequency = Literal["daily", "minute"]
Style = Literal["float", "decimal"]

SCHEMA_VERSION = 1
PRICE = pl.Decimal(18, 8)
# The type of a bundle's volumes if one of them does not fit into 18 digits, as for some coins.
WIDE_VOLUME = pl.Decimal(38, 8)
PRICES = ("open", "high", "low", "close")
FIELDS = (*PRICES, "volume")
_UNITS = 1e8
# From here on, a float times the units may not be an integer: such values are converted as text.
_FAR = 1e7
_BLOCK = 1 << 14
_LIMITS = {PRICE: 1e10, WIDE_VOLUME: 1e30}
_WHOLE_LIMIT = 2.0**63
# Prices up to here are rounded to 0.
_NOTHING = 5e-9

DAILY_BARS_SCHEMA: dict[str, pl.DataType] = {
    "date": pl.Date(),
    "sid": pl.Int64(),
    **dict.fromkeys(FIELDS, PRICE),
}
MINUTE_BARS_SCHEMA: dict[str, pl.DataType] = {
    "timestamp": pl.Datetime("us"),
    "sid": pl.Int64(),
    **dict.fromkeys(FIELDS, PRICE),
}
ADJUSTMENTS_SCHEMA: dict[str, pl.DataType] = {
    "date": pl.Date(),
    "sid": pl.Int64(),
    "adjustment_type": pl.String(),
    "split_ratio": PRICE,
    "dividend_amount": PRICE,
}
_SCHEMAS = {"daily": DAILY_BARS_SCHEMA, "minute": MINUTE_BARS_SCHEMA}


def get_schema_for_frequency(frequency: str) -> dict[str, pl.DataType]:
    """Return the column types of ``"daily"`` or ``"minute"`` bars, in order.

    ``date`` is the session's date; ``timestamp`` is the bar's opening time in naive UTC.

    Raises:
        QueryError: The frequency is neither of these.
    """
    if frequency not in _SCHEMAS:
        raise QueryError(f"unknown bundle frequency {frequency!r}", hint="use daily or minute")
    return dict(_SCHEMAS[frequency])


def time_column(frequency: str) -> str:
    """Return the name of the time column of bars: ``"date"`` or ``"timestamp"``.

    Raises the errors of :func:`get_schema_for_frequency`.
    """
    return next(iter(get_schema_for_frequency(frequency)))


def validate_schema(frame: pl.DataFrame | pl.LazyFrame, frequency: str) -> bool:
    """Check that a frame has all columns of ``"daily"`` or ``"minute"`` bars, with the right types.

    Additional columns are allowed, as is a volume of type ``Decimal(38, 8)``. The result is always
    True.

    Raises:
        QueryError: A column is missing or has a different type; the message lists all such columns.
    """
    wanted = get_schema_for_frequency(frequency)
    problems = list(_problems(frame.collect_schema(), wanted))
    if problems:
        raise QueryError(
            f"the frame does not contain {frequency} bars: {'; '.join(problems)}",
            hint=f"the columns must be {', '.join(wanted)}",
        )
    return True


def _problems(
    schema: Mapping[str, pl.DataType], wanted: Mapping[str, pl.DataType]
) -> Sequence[str]:
    lacking = [f"{name} is missing" for name in wanted if name not in schema]
    other = [
        f"{name} is {schema[name]}, not {dtype}"
        for name, dtype in wanted.items()
        if name in schema and schema[name] != dtype
        if not (name == "volume" and schema[name] == WIDE_VOLUME)
    ]
    return [*lacking, *other]


def bars_frame(answers: Mapping[str, Rows], style: Style = "float") -> pl.DataFrame:
    """Combine the bars of several symbols into one frame, column by column.

    The values of all symbols are copied once into each column; no frame is built for a symbol.

    Args:
        answers: Maps each symbol to its bars, as returned by :meth:`.BarsClient.get_rows_by_symbol`;
            a symbol that failed has no rows.
        style: ``float``: ``Float64``, NaN if unknown. ``decimal``: see :func:`decimal_frame`; null
            if unknown.

    Returns:
        ``timestamp`` (``Datetime("us")``, naive UTC, the bar's opening time), ``symbol``
        (``String``) and ``open high low close volume``. Symbols are in the given order, each with
        its bars in ascending order.

    Raises:
        DecimalRangeError: A value does not fit into its Decimal type.
    """
    parts = [answer.arrays() for answer in answers.values()]
    counts = [len(part.stamps) for part in parts]
    stamps = np.concatenate([np.empty(0, np.int64), *(part.stamps for part in parts)])
    numbers = np.repeat(np.arange(len(parts), dtype=np.uint32), counts)
    columns = [
        pl.Series("timestamp", stamps // 1000).cast(pl.Datetime("us")),
        pl.Series("symbol", list(answers), dtype=pl.String).gather(numbers),
    ]
    for name in FIELDS:
        values = [
            part.values[part.columns.index(name)].astype(np.float64, copy=False)
            if name in part.columns
            else np.full(count, np.nan)
            for part, count in zip(parts, counts, strict=True)
        ]
        columns.append(pl.Series(name, np.concatenate([np.empty(0), *values])))
    frame = pl.DataFrame(columns)
    return frame if style == "float" else decimal_frame(frame).frame


class DecimalFrame(NamedTuple):
    """A frame with Decimal columns.

    Attributes:
        frame: Frame with the same rows and columns.
        rounded: Number of values with more than eight decimals.
    """

    frame: pl.DataFrame
    rounded: int


def decimal_frame(frame: pl.DataFrame, *, wide_volume: bool = False) -> DecimalFrame:
    """Convert a frame's prices and volume to Decimals, and count the rounded values.

    ``open high low close`` become ``Decimal(18, 8)``. So does ``volume``, unless a value does not
    fit; it then becomes ``Decimal(38, 8)``. NaN becomes null. Decimal columns and all other columns
    are left as they are. Pure.

    Args:
        frame: Frame with any of these columns, as floats, integers or Decimals.
        wide_volume: Whether to always use ``Decimal(38, 8)`` for the volume, for example because
            other volumes in the same bundle require it.

    Raises:
        DecimalRangeError: A price is 10,000,000,000 or more, or so small that it would become 0; a
            volume is 1e30 or more; a value is infinite; or a column does not contain numbers.
    """
    names = [name for name in FIELDS if name in frame.columns]
    dtypes: dict[str, pl.DataType] = dict.fromkeys(names, PRICE)
    sizes = _sizes(frame, names)
    if "volume" in dtypes and (
        wide_volume or frame["volume"].dtype == WIDE_VOLUME or sizes["volume"] >= _LIMITS[PRICE]
    ):
        dtypes["volume"] = WIDE_VOLUME
    for name, dtype in dtypes.items():
        if not sizes[name] < _LIMITS[dtype]:
            raise DecimalRangeError(
                f"the {name} {frame[name].abs().max()} does not fit into {dtype}",
                hint="prices must be below 10,000,000,000, volumes below 1e30",
            )
    near = [n for n in names if frame[n].dtype != dtypes[n] and sizes[n] < _FAR]
    # Below `_FAR`, the units are integers, so rounded values are counted without casting back.
    rounded = sum(_count_rounded(frame[n]) for n in near if frame[n].dtype.is_float())
    columns = [pl.col(n).cast(dtypes[n], strict=False) for n in near]
    far: list[pl.Series] = []
    for name in names:
        if name not in near and frame[name].dtype != dtypes[name]:
            far.append(converted := _far_decimals(frame[name], dtypes[name]))
            if frame[name].dtype.is_float():
                values = frame[name].cast(pl.Float64)
                rounded += int((_float(converted) != values.fill_nan(None)).sum())
    return DecimalFrame(frame.with_columns(*columns, *far), rounded)


def float_frame(frame: pl.DataFrame | pl.LazyFrame) -> pl.DataFrame:
    """Convert a frame's Decimal columns back to ``Float64``, with null as NaN.

    If a value was not rounded, the result is identical to the original float, except for the sign
    of a zero. Pure.
    """
    whole = frame.collect() if isinstance(frame, pl.LazyFrame) else frame
    names = [name for name, dtype in whole.schema.items() if isinstance(dtype, pl.Decimal)]
    return whole.with_columns(_float(whole[name]).fill_null(float("nan")) for name in names)


def _sizes(frame: pl.DataFrame, names: list[str]) -> dict[str, float]:
    """Return the largest absolute value in each column, or 0 if the column has no values."""
    for name in names:
        if not frame[name].dtype.is_numeric() and frame[name].dtype != pl.Null:
            raise DecimalRangeError(
                f"column {name} does not contain numbers: its type is {frame[name].dtype}"
            )
    # One column at a time: a Series returns its minimum and maximum faster than an expression.
    ends = {name: (frame[name].min(), frame[name].max()) for name in names}
    for name, (low, _) in ends.items():
        if name != "volume" and low is not None and 0 < low <= _NOTHING:
            raise DecimalRangeError(
                f"the {name} {low:g} would become 0 as {PRICE}",
                hint="prices must be at least 0.00000001; use floats for smaller ones",
            )
    sizes = {n: max(abs(float(end)) for end in e) for n, e in ends.items() if None not in e}
    # The maximum of a column that is all NaN is NaN: there is no value to compare with a limit.
    return {n: 0.0 if (size := sizes.get(n, 0.0)) != size else size for n in names}


def _count_rounded(column: pl.Series) -> int:
    """Return the number of values with more than eight decimals.

    Values must be small enough to be multiplied by 10**8 without losing digits.
    """
    values = column.cast(pl.Float64).fill_null(float("nan")).to_numpy()
    count, units = 0, np.empty(_BLOCK)
    # In numpy, because Polars divides by multiplying with the reciprocal; in blocks that stay in
    # the cache.
    for first in range(0, len(values), _BLOCK):
        block = values[first : first + _BLOCK]
        units = units[: len(block)]
        np.multiply(block, _UNITS, out=units)
        np.rint(units, out=units)
        units /= _UNITS
        if differ := np.count_nonzero(units != block):
            count += int(differ - np.count_nonzero(np.isnan(block)))
    return count


def _far_decimals(column: pl.Series, dtype: pl.DataType) -> pl.Series:
    """Convert a column with large values to Decimals, using each value's shortest text form."""
    if not column.dtype.is_float():
        return column.cast(dtype)
    values = column.cast(pl.Float64).fill_nan(None)
    is_whole = (values == values.floor()) & (values.abs() < _WHOLE_LIMIT)
    whole = values.cast(pl.Int64, strict=False).cast(dtype)
    others = values.set(is_whole.fill_null(True), None)
    if (others.abs() >= _WHOLE_LIMIT).any():
        texts = pl.Series(
            column.name,
            [None if v is None else Decimal(repr(v)) for v in others.to_list()],
            dtype=dtype,
        )
    else:
        texts = others.cast(pl.String).cast(dtype, strict=False)
    near = others.set((others.abs() >= _FAR).fill_null(False), None).cast(dtype, strict=False)
    return whole.zip_with(is_whole.fill_null(False), near.fill_null(texts)).alias(column.name)


def _float(column: pl.Series) -> pl.Series:
    """Convert each value in a Decimal column to the nearest ``Float64``; nulls stay null."""
    floats = column.cast(pl.Float64)
    far = floats.abs() >= _FAR
    if not far.any():
        return floats
    rows = far.arg_true()
    texts = column.gather(rows).cast(pl.String).cast(pl.Float64)
    return floats.scatter(rows, texts)
