"""Tables of symbols: facts about each, corporate actions, dated names.

``symbols_v2`` and ``corporate_actions`` are copies of data in the store and the fundamentals.
Bars are never read from them.
"""

from __future__ import annotations

import uuid
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Text, UniqueConstraint, Uuid
from sqlalchemy.orm import Mapped, mapped_column

from ..core.base import Base


class Symbol(Base):
    """The known facts about a symbol.

    ``sources`` contains, for each column, the ``source`` of its value and its time (``at``); for
    amounts of money also the ``currency``, and for calculated values the ``window`` and the
    ``formula``.
    """

    __tablename__ = "symbols_v2"

    symbol: Mapped[str] = mapped_column(Text, primary_key=True)
    company_name: Mapped[str | None] = mapped_column(Text)
    sector: Mapped[str | None] = mapped_column(Text)
    industry: Mapped[str | None] = mapped_column(Text)
    market_cap: Mapped[int | None] = mapped_column(BigInteger)
    exchange: Mapped[str | None] = mapped_column(Text)
    currency: Mapped[str | None] = mapped_column(Text)
    is_active: Mapped[bool | None]
    ipo_date: Mapped[date | None]
    delisting_date: Mapped[date | None]
    first_price_date: Mapped[date | None]
    last_price_date: Mapped[date | None]
    available_timeframes: Mapped[list[str] | None]
    data_quality_score: Mapped[Decimal | None]
    avg_daily_volume: Mapped[int | None] = mapped_column(BigInteger)
    avg_daily_dollar_volume: Mapped[Decimal | None]
    volatility_30d: Mapped[Decimal | None]
    sources: Mapped[dict[str, Any]] = mapped_column(default=dict)
    updated_at: Mapped[datetime]


class CorporateAction(Base):
    """A split or dividend, with its exact ratio or amount.

    ``ratio`` is ``numerator`` (new shares) divided by ``denominator`` (old shares). If the quotient
    has no finite decimal form, as for 1/15, only numerator and denominator are exact. ``amount`` is
    per share, in terms of the shares on the ex-date. Several dividends on one day are a single row.
    """

    __tablename__ = "corporate_actions"
    __table_args__ = (UniqueConstraint("symbol", "ex_date", "action_type"),)

    id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True, default=uuid.uuid4)
    symbol: Mapped[str] = mapped_column(Text)
    ex_date: Mapped[date]
    action_type: Mapped[str] = mapped_column(Text)
    ratio: Mapped[Decimal | None]
    numerator: Mapped[Decimal | None]
    denominator: Mapped[Decimal | None]
    amount: Mapped[Decimal | None]
    currency: Mapped[str | None] = mapped_column(Text)
    description: Mapped[str | None] = mapped_column(Text)
    source: Mapped[str] = mapped_column(Text)
    source_at: Mapped[datetime]
    created_at: Mapped[datetime]


class SymbolName(Base):
    """The instrument that a symbol means from ``valid_from`` up to but not including ``valid_to``.

    ``ending`` is ``merger`` or ``delisting`` if the instrument ended then, and ``successor`` the
    symbol that it was merged into. ``parent`` is the symbol of the company that the instrument was
    spun off from. A rename is two adjacent intervals of one instrument. ``source`` is the source of
    the beginning, ``end_source`` that of the end, and ``origin`` the name of the imported file.
    """

    __tablename__ = "symbol_names"
    __table_args__ = (
        UniqueConstraint("symbol", "valid_from"),
        CheckConstraint("valid_from < valid_to", name="dates"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    symbol: Mapped[str] = mapped_column(Text)
    instrument: Mapped[str] = mapped_column(Text, index=True)
    valid_from: Mapped[date | None]
    valid_to: Mapped[date | None]
    source: Mapped[str] = mapped_column(Text)
    ending: Mapped[str] = mapped_column(Text)
    successor: Mapped[str] = mapped_column(Text)
    parent: Mapped[str] = mapped_column(Text)
    end_source: Mapped[str] = mapped_column(Text)
    origin: Mapped[str] = mapped_column(Text)
    recorded_at: Mapped[datetime]
