"""The last use of a lane, noted for a few nanoseconds a read."""

from __future__ import annotations

from typing import NamedTuple

from ...model.instant import MINUTE_MS

_NEVER = 1 << 62
# Of what was used so lately more may be needed: by a request on its way, here or in another process.
IN_USE_MS = 5 * MINUTE_MS


class Use(NamedTuple):
    """The last use of a lane: when, and from which stamp on it reached, all in UTC milliseconds."""

    last_ms: int = 0
    from_ms: int = 0

    def after(self, before: Use) -> Use:
        """Return the two as one: what is used again soon is in use as far as both reach."""
        first, then = sorted((self, before))
        is_soon = then.last_ms - first.last_ms < IN_USE_MS
        return Use(then.last_ms, min(first.from_ms, then.from_ms) if is_soon else then.from_ms)

    def needs(self, until_ms: int, now_ms: int) -> bool:
        """Tell whether bars up to a stamp may be in use now."""
        return self.last_ms > now_ms - IN_USE_MS and self.from_ms < until_ms


class LaneUse:
    """Notes the uses of one lane until they are taken. Thread-safe: one may be lost, no more.

    No clock is asked for a read: it counts for the time at which it is taken.
    """

    __slots__ = ("_committed_ms", "_from_ms", "_is_read")

    def __init__(self) -> None:
        self._is_read, self._committed_ms, self._from_ms = False, 0, _NEVER

    def read(self, from_ms: int) -> None:
        """Take note of a read of bars from ``from_ms`` on."""
        self._is_read = True
        if from_ms < self._from_ms:
            self._from_ms = from_ms

    def committed(self, from_ms: int, now_ms: int) -> None:
        """Take note of a commit of bars from ``from_ms`` on."""
        self._committed_ms, self._from_ms = now_ms, min(from_ms, self._from_ms)

    def take(self, now_ms: int) -> Use | None:
        """Return the last use, None where there was none, and begin anew."""
        last, start = now_ms if self._is_read else self._committed_ms, self._from_ms
        self._is_read, self._committed_ms, self._from_ms = False, 0, _NEVER
        return Use(last, start) if last else None
