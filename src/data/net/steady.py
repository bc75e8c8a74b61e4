"""A clock for facts shared across processes, which follows the wall clock but not its jumps.

A ban must not end because the clock is set forward, nor last for years because it is set back.
Facts are therefore stored with a separate time, the *remembered time*. It starts as the wall time
and advances with the monotonic clock. Across a restart of the machine it advances with the wall
time, because nothing else is available then.
"""

from __future__ import annotations

from dataclasses import dataclass

# Largest difference between wall time and monotonic time that is drift and not a jump.
_TOLERANCE_S = 2.0
# Seconds after which the two are compared again, to prepare for the next restart.
REFRESH_S = 60.0


@dataclass(frozen=True)
class ClockReading:
    """The wall time and the monotonic time, read together.

    Attributes:
        wall_s: Wall time, UTC seconds.
        monotonic_s: Monotonic seconds, counted from an arbitrary moment.
        origin: Identifier of the machine's current boot or, if that is unknown, of the process.
            Monotonic seconds of readings with the same origin count from the same moment.
    """

    wall_s: float
    monotonic_s: float
    origin: str


@dataclass(frozen=True)
class Anchor:
    """A reading of the clocks, and the remembered time (wall time without jumps) at that moment."""

    reading: ClockReading
    steady_s: float

    def now(self, reading: ClockReading) -> float:
        """Return the remembered time at ``reading``, which is never before this anchor's own time."""
        is_comparable = reading.origin == self.reading.origin
        wall, steady = self._time_passed(reading)
        return self.steady_s + max(0.0, steady if is_comparable else wall)

    def is_stale(self, reading: ClockReading) -> bool:
        """Return whether ``reading`` should become the next anchor.

        This is the case if the reading is much later than this anchor, or if the wall time and the
        monotonic time have advanced by different amounts.
        """
        wall, steady = self._time_passed(reading)
        agree = reading.origin == self.reading.origin and abs(wall - steady) <= _TOLERANCE_S
        return not agree or steady > REFRESH_S

    def _time_passed(self, reading: ClockReading) -> tuple[float, float]:
        before = self.reading
        return reading.wall_s - before.wall_s, reading.monotonic_s - before.monotonic_s
