"""The messages about alerts: what belongs to one, when it is sent, and how its delivery ended. Pure.

The classes can be converted to and from plain JSON values, like those of ``alert_values``. Instants
are UTC milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from ..model.instant import MINUTE_MS, SECOND_MS
from ..model.outcome import Outcome
from .alert_values import AlertEvent

__all__ = [
    "AlertRun",
    "Delivery",
    "DeliveryState",
    "next_delivery",
    "overdue",
]

Status = Literal["pending", "running", "sent", "refused", "unknown"]
# A message that was not accepted is sent again after the first wait, which then doubles each time.
_FIRST_WAIT_MS, _LONGEST_WAIT_MS = 30 * SECOND_MS, 15 * MINUTE_MS
_LONGEST_ASKED_MS = 60 * MINUTE_MS
# Twice the lease that the job takes, because the clocks of several machines differ.
_LONGEST_LEASE_MS = 10 * MINUTE_MS
_MOST_REASON = 200


@dataclass(frozen=True)
class DeliveryState:
    """The progress of a run's delivery; it contains only JSON values.

    Attributes:
        status: ``pending``: waiting for an attempt; ``running``: an attempt is in progress;
            ``sent``, ``refused``, ``unknown``: the delivery has ended, with this outcome.
        id: Identifier of the message, and of its copy if one is sent. Empty before the first
            attempt.
        attempts: Number of attempts so far.
        is_copy: Whether the outcome of an earlier attempt is unknown. The next attempt then sends
            the only copy of the message, marked as such.
        due_ms: For a pending run, the time of the next attempt; for a running one, the time after
            which its process is presumed dead.
        reason: Reason for the final outcome, or for the failure of the last attempt.
    """

    status: Status = "pending"
    id: str = ""
    attempts: int = 0
    is_copy: bool = False
    due_ms: int = 0
    reason: str = ""

    @property
    def is_open(self) -> bool:
        """Whether the delivery has not ended yet."""
        return self.status in ("pending", "running")

    def started(self, id: str, now_ms: int, lease_ms: int) -> DeliveryState:
        """Return the state after the start of an attempt, which must end within ``lease_ms``."""
        due_ms, attempts = now_ms + lease_ms, self.attempts + 1
        return replace(self, status="running", id=id, attempts=attempts, due_ms=due_ms)

    def settled(self, outcome: Outcome, now_ms: int) -> DeliveryState:
        """Return the state after an attempt.

        A message that was not accepted is sent again, without a limit on the number of attempts. If
        the outcome is unknown, one copy is sent; if the copy's outcome is also unknown, the
        delivery ends.
        """
        reason = outcome.reason[:_MOST_REASON]
        if outcome.status == "sent" or outcome.status == "refused":
            return replace(self, status=outcome.status, reason=reason)
        if outcome.status == "unknown" and self.is_copy:
            return replace(self, status="unknown", reason=reason)
        wait_ms = min(_FIRST_WAIT_MS << min(self.attempts - 1, 16), _LONGEST_WAIT_MS)
        # Capped, because a server that asks for a wait of a year would lose the message.
        wait_ms = max(wait_ms, min(round(outcome.wait_s * SECOND_MS), _LONGEST_ASKED_MS))
        due_ms = now_ms + wait_ms
        is_copy = self.is_copy or outcome.status == "unknown"
        return replace(self, status="pending", is_copy=is_copy, due_ms=due_ms, reason=reason)

    def after_lease(self, now_ms: int) -> DeliveryState:
        """Return this state until the attempt's lease expires, then a state with an unknown outcome.

        An expired lease means that the process died during the attempt. A lease that ends too far
        in the future was taken by a process whose clock was ahead; it also counts as expired.
        """
        if self.status != "running" or 0 < self.due_ms - now_ms <= _LONGEST_LEASE_MS:
            return self
        died = Outcome("unknown", "its process ended during the attempt")
        return replace(self.settled(died, now_ms), due_ms=now_ms)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-compatible dictionary."""
        return dict(vars(self))

    @classmethod
    def parse(cls, stored: Mapping[str, Any]) -> DeliveryState:
        """Parse a stored state; raises ``TypeError`` if the value is not one."""
        return cls(**stored)


