"""Binance's live feed under its documented import path."""

from __future__ import annotations

from .backtrader.live import BinanceLiveDataFeed

__all__ = ["BinanceLiveDataFeed"]
