"""Synthetic bars, for trying programs without a network."""
