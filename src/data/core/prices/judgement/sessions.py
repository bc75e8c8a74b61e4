"""Compares intraday bars with the daily bars of their sessions. Pure.

No bar closes above the high or below the low of its own day. A bar that does so by the ratio of a
split, or by a factor of 100, has a different unit or adjustment than its day. So do bars that are
off by any other large factor if they are most of a session. Neighbouring bars do not show this if
all of them are off in the same way.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ...calendars.calendar import MarketCalendar
from ...model.display.texts import counted
from ...model.market.bars import BarTable, Floats
from ...model.stored.coverage import Covered
from ...model.stored.reasons import Cause
from ...model.stored.stored import CoverageSpan
from ...model.time.instant import date_of, day_ms, iso
from ...model.time.span import Span
from .levels import HUNDRED, RATIOS, Defect, price_text
from .series import FAR, CheckedSeries, DailySessions, Mask, Rows

# Maximum distance (a logarithm) beyond its day's prices of a close that was corrected by a ratio,
# because vendors differ in which trades make a high or a low.
_BESIDE = float(np.log(1.03))
# Number of bars in a session that must be off in the same way, and be at least half of it, so that
# no ratio is needed.
_LEAST_WRONG = 5


def proven(entries: Iterable[Covered | CoverageSpan]) -> list[Span]:
    """Return the spans of daily bars that are reliable for comparisons: final and never doubted."""
    return [c.span for c in entries if c.state == "final" and Cause.SETTLED not in c.cause]


def daily_sessions(days: BarTable, calendar: MarketCalendar) -> DailySessions:
    """Return daily bars with the instants at which their sessions open and close."""
    if not len(days):
        none = np.empty(0, dtype=np.int64)
        return DailySessions(none, none, days)
    first, last = (date_of(int(days.stamps[row])) for row in (0, -1))
    hours = {day_ms(s.day): (s.open_ms, s.close_ms) for s in calendar.sessions(first, last)}
    has_session = np.array([stamp in hours for stamp in days.stamps.tolist()], dtype=bool)
    days = days.take(has_session)
    bounds = np.array([hours[stamp] for stamp in days.stamps.tolist()], dtype=np.int64)
    opens, closes = bounds.reshape(-1, 2).T
    return DailySessions(opens, closes, days)


def beside_days(series: CheckedSeries) -> list[Defect] | str:
    """Find intraday bars that contradict the daily bar of their session.

    The result is a string with the reason if the series cannot be checked.
    """
    if not series.timeframe.is_intraday:
        return "it applies only to hours and minutes"
    if series.sessions is None or not len(series.sessions.days):
        return "no daily bars are stored"
    stamps, close, days = series.table.stamps, series.table.close, series.sessions.days
    rows = np.flatnonzero(np.isfinite(series.from_days))
    away, positions = series.from_days[rows], series.session_rows[rows]
    far = np.abs(away) > FAR
    if not far.any():
        return []
    level, top, bottom = (
        np.log(column) for column in (close[rows], days.high[positions], days.low[positions])
    )
    off = far & (_is_by_ratio(series, level, top, bottom, away) | _are_most(positions, away, far))
    if not off.any():
        return []
    wrong, at = rows[off], int(np.argmax(off))
    low, high = (price_text(column[positions[at]]) for column in (days.low, days.high))
    text = (
        f"{counted(len(wrong), 'bar')} in {counted(len(np.unique(positions[off])), 'session')} beyond all "
        f"prices of their day: close {price_text(close[rows[at]])} at {iso(int(stamps[rows[at]]))}, the "
        f"day from {low} to {high}; in another unit, or adjusted for other splits"
    )
    return [Defect(stamps[wrong], text)]


def _is_by_ratio(
    series: CheckedSeries, level: Floats, top: Floats, bottom: Floats, away: Floats
) -> Mask:
    """Return a mask of closes that are within the day's range after division by a known ratio."""
    sizes = {HUNDRED}
    if series.asset_class == "stock":
        sizes |= {*RATIOS.tolist(), *(abs(float(np.log(s.value))) for s in series.splits or ())}
    is_near = np.zeros(len(level), dtype=bool)
    for size in sizes:
        corrected = level - np.sign(away) * size
        is_near |= (corrected <= top + _BESIDE) & (corrected >= bottom - _BESIDE)
    return is_near


def _are_most(positions: Rows, away: Floats, far: Mask) -> Mask:
    """Return a mask of the rows that deviate in the same way as most other rows of their session."""
    are_most = np.zeros(len(positions), dtype=bool)
    size = int(positions.max()) + 1
    bars = np.bincount(positions, minlength=size)
    for is_off in (far & (away > 0), far & (away < 0)):
        wrong = np.bincount(positions[is_off], minlength=size)
        are_most |= is_off & ((wrong >= _LEAST_WRONG) & (wrong * 2 >= bars))[positions]
    return are_most
