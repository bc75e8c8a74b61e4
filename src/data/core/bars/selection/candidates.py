"""The vendors that may be queried for a series, in order, and why others may not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

from ....errors import (
    Attempt,
    CapabilityError,
    ForeignError,
    UnknownProviderError,
    UnknownSymbolError,
)
from ...model.identity.instrument import Instrument
from ...model.identity.kind import Adjustment, Kind
from ...model.identity.series import folder_lane
from ...model.market.actions import Action
from ...model.request.capabilities import Capabilities, Fetched, FetchQuery
from ...model.request.query import BarsQuery
from ...model.stored.coverage import Covered
from ...model.stored.outside import sends_nothing
from ...model.time.instant import DAY_MS, date_of
from ...model.time.span import Span
from ...model.time.timeframe import Timeframe
from ...registry import family_of, is_free, is_of_files, is_sample
from ...symbols.assets import Lister, is_proved, named_at, names_an_exchange
from ...vendors.base import is_ours
from ...vendors.factory import creation_error, downloader_for, own_sender
from ...vendors.foreign import (
    OwnSender,
    call_foreign,
    fetch_actions,
    fetch_bars,
    fetch_legacy,
    kind_of,
)
from ...vendors.session import endpoint_of
from .conversion import Conversion, conversion_for
from .offers import has_extra_hours

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
        caps, begin = self.capabilities, None
        if caps is not None:
            depth = caps.depth_days.get(timeframe.label)
            begin = caps.begins_ms if depth is None else now_ms - depth * DAY_MS
        return segment if begin is None else segment.clip(Span(begin, segment.end))

    def too_old(self, timeframe: Timeframe) -> str:
        """Return why the vendor has no bars before its history, as a phrase after its name."""
        assert self.capabilities is not None  # else nothing is too old
        days = self.capabilities.depth_days.get(timeframe.label)
        if days is None:
            return f"has no bars before {date_of(self.capabilities.begins_ms or 0)}"
        return f"serves {timeframe} bars only {days} days back"

    def fetch(self, query: FetchQuery) -> Fetched:
        """Fetch bars; ``get_ohlcv`` is called if the downloader is from outside this library.

        Raises:
            ProviderError, ConfigError: The vendor did not answer with bars.
        """
        if self.capabilities is None:
            return fetch_legacy(self.downloader, query, self.name, self.own_sender)
        fetch = partial(fetch_bars, self.downloader, name=self.name)
        return fetch(query) if self.conversion is None else self.conversion.fetch(query, fetch)

    def fetch_actions(self, instrument: Instrument, span: Span, now_ms: int) -> Sequence[Action]:
        """Fetch splits and dividends with an ex-date in ``span``, a span of session dates.

        Raises:
            ProviderError, ConfigError: The vendor did not report them.
        """
        return fetch_actions(self.downloader, instrument, span, now_ms, self.name)

    def is_circuit_open(self, instrument: Instrument, timeframe: Timeframe) -> bool:
        """Return whether the vendor's circuit breaker for such bars is open, after a failure or refusal.

        Used only for queries for splits and dividends; a query for bars meets an open circuit when
        it is sent.

        Raises:
            ConfigError: The vendor's key is no longer set.
        """
        if self.capabilities is None:
            return False
        frame = self.conversion.source if self.conversion else timeframe
        endpoint = endpoint_of(self.downloader.capabilities, instrument.asset_class, frame)
        return bool(self.downloader.is_circuit_open(endpoint))

    def kind(self, instrument: Instrument, timeframe: Timeframe) -> Kind:
        """Return the kind of the vendor's bars; unknown for a downloader from outside this library."""
        if self.capabilities is None:
            return kind_of(self.downloader, instrument, timeframe)
        return self.capabilities.kind(instrument, timeframe)

    def kind_for(self, query: BarsQuery) -> Kind:
        """Return the kind of the vendor's bars for a query."""
        return self.kind(query.instrument, query.timeframe)

    def sends_extra_hours(self, query: BarsQuery) -> bool:
        """Return whether the vendor sends extended hours although regular hours are requested."""
        return has_extra_hours(self.kind_for(query), query)

    def regular_kind(self, query: BarsQuery, anchors: Iterable[str] = ()) -> Kind | None:
        """Return the kind of the vendor's bars after they are cut to regular hours.

        The result is None if the bars are too long to be cut and the vendor has no shorter ones.
        ``anchors`` are tried first.
        """
        extended = self.kind_for(query)
        for anchor in dict.fromkeys([*anchors, "session", extended.anchor]):
            kind = replace(extended, session="regular", anchor=anchor)
            if self.converted(query, kind) is not None:
                return kind
        return None

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
    def is_made_up(self) -> bool:
        """Whether the vendor sends synthetic bars."""
        return self.capabilities is not None and self.capabilities.made_up

    @property
    def adjustment(self) -> Adjustment:
        """The adjustment of the vendor's prices."""
        return self.capabilities.adjustment if self.capabilities else "unknown"

    @property
    def tells_actions(self) -> bool:
        """Whether the vendor can be queried for splits and dividends."""
        return self.capabilities is not None and self.capabilities.tells_actions

    def needs_stored_actions(self, query: BarsQuery) -> bool:
        """Return whether the vendor's prices match others' only if splits and dividends are stored.

        This applies to fully adjusted prices, and to raw prices from a vendor that does not send
        actions. It is False for assets other than stocks and for a pinned vendor.
        """
        if query.provider is not None or query.instrument.asset_class != "stock":
            return False
        sends_them = self.capabilities is not None and self.capabilities.actions
        return self.adjustment == "all" or (self.adjustment == "raw" and not sends_them)


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
    error = creation_error(selector, name)
    return UnknownProviderError(
        f"provider {name!r} cannot be used for {query}" + (f": {error.args[0]}" if error else ""),
        lacking=error,
        provider=name,
        symbol=query.instrument.symbol,
        hint=error.hint if error and error.hint else _PROVIDERS_HINT,
    )


