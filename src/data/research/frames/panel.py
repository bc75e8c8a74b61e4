"""Panels: aligned bars for several assets, with the time at which each row had closed.

The last row that had closed by an instant is found by binary search. Numbers are float64. Stamps
and closing times are UTC milliseconds; the stamp of a daily or longer bar is 00:00 UTC of its
session's date.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import lru_cache
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from ...core.calendars.buckets import bucket_of
from ...core.calendars.buckets import start_of as bucket_start
from ...core.calendars.calendar import MarketCalendar, first_unclosed
from ...core.calendars.grid import BarGrid
from ...core.model.market.bars import Stamps
from ...core.model.time.instant import DAY_MS, date_of, day_ms, to_ms
from ...core.model.time.span import Span
from ...core.model.time.timeframe import Timeframe

Floats = NDArray[np.float64]
FIELDS = ("open", "high", "low", "close", "volume")
# Bytes per value: the float, and its Decimals in the prepared column and in the prepared frame.
_CELL_BYTES = len(FIELDS) * (8 + 16 + 16)
_ANCHORS = ("session", "clock")
_DATES = 4096


class Moment(NamedTuple):
    """The time for which a caller of a portal requests bars.

    Attributes:
        ms: Instant in UTC milliseconds; for a date, 00:00 UTC.
        day: Session date if the time is a date, else None.
    """

    ms: int
    day: date | None = None

    @classmethod
    def of(cls, moment: date | datetime, *, is_daily: bool) -> Moment:
        """Convert a time to a :class:`Moment`.

        A naive midnight is taken as a session date if the simulation advances in days, because
        pandas represents dates that way.

        Raises:
            ValueError: The time zone is invalid.
            OverflowError: The time is outside the years 1 to 9999 in UTC.
        """
        if not isinstance(moment, datetime):
            return cls(day_ms(moment), moment)
        ms = to_ms(moment)
        is_label = is_daily and moment.tzinfo is None and ms % DAY_MS == 0
        if is_label and not getattr(moment, "nanosecond", 0) and not moment.microsecond:
            return cls(ms, moment.date())
        return cls(ms)

    def horizon(self, calendar: MarketCalendar) -> int:
        """Return the instant by which bars must have closed to be visible at this moment.

        For a date, it is the close of the date's session.
        """
        return self.ms if self.day is None else _session_end(cast("Any", calendar), self.day)

    @property
    def last_ms(self) -> int:
        """The instant itself or, for a date, the end of the UTC day."""
        return self.ms if self.day is None else self.ms + DAY_MS


@lru_cache(_DATES)
def _session_end(calendar: MarketCalendar, day: date) -> int:
    """Return the close of a date's session, or 00:00 UTC if the date has no session."""
    sessions = calendar.sessions(day, day)
    return sessions[-1].close_ms if sessions else day_ms(day)


class AssetBars(NamedTuple):
    """The bars for one asset, in ascending order and with unique timestamps.

    ``values`` has a row for each of :data:`FIELDS`.
    """

    stamps: Stamps
    values: Floats


@dataclass(frozen=True)
class Market:
    """The assets in a panel that share a calendar.

    Attributes:
        calendar: Calendar that determines when the bars close.
        columns: Column indices of these assets in the panel.
        is_known: Whether the calendar determines which bars to expect. If not, there is a row for
            each stamp at which any of the assets has a bar.
    """

    calendar: MarketCalendar
    columns: tuple[int, ...]
    is_known: bool = True


@dataclass(frozen=True)
class PanelGroup:
    """The bars for one market's assets, with a row for each expected or existing bar.

    Attributes:
        market: Market of the assets.
        stamps: Timestamps of the rows, ascending.
        closes: Time at which each row's bar closes, ascending.
        values: Array of shape (fields, rows, assets); NaN if there is no value.
        start: Timestamp from which on the bars were read.
        is_known: Whether the market's calendar determines the rows.
    """

    market: Market
    stamps: Stamps
    closes: Stamps
    values: Floats
    start: int
    is_known: bool

    def closed_by(self, horizon_ms: int) -> int:
        """Return the number of rows that had closed by an instant."""
        return int(self.closes.searchsorted(horizon_ms, side="right"))

    def rows(self, horizon_ms: int, count: int) -> slice:
        """Return the slice of the last ``count`` rows that had closed by an instant."""
        last = self.closed_by(horizon_ms)
        return slice(max(0, last - count), last)


