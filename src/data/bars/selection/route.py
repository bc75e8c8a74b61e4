"""The lanes to try for the bars of a query, in order, each with its vendors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from ...cache.legacy.reader import SAMPLE_LANE
from ...errors import Attempt, NoProviderError
from ...model.kind import Kind
from ...model.query import BarsQuery
from ...model.series import SeriesKey, lane_beside, lane_of
from ...model.timeframe import Timeframe
from .candidates import (
    Candidate,
    SortedCandidates,
    has_too_much,
    is_exchange,
    regular_kind,
    sort_candidates,
    unknown_symbol,
)
from .offers import Offer, first_of


@dataclass(frozen=True)
class LaneRoute:
    """The candidates whose bars may be stored in one lane.

    Attributes:
        lane_name: Name of the lane; empty for the default lane.
        candidates: Candidates in the order in which to query them.
        kind: Kind of the lane's bars, with the parts that the first candidate declares.
        reporters: Vendors, from all lanes, that can be queried for splits and dividends, in order.
        is_substitute: Whether the bars are not of the requested kind, or not in an adjustment that
            can be converted to the requested one.
    """

    lane_name: tuple[str, ...]
    candidates: tuple[Candidate, ...]
    kind: Kind
    reporters: tuple[Candidate, ...] = ()
    is_substitute: bool = False

    def named(self, attempt: Attempt) -> Attempt:
        """Return ``attempt``, with a note added if the vendor's bars are converted to the lane's kind."""
        conversions = {c.name: c.conversion for c in self.candidates if c.conversion is not None}
        if attempt.error is not None or attempt.provider not in conversions:
            return attempt
        return replace(attempt, message=f"converted: {conversions[attempt.provider]}")


@dataclass(frozen=True)
class Route:
    """The lanes to try for a query's bars, in order, and the vendors that will not be queried.

    Attributes:
        lanes: Lanes to try. The first has bars of the requested kind; the others are substitutes.
        lane_name: Lane of the requested kind. The names of lanes for specific adjustments of this
            kind begin with this name.
        kind: Requested kind.
        rejected: Maps each vendor that is not queried to the reason.
        owner: Vendor whose listing the symbol names. Other vendors' listings must be proved to be
            the same instrument.
        namesakes: Maps each vendor whose listing under the same ticker may be a different
            instrument to the reason why it is not used; these vendors are also in ``rejected``.
        is_final: Whether the search ends if the owner does not know the symbol.
    """

    lanes: tuple[LaneRoute, ...]
    lane_name: tuple[str, ...] = ()
    kind: Kind = Kind()
    rejected: Mapping[str, str] = field(default_factory=dict)
    owner: str = ""
    namesakes: Mapping[str, str] = field(default_factory=dict)
    is_final: bool = False


def offers_of(query: BarsQuery, candidates: Sequence[Candidate]) -> list[Offer]:
    """Return the offers of the vendors that serve the series of ``query``, in the order of the rules.

    Vendors of synthetic bars come last. If no vendor serves the series, the result contains the
    offers of vendors with shorter bars from which the series can be built.
    """
    offers = list(_offers(query, candidates, sort_candidates(query, candidates)))
    return offers or list(_offers_of_parts(query, candidates))


def _offers_of_parts(query: BarsQuery, candidates: Sequence[Candidate]) -> Iterator[Offer]:
    asset_class, wanted = query.instrument.asset_class, query.timeframe
    for candidate in candidates:
        labels = candidate.capabilities.labels(asset_class) if candidate.capabilities else ()
        shorter = [s for s in map(Timeframe.parse, labels) if s.longest_ms < wanted.longest_ms]
        if not shorter:
            continue
        longest = max(shorter, key=lambda timeframe: timeframe.longest_ms)
        usable = sort_candidates(replace(query, timeframe=longest), candidates).usable
        if any(other is candidate for other in usable):
            folder = (candidate.folder_lane,) if candidate.folder_lane else None
            yield Offer(candidate.name, candidate.kind(query.instrument, wanted), lane_name=folder)


def _offers(
    query: BarsQuery, candidates: Sequence[Candidate], groups: SortedCandidates
) -> Iterator[Offer]:
    for candidate in groups.usable:
        caps, kind = candidate.capabilities, _usual_kind(query, candidate, candidates)
        depth = caps.depth_days.get(query.timeframe.label) if caps else None
        folder = (candidate.folder_lane,) if candidate.folder_lane else None
        yield Offer(candidate.name, kind, depth, folder)
    for candidate in groups.made_up:
        kind = candidate.kind(query.instrument, query.timeframe)
        yield Offer(candidate.name, kind, lane_name=SAMPLE_LANE)


def find_route(
    query: BarsQuery,
    candidates: Sequence[Candidate],
    stored: Kind | None,
    *,
    kind: Kind | None = None,
    folder: str = "",
    has_actions: bool = False,
) -> Route:
    """Sort candidates into lanes.

    1. Reject the candidates that must not be queried (:func:`sort_candidates`).
    2. Determine the requested kind, and the lane in which its bars are stored.
    3. Place each candidate in the lanes that its bars belong in (:class:`_Placement`).
    4. Sort the lanes: the requested kind first (:func:`_sort_lanes`).

    Args:
        query: The query.
        candidates: Candidates, in rule order.
        stored: Kind of the bars in the default lane, if there are any; the other lanes are named by
            their differences from it.
        kind: Requested kind, if it has already been decided (``selection.lanes``).
        folder: The part of a lane's name that identifies the folder whose files are to be read, if
            that has already been decided.
        has_actions: Whether the splits and dividends since the start of the range are stored.

    The requested kind is that of the first candidate that serves the series and a part of the
    range, regardless of what is stored. If that candidate sends extended hours and another one
    regular hours, it is the kind with regular hours. The bars of a pinned vendor are stored in a
    lane with the vendor's name. Two groups of vendors are placed in two lanes, the common one and
    their own: vendors whose prices need splits and dividends from another vendor, in case these are
    unavailable, and vendors whose bars must be converted, for ranges that the conversion does not
    cover. Bars from a folder of files are stored in a lane with the folder's name; if they are the
    requested bars, other vendors fill their gaps there.

    Raises:
        NoProviderError: No vendor is left.
        UnknownSymbolError: Only vendors that may list a different instrument are left.
    """
    reporters = tuple(c for c in candidates if c.tells_actions)
    groups = sort_candidates(query, candidates)
    if kind is None and (first := first_of(query, _offers(query, candidates, groups))):
        kind, folder = first.kind, SeriesKey("", query.timeframe, first.lane_name or ()).of_folder
    wanted = kind or Kind()
    if query.provider is not None:
        home = query.pinned
    else:
        home = (*query.home, *((folder,) if folder else lane_beside(wanted, stored)))
    if stored is not None and home == query.home:
        # If a user's own bars do not declare a kind, the first vendor's bars may be stored next to
        # them.
        wanted = stored = stored.filled_from(wanted)
    lanes = dict[tuple[str, ...], list[Candidate]]()
    has_actions |= bool(reporters)
    placement = _Placement(query, stored, wanted, home, groups.usable, has_actions)
    for lane_name, candidate in placement.placed_candidates():
        lanes.setdefault(lane_name, []).append(candidate)
    if groups.made_up:
        lanes.setdefault(SAMPLE_LANE, []).extend(groups.made_up)
    if not lanes and groups.namesakes:
        raise unknown_symbol(query, (), groups.namesakes)
    if not lanes:
        raise _no_provider(query, groups.rejected)
    return Route(
        tuple(
            LaneRoute(
                name,
                tuple(c),
                c[0].kind(query.instrument, query.timeframe),
                reporters,
                is_substitute=index > 0 and name != (*home, query.adjustment),
            )
            for index, (name, c) in enumerate(_sort_lanes(lanes, query, home))
        ),
        home,
        wanted,
        groups.rejected,
        groups.owner.name if groups.owner else "",
        groups.namesakes,
        groups.owner is not None and is_exchange(query, groups.owner),
    )


class _Placement(NamedTuple):
    """Assigns candidates to the lanes that their bars belong in.

    Attributes:
        query: The query.
        stored: Kind of the bars in the default lane.
        wanted: Requested kind.
        home: Lane of the requested kind.
        usable: Candidates that may be queried.
        has_actions: Whether splits and dividends are stored or can be fetched.
    """

    query: BarsQuery
    stored: Kind | None
    wanted: Kind
    home: tuple[str, ...]
    usable: Sequence[Candidate]
    has_actions: bool

    def placed_candidates(self) -> Iterator[tuple[tuple[str, ...], Candidate]]:
        """Yield pairs of a lane and a candidate that can fill it, converted as that lane requires."""
        reader, usual = self._reader(), self._default_kind()
        for candidate in self.usable:
            for form in self._forms(candidate):
                if reader is not None and not form.folder_lane and self._completes(form, reader):
                    yield self.home, form
                    continue
                kind = form.kind(self.query.instrument, self.query.timeframe)
                if form.folder_lane:
                    lane_name: tuple[str, ...] = (form.folder_lane,)
                else:
                    is_home = kind.agrees(self.wanted) and reader is None
                    lane_name = self.home if is_home else (*self.query.home, *lane_of(kind, usual))
                if self.query.provider is not None:
                    yield self.home, form
                    continue
                for lane in _lanes_of(self.query, form, lane_name, has_actions=self.has_actions):
                    yield lane, form

    def _forms(self, candidate: Candidate) -> Sequence[Candidate]:
        """Return the candidate in each usable form: with bars converted to the requested kind, or not.

        Bars of extended hours are never used unconverted if regular hours are requested.
        """
        if has_too_much(self.query, candidate):
            converted = candidate.converted(self.query, self.wanted)
            kind = regular_kind(self.query, candidate)
            cut = converted or (kind and candidate.converted(self.query, kind))
            return (cut,) if cut else ()
        is_as_it_is = self.query.provider is not None or candidate.folder_lane
        converted = None if is_as_it_is else candidate.converted(self.query, self.wanted)
        return (candidate,) if converted is None else (converted, candidate)

    def _reader(self) -> Candidate | None:
        """Return the candidate that reads files, if the requested lane belongs to the folder it reads.

        The result is None if a vendor is pinned, or if the lane is not for a folder of files.
        """
        if self.query.provider is not None:
            return None
        readers = (candidate for candidate in self.usable if candidate.folder_lane)
        return next((reader for reader in readers if (reader.folder_lane,) == self.home), None)

    def _default_kind(self) -> Kind:
        """Return the kind of the default lane's stored bars or, if there are none, of new bars.

        If the requested lane belongs to a folder of files, vendors that do not read files determine
        the kind.
        """
        if self.stored is not None:
            return self.stored
        if self._reader() is None:
            return self.wanted
        others = [candidate for candidate in self.usable if not candidate.folder_lane]
        return _usual_kind(self.query, others[0], others) if others else self.wanted

    def _completes(self, candidate: Candidate, reader: Candidate) -> bool:
        """Return whether a vendor's bars are of the kind declared for files, so that both may be combined.

        For stocks, the adjustment of the files' prices must also be declared.
        """
        query = self.query
        if query.instrument.asset_class == "stock" and reader.adjustment == "unknown":
            return False
        if not candidate.kind(query.instrument, query.timeframe).agrees(self.wanted):
            return False
        both = (reader, candidate)
        return not any(lane_parts(query, c, (), has_actions=self.has_actions) for c in both)


def _usual_kind(query: BarsQuery, first: Candidate, candidates: Iterable[Candidate]) -> Kind:
    """Return the kind of a series that has no bars yet.

    If the first vendor's bars can be cut to regular hours, the kind is the one for regular hours,
    even if the vendor sends extended hours.

    If possible, the kind is the same whether or not a key is set for a vendor of extended hours.
    """
    instrument, timeframe = query.instrument, query.timeframe
    if not has_too_much(query, first):
        return first.kind(instrument, timeframe)
    usable = [c for c in candidates if not c.refusal(instrument, timeframe)]
    kinds = [c.kind(instrument, timeframe) for c in usable]
    anchors = [kind.anchor for kind in kinds if kind.session == "regular"]
    kind = regular_kind(query, first, anchors[:1])
    return first.kind(instrument, timeframe) if kind is None else kind


def _lanes_of(
    query: BarsQuery, candidate: Candidate, lane_name: tuple[str, ...], *, has_actions: bool
) -> list[tuple[str, ...]]:
    shared = lane_parts(query, candidate, lane_name, has_actions=has_actions)
    vendor_lane = lane_parts(query, candidate, lane_name)
    return [shared] if shared == vendor_lane else [shared, vendor_lane]


def lane_parts(
    query: BarsQuery, candidate: Candidate, lane_name: tuple[str, ...], *, has_actions: bool = False
) -> tuple[str, ...]:
    """Return the lane for a candidate's bars: ``lane_name`` for their kind, plus any adjustment.

    Stock prices are stored in the lane of their kind if they can be converted exactly. This applies
    to split-adjusted prices, raw prices from a vendor that also sends splits and dividends, and
    prices with any adjustment if splits and dividends are available (``has_actions``). Other
    adjustments get a lane of their own.
    """
    fits = query.instrument.asset_class != "stock" or candidate.adjustment in ("split", "unknown")
    if fits or has_actions or (candidate.adjustment == "raw" and candidate.tells_actions):
        return lane_name
    return (*lane_name, candidate.adjustment)


def _sort_lanes(
    lanes: Mapping[tuple[str, ...], list[Candidate]], query: BarsQuery, home: tuple[str, ...]
) -> list[tuple[tuple[str, ...], list[Candidate]]]:
    """Sort the lanes: the requested kind, then its lane for the requested adjustment, then the others."""

    def rank(lane_name: tuple[str, ...]) -> int:
        """Return the sort position of a lane; the lowest comes first."""
        return 0 if lane_name == home else 1 if lane_name == (*home, query.adjustment) else 2

    return sorted(lanes.items(), key=lambda item: rank(item[0]))


def _no_provider(query: BarsQuery, rejected: Mapping[str, str]) -> NoProviderError:
    reasons = "; ".join(f"{name} {reason}" for name, reason in rejected.items())
    return NoProviderError(
        f"No suitable provider found for {query}" + (f": {reasons}" if reasons else ""),
        symbol=query.instrument.symbol,
        hint="`onetape providers` shows which vendor serves what; the rules name the order",
    )
