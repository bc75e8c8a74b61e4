"""EODHD: search for names of instruments on some seventy venues.

The format of the response is taken from the vendor's page on its search, and from a row in a public
project's sources (2022). A response has at most 50 rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...model.identity.listings import Listing, ListingType
from ..dates import list_of
from ..fundamentals_table import Ask, Key
from ..search_table import TEXT, SearchTable, listing_of

# Maps the vendor's exchanges to this library's suffixes if they differ.
_SUFFIXES = {
    "US": "",
    "LSE": ".L",
    "XETRA": ".DE",
    "STU": ".SG",
    "AU": ".AX",
    "SHG": ".SS",
    "SHE": ".SZ",
    "KO": ".KS",
    "NSE": ".NS",
    "BSE": ".BO",
    "KLSE": ".KL",
    "WAR": ".WA",
    "BUD": ".BD",
    "JSE": ".JO",
}
_MARKS: dict[str, tuple[str, ListingType]] = {
    "CC": ("{}", "crypto"),
    "FOREX": ("{}=X", "forex"),
    "INDX": ("^{}", "index"),
}


def _read(body: Any) -> Iterator[Listing]:
    """Parse a list of instruments.

    ::

        [{"Code": "SBIN", "Exchange": "NSE", "Name": "State Bank of India", "Type": "Common Stock",
          "Country": "India", "Currency": "INR", "ISIN": "INE062A01020", "previousClose": 529.6,
          "previousCloseDate": "2022-02-11"}]
    """
    for row in list_of(body):
        code, exchange = str(row["Code"]), str(row["Exchange"])
        is_fund = str(row.get("Type")).upper() in ("ETF", "FUND", "MUTUAL FUND")
        form, listing_type = _MARKS.get(exchange, ("", "fund" if is_fund else "stock"))
        symbol = form.format(code) if form else code + _SUFFIXES.get(exchange, f".{exchange}")
        yield listing_of(symbol, row, "Name", "Exchange", listing_type, "Currency")


TABLE = SearchTable(
    "eodhd",
    (Ask(f"/api/search/{TEXT}", {"fmt": "json", "limit": 30}),),
    _read,
    keys=(Key("EODHD_API_KEY", param="api_token"),),
)
