"""Alerts as values: the condition, its state, the events, and how a delivery ends. Pure.

Everything here is made of plain JSON values and goes to them and back (``to_json``, ``parse``), so that
any records can keep it. Instants are UTC milliseconds.

The way of an alert::

    Alert + AlertState + closed bars  ->  AlertState + AlertEvents     (jobs/alert_evaluator.py)
    the events of one alert on one bar = AlertRun                      (one row; its key is the claim)
    open runs of one recipient on one bar = Delivery                   (one message; next_delivery)
    a schedule's report that is due        = AlertRun                   (jobs/reports.py)
    Delivery + Outcome  ->  DeliveryState                              (stored in each run)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, NamedTuple, Protocol, get_args

from ..errors import QueryError
from .instant import DAY_MS, MINUTE_MS, SECOND_MS, parse_iso
from .suggestion import check_names, did_you_mean
from .texts import plain_number
from .timeframe import Timeframe

__all__ = [
    "CONDITIONS",
    "DATA_PROBLEMS",
    "LIFETIME_MS",
    "LOCAL",
    "Alert",
    "AlertBook",
    "AlertEvent",
    "AlertRecords",
    "AlertRun",
    "AlertState",
    "Beat",
    "Delivery",
    "DeliveryState",
    "DueReport",
    "ListedAlert",
    "NextReport",
    "Outcome",
    "Rearm",
    "StoredAlert",
    "next_delivery",
    "overdue",
]

AlertKind = Literal["price", "indicator", "custom", "data"]
Condition = Literal["above", "below"]
DataProblem = Literal["stale", "gap", "grave", "quality", "key", "perishes", "shape"]
KINDS: tuple[AlertKind, ...] = get_args(AlertKind)
CONDITIONS: tuple[Condition, ...] = get_args(Condition)
DATA_PROBLEMS: tuple[DataProblem, ...] = get_args(DataProblem)
# The channel that the command delivers by, and its only recipient.
LOCAL = "local"
# An alert without a time of its own ends after so long.
LIFETIME_MS = 90 * DAY_MS
_USUAL_TIMEFRAME = "15m"
_MOST_MINUTES = 366 * 24 * 60
_MOST_BARS = 1_000
_MOST_TEXT = 64
_EVERYTHING = "*"


# --- what is watched ----------------------------------------------------------------------


@dataclass(frozen=True)
class Rearm:
    """When an alert that has fired may fire again, and how long it must last to fire.

    Attributes:
        hysteresis: how far the value must have come back behind the threshold; 0: to the threshold.
        hysteresis_type: ``fixed``: in the units of the value; ``percentage``: of the threshold.
        cooldown_minutes: it does not fire on bars that close earlier than so long after the bar that
            it fired on last.
        persistence_bars: it fires on the so-manieth closed bar in a row beyond the threshold.
    """

    hysteresis: float = 0.0
    hysteresis_type: Literal["fixed", "percentage"] = "fixed"
    cooldown_minutes: float = 0.0
    persistence_bars: int = 1

    @classmethod
    def parse(cls, config: Any) -> Rearm:
        """Read a ``re_arm_config``; what it does not name has the usual value.

        Raises:
            QueryError: it is no object, has an unknown key, or a value that there is not.
        """
        _check_keys(config, cls.__dataclass_fields__, "re_arm_config")
        kind = config.get("hysteresis_type", "fixed")
        if kind not in ("fixed", "percentage"):
            raise _wrong("hysteresis_type", kind, "fixed or percentage")
        bars = _number(config, "persistence_bars", 1.0, 1.0, _MOST_BARS)
        if bars != int(bars):
            raise _wrong("persistence_bars", bars, "a whole number")
        return cls(
            _number(config, "hysteresis", 0.0, 0.0, math.inf),
            kind,
            _number(config, "cooldown_minutes", 0.0, 0.0, _MOST_MINUTES),
            int(bars),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the plain mapping, as :meth:`parse` reads it."""
        return asdict(self)


