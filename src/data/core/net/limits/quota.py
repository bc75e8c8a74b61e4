"""Computes how long to wait before the next request, given the units already spent.

Limits are sliding windows, not token buckets. Whenever the vendor's own window begins, it therefore
never contains more than its limit.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import msgspec

from ...model.request.capabilities import Limits
from ...model.request.http import HttpResponse

# The longest known ban is three days (2019); after a longer one the vendor is retried after a week.
LONGEST_PAUSE_S = 7 * 86_400.0
# Pauses after a 429 without `Retry-After`, by the number of these in a row. The first fits into a
# usual call of 30 s, which waits for it; with the later ones such a call fails over to another
# vendor immediately.
COOL_DOWNS_S = (15.0, 40.0, 60.0)
_FORGIVEN_AFTER_S = 600.0

_MINUTE_S = 60.0
_DAY_S = 86_400.0
# No calendar month is longer, so the limit holds in every month.
_MONTH_S = 31 * _DAY_S
# Units spent within this share of a window form one entry, which expires with the last of them:
# late, but never early. A window then has a few hundred entries instead of thousands.
_ENTRY_SHARE = 0.01
# Share of a window that counts as spent if its record is lost.
_UNKNOWN_SHARE = 0.5

_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
# `x-mbx-used-weight-1m`: units used in a window of the length that the name ends with.
_USED_HEADER = re.compile(r"x-mbx-used-weight-(\d{1,4})([smhd])")
# Common but not standardized headers, which do not specify the window that they apply to.
_REMAINING_HEADERS = ("x-ratelimit-remaining", "ratelimit-remaining", "x-rate-limit-remaining")


class SpentUnits(msgspec.Struct, array_like=True):
    """Units that were spent between two times (in seconds) and expire together."""

    first_s: float
    last_s: float
    units: float

    def later(self, seconds: float) -> SpentUnits:
        """Return the same units, spent ``seconds`` later."""
        return SpentUnits(self.first_s + seconds, self.last_s + seconds, self.units)


@dataclass
class Window:
    """A limit of ``capacity`` units in any ``length_s`` seconds, with the units already spent.

    Not thread-safe.

    Attributes:
        length_s: Length of the window in seconds.
        capacity: Number of units allowed in the window.
        entries: Units spent, oldest first; units spent in quick succession form one entry.
    """

    length_s: float
    capacity: float
    entries: list[SpentUnits] = field(default_factory=list, repr=False)

    def current(self, now_s: float) -> list[SpentUnits]:
        """Return the entries that still count at ``now_s``, oldest first."""
        return [entry for entry in self.entries if entry.last_s + self.length_s > now_s]

    def used(self, now_s: float) -> float:
        """Return the spent units that still count at ``now_s``."""
        return sum(entry.units for entry in self.current(now_s))

    def wait(self, cost: float, now_s: float, in_flight: float = 0.0) -> float:
        """Return the seconds until ``cost`` units fit, or 0 if they fit now.

        A cost above the capacity is reduced to the capacity; otherwise such a request could never
        be sent.

        Args:
            cost: Number of units to be spent.
            now_s: Time of the request, in seconds.
            in_flight: Additional units that count but whose expiry is unknown, such as the units of
                requests in flight.
        """
        excess = self.used(now_s) + in_flight + min(cost, self.capacity) - self.capacity
        if excess <= 0:
            return 0.0
        for entry in self.current(now_s):
            excess -= entry.units
            if excess <= 0:
                return entry.last_s + self.length_s - now_s
        return self.length_s

    def spend(self, cost: float, now_s: float) -> None:
        """Count ``cost`` units as spent at ``now_s``, and forget expired entries."""
        self.entries[:] = self.current(now_s)
        newest = self.entries[-1] if self.entries else None
        if newest is not None and now_s - newest.first_s < self.length_s * _ENTRY_SHARE:
            newest.last_s = max(newest.last_s, now_s)
            newest.units += cost
        else:
            self.entries.append(SpentUnits(now_s, now_s, cost))

    def unknown(self, lost_s: float | None, now_s: float) -> float:
        """Return the units to count as spent if the record of units spent before ``lost_s`` is lost."""
        forgotten = lost_s is not None and now_s < lost_s + self.length_s
        return self.capacity * _UNKNOWN_SHARE if forgotten else 0.0


def windows_of(limits: Limits) -> list[Window]:
    """Return the windows for ``limits``; a limit of 0 has no window.

    A rate per second with a burst of ``b`` becomes a window of ``b`` units, whose length is the
    time that ``b`` units take at that rate. A burst can then be sent at once, and the rate is still
    observed. If another window has the same length, the lower limit applies.
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
    windows += [Window(length, capacity) for length, capacity in longer if capacity > 0]
    windows.sort(key=lambda window: window.capacity, reverse=True)
    return sorted({w.length_s: w for w in windows}.values(), key=lambda window: window.length_s)


