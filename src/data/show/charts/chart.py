"""The content of a chart of bars: frozen values that every picture and page is drawn from. Pure.

Instants are UTC milliseconds. A *slot* is a place on the time axis: there is one for each bar that
the market's calendar expects and for each bar that exists, so nights, weekends and holidays take no
room. If there are more slots than room, neighbouring slots are merged into *columns* of equal length.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from ...core.calendars.localtime import offset_ms
from ...core.model.market.bars import Stamps
from ...core.model.time.instant import from_ms
from ...core.runtime.once import cached_property

# Factor between a close and both of its neighbours from which it does not count for the scale.
_SPIKE = 3

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


class Counts(NamedTuple):
    """Counts of a frame's rows, by how they are drawn.

    Attributes:
        given: Number of rows in the frame.
        drawn: Number of columns of bars, or points of lines, in the picture.
        merged: Number of rows that share a column or point with a drawn row, and count toward its
            high and low.
        refused: Number of rows that cannot be drawn. ``drawn + merged + refused`` is ``given``.
    """

    given: int
    drawn: int
    merged: int
    refused: int

    def __str__(self) -> str:
        return (
            f"{self.given:,} bar{'s' * (self.given != 1)} given: {self.drawn:,} drawn, "
            f"{self.merged:,} merged, {self.refused:,} refused"
        )


class AxisSpan(NamedTuple):
    """A labelled range ``[first, end)`` of positions (slots) on the time axis, and its symbol."""

    first: int
    end: int
    text: str
    symbol: str = ""


class Mark(NamedTuple):
    """A mark at one slot (position on the time axis).

    Attributes:
        slot: Index of the slot.
        type: ``split``, ``dividend`` or ``doubt``; for user-supplied marks, ``buy``, ``sell`` or
            ``note``.
        text: Ratio of a split, amount and currency of a dividend, reason for a doubt, or
            user-supplied text.
    """

    slot: int
    type: str
    text: str

    @property
    def label(self) -> str:
        """The mark's text, including its kind, for output that has no column for the kind."""
        return self.text if self.type in ("doubt", "note") else f"{self.type} {self.text}".strip()


class Overlay(NamedTuple):
    """A user-supplied line over the bars; ``values`` contains a number for each slot (NaN for a break)."""

    name: str
    values: Floats


