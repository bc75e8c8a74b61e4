"""Live bars in queues: from the library's feeds, or from a program's own providers."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time
from typing import TYPE_CHECKING, Any, NamedTuple

from ...core.clock import Clock, SystemClock
from ...core.model.request.query import check_no_string, distinct_symbols
from ...core.model.time.instant import DAY_MS, SECOND_MS, date_of, from_ms
from ...core.model.time.timeframe import Timeframe
from ...errors import QueryError
from .failover import fetch_from
from .providers import VendorProvider

if TYPE_CHECKING:
    from .providers import DataProvider

__all__ = ["BarQueue", "LiveDataPipeline", "PipelineBar"]

_CAPACITY = 1000
_BACK_OFF_S = 60.0
# A provider is queried this long after a bar's close, and so often until it has the bar.
_AFTER_CLOSE_MS, _TRIES = SECOND_MS, 3
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
        origin: ``history``, ``backfill`` or ``live``, as for :class:`~.market.stream.LiveBar`.
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
        due_ms: Time at which a provider of the program is queried next.
        newest: Opening time of the newest bar delivered.
        phase_ms: Remainder of the closes when divided by the length of a bar.
        tries: Number of queries since the last close that found no new bar.
    """

    symbol: str
    timeframe: Timeframe
    key: str
    closed_ms: int
    phase_ms: int
    due_ms: int = 0
    newest: datetime = datetime.min
    tries: int = 0

    def next_due_ms(self, now_ms: int) -> int:
        """Return the time of the first query after the next close."""
        step_ms = self.timeframe.step_ms or 1
        return now_ms + step_ms - (now_ms - self.phase_ms) % step_ms + _AFTER_CLOSE_MS


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
        if not self.providers:
            raise QueryError("no provider is given")
        for provider in self.providers:
            if not callable(getattr(provider, "fetch_prices", None)):
                raise QueryError(f"{type(provider).__name__} has no fetch_prices")
        is_number = isinstance(lookback_bars, int) and not isinstance(lookback_bars, bool)
        if not is_number or lookback_bars < 0:
            raise QueryError(f"lookback_bars must be a number of bars, not {lookback_bars!r:.80}")
        self._lookback, self._clock = lookback_bars, clock or SystemClock()
        self._pause = pause or asyncio.sleep
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.subscribers: defaultdict[str, list[BarQueue]] = defaultdict(list)

    async def start_streaming(self, symbols: Sequence[str], timeframe: str) -> None:
        """Start a task for each series that is not running yet.

        Raises:
            QueryError: A symbol or the timeframe is invalid, or bars of the timeframe have no fixed
                length and the provider would have to be polled.
        """
        check_no_string(symbols, hint=f"[{symbols!r}]")
        parsed = Timeframe.parse(timeframe)
        are_feeds = all(isinstance(provider, VendorProvider) for provider in self.providers)
        if parsed.step_ms is None and not are_feeds:
            raise QueryError(f"bars of {timeframe} have no fixed length, so they cannot be polled")
        keys = {symbol: _key(symbol, parsed) for symbol in distinct_symbols(symbols)}
        phase_ms, now_ms = _MONDAY_MS if parsed.unit == "w" else 0, self._clock.now_ms()
        for symbol, key in keys.items():
            task = self._tasks.get(key)
            if task is None or task.done() or task.get_loop() is not asyncio.get_running_loop():
                series = _Series(symbol, parsed, key, now_ms, phase_ms)
                series.due_ms = series.next_due_ms(now_ms)
                self._tasks[key] = asyncio.create_task(self._stream(series))

    async def subscribe(self, symbol: str, timeframe: str) -> BarQueue:
        """Return a new queue for a series, which receives all bars from now on.

        The series may be started later. A full queue drops its oldest bar; the next bar that is
        read has the number of lost bars in ``dropped``.

        Raises:
            QueryError: The symbol or the timeframe is invalid.
        """
        queue = BarQueue()
        self.subscribers[_key(symbol, Timeframe.parse(timeframe))].append(queue)
        return queue

    async def unsubscribe(self, queue: BarQueue) -> None:
        """Stop the delivery to a queue; unread bars remain in it."""
        for queues in self.subscribers.values():
            if queue in queues:
                queues.remove(queue)

    async def stop(self) -> None:
        """End all tasks and feeds, and wait for their end. May be called several times."""
        tasks, self._tasks = self._tasks, {}
        mine = [task for task in tasks.values() if task.get_loop() is asyncio.get_running_loop()]
        for task in mine:
            task.cancel()
        await asyncio.gather(*mine, return_exceptions=True)

    async def _stream(self, series: _Series) -> None:
        """Deliver a series until cancelled; a failure ends neither this series nor others."""
        turn = failures = 0
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
            label = series.timeframe
            _log.error("Live data streaming failed for %s %s: %s", series.symbol, label, reason)
            turn, failures = turn + 1, failures + 1
            await self._pause(_BACK_OFF_S)

    async def _feed(self, provider: VendorProvider, series: _Series, *, is_first: bool) -> None:
        """Deliver the bars of a live feed until it ends.

        Its history begins early enough for all bars that closed while no feed was running.
        """
        label, lookback = str(series.timeframe), self._lookback
        if not is_first:
            length_ms = series.timeframe.step_ms or _SHORTEST_MONTH_MS
            missed = (self._clock.now_ms() - series.closed_ms) // length_ms + 1
            lookback = max(lookback, missed)
        feed = await provider.live_feed(series.symbol, label, lookback)
        try:
            async for bar in feed:
                values = bar.open, bar.high, bar.low, bar.close, bar.volume, bar.origin
                made = PipelineBar(series.symbol, label, from_ms(bar.stamp_ms), *values)
                self._deliver(series, [made])
        finally:
            await asyncio.shield(asyncio.to_thread(feed.stop))

    async def _poll(self, provider: DataProvider, series: _Series, *, is_last: bool) -> None:
        """Wait until the next query is due, and deliver the bars that have closed since the last one.

        A query that fails remains due, unless ``is_last``: all providers have failed.
        """
        timeframe, step_ms = series.timeframe, series.timeframe.step_ms or 0
        now_ms = self._clock.now_ms()
        # The clock may have been set back since the time was calculated.
        wait_ms = min(series.due_ms, series.next_due_ms(now_ms)) - now_ms
        if wait_ms > 0:
            await self._pause(wait_ms / SECOND_MS)
        now_ms = self._clock.now_ms()
        if is_last:
            series.due_ms = series.next_due_ms(now_ms)
        # The bar that closes next began up to its length ago; the clock may have been set back.
        bounds = date_of(min(series.closed_ms, now_ms) - step_ms + 1), date_of(now_ms)
        name, question = type(provider).__name__, (series.symbol, timeframe, bounds)
        rows = await fetch_from(name, provider, *question, _TIMEOUT_S, self._clock)
        bars = [_bar_of_row(series, row) for row in rows.iter_rows()]
        new = [bar for bar in bars if series.closed_ms < _closed_ms(bar, step_ms) <= now_ms]
        self._deliver(series, new)
        series.due_ms = series.next_due_ms(now_ms)
        series.tries = 0 if new else (series.tries + 1) % _TRIES
        if series.tries:
            series.due_ms = min(series.due_ms, now_ms + step_ms // 20)

    def _deliver(self, series: _Series, bars: Iterable[PipelineBar]) -> None:
        """Deliver only bars that are newer than the last one delivered, even by another feed."""
        step_ms = series.timeframe.step_ms
        for bar in bars:
            if bar.timestamp <= series.newest:
                continue
            series.newest = bar.timestamp
            if step_ms is not None:
                closed_ms = _closed_ms(bar, step_ms)
                series.closed_ms = max(series.closed_ms, closed_ms)
                series.phase_ms = closed_ms % step_ms
                series.due_ms = closed_ms + step_ms + _AFTER_CLOSE_MS
            for queue in self.subscribers[series.key]:
                queue.push(bar)


def _key(symbol: str, timeframe: Timeframe) -> str:
    """Return the key of a series; raises ``QueryError`` if the symbol is not a string."""
    if not isinstance(symbol, str) or not symbol.strip():
        raise QueryError(f"a symbol must be a non-empty string, not {symbol!r:.80}")
    return f"{symbol}:{timeframe}"


def _bar_of_row(series: _Series, row: tuple[Any, ...]) -> PipelineBar:
    """Return a row of :func:`.checked_prices` as a bar; an unknown volume is NaN."""
    stamp, *prices, volume, _ = row
    stamp = stamp if isinstance(stamp, datetime) else datetime.combine(stamp, time())
    values = [*prices, float("nan") if volume is None else float(volume)]
    return PipelineBar(series.symbol, str(series.timeframe), stamp, *values)


def _closed_ms(bar: PipelineBar, step_ms: int) -> int:
    return round(bar.timestamp.replace(tzinfo=UTC).timestamp() * SECOND_MS) + step_ms
