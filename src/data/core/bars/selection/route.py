"""The lanes to try for the bars of a query, in order, each with its vendors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from ....errors import Attempt, NoProviderError
from ...cache.legacy.reader import SAMPLE_LANE
from ...model.identity.kind import Kind
from ...model.request.query import BarsQuery
from ...model.time.timeframe import Timeframe
from .candidates import Candidate, SortedCandidates, sort_candidates, unknown_symbol
from .offers import AnsweringLane, Offer, first_of, lane_name


@dataclass(frozen=True)
class LaneRoute:
    """The candidates whose bars may be stored in one lane.

    Attributes:
        lane_name: Name of the lane; empty for the default lane.
        candidates: Candidates in the order in which to query them.
        kind: Kind of the lane's bars, with the parts that the first candidate declares.
        reporters: Vendors, from all lanes, that can be queried for splits and dividends, in order.
        is_substitute: Whether the bars are not of the requested kind, or not in an adjustment that
            can be converted to the requested one. The route's first lane is not a substitute, nor is
            the lane of the requested kind and adjustment.
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
    """The lanes to try for a query's bars, in order, and why other vendors will not be queried.

    Attributes:
        lanes: Lanes to try. The first has bars of the requested kind, if any lane has; the lane of
            the requested kind and adjustment, if there is one, follows. The others are substitutes.
        lane_name: Lane of the requested kind. The names of lanes for specific adjustments of this
            kind begin with this name.
        kind: Requested kind.
        vendors: All candidates, and the reason why each rejected one is not queried.
    """

    lanes: tuple[LaneRoute, ...]
    lane_name: tuple[str, ...]
    kind: Kind
    vendors: SortedCandidates


def offers_of(query: BarsQuery, candidates: Sequence[Candidate]) -> list[Offer]:
    """Return the offers of the vendors that serve the series of ``query``, in the order of the rules.

    Vendors of synthetic bars come last. If no vendor serves the series, the result contains the
    offers of vendors with shorter bars from which the series can be built.
    """
    offers = _offers(query, candidates, sort_candidates(query, candidates))
    return offers or list(_offers_of_parts(query, candidates))


def _offers(
    query: BarsQuery, candidates: Sequence[Candidate], vendors: SortedCandidates
) -> list[Offer]:
    offers = []
    for candidate in vendors.usable:
        caps, kind = candidate.capabilities, _usual_kind(query, candidate, candidates)
        depth = caps.depth_days.get(query.timeframe.label) if caps else None
        offers.append(Offer(candidate.name, kind, depth, candidate.folder_lane))
    made_up = (Offer(c.name, c.kind_for(query), is_made_up=True) for c in vendors.made_up)
    return [*offers, *made_up]


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
            yield Offer(candidate.name, candidate.kind_for(query), folder=candidate.folder_lane)


