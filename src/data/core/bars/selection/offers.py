"""The names of the lanes of a series, and the choice of the first vendor by what vendors declare."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import NamedTuple

from ...cache.legacy.reader import SAMPLE_LANE
from ...cache.store import SeriesView
from ...model.identity.instrument import Instrument
from ...model.identity.kind import Kind
from ...model.identity.series import SeriesKey, lane_of
from ...model.request.query import BarsQuery
from ...model.time.instant import DAY_MS


class AnsweringLane(NamedTuple):
    """The lane that answers a query.

    Attributes:
        key: The series.
        view: View of the stored series.
        kind: Kind of the answer; None if it is unknown until a vendor has answered.
        default: Kind of the bars in the default lane, as vendors declare it; None if the lane is
            empty.
        vendor: Vendor that determined the kind, if declarations were consulted.
        is_beside: Whether the lane is not the default one, which then contains bars of a different
            kind.
    """

    key: SeriesKey
    view: SeriesView
    kind: Kind | None
    default: Kind | None
    vendor: str = ""
    is_beside: bool = False


class Offer(NamedTuple):
    """What a vendor declares about a series that it serves.

    Attributes:
        name: Vendor name, as the rules spell it.
        kind: Kind of bars in the answer if this vendor is the first one that serves the range.
        depth_days: How far back the vendor's history goes; None means unlimited.
        folder: The part of a lane's name that identifies the folder that the vendor reads; empty if
            none.
        is_made_up: Whether the bars are synthetic.
    """

    name: str
    kind: Kind
    depth_days: int | None = None
    folder: str = ""
    is_made_up: bool = False

    def reaches(self, query: BarsQuery) -> bool:
        """Return whether the vendor's history reaches into the range."""
        days = self.depth_days
        return days is None or query.now_ms - days * DAY_MS < query.span.end

    def lane(self, query: BarsQuery, default: Kind | None) -> tuple[str, ...]:
        """Return the name of the lane in which the vendor's bars are stored; see :func:`lane_name`."""
        if self.is_made_up:
            return SAMPLE_LANE
        return lane_name(query, self.kind, default, self.folder)


def lane_name(
    query: BarsQuery, kind: Kind, default: Kind | None, folder: str = ""
) -> tuple[str, ...]:
    """Return the name of the lane for a vendor's bars: the parts that its folder's name adds.

    The default lane has no name, or ``extended`` for extended hours. A pinned vendor and a folder
    of files have a lane with their name; other bars have one named by the differences from the bars
    in the default lane.

    Args:
        query: The query.
        kind: Kind of the bars.
        default: Kind of the bars in the default lane; None if it has no bars.
        folder: The part of the name that identifies a folder of files; empty for other bars.
    """
    if query.provider is not None:
        return query.pinned
    return (folder, *query.home) if folder else (*query.home, *lane_of(kind, default))


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
