"""Longer work on top of the facade: filling the cache for many series."""
