"""A replay of any series, as a feed: for trying strategies on what happened, at any speed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from ..clock import Clock
from ..errors import NoDataError, QueryError
from ..model.stream import LiveBar, StreamState, StreamStatus
from ..model.texts import duration
from ..model.timeframe import Timeframe
from .close_time import Closing
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
    """Return a feed that plays closed past bars as if they closed now.

    The bars are asked for here, once: held ones cost nothing, missing ones are fetched unless
    ``offline=True`` is among the wishes.

    Args:
        manager: the data manager.
        symbol, timeframe, start_date, end_date: as for its ``get_ohlcv``.
        speed: 1: as it happened; 60: an hour in a minute; 0: without waiting. Nights and weekends
            are skipped. None: a bar a second, however long it is.
        history: how many bars are given at once before the first comes live.
        **wishes: further keywords of ``get_ohlcv``, such as ``bars``, ``provider``, ``offline``.

    Raises:
        QueryError: an argument cannot be understood, or the speed is below 0.
        NoDataError: there is no bar in the range.
        AllProvidersFailedError: bars are missing, and no vendor could supply any.
    """
    step = Timeframe.parse(timeframe)
    closing = Closing(step, market_of(manager, symbol))
    pace = every(1.0) if speed is None else at_speed(closing, speed, step.step_ms)
    frame = manager.get_ohlcv(symbol, step.label, start_date, end_date, **wishes)
    bars: list[LiveBar] = bars_of(frame, "live")
    if not bars:
        raise NoDataError(
            f"there is no bar of {symbol} {step} to replay"
            + ("" if start_date is None else f" from {start_date}")
            + ("" if end_date is None else f" up to {end_date}"),
            symbol=symbol,
            hint="another range may have some: start, end",
        )
    clock = clock_of(manager)
    source = ReplaySource(f"{symbol} {step}", lambda: bars, pace, history=history, clock=clock)
    # Room for all bars: no listener is cut off for being slower than a replay without waiting.
    return LiveFeed(symbol, step.label, source, capacity=len(bars) + CAPACITY, clock=clock)


# --- the source --------------------------------------------------------------------------------

# A longer wait for the next bar is named in the status.
_LONG_S = 5.0

Load = Callable[[], Sequence[LiveBar]]
# Seconds from when one bar is given until the next is, out of their opens.
Pace = Callable[[int, int], float]


def at_speed(closing: Closing, speed: float, longest_ms: int | None) -> Pace:
    """Return the pace of bars that come ``speed`` times as fast as they once did.

    60: an hour in a minute; 0: without waiting. Nights and weekends are skipped: a wait is that of
    ``longest_ms``, the step of the bars, at most.

    Raises:
        QueryError: a speed below 0.
    """
    if not speed >= 0:
        raise QueryError(
            f"the speed of a replay is {speed:g}, a number from 0 on is needed",
            hint="0: without waiting",
        )

    def seconds(before: int, stamp: int) -> float:
        """Return the wait between the closes of two bars, in seconds; 0 at speed 0."""
        gap = closing(stamp) - closing(before)
        return min(gap, longest_ms or gap) / 1000 / speed if speed else 0.0

    return seconds


def every(seconds: float) -> Pace:
    """Return the pace of one bar every so many seconds."""
    return lambda before, stamp: seconds


class ReplaySource(ThreadedSource):
    """Pushes bars that are there already, the first of them as history.

    Args:
        name: of the series.
        load: gives its bars, ascending; called by the thread at every start.
        pace: how long to wait between two of them.
        history: how many are given at once, before the feed is live.
        clock: waits.
    """

    def __init__(
        self, name: str, load: Load, pace: Pace, *, history: int = 0, clock: Clock | None = None
    ) -> None:
        super().__init__(name, clock)
        self._load = load
        self._pace = pace
        self._history = history

    def run(self, sink: Sink, halt: Halt) -> None:
        """Push all bars; the end of them is the end of the feed."""
        sink.status(self._status(StreamState.BACKFILLING, "reading what is replayed"))
        bars = self._load()
        past, coming = bars[: self._history], bars[self._history :]
        for bar in past:
            sink.bar(bar._replace(origin="history"))
        # A wait belongs to the bar behind it, the first one included.
        before = past[-1:] or coming[:1]
        sink.status(self._status(StreamState.LIVE, f"replayed{self._pace_of(bars)}"))
        due = self.clock.monotonic()
        for earlier, bar in pairwise([*before, *coming]):
            due += self._pace(earlier.stamp_ms, bar.stamp_ms) if earlier is not bar else 0.0
            if not halt.until(due):
                return
            sink.bar(bar._replace(origin="live"))

    def _pace_of(self, bars: Sequence[LiveBar]) -> str:
        """Return how long the wait between two bars is, where it is long."""
        wait = self._pace(bars[0].stamp_ms, bars[1].stamp_ms) if len(bars) > 1 else 0.0
        return f", a bar in {duration(wait)}" if wait >= _LONG_S else ""

    def _status(self, state: StreamState, reason: str) -> StreamStatus:
        return StreamStatus(state, reason, self.clock.now_ms())