@dataclass
class Panel:
    """The bars for several assets, aligned in rows by time, with all rows up to ``until_ms``.

    Attributes:
        names: Assets, in order.
        timeframe: Timeframe of the bars.
        series: Symbol and timeframe of each stored series from which the panel was built.
        groups: Bars, grouped by market.
        until_ms: Last instant for which the panel can answer.
        expires_ms: Time at which to read the panel again because bars are missing; None if no bars
            are missing.
        scales: Maps each asset to the splits and dividends that its prices are adjusted for.
        mark: Number of commits to the store that had been reported before the panel was read.
        prepared: Output for each field, kept so that later answers can reuse it.
        shown: Rows that the caller has seen, which a lineage will record; None if reads are not
            recorded.
    """

    names: tuple[str, ...]
    timeframe: Timeframe
    series: frozenset[tuple[str, str]]
    groups: tuple[PanelGroup, ...]
    until_ms: int
    expires_ms: int | None = None
    scales: Mapping[str, str] = field(default_factory=dict)
    mark: int = 0
    prepared: dict[tuple[str, str], Any] = field(default_factory=dict)
    shown: Any = None

    @property
    def nbytes(self) -> int:
        """Number of bytes that the panel uses, including any output prepared from it later."""
        cells = sum(len(group.stamps) * len(group.market.columns) for group in self.groups)
        answers = 0 if self.shown is None else self.shown.nbytes
        return cells * _CELL_BYTES + sum(16 * len(group.stamps) for group in self.groups) + answers

    def covers(self, horizons: Sequence[int], count: int) -> bool:
        """Return whether the panel contains the last ``count`` rows up to each market's horizon.

        A horizon is the instant by which a bar must have closed to be visible. If there are fewer
        rows, the panel must begin where they would begin.
        """
        return max(horizons) <= self.until_ms and all(
            group.closed_by(horizon) >= count
            or first_of(group.market, self.timeframe, horizon, count) >= group.start
            for group, horizon in zip(self.groups, horizons, strict=True)
        )

    def row(self, name: str, horizons: Sequence[int]) -> Floats:
        """Return the values in each market's last closed row, one for each asset."""
        row = np.full(len(self.names), np.nan)
        for group, horizon in zip(self.groups, horizons, strict=True):
            if last := group.closed_by(horizon):
                row[list(group.market.columns)] = group.values[FIELDS.index(name), last - 1]
        return row

    def lacks(self, name: str, horizons: Sequence[int], count: int) -> bool:
        """Return whether the last ``count`` closed rows in every market lack all values."""
        index = FIELDS.index(name)
        return all(
            np.isnan(group.values[index, group.rows(horizon, count)]).all()
            for group, horizon in zip(self.groups, horizons, strict=True)
        )

    def window(self, name: str, horizons: Sequence[int], count: int) -> tuple[Stamps, Floats]:
        """Return the last ``count`` rows that had closed by the horizons, across all markets.

        The result is the rows' timestamps, and an array of values, shape (rows, assets).
        """
        index = FIELDS.index(name)
        # From each market, the rows that may be among the last overall.
        parts = [
            (group.market, group.stamps[rows], group.values[index, rows])
            for group, horizon in zip(self.groups, horizons, strict=True)
            for rows in [group.rows(horizon, count)]
        ]
        if len(parts) == 1:
            return parts[0][1:]
        stamps = np.unique(np.concatenate([times for _, times, _ in parts]))[-count:]
        values = np.full((len(stamps), len(self.names)), np.nan)
        for market, times, cells in parts:
            kept = np.isin(times, stamps)
            places = np.ix_(stamps.searchsorted(times[kept]), np.array(market.columns))
            values[places] = cells[kept]
        return stamps, values


