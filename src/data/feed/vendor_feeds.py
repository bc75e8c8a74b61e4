"""Which class a vendor's live bars come by for Backtrader: one of its own, else a general one."""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple

from ..errors import ConfigError


class VendorFeed(NamedTuple):
    """A class of feeds.

    Attributes:
        path: ``module:class`` in this package.
        is_stream: whether its bars come by a stream; else they are asked for as they close.
        options: keys that only this class reads.
    """

    path: str
    is_stream: bool
    options: tuple[str, ...] = ()

    def load(self) -> Any:
        """Return the class; only its own module is loaded."""
        module, _, name = self.path.partition(":")
        return getattr(import_module(f".{module}", __package__), name)


# Binance's futures margined in dollars: a vendor of their own, as their bars are another market's.
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
    """Return the class that a vendor has of its own for bars that come so; it asks no other vendor."""
    own = VENDOR_FEEDS.get(vendor)
    return own if own is not None and own.is_stream == is_stream else None


def with_market(options: dict[str, Any]) -> dict[str, Any]:
    """Return options with the vendor of a market in place of its name.

    Raises:
        ConfigError: there is no such market, or not of this vendor.
    """
    market, others = options.get("market"), {k: v for k, v in options.items() if k != "market"}
    if market in (None, "spot"):
        return others
    provider = others.get("provider")
    if market != "futures" or provider not in (None, "binance", FUTURES):
        of = "" if provider is None else f" of {provider}"
        raise ConfigError(
            f"there is no live market {market!r}{of}",
            hint="there are spot, and futures of Binance",
        )
    return others | {"provider": FUTURES}
