"""Exchanges that ccxt supports; each one is a separate vendor, such as ``ccxt:kraken``."""
