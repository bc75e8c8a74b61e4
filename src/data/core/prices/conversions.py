"""Decides which bars can be built exactly from which others, and cuts bars to regular hours.

* Daily and longer bars of a market with sessions are not built from intraday bars. The official
  close and its volume are those of the closing auction, which is printed after the last minute or
  not at all, and each currency vendor ends its days at a different hour. For a 24/7 market, daily
  bars built from intraday ones are exact.
* Weekly and monthly bars of a market with sessions are built only from ``1d`` bars. A longer
  source bar could contain an ex-date, so that its parts would have two bases. ``1w`` never fits
  into a month, nor ``2d`` into a week.
* Intraday bars are built from bars whose length divides theirs. Only bars of at most 30 minutes can
  be moved from one anchor to the other, and only if the market opens on their grid.
* Bars of extended hours are cut to regular hours only if they are at most 30 minutes long. No other
  session, venue or unit is ever converted to another.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

import numpy as np

from ...errors import KindMismatchError
from ..calendars.calendar import MarketCalendar
from ..calendars.session import ALWAYS_OPEN, FOREX
from ..model.identity.kind import Kind
from ..model.market.bars import BarTable
from ..model.time.instant import DAY_MS, MINUTE_MS, date_of
from ..model.time.span import Span, subtract
from ..model.time.timeframe import Timeframe

_A_DAY = timedelta(days=1)
_FINE_MS = 30 * MINUTE_MS
_HOURS_SEEN_MS = 60 * DAY_MS
_CUT = ("extended", "regular")


def sources_for(
    target: Timeframe,
    available: Iterable[Timeframe],
    calendar: MarketCalendar | None = None,
    *,
    anchor: str = "session",
    source_anchor: str = "session",
    span: Span | None = None,
) -> list[Timeframe]:
    """Return the timeframes in ``available`` from which ``target`` can be built exactly.

    The longest comes first.

    Args:
        target: Timeframe of the requested bars.
        available: Timeframes that vendors serve, in any order.
        calendar: Calendar of the market; if None, only rules that apply to every market are used.
        anchor, source_anchor: Anchors of the requested and of the available bars.
        span: Requested span. Its last two months show whether the market opens on the grid of a
            source with the other anchor. If ``span`` or ``calendar`` is None, such sources are left
            out.
    """
    fit = [
        source
        for source in dict.fromkeys(available)
        if not build_objection(source, target, calendar, anchor=anchor, source_anchor=source_anchor)
        and (
            _grid_origin(source, source_anchor, calendar) == _grid_origin(target, anchor, calendar)
            or _coincide(source, calendar, span)
        )
    ]
    return sorted(fit, key=lambda t: t.longest_ms, reverse=True)


def sources_of_kind(
    target: Timeframe,
    available: Iterable[Timeframe],
    calendar: MarketCalendar,
    *,
    offered: Kind,
    wanted: Kind,
    span: Span,
) -> list[Timeframe]:
    """Return the timeframes in ``available`` from which bars of a different kind can be built.

    The longest comes first. The result is empty if the kinds agree, or differ in anything other
    than session and anchor.

    Args:
        target: Timeframe of the requested bars, which may also be among the sources.
        available: Timeframes that vendors serve, in any order.
        calendar: Calendar of the market.
        offered, wanted: Kind of the available bars, and of the requested ones.
        span: Requested span; see :func:`sources_for`.
    """
    differing = offered.differences(wanted)
    # The calendars know only regular hours, so bars of other hours cannot be rebuilt.
    sessions = (offered.session, wanted.session) in (_CUT, ("regular", "regular"))
    if not differing or differing.keys() - {"session", "anchor"}:
        return []
    if not sessions or not target.is_intraday:
        return []
    mine = offered.anchor or "session"
    goal = wanted.anchor or mine
    fine = [t for t in available if t.is_intraday and t.longest_ms <= _FINE_MS]
    sources = sources_for(target, fine, calendar, anchor=goal, source_anchor=mine, span=span)
    is_there = _grid_origin(target, mine, calendar) == _grid_origin(target, goal, calendar)
    if target in fine and (is_there or _coincide(target, calendar, span)):
        return [target, *sources]
    return sources


def build_objection(
    source: Timeframe,
    target: Timeframe,
    calendar: MarketCalendar | None = None,
    *,
    anchor: str = "session",
    source_anchor: str = "session",
) -> str:
    """Return the reason why ``target`` bars cannot be built from ``source`` bars; empty if they can.

    Only the timeframes and the market are considered. See :func:`sources_for` for the arguments;
    ``source`` is the timeframe of the available bars.
    """
    if source.longest_ms >= target.longest_ms:
        return "they are not shorter"
    if not target.is_intraday:
        continuous = calendar is not None and calendar.name == ALWAYS_OPEN
        return _obstacle_to_days(source, target, continuous)
    if target.longest_ms % source.longest_ms:
        return "they do not divide it"
    moved = _grid_origin(source, source_anchor, calendar) != _grid_origin(target, anchor, calendar)
    fine = source.longest_ms <= _FINE_MS
    return "only bars of at most 30m can get another anchor" if moved and not fine else ""


def has_known_hours(timeframe: Timeframe, session: str, calendar: MarketCalendar) -> bool:
    """Return whether intraday bars cover the calendar's hours, or can be reduced to those hours."""
    if session in ("", "regular") or calendar.name in (ALWAYS_OPEN, FOREX):
        return True
    return session == "extended" and timeframe.longest_ms <= _FINE_MS


