"""Decides which alerts fire, from the alert, its state and closed bars. Pure.

An alert fires on a *crossing* of closed bars. Each bar is evaluated once, in order, including the
bars from an outage. A bar is not used if it is almost certainly wrong, is a substitute, or has
prices adjusted differently from the threshold; the recipient is then informed. A split moves the
threshold with the prices.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from statistics import median
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..model.bars import Stamps
from ..model.instant import DAY_MS, MINUTE_MS, NEVER_MS, SECOND_MS, date_of, iso, parse_iso
from ..model.reasons import sentence
from ..model.span import Span
from ..model.texts import plain_number
from ..model.timeframe import Timeframe
from ..prices.indicators import Columns, IndicatorUse, parse_indicator
from .alert_values import (
    Alert,
    AlertEvent,
    AlertState,
    CrossingAlert,
    DataAlert,
    EventName,
    StoredAlert,
    can_problem_end,
    is_problem_of,
)

__all__ = [
    "BarsNeeded",
    "ClosedBars",
    "Evaluation",
    "bars_needed",
    "evaluate",
    "evaluate_data",
]

_MARKS = 3
# Digits of a threshold in messages, the number of decimal digits that a float preserves.
_TYPED = 15
# If a bar's close price has changed by less than this (natural logarithm), it was corrected or
# rounded.
_FACTOR_SLACK = 0.005
# If several bars were rebased together, all of them changed by nearly the same factor.
_ALIKE = 0.25
_REBASED, _FAILED = "re-based", "failed"
# Prefix of a state's ``withheld`` while bars wait; the time of the first run that waited follows.
_WAITING = "unanswered since "
# Bars wait for an answer about earlier ones at most this long.
_LONGEST_WAIT_MS = DAY_MS
_MOST_BARS = 50_000
# Maximum number of past problems that are remembered as reported; ongoing ones are all remembered.
_MOST_PAST = 512
_SHORTEST_MONTH_MS = 28 * DAY_MS


class SplitStart(NamedTuple):
    """The time from which a split applies.

    Attributes:
        open_ms: Open of the first session on or after the ex-date, UTC milliseconds.
        bar_ms: Opening time of the first bar that closes after that.
    """

    open_ms: int
    bar_ms: int


@dataclass(frozen=True, eq=False)
class ClosedBars:
    """Closed bars of one series, all adjusted in the same way.

    Attributes:
        stamps: Opening times of the bars, ascending, UTC milliseconds.
        closes_ms: Closing time of each bar, UTC milliseconds.
        columns: ``open high low close volume``, float64.
        withheld: Maps the timestamp of each bar that must not fire an alert to the reason.
        splits: Ex-date (00:00 UTC) and ratio (new shares per old share) of each split for which the
            prices are adjusted.
        starts: Maps the ex-date of each split to the time from which it applies; without an entry,
            it applies from 00:00 UTC.
        problems: Maps a key that identifies a problem with the data, such as ``gap:AAPL
            1h:2024-06-12T14:00:00Z``, to a sentence about it.
        unanswered: Reason why vendors did not answer for a part of the bars; empty if they did.
        missing: Spans for which no vendor has answered, so that there may be bars.
        unavailable: Maps each span that no vendor can serve to the reason.
    """

    stamps: Stamps
    closes_ms: Stamps
    columns: Mapping[str, NDArray[np.float64]]
    withheld: Mapping[int, str] = field(default_factory=dict)
    splits: tuple[tuple[int, float], ...] = ()
    starts: Mapping[int, SplitStart] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)
    unanswered: str = ""
    missing: tuple[Span, ...] = ()
    unavailable: Mapping[Span, str] = field(default_factory=dict)

    def start_of(self, split: tuple[int, float]) -> SplitStart:
        """Return the time from which a split applies."""
        ex_ms, _ = split
        return self.starts.get(ex_ms, SplitStart(ex_ms, ex_ms))

    def until_missing(self, since_ms: int) -> ClosedBars:
        """Return the bars before the first missing span that ends after ``since_ms``."""
        starts = [span.start for span in self.missing if span.end > since_ms]
        if not starts:
            return self
        rows = slice(int(self.stamps.searchsorted(min(starts))))
        columns = {name: column[rows] for name, column in self.columns.items()}
        return replace(
            self, stamps=self.stamps[rows], closes_ms=self.closes_ms[rows], columns=columns
        )


class BarsNeeded(NamedTuple):
    """The bars that an evaluation needs.

    These are all bars from ``since_ms`` (UTC milliseconds) on, and a number of bars before that
    time.
    """

    before: int
    since_ms: int

    def bars_at(self, timeframe: str, now_ms: int) -> int:
        """Return an upper limit for the number of bars needed, at most 50,000."""
        length_ms = Timeframe.parse(timeframe).step_ms or _SHORTEST_MONTH_MS
        return min(self.before + max(0, now_ms - self.since_ms) // length_ms + 2, _MOST_BARS)


class Evaluation(NamedTuple):
    """The result of evaluating an alert: its next state, and the events for its recipient, in order."""

    state: AlertState
    events: tuple[AlertEvent, ...] = ()


def bars_needed(stored: StoredAlert) -> BarsNeeded:
    """Return the bars that an evaluation needs: the indicator's window, and all bars not evaluated yet.

    An alert about data has no window; a few bars show whether the newest one is there.

    Raises:
        QueryError: The alert's indicator is not registered in this program.
    """
    alert, state = stored
    seen_ms = state.seen_ms if state is not None and state.seen_ms is not None else alert.since_ms
    if isinstance(alert, CrossingAlert):
        return BarsNeeded(parse_indicator(alert.quantity).window + _MARKS, seen_ms)
    # States of earlier versions do not contain the last bar that was seen.
    is_older = state is not None and state.seen_ms is None
    return BarsNeeded(_MARKS, NEVER_MS if is_older else seen_ms)


def evaluate(
    alert: CrossingAlert, state: AlertState | None, bars: ClosedBars, now_ms: int
) -> Evaluation:
    """Evaluate an alert on the closed bars that it has not seen yet.

    1. ``_initial_state``, for a new alert: evaluation starts at the last bar that had closed when
       the alert was created. If that bar is beyond the threshold, the alert reports this and does
       not fire.
    2. ``_after_splits``: applies new splits, and detects prices that changed without one.
    3. Each new bar, in order: ``_after_bar``, or ``_after_withheld_bar`` if the bar must not be
       used.
    4. ``_after_expiry``: ends the alert if it has expired.

    Args:
        alert, state: Alert and state as stored; the state is None if the alert was changed or never
            evaluated.
        bars: At least the bars described by :func:`bars_needed`, or all that exist.
        now_ms: Current time, for events that are not about a bar. Whether the alert has expired
            depends on the latest closed bar, so a clock that is temporarily ahead does not end any
            alert.

    Returns:
        The next state, with ``serial`` increased by one, and the events. If ``bars`` is empty, the
        state does not change.

    Raises:
        QueryError: The alert's indicator is not registered in this program.
    """
    use, before = parse_indicator(alert.quantity), state or AlertState()
    if before.phase == "done":
        return Evaluation(before)
    is_cut = len(bars.stamps) >= _MOST_BARS
    bars, waiting = _without_waiting(alert, before, bars, now_ms)
    events: list[AlertEvent] = []
    state = before
    if len(bars.stamps):
        events += _unavailable_event(alert, before, bars, now_ms, is_cut=is_cut)
        if state.seen_ms is None:
            state = _initial_state(alert, state, bars)
        state = _after_splits(alert, use, state, bars, now_ms, events)
    usable = ~np.isin(bars.stamps, list(bars.withheld)) if bars.withheld else None
    columns = _usable_columns(bars.columns, usable)
    counts = np.cumsum(usable) if usable is not None else None
    first = 0 if state.seen_ms is None else int(bars.stamps.searchsorted(state.seen_ms, "right"))
    for index in range(first, len(bars.stamps)):
        if state.phase == "done" or bars.closes_ms[index] > alert.expires_ms:
            break
        stamp, closed = int(bars.stamps[index]), int(bars.closes_ms[index])
        reason = bars.withheld.get(stamp, "") or (_REBASED if state.rebased != 1 else "")
        if reason:
            state = _after_withheld_bar(alert, state, (stamp, closed), reason, events)
            continue
        end = index + 1 if counts is None else int(counts[index])
        shown = {name: column[:end] for name, column in columns.items()}
        value = use.value(shown)
        if not math.isfinite(value) and (reason := _lacking_volume(use, shown)):
            state = _after_withheld_bar(alert, state, (stamp, closed), reason, events)
            continue
        state = replace(state, seen_ms=stamp, withheld="")
        if math.isfinite(value):
            state = _after_bar(alert, use, state, (stamp, closed), value, events)
    state = replace(state, marks=_marks(bars, state) or state.marks)
    state = replace(state, withheld=waiting or state.withheld)
    newest_ms = int(bars.closes_ms[-1]) if len(bars.closes_ms) else 0
    if newest_ms >= alert.expires_ms and state.phase != "done":
        state = _after_expiry(alert, state, events)
    return _evaluation(before, state, events)


def _lacking_volume(use: IndicatorUse, columns: Columns) -> str:
    """Return which bar lacks the volume without which a value is undefined; empty if none does."""
    volume = columns["volume"][-use.window :]
    known = {**columns, "volume": np.nan_to_num(volume)}
    if not np.isnan(volume).any() or not math.isfinite(use.value(known)):
        return ""
    return f"no volume: {'it' if math.isnan(volume[-1]) else 'a bar before it'} has none"


def _without_waiting(
    alert: Alert, state: AlertState, bars: ClosedBars, now_ms: int
) -> tuple[ClosedBars, str]:
    """Return the bars to evaluate now, and the value of ``withheld`` if others wait.

    Bars after a missing span wait until a vendor answers, but not for longer than a day. The value
    is empty if no bar waits.
    """
    seen_ms = _seen(alert, state)
    answered = bars.until_missing(seen_ms)
    rows = len(answered.stamps)
    if rows == len(bars.stamps):
        return bars, ""
    is_first = not state.withheld.startswith(_WAITING) or (rows and answered.stamps[-1] > seen_ms)
    waiting = f"{_WAITING}{iso(now_ms)}" if is_first else state.withheld
    waited_ms = now_ms - parse_iso(waiting.removeprefix(_WAITING))
    # A negative time shows that the clock was wrong, so how long the bars have waited is unknown.
    return (answered, waiting) if 0 <= waited_ms < _LONGEST_WAIT_MS else (bars, "")


def _seen(alert: Alert, state: AlertState) -> int:
    return alert.since_ms if state.seen_ms is None else state.seen_ms


def _unavailable_event(
    alert: CrossingAlert, state: AlertState, bars: ClosedBars, now_ms: int, *, is_cut: bool
) -> Iterator[AlertEvent]:
    """Yield the event about the new bars that are not among those to evaluate, if there are any.

    ``is_cut`` means that as many bars were fetched as are evaluated at most.
    """
    first, last = _seen(alert, state), int(bars.stamps[-1])
    missing = {**bars.unavailable, **dict.fromkeys(bars.missing, bars.unanswered)}
    spans = sorted(span for span in missing if span.end > first and span.start < last)
    texts = []
    if is_cut and bars.stamps[0] > first:
        texts.append(
            f"the bars between {iso(first)} and {iso(int(bars.stamps[0]))} are not used for {alert}: "
            f"only the last {_MOST_BARS:,} bars are evaluated"
        )
    if spans:
        start, end = max(spans[0].start, first), min(spans[-1].end, last)
        texts.append(
            f"no vendor supplied the bars between {iso(start)} and {iso(end)}, so they are not used "
            f"for {alert}: {missing[spans[0]]}"
        )
    if texts:
        text = f"{alert.series}: {'; '.join(texts)}"
        yield AlertEvent(alert.id, "withheld", apart(now_ms), now_ms, text)


def _evaluation(before: AlertState, after: AlertState, events: list[AlertEvent]) -> Evaluation:
    """Return the result of an evaluation, with the old state if nothing has changed."""
    if after == before and not events:
        return Evaluation(before)
    return Evaluation(replace(after, serial=before.serial + 1), tuple(events))


def evaluate_failure(
    alert: Alert, state: AlertState | None, reason: str, now_ms: int, newest_ms: int
) -> Evaluation:
    """Return the evaluation for an alert whose bars can never be fetched.

    If the evaluation fails several times in a row, only the first failure is reported. The alert
    expires when ``newest_ms``, the closing time of the latest bar in any series, is past its expiry
    time.
    """
    before, events = state or AlertState(), list[AlertEvent]()
    if before.phase == "done":
        return Evaluation(before)
    if before.withheld != _FAILED:
        text = f"{alert} cannot be evaluated: {reason}"
        events.append(AlertEvent(alert.id, "failed", apart(now_ms), now_ms, text))
    after = replace(before, withheld=_FAILED)
    if newest_ms >= alert.expires_ms:
        after = _after_expiry(alert, after, events)
    return _evaluation(before, after, events)


def apart(at_ms: int) -> int:
    """Return a time that serves as the key of an event without a bar, and never equals a bar's time."""
    return at_ms + 1 if at_ms % SECOND_MS == 0 else at_ms


