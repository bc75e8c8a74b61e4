"""Binance: the list of all pairs that are traded, without the coins' names.

The format of the response is taken from a recorded response of ``/api/v3/exchangeInfo`` (2025-08),
the parameters from the vendor's documentation of that request. The list is large and is requested
once a week.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...model.identity.listings import Listing, plain_text
from ..dates import list_of
from ..fundamentals_table import Ask
from ..search_table import SearchTable


def _read(body: Any) -> Iterator[Listing]:
    """Parse the list ``symbols``; pairs that are not traded are left out.

    ::

        {"symbols": [{"symbol": "ETHBTC", "status": "TRADING", "baseAsset": "ETH",
                      "quoteAsset": "BTC"}]}
    """
    for row in list_of(body["symbols"]):
        if row["status"] == "TRADING":
            base, quote = plain_text(row["baseAsset"]), plain_text(row["quoteAsset"])
            yield Listing(f"{base}/{quote}", f"{base}/{quote}", "Binance", "crypto", quote)


TABLE = SearchTable(
    "binance",
    (
        Ask(
            "/api/v3/exchangeInfo",
            {"symbolStatus": "TRADING", "showPermissionSets": "false"},
            cost=20,
        ),
    ),
    _read,
    is_list=True,
)
