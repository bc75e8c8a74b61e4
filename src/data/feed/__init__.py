"""Live bars: streams, polls and replays that continue history without a seam.

Classes are loaded when they are named: nothing here needs Backtrader until one of its datas is.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .base_live_data_feed import BaseLiveDataFeed
    from .binance_live_feed import BinanceLiveDataFeed
    from .coingecko_live_feed import CoinGeckoLiveDataFeed
    from .data_feed_factory import DataFeedFactory
    from .file_data_feed import FileDataFeed
    from .ibkr_live_feed import IBKRLiveDataFeed
    from .live_feed import LiveFeed
    from .yahoo_live_feed import YahooLiveDataFeed

_HOMES = {
    "BaseLiveDataFeed": "base_live_data_feed",
    "BinanceLiveDataFeed": "binance_live_feed",
    "CoinGeckoLiveDataFeed": "coingecko_live_feed",
    "DataFeedFactory": "data_feed_factory",
    "FileDataFeed": "file_data_feed",
    "IBKRLiveDataFeed": "ibkr_live_feed",
    "LiveFeed": "live_feed",
    "YahooLiveDataFeed": "yahoo_live_feed",
}

__all__ = (
    "BaseLiveDataFeed",
    "BinanceLiveDataFeed",
    "CoinGeckoLiveDataFeed",
    "DataFeedFactory",
    "FileDataFeed",
    "IBKRLiveDataFeed",
    "LiveFeed",
    "YahooLiveDataFeed",
)


def __getattr__(name: str) -> Any:
    """Resolve a class at its home."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
