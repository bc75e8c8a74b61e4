"""How long to wait before a vendor may be asked again: arithmetic on what was spent.

Limits are kept as sliding windows, not as buckets that refill: no window of that length ever holds
more than its limit, whatever the moment at which the vendor's own window begins.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from ..model.capabilities import Limits

_MINUTE_S = 60.0
_DAY_S = 86_400.0
# Spendings within this share of a window are kept as one entry that expires with its last one:
# late, never early. A window then holds some hundred entries instead of thousands.
_GRAIN = 0.01


@dataclass
class _Spent:
    first_s: float
    last_s: float
    units: float


@dataclass
class Window:
    """At most ``capacity`` units in any ``length_s`` seconds. Not thread-safe.

    Attributes:
        length_s: length of the window in seconds.
        capacity: units allowed in it.
    """

    length_s: float
    capacity: float
    _entries: deque[_Spent] = field(default_factory=deque, repr=False)
    _used: float = field(default=0.0, repr=False)

    def used(self, now_s: float) -> float:
        """Return the units that count at ``now_s``."""
        while self._entries and self._entries[0].last_s + self.length_s <= now_s:
            self._used -= self._entries.popleft().units
        return self._used

    def wait(self, cost: float, now_s: float) -> float:
        """Return the seconds until ``cost`` units fit, 0 when they fit now.

        A cost above the whole capacity is taken as the capacity, so that it can be sent at all.
        """
        excess = self.used(now_s) + min(cost, self.capacity) - self.capacity
        if excess <= 0:
            return 0.0
        freed = 0.0
        for entry in self._entries:
            freed += entry.units
            if freed >= excess:
                return entry.last_s + self.length_s - now_s
        return self.length_s

    def spend(self, cost: float, now_s: float) -> None:
        """Count ``cost`` units at ``now_s``."""
        self._used = self.used(now_s) + cost
        newest = self._entries[-1] if self._entries else None
        if newest is not None and now_s - newest.first_s < self.length_s * _GRAIN:
            newest.last_s = now_s
            newest.units += cost
        else:
            self._entries.append(_Spent(now_s, now_s, cost))


def windows_of(limits: Limits) -> list[Window]:
    """Return the windows that ``limits`` stand for; no limit gives no window.

    A rate per second with a burst of ``b`` is ``b`` units in the time that ``b`` units take, so
    that a burst may go out at once and the rate still holds.
    """
    windows = []
    if limits.per_second > 0:
        burst = max(1, limits.burst)
        windows.append(Window(burst / limits.per_second, burst))
    if limits.per_minute > 0:
        windows.append(Window(_MINUTE_S, limits.per_minute))
    if limits.per_day > 0:
        windows.append(Window(_DAY_S, limits.per_day))
    return windows


def longest_wait(windows: Iterable[Window], cost: float, now_s: float) -> float:
    """Return the seconds until ``cost`` units fit into every one of ``windows``."""
    return max((window.wait(cost, now_s) for window in windows), default=0.0)
