"""Yahoo's bars, asked for as they close."""

from __future__ import annotations

from typing import Any

from ..vendors.factory import downloader_class
from .polled_live_data_feed import PolledLiveDataFeed


class YahooLiveDataFeed(PolledLiveDataFeed):
    """Bars of a symbol from Yahoo alone; arguments as :class:`PolledLiveDataFeed`."""

    source_name = "Yahoo Finance"
    pinned = "yahoo"

    @property
    def yahoo_interval(self) -> str | None:
        """The timeframe as Yahoo spells it, or None where it serves none such."""
        return downloader_class("yahoo").capabilities.timeframes.get(self.live_timeframe.label)

    def get_status(self) -> dict[str, Any]:
        """Return how it stands, with ``yahoo_interval`` and whether Yahoo knows the symbol."""
        known = {"yahoo_interval": self.yahoo_interval, "ticker_valid": not self.df.empty}
        return super().get_status() | known
