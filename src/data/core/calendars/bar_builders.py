"""Builds intraday bars from a stream's trades, or from its closed minute bars."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ..model.market.stream import LiveBar, Trade
from ..model.time.instant import MINUTE_MS, NEVER_MS
from ..model.time.span import Span
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


# Longest lag of trades that bars wait for; longer delays are those of single trades.
_MOST_TRADE_LAG_MS = 30_000
# Number of closed bars whose corrections, or late trades, still count.
_REMEMBERED = 16
_NO_BAR = Span(0, 0)


@dataclass(slots=True)
class _Built:
    """A bar built from trades, with the times of the trades at which it opens and closes."""

    bar: LiveBar
    first_ms: int
    last_ms: int

    def add(self, trade: Trade) -> None:
        """Add a trade; the earliest one is the open, whenever it arrives, and the latest one the close."""
        stamp, price, size = trade
        start, opened, high, low, close, volume, is_closed, _ = self.bar
        if stamp < self.first_ms and size > 0:
            self.first_ms, opened = stamp, price
        if stamp >= self.last_ms:
            self.last_ms, close = stamp, price
        high, low = max(high, price), min(low, price)
        self.bar = LiveBar(start, opened, high, low, close, volume + size, is_closed)


class TradeBars:
    """Builds bars of intraday timeframes from trades. Not thread-safe.

    Once a bar has ended, it is closed by the first trade after it, or by the clock when ``late_ms``
    have passed (correspondingly later if the stream is delayed), because trades arrive late. A
    trade that arrives after its bar was closed is added to it, and the corrected bar is returned. A
    bar whose beginning was missed is never reported as closed; once it has ended, it must be
    fetched from history. A price without a trade (size 0) updates the forming bar but does not
    start a new one. Trades at a time when no bar is expected are ignored, and so are late trades in
    bars that were not built from trades, or no longer remembered.

    Args:
        grid: Grid of the bars to build.
        late_ms: Maximum delay of a trade, plus the maximum time by which the local clock can lag
            behind the vendor's.

    Attributes:
        grid: Grid of the bars to build.
        late: Number of trades that were added to no bar, because they arrived late or belong to none.
        backfill_ms: End (UTC milliseconds) of the last bar that has ended and must be fetched from
            history; the caller sets it to None after fetching that bar.
    """

    def __init__(self, grid: BarGrid, late_ms: int = 2_000) -> None:
        self.late = 0
        self.backfill_ms: int | None = None
        self.grid = grid
        self._late_ms = late_ms
        self._newest_ms = self._lag_ms = 0
        self._passed_ms = NEVER_MS  # bars that end by then are not started any more
        self._incomplete: set[int] = set()  # ends of the bars that are to be fetched from history
        self._span = _NO_BAR  # span of the bar of the last trade
        self._open: dict[Span, _Built] = {}
        self._closed: dict[Span, _Built] = {}

    def restart(self, now_ms: int) -> None:
        """Start listening; the forming bar is discarded, and so is one that begins within ``late_ms``."""
        self.pause()
        self._passed_ms, self._newest_ms, self._lag_ms = now_ms, 0, 0
        for ms in (now_ms, now_ms + self._late_ms - 1):
            self.spoil(ms)

    def pause(self) -> None:
        """Stop listening; the forming bar is discarded, because it may lack a trade."""
        self._passed_ms = NEVER_MS
        self._incomplete.clear()
        self._open.clear()

    def spoil(self, ms: int) -> None:
        """Mark the bar at ``ms`` to be fetched from history, because one of its trades is unusable."""
        span = bar_span(self.grid, ms)
        if span is not None and span.end > self._passed_ms:
            self._incomplete.add(span.end)

    def add_trade(self, trade: Trade, now_ms: int) -> list[LiveBar]:
        """Add a trade; return the bars that this closes or corrects, if any, and the forming bar.

        The forming bar is returned only if it is complete so far.

        Args:
            trade: Trade that arrived.
            now_ms: Time of its arrival. If the trade's bar has ended by then and had no trade yet,
                it is left to be fetched from history, because other trades in it may still arrive.
        """
        over_ms = now_ms - self._late_ms - self._lag_ms
        if trade.stamp_ms >= self._newest_ms:
            lag_ms = max(now_ms - trade.stamp_ms, 0)
            self._newest_ms = trade.stamp_ms
            self._lag_ms = lag_ms if lag_ms <= _MOST_TRADE_LAG_MS else 0
        if trade.stamp_ms not in self._span:
            self._span = bar_span(self.grid, trade.stamp_ms) or _NO_BAR
        span = self._span
        if (built := self._open.get(span)) is not None:
            built.add(trade)
        elif span in self._closed and trade.size > 0:
            self._closed[span].add(trade)
            return [self._closed[span].bar]
        elif span.end <= max(over_ms, self._passed_ms):
            self.late += 1
            self.spoil(trade.stamp_ms)
            self._passed_ms = max(self._passed_ms, span.end)
        elif trade.size > 0:
            stamp, price, size = trade
            bar = LiveBar(span.start, price, price, price, price, size, False)
            self._open[span] = _Built(bar, stamp, stamp)
        bars = self._finish_bars(min(now_ms, self._newest_ms))
        if self._open and (forming := min(self._open)).end not in self._incomplete:
            bars.append(self._open[forming].bar)
        return bars

    def closed_by(self, now_ms: int) -> list[LiveBar]:
        """Close the bars whose period is over, and return them."""
        over_ms = now_ms - self._late_ms - self._lag_ms
        closed = self._finish_bars(over_ms)
        if ended := {end for end in self._incomplete if end <= over_ms}:
            self._incomplete -= ended
            self.backfill_ms = max(ended)
            self._passed_ms = max(self._passed_ms, self.backfill_ms)
        return closed

    def _finish_bars(self, until_ms: int) -> list[LiveBar]:
        """Close the open bars that end by ``until_ms``; return those that are complete."""
        bars = []
        for span in sorted([span for span in self._open if span.end <= until_ms]):
            built = self._open.pop(span)
            self._passed_ms = max(self._passed_ms, span.end)
            if span.end not in self._incomplete:
                built.bar = built.bar._replace(is_closed=True)
                bars.append(built.bar)
                self._closed[span] = built
                if len(self._closed) > _REMEMBERED:
                    del self._closed[next(iter(self._closed))]
        return bars


# --- from a stream's closed minute bars to longer bars ---------------------------------------
#
# The result is identical, to the last bit, to that of :mod:`..prices.resample` for the same
# minutes.

# Longest lag that is treated as a delayed stream; the delayed tape is a quarter of an hour behind.
_MOST_LAG_MS = 20 * MINUTE_MS


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
        backfill_ms: End (UTC milliseconds) of the last bar that has ended and must be fetched from
            history; the caller sets it to None after fetching that bar.
    """

    def __init__(self, grid: BarGrid, quiet_ms: int, late_ms: int = 4_000) -> None:
        self.backfill_ms: int | None = None
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
            self.backfill_ms = span.end
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
    return float(np.add.reduceat(np.array([*volumes], np.float64), [0])[0])
