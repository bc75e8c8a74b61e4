"""Feeds into which a test pushes bars, and strategies that record what they receive."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import backtrader as bt

from src.data.core.model.market.stream import LiveBar, Origin, StreamState, StreamStatus
from src.data.core.model.time.instant import MINUTE_MS, parse_iso
from src.data.errors import DataError
from src.data.feed.backtrader.feed import BacktraderFeed, run_live
from src.data.feed.live_feed import LiveFeed
from src.data.feed.sources.base import Sink

MONDAY = parse_iso("2024-06-10T00:00:00Z")
LIVE = StreamStatus(StreamState.LIVE)


def minute(number: int, close: float | None = None, origin: Origin = "live") -> LiveBar:
    """Return a made-up bar, ``number`` minutes after a Monday's midnight."""
    price = 100.0 + number % 7 if close is None else close
    stamp = MONDAY + number * MINUTE_MS
    return LiveBar(stamp, price, price + 2, price - 2, price + 1, 10.0 + number, True, origin)


class Hand:
    """A source without a thread: pushes what it was given as it starts, the rest by hand.

    Args:
        items: bars and statuses, in order.
        ends: whether that is all; an error: what makes an end of it.
    """

    history = None

    def __init__(self, items: Sequence[LiveBar | StreamStatus] = (),
                 ends: bool | DataError = False) -> None:  # fmt: skip
        self.items, self.ends = items, ends
        self.sink: Sink | None = None
        self.starts = self.stops = 0

    def start(self, sink: Sink) -> None:
        self.sink, self.starts = sink, self.starts + 1
        self.push(*self.items)
        if self.ends:
            sink.end(self.ends if isinstance(self.ends, DataError) else None)

    def stop(self) -> None:
        self.stops += 1

    def push(self, *items: LiveBar | StreamStatus) -> None:
        assert self.sink is not None
        for item in items:
            if isinstance(item, LiveBar):
                self.sink.bar(item)
            else:
                self.sink.status(item)


class HandStream(Hand):
    """A stream that the test speaks for."""

    def __init__(self) -> None:
        super().__init__([StreamStatus(StreamState.BACKFILLING)])

    def doubt(self, reason: str, silent_s: float) -> None:
        """Take no notice."""


class Witness(bt.Strategy):  # type: ignore[misc]
    """Writes down every bar of every data when it is new, and every notification."""

    params = (("seen", None), ("told", None), ("act", lambda strategy: None))

    def __init__(self) -> None:
        self.lengths = [0] * len(self.datas)

    def notify_data(self, data: Any, status: int, *args: Any, **kwargs: Any) -> None:
        self.p.told.append(data._getstatusname(status))

    def next(self) -> None:
        for place, data in enumerate(self.datas):
            if len(data) > self.lengths[place]:
                self.lengths[place] = len(data)
                self.p.seen.append((place, *values(data)))
        self.p.act(self)

    # What happens before all datas have a bar is seen too.
    prenext = next


def values(data: Any) -> tuple[datetime, float, float, float, float, float]:
    """Return the current bar of a data."""
    stamp = data.datetime.datetime()
    return (stamp, data.open[0], data.high[0], data.low[0], data.close[0], data.volume[0])


def feed_of(source: Any, symbol: str = "BTCUSDT", **wanted: Any) -> BacktraderFeed:
    """Return a data of Backtrader over a source of minutes."""
    return BacktraderFeed(LiveFeed(symbol, "1m", source), **wanted)


def witnessed(
    *datas: Any, act: Any = lambda strategy: None, resample: int = 0, **wanted: Any
) -> tuple[list[Any], list[str]]:
    """Run datas, the first one also resampled; return the bars and notifications seen."""
    seen: list[Any] = []
    told: list[str] = []
    cerebro = bt.Cerebro(stdstats=False)
    for data in datas:
        cerebro.adddata(data)
    if resample:
        cerebro.resampledata(datas[0], timeframe=bt.TimeFrame.Minutes, compression=resample)
    cerebro.addstrategy(Witness, seen=seen, told=told, act=act)
    run_live(cerebro, **wanted)
    return seen, told
