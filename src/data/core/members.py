"""Universes in queries: the members of a universe, and the days for which they have no bars."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BadRangeError, DataError, QueryError, SurvivorshipWarning, UniverseError
from .calendars.calendar import calendar_for
from .calendars.grid import grid_for
from .calendars.ranges import resolve_day, resolve_days
from .calendars.written_times import FIRST_DAY
from .model.answer.member_frames import DaysWithoutBars, MemberFrames
from .model.answer.provenance import ATTRS_KEY
from .model.display.texts import counted
from .model.identity.instrument import Instrument
from .model.identity.universe import Members, Universes
from .model.request.query import distinct_symbols
from .model.time.instant import DAY_MS, date_of, day_ms, parse_iso
from .model.time.timeframe import Timeframe
from .model.words.caller import warn_user

if TYPE_CHECKING:
    import pandas as pd

    from .bars.client import BarsClient, Wishes
    from .model.identity.series import SeriesKey
    from .model.market.bars import Stamps
    from .model.request.query import BarsQuery
    from .wiring import Services

NOTHING_STORED = "nothing is cached for it (`onetape populate` fetches it)"
_MOST_SHOWN = 10
# A session is within two days of the UTC date that it is named after.
_SESSION_MARGIN = timedelta(days=2)


def named_members(
    universes: Universes,
    name: str,
    as_of: Any,
    now_ms: int,
    bounds: tuple[Any, Any] | None = None,
    strict: bool = False,
    reach: timedelta = timedelta(0),
) -> Members:
    """Return the members, at least one, of a universe that a query names.

    Args:
        universes: Store of the universes.
        name: Name of the universe.
        as_of: Day of the membership, in any form that ``get_ohlcv`` accepts as an end. None means
            today or, with ``bounds``, any day within them.
        now_ms: Current time, UTC milliseconds.
        bounds: First and last day, both inclusive. A first day of None means the beginning of all
            records, and a last day of None means today. If ``as_of`` is None, every symbol that was
            a member on any of these days is included.
        strict: Whether to raise if the answer is not point-in-time.
        reach: Time after the last day of ``bounds``, up to today, that is included too.

    Raises:
        QueryError: A day is invalid, or the end is before the start.
        UniverseError: The universe does not exist or has no members on that day; or ``strict`` is
            set and the answer is not point-in-time.

    Warns:
        SurvivorshipWarning: The answer is not point-in-time.
    """
    subject, since = f"universe {name!s:.80}", None
    day, today = resolve_day(subject, "as_of", as_of, now_ms), date_of(now_ms)
    if day is None and bounds is not None:
        since, day = resolve_days(Instrument(subject, "crypto"), *bounds, now_ms)
        since, day = since or FIRST_DAY, day or today
        if day < since:
            raise BadRangeError(f"{subject}: the end {day} is before the start {since}")
        day = max(day, min(day + reach, today))
    members = universes.members(name, day or today, strict=strict, since=since)
    if not members:
        raise UniverseError(f"{members}", hint="`onetape db universe show` lists recorded members")
    return members


def members_by_day(
    universes: Universes,
    name: Any,
    now_ms: int,
    bounds: tuple[Any, Any],
    strict: bool,
    timeframe: Timeframe,
) -> tuple[list[str], Callable[[date], frozenset[str]]]:
    """Return the members on any day of a range, and a function that returns those on one of its days.

    A bar counts for the day on which it closes, so the range ends one bar, or one day, later. For the
    other arguments, errors and warnings, see :func:`check_choice` and :func:`named_members`.
    """
    reach = timedelta(milliseconds=max(DAY_MS, timeframe.longest_ms))
    universe = check_choice(None, name, None)
    all_members = named_members(universes, universe, None, now_ms, bounds, strict, reach)

    def members(day: date) -> frozenset[str]:
        """Return the members on a date; the warning for the whole range is not repeated."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SurvivorshipWarning)
            return frozenset(universes.members(name, day))

    return [*all_members], members


def check_choice(symbols: Any, universe: Any, as_of: Any) -> str:
    """Return the universe that a query names, after checking that it does not also name symbols.

    Raises:
        QueryError: The query names both symbols and a universe, or neither; it gives a day without
            a universe; or the universe is not a string.
    """
    if universe is None and as_of is not None:
        raise QueryError(f"as_of requires a universe, but none is given: {as_of!s:.40}")
    if universe is None or symbols is not None:
        what = (
            "neither symbols nor a universe" if universe is None else "both symbols and a universe"
        )
        raise QueryError(f"the query names {what}", hint="name one of the two")
    if not isinstance(universe, str):
        raise QueryError(f"the name of a universe must be a string, not {universe!r:.80}")
    return universe


# --- bars of members -------------------------------------------------------------------------------


