"""Longer bars made of an answer for shorter ones."""
