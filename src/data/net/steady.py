"""Time for facts shared across processes: it follows the clock but not its jumps.

A ban must not end because the clock is set forward, nor last for years because it is set
back. So what is remembered is stamped with a time of its own: it starts at the wall time,
goes on with the seconds that never jump, and bridges a restart of the machine by the wall time,
which is all there is then.
"""

from __future__ import annotations

from dataclasses import dataclass

# Wall time and steady seconds may drift apart by this much without a jump of either.
_TOLERANCE_S = 2.0
# So often the two are compared afresh, for the next restart.
REFRESH_S = 60.0


@dataclass(frozen=True)
class Reading:
    """Both clocks at one moment.

    Attributes:
        wall_s: wall time, UTC seconds.
        monotonic_s: seconds that never jump; their zero may be any moment.
        owner: the process that read them: its readings have one zero.
        boot: what their zero is the start of; readings with one known start have one zero too.
    """

    wall_s: float
    monotonic_s: float
    owner: str
    boot: str = ""


@dataclass(frozen=True)
class Anchor:
    """A reading, and the remembered time at that moment."""

    reading: Reading
    steady_s: float

    def now(self, reading: Reading) -> float:
        """Return the remembered time at ``reading``; never before this anchor's own."""
        wall, steady = self._passed(reading)
        return self.steady_s + max(0.0, steady if self._is_comparable(reading) else wall)

    def is_stale(self, reading: Reading) -> bool:
        """Tell whether ``reading`` should become the next anchor."""
        wall, steady = self._passed(reading)
        agree = self._is_comparable(reading) and abs(wall - steady) <= _TOLERANCE_S
        return not agree or steady > REFRESH_S

    def _is_comparable(self, reading: Reading) -> bool:
        """Tell whether the steady seconds of both have one zero."""
        before = self.reading
        return reading.owner == before.owner or (reading.boot == before.boot != "")

    def _passed(self, reading: Reading) -> tuple[float, float]:
        before = self.reading
        return reading.wall_s - before.wall_s, reading.monotonic_s - before.monotonic_s
