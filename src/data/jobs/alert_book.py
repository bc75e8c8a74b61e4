"""The storage that the alert job and the programs that create alerts need, as interfaces.

``db/alert_records.py`` implements them with a database.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from ..model.outcome import Outcome
from .alert_deliveries import AlertRun, Delivery
from .alert_values import Alert, AlertState, StoredAlert

__all__ = [
    "AlertBook",
    "AlertRecords",
    "Beat",
    "DueReport",
    "EvaluatedAlert",
    "ListedAlert",
    "NextReport",
]


class Beat(NamedTuple):
    """The alert job's latest run: when it ended, and when the next one is due."""

    at_ms: int
    due_ms: int

    def is_ahead(self, now_ms: int) -> bool:
        """Return whether the stored end of the run is impossibly far in the future.

        This means later than ``now_ms`` by more than the job's interval; such a time was stored
        while the clock was wrong, and is treated as past.
        """
        return self.at_ms - now_ms > self.due_ms - self.at_ms


class DueReport(NamedTuple):
    """A scheduled report that is due.

    Attributes:
        id: ID of the schedule record.
        recipient, channel: Recipient of the report, and channel for its delivery.
        cron: Cron expression of the schedule, as accepted by ``Cron.parse`` in ``jobs.cron``.
        report: Content of the report, in the form that the channel's program expects.
        due_ms: First scheduled time for which nothing has been sent.
    """

    id: int
    recipient: str
    channel: str
    cron: str
    report: str
    due_ms: int


# Returns the run for a due report at the current time, and the time of the next one (None: never).
NextReport = Callable[[DueReport, int], tuple[AlertRun, int | None]]


class EvaluatedAlert(NamedTuple):
    """An evaluation to store: the alert, its states before and after, and the runs to create for it."""

    alert: Alert
    before: AlertState | None
    after: AlertState
    runs: Sequence[AlertRun] = ()


class AlertRecords(Protocol):
    """The interface of a store of alerts. Each method is one transaction; thread-safe.

    The methods send no network requests. Rows: alerts are in ``job_schedules`` (``job_type``
    ``alert``; the state in ``state_json``), runs in ``job_schedule_runs`` (``job_type`` is
    ``alert``, ``job_id`` the alert's id, ``scheduled_for`` the bar's opening time); inserting a row
    with this unique key claims the run.
    """

    def active_alerts(self) -> Sequence[StoredAlert]:
        """Return the enabled alerts, ordered by ID."""

    def store(self, evaluated: Sequence[EvaluatedAlert]) -> Sequence[Sequence[AlertRun] | None]:
        """Store evaluations, each with the new state and runs; return the runs that each has claimed.

        An evaluation is not stored if the stored state is no longer ``before`` (compare ``serial``;
        None means that no state is stored), or if the alert has been disabled or changed since
        (compare ``since_ms``); its result is then None. A run whose key is already stored is left
        unchanged, and is not claimed. If the phase in ``after`` is ``done``, the alert is disabled.
        """

    def claim_reports(
        self, channels: Collection[str], now_ms: int, decide: NextReport
    ) -> Sequence[AlertRun]:
        """Claim the runs for reports that are due on these channels; return the claimed runs.

        For each report, exactly one process stores the run together with the next due time. An
        earlier run of the report that certainly did not arrive is ended, because the newer run
        replaces it.
        """

    def take_delivery(
        self, channels: Collection[str], now_ms: int, lease_ms: int
    ) -> Delivery | None:
        """Return the message to send now; see :func:`~.alert_deliveries.next_delivery`.

        In one transaction, this locks the open runs for the channels, and stores the new states of
        the runs in the result and of those that :func:`~.alert_deliveries.overdue` returns.
        """

    def settle_delivery(self, delivery: Delivery, outcome: Outcome, now_ms: int) -> None:
        """Store the outcome of an attempt (``DeliveryState.settled``) in each of its runs.

        Runs that have ended, or for which another attempt has started since (compare ``attempts``),
        stay unchanged. If the outcome ``is_blocked``, all alerts of the recipient on this channel
        are disabled with the reason, and their other open runs end as refused with the same reason.
        """

    def open_runs(self) -> Sequence[AlertRun]:
        """Return the runs whose delivery has not ended, ordered by bar."""

    def beat(self, beat: Beat) -> None:
        """Store the job's latest run.

        A newer run that is already stored is kept, unless its time is ahead of the clock; see
        :meth:`Beat.is_ahead`.
        """

    def last_beat(self) -> Beat | None:
        """Return the job's latest run, or None if it has never run."""


class ListedAlert(NamedTuple):
    """An alert, active or not, with its state.

    ``reason`` explains why the alert is inactive, if a reason is stored.
    """

    alert: Alert
    state: AlertState | None
    is_active: bool
    reason: str = ""


class AlertBook(AlertRecords, Protocol):
    """The interface of a store of alerts for programs that create, list and remove them."""

    def add_alert(
        self, recipient: str, config: Mapping[str, Any], rearm: Any, since_ms: int
    ) -> Alert:
        """Store a new alert; see :meth:`Alert.parse` for the form of ``config`` and ``rearm``.

        Raises:
            QueryError: The arguments are invalid, or the recipient already has the maximum number
                of alerts; nothing is stored.
        """

    def list_alerts(self, recipient: str) -> Sequence[ListedAlert]:
        """Return all of a recipient's alerts, ordered by ID."""

    def remove_alert(self, recipient: str, id: int) -> bool:
        """Remove an alert; return whether it existed.

        Events that have already fired are still delivered.
        """
