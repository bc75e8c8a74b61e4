"""Awaitable classes with Polars frames: loaders, caches, tiers, failover (documented as v2)."""
