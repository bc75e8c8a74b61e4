"""Who could answer, in order, and why the others could not."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from ...cache.legacy.reader import SAMPLE_LANE
from ...errors import (
    Attempt,
    NoProviderError,
    UnknownProviderError,
    UnknownSymbolError,
)
from ...model.kind import Kind
from ...model.query import BarsQuery
from ...model.series import lane_of
from ...model.timeframe import Timeframe
from ...symbols.assets import Listed, is_proved, named_at, names_an_exchange
from .candidate import Candidate

__all__ = ("LaneRoute", "Route", "Selector", "candidates_of", "route")

_LOOK = "`onetape providers` lists the vendors and what each one lacks"


class Selector(Protocol):
    """What the router needs of the provider selector; users' tests replace these two."""

    downloaders: dict[str, Any]

    def get_provider_with_failover(self, symbol: str, timeframe: str) -> list[str]:
        """Return vendor names in the order to be asked."""


@dataclass(frozen=True)
class LaneRoute:
    """Candidates whose bars may stand in one series.

    Attributes:
        parts: the lane's name; empty for the default one.
        candidates: in the order to be asked.
        kind: the kind of its bars as far as the first candidate declares it.
        tellers: who can be asked for splits and dividends, in order, of all lanes.
    """

    parts: tuple[str, ...]
    candidates: tuple[Candidate, ...]
    kind: Kind
    tellers: tuple[Candidate, ...] = ()

    def named(self, attempt: Attempt) -> Attempt:
        """Return an attempt with the word on how its bars were brought to the kind of the lane."""
        ways = {c.name: c.conversion for c in self.candidates if c.conversion is not None}
        if attempt.error is not None or attempt.provider not in ways:
            return attempt
        return replace(attempt, message=f"converted: {ways[attempt.provider]}")


@dataclass(frozen=True)
class Route:
    """Where bars may come from: lanes in the order to be tried, and who was passed over.

    Attributes:
        lanes: the first is what was asked for; the others are substitutes.
        rejected: vendor to the reason it is not asked.
        owner: whose listing the symbol is: what others list must be proved to be the same.
        namesakes: vendor to why what it lists under these letters is not served; also in ``rejected``.
        is_final: whether the owner's word that it does not know the symbol ends the search.
    """

    lanes: tuple[LaneRoute, ...]
    rejected: Mapping[str, str] = field(default_factory=dict)
    owner: str = ""
    namesakes: Mapping[str, str] = field(default_factory=dict)
    is_final: bool = False


def candidates_of(selector: Selector, query: BarsQuery) -> list[Candidate]:
    """Return the vendors of the rules (or the pinned one alone) that exist, in order.

    Raises:
        UnknownProviderError: the pinned vendor does not exist or cannot be built.
    """
    symbol, timeframe = query.instrument.symbol, query.timeframe.label
    names: Sequence[str]
    if query.provider is not None:
        names = [query.provider]
    else:
        names = selector.get_provider_with_failover(symbol, timeframe)
    found = [c for name in names if (c := _candidate(selector, name, query.timeframe)) is not None]
    if query.provider is not None and not found:
        raise _unusable(selector, query.provider, query)
    return found


def _unusable(selector: Selector, name: str, query: BarsQuery) -> UnknownProviderError:
    from ...vendors.pool import not_made

    error = not_made(selector, name)
    return UnknownProviderError(
        f"provider {name!r} cannot be used for {query}" + (f": {error.args[0]}" if error else ""),
        provider=name,
        symbol=query.instrument.symbol,
        hint=error.hint if error and error.hint else _LOOK,
    )


def _candidate(selector: Selector, name: str, timeframe: Timeframe) -> Candidate | None:
    # Imported here: an answer from the cache needs no vendor and no HTTP library.
    from ...vendors.base import is_ours
    from ...vendors.pool import own_sender, supplied

    downloader = supplied(selector, name)
    if downloader is None:
        return None
    if is_ours(downloader):
        return Candidate(name, downloader, downloader.capabilities.at(timeframe))
    return Candidate(name, downloader, own_sender=own_sender(selector, name, downloader))


