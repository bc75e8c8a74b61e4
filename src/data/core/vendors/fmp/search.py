"""Financial Modeling Prep: search by symbol and by company name, using two requests.

The format of the responses is taken from the response types of the client ``libfmp`` 0.12 (2026)
for ``/stable/search-symbol`` and ``/stable/search-name``; the responses do not contain a type.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...model.identity.listings import Listing, ListingType
from ..dates import list_of
from ..fundamentals_table import Ask, Key
from ..search_table import TEXT, SearchTable, listing_of

_TYPES: dict[str, ListingType] = {"CRYPTO": "crypto", "FOREX": "forex", "INDEX": "index"}
_PARAMS: dict[str, str | int] = {"query": TEXT, "limit": 25}


def _read(body: Any) -> Iterator[Listing]:
    """Parse a list of instruments; a currency pair gets the suffix that distinguishes it from a coin.

    Commodities are left out: ``GCUSD``, a future on gold, would mean a stock.

    ::

        [{"symbol": "AAPL", "name": "Apple Inc.", "currency": "USD",
          "exchangeFullName": "NASDAQ Global Select", "exchange": "NASDAQ"}]
    """
    for row in list_of(body):
        if row.get("exchange") == "COMMODITY":
            continue
        listing_type = _TYPES.get(row.get("exchange"), "other")
        symbol = f"{row['symbol']}=X" if listing_type == "forex" else row["symbol"]
        yield listing_of(symbol, row, "name", "exchange|exchangeFullName", listing_type, "currency")


TABLE = SearchTable(
    "fmp",
    (Ask("/stable/search-symbol", _PARAMS), Ask("/stable/search-name", _PARAMS)),
    _read,
    keys=(Key("FMP_API_KEY", param="apikey"),),
)
