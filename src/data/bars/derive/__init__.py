"""Longer bars made from an answer for shorter ones."""
