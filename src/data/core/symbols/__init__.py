"""Classifies symbols, and determines whether vendors mean the same asset by one symbol. Pure."""
