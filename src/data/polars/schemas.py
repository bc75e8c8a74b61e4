"""The columns of a bundle's Parquet files, and the checks of frames against them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import polars as pl

from ..errors import QueryError

__all__ = [
    "ADJUSTMENTS_SCHEMA",
    "DAILY_BARS_SCHEMA",
    "FIELDS",
    "MINUTE_BARS_SCHEMA",
    "PRICE",
    "PRICES",
    "SCHEMA_VERSION",
    "WIDE_VOLUME",
    "get_schema_for_frequency",
    "time_column",
    "validate_schema",
]

Frequency = Literal["daily", "minute"]

SCHEMA_VERSION = 1
PRICE = pl.Decimal(18, 8)
# The type of a bundle's volumes if one of them does not fit into 18 digits, as for some coins.
WIDE_VOLUME = pl.Decimal(38, 8)
PRICES = ("open", "high", "low", "close")
FIELDS = (*PRICES, "volume")

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
