"""Tiingo: bars of American stocks and of crypto, and fields of companies."""