def threshold_of(alert: CrossingAlert, use: IndicatorUse, state: AlertState) -> float:
    """Return an alert's threshold, adjusted for the same splits as the bars."""
    return alert.value * state.scale**use.indicator.split_power


def _initial_state(alert: CrossingAlert, state: AlertState, bars: ClosedBars) -> AlertState:
    """Return the initial state of an alert.

    Evaluation starts with the last usable bar that had closed when the alert was created.
    """
    closed = np.flatnonzero(bars.closes_ms <= alert.since_ms)
    usable = [int(n) for n in closed[-_MARKS:] if int(bars.stamps[n]) not in bars.withheld]
    # Just before the first bar to use; before all bars if none had closed by then.
    first = usable[-1] if usable else int(closed[-1]) + 1 if len(closed) else 0
    seen_ms = int(bars.stamps[first]) - 1 if first < len(bars.stamps) else None
    if seen_ms is None and len(closed):
        seen_ms = int(bars.stamps[-1])
    before = tuple(s for s in bars.splits if bars.start_of(s).open_ms <= alert.since_ms)
    return replace(state, phase="new", seen_ms=seen_ms, splits=before)


# --- splits, and prices in another basis --------------------------------------------------


def _after_splits(
    alert: CrossingAlert,
    use: IndicatorUse,
    state: AlertState,
    bars: ClosedBars,
    now_ms: int,
    events: list[AlertEvent],
) -> AlertState:
    """Return the state after adapting the threshold to the current adjustment of the bars.

    A newly reported split moves the threshold if the closes of already evaluated bars have changed
    accordingly or, if those bars are unavailable, if the split's ex-date is after the last
    evaluated bar. If all closes have changed by the same factor but no split explains this, their
    adjustment is unknown and the recipient is informed.
    """
    previous, now = set(state.splits), set(bars.splits)
    added, removed = now - previous, previous - now
    factor = math.prod(r for _, r in added) / math.prod(r for _, r in removed)
    moved = _common_factor(state, bars, 1 if factor != 1 else 2)
    if moved is None:
        seen_ms = -NEVER_MS if state.seen_ms is None else state.seen_ms
        later = [split[1] for split in added if bars.start_of(split).bar_ms > seen_ms]
        factor, rebased, applies = math.prod(later), state.rebased, bool(later)
    else:
        total = state.rebased * moved
        applies = factor != 1 and (_is_unchanged(total * factor) or not _is_unchanged(moved))
        rebased = total * factor if applies else total
        rebased = (
            1.0 if _is_unchanged(rebased) else state.rebased if _is_unchanged(moved) else rebased
        )
    after = replace(state, splits=bars.splits, rebased=rebased)
    if applies:
        after = replace(after, scale=state.scale * factor)
        if use.indicator.split_power:
            events.append(_split_event(alert, use, state, after, now_ms))
    if rebased not in (1, state.rebased):
        text = (
            f"{alert.series}: prices changed by a factor of {_number_text(rebased)} without a "
            f"recorded split. {alert} does not fire until a split explains the change or the "
            "alert is created again"
        )
        events.append(AlertEvent(alert.id, "rebased", apart(now_ms), now_ms, text))
        after = replace(after, withheld=_REBASED)
    return after


