"""Alerts and their types: the form in which they are stored, and when each fires on closed bars. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ...core.model.display.texts import plain_number
from ...core.model.time.instant import DAY_MS, NEVER_MS, date_of, iso
from ...core.model.time.timeframe import Timeframe
from ...core.model.words.suggestion import check_names, did_you_mean
from ...errors import QueryError
from ...features.recipes import parse_watched

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .bars import ClosedBars
    from .state import AlertState

# Channel of the command line, and the name of its only recipient.
LOCAL = "local"
_USUAL_TIMEFRAME = "15m"
CONDITIONS = ("above", "below")
PROBLEMS = ("gap", "stale", "grave", "rejected")
_MOST_TEXT = 64
# Why an alert has ended.
_FIRED, _SPLIT = "fired", "split: set it again"
_MOST_BARS, _BARS_BEFORE, _MOST_REPORTED = 50_000, 3, 100
_SHORTEST_MONTH_MS = 28 * DAY_MS


@dataclass(frozen=True)
class Alert:
    """An alert on closed bars of a series: a crossing, or a problem with the data.

    The row in which it is stored is another class, ``onetape.db.models.Alert``.

    Attributes:
        id: ID of the row; 0 if the alert is not stored.
        recipient: Person or account that gets the messages, under the name that the channel uses.
        type: Name from :data:`TYPES`.
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


