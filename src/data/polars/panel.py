"""Bars of several assets side by side: what had closed by an instant is a search and a row.

Numbers are float64. Stamps and closes are UTC milliseconds; stamps of daily and longer bars are
00:00 of the session date as if it were UTC.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import lru_cache
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from ..calendars.calendar import MarketCalendar, first_unclosed
from ..calendars.grid import BarGrid
from ..model.bars import Stamps
from ..model.instant import DAY_MS, day_ms, to_ms
from ..model.span import Span
from ..model.timeframe import Timeframe

Floats = NDArray[np.float64]
FIELDS = ("open", "high", "low", "close", "volume")
# What a cell takes: its float, and its Decimal in the column and the frame that answers are cut out of.
_CELL_BYTES = len(FIELDS) * (8 + 16 + 16)
_ANCHORS = ("session", "clock")
_DATES = 4096


class Moment(NamedTuple):
    """A time that was asked for.

    Attributes:
        ms: the instant; of a date 00:00 as if it were UTC.
        day: the session date, where it is one.
    """

    ms: int
    day: date | None = None

    @classmethod
    def of(cls, moment: date | datetime, *, is_daily: bool) -> Moment:
        """Return a time as it is meant.

        A naive midnight is a session date where the program goes by days: pandas writes dates so.

        Raises:
            ValueError: its time zone is none of Python's.
            OverflowError: it lies outside the years 1 to 9999 in UTC.
        """
        if not isinstance(moment, datetime):
            return cls(day_ms(moment), moment)
        ms = to_ms(moment)
        is_label = is_daily and moment.tzinfo is None and ms % DAY_MS == 0
        if is_label and not getattr(moment, "nanosecond", 0) and not moment.microsecond:
            return cls(ms, moment.date())
        return cls(ms)

    def horizon(self, calendar: MarketCalendar) -> int:
        """Return the instant by which bars must have closed: of a date the close of its session."""
        return self.ms if self.day is None else _session_end(cast("Any", calendar), self.day)

    @property
    def last_ms(self) -> int:
        """The last instant that belongs to it, where no market says so."""
        return self.ms if self.day is None else self.ms + DAY_MS


@lru_cache(_DATES)
def _session_end(calendar: MarketCalendar, day: date) -> int:
    """Return when the session of a date closes; of a date without one its begin, as if it were UTC."""
    sessions = calendar.sessions(day, day)
    return sessions[-1].close_ms if sessions else day_ms(day)


class AssetBars(NamedTuple):
    """Bars of one asset: ascending, unique stamps; ``values`` has a row for each of :data:`FIELDS`."""

    stamps: Stamps
    values: Floats


@dataclass(frozen=True)
class Market:
    """Where the assets of a panel trade that share a calendar.

    Attributes:
        calendar: when their bars close.
        places: the columns of these assets.
        is_known: whether it tells which bars are to be expected; else the rows are those of the bars.
    """

    calendar: MarketCalendar
    places: tuple[int, ...]
    is_known: bool = True


@dataclass(frozen=True)
class PanelGroup:
    """The bars of a market's assets: a row for each slot of the calendar and each bar beside it.

    Attributes:
        market: which.
        stamps: the rows, ascending.
        closes: when each has closed, ascending.
        values: of shape (fields, rows, assets); NaN where there is none.
    """

    market: Market
    stamps: Stamps
    closes: Stamps
    values: Floats

    def closed_by(self, horizon_ms: int) -> int:
        """Return how many rows had closed by an instant."""
        return int(self.closes.searchsorted(horizon_ms, side="right"))


class PanelWindow(NamedTuple):
    """A part of a panel: stamps of its rows, and values of shape (rows, assets)."""

    stamps: Stamps
    values: Floats


@dataclass
class Panel:
    """Aligned bars of some assets, complete for whatever is asked for between two instants.

    Attributes:
        names: the assets, in their order.
        series: symbol and timeframe of the stored series that they are made of.
        groups: by market.
        until_ms: the last instant that it can answer for.
        expires_ms: when it is to be read again because something lacks; None where nothing does.
        whole_for: for so many rows nothing more was there; 0 where it was not looked for.
        prepared: what the edge has made of a field.
        shown: what of it was shown to a record of reads; None without one.
    """

    names: tuple[str, ...]
    series: frozenset[tuple[str, str]]
    groups: tuple[PanelGroup, ...]
    until_ms: int
    expires_ms: int | None = None
    whole_for: int = 0
    prepared: dict[tuple[str, str], Any] = field(default_factory=dict)
    shown: Any = None

    @property
    def nbytes(self) -> int:
        """How much memory it takes, with all that is ever made of it."""
        cells = sum(len(group.stamps) * len(group.market.places) for group in self.groups)
        answers = 0 if self.shown is None else self.shown.nbytes
        return cells * _CELL_BYTES + sum(16 * len(group.stamps) for group in self.groups) + answers

    def covers(self, horizons: Sequence[int], count: int) -> bool:
        """Tell whether it has the last ``count`` rows of each market before its horizon."""
        if max(horizons) > self.until_ms:
            return False
        if count <= self.whole_for:
            return True
        pairs = zip(self.groups, horizons, strict=True)
        return all(group.closed_by(horizon) >= count for group, horizon in pairs)

    def row(self, name: str, horizons: Sequence[int]) -> Floats:
        """Return the values of the last row that had closed, one for each asset."""
        place = FIELDS.index(name)
        if len(self.groups) == 1:
            (group,) = self.groups
            last = group.closed_by(horizons[0])
            return group.values[place, last - 1] if last else np.full(len(self.names), np.nan)
        row = np.full(len(self.names), np.nan)
        for group, horizon in zip(self.groups, horizons, strict=True):
            last = group.closed_by(horizon)
            if last:
                row[list(group.market.places)] = group.values[place, last - 1]
        return row

    def rows(self, horizon: int, count: int) -> slice:
        """Return where the last ``count`` closed rows of the one market stand."""
        last = self.groups[0].closed_by(horizon)
        return slice(max(0, last - count), last)

    def window(self, name: str, horizons: Sequence[int], count: int) -> PanelWindow:
        """Return the last ``count`` rows that had closed in any market."""
        place = FIELDS.index(name)
        if len(self.groups) == 1:
            (group,), rows = self.groups, self.rows(horizons[0], count)
            return PanelWindow(group.stamps[rows], group.values[place, rows])
        lasts = [group.closed_by(h) for group, h in zip(self.groups, horizons, strict=True)]
        parts = [
            slice(max(0, last - count), last) for last in lasts
        ]  # of each market what may stand among the last of all
        pairs = list(zip(self.groups, parts, strict=True))
        stamps = np.unique(np.concatenate([group.stamps[rows] for group, rows in pairs]))[-count:]
        values = np.full((len(stamps), len(self.names)), np.nan)
        for group, rows in pairs:
            own = group.stamps[rows]
            kept = own >= stamps[0] if len(stamps) else np.zeros(0, dtype=bool)
            places = np.array(group.market.places)
            values[np.ix_(stamps.searchsorted(own[kept]), places)] = group.values[place, rows][kept]
        return PanelWindow(stamps, values)


def grid_of(market: Market, timeframe: Timeframe, stamps: Stamps) -> BarGrid:
    """Return the grid that the stamps of a market's bars stand on: vendors differ in their anchor."""
    grids = [BarGrid(market.calendar, timeframe, anchor) for anchor in _ANCHORS]
    if timeframe.is_intraday and len(stamps) and not grids[0].aligned(stamps).all():
        return max(grids, key=lambda grid: int(grid.aligned(stamps).sum()))
    return grids[0]


