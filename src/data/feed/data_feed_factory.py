"""The documented path of the factory of feeds."""

from ..compat.data_feed_factory import DataFeedFactory

__all__ = ["DataFeedFactory"]
