"""Feeds written by users, whose three methods are called repeatedly."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from ...core.clock import Clock
from ...core.interface import call_foreign
from ...core.model.market.stream import LiveBar, StreamState, StreamStatus
from ...core.model.time.timeframe import Timeframe
from ...core.prices.bar_rule import AHEAD, latest_live
from ...errors import DataError
from .base import Halt, Sink, ThreadedSource
from .history import live_bars

if TYPE_CHECKING:
    import pandas as pd


log = logging.getLogger("onetape.feed")


class Hooks(Protocol):
    """The methods that a user's own feed defines."""

    retry_interval: float

    def _connect_realtime(self) -> bool:
        """Connect to the source; return whether that succeeded."""

    def _disconnect_realtime(self) -> object:
        """Disconnect from the source."""

    def _get_latest_data(self) -> pd.DataFrame | None:
        """Return the latest available bars, or None if there are none."""

    def _get_update_interval(self) -> float:
        """Return the number of seconds between two requests."""


class HookSource(ThreadedSource):
    """Polls the methods (hooks) of a user's own feed, and also accepts bars pushed manually.

    Errors raised by a hook are logged, and the feed is reconnected after ``retry_interval``
    seconds. A bar that opens in the future according to the system clock is dropped and logged.

    Args:
        name: Name of the series.
        timeframe: Timeframe of the bars.
        hooks: Hooks to poll.
        clock: Clock used for waiting and for the current time.

    Attributes:
        refused: Number of bars dropped because they open in the future.
    """

    def __init__(
        self, name: str, timeframe: Timeframe, hooks: Hooks, clock: Clock | None = None
    ) -> None:
        super().__init__(name, clock)
        self.refused = 0
        self._timeframe = timeframe
        self._hooks = hooks
        self._sink: Sink | None = None
        self._last_ms: int | None = None
        # Guards the two fields against manual pushes.
        self._pushing = threading.Lock()

    def start(self, sink: Sink) -> None:
        """Start polling; see :class:`~.base.Source`."""
        with self._pushing:
            self._sink, self._last_ms = sink, None
        super().start(sink)

    def push(self, bars: Iterable[LiveBar]) -> None:
        """Push the bars that are newer than the last one pushed; do nothing before the start."""
        latest_ms = latest_live(self._timeframe, self.clock.now_ms())
        with self._pushing:
            for bar in bars:
                if bar[0] > latest_ms:
                    self._refuse(bar)
                elif self._sink is not None and (self._last_ms is None or bar[0] > self._last_ms):
                    self._last_ms = bar.stamp_ms
                    self._sink.bar(bar)

    def _refuse(self, bar: LiveBar) -> None:
        self.refused += 1
        level = logging.WARNING if self.refused == 1 else logging.DEBUG
        log.log(level, "%s: the bar for %s was dropped: %s", self.name, bar.time, AHEAD)

    def run(self, sink: Sink, halt: Halt) -> None:
        """Connect and poll until stopped."""
        try:
            while not halt.is_set:
                try:
                    call_foreign(lambda: self._follow(sink, halt), f"the feed of {self.name}")
                    reason = "it could not be connected"
                except DataError as error:
                    reason = str(error)
                    log.error("the feed of %s failed", self.name, exc_info=True)
                self._tell(sink, StreamState.CONNECTING, reason)
                halt.wait(self._hooks.retry_interval)
        finally:
            self._hooks._disconnect_realtime()

    def _follow(self, sink: Sink, halt: Halt) -> None:
        """Poll the source for bars while it is connected."""
        if not self._hooks._connect_realtime():
            return
        self._tell(sink, StreamState.LIVE, "connected")
        while not halt.is_set:
            latest = self._hooks._get_latest_data()
            if latest is not None and len(latest):
                self.push(live_bars(latest, "live"))
            halt.wait(self._hooks._get_update_interval())

    def _tell(self, sink: Sink, state: StreamState, reason: str) -> None:
        with self._pushing:
            sink.status(StreamStatus(state, reason, self.clock.now_ms()))
