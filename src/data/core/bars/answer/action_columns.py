"""Adds splits and dividends as columns of a frame, in the row that contains each ex-date."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np

from ...calendars.buckets import bucket_at, bucket_of, start_at, start_of
from ...calendars.calendar import calendar_for
from ...calendars.localtime import local_date
from ...model.market.actions import Action
from ...model.request.query import BarsQuery
from ...model.stored.stored import KnownAction
from ...model.time.instant import DAY_MS, day_ms
from ...model.time.span import Span

if TYPE_CHECKING:
    from ...model.market.bars import Floats, Stamps


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
    starts, ends = _days(query, stamps[[0, -1]])
    today = day_ms(local_date(ZoneInfo(query.instrument.timezone), query.now_ms))
    return Span(int(starts[0]), max(int(starts[0]), min(int(ends[1]) - DAY_MS, today)) + DAY_MS)


def action_columns(
    query: BarsQuery, stamps: Stamps, row_actions: KnownActions
) -> dict[str, Floats]:
    """Return the columns ``dividend``, ``split`` and ``capital_gain`` for rows that open at ``stamps``.

    Each action is reported in the row that contains its ex-date or, for bars shorter than a day, in
    the first row of its session; if that bar is missing, in the next row, but not if there is no row
    before it: none of the actions in a gap at the start is reported. ``dividend`` is the sum
    of cash per share, in terms of the shares that the frame's prices refer to; ``capital_gain`` is
    the part of it that funds paid out of capital gains; ``split`` is the product of new shares per
    old share. All are 0.0 without an action, and NaN if it is unknown whether there was an action.
    """
    dividends, splits, gains = (np.zeros(len(stamps)) for _ in range(3))
    for known in row_actions.actions:
        if not (known.counts and known.action.is_sound):
            continue
        row = _row_of(query, stamps, known.action)
        if row is None:
            continue
        if known.action.type == "split":
            splits[row] = (splits[row] or 1.0) * float(known.action.ratio)
        else:
            for part in known.by_kind:
                cash = part.paid if query.adjustment == "raw" else part.amount
                dividends[row] += cash
                gains[row] += cash if part.kind == "capital_gain" else 0.0
    is_unknown = _lies_in(query, stamps, row_actions.unknown)
    columns = {"dividend": dividends, "split": splits, "capital_gain": gains}
    for column in columns.values():
        column[is_unknown] = np.nan
    return columns


def _lies_in(query: BarsQuery, stamps: Stamps, spans: Iterable[Span]) -> np.ndarray:
    """Return a mask of the rows that overlap ``spans``, which are ranges of session dates."""
    is_inside = np.zeros(len(stamps), bool)
    spans = list(spans)
    if not spans:
        return is_inside
    starts, ends = _days(query, stamps)
    for span in spans:
        is_inside |= (starts < span.end) & (ends > span.start)
    return is_inside


def _row_of(query: BarsQuery, stamps: Stamps, action: Action) -> int | None:
    """Return the row of an action; None if its bar is still forming, or before the requested range."""
    timeframe = query.timeframe
    if timeframe.is_intraday:
        # In extended hours, and from some vendors, the date begins before its session.
        opened = calendar_for(query.instrument).sessions(action.ex_date, action.ex_date)
        own = opened[0].open_ms if opened else action.ex_at
        row = int(np.searchsorted(stamps, own, side="right")) - 1
        if row < 0 or own >= int(stamps[row]) + timeframe.longest_ms:
            row += 1
    else:
        own = start_at(timeframe, bucket_at(timeframe, day_ms(action.ex_date)))
        row = int(np.searchsorted(stamps, own))
    # The first row is not for actions before its date, before the range, or before the last N bars.
    is_before = row == 0 and own < int(stamps[0] if len(stamps) else 0)
    is_earlier = is_before and day_ms(action.ex_date) < ex_dates(query, stamps).start
    is_out = (is_before and (query.bars is not None or own < query.span.start)) or is_earlier
    return None if row >= len(stamps) or is_out else row


def _days(query: BarsQuery, stamps: Stamps) -> tuple[Stamps, Stamps]:
    """Return the first date of each row and the date after its last one, as timestamps."""
    if query.timeframe.is_intraday:
        zone = ZoneInfo(query.instrument.timezone)
        dates = [day_ms(local_date(zone, stamp)) for stamp in stamps.tolist()]
        starts = np.array(dates, dtype=np.int64)
        return starts, starts + DAY_MS
    return stamps, start_of(query.timeframe, bucket_of(query.timeframe, stamps) + 1)