def route(
    query: BarsQuery,
    candidates: Sequence[Candidate],
    stored: Kind | None,
    *,
    told: bool = False,
    proved: Container[str] = (),
) -> Route:
    """Sort candidates into lanes.

    Args:
        query: what is wanted.
        candidates: in rule order.
        stored: kind of the bars in the default lane, where there are any.
        told: whether the splits and dividends from the asked range on are known already.
        proved: vendors whose bars show that they are of the thing asked for.

    The wanted kind is the stored one, else that of the first capable candidate. Where its bars
    reach beyond the regular hours and another's keep to them, it is those hours. A pinned
    vendor's bars go into a lane of its own name. Who leans on actions that somebody tells stands in
    two lanes: beside the others, and in its own in case that nobody tells them after all. So does
    who has to be converted: where that does not reach, its own bars may still stand in for all.

    Raises:
        NoProviderError: nobody is left.
        UnknownSymbolError: only vendors that may mean another thing are left.
    """
    tellers = tuple(c for c in candidates if c.tells_actions)
    rejected: dict[str, str] = {}
    owner = _owner(query, candidates, stored)
    namesakes = _namesakes(query, candidates, owner, proved)
    wanted, lanes = stored, dict[tuple[str, ...], list[Candidate]]()
    for candidate in candidates:
        if reason := candidate.refusal(query.instrument, query.timeframe):
            rejected[candidate.name] = reason
            continue
        if candidate.name in namesakes:
            rejected[candidate.name] = namesakes[candidate.name]
            continue
        if (caps := candidate.capabilities) is not None and caps.made_up:
            lanes.setdefault(SAMPLE_LANE, []).append(candidate)
            continue
        wanted = wanted or _usual_kind(query, candidate, candidates)
        made = None if query.provider else candidate.converted(query, wanted)
        for one in (candidate,) if made is None else (made, candidate):
            kind = one.kind(query.instrument, query.timeframe)
            for parts in _lanes_of(query, one, kind, wanted, told=told or bool(tellers)):
                lanes.setdefault(parts, []).append(one)
    if not lanes and namesakes:
        raise unknown_symbol(query, (), namesakes)
    if not lanes:
        raise _nobody(query, rejected)
    return Route(
        tuple(
            LaneRoute(p, tuple(c), c[0].kind(query.instrument, query.timeframe), tellers)
            for p, c in _ordered(lanes, query)
        ),
        rejected,
        owner.name if owner else "",
        namesakes,
        owner is not None and _is_exchange(query, owner),
    )


def _owner(
    query: BarsQuery, candidates: Sequence[Candidate], stored: Kind | None
) -> Candidate | None:
    """Return whose listing the symbol names; None where no vendor can be asked.

    That is, for a coin quoted in a coin, the first exchange; else the first vendor whose bars may
    stand beside the stored ones.
    """
    who, timeframe = query.instrument, query.timeframe
    usable = [
        c
        for c in candidates
        if not (c.refusal(who, timeframe) or _is_made_up(c) or _is_users_own(query, c))
    ]
    alike = [c for c in usable if stored is None or c.kind(who, timeframe).agrees(stored)]
    exchanges = [c for c in usable if _is_exchange(query, c)]
    return next(iter((*exchanges, *alike, *usable)), None)


def _is_exchange(query: BarsQuery, candidate: Candidate) -> bool:
    """Tell whether the symbol is a pair of this vendor's own list."""
    return names_an_exchange(query.instrument) and _listed(query, candidate).is_exchange


def _listed(query: BarsQuery, candidate: Candidate) -> Listed:
    return Listed(candidate.name, candidate.kind(query.instrument, query.timeframe))


def _is_made_up(candidate: Candidate) -> bool:
    return candidate.capabilities is not None and candidate.capabilities.made_up


def _is_users_own(query: BarsQuery, candidate: Candidate) -> bool:
    """Tell whether it is a program of the user's own, or reads files: those tell no kind."""
    kind = candidate.kind(query.instrument, query.timeframe)
    is_file = not getattr(candidate.downloader, "default_base_url", "")
    return candidate.capabilities is None or (is_file and not (kind.session or kind.venue))


