"""The new name of an unknown symbol, or the likely intended one, without querying a vendor."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import Attempt, CacheError, DataError, SymbolNotFoundError, UnknownSymbolError
from ..cache.beside.names import NameCache
from ..cache.store import BarStore
from ..config.common_names import common_listings
from ..model.identity.listings import Listing
from ..model.identity.symbol_changes import concerning, known_by
from ..model.request.query import BarsQuery
from ..symbols.name_search import merged, nearest, propose
from .selection.candidates import are_of_files


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


# Reasons of attempts that say nothing about the symbol.
_SILENT = ("outage", "timeout", "quota", "no_key", "plan", "region", "unsupported", "configuration")


def _is_about_symbol(error: DataError) -> bool:
    """Return whether every vendor that answered reported that it does not know the symbol."""
    attempts: Sequence[Attempt] = getattr(error, "attempts", ())
    answers = [a for a in attempts if a.error is None or a.error.reason not in _SILENT]
    if are_of_files(attempts):  # a missing file says nothing about the symbol
        return False
    unknown = [isinstance(answer.error, SymbolNotFoundError) for answer in answers]
    return isinstance(error, UnknownSymbolError) or (bool(unknown) and all(unknown))


def suggest(error: DataError, store: BarStore) -> None:
    """Add similar symbols to ``error``, taken from stored, searched and well-known symbols.

    They are added only if every vendor that answered reported that the symbol is unknown. If others
    did not answer, they are added only if the symbol is not itself a known one.
    """
    if error.candidates or not error.symbol or not _is_about_symbol(error):
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
