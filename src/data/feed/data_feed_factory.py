"""The feed factory under its documented import path."""

from ..compat.data_feed_factory import DataFeedFactory

__all__ = ["DataFeedFactory"]
