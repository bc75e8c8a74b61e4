"""An older path to Binance's live feed."""

from .backtrader.live import BinanceLiveDataFeed as BinanceEnhancedFeed

__all__ = ["BinanceEnhancedFeed"]
