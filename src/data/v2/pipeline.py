"""Live bars in queues: from the library's feeds, or from a program's own providers."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from ..clock import Clock, SystemClock
from ..errors import QueryError
from ..model.instant import DAY_MS, SECOND_MS, date_of, from_ms
from ..model.query import check_no_string, distinct_symbols
from ..model.timeframe import Timeframe
from .failover import call_provider
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
# 1970 began on a Thursday, weeks begin on Monday.
_MONDAY_MS = 4 * DAY_MS
_SHORTEST_MONTH_MS = 28 * DAY_MS
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
    """A queue of bars that, when full, drops its oldest bar instead of blocking other queues.

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


@dataclass
class _Series:
    """A series that is being delivered.

    Attributes:
        symbol, timeframe, key: Series, and its key among the subscribers.
        closed_ms: Time by which delivered bars had closed; bars that closed earlier are not polled
            again.
        newest: Opening time of the newest bar delivered.
        phase_ms: Remainder of the closes when divided by the length of a bar.
        polled_ms: Time of the last poll that did not fail, or after which no other provider is tried
            before the next close; 0 before the first.
    """

    symbol: str
    timeframe: Timeframe
    key: str
    closed_ms: int
    newest: datetime | None = None
    phase_ms: int = 0
    polled_ms: int = 0

    def next_close_ms(self, now_ms: int) -> int:
        step_ms = self.timeframe.step_ms or 1
        return now_ms + step_ms - (now_ms - self.phase_ms) % step_ms

    def undelivered(self, now_ms: int) -> int:
        """Return how many bars may have closed since the last one delivered, at most."""
        step_ms = self.timeframe.step_ms or _SHORTEST_MONTH_MS
        return (now_ms - self.closed_ms) // step_ms + 1