@dataclass(frozen=True)
class Alert:
    """What is watched, for whom, and since when. Prices are adjusted for splits, as of the bars.

    Attributes:
        id: number of its record.
        recipient: whom it is delivered to, as the channel names them.
        channel: how it is delivered; ``local`` by the command, ``telegram`` by a bot.
        kind: ``price``; ``indicator``; ``custom`` (an indicator that a program registered); ``data``
            (about the bars themselves).
        symbol, timeframe: the series; of ``data`` also ``*``: all series with alerts of the recipient.
        quantity: ``close``, an indicator such as ``rsi(14)``, or of ``data`` one of
            :data:`DATA_PROBLEMS`.
        condition, value: it fires when the quantity of a closed bar crosses ``value``: to ``above``, or to
            ``below`` it. Of ``data`` they are not used.
        rearm: when it may fire again; None: it fires once and ends.
        since_ms: when it was made, or changed last: bars that had closed by then never fire it.
        expires_ms: bars that close later do not fire it.
    """

    id: int
    recipient: str
    symbol: str
    timeframe: str
    kind: AlertKind = "price"
    quantity: str = "close"
    condition: Condition = "above"
    value: float = 0.0
    rearm: Rearm | None = None
    since_ms: int = 0
    expires_ms: int = LIFETIME_MS
    channel: str = LOCAL

    @classmethod
    def parse(
        cls, config: Any, *, id: int, recipient: str, since_ms: int, rearm: Any = None
    ) -> Alert:
        """Read an alert from what is stored of it, or typed by a user.

        Args:
            config: ``ticker``, ``timeframe`` (``15m``), ``alert_type`` (else by the other keys); of prices
                ``price`` and ``condition``; of indicators ``indicator``, ``value``, ``condition``; of data
                ``problem``; for all ``alert_action`` (the channel: ``local``), ``email`` (for the program
                that delivers), ``expires`` (ISO, UTC; 90 days after ``since_ms``).
            id, recipient, since_ms: as the attributes.
            rearm: the ``re_arm_config``, or None.

        Raises:
            QueryError: it is no object, has an unknown key, or a value that there is not: a condition
                such as ``abvoe``, a price that is no number or not above 0.
        """
        _check_keys(config, _ALERT_KEYS, "an alert")
        kind = config.get("alert_type") or _kind_of(config)
        if kind not in KINDS:
            raise _wrong("alert_type", kind, _choices(str(kind), KINDS))
        expires = _instant(config.get("expires"), since_ms + LIFETIME_MS)
        if expires <= since_ms:
            raise _wrong("expires", config.get("expires"), "a time after the alert is made")
        parts = _data_parts(config) if kind == "data" else _crossing_parts(config, kind)
        return cls(
            id,
            str(recipient),
            _text(config, "ticker", _EVERYTHING if kind == "data" else None),
            _timeframe(config, kind),
            kind,
            **parts,
            rearm=None if rearm is None else Rearm.parse(rearm),
            since_ms=since_ms,
            expires_ms=expires,
            channel=_text(config, "alert_action", LOCAL),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the plain mapping that :meth:`parse` reads as ``config``."""
        from .instant import iso

        shared = {"alert_type": self.kind, "ticker": self.symbol, "timeframe": self.timeframe}
        shared |= {"alert_action": self.channel, "expires": iso(self.expires_ms)}
        if self.kind == "data":
            return shared | {"problem": self.quantity}
        if self.kind == "price":
            return shared | {"price": self.value, "condition": self.condition}
        crossing = {"indicator": self.quantity, "value": self.value, "condition": self.condition}
        return shared | crossing

    @property
    def is_of_all(self) -> bool:
        """Whether it is about the data of every series that the recipient has alerts on."""
        return self.symbol == _EVERYTHING

    @property
    def series(self) -> str:
        """Symbol and timeframe in words; those of one bar and recipient are one message."""
        return self.symbol if self.is_of_all else f"{self.symbol} {self.timeframe}"

    def __str__(self) -> str:
        if self.kind == "data":
            return f"{self.series}: {self.quantity}"
        return f"{self.series} {self.quantity} {self.condition} {plain_number(self.value)}"


_ALERT_KEYS = (
    "alert_type", "ticker", "timeframe", "price", "condition", "indicator", "value", "problem",
    "alert_action", "email", "expires",
)  # fmt: skip


def _kind_of(config: Mapping[str, Any]) -> AlertKind:
    """Return the type of an alert that names none."""
    if "problem" in config:
        return "data"
    return "indicator" if "indicator" in config else "price"


def _crossing_parts(config: Mapping[str, Any], kind: AlertKind) -> dict[str, Any]:
    """Return what is compared with what."""
    condition = config.get("condition")
    if condition not in CONDITIONS:
        raise _wrong("condition", condition, _choices(str(condition), CONDITIONS))
    if kind == "price":
        least = math.nextafter(0.0, 1.0)
        return {"condition": condition, "value": _number(config, "price", None, least, math.inf)}
    value = _number(config, "value", None, -math.inf, math.inf)
    return {"quantity": _text(config, "indicator"), "condition": condition, "value": value}


def _data_parts(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return which problem of the data is watched."""
    problem = config.get("problem")
    if problem not in DATA_PROBLEMS:
        raise _wrong("problem", problem, _choices(str(problem), DATA_PROBLEMS))
    return {"quantity": problem}


def _timeframe(config: Mapping[str, Any], kind: AlertKind) -> str:
    if kind == "data" and config.get("ticker", _EVERYTHING) == _EVERYTHING:
        return _EVERYTHING
    return Timeframe.parse(config.get("timeframe") or _USUAL_TIMEFRAME).label


def _check_keys(config: Any, known: Collection[str], what: str) -> None:
    if not isinstance(config, Mapping):
        raise QueryError(f"{what} must be a JSON object, not {config!r:.80}")
    check_names(config, known, what)


def _choices(word: str, words: Sequence[str]) -> str:
    return f"one of {', '.join(words)}. {did_you_mean(word, words)}".rstrip(". ")


def _wrong(name: str, value: Any, bound: str) -> QueryError:
    return QueryError(f"{name} {value!r:.80} is not valid", hint=f"it must be {bound}")


def _text(config: Mapping[str, Any], name: str, usual: str | None = None) -> str:
    value = config.get(name, usual)
    if not isinstance(value, str) or not value.strip() or len(value) > _MOST_TEXT:
        raise _wrong(name, value, f"a text of 1 to {_MOST_TEXT} characters")
    if not value.isprintable():
        raise _wrong(name, value, "a text without control characters")
    return value.strip()


def _number(
    config: Mapping[str, Any], name: str, usual: float | None, least: float, most: float
) -> float:
    """Return a finite number of a configuration."""
    value = config.get(name, usual)
    is_number = not isinstance(value, bool) and isinstance(value, int | float | str)
    try:
        number = float(value) if is_number and value is not None else math.nan
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and least <= number <= most):
        at_least = "above 0" if 0 < least < 1 else f"from {least:g}"
        bound = "" if least == -math.inf else f" {at_least}"
        raise _wrong(name, value, f"a number{bound}" + (f" to {most:g}" if most < math.inf else ""))
    return number


