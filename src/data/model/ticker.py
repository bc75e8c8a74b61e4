"""What the provider selector tells about a ticker: dicts whose entries are attributes too."""

from __future__ import annotations

from typing import Any


def _entry(key: str, what: str) -> property:
    """Make an attribute of a dict's entry."""
    return property(lambda self: self.get(key), doc=what)


class TickerInfo(dict[str, Any]):
    """What a ticker is.

    Args:
        symbol: our spelling; the entry is called ``formatted_ticker``.
        symbol_type: ``crypto``, ``stock`` or ``unknown``.
        exchange: the venue's usual name.
        base_asset, quote_asset: of a pair.
        original_provider: the vendor that the rules name first for its days.
        original_ticker: the text that was asked about.
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

    symbol = _entry("formatted_ticker", "Our spelling.")
    symbol_type = _entry("symbol_type", "``crypto``, ``stock`` or ``unknown``.")
    exchange = _entry("exchange", "The venue's usual name, where known.")
    base_asset = _entry("base_asset", "What a pair prices.")
    quote_asset = _entry("quote_asset", "What a pair's prices are in.")
    original_provider = _entry("original_provider", "The vendor the rules name first.")


class ProviderConfig(dict[str, Any]):
    """Which vendor is asked for a ticker, and with which arguments.

    Args:
        symbol: the text that was asked about; the entry is called ``ticker``.
        interval: the timeframe.
        original_provider: the vendor that the rules name first.
        best_provider: the first vendor that can be asked, or None.
        reason: why it is this vendor.
        exchange, base_asset, quote_asset: the venue's usual name; the assets of a pair.
        **entries: further entries, such as ``formatted_ticker`` (the vendor's spelling),
            ``provider``, ``symbol_type``, and what one vendor needs beside them.
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

    symbol = _entry("ticker", "The text that was asked about.")
    interval = _entry("interval", "The timeframe.")
    original_provider = _entry("original_provider", "The vendor the rules name first.")
    best_provider = _entry("best_provider", "The first vendor that can be asked, or None.")
    reason = _entry("reason", "Why it is this vendor.")
    exchange = _entry("exchange", "The venue's usual name, where known.")
    base_asset = _entry("base_asset", "What a pair prices.")
    quote_asset = _entry("quote_asset", "What a pair's prices are in.")
