"""EODHD: bars from some seventy venues, and company data."""
