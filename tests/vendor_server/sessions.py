"""Trading sessions of an exchange, read from ``exchange_calendars`` and nowhere else.

The library under test has a calendar of its own; this one is independent of it, so the two can
disagree in a test.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from onetape.data.core.model.time.instant import DAY_MS, HOUR_MS

Ints = NDArray[np.int64]
ALWAYS = "24/7"
# Currencies: Sunday to Friday 17:00 New York; quoted early, weeks begin three hours before that.
FOREX, FOREX_EARLY = "24/5", "24/5 early"
# Behind the name of an exchange's calendar: 04:00 to 20:00 where it trades from 09:30 to 16:00.
EXTENDED = " extended"
BEFORE_OPEN_MS, AFTER_CLOSE_MS = 11 * HOUR_MS // 2, 4 * HOUR_MS
FIRST_DAY, LAST_DAY = "1990-01-01", "2035-12-31"


class Sessions(NamedTuple):
    """Sessions as columns, ascending; all in UTC milliseconds.

    Attributes:
        dates: 00:00 of the session date.
        opens, closes: the instants between which the exchange trades.
    """

    dates: Ints
    opens: Ints
    closes: Ints

    def between(self, start_ms: int, end_ms: int) -> Sessions:
        """Return the sessions that trade at some time in ``[start_ms, end_ms)``."""
        first = int(np.searchsorted(self.closes, start_ms, side="right"))
        last = int(np.searchsorted(self.opens, end_ms, side="left"))
        return Sessions(*(column[first:last] for column in self))

    def last_dated(self, date_ms: int) -> tuple[int, int, int]:
        """Return (date, open, close) of the last session dated ``date_ms`` or earlier."""
        row = max(int(np.searchsorted(self.dates, date_ms, side="right")) - 1, 0)
        return int(self.dates[row]), int(self.opens[row]), int(self.closes[row])

    def open_of(self, date_ms: int) -> int:
        """Return the open of the first session dated ``date_ms`` or later."""
        row = int(np.searchsorted(self.dates, date_ms, side="left"))
        return int(self.opens[min(row, len(self.opens) - 1)])


@lru_cache(maxsize=16)
def sessions_of(calendar: str) -> Sessions:
    """Return all sessions of ``calendar``, such as ``XNYS``; every UTC day for ``24/7``.

    Those of currencies are there from 2020 to 2029.
    """
    if calendar == ALWAYS:
        first, last = (int(np.datetime64(d, "D").astype(np.int64)) for d in (FIRST_DAY, LAST_DAY))
        days = np.arange(first, last + 1, dtype=np.int64) * DAY_MS
        return Sessions(days, days, days + DAY_MS)
    if calendar in (FOREX, FOREX_EARLY):
        return _currencies(3 if calendar == FOREX_EARLY else 0)
    if calendar.endswith(EXTENDED):
        regular = sessions_of(calendar.removesuffix(EXTENDED))
        return Sessions(
            regular.dates, regular.opens - BEFORE_OPEN_MS, regular.closes + AFTER_CLOSE_MS
        )
    import exchange_calendars  # half a second and more: only tests with stocks pay for it

    found = exchange_calendars.get_calendar(calendar, start=FIRST_DAY, end=LAST_DAY)
    dates = found.sessions.to_numpy().astype("datetime64[ms]").astype(np.int64)
    return Sessions(dates, _stamps(found.opens), _stamps(found.closes))


@lru_cache(maxsize=16)
def pauses_of(calendar: str) -> tuple[Ints, Ints]:
    """Return the starts and ends of all breaks within sessions of ``calendar``, ascending."""
    none = np.empty(0, dtype=np.int64)
    if calendar in (ALWAYS, FOREX, FOREX_EARLY) or calendar.endswith(EXTENDED):
        return none, none
    import exchange_calendars

    found = exchange_calendars.get_calendar(calendar, start=FIRST_DAY, end=LAST_DAY)
    held = found.schedule[["break_start", "break_end"]].dropna()
    return _stamps(held["break_start"]), _stamps(held["break_end"])


def _stamps(times: pd.Series) -> Ints:
    utc = times.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy()
    stamps: Ints = utc.astype("datetime64[ms]").astype(np.int64)
    return stamps


def _currencies(early_hours: int) -> Sessions:
    """Return the trading days of currencies; Mondays begin so many hours earlier than the rule."""
    zone, rows = ZoneInfo("America/New_York"), []
    day = datetime(2020, 1, 1)  # a date at the venue, and below an hour there
    while day.year < 2030:
        if day.weekday() < 5 and (day.month, day.day) not in {(1, 1), (12, 25)}:
            opened, closed = (
                round((day + timedelta(hours=h)).replace(tzinfo=zone).timestamp() * 1000)
                for h in (-7, 17)
            )
            early = early_hours * HOUR_MS if day.weekday() == 0 else 0
            date_ms = int(np.datetime64(day, "ms").astype(np.int64))
            rows.append((date_ms, opened - early, closed))
        day += timedelta(days=1)
    return Sessions(*np.array(rows, dtype=np.int64).T)
