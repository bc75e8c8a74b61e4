"""Twelve Data: search for names of stocks, funds and pairs, on venues whose codes are known here.

The format of the response is taken from test fixtures of public clients of ``/symbol_search``
(2026), and from the vendor's own article on its lists of symbols.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...model.identity.listings import Listing, ListingType
from ..dates import list_of
from ..fundamentals_table import Ask, Key
from ..search_table import TEXT, SearchTable, listing_of
from .bars import VENUES

_SUFFIXES = {mic: suffix for suffix, mic in VENUES.items()}
_TYPES: dict[str, ListingType] = {
    "Digital Currency": "crypto",
    "Physical Currency": "forex",
    "Index": "index",
    "ETF": "fund",
    "Mutual Fund": "fund",
}


def _read(body: Any) -> Iterator[Listing]:
    """Parse the list ``data``; foreign listings are left out if this library has no suffix for the venue.

    ::

        {"data": [{"symbol": "AAPL", "instrument_name": "Apple Inc", "exchange": "NASDAQ",
                   "mic_code": "XNGS", "instrument_type": "Common Stock",
                   "country": "United States", "currency": "USD"}], "status": "ok"}
    """
    for row in list_of(body["data"]):
        listing_type = _TYPES.get(row.get("instrument_type"), "stock")
        symbol = _symbol(row, listing_type)
        if symbol:
            yield listing_of(symbol, row, "instrument_name", "exchange", listing_type, "currency")


def _symbol(row: Any, listing_type: ListingType) -> str:
    symbol = str(row["symbol"])
    if listing_type in ("crypto", "forex"):
        return symbol  # a slash separates the pair
    if listing_type == "index":
        return f"^{symbol}"
    if row.get("country") == "United States":
        return symbol.replace(".", "-")
    suffix = _SUFFIXES.get(str(row.get("mic_code")))
    return f"{symbol}.{suffix}" if suffix else ""


TABLE = SearchTable(
    "twelvedata",
    (Ask("/symbol_search", {"symbol": TEXT, "outputsize": 30}),),
    _read,
    keys=(Key("TWELVE_DATA_API_KEY", header="Authorization", prefix="apikey "),),
)
