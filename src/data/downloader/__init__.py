"""Vendors: what each can serve, how to ask it, and what its answers mean.

The classes can be imported from here, too; each one's module is loaded when it is named.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .alpaca_data_downloader import AlpacaDataDownloader
    from .alpha_vantage_data_downloader import AlphaVantageDataDownloader
    from .base_data_downloader import BaseDataDownloader
    from .binance_data_downloader import BinanceDataDownloader
    from .ccxt_data_downloader import CCXTDataDownloader
    from .coingecko_data_downloader import CoinGeckoDataDownloader
    from .data_downloader_factory import DataDownloaderFactory
    from .eodhd_data_downloader import EODHDDataDownloader
    from .finnhub_data_downloader import FinnhubDataDownloader
    from .fmp_data_downloader import FMPDataDownloader
    from .ibkr_data_downloader import IBKRDataDownloader
    from .local_data_downloader import LocalDataDownloader
    from .mock_data_downloader import MockDataDownloader
    from .polygon_data_downloader import PolygonDataDownloader
    from .tiingo_data_downloader import TiingoDataDownloader
    from .twelvedata_data_downloader import TwelveDataDataDownloader
    from .yahoo_data_downloader import YahooDataDownloader

_HOMES = {
    "AlpacaDataDownloader": "alpaca_data_downloader",
    "AlphaVantageDataDownloader": "alpha_vantage_data_downloader",
    "BaseDataDownloader": "base_data_downloader",
    "BinanceDataDownloader": "binance_data_downloader",
    "CCXTDataDownloader": "ccxt_data_downloader",
    "CoinGeckoDataDownloader": "coingecko_data_downloader",
    "DataDownloaderFactory": "data_downloader_factory",
    "EODHDDataDownloader": "eodhd_data_downloader",
    "FMPDataDownloader": "fmp_data_downloader",
    "FinnhubDataDownloader": "finnhub_data_downloader",
    "IBKRDataDownloader": "ibkr_data_downloader",
    "LocalDataDownloader": "local_data_downloader",
    "MockDataDownloader": "mock_data_downloader",
    "PolygonDataDownloader": "polygon_data_downloader",
    "TiingoDataDownloader": "tiingo_data_downloader",
    "TwelveDataDataDownloader": "twelvedata_data_downloader",
    "YahooDataDownloader": "yahoo_data_downloader",
}

__all__ = (
    "AlpacaDataDownloader",
    "AlphaVantageDataDownloader",
    "BaseDataDownloader",
    "BinanceDataDownloader",
    "CCXTDataDownloader",
    "CoinGeckoDataDownloader",
    "DataDownloaderFactory",
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
    """Resolve a class at its home."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
