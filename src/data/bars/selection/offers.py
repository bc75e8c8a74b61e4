"""The declarations of a series' vendors, and which vendor comes first."""

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
    """What one of the vendors that serve a series declares of it.

    Attributes:
        name: of the vendor, as the rules spell it.
        kind: of the answers where this vendor is the first of those that serve the range.
        depth_days: how far back it reaches; None: as far as there are bars.
        lane_name: of the lane that its bars stand in whatever else there is; None: that of their kind.
    """

    name: str
    kind: Kind
    depth_days: int | None = None
    lane_name: tuple[str, ...] | None = None

    def reaches(self, query: BarsQuery) -> bool:
        """Tell whether it serves a part of the range."""
        days = self.depth_days
        return days is None or query.now_ms - days * DAY_MS < query.span.end

    def lane(self, stored: Kind | None) -> tuple[str, ...]:
        """Return its lane where the default lane holds bars of the kind ``stored``."""
        return lane_beside(self.kind, stored) if self.lane_name is None else self.lane_name


def as_declared(stored: Kind, instrument: Instrument) -> Kind:
    """Return the kind of stored bars as a vendor of them declares it.

    A vendor declares of coins the unit that it is asked for. One that prices a pair in a stablecoin
    in dollars tells so with its bars alone: their unit is not compared with what is declared.
    """
    is_as_asked = instrument.asset_class != "crypto" or stored.unit == instrument.quote
    return stored if is_as_asked else replace(stored, unit="")


def first_of(
    query: BarsQuery, offers: Iterable[Offer], has_bars: Callable[[Offer], bool] = lambda _: False
) -> Offer | None:
    """Return what the first vendor declares that serves the range; None where none serves the series.

    Args:
        query: the question.
        offers: in rule order.
        has_bars: tells whether bars of a vendor are stored of the range: it serves that, however
            old they are by now. Where no vendor serves it the first of all is meant.
    """
    nearest = None
    for offer in offers:
        if offer.reaches(query) or has_bars(offer):
            return offer
        nearest = nearest or offer
    return nearest


def is_too_long(kind: Kind, query: BarsQuery) -> bool:
    """Return whether bars are of extended hours and regular ones are requested."""
    is_regular = not query.instrument.is_extended and query.timeframe.is_intraday
    return is_regular and kind.session == "extended"
