"""Live feeds by a plain mapping, as programs keep it in their own configuration."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError, DataError
from .catalog import SOURCES, SourceInfo, feed_class
from .selection import placed
from .sources.base import log

if TYPE_CHECKING:
    from .backtrader.feed import BacktraderFeed

_SHARED = ("lookback_bars", "retry_interval", "on_new_bar", "data_manager", "timeout")
# Keys that another source reads are no mistake: presets carry all.
_KNOWN = {"data_source", "symbol", "interval", *_SHARED}.union(
    *(s.options for s in SOURCES.values())
)


class DataFeedFactory:
    """Makes feeds for Backtrader out of mappings. All methods are static."""

    @staticmethod
    def create_data_feed(config: Mapping[str, Any]) -> BacktraderFeed | None:
        """Return the feed that ``config`` describes, or None; why is in the log. Never raises.

        Keys: ``data_source`` (see :meth:`get_supported_sources`), ``symbol``, ``interval``,
        ``lookback_bars``, ``retry_interval``, ``on_new_bar``, ``data_manager``, ``timeout``; then
        those of the source: Binance ``api_key api_secret testnet market`` (``"futures"``: the perpetual ones
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
        return {name: copy.deepcopy(source.info) for name, source in SOURCES.items()}


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
    wanted = {key: config[key] for key in (*_SHARED, *SOURCES[source].options) if key in config}
    market = wanted.pop("market", "spot")
    if market != "spot":
        return _feed_of_market(source, market, config)
    made: BacktraderFeed = feed_class(SOURCES[source].path)(
        config["symbol"], config["interval"], **wanted
    )
    return made


def _feed_of_market(source: str, market: str, config: Mapping[str, Any]) -> BacktraderFeed:
    """Return the feed of another market than the usual one of a source.

    Raises:
        ConfigError: there is none, or it has no test network.
    """
    from .backtrader.live import StreamedLiveDataFeed

    options = placed({"provider": source, "market": market})
    if config.get("testnet"):
        raise ConfigError(
            f"{source}'s {market} have no testnet here",
            hint="leave testnet out, or point base_url and ws_url elsewhere",
        )
    shared = {key: config[key] for key in _SHARED if key in config}
    return StreamedLiveDataFeed(config["symbol"], config["interval"], **options, **shared)


def _file_feed(config: Mapping[str, Any]) -> BacktraderFeed:
    if not config.get("file_path"):
        raise ValueError("a feed of a file needs file_path")
    names = ("symbol", *SOURCES["file"].options[1:])
    wanted = {key: config[key] for key in names if config.get(key) is not None}
    # Its arguments are Backtrader's parameters.
    made: BacktraderFeed = feed_class(SOURCES["file"].path)(dataname=config["file_path"], **wanted)
    return made