def _instant(text: Any, usual: int) -> int:
    if text is None:
        return usual
    try:
        return parse_iso(text)
    except (TypeError, ValueError, OverflowError):
        raise _wrong("expires", text, "an ISO time such as 2030-01-31T16:00:00Z") from None


# --- its state, and what happened ----------------------------------------------------------

Phase = Literal["new", "armed", "waiting", "done"]
_PHASES: tuple[Phase, ...] = get_args(Phase)


@dataclass(frozen=True)
class AlertState:
    """What an alert remembers from bar to bar. Plain JSON.

    Attributes:
        serial: how many evaluations were stored; two processes cannot both store the same one.
        phase: ``new``: has seen no value yet; ``armed``: fires at the next crossing; ``waiting``: is
            beyond the threshold, or fired, and must come back first; ``done``: fires no more.
        seen_ms: open stamp of the last closed bar that was seen; None before the first.
        beyond: how many bars in a row are beyond the threshold.
        fired_ms: when the bar that it fired on last closed; None before that.
        scale: new shares for an old one by all splits since the threshold was named: prices are
            compared with the threshold divided by it.
        rebased: by how much prices differ from those that were seen, without a split that says so; 1:
            not at all.
        marks: stamp and close of the last bars that were seen, which tell whether prices were re-based.
        splits: ex-dates (00:00 UTC) and ratios that are in ``scale`` already, or were before it.
        withheld: why the last bar was not used; empty where it was.
        problems: those of the data that were told and go on.
    """

    serial: int = 0
    phase: Phase = "new"
    seen_ms: int | None = None
    beyond: int = 0
    fired_ms: int | None = None
    scale: float = 1.0
    rebased: float = 1.0
    marks: tuple[tuple[int, float], ...] = ()
    splits: tuple[tuple[int, float], ...] = ()
    withheld: str = ""
    problems: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the plain mapping."""
        pairs = {name: [list(pair) for pair in getattr(self, name)] for name in ("marks", "splits")}
        return vars(self) | pairs | {"problems": list(self.problems)}

    @classmethod
    def parse(cls, stored: Any) -> AlertState:
        """Read a state back.

        Raises:
            QueryError: it is none, or one of another version.
        """
        _check_keys(stored, cls.__dataclass_fields__, "the state of an alert")
        values = dict(stored)
        try:
            for name in ("marks", "splits"):
                values[name] = tuple((int(at), float(of)) for at, of in values.get(name, ()))
            values["problems"] = tuple(map(str, values.get("problems", ())))
            state = cls(**values)
            numbers = state.scale, state.rebased, state.serial, state.beyond
            is_sound = state.phase in _PHASES and all(map(math.isfinite, numbers))
        except (TypeError, ValueError):
            is_sound = False
        if not is_sound or state.scale <= 0:
            raise QueryError(f"the state of an alert is damaged: {stored!r:.80}")
        return state


EventName = Literal[
    "fired", "beyond", "withheld", "moved", "rebased", "expired", "data", "silent", "failed", "due"
]


@dataclass(frozen=True)
class AlertEvent:
    """Something that the recipient of an alert is told. Plain JSON.

    Attributes:
        alert_id: of which alert.
        name: ``fired``; ``beyond``: at its creation the value is beyond the threshold already, which does
            not fire; ``withheld``: a bar was not used; ``moved``: a split moved the threshold; ``rebased``:
            prices changed without a split that says so; ``expired``; ``data``: a problem of the data;
            ``silent``: the job did not run for a while; ``failed``: the alert could not be evaluated;
            ``due``: a schedule's report is to be made, and the topic of its run says of what.
        bar_ms: open stamp of the bar; of what concerns no bar the time of the event.
        at_ms: when the bar closed, or the time of the event.
        text: one sentence, with the bar's time (UTC).
        value, threshold: what was compared, in the basis of the bars; None where nothing was.
    """

    alert_id: int
    name: EventName
    bar_ms: int
    at_ms: int
    text: str
    value: float | None = None
    threshold: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the plain mapping."""
        return dict(vars(self))

    @classmethod
    def parse(cls, stored: Mapping[str, Any]) -> AlertEvent:
        """Read an event back; raises ``TypeError`` for what is none."""
        return cls(**stored)


