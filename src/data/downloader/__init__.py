"""Older import path of the classes in :mod:`onetape.data.vendors`; each is imported on first access."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..vendors.alpaca.bars import AlpacaDataDownloader
    from ..vendors.alpha_vantage.bars import AlphaVantageDataDownloader
    from ..vendors.base import BaseDataDownloader
    from ..vendors.binance.bars import BinanceDataDownloader
    from ..vendors.ccxt.bars import CCXTDataDownloader
    from ..vendors.coingecko.bars import CoinGeckoDataDownloader
    from ..vendors.demo.bars import DemoDataDownloader
    from ..vendors.eodhd.bars import EODHDDataDownloader
    from ..vendors.factory import DataDownloaderFactory
    from ..vendors.finnhub.bars import FinnhubDataDownloader
    from ..vendors.fmp.bars import FMPDataDownloader
    from ..vendors.ibkr.bars import IBKRDataDownloader
    from ..vendors.local.bars import LocalDataDownloader
    from ..vendors.mock.bars import MockDataDownloader
    from ..vendors.polygon.bars import PolygonDataDownloader
    from ..vendors.tiingo.bars import TiingoDataDownloader
    from ..vendors.twelvedata.bars import TwelveDataDataDownloader
    from ..vendors.yahoo.bars import YahooDataDownloader

_HOMES = {
    "AlpacaDataDownloader": "alpaca.bars",
    "AlphaVantageDataDownloader": "alpha_vantage.bars",
    "BaseDataDownloader": "base",
    "BinanceDataDownloader": "binance.bars",
    "CCXTDataDownloader": "ccxt.bars",
    "CoinGeckoDataDownloader": "coingecko.bars",
    "DataDownloaderFactory": "factory",
    "DemoDataDownloader": "demo.bars",
    "EODHDDataDownloader": "eodhd.bars",
    "FMPDataDownloader": "fmp.bars",
    "FinnhubDataDownloader": "finnhub.bars",
    "IBKRDataDownloader": "ibkr.bars",
    "LocalDataDownloader": "local.bars",
    "MockDataDownloader": "mock.bars",
    "PolygonDataDownloader": "polygon.bars",
    "TiingoDataDownloader": "tiingo.bars",
    "TwelveDataDataDownloader": "twelvedata.bars",
    "YahooDataDownloader": "yahoo.bars",
}

__all__ = (
    "AlpacaDataDownloader",
    "AlphaVantageDataDownloader",
    "BaseDataDownloader",
    "BinanceDataDownloader",
    "CCXTDataDownloader",
    "CoinGeckoDataDownloader",
    "DataDownloaderFactory",
    "DemoDataDownloader",
    "EODHDDataDownloader",
    "FMPDataDownloader",
    "FinnhubDataDownloader",
    "IBKRDataDownloader",
    "LocalDataDownloader",
    "MockDataDownloader",
    "PolygonDataDownloader",
    "TiingoDataDownloader",
    "TwelveDataDataDownloader",
    "YahooDataDownloader",
)


def __getattr__(name: str) -> Any:
    """Import a class from its current module."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"..vendors.{_HOMES[name]}", __name__), name)
