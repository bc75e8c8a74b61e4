"""The time without the wall clock's jumps."""

from __future__ import annotations

from ...core.clock import Clock
from ...core.model.time.instant import SECOND_MS
from ...core.prices.bar_rule import AHEAD_MS


class SteadyNow:
    """The wall time at the last :meth:`set`, advanced by a clock that never jumps.

    This prevents a bar from moving into the future or the past when the clock is set, or at a leap
    second. Use from one thread only.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.set()

    def set(self) -> None:
        """Reread the wall clock."""
        self._wall_ms, self._since = self._clock.now_ms(), self._clock.monotonic()

    def set_by(self, event_ms: int) -> bool:
        """Reread the wall clock if it agrees with a current event's time and this object's time does not.

        In that case, the clock was wrong at the last reading and has since been corrected. Return
        whether the clock was reread.
        """
        wall_ms, ours_ms = self._clock.now_ms(), self.ms()
        is_now = 0 <= wall_ms - event_ms < AHEAD_MS
        if abs(wall_ms - ours_ms) <= AHEAD_MS or not is_now or abs(ours_ms - event_ms) <= AHEAD_MS:
            return False
        self.set()
        return True

    def ms(self) -> int:
        """Return the time in UTC milliseconds."""
        return self._wall_ms + round((self._clock.monotonic() - self._since) * SECOND_MS)
