"""Vendors: what each can serve, how to ask it, and what its answers mean.

The classes can be imported from here, too; each one's module is loaded when it is named.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .alpha_vantage_data_downloader import AlphaVantageDataDownloader
    from .base_data_downloader import BaseDataDownloader
    from .binance_data_downloader import BinanceDataDownloader
    from .data_downloader_factory import DataDownloaderFactory
    from .eodhd_data_downloader import EODHDDataDownloader
    from .finnhub_data_downloader import FinnhubDataDownloader
    from .fmp_data_downloader import FMPDataDownloader
    from .local_data_downloader import LocalDataDownloader
    from .yahoo_data_downloader import YahooDataDownloader

_HOMES = {
    "AlphaVantageDataDownloader": "alpha_vantage_data_downloader",
    "BaseDataDownloader": "base_data_downloader",
    "BinanceDataDownloader": "binance_data_downloader",
    "DataDownloaderFactory": "data_downloader_factory",
    "EODHDDataDownloader": "eodhd_data_downloader",
    "FMPDataDownloader": "fmp_data_downloader",
    "FinnhubDataDownloader": "finnhub_data_downloader",
    "LocalDataDownloader": "local_data_downloader",
    "YahooDataDownloader": "yahoo_data_downloader",
}

__all__ = (
    "AlphaVantageDataDownloader",
    "BaseDataDownloader",
    "BinanceDataDownloader",
    "DataDownloaderFactory",
    "EODHDDataDownloader",
    "FMPDataDownloader",
    "FinnhubDataDownloader",
    "LocalDataDownloader",
    "YahooDataDownloader",
)


def __getattr__(name: str) -> Any:
    """Resolve a class at its home."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
