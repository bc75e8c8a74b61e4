"""Converts callers' frames to commits, and stored bars to frames, without sending requests."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np

from ....errors import BadRangeError, KindMismatchError, QueryError
from ...calendars.buckets import next_stamps
from ...calendars.calendar import calendar_for, opened_and_coming
from ...calendars.gaps import holes
from ...calendars.grid import BarGrid
from ...calendars.ranges import resolve_range
from ...model.answer.frame import build_frame, table_of
from ...model.identity.instrument import Instrument
from ...model.identity.kind import ADJUSTMENTS, Basis, Kind
from ...model.identity.series import SeriesKey
from ...model.market.bars import BadRow, BarTable, Stamps, among, merge, union
from ...model.stored.coverage import Coverage, Covered
from ...model.stored.reasons import CLOSED, NOT_SUPPLIED, sentence
from ...model.time.instant import DAY_MS, HOUR_MS, date_of
from ...model.time.span import Span, intersect, subtract, year_span, years_of
from ...model.time.timeframe import Timeframe
from ...prices.adjustment import ClosesBefore, basis_parts, common_as_of, rebase
from ...prices.quality import CheckedRows, check, off_grid_rows
from ...registry import row_of
from ..beside.prior_sessions import PriorSessions
from ..faults import BAD, CONTRADICTED, DUPLICATE, MISSING, MISSING_VOLUME, Fault, faults_by_year
from ..legacy.reader import session_stamps
from ..store import BarStore
from ..values import Commit, CommitPiece
from .listing import Catalog

if TYPE_CHECKING:
    import pandas as pd

# With more gaps than this a market is thin, so that only gaps far longer than usual count as
# missing.
_MOST_HOLES, _FAR_BEYOND = 64, 10
# Time for which a span is not requested again if only the caller asserts that it has no bars.
_EMPTY_FOR_MS = 24 * HOUR_MS
# The same time if the calendar asserts it. It is limited because calendars are corrected.
_CLOSED_FOR_MS = 90 * DAY_MS
_ANY_KIND = Kind(session="", anchor="")
# Bars whose nominal end is this far in the past have closed according to any calendar.
_SURELY_CLOSED_MS = 3 * DAY_MS


@dataclass(frozen=True)
class FrameUpload:
    """A caller's information about a frame of bars.

    Attributes:
        instrument, timeframe: Series of the bars.
        start, end: Range requested from the vendor, both inclusive; None for the range of the bars.
        vendor: Vendor that supplied the bars.
        adjustment: Adjustment of the prices, or ``unknown``.
        as_of: Date as of which prices are adjusted; None means the last session that has opened.
    """

    instrument: Instrument
    timeframe: Timeframe
    start: Any
    end: Any
    vendor: str
    adjustment: Any = "unknown"
    as_of: date | None = None


def to_commit(frame: pd.DataFrame, offer: FrameUpload, now_ms: int) -> Commit | None:
    """Convert a frame to a commit of its closed bars and bad rows; None if it has neither.

    Closed bars count as final. Intraday rows that are not at a full minute are quarantined with
    their original timestamp. Requested spans before and after the bars are recorded as empty for a
    day; for adjacent hours in which the market is closed, this record lasts 90 days.

    Raises:
        QueryError: The adjustment is unknown.
        ResponseFormatError: The frame has no timestamps or lacks a price column.
        QualityError: None of the rows can be used.
        ValueError: Daily or longer bars have timestamps that do not determine a date.
    """
    basis_text = offer.adjustment
    if basis_text not in (*ADJUSTMENTS, "unknown"):
        raise QueryError(f"unknown adjustment {basis_text!r}", hint="use raw, split or all")
    rows = _closed_bars(_bars_of(frame, offer.timeframe), offer, now_ms)
    _, even = session_stamps(rows.stamps, offer.timeframe)
    table, stray = rows.take(even), off_grid_rows(rows.take(~even), offer.timeframe)
    aside = tuple(BadRow(row.bar, row.reason) for row in stray)
    if not len(table):
        return Commit(suspects=aside) if aside else None
    extent = Span(int(table.stamps.min()), int(next_stamps(table.stamps, offer.timeframe).max()))
    volume = _ANY_KIND.needs_volume(offer.instrument.asset_class, row_of(offer.vendor).no_volume)
    checked = check(table, extent, timeframe=offer.timeframe, now_ms=now_ms, volume=volume)
    commit = _commit(checked, offer, extent, now_ms)
    return replace(commit, suspects=(*commit.suspects, *aside))


def _bars_of(frame: pd.DataFrame, timeframe: Timeframe) -> BarTable:
    """Return the frame's bars; timezone-aware times of daily bars are treated as dates at the venue."""
    import pandas as pd

    times = frame.index
    if not timeframe.is_intraday and isinstance(times, pd.DatetimeIndex) and times.tz is not None:
        frame = frame.set_axis(times.tz_localize(None).normalize(), axis=0)
    table = table_of(frame)
    stamps, are_certain = session_stamps(table.stamps, timeframe)
    if not (are_certain.all() or timeframe.is_intraday):
        uncertain = table.stamps[~are_certain][0]
        raise ValueError(
            f"the time of {timeframe} bars must be 00:00 of their date: {np.datetime64(int(uncertain), 'ms')}"
        )
    return replace(table, stamps=stamps)


