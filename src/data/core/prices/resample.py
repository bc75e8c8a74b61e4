"""Builds longer bars from shorter ones, according to the market's calendar.

A source bar belongs to the first target bar that closes at the same time or later. This rule works
for both anchors, and across breaks, half days and clock changes. A target bar is complete if it has
closed, all its parts are known, and none of them is shared with a neighbouring bar.

The caller must ensure that all rows have the same basis, and that ``source`` is one of
:func:`.conversions.sources_for`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..calendars.buckets import next_stamps
from ..calendars.calendar import MarketCalendar
from ..model.market.bars import NAN, BarTable, Floats, Stamps, among
from ..model.time.instant import date_of
from ..model.time.span import Span
from ..model.time.timeframe import Timeframe

Positions = NDArray[np.intp]
Mask = NDArray[np.bool_]
Reason = Literal["forming", "missing", "straddled"]


class IncompleteBar(NamedTuple):
    """A target bar that could not be built completely.

    Attributes:
        span: Span from the bar's timestamp to its end.
        reason: ``forming`` (the bar has not closed), ``missing`` (parts are unknown), ``straddled``
            (a source bar is only partly in it).
        unknown: Number of the bar's parts that are unknown.
        expected: Number of parts that the bar should have.
    """

    span: Span
    reason: Reason
    unknown: int
    expected: int


@dataclass(frozen=True)
class ResampledBars:
    """The target bars that were built, and the target bars that could not be built.

    Attributes:
        table: Complete bars.
        ends: End of each complete bar; all its parts have earlier timestamps.
        incomplete: Other bars with an expected part in the span, ascending. An expected bar that is
            missing from both ``incomplete`` and ``table`` had no trades, which is possible only if
            the source is not dense.
        partial: Incomplete bars, built from the parts that exist. Such bars are not final and must
            not be stored. Straddled bars are left out.
        part_volume: Timestamps of complete bars whose volume is the sum of only some of their
            parts, because the volume of the others is unknown.
        strays: Number of off-calendar rows, which do not belong to any bar. If such a row is
            intraday, the parts that it overlaps become unknown, because its trades cannot be
            divided.
    """

    table: BarTable
    ends: Stamps
    incomplete: tuple[IncompleteBar, ...] = ()
    partial: BarTable = BarTable.empty()
    part_volume: tuple[int, ...] = ()
    strays: int = 0

    def with_whole_volumes(self) -> BarTable:
        """Return the complete bars; a volume that covers only some of a bar's parts becomes NaN."""
        in_part = among(self.table.stamps, np.array(self.part_volume, dtype=np.int64))
        return replace(self.table, volume=np.where(in_part, NAN, self.table.volume))


def resample(
    table: BarTable,
    source: Timeframe,
    target: Timeframe,
    calendar: MarketCalendar,
    *,
    anchor: str = "session",
    source_anchor: str = "session",
    span: Span,
    now_ms: int,
    dense: bool = True,
    unanswered: Sequence[Span] = (),
) -> ResampledBars:
    """Build the ``target`` bars that have an expected ``source`` bar in ``span``.

    Each bar has the open price of its first part, the highest high, the lowest low, and the close
    and ``adj_close`` of its last part. Its volume is the sum of the known volumes, or NaN if none
    is known. If the two anchors differ, half-hour bars aligned to the open become, for example,
    hourly bars aligned to the clock, or vice versa.

    Args:
        table: Ascending, unique rows with one basis; those outside ``span`` are ignored.
        source, target: Length of the rows, and of the requested bars.
        calendar: Calendar of the market.
        anchor, source_anchor: Anchors of the requested bars, and of the rows.
        span: Half-open span that the rows cover; :func:`source_span` returns the required one. A
            bar that extends beyond the span is incomplete.
        now_ms: Current time in UTC milliseconds; bars that close later are forming.
        dense: Whether an expected source bar that was not received counts as missing; if False, it
            is assumed to have had no trades.
        unanswered: Parts of ``span`` in which nothing is known, or nothing can be trusted.
    """
    (resampled,) = resample_many(
        [table],
        source,
        target,
        calendar,
        anchor=anchor,
        source_anchor=source_anchor,
        span=span,
        now_ms=now_ms,
        dense=dense,
        unanswered=[unanswered],
    )
    return resampled


