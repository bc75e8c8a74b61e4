"""The bars of the two simulated vendors, computed by a formula without the library.

An answer can therefore be compared with bars that the library did not compute. Every fault is set
from outside, through the fields of :class:`ScriptedVendor`.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
STEPS = {"1m": MINUTE, "1h": HOUR, "1d": DAY}
# New York opens at 13:30 UTC in the summer of 2024, on weekdays except these two.
OPENS, LASTS = 13 * HOUR + 30 * MINUTE, 6 * HOUR + 30 * MINUTE
_HOLIDAYS = (1716768000000, 1718755200000)


class Row(NamedTuple):
    """A bar: opening time in UTC milliseconds, four prices and volume."""

    at: int
    open: float
    high: float
    low: float
    close: float
    volume: float


@dataclass
class ScriptedVendor:
    """The changes that a simulated vendor makes to its correct bars before sending them.

    Attributes:
        scale: Factor for every price, because two venues never trade at the same price.
        lacks: Opening times of bars that the vendor does not send.
        twist: Function that changes a bar before it is sent.
        refusals: Status and headers with which the next requests are answered in place of bars. If
            ``refuses_always`` is set, the last of them is repeated.
        split: Ratio of a split, its ex-date in milliseconds, and whether it is known yet.
        answered: Event that is set when an answer has been sent.
    """

    scale: float = 1.0
    lacks: frozenset[int] = frozenset()
    twist: Callable[[Row], Row] = lambda row: row
    refusals: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    refuses_always: bool = False
    split: tuple[int, int, bool] | None = None
    answered: threading.Event = field(default_factory=threading.Event)

    def true(self, step_ms: int, at: int, now: int) -> Row:
        """Return the true bar that opens at ``at``, as of ``now``; ``step_ms`` is its length."""
        lasts = LASTS if self.split is not None else step_ms
        share = min(1.0, (now - at) / lasts)
        first, last = (round(_price(at + n * lasts * share) * self.scale, 2) for n in (0, 1))
        high, low = round(max(first, last) * 1.001, 2), round(min(first, last) * 0.999, 2)
        volume = 1000.0 + at // step_ms % 97
        if self.split is not None:
            ratio, ex, is_known = self.split
            by = 1 if is_known or at >= ex else ratio
            first, high, low, last = (round(price * by, 2) for price in (first, high, low, last))
            volume /= by
        return Row(at, first, high, low, last, round(volume * share, 3))

    def sent(self, step_ms: int, start: int, end: int, now: int) -> list[Row]:
        """Return the bars that this vendor sends for opening times from ``start`` to ``end``."""
        first = -(-start // step_ms) * step_ms
        opens = list(range(first, min(end, now) + 1, step_ms))
        if self.split is not None:  # a share: the session's open
            days = range(start // DAY * DAY, min(end, now) + 1, DAY)
            opens = [d + OPENS for d in days if _trades(d) and start <= d + OPENS <= min(end, now)]
        rows = (self.true(step_ms, at, now) for at in opens if at not in self.lacks)
        return [self.twist(row) for row in rows]


def _trades(day: int) -> bool:
    return (day // DAY + 3) % 7 < 5 and day not in _HOLIDAYS


def _price(at: float) -> float:
    return 100 + 5 * math.sin(at / (40 * HOUR)) + math.sin(at / (7 * HOUR))
