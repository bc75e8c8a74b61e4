"""Decimal columns as a view of float64 values, for output.

The store's float64 values are authoritative. A float whose shortest text has at most eight decimals
becomes exactly that Decimal, which converts back to the same float. A float with more decimals is
rounded, and the rounded values are counted.
"""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

import numpy as np
import polars as pl

from ..errors import DecimalRangeError
from .schemas import FIELDS, PRICE, WIDE_VOLUME

__all__ = ["DecimalFrame", "decimal_frame", "float_frame"]

_UNITS = 1e8
# From here on, a float times the units may not be an integer: such values are converted as text.
_FAR = 1e7
_BLOCK = 1 << 14
_LIMITS = {PRICE: 1e10, WIDE_VOLUME: 1e30}
_WHOLE_LIMIT = 2.0**63
# Prices up to here are rounded to 0.
_NOTHING = 5e-9


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
