"""Fundamentals: all vendors' data on a company, merged into one record with each value's source."""