# --- deliveries ----------------------------------------------------------------------------

Status = Literal["pending", "running", "sent", "refused", "unknown"]
# An attempt that was not accepted is repeated after so long, and twice as long each time.
_FIRST_WAIT_MS, _LONGEST_WAIT_MS = 30 * SECOND_MS, 15 * MINUTE_MS
_LONGEST_ASKED_MS = 60 * MINUTE_MS
# Twice the lease that the job takes: clocks of several machines differ.
_LONGEST_LEASE_MS = 10 * MINUTE_MS
_MOST_REASON = 200


@dataclass(frozen=True)
class Outcome:
    """How one attempt at a delivery ended.

    Attributes:
        status: ``sent``: it was accepted; ``refused``: it will never be, as it is; ``unknown``: the answer
            was lost, so it may have been accepted; ``later``: it was surely not accepted now.
        reason: why, in words without secrets.
        wait_s: seconds that the other side wants us to wait.
        is_blocked: the recipient takes nothing more from us: their alerts are paused.
    """

    status: Literal["sent", "refused", "unknown", "later"]
    reason: str = ""
    wait_s: float = 0.0
    is_blocked: bool = False


@dataclass(frozen=True)
class DeliveryState:
    """How far the delivery of a run is. Plain JSON.

    Attributes:
        status: ``pending``: to do; ``running``: an attempt goes on; ``sent``, ``refused``, ``unknown``: how
            it ended.
        id: of the message; the same for its copy. Empty before the first attempt.
        attempts: how many there were.
        is_copy: whether an attempt ended as unknown: the next is its only copy, and says so.
        due_ms: of a pending one, the time before which it is not tried; of a running one, the time from
            which its process counts as dead.
        reason: why it ended, or was not accepted, as it did.
    """

    status: Status = "pending"
    id: str = ""
    attempts: int = 0
    is_copy: bool = False
    due_ms: int = 0
    reason: str = ""

    @property
    def is_open(self) -> bool:
        """Whether something is still to do for it."""
        return self.status in ("pending", "running")

    def started(self, id: str, now_ms: int, lease_ms: int) -> DeliveryState:
        """Return it with one more attempt, which is over at the end of its lease."""
        due_ms, attempts = now_ms + lease_ms, self.attempts + 1
        return replace(self, status="running", id=id, attempts=attempts, due_ms=due_ms)

    def settled(self, outcome: Outcome, now_ms: int) -> DeliveryState:
        """Return it after an attempt.

        Not accepted: it is repeated, however often. Unknown: one copy; where the outcome of that is
        unknown too, it ends so.
        """
        reason = outcome.reason[:_MOST_REASON]
        if outcome.status == "sent" or outcome.status == "refused":
            return replace(self, status=outcome.status, reason=reason)
        if outcome.status == "unknown" and self.is_copy:
            return replace(self, status="unknown", reason=reason)
        wait_ms = min(_FIRST_WAIT_MS << min(self.attempts - 1, 16), _LONGEST_WAIT_MS)
        # A server that wants a year would lose the message.
        wait_ms = max(wait_ms, min(round(outcome.wait_s * SECOND_MS), _LONGEST_ASKED_MS))
        due_ms = now_ms + wait_ms
        is_copy = self.is_copy or outcome.status == "unknown"
        return replace(self, status="pending", is_copy=is_copy, due_ms=due_ms, reason=reason)

    def after_lease(self, now_ms: int) -> DeliveryState:
        """Return it as it is to be tried: an attempt whose process died ended as unknown.

        A lease that ends later than any lease does was taken by a clock that was ahead: it is over.
        """
        if self.status != "running" or 0 < self.due_ms - now_ms <= _LONGEST_LEASE_MS:
            return self
        died = Outcome("unknown", "its process ended during the attempt")
        return replace(self.settled(died, now_ms), due_ms=now_ms)

    def to_json(self) -> dict[str, Any]:
        """Return the plain mapping."""
        return dict(vars(self))

    @classmethod
    def parse(cls, stored: Mapping[str, Any]) -> DeliveryState:
        """Read it back; raises ``TypeError`` for what is none."""
        return cls(**stored)


