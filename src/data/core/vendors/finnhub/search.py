"""Finnhub: search for names of stocks; the results have no venue and no currency.

The format of the response is taken from responses of ``/search`` that users posted in public
threads about this vendor (2021).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...model.identity.listings import Listing
from ..dates import list_of
from ..fundamentals_table import Ask, Key
from ..search_table import TEXT, SearchTable, listing_of

_OURS = "BINANCE:"
_FUNDS = ("ETP", "Open-End Fund", "Closed-End Fund", "Mutual Fund")


def _read(body: Any) -> Iterator[Listing]:
    """Parse the list ``result``; pairs on exchanges other than Binance are left out.

    ::

        {"count": 1, "result": [{"description": "APPLE INC", "displaySymbol": "AAPL",
                                 "symbol": "AAPL", "type": "Common Stock"}]}
    """
    for row in list_of(body["result"]):
        symbol, listing_type = str(row["symbol"]), str(row.get("type"))
        if symbol.startswith(_OURS):
            yield listing_of(symbol.removeprefix(_OURS), row, "description", "", "crypto")
        elif ":" not in symbol:
            is_fund = listing_type in _FUNDS
            yield listing_of(symbol, row, "description", "", "fund" if is_fund else "stock")


TABLE = SearchTable(
    "finnhub",
    (Ask("/api/v1/search", {"q": TEXT}),),
    _read,
    keys=(Key("FINNHUB_API_KEY", header="X-Finnhub-Token"),),
)
