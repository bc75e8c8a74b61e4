"""Descriptions of tickers for programs that distinguish only between crypto and stocks."""

from __future__ import annotations

from typing import Any

from ..model.identity.classification import Classification, Exchange
from ..model.identity.instrument import Instrument

_MAX_TICKER = 15
_US_MARKETS = "US Markets (NASDAQ/NYSE)"
_EXTRAS: dict[str, dict[str, Any]] = {"binance": {"limit": 1000}, "yahoo": {"period": "1y"}}
# Indices have always counted as stocks; currencies and futures never had a type of their own.
_TYPES = {"crypto": "crypto", "stock": "stock", "index": "stock"}


def _entry(key: str, what: str) -> property:
    """Return a property that reads the dict entry with a key; ``what`` is its docstring."""
    return property(lambda self: self.get(key), doc=what)


class TickerInfo(dict[str, Any]):
    """A ticker's type, venue and assets, available as dict entries and as attributes.

    Args:
        symbol: Canonical spelling of the ticker; its key in the dict is ``formatted_ticker``.
        symbol_type: One of ``crypto``, ``stock`` or ``unknown``.
        exchange: Usual name of the venue, if known.
        base_asset, quote_asset: Asset that a pair prices, and the one in which it is priced.
        original_provider: First vendor in the rules for daily bars of the ticker.
        original_ticker: The ticker as it was passed in.
    """

    def __init__(
        self,
        symbol: str,
        symbol_type: str = "unknown",
        exchange: str | None = None,
        base_asset: str | None = None,
        quote_asset: str | None = None,
        original_provider: str = "",
        original_ticker: str | None = None,
    ) -> None:
        super().__init__(
            original_ticker=symbol if original_ticker is None else original_ticker,
            symbol_type=symbol_type,
            formatted_ticker=symbol,
            exchange=exchange,
            base_asset=base_asset,
            quote_asset=quote_asset,
            original_provider=original_provider,
        )

    symbol = _entry("formatted_ticker", "The ticker's canonical spelling.")
    symbol_type = _entry("symbol_type", "``crypto``, ``stock`` or ``unknown``.")
    exchange = _entry("exchange", "The venue's usual name, if known.")
    base_asset = _entry("base_asset", "The asset whose price a pair gives.")
    quote_asset = _entry("quote_asset", "The asset in which a pair's prices are given.")
    original_provider = _entry("original_provider", "The vendor that the rules name first.")


class ProviderConfig(dict[str, Any]):
    """The vendor to query for a ticker, and the arguments, available as dict entries and as attributes.

    Args:
        symbol: The ticker as it was passed in; its key in the dict is ``ticker``.
        interval: The timeframe.
        original_provider: First vendor in the rules.
        best_provider: First vendor in the rules that can be queried, or None.
        reason: Reason why this vendor was chosen.
        exchange: Usual name of the venue, if known.
        base_asset, quote_asset: Asset that a pair prices, and the one in which it is priced.
        **entries: Further entries, such as ``formatted_ticker`` (the vendor's spelling),
            ``provider``, ``symbol_type``, and anything else that a vendor needs.
    """

    def __init__(
        self,
        symbol: str = "",
        interval: str | None = None,
        original_provider: str | None = None,
        best_provider: str | None = None,
        reason: str | None = None,
        exchange: str | None = None,
        base_asset: str | None = None,
        quote_asset: str | None = None,
        **entries: Any,
    ) -> None:
        documented = {
            "ticker": symbol,
            "interval": interval,
            "original_provider": original_provider,
            "best_provider": best_provider,
            "reason": reason,
            "exchange": exchange,
            "base_asset": base_asset,
            "quote_asset": quote_asset,
        }
        super().__init__(documented | entries)

    symbol = _entry("ticker", "The symbol as it was passed in.")
    interval = _entry("interval", "The timeframe.")
    original_provider = _entry("original_provider", "The vendor that the rules name first.")
    best_provider = _entry("best_provider", "The first vendor that can be queried, or None.")
    reason = _entry("reason", "The reason why this vendor was chosen.")
    exchange = _entry("exchange", "The venue's usual name, if known.")
    base_asset = _entry("base_asset", "The asset whose price a pair gives.")
    quote_asset = _entry("quote_asset", "The asset in which a pair's prices are given.")


def symbol_type(instrument: Instrument | None) -> str:
    """Return the type of an instrument: ``crypto``, ``stock`` or ``unknown``.

    An index counts as a stock; currencies and futures are unknown.
    """
    return _TYPES.get(instrument.asset_class, "unknown") if instrument else "unknown"


def venue_of(instrument: Instrument, tables: Classification) -> Exchange | None:
    """Return the venue of a stock, based on the suffix of its symbol."""
    if instrument.asset_class != "stock":
        return None
    _, dot, tail = instrument.symbol.rpartition(".")
    return tables.exchanges.get(f".{tail}" if dot else ".US")