def _common_factor(state: AlertState, bars: ClosedBars, least: int) -> float | None:
    """Return the common factor by which closes have changed since their bars were evaluated.

    The result is 1 without a common factor, or if fewer than ``least`` bars show it; None if
    none of the evaluated bars are available.
    """
    ratios = []
    for stamp, close in state.marks:
        index = int(bars.stamps.searchsorted(stamp))
        if index < len(bars.stamps) and bars.stamps[index] == stamp and stamp not in bars.withheld:
            ratio = float(bars.columns["close"][index]) / close
            if ratio > 0 and math.isfinite(ratio):
                ratios.append(math.log(ratio))
    if not ratios:
        return None
    middle = median(ratios)
    is_common = all(abs(ratio - middle) <= _ALIKE * abs(middle) for ratio in ratios)
    return math.exp(middle) if is_common and len(ratios) >= least else 1.0


def _is_unchanged(factor: float) -> bool:
    return abs(math.log(factor)) < _FACTOR_SLACK


def _split_event(
    alert: CrossingAlert, use: IndicatorUse, before: AlertState, after: AlertState, now_ms: int
) -> AlertEvent:
    old, new = threshold_of(alert, use, before), threshold_of(alert, use, after)
    text = (
        f"{alert.series}: a split of {_number_text(after.scale / before.scale)} new shares for "
        f"each old one moved the threshold of {alert.quantity} from "
        f"{_number_text(old, _TYPED)} to {_number_text(new, _TYPED)}"
    )
    return AlertEvent(alert.id, "moved", apart(now_ms), now_ms, text, threshold=new)


