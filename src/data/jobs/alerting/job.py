"""The job that evaluates the stored alerts on closed bars, and sends their messages.

A run of the job works in three steps:

1. Read the closed bars of each series once (:func:`.bars.read_bars`).
2. Evaluate each alert on the bars that it has not seen (:func:`.types.evaluate`, pure), and store its new
   state, which contains the message to send.
3. Send each stored message.

The whole state of an alert is one JSON value in its row, and every write compares its serial number, so
that only one of several processes stores an evaluation or sends a message. A message stays in the row
until its channel has accepted it. If a process ends between sending a message and storing that, the
message is sent again, marked as perhaps repeated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from ...core.clock import Clock
from ...core.interface import call_foreign
from ...core.model.request.outcome import Outcome
from ...errors import DataError, QueryError
from .bars import ClosedBars
from .state import LONGEST_WAIT_MS, AlertState
from .types import TYPES, Alert, bars_needed, evaluate


class StoredAlert(NamedTuple):
    """An alert with its state."""

    alert: Alert
    state: AlertState


class AlertRecords(Protocol):
    """The stored alerts, as the job uses them; ``db/alert_records.py`` implements them."""

    def active_alerts(self, channels: Collection[str]) -> Sequence[StoredAlert]:
        """Return the active alerts whose messages go to these channels, ordered by ID."""

    def save(self, changes: Sequence[StoredAlert]) -> Sequence[bool]:
        """Store new states in one transaction; return for each of them whether it was stored.

        A state is stored only if the alert is unchanged and active, and the serial number of its stored state
        is one less than that of the new one. An alert that is no longer active is disabled.
        """


class Message(NamedTuple):
    """A message to send.

    Attributes:
        id: Identifier of the message; a repetition has the same identifier.
        alert: ID of the alert.
        recipient: Person or account that gets the message.
        perhaps_repeated: Whether an earlier attempt may have delivered the message.
        text: Text of the message; if it is perhaps repeated, the first line says so.
    """

    id: str
    alert: int
    recipient: str
    perhaps_repeated: bool
    text: str


Deliver = Callable[[Message], Outcome]
Read = Callable[[Sequence[tuple[str, str, int]]], Sequence[ClosedBars | str]]


@dataclass
class RunReport:
    """The results of one run of the alert job.

    Attributes:
        deliveries: Maps each outcome to the number of attempts to send a message that ended with it.
        failed: Maps each series or alert that could not be evaluated, and each alert whose message was
            not accepted, to the reason.
    """

    deliveries: Counter[str] = field(default_factory=Counter)
    failed: dict[str, str] = field(default_factory=dict)


class AlertJob:
    """Evaluates the stored alerts on closed bars, and sends their messages.

    Several processes may run the job at the same time. If one is killed, the next run continues its work.

    Args:
        records: Store of the alerts.
        read: Function that returns closed bars, such as :func:`.bars.read_bars` with a client.
        deliver: Maps each channel to the function that sends its messages and returns the outcome; an
            exception counts as an unknown outcome. Alerts with other channels are left to other processes.
        clock: Source of the current time.
    """

    def __init__(
        self, records: AlertRecords, read: Read, deliver: Mapping[str, Deliver], clock: Clock
    ) -> None:
        self._records, self._read, self._clock = records, read, clock
        self._deliver = dict(deliver)

    def run(self) -> RunReport:
        """Run the job once, and return the results.

        Raises:
            DataError: The alerts cannot be read or stored. Everything stored so far is kept, and the next
                run continues.
        """
        report, stored = RunReport(), self._records.active_alerts([*self._deliver])
        waiting = [one for one in stored if one.state.message]
        changed = self._evaluate([one for one in stored if not one.state.message], report)
        saved = zip(changed, self._records.save(changed), strict=True)
        new = [one for one, is_saved in saved if is_saved and one.state.message]
        self._send([*waiting, *new], report)
        return report

    def _evaluate(self, stored: Sequence[StoredAlert], report: RunReport) -> list[StoredAlert]:
        """Return the alerts whose state has changed, with the new one."""
        now_ms, counts = self._clock.now_ms(), dict[tuple[str, str], int]()
        usable = [one for one in stored if TYPES[one.alert.type].is_evaluated]
        for alert, state in usable:
            series = alert.symbol, alert.timeframe
            try:
                count = bars_needed(alert, state, now_ms)
                counts[series] = max(counts.get(series, 0), count)
            except QueryError as error:
                report.failed[str(alert)] = str(error)
        wanted = [(*series, count) for series, count in counts.items()]
        answers = dict(zip(counts, self._read(wanted), strict=True))
        for series, bars in answers.items():
            if reason := bars if isinstance(bars, str) else bars.failure:
                report.failed[" ".join(series)] = reason
        changed = list[StoredAlert]()
        for alert, state in usable:
            bars = answers.get((alert.symbol, alert.timeframe), "")
            if not isinstance(bars, str) and str(alert) not in report.failed:
                after = evaluate(alert, state, bars, now_ms)
                changed += [StoredAlert(alert, after)] if after is not state else []
        return changed

    def _send(self, waiting: Sequence[StoredAlert], report: RunReport) -> None:
        """Try to send each message that is due; a channel that is down is left until the next run."""
        down: set[str] = set()
        for alert, state in waiting:
            now_ms = self._clock.now_ms()
            if alert.channel in down or 0 < state.due_ms - now_ms <= LONGEST_WAIT_MS:
                continue
            claimed = state.claimed(now_ms)
            (is_own,) = self._records.save([StoredAlert(alert, claimed)])
            if not is_own:
                continue  # another process sends it, or the alert was changed
            outcome = self._attempt(alert, claimed)
            self._records.save([StoredAlert(alert, claimed.settled(outcome, self._clock.now_ms()))])
            report.deliveries[outcome.status] += 1
            if outcome.status != "sent":
                reason = f"{outcome.status}: {outcome.reason}"
                report.failed[f"message {claimed.message_id}"] = reason
            if outcome.status in ("later", "unknown"):
                down.add(alert.channel)

    def _attempt(self, alert: Alert, state: AlertState) -> Outcome:
        id, text = state.message_id, state.message
        if state.is_repeated:
            text = f"(perhaps repeated: {id})\n{text}"
        message = Message(id, alert.id, alert.recipient, state.is_repeated, text)
        deliver = self._deliver[alert.channel]
        try:
            return call_foreign(lambda: deliver(message), f"delivery by {alert.channel}")
        except DataError as error:
            # The error's text may quote secrets of the delivering program, such as a token.
            cause = type(error.__cause__ or error).__name__
            return Outcome("unknown", f"the delivery raised {cause}")
