"""Adds splits and dividends as columns of a frame, in the row that contains each ex-date."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np

from ...calendars.localtime import local_date
from ...model.instant import DAY_MS, day_ms
from ...model.query import BarsQuery
from ...model.span import Span
from ...model.stored import KnownAction

if TYPE_CHECKING:
    from ...model.bars import Floats, Stamps


class KnownActions(NamedTuple):
    """The known splits and dividends for the rows of an answer.

    Attributes:
        actions: Actions in order of ex-date; those whose ``counts`` is False are ignored.
        unknown: Ex-dates (as spans of session dates) for which nothing is known.
        problems: Reasons why actions are unknown although a vendor should have reported them; empty
            if they are not due yet.
    """

    actions: Sequence[KnownAction] = ()
    unknown: Sequence[Span] = ()
    problems: Sequence[str] = ()


def ex_dates(query: BarsQuery, stamps: Stamps) -> Span:
    """Return the span of ex-dates that can affect bars opening at ``stamps``, up to today."""
    if not len(stamps):
        return Span(0, 0)
    days = _days(query, [int(stamps[0]), int(stamps[-1])])
    reach = 0 if query.timeframe.is_intraday else query.timeframe.longest_ms - DAY_MS
    today = day_ms(local_date(ZoneInfo(query.instrument.timezone), query.now_ms))
    return Span(days[0], max(days[0], min(days[1] + reach, today)) + DAY_MS)


def action_columns(
    query: BarsQuery, stamps: Stamps, row_actions: KnownActions
) -> dict[str, Floats]:
    """Return the columns ``dividend`` and ``split`` for rows that open at ``stamps``.

    Each action is reported in the row that contains its ex-date or, for bars shorter than a day, in
    the first row of its session; if that bar is missing, in the next row. ``dividend`` is the sum
    of cash per share, in terms of the shares that the frame's prices refer to; ``split`` is the
    product of new shares per old share. Both are 0.0 without an action, and NaN if it is unknown
    whether there was an action.
    """
    dividends, splits = np.zeros(len(stamps)), np.zeros(len(stamps))
    length = query.timeframe.longest_ms
    for known in row_actions.actions:
        if not (known.counts and known.action.is_sound):
            continue
        is_intraday = query.timeframe.is_intraday
        ex = known.action.ex_at if is_intraday else day_ms(known.action.ex_date)
        row = int(np.searchsorted(stamps, ex, side="right")) - 1
        if row < 0 or ex >= int(stamps[row]) + length:
            row += 1
        # An action before the first row is dropped unless its ex-date is inside the requested
        # range.
        is_before = row == 0 and ex < int(stamps[0] if len(stamps) else 0) and ex < query.span.start
        if row >= len(stamps) or is_before:
            continue
        if known.action.type == "split":
            splits[row] = (splits[row] or 1.0) * float(known.action.ratio)
        else:
            dividends[row] += known.paid if query.adjustment == "raw" else known.amount
    is_unknown = _lies_in(query, stamps, row_actions.unknown)
    for column in (dividends, splits):
        column[is_unknown] = np.nan
    return {"dividend": dividends, "split": splits}


def _lies_in(query: BarsQuery, stamps: Stamps, spans: Iterable[Span]) -> np.ndarray:
    """Return a mask of the rows that overlap ``spans``, which are ranges of session dates."""
    is_inside = np.zeros(len(stamps), bool)
    spans = list(spans)
    if not spans:
        return is_inside
    days = np.array(_days(query, stamps.tolist()), dtype=np.int64)
    reach = DAY_MS if query.timeframe.is_intraday else query.timeframe.longest_ms
    for span in spans:
        is_inside |= (days < span.end) & (days + reach > span.start)
    return is_inside


def _days(query: BarsQuery, stamps: Sequence[int]) -> list[int]:
    """Return the session date of each row as a timestamp; for an intraday bar, its local date."""
    if not query.timeframe.is_intraday:
        return list(stamps)
    zone = ZoneInfo(query.instrument.timezone)
    return [day_ms(local_date(zone, stamp)) for stamp in stamps]
