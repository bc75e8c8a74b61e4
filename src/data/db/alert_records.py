"""Alerts and their deliveries in database tables, for the alert job and ``onetape alerts``."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select, update

from ..clock import Clock
from ..jobs.alert_book import (
    AlertBook,
    Beat,
    DueReport,
    EvaluatedAlert,
    ListedAlert,
    NextReport,
)
from ..jobs.alert_deliveries import (
    AlertRun,
    Delivery,
    next_delivery,
    overdue,
)
from ..jobs.alert_values import Alert, AlertState, StoredAlert
from ..model.instant import from_ms, to_ms
from ..model.outcome import Outcome
from .core.database import Database, get_database, locked, locked_rows, once_more
from .models.model_jobs import Alert as AlertRow
from .models.model_jobs import JobType, RunStatus, Schedule, ScheduleRun
from .models.model_users import AuthIdentity
from .repos.repo_jobs import AlertsRepo, SchedulesRepo
from .repos.repo_telegram import SettingsRepo
from .repos.repo_users import TELEGRAM, lock_users
from .repos.rows import claim, plain

__all__ = ["StoredAlerts", "alert_records"]

_BEAT = "alerts.beat"
_PAGE = 100
# Columns are used instead of objects, because a run changes one document in each of a thousand
# alerts and needs no change tracking.
_READ = AlertRow.id, AlertRow.task_params, AlertRow.state_json
_OPEN = (RunStatus.PENDING.value, RunStatus.RUNNING.value)
_STATUS = {
    "pending": RunStatus.PENDING,
    "running": RunStatus.RUNNING,
    "sent": RunStatus.COMPLETED,
    "refused": RunStatus.FAILED,
    "unknown": RunStatus.FAILED,
}


class StoredAlerts:
    """Stores alerts in a database, as an ``AlertBook`` (see ``jobs.alert_book``). Thread-safe.

    Each method runs in its own unit of work.

    Args:
        database: Database with the tables.
        clock: Source of the current time.
    """

    def __init__(self, database: Database, clock: Clock | None = None) -> None:
        self._database = database
        self._clock = clock

    # --- alerts ------------------------------------------------------------------------------

    @once_more
    def add_alert(
        self, recipient: str, config: Mapping[str, Any], rearm: Any, since_ms: int
    ) -> Alert:
        """Store a new alert.

        Raises:
            QueryError: The alert is invalid, or the recipient already has the maximum number of
                alerts; nothing is stored.
        """
        with self._database.writing() as session:
            alerts = AlertsRepo(session, self._clock)
            row = alerts.add(recipient, dict(config), rearm=rearm, since_ms=since_ms)
            return _alert(row, recipient)

    def list_alerts(self, recipient: str) -> Sequence[ListedAlert]:
        """Return all alerts for a recipient, ordered by id."""
        with self._database.reading() as session:
            return [
                ListedAlert(
                    _alert(row, recipient),
                    _state(row),
                    row.enabled,
                    row.task_params.get("reason", ""),
                )
                for row in AlertsRepo(session).of(recipient)
            ]

    def remove_alert(self, recipient: str, id: int) -> bool:
        """Remove a recipient's alert; return whether it existed."""
        with self._database.writing() as session:
            alerts = AlertsRepo(session)
            is_own = id in {row.id for row in alerts.of(recipient)}
            return is_own and alerts.delete(id)

    def active_alerts(self) -> Sequence[StoredAlert]:
        """Return the enabled alerts, ordered by id."""
        query = select(*_READ, AuthIdentity.external_id).join(
            AuthIdentity, AuthIdentity.user_id == AlertRow.user_id
        )
        active = AlertRow.job_type == JobType.ALERT.value, AlertRow.enabled.is_(True)
        with self._database.reading() as session:
            rows = session.execute(query.where(*active).order_by(AlertRow.id))
            return [StoredAlert(_alert(row, row.external_id), _state(row)) for row in rows]

    @once_more
    def store(self, evaluated: Sequence[EvaluatedAlert]) -> Sequence[Sequence[AlertRun] | None]:
        """Store evaluated alerts, their new states and their runs; return the runs that each claimed.

        An evaluation is not stored, and its result is None, if, in the meantime, another process
        has stored one, or the alert was changed, disabled or removed. A run whose key is already
        stored is left as it is, and is not claimed.
        """
        numbers = [evaluation.alert.id for evaluation in evaluated]
        columns = *_READ, AlertRow.user_id, AlertRow.enabled
        with self._database.writing() as session:
            users = session.scalars(select(AlertRow.user_id).where(AlertRow.id.in_(numbers)))
            lock_users(session, users)
            rows = locked_rows(
                session, select(*columns).where(AlertRow.id.in_(numbers)).order_by(AlertRow.id)
            )
            due = {row.id: row for row in rows if row.enabled}
            claimed: list[list[AlertRun] | None] = []
            states, runs = list[dict[str, Any]](), list[tuple[int, AlertRun, list[AlertRun]]]()
            for evaluation in evaluated:
                row = due.get(evaluation.alert.id)
                if row is None or not _is_same(row, evaluation):
                    claimed.append(None)
                    continue
                del due[row.id]  # a second evaluation began too early
                is_on = evaluation.after.phase != "done"
                states.append(
                    {"id": row.id, "state_json": evaluation.after.to_json(), "enabled": is_on}
                )
                own = list[AlertRun]()
                claimed.append(own)
                runs += [(row.user_id, run, own) for run in evaluation.runs]
            if states:
                session.execute(update(AlertRow), states)
            for user_id, run, own in runs:
                if _claim(session, user_id, run):
                    own.append(run)
            return claimed

    # --- reports -----------------------------------------------------------------------------

    @once_more
    def claim_reports(
        self, channels: Collection[str], now_ms: int, decide: NextReport
    ) -> Sequence[AlertRun]:
        """Claim the reports that are due for users' chats; return the claimed runs."""
        if TELEGRAM not in channels:
            return []
        with self._database.writing() as session:
            due = SchedulesRepo(session).due_reports(_instant(now_ms))
            runs = [_claim_report(session, row, to, now_ms, decide) for row, to in due]
            return [run for run in runs if run is not None]

    # --- deliveries --------------------------------------------------------------------------

    def take_delivery(
        self, channels: Collection[str], now_ms: int, lease_ms: int
    ) -> Delivery | None:
        """Return the message to send now, with its attempt stored, or None if none is due."""
        passed: set[tuple[datetime, int | None]] = set()
        # One unit per recipient. By the time a due run is locked, another process may have taken
        # it; the search then continues.
        while True:
            delivery = self._take_next(channels, (now_ms, lease_ms), passed)
            if not isinstance(delivery, tuple):
                return delivery
            passed.add(delivery)

    @once_more
    def _take_next(
        self,
        channels: Collection[str],
        times: tuple[int, int],
        passed: Collection[tuple[datetime, int | None]],
    ) -> Delivery | tuple[datetime, int | None] | None:
        """Return the next message, or None if none is due.

        If another process takes the message for a bar and user before its rows are locked, return
        that bar and user instead, so that the search can continue.
        """
        with self._database.writing() as session:
            start = 0
            while page := session.scalars(_open_runs().offset(start).limit(_PAGE)).all():
                for row in page:
                    run, turn = _run(row), (row.scheduled_for, row.user_id)
                    is_next = run.is_due(times[0]) or overdue([run], times[0])
                    if run.channel in channels and turn not in passed and is_next:
                        return self._start_delivery(session, turn, channels, times) or turn
                start += len(page)
            return None

    def _start_delivery(
        self,
        session: Any,
        turn: tuple[datetime, int | None],
        channels: Collection[str],
        times: tuple[int, int],
    ) -> Delivery | None:
        """Return the message for a bar and user, with its attempt stored, or None if it is not due.

        Deliveries whose processes have died are ended as well.
        """
        lock_users(session, [turn[1]])
        same_turn = ScheduleRun.scheduled_for == turn[0], ScheduleRun.user_id == turn[1]
        rows = {
            run.key: (row, run)
            for row in locked(session, _open_runs().where(*same_turn))
            for run in [_run(row)]
        }
        runs = [run for _, run in rows.values() if run.channel in channels]
        delivery = next_delivery(runs, *times)
        for run in (*overdue(runs, times[0]), *(delivery.runs if delivery else ())):
            _put(rows[run.key][0], run, times[0])
        return delivery

    @once_more
    def settle_delivery(self, delivery: Delivery, outcome: Outcome, now_ms: int) -> None:
        """Store the outcome of an attempt.

        If the recipient has blocked the bot, the recipient's alerts and open runs also end.
        """
        keys = {run.key for run in delivery.runs}
        with self._database.writing() as session:
            users = lock_users(session, session.scalars(_users_of(delivery)))
            if outcome.is_blocked:
                self._pause(session, delivery, outcome.reason)
            for row in locked(session, _runs_of(delivery, outcome, users)):
                run = _run(row)
                is_of_it = run.key in keys and run.delivery.attempts == delivery.attempt
                if is_of_it and run.delivery.status == "running":
                    run = replace(run, delivery=run.delivery.settled(outcome, now_ms))
                    _put(row, run, now_ms)
                to = run.channel, run.recipient
                is_to_blocked = outcome.is_blocked and to == (delivery.channel, delivery.recipient)
                if is_to_blocked and run.delivery.is_open:
                    refused = Outcome("refused", outcome.reason)
                    _put(row, replace(run, delivery=run.delivery.settled(refused, now_ms)), now_ms)

    def _pause(self, session: Any, delivery: Delivery, reason: str) -> None:
        if delivery.channel == TELEGRAM:
            SchedulesRepo(session, self._clock).pause_reports(delivery.recipient, reason)
        alerts = AlertsRepo(session, self._clock)
        for number in [row.id for row in alerts.active(delivery.recipient)]:
            row = alerts.lock(number)
            if row is not None and row.task_params["config"]["alert_action"] == delivery.channel:
                row.enabled = False
                row.task_params["reason"] = reason

    def open_runs(self) -> Sequence[AlertRun]:
        """Return the runs whose delivery has not ended, ordered by the time of their bar."""
        with self._database.reading() as session:
            return [_run(row) for row in session.scalars(_open_runs())]

    # --- the job -----------------------------------------------------------------------------

    @once_more
    def beat(self, beat: Beat) -> None:
        """Store the job's latest run.

        A newer run that is already stored is kept, unless its time is ahead of the clock.
        """

        def newer(stored: str | None) -> str | None:
            """Return the later of the stored run and this run, as JSON.

            A stored run whose time is ahead of the clock is discarded.
            """
            last = _parse_beat(stored)
            is_newer = last is not None and last.at_ms > beat.at_ms
            is_kept = is_newer and last is not None and not last.is_ahead(beat.at_ms)
            return stored if is_kept else json.dumps(beat)

        with self._database.writing() as session:
            SettingsRepo(session).update(_BEAT, newer)

    def last_beat(self) -> Beat | None:
        """Return the job's latest run, or None if it has never run."""
        with self._database.reading() as session:
            row = SettingsRepo(session).get(_BEAT)
            return _parse_beat(None if row is None else row.value)


