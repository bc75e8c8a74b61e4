"""Builds intraday bars from a stream's trades, or from its closed minute bars."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..model.instant import MINUTE_MS, NEVER_MS
from ..model.span import Span
from ..model.stream import LiveBar, Trade
from .grid import BarGrid


def bar_span(grid: BarGrid, ms: int) -> Span | None:
    """Return the span of the bar that contains the time ``ms``; None if no bar is expected then."""
    step_ms = grid.timeframe.step_ms or 0
    opens = grid.opens(Span(ms - step_ms + 1, ms + 1))
    if not len(opens):
        return None
    stamp = int(opens[-1])
    end = int(grid.closes(np.array([stamp], dtype=np.int64))[0])
    return Span(stamp, end) if ms < end else None


class TradeBars:
    """Builds bars of intraday timeframes from trades. Not thread-safe.

    A bar is closed by the first trade after it, or by the clock when ``late_ms`` have passed since
    its end, because trades arrive late. A bar whose beginning was missed is never reported as
    closed; once it has ended, it must be fetched from history. A price without a trade (size 0)
    updates the forming bar but does not start a new one. Trades that arrive after their bar was
    closed, or at a time when no bar is expected, are ignored.

    Args:
        grid: Grid of the bars to build.
        late_ms: Maximum delay of a trade, plus the maximum time by which the local clock can lag
            behind the vendor's.

    Attributes:
        grid: Grid of the bars to build.
        late: Number of trades that arrived after their bar was closed.
        owed_ms: End (UTC milliseconds) of the last bar that has ended and must be fetched from
            history; the caller sets it to None after fetching that bar.
    """

    def __init__(self, grid: BarGrid, late_ms: int = 2_000) -> None:
        self.late = 0
        self.owed_ms: int | None = None
        self.grid = grid
        self._late_ms = late_ms
        self._since_ms = NEVER_MS
        self._unheard_ms: int | None = None
        self._span = Span(0, 0)
        self._bar: LiveBar | None = None

    def restart(self, now_ms: int) -> None:
        """Start listening; the forming bar is discarded."""
        self._since_ms = now_ms + self._late_ms
        self._span, self._bar = Span(0, 0), None
        forming = bar_span(self.grid, self._since_ms - 1)
        self._unheard_ms = forming and forming.end

    def pause(self) -> None:
        """Stop listening; the forming bar is discarded, because it may lack a trade."""
        self._span, self._bar = Span(0, 0), None
        self._since_ms, self._unheard_ms = NEVER_MS, None

    def spoil(self, ms: int) -> None:
        """Mark the bar at ``ms`` to be fetched from history, because one of its trades is unusable."""
        span = bar_span(self.grid, ms)
        if span is None or span.start < self._span.start or self._since_ms == NEVER_MS:
            return
        self._since_ms = max(self._since_ms, span.start + 1)
        self._unheard_ms = max(self._unheard_ms or 0, span.end)

    def add_trade(self, trade: Trade, now_ms: int) -> list[LiveBar]:
        """Add a trade; return the bar that this closes, if any, and the forming bar.

        Args:
            trade: Trade that arrived.
            now_ms: Time of its arrival. If the trade's bar has ended by then, that bar is left to
                be fetched from history, because other trades in it may still arrive.
        """
        if trade.stamp_ms < self._span.start:
            self.late += 1
            return []
        if trade.stamp_ms in self._span:
            return self._add_trade(trade)
        closed = self._finish_bar()
        span = bar_span(self.grid, trade.stamp_ms)
        if span is None:
            return closed
        if now_ms >= span.end + self._late_ms:
            self.late += 1
            self._span = Span(span.end, span.end)
            if self._since_ms != NEVER_MS:
                self._unheard_ms = max(self._unheard_ms or 0, span.end)
            return closed
        self._span = span
        return [*closed, *self._add_trade(trade)]

    def closed_by(self, now_ms: int) -> list[LiveBar]:
        """Close the forming bar and return it, if its period is over."""
        if self._unheard_ms is not None and now_ms >= self._unheard_ms + self._late_ms:
            self.owed_ms, self._unheard_ms = self._unheard_ms, None
        if self._bar is None or now_ms < self._span.end + self._late_ms:
            return []
        closed = self._finish_bar()
        # Further trades in this bar will count as late.
        self._span = Span(self._span.end, self._span.end)
        return closed

    def _add_trade(self, trade: Trade) -> list[LiveBar]:
        price, size = trade.price, trade.size
        old = self._bar
        if old is not None:
            self._bar = old._replace(
                high=max(old.high, price),
                low=min(old.low, price),
                close=price,
                volume=old.volume + size,
            )
        elif size > 0:
            stamp = self._span.start
            self._bar = LiveBar(stamp, price, price, price, price, size, is_closed=False)
        return [] if self._bar is None else [self._bar]

    def _finish_bar(self) -> list[LiveBar]:
        bar, self._bar = self._bar, None
        if bar is None or self._span.start < self._since_ms:
            return []
        return [bar._replace(is_closed=True)]


# --- from a stream's closed minute bars to longer bars ---------------------------------------
#
# The result is identical, to the last bit, to that of :mod:`..prices.resample` for the same
# minutes.

# Longest lag that is treated as a delayed stream; the delayed tape is a quarter of an hour behind.
_MOST_LAG_MS = 20 * MINUTE_MS
# Corrections arrive between half a minute and a few minutes after a bar.
_REMEMBERED = 16


class MinuteBars:
    """Builds bars of intraday timeframes from closed minute bars. Not thread-safe.

    A bar is closed by its last minute bar, by the first minute bar after it, or by the clock when
    ``late_ms`` have passed since its end (correspondingly later if the stream is delayed). Streams
    do not send a minute bar for a minute without trades. A bar is not emitted as closed, and must
    be fetched from history, if its first minute was missed or if no minute bar arrived for longer
    than ``quiet_ms``, because a lack of trades cannot be distinguished from a broken stream in that
    case. A minute bar that arrives again, or late, replaces the earlier one; if the longer bar was
    already closed, a corrected version of it is returned.

    Args:
        grid: Grid of the bars to build, whose length is a multiple of a minute.
        quiet_ms: Longest time for which a healthy stream can be silent while shares are traded.
        late_ms: Maximum delay of a minute bar, plus the maximum difference between the local clock
            and the vendor's.

    Attributes:
        grid: Grid of the bars to build.
        owed_ms: End (UTC milliseconds) of the last bar that has ended and must be fetched from
            history; the caller sets it to None after fetching that bar.
    """

    def __init__(self, grid: BarGrid, quiet_ms: int, late_ms: int = 4_000) -> None:
        self.owed_ms: int | None = None
        self.grid = grid
        # Two minutes that are sent are at least a minute apart.
        self._silence_ms, self._late_ms = quiet_ms - MINUTE_MS, late_ms
        self._since_ms = 0
        self._newest_ms = self._lag_ms = 0
        self._span: Span | None = None  # span of the forming bar, or of the next one
        self._minutes: dict[int, LiveBar] = {}
        self._closed: dict[Span, dict[int, LiveBar]] = {}

    def restart(self, now_ms: int) -> None:
        """Start listening; the forming bar is discarded.

        The current minute is included, because the stream sends it as a complete bar when it
        closes.
        """
        self._since_ms = now_ms + self._late_ms - MINUTE_MS
        self._move(bar_span(self.grid, now_ms) or self._span_from(now_ms))

    def pause(self) -> None:
        """Stop listening; the forming bar is discarded, because it may lack a minute."""
        self._span = None

    def spoil(self, ms: int) -> None:
        """Mark the bar at ``ms`` to be fetched from history, because one of its minutes is unusable."""
        span = bar_span(self.grid, ms)
        if span is not None and self._span is not None and span.start >= self._span.start:
            self._since_ms = max(self._since_ms, span.start + 1)

    def add_minute(self, minute: LiveBar, now_ms: int) -> list[LiveBar]:
        """Add a minute bar; return the bars that this closes or corrects, and the forming bar.

        The forming bar is returned only if it is complete so far.

        Args:
            minute: Closed minute bar.
            now_ms: Time of its arrival.
        """
        if minute.stamp_ms >= self._newest_ms:
            behind = now_ms - minute.stamp_ms - MINUTE_MS
            self._newest_ms, self._lag_ms = minute.stamp_ms, min(max(behind, 0), _MOST_LAG_MS)
        if self._span is None or minute.stamp_ms < self._span.start:
            return self._correct_minute(minute)
        bars: list[LiveBar] = []
        while minute.stamp_ms >= self._span.end:
            bars += self._finish_bar(self._span)
        if minute.stamp_ms < self._span.start:  # outside the session
            return bars
        self._minutes[minute.stamp_ms] = minute
        if minute.stamp_ms + MINUTE_MS >= self._span.end:
            return bars + self._finish_bar(self._span)
        if self._is_whole(self._span, minute.stamp_ms + MINUTE_MS):
            bars.append(_fold_minutes(self._span, self._minutes, is_closed=False))
        return bars

    def closed_by(self, now_ms: int) -> list[LiveBar]:
        """Close the bars whose period is over, and return them."""
        bars: list[LiveBar] = []
        while self._span and now_ms >= self._span.end + self._late_ms + self._lag_ms:
            bars += self._finish_bar(self._span)
        return bars

    def _finish_bar(self, span: Span) -> list[LiveBar]:
        """Close the forming bar and move on to the next one. Return the closed bar if it is complete."""
        minutes, is_whole = self._minutes, self._is_whole(span, span.end)
        self._move(self._span_from(span.end))
        if not is_whole:
            self.owed_ms = span.end
            return []
        if not minutes:
            return []
        self._closed[span] = minutes
        if len(self._closed) > _REMEMBERED:
            del self._closed[next(iter(self._closed))]
        return [_fold_minutes(span, minutes)]

    def _correct_minute(self, minute: LiveBar) -> list[LiveBar]:
        for span, minutes in self._closed.items():
            if minute.stamp_ms in span:
                minutes[minute.stamp_ms] = minute
                return [_fold_minutes(span, minutes)]
        return []

    def _is_whole(self, span: Span, until_ms: int) -> bool:
        """Return whether the stream covered a bar from its start to ``until_ms`` without a long silence."""
        if span.start < self._since_ms:
            return False
        edges = [span.start]
        for stamp in sorted(self._minutes):
            edges += (stamp, stamp + MINUTE_MS)
        silences = zip(edges[::2], [*edges[1::2], until_ms], strict=True)
        return all(end - start <= self._silence_ms for start, end in silences)

    def _span_from(self, ms: int) -> Span:
        """Return the span of the first expected bar that opens at or after ``ms``."""
        span = bar_span(self.grid, self.grid.next_open(ms))
        assert span is not None, "an expected bar has a length above 0"
        return span

    def _move(self, span: Span) -> None:
        self._span, self._minutes = span, {}


def _fold_minutes(span: Span, minutes: dict[int, LiveBar], *, is_closed: bool = True) -> LiveBar:
    """Combine minute bars (a mapping from timestamp to bar) into the bar for ``span``."""
    parts = [minutes[stamp] for stamp in sorted(minutes)]
    return LiveBar(
        span.start,
        parts[0].open,
        max(p.high for p in parts),
        min(p.low for p in parts),
        parts[-1].close,
        _sum(p.volume for p in parts),
        is_closed,
    )


def _sum(volumes: Iterable[float]) -> float:
    # The order of additions affects the last bit.
    return float(np.add.reduceat(np.array([*volumes]), [0])[0])
