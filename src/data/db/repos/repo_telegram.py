"""Settings, feedback and the log of chat commands."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.dialects import postgresql, sqlite

from ...errors import QueryError
from ..core.database import locked
from ..core.texts import checked_text
from ..models.model_telegram import TelegramCommandAudit, TelegramFeedback, TelegramSetting
from .repo_users import checked_id
from .rows import Repository, assign, claim, page, where

__all__ = ["CommandAuditRepo", "FeedbackRepo", "SettingsRepo"]

_STATUSES = ("open", "in_progress", "closed")


class SettingsRepo(Repository):
    """Reads and changes settings, which are identified by a key."""

    model = TelegramSetting

    def get(self, key: str) -> TelegramSetting | None:
        """Return a setting, or None if it is not set."""
        return self.session.get(TelegramSetting, checked_text(key, 255, "a key"))

    def set(self, key: str, value: str | None) -> None:
        """Set a value; if several units of work do so at the same time, the last one wins."""
        if not checked_text(key, 255, "a key"):
            raise QueryError("the key of a setting is empty; use at least one character")
        module = postgresql if self.session.get_bind().dialect.name == "postgresql" else sqlite
        insert = module.insert(TelegramSetting).values(key=key, value=value)
        self.session.execute(
            insert.on_conflict_do_update(
                index_elements=["key"], set_={"value": insert.excluded.value}
            )
        )
        self.session.expire_all()

    def update(self, key: str, change: Callable[[str | None], str | None]) -> str | None:
        """Replace a setting's value with ``change(value)``, and return the new value.

        The row is locked, so that no change by another unit of work is lost.
        """
        # Created if missing, so that there is a row to lock.
        claim(self.session, TelegramSetting, key=checked_text(key, 255, "a key"), value=None)
        row = locked(self.session, select(TelegramSetting).where(TelegramSetting.key == key)).one()
        row.value = change(row.value)
        self.session.flush()
        return row.value


class FeedbackRepo(Repository):
    """Stores and queries users' feedback."""

    model = TelegramFeedback

    def create(self, user_id: int, type_: str, message: str) -> TelegramFeedback:
        """Add feedback, with the status open.

        Raises:
            QueryError: A string is empty or too long.
        """
        if not checked_text(type_, 50, "a type").strip() or not checked_text(message).strip():
            raise QueryError("feedback needs a type and a message")
        row = TelegramFeedback(user_id=user_id, type=type_, message=message, created_at=self.now())
        self.session.add(row)
        self.session.flush()
        return row

    def list(self, type_: str | None = None) -> builtins.list[TelegramFeedback]:
        """Return feedback, newest first."""
        query = select(TelegramFeedback).order_by(TelegramFeedback.id.desc())
        return [*self.session.scalars(where(query, (TelegramFeedback.type, type_)))]

    def set_status(self, feedback_id: int, status: str) -> bool:
        """Set a status: ``open``, ``in_progress`` or ``closed``; return whether the feedback exists."""
        if status not in _STATUSES:
            raise QueryError(f"unknown status {status!r:.80}; use one of {', '.join(_STATUSES)}")
        same_id = TelegramFeedback.id == feedback_id
        row = locked(self.session, select(TelegramFeedback).where(same_id)).one_or_none()
        if row is not None:
            row.status = status
        return row is not None


class CommandAuditRepo(Repository):
    """Stores and queries the log of chat commands."""

    model = TelegramCommandAudit

    def log(
        self, /, telegram_user_id: str | int, command: str, **fields: Any
    ) -> TelegramCommandAudit:
        """Log a command; ``fields`` are values for further columns.

        Raises:
            QueryError: A field is unknown, or a string is too long.
        """
        row = TelegramCommandAudit(
            telegram_user_id=checked_id(telegram_user_id), command=command, created_at=self.now()
        )
        assign(row, fields, fixed={"id", "telegram_user_id", "command", "created_at"})
        self.session.add(row)
        self.session.flush()
        return row

    def last_commands(
        self, telegram_user_id: str | int, limit: int = 20
    ) -> builtins.list[TelegramCommandAudit]:
        """Return a user's last commands, newest first."""
        return self.list(limit=limit, user_id=checked_id(telegram_user_id))

    def list(
        self,
        *,
        limit: int = 100,
        offset: int = 0,
        user_id: str | None = None,
        command: str | None = None,
        success_only: bool | None = None,
        start_date: str | datetime | None = None,
        end_date: str | datetime | None = None,
    ) -> builtins.list[TelegramCommandAudit]:
        """Return the logged commands that match the given conditions, newest first.

        Both ``start_date`` and ``end_date`` are inclusive, and are UTC unless they have a time
        zone; an end without a time of day includes the whole day.
        """
        table = TelegramCommandAudit
        limit, offset = page(limit, offset)
        query = select(table).order_by(table.id.desc()).limit(limit).offset(offset)
        query = where(query, (table.telegram_user_id, user_id), (table.command, command))
        query = where(query, (table.success, success_only or None))
        if start_date is not None:
            query = query.where(table.created_at >= _moment(start_date))
        if end_date is not None:
            query = query.where(table.created_at <= _moment(end_date, is_end=True))
        return [*self.session.scalars(query)]

    def stats(self) -> dict[str, Any]:
        """Return ``total``, ``by_command`` and ``success_rate`` (None if no command ran)."""
        table = TelegramCommandAudit
        counts = dict(
            self.session.execute(select(table.command, func.count()).group_by(table.command)).all()
        )
        succeeded = self.session.scalars(select(func.count()).where(table.success.is_(True))).one()
        total = sum(counts.values())
        rate = succeeded / total if total else None
        return {"total": total, "by_command": counts, "success_rate": rate}

    def unique_users_summary(self) -> builtins.list[dict[str, str]]:
        """Return the ``telegram_user_id`` of every user who has sent a command, ordered by id."""
        user_id = TelegramCommandAudit.telegram_user_id
        users = self.session.scalars(select(user_id).distinct().order_by(user_id))
        return [{"telegram_user_id": user} for user in users]


def _moment(value: str | datetime, *, is_end: bool = False) -> datetime:
    if isinstance(value, datetime):
        return value
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError) as exc:
        raise QueryError(f"invalid ISO date or time {value!r:.80}") from exc
    is_day = is_end and len(value) == 10
    return moment + timedelta(days=1, microseconds=-1) if is_day else moment
