"""Names of well-known shares and coins, for recognizing misspellings without a network.

The names only serve as suggestions, and never decide what a symbol means. The data file names its
sources.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

from ..model.identity.listings import Listing

# Next to this module, because it is not configuration that users copy and change.
FILE = Path(__file__).with_name("common_names.json")
_VENDOR = "packaged"


@lru_cache(maxsize=1)
def common_listings() -> tuple[Listing, ...]:
    """Return the S&P 500 shares, and the pairs of each well-known coin with USDT and the US dollar."""
    document = json.loads(FILE.read_text(encoding="utf-8"))
    shares = [
        Listing(symbol, name, "", "stock", "USD", _VENDOR)
        for symbol, name in document["shares"].items()
    ]
    coins = [
        Listing(f"{coin}{quote}", name, "", "crypto", quote.removeprefix("-"), _VENDOR)
        for coin, name in document["coins"].items()
        for quote in ("USDT", "-USD")
        if coin != "USDT" or quote == "-USD"
    ]
    return (*coins, *shares)