@dataclass(frozen=True)
class AlertRun:
    """The events of one alert on one bar, and how far their delivery is: one row.

    ``(alert_id, bar_ms)`` is its key: the process that inserts it has claimed the bar for the alert. Of a
    schedule's report it is the number of the schedule, which no alert has, and the time that it is due.

    Attributes:
        alert_id, bar_ms: which alert and bar.
        recipient, channel: whom it is delivered to, and how.
        topic: the series, or what else it is about; runs of one topic, bar and recipient are one message.
        events: what happened, in order.
        delivery: how far it is.
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
        """Alert and bar as one text."""
        return f"{self.alert_id}-{self.bar_ms}"

    def is_due(self, now_ms: int) -> bool:
        """Return whether its message is to be tried now."""
        state = self.delivery.after_lease(now_ms)
        # A longer wait was begun by a clock that was ahead.
        is_over = not 0 < state.due_ms - now_ms <= _LONGEST_ASKED_MS
        return state.status == "pending" and is_over

    @property
    def message(self) -> tuple[object, ...]:
        """What runs of one message share: its number, or before the first attempt what makes them one."""
        if self.delivery.id:
            return (self.delivery.id,)
        return (self.channel, self.recipient, self.topic, self.bar_ms)

    def to_json(self) -> dict[str, Any]:
        """Return the plain mapping."""
        events = [event.to_json() for event in self.events]
        return vars(self) | {"events": events, "delivery": self.delivery.to_json()}

    @classmethod
    def parse(cls, stored: Mapping[str, Any]) -> AlertRun:
        """Read it back; raises ``KeyError`` or ``TypeError`` for what is none."""
        events = tuple(AlertEvent.parse(one) for one in stored["events"])
        delivery = DeliveryState.parse(stored["delivery"])
        return cls(**{**stored, "events": events, "delivery": delivery})


@dataclass(frozen=True)
class Delivery:
    """One message to one recipient.

    Attributes:
        id: the same for a copy.
        recipient, channel: to whom, and how.
        topic, bar_ms: of which series and bar it is.
        events: of all alerts on it, in the order of their numbers.
        is_copy: an earlier attempt may have arrived.
        attempt: its number, from 1.
        runs: the rows that it is made of.
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
        """The time from which on the process of the attempt counts as dead."""
        return min(run.delivery.due_ms for run in self.runs)

    @property
    def text(self) -> str:
        """The message: one line for each event; a copy begins with ``perhaps repeated``."""
        lines = [event.text for event in self.events]
        return "\n".join([*([f"(perhaps repeated: {self.id})"] if self.is_copy else ()), *lines])

    def to_json(self) -> dict[str, Any]:
        """Return the plain mapping, as a webhook gets it."""
        return {
            "id": self.id,
            "recipient": self.recipient,
            "topic": self.topic,
            "perhaps_repeated": self.is_copy,
            "text": self.text,
            "events": [event.to_json() for event in self.events],
        }


