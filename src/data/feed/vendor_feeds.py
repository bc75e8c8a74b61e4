"""Maps each vendor to the Backtrader class for its live bars, either vendor-specific or general."""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple

from ..errors import ConfigError


class VendorFeed(NamedTuple):
    """A feed class for a vendor's live bars, which is imported only when needed.

    Attributes:
        path: Location of the class, as ``module:class`` in this package.
        is_stream: Whether the bars come from a stream, rather than being requested as they close.
        options: Options that only this class accepts.
    """

    path: str
    is_stream: bool
    options: tuple[str, ...] = ()

    def load(self) -> Any:
        """Return the class; only its own module is imported."""
        module, _, name = self.path.partition(":")
        return getattr(import_module(f".{module}", __package__), name)


# Binance's dollar-margined futures are a separate vendor, because their bars are from another
# market.
FUTURES = "ccxt:binanceusdm"

VENDOR_FEEDS: dict[str, VendorFeed] = {
    "binance": VendorFeed(
        "backtrader.live:BinanceLiveDataFeed",
        True,
        ("api_key", "api_secret", "testnet", "market"),
    ),
    "yahoo": VendorFeed("backtrader.live:YahooLiveDataFeed", False, ("polling_interval",)),
    "ibkr": VendorFeed("backtrader.live:IBKRLiveDataFeed", False, ("host", "port", "client_id")),
    "coingecko": VendorFeed("backtrader.live:CoinGeckoLiveDataFeed", False, ("polling_interval",)),
}
STREAMED = VendorFeed("backtrader.live:StreamedLiveDataFeed", True)
POLLED = VendorFeed("backtrader.live:PolledLiveDataFeed", False)


def own_feed(vendor: str, *, is_stream: bool) -> VendorFeed | None:
    """Return the vendor-specific class for streamed or polled bars, or None.

    Such a class does not query any other vendor.
    """
    feed = VENDOR_FEEDS.get(vendor)
    return feed if feed is not None and feed.is_stream == is_stream else None


def with_market(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options with ``market`` replaced by ``provider``, the vendor for that market.

    Raises:
        ConfigError: The market does not exist, or the given vendor does not serve it.
    """
    market, others = options.get("market"), {k: v for k, v in options.items() if k != "market"}
    if market in (None, "spot"):
        return others
    provider = others.get("provider")
    if market != "futures" or provider not in (None, "binance", FUTURES):
        of = "" if provider is None else f" from {provider}"
        raise ConfigError(
            f"live feeds are not available for market {market!r}{of}",
            hint="use spot, or futures with Binance",
        )
    return others | {"provider": FUTURES}
