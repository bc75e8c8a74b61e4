"""How the answers of each vendor's search are read; rows as its documents and clients have them."""

from __future__ import annotations

from typing import Any

import pytest

from src.data.core.model.identity.listings import Listing
from src.data.core.registry import VENDORS
from src.data.core.vendors.search_table import search_of

QUOTE = {"exchange": "NMS", "shortname": "Apple Inc.", "quoteType": "EQUITY", "symbol": "AAPL",
         "index": "quotes", "score": 2953800, "typeDisp": "Equity", "exchDisp": "NASDAQ"}  # fmt: skip
FOUND = {"symbol": "VOD", "instrument_name": "Vodafone", "exchange": "LSE", "mic_code": "XLON",
         "instrument_type": "Common Stock", "country": "United Kingdom", "currency": "GBp"}  # fmt: skip
ROW = {"Code": "SBIN", "Exchange": "NSE", "Name": "State Bank of India", "Type": "Common Stock",
       "Country": "India", "Currency": "INR", "ISIN": "INE062A01020"}  # fmt: skip
PAIR = {"symbol": "ETHBTC", "status": "TRADING", "baseAsset": "ETH", "quoteAsset": "BTC"}


@pytest.mark.parametrize(
    "vendor, body, wanted",
    [
        ("yahoo", {"quotes": [QUOTE]}, [Listing("AAPL", "Apple Inc.", "NASDAQ", "stock")]),
        ("yahoo", {"quotes": [QUOTE | {"quoteType": "OPTION"}]}, []),
        ("yahoo", {"quotes": [QUOTE | {"symbol": None}, {"name": "not listed"}]}, []),
        ("fmp", [{"symbol": "AAPL", "name": "Apple Inc.", "currency": "USD",
                  "exchangeFullName": "NASDAQ Global Select", "exchange": "NASDAQ"}],
         [Listing("AAPL", "Apple Inc.", "NASDAQ", "other", "USD")]),
        ("fmp", [{"symbol": "EURUSD", "name": "EUR/USD", "currency": "USD", "exchange": "FOREX"}],
         [Listing("EURUSD=X", "EUR/USD", "FOREX", "forex", "USD")]),
        ("fmp", [{"symbol": "GCUSD", "name": "Gold", "currency": "USD", "exchange": "COMMODITY"}], []),
        ("twelvedata", {"data": [FOUND]}, [Listing("VOD.L", "Vodafone", "LSE", "stock", "GBp")]),
        ("twelvedata", {"data": [FOUND | {"mic_code": "XXXX"}]}, []),
        ("twelvedata", {"data": [FOUND | {"symbol": "BRK.B", "country": "United States"}]},
         [Listing("BRK-B", "Vodafone", "LSE", "stock", "GBp")]),
        ("twelvedata", {"data": [FOUND | {"symbol": "BTC/USD", "instrument_type": "Digital Currency"},
                                 FOUND | {"symbol": "EUR/USD", "instrument_type": "Physical Currency"},
                                 FOUND | {"symbol": "SPX", "instrument_type": "Index"}]},
         [Listing("BTC/USD", "Vodafone", "LSE", "crypto", "GBp"),
          Listing("EUR/USD", "Vodafone", "LSE", "forex", "GBp"),
          Listing("^SPX", "Vodafone", "LSE", "index", "GBp")]),
        ("eodhd", [ROW], [Listing("SBIN.NS", "State Bank of India", "NSE", "stock", "INR")]),
        ("eodhd", [ROW | {"Code": "AAPL", "Exchange": "US", "Type": "ETF"}],
         [Listing("AAPL", "State Bank of India", "US", "fund", "INR")]),
        ("eodhd", [ROW | {"Code": "GSPC", "Exchange": "INDX"}],
         [Listing("^GSPC", "State Bank of India", "INDX", "index", "INR")]),
        ("finnhub", {"count": 1, "result": [{"description": "Boeing", "displaySymbol": "BCOC.BE",
                                             "symbol": "BCOC.BE", "type": ""}]},
         [Listing("BCOC.BE", "Boeing", "", "stock")]),
        ("finnhub", {"result": [{"description": "x", "symbol": "KRAKEN:XBT"}]}, []),
        ("binance", {"symbols": [PAIR, PAIR | {"status": "BREAK"}]},
         [Listing("ETH/BTC", "ETH/BTC", "Binance", "crypto", "BTC")]),
    ],
)  # fmt: skip
def test_search_responses_are_parsed_as_listings(
    vendor: str, body: Any, wanted: list[Listing]
) -> None:
    table = search_of(vendor)
    assert table is not None and table.vendor == vendor
    assert list(table.read(body)) == wanted


@pytest.mark.parametrize("vendor", [name for name, row in VENDORS.items() if row.search])
@pytest.mark.parametrize("body", [None, {}, {"data": {}, "quotes": 5, "symbols": "x"}, [1], "text"])
def test_a_search_response_in_another_format_is_refused(vendor: str, body: Any) -> None:
    table = search_of(vendor)
    assert table is not None
    with pytest.raises((KeyError, TypeError, AttributeError)):
        list(table.read(body))
