"""Alerts as values: conditions, their states, events, and the outcomes of deliveries. Pure.

All classes can be converted to and from plain JSON values (``to_json``, ``parse``), so that any
database can store them. Instants are UTC milliseconds.

How an alert becomes a delivered message::

    Alert + AlertState + closed bars   ->  AlertState + AlertEvents  (jobs/alert_evaluator.py)
    the events of one alert on one bar  =  AlertRun       (one row, whose key is the claim)
    a schedule's report that is due     =  AlertRun       (jobs/due_runs.py)
    open runs of one recipient on a bar =  Delivery       (one message; next_delivery)
    Delivery + Outcome                 ->  DeliveryState  (stored in each run)

To add a kind of alert, write its class, add the class to :data:`KINDS`, and describe the kind in
``docs/alerts.md``. The command, storing, listing, evaluation and messages need nothing else::

    class VolumeAbove(CrossingAlert):
        kind = "volume_above"
        keys = ("volume_above",)
        option = ("SHARES", "watch for a volume of more than SHARES")

        @classmethod
        def _read(cls, config: Mapping[str, Any]) -> dict[str, Any]:
            shares = _number(config, "volume_above", None, 0.0, math.inf)
            return {"quantity": "volume", "condition": "above", "value": shares}

        def _own(self) -> dict[str, Any]:
            return {"volume_above": self.value}

:class:`Alert` explains the attributes. A subclass of :class:`CrossingAlert` watches a quantity of
closed bars cross a value; if the quantity is not an indicator yet, add a row to
``prices/indicators.py``. A subclass of :class:`DataAlert` watches the data. Any other class
is refused.

To add a problem with the data to those that a :class:`DataAlert` can watch:

1. Add a row to :data:`DATA_PROBLEMS`: its name, whether it can end, and the sentence about it. The
   command, storing, evaluation and messages need nothing else.
2. Report it with :func:`data_problem` in ``jobs/alert_bars.py``, which finds the problems.
3. Describe it in ``docs/alerts.md``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, get_args

from ..errors import QueryError
from ..model.instant import DAY_MS, MINUTE_MS, SECOND_MS, iso, parse_iso
from ..model.outcome import Outcome
from ..model.suggestion import check_names, did_you_mean
from ..model.texts import plain_number
from ..model.timeframe import Timeframe

__all__ = [
    "CONDITIONS",
    "DATA_PROBLEMS",
    "KINDS",
    "LIFETIME_MS",
    "LOCAL",
    "Alert",
    "AlertBook",
    "AlertEvent",
    "AlertRecords",
    "AlertRun",
    "AlertState",
    "Beat",
    "CrossingAlert",
    "CustomAlert",
    "DataAlert",
    "DataProblem",
    "Delivery",
    "DeliveryState",
    "DueReport",
    "IndicatorAlert",
    "ListedAlert",
    "NextReport",
    "PriceAlert",
    "Rearm",
    "StoredAlert",
    "alert_keys",
    "data_problem",
    "kind_of",
    "next_delivery",
    "overdue",
]

Condition = Literal["above", "below"]
CONDITIONS: tuple[Condition, ...] = get_args(Condition)
# Channel through which the command line delivers, and the name of its only recipient.
LOCAL = "local"
# Time after which an alert without an expiry of its own expires.
LIFETIME_MS = 90 * DAY_MS
_USUAL_TIMEFRAME = "15m"
_MOST_MINUTES = 366 * 24 * 60
_MOST_BARS = 1_000
_MOST_TEXT = 64
_EVERYTHING = "*"


# --- problems with the data ---------------------------------------------------------------


class DataProblem(NamedTuple):
    """A kind of problem with the data.

    Attributes:
        can_end: Whether a problem of this kind can end, and is reported again if it recurs. All
            others are single incidents, each of which is reported once.
        text: The sentence about a problem, with a name in braces for each of its facts.
    """

    can_end: bool
    text: str


DATA_PROBLEMS: Mapping[str, DataProblem] = {
    "stale": DataProblem(True, "{series} is stale: {bars} bars are missing since {newest}"),
    "gap": DataProblem(False, "{series} has a gap from {start} to {end}: {reason}"),
    "grave": DataProblem(False, "{series}: the bar {bar} is {reason}"),
    "quality": DataProblem(
        False, "{series}: quality {score:.2f} is below {minimum:.2f}: {findings}"
    ),
    "key": DataProblem(False, "{vendor} rejected the key for {request} ({outcome})"),
    "perishes": DataProblem(
        True,
        "{data}: {vendor} begins to drop the data after {last} on {lost}; `{command}` fetches it",
    ),
    "shape": DataProblem(False, "{vendor} changed the format of its responses ({endpoint})"),
}


def data_problem(name: str, series: str, *parts: str, **facts: Any) -> tuple[str, str]:
    """Return the key that identifies a problem with the data, and the sentence about it.

    Args:
        name: A name from :data:`DATA_PROBLEMS`.
        series: Symbol and timeframe; empty if the problem is not about one series.
        parts: What identifies the problem within its series, such as the start of a gap.
        facts: The facts in the sentence other than ``series``.

    Raises:
        KeyError: The name is not in the table, or a fact of its sentence is missing.
    """
    text = DATA_PROBLEMS[name].text.format(series=series, **facts)
    return ":".join((name, series, *parts)), text


# --- alerts -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rearm:
    """Defines when an alert may fire again, and how long its condition must hold before it fires.

    Attributes:
        hysteresis: Distance by which the value must move back past the threshold before the alert
            can fire again; 0 means that it only needs to reach the threshold.
        hysteresis_type: Unit of ``hysteresis``: ``fixed`` for the unit of the value, ``percentage``
            for percent of the threshold.
        cooldown_minutes: Minimum time between the closing times of two bars on which the alert
            fires.
        persistence_bars: Number of consecutive closed bars beyond the threshold needed to fire.
    """

    hysteresis: float = 0.0
    hysteresis_type: Literal["fixed", "percentage"] = "fixed"
    cooldown_minutes: float = 0.0
    persistence_bars: int = 1

    @classmethod
    def parse(cls, config: Any) -> Rearm:
        """Parse a ``re_arm_config``; missing keys get their default values.

        Raises:
            QueryError: The value is not an object, has an unknown key, or contains an invalid
                value.
        """
        _check_keys(config, cls.__dataclass_fields__, "re_arm_config")
        kind = config.get("hysteresis_type", "fixed")
        if kind not in ("fixed", "percentage"):
            raise _wrong("hysteresis_type", kind, "fixed or percentage")
        bars = _number(config, "persistence_bars", 1.0, 1.0, _MOST_BARS)
        if bars != int(bars):
            raise QueryError(
                f"persistence_bars must be an integer, not {bars:g}",
                hint=f"use an integer from 1 to {_MOST_BARS:,}",
            )
        return cls(
            _number(config, "hysteresis", 0.0, 0.0, math.inf),
            kind,
            _number(config, "cooldown_minutes", 0.0, 0.0, _MOST_MINUTES),
            int(bars),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the JSON-compatible dictionary that :meth:`parse` reads."""
        return asdict(self)


