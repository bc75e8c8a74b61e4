"""The names of vendors: what rule files may call them.

A rule file may name vendors that this version does not serve yet: it keeps loading, and they are
simply never candidates. The names stay reserved: bars are kept under them, so a name must always
mean the same supplier. Vendors of other packages have names of their own (``config.offered``).

A family stands for many suppliers that are asked in one and the same way; each of its members is a
vendor of its own, named ``family:member``, such as ``ccxt:kraken``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

VENDORS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "binance": ("bnc",),
        "yahoo": ("yf", "yf_finance", "yfinance"),
        "alpha_vantage": ("av", "alphavantage"),
        "fmp": ("financial_modeling_prep", "financialmodelingprep"),
        "alpaca": ("alp",),
        "tiingo": (),
        "polygon": ("pg", "polygon_io", "massive"),
        "twelvedata": ("td", "twelve_data"),
        "finnhub": ("fh",),
        "coingecko": ("cg", "coin_gecko"),
        "ibkr": (),
        "eodhd": ("eod",),
        "tradier": ("trdr",),
        "finra": ("finra_trf",),
        "santiment": ("san", "santiment_net"),
        "newsapi": (),
        "vix": (),
        "local": (),
        "ccxt": (),
        "mock": (),
    }
)
FAMILIES = frozenset({"ccxt"})
_MEMBER = re.compile(r"[a-z0-9][a-z0-9_]{1,39}")
_CANONICAL = {name: name for name in VENDORS} | {
    alias: name for name, aliases in VENDORS.items() for alias in aliases
}


def canonical_vendor(name: str) -> str | None:
    """Return the canonical name of a vendor or alias (case does not matter), or None.

    Whether a family has such a member is for the family to say, when it is asked.
    """
    text = name.strip().lower()
    family, colon, member = text.partition(":")
    if colon:
        return text if family in FAMILIES and _MEMBER.fullmatch(member) else None
    return _CANONICAL.get(text)


def family_of(name: str) -> str:
    """Return the family of a canonical name; any other vendor is its own."""
    return name.partition(":")[0]


def vendor_names() -> tuple[str, ...]:
    """Return every name and alias that a rule file may use."""
    return tuple(_CANONICAL)
