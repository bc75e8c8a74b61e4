"""Who listens to a connection: one per subscription; bars pass, trades become bars."""

from __future__ import annotations

from typing import Protocol

from ..clock import Clock
from ..errors import DataError
from ..model.stream import LiveBar, StreamState, StreamStatus, Trade
from ..policy.ticks import TradeBars
from .source import Sink


class Listener(Protocol):
    """What a connection tells one subscription; no method blocks, one thread calls."""

    def bar(self, bar: LiveBar) -> None:
        """Take a bar as it came."""

    def revised(self, bar: LiveBar) -> None:
        """Take a correction."""

    def trade(self, trade: Trade) -> None:
        """Take a trade."""

    def connected(self) -> None:
        """Be told that from now on everything comes."""

    def lost(self, reason: str) -> None:
        """Be told that nothing comes until ``connected`` again."""

    def end(self, error: DataError | None) -> None:
        """Be told that nothing will ever come again."""

    def tick(self) -> None:
        """Be called now and then, whether anything comes or not."""


class BarListener:
    """Passes bars on to a sink, and tells it how the connection stands."""

    def __init__(self, sink: Sink, clock: Clock) -> None:
        self._sink = sink
        self._clock = clock
        self.bar = sink.bar  # the way of every message: nothing in between
        self.revised = sink.revised

    def trade(self, trade: Trade) -> None:
        """Do nothing: whoever sends bars sends them whole."""

    def connected(self) -> None:
        """See :class:`Listener`."""
        self._tell(StreamState.BACKFILLING, "connected")

    def lost(self, reason: str) -> None:
        """See :class:`Listener`."""
        self._tell(StreamState.CONNECTING, reason)

    def end(self, error: DataError | None) -> None:
        """See :class:`Listener`."""
        self._sink.end(error)

    def tick(self) -> None:
        """Do nothing."""

    def _tell(self, state: StreamState, reason: str) -> None:
        self._sink.status(StreamStatus(state, reason, self._clock.now_ms()))


class TradeListener(BarListener):
    """Builds bars of trades; one that began before we listened is never given as closed."""

    def __init__(self, sink: Sink, clock: Clock, bars: TradeBars) -> None:
        super().__init__(sink, clock)
        self._bars = bars

    def trade(self, trade: Trade) -> None:
        """See :class:`Listener`."""
        for bar in self._bars.take(trade):
            self._sink.bar(bar)

    def connected(self) -> None:
        """See :class:`Listener`."""
        self._bars.restart(self._clock.now_ms())
        super().connected()

    def tick(self) -> None:
        """Close a bar whose time is over, although no trade has come since."""
        for bar in self._bars.closed_by(self._clock.now_ms()):
            self._sink.bar(bar)