def find_route(
    query: BarsQuery,
    candidates: Sequence[Candidate],
    lane: AnsweringLane | None = None,
    *,
    has_actions: bool = False,
) -> Route:
    """Sort candidates into lanes.

    1. Reject the candidates that must not be queried (:func:`.sort_candidates`).
    2. Determine the requested kind, and the lane in which its bars are stored.
    3. Place each candidate in the lanes that its bars belong in (:class:`_Placement`).
    4. Order the lanes: the requested kind, then its lane for the requested adjustment, then the
       others, in the order of their first vendors.

    The requested kind is that of the first candidate that serves the series and a part of the
    range, regardless of what is stored. If that candidate sends extended hours and another one
    regular hours, it is the kind with regular hours. The bars of a pinned vendor are stored in a
    lane with the vendor's name. Two groups of vendors are placed in two lanes, the common one and
    their own: vendors whose prices need splits and dividends from another vendor, in case these are
    unavailable, and vendors whose bars must be converted, for ranges that the conversion does not
    cover. Bars from a folder of files are stored in a lane with the folder's name; if they are the
    requested bars, other vendors fill their gaps there.

    Example: split-adjusted daily bars of a stock are requested. ``every`` has fully adjusted prices,
    ``raw`` raw ones and ``split`` split-adjusted ones; ``reporter`` has raw prices, and reports
    splits and dividends. The lanes are the default lane with all four, then, as substitutes, ``all``
    with ``every`` and ``raw`` with ``raw``. Without ``reporter``, and if no actions are stored, the
    default lane has only ``split``.

    Args:
        query: The query.
        candidates: Candidates, in rule order.
        lane: Lane that answers the query by what is stored; its kind is None if a vendor has to
            determine it. None means that nothing is stored.
        has_actions: Whether the splits and dividends since the start of the range are stored.

    Raises:
        NoProviderError: No vendor is left.
        UnknownSymbolError: Only vendors that may list a different instrument are left.
    """
    vendors = sort_candidates(query, candidates)
    reporters = tuple(c for c in candidates if c.tells_actions)
    has_actions = has_actions or bool(reporters)
    placement = _placement(query, candidates, vendors, lane, has_actions=has_actions)
    lanes = dict[tuple[str, ...], list[Candidate]]()
    for candidate in vendors.usable:
        for name, form in placement.lanes_of(candidate):
            lanes.setdefault(name, []).append(form)
    if vendors.made_up:
        lanes.setdefault(SAMPLE_LANE, []).extend(vendors.made_up)
    if not lanes and vendors.namesakes:
        raise unknown_symbol(query, (), vendors.namesakes)
    if not lanes:
        raise _no_provider(query, vendors.rejected)
    order = [placement.wanted_lane, (*placement.wanted_lane, query.adjustment)]
    names = sorted(lanes, key=lambda name: order.index(name) if name in order else len(order))
    return Route(
        tuple(
            LaneRoute(
                name,
                tuple(lanes[name]),
                lanes[name][0].kind_for(query),
                reporters,
                is_substitute=name not in (names[0], order[1]),
            )
            for name in names
        ),
        placement.wanted_lane,
        placement.wanted,
        vendors,
    )


class _Placement(NamedTuple):
    """Assigns candidates to the lanes that their bars belong in.

    Attributes:
        query: The query.
        wanted_lane: Lane of the requested kind.
        wanted: Requested kind.
        default: Kind of the default lane's stored bars or, if there are none, of new bars.
        reader: Candidate that reads the folder of files to which the requested lane belongs; None
            for other lanes.
        has_actions: Whether splits and dividends are stored or can be fetched.
    """

    query: BarsQuery
    wanted_lane: tuple[str, ...]
    wanted: Kind
    default: Kind
    reader: Candidate | None
    has_actions: bool

    def lanes_of(self, candidate: Candidate) -> Iterator[tuple[tuple[str, ...], Candidate]]:
        """Yield pairs of a lane and the candidate, converted as that lane requires."""
        query = self.query
        for form in self._forms(candidate):
            kind = form.kind_for(query)
            if query.provider is not None or self._completes_files(form):
                yield self.wanted_lane, form
                continue
            is_wanted = kind.agrees(self.wanted) and not (self.reader or form.folder_lane)
            name = lane_name(query, kind, self.default, form.folder_lane)
            shared = adjustment_part(query, form, has_actions=self.has_actions)
            for part in dict.fromkeys([shared, adjustment_part(query, form)]):
                yield (*(self.wanted_lane if is_wanted else name), *part), form

    def _forms(self, candidate: Candidate) -> Sequence[Candidate]:
        """Return the candidate in each usable form: with bars converted to the requested kind, or not.

        Bars of extended hours are never used unconverted if regular hours are requested.
        """
        if candidate.sends_extra_hours(self.query):
            converted = candidate.converted(self.query, self.wanted)
            kind = candidate.regular_kind(self.query)
            cut = converted or (kind and candidate.converted(self.query, kind))
            return (cut,) if cut else ()
        is_as_it_is = self.query.provider is not None or candidate.folder_lane
        converted = None if is_as_it_is else candidate.converted(self.query, self.wanted)
        return (candidate,) if converted is None else (converted, candidate)

    def _completes_files(self, candidate: Candidate) -> bool:
        """Return whether a vendor's bars are of the kind declared for files, so that both may be combined.

        For stocks, the adjustment of the files' prices must also be declared.
        """
        query, reader = self.query, self.reader
        if reader is None or candidate.folder_lane:
            return False
        if query.instrument.asset_class == "stock" and reader.adjustment == "unknown":
            return False
        if not candidate.kind_for(query).agrees(self.wanted):
            return False
        both = (reader, candidate)
        return not any(adjustment_part(query, c, has_actions=self.has_actions) for c in both)


