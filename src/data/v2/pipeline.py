"""Live bars in queues: from the library's feeds, or from a program's own providers."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from ..clock import Clock, SystemClock
from ..errors import DataError, QueryError
from ..model.instant import SECOND_MS, date_of, from_ms
from ..model.query import check_no_string, distinct_symbols
from ..model.timeframe import Timeframe
from .failover import asked
from .frames import checked_prices
from .providers import VendorProvider

if TYPE_CHECKING:
    from ..model.stream import LiveBar
    from .providers import DataProvider

__all__ = ["BarQueue", "LiveDataPipeline", "PipelineBar"]

_CAPACITY = 1000
_BACK_OFF_S = 60.0
# A provider is queried this long after a bar's close, and so often until it has the bar.
_AFTER_CLOSE_S, _TRIES = 1.0, 3
_TIMEOUT_S = 30.0
_log = logging.getLogger("onetape.v2")


class PipelineBar(NamedTuple):
    """A closed bar of a series.

    Attributes:
        symbol, timeframe: Series.
        timestamp: Opening time, naive UTC; for daily bars midnight of the date.
        open, high, low, close, volume: Values.
        origin: ``history``, ``backfill`` or ``live``, as for :class:`~.model.stream.LiveBar`.
        dropped: Number of bars that this queue dropped just before this one, because it was full.
    """

    symbol: str
    timeframe: str
    timestamp: datetime
    open: float
    high: float
    low: float
    close: float
    volume: float
    origin: str = "live"
    dropped: int = 0


class BarQueue(asyncio.Queue[PipelineBar]):
    """A queue of bars that drops its oldest bar instead of holding up the others when it is full.

    Attributes:
        dropped: Number of bars dropped so far.
    """

    def __init__(self, maxsize: int = _CAPACITY) -> None:
        super().__init__(maxsize)
        self.dropped = self._lost = 0

    def push(self, bar: PipelineBar) -> None:
        """Add a bar, dropping the oldest one if the queue is full."""
        if self.full():
            super()._get()
            self.task_done()
            self.dropped += 1
            self._lost += 1
        self.put_nowait(bar)

    def _get(self) -> PipelineBar:
        bar: PipelineBar = super()._get()
        bar, self._lost = bar._replace(dropped=self._lost), 0
        return bar


class LiveDataPipeline:
    """Delivers each closed bar of several series to any number of queues.

    Series of a :class:`.VendorProvider` come from the library's live feed of that vendor: history
    first, then bars as they close, each stored once. A program's own provider is queried just after
    each close, and its bars are not stored.

    For use in one event loop. Constructing it needs none.

    Args:
        providers: Providers in order. If one fails, the next one is used after 60 s, and after the
            last one the first; other series are not affected.
        lookback_bars: Number of bars of history from the feed of a vendor.
        clock: Clock of the closes.
        pause: Coroutine function that waits a number of seconds; None means ``asyncio.sleep``.

    Attributes:
        subscribers: Maps each series, as ``symbol:timeframe``, to its queues.

    Raises:
        QueryError: No provider is given, or one has no ``fetch_prices``.
    """

    def __init__(
        self,
        providers: Sequence[DataProvider],
        *,
        lookback_bars: int = 200,
        clock: Clock | None = None,
        pause: Callable[[float], Awaitable[object]] | None = None,
    ) -> None:
        self.providers = list(providers)
        wrong = [one for one in self.providers if not callable(getattr(one, "fetch_prices", None))]
        if wrong or not self.providers:
            what = (
                f"{type(wrong[0]).__name__} has no fetch_prices"
                if wrong
                else "no provider is given"
            )
            raise QueryError(what)
        self._lookback, self._clock = lookback_bars, clock or SystemClock()
        self._pause = pause or asyncio.sleep
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.subscribers: defaultdict[str, list[BarQueue]] = defaultdict(list)

    async def start_streaming(self, symbols: Sequence[str], timeframe: str) -> None:
        """Start a task for each series that is not running yet.

        Raises:
            QueryError: The timeframe is invalid, or too long for a provider that is queried at each
                close.
        """
        check_no_string(symbols, hint=f"[{symbols!r}]")
        self._enter()
        parsed = Timeframe.parse(timeframe)
        are_feeds = all(isinstance(one, VendorProvider) for one in self.providers)
        if parsed.step_ms is None and not are_feeds:
            raise QueryError(f"bars of {timeframe} have no fixed length, so they cannot be polled")
        for symbol in distinct_symbols(symbols):
            key = f"{symbol}:{timeframe}"
            if key not in self._tasks:
                self._tasks[key] = asyncio.create_task(self._stream(symbol, parsed, key))

    async def subscribe(self, symbol: str, timeframe: str) -> BarQueue:
        """Return a new queue for a series, which receives all bars from now on.

        The series may be started later. A full queue drops its oldest bar; ``dropped`` of the next
        bar that is read is the number of those that were lost.
        """
        self._enter()
        Timeframe.parse(timeframe)
        queue = BarQueue()
        self.subscribers[f"{symbol}:{timeframe}"].append(queue)
        return queue

    async def unsubscribe(self, queue: BarQueue) -> None:
        """Stop the delivery to a queue; unread bars remain in it."""
        for queues in self.subscribers.values():
            if queue in queues:
                queues.remove(queue)

    async def stop(self) -> None:
        """End all tasks and feeds, and wait until they have ended. May be called several times."""
        tasks, self._tasks = list(self._tasks.values()), {}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._loop = None

    def _enter(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop not in (None, loop):
            raise QueryError(
                "this pipeline runs in another event loop", hint="use one pipeline for each loop"
            )
        self._loop = loop

    async def _stream(self, symbol: str, timeframe: Timeframe, key: str) -> None:
        """Deliver a series until cancelled; a failure ends neither this series nor others."""
        last_ms = self._clock.now_ms()
        place = 0
        while True:
            provider = self.providers[place % len(self.providers)]
            try:
                if isinstance(provider, VendorProvider):
                    await self._feed(provider, symbol, timeframe, key)
                else:
                    last_ms = await self._poll(provider, symbol, timeframe, key, last_ms)
                    continue
            except DataError as error:
                _log.error("Live data streaming failed for %s %s: %s", symbol, timeframe, error)
            place += 1
            await self._pause(_BACK_OFF_S)

    async def _feed(
        self, provider: VendorProvider, symbol: str, timeframe: Timeframe, key: str
    ) -> None:
        """Deliver the bars of a live feed until it ends."""
        feed = await provider.live_feed(symbol, str(timeframe), self._lookback)
        try:
            async for bar in feed:
                self._deliver(key, [_of_feed(symbol, str(timeframe), bar)])
        finally:
            await asyncio.shield(asyncio.to_thread(feed.stop))

    async def _poll(
        self, provider: DataProvider, symbol: str, timeframe: Timeframe, key: str, last_ms: int
    ) -> int:
        """Wait for the next close, deliver the bars since ``last_ms``, and return the new ``last_ms``."""
        step_ms = timeframe.step_ms or 0
        now_ms = self._clock.now_ms()
        close_ms = (now_ms // step_ms + 1) * step_ms
        await self._pause((close_ms - now_ms) / SECOND_MS + _AFTER_CLOSE_S)
        for _ in range(_TRIES):
            now_ms = self._clock.now_ms()
            bounds = date_of(last_ms), date_of(now_ms)
            frame = await asked(
                type(provider).__name__, provider, symbol, timeframe, bounds, _TIMEOUT_S
            )
            rows = checked_prices(frame, timeframe, bounds, type(provider).__name__, now_ms)
            bars = [
                bar
                for bar in _of_rows(symbol, str(timeframe), rows.iter_rows())
                if last_ms < _closed_ms(bar, step_ms) <= now_ms
            ]
            self._deliver(key, bars)
            if bars:
                return _closed_ms(bars[-1], step_ms)
            await self._pause(step_ms / SECOND_MS / 20)
        return last_ms

    def _deliver(self, key: str, bars: Iterable[PipelineBar]) -> None:
        for bar in bars:
            for queue in self.subscribers[key]:
                queue.push(bar)


def _of_feed(symbol: str, timeframe: str, bar: LiveBar) -> PipelineBar:
    values = bar.open, bar.high, bar.low, bar.close, bar.volume
    return PipelineBar(symbol, timeframe, from_ms(bar.stamp_ms), *values, bar.origin)


def _of_rows(symbol: str, timeframe: str, rows: Iterable[Any]) -> Iterable[PipelineBar]:
    for time, *values, _ in rows:
        stamp = time if isinstance(time, datetime) else datetime(time.year, time.month, time.day)
        volume = values[4]
        values[4] = float("nan") if volume is None else float(volume)
        yield PipelineBar(symbol, timeframe, stamp, *values)


def _closed_ms(bar: PipelineBar, step_ms: int) -> int:
    return round(bar.timestamp.replace(tzinfo=UTC).timestamp() * SECOND_MS) + step_ms
