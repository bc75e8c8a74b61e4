"""The clock, which tests can replace; no other module reads the time, sleeps or uses random numbers."""

from __future__ import annotations

import random
import threading
import time
from typing import Protocol


class Clock(Protocol):
    """A source of wall-clock time, durations, waits and random jitter."""

    def now_ms(self) -> int:
        """Return the wall-clock time in UTC milliseconds."""

    def monotonic(self) -> float:
        """Return a time in seconds that never jumps, for measuring durations only."""

    def sleep(self, seconds: float) -> None:
        """Wait for ``seconds``."""

    def jitter(self) -> float:
        """Return a random number in [0, 1)."""


# If available, the clock that keeps running while the machine sleeps, so that an hourly limit ends
# after an hour even if a laptop's lid was closed.
_STEADY = getattr(time, "CLOCK_BOOTTIME", None)


class SystemClock:
    """The system clock. Thread-safe."""

    def now_ms(self) -> int:
        """Return the wall-clock time in UTC milliseconds."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Return a time in seconds that never jumps, for measuring durations only."""
        return time.monotonic() if _STEADY is None else time.clock_gettime(_STEADY)

    def sleep(self, seconds: float) -> None:
        """Wait for ``seconds``."""
        time.sleep(seconds)

    def jitter(self) -> float:
        """Return a random number in [0, 1)."""
        return random.random()  # noqa: S311 - spreads retries, guards nothing


class ManualClock:
    """A clock that moves only when it is advanced, or when something sleeps. Thread-safe.

    Examples:
        >>> from onetape.testing import ManualClock
        >>> clock = ManualClock(1_718_000_000_000)
        >>> clock.sleep(60)
        >>> clock.now_ms()
        1718000060000

    The clock is meant for tests and simulations; ``slept`` lists all waits.
    """

    def __init__(self, now_ms: int) -> None:
        # Guards the two fields against test threads that sleep while another advances.
        self._lock = threading.Lock()
        self._now_ms = now_ms
        self._elapsed = 0.0
        self.slept: list[float] = []

    def now_ms(self) -> int:
        """Return the wall-clock time in UTC milliseconds."""
        return self._now_ms

    def monotonic(self) -> float:
        """Return a time in seconds that never jumps, for measuring durations only."""
        return self._elapsed

    def sleep(self, seconds: float) -> None:
        """Advance by ``seconds`` without waiting."""
        self.slept.append(seconds)
        self.advance(seconds)

    def jitter(self) -> float:
        """Return 0, so that tests are repeatable."""
        return 0.0

    def advance(self, seconds: float) -> None:
        """Advance both the wall-clock time and the monotonic time."""
        with self._lock:
            self._now_ms += round(seconds * 1000)
            self._elapsed += seconds

    def set(self, now_ms: int) -> None:
        """Set only the wall-clock time, as if an administrator had set the system clock."""
        with self._lock:
            self._now_ms = now_ms
