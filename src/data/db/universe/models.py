"""Tables for universes: definitions, dated records of their sources, dated memberships."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from ..core.base import SCHEMA, Base


class Universe(Base):
    """A universe; ``checked_at`` is the time when its sources were last read."""

    __tablename__ = "universes"
    __table_args__ = (CheckConstraint("type IN ('static', 'filter', 'index')", name="type"),)

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    type: Mapped[str] = mapped_column(Text)
    description: Mapped[str] = mapped_column(Text)
    definition: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    checked_at: Mapped[datetime]


class UniverseRecord(Base):
    """A record of a source's memberships at one time, without the intervals; it never changes.

    ``details`` contains the impossible entries in a change log, the files that were read, and the
    day of the list that was read.
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
    """One membership, for session dates from ``valid_from`` up to but not including ``valid_to``.

    In a stored row, only ``replaced_by`` ever changes; it is the first record for which the
    interval no longer holds.
    """

    __tablename__ = "universe_members"
    __table_args__ = (
        CheckConstraint("valid_from < valid_to", name="dates"),
        # An index with all columns of the query for the members on a day, so that no row is looked
        # up.
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
