"""Listeners of a connection, one per subscription, which pass bars on or build bars from trades."""

from __future__ import annotations

import numpy as np

from ...core.calendars.bar_builders import MinuteBars, TradeBars, bar_span
from ...core.calendars.grid import BarGrid
from ...core.clock import Clock
from ...core.model.market.stream import LiveBar, StreamState, StreamStatus, Trade
from ...core.model.time.instant import MINUTE_MS
from ...core.model.time.span import Span
from ...core.prices.bar_rule import is_bar
from ...errors import DataError
from ..sources.base import Sink
from ..sources.steady import SteadyNow


class Listener:
    """Receives the messages of one subscription and reports its state to a sink.

    No method blocks; only one thread calls it.
    """

    def __init__(self, sink: Sink, clock: Clock) -> None:
        self._sink = sink
        self._clock = clock

    def bar(self, bar: LiveBar) -> None:
        """Handle a bar, forming or closed, as received."""

    def revised(self, bar: LiveBar) -> None:
        """Accept a corrected bar."""

    def trade(self, trade: Trade) -> None:
        """Handle a trade."""

    def late_trade(self, trade: Trade) -> None:
        """Handle a trade that arrived so late that its price is outdated."""

    def closes(self, stamp_ms: int) -> int:
        """Return the closing time of a bar that opens at ``stamp_ms``; by default, one minute later."""
        return stamp_ms + MINUTE_MS

    def refused(self, span: Span) -> None:
        """Handle a notice that an item in ``span`` could not be used.

        By default, all bars that close by the end of the span are fetched from history.
        """
        reason = "data from the stream could not be used"
        self._sink.status(StreamStatus(StreamState.DELAYED, reason, span.end))

    def connected(self) -> None:
        """Handle a notice that the connection works; nothing is missed from this point on."""
        self._tell(StreamState.BACKFILLING, "connected")

    def lost(self, reason: str) -> None:
        """Handle a notice that the connection is lost until ``connected`` is called again."""
        self._tell(StreamState.CONNECTING, reason)

    def end(self, error: DataError | None) -> None:
        """Handle a notice that the stream has ended for good."""
        self._sink.end(error)

    def tick(self) -> None:
        """Called regularly, even if nothing arrives, so that subclasses can close overdue bars."""

    def _tell(self, state: StreamState, reason: str) -> None:
        self._sink.status(StreamStatus(state, reason, self._clock.now_ms()))


class BarListener(Listener):
    """Passes bars on to a sink.

    Args:
        sink: Receives the bars.
        clock: Clock for the times of statuses.
        grid: Grid of the bars.
    """

    def __init__(self, sink: Sink, clock: Clock, grid: BarGrid) -> None:
        super().__init__(sink, clock)
        self._grid = grid
        # Every message passes through here, so the sink is called directly.
        self.bar = sink.bar  # type: ignore[method-assign]
        self.revised = sink.revised  # type: ignore[method-assign]

    def closes(self, stamp_ms: int) -> int:
        """See :class:`Listener`."""
        return int(self._grid.closes(np.array([stamp_ms], dtype=np.int64))[0])


class BuildingListener(Listener):
    """Builds bars; a bar with incomplete data is never delivered as closed.

    Args:
        sink: Receives the bars.
        clock: Clock used to close bars if nothing more arrives.
        bars: Builder of the bars.
    """

    def __init__(self, sink: Sink, clock: Clock, bars: TradeBars | MinuteBars) -> None:
        super().__init__(sink, clock)
        self._bars = bars
        self._now = SteadyNow(clock)
        self._event_ms = 0  # the last trade, or the end of the last minute

    def connected(self) -> None:
        """See :class:`Listener`."""
        self._now.set()
        self._bars.restart(self._now.ms())
        super().connected()

    def lost(self, reason: str) -> None:
        """See :class:`Listener`."""
        self._bars.pause()
        super().lost(reason)

    def refused(self, span: Span) -> None:
        """Handle a rejected item; see :class:`Listener`. Its bar is not delivered as closed."""
        self._bars.spoil(span.start)

    def tick(self) -> None:
        """Close the bars whose time is over, even if nothing more arrived; adjust the clock."""
        if self._event_ms and self._now.set_by(self._event_ms):
            self.connected()
        self._give(self._bars.closed_by(self._now.ms()))

    def _give(self, bars: list[LiveBar]) -> None:
        for bar in bars:
            if is_bar(bar):
                self._sink.bar(bar)
            else:
                self._leave(bar)
        backfill_ms, self._bars.backfill_ms = self._bars.backfill_ms, None
        if backfill_ms is not None:
            reason = "a bar ended that the stream did not cover completely"
            self._sink.status(StreamStatus(StreamState.DELAYED, reason, backfill_ms))

    def _give_or_tell(self, bars: list[LiveBar]) -> None:
        """Pass bars on, or, if there are none, report that data are arriving."""
        self._give(bars)
        if not bars:
            self._tell(StreamState.LIVE, "data come")

    def _leave(self, bar: LiveBar) -> None:
        """Let history supply a bar whose parts are valid, but do not form a valid bar.

        For example, its total volume may exceed any possible one.
        """
        self._bars.spoil(bar.stamp_ms)
        if bar.is_closed and (span := bar_span(self._bars.grid, bar.stamp_ms)) is not None:
            self._bars.backfill_ms = max(self._bars.backfill_ms or 0, span.end)


class TradeListener(BuildingListener):
    """Builds bars from trades."""

    def __init__(self, sink: Sink, clock: Clock, bars: TradeBars) -> None:
        super().__init__(sink, clock, bars)
        self._add = bars.add_trade

    def trade(self, trade: Trade) -> None:
        """See :class:`Listener`."""
        self._event_ms = trade[0]
        self._give_or_tell(self._add(trade, self._now.ms()))

    def late_trade(self, trade: Trade) -> None:
        """Add a late trade to its bar, without passing on the forming bar; see :class:`Listener`."""
        self._give([bar for bar in self._add(trade, self._now.ms()) if bar.is_closed])


class MinuteListener(BuildingListener):
    """Builds longer bars from closed minute bars and their corrections."""

    def __init__(self, sink: Sink, clock: Clock, bars: MinuteBars) -> None:
        super().__init__(sink, clock, bars)
        self._add = bars.add_minute

    def bar(self, bar: LiveBar) -> None:
        """Handle a minute bar; see :class:`Listener`. A forming bar only shows that data are arriving."""
        bars = list[LiveBar]()
        if bar.is_closed:
            self._event_ms = bar[0] + MINUTE_MS
            bars = self._add(bar, self._now.ms())
        self._give_or_tell(bars)

    revised = bar
