"""The vendors that have a field table; each one's module is imported when it is first used."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from importlib import import_module
from types import MappingProxyType

from .fundamentals_table import VendorTable

VENDORS = (
    "fmp",
    "yahoo",
    "alpha_vantage",
    "finnhub",
    "polygon",
    "tiingo",
    "twelvedata",
    "eodhd",
    "coingecko",
)
# Vendors of bars of whom it is known why they have no table.
NOT_ASKED: Mapping[str, str] = MappingProxyType(
    {
        "ibkr": "Interactive Brokers has ended fundamentals for most accounts "
        "(reqFundamentalData is refused with code 430), so its gateway is not asked for them",
    }
)


@lru_cache(64)
def table_of(vendor: str) -> VendorTable | None:
    """Return the table of a vendor by its canonical name, or None where it has none."""
    if vendor not in VENDORS:
        return None
    table = import_module(f".{vendor}.fundamentals", __package__).TABLE
    assert isinstance(table, VendorTable)
    return table
