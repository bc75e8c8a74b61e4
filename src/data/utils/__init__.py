"""Older import paths: every name here is defined elsewhere and only re-exported."""
