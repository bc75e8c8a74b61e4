"""A vendor's own limit: weight a minute, then 429, then a ban for who does not listen."""

from __future__ import annotations

import threading

from onetape.data.core.model.time.instant import MINUTE_MS, SECOND_MS

from .faults import Fault

_BAN_AFTER = 5  # refusals in one minute that turn a 429 into a ban
_BAN_MS = 120 * SECOND_MS


class Meter:
    """Counts what one vendor was asked in the running minute of the clock. Thread-safe.

    Attributes:
        limit: weight allowed a minute; None for no limit.
        used: weight used in the running minute.
    """

    def __init__(self) -> None:
        self.limit: int | None = None
        self.used = 0
        self._minute = 0
        self._refusals = 0
        self._banned_until = 0
        self._guard = threading.Lock()

    def take(self, weight: int, now_ms: int) -> Fault | None:
        """Count a request; return the refusal it gets, or None where it is let through."""
        with self._guard:
            minute = now_ms // MINUTE_MS
            if minute != self._minute:
                self._minute, self.used, self._refusals = minute, 0, 0
            self.used += weight
            if now_ms < self._banned_until:
                return Fault.ban(_seconds(self._banned_until - now_ms))
            if self.limit is None or self.used <= self.limit:
                return None
            self._refusals += 1
            if self._refusals >= _BAN_AFTER:
                self._banned_until = now_ms + _BAN_MS
                return Fault.ban(_seconds(_BAN_MS))
            return Fault.throttle(_seconds((minute + 1) * MINUTE_MS - now_ms))


def _seconds(ms: int) -> int:
    """Return whole seconds, rounded up: asking again earlier would be too early."""
    return -(-ms // SECOND_MS)