def _marks(bars: ClosedBars, state: AlertState) -> tuple[tuple[int, float], ...]:
    """Return the timestamps and closes of the last usable bars that the alert has evaluated."""
    end = 0 if state.seen_ms is None else int(bars.stamps.searchsorted(state.seen_ms, "right"))
    marks: list[tuple[int, float]] = []
    for index in range(end - 1, -1, -1):
        stamp, close = int(bars.stamps[index]), float(bars.columns["close"][index])
        if stamp not in bars.withheld and close > 0 and math.isfinite(close):
            marks.append((stamp, close))
        if len(marks) == _MARKS:
            break
    return tuple(reversed(marks))


# --- bar by bar ----------------------------------------------------------------------------


def _after_withheld_bar(
    alert: CrossingAlert,
    state: AlertState,
    at: tuple[int, int],
    reason: str,
    events: list[AlertEvent],
) -> AlertState:
    """Return the state after a bar that must not be used; only the first of a run is reported."""
    cause = reason.partition(":")[0]
    if state.withheld != cause:
        text = f"{alert.series}: the bar {_bar_at(alert, at[0])} is not used for {alert}: {sentence(reason)}"
        events.append(AlertEvent(alert.id, "withheld", *at, text))
    return replace(state, seen_ms=at[0], withheld=cause)


