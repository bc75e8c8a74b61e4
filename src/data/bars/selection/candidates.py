"""The vendors that may be queried for a series, in order and by lane, and why others may not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ...cache.legacy.reader import SAMPLE_LANE
from ...errors import (
    Attempt,
    CapabilityError,
    ForeignError,
    NoProviderError,
    UnknownProviderError,
    UnknownSymbolError,
)
from ...model.actions import Action
from ...model.capabilities import Capabilities, Fetched, FetchQuery
from ...model.coverage import Covered
from ...model.instant import DAY_MS
from ...model.instrument import Instrument
from ...model.kind import Adjustment, Kind
from ...model.query import BarsQuery
from ...model.series import SeriesKey, folder_lane, lane_beside, lane_of
from ...model.span import Span
from ...model.timeframe import Timeframe
from ...symbols.assets import Lister, is_proved, named_at, names_an_exchange
from ...vendors.registry import family_of, is_of_files, is_sample
from .conversion import Conversion, conversion_for
from .offers import Offer, first_of, has_extra_hours

if TYPE_CHECKING:
    from ...vendors.foreign import OwnSender

__all__ = (
    "Candidate",
    "LaneRoute",
    "Route",
    "Selector",
    "candidates_of",
    "find_route",
    "offers_of",
)

_PROVIDERS_HINT = "`onetape providers` lists the vendors and what each one lacks"


class Selector(Protocol):
    """The members of the provider selector that routing needs; users may replace them in tests."""

    downloaders: dict[str, Any]

    def get_provider_with_failover(self, symbol: str, timeframe: str) -> list[str]:
        """Return vendor names in the order in which to query them."""


@dataclass(frozen=True)
class Candidate:
    """A vendor that may be queried for a series.

    Attributes:
        name: Vendor name, as the rules spell it.
        downloader: One of this library's downloaders, or any object with a ``get_ohlcv``.
        capabilities: Declared capabilities; None for a downloader from outside this library.
        conversion: Conversion of the vendor's bars to the requested kind, if theirs is different;
            ``capabilities`` then describes the converted bars.
        own_sender: Sender that limits, retries and counts the calls of a downloader from outside
            this library.
    """

    name: str
    downloader: Any = field(repr=False, compare=False)
    capabilities: Capabilities | None = None
    conversion: Conversion | None = None
    own_sender: OwnSender | None = field(default=None, repr=False, compare=False)

    @property
    def account_name(self) -> str:
        """The name under which the vendor's requests are counted."""
        return getattr(self.downloader, "name", "") if self.capabilities else self.name

    @property
    def folder_lane(self) -> str:
        """The part of a lane's name that identifies the folder that the vendor reads; empty if none."""
        if not is_of_files(self.name):
            return ""
        declared = getattr(self.downloader, "folder_lane", "") if self.capabilities else ""
        return declared or folder_lane(family_of(self.name), "")

    def refusal(self, instrument: Instrument, timeframe: Timeframe) -> str:
        """Return the reason why the vendor cannot serve this series at all; empty if it can."""
        caps = self.capabilities
        if caps is None:
            return "does not declare extended hours" if instrument.is_extended else ""
        if instrument.is_extended and instrument.asset_class not in caps.asset_classes:
            return "does not serve extended hours"
        if instrument.asset_class not in caps.asset_classes:
            return f"serves no {instrument.asset_class if caps.timeframes else 'bars'}"
        if timeframe.label not in (labels := caps.labels(instrument.asset_class)):
            return f"serves no {timeframe}, only {' '.join(labels)}"
        from ...vendors.foreign import call_foreign

        try:
            call_foreign(lambda: self.downloader.spelled(instrument), self.name)
        except (CapabilityError, ForeignError) as error:
            return str(error)
        return ""

    def is_among(self, vendors: Iterable[str]) -> bool:
        """Return whether ``vendors`` contains the name of the vendor or of its downloader."""
        return bool({self.name, getattr(self.downloader, "name", None)} & set(vendors))

    def has_answered(self, empty: Covered) -> bool:
        """Return whether the coverage entry ``empty`` (without bars) is this vendor's report."""
        return self.is_among(empty.vendor.split(","))

    def servable(self, segment: Span, timeframe: Timeframe, now_ms: int) -> Span:
        """Return the part of ``segment`` within the vendor's depth of history; it may be empty."""
        depth = self.capabilities.depth_days.get(timeframe.label) if self.capabilities else None
        if depth is None:
            return segment
        return segment.clip(Span(now_ms - depth * DAY_MS, segment.end))

    def fetch(self, query: FetchQuery) -> Fetched:
        """Fetch bars; ``get_ohlcv`` is called if the downloader is from outside this library.

        Raises:
            ProviderError, ConfigError: The vendor did not answer with bars.
        """
        from ...vendors.foreign import fetch_bars, fetch_legacy

        if self.capabilities is None:
            return fetch_legacy(self.downloader, query, self.name, self.own_sender)
        fetch = partial(fetch_bars, self.downloader, name=self.name)
        return fetch(query) if self.conversion is None else self.conversion.fetch(query, fetch)

    def fetch_actions(self, instrument: Instrument, span: Span, now_ms: int) -> Sequence[Action]:
        """Fetch splits and dividends with an ex-date in ``span``, a span of session dates.

        Raises:
            ProviderError, ConfigError: The vendor did not report them.
        """
        from ...vendors.foreign import fetch_actions

        return fetch_actions(self.downloader, instrument, span, now_ms, self.name)

    def is_shut(self, instrument: Instrument, timeframe: Timeframe) -> bool:
        """Return whether the vendor's circuit breaker for such bars is open, after a failure or refusal.

        Raises:
            ConfigError: The vendor's key is no longer set.
        """
        from ...vendors.session import endpoint_of

        if self.capabilities is None:
            return False
        frame = self.conversion.source if self.conversion else timeframe
        endpoint = endpoint_of(self.downloader.capabilities, instrument.asset_class, frame)
        return bool(self.downloader.is_circuit_open(endpoint))

    def kind(self, instrument: Instrument, timeframe: Timeframe) -> Kind:
        """Return the kind of the vendor's bars; unknown for a downloader from outside this library."""
        if self.capabilities is None:
            from ...vendors.foreign import kind_of

            return kind_of(self.downloader, instrument, timeframe)
        return self.capabilities.kind(instrument, timeframe)

    def converted(self, query: BarsQuery, wanted: Kind) -> Candidate | None:
        """Return this candidate with its bars converted to the requested kind.

        The result is None if the bars are already of that kind, or cannot be converted to it
        exactly.
        """
        if self.capabilities is None:
            return None
        conversion = conversion_for(query, self.capabilities, wanted)
        if conversion is None:
            return None
        converted = conversion.capabilities(self.capabilities)
        return replace(self, capabilities=converted, conversion=conversion)

    @property
    def adjustment(self) -> Adjustment:
        """The adjustment of the vendor's prices."""
        return self.capabilities.adjustment if self.capabilities else "unknown"

    @property
    def tells_actions(self) -> bool:
        """Whether the vendor can be queried for splits and dividends."""
        return self.capabilities is not None and self.capabilities.tells_actions

    def leans_on_actions(self, query: BarsQuery) -> bool:
        """Return whether the vendor's prices match others' only if splits and dividends are stored.

        This applies to fully adjusted prices, and to raw prices from a vendor that does not send
        actions. It is False for assets other than stocks and for a pinned vendor.
        """
        if query.provider is not None or query.instrument.asset_class != "stock":
            return False
        sends_them = self.capabilities is not None and self.capabilities.actions
        return self.adjustment == "all" or (self.adjustment == "raw" and not sends_them)


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


