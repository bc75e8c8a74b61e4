"""Time for what is remembered across processes: it follows the clock and none of its jumps.

A ban must not end because somebody sets the clock forward, nor last for years because somebody
sets it back. So what is remembered is stamped with a time of its own: it starts at the wall time,
goes on with the seconds that never jump, and bridges a restart of the machine by the wall time.
"""

from __future__ import annotations

from dataclasses import dataclass

# Wall time and steady seconds may drift apart by this much without anybody having jumped.
_TOLERANCE_S = 2.0
# So often the two are compared afresh: what a jump can cost is bounded by it.
REFRESH_S = 60.0


@dataclass(frozen=True)
class Reading:
    """Both clocks at one moment.

    Attributes:
        wall_s: wall time, UTC seconds.
        monotonic_s: seconds that never jump; their zero may be any moment.
        owner: who read them: readings of one owner have one zero.
    """

    wall_s: float
    monotonic_s: float
    owner: str


@dataclass(frozen=True)
class Anchor:
    """A reading, and the remembered time at that moment."""

    reading: Reading
    steady_s: float

    def now(self, reading: Reading) -> float:
        """Return the remembered time at ``reading``; it never runs backwards."""
        return self.steady_s + self._elapsed(reading)

    def is_stale(self, reading: Reading) -> bool:
        """Tell whether ``reading`` should become the next anchor."""
        wall, steady = self._passed(reading)
        agree = self._is_comparable(reading) and abs(wall - steady) <= _TOLERANCE_S
        return not agree or steady > REFRESH_S

    def _elapsed(self, reading: Reading) -> float:
        """Return the seconds since this anchor; where the clocks disagree, the fewer."""
        wall, steady = self._passed(reading)
        if not self._is_comparable(reading):
            return max(0.0, wall)
        return steady if abs(wall - steady) <= _TOLERANCE_S else max(0.0, min(wall, steady))

    def _is_comparable(self, reading: Reading) -> bool:
        """Tell whether the steady seconds of both have one zero.

        Fewer seconds than before are those of a machine that was started anew. More of them after
        a restart are fewer than have really passed, which errs on the careful side.
        """
        _, steady = self._passed(reading)
        return steady > 0 or reading.owner == self.reading.owner

    def _passed(self, reading: Reading) -> tuple[float, float]:
        before = self.reading
        return reading.wall_s - before.wall_s, reading.monotonic_s - before.monotonic_s
