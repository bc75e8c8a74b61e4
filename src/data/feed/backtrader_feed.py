"""The Backtrader feeds under their older import path."""

from __future__ import annotations

from .backtrader.feed import BacktraderFeed, run_live

__all__ = ["BacktraderFeed", "run_live"]
