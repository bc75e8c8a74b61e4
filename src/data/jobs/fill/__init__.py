"""Fills the cache and renews it: populate, sync, fundamentals, what vendors soon drop."""
