"""Continues history with a stream, so that every bar is delivered once, in order, without a gap.

A stream may lose bars, repeat them or send them late; history contains all bars, but a little
later. This module decides when each bar is delivered, and which bars must be requested before
anything newer is delivered. It is pure: it takes bars from stream and history, and returns the bars
to deliver.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from heapq import heappop, heappush

from ..core.calendars.calendar import MarketCalendar
from ..core.calendars.grid import BarGrid
from ..core.calendars.session import ALWAYS_OPEN
from ..core.model.market.stream import LiveBar
from ..core.model.time.instant import DAY_MS, date_of
from ..core.model.time.span import Span, subtract


class EvenSlots:
    """The expected opening times in a market that never closes: all multiples of a step.

    This is faster than a grid that consults a calendar.
    """

    def __init__(self, step_ms: int) -> None:
        self._step_ms = step_ms

    def next_open(self, stamp_ms: int) -> int:
        """Return the first multiple of the step at or after ``stamp_ms``."""
        return -(-stamp_ms // self._step_ms) * self._step_ms


def slots_of(grid: BarGrid) -> BarGrid | EvenSlots:
    """Return the fastest object that yields the same expected opening times as ``grid``."""
    calendar, timeframe = grid.calendar, grid.timeframe
    step_ms = timeframe.step_ms or 0
    even = calendar.name == ALWAYS_OPEN and timeframe.is_intraday and DAY_MS % step_ms == 0
    return EvenSlots(step_ms) if even else grid


class Continuation:
    """A queue that delivers bars in order, holding back bars that follow a gap. Not thread-safe.

    Each bar is delivered once, in strictly ascending order. A bar is delivered only after all bars
    expected before it have been delivered or are known not to exist.

    Args:
        slots: Expected opening times of the bars.
        start_ms: Time before which everything has already been delivered.

    Attributes:
        frontier: Time before which every expected bar has been delivered or is known not to exist.
        last: Timestamp of the last delivered bar; at first, the millisecond before ``start_ms``.
        newest: Timestamp of the latest bar that was delivered or is waiting.
        doubled: Number of bars that were offered again after they had been delivered.
    """

    def __init__(self, slots: BarGrid | EvenSlots, start_ms: int) -> None:
        self.frontier = start_ms
        self.last = start_ms - 1
        self.newest = start_ms - 1
        self.doubled = 0
        self._slots = slots
        self._waiting: dict[int, LiveBar] = {}
        self._stamps: list[int] = []  # stamps of the waiting bars, as a heap
        self._absent: set[int] = set()
        self._expected: int | None = None

    def offer(self, bar: LiveBar) -> bool:
        """Accept a closed bar; return False if it is not newer than the last bar delivered.

        The bar replaces a waiting bar with the same timestamp.
        """
        if bar.stamp_ms <= self.last:
            self.doubled += 1
            return False
        if bar.stamp_ms not in self._waiting:
            heappush(self._stamps, bar.stamp_ms)
            self.newest = max(self.newest, bar.stamp_ms)
        self._waiting[bar.stamp_ms] = bar
        return True

    def learn(self, bars: Iterable[LiveBar], absent: Iterable[int]) -> None:
        """Accept an answer from history: bars, and times known to have no bar.

        A bar that is already waiting is kept, because the stream's version is newer.
        """
        for bar in bars:
            if bar.stamp_ms > self.last and bar.stamp_ms not in self._waiting:
                self.offer(bar)
        self._absent.update(stamp for stamp in absent if stamp >= self.frontier)

    def take_ready(self) -> list[LiveBar]:
        """Return the waiting bars that can be delivered now, in order, and count them as delivered."""
        bars: list[LiveBar] = []
        while True:
            expected = self._next_expected()
            if self._stamps and self._stamps[0] <= expected:
                self.last = heappop(self._stamps)
                bars.append(self._waiting.pop(self.last))
                self._absent.discard(self.last)
                self._advance(self.last + 1)
            elif expected in self._absent:
                self._absent.discard(expected)
                self._advance(expected + 1)
            else:
                return bars

    def gap(self, until_ms: int) -> Span | None:
        """Return the first span of missing bars, or None if no bars are missing.

        The span ends at the first waiting bar or, if no bar is waiting, at ``until_ms``, before
        which every expected bar should be available by now. Call this after :meth:`take_ready`.
        """
        expected = self._next_expected()
        if self._stamps:
            return Span(expected, self._stamps[0])
        return Span(expected, until_ms) if expected < until_ms else None

    @property
    def waiting(self) -> int:
        """The number of bars that are waiting for earlier bars."""
        return len(self._waiting)

    def _next_expected(self) -> int:
        if self._expected is None:
            self._expected = self._slots.next_open(self.frontier)
        return self._expected

    def _advance(self, frontier_ms: int) -> None:
        if frontier_ms > self.frontier:
            self.frontier, self._expected = frontier_ms, None


# --- silence, counted in the market's open hours

_DAY = timedelta(days=1)


def open_ms(calendar: MarketCalendar, span: Span) -> int:
    """Return how long the market was open during ``span``, in milliseconds.

    If the market has closing hours, only the last four days of a longer span are counted, because
    no caller waits longer than that.
    """
    if calendar.name == ALWAYS_OPEN:
        return max(0, span.end - span.start)
    late = Span(max(span.start, span.end - 4 * DAY_MS), span.end)
    if late.is_empty:
        return 0
    sessions = calendar.sessions(date_of(late.start) - _DAY, date_of(late.end) + _DAY)
    opened = [Span(s.open_ms, s.close_ms).clip(late) for s in sessions]
    breaks = [pause for session in sessions for pause in session.breaks]
    return sum(open_span.end - open_span.start for open_span in subtract(opened, breaks))
