"""Creates live feeds from plain mappings, the form of configuration in older programs."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...errors import ConfigError, DataError
from ...feed.sources.base import log
from ...feed.vendor_feeds import STREAMED, VENDOR_FEEDS, VendorFeed, with_market

if TYPE_CHECKING:
    from ...feed.backtrader.feed import BacktraderFeed

__all__ = ["DataFeedFactory"]

SourceInfo = dict[str, Any]


_MINUTES = ["1m", "5m", "15m", "30m", "1h", "4h", "1d"]
_BINANCE = [
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
]
_YAHOO = ["1m", "2m", "5m", "15m", "30m", "1h", "90m", "1d", "5d", "1w", "1M", "3M"]
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
SOURCES = {
    **VENDOR_FEEDS,
    "file": VendorFeed("file_data_feed:FileDataFeed", False, ("file_path", *_FILE)),
}
_INFO: dict[str, SourceInfo] = {
    "binance": {
        "name": "Binance",
        "description": "bars by a stream, as they close",
        "symbols": "crypto pairs, such as BTCUSDT",
        "intervals": _BINANCE,
        "real_time": True,
        "requires_auth": False,
        "rate_limits": "one connection for all feeds of a process",
        "cost": "free",
    },
    "yahoo": {
        "name": "Yahoo Finance",
        "description": "bars polled as they close",
        "symbols": "stocks, funds, indices, currencies, futures, crypto",
        "intervals": _YAHOO,
        "real_time": False,
        "requires_auth": False,
        "rate_limits": "60 requests a minute",
        "cost": "free",
    },
    "ibkr": {
        "name": "Interactive Brokers",
        "description": "bars polled from your own gateway as they close",
        "symbols": "what your account may see",
        "intervals": _MINUTES,
        "real_time": True,
        "requires_auth": True,
        "rate_limits": "60 requests in ten minutes",
        "cost": "by account and subscription",
    },
    "coingecko": {
        "name": "CoinGecko",
        "description": "bars polled as they close; averages of many venues, without volume",
        "symbols": "crypto pairs against dollars, such as BTCUSD",
        "intervals": ["30m", "4h"],
        "real_time": False,
        "requires_auth": False,
        "rate_limits": "50 requests a minute",
        "cost": "free; hours and days with a key of a paid plan",
    },
    "file": {
        "name": "CSV File",
        "description": "bars of your own file, all at once or one by one as if live",
        "symbols": "any",
        "intervals": ["any"],
        "real_time": False,
        "requires_auth": False,
        "rate_limits": "none",
        "cost": "free",
    },
}

_SHARED = ("lookback_bars", "retry_interval", "on_new_bar", "data_manager", "timeout")
# Keys that are allowed for any source, because presets contain the keys of all sources.
_KEYS = {"data_source", "symbol", "interval", *_SHARED}.union(
    *(s.options for s in SOURCES.values())
)


class DataFeedFactory:
    """Creates Backtrader feeds from mappings. All methods are static.

    Examples:
        >>> feed = DataFeedFactory.create_data_feed(
        ...     {"data_source": "binance", "symbol": "BTCUSDT", "interval": "1m"}
        ... )
        >>> DataFeedFactory.get_supported_sources()
        ['binance', 'yahoo', 'ibkr', 'coingecko', 'file']
    """

    @staticmethod
    def create_data_feed(config: Mapping[str, Any]) -> BacktraderFeed | None:
        """Create the feed that ``config`` describes.

        Never raises: if the feed cannot be created, the reason is logged and the result is None.

        The keys for every source are ``data_source`` (see :meth:`get_supported_sources`),
        ``symbol``, ``interval``, ``lookback_bars``, ``retry_interval``, ``on_new_bar``,
        ``data_manager`` and ``timeout``. Further keys depend on the source. Binance: ``api_key``,
        ``api_secret``, ``testnet`` and ``market`` (``"futures"`` for perpetual futures margined in
        dollars, which have no testnet). Yahoo and CoinGecko: ``polling_interval``. IBKR: ``host``,
        ``port`` and ``client_id``. A file: ``file_path`` and the parameters of ``FileDataFeed``.
        """
        try:
            return _create(config)
        except (DataError, ValueError, TypeError, OSError) as error:
            log.error("no feed could be created: %s", error)
            return None

    @staticmethod
    def get_supported_sources() -> list[str]:
        """Return the accepted values of ``data_source``."""
        return list(SOURCES)

    @staticmethod
    def get_source_info() -> dict[str, SourceInfo]:
        """Return the name, symbols, intervals, limits and cost for each source."""
        return copy.deepcopy(_INFO)


def _create(config: Mapping[str, Any]) -> BacktraderFeed:
    if not isinstance(config, Mapping):
        raise TypeError(f"the configuration of a feed must be a mapping, not {config!r:.40}")
    source = str(config.get("data_source", "")).lower()
    if source not in SOURCES:
        near = difflib.get_close_matches(source, SOURCES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"use one of {', '.join(SOURCES)}"
        raise ValueError(f"unknown data_source {source!r}: {hint}")
    for key in sorted(set(config) - _KEYS):
        near = difflib.get_close_matches(key, _KEYS, n=1)
        log.warning(
            "unknown key %r of the feed%s", key, f": did you mean {near[0]}?" if near else ""
        )
    if source == "file":
        return _file_feed(config)
    lacking = [key for key in ("symbol", "interval") if not config.get(key)]
    if lacking:
        raise ValueError(f"a feed from {source} needs {' and '.join(lacking)}")
    wanted = {key: config[key] for key in (*_SHARED, *SOURCES[source].options) if key in config}
    market = wanted.pop("market", "spot")
    if market != "spot":
        return _feed_of_market(source, market, config)
    feed: BacktraderFeed = SOURCES[source].load()(config["symbol"], config["interval"], **wanted)
    return feed


def _feed_of_market(source: str, market: str, config: Mapping[str, Any]) -> BacktraderFeed:
    """Return a feed for a market other than the source's usual one, such as Binance futures.

    Raises:
        ConfigError: The source has no such market, or the market has no test network.
    """
    options = with_market({"provider": source, "market": market})
    if config.get("testnet"):
        raise ConfigError(
            f"a testnet feed is not available for {source} {market}",
            hint="omit testnet, or set base_url and ws_url to another host",
        )
    shared = {key: config[key] for key in _SHARED if key in config}
    feed: BacktraderFeed = STREAMED.load()(
        config["symbol"], config["interval"], **options, **shared
    )
    return feed


def _file_feed(config: Mapping[str, Any]) -> BacktraderFeed:
    if not config.get("file_path"):
        raise ValueError("a feed from a file needs file_path")
    names = ("symbol", *SOURCES["file"].options[1:])
    wanted = {key: config[key] for key in names if config.get(key) is not None}
    # Its arguments are Backtrader parameters.
    feed: BacktraderFeed = SOURCES["file"].load()(dataname=config["file_path"], **wanted)
    return feed
