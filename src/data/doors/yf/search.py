"""``Search``, which finds symbols by name."""

from __future__ import annotations

from typing import Any, NoReturn

from ...core.model.identity.listings import Listing
from ...data_manager import DataManager, get_data_manager
from ...errors import DataError
from .arguments import refuse
from .download import SESSION
from .not_served import refuse_name

__all__ = ["Search"]

_OTHERS = ("news", "lists", "research", "nav")
_NAMES_ALONE = "only symbols and names are searched; use yfinance alongside onetape for the rest"
# Maps our types of instruments to Yahoo's.
_TYPES = {
    "stock": "EQUITY",
    "fund": "ETF",
    "crypto": "CRYPTOCURRENCY",
    "forex": "CURRENCY",
    "index": "INDEX",
    "future": "FUTURE",
    "other": "NONE",
}


class Search:
    """A search for instruments whose symbol or name matches a text, like ``yfinance.Search``.

    Examples:
        >>> from onetape import yf
        >>> symbols = [quote["symbol"] for quote in yf.Search("apple").quotes]

    Args:
        query: Part of a symbol or name.
        max_results: Maximum number of results.
        news_count, lists_count: 0 or yfinance's default of 8; news and lists are not supported.
        include_cb, include_nav_links, include_research: Not supported; must have their defaults.
        include_cultural_assets, enable_fuzzy_query: Not supported; must have their defaults.
        recommended, session: Not supported; must have their defaults.
        timeout: Seconds to wait for vendors.
        raise_errors: Whether a failed search raises an error; otherwise, it has no results.

    Attributes:
        quotes: Dict for each instrument found: ``symbol``, ``shortname``, ``longname``,
            ``exchange``, ``quoteType``, ``currency``.

    Raises:
        QueryError: An argument is invalid or not supported.
        AllProvidersFailedError: No vendor answered, and ``raise_errors`` is set.
    """

    def __init__(
        self,
        query: str,
        max_results: int = 8,
        news_count: int = 8,
        lists_count: int = 8,
        include_cb: bool = True,
        include_nav_links: bool = False,
        include_research: bool = False,
        include_cultural_assets: bool = False,
        enable_fuzzy_query: bool = False,
        recommended: int = 8,
        session: None = None,
        timeout: float | None = 30,
        raise_errors: bool = True,
    ) -> None:
        refuse("session", session is not None, SESSION)
        others = {
            "news_count": news_count not in (0, 8),
            "lists_count": lists_count not in (0, 8),
            "include_cb=False": not include_cb,
            "include_nav_links=True": include_nav_links,
            "include_research=True": include_research,
            "recommended": recommended != 8,
            "include_cultural_assets=True": include_cultural_assets,
            "enable_fuzzy_query=True": enable_fuzzy_query,
        }
        for name, is_asked in others.items():
            refuse(name, is_asked, _NAMES_ALONE)
        self.query, self.max_results = query, max_results
        self.timeout, self.raise_errors = timeout, raise_errors
        self.quotes: list[dict[str, Any]] = []
        self.search()

    def __getattr__(self, name: str) -> NoReturn:
        refuse_name(f"Search.{name}", _NAMES_ALONE if name in _OTHERS else None)

    def search(self) -> Search:
        """Search again, and return this object."""
        manager = get_data_manager()
        try:
            listings = manager.search(self.query, self.max_results, timeout=self.timeout)
        except DataError:
            if self.raise_errors:
                raise
            listings = []
        self.quotes = [
            {
                "symbol": _ticker(manager, listing),
                "shortname": listing.name,
                "longname": listing.name,
                "exchange": listing.venue,
                "quoteType": _TYPES[listing.type],
                "currency": listing.currency,
            }
            for listing in listings
        ]
        return self

    @property
    def all(self) -> dict[str, list[dict[str, Any]]]:
        """All results by kind; there are only quotes."""
        return {"quotes": self.quotes}


def _ticker(manager: DataManager, listing: Listing) -> str:
    """Return a symbol in Yahoo's spelling, such as ``BTC-USD``, if Yahoo lists it."""
    if listing.vendor != "yahoo":
        return listing.symbol
    spelled: str = manager.provider_selector.instrument(listing.symbol).spelling("yahoo")
    return spelled
