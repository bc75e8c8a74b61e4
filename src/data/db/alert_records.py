"""Alerts in database tables, for the alert job and ``onetape alerts``."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import JSON, bindparam, func, select, type_coerce, update

from ..errors import DataError
from ..jobs.alerting.job import StoredAlert
from ..jobs.alerting.state import AlertState
from ..jobs.alerting.types import LOCAL, Alert
from .core.database import Database, get_database, once_more
from .models.model_jobs import Alert as AlertRow
from .models.model_users import AuthIdentity
from .repos.repo_jobs import AlertsRepo
from .repos.repo_users import TELEGRAM
from .repos.rows import plain

__all__ = ["StoredAlerts"]

_log = logging.getLogger(__name__)
_rows: Any = AlertRow.__table__
_serial = func.coalesce(type_coerce(_rows.c.state_json, JSON)["serial"].as_integer(), 0)
# Stores a state if the one stored is the one before it.
# Built once, and for the table instead of the model, because building it takes longer than running it.
_PUT = (
    update(_rows)
    .where(_rows.c.id == bindparam("row"), _rows.c.enabled, _serial == bindparam("before"))
    .values(state_json=bindparam("state"), enabled=bindparam("is_active"))
    .returning(_rows.c.id)
)
# The users' identities in the channels that alerts know; other providers never get one.
_ROWS = (
    select(AlertRow, AuthIdentity.provider, AuthIdentity.external_id)
    .join(AuthIdentity, AuthIdentity.user_id == AlertRow.user_id)
    .where(AuthIdentity.provider.in_((LOCAL, TELEGRAM)), AlertRow.enabled.is_(True))
    .order_by(AlertRow.id, AuthIdentity.id)
)


class StoredAlerts:
    """Stores alerts in a database, as ``AlertRecords`` (see ``jobs.alerting.job``). Thread-safe.

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
            QueryError: The alert is invalid; nothing is stored.
        """
        with self._database.writing() as session:
            row = AlertsRepo(session).add(recipient, dict(config), since_ms=since_ms)
            (stored,) = _readable([(row, recipient)])
            return stored.alert

    def list_alerts(self, recipient: str) -> Sequence[StoredAlert]:
        """Return all alerts for a recipient, ordered by id."""
        with self._database.reading() as session:
            return _readable((row, recipient) for row in AlertsRepo(session).of(recipient))

    def remove_alert(self, recipient: str, id: int) -> bool:
        """Remove a recipient's alert; return whether it existed."""
        with self._database.writing() as session:
            alerts = AlertsRepo(session)
            return id in {row.id for row in alerts.of(recipient)} and alerts.delete(id)

    def active_alerts(self, channels: Collection[str]) -> Sequence[StoredAlert]:
        """Return the active alerts whose messages go to these channels, ordered by id."""
        with self._database.reading() as session:
            stored = _readable(_addressed(session.execute(_ROWS)))
        return [one for one in stored if one.alert.channel in channels]

    @once_more
    def save(self, changes: Sequence[StoredAlert]) -> Sequence[bool]:
        """Store new states; return for each of them whether it was stored.

        A state is not stored if another process has stored one in the meantime, or if the alert was
        changed, disabled or removed.
        """
        with self._database.writing() as session:
            return [session.scalar(_PUT, _values(*change)) is not None for change in changes]


def _addressed(rows: Iterable[Any]) -> list[tuple[AlertRow, str]]:
    """Return each alert once, with its recipient.

    A user with several identities gets the alert at the one of its channel (``alert_action``), or
    else in Telegram, or else on the command line.
    """
    identities: dict[AlertRow, dict[str, str]] = {}
    for row, provider, recipient in rows:
        identities.setdefault(row, {}).setdefault(provider, recipient)
    addressed = []
    for row, known in identities.items():
        channel = plain(row.task_params).get("config", {}).get("alert_action")
        provider = next(name for name in (channel, TELEGRAM, LOCAL) if name in known)
        addressed.append((row, known[provider]))
    return addressed


def _values(alert: Alert, state: AlertState) -> dict[str, Any]:
    values = {"row": alert.id, "before": state.serial - 1, "state": asdict(state)}
    return values | {"is_active": bool(state.message or not state.ended)}


def _readable(rows: Iterable[Any]) -> list[StoredAlert]:
    """Return the alerts of rows with their recipients; an invalid row is logged, and stops no other."""
    stored = []
    for row, recipient in rows:
        try:
            params, state = plain(row.task_params), AlertState(**plain(row.state_json or {}))
            times = params["since_ms"], params["re_arm_config"]
            alert = Alert.parse(params["config"], row.id, recipient, *times)
            stored.append(StoredAlert(alert, state))
        except (DataError, LookupError, TypeError) as error:
            _log.warning("the stored alert %s is invalid and was left out: %s", row.id, error)
    return stored
