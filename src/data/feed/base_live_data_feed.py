"""Live feeds for Backtrader by their documented path."""

from __future__ import annotations

from .backtrader.live import BaseLiveDataFeed

__all__ = ["BaseLiveDataFeed"]
