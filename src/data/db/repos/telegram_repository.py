"""A chat bot's records: users, alerts, schedules, settings, feedback and audit."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

from ...errors import QueryError
from ..models.model_users import User
from .repo_jobs import (
    AlertsRepo,
    JobsRepository,
    SchedulesRepo,
    alert_as_dict,
    checked_options,
    schedule_as_dict,
)
from .repo_telegram import CommandAuditRepo, FeedbackRepo, SettingsRepo
from .repo_users import LIMITS, UsersRepo, VerificationRepo, checked_email
from .rows import Repository, as_dict

__all__ = ["TelegramRepository"]

_log = logging.getLogger(__name__)
_STATUS = ("email", "approved", "verified", *LIMITS, "language", "is_admin")


class TelegramRepository(Repository):
    """The functions of :mod:`~onetape.data.db.services.telegram_service`, within one unit of work.

    Results are plain dictionaries; instants are timezone-aware in UTC. A user is identified by
    their chat id, as a string or an integer. Functions that add something raise
    :class:`~onetape.data.errors.QueryError` for values that cannot be stored, and create the user if
    necessary.
    """

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
            QueryError: The address is invalid, or five codes were issued within an hour.
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
            QueryError: Five codes were issued within an hour, or the code is too short.
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

    def get_admin_user_ids(self) -> list[str]:
        """Return the chat ids of the administrators."""
        return self.users.get_admin_telegram_user_ids()

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

    @property
    def alerts(self) -> AlertsRepo:
        """Repository of alerts."""
        return AlertsRepo(self.session, self.clock)

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
            QueryError: The condition is unknown, the price is not above 0, or the user already
                has the maximum number of alerts.
        """
        config = {"ticker": ticker, "price": price, "condition": condition}
        return self.alerts.add(telegram_user_id, config, email=email).id

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
        """Add an alert on an indicator such as ``rsi(14)``; return its id.

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
        return self.alerts.add(telegram_user_id, config, email=email).id

    def add_json_alert(
        self,
        telegram_user_id: str | int,
        config_json: str | dict[str, Any],
        *,
        email: bool | None = None,
        status: str = "ARMED",
        re_arm_config: str | dict[str, Any] | None = None,
    ) -> int:
        """Add an alert whose configuration is a JSON object; return its id.

        Raises:
            QueryError: The configuration is not a JSON object or has an unknown key; also as for
                :meth:`add_alert`.
        """
        row = self.alerts.add(
            telegram_user_id, config_json, email=email, status=status, rearm=re_arm_config
        )
        return row.id

    def list_alerts(self, telegram_user_id: str | int) -> list[dict[str, Any]]:
        """Return a user's alerts, ordered by id.

        Keys: ``id``, ``user_id``, ``ticker``, ``active``, ``email``, ``status``, ``created_at``,
        ``updated_at``, ``re_arm_config``, ``phase`` (``new``, ``armed``, ``waiting`` until the value
        moves back, or why the alert has ended), ``alert_type``, ``timeframe``, ``alert_action``, and
        the keys of the alert's type, such as ``price`` and ``condition``.
        """
        return [alert_as_dict(row) for row in self.alerts.of(telegram_user_id)]

    def get_alert(self, alert_id: int) -> dict[str, Any] | None:
        """Return an alert in the form of :meth:`list_alerts`, or None if it does not exist."""
        row = self.alerts.get(alert_id)
        return None if row is None else alert_as_dict(row)

    def update_alert(self, /, alert_id: int, **values: Any) -> bool:
        """Change an alert; return whether it exists.

        The fields are ``enabled``, ``email``, ``status``, ``re_arm_config``, and ``config_json`` or
        its keys, such as ``price``. If a field is unknown, nothing changes. An alert that is
        reconfigured or enabled starts over, with the bars that close from now on.
        """
        return self.alerts.update(alert_id, values)

    def delete_alert(self, alert_id: int) -> bool:
        """Remove an alert, but never a schedule; return whether it existed."""
        return self.alerts.delete(alert_id)

    def get_active_alerts(self) -> list[dict[str, Any]]:
        """Return the enabled alerts of all users, in the form of :meth:`list_alerts`."""
        return [alert_as_dict(row) for row in self.alerts.active()]

    def list_active_alerts(
        self,
        telegram_user_id: str | int | None = None,
        *,
        limit: int = 100,
        offset: int = 0,
        older_first: bool = False,
    ) -> list[dict[str, Any]]:
        """Return the enabled alerts of one user or all users, in the form of :meth:`list_alerts`."""
        rows = self.alerts.active(
            telegram_user_id, limit=limit, offset=offset, older_first=older_first
        )
        return [alert_as_dict(row) for row in rows]

    # --- schedules ---------------------------------------------------------------------------

    @property
    def schedules(self) -> SchedulesRepo:
        """Repository of schedules."""
        return SchedulesRepo(self.session, self.clock)

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
            QueryError: The time is invalid, an option is unknown, or the user already has the
                maximum number of schedules.
        """
        config = {"ticker": ticker, "scheduled_time": scheduled_time, **checked_options(kwargs)}
        return self.schedules.add(telegram_user_id, config).id

    def add_json_schedule(
        self,
        telegram_user_id: str | int,
        config_json: str | dict[str, Any],
        *,
        schedule_config: str | dict[str, Any] | None = None,
    ) -> int:
        """Add a schedule whose configuration is a JSON object; return its id.

        The schedule is due at its ``scheduled_time``, in any form that :meth:`add_schedule`
        accepts, or else every day at 09:00 UTC. If it names a ``report`` (a string), the alert job
        runs the schedule and delivers that report to the user's chat.

        Raises:
            QueryError: The configuration is not a JSON object; also as for :meth:`add_schedule`.
        """
        return self.schedules.add(telegram_user_id, config_json, schedule_config=schedule_config).id

    def list_schedules(self, telegram_user_id: str | int) -> list[dict[str, Any]]:
        """Return a user's schedules, ordered by id.

        Keys: ``id``, ``user_id``, ``ticker``, ``config_json``, ``schedule_config``,
        ``scheduled_time`` (None unless the schedule runs daily at a UTC time), ``created_at``,
        ``enabled``, ``active``, ``reason`` (why it was paused), ``cron``, ``next_run_at`` (None
        means never), ``created``, ``period``, ``email``, ``indicators``, ``interval``,
        ``provider``, ``schedule_type``, ``list_type``.
        """
        return [schedule_as_dict(row) for row in self.schedules.of(telegram_user_id)]

    def get_schedule(self, schedule_id: int) -> dict[str, Any] | None:
        """Return a schedule in the form of :meth:`list_schedules`, or None if it does not exist."""
        row = JobsRepository(self.session).get_schedule(schedule_id)
        return None if row is None else schedule_as_dict(row)

    def get_schedule_by_id(self, schedule_id: int) -> dict[str, Any] | None:
        """Return a schedule; another name for :meth:`get_schedule`."""
        return self.get_schedule(schedule_id)

    def update_schedule(self, /, schedule_id: int, **values: Any) -> bool:
        """Change a schedule; return whether it exists.

        The fields are ``enabled``, ``cron``, ``ticker``, ``scheduled_time``, ``config_json``,
        ``schedule_config``, and the options of :meth:`add_schedule`. If a field is unknown,
        nothing changes.
        """
        return self.schedules.update(schedule_id, values)

    def delete_schedule(self, schedule_id: int) -> bool:
        """Remove a schedule, but never an alert; return whether it existed."""
        return self.schedules.delete(schedule_id)

    def get_active_schedules(self) -> list[dict[str, Any]]:
        """Return the enabled schedules of all users, in the form of :meth:`list_schedules`."""
        return [schedule_as_dict(row) for row in self.schedules.active()]

    # --- settings, feedback, audit -----------------------------------------------------------

    def get_setting(self, key: str) -> str | None:
        """Return a setting, or None if it is not set."""
        row = SettingsRepo(self.session).get(key)
        return None if row is None else row.value

    def set_setting(self, key: str, value: str | None) -> None:
        """Store the value of a setting."""
        SettingsRepo(self.session).set(key, value)

    def add_feedback(self, telegram_user_id: str | int, type_: str, message: str) -> int:
        """Store feedback from a user; return its id."""
        user_id = self.users.lock_or_make(telegram_user_id).user_id
        return FeedbackRepo(self.session, self.clock).create(user_id, type_, message).id

    def list_feedback(self, type_: str | None = None) -> list[dict[str, Any]]:
        """Return feedback, newest first, as dictionaries with the columns as keys."""
        return [as_dict(row) for row in FeedbackRepo(self.session).list(type_)]

    def update_feedback_status(self, feedback_id: int, status: str) -> bool:
        """Set a status: ``open``, ``in_progress`` or ``closed``; return whether the feedback exists."""
        return FeedbackRepo(self.session).set_status(feedback_id, status)

    def log_command_audit(
        self,
        telegram_user_id: str | int,
        command: str,
        full_message: str | None = None,
        is_registered_user: bool = False,
        user_email: str | None = None,
        success: bool = True,
        error_message: str | None = None,
        response_time_ms: int | None = None,
    ) -> int:
        """Log a command that a user sent, and its result; return the id of the log entry."""
        row = CommandAuditRepo(self.session, self.clock).log(
            telegram_user_id,
            command,
            full_message=full_message,
            is_registered_user=is_registered_user,
            user_email=user_email,
            success=success,
            error_message=error_message,
            response_time_ms=response_time_ms,
        )
        return row.id

    def get_user_command_history(
        self, telegram_user_id: str | int, limit: int = 20
    ) -> list[dict[str, Any]]:
        """Return a user's last commands, newest first, as dictionaries with the columns as keys."""
        audits = CommandAuditRepo(self.session).last_commands(telegram_user_id, limit=limit)
        return [as_dict(audit) for audit in audits]

    def get_all_command_audit(
        self,
        *,
        limit: int = 100,
        offset: int = 0,
        user_id: str | None = None,
        command: str | None = None,
        success_only: bool | None = None,
        start_date: str | datetime | None = None,
        end_date: str | datetime | None = None,
    ) -> list[dict[str, Any]]:
        """Return the logged commands that match the given conditions, newest first.

        ``start_date`` and ``end_date`` are in UTC, and both are inclusive.
        """
        audits = CommandAuditRepo(self.session).list(
            limit=limit,
            offset=offset,
            user_id=user_id,
            command=command,
            success_only=success_only,
            start_date=start_date,
            end_date=end_date,
        )
        return [as_dict(audit) for audit in audits]

    def get_command_audit_stats(self) -> dict[str, Any]:
        """Return ``total``, ``by_command`` and ``success_rate`` (None if no command ran)."""
        return CommandAuditRepo(self.session).stats()


def _status(profile: dict[str, Any]) -> dict[str, Any]:
    return {name: profile[name] for name in ("telegram_user_id", *_STATUS)}


def _limit(key: str) -> str:
    if key not in LIMITS:
        raise QueryError(f"unknown limit {key!r:.80}", hint=f"use one of {', '.join(LIMITS)}")
    return key
