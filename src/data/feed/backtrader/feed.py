"""Feeds as Backtrader sees them: the one module that imports Backtrader (GPL-3, an extra).

A strategy gets every closed bar once, in order, by its close in UTC, and is told before the first
live one that it is live (``notify_data``). Lines are written in Cerebro's own thread alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from ...errors import DataError, MissingExtraError
from ...model.instant import from_ms
from ...model.stream import LiveBar, StreamState, StreamStatus
from ...model.timeframe import Timeframe
from ..close_time import Closing
from ..live_feed import LiveFeed
from ..queue import Item, Mailbox
from .face import FeedDelegate
from .wakeup import WakeHub, hub_of
from .zones import day_number, localizing

try:
    import backtrader as bt
except ImportError as missing:
    raise MissingExtraError(
        "feeds for Backtrader need Backtrader", hint='pip install "onetape[backtrader]"'
    ) from missing

__all__ = ["BacktraderFeed", "run_live"]

log = logging.getLogger("onetape.feed")

_UNITS = {
    "m": (bt.TimeFrame.Minutes, 1),
    "h": (bt.TimeFrame.Minutes, 60),
    "d": (bt.TimeFrame.Days, 1),
    "w": (bt.TimeFrame.Weeks, 1),
    "M": (bt.TimeFrame.Months, 1),
}
_LINES = ("datetime", "open", "high", "low", "close", "volume", "openinterest")
# What strategies are told of each state; they trade on LIVE alone.
_TOLD = {
    StreamState.BACKFILLING: (bt.DataBase.CONNECTED, bt.DataBase.DELAYED),
    StreamState.LIVE: (bt.DataBase.LIVE,),
    StreamState.DELAYED: (bt.DataBase.DELAYED,),
    StreamState.STALE: (bt.DataBase.DELAYED,),
    StreamState.CLOSED: (bt.DataBase.DISCONNECTED,),
}


class BacktraderFeed(bt.DataBase, FeedDelegate):  # type: ignore[misc]
    """A :class:`~.base.LiveFeed` as a Backtrader data.

    It starts with Cerebro and stops with it; without Cerebro it is used as the feed itself. Days
    and longer stand by 23:59:59 of their last date.
    ``tz`` may be a name, a ``ZoneInfo`` or a zone of pytz.

    Args:
        stream: the feed; it may be running already and have other listeners.
        closing: opens to closes (UTC milliseconds), such as :class:`~.closing.Closing`; by default
            a bar lasts as long as its timeframe.
        backlog: closed bars that come before those of the stream.

    Attributes:
        stream: the feed.
        should_stop: set it from any thread to let the data end as soon as its history was given.
        dropped: bars that were not newer than the last one given.
        failure: what made an end of the stream, or None.

    Backtrader's parameters are taken as keywords, and two more: ``qcheck`` (the longest wait when
    nothing comes) and ``patience`` (how long history may keep other datas waiting), in seconds.
    """

    params: tuple[tuple[str, Any], ...] = (("qcheck", 1.0), ("patience", 60.0))
    _qcheck: float
    _env: Any = None  # until Cerebro gets it
    live_lines: tuple[Any, ...]  # found once: by name they cost more than what is written

    def __init__(
        self,
        stream: LiveFeed,
        closing: Callable[[int], int] | None = None,
        backlog: Iterable[LiveBar] = (),
    ) -> None:
        super().__init__()
        self.stream = stream
        self.failure: DataError | None = None
        self.dropped = 0
        timeframe = Timeframe.parse(stream.timeframe)
        self.live_closing = closing or Closing(timeframe)
        self.live_backlog = tuple(backlog)
        self.live_hub = WakeHub()
        self.live_box = Mailbox()
        self.live_is_up = False
        self.live_wanted, self.live_is_stopped = True, False
        self.live_lines = tuple(getattr(self.lines, name) for name in _LINES)
        # Backtrader wants both at every bar, and would look for them here in vain each time.
        self.datetime, self.buflen = self.lines.datetime, self.lines.buflen
        self._name_by(stream.symbol, timeframe)

    def _name_by(self, symbol: str, timeframe: Timeframe) -> None:
        """Take name and timeframe of the stream where the caller gave none."""
        self.p.name = self.p.name or symbol
        if (self.p.timeframe, self.p.compression) == (bt.TimeFrame.Days, 1):
            unit, factor = _UNITS[timeframe.unit]
            self.p.timeframe, self.p.compression = unit, factor * timeframe.count

    # --- what Backtrader asks --------------------------------------------------------------

    def __len__(self) -> int:
        # Backtrader asks six times a bar, and its own way to this number is three calls long.
        return self.datetime.lencount  # type: ignore[no-any-return]

    def __bool__(self) -> bool:
        # `if feed:` asks whether there is a feed; Backtrader would compare the first line.
        return True

    def islive(self) -> bool:
        """Return True: bars are given one at a time."""
        return True

    def haslivedata(self) -> bool:
        """Tell whether something can be had without waiting, be it the end."""
        return len(self.live_box) > 0 or self.should_stop or not self.stream.is_running

    def clone(self, **kwargs: Any) -> Any:
        """Return a clone that goes by this feed's clock, for resampling beside it."""
        return _Clone(dataname=self, **kwargs)

    def _gettz(self) -> tzinfo | None:
        return localizing(self.p.tz)

    def _timeoffset(self) -> timedelta:
        """Return how far the last bar is from the wall clock: resamplers go by the bars."""
        if self.live_seen_ms is None:
            return timedelta()
        return from_ms(self.live_seen_ms) - datetime.now(UTC).replace(tzinfo=None)

    def start(self) -> None:
        """Begin, in Cerebro's thread: listen first, then start the stream. Without Cerebro: start it.

        Raises:
            DataError: the stream can never work as it is set up.
        """
        if self._env is None:
            self.stream.start()
            return
        super().start()
        self.failure, self.dropped, self.live_is_stopped = None, 0, False
        self.live_seen_ms: int | None = None
        self.live_is_over = self.live_is_up = False
        self.live_patience = self.p.patience
        self.live_hub = hub_of(self._env)
        self.live_box = self.stream.subscribe(wake=self.live_hub.notify)
        self.live_waiting: Iterator[LiveBar] = iter(self.live_backlog)
        self.put_notification(self.DELAYED)
        self._begin()

    def _begin(self) -> None:
        """Start the stream, or join it where it runs already."""
        if self.stream.is_running:
            shown = self.stream.snapshot()
            # As the stream's first consumer it has all bars of the run waiting.
            waiting = (i for i in self.live_box.waiting() if isinstance(i, LiveBar))
            first = next(waiting, None)
            older = (b for b in shown.bars if first is None or b.stamp_ms < first.stamp_ms)
            self.live_waiting = iter((*self.live_backlog, *older))
            self._hear(shown.status)
        elif not self.should_stop:
            self.stream.start()

    def stop(self) -> None:
        """End the stream and give everything back; may be called twice, from any thread."""
        self.live_is_stopped = True
        self.stream.stop()
        self.stream.unsubscribe(self.live_box)
        self.live_hub.notify()
        super().stop()

    @property
    def should_stop(self) -> bool:
        """Whether it ends as soon as its history was given, or was stopped."""
        return self.live_is_stopped or not self.live_wanted

    @should_stop.setter
    def should_stop(self, wanted: bool) -> None:
        self.live_wanted = not wanted
        self.live_hub.notify()

    # --- bars ------------------------------------------------------------------------------

    def _load(self) -> bool | None:
        """Fill the lines: True; nothing just now: None; nothing ever again: False."""
        for bar in self.live_waiting:
            if self._write(bar):
                return True
        while not (self.live_is_over or self.should_stop):
            item = self._next()
            if isinstance(item, LiveBar):
                if self._write(item):
                    return True
            elif isinstance(item, StreamStatus):
                self._hear(item)
            elif item is None and not self._is_at_end():
                return None
        self.put_notification(self.DISCONNECTED)
        return False

    def _next(self) -> Item | None:
        """Return what comes next, waiting for it where that is due."""
        try:
            item = self.live_box.get()
            if item is None and self._wait():
                item = self.live_box.get()
        except DataError as error:
            log.error("%s ends: %s", self.stream, error)
            self.failure, self.live_is_over = error, True
            return None
        return item

    def _wait(self) -> bool:
        """Wait at most once a loop of Cerebro, and for history as long as there is patience."""
        wait, self._qcheck = self._qcheck, 0.0
        if self.live_patience > 0:
            # Were other datas to go on meanwhile, the history of this one would come late.
            self.live_patience -= self.live_hub.wait(self.live_patience, self._is_disturbed)
        else:
            self.live_hub.wait(wait, self._is_any_due)
        return self.haslivedata()

    def _is_disturbed(self) -> bool:
        return self.haslivedata() or self.should_stop or self._env._event_stop

    def _is_any_due(self) -> bool:
        feeds = (data for data in self._env.datas if isinstance(data, BacktraderFeed))
        return self._env._event_stop or any(feed.haslivedata() for feed in feeds)

    def _is_at_end(self) -> bool:
        self.live_is_over = self.live_is_over or self.live_box.is_over
        return self.live_is_over or self.should_stop

    def _hear(self, status: StreamStatus) -> None:
        """Tell strategies how the stream stands; both texts go to ``notify_data`` as keywords."""
        # Not before it was connected once: Backtrader calls this a broken connection.
        told = _TOLD.get(status.state, (self.CONNBROKEN,) if self.live_is_up else ())
        if self.live_is_up and self.CONNECTED in told:
            told = (self.DELAYED,)  # a hole, and no new connection
        self.live_is_up = status.state in _TOLD
        if status.state not in (StreamState.CONNECTING, StreamState.BACKFILLING):
            self.live_patience = 0.0
        for one in told:
            self.put_notification(one, state=str(status.state), reason=status.reason)

    def _write(self, bar: LiveBar) -> bool:
        """Write a closed bar that is newer than the last into the lines."""
        close_ms = self.live_closing(bar.stamp_ms)
        if self.live_seen_ms is not None and close_ms <= self.live_seen_ms:
            self.dropped += 1
            return False
        if bar.origin == "live":
            self.live_patience = 0.0
        self.live_seen_ms = close_ms
        stamp, first, high, low, close, volume, interest = self.live_lines
        stamp[0], first[0], high[0], low[0] = day_number(close_ms), bar.open, bar.high, bar.low
        close[0], volume[0], interest[0] = bar.close, bar.volume, 0.0
        return True

    def _tick_fill(self, force: bool = False) -> None:
        # Backtrader's own finds every line by name: a sixth of all that a bar costs.
        if force or getattr(self, "tick_close", None) is None:
            _, first, high, low, close, volume, interest = self.live_lines
            self.tick_open, self.tick_high, self.tick_low = first[0], high[0], low[0]
            self.tick_close = self.tick_last = close[0]
            self.tick_volume, self.tick_openinterest = volume[0], interest[0]


class _Clone(bt.feed.DataClone):  # type: ignore[misc]
    """A data resampled beside its original; it goes by the original's clock."""

    def _timeoffset(self) -> Any:
        return self.data._timeoffset()


def run_live(cerebro: Any, **wanted: Any) -> Any:
    """Run ``cerebro`` and stop its feeds whatever happens: at the end, on errors, on Ctrl-C.

    ``cerebro.run`` alone leaves feeds running when a strategy raises.

    Args:
        cerebro: a ``backtrader.Cerebro``.
        **wanted: as for its ``run``.

    Returns:
        What ``cerebro.run`` returns.

    Raises:
        DataError: a stream came to an end that nobody wanted, the first of several.
    """
    feeds = [data for data in cerebro.datas if isinstance(data, BacktraderFeed)]
    try:
        results = cerebro.run(**wanted)
    finally:
        for feed in feeds:
            feed.stop()
    for feed in feeds:
        if feed.failure is not None:
            raise feed.failure
    return results
