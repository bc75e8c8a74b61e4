"""Who may be asked, and why a vendor is no candidate: by the rules, what it serves, its key."""

from __future__ import annotations

from ..errors import DataError, MissingCredentialsError, QueryError
from ..model.query import BarsQuery
from ..model.series import SeriesKey
from ..provider_selector import ProviderSelector
from .candidates import Lane, Route, candidates_of, route
from .keeping import actions_known
from .rehearsing import Theatre
from .trading_days import TradingDays

SWITCHED_OFF = "the rules switch failover off"


def unasked(
    selector: ProviderSelector, query: BarsQuery, *, all_there: bool = False
) -> dict[str, str]:
    """Return vendor to why it is not asked for ``query``; nobody is asked.

    Args:
        selector: the rules, and what has been made of them.
        query: what is wanted.
        all_there: also vendors that the rules do not name for it.
    """
    named = named_for(selector, query)
    found = {}
    for name in dict.fromkeys([*named, *(selector.provider_names() if all_there else ())]):
        if reason := _reason(selector, query, name, named):
            found[name] = reason
    return found


def way_of(theatre: Theatre, query: BarsQuery) -> Route:
    """Return where the bars of ``query`` may come from.

    Raises:
        NoProviderError, UnknownProviderError: from nowhere.
    """
    key = SeriesKey(query.instrument.symbol, query.timeframe)
    stored = None if query.provider else theatre.store.view(key).kind
    told = actions_known(theatre.store, query, TradingDays(theatre.clock))
    return route(query, candidates_of(theatre.selector, query), stored, told=told)


def differences(first: Lane, other: Lane) -> str:
    """Return in words why the bars of two lanes do not mix."""
    pairs = first.kind.differences(other.kind).values()
    kind = ", ".join(f"{theirs} instead of {ours}" for ours, theirs in pairs)
    return kind or f"{'@'.join(other.parts)} prices"


def named_for(selector: ProviderSelector, query: BarsQuery) -> tuple[str, ...]:
    """Return the pinned vendor, else those that the rules name, in order."""
    if query.provider is not None:
        return (query.provider,)
    try:
        return selector.rule_for(query.instrument, query.timeframe).vendors
    except QueryError:
        return ()


def not_named(query: BarsQuery) -> str:
    """Return why a vendor is not asked that neither the rules nor the request name."""
    if query.provider is None:
        return "the rules do not name it for this"
    return f"{query.provider} alone was asked for"


def _reason(selector: ProviderSelector, query: BarsQuery, name: str, named: tuple[str, ...]) -> str:
    if name not in named:
        return not_named(query)
    try:
        asked = {c.name: c for c in candidates_of(selector, query)}
    except DataError:
        asked = {}
    if name in asked:
        return asked[name].refusal(query.instrument, query.timeframe)
    from ..downloader.configured import not_made

    error = not_made(selector, name)
    if error is None:
        return SWITCHED_OFF
    return f"no key: {error.hint}" if isinstance(error, MissingCredentialsError) else str(error)