class AlertType(Protocol):
    """A type of alert; another one is a class with these members, and a row of :data:`TYPES`.

    Attributes:
        keys: Keys of its configuration; those of other types are rejected. An alert without a type that
            has the first one is of this type, if the job evaluates it.
        option: Option of ``onetape alerts add`` for the first key, and its help; empty if there is none.
        is_evaluated: Whether the job evaluates the alert; otherwise only the user's own program does.
    """

    keys: Sequence[str]
    option: Sequence[str] = ()
    is_evaluated: bool = True

    def parse(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the attributes of :class:`Alert` that a configuration gives.

        Raises:
            QueryError: A value is invalid.
        """

    def to_json(self, alert: Alert) -> dict[str, Any]:
        """Return the values of :attr:`keys` for an alert."""

    def check(self, alert: Alert) -> None:
        """Check that a job can evaluate an alert; by default, any that :meth:`parse` accepts.

        Raises:
            QueryError: The job cannot evaluate it.
        """
        return

    def bars_needed(self, alert: Alert) -> int:
        """Return the number of bars that the decision about the last bar needs; 0 if it needs none."""
        return 0

    def evaluate(
        self, alert: Alert, state: AlertState, bars: ClosedBars, now_ms: int
    ) -> tuple[AlertState, list[str]]:
        """Return the state after the bars that the alert has not seen, and the lines of its message."""

    def text(self, alert: Alert) -> str:
        """Return the alert's condition, as one line."""

    def beyond(self, alert: Alert) -> str:
        """Return a word for the state of a value that is already beyond the threshold of a new alert."""
        return "fulfilled"


class BarAlert(AlertType, Protocol):
    """A type of alert that fires on closed bars; its own rule is :meth:`fires`."""

    def is_ended_by_splits(self, alert: Alert) -> bool:
        """Return whether the values of an alert are meaningless after a split, as prices are."""
        return True

    def fires(
        self, alert: Alert, state: AlertState, bars: ClosedBars, first: int
    ) -> tuple[dict[int, str], bool | None]:
        """Return the events in the bars from the index ``first`` on, which are new to the alert.

        Returns:
            The index of each bar on which the alert fires, ascending, with a few words about it; and the
            ``is_beyond`` of the new state, None for a type whose values do not cross a threshold.
        """

    def evaluate(
        self, alert: Alert, state: AlertState, bars: ClosedBars, now_ms: int
    ) -> tuple[AlertState, list[str]]:
        """Return the state, and a line for each bar that fires, or for a split that ends the alert."""
        splits = [at_ms for at_ms in bars.splits if at_ms > alert.since_ms]
        if splits and self.is_ended_by_splits(alert):
            why = f"because the shares were split on {date_of(splits[0])}"
            return replace(state, ended=_SPLIT), [f"{alert}: switched off, {why}; set it again"]
        if state.seen_ms is None:
            first = max(0, int(bars.closes_ms.searchsorted(alert.since_ms, "right")) - 1)
        else:
            first = int(bars.stamps.searchsorted(state.seen_ms, "right"))
        if bars.failure or first >= len(bars.stamps):
            return state, []
        found, is_beyond = self.fires(alert, state, bars, first)
        after = replace(state, seen_ms=int(bars.stamps[-1]), is_beyond=is_beyond)
        # A bar may arrive after the alert was set although it had closed before; a later `since_ms` than now
        # was stored while the clock was wrong.
        since_ms = alert.since_ms if alert.since_ms <= now_ms else -NEVER_MS
        fired = [n for n in found if bars.closes_ms[n] > since_ms]
        if not fired:
            return after, []
        fired, lines = fired if alert.is_repeating else fired[:1], list[str]()
        for n in fired:
            stamp = int(bars.stamps[n])
            bar = iso(stamp) if Timeframe.parse(alert.timeframe).is_intraday else date_of(stamp)
            lines.append(f"{alert.series}: {found[n]} (bar {bar})")
        fired_ms = int(bars.closes_ms[fired[-1]])
        return replace(after, fired_ms=fired_ms, ended="" if alert.is_repeating else _FIRED), lines


class IndicatorAlert(BarAlert):
    """Fires when a recipe of bars crosses a value."""

    keys: Sequence[str] = ("indicator", "value", "condition")
    option: Sequence[str] = (
        "--indicator RECIPE",
        "watch this instead of the close: rsi:14, sma:50, change, volume",
    )

    def parse(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Parse the recipe and the value to cross; the recipe itself is checked by :meth:`check`."""
        condition = word_of("condition", config.get("condition"), CONDITIONS)
        value = number_of(config, "value")
        return {"condition": condition, "value": value, "quantity": text_of(config, "indicator")}

    def to_json(self, alert: Alert) -> dict[str, Any]:
        """Return the recipe as the user wrote it, the value and the condition."""
        own = {"indicator": alert.quantity, "value": alert.value}
        return own | {"condition": alert.condition}

    def check(self, alert: Alert) -> None:
        """Check that the recipe exists, and can cross the value."""
        parse_watched(alert.quantity).check_crossing(alert.condition, alert.value)

    def bars_needed(self, alert: Alert) -> int:
        """Return the number of bars of the recipe's window."""
        return parse_watched(alert.quantity).window

    def is_ended_by_splits(self, alert: Alert) -> bool:
        """Return whether the recipe depends on prices or shares."""
        return parse_watched(alert.quantity).recipe.moves_with_splits

    def fires(
        self, alert: Alert, state: AlertState, bars: ClosedBars, first: int
    ) -> tuple[dict[int, str], bool | None]:
        """Return the bars on which the recipe crosses the value, each with the recipe's value."""
        use, ends = parse_watched(alert.quantity), range(first + 1, len(bars.stamps) + 1)
        windows = ({name: column[:n] for name, column in bars.columns.items()} for n in ends)
        values = np.array([use.last_value(window) for window in windows], np.float64)
        found, is_beyond = crossings(values, alert.value, alert.condition, state.is_beyond)
        bound = f"is {alert.condition} {plain_number(alert.value)}"
        crossed = {first + int(n): plain_number(float(f"{values[n]:.10g}")) for n in found}
        texts = {n: f"{alert.quantity} {value} {bound}" for n, value in crossed.items()}
        return texts, is_beyond

    def beyond(self, alert: Alert) -> str:
        """Return the condition."""
        return alert.condition

    def text(self, alert: Alert) -> str:
        """Return the recipe, the condition and the value."""
        return f"{alert.series} {alert.quantity} {alert.condition} {plain_number(alert.value)}"


class PriceAlert(IndicatorAlert):
    """Fires when a close crosses a price."""

    keys = ("price", "condition")
    option = ()

    def parse(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Parse the price and the condition."""
        condition = word_of("condition", config.get("condition"), CONDITIONS)
        return {"condition": condition, "value": number_of(config, "price", is_price=True)}

    def to_json(self, alert: Alert) -> dict[str, Any]:
        """Return the price and the condition."""
        return {"price": alert.value, "condition": alert.condition}


class CustomAlert(IndicatorAlert):
    """Stored for the user's own program, which alone evaluates it."""

    option, is_evaluated = (), False


class DataAlert(AlertType):
    """Fires when the data has a problem that was not reported yet."""

    keys = ("problem",)
    option = "--problem PROBLEM", f"watch for a data problem: {', '.join(PROBLEMS)}"

    def parse(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Parse the name of the problem."""
        return {"problem": word_of("problem", config.get("problem"), PROBLEMS)}

    def to_json(self, alert: Alert) -> dict[str, Any]:
        """Return the name of the problem."""
        return {"problem": alert.problem}

    def evaluate(
        self, alert: Alert, state: AlertState, bars: ClosedBars, now_ms: int
    ) -> tuple[AlertState, list[str]]:
        """Return the state, and the sentence of each new problem."""
        own = [problem for problem in bars.problems if problem.name == alert.problem]
        texts = {at_ms: text for _, at_ms, text in own if at_ms >= alert.since_ms}
        new = [at_ms for at_ms in texts if at_ms not in state.problems]
        # Only a problem that lasts can end, and is reported again if it recurs.
        old = [at_ms for at_ms in state.problems if at_ms not in texts and at_ms != NEVER_MS]
        seen_ms = int(bars.stamps[-1]) if len(bars.stamps) else state.seen_ms
        after = replace(state, seen_ms=seen_ms, problems=[*old[-_MOST_REPORTED:], *texts])
        return after, [texts[at_ms] for at_ms in new]

    def text(self, alert: Alert) -> str:
        """Return the name of the problem."""
        return f"{alert.series}: {alert.problem}"


# If an alert names no type, the last one of these is used whose first key it has, or else ``price``.
TYPES: dict[str, AlertType] = {
    "price": PriceAlert(),
    "indicator": IndicatorAlert(),
    "custom": CustomAlert(),
    "data": DataAlert(),
}
OWN_KEYS = dict.fromkeys(key for own in TYPES.values() for key in own.keys).keys()
ALERT_KEYS = ("alert_type", "ticker", "timeframe", *OWN_KEYS, "alert_action", "email")


def retyped(config: Mapping[str, Any], type: Any) -> dict[str, Any]:
    """Return a configuration without the keys that an alert of another type does not have."""
    dropped = OWN_KEYS - {*TYPES[type].keys} if type in [*TYPES] else set[str]()
    return {key: value for key, value in config.items() if key not in dropped}


def crossings(
    values: NDArray[np.float64], threshold: float, condition: str, was_beyond: bool | None = None
) -> tuple[NDArray[np.intp], bool | None]:
    """Return the indices of the values that cross a threshold, and whether the last one is beyond it.

    A value crosses if it is beyond the threshold and the value before it is not. NaN values are skipped.

    Args:
        values: Values, oldest first.
        threshold: Threshold; a value that equals it is not beyond it.
        condition: ``above`` or ``below``.
        was_beyond: Whether the value before the first one was beyond the threshold. With None it is
            unknown, and the first value does not cross.
    """
    known = np.flatnonzero(~np.isnan(values))
    if not len(known):
        return known, was_beyond
    beyond = values[known] > threshold if condition == "above" else values[known] < threshold
    before = np.concatenate(([was_beyond is not False], beyond[:-1]))
    return known[beyond & ~before], bool(beyond[-1])


def evaluate(alert: Alert, state: AlertState, bars: ClosedBars, now_ms: int) -> AlertState:
    """Return an alert's state after the closed bars that it has not seen; ``message`` is what to send.

    A new alert begins with the last bar that had closed when it was set, which never makes it fire. After a
    split, a threshold in prices or shares is meaningless, so the alert ends with a message.

    Args:
        alert, state: Alert and its state, without a message.
        bars: At least the bars described by :func:`bars_needed`, or all that exist.
        now_ms: Current time, from which the message gets its ID.

    Raises:
        QueryError: The alert's indicator is unknown.
    """
    after, lines = TYPES[alert.type].evaluate(alert, state, bars, now_ms)
    if lines:
        after = replace(after, message="\n".join(lines), message_id=f"{alert.id}-{now_ms}")
    return state if after == state else replace(after, serial=state.serial + 1)


def bars_needed(alert: Alert, state: AlertState, now_ms: int) -> int:
    """Return the number of bars that an evaluation needs: the indicator's window, and all not seen.

    Raises:
        QueryError: The alert's indicator is unknown.
    """
    seen_ms = alert.since_ms if state.seen_ms is None else state.seen_ms
    length_ms = Timeframe.parse(alert.timeframe).step_ms or _SHORTEST_MONTH_MS
    count = (
        TYPES[alert.type].bars_needed(alert) + _BARS_BEFORE + max(0, now_ms - seen_ms) // length_ms
    )
    return min(count, _MOST_BARS)


def word_of(name: str, value: Any, words: Sequence[str]) -> str:
    """Return a value that must be one of some words.

    Raises:
        QueryError: The value is another one.
    """
    if value not in words:
        near = did_you_mean(str(value), words)
        raise _invalid(name, value, f"one of {', '.join(words)}. {near}".rstrip(". "))
    return str(value)


def text_of(config: Mapping[str, Any], name: str, default: str | None = None) -> str:
    """Return the text under a key of a configuration.

    Raises:
        QueryError: The value is not a printable string of 1 to 64 characters.
    """
    value = config.get(name, default)
    is_text = isinstance(value, str) and value.strip() and value.isprintable()
    if not is_text or len(value) > _MOST_TEXT:
        raise _invalid(name, value, f"a printable string of 1 to {_MOST_TEXT} characters")
    return str(value).strip()


def number_of(config: Mapping[str, Any], name: str, *, is_price: bool = False) -> float:
    """Return the number under a key of a configuration.

    Raises:
        QueryError: The value is not a finite number or, for a price, not above 0.
    """
    value = config.get(name)
    try:
        number = math.nan if value is None or isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number) or (is_price and number <= 0):
        raise _invalid(name, value, f"a number{' above 0' if is_price else ''}")
    return number


def _invalid(name: str, value: Any, bound: str) -> QueryError:
    return QueryError(f"{name} {value!r:.80} is not valid", hint=f"it must be {bound}")