def group_of(
    market: Market,
    timeframe: Timeframe,
    span: Span,
    bars: Sequence[AssetBars | None],
    until_ms: int,
) -> PanelGroup:
    """Return the bars of a market's assets that had closed by ``until_ms``, row by row.

    Args:
        market, timeframe: of the bars.
        span: stamps of the rows that the calendar expects.
        bars: of each asset; None where there are none.
        until_ms: what closes later is left out.
    """
    there = [one.stamps for one in bars if one is not None]
    present = np.unique(np.concatenate(there)) if there else np.empty(0, dtype=np.int64)
    grid = grid_of(market, timeframe, present)
    stamps = np.union1d(grid.opens(span), present) if market.is_known else present
    # A bar beside the calendar may close after the next one: it is not seen before that.
    closes = np.maximum.accumulate(grid.closes(stamps)) if len(stamps) else stamps
    rows = int(closes.searchsorted(until_ms, side="right"))
    stamps, closes = stamps[:rows], closes[:rows]
    values = np.full((len(FIELDS), rows, len(market.places)), np.nan)
    for place, one in enumerate(bars):
        if one is not None and rows:
            kept = int(one.stamps.searchsorted(stamps[-1], side="right"))
            values[:, stamps.searchsorted(one.stamps[:kept]), place] = one.values[:, :kept]
    return PanelGroup(market, stamps, closes, values)


def known_until(market: Market, group: PanelGroup, timeframe: Timeframe, until_ms: int) -> int:
    """Return the last instant by which no expected bar closes that had not by ``until_ms``."""
    if not market.is_known:
        return until_ms
    grid = grid_of(market, timeframe, group.stamps)
    stamp = first_unclosed(market.calendar, timeframe, until_ms, grid.anchor)
    close = int(grid.closes(np.array([stamp], dtype=np.int64))[0])
    return max(until_ms, close - 1)


def start_of(market: Market, timeframe: Timeframe, horizon_ms: int, count: int) -> int:
    """Return the stamp of the ``count``-th row before an instant, or of one before that.

    Where the calendar is not known it is a guess: markets close at nights and on five days in fourteen.

    Raises:
        BadRangeError: it would lie before 1900.
    """
    if market.is_known:
        return BarGrid(market.calendar, timeframe).back(horizon_ms, count)
    length = timeframe.longest_ms * (4 if timeframe.is_intraday else 2)
    return horizon_ms - length * count - 7 * DAY_MS


def end_of(market: Market, timeframe: Timeframe, until_ms: int) -> int:
    """Return the stamp behind the last bar that can have closed by an instant."""
    if market.is_known:
        return first_unclosed(market.calendar, timeframe, until_ms)
    return until_ms + 1


def most_rows(assets: int, most_bytes: int) -> int:
    """Return how many rows of so many assets fit into some memory."""
    return most_bytes // (_CELL_BYTES * max(1, assets))
