"""An older path to Binance's live feed."""

from .binance_live_feed import BinanceLiveDataFeed as BinanceEnhancedFeed

__all__ = ["BinanceEnhancedFeed"]