@dataclass(frozen=True)
class Alert(ABC):
    """An alert: the series to watch, the recipient, and the time from which it applies.

    Each kind of alert is a subclass of :class:`CrossingAlert` or :class:`DataAlert`, which are the
    two families that the alert job evaluates, and is listed in :data:`KINDS`. A subclass that the
    job would never evaluate raises ``TypeError``.

    Attributes:
        kind: Name of the kind, which is ``alert_type`` in a configuration.
        keys: The kind's own keys in a configuration.
        option: Placeholder and help text for the option of ``onetape alerts add`` that has the name
            of the first key. In a configuration without an ``alert_type``, this key selects the
            kind. None if the first key selects nothing.
        threshold: Key that the command's VALUE fills; the command takes no VALUE if this is not one
            of the keys, or if the kind's option fills it.
        may_be_of_all: Whether an alert can be about all series for which its recipient has alerts;
            ``symbol`` and ``timeframe`` are then ``*``.
        id: ID of the alert record.
        recipient: Person or account that receives the events, under the name that the channel uses.
        symbol, timeframe: Series to watch.
        since_ms: Time at which the alert was created or last changed; a bar that had closed by then
            never makes it fire.
        expires_ms: Time after which the alert no longer fires, compared with the closing time of
            the bar.
        channel: Means of delivery: ``local`` (command line) or ``telegram`` (a bot).
    """

    kind: ClassVar[str]
    keys: ClassVar[tuple[str, ...]]
    option: ClassVar[tuple[str, str] | None] = None
    threshold: ClassVar[str] = ""
    may_be_of_all: ClassVar[bool] = False

    id: int
    recipient: str
    symbol: str
    timeframe: str
    since_ms: int = 0
    expires_ms: int = LIFETIME_MS
    channel: str = LOCAL

    def __init_subclass__(cls, *, is_family: bool = False) -> None:
        super().__init_subclass__()
        if Alert in cls.__bases__ and not is_family:
            raise TypeError(
                f"{cls.__name__} must be a subclass of CrossingAlert or DataAlert: the alert job "
                "evaluates no other alerts"
            )

    @staticmethod
    def parse(config: Any, *, id: int, recipient: str, since_ms: int, rearm: Any = None) -> Alert:
        """Parse an alert of any kind from its stored form or from a user's input.

        Args:
            config: Mapping with the keys ``ticker``, ``timeframe`` (default ``15m``),
                ``alert_type`` (default: inferred from the other keys), ``alert_action`` (the
                channel, default ``local``), ``email`` (for the program that delivers) and
                ``expires`` (ISO, UTC; default 90 days after ``since_ms``), and the ``keys`` of the
                kind.
            id, recipient, since_ms: See the attributes.
            rearm: The ``re_arm_config``, or None.

        Raises:
            QueryError: The alert is not an object, has an unknown key, or contains an invalid
                value, such as the condition ``abvoe`` or a price that is not a number above 0.
        """
        _check_keys(config, alert_keys(), "an alert")
        name = config.get("alert_type") or kind_of(config).kind
        kind = KINDS[_one_of("alert_type", name, tuple(KINDS))]
        expires = _instant(config.get("expires"), since_ms + LIFETIME_MS)
        if expires <= since_ms:
            raise _wrong("expires", config.get("expires"), "a time after the alert is created")
        own = kind._read(config)
        series = (_EVERYTHING, _EVERYTHING)
        if not kind.may_be_of_all or config.get("ticker", _EVERYTHING) != _EVERYTHING:
            timeframe = config.get("timeframe") or _USUAL_TIMEFRAME
            series = _text(config, "ticker"), Timeframe.parse(timeframe).label
        again = None if rearm is None else Rearm.parse(rearm)
        if issubclass(kind, CrossingAlert):
            own["rearm"] = again
        channel = _text(config, "alert_action", LOCAL)
        return kind(id, str(recipient), *series, since_ms, expires, channel, **own)

    @classmethod
    @abstractmethod
    def _read(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values of the kind's own attributes from a configuration."""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON-compatible dictionary that :meth:`parse` reads as ``config``."""
        shared = {"alert_type": self.kind, "ticker": self.symbol, "timeframe": self.timeframe}
        shared |= {"alert_action": self.channel, "expires": iso(self.expires_ms)}
        return shared | self._own()

    @abstractmethod
    def _own(self) -> dict[str, Any]:
        """Return the kind's own keys with their values."""

    @property
    def is_of_all(self) -> bool:
        """Whether this alert is about all series for which its recipient has alerts."""
        return self.may_be_of_all and self.symbol == _EVERYTHING

    @property
    def series(self) -> str:
        """Symbol and timeframe as text.

        A recipient's alerts with the same text and the same bar share a message.
        """
        return self.symbol if self.is_of_all else f"{self.symbol} {self.timeframe}"


@dataclass(frozen=True)
class CrossingAlert(Alert, is_family=True):
    """An alert that fires when an indicator of closed bars crosses a value.

    Prices in the alert are adjusted for splits, like the bars.

    Attributes:
        quantity: Indicator to watch, such as ``close`` or ``rsi(14)``; see ``prices.indicators``.
        condition, value: The alert fires when the quantity of a closed bar crosses ``value``
            upwards (``above``) or downwards (``below``).
        rearm: Conditions under which the alert fires again; None means that it fires once and ends.
    """

    threshold = "value"
    quantity: str = "close"
    condition: Condition = "above"
    value: float = 0.0
    rearm: Rearm | None = None

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.may_be_of_all:
            raise TypeError(
                f"{cls.__name__} cannot be about all series: a CrossingAlert watches the bars of one"
            )

    @classmethod
    def _read(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        """See the base class."""
        return {"condition": _one_of("condition", config.get("condition"), CONDITIONS)}

    def __str__(self) -> str:
        return f"{self.series} {self.quantity} {self.condition} {plain_number(self.value)}"


@dataclass(frozen=True)
class PriceAlert(CrossingAlert):
    """An alert on the close price."""

    kind = "price"
    keys = ("price", "condition")
    threshold = "price"
    quantity: str = field(default="close", init=False)

    @classmethod
    def _read(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        """See the base class."""
        read, least = super()._read(config), math.nextafter(0.0, 1.0)
        return read | {"value": _number(config, "price", None, least, math.inf)}

    def _own(self) -> dict[str, Any]:
        return {"price": self.value, "condition": self.condition}


class IndicatorAlert(CrossingAlert):
    """An alert on one of the built-in indicators."""

    kind = "indicator"
    keys = ("indicator", "value", "condition")
    option: ClassVar[tuple[str, str] | None] = (
        "NAME",
        "watch this instead of the close: change, sma(50), rsi(14), volume",
    )

    @classmethod
    def _read(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        """See the base class."""
        read = super()._read(config)
        value = _number(config, "value", None, -math.inf, math.inf)
        return read | {"value": value, "quantity": _text(config, "indicator")}

    def _own(self) -> dict[str, Any]:
        return {"indicator": self.quantity, "value": self.value, "condition": self.condition}


class CustomAlert(IndicatorAlert):
    """An alert on an indicator that user code registers, perhaps only in some of its programs."""

    kind = "custom"
    option = None


@dataclass(frozen=True)
class DataAlert(Alert, is_family=True):
    """An alert about the bars themselves.

    Attributes:
        problem: Problem to report: a name from :data:`DATA_PROBLEMS`.
    """

    kind = "data"
    keys = ("problem",)
    option = ("NAME", f"watch for a data problem: {', '.join(DATA_PROBLEMS)}")
    may_be_of_all = True
    problem: str = field(kw_only=True)

    @classmethod
    def _read(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        """See the base class."""
        return {"problem": _one_of("problem", config.get("problem"), tuple(DATA_PROBLEMS))}

    def _own(self) -> dict[str, Any]:
        return {"problem": self.problem}

    def __str__(self) -> str:
        return f"{self.series}: {self.problem}"


KINDS: Mapping[str, type[Alert]] = {
    one.kind: one for one in (PriceAlert, IndicatorAlert, CustomAlert, DataAlert)
}


@cache
def alert_keys() -> tuple[str, ...]:
    """Return the keys of a configuration. All of them but ``email`` are stored."""
    own = dict.fromkeys(key for kind in KINDS.values() for key in kind.keys)
    return "alert_type", "ticker", "timeframe", *own, "alert_action", "email", "expires"


def kind_of(given: Container[str]) -> type[Alert]:
    """Return the kind that is selected by the keys in a configuration without an ``alert_type``."""
    chosen = [kind for kind in KINDS.values() if kind.option and kind.keys[0] in given]
    return chosen[-1] if chosen else PriceAlert


def _check_keys(config: Any, allowed: Collection[str], what: str) -> None:
    if not isinstance(config, Mapping):
        raise QueryError(f"{what} must be a JSON object, not {config!r:.80}")
    check_names(config, allowed, what)


def _one_of(name: str, value: Any, words: Sequence[str]) -> str:
    if value not in words:
        hint = f"one of {', '.join(words)}. {did_you_mean(str(value), words)}".rstrip(". ")
        raise _wrong(name, value, hint)
    return str(value)


def _wrong(name: str, value: Any, bound: str) -> QueryError:
    return QueryError(f"{name} {value!r:.80} is not valid", hint=f"it must be {bound}")


def _text(config: Mapping[str, Any], name: str, usual: str | None = None) -> str:
    value = config.get(name, usual)
    if not isinstance(value, str) or not value.strip() or len(value) > _MOST_TEXT:
        raise _wrong(name, value, f"a string of 1 to {_MOST_TEXT} characters")
    if not value.isprintable():
        raise _wrong(name, value, "a string without control characters")
    return value.strip()


def _number(
    config: Mapping[str, Any], name: str, usual: float | None, least: float, most: float
) -> float:
    """Return the number under ``name`` in a configuration, or ``usual`` if it is missing.

    A value that is not a finite number from ``least`` to ``most`` raises ``QueryError``.
    """
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


# --- states and events ---------------------------------------------------------------------

Phase = Literal["new", "armed", "waiting", "done"]
_PHASES: tuple[Phase, ...] = get_args(Phase)


@dataclass(frozen=True)
class AlertState:
    """An alert's state, which is kept from bar to bar; it contains only JSON values.

    Attributes:
        serial: Number of evaluations stored so far, which prevents two processes from both storing
            the next one.
        phase: ``new``: no value seen yet; ``armed``: fires at the next crossing; ``waiting``: the
            value is beyond the threshold, or the alert has fired, and the value must move back
            first; ``done``: never fires again.
        seen_ms: Opening time of the last closed bar that has been seen; None if no bar has been
            seen.
        beyond: Number of consecutive bars beyond the threshold, up to the last one seen.
        fired_ms: Closing time of the bar on which the alert last fired; None if it has never fired.
        scale: New shares per old share, over all splits since the threshold was set. Prices are
            compared with the threshold divided by this number.
        rebased: Factor by which a vendor has restated prices already seen, without reporting a
            split; 1 if it has not restated any.
        marks: Opening times and close prices of the last bars seen, used to detect changed prices.
        splits: Ex-dates (00:00 UTC) and ratios of the splits that ``scale`` already includes, or
            that predate the threshold.
        withheld: Reason why the last bar was not used; empty if the bar was used.
        problems: Data problems that have been reported and still exist.
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
        """Return a JSON-compatible dictionary."""
        pairs = {name: [list(pair) for pair in getattr(self, name)] for name in ("marks", "splits")}
        return vars(self) | pairs | {"problems": list(self.problems)}

    @classmethod
    def parse(cls, stored: Any) -> AlertState:
        """Parse a stored state.

        Raises:
            QueryError: The value is not an alert's state, or is from another version.
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
            raise QueryError(f"the stored state of the alert is damaged: {stored!r:.80}")
        return state


EventName = Literal[
    "fired", "beyond", "withheld", "moved", "rebased", "expired", "data", "silent", "failed", "due"
]


@dataclass(frozen=True)
class AlertEvent:
    """An event to report to an alert's recipient; it contains only JSON values.

    Attributes:
        alert_id: ID of the alert.
        name: ``fired``; ``beyond``: the value is already beyond the threshold when the alert is
            created, which does not fire it; ``withheld``: a bar was not used; ``moved``: a split
            moved the threshold; ``rebased``: prices changed without a reported split; ``expired``;
            ``data``: a problem with the data; ``silent``: the job did not run for a while;
            ``failed``: the alert could not be evaluated; ``due``: a schedule's report is due (the
            topic of the run is the report to send).
        bar_ms: Opening time of the bar; for events that are not about a bar, the time of the event.
        at_ms: Closing time of the bar, or the time of the event.
        text: One sentence for the recipient, with the bar's time (UTC).
        value, threshold: The two numbers that were compared, adjusted like the bars; None if no
            numbers were compared.
    """

    alert_id: int
    name: EventName
    bar_ms: int
    at_ms: int
    text: str
    value: float | None = None
    threshold: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-compatible dictionary."""
        return dict(vars(self))

    @classmethod
    def parse(cls, stored: Mapping[str, Any]) -> AlertEvent:
        """Parse a stored event; raises ``TypeError`` if the value is not one."""
        return cls(**stored)


# --- deliveries ----------------------------------------------------------------------------

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
        events = tuple(AlertEvent.parse(one) for one in stored["events"])
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
    """Return the runs whose delivery ends as unknown because the process sending their copy died."""
    after = [replace(run, delivery=run.delivery.after_lease(now_ms)) for run in runs]
    return [run for run in after if run.delivery.status == "unknown"]


# --- the storage that the alert job needs ---------------------------------------------------


class StoredAlert(NamedTuple):
    """An alert with its state.

    The state is None before the first evaluation, and after the alert was changed.
    """

    alert: Alert
    state: AlertState | None


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

    def store(self, evaluated: Sequence[EvaluatedAlert]) -> Sequence[bool]:
        """Store evaluations, each with the new state and the claimed runs; return whether each was stored.

        An evaluation is not stored if the stored state is no longer ``before`` (compare ``serial``;
        None means that no state is stored), or if the alert has been disabled or changed since
        (compare ``since_ms``). A run whose key is already stored is left unchanged. If the phase in
        ``after`` is ``done``, the alert is disabled.
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
        """Return the message to send now; see :func:`next_delivery`.

        In one transaction, this locks the open runs for the channels, and stores the new states of
        the runs in the result and of those that :func:`overdue` returns.
        """

    def settle_delivery(self, delivery: Delivery, outcome: Outcome, now_ms: int) -> None:
        """Store the outcome of an attempt (:meth:`DeliveryState.settled`) in each of its runs.

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
