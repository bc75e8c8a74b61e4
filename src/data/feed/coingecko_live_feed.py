"""CoinGecko's live feed by its documented path."""

from __future__ import annotations

from .backtrader.live import CoinGeckoLiveDataFeed

__all__ = ["CoinGeckoLiveDataFeed"]