def resample_many(
    tables: Sequence[BarTable],
    source: Timeframe,
    target: Timeframe,
    calendar: MarketCalendar,
    *,
    anchor: str = "session",
    source_anchor: str = "session",
    span: Span,
    now_ms: int,
    dense: bool = True,
    unanswered: Sequence[Sequence[Span]] = (),
) -> list[ResampledBars]:
    """Build the bars for many symbols in one market in one pass; see :func:`resample`.

    Args:
        tables: One table for each symbol, as for :func:`resample`.
        unanswered: Unanswered spans of each table; empty if no table has any.
        source, target, calendar, anchor, source_anchor, span, now_ms, dense: See :func:`resample`.

    Returns:
        The bars for each table, in the same order.
    """
    tables = [table.within(span) for table in tables]
    if not tables:
        return []
    bins = _bins(_Sides(source, target, calendar, source_anchor, anchor), span)
    if bins is None:
        none = BarTable.empty()
        return [ResampledBars(none, none.stamps, strays=len(rows)) for rows in tables]
    all_known = np.ones(len(bins.parts), dtype=bool)
    in_span = None if dense else bins.parts_in(span)
    parts_of_bars, results = _ranges(bins.owners, len(bins.stamps)), list[ResampledBars]()
    for table, holes in zip(tables, unanswered or [()] * len(tables), strict=True):
        if not bins.by_date and np.array_equal(table.stamps, bins.parts):
            rows, ranges, is_known = table, parts_of_bars, all_known.copy()
        else:
            positions = bins.positions(table.stamps)
            is_known = bins.known_parts(table.stamps, positions, in_span, source.longest_ms)
            owners = bins.owners_of(table.stamps, positions)
            belongs = owners >= 0
            rows = table if belongs.all() else table.take(belongs)
            ranges = _ranges(owners[belongs], len(bins.stamps))
        for hole in holes:
            is_known[bins.parts_in(hole)] = False
        results.append(_built(rows, ranges, bins, is_known, now_ms, strays=len(table) - len(rows)))
    return results


def source_span(
    wanted: Span,
    target: Timeframe,
    calendar: MarketCalendar,
    *,
    anchor: str = "session",
    source: Timeframe | None = None,
) -> Span:
    """Return the span of source bars from which the ``target`` bars in ``wanted`` are built.

    The span is empty if no bar is expected. For daily and longer bars, it consists of dates, unless
    ``source`` is intraday.
    """
    stamps = calendar.opens(target, wanted, anchor)
    if not len(stamps):
        return Span(wanted.start, wanted.start)
    closes = calendar.closes(target, stamps[-1:], anchor)
    if source is None or not source.is_intraday or target.is_intraday:
        return Span(int(stamps[0]), int(_ends(target, stamps[-1:], closes)[0]))
    # A week or month may begin on a day without a session.
    ends = _ends(target, stamps[:1], closes)
    sessions = calendar.sessions(date_of(int(stamps[0])), date_of(int(ends[0]) - 1))
    return Span(sessions[0].open_ms, int(closes[0]))


# --- assigning parts to bars ---------------------------------------------------------------


class _Sides(NamedTuple):
    source: Timeframe
    target: Timeframe
    calendar: MarketCalendar
    source_anchor: str
    anchor: str