def next_delivery(runs: Iterable[AlertRun], now_ms: int, lease_ms: int) -> Delivery | None:
    """Return the message to try now, the oldest bar first; None where none is due.

    ``runs`` of the result have their new state, which must be stored before it is tried. A message keeps
    its runs from its first attempt on; one that is claimed later is another message. Runs that ended as
    unknown by the death of their process are in the result of :func:`overdue`.

    Args:
        runs: the open ones, of the channels that the caller delivers by.
        now_ms: the time.
        lease_ms: an attempt that is not settled after so long counts as one of a dead process.
    """
    messages: dict[tuple[object, ...], list[AlertRun]] = {}
    for run in runs:
        if run.is_due(now_ms):
            state = run.delivery.after_lease(now_ms)
            messages.setdefault(run.message, []).append(replace(run, delivery=state))
    if not messages:
        return None
    due = min(messages.values(), key=lambda own: min((run.bar_ms, run.alert_id) for run in own))
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
    """Return the runs whose last attempt's process died, and which end so, with their new state."""
    after = [replace(run, delivery=run.delivery.after_lease(now_ms)) for run in runs]
    return [run for run in after if run.delivery.status == "unknown"]


# --- the records that a job of alerts needs ------------------------------------------------


class StoredAlert(NamedTuple):
    """An alert with its state; None before its first evaluation, and after it was changed."""

    alert: Alert
    state: AlertState | None


class Beat(NamedTuple):
    """The last run of the job of alerts: when it ended, and by when the next one is due."""

    at_ms: int
    due_ms: int

    def is_ahead(self, now_ms: int) -> bool:
        """Return whether it is further ahead than its own interval.

        The clock that stored it was wrong, so it counts as past.
        """
        return self.at_ms - now_ms > self.due_ms - self.at_ms


