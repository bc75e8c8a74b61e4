"""The vendors that have a field table; each one's module is imported when it is first used."""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module

from .table import VendorTable

VENDORS = ("fmp", "yahoo", "alpha_vantage", "finnhub", "polygon", "tiingo")


@lru_cache(64)
def table_of(vendor: str) -> VendorTable | None:
    """Return the table of a vendor by its canonical name, or None where it has none."""
    if vendor not in VENDORS:
        return None
    table = import_module(f".{vendor}", __package__).TABLE
    assert isinstance(table, VendorTable)
    return table