@dataclass(frozen=True)
class _Bins:
    """The bars to build, and the source bars (parts) that the calendar expects in them, all ascending.

    Attributes:
        stamps, closes, ends: Timestamp, close and end of each bar. The end is the time at which its
            period is over, which may be after the close.
        straddled: Mask of the bars that share a source bar with a neighbour.
        parts, part_closes: Timestamps and closing times of all source bars; daily bars have no
            closing times.
        owners: Index of the bar that each part belongs to.
        by_date: Whether the timestamps of rows are session dates.
    """

    stamps: Stamps
    closes: Stamps
    ends: Stamps
    straddled: Mask
    parts: Stamps
    part_closes: Stamps
    owners: Positions
    by_date: bool

    def parts_in(self, span: Span) -> slice:
        """Return the index range of the parts in ``span``."""
        return slice(*np.searchsorted(self.parts, span))

    def positions(self, rows: Stamps) -> Positions:
        """Return the index of the part at each row, or -1 if no part is expected there."""
        at = np.searchsorted(self.parts, rows)
        return np.where(self.parts[np.minimum(at, len(self.parts) - 1)] == rows, at, -1)

    def known_parts(
        self, rows: Stamps, positions: Positions, answered: slice | None, step_ms: int
    ) -> Mask:
        """Return a mask of the known parts: all parts in ``answered`` if given, or else those with a row.

        An off-grid row makes the parts that it overlaps unknown.
        """
        is_known = np.zeros(len(self.parts), dtype=bool)
        is_known[positions[positions >= 0] if answered is None else answered] = True
        strays = rows[positions < 0]
        if len(strays) and not self.by_date:
            before = np.searchsorted(strays, self.parts - step_ms, side="right")
            is_known &= np.searchsorted(strays, self.part_closes) <= before
        return is_known

    def owners_of(self, rows: Stamps, positions: Positions) -> Positions:
        """Return the index of the bar that each row belongs to, or -1 for a row without a bar.

        A daily row on a date without an expected session still belongs to its week.
        """
        if not self.by_date:
            return np.where(positions < 0, -1, self.owners[positions])
        at = np.searchsorted(self.stamps, rows, side="right") - 1
        return np.where((at >= 0) & (rows < self.ends[at]), at, -1)


def _bins(sides: _Sides, span: Span) -> _Bins | None:
    """Return all bars with a part in ``span``, with all their parts; None if there are none."""
    source, target, calendar, source_anchor, anchor = sides
    # More than the length of a bar, so that the bars at the edges are complete and have neighbours.
    reach = target.longest_ms + source.longest_ms
    parts = calendar.opens(source, Span(span.start - reach, span.end + reach), source_anchor)
    stamps = calendar.opens(target, Span(span.start - 2 * reach, span.end + reach), anchor)
    closes = calendar.closes(target, stamps, anchor)
    ends = closes if source.is_intraday else _ends(target, stamps, closes)
    if source.is_intraday:
        part_closes = calendar.closes(source, parts, source_anchor)
        behind = np.searchsorted(part_closes, closes, side="right")
        crossed = np.append(parts, closes[-1:])[behind] < closes
    else:
        part_closes, behind = parts, np.searchsorted(parts, ends)
        part_ends = _ends(source, parts, parts)
        crossed = (behind > 0) & (np.append(part_ends, 0)[behind - 1] > ends)
    owners = np.repeat(np.arange(len(stamps), dtype=np.int64), np.diff(behind, prepend=0))
    low, high = np.searchsorted(parts[: len(owners)], span)
    if low >= high:
        return None
    first = owners[low]
    while first and crossed[first - 1] and behind[first - 1] >= low:
        first -= 1  # it shares the first part with its neighbour
    bars = slice(first, owners[high - 1] + 1)
    chosen = slice(*np.searchsorted(owners, (bars.start, bars.stop)))
    straddled = crossed | np.append(False, crossed[:-1])
    return _Bins(
        stamps[bars],
        closes[bars],
        ends[bars],
        straddled[bars],
        parts[chosen],
        part_closes[chosen],
        owners[chosen] - bars.start,
        not source.is_intraday,
    )


def _ends(target: Timeframe, stamps: Stamps, closes: Stamps) -> Stamps:
    """Return the end of each bar's period: its close, or the end of its last date if daily or longer."""
    return closes if target.is_intraday else next_stamps(stamps, target)


# --- the bars ------------------------------------------------------------------------------


