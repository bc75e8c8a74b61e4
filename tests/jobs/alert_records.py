"""An in-memory store of alerts as JSON texts, with the guarantees of the database tables."""

from __future__ import annotations

import json
import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from src.data.jobs.alert_book import (
    Beat,
    EvaluatedAlert,
    ListedAlert,
    NextReport,
)
from src.data.jobs.alert_deliveries import (
    AlertRun,
    Delivery,
    next_delivery,
    overdue,
)
from src.data.jobs.alert_values import Alert, AlertState, StoredAlert
from src.data.model.outcome import Outcome


class MemoryRecords:
    """Rows in memory, under one lock; each goes through a JSON text on its way in."""

    def __init__(self, alerts: Sequence[Alert] = ()) -> None:
        self.lock = threading.Lock()
        self.alerts = {alert.id: alert for alert in alerts}
        self.states: dict[int, AlertState] = {}
        self.disabled: dict[int, str] = {}
        self.runs: dict[tuple[int, int], AlertRun] = {}
        self.beats: list[Beat] = []

    def active_alerts(self) -> Sequence[StoredAlert]:
        with self.lock:
            return [
                StoredAlert(alert, self.states.get(id))
                for id, alert in sorted(self.alerts.items())
                if id not in self.disabled
            ]

    def all_runs(self) -> list[AlertRun]:
        return sorted(self.runs.values(), key=lambda run: (run.bar_ms, run.alert_id))

    def _put(self, run: AlertRun) -> None:
        stored = json.loads(json.dumps(run.to_json()))
        self.runs[run.alert_id, run.bar_ms] = AlertRun.parse(stored)

    def store(self, evaluated: Sequence[EvaluatedAlert]) -> Sequence[Sequence[AlertRun] | None]:
        with self.lock:
            return [self._store(*one) for one in evaluated]

    def _store(
        self, alert: Alert, before: AlertState | None, after: AlertState, runs: Sequence[AlertRun]
    ) -> Sequence[AlertRun] | None:
        now = self.states.get(alert.id)
        is_same = now == before if before is None or now is None else now.serial == before.serial
        own = self.alerts.get(alert.id)
        if not is_same or own is None or own.since_ms != alert.since_ms:
            return None
        if alert.id in self.disabled:
            return None
        claimed = [run for run in runs if (run.alert_id, run.bar_ms) not in self.runs]
        for run in claimed:
            self._put(run)
        self.states[alert.id] = AlertState.parse(json.loads(json.dumps(after.to_json())))
        if after.phase == "done":
            self.disabled[alert.id] = "done"
        return claimed

    def claim_reports(
        self, channels: Collection[str], now_ms: int, decide: NextReport
    ) -> Sequence[AlertRun]:
        return []  # there are no schedules here

    def take_delivery(
        self, channels: Collection[str], now_ms: int, lease_ms: int
    ) -> Delivery | None:
        with self.lock:
            runs = [r for r in self.all_runs() if r.delivery.is_open and r.channel in channels]
            delivery = next_delivery(runs, now_ms, lease_ms)
            for run in (*overdue(runs, now_ms), *(delivery.runs if delivery else ())):
                self._put(run)
        return delivery

    def settle_delivery(self, delivery: Delivery, outcome: Outcome, now_ms: int) -> None:
        with self.lock:
            for run in self.all_runs():
                own = run.delivery
                if own.id == delivery.id and own.attempts == delivery.attempt and own.is_open:
                    self._put(replace(run, delivery=own.settled(outcome, now_ms)))
            if outcome.is_blocked:
                self._block(delivery, outcome)

    def _block(self, delivery: Delivery, outcome: Outcome) -> None:
        to = delivery.channel, delivery.recipient
        for alert in self.alerts.values():
            if (alert.channel, alert.recipient) == to:
                self.disabled[alert.id] = outcome.reason
        refused = Outcome("refused", outcome.reason)
        for run in self.all_runs():
            if (run.channel, run.recipient) == to and run.delivery.is_open:
                self._put(replace(run, delivery=run.delivery.settled(refused, 0)))

    def open_runs(self) -> Sequence[AlertRun]:
        with self.lock:
            return [run for run in self.all_runs() if run.delivery.is_open]

    def beat(self, beat: Beat) -> None:
        with self.lock:
            last = self.beats[-1] if self.beats else beat
            if beat.at_ms >= last.at_ms or last.is_ahead(beat.at_ms):
                self.beats.append(beat)

    def last_beat(self) -> Beat | None:
        return self.beats[-1] if self.beats else None

    def add_alert(
        self, recipient: str, config: Mapping[str, Any], rearm: Any, since_ms: int
    ) -> Alert:
        id = max(self.alerts, default=0) + 1
        alert = Alert.parse(config, id=id, recipient=recipient, since_ms=since_ms, rearm=rearm)
        self.alerts[id] = alert
        return alert

    def listed(self, alert: Alert) -> ListedAlert:
        reason = self.disabled.get(alert.id, "")
        return ListedAlert(alert, self.states.get(alert.id), alert.id not in self.disabled, reason)

    def list_alerts(self, recipient: str) -> Sequence[ListedAlert]:
        return [self.listed(one) for one in self.alerts.values() if one.recipient == recipient]

    def remove_alert(self, recipient: str, id: int) -> bool:
        if id not in self.alerts or self.alerts[id].recipient != recipient:
            return False
        del self.alerts[id]
        return True
