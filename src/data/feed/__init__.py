"""Live bars: streams, polling and replays that continue the history without a gap.

Classes are loaded on first use: Backtrader is not needed until one of its data feeds is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .backtrader.live import (
        BaseLiveDataFeed,
        BinanceLiveDataFeed,
        CoinGeckoLiveDataFeed,
        IBKRLiveDataFeed,
        YahooLiveDataFeed,
    )
    from .file_data_feed import FileDataFeed
    from .live_feed import LiveFeed

_HOMES = {
    "BaseLiveDataFeed": "backtrader.live",
    "BinanceLiveDataFeed": "backtrader.live",
    "CoinGeckoLiveDataFeed": "backtrader.live",
    "DataFeedFactory": "data_feed_factory",  # an older path
    "FileDataFeed": "file_data_feed",
    "IBKRLiveDataFeed": "backtrader.live",
    "LiveFeed": "live_feed",
    "YahooLiveDataFeed": "backtrader.live",
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
    """Import the public class ``name`` from its module on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