def member_frames(
    client: BarsClient,
    frames: Mapping[str, pd.DataFrame],
    members: Members,
    question: tuple[str, tuple[Any, Any, Any], Wishes],
) -> MemberFrames:
    """Return the result of a batch, with the universe's members and their days without bars.

    Args:
        client: Client that answered the batch.
        frames: Maps each member to its frame in the answer.
        members: Members of the universe.
        question: Timeframe, bounds and options of the batch.

    Warns:
        SurvivorshipWarning: Some members have no bars at all; issued once, naming them.
    """
    sessions: dict[tuple[str, int, int], tuple[Stamps, Stamps, Stamps]] = {}
    without: dict[str, list[DaysWithoutBars]] = {}
    timeframe, bounds, wishes = question
    for symbol, frame in frames.items():
        try:
            query = client.query(symbol, timeframe, *bounds, wishes)
        except DataError:  # its frame has the reason; there are no sessions to count
            continue
        calendar = calendar_for(query.instrument).name
        key = calendar, query.span.start, query.span.end
        if key not in sessions:
            sessions[key] = _sessions(query)
        if runs := list(_runs(frame, *sessions[key])):
            without[symbol] = runs
    if empty := [symbol for symbol, frame in frames.items() if frame.empty]:
        names = ", ".join(empty[:_MOST_SHOWN]) + (", ..." if empty[_MOST_SHOWN:] else "")
        warn_user(
            (
                f"{members.name}: no bars for {len(empty)} of the "
                f"{counted(len(frames), 'member')}: {names}; results computed from the others "
                "have survivorship bias"
            ),
            SurvivorshipWarning,
        )
    return MemberFrames(frames, members, without)


def warn_of_past(universes: Universes, today: Members, frames: Mapping[str, pd.DataFrame]) -> None:
    """Warn if today's members, which a query used, differ from those on the first bar's date.

    Warns:
        SurvivorshipWarning: The members differ, or the earlier members are not point-in-time.
    """
    starts = [frame.index[0] for frame in frames.values() if len(frame)]
    first = min(starts).date() if starts else today.as_of
    if first >= today.as_of:
        return
    then = universes.members(today.name, first)
    if then.is_pit and set(then) != set(today):
        left, joined = len({*then} - {*today}), len({*today} - {*then})
        warn_user(
            (
                f"{today.name}: the bars from {first} are those of today's members: {left} of "
                f"the {len(then)} members on {first} are not included, and {joined} that joined later "
                f"are (as_of='{first}' uses the members of that day, as_of='today' keeps today's "
                "members without this warning)"
            ),
            SurvivorshipWarning,
        )


def _sessions(query: BarsQuery) -> tuple[Stamps, Stamps, Stamps]:
    """Return the dates of a query's completed sessions, and the bounds of their bars' timestamps.

    The first array contains the dates, the second and third the half-open bounds; all in UTC
    milliseconds.
    """
    grid, span = grid_for(query.instrument, query.timeframe), query.span
    timeframe = query.timeframe
    rows = [
        (day_ms(session.day), session.open_ms, session.close_ms)
        for session in grid.calendar.sessions(
            date_of(span.start) - _SESSION_MARGIN, date_of(span.end) + _SESSION_MARGIN
        )
        if session.close_ms <= query.now_ms
    ]
    days, opens, closes = np.array(rows, dtype=np.int64).reshape(-1, 3).T
    if timeframe.is_intraday and timeframe.step_ms is not None:
        # A bar that starts on the clock hour may begin before its session.
        within = np.minimum(closes, span.end) - np.maximum(opens, span.start)
        is_within = within >= np.minimum(timeframe.step_ms, closes - opens)
        low, high = opens - timeframe.step_ms + 1, closes
    else:
        stamps = grid.opens(span)
        row = np.searchsorted(stamps, days, "right") - 1
        is_within = (row >= 0) & (days < span.end)
        low = stamps[row] if len(stamps) else days
        high = low + 1
    return days[is_within], low[is_within], high[is_within]


def _runs(
    frame: pd.DataFrame, days: Stamps, low: Stamps, high: Stamps
) -> Iterator[DaysWithoutBars]:
    """Yield the sessions without bars, with consecutive sessions grouped."""
    stamps = frame.index.to_numpy().astype("datetime64[ms]").astype(np.int64)
    lacking = np.searchsorted(stamps, low) == np.searchsorted(stamps, high)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], lacking, [False]]).astype(np.int8)))
    for first, behind in edges.reshape(-1, 2).tolist():
        reason = _reason(frame.attrs[ATTRS_KEY], int(low[first]), int(high[first]))
        ends = date_of(int(days[first])), date_of(int(days[behind - 1]))
        yield DaysWithoutBars(*ends, behind - first, reason)


def _reason(facts: Mapping[str, Any], low: int, high: int) -> str:
    """Return the reason that an answer's provenance gives for the lack of bars in ``[low, high)``."""
    if "error" in facts:
        return str(facts["error"]["message"])
    gaps = (g for g in facts["gaps"] if parse_iso(g["start"]) < high and low < parse_iso(g["end"]))
    return next((str(gap["reason"]) for gap in gaps), str(facts.get("empty", "")))


# --- stored series of members -------------------------------------------------------------------


def series_of_symbols(
    services: Services, symbols: Iterable[str], keys: Iterable[SeriesKey]
) -> tuple[list[SeriesKey], list[str]]:
    """Return the series in ``keys`` that belong to ``symbols``, and the symbols without any series.

    Raises:
        QueryError: The symbols are not a list of strings.
    """
    names = {}
    for symbol in distinct_symbols(symbols):
        try:
            names[symbol] = services.selector.instrument(symbol).symbol
        except QueryError:  # no rule recognizes it, so nothing can be stored for it
            names[symbol] = symbol
    wanted = set(names.values())
    chosen = [key for key in keys if key.symbol in wanted]
    stored = {key.symbol for key in chosen}
    return chosen, [symbol for symbol, name in names.items() if name not in stored]