def _after_bar(
    alert: CrossingAlert,
    use: IndicatorUse,
    state: AlertState,
    at: tuple[int, int],
    value: float,
    events: list[AlertEvent],
) -> AlertState:
    """Return the state after evaluating the value of one bar; add an event if the alert fires."""
    threshold = threshold_of(alert, use, state)
    sign = 1 if alert.condition == "above" else -1
    distance = sign * (value - threshold)
    is_beyond = distance > 0
    if state.phase == "new":
        if is_beyond:
            words = (
                f"is already {alert.condition} {_number_text(threshold, _TYPED)}: the alert fires once "
                "the value has moved back and crosses it again"
            )
            event = _event(alert, "beyond", at, value, threshold, words)
            # The alert may have fired on this bar before it was changed or enabled again.
            events.append(replace(event, bar_ms=apart(alert.since_ms)))
        return replace(state, phase="waiting" if is_beyond else "armed", beyond=0)
    if state.phase == "waiting":
        if distance > -_hysteresis(alert, use, state, threshold) or is_beyond:
            return state
        return replace(state, phase="armed", beyond=0)
    if not is_beyond:
        return replace(state, beyond=0)
    state = replace(state, beyond=state.beyond + 1)
    if state.beyond < (alert.rearm.persistence_bars if alert.rearm else 1):
        return state
    state = replace(state, beyond=0, phase="waiting" if alert.rearm else "done")
    if _is_cooling(alert, state, at[1]):
        return state
    words = f"is {alert.condition} {_number_text(threshold, _TYPED)}"
    events.append(_event(alert, "fired", at, value, threshold, words))
    return replace(state, fired_ms=at[1])


def _hysteresis(
    alert: CrossingAlert, use: IndicatorUse, state: AlertState, threshold: float
) -> float:
    """Return how far beyond the threshold the value must move back before the alert is re-armed."""
    if alert.rearm is None or state.fired_ms is None:
        return 0.0
    if alert.rearm.hysteresis_type == "percentage":
        return abs(threshold) * alert.rearm.hysteresis / 100
    return alert.rearm.hysteresis * state.scale**use.indicator.split_power


