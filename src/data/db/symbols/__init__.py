"""Symbols with their history: facts, splits and dividends, and the instrument meant on each day."""
