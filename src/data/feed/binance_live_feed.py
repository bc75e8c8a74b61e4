"""Binance's bars by its stream, as they close."""

from __future__ import annotations

from typing import Any

from ..model.rules import Rules
from ..vendors.binance.stream import BinanceStream
from ..vendors.factory import downloader_class
from .services import get_door, get_testnet_door, is_manager
from .sourced_live_data_feed import StreamedLiveDataFeed
from .sources.base import log


class BinanceLiveDataFeed(StreamedLiveDataFeed):
    """Bars of a pair from Binance alone.

    Args:
        symbol, interval: whose bars, and their timeframe.
        api_key, api_secret: not needed for bars, and not used.
        testnet: history and stream of the exchange's test network, kept in a cache of its own.
            With a ``data_manager`` it is that one's rules that say which network is asked.
        **others: as :class:`~.base_live_data_feed.BaseLiveDataFeed`.

    Raises:
        ValueError: there is no history.
    """

    source_name = "Binance"
    pinned = "binance"

    def __init__(
        self,
        symbol: str,
        interval: str,
        api_key: str | None = None,
        api_secret: str | None = None,
        testnet: bool = False,
        **others: Any,
    ) -> None:
        self.testnet = testnet
        if testnet and others.get("data_manager") is None:
            others["data_manager"] = get_testnet_door()
        elif testnet:
            log.warning(
                "%s: testnet says nothing beside a data_manager: its rules say whom to ask "
                "(providers.binance.base_url and ws_url)",
                symbol,
            )
        super().__init__(symbol, interval, **others)

    @property
    def binance_interval(self) -> str | None:
        """The timeframe as Binance spells it, or None where it serves none such."""
        return downloader_class("binance").capabilities.timeframes.get(self.live_timeframe.label)

    def get_status(self) -> dict[str, Any]:
        """Return how it stands, with the stream's address."""
        status = super().get_status()
        return status | {
            "ws_connected": status["is_connected"],
            "ws_url": self._ws_url(),
            "binance_interval": self.binance_interval,
            "testnet": self.testnet,
        }

    def _ws_url(self) -> str:
        """Return where the stream is, by the rules of the data manager."""
        manager: Any = self.data_manager if is_manager(self.data_manager) else get_door()
        rules: Rules = manager.provider_selector.parsed_rules
        return BinanceStream(rules.provider("binance").ws_url).address().shown