def _is_cooling(alert: CrossingAlert, state: AlertState, closed_ms: int) -> bool:
    if alert.rearm is None or state.fired_ms is None:
        return False
    return closed_ms < state.fired_ms + alert.rearm.cooldown_minutes * MINUTE_MS


def _after_expiry(alert: Alert, state: AlertState, events: list[AlertEvent]) -> AlertState:
    at = alert.expires_ms
    text = f"{alert} expired at {iso(at)} without firing"
    if state.fired_ms is not None:
        text = f"{alert} expired at {iso(at)}"
    events.append(AlertEvent(alert.id, "expired", apart(at), at, text))
    return replace(state, phase="done")


# --- alerts about data ---------------------------------------------------------------------


def evaluate_data(
    alert: DataAlert,
    state: AlertState | None,
    problems: Mapping[str, str],
    now_ms: int,
    newest_ms: int,
    bars: ClosedBars | None = None,
) -> Evaluation:
    """Compare the current data problems with those already reported; new problems become events.

    A problem that can end (:data:`~.alert_values.DATA_PROBLEMS`) is reported again if it ends and
    recurs; single incidents are reported once.

    Args:
        alert, state: See :func:`evaluate`; the alert is about data.
        problems: Problems of all series read in this run, in the form of
            :attr:`ClosedBars.problems`.
        now_ms: Current time.
        newest_ms: Closing time of the latest bar in any series, which determines whether the alert
            has expired.
        bars: Bars of the alert's own series, from which the next run continues; None if they are
            unavailable, or if the alert is about all series.

    Returns:
        See :func:`evaluate`; the state stays the same if nothing has changed.
    """
    before = state or AlertState()
    if before.phase == "done":
        return Evaluation(before)
    seen_ms, waiting = before.seen_ms, before.withheld
    if bars is not None:
        seen, waiting = _without_waiting(alert, before, bars, now_ms)
        seen_ms = int(seen.stamps[-1]) if len(seen.stamps) else seen_ms
    mine = {key: text for key, text in problems.items() if is_problem_of(alert, key)}
    new = [key for key in mine if key not in before.problems]
    lasts = [key for key in before.problems if key in mine]
    past = [k for k in before.problems if k not in mine and not can_problem_end(k)]
    events = [AlertEvent(alert.id, "data", apart(now_ms), now_ms, mine[key]) for key in new]
    reported = (*past[-_MOST_PAST:], *lasts, *new)
    after = replace(before, seen_ms=seen_ms, withheld=waiting)
    if set(reported) != set(before.problems):
        after = replace(after, problems=reported)
    if newest_ms >= alert.expires_ms:
        after = _after_expiry(alert, after, events)
    return _evaluation(before, after, events)


# --- messages ------------------------------------------------------------------------------


def _event(
    alert: CrossingAlert,
    name: EventName,
    at: tuple[int, int],
    value: float,
    threshold: float,
    words: str,
) -> AlertEvent:
    text = f"{alert.series}: {alert.quantity} {_number_text(value)} {words} (bar {_bar_at(alert, at[0])})"
    return AlertEvent(alert.id, name, *at, text, value, threshold)


def _bar_at(alert: CrossingAlert, stamp: int) -> str:
    """Return the name of a bar for messages: its opening time (UTC) or its session date."""
    if Timeframe.parse(alert.timeframe).is_intraday:
        return iso(stamp)
    return date_of(stamp).isoformat()


def _number_text(value: float, digits: int = 10) -> str:
    return plain_number(float(f"{value:.{digits}g}"))


def _usable_columns(
    columns: Mapping[str, NDArray[np.float64]], usable: NDArray[np.bool_] | None
) -> Mapping[str, NDArray[np.float64]]:
    if usable is None:
        return columns
    return {name: column[usable] for name, column in columns.items()}


def events_by_bar(events: tuple[AlertEvent, ...]) -> Iterator[tuple[int, tuple[AlertEvent, ...]]]:
    """Yield each bar with its events, because all events on one bar are claimed together."""
    for bar_ms in dict.fromkeys(event.bar_ms for event in events):
        yield bar_ms, tuple(event for event in events if event.bar_ms == bar_ms)
