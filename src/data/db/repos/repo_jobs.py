"""Alerts, schedules, and the runs of jobs.

A run is claimed by inserting its row, which has a unique key, so only one unit of work succeeds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from sqlalchemy import Select, delete, select
from sqlalchemy.orm import Session

from ...core.model.words.suggestion import check_names
from ...errors import QueryError
from ...jobs.alerting.state import AlertState
from ...jobs.alerting.types import ALERT_KEYS, LOCAL, retyped
from ...jobs.alerting.types import Alert as AlertValue
from ..core.database import locked
from ..core.texts import checked_text
from ..cron import Cron, cron_line
from ..models.model_jobs import (
    Alert,
    JobType,
    RunStatus,
    Schedule,
    ScheduleCreate,
    ScheduleRun,
    ScheduleRunCreate,
    ScheduleRunUpdate,
    ScheduleUpdate,
)
from ..models.model_users import AuthIdentity
from .repo_users import TELEGRAM, UsersRepo, checked_id
from .rows import Repository, assign, claim, flag, page, plain, where

__all__ = ["AlertsRepo", "JobsRepository", "SchedulesRepo"]

_USUAL_TIME = "09:00"
_OPTIONS = ("period", "email", "indicators", "interval", "provider", "schedule_type", "list_type")
_STATUSES = tuple(RunStatus)
_DONE = (RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED)


# --- alerts --------------------------------------------------------------------------------------


class AlertsRepo(Repository):
    """Stores and queries users' alerts; schedules, which share their table, are never included."""

    model = Alert

    def add(
        self,
        telegram_user_id: str | int,
        config_json: str | dict[str, Any],
        *,
        email: bool | None = None,
        status: str = "ARMED",
        re_arm_config: str | dict[str, Any] | None = None,
        since_ms: int | None = None,
    ) -> Alert:
        """Add an alert whose configuration, JSON, is read by ``jobs.alerting.types.Alert.parse``.

        With ``re_arm_config`` (JSON), the alert job keeps the alert active after it has fired. Its
        content is stored for the user's own program; the job does not use it.

        Raises:
            QueryError: The alert is invalid.
        """
        is_local = telegram_user_id == LOCAL
        config = document(config_json, "an alert")
        rearm = None if re_arm_config is None else document(re_arm_config, "re_arm_config")
        if not is_local:
            config.setdefault("alert_action", TELEGRAM)
        now_ms = self.clock.now_ms() if since_ms is None else since_ms
        alert = AlertValue.parse(config, since_ms=now_ms)
        users = UsersRepo(self.session, self.clock)
        identity = users.lock_or_make(telegram_user_id, LOCAL if is_local else TELEGRAM)
        now = self.now()
        row = Alert(
            user_id=identity.user_id,
            name=str(alert)[:255],
            job_type=JobType.ALERT.value,
            target=alert.symbol,
            task_params={
                "config": alert.to_json(),
                "email": flag("email", config.get("email", False) if email is None else email),
                "status": checked_text(status, 20, "status"),
                "re_arm_config": rearm,
                "since_ms": now_ms,
            },
            created_at=now,
            updated_at=now,
        )
        self.session.add(row)
        self.session.flush()
        return row

    def get(self, alert_id: int) -> Alert | None:
        """Return an alert, or None if it does not exist."""
        return self.session.scalars(select(Alert).where(Alert.id == alert_id)).one_or_none()

    def of(self, telegram_user_id: str | int) -> list[Alert]:
        """Return a user's alerts, ordered by id."""
        query = _filter_user(select(Alert), Alert.user_id, telegram_user_id).order_by(Alert.id)
        return [*self.session.scalars(query)]

    def active(
        self,
        telegram_user_id: str | int | None = None,
        *,
        limit: int = 100,
        offset: int = 0,
        older_first: bool = False,
    ) -> list[Alert]:
        """Return the enabled alerts of one user or all users, ordered by id.

        If ``older_first`` is False, the newest come first. A ``limit`` of 0 means all.
        """
        query = select(Alert).where(Alert.job_type == JobType.ALERT.value, Alert.enabled.is_(True))
        if telegram_user_id is not None:
            query = _filter_user(query, Alert.user_id, telegram_user_id)
        query = query.order_by(Alert.id if older_first else Alert.id.desc())
        limit, offset = page(limit, offset)
        if limit:
            query = query.limit(limit).offset(offset)
        return [*self.session.scalars(query)]

    def update(self, /, alert_id: int, **values: Any) -> bool:
        """Change an alert; return whether it exists.

        The fields are ``enabled`` (``active``), ``email``, ``status``, ``re_arm_config``,
        ``config_json`` (the whole configuration) and its individual keys. An alert that is
        reconfigured or enabled again starts over: bars that have already closed do not make it
        fire.

        Raises:
            QueryError: A field is unknown, or the result would not be a valid alert.
        """
        fields = values
        others = ("enabled", "active", "email", "status", "re_arm_config", "config_json")
        check_names(fields, [*others, *ALERT_KEYS], "an alert")
        row = self.lock(alert_id)
        if row is None:
            return False
        params = plain(row.task_params)
        enabled = flag("enabled", fields.pop("enabled", fields.pop("active", row.enabled)))
        if "email" in fields:
            params["email"] = flag("email", fields.pop("email"))
        if "status" in fields:
            params["status"] = checked_text(fields.pop("status"), 20, "status")
        if fields or (enabled and not row.enabled):
            config, now_ms = params["config"], self.clock.now_ms()
            if "config_json" in fields:
                config = document(fields.pop("config_json"), "an alert")
                config.setdefault("alert_action", params["config"]["alert_action"])
            elif "alert_type" in fields:
                config = retyped(config, fields["alert_type"])
            rearm = fields.pop("re_arm_config", params["re_arm_config"])
            rearm = None if rearm is None else document(rearm, "re_arm_config")
            alert = AlertValue.parse(config | fields, since_ms=now_ms)
            params |= {"config": alert.to_json(), "since_ms": now_ms, "re_arm_config": rearm}
            row.name, row.target = str(alert)[:255], alert.symbol
            # The number goes on, so that an evaluation of the alert as it was is not stored.
            row.state_json = {"serial": (row.state_json or {}).get("serial", 0) + 1}
        row.task_params, row.enabled, row.updated_at = params, enabled, self.now()
        return True

    def delete(self, alert_id: int) -> bool:
        """Remove an alert, with any message that is not sent yet; return whether it existed."""
        return _delete(self.session, self.lock(alert_id))

    def lock(self, alert_id: int) -> Alert | None:
        """Lock an alert until the unit of work ends, and return it; None if it does not exist."""
        return locked(self.session, select(Alert).where(Alert.id == alert_id)).one_or_none()