def alert_records(*, make: bool = True) -> AlertBook | None:
    """Return an object for the alerts in the database that the environment variables name.

    Args:
        make: Whether to create missing tables; if False, None is returned if they are missing.

    Raises:
        DatabaseError: The database cannot be used.
    """
    database = get_database()
    if not make and database.schema.state().name in ("empty", "foreign"):
        return None
    return StoredAlerts(database)


def _alert(row: Any, recipient: str) -> Alert:
    params = plain(row.task_params)
    return Alert.parse(
        params["config"],
        id=row.id,
        recipient=recipient,
        since_ms=params["since_ms"],
        rearm=params["re_arm_config"],
    )


def _is_same(row: Any, evaluation: EvaluatedAlert) -> bool:
    """Return whether the stored alert and its state are unchanged since the evaluation."""
    serials = [
        None if state is None else state.serial for state in (_state(row), evaluation.before)
    ]
    return row.task_params["since_ms"] == evaluation.alert.since_ms and serials[0] == serials[1]


def _state(row: Any) -> AlertState | None:
    return None if row.state_json is None else AlertState.parse(plain(row.state_json))


def _open_runs() -> Any:
    terms = ScheduleRun.job_type == JobType.ALERT.value, ScheduleRun.status.in_(_OPEN)
    return select(ScheduleRun).where(*terms).order_by(ScheduleRun.scheduled_for, ScheduleRun.id)


