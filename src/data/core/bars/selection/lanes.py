"""Finds the lane (stored series of one kind of bar) that answers a query by the current rules.

An answer has the kind of the *first* vendor: the first in the order of the rules that can be built,
serves the series and has history in the range. Its bars belong to the default lane, or to a lane of
their kind if the default lane contains bars of a different kind; bars from files belong to a lane
for their folder. Answers, plans, commands, jobs and feeds all find the bars for a query with this
module.

Vendor names are enough in most cases: if the first vendor has supplied bars in the range to the
default lane, or to a lane of its own kind, that lane answers, and no vendor is loaded. Otherwise
the vendors' declarations are consulted, and cached until rules, keys or downloaders change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ....errors import QueryError
from ...cache.store import BarStore, SeriesView
from ...model.identity.instrument import Instrument
from ...model.identity.kind import Kind
from ...model.identity.series import SeriesKey
from ...model.request.query import BarsQuery
from ...model.stored.coverage import WITH_BARS
from ...model.time.span import Span
from ...model.time.timeframe import Timeframe
from ...registry import canonical_vendor, lies_apart
from .offers import AnsweringLane, Offer, as_declared, first_of, lane_name
from .source_check import SourceCheck

if TYPE_CHECKING:
    from .candidates import Selector

# Earlier than any bar.
_BEFORE_ANY_BAR = -(10**15)
# Intraday bars with other sessions may be converted, such as extended hours to regular ones.
_NEVER_CLOSED = "24h"
# Maximum number of series whose declarations are cached.
_MOST_CACHED = 16_384


class LaneFinder:
    """Finds the lane that answers a query. Thread-safe; queries no vendor and reads no bars.

    Args:
        selector: The rules.
        store: Stored bars.

    Attributes:
        sources: Detects changes to files that bars were read from.
    """

    def __init__(self, selector: Selector, store: BarStore) -> None:
        self._selector = selector
        self._store = store
        self.sources = SourceCheck(selector)
        self._offers: dict[tuple[object, str, str, str], Sequence[Offer]] = {}

    def find(self, query: BarsQuery) -> AnsweringLane:
        """Return the lane that answers ``query``: the pinned vendor's, or the one from the rules.

        If no vendor can be queried, the result is the default lane.

        Raises:
            CacheError: The store cannot be read.
        """
        key = query.key
        view = self._store.view(key)
        if query.provider is not None:
            return AnsweringLane(key, view, view.kind, None)
        stored = None if view.kind is None else as_declared(view.kind, query.instrument)
        default = AnsweringLane(key, view, stored, stored)
        order = self.order(query.instrument, query.timeframe)
        names = getattr(order, "names", order)
        if view.kind is None:
            # If a vendor's bars need no separate lane, they are the first ones in the default lane.
            if not any(map(lies_apart, names)):
                return default
        elif not names or _has_supplied(view, names[0], query):
            return default
        if stored is not None and (supplied := self._supplied_lane(key, stored, names[0], query)):
            return supplied

        def lane(offer: Offer) -> SeriesKey:
            """Return the series in which a vendor's bars are stored."""
            return SeriesKey(key.symbol, key.timeframe, offer.lane(query, stored))

        def has_bars(offer: Offer) -> bool:
            """Return whether bars from a vendor are stored in the range."""
            return _has_supplied(self._store.view(lane(offer)), offer.name, query)

        first = first_of(query, self._declared_offers(query, order), has_bars)
        if first is None:
            return default
        if (other := lane(first)) == key:
            # A user's own bars state no kind, so the first vendor's kind is used.
            return default._replace(kind=stored and stored.filled_from(first.kind))
        view = self._store.view(other)
        return AnsweringLane(other, view, first.kind, stored, first.name, stored is not None)

    def _supplied_lane(
        self, key: SeriesKey, stored: Kind, name: str, query: BarsQuery
    ) -> AnsweringLane | None:
        """Return the non-default lane to which a vendor has supplied bars in the range.

        No vendor is loaded, because bars that are never converted have the kind that their vendor
        declares. The result is None if no such lane exists or if its bars may have been converted.
        """
        for other in self._store.lanes_beside(key.symbol, key.timeframe):
            view = self._store.view(other)
            if view.kind is None or not _has_supplied(view, name, query):
                continue
            kind = as_declared(view.kind, query.instrument)
            is_own = not key.timeframe.is_intraday or kind.session == _NEVER_CLOSED
            if is_own and other.lane == lane_name(query, kind, stored):
                return AnsweringLane(other, view, kind, stored, name, is_beside=True)
        return None

    def answering(
        self, keys: Iterable[SeriesKey], query_of: Callable[[str, Timeframe], BarsQuery]
    ) -> list[SeriesKey]:
        """Return the series among ``keys`` that answer queries, one per symbol and timeframe.

        If the lane determined by the rules is not among ``keys``, or ``keys`` has only the default
        lane for a symbol and timeframe, the default lane is returned.

        Args:
            keys: Stored series.
            query_of: Function that returns the default query for a series.

        Raises:
            CacheError: The store cannot be read.
        """
        groups: dict[tuple[str, Timeframe], list[SeriesKey]] = {}
        for key in keys:
            groups.setdefault((key.symbol, key.timeframe), []).append(key)
        answering = (self._answering_key(group, query_of) for group in groups.values())
        return [key for key in answering if key is not None]

    def _answering_key(
        self, lanes: Sequence[SeriesKey], query_of: Callable[[str, Timeframe], BarsQuery]
    ) -> SeriesKey | None:
        default = next((key for key in lanes if not key.lane), None)
        if len(lanes) == 1 and default is not None:
            return default
        try:
            answering = self.find(query_of(lanes[0].symbol, lanes[0].timeframe)).key
        except QueryError:  # no rule recognizes its symbol, or it has no such hours
            return default
        return answering if answering in lanes else default

    def order(self, instrument: Instrument, timeframe: Timeframe) -> Any:
        """Return the vendors in the rules, in order, as far as this is known without loading any.

        Returns:
            An object that compares equal as long as the order is the same: a ``VendorOrder``, or
            the names if user code takes the place of the rules.
        """
        symbol, label = instrument.symbol, timeframe.label
        at_hand: Callable[[str, str], Any] | None = getattr(self._selector, "order_at_hand", None)
        order = at_hand(symbol, label) if at_hand is not None else None
        if isinstance(getattr(order, "names", None), tuple):
            return order
        return tuple(self._selector.get_provider_with_failover(symbol, label))

    def first_vendor(self, instrument: Instrument, timeframe: Timeframe) -> str:
        """Return the name of the first vendor in :meth:`order`; empty if no vendor is known."""
        order = self.order(instrument, timeframe)
        return next(iter(getattr(order, "names", order)), "")

    def _declared_offers(self, query: BarsQuery, order: object) -> Sequence[Offer]:
        """Return the declarations of the vendors that the rules name for a series, in order."""
        # A vendor's bars of extended hours are of another kind.
        key = order, query.instrument.symbol, query.instrument.calendar, query.timeframe.label
        offers = self._offers.get(key)
        if offers is None:
            # Imported here: if names are enough, no vendor is loaded.
            from .candidates import candidates_of
            from .route import offers_of

            offers = offers_of(query, candidates_of(self._selector, query))
            # A custom selector may change its order without notice.
            if not isinstance(order, tuple):
                if len(self._offers) >= _MOST_CACHED:
                    self._offers.clear()
                # Loading vendors may have revealed more of the order.
                self._offers[self.order(query.instrument, query.timeframe), *key[1:]] = offers
                self._offers[key] = offers
        return offers


def _has_supplied(view: SeriesView, name: str, query: BarsQuery) -> bool:
    """Return whether a vendor has supplied stored bars in the range."""
    span = query.span if query.bars is None else Span(_BEFORE_ANY_BAR, query.span.end)
    names = {name, canonical_vendor(name)}
    return any(
        source.state in WITH_BARS and not names.isdisjoint(source.vendor.split(","))
        for source in view.coverage.touching(span).sources
    )
