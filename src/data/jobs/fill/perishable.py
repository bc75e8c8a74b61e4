"""Finds stored series that lack bars or figures which vendors will soon stop serving.

A vendor with sixty days of history no longer serves a bar sixty days after its open; open interest
and ratios for perpetual futures are served for thirty days. After that, no vendor in the rules has
the data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from ...core.cache.beside.tables import TableStore
from ...core.cache.format.lane_entry import LaneEntry
from ...core.cache.store import BarStore
from ...core.model.identity.series import SeriesKey
from ...core.model.market.figures import LONG_SHORT, MEASURES, OPEN_INTEREST
from ...core.model.time.instant import DAY_MS, iso
from ...core.provider_selector import ProviderSelector
from ...core.vendors.figures import suppliers
from ...errors import DataError

# A series is reported when this fraction of a vendor's history is left until the loss, but not
# earlier than this time before it.
_SHARE, _MOST_MS = 1 / 3, 14 * DAY_MS
_BARS = "bars"
# Names of these figures in `onetape fundamentals --type`.
_OPTIONS = {OPEN_INTEREST.title: "open-interest", LONG_SHORT.title: "long-short"}


@dataclass(frozen=True)
class PerishableSeries:
    """A stored series with missing data that vendors will soon stop serving.

    Attributes:
        key: Stored series.
        vendor: Vendor that is queried first for the series.
        depth_days: Days of history that the series' vendors serve.
        last_ms: Timestamp of the latest stored bar or figure, UTC milliseconds.
        lost_ms: Time from which the next bar or figure after that is unavailable, UTC milliseconds;
            may be in the past.
        what: Type of data: ``bars``, ``open interest`` or ``long/short ratios``.
    """

    key: SeriesKey
    vendor: str
    depth_days: int
    last_ms: int
    lost_ms: int
    what: str = _BARS

    def __str__(self) -> str:
        return str(self.key) if self.what == _BARS else f"{self.key} {self.what}"

    @property
    def command(self) -> str:
        """The command that fetches the missing data."""
        if self.what == _BARS:
            return "onetape sync"
        symbol, label = self.key.symbol, self.key.timeframe.label
        return f"onetape fundamentals {symbol} {label} --type {_OPTIONS[self.what]}"

    def to_json(self) -> dict[str, Any]:
        """Return the series as a JSON-serializable dictionary."""
        return {
            "symbol": self.key.symbol,
            "timeframe": self.key.timeframe.label,
            "what": self.what,
            "vendor": self.vendor,
            "depth_days": self.depth_days,
            "last": iso(self.last_ms),
            "lost": iso(self.lost_ms),
        }


def perishable(
    listing: Iterable[tuple[SeriesKey, LaneEntry | None]],
    answering: Callable[[Iterable[SeriesKey]], Iterable[SeriesKey]],
    selector: ProviderSelector,
    now_ms: int,
    store: BarStore,
) -> list[PerishableSeries]:
    """Return the series that will soon lose data, the most urgent first; no vendor is queried.

    Series from which the rules never answer a query, such as those fetched from a named vendor
    (``provider=``), are left out. So are series that cannot be read.

    Args:
        listing: Stored series with their entries in the index.
        answering: Function that returns the given series from which the rules would answer a query.
        selector: Selector that knows the vendors and the length of their history.
        now_ms: Current time, UTC milliseconds.
        store: Store of the bars, which is read for series without an entry; its folder contains
            the figures for perpetual futures.
    """
    entries = dict(listing)
    bars = (
        history
        for key in answering(entries)
        for history in _bars_of(key, _last_of(store, key, entries[key]), selector)
    )
    listed = chain(bars, _figures_of(store.parts.layout.root, selector))
    due = [history for history in listed if history.lost_ms - now_ms < _warned_ms(history)]
    return sorted(due, key=lambda history: history.lost_ms)


def _warned_ms(history: PerishableSeries) -> float:
    return min(_MOST_MS, _SHARE * history.depth_days * DAY_MS)


def _last_of(store: BarStore, key: SeriesKey, entry: LaneEntry | None) -> int | None:
    """Return the timestamp of a series' latest bar; None if it has no bars or cannot be read."""
    try:
        return (entry or store.tail(key)).last
    except DataError:
        return None


def _bars_of(
    key: SeriesKey, last: int | None, selector: ProviderSelector
) -> Iterator[PerishableSeries]:
    supply = None if last is None else selector.stored_supply(key)
    if last is not None and supply is not None and supply.depth_days is not None:
        lost_ms = last + key.timeframe.longest_ms + supply.depth_days * DAY_MS
        yield PerishableSeries(key, supply.vendor, supply.depth_days, last, lost_ms)


def _figures_of(cache_dir: Path, selector: ProviderSelector) -> Iterator[PerishableSeries]:
    for measure in MEASURES.values():
        table = TableStore(cache_dir, measure.name)
        for key in table.keys():
            try:
                vendors = list(suppliers(selector, key.symbol, measure))
            except DataError:
                continue
            depths = [vendor.served.depth_days for vendor in vendors]  # 0: to the listing
            until = table.answered_until(key) if depths and all(depths) else None
            if until is not None:
                lost_ms = until + max(depths) * DAY_MS
                name = vendors[0].name
                yield PerishableSeries(key, name, max(depths), until, lost_ms, measure.title)
