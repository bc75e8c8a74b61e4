"""The new name of an unknown symbol, or the likely intended one, without querying a vendor."""

from __future__ import annotations

from ..cache.names import NameCache
from ..cache.store import BarStore
from ..config.common_names import common_listings
from ..errors import CacheError, DataError, UnknownSymbolError
from ..model.listings import Listing
from ..model.query import BarsQuery
from ..model.symbol_changes import concerning, known_by
from ..symbols.name_search import merged, nearest, propose


def explain(error: DataError, query: BarsQuery, store: BarStore) -> None:
    """Add the new name of a renamed symbol to the error of an unanswered query.

    If no rename is recorded, the nearest symbols are added instead; see :func:`suggest`.
    """
    symbol = query.instrument.symbol
    try:
        changes = known_by(store.actions(symbol).changes, query.opened_by_ms)
    except CacheError:
        changes = []
    relevant = concerning(changes, symbol, query.span, intraday=query.timeframe.is_intraday)
    if relevant:
        sentences = "; ".join(change.sentence(symbol) for change in relevant)
        error.args = (f"{sentences}. {error.args[0]}", *error.args[1:])
    successors = [one.successor for one in relevant if one.ends(symbol) and one.successor]
    if successors:
        error.candidates = tuple(dict.fromkeys(reversed(successors)))
        error.hint = f"use {error.candidates[0]}"
    suggest(error, store)


def _has_no_network(error: DataError) -> bool:
    """Return whether no vendor could be reached, in which case the error is not about the symbol."""
    attempts = () if isinstance(error, UnknownSymbolError) else getattr(error, "attempts", ())
    return any(getattr(attempt.error, "is_own", False) for attempt in attempts)


def suggest(error: DataError, store: BarStore) -> None:
    """Add similar symbols to ``error``, taken from stored, searched and well-known symbols.

    If the error is not about the symbol itself (for example, an outage), they are added only if the
    symbol is not itself a known one.
    """
    if error.candidates or not error.symbol or _has_no_network(error):
        return
    try:
        stored = [Listing(symbol) for symbol in store.symbols()]
    except CacheError:
        stored = []
    listings = merged([*NameCache(store.root).all_listings(), stored])
    packaged = merged([common_listings()])
    if isinstance(error, UnknownSymbolError) or error.symbol not in listings | packaged:
        names = nearest(error.symbol, listings.values()) or nearest(error.symbol, packaged.values())
        propose(error, names)
