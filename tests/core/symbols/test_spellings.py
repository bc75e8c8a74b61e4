from __future__ import annotations

import pytest

from src.data.core.model.identity.instrument import Instrument
from src.data.core.symbols.classify import classify
from tests.core.symbols.test_classify import TABLES

NAMES: dict[str, dict[str, str]] = {
    "AAPL": {"alpha_vantage": "AAPL", "fmp": "AAPL", "eodhd": "AAPL.US", "finnhub": "AAPL"},
    "BRK.B": {"alpha_vantage": "BRK-B", "fmp": "BRK-B", "eodhd": "BRK-B.US", "finnhub": "BRK.B"},
    "SOL.US": {"alpha_vantage": "SOL", "fmp": "SOL", "eodhd": "SOL.US", "finnhub": "SOL"},
    "VOD.L": {"alpha_vantage": "VOD.LON", "fmp": "VOD.L", "eodhd": "VOD.LSE", "finnhub": "VOD.L"},
    "SHOP.TO": {"alpha_vantage": "SHOP.TRT", "eodhd": "SHOP.TO", "finnhub": "SHOP.TO"},
    "BHP.AX": {"fmp": "BHP.AX", "eodhd": "BHP.AU"},
    "BTCUSDT": {"alpha_vantage": "BTC-USD", "eodhd": "BTC-USD.CC", "finnhub": "BINANCE:BTCUSDT"},
    "ETH-BTC": {"alpha_vantage": "ETH-BTC", "eodhd": "ETH-BTC.CC", "finnhub": "BINANCE:ETHBTC"},
    "EUR/USD": {"alpha_vantage": "EUR-USD", "eodhd": "EURUSD.FOREX", "yahoo": "EURUSD=X"},
    "^GSPC": {"fmp": "^GSPC", "eodhd": "GSPC.INDX", "yahoo": "^GSPC"},
}


@pytest.mark.parametrize("symbol", NAMES)
def test_each_vendor_is_asked_in_its_own_words(symbol: str) -> None:
    found = classify(symbol, TABLES)
    assert isinstance(found, Instrument)
    assert {name: found.spelling(name) for name in NAMES[symbol]} == NAMES[symbol]
