"""Live feeds for Backtrader under their documented import path."""

from __future__ import annotations

from .backtrader.live import BaseLiveDataFeed

__all__ = ["BaseLiveDataFeed"]
