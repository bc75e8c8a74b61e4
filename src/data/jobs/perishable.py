"""Stored series whose next bars their vendors will soon have no more.

A vendor that goes back sixty days drops a bar sixty days after it opened. What was not fetched by
then cannot be had from any vendor of the rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ..cache.format.lane_entry import LaneEntry
from ..errors import DataError
from ..model.instant import DAY_MS, iso
from ..model.series import SeriesKey
from ..provider_selector import ProviderSelector

# It is told when of the time that a vendor keeps its bars this share is left, or so many days.
_SHARE, _MOST_MS = 1 / 3, 14 * DAY_MS


@dataclass(frozen=True)
class Perishable:
    """One such series.

    Attributes:
        key: the series.
        vendor: which is asked first.
        depth_days: how far back its vendors go.
        last_ms: the stamp of its newest bar, UTC milliseconds.
        lost_ms: when the bar after that can be had no more; it may be over.
    """

    key: SeriesKey
    vendor: str
    depth_days: int
    last_ms: int
    lost_ms: int

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "symbol": self.key.symbol,
            "timeframe": self.key.timeframe.label,
            "vendor": self.vendor,
            "depth_days": self.depth_days,
            "last": iso(self.last_ms),
            "lost": iso(self.lost_ms),
        }


def perishable(
    listing: Iterable[tuple[SeriesKey, LaneEntry | None]], selector: ProviderSelector, now_ms: int
) -> list[Perishable]:
    """Return the series that lose bars soon, those first that lose them first; no vendor is asked.

    Series of vendors that were named (``provider=``) are left out.

    Args:
        listing: the stored series with what the index knows of them.
        selector: which vendors are asked, and how far back they go.
        now_ms: the time, UTC milliseconds.
    """
    found = (one for key, entry in listing for one in _of(key, entry, selector))
    due = [one for one in found if one.lost_ms - now_ms < _warned_ms(one)]
    return sorted(due, key=lambda one: one.lost_ms)


def _warned_ms(one: Perishable) -> float:
    return min(_MOST_MS, _SHARE * one.depth_days * DAY_MS)


def _of(
    key: SeriesKey, entry: LaneEntry | None, selector: ProviderSelector
) -> Iterator[Perishable]:
    if key.lane or entry is None or entry.last is None:
        return
    try:
        supply = selector.supply(selector.instrument(key.symbol), key.timeframe)
    except DataError:  # a name that an older tool left is no symbol
        return
    if supply.depth_days is not None:
        lost_ms = entry.last + key.timeframe.longest_ms + supply.depth_days * DAY_MS
        yield Perishable(key, supply.vendor, supply.depth_days, entry.last, lost_ms)