def candidates_of(selector: Selector, query: BarsQuery) -> list[Candidate]:
    """Return the vendors that exist and that the rules name, in order, or only the pinned one.

    Raises:
        UnknownProviderError: The pinned vendor does not exist or cannot be built.
    """
    symbol, timeframe = query.instrument.symbol, query.timeframe.label
    names: Sequence[str]
    if query.provider is not None:
        names = [query.provider]
    else:
        names = selector.get_provider_with_failover(symbol, timeframe)
    candidates = [c for n in names if (c := _candidate(selector, n, query)) is not None]
    if query.provider is not None and not candidates:
        raise _unusable_error(selector, query.provider, query)
    return candidates


def _unusable_error(selector: Selector, name: str, query: BarsQuery) -> UnknownProviderError:
    from ...vendors.factory import creation_error

    error = creation_error(selector, name)
    return UnknownProviderError(
        f"provider {name!r} cannot be used for {query}" + (f": {error.args[0]}" if error else ""),
        lacking=error,
        provider=name,
        symbol=query.instrument.symbol,
        hint=error.hint if error and error.hint else _PROVIDERS_HINT,
    )


def _candidate(selector: Selector, name: str, query: BarsQuery) -> Candidate | None:
    # Imported here because an answer from the cache needs neither a vendor nor an HTTP library.
    from ...vendors.base import is_ours
    from ...vendors.factory import downloader_for, own_sender

    downloader = downloader_for(selector, name)
    if downloader is None:
        return None
    if is_ours(downloader):
        capabilities = downloader.capabilities.at(query.timeframe).serving(query.instrument)
        return Candidate(name, downloader, capabilities)
    return Candidate(name, downloader, own_sender=own_sender(selector, name, downloader))


