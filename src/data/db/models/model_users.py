"""Tables of users: their identities in each channel, and the codes that verify addresses."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from ..core.base import SCHEMA, Base
from ..core.texts import BoundedText

__all__ = ["AuthIdentity", "Base", "TelegramUser", "User", "VerificationCode"]

USER = f"{SCHEMA}.usr_users.id"


class User(Base):
    """A user; ``email`` is a verified address or None. No passwords are stored."""

    __tablename__ = "usr_users"
    __table_args__ = (UniqueConstraint("email"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str | None] = mapped_column(BoundedText(254))
    role: Mapped[str] = mapped_column(BoundedText(20), default="trader")
    is_active: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    last_login: Mapped[datetime | None]

    def to_dict(self) -> dict[str, Any]:
        """Return the user's values, with the column names as keys."""
        return {column.key: getattr(self, column.key) for column in User.__table__.columns}


class AuthIdentity(Base):
    """A user's identity in a channel (``provider``).

    ``metadata_json`` contains the user's rights and limits, and counts of their use.
    """

    __tablename__ = "usr_auth_identities"
    __table_args__ = (
        UniqueConstraint("provider", "external_id"),
        Index(None, "user_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey(USER, ondelete="CASCADE"))
    provider: Mapped[str] = mapped_column(BoundedText(20))
    external_id: Mapped[str] = mapped_column(BoundedText(255))
    metadata_json: Mapped[dict[str, Any]] = mapped_column("metadata", default=dict)
    created_at: Mapped[datetime]


class VerificationCode(Base):
    """A code that was sent to ``email``; void once it is used or after too many wrong attempts.

    ``sent_time`` is in seconds since 1970.
    """

    __tablename__ = "usr_verification_codes"
    __table_args__ = (Index(None, "user_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey(USER, ondelete="CASCADE"))
    code: Mapped[str] = mapped_column(BoundedText(64))
    email: Mapped[str | None] = mapped_column(BoundedText(254))
    sent_time: Mapped[int]
    provider: Mapped[str] = mapped_column(BoundedText(20))
    wrong_tries: Mapped[int] = mapped_column(default=0)
    is_void: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime]


TelegramUser = User
