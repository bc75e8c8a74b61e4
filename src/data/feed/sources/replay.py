"""Bars of the past, pushed as if they came now: at any speed, or as fast as they are taken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from ...clock import Clock
from ...errors import QueryError
from ...model.stream import LiveBar, StreamState, StreamStatus
from ..close_time import Closing
from .base import Sink
from .worker import Halt, ThreadedSource

# A wait that is to be told beforehand.
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
        raise QueryError(f"a replay at speed {speed:g} runs nowhere", hint="0: without waiting")

    def seconds(before: int, stamp: int) -> float:
        gap = closing(stamp) - closing(before)
        return min(gap, longest_ms or gap) / 1000 / speed if speed else 0.0

    return seconds


def every(seconds: float) -> Pace:
    """Return the pace of one bar every so many seconds."""
    return lambda before, stamp: seconds


class ReplaySource(ThreadedSource):
    """Pushes bars that are there already, the first of them as history.

    Args:
        name: whose bars.
        load: gives them, ascending; called by the thread at every start.
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
        # Whatever is waited for belongs to the bar behind it, the first one included.
        before = past[-1:] or coming[:1]
        sink.status(self._status(StreamState.LIVE, f"replayed{self._told(bars)}"))
        due = self.clock.monotonic()
        for earlier, bar in pairwise([*before, *coming]):
            due += self._pace(earlier.stamp_ms, bar.stamp_ms) if earlier is not bar else 0.0
            if not halt.until(due):
                return
            sink.bar(bar._replace(origin="live"))

    def _told(self, bars: Sequence[LiveBar]) -> str:
        """Return how long one bar lets wait for the next, where that is long."""
        wait = self._pace(bars[0].stamp_ms, bars[1].stamp_ms) if len(bars) > 1 else 0.0
        return f", a bar in {_in_words(wait)}" if wait >= _LONG_S else ""

    def _status(self, state: StreamState, reason: str) -> StreamStatus:
        return StreamStatus(state, reason, self.clock.now_ms())


def _in_words(seconds: float) -> str:
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.3g} s"
