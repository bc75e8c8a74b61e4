"""Classifies symbols, and determines whether two vendors mean the same asset by one. Pure functions."""
