"""Tables of trading: bots, trades, positions and performance metrics.

Keys are strings; see :class:`~onetape.data.db.core.texts.KeyText`. Amounts of money are exact.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from ..core.base import Base
from ..core.texts import BoundedText, KeyText
from .model_users import USER

__all__ = ["BotInstance", "PerformanceMetric", "PerformanceMetrics", "Position", "Trade"]


class BotInstance(Base):
    """A trading bot in a user's program."""

    __tablename__ = "trading_bots"
    __table_args__ = (Index(None, "status"),)

    id: Mapped[Any] = mapped_column(KeyText, primary_key=True)
    user_id: Mapped[int | None] = mapped_column(ForeignKey(USER, ondelete="SET NULL"))
    status: Mapped[str] = mapped_column(BoundedText(20), default="stopped")
    started_at: Mapped[datetime | None]
    last_heartbeat: Mapped[datetime | None]
    error_count: Mapped[int] = mapped_column(default=0)
    current_balance: Mapped[Decimal | None]
    total_pnl: Mapped[Decimal | None]
    extra_metadata: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    config: Mapped[dict[str, Any]]
    description: Mapped[str | None] = mapped_column(BoundedText())


class Trade(Base):
    """The row of a bot's trade, as it was executed.

    A trade that a vendor's stream reports is another class, ``onetape.data.core.model.market.stream.Trade``.
    """

    __tablename__ = "trading_trades"
    __table_args__ = (Index(None, "bot_id"), Index(None, "status", "symbol"))

    id: Mapped[Any] = mapped_column(KeyText, primary_key=True)
    bot_id: Mapped[Any] = mapped_column(KeyText)
    trade_type: Mapped[str] = mapped_column(BoundedText(10))
    strategy_name: Mapped[str | None] = mapped_column(BoundedText(100))
    entry_logic_name: Mapped[str | None] = mapped_column(BoundedText(100))
    exit_logic_name: Mapped[str | None] = mapped_column(BoundedText(100))
    symbol: Mapped[str] = mapped_column(BoundedText(20))
    interval: Mapped[str | None] = mapped_column(BoundedText(10))
    entry_time: Mapped[datetime | None]
    exit_time: Mapped[datetime | None]
    buy_order_created: Mapped[datetime | None]
    buy_order_closed: Mapped[datetime | None]
    sell_order_created: Mapped[datetime | None]
    sell_order_closed: Mapped[datetime | None]
    entry_price: Mapped[Decimal | None]
    exit_price: Mapped[Decimal | None]
    entry_value: Mapped[Decimal | None]
    exit_value: Mapped[Decimal | None]
    size: Mapped[Decimal | None]
    direction: Mapped[str | None] = mapped_column(BoundedText(10))
    commission: Mapped[Decimal | None]
    gross_pnl: Mapped[Decimal | None]
    net_pnl: Mapped[Decimal | None]
    pnl_percentage: Mapped[Decimal | None]
    exit_reason: Mapped[str | None] = mapped_column(BoundedText(100))
    status: Mapped[str] = mapped_column(BoundedText(20), default="open")
    extra_metadata: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    position_id: Mapped[Any | None] = mapped_column(KeyText)


_OPEN = text("status = 'open'")


class Position(Base):
    """A bot's position; at most one is open for each bot, trade type and symbol.

    ``avg_price`` and ``realized_pnl`` are rounded; they are derived from ``exact_price`` (a
    fraction, in hexadecimal) and ``cash`` (cash received for fills so far, minus cash paid).
    """

    __tablename__ = "trading_positions"
    __table_args__ = (
        Index(
            "uq_trading_positions_open",
            "bot_id",
            "trade_type",
            "symbol",
            unique=True,
            sqlite_where=_OPEN,
            postgresql_where=_OPEN,
        ),
    )

    id: Mapped[Any] = mapped_column(KeyText, primary_key=True)
    bot_id: Mapped[Any] = mapped_column(KeyText)
    trade_type: Mapped[str] = mapped_column(BoundedText(10))
    symbol: Mapped[str] = mapped_column(BoundedText(20))
    direction: Mapped[str] = mapped_column(BoundedText(10))
    opened_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]
    qty_open: Mapped[Decimal]
    avg_price: Mapped[Decimal | None]
    realized_pnl: Mapped[Decimal]
    exact_price: Mapped[str | None] = mapped_column(BoundedText(1_000_000))
    cash: Mapped[Decimal]
    status: Mapped[str] = mapped_column(BoundedText(12), default="open")
    extra_metadata: Mapped[dict[str, Any] | None]


class PerformanceMetric(Base):
    """Performance figures for a bot, as calculated by its program."""

    __tablename__ = "trading_performance_metrics"
    __table_args__ = (Index(None, "bot_id"),)

    id: Mapped[Any] = mapped_column(KeyText, primary_key=True)
    bot_id: Mapped[Any] = mapped_column(KeyText)
    trade_type: Mapped[str | None] = mapped_column(BoundedText(10))
    symbol: Mapped[str | None] = mapped_column(BoundedText(20))
    interval: Mapped[str | None] = mapped_column(BoundedText(10))
    entry_logic_name: Mapped[str | None] = mapped_column(BoundedText(100))
    exit_logic_name: Mapped[str | None] = mapped_column(BoundedText(100))
    metrics: Mapped[dict[str, Any]]
    calculated_at: Mapped[datetime]
    created_at: Mapped[datetime]


PerformanceMetrics = PerformanceMetric
