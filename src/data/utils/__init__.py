"""Older import paths; everything here lives elsewhere and is only re-exported."""
