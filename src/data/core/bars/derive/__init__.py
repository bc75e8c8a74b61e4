"""Longer bars built from an answer for shorter ones."""
