"""Feeds in the form that Backtrader accepts."""
