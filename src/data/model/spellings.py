"""How vendors write what we write in one way only: share classes, venues, pairs, indices.

Only what differs from the canonical spelling is said here; a user's own ``spellings`` replace it.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..vendors.registry import VENDORS

# Our suffix to theirs, where it is another. EODHD names every venue, the USA too.
_ALPHA_VANTAGE = {
    ".L": ".LON",
    ".TO": ".TRT",
    ".V": ".TRV",
    ".DE": ".DEX",
    ".BO": ".BSE",
    ".SS": ".SHH",
    ".SZ": ".SHZ",
}
_EODHD = {
    "": ".US",
    ".L": ".LSE",
    ".DE": ".XETRA",
    ".SG": ".STU",
    ".AX": ".AU",
    ".SS": ".SHG",
    ".SZ": ".SHE",
    ".KS": ".KO",
    ".NS": ".NSE",
    ".BO": ".BSE",
    ".KL": ".KLSE",
    ".WA": ".WAR",
    ".BD": ".BUD",
    ".JO": ".JSE",
}


def stock_names(plain: str, suffix: str, ours: str) -> Mapping[str, str]:
    """Return how vendors write a share.

    Args:
        plain: without the venue, its class behind a dash.
        suffix: of the venue; empty for the USA.
        ours: the suffix of our own spelling: ``.US`` where the plain name would mean a coin.
    """
    others = {} if suffix == ours else dict.fromkeys(VENDORS, plain)
    theirs = others | {
        "alpha_vantage": plain + _ALPHA_VANTAGE.get(suffix, suffix),
        "eodhd": plain + _EODHD.get(suffix, suffix),
        "finnhub": plain + suffix if suffix else plain.replace("-", "."),
    }
    return {vendor: name for vendor, name in theirs.items() if name != plain + ours}


def pair_names(base: str, quote: str, *, is_dollar: bool) -> Mapping[str, str]:
    """Return how vendors write a crypto pair; ``is_dollar`` says that its quote is a dollar coin.

    Who averages over venues takes dollar coins for dollars.
    """
    dollars = "USD" if is_dollar else quote
    return {
        "binance": base + quote,
        "yahoo": f"{base}-{dollars}",
        "alpha_vantage": f"{base}-{dollars}",
        "eodhd": f"{base}-{dollars}.CC",
        "finnhub": f"BINANCE:{base}{quote}",
    }


def currency_names(pair: str) -> Mapping[str, str]:
    """Return how vendors write two currencies; ``pair`` has six letters."""
    return {
        "yahoo": f"{pair}=X",
        "alpha_vantage": f"{pair[:3]}-{pair[3:]}",
        "eodhd": f"{pair}.FOREX",
    }


def index_names(symbol: str) -> Mapping[str, str]:
    """Return how vendors write an index; ``symbol`` begins with a caret."""
    return {"eodhd": f"{symbol[1:]}.INDX"}