def grid_of(market: Market, timeframe: Timeframe, stamps: Stamps) -> BarGrid:
    """Return the time grid that fits the timestamps; vendors align bars differently."""
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
    """Arrange the bars for a market's assets in rows, leaving out bars that close too late.

    Args:
        market, timeframe: Market and timeframe of the bars.
        span: Range of timestamps in which there is a row for each bar that the calendar expects.
        bars: Bars for each asset; None for an asset without bars.
        until_ms: Instant by which a bar must have closed to be included.
    """
    there = [table.stamps for table in bars if table is not None]
    present = np.unique(np.concatenate(there)) if there else np.empty(0, dtype=np.int64)
    grid = grid_of(market, timeframe, present)
    # A source's weeks or months may not be the calendar's, which then does not expect them.
    is_known = market.is_known and (timeframe.is_intraday or bool(grid.aligned(present).all()))
    stamps = np.union1d(grid.opens(span), present) if is_known else present
    # An off-calendar bar may close after the next one, which is not visible until then.
    closes = np.maximum.accumulate(_closes(grid, stamps)) if len(stamps) else stamps
    rows = int(closes.searchsorted(until_ms, side="right"))
    stamps, closes = stamps[:rows], closes[:rows]
    values = np.full((len(FIELDS), rows, len(market.columns)), np.nan)
    for index, table in enumerate(bars):
        if table is not None and rows:
            kept = int(table.stamps.searchsorted(stamps[-1], side="right"))
            values[:, stamps.searchsorted(table.stamps[:kept]), index] = table.values[:, :kept]
    return PanelGroup(market, stamps, closes, values, span.start, is_known)


def _closes(grid: BarGrid, stamps: Stamps) -> Stamps:
    """Return when each bar closes; a week or month on any date closes with its own last session."""
    closes = grid.closes(stamps)
    if grid.timeframe.is_intraday:
        return closes
    buckets = bucket_of(grid.timeframe, stamps)
    shifts = stamps - bucket_start(grid.timeframe, buckets)
    ends = bucket_start(grid.timeframe, buckets + 1) + shifts
    for row in np.flatnonzero(shifts):
        days = date_of(int(stamps[row])), date_of(int(ends[row]) - 1)
        sessions = grid.calendar.sessions(*days)
        closes[row] = sessions[-1].close_ms if sessions else ends[row]
    return closes


def known_until(group: PanelGroup, timeframe: Timeframe, until_ms: int) -> int:
    """Return the last instant before the next expected bar closes.

    The result is ``until_ms`` or later; it is ``until_ms`` if it is unknown which bars to expect.
    """
    if not group.is_known:
        return until_ms
    calendar = group.market.calendar
    grid = grid_of(group.market, timeframe, group.stamps)
    stamp = first_unclosed(calendar, timeframe, until_ms, grid.anchor)
    close = int(grid.closes(np.array([stamp], dtype=np.int64))[0])
    return max(until_ms, close - 1)


def start_of(market: Market, timeframe: Timeframe, horizon_ms: int, count: int) -> int:
    """Return the timestamp of the ``count``-th row before an instant, or an earlier one.

    If the calendar is unknown, the stamp is an estimate that allows for a market that is closed at
    night, on five days out of fourteen, and for a week (a month for bars of a day or longer).

    Raises:
        BadRangeError: The stamp would be before 1900.
    """
    if market.is_known:
        return BarGrid(market.calendar, timeframe).back(horizon_ms, count)
    times, days = (4, 7) if timeframe.is_intraday else (2, 31)
    return horizon_ms - timeframe.longest_ms * times * count - days * DAY_MS


def first_of(market: Market, timeframe: Timeframe, horizon_ms: int, count: int) -> int:
    """Return the timestamp of the first of the last ``count`` rows that had closed by an instant.

    See :func:`start_of` for an unknown calendar, and for the error.
    """
    return start_of(market, timeframe, end_of(market, timeframe, horizon_ms), count)


def end_of(market: Market, timeframe: Timeframe, until_ms: int) -> int:
    """Return the first timestamp after the last bar that can have closed by an instant."""
    if market.is_known:
        return first_unclosed(market.calendar, timeframe, until_ms)
    return until_ms + 1


def most_rows(assets: int, most_bytes: int) -> int:
    """Return the number of rows that fit into ``most_bytes`` of memory for ``assets`` assets."""
    return most_bytes // (_CELL_BYTES * max(1, assets))
