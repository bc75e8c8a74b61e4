"""Trades to bars."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from ..model.bars import Stamps
from ..model.span import Span
from ..model.stream import LiveBar, Trade
from ..model.timeframe import Timeframe

_NEVER = 1 << 62


class TradeGrid(Protocol):
    """Where bars stand and when they close; see :class:`~.calendars.gaps.Grid`."""

    @property
    def timeframe(self) -> Timeframe:
        """The bars' length."""

    def opens(self, span: Span) -> Stamps:
        """Return the stamps of all expected bars in ``span``."""

    def closes(self, stamps: Stamps) -> Stamps:
        """Return the instant at which each bar closes."""

    def next_open(self, stamp_ms: int) -> int:
        """Return the first expected stamp at or after ``stamp_ms``."""


def bar_span(grid: TradeGrid, ms: int) -> Span | None:
    """Return from when to when the bar lasts in which ``ms`` lies; None: no bar is expected then."""
    step = grid.timeframe.step_ms or 0
    opens = grid.opens(Span(ms - step + 1, ms + 1))
    if not len(opens):
        return None
    stamp = int(opens[-1])
    end = int(grid.closes(np.array([stamp], dtype=np.int64))[0])
    return Span(stamp, end) if ms < end else None


class TradeBars:
    """Bars of intraday timeframes, built of trades. Not thread-safe.

    A bar is closed by the first trade after it, or by the clock once ``late_ms`` have passed since
    its close, for trades are late. A bar whose beginning was not listened to is never called closed:
    it is to be had from history once it is over. A price without a size (0) moves
    the running bar and opens none. Trades that come after their bar was closed, or beside the
    calendar, change nothing.

    Args:
        grid: where bars stand.
        late_ms: how late a trade may be, and how far our clock may lie behind the vendor's.

    Attributes:
        late: trades that came after their bar was closed.
        owed_ms: the end of the last bar that is over and can be told by history alone; whoever has
            seen to that sets it to None.
    """

    def __init__(self, grid: TradeGrid, late_ms: int = 2_000) -> None:
        self.late = 0
        self.owed_ms: int | None = None
        self._grid = grid
        self._late_ms = late_ms
        self._since_ms = _NEVER
        self._unheard_ms: int | None = None
        self._span = Span(0, 0)
        self._bar: LiveBar | None = None

    def restart(self, now_ms: int) -> None:
        """Begin to listen: what was running is forgotten."""
        self._since_ms = now_ms + self._late_ms
        self._span, self._bar = Span(0, 0), None
        running = bar_span(self._grid, self._since_ms - 1)
        self._unheard_ms = running and running.end

    def pause(self) -> None:
        """Listen no more: what is running may lack a trade, and is forgotten."""
        self._span, self._bar = Span(0, 0), None
        self._since_ms, self._unheard_ms = _NEVER, None

    def take(self, trade: Trade) -> list[LiveBar]:
        """Return the bar that ``trade`` closes, if any, and the running one."""
        if trade.stamp_ms < self._span.start:
            self.late += 1
            return []
        if trade.stamp_ms in self._span:
            return self._moved(trade)
        closed = self._finished()
        span = bar_span(self._grid, trade.stamp_ms)
        if span is None:
            return closed
        self._span = span
        return [*closed, *self._moved(trade)]

    def closed_by(self, now_ms: int) -> list[LiveBar]:
        """Return the running bar as closed if its time is over."""
        if self._unheard_ms is not None and now_ms >= self._unheard_ms + self._late_ms:
            self.owed_ms, self._unheard_ms = self._unheard_ms, None
        if self._bar is None or now_ms < self._span.end + self._late_ms:
            return []
        closed = self._finished()
        # Trades of this bar may still come, and are late then.
        self._span = Span(self._span.end, self._span.end)
        return closed

    def _moved(self, trade: Trade) -> list[LiveBar]:
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

    def _finished(self) -> list[LiveBar]:
        bar, self._bar = self._bar, None
        if bar is None or self._span.start < self._since_ms:
            return []
        return [bar._replace(is_closed=True)]