@dataclass(frozen=True)
class _Groups:
    """The candidates for a query, sorted by whether they may be queried.

    Attributes:
        usable: Candidates that may be queried, in the order of the rules.
        made_up: Candidates that send synthetic bars.
        rejected: Maps each rejected vendor to the reason.
        owner: Vendor whose listing the symbol refers to; None if no vendor can be queried.
        namesakes: Rejected vendors that may list a different instrument under the same ticker.
    """

    usable: Sequence[Candidate]
    made_up: Sequence[Candidate]
    rejected: Mapping[str, str]
    owner: Candidate | None
    namesakes: Mapping[str, str]


def _sort_candidates(query: BarsQuery, candidates: Sequence[Candidate]) -> _Groups:
    usable, made_up, rejected = list[Candidate](), list[Candidate](), dict[str, str]()
    owner = _owner(query, candidates)
    namesakes = _namesakes(query, candidates, owner)
    for candidate in candidates:
        if reason := candidate.refusal(query.instrument, query.timeframe):
            rejected[candidate.name] = reason
        elif is_sample(candidate.name) and query.provider is None:
            rejected[candidate.name] = "its sample bars are used only in calls that name it"
        elif candidate.name in namesakes:
            rejected[candidate.name] = namesakes[candidate.name]
        elif has_too_much(query, candidate) and regular_kind(query, candidate) is None:
            rejected[candidate.name] = (
                f"has {query.timeframe} bars for extended hours only; regular hours can be cut "
                "only from bars of at most 30m"
            )
        else:
            (made_up if _is_made_up(candidate) else usable).append(candidate)
    return _Groups(usable, made_up, rejected, owner, namesakes)


def offers_of(query: BarsQuery, candidates: Sequence[Candidate]) -> list[Offer]:
    """Return the offers of the vendors that serve the series of ``query``, in the order of the rules.

    Vendors of synthetic bars come last. If no vendor serves the series, the result contains the
    offers of vendors with shorter bars from which the series can be built.
    """
    offers = list(_offers(query, candidates, _sort_candidates(query, candidates)))
    return offers or list(_offers_of_parts(query, candidates))


def _offers_of_parts(query: BarsQuery, candidates: Sequence[Candidate]) -> Iterator[Offer]:
    asset_class, wanted = query.instrument.asset_class, query.timeframe
    for candidate in candidates:
        labels = candidate.capabilities.labels(asset_class) if candidate.capabilities else ()
        shorter = [s for s in map(Timeframe.parse, labels) if s.longest_ms < wanted.longest_ms]
        if not shorter:
            continue
        longest = max(shorter, key=lambda timeframe: timeframe.longest_ms)
        usable = _sort_candidates(replace(query, timeframe=longest), candidates).usable
        if any(other is candidate for other in usable):
            folder = (candidate.folder_lane,) if candidate.folder_lane else None
            yield Offer(candidate.name, candidate.kind(query.instrument, wanted), lane_name=folder)


def _offers(query: BarsQuery, candidates: Sequence[Candidate], groups: _Groups) -> Iterator[Offer]:
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

    1. Reject the candidates that must not be queried (:func:`_sort_candidates`).
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
    groups = _sort_candidates(query, candidates)
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
        groups.owner is not None and _is_exchange(query, groups.owner),
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


