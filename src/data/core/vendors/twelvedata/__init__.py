"""Twelve Data: bars of shares, currencies and crypto, and company data."""
