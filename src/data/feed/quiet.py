"""Whether a stream has been silent for too long, in the time that the market was open."""

from __future__ import annotations

from ..calendars.gaps import Grid
from ..model.instant import SECOND_MS
from ..model.span import Span
from .silence import open_ms
from .steady import SteadyNow

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

    def __init__(self, grid: Grid, floor_s: float, now: SteadyNow) -> None:
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