def _delivery_terms(delivery: Delivery) -> tuple[Any, Any]:
    numbers = {str(run.alert_id) for run in delivery.runs}
    return ScheduleRun.scheduled_for == _instant(delivery.bar_ms), ScheduleRun.job_id.in_(numbers)


def _users_of(delivery: Delivery) -> Any:
    terms = ScheduleRun.job_type == JobType.ALERT.value, *_delivery_terms(delivery)
    return select(ScheduleRun.user_id).where(*terms)


def _runs_of(delivery: Delivery, outcome: Outcome, users: Collection[int]) -> Any:
    """Return a query for the open runs that an outcome affects.

    They are the message's runs or, if the recipient has blocked the bot, all of the recipient's
    runs.
    """
    if outcome.is_blocked:
        return _open_runs().where(ScheduleRun.user_id.in_(users))
    return _open_runs().where(*_delivery_terms(delivery))


def _claim_report(
    session: Any, row: Schedule, recipient: str, now_ms: int, decide: NextReport
) -> AlertRun | None:
    """Claim the due run of a locked schedule, and end the runs that it replaces."""
    open_rows = locked(session, _open_runs().where(ScheduleRun.job_id == str(row.id)))
    runs = [(own_row, _run(own_row)) for own_row in open_rows]
    unsent = [
        (own_row, run)
        for own_row, run in runs
        if run.delivery.status == "pending" and not run.delivery.is_copy
    ]
    assert row.next_run_at is not None
    due_ms = min([to_ms(row.next_run_at), *(run.bar_ms for _, run in unsent)])
    report = row.task_params["config"]["report"]
    due = DueReport(row.id, recipient, TELEGRAM, row.cron, report, due_ms)
    run, next_ms = decide(due, now_ms)
    for old_row, older in unsent:
        ended = older.delivery.settled(Outcome("refused", "a newer report took its place"), now_ms)
        _put(old_row, replace(older, delivery=ended), now_ms)
    row.enabled = next_ms is not None
    row.next_run_at = None if next_ms is None else _instant(next_ms)
    return run if _claim(session, row.user_id, run) else None


def _claim(session: Any, user_id: int, run: AlertRun) -> bool:
    number = claim(
        session,
        ScheduleRun,
        job_type=JobType.ALERT.value,
        job_id=str(run.alert_id),
        scheduled_for=_instant(run.bar_ms),
        user_id=user_id,
        status=_STATUS[run.delivery.status].value,
        enqueued_at=_instant(max(event.at_ms for event in run.events)),
        result=run.to_json(),
    )
    return number is not None


def _run(row: ScheduleRun) -> AlertRun:
    return AlertRun.parse(plain(row.result))


def _put(row: ScheduleRun, run: AlertRun, now_ms: int) -> None:
    row.result, row.status = run.to_json(), _STATUS[run.delivery.status].value
    row.error = run.delivery.reason or None
    if run.delivery.status == "running":
        row.started_at = _instant(now_ms)
    elif not run.delivery.is_open:
        row.finished_at = _instant(now_ms)


def _instant(ms: int) -> datetime:
    return from_ms(ms).replace(tzinfo=UTC)


def _parse_beat(stored: str | None) -> Beat | None:
    try:
        return Beat(*map(int, json.loads(stored or "")))
    except (TypeError, ValueError):
        return None