def _namesakes(
    query: BarsQuery,
    candidates: Sequence[Candidate],
    owner: Candidate | None,
    proved: Container[str],
) -> dict[str, str]:
    """Return the vendors that may list another thing under the same letters, and why they may.

    Of programs and files of the user's own the user knows what they are of.
    """
    who, found = query.instrument, {}
    for candidate in candidates:
        if owner is None or _is_users_own(query, candidate) or _is_made_up(candidate):
            continue
        if candidate.refusal(who, query.timeframe) or candidate.name in proved:
            continue
        if is_proved(who, _listed(query, candidate), _listed(query, owner)):
            continue
        name = named_at(who, candidate.name)
        whose = f" of {owner.name}" if owner is not candidate else ""
        found[candidate.name] = (
            f"nothing proves that its {name} is the {who.symbol}{whose}; "
            f"{name} with provider={candidate.name!r} asks for it"
        )
    return found


def unknown_symbol(
    query: BarsQuery, attempts: Sequence[Attempt], namesakes: Mapping[str, str], hint: str = ""
) -> UnknownSymbolError:
    """Return the error for a symbol that is unknown where it is listed.

    Args:
        query: what was asked for.
        attempts: who was asked.
        namesakes: as of :class:`Route`.
        hint: what else there is under these letters, and how to ask for it.
    """
    failed = [a for a in attempts if a.outcome not in ("ok", "empty")]
    said = [f"{a.provider}: {a.message}" for a in failed]
    said += [f"{name} is not asked: {why}" for name, why in namesakes.items()]
    symbol = query.instrument.symbol
    return UnknownSymbolError(
        f"unknown symbol {symbol!r}. All providers failed for {query}: "
        f"{'; '.join(dict.fromkeys(said))}",
        attempts=attempts,
        symbol=symbol,
        hint=hint or "`onetape doctor` says which vendors can be reached, with which keys",
    )


def _usual_kind(query: BarsQuery, first: Candidate, candidates: Iterable[Candidate]) -> Kind:
    """Return the kind that a series begins with.

    It is the same whether or not a key of a vendor of extended hours is set, where it can be.
    """
    who, timeframe = query.instrument, query.timeframe
    own = first.kind(who, timeframe)
    if own.session != "extended":
        return own
    kinds = [c.kind(who, timeframe) for c in candidates if not c.refusal(who, timeframe)]
    for other in (kind for kind in kinds if kind.session == "regular"):
        usual = replace(own, session=other.session, anchor=other.anchor)
        return usual if first.converted(query, usual) else own
    return own


def _lanes_of(
    query: BarsQuery, candidate: Candidate, kind: Kind, wanted: Kind, *, told: bool
) -> list[tuple[str, ...]]:
    if query.provider:
        return [(candidate.name,)]
    parts = lane_parts(query, candidate, kind, wanted, told=told)
    own = lane_parts(query, candidate, kind, wanted)
    return [parts] if parts == own else [parts, own]


def lane_parts(
    query: BarsQuery, candidate: Candidate, kind: Kind, wanted: Kind, *, told: bool = False
) -> tuple[str, ...]:
    """Name the lane for a candidate's bars: its hard differences, then its adjustment.

    Stock prices stand in the default lane where they can be converted exactly: adjusted for
    splits, raw from a vendor that also tells the actions, and of any adjustment where the actions
    are ``told`` by somebody. Other adjustments get their own.
    """
    parts = lane_of(kind, wanted)
    plain = query.instrument.asset_class != "stock" or candidate.adjustment in ("split", "unknown")
    if plain or told or (candidate.adjustment == "raw" and candidate.tells_actions):
        return parts
    return (*parts, candidate.adjustment)


def _ordered(
    lanes: Mapping[tuple[str, ...], list[Candidate]], query: BarsQuery
) -> list[tuple[tuple[str, ...], list[Candidate]]]:
    """Put the default lane first, then lanes of the very adjustment asked for, then the rest."""

    def rank(parts: tuple[str, ...]) -> int:
        return 0 if not parts else 1 if parts == (query.adjustment,) else 2

    return sorted(lanes.items(), key=lambda item: rank(item[0]))


def _nobody(query: BarsQuery, rejected: Mapping[str, str]) -> NoProviderError:
    reasons = "; ".join(f"{name} {why}" for name, why in rejected.items())
    return NoProviderError(
        f"No suitable provider found for {query}" + (f": {reasons}" if reasons else ""),
        symbol=query.instrument.symbol,
        hint="`onetape providers` shows who serves what; the rules name the order",
    )
