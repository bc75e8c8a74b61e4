"""Alerts: their stored form, the decision when they fire, and the job that sends their messages.

A run of the job works in three steps:

1. Read the closed bars of each series once (:func:`read_bars`).
2. Evaluate each alert on the bars that it has not seen (:func:`evaluate`, pure), and store its new state,
   which contains the message to send.
3. Send each stored message.

The whole state of an alert is one JSON value in its row, and every write compares its serial number, so
that only one of several processes stores an evaluation or sends a message. A message stays in the row
until its channel has accepted it. If a process ends between sending a message and storing that, the
message is sent again, marked as perhaps repeated.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from ..core.calendars.calendar import calendar_for, first_unclosed
from ..core.clock import Clock
from ..core.interface import call_foreign
from ..core.model.answer.provenance import ATTRS_KEY
from ..core.model.display.texts import plain_number
from ..core.model.request.outcome import Outcome
from ..core.model.stored.reasons import (
    BEFORE_FIRST,
    CLOSED,
    REJECTED,
    UNASKED,
    Cause,
    cause_of,
    sentence,
)
from ..core.model.time.instant import (
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    NEVER_MS,
    SECOND_MS,
    date_of,
    iso,
    parse_iso,
)
from ..core.model.time.span import Span, subtract
from ..core.model.time.timeframe import Timeframe
from ..core.model.words.suggestion import check_names, did_you_mean
from ..errors import DataError, IncompleteDataWarning, QueryError, SeriesEndedWarning
from ..features.recipes import parse_watched

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..core.bars.client import BarsClient
    from ..core.model.market.bars import Stamps
    from ..core.model.request.query import BarsQuery

__all__ = ["Alert", "AlertJob", "Message", "crossings", "evaluate", "read_bars"]

# Channel of the command line, and the name of its only recipient.
LOCAL = "local"
CONDITIONS = ("above", "below")
PROBLEMS = ("gap", "stale", "grave", "rejected")
_USUAL_TIMEFRAME, _MOST_TEXT = "15m", 64
# Why an alert has ended.
_FIRED, _SPLIT = "fired", "split: set it again"
# An attempt that takes longer than this is assumed to be from a process that has ended.
LEASE_MS = 5 * MINUTE_MS
# Wait before a message is sent again that was refused, or that may have arrived.
_WAIT_MS = 15 * MINUTE_MS
# Longest wait that a channel can request. A later time was stored while the clock was wrong.
_LONGEST_WAIT_MS = HOUR_MS
# A span for which no vendor has answered delays an evaluation until it is this old.
_OLD_MS = DAY_MS
_MOST_BARS, _BARS_BEFORE, _LATE_BARS, _MOST_REPORTED = 50_000, 3, 2, 100
_SHORTEST_MONTH_MS = 28 * DAY_MS
_HARMLESS = {BEFORE_FIRST, CLOSED, UNASKED}
_NS_IN_MS = 1_000_000


# --- what is stored ------------------------------------------------------------------------


@dataclass(frozen=True)
class Alert:
    """An alert on closed bars of a series: a crossing, or a problem with the data.

    The row in which it is stored is another class, ``onetape.db.models.Alert``.

    Attributes:
        id: ID of the row; 0 if the alert is not stored.
        recipient: Person or account that gets the messages, under the name that the channel uses.
        type: Name from :data:`KINDS`.
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
        evaluated = [name for name in reversed(KINDS) if KINDS[name].is_evaluated]
        inferred = (
            name for keys in (given, config) for name in evaluated if KINDS[name].keys[0] in keys
        )
        type = _word("alert_type", config.get("alert_type", next(inferred, "price")), [*KINDS])
        own = KINDS[type].keys
        if foreign := [key for key in config if key in given & _OWN_KEYS - {*own}]:
            hint = f"its keys are {', '.join(own)}; omit {', '.join(foreign)}"
            wrong = f"{foreign[0]}: {config[foreign[0]]!r:.80}"
            raise QueryError(f"an alert of the type {type} has no {wrong}", hint=hint)
        timeframe = Timeframe.parse(config.get("timeframe") or _USUAL_TIMEFRAME).label
        ticker, channel = _text(config, "ticker"), _text(config, "alert_action", LOCAL)
        fields = KINDS[type].parse(config)
        return cls(
            id, recipient, type, ticker, timeframe, channel, since_ms, rearm is not None, **fields
        )

    def to_json(self) -> dict[str, Any]:
        """Return the JSON-compatible dictionary that :meth:`parse` reads as ``config``."""
        shared = {"alert_type": self.type, "ticker": self.symbol, "timeframe": self.timeframe}
        return shared | {"alert_action": self.channel} | KINDS[self.type].to_json(self)

    def check(self) -> None:
        """Check that a job can evaluate this alert.

        Raises:
            QueryError: The indicator is unknown, or can never cross the value.
        """
        KINDS[self.type].check(self)

    @property
    def series(self) -> str:
        """Symbol and timeframe as text."""
        return f"{self.symbol} {self.timeframe}"

    def __str__(self) -> str:
        return KINDS[self.type].text(self)


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
        wait_ms = round(min(_LONGEST_WAIT_MS, outcome.wait_s * SECOND_MS))
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


