"""Exchanges that ccxt speaks to; each one is a vendor of its own, such as ``ccxt:kraken``."""
