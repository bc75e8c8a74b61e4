"""Yahoo: search for names of all instruments for which it has charts; no key is needed.

The format of the response is taken from test fixtures and typed clients of public projects that use
``/v1/finance/search`` (including yfinance's ``Search``), as of 2026; it has no currency.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...model.identity.listings import Listing, ListingType
from ..dates import list_of
from ..fundamentals_table import Ask
from ..search_table import TEXT, SearchTable, listing_of

_TYPES: dict[str, ListingType] = {
    "EQUITY": "stock",
    "ETF": "fund",
    "MUTUALFUND": "fund",
    "INDEX": "index",
    "CURRENCY": "forex",
    "CRYPTOCURRENCY": "crypto",
    "FUTURE": "future",
}


def _read(body: Any) -> Iterator[Listing]:
    """Parse ``{"quotes": [...]}``; options and unlisted companies are left out.

    ::

        {"quotes": [{"exchange": "NMS", "shortname": "Apple Inc.", "quoteType": "EQUITY",
                     "symbol": "AAPL", "typeDisp": "Equity", "longname": "Apple Inc.",
                     "exchDisp": "NASDAQ", "isYahooFinance": true}]}
    """
    for row in list_of(body["quotes"]):
        listing_type = _TYPES.get(row.get("quoteType"))
        if listing_type is not None and row.get("symbol"):
            yield listing_of(
                row["symbol"], row, "longname|shortname", "exchDisp|exchange", listing_type
            )


TABLE = SearchTable(
    "yahoo",
    (Ask("/v1/finance/search", {"q": TEXT, "quotesCount": 25, "newsCount": 0}),),
    _read,
)
