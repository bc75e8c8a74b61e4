"""What an unknown symbol may have been meant for, out of what is held; no vendor is asked."""

from __future__ import annotations

from ..cache.names import NameCache
from ..cache.store import BarStore
from ..config.common_names import common_listings
from ..errors import CacheError, DataError, UnknownSymbolError
from ..model.listings import Listing
from ..symbols.name_search import merged, nearest, propose


def suggest(error: DataError, store: BarStore) -> None:
    """Let ``error`` name the nearest symbols: stored, listed by a search, or else well known.

    Of an error that says nothing of the symbol, such as an outage, only where the symbol is none of
    these itself.
    """
    if error.candidates or not error.symbol:
        return
    try:
        stored = [Listing(symbol) for symbol in store.symbols()]
    except CacheError:
        stored = []
    listings = merged([*NameCache(store.root).all_listings(), stored])
    packaged = merged([common_listings()])
    if isinstance(error, UnknownSymbolError) or error.symbol not in listings | packaged:
        near = nearest(error.symbol, listings.values()) or nearest(error.symbol, packaged.values())
        propose(error, near)
