"""Validation of stored bars with ``prices.judgement``; repairs, gaps, days that vendors lack."""
