"""The Interactive Brokers live feed under its documented import path."""

from __future__ import annotations

from .backtrader.live import IBKRLiveDataFeed

__all__ = ["IBKRLiveDataFeed"]
