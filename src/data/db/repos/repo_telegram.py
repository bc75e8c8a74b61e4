"""A chat bot's records: users, alerts, schedules, settings, feedback and audit."""

from __future__ import annotations

import builtins
import logging
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.dialects import postgresql, sqlite

from ...errors import QueryError
from ..core.database import locked
from ..core.texts import checked_text
from ..models.model_jobs import Alert, Schedule
from ..models.model_telegram import TelegramCommandAudit, TelegramFeedback, TelegramSetting
from ..models.model_users import User
from .repo_jobs import (
    AlertsRepo,
    JobsRepository,
    SchedulesRepo,
    alert_as_dict,
    checked_options,
    schedule_as_dict,
)
from .repo_users import LIMITS, UsersRepo, VerificationRepo, checked_email, checked_id
from .rows import Repository, as_dicts, assign, claim, delegated, page, same, where

__all__ = ["CommandAuditRepo", "FeedbackRepo", "SettingsRepo", "TelegramRepository"]

_log = logging.getLogger(__name__)
_STATUSES = ("open", "in_progress", "closed")
_STATUS = ("email", "approved", "verified", *LIMITS, "language", "is_admin")


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


def _id(row: Alert | Schedule | TelegramCommandAudit) -> int:
    return row.id


def _value(row: TelegramSetting | None) -> str | None:
    return None if row is None else row.value


def _alert(row: Alert | None) -> dict[str, Any] | None:
    return None if row is None else alert_as_dict(row)


def _alerts(rows: Iterable[Alert]) -> list[dict[str, Any]]:
    return [alert_as_dict(row) for row in rows]


def _schedule(row: Schedule | None) -> dict[str, Any] | None:
    return None if row is None else schedule_as_dict(row)


def _schedules(rows: Iterable[Schedule]) -> list[dict[str, Any]]:
    return [schedule_as_dict(row) for row in rows]


def _status(profile: dict[str, Any]) -> dict[str, Any]:
    return {name: profile[name] for name in ("telegram_user_id", *_STATUS)}


def _limit(key: str) -> str:
    if key not in LIMITS:
        raise QueryError(f"unknown limit {key!r:.80}", hint=f"use one of {', '.join(LIMITS)}")
    return key


