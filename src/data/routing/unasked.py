"""Who may be asked, and why a vendor is no candidate: by the rules, what it serves, its key."""

from __future__ import annotations

from typing import Any

from ..errors import DataError, MissingCredentialsError, QueryError
from ..model.query import BarsQuery
from ..model.series import SeriesKey
from ..provider_selector import ProviderSelector
from .candidates import Lane, Route, candidates_of, route
from .keeping import actions_known
from .rehearsing import Theatre


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
    told = actions_known(theatre.store, query, theatre.clock.now_ms())
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


def _reason(selector: ProviderSelector, query: BarsQuery, name: str, named: tuple[str, ...]) -> str:
    if name not in named:
        return "the rules do not name it for this" if query.provider is None else (
            f"{query.provider} alone was asked for"
        )  # fmt: skip
    try:
        asked = {c.name: c for c in candidates_of(selector, query)}
    except DataError:
        asked = {}
    if name in asked:
        return asked[name].refusal(query.instrument, query.timeframe)
    return why_not_made(selector, name) or "the rules switch failover off"


def why_not_made(selector: ProviderSelector, name: str) -> str:
    """Return why there is no downloader of a vendor; empty where there is one."""
    from ..downloader.configured import constructor_arguments
    from ..downloader.foreign import call_foreign
    from ..downloader.registry import canonical_name, downloader_class

    if selector._initialize_downloader(name) is not None:
        return ""
    if canonical_name(name) is None:
        return "this version does not serve it"
    try:
        cls: Any = downloader_class(name)
        # The selector only logs why: it is made once more to hear it.
        arguments = constructor_arguments(selector.parsed_rules.provider(name))
        if selector.make_sender is not None:
            arguments["sender"] = selector.make_sender(name)
        call_foreign(lambda: cls(**arguments), name)
    except MissingCredentialsError as error:
        return f"no key: {error.hint}"
    except DataError as error:
        return str(error)
    return "it could not be made"
