"""An older import path of Binance's live feed."""

from .backtrader.live import BinanceLiveDataFeed as BinanceEnhancedFeed

__all__ = ["BinanceEnhancedFeed"]
