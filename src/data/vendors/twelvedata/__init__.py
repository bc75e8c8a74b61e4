"""Twelve Data: bars of shares, currencies and crypto, and fields of companies."""
