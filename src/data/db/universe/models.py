"""Tables of universes: definitions, what their sources stated and when, dated memberships."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from ..core.base import SCHEMA, Base


class Universe(Base):
    """A universe; ``checked_at`` is when its sources were last compared with what is recorded."""

    __tablename__ = "universes"
    __table_args__ = (CheckConstraint("type IN ('static', 'filter', 'index')", name="type"),)

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    type: Mapped[str] = mapped_column(Text)
    description: Mapped[str] = mapped_column(Text)
    definition: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    checked_at: Mapped[datetime]


class UniverseRecord(Base):
    """What a source stated at a time, without its intervals; never changed once it is written.

    ``details`` has the impossible steps of a change log, and which files it was read from.
    """

    __tablename__ = "universe_records"
    __table_args__ = (UniqueConstraint("universe", "recorded_at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    universe: Mapped[str] = mapped_column(Text, ForeignKey(f"{SCHEMA}.universes.name"))
    source: Mapped[str] = mapped_column(Text)
    evidence: Mapped[str] = mapped_column(Text)
    is_dated: Mapped[bool]
    first_day: Mapped[date]
    last_change: Mapped[date | None]
    habit_days: Mapped[int | None]
    details: Mapped[dict[str, Any]]
    recorded_at: Mapped[datetime]


class UniverseMember(Base):
    """One membership, session dates from ``valid_from`` up to, but not on, ``valid_to``.

    Only ``replaced_by`` is ever written later: the record since which the interval no longer holds.
    """

    __tablename__ = "universe_members"
    __table_args__ = (
        CheckConstraint("valid_from < valid_to", name="dates"),
        # Covers the question for the members of a day: no row is looked up for it.
        Index(
            "ix_universe_members_day",
            *("universe", "valid_to", "valid_from", "symbol", "record", "replaced_by"),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    universe: Mapped[str] = mapped_column(Text, ForeignKey(f"{SCHEMA}.universes.name"))
    symbol: Mapped[str] = mapped_column(Text)
    valid_from: Mapped[date | None]
    valid_to: Mapped[date | None]
    evidence: Mapped[str] = mapped_column(Text)
    record: Mapped[int] = mapped_column(ForeignKey(f"{SCHEMA}.universe_records.id"))
    replaced_by: Mapped[int | None] = mapped_column(ForeignKey(f"{SCHEMA}.universe_records.id"))