@dataclass(frozen=True)
class Pause:
    """A pause demanded by a vendor, during which the vendor is not queried; times are in seconds.

    Attributes:
        until_s: End of the pause.
        strikes: Number of times in a row that the vendor demanded a pause without giving its
            length.
    """

    until_s: float = 0.0
    strikes: int = 0

    def left_s(self, now_s: float) -> float:
        """Return the seconds left, or 0 if the pause has ended."""
        return max(0.0, self.until_s - now_s)

    def after(self, seconds: float | None, now_s: float) -> Pause:
        """Return the pause after a demand by the vendor for ``seconds``, or of unknown length (None).

        A longer pause in progress continues. A demand in response to a request that was already in
        flight when the pause began is not counted as another strike.
        """
        if seconds is not None:
            until_s = now_s + min(seconds, LONGEST_PAUSE_S)
            return self if until_s <= self.until_s else Pause(until_s, self.strikes)
        if self.left_s(now_s) > 0:
            return self
        strikes = 1 if now_s > self.until_s + _FORGIVEN_AFTER_S else self.strikes + 1
        return Pause(now_s + COOL_DOWNS_S[min(strikes, len(COOL_DOWNS_S)) - 1], strikes)


@dataclass(frozen=True)
class QuotaReport:
    """The vendor's own count of units, as reported in a response.

    Attributes:
        units: Number of units used or, if ``is_left`` is True, left.
        is_left: Whether ``units`` is the number left.
        length_s: Length of the window in seconds; None if the vendor does not specify it.
    """

    units: float
    is_left: bool = False
    length_s: float | None = None

    def lacking(self, windows: Iterable[Window], now_s: float, in_flight: float) -> float:
        """Return the units that the vendor has counted but this library has not.

        Other programs may use the same account or address, and the units that they spend count too.

        Args:
            windows: All windows of this library's limits.
            now_s: Time of the response, in seconds.
            in_flight: Number of units of this library's requests in flight.
        """
        window = self.meant(windows)
        if window is None:
            return 0.0
        counted = window.capacity - self.units if self.is_left else self.units
        return max(0.0, counted - window.used(now_s) - in_flight)

    def meant(self, windows: Iterable[Window]) -> Window | None:
        """Return the window to which the vendor's count refers, or None if that window is not limited.

        If the vendor does not name the window's length, it is one minute.
        """
        length = self.length_s or _MINUTE_S
        return next((window for window in windows if window.length_s == length), None)


def reports_of(response: HttpResponse) -> list[QuotaReport]:
    """Parse the headers of ``response`` that report units used or left; many vendors send none."""
    reports = []
    for name, value in response.headers.items():
        if used := _USED_HEADER.fullmatch(name):
            length_s = float(int(used[1]) * _UNIT_SECONDS[used[2]])
            reports.append(QuotaReport(_number(value), length_s=length_s))
        elif name in _REMAINING_HEADERS:
            reports.append(QuotaReport(_number(value), is_left=True))
    return [report for report in reports if not math.isnan(report.units)]


def _number(text: str) -> float:
    """Parse a count; anything other than digits gives NaN, because some vendors send lists."""
    return float(text) if text.isascii() and text.isdigit() else math.nan


def limits_of(declared: Limits | None, *layers: Mapping[str, float]) -> Limits | None:
    """Override a vendor's declared limits with the configured ones, key by key.

    The result is None if nothing is declared or configured.
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
