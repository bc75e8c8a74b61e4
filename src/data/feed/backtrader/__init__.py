"""Feeds as Backtrader takes them."""
