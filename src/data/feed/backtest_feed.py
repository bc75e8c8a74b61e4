"""The backtest's feed by its older path."""

from __future__ import annotations

from .backtrader.backtest import BacktestFeed

__all__ = ["BacktestFeed"]
