"""Calendars built from a table of trading hours, including the one for currencies."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date
from functools import cache
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from ...errors import BadRangeError
from ..model.market.bars import Stamps, distinct
from ..model.time.instant import DAY_MS, HOUR_MS, date_of, day_ms, iso, year_of, year_start
from ..model.time.span import Span
from ..model.time.timeframe import Timeframe
from ..runtime.once import cached_property
from .buckets import bucket_at, bucket_of, start_at, start_of
from .localtime import SUPPORTED, local_to_utc, offset_ms
from .session import FOREX, Session

# A session is within two days of its date, and a clock bar may start a day before its open.
_REACH_MS = 3 * DAY_MS
# The longest closure of a market in recent times was Athens 2015, five weeks.
_CLOSURE_MS = 60 * DAY_MS


@dataclass(frozen=True)
class SessionTable:
    """A read-only table of sessions, with ascending columns of UTC milliseconds.

    Attributes:
        days: Session dates, as timestamps.
        opens, closes: Trading hours ``[open, close)``.
        break_starts, break_ends: Start and end of the pause; both equal the close of a session
            without a pause.
    """

    days: Stamps
    opens: Stamps
    closes: Stamps
    break_starts: Stamps
    break_ends: Stamps

    @classmethod
    def of(cls, rows: Iterable[tuple[int, int, int, int, int]]) -> SessionTable:
        """Build the table from rows ``(day, open, close, break start, break end)``."""
        columns = np.array(list(rows), dtype=np.int64).reshape(-1, 5)
        return cls(*(np.ascontiguousarray(columns[:, i]) for i in range(5)))

    @classmethod
    def joined(cls, tables: Iterable[SessionTable]) -> SessionTable:
        """Concatenate tables."""
        parts = list(tables)
        if len(parts) == 1:
            return parts[0]
        columns = zip(*(p.columns for p in parts), strict=True)
        return cls(*(np.concatenate(c) for c in columns)) if parts else cls.of([])

    @property
    def columns(self) -> tuple[Stamps, ...]:
        """All five columns, in order."""
        return self.days, self.opens, self.closes, self.break_starts, self.break_ends

    def dated(self, first_ms: int, last_ms: int) -> SessionTable:
        """Return the sessions dated from ``first_ms`` to ``last_ms``, both inclusive."""
        begin = int(np.searchsorted(self.days, first_ms, side="left"))
        end = int(np.searchsorted(self.days, last_ms, side="right"))
        return SessionTable(*(column[begin:end] for column in self.columns))

    @cached_property
    def open_spans(self) -> tuple[Stamps, Stamps]:
        """The start and end of every uninterrupted trading period, in ascending order."""
        begins = np.stack([self.opens, self.break_ends], axis=1).ravel()
        ends = np.stack([self.break_starts, self.closes], axis=1).ravel()
        traded = begins < ends
        return begins[traded], ends[traded]


class SessionCalendar:
    """Implementation of :class:`~.calendar.MarketCalendar` that uses a table of sessions.

    Args:
        name: Code of the calendar.
        zone: Function that returns the venue's time zone; called when first needed.
        load: Function that returns all sessions dated from a first to a last timestamp, both
            inclusive.
        clock: Whether intraday bars follow the clock regardless of the requested anchor.
        unrecorded: Function that returns the parts of a span whose holidays are unknown; by
            default, none are.
    """

    def __init__(
        self,
        name: str,
        zone: Callable[[], ZoneInfo],
        load: Callable[[int, int], SessionTable],
        *,
        clock: bool = False,
        unrecorded: Callable[[Span], list[Span]] | None = None,
    ) -> None:
        self._unrecorded = unrecorded
        self._name = name
        self._zone = zone
        self._load = load
        self._clock = clock

    @property
    def name(self) -> str:
        """The calendar's code."""
        return self._name

    @property
    def timezone(self) -> str:
        """The IANA name of the venue's local time."""
        return self._zone().key

    def sessions(self, first: date, last: date) -> list[Session]:
        """Return the sessions dated ``first`` to ``last``, both inclusive."""
        table = self._table(day_ms(first), day_ms(last))
        rows = zip(*(column.tolist() for column in table.columns), strict=True)
        return [
            Session(date_of(day), opened, closed, (Span(start, end),) if start < closed else ())
            for day, opened, closed, start, end in rows
        ]

    def open_spans(self, span: Span) -> tuple[Stamps, Stamps]:
        """Return the starts and ends of all uninterrupted trading periods in and near ``span``."""
        return self._window(span).open_spans

    def unrecorded(self, span: Span) -> list[Span]:
        """Return the parts of ``span`` with unknown holidays, where every weekday is a session."""
        supported = span.clip(SUPPORTED)
        if self._unrecorded is None or supported.is_empty:
            return []
        return self._unrecorded(supported)

    def opens(self, timeframe: Timeframe, span: Span, anchor: str = "session") -> Stamps:
        """Return the timestamps of all expected bars in ``[start, end)``, in ascending order."""
        supported = span.clip(SUPPORTED)
        if supported.is_empty:
            return np.empty(0, dtype=np.int64)
        step_ms = timeframe.step_ms
        if timeframe.is_intraday and step_ms is not None:
            stamps = self._grid(self._window(supported), step_ms, anchor)
        else:
            stamps = self._buckets(timeframe, supported)
        first, last = stamps.searchsorted([supported.start, supported.end]).tolist()
        return stamps[first:last]

    def required(self, timeframe: Timeframe, span: Span, anchor: str = "session") -> Stamps:
        """Return the result of :meth:`opens`, because an exchange has the same hours for all vendors."""
        return self.opens(timeframe, span, anchor)

    def aligned(
        self, timeframe: Timeframe, stamps: Stamps, anchor: str = "session"
    ) -> NDArray[np.bool_]:
        """Return for each timestamp whether a bar could open then if the market were open."""
        stamps = np.asarray(stamps, dtype=np.int64)
        step_ms = timeframe.step_ms
        if not timeframe.is_intraday or step_ms is None:
            return np.asarray(
                start_of(timeframe, bucket_of(timeframe, stamps)) == stamps, dtype=bool
            )
        local = stamps + self._offsets(stamps)
        if self._is_on_clock(step_ms, anchor) or not len(stamps):
            return np.asarray(local % step_ms == 0, dtype=bool)
        return self._from_opens(stamps, local, step_ms)

    def closes(self, timeframe: Timeframe, stamps: Stamps, anchor: str = "session") -> Stamps:
        """Return each bar's closing time: one step after its open, or its session's close if earlier."""
        stamps = np.asarray(stamps, dtype=np.int64)
        if not len(stamps):
            return stamps
        step_ms = timeframe.step_ms
        if timeframe.is_intraday and step_ms is not None:
            return self._intraday_closes(stamps, step_ms, anchor)
        return self._daily_closes(timeframe, stamps)

    def settles(
        self, timeframe: Timeframe, stamps: Stamps, settle_ms: int, anchor: str = "session"
    ) -> Stamps:
        """Return the time at which each bar becomes final.

        An intraday bar is final ``settle_ms`` after its close. A longer bar is final at the next
        session's open, but not before ``settle_ms`` after its close. The latter matters for FX,
        where each session from Monday to Thursday ends when the next one opens.
        """
        closes = self.closes(timeframe, stamps, anchor)
        if timeframe.is_intraday or not len(closes):
            return closes + settle_ms
        opens = self._window(Span(int(closes.min()), int(closes.max()) + _CLOSURE_MS)).opens
        later = np.searchsorted(opens, closes, side="left")
        settled = closes + settle_ms
        has_next = later < len(opens)
        settled[has_next] = np.maximum(settled[has_next], opens[later[has_next]])
        return settled

    def next_open(self, timeframe: Timeframe, stamp_ms: int, anchor: str = "session") -> int:
        """Return the first expected timestamp at or after ``stamp_ms``.

        Raises:
            BadRangeError: No bar is expected before the year 2262.
        """
        start, reach = max(stamp_ms, SUPPORTED.start), timeframe.longest_ms + 5 * DAY_MS
        while start < SUPPORTED.end:
            stamps = self.opens(timeframe, Span(start, start + reach), anchor)
            if len(stamps):
                return int(stamps[0])
            start, reach = start + reach, reach * 2
        raise BadRangeError(f"{self.name} does not expect a {timeframe} bar after {iso(stamp_ms)}")

    def back(self, timeframe: Timeframe, end_ms: int, count: int, anchor: str = "session") -> int:
        """Return the timestamp of the ``count``-th expected bar before ``end_ms`` (exclusive).

        Raises:
            BadRangeError: ``count`` is not positive, or the bar would be before 1900.
        """
        if count < 1:
            raise BadRangeError(f"bars must be positive, not {count}")
        # There is trading in every week and month, and usually on at least every second day or
        # hour.
        wide = 1 if timeframe.unit in "wM" else 2
        reach = wide * count * timeframe.longest_ms + 7 * DAY_MS
        while True:
            start = max(end_ms - reach, SUPPORTED.start)
            stamps = self.opens(timeframe, Span(start, end_ms), anchor)
            if len(stamps) >= count:
                return int(stamps[-count])
            if start == SUPPORTED.start:
                raise BadRangeError(
                    f"{count} {timeframe} bars before {iso(end_ms)} would go back beyond 1900; "
                    f"{self.name} has only {len(stamps)}"
                )
            reach *= 2

    # --- implementation ------------------------------------------------------------------

    def _table(self, first_ms: int, last_ms: int) -> SessionTable:
        """Return the sessions dated from ``first_ms`` to ``last_ms``, within the supported years."""
        # In whole days, which are the same for every instant of a day.
        first = -(-max(first_ms, SUPPORTED.start) // DAY_MS) * DAY_MS
        last = min(last_ms, SUPPORTED.end - DAY_MS) // DAY_MS * DAY_MS
        return self._load(first, last) if first <= last else SessionTable.of([])

    def _window(self, span: Span) -> SessionTable:
        """Return the sessions in and near ``span``, i.e. all that can matter for an instant in it."""
        return self._table(span.start - _REACH_MS, span.end + _REACH_MS)

    def _is_on_clock(self, step_ms: int, anchor: str) -> bool:
        # Bars whose length does not divide a day cannot follow the clock, so they are counted from
        # the open.
        return (self._clock or anchor == "clock") and DAY_MS % step_ms == 0

    def _grid(self, table: SessionTable, step_ms: int, anchor: str) -> Stamps:
        """Return the timestamps of all intraday bars in the sessions of ``table``."""
        begins, ends = table.open_spans
        on_clock = self._is_on_clock(step_ms, anchor)
        if on_clock:
            begins = begins - (begins + self._offsets(begins)) % step_ms
        counts = -((begins - ends) // step_ms)
        before = np.repeat(np.cumsum(counts) - counts, counts)
        ordinals = np.arange(len(before), dtype=np.int64) - before
        stamps: Stamps = np.repeat(begins, counts) + step_ms * ordinals
        # On the clock, one bar may contain the end of one trading period and the start of the next.
        fresh = np.ones(len(stamps), dtype=bool)
        fresh[1:] = stamps[1:] > stamps[:-1]
        return stamps[fresh]

    def _offsets(self, instants: Stamps) -> Stamps:
        """Return the UTC offset of local time at each instant, in milliseconds.

        The offset is looked up once per day, and for each instant only on days when it changes.
        """
        zone = self._zone()
        days, at = np.unique(instants // DAY_MS, return_inverse=True)
        edges = np.append(days, days + 1).tolist()
        edge_offsets = np.array([offset_ms(zone, day * DAY_MS) for day in edges], dtype=np.int64)
        offsets: Stamps = edge_offsets[at]
        changes = offsets != edge_offsets[len(days) :][at]  # no zone ever changed twice in two days
        offsets[changes] = [offset_ms(zone, ms) for ms in instants[changes].tolist()]
        return offsets

    def _buckets(self, timeframe: Timeframe, span: Span) -> Stamps:
        """Return the timestamps of all daily or longer bars that can start in ``span``."""
        last = start_at(timeframe, bucket_at(timeframe, span.end) + 1)
        days = self._table(span.start, last).days
        return start_of(timeframe, distinct(bucket_of(timeframe, days)))

    def _from_opens(self, stamps: Stamps, local: Stamps, step_ms: int) -> NDArray[np.bool_]:
        """Return for each timestamp whether it is a whole number of steps from the open.

        The open is that of the trading period that contains the timestamp or, outside trading
        hours, of the period before or after it.
        """
        begins, ends = self._window(Span(int(stamps.min()), int(stamps.max()) + 1)).open_spans
        if not len(begins):
            return np.asarray(local % step_ms == 0, dtype=bool)
        opened = begins + self._offsets(begins)
        after = np.searchsorted(begins, stamps, side="right")
        before, behind = np.maximum(after - 1, 0), np.minimum(after, len(begins) - 1)
        inside = (after > 0) & (stamps < ends[before])
        fits = (local - opened[before]) % step_ms == 0
        fits |= ~inside & ((local - opened[behind]) % step_ms == 0)
        return np.asarray(fits, dtype=bool)

    def _intraday_closes(self, stamps: Stamps, step_ms: int, anchor: str) -> Stamps:
        begins, ends = self._window(Span(int(stamps.min()), int(stamps.max()))).open_spans
        closes = stamps + step_ms
        # Counted from the open, a bar belongs to the trading period in which it opens; on the
        # clock, to the last one that it overlaps.
        reached = closes - 1 if self._is_on_clock(step_ms, anchor) else stamps
        at = np.searchsorted(begins, reached, side="right") - 1
        traded = at >= 0
        traded[traded] = ends[at[traded]] > stamps[traded]
        closes[traded] = np.minimum(closes[traded], ends[at[traded]])
        return closes

    def _daily_closes(self, timeframe: Timeframe, stamps: Stamps) -> Stamps:
        buckets = bucket_of(timeframe, stamps)
        first, end = start_of(timeframe, buckets), start_of(timeframe, buckets + 1)
        table = self._table(int(first.min()), int(end.max()))
        at = np.searchsorted(table.days, end, side="left") - 1
        traded = at >= 0
        traded[traded] = table.days[at[traded]] >= first[traded]
        closes = np.empty_like(stamps)
        closes[traded] = table.closes[at[traded]]
        closes[~traded] = [self._end_of(ms - DAY_MS) for ms in end[~traded].tolist()]
        return closes

    def _end_of(self, day: int) -> int:
        """Return the end of a date without a session: the local midnight after it."""
        return local_to_utc(self._zone(), day + DAY_MS)


# --- the calendar of spot currencies: Sunday to Friday 17:00 New York, by a rule --------------

_NEW_YORK = ZoneInfo("America/New_York")
_ROLL_MS = 17 * HOUR_MS  # the trading day changes at 17:00 New York, summer and winter
_CLOSED = {(1, 1), (12, 25)}
# Hours of a session date, counted from its midnight, in which only some dealers trade. The dealers'
# series in tests/core/calendars/test_forex.py show this.
_DIFFERING = {
    (12, 24): (13, 17),
    (12, 26): (-24, 8),
    (12, 31): (13, 17),
    (1, 2): (-24, 0),
}
# The hours for a Monday after a holiday on Sunday.
_SUBSTITUTE = (-24, 17)


class ForexCalendar(SessionCalendar):
    """Sessions from Monday to Friday, each from 17:00 New York time on the previous day to 17:00.

    A session is dated by the day on which it closes. 1 January and 25 December have no session.
    Intraday bars follow the New York clock, so a ``4h`` bar may extend across the end of a session.
    Around these two holidays, currency dealers keep different hours. Sessions include all dealers'
    hours, but an intraday bar is required only at times when every dealer trades.
    """

    def __init__(self) -> None:
        super().__init__(FOREX, lambda: _NEW_YORK, _load, clock=True)

    def _end_of(self, day: int) -> int:
        return local_to_utc(_NEW_YORK, day + _ROLL_MS)

    def required(self, timeframe: Timeframe, span: Span, anchor: str = "session") -> Stamps:
        """Return the timestamps of expected bars in ``[start, end)`` at which every dealer trades."""
        stamps = self.opens(timeframe, span, anchor)
        if not timeframe.is_intraday or not len(stamps):
            return stamps
        required = np.ones(len(stamps), dtype=bool)
        years = range(year_of(int(stamps[0])), year_of(int(stamps[-1])) + 1)
        for thin_span in (thin_span for year in years for thin_span in _thin_spans(year)):
            first, last = np.searchsorted(stamps, [thin_span.start, thin_span.end])
            if first < last:
                closes = self.closes(timeframe, stamps[first:last], anchor)
                required[first:last] = closes > thin_span.end
        return stamps[required]


@cache
def _thin_spans(year: int) -> tuple[Span, ...]:
    """Return the spans in a year during which not every dealer trades."""
    spans = []
    for (month, day), hours in _DIFFERING.items():
        holiday = date(year, month, day)
        is_behind_sunday = hours[0] < 0 and holiday.weekday() == 0
        first, last = _SUBSTITUTE if is_behind_sunday else hours
        start, end = (
            local_to_utc(_NEW_YORK, day_ms(holiday) + hour * HOUR_MS) for hour in (first, last)
        )
        spans.append(Span(start, end))
    return tuple(spans)


def trading_day(day: date) -> Span:
    """Return the UTC span from 17:00 New York time on the previous day to 17:00 on ``day``."""
    rolls = (local_to_utc(_NEW_YORK, day_ms(day) + _ROLL_MS - back) for back in (DAY_MS, 0))
    return Span(*rolls)


def _load(first_ms: int, last_ms: int) -> SessionTable:
    years = range(year_of(first_ms), year_of(last_ms) + 1)
    return SessionTable.joined(_year(year) for year in years).dated(first_ms, last_ms)


@cache
def _year(year: int) -> SessionTable:
    days = map(date_of, range(year_start(year), year_start(year + 1), DAY_MS))
    trading = (d for d in days if d.weekday() < 5 and (d.month, d.day) not in _CLOSED)
    spans = ((day_ms(day), *trading_day(day)) for day in trading)
    return SessionTable.of((day, start, end, end, end) for day, start, end in spans)
