"""Replays past bars of any series as a live feed, at any speed, for testing strategies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from ..core.clock import Clock
from ..core.model.display.texts import duration
from ..core.model.market.stream import LiveBar, StreamState, StreamStatus
from ..core.model.time.timeframe import Timeframe
from ..errors import NoDataError, QueryError
from .close_time import CloseTimes
from .live_feed import LiveFeed
from .queue import CAPACITY
from .services import clock_of, market_of
from .sources.base import Halt, Sink, ThreadedSource
from .sources.history import Manager, bars_of

__all__ = ["replay_feed"]


def replay_feed(
    manager: Manager,
    symbol: str,
    timeframe: str,
    start_date: Any = None,
    end_date: Any = None,
    *,
    speed: float | None = 1.0,
    history: int = 0,
    **wishes: Any,
) -> LiveFeed:
    """Return a feed that replays past bars as if they were closing now.

    This call requests all bars at once: stored bars do not cost a request, and missing bars are
    fetched unless ``offline=True`` is passed.

    Args:
        manager: Data manager.
        symbol, timeframe, start_date, end_date: See ``get_ohlcv`` of the manager.
        speed: Speed factor: 1 is the original speed, 60 replays an hour per minute, 0 does not wait
            at all. Nights and weekends are skipped. None replays one bar per second, whatever the
            bars' length.
        history: Number of bars delivered without waiting, as history, before the first live bar.
        **wishes: Further keyword arguments of ``get_ohlcv``, such as ``bars``, ``provider`` or
            ``offline``; also ``start`` and ``end``, the short names of ``start_date`` and ``end_date``.

    Raises:
        QueryError: An argument is invalid, or the speed is negative.
        NoDataError: There are no bars in the range.
        AllProvidersFailedError: Bars are missing, and no vendor could supply any.
    """
    parsed = Timeframe.parse(timeframe)
    closing = CloseTimes(parsed, market_of(manager, symbol))
    pace = every(1.0) if speed is None else at_speed(closing, speed, parsed.step_ms)
    frame = manager.get_ohlcv(symbol, parsed.label, start_date, end_date, **wishes)
    bars: list[LiveBar] = bars_of(frame, "live")
    if not bars:
        raise NoDataError(
            f"no bars to replay for {symbol} {parsed}"
            + "".join(f" from {each}" for each in (start_date, wishes.get("start")) if each)
            + "".join(f" up to {each}" for each in (end_date, wishes.get("end")) if each),
            symbol=symbol,
            hint="choose another range with start and end",
        )
    clock = clock_of(manager)
    source = ReplaySource(f"{symbol} {parsed}", lambda: bars, pace, history=history, clock=clock)
    # Capacity for all bars, so that no listener is cut off because it is slower than a replay
    # without waits.
    return LiveFeed(symbol, parsed.label, source, capacity=len(bars) + CAPACITY, clock=clock)


# --- the source --------------------------------------------------------------------------------

# If the wait for the next bar is longer than this, the status mentions it.
_LONG_S = 5.0

Load = Callable[[], Sequence[LiveBar]]
# A function that computes the seconds between the delivery of two bars from their opening times.
Pace = Callable[[int, int], float]


def at_speed(closing: CloseTimes, speed: float, longest_ms: int | None) -> Pace:
    """Return a pace (a function for the waits between bars) ``speed`` times as fast as the original.

    A speed of 60 replays an hour per minute, and 0 does not wait at all. Nights and weekends are
    skipped: no wait is longer than the wait for a bar of length ``longest_ms``.

    Raises:
        QueryError: The speed is negative.
    """
    if not speed >= 0:
        raise QueryError(
            f"invalid replay speed {speed:g}; use 0 or a positive number",
            hint="0 replays without waiting",
        )

    def seconds(before: int, stamp: int) -> float:
        """Return the seconds to wait between two bars, based on their closing times; 0 at speed 0."""
        gap = closing(stamp) - closing(before)
        return min(gap, longest_ms or gap) / 1000 / speed if speed else 0.0

    return seconds


def every(seconds: float) -> Pace:
    """Return a pace (a function for the waits between bars) of one bar every ``seconds``."""
    return lambda before, stamp: seconds


class ReplaySource(ThreadedSource):
    """A source that replays available bars, delivering the first ones as history.

    Args:
        name: Name of the series.
        load: Function that returns the bars in ascending order; called by the source's thread on
            every start.
        pace: Function that computes the wait between two bars.
        history: Number of bars delivered without waiting, before the feed is live.
        clock: Clock used for waiting.
    """

    def __init__(
        self, name: str, load: Load, pace: Pace, *, history: int = 0, clock: Clock | None = None
    ) -> None:
        super().__init__(name, clock)
        self._load = load
        self._pace = pace
        self._history = history

    def run(self, sink: Sink, halt: Halt) -> None:
        """Push all bars; the feed ends after the last bar."""
        sink.status(self._status(StreamState.BACKFILLING, "loading the bars to replay"))
        bars = self._load()
        past, coming = bars[: self._history], bars[self._history :]
        for bar in past:
            sink.bar(bar._replace(origin="history"))
        # Each wait belongs to the bar that follows it, including the first bar.
        before = past[-1:] or coming[:1]
        sink.status(self._status(StreamState.LIVE, f"replayed{self._pace_of(bars)}"))
        due = self.clock.monotonic()
        for earlier, bar in pairwise([*before, *coming]):
            due += self._pace(earlier.stamp_ms, bar.stamp_ms) if earlier is not bar else 0.0
            if not halt.until(due):
                return
            sink.bar(bar._replace(origin="live"))

    def _pace_of(self, bars: Sequence[LiveBar]) -> str:
        """Return a note on the usual wait between two bars; empty if the wait is short."""
        wait = self._pace(bars[0].stamp_ms, bars[1].stamp_ms) if len(bars) > 1 else 0.0
        return f", a bar in {duration(wait)}" if wait >= _LONG_S else ""

    def _status(self, state: StreamState, reason: str) -> StreamStatus:
        return StreamStatus(state, reason, self.clock.now_ms())
