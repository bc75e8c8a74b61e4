"""Listeners of a connection, one for each subscription; bars pass, trades become bars."""

from __future__ import annotations

import numpy as np

from ...calendars.bar_builders import MinuteBars, TradeBars, bar_span
from ...calendars.grid import BarGrid
from ...clock import Clock
from ...errors import DataError
from ...model.instant import MINUTE_MS
from ...model.span import Span
from ...model.stream import LiveBar, StreamState, StreamStatus, Trade
from ...prices.bar_rule import is_bar
from ..sources.base import Sink
from ..sources.stream import SteadyNow


class Listener:
    """What a connection calls for one subscription: reports its state to a sink.

    No method blocks; one thread calls.
    """

    def __init__(self, sink: Sink, clock: Clock) -> None:
        self._sink = sink
        self._clock = clock

    def bar(self, bar: LiveBar) -> None:
        """Take a bar as it came."""

    def revised(self, bar: LiveBar) -> None:
        """Take a correction."""

    def trade(self, trade: Trade) -> None:
        """Take a trade."""

    def late_trade(self, trade: Trade) -> None:
        """Take a trade that comes so late that its price is no news."""

    def closes(self, stamp_ms: int) -> int:
        """Return when a bar of the topic closes: here a minute."""
        return stamp_ms + MINUTE_MS

    def refused(self, span: Span) -> None:
        """Take the news that something was sent of ``span`` that could not be used.

        What closes by its end comes from history.
        """
        why = "what the stream sent could not be used"
        self._sink.status(StreamStatus(StreamState.DELAYED, why, span.end))

    def connected(self) -> None:
        """From now on everything comes."""
        self._tell(StreamState.BACKFILLING, "connected")

    def lost(self, reason: str) -> None:
        """Nothing comes until ``connected`` again."""
        self._tell(StreamState.CONNECTING, reason)

    def end(self, error: DataError | None) -> None:
        """Nothing will ever come again."""
        self._sink.end(error)

    def tick(self) -> None:
        """Look at the clock: called now and then, whether anything comes or not."""

    def _tell(self, state: StreamState, reason: str) -> None:
        self._sink.status(StreamStatus(state, reason, self._clock.now_ms()))


class BarListener(Listener):
    """Passes bars on to a sink.

    Args:
        sink: Gets them.
        clock: Stamps statuses.
        grid: Grid of the bars.
    """

    def __init__(self, sink: Sink, clock: Clock, grid: BarGrid) -> None:
        super().__init__(sink, clock)
        self._grid = grid
        # As every message comes here, nothing lies in between.
        self.bar = sink.bar  # type: ignore[method-assign]
        self.revised = sink.revised  # type: ignore[method-assign]

    def closes(self, stamp_ms: int) -> int:
        """See :class:`Listener`."""
        return int(self._grid.closes(np.array([stamp_ms], dtype=np.int64))[0])


class BuildingListener(Listener):
    """Builds bars; one that was not listened to as a whole is never given as closed.

    Args:
        sink: gets them.
        clock: closes them where nothing more comes.
        bars: what they are built by.
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
        """See :class:`Listener`: of the bar that is built nothing is given as closed."""
        self._bars.spoil(span.start)

    def tick(self) -> None:
        """Close bars whose time is over, although nothing has come since; see whether our time is right."""
        if self._event_ms and self._now.set_by(self._event_ms):
            self.connected()
        self._give(self._bars.closed_by(self._now.ms()))

    def _give(self, bars: list[LiveBar]) -> None:
        for bar in bars:
            if is_bar(bar):
                self._sink.bar(bar)
            else:
                self._leave(bar)
        owed_ms, self._bars.owed_ms = self._bars.owed_ms, None
        if owed_ms is not None:
            why = "a bar ended that the stream did not cover completely"
            self._sink.status(StreamStatus(StreamState.DELAYED, why, owed_ms))

    def _leave(self, bar: LiveBar) -> None:
        """Leave a bar to history whose parts are sound and add up to none, such as beyond any volume."""
        self._bars.spoil(bar.stamp_ms)
        if bar.is_closed and (span := bar_span(self._bars.grid, bar.stamp_ms)) is not None:
            self._bars.owed_ms = max(self._bars.owed_ms or 0, span.end)


class TradeListener(BuildingListener):
    """Builds bars of trades."""

    def __init__(self, sink: Sink, clock: Clock, bars: TradeBars) -> None:
        super().__init__(sink, clock, bars)
        self._take = bars.take

    def trade(self, trade: Trade) -> None:
        """See :class:`Listener`."""
        self._event_ms = trade[0]
        self._give(self._take(trade, self._now.ms()))

    def late_trade(self, trade: Trade) -> None:
        """See :class:`Listener`: it counts in its bar, and the running one is not shown."""
        self._give([bar for bar in self._take(trade, self._now.ms()) if bar.is_closed])


class MinuteListener(BuildingListener):
    """Builds longer bars of closed minutes and of their corrections."""

    def __init__(self, sink: Sink, clock: Clock, bars: MinuteBars) -> None:
        super().__init__(sink, clock, bars)
        self._take = bars.take

    def bar(self, bar: LiveBar) -> None:
        """See :class:`Listener`; a minute that still runs is nothing but a sign of the market."""
        bars = list[LiveBar]()
        if bar.is_closed:
            self._event_ms = bar[0] + MINUTE_MS
            bars = self._take(bar, self._now.ms())
        self._give(bars)
        if not bars:
            self._tell(StreamState.LIVE, "data come")

    revised = bar
