"""Bars from a stream: the kind of their series, and their storage if they fit there."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ..cache.store import BarStore, Commit, CommitPiece
from ..calendars.calendar import first_unclosed
from ..calendars.finality import next_due
from ..calendars.grid import BarGrid
from ..clock import Clock
from ..errors import CacheError, DataError, NoProviderError, UnknownProviderError
from ..model.bars import Bar, BarTable
from ..model.coverage import GRAVE, Coverage, Covered
from ..model.instrument import Instrument
from ..model.kind import Basis, Kind
from ..model.query import BarsQuery
from ..model.span import Span
from ..model.timeframe import Timeframe
from ..net.locks import SeriesLocks
from ..symbols.assets import Listed, is_proved
from .selection.candidates import Selector, candidates_of, route
from .selection.lanes import LaneFinder

log = logging.getLogger("onetape.routing")


def kind_of_series(selector: Selector, store: BarStore, query: BarsQuery) -> Kind:
    """Return the kind of the bars that answer ``query``; no vendor is asked.

    Raises:
        NoProviderError, UnknownProviderError: no vendor serves them.
    """
    lane = LaneFinder(selector, store).find(query)
    return lane.kind or route(query, candidates_of(selector, query), lane.default).lanes[0].kind


def namesakes_of(selector: Selector, query: BarsQuery) -> Mapping[str, str]:
    """Return vendor to why it may list another thing under the symbol; no vendor is asked.

    Raises:
        UnknownSymbolError: there are no others.
    """
    try:
        return route(query, candidates_of(selector, query), None).namesakes
    except (NoProviderError, UnknownProviderError):
        return {}


def unlike(selector: Selector, store: BarStore, query: BarsQuery, vendor: str, kind: Kind) -> str:
    """Return why streamed bars are not those that answer ``query``; empty where they may be.

    Args:
        selector, store, query: as of :func:`kind_of_series`.
        vendor: canonical name of what streams, and serves no such bars.
        kind: of its bars.

    Raises:
        NoProviderError, UnknownProviderError: no vendor serves them.
    """
    series = kind_of_series(selector, store, query)
    if differing := differences(kind, series):
        kinds = ", ".join(
            f"of {mine}, the series has bars of {theirs}" for mine, theirs in differing
        )
        return f"its bars are {kinds}"
    owner = route(query, candidates_of(selector, query), None, kind=series).owner
    listed = Listed(vendor, kind)
    if not owner or is_proved(query.instrument, listed, Listed(owner, series)):
        return ""
    symbol = query.instrument.symbol
    return f"nothing proves that its {query.instrument.spelling(vendor)} is the {symbol} of {owner}"


def differences(one: Kind, other: Kind) -> list[tuple[str, str]]:
    """Return in what two kinds differ, hard or soft, where both tell it."""
    pairs = zip(one.to_json().values(), other.to_json().values(), strict=True)
    return [(mine, theirs) for mine, theirs in pairs if mine and theirs and mine != theirs]


def declared_kind(
    selector: Selector, vendor: str, instrument: Instrument, step: Timeframe
) -> Kind | None:
    """Return the kind of the ``step`` bars that a vendor of ours serves; None: it serves none."""
    from ..vendors.factory import downloader_for

    caps = getattr(downloader_for(selector, vendor), "capabilities", None)
    if caps is None or step.label not in caps.labels(instrument.asset_class):
        return None
    kind: Kind = caps.kind(instrument, step)
    return kind


@dataclass(frozen=True)
class Origin:
    """Where streamed bars come from.

    Attributes:
        vendor: canonical name.
        kind: of its bars.
        settle_ms: how long after its close a bar may still change.
        basis: of its prices.
    """

    vendor: str
    kind: Kind
    settle_ms: int
    basis: Basis = Basis("raw")


class StreamKeeper:
    """Appends closed bars of a stream to their series, in the lane that answers. Thread-safe.

    They are stored as provisional: once settled they are asked for again, by the usual way. What
    is stored stays, other than a bar that its own vendor corrects before it has settled: only stretches
    that no vendor has answered for are written. And only beside bars of the same vendor and kind, so that
    nothing is spliced without having been compared; if that is not so, the next request fetches them
    by the usual way. A bar that has not closed by this machine's clock is not stored. Trouble with
    the disk costs no bar of the feed: it is logged, and nothing is raised.

    Args:
        selector: the rules, which decide the lane.
        store: where series are kept.
        clock: tells when bars were got.
    """

    def __init__(self, selector: Selector, store: BarStore, clock: Clock) -> None:
        self._store = store
        self._lanes = LaneFinder(selector, store)
        self._clock = clock
        # All feeds of a series bring the same bar at once: one commit is enough.
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
        """Store closed bars, ascending; return how many were stored.

        Args:
            instrument, grid, origin: Series of the bars, and their vendor.
            bars: At least one.
            is_revision: Whether they correct bars that the same stream sent before.
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
            log.debug("%s: bars of %s are not kept among those of files", key, origin.vendor)
            return 0
        kind = view.kind or lane.kind
        if kind is not None and differences(kind, origin.kind):
            log.debug("%s: bars of %s are of another kind than those stored", key, origin.vendor)
            return 0
        if not _fits(view.coverage, origin.vendor, bars[0].stamp_ms):
            log.debug("%s: bars of %s would adjoin another vendor's", key, origin.vendor)
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
        due = next_due(
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
    """Tell whether the bars stored last before ``stamp_ms`` are this vendor's own, as it sent them."""
    before = (part for part in reversed(coverage) if part.span.start < stamp_ms)
    last = next((part for part in before if part.state != "empty"), None)
    return last is None or (last.vendor == vendor and not last.is_rescaled)


def _is_known(coverage: Coverage, stamp_ms: int, corrects: str) -> bool:
    """Return whether a bar must stay.

    One that will be fetched again anyway, and is not judged wrong, yields to ``corrects``, its vendor.
    """
    here = coverage.touching(Span(stamp_ms, stamp_ms + 1))
    return any(part.state != "empty" and not _yields(part, corrects) for part in here)


def _yields(part: Covered, vendor: str) -> bool:
    is_open = part.state in ("provisional", "suspect") and not part.reason.startswith(GRAVE)
    return is_open and part.vendor == vendor and not part.is_rescaled


def _first_provisional(coverage: Coverage, stamp_ms: int) -> int:
    starts = (part.span.start for part in coverage if part.state == "provisional")
    return min(stamp_ms, next(starts, stamp_ms))


def _runs(bars: Sequence[Bar], grid: BarGrid) -> list[list[Bar]]:
    """Cut where an expected bar is missing in between: nothing is said about that one."""
    runs = [[bars[0]]]
    for one, other in pairwise(bars):
        if grid.next_open(one.stamp_ms + 1) < other.stamp_ms:
            runs.append([])
        runs[-1].append(other)
    return runs