def _candidate(selector: Selector, name: str, query: BarsQuery) -> Candidate | None:
    downloader = downloader_for(selector, name)
    if downloader is None:
        return None
    if is_ours(downloader):
        capabilities = downloader.capabilities.at(query.timeframe).serving(query.instrument)
        return Candidate(name, downloader, capabilities)
    return Candidate(name, downloader, own_sender=own_sender(selector, name, downloader))


@dataclass(frozen=True)
class SortedCandidates:
    """The candidates for a query, sorted by whether they may be queried.

    Attributes:
        usable: Candidates that may be queried, in the order of the rules.
        made_up: Candidates that send synthetic bars.
        rejected: Maps each vendor that is not queried to the reason.
        owner: Vendor whose listing the symbol names: for a coin quoted in another coin, the first
            exchange in the rules; otherwise, or if no exchange can be queried, the first vendor. It
            is empty if no vendor with a listing can be queried: users' own downloaders, files that
            declare neither hours nor venue, and synthetic bars have none. Other vendors' listings
            must be proved to be the same instrument.
        is_exchange: Whether the owner is an exchange that lists the pair itself. If it does not know
            the symbol, no other vendor is queried.
        namesakes: The vendors in ``rejected`` whose listing under the same ticker may be a different
            instrument, with the reason.
    """

    usable: Sequence[Candidate]
    made_up: Sequence[Candidate]
    rejected: Mapping[str, str]
    owner: str
    is_exchange: bool
    namesakes: Mapping[str, str]


def sort_candidates(query: BarsQuery, candidates: Sequence[Candidate]) -> SortedCandidates:
    """Sort the candidates by whether they may be queried, with the reason for each one that may not.

    A user's own downloaders, and files that declare neither hours nor venue, are neither the owner
    of a symbol nor a namesake.
    """
    refusals = {c.name: c.refusal(query.instrument, query.timeframe) for c in candidates}
    listings = {
        c.name: Lister(c.name, c.kind_for(query))
        for c in candidates
        if not (refusals[c.name] or c.is_made_up or _is_users_own(query, c))
    }
    pair = query.instrument
    exchanges = [name for name, x in listings.items() if x.is_exchange and names_an_exchange(pair)]
    owner = next(iter((*exchanges, *listings)), "")
    namesakes = {
        name: _why_namesake(query, name, owner)
        for name, listing in listings.items()
        if not is_proved(query.instrument, listing, listings[owner])
    }
    usable, made_up, rejected = list[Candidate](), list[Candidate](), dict[str, str]()
    for candidate in candidates:
        name = candidate.name
        if reason := refusals[name]:
            rejected[name] = reason
        elif is_sample(name) and query.provider is None:
            rejected[name] = "its sample bars are used only in calls that name it"
        elif name in namesakes:
            rejected[name] = namesakes[name]
        elif candidate.sends_extra_hours(query) and candidate.regular_kind(query) is None:
            rejected[name] = (
                f"has {query.timeframe} bars for extended hours only; regular hours can be cut "
                "only from bars of at most 30m"
            )
        else:
            (made_up if candidate.is_made_up else usable).append(candidate)
    return SortedCandidates(usable, made_up, rejected, owner, bool(exchanges), namesakes)


def _is_users_own(query: BarsQuery, candidate: Candidate) -> bool:
    """Return whether a candidate is a user's downloader, or files that declare no hours or venue."""
    kind = candidate.kind_for(query)
    is_file = not getattr(candidate.downloader, "default_base_url", "")
    return candidate.capabilities is None or (is_file and not (kind.session or kind.venue))


def _why_namesake(query: BarsQuery, name: str, owner: str) -> str:
    """Return why a vendor is not queried that may list a different instrument than the owner."""
    listed, symbol = named_at(query.instrument, name), query.instrument.symbol
    return (
        f"nothing proves that its {listed} is the {symbol}{f' of {owner}' if owner != name else ''}; "
        f"request {listed} with provider={name!r} to get it"
    )


def doctor_hint(query: BarsQuery) -> str | None:
    """Return the hint on vendors that could not answer; None if the only vendor sends no request."""
    hint = "`onetape doctor` shows which vendors can be reached and which keys are set"
    return None if sends_nothing(query.provider) else hint


def unknown_symbol(
    query: BarsQuery, attempts: Sequence[Attempt], namesakes: Mapping[str, str], hint: str = ""
) -> UnknownSymbolError:
    """Return the error for a symbol that is unknown to the vendor that should list it.

    Args:
        query: The query.
        attempts: Queries sent to vendors.
        namesakes: See :class:`SortedCandidates`.
        hint: How to request a different instrument under this ticker; may be empty.
    """
    failures = [a for a in attempts if a.outcome not in ("ok", "empty")]
    reasons = [str(a) for a in failures]
    reasons += [f"{name} is skipped: {reason}" for name, reason in namesakes.items()]
    symbol = query.instrument.symbol
    lead = f"unknown symbol {symbol!r}"
    if are_of_files(attempts):
        lead = f"no file has bars for {symbol!r}"
        hint = hint or "`folder` and `pattern` under providers.local in the rules name the files"
    return UnknownSymbolError(
        f"{lead}. All providers failed for {query}: {'; '.join(dict.fromkeys(reasons))}",
        attempts=attempts,
        symbol=symbol,
        hint=hint or doctor_hint(query),
    )


def are_of_files(attempts: Sequence[Attempt]) -> bool:
    """Return whether only the user's own files were read."""
    return bool(attempts) and all(is_free(attempt.provider) for attempt in attempts)
