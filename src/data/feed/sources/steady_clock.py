"""What time it is for a feed: the wall clock's time, without its jumps."""

from __future__ import annotations

from ...clock import Clock
from ...model.instant import SECOND_MS


class SteadyNow:
    """The wall time at the last :meth:`set`, and what has passed since by a clock that never jumps.

    An administrator who sets the clock, or a leap second, moves no bar into the future or the past.
    For one thread.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.set()

    def set(self) -> None:
        """Believe the wall clock anew."""
        self._wall_ms, self._since = self._clock.now_ms(), self._clock.monotonic()

    def ms(self) -> int:
        """Return the time in UTC milliseconds."""
        return self._wall_ms + round((self._clock.monotonic() - self._since) * SECOND_MS)
