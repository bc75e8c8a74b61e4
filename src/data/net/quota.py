"""Computes how long to wait before the next request, from the quota already used.

Limits are kept as sliding windows, not as buckets that refill: no window of that length ever holds
more than its limit, whatever the moment at which the vendor's own window begins.
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from ..model.capabilities import Limits
from ..model.http import HttpResponse

# Three days are the longest ban on record (2019); a vendor that says more is asked again after a week.
LONGEST_PAUSE_S = 7 * 86_400.0
# The pause after a 429 without `Retry-After`, by how many came in a row. The first fits into a usual
# call of 30 s, whose caller waits for it; with the later ones such a call fails over at once.
COOL_DOWNS_S = (15.0, 40.0, 60.0)
_FORGIVEN_S = 600.0

_MINUTE_S = 60.0
_DAY_S = 86_400.0
# No calendar month is longer, so none ever holds more than its limit.
_MONTH_S = 31 * _DAY_S
# Spendings within this share of a window are kept as one entry that expires with its last one:
# late, never early. A window then holds some hundred entries instead of thousands.
_GRAIN = 0.01
# How much of a window counts as spent when the record of it is lost.
_UNKNOWN_SHARE = 0.5

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
# `x-mbx-used-weight-1m`: units used in a window of the length that the name ends with.
_USED = re.compile(r"x-mbx-used-weight-(\d{1,4})([smhd])")
# Widespread, though no standard; none says of which window it speaks.
_LEFT = ("x-ratelimit-remaining", "ratelimit-remaining", "x-rate-limit-remaining")


@dataclass
class Spent:
    """Units spent between two instants, in seconds; they expire together."""

    first_s: float
    last_s: float
    units: float


@dataclass
class Window:
    """At most ``capacity`` units in any ``length_s`` seconds. Not thread-safe.

    Attributes:
        length_s: length of the window in seconds.
        capacity: units allowed in it.
        entries: what was spent, oldest first; those that follow each other closely are one.
    """

    length_s: float
    capacity: float
    entries: deque[Spent] = field(default_factory=deque, repr=False)
    _used: float = field(default=0.0, repr=False)

    def load(self, entries: Iterable[Spent]) -> None:
        """Take over what was spent, oldest first, in place of what is known so far."""
        self.entries = deque(entries)
        self._used = sum(entry.units for entry in self.entries)

    @property
    def newest(self) -> Spent | None:
        """The entry that :meth:`spend` has touched last."""
        return self.entries[-1] if self.entries else None

    def used(self, now_s: float) -> float:
        """Return the units that count at ``now_s``."""
        while self.entries and self.entries[0].last_s + self.length_s <= now_s:
            self._used -= self.entries.popleft().units
        return self._used

    def wait(self, cost: float, now_s: float, flying: float = 0.0) -> float:
        """Return the seconds until ``cost`` units fit, 0 when they fit now.

        A cost above the whole capacity is taken as the capacity, so that it can be sent at all.

        Args:
            cost: units wanted.
            now_s: the time of asking, in seconds.
            flying: units that count too and whose end is not known, such as requests on their way.
        """
        excess = self.used(now_s) + flying + min(cost, self.capacity) - self.capacity
        if excess <= 0:
            return 0.0
        freed = 0.0
        for entry in self.entries:
            freed += entry.units
            if freed >= excess:
                return entry.last_s + self.length_s - now_s
        return self.length_s

    def spend(self, cost: float, now_s: float) -> None:
        """Count ``cost`` units at ``now_s``."""
        self._used = self.used(now_s) + cost
        newest = self.newest
        if newest is not None and now_s - newest.first_s < self.length_s * _GRAIN:
            newest.last_s = max(newest.last_s, now_s)
            newest.units += cost
        else:
            self.entries.append(Spent(now_s, now_s, cost))

    def unknown(self, lost_s: float | None, now_s: float) -> float:
        """Return the units to hold back because what was spent until ``lost_s`` is lost."""
        forgotten = lost_s is not None and now_s < lost_s + self.length_s
        return self.capacity * _UNKNOWN_SHARE if forgotten else 0.0


def windows_of(limits: Limits) -> list[Window]:
    """Return the windows that ``limits`` stand for; no limit gives no window.

    A rate per second with a burst of ``b`` is ``b`` units in the time that ``b`` units take, so
    that a burst may go out at once and the rate still holds.
    """
    windows = []
    if limits.per_second > 0:
        burst = max(1, limits.burst)
        windows.append(Window(burst / limits.per_second, burst))
    longer = (
        (_MINUTE_S, limits.per_minute),
        (_DAY_S, limits.per_day),
        (_MONTH_S, limits.per_month),
    )
    return windows + [Window(length, capacity) for length, capacity in longer if capacity > 0]


@dataclass(frozen=True)
class Pause:
    """A time in which nothing is asked, because the vendor said so; times in seconds.

    Attributes:
        until_s: when it ends.
        strikes: how often in a row the vendor did not say for how long.
    """

    until_s: float = -math.inf
    strikes: int = 0

    def left_s(self, now_s: float) -> float:
        """Return the seconds that are left of it, 0 when it is over."""
        return max(0.0, self.until_s - now_s)

    def after(self, seconds: float | None, now_s: float) -> Pause:
        """Return the pause after the vendor said "for so many seconds", or nothing (None).

        A longer pause already running stays; what requests on their way then bring of it is no
        strike of its own.
        """
        if seconds is not None:
            until_s = now_s + min(seconds, LONGEST_PAUSE_S)
            return self if until_s <= self.until_s else Pause(until_s, self.strikes)
        if self.left_s(now_s) > 0:
            return self
        strikes = 1 if now_s > self.until_s + _FORGIVEN_S else self.strikes + 1
        return Pause(now_s + COOL_DOWNS_S[min(strikes, len(COOL_DOWNS_S)) - 1], strikes)


@dataclass(frozen=True)
class QuotaReport:
    """What an answer told about the vendor's own count.

    Attributes:
        units: how many are used, or left where ``is_left``.
        is_left: whether ``units`` is what may still be spent.
        length_s: length of the window meant, None where the vendor does not say.
    """

    units: float
    is_left: bool = False
    length_s: float | None = None

    def lacking(self, windows: Iterable[Window], now_s: float, flying: float) -> float:
        """Return the units that the vendor has counted and we have not.

        Others may ask by the same account or address: what they spent counts for us too.

        Args:
            windows: ours, all of them.
            now_s: the time of the answer, in seconds.
            flying: units of ours that are on their way.
        """
        window = self.meant(windows)
        if window is None:
            return 0.0
        counted = window.capacity - self.units if self.is_left else self.units
        return max(0.0, counted - window.used(now_s) - flying)

    def meant(self, windows: Iterable[Window]) -> Window | None:
        """Return the window that this is about: of its length, else the one of a minute."""
        length = self.length_s or _MINUTE_S
        return next((window for window in windows if window.length_s == length), None)


def reports_of(response: HttpResponse) -> list[QuotaReport]:
    """Return what the headers of ``response`` say about units used or left; often nothing."""
    reports = []
    for name, value in response.headers.items():
        if used := _USED.fullmatch(name):
            length_s = float(int(used[1]) * _SECONDS[used[2]])
            reports.append(QuotaReport(_number(value), length_s=length_s))
        elif name in _LEFT:
            reports.append(QuotaReport(_number(value), is_left=True))
    return [report for report in reports if not math.isnan(report.units)]


def _number(text: str) -> float:
    """Return a count, or NaN: digits alone are counts, some vendors send lists of them."""
    return float(text) if text.isascii() and text.isdigit() else math.nan


def limits_of(declared: Limits | None, *layers: Mapping[str, float]) -> Limits | None:
    """Lay limits as they are configured over what a vendor declares, key by key.

    None when nothing is declared and nothing said.
    """
    names = {
        "requests_per_minute": "per_minute",
        "requests_per_second": "per_second",
        "requests_per_day": "per_day",
        "requests_per_month": "per_month",
        "burst_size": "burst",
    }
    limits = {
        names[key]: value
        for layer in layers
        for key, value in layer.items()
        if value is not None and key in names
    }
    whole = {k: v if k == "per_second" else int(v) for k, v in limits.items()}
    if not whole:
        return declared
    return replace(declared or Limits(), **whole)  # type: ignore[arg-type]