class LiveDataPipeline:
    """Delivers each closed bar of several series to any number of queues.

    Series of a :class:`.VendorProvider` come from the library's live feed of that vendor: history
    first, then bars as they close, each stored once. A program's own provider is queried just after
    each close, and its bars are not stored.

    For use in one event loop; it can be constructed outside one.

    Args:
        providers: Providers in order. If one fails, the next one is used after 60 s (after the last
            one, the first again); other series are not affected. If all of them have failed and the
            next one fails too, a provider of your own is not queried again before the next close.
        lookback_bars: Number of bars of history to request from a vendor's feed; more after an
            outage in which more bars have closed.
        clock: Clock of the closes.
        pause: Coroutine function that waits a number of seconds; None means ``asyncio.sleep``.

    Attributes:
        subscribers: Maps each series, as ``symbol:timeframe``, to its queues.

    Raises:
        QueryError: No provider is given, one has no ``fetch_prices``, or ``lookback_bars`` is not a
            number of bars.
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
        wrong = [
            provider
            for provider in self.providers
            if not callable(getattr(provider, "fetch_prices", None))
        ]
        if wrong or not self.providers:
            what = (
                f"{type(wrong[0]).__name__} has no fetch_prices"
                if wrong
                else "no provider is given"
            )
            raise QueryError(what)
        if (
            isinstance(lookback_bars, bool)
            or not isinstance(lookback_bars, int)
            or lookback_bars < 0
        ):
            raise QueryError(f"lookback_bars must be a number of bars, not {lookback_bars!r:.80}")
        self._lookback, self._clock = lookback_bars, clock or SystemClock()
        self._pause = pause or asyncio.sleep
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.subscribers: defaultdict[str, list[BarQueue]] = defaultdict(list)

    async def start_streaming(self, symbols: Sequence[str], timeframe: str) -> None:
        """Start a task for each series that is not running yet.

        Raises:
            QueryError: A symbol or the timeframe is invalid, or bars of the timeframe have no fixed
                length and the provider would have to be polled.
        """
        check_no_string(symbols, hint=f"[{symbols!r}]")
        self._enter()
        parsed = Timeframe.parse(timeframe)
        are_feeds = all(isinstance(provider, VendorProvider) for provider in self.providers)
        if parsed.step_ms is None and not are_feeds:
            raise QueryError(f"bars of {timeframe} have no fixed length, so they cannot be polled")
        series = [
            _Series(symbol, parsed, _key(symbol, parsed), self._clock.now_ms())
            for symbol in distinct_symbols(symbols)
        ]
        for one_series in series:
            one_series.phase_ms = _MONDAY_MS if parsed.unit == "w" else 0
            running = self._tasks.get(one_series.key)
            if running is None or running.done():
                self._tasks[one_series.key] = asyncio.create_task(self._stream(one_series))

    async def subscribe(self, symbol: str, timeframe: str) -> BarQueue:
        """Return a new queue for a series, which receives all bars from now on.

        The series may be started later. A full queue drops its oldest bar; the next bar that is
        read has the number of lost bars in ``dropped``.

        Raises:
            QueryError: The symbol or the timeframe is invalid.
        """
        self._enter()
        queue = BarQueue()
        self.subscribers[_key(symbol, Timeframe.parse(timeframe))].append(queue)
        return queue

    async def unsubscribe(self, queue: BarQueue) -> None:
        """Stop the delivery to a queue; unread bars remain in it."""
        for queues in self.subscribers.values():
            if queue in queues:
                queues.remove(queue)

    async def stop(self) -> None:
        """End all tasks and feeds, and wait for their end. May be called several times.

        Raises:
            QueryError: The pipeline runs in another event loop, which is still open.
        """
        self._enter()
        tasks, self._tasks = list(self._tasks.values()), {}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._loop = None

    def _enter(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is not None and self._loop.is_closed():  # its tasks are gone with it
            self._loop, self._tasks = None, {}
        if self._loop not in (None, loop):
            raise QueryError(
                "this pipeline runs in another event loop", hint="use one pipeline for each loop"
            )
        self._loop = loop

    async def _stream(self, series: _Series) -> None:
        """Deliver a series until cancelled; a failure ends neither this series nor others."""
        turn, failures = 0, 0
        while True:
            provider = self.providers[turn % len(self.providers)]
            reason: object = "the feed has ended"
            try:
                if isinstance(provider, VendorProvider):
                    await self._feed(provider, series, is_first=not turn)
                else:
                    await self._poll(provider, series, is_last=failures >= len(self.providers))
                    failures = 0
                    continue
            except Exception as error:  # noqa: BLE001 - logged, the series goes on
                reason = error
            _log.error(
                "Live data streaming failed for %s %s: %s", series.symbol, series.timeframe, reason
            )
            turn, failures = turn + 1, failures + 1
            await self._pause(_BACK_OFF_S)

    async def _feed(self, provider: VendorProvider, series: _Series, *, is_first: bool) -> None:
        """Deliver the bars of a live feed until it ends.

        Its history begins early enough for all bars that closed while no feed was running.
        """
        label, missed = str(series.timeframe), series.undelivered(self._clock.now_ms())
        lookback = self._lookback if is_first else max(self._lookback, missed)
        feed = await provider.live_feed(series.symbol, label, lookback)
        try:
            async for bar in feed:
                self._deliver(series, [_bar_of_feed(series.symbol, label, bar)])
        finally:
            await asyncio.shield(asyncio.to_thread(feed.stop))

    async def _poll(self, provider: DataProvider, series: _Series, *, is_last: bool) -> None:
        """Deliver the bars that have closed since the last one, after waiting for a close.

        Do not wait if one was missed since the last poll, because a provider failed or its feed ended.
        With ``is_last``, which means that all providers have failed, the close counts as polled even if
        this one fails too.
        """
        timeframe, step_ms = series.timeframe, series.timeframe.step_ms or 0
        now_ms = self._clock.now_ms()
        since_ms = min(max(series.polled_ms, series.closed_ms), now_ms)
        wait_s = (series.next_close_ms(since_ms) - now_ms) / SECOND_MS + _AFTER_CLOSE_S
        if wait_s > 0:
            await self._pause(wait_s)
        for left in reversed(range(_TRIES)):
            now_ms = self._clock.now_ms()
            if is_last:
                series.polled_ms = now_ms
            # The bar that closes next began up to its length ago; the clock may have been set back.
            bounds = date_of(min(series.closed_ms, now_ms) - step_ms + 1), date_of(now_ms)
            name = type(provider).__name__
            frame = await call_provider(
                name, provider, series.symbol, timeframe, bounds, _TIMEOUT_S
            )
            rows = checked_prices(frame, timeframe, bounds, name, now_ms)
            bars = [
                bar
                for bar in _bars_of_rows(series.symbol, str(timeframe), rows.iter_rows())
                if series.closed_ms < _closed_ms(bar, step_ms) <= now_ms
            ]
            self._deliver(series, bars)
            pause_ms = step_ms // 20
            is_close_next = series.next_close_ms(now_ms) <= self._clock.now_ms() + pause_ms
            if bars or not left or is_close_next:
                series.polled_ms = now_ms
                return
            await self._pause(pause_ms / SECOND_MS)

    def _deliver(self, series: _Series, bars: Iterable[PipelineBar]) -> None:
        """Deliver only bars that are newer than the last one delivered, even by another feed."""
        step_ms = series.timeframe.step_ms
        for bar in bars:
            if series.newest is not None and bar.timestamp <= series.newest:
                continue
            series.newest = bar.timestamp
            if step_ms is not None:
                closed_ms = _closed_ms(bar, step_ms)
                series.closed_ms = max(series.closed_ms, closed_ms)
                series.phase_ms = closed_ms % step_ms
            for queue in self.subscribers[series.key]:
                queue.push(bar)


def _key(symbol: str, timeframe: Timeframe) -> str:
    """Return the key of a series; raises ``QueryError`` if the symbol is not a string."""
    if not isinstance(symbol, str) or not symbol.strip():
        raise QueryError(f"a symbol must be a non-empty string, not {symbol!r:.80}")
    return f"{symbol}:{timeframe}"


def _bar_of_feed(symbol: str, timeframe: str, bar: LiveBar) -> PipelineBar:
    values = bar.open, bar.high, bar.low, bar.close, bar.volume
    return PipelineBar(symbol, timeframe, from_ms(bar.stamp_ms), *values, bar.origin)


def _bars_of_rows(symbol: str, timeframe: str, rows: Iterable[Any]) -> Iterable[PipelineBar]:
    for time, *values, _ in rows:
        stamp = time if isinstance(time, datetime) else datetime(time.year, time.month, time.day)
        volume = values[4]
        values[4] = float("nan") if volume is None else float(volume)
        yield PipelineBar(symbol, timeframe, stamp, *values)


def _closed_ms(bar: PipelineBar, step_ms: int) -> int:
    return round(bar.timestamp.replace(tzinfo=UTC).timestamp() * SECOND_MS) + step_ms
