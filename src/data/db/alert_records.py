"""Alerts in database tables, for the alert job and ``onetape alerts``."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import JSON, func, select, type_coerce, update
from sqlalchemy.orm import Session

from ..jobs.alerts import Alert, AlertState, StoredAlert
from .core.database import Database, get_database, once_more
from .models.model_jobs import Alert as AlertRow
from .models.model_users import AuthIdentity
from .repos.repo_jobs import AlertsRepo
from .repos.rows import plain

__all__ = ["StoredAlerts"]

_serial = func.coalesce(type_coerce(AlertRow.state_json, JSON)["serial"].as_integer(), 0)
_ROWS = (
    select(AlertRow, AuthIdentity.external_id)
    .join(AuthIdentity, AuthIdentity.user_id == AlertRow.user_id)
    .order_by(AlertRow.id)
)


class StoredAlerts:
    """Stores alerts in a database, as ``AlertRecords`` (see ``jobs.alerts``). Thread-safe.

    Each method is one unit of work.

    Args:
        database: Database with the tables; by default the one that the environment names.
    """

    def __init__(self, database: Database | None = None) -> None:
        self._database = database or get_database()

    @once_more
    def add_alert(self, recipient: str, config: Mapping[str, Any], since_ms: int) -> Alert:
        """Store a new alert.

        Raises:
            QueryError: The alert is invalid, or the recipient already has the maximum number of
                alerts; nothing is stored.
        """
        with self._database.writing() as session:
            repository = AlertsRepo(session)
            return _stored(
                repository.add(recipient, dict(config), since_ms=since_ms), recipient
            ).alert

    def list_alerts(self, recipient: str) -> Sequence[StoredAlert]:
        """Return all alerts for a recipient, ordered by id."""
        with self._database.reading() as session:
            return [_stored(row, recipient) for row in AlertsRepo(session).of(recipient)]

    def remove_alert(self, recipient: str, id: int) -> bool:
        """Remove a recipient's alert; return whether it existed."""
        with self._database.writing() as session:
            alerts = AlertsRepo(session)
            return id in {row.id for row in alerts.of(recipient)} and alerts.delete(id)

    def active_alerts(self, channels: Collection[str]) -> Sequence[StoredAlert]:
        """Return the active alerts whose messages go to these channels, ordered by id."""
        with self._database.reading() as session:
            rows = session.execute(_ROWS.where(AlertRow.enabled.is_(True))).all()
            stored = [_stored(row, recipient) for row, recipient in rows]
        return [one for one in stored if one.alert.channel in channels]

    @once_more
    def save(self, changes: Sequence[StoredAlert]) -> Sequence[bool]:
        """Store new states; return for each of them whether it was stored.

        A state is not stored if another process has stored one in the meantime, or if the alert was
        changed, disabled or removed.
        """
        with self._database.writing() as session:
            return [self._put(session, *change) for change in changes]

    def _put(self, session: Session, alert: Alert, state: AlertState) -> bool:
        """Store a state if the one stored is the one before it; return whether it was stored."""
        row = (
            update(AlertRow)
            .where(AlertRow.id == alert.id, AlertRow.enabled.is_(True), _serial == state.serial - 1)
            .values(state_json=asdict(state), enabled=bool(state.message or not state.ended))
            .returning(AlertRow.id)
        )
        return session.execute(row).scalar_one_or_none() is not None


def _stored(row: AlertRow, recipient: str) -> StoredAlert:
    params = plain(row.task_params)
    times = params["since_ms"], params["re_arm_config"]
    alert = Alert.parse(params["config"], row.id, recipient, *times)
    return StoredAlert(alert, AlertState(**plain(row.state_json or {})))
