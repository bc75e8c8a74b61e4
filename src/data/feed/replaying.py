"""Replays under their older import path."""

from __future__ import annotations

from .replay import replay_feed

__all__ = ["replay_feed"]
