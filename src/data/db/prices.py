"""The tables ``prices_v2`` and ``data_freshness``: copies of final bars for the second data layer.

Only the second data layer (``onetape.sources``) writes and reads them; ``get_ohlcv`` never does. Prices have
four decimal places, and volumes none.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Index, PrimaryKeyConstraint, Text, delete, func, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Mapped, Session, mapped_column

from .core.base import Base
from .core.types import RoundedDecimal

__all__ = [
    "CopiedPrice",
    "DataFreshness",
    "PriceRow",
    "copied_prices",
    "copy_prices",
    "price_columns",
]

_PRICE, _FACTOR = RoundedDecimal(12, 4), RoundedDecimal(8, 4)
# Rows per statement: SQLite takes at most 32,766 parameters.
_ROWS = 2000


class CopiedPrice(Base):
    """A final bar, adjusted for splits as of ``created_at``.

    ``timestamp`` is the bar's opening time, or 00:00 UTC of the session date for daily and longer
    bars. ``split_factor`` is the number of new shares per old share, and ``dividend`` the cash per
    share, of actions with an ex-date in the bar; both are null if unknown. ``data_source`` is the
    bar's vendor.
    """

    __tablename__ = "prices_v2"
    __table_args__ = (PrimaryKeyConstraint("symbol", "timeframe", "timestamp"),)

    symbol: Mapped[str] = mapped_column(Text, primary_key=True)
    timestamp: Mapped[datetime] = mapped_column(primary_key=True)
    timeframe: Mapped[str] = mapped_column(Text, primary_key=True)
    open: Mapped[float] = mapped_column(_PRICE)
    high: Mapped[float] = mapped_column(_PRICE)
    low: Mapped[float] = mapped_column(_PRICE)
    close: Mapped[float] = mapped_column(_PRICE)
    volume: Mapped[int] = mapped_column(BigInteger)
    adj_close: Mapped[float | None] = mapped_column(_PRICE)
    split_factor: Mapped[float | None] = mapped_column(_FACTOR, server_default=text("'1.0'"))
    dividend: Mapped[float | None] = mapped_column(_FACTOR, server_default=text("'0.0'"))
    data_source: Mapped[str] = mapped_column(Text)
    quality_score: Mapped[float | None] = mapped_column(
        RoundedDecimal(4, 3), server_default=text("'1.0'")
    )
    is_interpolated: Mapped[bool | None] = mapped_column(server_default=text("FALSE"))
    created_at: Mapped[datetime | None] = mapped_column(server_default=func.current_timestamp())


Index(
    "ix_prices_v2_symbol_timeframe_timestamp",
    CopiedPrice.symbol,
    CopiedPrice.timeframe,
    CopiedPrice.timestamp.desc(),
)


class DataFreshness(Base):
    """The time of the last write to a series in ``prices_v2``, and its extent at that time.

    ``last_timestamp`` is the timestamp of its last bar, and ``record_count`` its number of bars.
    """

    __tablename__ = "data_freshness"

    symbol: Mapped[str] = mapped_column(Text, primary_key=True)
    timeframe: Mapped[str] = mapped_column(Text, primary_key=True)
    last_update: Mapped[datetime]
    last_timestamp: Mapped[datetime]
    data_source: Mapped[str] = mapped_column(Text)
    record_count: Mapped[int] = mapped_column(BigInteger)


class PriceRow(NamedTuple):
    """The values of a bar that are read back from the table."""

    timestamp: datetime
    open: float
    high: float
    low: float
    close: float
    volume: int
    adj_close: float | None
    created_at: datetime | None


def copied_prices(
    session: Session, symbol: str, timeframe: str, first: datetime, last: datetime
) -> list[PriceRow]:
    """Return the bars from ``first`` to ``last``, both inclusive, in ascending order."""
    columns = [getattr(CopiedPrice, name) for name in PriceRow._fields]
    statement = (
        select(*columns)
        .where(CopiedPrice.symbol == symbol, CopiedPrice.timeframe == timeframe)
        .where(CopiedPrice.timestamp.between(first, last))
        .order_by(CopiedPrice.timestamp)
    )
    return [PriceRow(*row) for row in session.execute(statement)]


def copy_prices(
    session: Session,
    symbol: str,
    timeframe: str,
    first: datetime,
    last: datetime,
    rows: Sequence[dict[str, Any]],
    now: datetime,
) -> None:
    """Make the bars from ``first`` to ``last`` equal to ``rows``, and update ``data_freshness``.

    Args:
        session: Session in whose transaction the change is made.
        symbol, timeframe: The series.
        first, last: Bounds of the timestamps, both inclusive.
        rows: Values of the other columns of ``prices_v2``, in ascending order; at least one.
        now: Time of the change.

    Raises:
        DatabaseError: A number does not fit its column.
    """
    series = {"symbol": symbol, "timeframe": timeframe, "created_at": now}
    same_series = CopiedPrice.symbol == symbol, CopiedPrice.timeframe == timeframe
    for start in range(0, len(rows), _ROWS):
        _upsert(session, CopiedPrice, [series | row for row in rows[start : start + _ROWS]])
    # Bars that the series no longer has.
    is_gone = CopiedPrice.timestamp.between(first, last), CopiedPrice.created_at < now
    session.execute(delete(CopiedPrice).where(*same_series, *is_gone))
    count, latest = session.execute(
        select(func.count(), func.max(CopiedPrice.timestamp)).where(*same_series)
    ).one()
    facts = {
        "symbol": symbol,
        "timeframe": timeframe,
        "last_update": now,
        "last_timestamp": latest,
        "data_source": rows[-1]["data_source"],
        "record_count": count,
    }
    _upsert(session, DataFreshness, [facts])


def _upsert(session: Session, model: type[Base], rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows, replacing those with the same key."""
    engine = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
    statement = engine.insert(model)
    keys = [column.name for column in model.__table__.primary_key]
    new = {name: statement.excluded[name] for name in rows[0] if name not in keys}
    session.execute(statement.on_conflict_do_update(index_elements=keys, set_=new), list(rows))


def price_columns(
    session: Session,
    symbol: str,
    timeframe: str,
    bounds: tuple[datetime, datetime],
    names: Sequence[str],
) -> list[Any]:
    """Return the named columns of a series' rows, in ascending order of time.

    Args:
        session: Session that can access this library's tables.
        symbol, timeframe: Values of the columns.
        bounds: First and last timestamp, both inclusive; naive times are UTC.
        names: Names of columns (``timestamp``, prices or ``volume``), in the order of the returned
            values.
    """
    columns = CopiedPrice.__table__.c
    statement = (
        select(*(columns[name] for name in names))
        .where(columns.symbol == symbol, columns.timeframe == timeframe)
        .where(columns.timestamp.between(*bounds))
        .order_by(columns.timestamp)
    )
    return list(session.execute(statement))