def _closed_bars(table: BarTable, offer: FrameUpload, now_ms: int) -> BarTable:
    """Return the bars that have closed; bars that are still forming must not be stored as closed."""
    ends = next_stamps(table.stamps, offer.timeframe)
    recent = np.flatnonzero(ends > now_ms - _SURELY_CLOSED_MS)
    if len(recent):
        calendar = calendar_for(offer.instrument)
        ends = ends.copy()
        ends[recent] = calendar.closes(offer.timeframe, table.stamps[recent])
    return table.take(ends <= now_ms)


def _commit(checked: CheckedRows, offer: FrameUpload, extent: Span, now_ms: int) -> Commit:
    """Return the commit that stores the good rows of a frame.

    Spans without rows are marked as closed or empty, and the invalid rows as suspect.
    """
    piece = CommitPiece(
        checked.good,
        extent,
        offer.vendor,
        now_ms,
        _ANY_KIND,
        _basis(offer, extent, now_ms),
        "final",
        keeps=True,
    )
    bad = [row.bar.stamp_ms for row in checked.bad]
    bad_spans = [Span(stamp, stamp + 1) for stamp in bad]
    present = union(checked.good.stamps, np.array(bad, dtype=np.int64))
    grid = _grid(present, offer, extent)
    lacking = _holes(present, grid, extent) if grid else []
    parts = [
        replace(piece, table=piece.table.within(span), span=span)
        for span in subtract([extent], [*bad_spans, *lacking])
    ]
    closed = _closed_beside(extent, grid, now_ms) if grid else []
    wanted_span = requested_span(offer, now_ms)
    wanted = [wanted_span] if wanted_span else []
    empties = subtract(wanted, [extent, *closed]) + intersect(wanted, lacking)
    expires, closed_until = now_ms + _EMPTY_FOR_MS, now_ms + _CLOSED_FOR_MS
    marks = [
        Covered(span, "empty", reason=CLOSED, fetched_at=now_ms, expires=closed_until)
        for span in closed
    ]
    marks += (
        Covered(
            span,
            "empty",
            offer.vendor,
            fetched_at=now_ms,
            expires=expires,
            reason=NOT_SUPPLIED,
        )
        for span in empties
    )
    marks += (
        Covered(
            span,
            "suspect",
            offer.vendor,
            basis=piece.basis,
            fetched_at=now_ms,
            expires=expires,
            reason=row.reason,
        )
        for span, row in zip(bad_spans, checked.bad, strict=True)
    )
    suspects = tuple(BadRow(row.bar, row.reason) for row in checked.bad)
    faults = _faults(checked, lacking, offer, extent)
    return Commit(tuple(parts), tuple(marks), suspects, judged=extent, faults=faults)