@dataclass(frozen=True)
class AlertRun:
    """One alert's events on one bar, with the progress of their delivery; stored as one row.

    The row's key is ``(alert_id, bar_ms)``; a process claims the bar for the alert by inserting the
    row. For a schedule's report, the key consists of the schedule's id, which is never an alert's
    id, and the time at which the report is due.

    Attributes:
        alert_id, bar_ms: Alert and bar of the run.
        recipient, channel: Recipient of the run, and channel for its delivery.
        topic: Series or other subject; runs with the same topic, bar and recipient form one
            message.
        events: Events of the run, in order.
        delivery: Progress of the delivery.
    """

    alert_id: int
    bar_ms: int
    recipient: str
    channel: str
    topic: str
    events: tuple[AlertEvent, ...]
    delivery: DeliveryState = DeliveryState()

    @property
    def key(self) -> str:
        """The run's key as text: the alert's ID and the bar's opening time."""
        return f"{self.alert_id}-{self.bar_ms}"

    def is_due(self, now_ms: int) -> bool:
        """Return whether an attempt to deliver the run should be made now."""
        state = self.delivery.after_lease(now_ms)
        # A wait longer than this was started by a clock that was ahead.
        is_over = not 0 < state.due_ms - now_ms <= _LONGEST_ASKED_MS
        return state.status == "pending" and is_over

    @property
    def message(self) -> tuple[object, ...]:
        """A key that is the same for all runs in one message.

        The key is the message's id or, before the first attempt, the channel, recipient, topic and
        bar.
        """
        if self.delivery.id:
            return (self.delivery.id,)
        return (self.channel, self.recipient, self.topic, self.bar_ms)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-compatible dictionary."""
        events = [event.to_json() for event in self.events]
        return vars(self) | {"events": events, "delivery": self.delivery.to_json()}

    @classmethod
    def parse(cls, stored: Mapping[str, Any]) -> AlertRun:
        """Parse a stored run; raises ``KeyError`` or ``TypeError`` if the value is not one."""
        events = tuple(AlertEvent.parse(event) for event in stored["events"])
        delivery = DeliveryState.parse(stored["delivery"])
        return cls(**{**stored, "events": events, "delivery": delivery})


@dataclass(frozen=True)
class Delivery:
    """One message to one recipient.

    Attributes:
        id: Identifier of the message; a copy has the same identifier.
        recipient, channel: Recipient of the message, and channel for its delivery.
        topic, bar_ms: Series and bar of the message.
        events: Events of all alerts on that bar, ordered by alert id.
        is_copy: Whether the message may already have arrived in an earlier attempt.
        attempt: Number of the attempt, from 1.
        runs: Rows that make up the message.
    """

    id: str
    recipient: str
    channel: str
    topic: str
    bar_ms: int
    events: tuple[AlertEvent, ...]
    is_copy: bool
    attempt: int
    runs: tuple[AlertRun, ...] = ()

    @property
    def until_ms(self) -> int:
        """Time (UTC milliseconds) from which the process making this attempt is presumed dead."""
        return min(run.delivery.due_ms for run in self.runs)

    @property
    def text(self) -> str:
        """The message: one line per event; a copy begins with ``perhaps repeated``."""
        lines = [event.text for event in self.events]
        return "\n".join([*([f"(perhaps repeated: {self.id})"] if self.is_copy else ()), *lines])

    def to_json(self) -> dict[str, Any]:
        """Return the JSON-compatible dictionary that a webhook receives."""
        return {
            "id": self.id,
            "recipient": self.recipient,
            "topic": self.topic,
            "perhaps_repeated": self.is_copy,
            "text": self.text,
            "events": [event.to_json() for event in self.events],
        }


def next_delivery(runs: Iterable[AlertRun], now_ms: int, lease_ms: int) -> Delivery | None:
    """Return the message to send now, or None if none is due; the oldest bar comes first.

    The result's ``runs`` have their new state, which must be stored before the message is sent. The
    first attempt determines the runs that a message consists of; a run claimed later belongs to
    another message. Runs that ended as unknown because their process died are not included; see
    :func:`overdue`.

    Args:
        runs: Runs not yet delivered, for the channels that the caller serves.
        now_ms: Current time.
        lease_ms: Time after which an attempt without an outcome is treated as that of a dead
            process.
    """
    messages: dict[tuple[object, ...], list[AlertRun]] = {}
    for run in runs:
        if run.is_due(now_ms):
            state = run.delivery.after_lease(now_ms)
            messages.setdefault(run.message, []).append(replace(run, delivery=state))
    if not messages:
        return None
    due = min(messages.values(), key=lambda group: min((run.bar_ms, run.alert_id) for run in group))
    due.sort(key=lambda run: run.alert_id)
    first, id = due[0], due[0].delivery.id or due[0].key
    started = tuple(
        replace(run, delivery=run.delivery.started(id, now_ms, lease_ms)) for run in due
    )
    state = started[0].delivery
    events = tuple(event for run in due for event in run.events)
    return Delivery(
        id,
        first.recipient,
        first.channel,
        first.topic,
        first.bar_ms,
        events,
        state.is_copy,
        state.attempts,
        started,
    )


def overdue(runs: Iterable[AlertRun], now_ms: int) -> list[AlertRun]:
    """Return the runs whose delivery ends as unknown because the process sending their copy died."""
    after = [replace(run, delivery=run.delivery.after_lease(now_ms)) for run in runs]
    return [run for run in after if run.delivery.status == "unknown"]