def alert_as_dict(row: Alert) -> dict[str, Any]:
    """Return an alert as a dictionary of built-in types, for chat programs."""
    params = plain(row.task_params)
    config, state = params["config"], AlertState(**plain(row.state_json or {}))
    return {
        "id": row.id,
        "user_id": row.user_id,
        "ticker": row.target,
        "active": row.enabled,
        "email": params["email"],
        "status": params["status"],
        "re_arm_config": params["re_arm_config"],
        "phase": state.phase,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
        **{name: value for name, value in config.items() if name != "ticker"},
    }


# --- schedules of a chat -------------------------------------------------------------------------


class SchedulesRepo(Repository):
    """Stores and queries users' schedules; alerts, which share their table, are never included."""

    model = Schedule

    def add(
        self,
        telegram_user_id: str | int,
        config_json: str | dict[str, Any],
        *,
        schedule_config: str | dict[str, Any] | None = None,
    ) -> Schedule:
        """Add a schedule whose configuration is a JSON object.

        The schedule is due at its ``scheduled_time``: ``09:30`` (every day), ``mon-fri 09:30``, or a
        cron line; in UTC, unless a time zone such as ``Europe/Paris`` follows. The default is every
        day at 09:00 UTC.

        Raises:
            QueryError: The configuration is not a JSON object, or the time is invalid.
        """
        config = document(config_json, "a schedule")
        extra = None if schedule_config is None else document(schedule_config, "schedule_config")
        line = cron_line(config.get("scheduled_time") or _USUAL_TIME)
        users = UsersRepo(self.session, self.clock)
        identity = users.lock_or_make(telegram_user_id)
        ticker = checked_text(config.get("ticker", ""), 255, "ticker")
        create = ScheduleCreate(
            f"{ticker} {line}".strip(),
            JobType.SCREENER,
            ticker,
            line,
            {"config": config, "schedule_config": extra},
        )
        return JobsRepository(self.session, self.clock).create_schedule(identity.user_id, create)

    def of(self, telegram_user_id: str | int) -> list[Schedule]:
        """Return a user's schedules, ordered by id."""
        query = _filter_user(select(Schedule), Schedule.user_id, telegram_user_id)
        return [*self.session.scalars(query.order_by(Schedule.id))]

    def active(self) -> list[Schedule]:
        """Return the enabled schedules, ordered by id."""
        query = select(Schedule).where(Schedule.enabled.is_(True)).order_by(Schedule.id)
        return [*self.session.scalars(query)]

    def update(self, /, schedule_id: int, **values: Any) -> bool:
        """Change a schedule; return whether it exists.

        The fields are ``enabled`` (``active``), ``cron``, ``ticker``, ``scheduled_time``,
        ``config_json``, ``schedule_config``, and options such as ``period``.

        Raises:
            QueryError: A field is unknown, or its value is invalid.
        """
        fields = dict(values)
        jobs = JobsRepository(self.session, self.clock)
        row = jobs.lock_schedule(schedule_id)
        allowed = (
            "enabled",
            "active",
            "cron",
            "ticker",
            "scheduled_time",
            "config_json",
            "schedule_config",
            *_OPTIONS,
        )
        check_names(fields, allowed, "a schedule")
        if row is None:
            return False
        params = plain(row.task_params)
        enabled = fields.pop("enabled", fields.pop("active", None))
        cron = fields.pop("cron", None)
        extra = fields.pop("schedule_config", params.get("schedule_config"))
        extra = None if extra is None else document(extra, "schedule_config")
        if "config_json" in fields:
            params["config"] = document(fields.pop("config_json"), "a schedule")
            cron = cron or cron_line(params["config"].get("scheduled_time") or _USUAL_TIME)
        if "scheduled_time" in fields:
            cron = cron_line(fields["scheduled_time"])
        config = params.get("config", {}) | fields
        params |= {"config": config, "schedule_config": extra}
        target = checked_text(config.get("ticker", row.target), 255, "ticker")
        jobs.change(row, ScheduleUpdate(None, target, params, cron, enabled))
        return True

    def delete(self, schedule_id: int) -> bool:
        """Remove a schedule; return whether it existed."""
        return JobsRepository(self.session, self.clock).delete_schedule(schedule_id)


