"""What a continued source is made of, and how patient it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol

from ...calendars.gaps import BarGrid
from ...clock import Clock
from ...model.instant import SECOND_MS
from ...model.span import Span
from ...model.stream import LiveBar
from ...model.timeframe import Timeframe
from ...net.retry import RetryPolicy
from ..silence import open_ms
from .base import Source
from .history import History
from .steady_clock import SteadyNow


class Stream(Source, Protocol):
    """A source that may lose, double and reorder bars, and says when it is connected.

    Its statuses are ``CONNECTING`` (nothing comes) and ``BACKFILLING`` (from now on all comes);
    while it is connected, ``DELAYED`` (only history can tell bars that closed by its instant) and
    ``LIVE`` (it speaks, though no bar comes of it).
    """

    def doubt(self, reason: str, silent_s: float) -> None:
        """Be told that nothing came for so long, although there was something."""


@dataclass(frozen=True)
class StreamTimings:
    """Times of a continued source in seconds; tests make them short.

    Attributes:
        tick: how often the clock is looked at.
        grace: how long after its close a bar may be on its way by the stream.
        quiet: a stream silent for so long in an open market, and for three bars, is not believed.
        retry: waits between questions for the same hole.
        delayed_after: questions for the same hole after which the feed counts as delayed.
        dense: whether the stream sends a bar where nobody traded; else silence is looked into.
        sent: length of the bars that the stream sends, where those given are built of them.
    """

    tick: float = 0.25
    grace: float = 5.0
    quiet: float = 60.0
    retry: RetryPolicy = field(default_factory=lambda: RetryPolicy(first_s=1.0, cap_s=60.0))
    delayed_after: int = 3
    dense: bool = True
    sent: Timeframe | None = None


@dataclass(frozen=True)
class Start:
    """Where a feed begins.

    Attributes:
        lookback: closed bars of history that are given first.
        after_ms: in place of that: stamp of the last bar that is known already.
    """

    lookback: int = 1000
    after_ms: int | None = None


@dataclass(frozen=True)
class StreamParts:
    """What a continued source is made of; see :class:`~.continued.Continued`."""

    stream: Stream
    history: History
    grid: BarGrid
    clock: Clock
    start: Start
    keep: Callable[[Sequence[LiveBar]], object] | None
    patience: StreamTimings
    call: Callable[[], AbstractContextManager[None]] = nullcontext


# --- whether a stream has been silent for too long, in the time that the market was open

_BARS = 3


class Quiet:
    """Silence of one subscription. For one thread.

    Args:
        grid: of the bars that the stream sends; silence must last for three of them.
        floor_s: and for so many seconds.
        now: the time.

    Attributes:
        is_stale: whether it was silent while there was something to say, and still is.
    """

    def __init__(self, grid: BarGrid, floor_s: float, now: SteadyNow) -> None:
        self.is_stale = False
        self._calendar = grid.calendar
        step_ms = grid.timeframe.step_ms or 0
        self._limit_ms = max(_BARS * step_ms, round(floor_s * SECOND_MS))
        self._now = now
        self._half_ms = step_ms // 2
        self._since_ms = self._heard_ms = now.ms()
        self._found = 0.0

    def heard(self) -> None:
        """Note that market data have come."""
        self._since_ms = self._heard_ms = self._now.ms()
        self.is_stale = False

    def again(self) -> None:
        """Begin to count anew: it was connected again, which proves nothing."""
        self._since_ms = self._now.ms()

    @property
    def is_long(self) -> bool:
        """Whether the silence has lasted longer than it may in an open market."""
        span = Span(self._since_ms, self._now.ms())
        if span.end - span.start <= self._limit_ms:
            return False
        return open_ms(self._calendar, span) > self._limit_ms

    def is_after(self, stamp_ms: int) -> bool:
        """Tell whether a bar began after market data came last: not a word of it was heard."""
        return stamp_ms >= self._heard_ms - self._half_ms

    def looked_into(self, *, found: bool) -> None:
        """Note what came of looking: whether there was something to say."""
        if found:
            self.is_stale = True
            self._found = (self._now.ms() - self._since_ms) / SECOND_MS
        self.again()

    def taken(self) -> float:
        """Return the seconds of silence that were found out just now, else 0."""
        found, self._found = self._found, 0.0
        return found