class TelegramRepository(Repository):
    """The functions of :data:`~onetape.db.services.telegram_service`, within one unit of work.

    Results are plain dictionaries; instants are timezone-aware in UTC. A user is identified by
    their chat id, as a string or an integer. Functions that add something return its id, raise
    :class:`~onetape.QueryError` for values that cannot be stored, and create the user if
    necessary. ``to_frame`` returns the users.

    An alert is a dictionary with the keys ``id``, ``user_id``, ``ticker``, ``active``, ``email``,
    ``status``, ``created_at``, ``updated_at``, ``re_arm_config``, ``phase`` (``new``, ``armed``,
    ``waiting`` until the value moves back, or why the alert has ended), ``alert_type``,
    ``timeframe``, ``alert_action``, and the keys of the alert's type, such as ``price`` and
    ``condition``. A schedule has the keys ``id``, ``user_id``, ``ticker``, ``config_json``,
    ``schedule_config``, ``scheduled_time`` (None unless the schedule runs daily at a UTC time),
    ``created_at``, ``enabled``, ``active``, ``cron``, ``next_run_at``, ``created``, ``period``,
    ``email``, ``indicators``, ``interval``, ``provider``, ``schedule_type``, ``list_type``.
    """

    model = User

    @property
    def users(self) -> UsersRepo:
        """Repository of users and their identities."""
        return UsersRepo(self.session, self.clock)

    @property
    def codes(self) -> VerificationRepo:
        """Repository of verification codes."""
        return VerificationRepo(self.session, self.clock)

    # --- users -------------------------------------------------------------------------------

    def list_users(self) -> list[dict[str, Any]]:
        """Return each user's ``telegram_user_id``, ``email``, ``approved`` and ``verified``."""
        names = ("telegram_user_id", "email", "approved", "verified")
        return [
            {name: user[name] for name in names} for user in self.users.list_telegram_users_dto()
        ]

    def get_all_users(self) -> list[dict[str, Any]]:
        """Return the status of all users; see :meth:`get_user_status`."""
        return [_status(user) for user in self.users.list_telegram_users_dto()]

    def get_user_status(self, telegram_user_id: str | int) -> dict[str, Any] | None:
        """Return a user's address, rights, language and limits, or None if the user is unknown.

        Keys: ``telegram_user_id``, ``email``, ``approved``, ``verified``, ``max_alerts``,
        ``max_schedules`` (None means no limit), ``language``, ``is_admin``.
        """
        profile = self.users.get_telegram_profile(telegram_user_id)
        return None if profile is None else _status(profile)

    def set_user_email(
        self,
        telegram_user_id: str | int,
        email: str,
        code: str,
        sent_time: int,
        language: str = "en",
        is_admin: bool = False,
        daily_limit: int | None = None,
    ) -> None:
        """Record a user's address as unverified, with the code that was sent to it.

        ``sent_time`` is in seconds since 1970; ``daily_limit`` is used only for a new user. An
        existing user who is an administrator remains one, and an existing user's language changes
        only if ``language`` is not ``en``.

        Raises:
            QueryError: The address or the code is invalid.
        """
        identity = self.users.lock_or_make(telegram_user_id)
        email = checked_email(email)
        profile: dict[str, Any] = {"email": email, "verified": False}
        if language != "en" or "language" not in identity.metadata_json:
            profile["language"] = language
        if is_admin:
            profile["is_admin"] = True
        if daily_limit is not None and "email" not in identity.metadata_json:
            profile["daily_limit"] = daily_limit
        self.users.update_telegram_profile(telegram_user_id, **profile)
        self.codes.issue(identity.user_id, code=code, sent_time=sent_time, email=email)

    def set_verification_code(
        self, telegram_user_id: str | int, *, code: str, sent_time: int
    ) -> None:
        """Store a new code for the user's address; earlier codes become void.

        Raises:
            QueryError: The code is too short.
        """
        identity = self.users.lock_or_make(telegram_user_id)
        email = identity.metadata_json.get("email")
        self.codes.issue(identity.user_id, code=code, sent_time=sent_time, email=email)

    def verify_code(
        self, telegram_user_id: str | int, code: str, expiry_seconds: int = 3600
    ) -> bool:
        """Verify the user's address with a code; return whether the code is correct and valid.

        Only the latest code is valid; it can be used once, until ``expiry_seconds`` after it was
        sent. Five wrong attempts make it void.
        """
        identity = self.users.lock_identity(telegram_user_id)
        if identity is None:
            return False
        row = self.codes.use(identity.user_id, code, expiry_seconds)
        return row is not None and self._verify(telegram_user_id, row.email)

    def verify_user_email(self, telegram_user_id: str | int) -> bool:
        """Mark the user's address as verified without a code; return whether user and address exist."""
        identity = self.users.lock_identity(telegram_user_id)
        return identity is not None and self._verify(
            telegram_user_id, identity.metadata_json.get("email")
        )

    def _verify(self, telegram_user_id: str | int, email: str | None) -> bool:
        identity = self.users.lock_identity(telegram_user_id)
        assert identity is not None
        if email is not None and self.users.owner_of(email) not in (None, identity.user_id):
            _log.warning(
                "%s cannot use an address that another user has verified", telegram_user_id
            )
            return False
        user = self.session.get_one(User, identity.user_id)
        user.email, user.updated_at = email, self.now()
        identity.metadata_json["verified"] = True
        return True

    def reset_user_email_verification(self, telegram_user_id: str | int) -> bool:
        """Mark the user's address as unverified and invalidate all codes; return whether the user exists."""
        identity = self.users.lock_identity(telegram_user_id)
        if identity is None:
            return False
        self.codes.void_all(identity.user_id)
        identity.metadata_json["verified"] = False
        self.session.get_one(User, identity.user_id).email = None
        return True

    def count_codes_last_hour(
        self, telegram_user_id: str | int, now_unix: int | None = None
    ) -> int:
        """Return the number of codes sent in the hour before ``now_unix`` (None means now)."""
        profile = self.users.get_telegram_profile(telegram_user_id)
        if profile is None:
            return 0
        return self.codes.count_last_hour_by_user_id(profile["user_id"], now_unix)

    def approve_user(self, telegram_user_id: str | int) -> bool:
        """Approve a user; return whether the user exists."""
        return self.users.change_known(telegram_user_id, approved=True)

    def reject_user(self, telegram_user_id: str | int) -> bool:
        """Revoke a user's approval; return whether the user exists."""
        return self.users.change_known(telegram_user_id, approved=False)

    def update_user_language(self, telegram_user_id: str | int, language: str) -> bool:
        """Set the language (``en``, ``pt-BR``); return whether the user exists."""
        return self.users.change_known(telegram_user_id, language=language)

    def create_admin(self, telegram_user_id: str | int, email: str | None = None) -> None:
        """Make a user an approved administrator, creating the user if necessary.

        The user counts as verified, with the address if one is passed.

        Raises:
            QueryError: The address is invalid, or another user has verified it.
        """
        fields: dict[str, Any] = {"verified": True} if email is None else {"email": email}
        self.users.update_telegram_profile(telegram_user_id, is_admin=True, approved=True, **fields)
        if email is not None and not self.verify_user_email(telegram_user_id):
            raise QueryError("another user has this e-mail address", hint="use another address")

    get_admin_user_ids = delegated(UsersRepo, UsersRepo.get_admin_telegram_user_ids, same)

    def set_user_limit(self, telegram_user_id: str | int, key: str, value: int | None) -> None:
        """Set ``max_alerts`` or ``max_schedules``; None means no limit.

        Raises:
            QueryError: The key is unknown, or the value is not a non-negative integer.
        """
        self.users.update_telegram_profile(telegram_user_id, **{_limit(key): value})

    def get_user_limit(self, telegram_user_id: str | int, key: str) -> int | None:
        """Return a limit, or None if there is no such limit, user or key."""
        profile = self.users.get_telegram_profile(telegram_user_id)
        limit: int | None = (profile or {}).get(_limit(key))
        return limit

    def set_user_daily_limit(self, telegram_user_id: str | int, limit: int | None) -> None:
        """Set the number of uses per day that the user's bot allows; None means no limit."""
        self.users.update_telegram_profile(telegram_user_id, daily_limit=limit)

    # --- alerts ------------------------------------------------------------------------------

    def add_alert(
        self,
        telegram_user_id: str | int,
        ticker: str,
        price: float,
        condition: str,
        email: bool = False,
    ) -> int:
        """Add an alert that fires when a close crosses ``price``; return its id.

        ``condition`` is ``above`` or ``below``: the side to which the close must cross. The alert
        uses 15-minute bars, adjusted for splits, and fires once. If the close is already beyond
        ``price``, the alert does not fire until the close crosses it again.

        Raises:
            QueryError: The condition is unknown, or the price is not above 0.
        """
        config = {"ticker": ticker, "price": price, "condition": condition}
        return AlertsRepo(self.session, self.clock).add(telegram_user_id, config, email=email).id

    def add_indicator_alert(
        self,
        telegram_user_id: str | int,
        ticker: str,
        indicator: str,
        condition: str,
        value: float,
        timeframe: str = "15m",
        alert_action: str = "telegram",
        email: bool = False,
    ) -> int:
        """Add an alert on a recipe such as ``rsi:14``; return its id.

        Raises:
            QueryError: See :meth:`add_alert`.
        """
        config = {
            "ticker": ticker,
            "indicator": indicator,
            "condition": condition,
            "value": value,
            "timeframe": timeframe,
            "alert_action": alert_action,
        }
        return AlertsRepo(self.session, self.clock).add(telegram_user_id, config, email=email).id

    add_json_alert = delegated(AlertsRepo, AlertsRepo.add, _id)
    list_alerts = delegated(AlertsRepo, AlertsRepo.of, _alerts)
    get_alert = delegated(AlertsRepo, AlertsRepo.get, _alert)
    update_alert = delegated(AlertsRepo, AlertsRepo.update, same)
    delete_alert = delegated(AlertsRepo, AlertsRepo.delete, same)
    list_active_alerts = delegated(AlertsRepo, AlertsRepo.active, _alerts)

    def get_active_alerts(self) -> list[dict[str, Any]]:
        """Return the enabled alerts of all users, in the form of :meth:`list_alerts`."""
        return self.list_active_alerts(limit=0, older_first=True)

    # --- schedules ---------------------------------------------------------------------------

    def add_schedule(
        self, /, telegram_user_id: str | int, ticker: str, scheduled_time: str, **kwargs: Any
    ) -> int:
        """Add a schedule; return its id.

        Args:
            telegram_user_id: Owner of the schedule.
            ticker: Ticker that the schedule is about.
            scheduled_time: ``09:30`` (every day), ``mon-fri 09:30``, or a cron line; in UTC, unless
                a time zone such as ``Europe/Paris`` follows.
            kwargs: ``period``, ``email``, ``indicators``, ``interval``, ``provider``,
                ``schedule_type``, ``list_type``: options for the program that runs the schedule.

        Raises:
            QueryError: The time is invalid, or an option is unknown.
        """
        config = {"ticker": ticker, "scheduled_time": scheduled_time, **checked_options(kwargs)}
        return self.add_json_schedule(telegram_user_id, config)

    add_json_schedule = delegated(SchedulesRepo, SchedulesRepo.add, _id)
    list_schedules = delegated(SchedulesRepo, SchedulesRepo.of, _schedules)
    get_schedule = delegated(JobsRepository, JobsRepository.get_schedule, _schedule)
    get_schedule_by_id = get_schedule
    update_schedule = delegated(SchedulesRepo, SchedulesRepo.update, same)
    delete_schedule = delegated(JobsRepository, JobsRepository.delete_schedule, same)
    get_active_schedules = delegated(SchedulesRepo, SchedulesRepo.active, _schedules)

    # --- settings, feedback, audit -----------------------------------------------------------

    get_setting = delegated(SettingsRepo, SettingsRepo.get, _value)
    set_setting = delegated(SettingsRepo, SettingsRepo.set, same)
    list_feedback = delegated(FeedbackRepo, FeedbackRepo.list, as_dicts)
    update_feedback_status = delegated(FeedbackRepo, FeedbackRepo.set_status, same)
    log_command_audit = delegated(CommandAuditRepo, CommandAuditRepo.log, _id)
    get_user_command_history = delegated(CommandAuditRepo, CommandAuditRepo.last_commands, as_dicts)
    get_all_command_audit = delegated(CommandAuditRepo, CommandAuditRepo.list, as_dicts)
    get_command_audit_stats = delegated(CommandAuditRepo, CommandAuditRepo.stats, same)

    def add_feedback(self, telegram_user_id: str | int, type_: str, message: str) -> int:
        """Store feedback from a user; return its id."""
        user_id = self.users.lock_or_make(telegram_user_id).user_id
        return FeedbackRepo(self.session, self.clock).create(user_id, type_, message).id
