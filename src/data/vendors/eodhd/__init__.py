"""EODHD: bars of some seventy venues, and fields of companies."""