def regular_hours(table: BarTable, timeframe: Timeframe, calendar: MarketCalendar) -> BarTable:
    """Return the rows that are entirely within regular trading hours.

    Half days, breaks and clock changes follow the calendar. A row that spans an open or a close
    cannot be divided, so the row is left out and counts as missing.

    Args:
        table: Ascending intraday bars of extended hours.
        timeframe: Length of the bars.
        calendar: Calendar of the market.

    Raises:
        KindMismatchError: The bars are longer than 30 minutes.
    """
    step_ms = timeframe.longest_ms
    if step_ms > _FINE_MS:
        raise KindMismatchError(
            f"{timeframe} bars cannot be cut to regular hours",
            hint="only bars of at most 30m can be cut",
        )
    if not len(table):
        return table
    first, last = (date_of(int(ms)) for ms in table.stamps[[0, -1]])
    open_spans = [
        span
        for session in calendar.sessions(first - _A_DAY, last + _A_DAY)
        for span in subtract([Span(session.open_ms, session.close_ms)], session.breaks)
    ]
    begins, ends = np.array(open_spans, dtype=np.int64).reshape(-1, 2).T
    at = np.searchsorted(begins, table.stamps, side="right") - 1
    inside = at >= 0
    inside[inside] = table.stamps[inside] + step_ms <= ends[at[inside]]
    return table.take(inside)


def _obstacle_to_days(source: Timeframe, target: Timeframe, continuous: bool) -> str:
    if source == Timeframe(1, "d"):
        return ""
    if not continuous:
        return "they lack the auctions" if source.is_intraday else "they may contain an ex-date"
    if source.is_intraday:
        return "they do not divide a day" if DAY_MS % source.longest_ms else ""
    divides = source.unit == target.unit and target.count % source.count == 0
    return "" if divides else "they do not divide it"


def _grid_origin(timeframe: Timeframe, anchor: str, calendar: MarketCalendar | None) -> str:
    """Return the origin of the bars' grid: ``epoch``, ``clock`` (midnight) or ``session`` (the open)."""
    name = calendar.name if calendar is not None else ""
    if name == ALWAYS_OPEN or not timeframe.is_intraday:
        return "epoch"
    on_clock = (anchor == "clock" or name == FOREX) and DAY_MS % timeframe.longest_ms == 0
    return "clock" if on_clock else "session"


def _coincide(source: Timeframe, calendar: MarketCalendar | None, span: Span | None) -> bool:
    """Return whether most bars begin at the same times under both alignments, to the clock and the open."""
    if calendar is None or span is None:
        return False
    recent = Span(max(span.start, span.end - _HOURS_SEEN_MS), span.end)
    on_clock, from_open = (calendar.opens(source, recent, a) for a in ("clock", "session"))
    common = np.intersect1d(on_clock, from_open, assume_unique=True)
    return 2 * len(common) > len(from_open)
