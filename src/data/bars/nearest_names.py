"""What an unknown symbol may have been meant for, out of what is held; no vendor is asked."""

from __future__ import annotations

from ..cache.names import NameCache
from ..cache.store import BarStore
from ..errors import CacheError, UnknownSymbolError
from ..model.listing import Listing
from ..symbols.name_search import merged, nearest


def suggest(error: UnknownSymbolError, store: BarStore) -> None:
    """Let ``error`` name the nearest symbols that are stored, or that a search has listed."""
    if error.nearest or not error.symbol:
        return
    try:
        stored = [Listing(symbol) for symbol in store.symbols()]
    except CacheError:
        stored = []
    listed = merged([*NameCache(store.root).all_listings(), stored])
    near = nearest(error.symbol, listed.values())
    if near:
        error.nearest = tuple(one.symbol for one in near)
        error.hint = f"did you mean {', '.join(map(str, near))}? {error.hint or ''}".rstrip()
