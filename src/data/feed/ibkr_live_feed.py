"""The live feed of Interactive Brokers by its documented path."""

from __future__ import annotations

from .backtrader.live import IBKRLiveDataFeed

__all__ = ["IBKRLiveDataFeed"]
