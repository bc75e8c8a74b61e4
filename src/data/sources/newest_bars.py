"""Determines which cached bars may still change, and whether they are requested again.

A bar is final once it has settled according to the market's calendar; freshness policies have no
influence on this. Regardless of the policy, a bar is requested if it is final now but was not when
it arrived.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..bars.client import Wishes
from ..calendars.calendar import named_calendar
from ..calendars.finality import newest_settled
from ..calendars.grid import BarGrid
from ..errors import DataError
from ..layer.frames import pl  # its error names the missing extra
from ..model.instant import DAY_MS, MINUTE_MS, from_ms, to_ms
from ..model.span import Span
from ..model.timeframe import Timeframe
from .freshness import FETCHED, NOW, is_fresh_by
from .vendor_source import VendorDataSource, bound_of

if TYPE_CHECKING:
    from .foreign_source import SourceQuestion

# An intraday bar may change for this long after its close.
_SETTLE_MS = 2 * MINUTE_MS


def _first_unsettled(grid: BarGrid, now_ms: int) -> int | None:
    """Return the timestamp of the first bar that is not final, or None if that is unknown."""
    newest = newest_settled(grid, _SETTLE_MS, now_ms)
    return None if newest is None else grid.next_open(newest + 1)


# --- frames of custom sources ----------------------------------------------------------------


def finality(
    frame: pl.DataFrame, question: SourceQuestion, calendar: Any, now_ms: int
) -> dict[str, Any]:
    """Return the facts about a frame's finality, for :func:`is_current`.

    Args:
        frame: Frame as returned by :func:`.foreign_source.checked_frame`.
        question: Request that the frame answers.
        calendar: Calendar, as a name or object; None if it is unknown.
        now_ms: Time at which the frame was requested, in UTC milliseconds.

    Returns:
        ``final_before``: the timestamp of the first bar that was not final, in UTC milliseconds, or
            None if no calendar is given. ``is_whole``: whether no final bar is missing after the
            first bar of each symbol.
    """
    market = named_calendar(calendar)
    if market is None:
        return {"final_before": None, "is_whole": False}
    grid, span = BarGrid(market, question.timeframe), _span(question)
    first = _first_unsettled(grid, now_ms)
    final_before = span.start if first is None else max(first, span.start)
    end = min(final_before, span.end)
    return {"final_before": final_before, "is_whole": _is_whole(frame, question, grid, end)}


def _is_whole(frame: pl.DataFrame, question: SourceQuestion, grid: BarGrid, end: int) -> bool:
    """Return whether each symbol has every bar from its first one until ``end``.

    If the frame contains bars outside the calendar, the calendar is not conclusive, and the frame
    counts as whole.
    """
    column = pl.col("timestamp").dt.epoch("ms")
    if not grid.aligned(frame.select(column).to_series().to_numpy()).all():
        return True
    by_symbol = frame.select("symbol", column).partition_by("symbol", as_dict=True)
    for symbol in question.symbols:
        rows = by_symbol.get((symbol,))
        if rows is None:
            return False
        stamps = rows["timestamp"].to_numpy()
        required = grid.required(Span(int(stamps[0]), max(int(stamps[0]), end)))
        if len(np.setdiff1d(required, stamps)):
            return False
    return True


def is_current(
    facts: Mapping[str, Any],
    question: SourceQuestion,
    policy: Any,
    calendar: Any,
    now_ms: int,
) -> bool:
    """Return whether a cached frame need not be requested again.

    Args:
        facts: Facts about the frame, which include the result of :func:`finality` and
            ``fetch_timestamp``.
        question: Request that the frame answers.
        policy: Freshness policy, which decides about bars that are not final.
        calendar: See :func:`finality`.
        now_ms: Current time, in UTC milliseconds.
    """
    if facts[FETCHED] * 1000 > now_ms:
        return False  # the clock was wrong at the fetch, or is wrong now
    market, final_before = named_calendar(calendar), facts["final_before"]
    if market is not None and final_before is not None:
        span, grid = _span(question), BarGrid(market, question.timeframe)
        if facts["is_whole"] and final_before >= span.end:
            return True
        settled = min(_first_unsettled(grid, now_ms) or final_before, span.end)
        if settled > final_before and len(grid.opens(Span(final_before, settled))):
            return False  # bars have become final meanwhile
    return is_fresh_by(policy, {**facts, NOW: now_ms / 1000}, question.timeframe.label, calendar)


def _span(question: SourceQuestion) -> Span:
    """Return the span of a request in UTC milliseconds; for daily bars, the span of its dates."""
    bounds = [to_ms(bound.to_pydatetime()) for bound in (question.start, question.end)]
    if not question.timeframe.is_intraday:
        bounds[0] -= bounds[0] % DAY_MS
    return Span(bounds[0], bounds[1] + 1)


# --- packaged sources -----------------------------------------------------------------------------


def withheld(
    source: VendorDataSource,
    policy: Any,
    symbols: Sequence[str],
    start: Any,
    end: Any,
    frequency: str,
) -> list[str]:
    """Return the symbols whose latest bars must not be requested again, according to a policy.

    No vendor is queried. A symbol is not included if bars before its latest ones are missing, or if
    one of its bars has become final since the last fetch: the vendor is queried for these anyway.
    For the arguments, see :meth:`.VendorDataSource.answer`.
    """
    client, timeframe = source.manager.client, Timeframe.parse(frequency)
    first, last = bound_of(start, timeframe), bound_of(end, timeframe)
    wishes, now_ms = Wishes(source.provider, source.adjustment), client.clock.now_ms()
    held = list[str]()
    for symbol in symbols:
        try:
            query = client.query(symbol, timeframe, first, last, wishes=wishes)
            outline = client.outline(client.series_of(query))
        except DataError:
            continue  # the answer reports the error
        since = _first_unsettled(outline.grid, now_ms)
        if since is None or query.span.end <= since:
            continue
        behind = max((c.span.end for c in outline.coverage if c.span.start < since), default=None)
        if behind is None or len(outline.grid.opens(Span(max(behind, query.span.start), since))):
            continue
        newest = [c.fetched_at for c in outline.coverage if c.span.end >= min(behind, since)]
        facts = {FETCHED: max(newest) / 1000, NOW: now_ms / 1000}
        if not is_fresh_by(policy, facts, timeframe.label, outline.grid.calendar):
            continue
        if query.span.start < since:
            history = client.query(symbol, timeframe, first, from_ms(since - 1), wishes=wishes)
            if not client.lookup(history).is_hit:
                continue
        held.append(symbol)
    return held