class _Ranges(NamedTuple):
    """The bars that have rows, ascending, and the index of the first and the last row of each."""

    bars: Positions
    firsts: Positions
    lasts: Positions


def _ranges(owners: Positions, count: int) -> _Ranges:
    """Return the row range of each bar; ``owners`` contains the bar of each row, in ascending order."""
    edges = np.searchsorted(owners, np.arange(count + 1, dtype=np.int64))
    bars = np.flatnonzero(np.diff(edges))
    return _Ranges(bars, edges[bars], edges[bars + 1] - 1)


def _built(
    rows: BarTable, ranges: _Ranges, bins: _Bins, is_known: Mask, now_ms: int, strays: int
) -> ResampledBars:
    """Combine a symbol's rows into bars, and separate complete bars from incomplete ones."""
    bars, in_part = _fold_ranges(rows, ranges, bins.stamps)
    unknown_counts = np.bincount(bins.owners[~is_known], minlength=len(bins.stamps))
    whole = (bins.closes <= now_ms) & ~bins.straddled & (unknown_counts == 0)
    complete, partial = whole[ranges.bars], BarTable.empty()
    incomplete: tuple[IncompleteBar, ...] = ()
    if not whole.all():
        expected = np.bincount(bins.owners, minlength=len(bins.stamps))
        incomplete = tuple(_incomplete_bars(bins, ~whole, unknown_counts, expected, now_ms))
        partial = _pick_bars(bars, ~complete & ~bins.straddled[ranges.bars])
        bars = _pick_bars(bars, complete)
    return ResampledBars(
        table=bars,
        ends=bins.ends[ranges.bars[complete]],
        incomplete=incomplete,
        partial=partial,
        part_volume=tuple(bars.stamps[in_part[complete]].tolist()) if in_part.any() else (),
        strays=strays,
    )


def _pick_bars(bars: BarTable, rows: Mask) -> BarTable:
    return bars.take(rows) if rows.any() else BarTable.empty()


def _incomplete_bars(
    bins: _Bins, chosen: Mask, unknown_counts: Positions, expected: Positions, now_ms: int
) -> Iterator[IncompleteBar]:
    """Yield the chosen bars with the reason why they are incomplete."""
    facts = (bins.stamps, bins.ends, bins.closes, bins.straddled, unknown_counts, expected)
    # Plain lists, because there can be very many of them.
    for start, end, close, straddled, without, parts in zip(
        *(fact[chosen].tolist() for fact in facts), strict=True
    ):
        reason: Reason = "straddled" if straddled else "missing" if close <= now_ms else "forming"
        yield IncompleteBar(Span(start, end), reason, without, parts)


def _fold_ranges(rows: BarTable, ranges: _Ranges, stamps: Stamps) -> tuple[BarTable, Mask]:
    """Return one bar for each range of rows, and a mask of bars whose volume is partly unknown."""
    bars, firsts, lasts = ranges
    if not len(bars):
        return BarTable.empty(), np.zeros(0, dtype=bool)
    volume, in_part = _sum_volumes(rows.volume, firsts, lasts)
    folded = BarTable(
        stamps[bars],
        rows.open[firsts],
        np.maximum.reduceat(rows.high, firsts),
        np.minimum.reduceat(rows.low, firsts),
        rows.close[lasts],
        volume,
        None if rows.adj_close is None else rows.adj_close[lasts],
    )
    return folded, in_part


def _sum_volumes(volume: Floats, firsts: Positions, lasts: Positions) -> tuple[Floats, Mask]:
    """Return the sum of the known volumes in each bar, and a mask of bars with some unknown volumes."""
    sums = np.add.reduceat(volume, firsts)
    if not np.isnan(sums).any():
        return sums, np.zeros(len(firsts), dtype=bool)
    unknown = np.isnan(volume)
    sums = np.add.reduceat(np.where(unknown, 0.0, volume), firsts)
    unknown_counts = np.add.reduceat(unknown.astype(np.intp), firsts)
    none = unknown_counts == lasts - firsts + 1
    return np.where(none, np.nan, sums), (unknown_counts > 0) & ~none
