"""The backtest feed under its older import path."""

from __future__ import annotations

from .backtrader.backtest import BacktestFeed

__all__ = ["BacktestFeed"]
