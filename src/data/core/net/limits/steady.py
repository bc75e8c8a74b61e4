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
class Anchor:
    """A reading of the clocks, and the remembered time (wall time without jumps) at that moment.

    Attributes:
        wall_s: Wall time, UTC seconds.
        monotonic_s: Monotonic seconds, counted from an arbitrary moment.
        origin: Identifier of the machine's current boot or, if that is unknown, of the process.
            Monotonic seconds with the same origin count from the same moment.
        steady_s: Remembered time.
    """

    wall_s: float
    monotonic_s: float
    origin: str
    steady_s: float

    def at(self, wall_s: float, monotonic_s: float, origin: str) -> Anchor:
        """Return the anchor of a later reading, whose remembered time is never before this one's."""
        wall, steady = wall_s - self.wall_s, monotonic_s - self.monotonic_s
        passed = max(0.0, steady if origin == self.origin else wall)
        return Anchor(wall_s, monotonic_s, origin, self.steady_s + passed)

    def is_stale(self, later: Anchor) -> bool:
        """Return whether a later reading should become the next anchor.

        This is the case if it is much later, or if the wall time and the monotonic time have
        advanced by different amounts.
        """
        steady = later.monotonic_s - self.monotonic_s
        jump = abs(later.wall_s - self.wall_s - steady)
        return later.origin != self.origin or jump > _TOLERANCE_S or steady > REFRESH_S
