"""Who could answer, in order, and why the others could not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from ..cache.legacy import SAMPLE_LANE
from ..errors import Attempt, NoProviderError, UnknownProviderError
from ..model.kind import Kind
from ..model.query import BarsQuery
from ..model.series import lane_of
from ..model.timeframe import Timeframe
from .candidate import Candidate

__all__ = ("Lane", "Route", "Selector", "candidates_of", "route")

_LOOK = "`onetape providers` lists the vendors and what each one lacks"


class Selector(Protocol):
    """What the router needs of the provider selector; users' tests replace these two."""

    downloaders: dict[str, Any]

    def get_provider_with_failover(self, symbol: str, timeframe: str) -> list[str]:
        """Return vendor names in the order to be asked."""


@dataclass(frozen=True)
class Lane:
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
    """

    lanes: tuple[Lane, ...]
    rejected: Mapping[str, str] = field(default_factory=dict)


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
    from ..downloader.configured import not_made

    error = not_made(selector, name)
    return UnknownProviderError(
        f"provider {name!r} cannot be used for {query}" + (f": {error.args[0]}" if error else ""),
        provider=name,
        symbol=query.instrument.symbol,
        hint=error.hint if error and error.hint else _LOOK,
    )


def _candidate(selector: Selector, name: str, timeframe: Timeframe) -> Candidate | None:
    # Imported here: an answer from the cache needs no vendor and no HTTP library.
    from ..downloader.base_data_downloader import is_ours
    from ..downloader.configured import supplied

    downloader = supplied(selector, name)
    if downloader is None:
        return None
    capabilities = downloader.capabilities.at(timeframe) if is_ours(downloader) else None
    return Candidate(name, downloader, capabilities)


def route(
    query: BarsQuery, candidates: Sequence[Candidate], stored: Kind | None, *, told: bool = False
) -> Route:
    """Sort candidates into lanes.

    Args:
        query: what is wanted.
        candidates: in rule order.
        stored: kind of the bars in the default lane, where there are any.
        told: whether the splits and dividends from the asked range on are known already.

    The wanted kind is the stored one, else that of the first capable candidate. Where its bars
    reach beyond the regular hours and another's keep to them, it is those hours. A pinned
    vendor's bars go into a lane of its own name. Who leans on actions that somebody tells stands in
    two lanes: beside the others, and in its own in case that nobody tells them after all. So does
    who has to be converted: where that does not reach, its own bars may still stand in for all.

    Raises:
        NoProviderError: nobody is left.
    """
    tellers = tuple(c for c in candidates if c.tells_actions)
    rejected: dict[str, str] = {}
    wanted, lanes = stored, dict[tuple[str, ...], list[Candidate]]()
    for candidate in candidates:
        if reason := candidate.refusal(query.instrument, query.timeframe):
            rejected[candidate.name] = reason
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
    if not lanes:
        raise _nobody(query, rejected)
    return Route(
        tuple(
            Lane(p, tuple(c), c[0].kind(query.instrument, query.timeframe), tellers)
            for p, c in _ordered(lanes, query)
        ),
        rejected,
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
