"""The sources of the feeds' factory: one entry each.

Any vendor of the rules has live bars by the general classes; these have a class of their own, whose
path, options and attributes are documented.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple

SourceInfo = dict[str, Any]


class FactorySource(NamedTuple):
    """One source.

    Attributes:
        path: ``module:class`` in this package, imported by :func:`feed_class`.
        is_stream: whether its bars come by a stream.
        options: keys that only this source reads.
        info: what the factory tells of it.
    """

    path: str
    is_stream: bool
    options: tuple[str, ...]
    info: SourceInfo


_MINUTES = ["1m", "5m", "15m", "30m", "1h", "4h", "1d"]

_FILE = (
    "interval",
    "datetime_col",
    "open_col",
    "high_col",
    "low_col",
    "close_col",
    "volume_col",
    "openinterest_col",
    "separator",
    "datetime_format",
    "timezone",
    "reverse",
    "fromdate",
    "todate",
    "simulate_realtime",
    "realtime_interval",
    "on_new_bar",
)
VENDOR_FEEDS: dict[str, FactorySource] = {
    "binance": FactorySource(
        "backtrader.live:BinanceLiveDataFeed",
        True,
        ("api_key", "api_secret", "testnet", "market"),
        {
            "name": "Binance",
            "description": "bars by a stream, as they close",
            "symbols": "crypto pairs, such as BTCUSDT",
            "intervals": [
                "1m",
                "3m",
                "5m",
                "15m",
                "30m",
                "1h",
                "2h",
                "4h",
                "6h",
                "8h",
                "12h",
                "1d",
                "3d",
                "1w",
                "1M",
            ],
            "real_time": True,
            "requires_auth": False,
            "rate_limits": "one connection for all feeds of a process",
            "cost": "free",
        },
    ),
    "yahoo": FactorySource(
        "backtrader.live:YahooLiveDataFeed",
        False,
        ("polling_interval",),
        {
            "name": "Yahoo Finance",
            "description": "bars asked for as they close",
            "symbols": "stocks, funds, indices, currencies, futures, crypto",
            "intervals": [
                "1m",
                "2m",
                "5m",
                "15m",
                "30m",
                "1h",
                "90m",
                "1d",
                "5d",
                "1w",
                "1M",
                "3M",
            ],
            "real_time": False,
            "requires_auth": False,
            "rate_limits": "60 questions a minute",
            "cost": "free",
        },
    ),
    "ibkr": FactorySource(
        "backtrader.live:IBKRLiveDataFeed",
        False,
        ("host", "port", "client_id"),
        {
            "name": "Interactive Brokers",
            "description": "bars asked of a gateway of yours as they close",
            "symbols": "what your account may see",
            "intervals": _MINUTES,
            "real_time": True,
            "requires_auth": True,
            "rate_limits": "60 questions in ten minutes",
            "cost": "by account and subscription",
        },
    ),
    "coingecko": FactorySource(
        "backtrader.live:CoinGeckoLiveDataFeed",
        False,
        ("polling_interval",),
        {
            "name": "CoinGecko",
            "description": "bars asked for as they close; averages of many venues, without volume",
            "symbols": "crypto pairs against dollars, such as BTCUSD",
            "intervals": ["30m", "4h"],
            "real_time": False,
            "requires_auth": False,
            "rate_limits": "50 questions a minute",
            "cost": "free; hours and days with a key of a paid plan",
        },
    ),
}
SOURCES: dict[str, FactorySource] = {
    **VENDOR_FEEDS,
    "file": FactorySource(
        "file_data_feed:FileDataFeed",
        False,
        ("file_path", *_FILE),
        {
            "name": "CSV File",
            "description": "bars of a file of yours, at once or one by one as if live",
            "symbols": "any",
            "intervals": ["any"],
            "real_time": False,
            "requires_auth": False,
            "rate_limits": "none",
            "cost": "free",
        },
    ),
}


def feed_class(path: str) -> Any:
    """Return the class that a path names; only its own module is loaded."""
    module, _, name = path.partition(":")
    return getattr(import_module(f".{module}", __package__), name)