def exchange_name(instrument: Instrument | None, tables: Classification) -> str | None:
    """Return the long name of a stock's venue; a stock without a suffix is in some US market."""
    venue = venue_of(instrument, tables) if instrument else None
    if instrument is None or venue is None:
        return None
    if not venue.bare:
        return venue.name or venue.code
    return instrument.exchange or _US_MARKETS


def ticker_info(
    symbol: Any, instrument: Instrument | None, tables: Classification, named_first: str
) -> TickerInfo:
    """Describe a ticker; ``named_first`` is the first vendor in the rules for it."""
    is_pair = instrument is not None and instrument.base is not None
    return TickerInfo(
        instrument.symbol if instrument else str(symbol).strip().upper(),
        symbol_type(instrument),
        exchange_name(instrument, tables),
        instrument.base if instrument else None,
        instrument.quote if instrument and is_pair else None,
        named_first,
        original_ticker=symbol,
    )


def provider_config(
    info: TickerInfo, instrument: Instrument | None, timeframe: str, best: str | None
) -> ProviderConfig:
    """Return the vendor to query for a ticker; ``best`` is the first vendor that can be queried."""
    shared = ("symbol_type", "exchange", "base_asset", "quote_asset", "original_provider")
    return ProviderConfig(
        info["original_ticker"],
        timeframe,
        **{key: info[key] for key in shared},
        provider=best,
        formatted_ticker=instrument.spelling(best or "") if instrument else info.symbol,
        best_provider=best,
        reason=_reason(info["original_provider"], best),
        **_EXTRAS.get(best or "", {}),
    )


def _reason(first: str, best: str | None) -> str:
    if best is None:
        return "no vendor in the rules can be queried" if first else "no rule applies"
    return "first in the rules" if best == first else f"{first}, first in the rules, cannot be used"


def ticker_verdict(
    symbol: Any, instrument: Instrument | None, tables: Classification, candidates: tuple[str, ...]
) -> dict[str, Any]:
    """Check a ticker; return a dict with ``valid`` and either its description or an ``error``."""
    length = len(symbol.strip()) if isinstance(symbol, str) else 0
    if not 1 <= length <= _MAX_TICKER:
        error = f"a ticker has 1 to {_MAX_TICKER} characters, but this one has {length}"
    elif instrument is None:
        error = f"{symbol!r} is not a known ticker"
    else:
        return {
            "valid": True,
            "symbol_type": _TYPES.get(instrument.asset_class, instrument.asset_class),
            "exchange": exchange_name(instrument, tables),
            "base_asset": instrument.base,
            "quote_asset": instrument.quote if instrument.base else None,
            "suggestions": [],
        }
    examples = candidates or ("AAPL", "VOD.L", "BTCUSDT")
    return {"valid": False, "error": error, "suggestions": list(examples)}


def fundamentals_profile(
    symbol: Any, instrument: Instrument | None, tables: Classification
) -> dict[str, Any]:
    """Describe where a company is listed and how well vendors cover its fundamentals; never raises."""
    text = symbol.strip().upper() if isinstance(symbol, str) else ""
    if text.endswith(("REIT", "ETF")):
        return _profile(symbol, text, "reit" if text.endswith("REIT") else "etf", _usa(tables), "")
    if instrument is not None and instrument.asset_class == "crypto":
        return _profile(symbol, instrument.symbol, "crypto", None, "")
    venue = venue_of(instrument, tables) if instrument is not None else None
    if instrument is None or venue is None:
        return _profile(symbol, text, "unknown", None, "")
    ticker = instrument.symbol.removesuffix(venue.suffix)
    listed = instrument.exchange or tables.listings.get(ticker) or venue.code
    if not venue.bare:
        return _profile(symbol, ticker, "stock", venue, venue.code)
    symbol_type = "etf" if ticker in tables.etfs else "reit" if ticker in tables.reits else "stock"
    return _profile(symbol, ticker, symbol_type, venue, listed)


def _usa(tables: Classification) -> Exchange | None:
    return tables.exchanges.get(".US")


def _profile(
    symbol: Any, normalized: str, symbol_type: str, venue: Exchange | None, exchange: str
) -> dict[str, Any]:
    is_domestic = venue is not None and venue.market == "US"
    support = "none" if venue is None else "full" if is_domestic else "limited"
    return {
        "symbol": symbol,
        "normalized": normalized,
        "symbol_type": symbol_type,
        "market": venue.market if venue else "unknown",
        "exchange": exchange or (venue.code if venue else "unknown"),
        "country": venue.country if venue else "unknown",
        "international": not is_domestic,
        "currency": venue.currency if venue else "unknown",
        "fundamentals_support": support,
    }
