"""Stores bars from a stream in a series if the bars fit, and determines the kind of the series."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ...errors import CacheError, DataError, NoProviderError, UnknownProviderError
from ..cache.store import BarStore, Commit, CommitPiece
from ..calendars.calendar import first_unclosed
from ..calendars.finality import series_due
from ..calendars.grid import BarGrid
from ..clock import Clock
from ..model.identity.instrument import Instrument
from ..model.identity.kind import Basis, Kind
from ..model.market.bars import Bar, BarTable
from ..model.request.query import BarsQuery
from ..model.stored.coverage import WITH_BARS, Coverage, Covered
from ..model.stored.reasons import Cause
from ..model.time.span import Span
from ..model.time.timeframe import Timeframe
from ..net.limits.locks import SeriesLocks
from ..symbols.assets import Lister, is_proved
from .selection.candidates import Selector, candidates_of
from .selection.lanes import LaneFinder
from .selection.route import find_route

log = logging.getLogger("onetape.routing")


def kind_of_series(selector: Selector, store: BarStore, query: BarsQuery) -> Kind:
    """Return the kind of bars that would answer ``query``; no vendor is queried.

    Raises:
        NoProviderError, UnknownProviderError: No vendor serves such bars.
    """
    lane = LaneFinder(selector, store).find(query)
    return lane.kind or find_route(query, candidates_of(selector, query), lane).lanes[0].kind


def namesakes_of(selector: Selector, query: BarsQuery) -> Mapping[str, str]:
    """Return the vendors that may list a different instrument under the symbol, with reasons.

    No vendor is queried. The result is empty if no vendor serves such bars.

    Raises:
        UnknownSymbolError: Only vendors that may list a different instrument serve such bars.
    """
    try:
        return find_route(query, candidates_of(selector, query)).vendors.namesakes
    except (NoProviderError, UnknownProviderError):
        return {}


def objection(selector: Selector, store: BarStore, query: BarsQuery, name: str, kind: Kind) -> str:
    """Return the reason why streamed bars cannot answer ``query``; empty if they can.

    Args:
        selector, store, query: See :func:`kind_of_series`.
        name: Canonical name of the streaming vendor, which serves such bars only as a stream.
        kind: Kind of the vendor's bars.

    Raises:
        NoProviderError, UnknownProviderError: No vendor serves such bars.
    """
    series = kind_of_series(selector, store, query)
    if differing := differences(kind, series):
        kinds = ", ".join(f"of {sent}, the series has bars of {other}" for sent, other in differing)
        return f"its bars are {kinds}"
    owner = find_route(query, candidates_of(selector, query)).vendors.owner
    listing = Lister(name, kind)
    if not owner or is_proved(query.instrument, listing, Lister(owner, series)):
        return ""
    symbol = query.instrument.symbol
    return f"nothing proves that its {query.instrument.spelling(name)} is the {symbol} of {owner}"


def differences(kind: Kind, other: Kind) -> list[tuple[str, str]]:
    """Return the values, as pairs, of properties that both kinds declare differently."""
    pairs = zip(kind.to_json().values(), other.to_json().values(), strict=True)
    return [(a, b) for a, b in pairs if a and b and a != b]


def declared_kind(
    selector: Selector, vendor: str, instrument: Instrument, timeframe: Timeframe
) -> Kind | None:
    """Return the kind of a vendor's ``timeframe`` bars; None if the vendor does not serve them."""
    from ..vendors.factory import downloader_for

    caps = getattr(downloader_for(selector, vendor), "capabilities", None)
    if caps is None or timeframe.label not in caps.labels(instrument.asset_class):
        return None
    kind: Kind = caps.kind(instrument, timeframe)
    return kind


@dataclass(frozen=True)
class Origin:
    """The origin of streamed bars.

    Attributes:
        vendor: Canonical name of the vendor.
        kind: Kind of the vendor's bars.
        settle_ms: How long a bar may still change after it closes.
        basis: Basis of the vendor's prices.
    """

    vendor: str
    kind: Kind
    settle_ms: int
    basis: Basis = Basis("raw")