def _faults(
    checked: CheckedRows, lacking: list[Span], offer: FrameUpload, extent: Span
) -> tuple[Fault, ...]:
    """Return the defects of the frame, split at the ends of years."""
    faults = [
        Fault(Span(row.bar.stamp_ms, row.bar.stamp_ms + 1), BAD, 1, row.reason)
        for row in checked.bad
    ]
    contradicted = checked.contradicted.tolist()
    faults += (Fault(Span(stamp, stamp + 1), CONTRADICTED, 1) for stamp in contradicted)
    for hole in lacking:
        for year in years_of(hole):
            span = hole.clip(year_span(year))
            length = offer.timeframe.longest_ms
            faults.append(Fault(span, MISSING, max(1, (span.end - span.start) // length)))
    faults += faults_by_year(MISSING_VOLUME, checked.without_volume, extent)
    if checked.duplicates:
        start = Span(extent.start, extent.start + 1)
        faults.append(Fault(start, DUPLICATE, checked.duplicates))
    return tuple(faults)


def _grid(present: Stamps, offer: FrameUpload, extent: Span) -> BarGrid | None:
    """Return the time grid that fits most bars; None if no grid fits at least half of them."""
    calendar, timeframe = calendar_for(offer.instrument), offer.timeframe
    anchors = ("session", "clock") if timeframe.is_intraday else ("session",)
    grids = [BarGrid(calendar, timeframe, anchor) for anchor in anchors]
    fits = [int(np.count_nonzero(among(present, grid.opens(extent)))) for grid in grids]
    best = max(range(len(grids)), key=fits.__getitem__)
    return grids[best] if 2 * fits[best] >= len(present) else None


def _closed_beside(extent: Span, grid: BarGrid, now_ms: int) -> list[Span]:
    """Return the spans directly before and after ``extent`` in which no bar is expected.

    A query that begins on a holiday can then be answered without a vendor or calendar.
    """
    spans = [Span(extent.end, min(grid.next_open(extent.end), now_ms))]
    with suppress(BadRangeError):  # calendars do not go back that far
        last = np.array([grid.back(extent.start, 1)], dtype=np.int64)
        is_intraday = grid.timeframe.is_intraday
        end = grid.closes(last) if is_intraday else next_stamps(last, grid.timeframe)
        spans.append(Span(int(end[0]), extent.start))
    return [span for span in spans if not span.is_empty]


def _holes(present: Stamps, grid: BarGrid, extent: Span) -> list[Span]:
    """Return the spans in ``extent`` in which an expected bar is missing.

    These spans are left out of the coverage, because a gap in a caller's frame does not mean that a
    vendor has no bar.
    """
    gaps = holes(extent, present, grid)
    if len(gaps) <= _MOST_HOLES:
        return gaps
    # In a thin market, only a gap far longer than the usual distance between bars counts.
    opens = grid.opens(extent)
    usual = float(np.median(np.diff(np.flatnonzero(among(opens, present)))))
    lengths = (len(opens[(opens >= hole.start) & (opens < hole.end)]) for hole in gaps)
    return [hole for hole, bars in zip(gaps, lengths, strict=True) if bars >= _FAR_BEYOND * usual]


def _basis(offer: FrameUpload, extent: Span, now_ms: int) -> Basis:
    """Return the bars' basis: the price adjustment, and its date if that is after the first bar."""
    if offer.adjustment == "unknown" or offer.instrument.asset_class != "stock":
        return Basis(offer.adjustment)
    opened, _ = opened_and_coming(calendar_for(offer.instrument), now_ms)
    as_of = offer.as_of or (opened[-1].day if opened else date_of(now_ms))
    return Basis(offer.adjustment, as_of if as_of > date_of(extent.start) else None)


def requested_span(offer: FrameUpload, now_ms: int) -> Span | None:
    """Return the requested span, up to now; None if the bounds do not define one.

    A reversed range does not define a span. Neither do two equal bounds of daily or longer bars,
    such as those of a frame with a single bar.
    """
    if offer.start is None or offer.end is None:
        return None
    try:
        span, _ = resolve_range(offer.instrument, offer.timeframe, offer.start, offer.end, now_ms)
    except BadRangeError:
        return None
    return Span(span.start, min(span.end, now_ms))


# --- export ------------------------------------------------------------------------------

log = logging.getLogger(__name__)


def stored_frame(
    catalog: Catalog, key: SeriesKey, span: Span, instrument: Instrument
) -> pd.DataFrame | None:
    """Return the rows stored in ``span`` as a canonical frame, or None if there are none.

    Prices of stocks are converted to one basis, adjusted for all known splits, if the stored
    actions make that exact; otherwise they are returned as stored. If nothing better is stored for
    a timestamp, the result contains the bar from another tool's file, even if it is the last one in
    that file. Rows that cannot be bars are left out, with a warning.
    """
    store = catalog.store
    table, coverage = store.read(key, span)
    if instrument.asset_class == "stock" and len(table):
        table = _on_one_basis(store, key, table, coverage, instrument)
    table = merge(catalog.unproven(key, span), table)
    suspects = store.suspects(key, span)
    if suspects:
        reason = sentence(suspects[0].reason)
        log.warning("%s: %d rows that cannot be bars are left out: %s", key, len(suspects), reason)
    return build_frame(table) if len(table) else None


def _on_one_basis(
    store: BarStore, key: SeriesKey, table: BarTable, coverage: Coverage, instrument: Instrument
) -> BarTable:
    entries, book = basis_parts(coverage), store.actions(key.symbol)
    table, _ = book.sure_adj_close(table, entries, instrument, key.timeframe.longest_ms)
    if len({entry.basis for entry in entries}) <= 1 and not book.actions:
        return table
    as_of = book.newest(max(date_of(int(table.stamps[-1])), common_as_of(entries) or date.min))
    first = date_of(int(table.stamps[0]))
    ex_dates = [a.ex_date for a in book.reports if a.type == "dividend" and a.ex_date >= first]
    prior = PriorSessions(store, key, instrument, ex_dates)
    actions_of = book.of if book.disputed else None
    try:
        return rebase(
            table,
            entries,
            book.actions,
            "split",
            as_of=as_of,
            own=actions_of,
            intraday=key.timeframe.is_intraday,
            timeframe=key.timeframe,
            close_before=ClosesBefore(book.actions, as_of, prior.before, actions_of),
            adj_close_dates=[asked.span for asked in book.answers],
        )
    except KindMismatchError as exc:
        log.warning("%s: prices are returned as stored: %s", key, exc)
        return table
