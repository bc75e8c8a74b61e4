"""The clock: the only module that reads time, sleeps or draws random numbers; tests pass another."""

from __future__ import annotations

import random
import threading
import time
from typing import Protocol


class Clock(Protocol):
    """Wall time, durations, waiting and jitter."""

    def now_ms(self) -> int:
        """Return the wall time in UTC milliseconds."""

    def monotonic(self) -> float:
        """Return seconds that never jump, for durations only."""

    def sleep(self, seconds: float) -> None:
        """Wait."""

    def jitter(self) -> float:
        """Return a random number in [0, 1)."""


# Where there is one, the clock that goes on while the machine sleeps: an hour's limit is over
# after an hour, lid closed or not.
_STEADY = getattr(time, "CLOCK_BOOTTIME", None)


class SystemClock:
    """The machine's own clock. Thread-safe."""

    def now_ms(self) -> int:
        """Return the wall time in UTC milliseconds."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Return seconds that never jump, for durations only."""
        return time.monotonic() if _STEADY is None else time.clock_gettime(_STEADY)

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)

    def jitter(self) -> float:
        """Return a random number in [0, 1)."""
        return random.random()  # noqa: S311 - spreads retries, guards nothing


class ManualClock:
    """A clock that stands still until it is moved; sleeping moves it. Thread-safe.

    For tests and simulations: ``slept`` records every wait.
    """

    def __init__(self, now_ms: int) -> None:
        # Guards the two fields against test threads that sleep while another advances.
        self._lock = threading.Lock()
        self._now_ms = now_ms
        self._elapsed = 0.0
        self.slept: list[float] = []

    def now_ms(self) -> int:
        """Return the wall time in UTC milliseconds."""
        return self._now_ms

    def monotonic(self) -> float:
        """Return seconds that never jump, for durations only."""
        return self._elapsed

    def sleep(self, seconds: float) -> None:
        """Move on by ``seconds`` at once."""
        self.slept.append(seconds)
        self.advance(seconds)

    def jitter(self) -> float:
        """Return 0: nothing is random here."""
        return 0.0

    def advance(self, seconds: float) -> None:
        """Move wall time and durations on."""
        with self._lock:
            self._now_ms += round(seconds * 1000)
            self._elapsed += seconds

    def set(self, now_ms: int) -> None:
        """Set the wall time alone, as an administrator would."""
        with self._lock:
            self._now_ms = now_ms
