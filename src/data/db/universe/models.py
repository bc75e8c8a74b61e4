"""Tables for universes: their definitions, and dated memberships."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, Text
from sqlalchemy.orm import Mapped, mapped_column

from ..core.base import SCHEMA, Base


class Universe(Base):
    """A universe.

    ``known_from`` is the first session date for which its members are point-in-time, and
    ``checked_at`` the time when its source was last read. ``today_file`` is the path of the list of
    today's members that a change log needs.
    """

    __tablename__ = "universes"
    __table_args__ = (CheckConstraint("type IN ('static', 'filter', 'index')", name="type"),)

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    type: Mapped[str] = mapped_column(Text)
    description: Mapped[str] = mapped_column(Text)
    definition: Mapped[dict[str, Any]]
    today_file: Mapped[str | None] = mapped_column(Text)
    known_from: Mapped[date]
    created_at: Mapped[datetime]
    checked_at: Mapped[datetime]


class UniverseMember(Base):
    """One membership, for session dates from ``valid_from`` up to but not including ``valid_to``.

    ``valid_from`` is None if the membership began before the first entry of the source.
    """

    __tablename__ = "universe_members"
    __table_args__ = (
        CheckConstraint("valid_from < valid_to", name="dates"),
        Index(None, "universe", "valid_to", "valid_from", "symbol"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    universe: Mapped[str] = mapped_column(Text, ForeignKey(f"{SCHEMA}.universes.name"))
    symbol: Mapped[str] = mapped_column(Text)
    valid_from: Mapped[date | None]
    valid_to: Mapped[date | None]