def _owner(query: BarsQuery, candidates: Sequence[Candidate]) -> Candidate | None:
    """Return the vendor whose listing the symbol refers to, or None if no vendor can be queried.

    For a coin quoted in another coin, this is the first exchange in the rules; otherwise, or if no
    exchange can be queried, it is the first vendor.
    """
    instrument, timeframe = query.instrument, query.timeframe
    usable = [
        c
        for c in candidates
        if not (c.refusal(instrument, timeframe) or _is_made_up(c) or _is_users_own(query, c))
    ]
    exchanges = [c for c in usable if _is_exchange(query, c)]
    return next(iter((*exchanges, *usable)), None)


def _is_exchange(query: BarsQuery, candidate: Candidate) -> bool:
    """Return whether the symbol is a pair that this vendor lists itself."""
    return names_an_exchange(query.instrument) and _listing_of(query, candidate).is_exchange


def _listing_of(query: BarsQuery, candidate: Candidate) -> Lister:
    return Lister(candidate.name, candidate.kind(query.instrument, query.timeframe))


def _is_made_up(candidate: Candidate) -> bool:
    return candidate.capabilities is not None and candidate.capabilities.made_up


def _is_users_own(query: BarsQuery, candidate: Candidate) -> bool:
    """Return whether a candidate is a user's downloader, or reads files of undeclared hours or venue."""
    kind = candidate.kind(query.instrument, query.timeframe)
    is_file = not getattr(candidate.downloader, "default_base_url", "")
    return candidate.capabilities is None or (is_file and not (kind.session or kind.venue))


def _namesakes(
    query: BarsQuery,
    candidates: Sequence[Candidate],
    owner: Candidate | None,
) -> dict[str, str]:
    """Return the vendors that may list a different instrument under the same ticker, with the reasons.

    The user's own downloaders and files are not included.
    """
    instrument, reasons = query.instrument, {}
    for candidate in candidates:
        if owner is None or _is_users_own(query, candidate) or _is_made_up(candidate):
            continue
        if candidate.refusal(instrument, query.timeframe):
            continue
        if is_proved(instrument, _listing_of(query, candidate), _listing_of(query, owner)):
            continue
        name = named_at(instrument, candidate.name)
        of_owner = f" of {owner.name}" if owner is not candidate else ""
        reasons[candidate.name] = (
            f"nothing proves that its {name} is the {instrument.symbol}{of_owner}; "
            f"request {name} with provider={candidate.name!r} to get it"
        )
    return reasons


def unknown_symbol(
    query: BarsQuery, attempts: Sequence[Attempt], namesakes: Mapping[str, str], hint: str = ""
) -> UnknownSymbolError:
    """Return the error for a symbol that is unknown to the vendor that should list it.

    Args:
        query: The query.
        attempts: Queries sent to vendors.
        namesakes: See :class:`Route`.
        hint: How to request a different instrument under this ticker; may be empty.
    """
    failures = [a for a in attempts if a.outcome not in ("ok", "empty")]
    reasons = [str(a) for a in failures]
    reasons += [f"{name} is skipped: {reason}" for name, reason in namesakes.items()]
    symbol = query.instrument.symbol
    return UnknownSymbolError(
        f"unknown symbol {symbol!r}. All providers failed for {query}: "
        f"{'; '.join(dict.fromkeys(reasons))}",
        attempts=attempts,
        symbol=symbol,
        hint=hint or "`onetape doctor` shows which vendors can be reached and which keys are set",
    )


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


def has_too_much(query: BarsQuery, candidate: Candidate) -> bool:
    """Return whether a vendor sends extended hours although regular hours are requested."""
    return has_extra_hours(candidate.kind(query.instrument, query.timeframe), query)


def regular_kind(
    query: BarsQuery, candidate: Candidate, anchors: Iterable[str] = ()
) -> Kind | None:
    """Return the kind of a vendor's bars after they are cut to regular hours.

    Args:
        query: Query for regular hours.
        candidate: Vendor of extended hours.
        anchors: Anchors to prefer.

    Returns:
        The kind, or None if the bars are too long to be cut and the vendor has no shorter ones.
    """
    vendor_kind = candidate.kind(query.instrument, query.timeframe)
    for anchor in dict.fromkeys([*anchors, "session", vendor_kind.anchor]):
        kind = replace(vendor_kind, session="regular", anchor=anchor)
        if candidate.converted(query, kind) is not None:
            return kind
    return None


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
