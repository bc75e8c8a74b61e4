"""Tables for a chat bot: settings, feedback, and a log of commands."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from ..core.base import Base
from ..core.texts import BoundedText
from .model_users import USER

__all__ = [
    "CommandAudit",
    "Feedback",
    "Setting",
    "TelegramCommandAudit",
    "TelegramFeedback",
    "TelegramSetting",
]


class TelegramSetting(Base):
    """A setting of the chat bot, as a key and a value."""

    __tablename__ = "telegram_settings"

    key: Mapped[str] = mapped_column(BoundedText(255), primary_key=True)
    value: Mapped[str | None] = mapped_column(BoundedText())


class TelegramFeedback(Base):
    """Feedback from a user about the bot."""

    __tablename__ = "telegram_feedbacks"
    __table_args__ = (Index(None, "user_id"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey(USER, ondelete="CASCADE"))
    type: Mapped[str] = mapped_column(BoundedText(50))
    message: Mapped[str] = mapped_column(BoundedText())
    created_at: Mapped[datetime]
    status: Mapped[str] = mapped_column(BoundedText(20), default="open")


class TelegramCommandAudit(Base):
    """A command sent by a user, registered or not, with its outcome and its duration."""

    __tablename__ = "telegram_command_audits"
    __table_args__ = (Index(None, "telegram_user_id"), Index(None, "created_at"))

    id: Mapped[int] = mapped_column(primary_key=True)
    telegram_user_id: Mapped[str] = mapped_column(BoundedText(255))
    command: Mapped[str] = mapped_column(BoundedText(255))
    full_message: Mapped[str | None] = mapped_column(BoundedText())
    is_registered_user: Mapped[bool] = mapped_column(default=False)
    user_email: Mapped[str | None] = mapped_column(BoundedText(254))
    success: Mapped[bool] = mapped_column(default=True)
    error_message: Mapped[str | None] = mapped_column(BoundedText())
    response_time_ms: Mapped[int | None]
    created_at: Mapped[datetime]


Setting, Feedback, CommandAudit = TelegramSetting, TelegramFeedback, TelegramCommandAudit
