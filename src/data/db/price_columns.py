"""Chosen columns of the table ``prices_v2``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Column, MetaData, Table, Text, select
from sqlalchemy.orm import Session

from .core.base import SCHEMA
from .core.types import UtcInstant

__all__ = ["price_columns"]

_NUMBERS = ("open", "high", "low", "close", "volume", "adj_close")
_PRICES = Table(
    "prices_v2",
    MetaData(schema=SCHEMA),
    Column("symbol", Text),
    Column("timeframe", Text),
    Column("timestamp", UtcInstant),
    *map(Column, _NUMBERS),
)


def price_columns(
    session: Session,
    symbol: str,
    timeframe: str,
    bounds: tuple[datetime, datetime],
    names: Sequence[str],
) -> list[Any]:
    """Return a series' rows in ascending order, with these columns only.

    Args:
        session: Session that can access this library's tables.
        symbol, timeframe: Values of the columns.
        bounds: First and last timestamp, both inclusive; naive times are UTC.
        names: ``timestamp``, or names of prices or volume, in the order of the values.
    """
    columns = _PRICES.c
    statement = (
        select(*(columns[name] for name in names))
        .where(columns.symbol == symbol, columns.timeframe == timeframe)
        .where(columns.timestamp.between(*bounds))
        .order_by(columns.timestamp)
    )
    return list(session.execute(statement))
