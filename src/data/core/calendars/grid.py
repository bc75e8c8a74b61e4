"""The grid of a series: the timestamps at which its bars can open according to the calendar."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..model.identity.instrument import Instrument
from ..model.identity.kind import Kind
from ..model.market.bars import Stamps, among
from ..model.stored.reasons import HOLIDAYS_UNKNOWN, NO_BAR
from ..model.time.edges import Edges, edges_of
from ..model.time.instant import DAY_MS, MINUTE_MS
from ..model.time.span import Span
from ..model.time.timeframe import Timeframe
from .calendar import MarketCalendar, calendar_for

# Length of the parts in which timestamps are counted.
_PART_MS = 90 * DAY_MS


class GridOutline(NamedTuple):
    """The number of expected bars in a span, and the timestamps of the first and the last one."""

    bars: int
    first: int | None
    last: int | None


@dataclass(frozen=True)
class BarGrid:
    """The timestamps at which bars can open, given a series' calendar, timeframe and anchor."""

    calendar: MarketCalendar
    timeframe: Timeframe
    anchor: str = "session"

    def opens(self, span: Span) -> Stamps:
        """Return the timestamps of all expected bars in ``span``."""
        return self.calendar.opens(self.timeframe, span, self.anchor)

    def outline(self, span: Span) -> GridOutline:
        """Return the number of expected bars in ``span``, and the first and last timestamp."""
        size = _PART_MS if self.timeframe.is_intraday else max(span.end - span.start, 1)
        count, first, last = 0, None, None
        for start in range(span.start, span.end, size):
            stamps = self.opens(Span(start, min(start + size, span.end)))
            if len(stamps):
                first, last = int(stamps[0]) if first is None else first, int(stamps[-1])
            count += len(stamps)
        return GridOutline(count, first, last)

    def outlines(self, spans: Iterable[Span]) -> Iterator[GridOutline]:
        """Yield the :meth:`outline` of each span; the spans must be ascending and disjoint."""
        for group in _of_at_most(spans, _PART_MS):
            if len(group) == 1:
                yield self.outline(group[0])
                continue
            stamps = self.opens(Span(group[0].start, group[-1].end))
            for first, end in stamps.searchsorted(np.array(group, dtype=np.int64)).tolist():
                ends = (int(stamps[first]), int(stamps[end - 1])) if first < end else (None, None)
                yield GridOutline(end - first, *ends)

    def required(self, span: Span) -> Stamps:
        """Return the timestamps of the expected bars in ``span`` that every vendor must have."""
        return self.calendar.required(self.timeframe, span, self.anchor)

    def expects(
        self, spans: Sequence[Span] | Edges, *, required: bool = False
    ) -> NDArray[np.bool_]:
        """Return for each span whether a bar is expected in it.

        Args:
            spans: Spans to check. Short spans that closely follow one another are looked up
                together.
            required: If True, only the bars that every vendor must have are counted.
        """
        edges = edges_of(spans)
        reach = edges[1:, 1] - edges[:-1, 0]
        cuts = np.flatnonzero((reach <= 0) | (reach > DAY_MS)) + 1
        expected = np.zeros(len(edges), bool)
        for first, end in pairwise([0, *cuts.tolist(), len(edges)]):
            group = edges[first:end]
            if len(group) == 1 and not required:
                start, stop = group[0].tolist()
                expected[first] = self.next_open(start) < stop
            elif len(group):
                whole = Span(int(group.min()), int(group.max()))
                stamps = self.required(whole) if required else self.opens(whole)
                firsts, ends = stamps.searchsorted(group).T
                expected[first:end] = firsts < ends
        return expected

    def no_bar(self, span: Span) -> str:
        """Return the reason to record for a span without bars.

        Either no bar exists in the span, or the calendar does not know the holidays in it.
        """
        return HOLIDAYS_UNKNOWN if self.calendar.unrecorded(span) else NO_BAR

    def aligned(self, stamps: Stamps) -> NDArray[np.bool_]:
        """Return for each timestamp whether a bar could open then if the market were open."""
        return self.calendar.aligned(self.timeframe, stamps, self.anchor)

    def could_open(self, span: Span) -> bool:
        """Return whether a bar could open in ``span`` if the market were open then."""
        step_ms = self.timeframe.step_ms
        if step_ms is None or not self.timeframe.is_intraday:
            return -(-span.start // DAY_MS) * DAY_MS < span.end
        if span.end - span.start >= step_ms:
            return True
        first = -(-span.start // MINUTE_MS) * MINUTE_MS
        minutes = np.arange(first, span.end, MINUTE_MS, dtype=np.int64)
        return bool(self.aligned(minutes).any())

    def closes(self, stamps: Stamps) -> Stamps:
        """Return the instant at which each bar closes."""
        return self.calendar.closes(self.timeframe, stamps, self.anchor)

    def settles(self, stamps: Stamps, settle_ms: int) -> Stamps:
        """Return the instant from which each bar is final."""
        return self.calendar.settles(self.timeframe, stamps, settle_ms, self.anchor)

    def next_open(self, stamp_ms: int) -> int:
        """Return the first expected timestamp at or after ``stamp_ms``."""
        return self.calendar.next_open(self.timeframe, stamp_ms, self.anchor)

    def back(self, end_ms: int, count: int) -> int:
        """Return the timestamp of the ``count``-th expected bar before ``end_ms``."""
        return self.calendar.back(self.timeframe, end_ms, count, self.anchor)

    def first_open(self, cap_ms: int, now_ms: int) -> int:
        """Return the earliest timestamp at which a bar, expected or not, may not have closed yet.

        While the market is closed, an off-calendar bar may have opened before ``cap_ms`` and still be
        open.

        Args:
            cap_ms: Timestamp of the first expected bar that has not closed.
            now_ms: Current time in UTC milliseconds.
        """
        step_ms = self.timeframe.step_ms
        if cap_ms <= now_ms or step_ms is None or step_ms > DAY_MS:
            return cap_ms
        last = np.array([self.back(cap_ms, 1)], dtype=np.int64)
        if self.timeframe.is_intraday:
            return min(cap_ms, max(int(self.closes(last)[0]), now_ms - step_ms + 1))
        days = np.arange(int(last[0]) + DAY_MS, cap_ms, DAY_MS, dtype=np.int64)
        unclosed = days[self.closes(days) > now_ms] if len(days) else days
        return int(unclosed[0]) if len(unclosed) else cap_ms


def fitting_opens(stamps: Stamps, calendar: MarketCalendar, timeframe: Timeframe) -> Stamps:
    """Return the timestamps of the bars expected from the first of ``stamps`` to the last.

    The bars show whether hourly ones begin on the hour or are counted from the session's open.

    Args:
        stamps: Ascending timestamps of bars; at least one.
        calendar: Calendar of their market.
        timeframe: Timeframe of the bars.
    """
    reach = Span(int(stamps[0]), int(stamps[-1]) + 1)
    anchors = ("session", "clock") if timeframe.is_intraday else ("session",)
    both = [BarGrid(calendar, timeframe, anchor).opens(reach) for anchor in anchors]
    return max(both, key=lambda opens: int(np.count_nonzero(among(opens, stamps))))


def grid_for(instrument: Instrument, timeframe: Timeframe, kind: Kind | None = None) -> BarGrid:
    """Return the grid of an instrument's bars, with the anchor of their kind if it is known."""
    return BarGrid(calendar_for(instrument), timeframe, (kind and kind.anchor) or "session")


def _of_at_most(spans: Iterable[Span], length: int) -> Iterator[list[Span]]:
    """Split ascending spans into groups, each at most ``length`` long from start to end.

    A span that is longer than that forms its own group.
    """
    group: list[Span] = []
    for span in spans:
        if group and span.end - group[0].start > length:
            yield group
            group = []
        group.append(span)
    if group:
        yield group
