"""Alerts as values: conditions, their states, and events. Pure.

All classes can be converted to and from plain JSON values (``to_json``, ``parse``), so that any
database can store them. Instants are UTC milliseconds.

How an alert becomes a delivered message::

    Alert + AlertState + closed bars   ->  AlertState + AlertEvents  (jobs/alert_evaluator.py)
    the events of one alert on one bar  =  AlertRun       (one row, whose key is the claim)
    a schedule's report that is due     =  AlertRun       (jobs/due_runs.py)
    open runs of one recipient on a bar =  Delivery       (one message; jobs/alert_deliveries.py)
    Delivery + Outcome                 ->  DeliveryState  (stored in each run; jobs/alert_book.py)

To add a kind of alert:

1. Write its class, and add the class to :data:`KINDS`. It goes into ``__all__`` only if another module
   uses it. The command, storing, listing, evaluation and messages need nothing else.
2. Describe the kind in ``docs/alerts.md`` under "Kinds of alerts": a row with its type, keys and
   option, such as ``--volume-above``.
3. Write its stored form by hand into ``test_each_kind_is_stored_in_its_documented_form``
   (``tests/cli/test_alert_kinds.py``). The tests in that file fail until then.
4. If the kind has an option, make a new snapshot of the public names:
   ``python -m tests.contract.public_names > tests/contract/public_names.txt``.
5. Add a line to ``CHANGELOG.md``.

An example of such a class::

    class VolumeAbove(CrossingAlert):
        kind = "volume_above"
        keys = ("volume_above",)
        option = ("SHARES", "watch for a volume of more than SHARES")

        @classmethod
        def parse_own(cls, config: Mapping[str, Any]) -> dict[str, Any]:
            shares = _number(config, "volume_above", None, 0.0, math.inf)
            return {"quantity": "volume", "condition": "above", "value": shares}

        def own_json(self) -> dict[str, Any]:
            return {"volume_above": self.value}

:class:`Alert` explains the attributes. About the class:

- A subclass of :class:`CrossingAlert` watches a quantity of closed bars cross a value. If the
  quantity is not an indicator yet, add a row to ``prices/indicators.py``.
- A subclass of :class:`DataAlert` watches the data.
- Any other class is refused, because no job would evaluate it. A third family is declared with
  ``is_family=True``, as these two are; :meth:`Alert.parse` passes ``rearm`` only to a
  :class:`CrossingAlert`. It would need a function
  that decides and, if it reads bars, their number (as ``evaluate`` and ``bars_needed`` in
  ``jobs/alert_evaluator.py``), and a branch in ``AlertJob._evaluate_all`` (``jobs/alerts.py``). The
  command only distinguishes a :class:`CrossingAlert` from any other alert, in ``_evaluate_first`` and
  ``_rearm`` (``cli/alerts.py``).
- If it declares fields of its own, decorate it with ``@dataclass(frozen=True)``, and give each of
  these fields a default or ``kw_only=True``. Otherwise, it needs no decorator.

To add a problem with the data to those that a :class:`DataAlert` can watch:

1. Add a row to :data:`DATA_PROBLEMS`: its name, whether it can end, and the sentence about it. The
   command, storing, evaluation and messages need nothing else.
2. Report it with :func:`data_problem` in ``jobs/alert_bars.py``: in ``_problems`` if the provenance
   of an answer shows it, in ``ClientBars.hear``, through ``_note``, if an event shows it, and otherwise in
   ``ClientBars.other_problems``. Its ``parts`` decide how often it is reported: with a day in them,
   once a day.
3. Describe it in ``docs/alerts.md`` under "Alerts about data", in the order of the table.
4. Write its key and sentence by hand into
   ``test_each_problem_has_its_documented_name_key_and_sentence``
   (``tests/jobs/test_alert_evaluator.py``), which fails until then.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any, ClassVar, Literal, NamedTuple, get_args

from ..errors import QueryError
from ..model.instant import DAY_MS, iso, parse_iso
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
    "AlertEvent",
    "AlertState",
    "CrossingAlert",
    "CustomAlert",
    "DataAlert",
    "DataProblem",
    "IndicatorAlert",
    "PriceAlert",
    "Rearm",
    "StoredAlert",
    "alert_keys",
    "data_problem",
    "kind_of",
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


def can_problem_end(key: str) -> bool:
    """Return whether the problem with this key (see :func:`data_problem`) can end."""
    # A stored key can be from a version that has other problems.
    problem = DATA_PROBLEMS.get(key.partition(":")[0])
    return problem is not None and problem.can_end


def is_problem_of(alert: DataAlert, key: str) -> bool:
    """Return whether an alert watches the problem with this key (see :func:`data_problem`)."""
    name, _, rest = key.partition(":")
    # A symbol may contain a colon.
    is_own = alert.is_of_all or f"{rest}:".startswith(f"{alert.series}:")
    return name == alert.problem and is_own


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
        hysteresis_type = config.get("hysteresis_type", "fixed")
        if hysteresis_type not in ("fixed", "percentage"):
            raise _error("hysteresis_type", hysteresis_type, "fixed or percentage")
        bars = _number(config, "persistence_bars", 1.0, 1.0, _MOST_BARS)
        if bars != int(bars):
            raise QueryError(
                f"persistence_bars must be an integer, not {bars:g}",
                hint=f"use an integer from 1 to {_MOST_BARS:,}",
            )
        return cls(
            _number(config, "hysteresis", 0.0, 0.0, math.inf),
            hysteresis_type,
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
    job would never evaluate raises ``TypeError``. The row in which an alert is stored is another
    class, ``onetape.data.db.models.Alert``.

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
        alert_type = KINDS[_checked_word("alert_type", name, tuple(KINDS))]
        expires = _instant(config.get("expires"), since_ms + LIFETIME_MS)
        if expires <= since_ms:
            raise _error("expires", config.get("expires"), "a time after the alert is created")
        options = alert_type.parse_own(config)
        series = (_EVERYTHING, _EVERYTHING)
        if not alert_type.may_be_of_all or config.get("ticker", _EVERYTHING) != _EVERYTHING:
            timeframe = config.get("timeframe") or _USUAL_TIMEFRAME
            series = _text(config, "ticker"), Timeframe.parse(timeframe).label
        again = None if rearm is None else Rearm.parse(rearm)
        if issubclass(alert_type, CrossingAlert):
            options["rearm"] = again
        channel = _text(config, "alert_action", LOCAL)
        return alert_type(id, str(recipient), *series, since_ms, expires, channel, **options)

    @classmethod
    @abstractmethod
    def parse_own(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values of the kind's own attributes from a configuration."""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON-compatible dictionary that :meth:`parse` reads as ``config``."""
        shared = {"alert_type": self.kind, "ticker": self.symbol, "timeframe": self.timeframe}
        shared |= {"alert_action": self.channel, "expires": iso(self.expires_ms)}
        return shared | self.own_json()

    @abstractmethod
    def own_json(self) -> dict[str, Any]:
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
        may_be_unregistered: Whether the job of a program in which the indicator is not registered
            leaves the alert to other programs. The alerts of all other kinds then fail.
    """

    threshold = "value"
    may_be_unregistered: ClassVar[bool] = False
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
    def parse_own(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        """See the base class."""
        return {"condition": _checked_word("condition", config.get("condition"), CONDITIONS)}

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
    def parse_own(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        """See the base class."""
        read, least = super().parse_own(config), math.nextafter(0.0, 1.0)
        return read | {"value": _number(config, "price", None, least, math.inf)}

    def own_json(self) -> dict[str, Any]:
        """See the base class."""
        return {"price": self.value, "condition": self.condition}


class IndicatorAlert(CrossingAlert):
    """An alert on one of the built-in indicators."""

    kind = "indicator"
    keys = ("indicator", "value", "condition")
    # The type allows None, which `CustomAlert` sets.
    option: ClassVar[tuple[str, str] | None] = (
        "NAME",
        "watch this instead of the close: change, sma(50), rsi(14), volume",
    )

    @classmethod
    def parse_own(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        """See the base class."""
        read = super().parse_own(config)
        value = _number(config, "value", None, -math.inf, math.inf)
        return read | {"value": value, "quantity": _text(config, "indicator")}

    def own_json(self) -> dict[str, Any]:
        """See the base class."""
        return {"indicator": self.quantity, "value": self.value, "condition": self.condition}


class CustomAlert(IndicatorAlert):
    """An alert on an indicator that user code registers, perhaps only in some of its programs."""

    kind = "custom"
    option = None
    may_be_unregistered = True


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
    def parse_own(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        """See the base class."""
        return {"problem": _checked_word("problem", config.get("problem"), tuple(DATA_PROBLEMS))}

    def own_json(self) -> dict[str, Any]:
        """See the base class."""
        return {"problem": self.problem}

    def __str__(self) -> str:
        return f"{self.series}: {self.problem}"


KINDS: Mapping[str, type[Alert]] = {
    kind.kind: kind for kind in (PriceAlert, IndicatorAlert, CustomAlert, DataAlert)
}


@cache
def alert_keys() -> tuple[str, ...]:
    """Return the keys of a configuration. All of them but ``email`` are stored."""
    kind_keys = dict.fromkeys(key for kind in KINDS.values() for key in kind.keys)
    return "alert_type", "ticker", "timeframe", *kind_keys, "alert_action", "email", "expires"


def kind_of(given: Container[str]) -> type[Alert]:
    """Return the kind that is selected by the keys in a configuration without an ``alert_type``.

    If keys of several kinds are given, the last of these kinds in :data:`KINDS` is selected.
    """
    chosen = [each for each in KINDS.values() if each.option and each.keys[0] in given]
    return chosen[-1] if chosen else PriceAlert


def _check_keys(config: Any, allowed: Collection[str], what: str) -> None:
    if not isinstance(config, Mapping):
        raise QueryError(f"{what} must be a JSON object, not {config!r:.80}")
    check_names(config, allowed, what)


def _checked_word(name: str, value: Any, words: Sequence[str]) -> str:
    if value not in words:
        hint = f"one of {', '.join(words)}. {did_you_mean(str(value), words)}".rstrip(". ")
        raise _error(name, value, hint)
    return str(value)


def _error(name: str, value: Any, bound: str) -> QueryError:
    return QueryError(f"{name} {value!r:.80} is not valid", hint=f"it must be {bound}")


def _text(config: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = config.get(name, default)
    if not isinstance(value, str) or not value.strip() or len(value) > _MOST_TEXT:
        raise _error(name, value, f"a string of 1 to {_MOST_TEXT} characters")
    if not value.isprintable():
        raise _error(name, value, "a string without control characters")
    return value.strip()


def _number(
    config: Mapping[str, Any], name: str, default: float | None, least: float, most: float
) -> float:
    """Return the number under ``name`` in a configuration, or ``usual`` if it is missing.

    A value that is not a finite number from ``least`` to ``most`` raises ``QueryError``.
    """
    value = config.get(name, default)
    is_number = not isinstance(value, bool) and isinstance(value, int | float | str)
    try:
        number = float(value) if is_number and value is not None else math.nan
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and least <= number <= most):
        at_least = "above 0" if 0 < least < 1 else f"from {least:g}"
        bound = "" if least == -math.inf else f" {at_least}"
        raise _error(name, value, f"a number{bound}" + (f" to {most:g}" if most < math.inf else ""))
    return number


def _instant(text: Any, default_ms: int) -> int:
    if text is None:
        return default_ms
    try:
        return parse_iso(text)
    except (TypeError, ValueError, OverflowError):
        raise _error("expires", text, "an ISO time such as 2030-01-31T16:00:00Z") from None


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
        withheld: Reason why the last bar was not used, or the time since which bars wait for an
            answer about earlier ones; empty if the bar was used and none wait.
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


class StoredAlert(NamedTuple):
    """An alert with its state.

    The state is None before the first evaluation, and after the alert was changed.
    """

    alert: Alert
    state: AlertState | None


EventName = Literal[
    "fired", "beyond", "withheld", "moved", "rebased", "expired", "data", "silent", "failed", "due"
]


@dataclass(frozen=True)
class AlertEvent:
    """An event to report to an alert's recipient; it contains only JSON values.

    Attributes:
        alert_id: ID of the alert.
        name: ``fired``; ``beyond``: the value is already beyond the threshold when the alert is
            created, which does not fire it; ``withheld``: a bar was not used, or is missing;
            ``moved``: a split moved the threshold; ``rebased``: prices changed without a reported
            split; ``expired``; ``data``: a problem with the data; ``silent``: the job did not run
            for a while; ``failed``: the alert could not be evaluated; ``due``: a schedule's report
            is due (the topic of the run is the report to send).
        bar_ms: Opening time of the bar; for events that are not about a bar, the time of the event;
            for ``beyond``, the time at which the alert was created or last changed.
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
