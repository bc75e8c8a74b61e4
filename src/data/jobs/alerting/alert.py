"""The stored form of an alert and of its state, and the parsing of a user's input."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

from ...core.model.request.outcome import Outcome
from ...core.model.time.instant import HOUR_MS, MINUTE_MS, SECOND_MS
from ...core.model.time.timeframe import Timeframe
from ...core.model.words.suggestion import check_names
from ...errors import QueryError
from .types import ALERT_KEYS, OWN_KEYS, TYPES, text_of, word_of

# Channel of the command line, and the name of its only recipient.
LOCAL = "local"
_USUAL_TIMEFRAME = "15m"
# An attempt that takes longer than this is assumed to be from a process that has ended.
LEASE_MS = 5 * MINUTE_MS
# Wait before a message is sent again that was refused, or that may have arrived.
_WAIT_MS = 15 * MINUTE_MS
# Longest wait that a channel can request. A later time was stored while the clock was wrong.
LONGEST_WAIT_MS = HOUR_MS


@dataclass(frozen=True)
class Alert:
    """An alert on closed bars of a series: a crossing, or a problem with the data.

    The row in which it is stored is another class, ``onetape.db.models.Alert``.

    Attributes:
        id: ID of the row; 0 if the alert is not stored.
        recipient: Person or account that gets the messages, under the name that the channel uses.
        type: Name from :data:`.types.TYPES`.
        symbol, timeframe: Series to watch.
        channel: Means of delivery, such as ``local`` (the command line) or ``telegram``.
        since_ms: Time at which the alert was last set, UTC milliseconds; it fires only on later bars.
        is_repeating: Whether the alert stays active after it has fired, and fires at each crossing.
        condition: ``above`` or ``below``; empty for a problem with the data.
        value: Threshold that the watched quantity must cross.
        quantity: Recipe to watch, such as ``rsi:14``; ``close`` for a price.
        problem: Name from ``PROBLEMS``; empty for a crossing.
    """

    id: int
    recipient: str
    type: str
    symbol: str
    timeframe: str
    channel: str = LOCAL
    since_ms: int = 0
    is_repeating: bool = False
    condition: str = ""
    value: float = 0.0
    quantity: str = "close"
    problem: str = ""

    @classmethod
    def parse(
        cls, config: Any, id: int = 0, recipient: str = LOCAL, since_ms: int = 0, rearm: Any = None
    ) -> Alert:
        """Parse an alert from its stored form or from a user's input.

        Args:
            config: Mapping with ``ticker``, ``timeframe`` (default ``15m``), ``alert_type`` (by default
                inferred from the other keys), ``alert_action`` (the channel), and ``price`` and
                ``condition``, ``indicator``, ``value`` and ``condition``, or ``problem``. A key whose
                value is None or an empty string may also be one of another type.
            id, recipient, since_ms: See the attributes.
            rearm: The ``re_arm_config``; anything but None makes the alert fire at each crossing.

        Raises:
            QueryError: The alert is not an object, has an unknown key or one of another type, or contains
                an invalid value, such as the condition ``abvoe`` or a price that is not a number above 0.
        """
        if not isinstance(config, Mapping):
            raise QueryError(f"an alert must be a JSON object, not {config!r:.80}")
        check_names(config, ALERT_KEYS, "an alert")
        given = {key for key, value in config.items() if value not in (None, "")}
        evaluated = [name for name in reversed(TYPES) if TYPES[name].is_evaluated]
        inferred = (
            name for keys in (given, config) for name in evaluated if TYPES[name].keys[0] in keys
        )
        type = word_of("alert_type", config.get("alert_type", next(inferred, "price")), [*TYPES])
        own = TYPES[type].keys
        if foreign := [key for key in config if key in given & OWN_KEYS - {*own}]:
            hint = f"its keys are {', '.join(own)}; omit {', '.join(foreign)}"
            wrong = f"{foreign[0]}: {config[foreign[0]]!r:.80}"
            raise QueryError(f"an alert of the type {type} has no {wrong}", hint=hint)
        timeframe = Timeframe.parse(config.get("timeframe") or _USUAL_TIMEFRAME).label
        ticker, channel = text_of(config, "ticker"), text_of(config, "alert_action", LOCAL)
        fields = TYPES[type].parse(config)
        return cls(
            id, recipient, type, ticker, timeframe, channel, since_ms, rearm is not None, **fields
        )

    def to_json(self) -> dict[str, Any]:
        """Return the JSON-compatible dictionary that :meth:`parse` reads as ``config``."""
        shared = {"alert_type": self.type, "ticker": self.symbol, "timeframe": self.timeframe}
        return shared | {"alert_action": self.channel} | TYPES[self.type].to_json(self)

    def check(self) -> None:
        """Check that a job can evaluate this alert.

        Raises:
            QueryError: The indicator is unknown, or can never cross the value.
        """
        TYPES[self.type].check(self)

    @property
    def series(self) -> str:
        """Symbol and timeframe as text."""
        return f"{self.symbol} {self.timeframe}"

    def __str__(self) -> str:
        return TYPES[self.type].text(self)


@dataclass(frozen=True)
class AlertState:
    """The state of an alert; it contains only JSON values.

    Attributes:
        serial: Number of writes so far, which each write compares.
        seen_ms: Opening time of the last bar that was evaluated; None if there was none.
        is_beyond: Whether the value was beyond the threshold on that bar; None if it is unknown.
        fired_ms: Closing time of the bar on which the alert last fired; None if it has never fired.
        problems: Times of the problems that were reported.
        ended: Reason why the alert has ended; empty while it is active.
        message, message_id: Message that its channel has not accepted yet; empty if there is none.
        due_ms: Time of the next attempt to send the message or, during an attempt, the time after which
            its process is assumed to have ended.
        is_sending: Whether an attempt is in progress.
        is_repeated: Whether an earlier attempt may have delivered the message.
    """

    serial: int = 0
    seen_ms: int | None = None
    is_beyond: bool | None = None
    fired_ms: int | None = None
    problems: Sequence[int] = ()
    ended: str = ""
    message: str = ""
    message_id: str = ""
    due_ms: int = 0
    is_sending: bool = False
    is_repeated: bool = False

    @property
    def phase(self) -> str:
        """``new``, ``armed``, ``waiting`` (until the value moves back), or why the alert has ended."""
        if self.ended or self.seen_ms is None:
            return self.ended or "new"
        return "waiting" if self.is_beyond else "armed"

    def claimed(self, now_ms: int) -> AlertState:
        """Return the state for an attempt to send the message.

        If an attempt is already in progress, its process has ended, so the message may have arrived.
        """
        is_repeated, due_ms = self.is_repeated or self.is_sending, now_ms + LEASE_MS
        claim = replace(self, is_sending=True, is_repeated=is_repeated, due_ms=due_ms)
        return replace(claim, serial=self.serial + 1)

    def settled(self, outcome: Outcome, now_ms: int) -> AlertState:
        """Return the state after an attempt: a message that was not accepted is sent again later."""
        after = replace(self, serial=self.serial + 1, is_sending=False, due_ms=0)
        if outcome.status == "sent":
            return replace(after, message="", message_id="", is_repeated=False)
        wait_ms = round(min(LONGEST_WAIT_MS, outcome.wait_s * SECOND_MS))
        wait_ms = wait_ms if outcome.status == "later" else max(wait_ms, _WAIT_MS)
        is_repeated = self.is_repeated or outcome.status == "unknown"
        return replace(after, is_repeated=is_repeated, due_ms=now_ms + wait_ms)


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
