"""Alerts kept in memory, as JSON texts: what a table of rows would do, with the same promises."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from src.data.model.alert import (
    Alert,
    AlertRun,
    AlertState,
    Beat,
    Delivery,
    Outcome,
    StoredAlert,
    next_delivery,
    overdue,
)


class MemoryRecords:
    """Rows as JSON. ``before_commit`` is called at the end of each writing transaction, and may raise:
    then nothing of it is stored. ``after_commit`` may raise, too: then all of it is."""

    def __init__(self, alerts: Sequence[Alert] = ()) -> None:
        self.lock = threading.Lock()
        self.alerts = {alert.id: alert for alert in alerts}
        self.states: dict[int, str] = {}
        self.disabled: dict[int, str] = {}
        self.runs: dict[tuple[int, int], str] = {}
        self.beats: list[Beat] = []
        self.before_commit: Callable[[str], object] = lambda step: None
        self.after_commit: Callable[[str], object] = lambda step: None

    def active_alerts(self) -> Sequence[StoredAlert]:
        with self.lock:
            return [
                StoredAlert(alert, self._state(id))
                for id, alert in sorted(self.alerts.items())
                if id not in self.disabled
            ]

    def _state(self, id: int) -> AlertState | None:
        text = self.states.get(id)
        return None if text is None else AlertState.parse(json.loads(text))

    def all_runs(self) -> list[AlertRun]:
        texts = (self.runs[key] for key in sorted(self.runs, key=lambda key: (key[1], key[0])))
        return [AlertRun.parse(json.loads(text)) for text in texts]

    def _put(self, run: AlertRun) -> None:
        self.runs[run.alert_id, run.bar_ms] = json.dumps(run.to_json())

    def store(
        self, alert: Alert, before: AlertState | None, after: AlertState, runs: Sequence[AlertRun]
    ) -> bool:
        with self.lock:
            now = self._state(alert.id)
            is_same = (
                now == before if before is None or now is None else now.serial == before.serial
            )
            own = self.alerts.get(alert.id)
            if not is_same or own is None or own.since_ms != alert.since_ms:
                return False
            if alert.id in self.disabled:
                return False
            self.before_commit("store")
            for run in runs:
                if (run.alert_id, run.bar_ms) not in self.runs:
                    self._put(run)
            self.states[alert.id] = json.dumps(after.to_json())
            if after.phase == "done":
                self.disabled[alert.id] = "done"
        self.after_commit("store")
        return True

    def take_delivery(
        self, channels: Collection[str], now_ms: int, lease_ms: int
    ) -> Delivery | None:
        with self.lock:
            runs = [r for r in self.all_runs() if r.delivery.is_open and r.channel in channels]
            delivery = next_delivery(runs, now_ms, lease_ms)
            self.before_commit("take")
            for run in (*overdue(runs, now_ms), *(delivery.runs if delivery else ())):
                self._put(run)
        self.after_commit("take")
        return delivery

    def settle_delivery(self, delivery: Delivery, outcome: Outcome, now_ms: int) -> None:
        with self.lock:
            self.before_commit("settle")
            for run in self.all_runs():
                own = run.delivery
                if own.id == delivery.id and own.attempts == delivery.attempt and own.is_open:
                    self._put(replace(run, delivery=own.settled(outcome, now_ms)))
            if outcome.is_blocked:
                self._block(delivery, outcome)
        self.after_commit("settle")

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
            self.before_commit("beat")
            if not self.beats or beat.at_ms >= self.beats[-1].at_ms:
                self.beats.append(beat)
        self.after_commit("beat")

    def last_beat(self) -> Beat | None:
        return self.beats[-1] if self.beats else None
