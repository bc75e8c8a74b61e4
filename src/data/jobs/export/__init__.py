"""Stored bars as files for other programs; no vendor is queried."""
