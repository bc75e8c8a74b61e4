"""Finds sessions that a vendor lacks for most of its symbols, which count as one incident."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...core.model.stored.coverage import WITH_BARS, Condition, Covered, VendorDay
from ...core.model.stored.reasons import BEFORE_FIRST, CLOSED
from ...core.model.time.instant import DAY_MS, date_of, day_ms
from ...core.model.time.span import Span
from ...core.runtime.once import cached_property

if TYPE_CHECKING:
    from ...core.bars.client import SeriesOutline
    from ...core.calendars.calendar import MarketCalendar
    from ...core.model.identity.series import SeriesKey
    from ...core.model.stored.stored import LoggedCommit
    from ...core.model.time.timeframe import Timeframe

Mask = NDArray[np.bool_]
# Minimum number of symbols; fewer prove nothing about a vendor.
_FEWEST = 3
# A missing part shorter than this fraction of a session is only a gap in the series.
_SHARE = 0.25
# Sessions are counted from this day on, or from the decade of the first bar.
_FIRST_DAY = date(2000, 1, 1)
# Spans without bars for these reasons say nothing about a vendor.
_NO_SESSION = (CLOSED, BEFORE_FIRST)
_MOST, _LOGGED_MS = 1_000, 30 * DAY_MS


class _Sessions:
    """A market's sessions from a date up to now: dates for daily bars, trading hours for shorter ones."""

    def __init__(
        self, calendar: MarketCalendar, timeframe: Timeframe, first: date, now_ms: int
    ) -> None:
        self.first = first
        sessions = [s for s in calendar.sessions(first, date_of(now_ms)) if s.close_ms <= now_ms]
        self.days = [session.day for session in sessions]
        self.closes = np.array([session.close_ms for session in sessions], dtype=np.int64)
        if timeframe.is_intraday:
            self.starts = np.array([session.open_ms for session in sessions], dtype=np.int64)
            self.ends = self.closes
        else:
            self.starts = np.array([day_ms(day) for day in self.days], dtype=np.int64)
            self.ends = self.starts + DAY_MS

    def span(self, index: int) -> Span:
        """Return the span of the session at index ``index``, up to the start of the next session.

        Gaps also extend that far.
        """
        is_last = index + 1 == len(self.days)
        end = self.ends[index] if is_last else self.starts[index + 1]
        return Span(int(self.starts[index]), int(end))

    def touched(self, span: Span) -> slice:
        """Return the index range of the sessions that overlap a span."""
        first = int(np.searchsorted(self.ends, span.start, side="right"))
        return slice(first, max(first, int(np.searchsorted(self.starts, span.end))))

    def shares(self, span: Span, touched: slice) -> NDArray[np.float64]:
        """Return the fraction of each of the ``touched`` sessions that a span covers."""
        starts, ends = self.starts[touched], self.ends[touched]
        inside = np.minimum(ends, span.end) - np.maximum(starts, span.start)
        shares: NDArray[np.float64] = inside / (ends - starts)
        return shares


class _Tally:
    """One vendor's counts for each session: symbols with all bars, with no bars, and with only some bars."""

    def __init__(self, sessions: _Sessions) -> None:
        self.sessions = sessions
        self.counts = np.zeros((3, len(sessions.days)), dtype=np.int32)

    def fit(self, sessions: _Sessions) -> None:
        """Switch to ``sessions``, which may begin earlier; counts for the additional sessions start at 0."""
        earlier = len(sessions.days) - len(self.sessions.days)
        self.sessions, self.counts = sessions, np.pad(self.counts, ((0, 0), (earlier, 0)))