class DueReport(NamedTuple):
    """A report of a schedule that is due.

    Attributes:
        id: number of the schedule's record.
        recipient, channel: whom it is delivered to, and how.
        cron: its times, as ``Cron.parse`` of ``model.cron`` reads them.
        report: what is reported, as the channel's program understands it.
        due_ms: the first time that nothing was sent for.
    """

    id: int
    recipient: str
    channel: str
    cron: str
    report: str
    due_ms: int


# Of a report that is due, and the time: its run, and when the next is due (None: never).
NextReport = Callable[[DueReport, int], tuple[AlertRun, int | None]]


class EvaluatedAlert(NamedTuple):
    """An evaluation to store: the state that it began with, the state it came to, the runs it claims."""

    alert: Alert
    before: AlertState | None
    after: AlertState
    runs: Sequence[AlertRun] = ()


class AlertRecords(Protocol):
    """Where alerts are kept. Every method is one transaction; thread-safe; no request inside.

    Rows: alerts in ``job_schedules`` (``job_type`` ``alert``; the state in ``state_json``), runs in
    ``job_schedule_runs`` (``job_type`` ``alert``, ``job_id`` the alert's, ``scheduled_for`` the bar's
    stamp), whose unique key is the claim.
    """

    def active_alerts(self) -> Sequence[StoredAlert]:
        """Return the alerts that are enabled, by number."""

    def store(self, evaluated: Sequence[EvaluatedAlert]) -> Sequence[bool]:
        """Store evaluations, each with state and claimed runs together; return which were still due.

        One is not where the stored state is no longer ``before`` (compare ``serial``; None: none is stored),
        or the alert is no longer enabled or was changed since (``since_ms``): nothing of it is stored. A run
        whose key exists is left as it is. An ``after`` that is ``done`` disables the alert.
        """

    def claim_reports(
        self, channels: Collection[str], now_ms: int, decide: NextReport
    ) -> Sequence[AlertRun]:
        """Claim the runs of schedules of these channels whose reports are due; return those claimed.

        For each, run and next time are stored together, once over all processes. A run before it that is
        still to deliver, and surely did not arrive, ends: the newer one takes its place.
        """

    def take_delivery(
        self, channels: Collection[str], now_ms: int, lease_ms: int
    ) -> Delivery | None:
        """Return the message to try now; see :func:`next_delivery`.

        In one transaction the open runs of the channels are locked, those of :func:`overdue` and of the
        result are stored as they have become.
        """

    def settle_delivery(self, delivery: Delivery, outcome: Outcome, now_ms: int) -> None:
        """Store how an attempt ended (:meth:`DeliveryState.settled`), in each of its runs.

        Runs that have another attempt by now (``attempts``), or ended, stay as they are. Where
        ``is_blocked``, every alert of that recipient and channel is disabled with the reason, and their
        other open runs are refused with it.
        """

    def open_runs(self) -> Sequence[AlertRun]:
        """Return the runs whose delivery has not ended, by bar."""

    def beat(self, beat: Beat) -> None:
        """Store that the job ran; an older beat replaces a newer one only if that :meth:`Beat.is_ahead`."""

    def last_beat(self) -> Beat | None:
        """Return when the job ran last; None: never."""


class ListedAlert(NamedTuple):
    """An alert with its state, active or not; ``reason``: why it is not, where that is stored."""

    alert: Alert
    state: AlertState | None
    is_active: bool
    reason: str = ""


class AlertBook(AlertRecords, Protocol):
    """The same, for programs that make, list and remove alerts."""

    def add_alert(
        self, recipient: str, config: Mapping[str, Any], rearm: Any, since_ms: int
    ) -> Alert:
        """Store a new alert; ``config`` and ``rearm`` as :meth:`Alert.parse` reads them.

        Raises:
            QueryError: they are wrong, or the recipient has as many as are allowed; nothing is stored.
        """

    def list_alerts(self, recipient: str) -> Sequence[ListedAlert]:
        """Return all alerts of a recipient, by number."""

    def remove_alert(self, recipient: str, id: int) -> bool:
        """Remove an alert of a recipient; False: there is none. What has fired is still delivered."""
