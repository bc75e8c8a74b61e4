"""Stamps that are the closes of bars, brought to the opens."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta

import numpy as np

from ...calendars.calendar import MarketCalendar
from ...calendars.gaps import BarGrid
from ...model.bars import Stamps
from ...model.instant import DAY_MS, day_ms, to_ms
from ...model.span import Span, coalesce
from ...model.timeframe import Timeframe

_DAY = Timeframe.parse("1d")


def opens_of(closes: Sequence[int], grid: BarGrid) -> list[int]:
    """Return where the bars of minutes or hours open that close at ``closes``.

    The last bar of a session may be shorter than its step. Where no bar of the calendar closes, a
    whole step is taken off, and what that stamp is worth is judged as any other's.
    """
    step = grid.timeframe.step_ms or 0
    # 23:59:59.999 is how some exchanges write the end of a day.
    ends = np.array([close + (close % 1000 == 999) for close in closes], dtype=np.int64)
    opens = ends - step
    odd = ~grid.aligned(opens) | (grid.closes(opens) != ends)
    near = coalesce(Span(end - DAY_MS, end) for end in sorted(ends[odd].tolist()))
    parts = [grid.opens(stretch) for stretch in near]
    known: Stamps = np.concatenate([*parts, np.array([], dtype=np.int64)])
    by_close = dict(zip(grid.closes(known).tolist(), known.tolist(), strict=True))
    return [
        by_close.get(end, opened) if is_odd else opened
        for end, opened, is_odd in zip(ends.tolist(), opens.tolist(), odd.tolist(), strict=True)
    ]


def date_of_close(close: datetime, timeframe: Timeframe, calendar: MarketCalendar) -> date:
    """Return the first date of the bar of days, weeks or months that closes at ``close``.

    A midnight belongs to the day that ends with it: always for weeks and months, and for days where
    the market closes then. Other midnights are dates of sessions, and name their own day.
    """
    moment = close + timedelta(milliseconds=close.microsecond == 999_000)
    day = moment.date()
    is_midnight = day != (moment - timedelta(milliseconds=1)).date()
    if is_midnight and (timeframe.unit != "d" or _closes_at(calendar, moment)):
        day -= timedelta(days=1)
    if timeframe.unit == "d":
        return day - timedelta(days=timeframe.count - 1)
    if timeframe.unit == "w":
        return day - timedelta(days=day.weekday(), weeks=timeframe.count - 1)
    year, month = divmod(day.year * 12 + day.month - timeframe.count, 12)
    return date(year, month + 1, 1)


def _closes_at(calendar: MarketCalendar, moment: datetime) -> bool:
    """Tell whether the bar of the day before closes at that instant."""
    before = np.array([day_ms(moment.date()) - DAY_MS], dtype=np.int64)
    return int(calendar.closes(_DAY, before)[0]) == to_ms(moment)
