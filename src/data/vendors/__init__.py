"""Vendors: one folder each, what they share beside them, and one row each in the registry."""