def _placement(
    query: BarsQuery,
    candidates: Sequence[Candidate],
    vendors: SortedCandidates,
    lane: AnsweringLane | None,
    *,
    has_actions: bool,
) -> _Placement:
    """Determine the requested kind, and the lane in which its bars are stored.

    If these are the user's own bars in the default lane, and they do not declare a part of their
    kind, the first vendor's part is used for both the requested kind and that of the default lane.
    """
    default, kind, folder = None, None, ""
    if lane is not None:
        default, kind, folder = lane.default, lane.kind, lane.key.of_folder
    if kind is None and (first := first_of(query, _offers(query, candidates, vendors))):
        kind, folder = first.kind, first.folder
    wanted = kind or Kind()
    wanted_lane = lane_name(query, wanted, default, folder)
    if default is not None and wanted_lane == query.home:
        # If a user's own bars do not declare a kind, the first vendor's bars may be stored next to
        # them.
        wanted = default = default.filled_from(wanted)
    reader, others = None, list[Candidate]()
    if folder and query.provider is None:
        reader = next((c for c in vendors.usable if c.folder_lane == folder), None)
        others = [c for c in vendors.usable if not c.folder_lane]
    if default is None and reader is not None and others:
        # Vendors without files determine the kind of new bars in the default lane.
        default = _usual_kind(query, others[0], others)
    return _Placement(query, wanted_lane, wanted, default or wanted, reader, has_actions)


def _usual_kind(query: BarsQuery, first: Candidate, candidates: Iterable[Candidate]) -> Kind:
    """Return the kind of a series that has no bars yet.

    If the first vendor's bars can be cut to regular hours, the kind is the one for regular hours,
    even if the vendor sends extended hours.

    If possible, the kind is the same whether or not a key is set for a vendor of extended hours.
    """
    if not first.sends_extra_hours(query):
        return first.kind_for(query)
    usable = (c for c in candidates if not c.refusal(query.instrument, query.timeframe))
    kinds = [c.kind_for(query) for c in usable]
    anchors = [kind.anchor for kind in kinds if kind.session == "regular"]
    return first.regular_kind(query, anchors[:1]) or first.kind_for(query)


def adjustment_part(
    query: BarsQuery, candidate: Candidate, *, has_actions: bool = False
) -> tuple[str, ...]:
    """Return the part of a lane's name for the adjustment of a vendor's prices; often empty.

    Stock prices are stored in the lane of their kind if they can be converted exactly. This applies
    to split-adjusted prices, raw prices from a vendor that also sends splits and dividends, and
    prices with any adjustment if splits and dividends are available (``has_actions``). Other
    adjustments get a lane of their own.
    """
    fits = query.instrument.asset_class != "stock" or candidate.adjustment in ("split", "unknown")
    if fits or has_actions or (candidate.adjustment == "raw" and candidate.tells_actions):
        return ()
    return (candidate.adjustment,)


def _no_provider(query: BarsQuery, rejected: Mapping[str, str]) -> NoProviderError:
    reasons = "; ".join(f"{name} {reason}" for name, reason in rejected.items())
    return NoProviderError(
        f"No suitable provider found for {query}" + (f": {reasons}" if reasons else ""),
        symbol=query.instrument.symbol,
        hint="`onetape providers` shows which vendor serves what; the rules name the order",
    )
