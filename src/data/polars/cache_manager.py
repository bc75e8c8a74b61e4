"""The documented import path of the cache of query results."""

from ..layer.cache_manager import CacheManager, LRUCache

__all__ = ["CacheManager", "LRUCache"]