class VendorDays:
    """Counts symbols by vendor and session, over many series.

    The series themselves are not kept. Not thread-safe.

    Args:
        now_ms: Current time in UTC milliseconds.
    """

    def __init__(self, now_ms: int) -> None:
        self._now = now_ms
        self._sessions: dict[tuple[str, bool], _Sessions] = {}
        self._tallies: dict[tuple[str, str, str], _Tally] = {}

    def add(
        self,
        series: SeriesKey,
        outline: SeriesOutline,
        commits: Callable[[], Sequence[LoggedCommit]] = tuple,
    ) -> None:
        """Count a series; series from files and series of bars longer than a day are ignored.

        Each symbol must be counted only once. If it has several lanes (folders with different kinds
        of bars), pass only the one that answers queries.

        Args:
            series, outline: The series, with its coverage, grid and lifetime.
            commits: Function that returns the log of the series' commits, oldest first. It is
                called only if bars in the last month came from a different vendor than those
                before.
        """
        timeframe, calendar = series.timeframe, outline.grid.calendar
        if series.of_folder or timeframe.step_ms is None or timeframe.step_ms > DAY_MS:
            return
        market = calendar.name, timeframe.is_intraday
        entries = [
            entry
            for entry in outline.coverage
            if entry.reason not in _NO_SESSION or _has_bars(entry)
        ]
        if not entries:
            return
        sessions, first = self._sessions.get(market), _decade_of(entries[0].span.start)
        if sessions is None or first < sessions.first:
            sessions = self._sessions[market] = _Sessions(calendar, timeframe, first, self._now)
        with_bars, empty, partly_empty = self._masks(sessions, entries)
        any_bar: Mask = np.logical_or.reduce([*with_bars.values()] or [np.zeros(0, bool)])
        for vendor, has in with_bars.items():
            none = empty.get(vendor, _no_sessions(sessions)) & ~has
            half = partly_empty.get(vendor, _no_sessions(sessions)) & has
            is_lacking = none & ~any_bar
            filled = np.flatnonzero(any_bar & ~has & (sessions.closes > self._now - _LOGGED_MS))
            if len(filled) and filled[-1] > np.argmax(has):
                logged = commits()
                for index in filled.tolist():
                    is_lacking[index] = _has_lacked(vendor, sessions, index, logged)
            states = (has & ~half, is_lacking, half)
            key = vendor, calendar.name, timeframe.label
            tally = self._tallies.setdefault(key, _Tally(sessions))
            if tally.sessions is not sessions:
                tally.fit(sessions)
            tally.counts += np.array(states, dtype=np.int32)

    def _masks(
        self, sessions: _Sessions, entries: Sequence[Covered]
    ) -> tuple[dict[str, Mask], dict[str, Mask], dict[str, Mask]]:
        """Return three masks by vendor: sessions with bars, empty ones, and partly empty ones."""
        with_bars: dict[str, Mask] = {}
        empty: dict[str, Mask] = {}
        partly_empty: dict[str, Mask] = {}
        for entry in entries:
            touched = sessions.touched(entry.span)
            if _has_bars(entry):
                for name in filter(None, entry.vendor.split(",")):
                    with_bars.setdefault(name, _no_sessions(sessions))[touched] = True
            else:
                shares = sessions.shares(entry.span, touched)
                for name in filter(None, entry.vendor.split(",")):
                    empty.setdefault(name, _no_sessions(sessions))[touched] |= shares >= 1
                    partly_empty.setdefault(name, _no_sessions(sessions))[touched] |= (
                        shares >= _SHARE
                    )
        return with_bars, empty, partly_empty

    @cached_property
    def days(self) -> list[VendorDay]:
        """The sessions that a vendor lacks for most of its symbols, and for at least three.

        The list is limited to the latest thousand, oldest first.
        """
        days = [
            self._day(key, tally, index)
            for key, tally in sorted(self._tallies.items())
            for index in np.flatnonzero(_is_lacking(tally)).tolist()
        ]
        return sorted(days, key=lambda day: day.day)[-_MOST:]

    def is_available(self, day: VendorDay) -> bool:
        """Return whether the counts show that the vendor now has a session that it used to lack.

        This requires at least half as many symbols as were counted when the session was found
        missing.
        """
        tally = self._tallies.get((day.vendor, day.calendar, day.timeframe))
        if tally is None:
            return False
        starts = tally.sessions.starts
        index = int(np.searchsorted(starts, day.span.start))
        if index == len(starts) or day.span.start < starts[0] or _is_lacking(tally)[index]:
            return False
        return bool(tally.counts[:, index].sum() >= max(_FEWEST, day.symbols / 2))

    def _day(self, key: tuple[str, str, str], tally: _Tally, index: int) -> VendorDay:
        has, none, half = tally.counts[:, index].tolist()
        symbols, sessions = has + none + half, tally.sessions
        condition: Condition = "missing" if 2 * none > symbols else "degraded"
        if self._now - int(sessions.closes[index]) < DAY_MS:
            condition = "pending"
        day, span = sessions.days[index].isoformat(), sessions.span(index)
        return VendorDay(*key, day, span, condition, symbols, none + half)


def _has_lacked(
    vendor: str, sessions: _Sessions, index: int, commits: Sequence[LoggedCommit]
) -> bool:
    """Return whether a vendor had no bars for a session even a day after the session closed.

    ``index`` is the index of the session. The log in ``commits`` must show that the vendor then
    answered for the whole session, and that bars from another vendor were added later. It is not
    enough that the stored bars come from another vendor, because equal bars that this vendor sent
    later are not stored again.
    """
    first, end = int(sessions.starts[index]), int(sessions.ends[index])
    has_answered = False
    for commit in commits:
        if commit.span is None or (commit.at_ms or 0) < int(sessions.closes[index]) + DAY_MS:
            continue
        if vendor in commit.vendor.split(","):
            has_answered |= commit.span.start <= first and end <= commit.span.end
        elif has_answered and commit.added and commit.span.overlaps(Span(first, end)):
            return True
    return False


def _has_bars(entry: Covered) -> bool:
    return entry.state in WITH_BARS


def _decade_of(ms: int) -> date:
    """Return the first day of the decade that contains a time, or of the first decade counted."""
    day = date_of(max(ms, day_ms(_FIRST_DAY)))
    return date(day.year // 10 * 10, 1, 1)


def _is_lacking(tally: _Tally) -> Mask:
    lacking = tally.counts[1:].sum(axis=0)
    mask: Mask = (lacking >= _FEWEST) & (2 * lacking > tally.counts.sum(axis=0))
    return mask


def _no_sessions(sessions: _Sessions) -> Mask:
    return np.zeros(len(sessions.days), dtype=bool)
