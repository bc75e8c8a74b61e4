"""What the feeds' factory serves, in words for people and programs."""

from __future__ import annotations

from typing import Any

SourceInfo = dict[str, Any]

_MINUTES = ["1m", "5m", "15m", "30m", "1h", "4h", "1d"]

SOURCES: dict[str, SourceInfo] = {
    "binance": {
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
    "yahoo": {
        "name": "Yahoo Finance",
        "description": "bars asked for as they close",
        "symbols": "stocks, funds, indices, currencies, futures, crypto",
        "intervals": ["1m", "2m", "5m", "15m", "30m", "1h", "90m", "1d", "5d", "1w", "1M", "3M"],
        "real_time": False,
        "requires_auth": False,
        "rate_limits": "60 questions a minute",
        "cost": "free",
    },
    "ibkr": {
        "name": "Interactive Brokers",
        "description": "bars asked of a gateway of yours as they close",
        "symbols": "what your account may see",
        "intervals": _MINUTES,
        "real_time": True,
        "requires_auth": True,
        "rate_limits": "60 questions in ten minutes",
        "cost": "by account and subscription",
    },
    "coingecko": {
        "name": "CoinGecko",
        "description": "bars asked for as they close; averages of many venues, without volume",
        "symbols": "crypto pairs against dollars, such as BTCUSD",
        "intervals": ["30m", "4h"],
        "real_time": False,
        "requires_auth": False,
        "rate_limits": "50 questions a minute",
        "cost": "free; hours and days with a key of a paid plan",
    },
    "file": {
        "name": "CSV File",
        "description": "bars of a file of yours, at once or one by one as if live",
        "symbols": "any",
        "intervals": ["any"],
        "real_time": False,
        "requires_auth": False,
        "rate_limits": "none",
        "cost": "free",
    },
}