class StreamKeeper:
    """Appends a stream's closed bars to their series, in the lane that answers. Thread-safe.

    The bars are stored as provisional, so they are fetched again in the usual way once settled.
    Only spans that no vendor has answered are written; stored bars stay, except for a bar that its
    own vendor corrects before it has settled. Bars are only added next to bars of the same vendor
    and kind, because bars of different vendors must be compared before they are joined; otherwise
    the next request fetches them in the usual way. A bar that has not closed according to this
    machine's clock is not stored. Disk errors do not affect the feed: they are logged, not raised.

    Args:
        selector: Applies the rules, which determine the lane.
        store: Store for the series.
        clock: Source of the time at which bars are received.
    """

    def __init__(self, selector: Selector, store: BarStore, clock: Clock) -> None:
        self._store = store
        self._lanes = LaneFinder(selector, store)
        self._clock = clock
        # All feeds of a series deliver the same bar at the same time; one commit is enough.
        self._locks = SeriesLocks()

    def keep(
        self,
        instrument: Instrument,
        grid: BarGrid,
        origin: Origin,
        bars: Sequence[Bar],
        *,
        is_revision: bool = False,
    ) -> int:
        """Store closed bars, given in ascending order; return how many were stored.

        Args:
            instrument, grid, origin: Series of the bars, and their vendor.
            bars: Bars to store, at least one.
            is_revision: Whether the bars correct earlier bars from the same stream.
        """
        span = Span(bars[0].stamp_ms, bars[-1].stamp_ms + 1)
        query = BarsQuery(instrument, grid.timeframe, span, self._clock.now_ms())
        try:
            key = self._lanes.find(query).key
            with self._locks.hold(key, self._clock):
                return self._keep(query, grid, origin, bars, is_revision)
        except (CacheError, DataError, ValueError) as error:
            log.warning("%s: streamed bars were not stored: %s", query, error)
            return 0

    def _keep(
        self,
        query: BarsQuery,
        grid: BarGrid,
        origin: Origin,
        bars: Sequence[Bar],
        is_revision: bool,
    ) -> int:
        lane = self._lanes.find(query)
        key, view = lane.key, lane.view
        if key.of_folder:
            log.debug("%s: bars from %s are not stored among bars from files", key, origin.vendor)
            return 0
        kind = view.kind or lane.kind
        if kind is not None and differences(kind, origin.kind):
            log.debug("%s: bars from %s differ in kind from the stored bars", key, origin.vendor)
            return 0
        if not _fits(view.coverage, origin.vendor, bars[0].stamp_ms):
            log.debug("%s: bars from %s would be next to another vendor's", key, origin.vendor)
            return 0
        corrects = origin.vendor if is_revision else ""
        unclosed = first_unclosed(grid.calendar, grid.timeframe, query.now_ms, grid.anchor)
        free = [
            bar
            for bar in bars
            if bar.stamp_ms < unclosed and not _is_known(view.coverage, bar.stamp_ms, corrects)
        ]
        if not free:
            return 0
        pieces = [self._piece(run, grid, origin) for run in _runs(free, grid)]
        due = series_due(
            grid,
            now_ms=self._clock.now_ms(),
            settle_ms=origin.settle_ms,
            last_stamp=free[-1].stamp_ms,
            provisional_from=_first_provisional(view.coverage, free[0].stamp_ms),
        )
        new = origin.kind if view.kind is None else None
        self._store.commit(key, Commit(pieces=tuple(pieces), next_due=due, kind=new))
        return len(free)

    def _piece(self, run: Sequence[Bar], grid: BarGrid, origin: Origin) -> CommitPiece:
        span = Span(run[0].stamp_ms, grid.next_open(run[-1].stamp_ms + 1))
        return CommitPiece(
            BarTable.from_bars(run),
            span,
            origin.vendor,
            self._clock.now_ms(),
            origin.kind,
            origin.basis,
            "provisional",
        )


def _fits(coverage: Coverage, vendor: str, stamp_ms: int) -> bool:
    """Return whether the last bars stored before ``stamp_ms`` are from ``vendor`` and not rescaled."""
    before = (entry for entry in reversed(coverage) if entry.span.start < stamp_ms)
    last = next((entry for entry in before if entry.state in WITH_BARS), None)
    return last is None or (last.vendor == vendor and not last.is_rescaled)


def _is_known(coverage: Coverage, stamp_ms: int, corrects: str) -> bool:
    """Return whether the bar stored at ``stamp_ms``, if any, must not be replaced.

    A bar may be replaced only by its own vendor, named by ``corrects``, and only if it is due to be
    fetched again and has not been judged wrong.
    """
    entries = coverage.touching(Span(stamp_ms, stamp_ms + 1))
    return any(entry.state in WITH_BARS and not _yields(entry, corrects) for entry in entries)


def _yields(entry: Covered, vendor: str) -> bool:
    is_open = entry.state in ("provisional", "suspect") and Cause.GRAVE not in entry.cause
    return is_open and entry.vendor == vendor and not entry.is_rescaled


def _first_provisional(coverage: Coverage, stamp_ms: int) -> int:
    starts = (entry.span.start for entry in coverage if entry.state == "provisional")
    return min(stamp_ms, next(starts, stamp_ms))


def _runs(bars: Sequence[Bar], grid: BarGrid) -> list[list[Bar]]:
    """Split the bars into runs without gaps, so that nothing is recorded about missing bars."""
    runs = [[bars[0]]]
    for bar, other in pairwise(bars):
        if grid.next_open(bar.stamp_ms + 1) < other.stamp_ms:
            runs.append([])
        runs[-1].append(other)
    return runs
