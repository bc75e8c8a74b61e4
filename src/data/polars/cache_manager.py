"""The documented import path of the cache of query results."""

from ..layer.stored import CacheManager, LRUCache

__all__ = ["CacheManager", "LRUCache"]
