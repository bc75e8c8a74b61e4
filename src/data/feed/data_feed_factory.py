"""Live feeds by a plain mapping, as programs keep it in their own configuration."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError, DataError
from .catalog import SOURCES, SourceInfo
from .selection import placed
from .sources.worker import log

if TYPE_CHECKING:
    from .backtrader.feed import BacktraderFeed

_SHARED = ("lookback_bars", "retry_interval", "on_new_bar", "data_manager")
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
# Keys that only one source reads, but whose mention with another is no mistake: presets carry all.
_OWN = {
    "binance": ("api_key", "api_secret", "testnet", "market"),
    "yahoo": ("polling_interval",),
    "coingecko": ("polling_interval",),
    "ibkr": ("host", "port", "client_id"),
    "file": ("file_path", *_FILE),
}
_KNOWN = {"data_source", "symbol", "interval", *_SHARED}.union(*_OWN.values())


class DataFeedFactory:
    """Makes feeds for Backtrader out of mappings. All methods are static."""

    @staticmethod
    def create_data_feed(config: Mapping[str, Any]) -> BacktraderFeed | None:
        """Return the feed that ``config`` describes, or None; why is in the log. Never raises.

        Keys: ``data_source`` (see :meth:`get_supported_sources`), ``symbol``, ``interval``,
        ``lookback_bars``, ``retry_interval``, ``on_new_bar``, ``data_manager``; then those of the
        source: Binance ``api_key api_secret testnet market`` (``"futures"``: the perpetual ones
        margined in dollars, without a testnet); Yahoo and CoinGecko ``polling_interval``; IBKR
        ``host port client_id``; file ``file_path`` and the parameters of ``FileDataFeed``.
        """
        try:
            return _made(config)
        except (DataError, ValueError, TypeError, OSError) as error:
            log.error("no feed could be made: %s", error)
            return None

    @staticmethod
    def get_supported_sources() -> list[str]:
        """Return what ``data_source`` may be."""
        return list(SOURCES)

    @staticmethod
    def get_source_info() -> dict[str, SourceInfo]:
        """Return for each source its name, symbols, intervals, limits and cost."""
        return copy.deepcopy(SOURCES)


def _made(config: Mapping[str, Any]) -> BacktraderFeed:
    source = str(config.get("data_source", "")).lower()
    if source not in SOURCES:
        near = difflib.get_close_matches(source, SOURCES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(SOURCES)}"
        raise ValueError(f"data_source {source!r} is none: {hint}")
    for key in sorted(set(config) - _KNOWN):
        near = difflib.get_close_matches(key, _KNOWN, n=1)
        log.warning(
            "the feed's key %r is not read%s", key, f": did you mean {near[0]}?" if near else ""
        )
    if source == "file":
        return _file_feed(config)
    lacking = [key for key in ("symbol", "interval") if not config.get(key)]
    if lacking:
        raise ValueError(f"a feed of {source} needs {' and '.join(lacking)}")
    wanted = {key: config[key] for key in (*_SHARED, *_OWN[source]) if key in config}
    market = wanted.pop("market", "spot")
    if market != "spot":
        return _feed_of_market(source, market, config)
    return _feed_class(source)(config["symbol"], config["interval"], **wanted)


def _feed_of_market(source: str, market: str, config: Mapping[str, Any]) -> BacktraderFeed:
    """Return the feed of another market than the usual one of a source.

    Raises:
        ConfigError: there is none, or it has no test network.
    """
    from .sourced_live_data_feed import StreamedLiveDataFeed

    found = placed({"provider": source, "market": market})
    if config.get("testnet"):
        raise ConfigError(
            f"{source}'s {market} have no testnet here",
            hint="leave testnet out, or point base_url and ws_url elsewhere",
        )
    shared = {key: config[key] for key in _SHARED if key in config}
    return StreamedLiveDataFeed(config["symbol"], config["interval"], **found, **shared)


def _file_feed(config: Mapping[str, Any]) -> BacktraderFeed:
    from .file_data_feed import FileDataFeed

    made: Callable[..., BacktraderFeed] = FileDataFeed  # its arguments are Backtrader's parameters
    if not config.get("file_path"):
        raise ValueError("a feed of a file needs file_path")
    wanted = {key: config[key] for key in ("symbol", *_FILE) if config.get(key) is not None}
    return made(dataname=config["file_path"], **wanted)


def _feed_class(source: str) -> Callable[..., BacktraderFeed]:
    """Return the class of a source; only its own module is loaded."""
    if source == "binance":
        from .binance_live_feed import BinanceLiveDataFeed

        return BinanceLiveDataFeed
    if source == "yahoo":
        from .yahoo_live_feed import YahooLiveDataFeed

        return YahooLiveDataFeed
    if source == "coingecko":
        from .coingecko_live_feed import CoinGeckoLiveDataFeed

        return CoinGeckoLiveDataFeed
    from .ibkr_live_feed import IBKRLiveDataFeed

    return IBKRLiveDataFeed
