"""Vendors: one folder each, shared code next to the folders, and one row each in the registry."""
