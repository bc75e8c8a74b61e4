"""Tiingo: bars of American stocks and of crypto, and company data."""