@dataclass(frozen=True)
class Axis:
    """The time axis, which is divided into slots: one for each time at which there can be a bar.

    Attributes:
        stamps: Opening time of each slot in UTC milliseconds, int64 of shape (slots,), ascending.
        zone: IANA name of the time zone of the labels.
        is_daily: Whether the timestamps are session dates at 00:00, which are not converted to a
            time zone.
    """

    stamps: Stamps
    zone: str = "UTC"
    is_daily: bool = True

    def __len__(self) -> int:
        return len(self.stamps)

    def each(self, most: int) -> int:
        """Return the smallest number of slots per column that gives at most ``most`` columns."""
        return -(-len(self) // most) or 1

    def walls(self, slots: Ints) -> Ints:
        """Return the local wall-clock times of slots in milliseconds, as if they were UTC.

        Session dates are returned unchanged.
        """
        stamps = self.stamps[slots]
        if self.is_daily or self.zone == "UTC":
            return stamps
        import pandas as pd

        times = pd.DatetimeIndex(stamps.astype("M8[ms]"), tz="UTC").tz_convert(self.zone)
        walls: Ints = times.tz_localize(None).as_unit("ms").asi8
        return walls

    def text(self, slot: int) -> str:
        """Return a slot's date as text, with the time in the axis' zone unless bars are daily."""
        ms = int(self.stamps[slot])
        if self.is_daily:
            return f"{from_ms(ms):%Y-%m-%d}"
        return f"{from_ms(ms + offset_ms(ZoneInfo(self.zone), ms)):%Y-%m-%d %H:%M}"


@dataclass(frozen=True)
class Columns:
    """The columns of bars to draw; bars that share a column are merged.

    Arrays have shape (columns,) unless stated otherwise.

    Attributes:
        first, last: Indices of each column's first and last bar among the bars of the series.
        positions: Position of each column in the picture, in units of columns.
        values: First open, highest high, lowest low, last close, sum of the volumes; shape (5,
            columns). The volume is NaN if no bar of the column has one.
        pale: Whether any bar in the column may still change.
        with_volume: Number of bars in the column that have a volume.
    """

    first: Ints
    last: Ints
    positions: Ints
    values: Floats
    pale: Flags
    with_volume: Ints


@dataclass(frozen=True)
class Series:
    """The bars of one symbol, as arrays in order of time; each slot of the axis has at most one bar.

    Arrays have shape (bars,) unless stated otherwise.

    Attributes:
        symbol: Symbol, as human-readable text.
        slots: Slot of each bar on the axis.
        values: Open, high, low, close, volume; shape (5, bars).
        pale: Whether each bar may still change, because it is provisional, forming or suspect.
        vendors: Vendor of each bar, as an index into ``vendor_names``; -1 if not known.
        vendor_names: Names of the vendors, as human-readable text.
        segments: Number of gaps before each bar; a line does not join bars from different segments.
        given: Number of rows in the frame.
        refused: Maps each reason to the number of rows that are not drawn because of it.
        unordered: Number of rows that were out of order and were sorted.
        until: Date of the last bar, if the series ends before the chart does; otherwise empty.
        factor: Factor by which closes are multiplied, so that several series start at 100; 1.0 for
            a single series.
        since: Date at which the series is 100, if others are at an earlier one; otherwise empty.
    """

    symbol: str
    slots: Ints
    values: Floats
    pale: Flags
    vendors: Ints
    vendor_names: tuple[str, ...]
    segments: Ints
    given: int
    refused: Mapping[str, int]
    unordered: int = 0
    until: str = ""
    factor: float = 1.0
    since: str = ""

    def __len__(self) -> int:
        return len(self.slots)

    @property
    def closes(self) -> Floats:
        """The closing prices, multiplied by ``factor``."""
        closes: Floats = self.values[3] * self.factor
        return closes

    @property
    def title(self) -> str:
        """The symbol, and the dates at which the series begins to be drawn from 100, and at which it ends."""
        ends = {"from": self.since, "until": self.until}
        return " ".join([self.symbol, *(f"{word} {day}" for word, day in ends.items() if day)])

    @property
    def is_spike(self) -> Flags:
        """Mask of the closes above three times both neighbours, or below a third of both.

        The first and the last close are compared with the two closes next to them. If there are
        more than one in fifty, prices do move that much, and none is a spike.
        """
        closes = self.values[3]
        if len(closes) < 3:
            return np.zeros(len(closes), bool)
        before = np.concatenate([closes[2:3], closes[:-1]])
        after = np.concatenate([closes[1:], closes[-3:-2]])
        high, low = np.maximum(before, after), np.minimum(before, after)
        found: Flags = (closes > _SPIKE * high) | (_SPIKE * closes < low)
        return found if found.sum() <= max(1, len(closes) // 50) else np.zeros_like(found)

    @property
    def places(self) -> int:
        """Number of decimal places in which prices are displayed: those that they have, up to a limit.

        The limit is two for prices of 10 and more, and otherwise five significant digits.
        """
        if not len(self):
            return 2
        prices = self.values[:4]
        usual = float(np.median(np.abs(prices))) or 1.0
        most = 2 if usual >= 10 else min(12, 4 - math.floor(math.log10(usual)))
        shown = np.round(prices, most)
        return next((n for n in range(most) if np.array_equal(np.round(prices, n), shown)), most)

    def merged(self, each: int) -> Columns:
        """Merge bars into columns of ``each`` slots; no extreme is lost.

        A column's high and low are the highest and lowest of its bars.
        """
        positions = self.slots // each
        starts = np.flatnonzero(np.diff(positions, prepend=-1)).astype(np.int64)
        last = np.append(starts[1:], len(positions)) - 1 if len(positions) else starts
        if not len(positions):
            return Columns(starts, last, starts, np.empty((5, 0)), np.empty(0, bool), starts)
        opens, highs, lows, closes, volumes = self.values
        present = ~np.isnan(volumes)
        counted = np.add.reduceat(present, starts, dtype=np.int64)
        summed = np.add.reduceat(np.where(present, volumes, 0.0), starts)
        high, low = np.maximum.reduceat(highs, starts), np.minimum.reduceat(lows, starts)
        traded = np.where(counted > 0, summed, np.nan)
        values = np.array([opens[starts], high, low, closes[last], traded])
        pale = np.logical_or.reduceat(self.pale, starts)
        return Columns(starts, last, positions[starts], values, pale, counted)


@dataclass(frozen=True)
class Chart:
    """The content of a chart, before it is drawn.

    Attributes:
        title: Symbol and timeframe.
        about: Second line of the title: range, currency, trading hours and adjustment.
        axis: Time axis.
        series: Series to draw: a single one as bars with volume, several series as lines of close
            prices that are 100 at their first bar in common with another.
        gaps: Ranges in which bars are missing, with the reason.
        marks: Splits, dividends, and bars that are almost certainly wrong.
        ribbon: Vendor of each run of consecutive bars; only for a single series.
        notes: Sentences shown below the picture.
        timeframe: Label of the timeframe; empty if not known.
        complete: Whether every answer is complete, i.e. reports nothing as missing.
        lines: User-supplied lines over the bars of one symbol.
    """

    title: str
    about: str
    axis: Axis
    series: tuple[Series, ...]
    gaps: tuple[AxisSpan, ...] = ()
    marks: tuple[Mark, ...] = ()
    ribbon: tuple[AxisSpan, ...] = ()
    notes: tuple[str, ...] = ()
    timeframe: str = ""
    complete: bool = True
    lines: tuple[Overlay, ...] = ()

    @property
    def is_indexed(self) -> bool:
        """Whether the chart shows several series, as lines that start at 100."""
        return len(self.series) > 1

    @property
    def places(self) -> int:
        """Number of decimal places in which all of the chart's prices are displayed."""
        return 2 if self.is_indexed else self.series[0].places

    @property
    def has_ribbon(self) -> bool:
        """Whether the bars came from two or more vendors, which the ribbon shows."""
        return len({run.text for run in self.ribbon}) > 1

    @property
    def given(self) -> int:
        """Number of rows in all frames together."""
        return sum(series.given for series in self.series)

    @cached_property
    def extent(self) -> tuple[float, float]:
        """The lowest and the highest close of several series, without spikes; 0 and 1 if there is none."""
        kept = np.concatenate([one.closes[~one.is_spike] for one in self.series])
        return (float(kept.min()), float(kept.max())) if len(kept) else (0.0, 1.0)

    def outside(self, series: Series) -> Ints:
        """Return the rows of one of several series that are outside of the scale: its far spikes."""
        low, high = self.extent if self.is_indexed else (-math.inf, math.inf)
        return np.flatnonzero((series.closes < low) | (series.closes > high))

    def counts(self, each: int = 1) -> Counts:
        """Return the counts of rows in columns of ``each`` slots."""
        drawn = sum(len(np.unique(series.slots // each)) for series in self.series)
        refused = sum(sum(series.refused.values()) for series in self.series)
        return Counts(self.given, drawn, self.given - refused - drawn, refused)

    def remarks(self) -> list[str]:
        """Return sentences about rows that are not drawn or were sorted, and the notes."""
        volumes, found = self.series[0].values[4], []
        if not self.is_indexed and np.isnan(volumes).any() and not np.isnan(volumes).all():
            found.append(f"{int(np.isnan(volumes).sum()):,} bars without a volume")
        for series in self.series:
            name = f"{series.symbol}: " if self.is_indexed else ""
            found += [f"{name}{count:,} with a {why}" for why, count in series.refused.items()]
            rows = self.outside(series).tolist()
            if rows:
                close, day = series.values[3][rows[0]], self.axis.text(int(series.slots[rows[0]]))
                more = f", and {len(rows) - 1} more" if rows[1:] else ""
                found.append(f"{name}the close {close:,.6g} of {day} is outside the scale{more}")
            if series.unordered:
                found.append(f"{name}{series.unordered:,} rows were sorted by time")
        return [*found, *self.notes]