def checked_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a schedule's options, after checking their names.

    Raises:
        QueryError: An option is unknown.
    """
    check_names(options, _OPTIONS, "a schedule")
    return dict(options)


def schedule_as_dict(row: Schedule) -> dict[str, Any]:
    """Return a schedule as a dictionary of built-in types, for chat programs."""
    params = plain(row.task_params)
    config = params.get("config", {})
    minute, hour = row.cron.split()[:2]
    is_daily = row.cron.endswith(" * * *") and (hour + minute).isdigit()
    options = {name: config.get(name) for name in _OPTIONS}
    return {
        **options,
        "id": row.id,
        "user_id": row.user_id,
        "name": row.name,
        "job_type": row.job_type,
        "ticker": row.target,
        "config_json": json.dumps(config),
        "schedule_config": params.get("schedule_config"),
        "scheduled_time": f"{int(hour):02}:{int(minute):02}" if is_daily else None,
        "created_at": row.created_at,
        "created": row.created_at.isoformat(),
        "enabled": row.enabled,
        "active": row.enabled,
        "cron": row.cron,
        "next_run_at": row.next_run_at,
        "email": bool(options["email"]),
        "schedule_type": options["schedule_type"] or row.job_type,
    }


# --- jobs and runs -------------------------------------------------------------------------------


class JobsRepository(Repository):
    """Stores and queries the schedules and runs of all job types except alerts."""

    model = ScheduleRun

    def create_schedule(self, user_id: int, schedule_data: ScheduleCreate) -> Schedule:
        """Add a schedule, due at the next time given by its cron line.

        Raises:
            QueryError: The type is invalid or is the alert type, or the cron line is invalid.
        """
        now = self.now()
        row = Schedule(user_id=user_id, state_json=None, created_at=now, updated_at=now)
        values = asdict(schedule_data) | {"job_type": _job_type(schedule_data.job_type)}
        values["next_run_at"] = Cron.parse(schedule_data.cron).after(now)
        assign(row, values)
        flag("enabled", row.enabled)
        self.session.add(row)
        self.session.flush()
        return row

    def get_schedule(self, schedule_id: int) -> Schedule | None:
        """Return a schedule, or None if it does not exist."""
        query = select(Schedule).where(Schedule.id == schedule_id)
        return self.session.scalars(query).one_or_none()

    def list_schedules(
        self,
        user_id: int | None = None,
        job_type: JobType | str | None = None,
        enabled: bool | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> list[Schedule]:
        """Return the schedules that match the given conditions, ordered by id."""
        limit, offset = page(limit, offset)
        query = select(Schedule).order_by(Schedule.id).limit(limit).offset(offset)
        type_ = None if job_type is None else _job_type(job_type)
        owned = (Schedule.user_id, user_id), (Schedule.job_type, type_)
        return [*self.session.scalars(where(query, *owned, (Schedule.enabled, enabled)))]

    def update_schedule(self, schedule_id: int, update_data: ScheduleUpdate) -> Schedule | None:
        """Update a schedule and return it, or None if it does not exist."""
        row = self.lock_schedule(schedule_id)
        if row is not None:
            self.change(row, update_data)
        return row

    def change(self, row: Schedule, update_data: ScheduleUpdate) -> None:
        """Change a schedule that is already locked.

        If its cron line changes or it is enabled again, the time of its next run is recalculated.
        """
        values = {name: value for name, value in vars(update_data).items() if value is not None}
        is_due_anew = "cron" in values or (
            flag("enabled", values.get("enabled", False)) and not row.enabled
        )
        assign(row, values)
        if is_due_anew:
            row.next_run_at = Cron.parse(row.cron).after(self.now())
        row.updated_at = self.now()
        self.session.flush()

    def delete_schedule(self, schedule_id: int) -> bool:
        """Remove a schedule; return whether it existed."""
        return _delete(self.session, self.lock_schedule(schedule_id))

    def lock_schedule(self, schedule_id: int) -> Schedule | None:
        """Lock a schedule until the unit of work ends, and return it; None if it does not exist."""
        query = select(Schedule).where(Schedule.id == schedule_id)
        return locked(self.session, query).one_or_none()

    def get_pending_schedules(self) -> list[Schedule]:
        """Return the enabled schedules that are due, most overdue first."""
        due = Schedule.enabled.is_(True), Schedule.next_run_at <= self.now()
        query = select(Schedule).where(*due).order_by(Schedule.next_run_at, Schedule.id)
        return [*self.session.scalars(query)]

    def update_schedule_next_run(self, schedule_id: int) -> bool:
        """Recalculate a schedule's next time from its cron line; return whether the schedule exists."""
        row = self.lock_schedule(schedule_id)
        if row is not None:
            row.next_run_at = Cron.parse(row.cron).after(self.now())
        return row is not None

    def update_schedule_state(self, schedule_id: int, state: dict[str, Any]) -> bool:
        """Store the state of a schedule's program; return whether the schedule exists."""
        row = self.lock_schedule(schedule_id)
        if row is not None:
            row.state_json = document(state, "a state")
        return row is not None

    def get_schedule_state(self, schedule_id: int) -> dict[str, Any] | None:
        """Return the stored state of a schedule's program; None if the schedule does not exist."""
        row = self.get_schedule(schedule_id)
        return None if row is None else plain(row.state_json or {})

    def trigger_schedule(self, schedule_id: int) -> ScheduleRun | None:
        """Add a run of a schedule, due now.

        Return None if the schedule does not exist or already has a run for this time.
        """
        row = self.get_schedule(schedule_id)
        if row is None:
            return None
        snapshot = {"name": row.name, "target": row.target, "task_params": plain(row.task_params)}
        run = ScheduleRunCreate(row.job_type, self.now(), row.id, snapshot)
        return self.create_run(row.user_id, run)

    def create_run(self, user_id: int | None, run_data: ScheduleRunCreate) -> ScheduleRun | None:
        """Claim a run by inserting its row.

        Return None if another unit of work has claimed the same job for the same time. A run without
        a ``job_id`` is never the same as another one.

        Raises:
            QueryError: The job type is invalid, or is the alert type.
        """
        job_type, job_id = _job_type(run_data.job_type), run_data.job_id
        values = {
            "job_type": job_type,
            "job_id": None if job_id is None else str(job_id),
            "scheduled_for": run_data.scheduled_for,
        }
        rest = {"user_id": user_id, "status": RunStatus.PENDING.value, "enqueued_at": self.now()}
        snapshot = document(run_data.job_snapshot, "a snapshot")
        number = claim(self.session, ScheduleRun, **values, **rest, job_snapshot=snapshot)
        return None if number is None else self.session.get_one(ScheduleRun, number)

    def get_run(self, run_id: int) -> ScheduleRun | None:
        """Return a run, or None if it does not exist."""
        return self.session.scalars(_runs().where(ScheduleRun.id == run_id)).one_or_none()

    def list_runs(
        self,
        user_id: int | None = None,
        job_type: JobType | str | None = None,
        status: RunStatus | str | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> list[ScheduleRun]:
        """Return the runs that match the given conditions, newest first."""
        limit, offset = page(limit, offset)
        query = _filtered(user_id, job_type).order_by(ScheduleRun.id.desc())
        query = where(query, (ScheduleRun.status, None if status is None else _status(status)))
        return [*self.session.scalars(query.limit(limit).offset(offset))]

    def update_run(self, run_id: int, update_data: ScheduleRunUpdate) -> ScheduleRun | None:
        """Update a run and return it, or None if it does not exist.

        If the new status means that the run has ended, its end time is set.
        """
        row = self.lock_run(run_id)
        if row is None:
            return None
        values = {name: value for name, value in vars(update_data).items() if value is not None}
        if "status" in values:
            values["status"] = _status(values["status"])
            if values["status"] in _DONE and row.finished_at is None:
                values.setdefault("finished_at", self.now())
        assign(row, values)
        self.session.flush()
        return row

    def claim_run(self, run_id: int, worker_id: str) -> ScheduleRun | None:
        """Assign a pending run to a worker and return it.

        Return None if the run does not exist, has ended, or has been taken by another worker.
        """
        row = self.lock_run(run_id)
        if row is None or row.status != RunStatus.PENDING:
            return None
        row.status, row.started_at = RunStatus.RUNNING.value, self.now()
        row.worker_id = worker_id
        self.session.flush()
        return row

    def lock_run(self, run_id: int) -> ScheduleRun | None:
        """Lock a run until the unit of work ends, and return it; None if it does not exist."""
        return locked(self.session, _runs().where(ScheduleRun.id == run_id)).one_or_none()

    def get_pending_runs(
        self, job_type: JobType | str | None = None, limit: int = 10
    ) -> list[ScheduleRun]:
        """Return the pending runs that are due, most overdue first."""
        due = ScheduleRun.status == RunStatus.PENDING.value, ScheduleRun.scheduled_for <= self.now()
        query = _filtered(None, job_type).where(*due).order_by(ScheduleRun.scheduled_for)
        return [*self.session.scalars(query.limit(page(limit)[0]))]

    def cancel_run(self, run_id: int) -> bool:
        """Cancel a run that has not ended; return False if it does not exist or has ended."""
        row = self.lock_run(run_id)
        if row is None or row.status in _DONE:
            return False
        row.status, row.finished_at = RunStatus.CANCELLED.value, self.now()
        return True

    def get_run_statistics(
        self, user_id: int | None = None, job_type: JobType | str | None = None, days: int = 30
    ) -> dict[str, Any]:
        """Return counts of recent runs by status, and the mean duration of completed runs.

        Only runs from the last ``days`` days are counted. Keys: ``total_runs``, ``status_counts``,
        ``average_execution_time_seconds`` (None if no run completed), ``period_days``.
        """
        since = self.now() - timedelta(days=page(days)[0])
        query = _filtered(user_id, job_type).where(ScheduleRun.scheduled_for >= since)
        rows = self.session.scalars(query).all()
        took = [
            (row.finished_at - row.started_at).total_seconds()
            for row in rows
            if row.status == RunStatus.COMPLETED and row.started_at and row.finished_at
        ]
        return {
            "total_runs": len(rows),
            "status_counts": {
                status.value: sum(row.status == status for row in rows) for status in _STATUSES
            },
            "average_execution_time_seconds": sum(took) / len(took) if took else None,
            "period_days": days,
        }

    def cleanup_old_runs(self, days_to_keep: int = 90) -> int:
        """Remove ended runs that were due more than ``days_to_keep`` days ago; return their number.

        This includes the runs of alerts.
        """
        before = self.now() - timedelta(days=page(days_to_keep)[0])
        ended = ScheduleRun.status.in_([status.value for status in _DONE])
        rows: Any = self.session.execute(
            delete(ScheduleRun).where(ScheduleRun.scheduled_for < before, ended)
        )
        return int(rows.rowcount)


def _runs() -> Select[ScheduleRun]:
    return select(ScheduleRun).where(ScheduleRun.job_type != JobType.ALERT.value)


def _filtered(user_id: int | None, job_type: JobType | str | None) -> Select[ScheduleRun]:
    type_ = None if job_type is None else _job_type(job_type)
    return where(_runs(), (ScheduleRun.user_id, user_id), (ScheduleRun.job_type, type_))


def _filter_user(query: Select[Any], column: Any, recipient: str | int) -> Select[Any]:
    provider = LOCAL if recipient == LOCAL else TELEGRAM
    user_ids = select(AuthIdentity.user_id).where(
        AuthIdentity.provider == provider, AuthIdentity.external_id == checked_id(recipient)
    )
    return query.where(column.in_(user_ids))


def _delete(session: Session, row: Alert | Schedule | None) -> bool:
    if row is not None:
        session.delete(row)
    return row is not None


def _job_type(value: JobType | str) -> str:
    allowed = [job_type.value for job_type in JobType if job_type is not JobType.ALERT]
    if value == JobType.ALERT:
        raise QueryError(
            "an alert cannot be stored as a schedule", hint="use the functions for alerts"
        )
    if value not in allowed:
        raise QueryError(f"unknown job type {value!r:.80}", hint=f"use one of {', '.join(allowed)}")
    return str(value)


def _status(value: RunStatus | str) -> str:
    if value not in _STATUSES:
        hint = f"use one of {', '.join(_STATUSES)}"
        raise QueryError(f"unknown run status {value!r:.80}", hint=hint)
    return str(value)


# Far fewer than the interpreter's limit, which a value reaches later, while it is written.
_MOST_LEVELS = 100


def document(value: Any, what: str) -> dict[str, Any]:
    """Return a JSON object, passed as text or as a mapping, as a dictionary of built-in types.

    Raises:
        QueryError: The value is not a JSON object, or has more than 10,000 characters or 100 levels.
    """
    try:
        text = value if isinstance(value, str) else json.dumps(value, allow_nan=False)
        loaded = json.loads(checked_text(text, what=what), parse_constant=_reject_number)
    except (TypeError, ValueError, RecursionError) as exc:
        raise QueryError(f"{what} is not valid JSON: {exc!s:.200}") from exc
    if not isinstance(loaded, dict):
        raise QueryError(f"{what} must be a JSON object, not {loaded!r:.80}")
    _check_depth(loaded, what, _MOST_LEVELS)
    if "\\u0000" in json.dumps(loaded):
        raise QueryError(f"{what} contains NUL")
    return loaded


def _check_depth(value: Any, what: str, levels: int) -> None:
    if not levels:
        raise QueryError(f"{what} has more than {_MOST_LEVELS} levels")
    for inner in value.values() if isinstance(value, dict) else value:
        if isinstance(inner, dict | list):
            _check_depth(inner, what, levels - 1)


def _reject_number(text: str) -> float:
    raise ValueError(f"{text} is not allowed in JSON")