def _word(name: str, value: Any, words: Sequence[str]) -> str:
    if value not in words:
        near = did_you_mean(str(value), words)
        raise _invalid(name, value, f"one of {', '.join(words)}. {near}".rstrip(". "))
    return str(value)


def _text(config: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = config.get(name, default)
    is_text = isinstance(value, str) and value.strip() and value.isprintable()
    if not is_text or len(value) > _MOST_TEXT:
        raise _invalid(name, value, f"a printable string of 1 to {_MOST_TEXT} characters")
    return str(value).strip()


def _number(config: Mapping[str, Any], name: str, *, is_price: bool = False) -> float:
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


# --- decisions (pure) ----------------------------------------------------------------------


class Problem(NamedTuple):
    """A problem with the data of a series.

    Attributes:
        name: Name from ``PROBLEMS``.
        at_ms: Time of the problem, UTC milliseconds, which identifies it; ``NEVER_MS`` if it lasts until now.
        text: Sentence about the problem.
    """

    name: str
    at_ms: int
    text: str


@dataclass(frozen=True, eq=False)
class ClosedBars:
    """Closed bars of one series, without those that are almost certainly wrong.

    Attributes:
        stamps: Opening times of the bars, ascending, UTC milliseconds.
        closes_ms: Closing time of each bar, UTC milliseconds.
        columns: ``open high low close volume``, float64, adjusted for splits.
        splits: Times (UTC milliseconds) from which splits apply that the prices are adjusted for.
        problems: Problems with the data.
        failure: Reason why no vendor has answered for a recent span; crossings are then evaluated later.
    """

    stamps: Stamps
    closes_ms: Stamps
    columns: Mapping[str, NDArray[np.float64]]
    splits: Sequence[int] = ()
    problems: Sequence[Problem] = ()
    failure: str = ""


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
    after, lines = KINDS[alert.type].evaluate(alert, state, bars, now_ms)
    if lines:
        after = replace(after, message="\n".join(lines), message_id=f"{alert.id}-{now_ms}")
    return state if after == state else replace(after, serial=state.serial + 1)


# --- types of alert (pure) -----------------------------------------------------------------


class AlertKind(Protocol):
    """A type of alert; another one is a class with these members, and a row of :data:`KINDS`.

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
        """Return what the alert watches, as one line."""

    def beyond(self, alert: Alert) -> str:
        """Return a word for the state of a value that is already beyond the threshold of a new alert."""
        return "fulfilled"


class BarAlert(AlertKind, Protocol):
    """A type of alert that fires on closed bars; its own rule is :meth:`fires`."""

    def is_ended_by_splits(self, alert: Alert) -> bool:
        """Return whether the values of an alert are meaningless after a split, as prices are."""
        return True

    def fires(
        self, alert: Alert, state: AlertState, bars: ClosedBars, first: int
    ) -> tuple[dict[int, str], bool | None]:
        """Return what the bars say from the index ``first`` on, which the alert has not seen.

        Returns:
            The index of each bar on which the alert fires, ascending, with a few words about it; and the
            ``is_beyond`` of the new state.
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
        condition = _word("condition", config.get("condition"), CONDITIONS)
        value = _number(config, "value")
        return {"condition": condition, "value": value, "quantity": _text(config, "indicator")}

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
        values = np.array([use.last_value(window) for window in windows])
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
        condition = _word("condition", config.get("condition"), CONDITIONS)
        return {"condition": condition, "value": _number(config, "price", is_price=True)}

    def to_json(self, alert: Alert) -> dict[str, Any]:
        """Return the price and the condition."""
        return {"price": alert.value, "condition": alert.condition}


class CustomAlert(IndicatorAlert):
    """Stored for the user's own program, which alone evaluates it."""

    option, is_evaluated = (), False


class DataAlert(AlertKind):
    """Fires when the data has a problem that was not reported yet."""

    keys = ("problem",)
    option = "--problem PROBLEM", f"watch for a data problem: {', '.join(PROBLEMS)}"

    def parse(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Parse the name of the problem."""
        return {"problem": _word("problem", config.get("problem"), PROBLEMS)}

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
KINDS: dict[str, AlertKind] = {
    "price": PriceAlert(),
    "indicator": IndicatorAlert(),
    "custom": CustomAlert(),
    "data": DataAlert(),
}
_OWN_KEYS = dict.fromkeys(key for kind in KINDS.values() for key in kind.keys).keys()
ALERT_KEYS = ("alert_type", "ticker", "timeframe", *_OWN_KEYS, "alert_action", "email")


def retyped(config: Mapping[str, Any], type: Any) -> dict[str, Any]:
    """Return a configuration without the keys that an alert of another type does not have."""
    dropped = _OWN_KEYS - {*KINDS[type].keys} if type in [*KINDS] else set[str]()
    return {key: value for key, value in config.items() if key not in dropped}


# --- bars ----------------------------------------------------------------------------------

_Facts = Mapping[str, Any]


def bars_needed(alert: Alert, state: AlertState, now_ms: int) -> int:
    """Return the number of bars that an evaluation needs: the indicator's window, and all not seen.

    Raises:
        QueryError: The alert's indicator is unknown.
    """
    seen_ms = alert.since_ms if state.seen_ms is None else state.seen_ms
    length_ms = Timeframe.parse(alert.timeframe).step_ms or _SHORTEST_MONTH_MS
    count = (
        KINDS[alert.type].bars_needed(alert) + _BARS_BEFORE + max(0, now_ms - seen_ms) // length_ms
    )
    return min(count, _MOST_BARS)


def read_bars(
    client: BarsClient, wanted: Sequence[tuple[str, str, int]], timeout_s: float | None = None
) -> list[ClosedBars | str]:
    """Return for each series its closed bars, fetching missing ones, or the reason why there are none.

    Args:
        client: Client to read bars through.
        wanted: Symbol, timeframe and number of bars of each series; several are fetched at once.
        timeout_s: Seconds to wait for vendors; None waits as long as pages keep arriving.
    """
    from ..core.bars.client import Wishes  # its packages take long to import

    queries, answers = dict[int, "BarsQuery"](), dict[int, ClosedBars | str]()
    wishes = Wishes(timeout=timeout_s)
    for index, (symbol, timeframe, count) in enumerate(wanted):
        try:
            queries[index] = client.query(symbol, timeframe, bars=count, wishes=wishes)
        except DataError as error:
            answers[index] = str(error)
    with warnings.catch_warnings():
        # What an answer lacks is a problem with the data, for which there are alerts.
        warnings.simplefilter("ignore", IncompleteDataWarning)
        warnings.simplefilter("ignore", SeriesEndedWarning)
        frames = client.get_batch(list(queries.values()))
    for (index, query), frame in zip(queries.items(), frames, strict=True):
        try:
            answers[index] = _closed_bars(client, query, frame)
        except DataError as error:
            answers[index] = str(error)
    return [answers[index] for index in range(len(wanted))]


def _closed_bars(client: BarsClient, query: BarsQuery, frame: Any) -> ClosedBars | str:
    """Return the bars of an answer in the form that alerts are evaluated on, or why there are none."""
    facts = frame.attrs[ATTRS_KEY]
    if "error" in facts:
        return str(facts["error"]["message"])
    if facts["substitute"]:
        return f"only bars of another kind are available: {facts['substitute']}"
    stamps = frame.index.to_numpy().view(np.int64) // _NS_IN_MS
    calendar = calendar_for(query.instrument)
    anchor = (facts["kind"] or {}).get("anchor", "session")
    grave = dict(_grave(client, query, facts, stamps))
    usable = ~np.isin(stamps, list(grave))
    if grave:
        from .validation.accepted import accepted_stamps

        for stamp in accepted_stamps(client, client.series_of(query)).tolist():
            grave.pop(stamp, None)
    last = int(stamps[-1]) if len(stamps) else query.span.start
    unclosed = first_unclosed(calendar, query.timeframe, query.now_ms, anchor)
    behind = len(calendar.opens(query.timeframe, Span(last + 1, unclosed), anchor))
    return ClosedBars(
        stamps[usable],
        calendar.closes(query.timeframe, stamps[usable], anchor),
        dict(zip(map(str, frame.columns), frame.to_numpy()[usable].T, strict=True)),
        _splits(client, query, facts["as_of"]),
        tuple(_problems(query, facts, grave, last, behind)),
        sentence(facts["unanswered"]) if _is_waiting(client, query, facts) else "",
    )


def _grave(
    client: BarsClient, query: BarsQuery, facts: _Facts, stamps: Stamps
) -> Iterator[tuple[int, str]]:
    """Yield the timestamp of each bar that is almost certainly wrong, with the reason."""
    spans = [(Span(parse_iso(s["start"]), parse_iso(s["end"])), s) for s in facts["spans"]]
    reasons = [(span, entry.get("reason", "")) for span, entry in spans]
    if any(entry.get("merged") for entry in facts["spans"]):
        coverage = client.coverage(client.series_of(query))
        reasons = [(entry.span, entry.reason) for entry in coverage]
    for span, reason in reasons:
        if Cause.GRAVE in cause_of(reason):
            first, last = stamps.searchsorted(span)
            yield from ((int(stamp), reason) for stamp in stamps[first:last])


def _splits(client: BarsClient, query: BarsQuery, as_of: str | None) -> list[int]:
    """Return the times from which the splits apply that an answer is adjusted for."""
    if not as_of:
        return []
    day, known = date.fromisoformat(as_of[:10]), client.actions(query.instrument.symbol)
    splits = [one.action for one in known if one.counts and one.action.is_in("split", day)]
    return sorted(action.ex_at for action in splits)


def _is_waiting(client: BarsClient, query: BarsQuery, facts: _Facts) -> bool:
    """Return whether no vendor has answered for a recent span, not even that it has no bars."""
    if facts["unanswered"] is None:
        return False
    spans = [Span(parse_iso(gap["start"]), parse_iso(gap["end"])) for gap in _harmful(facts)]
    recent = [span for span in spans if query.now_ms - span.end < _OLD_MS]
    known = [entry.span for entry in client.coverage(client.series_of(query))]
    return bool(subtract(recent, known))


def _problems(
    query: BarsQuery, facts: _Facts, grave: Mapping[int, str], last: int, behind: int
) -> Iterator[Problem]:
    """Yield the problems with an answer's bars; ``behind`` is the number of bars missing after the last.

    Missing bars at the end are not a gap, because they may only be late. If there are more than two, the
    series is stale.
    """
    series = f"{query.instrument.symbol} {query.timeframe}"
    if behind > _LATE_BARS:
        why = f" ({sentence(facts['unanswered'])})" if facts["unanswered"] else ""
        text = f"{series} is stale: {behind} bars are missing since {iso(last)}{why}"
        yield Problem("stale", NEVER_MS, text)
    for gap in _harmful(facts):
        if gap["reason"].startswith(REJECTED):
            text = f"{series}: the row {gap['start']} was rejected: {sentence(gap['reason'])}"
            yield Problem("rejected", parse_iso(gap["start"]), text)
        elif parse_iso(gap["end"]) <= last:
            text = f"a gap from {gap['start']} to {gap['end']}: {sentence(gap['reason'])}"
            yield Problem("gap", parse_iso(gap["start"]), f"{series} has {text}")
    for stamp, why in grave.items():
        yield Problem("grave", stamp, f"{series}: the bar {iso(stamp)} is {sentence(why)}")


def _harmful(facts: _Facts) -> list[_Facts]:
    return [gap for gap in facts["gaps"] if gap["reason"] not in _HARMLESS]


# --- the job -------------------------------------------------------------------------------


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
        read: Function that returns closed bars, such as :func:`read_bars` with a client.
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
        usable = [one for one in stored if KINDS[one.alert.type].is_evaluated]
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
            if alert.channel in down or 0 < state.due_ms - now_ms <= _LONGEST_WAIT_MS:
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
