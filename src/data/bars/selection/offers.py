"""The declarations of the vendors of a series, and the choice of the first one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import NamedTuple

from ...model.instant import DAY_MS
from ...model.instrument import Instrument
from ...model.kind import Kind
from ...model.query import BarsQuery
from ...model.series import lane_beside


class Offer(NamedTuple):
    """What a vendor declares about a series that it serves.

    Attributes:
        name: Vendor name, as the rules spell it.
        kind: Kind of bars in the answer if this vendor is the first one that serves the range.
        depth_days: How far back the vendor's history goes; None means unlimited.
        lane_name: Lane that always contains this vendor's bars; None means the lane for their kind.
    """

    name: str
    kind: Kind
    depth_days: int | None = None
    lane_name: tuple[str, ...] | None = None

    def reaches(self, query: BarsQuery) -> bool:
        """Return whether the vendor's history reaches into the range."""
        days = self.depth_days
        return days is None or query.now_ms - days * DAY_MS < query.span.end

    def lane(self, stored: Kind | None) -> tuple[str, ...]:
        """Return the lane (the folder for one kind of bars) in which the vendor's bars are stored.

        ``stored`` is the kind of bars in the default lane; None means that the lane has no bars.
        """
        return lane_beside(self.kind, stored) if self.lane_name is None else self.lane_name


def as_declared(stored: Kind, instrument: Instrument) -> Kind:
    """Return the kind of stored bars as their vendor declares it.

    A crypto vendor declares the unit that is requested. Only the bars themselves show whether it
    prices a stablecoin pair in dollars, so their unit is not compared with the declaration.
    """
    is_as_requested = instrument.asset_class != "crypto" or stored.unit == instrument.quote
    return stored if is_as_requested else replace(stored, unit="")


def first_of(
    query: BarsQuery, offers: Iterable[Offer], has_bars: Callable[[Offer], bool] = lambda _: False
) -> Offer | None:
    """Return the declaration of the first vendor that serves the range.

    The result is None if no vendor serves the series.

    Args:
        query: The query.
        offers: Declarations, in rule order.
        has_bars: Function that returns whether bars from a vendor are stored in the range; if so,
            the vendor serves the range, however old the bars are. If no vendor serves the range,
            the first declaration is returned.
    """
    nearest = None
    for offer in offers:
        if offer.reaches(query) or has_bars(offer):
            return offer
        nearest = nearest or offer
    return nearest


def has_extra_hours(kind: Kind, query: BarsQuery) -> bool:
    """Return whether bars of ``kind`` include extended hours although the query is for regular hours."""
    is_intraday = query.timeframe.is_intraday
    return kind.session == "extended" and is_intraday and not query.instrument.is_extended
