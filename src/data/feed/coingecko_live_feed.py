"""CoinGecko's bars, asked for as they close, at its pace."""

from __future__ import annotations

from typing import Any

from ..vendors.factory import downloader_class
from .polled_live_data_feed import PolledLiveDataFeed

_MINUTE_S = 60.0


class CoinGeckoLiveDataFeed(PolledLiveDataFeed):
    """Bars of a coin from CoinGecko alone; arguments as :class:`PolledLiveDataFeed`.

    Its limit holds for all feeds and processes together: a question waits where it must.

    Attributes:
        call_times: when it asked in the last minute, in seconds of the steady clock.
    """

    source_name = "CoinGecko"
    pinned = "coingecko"

    def __init__(
        self, symbol: str, interval: str, polling_interval: float = 60, **others: Any
    ) -> None:
        self.call_times: list[float] = []
        super().__init__(symbol, interval, polling_interval, **others)

    @property
    def max_calls_per_minute(self) -> int | None:
        """How many questions a minute CoinGecko grants."""
        return downloader_class("coingecko").limits.per_minute

    def _count_question(self) -> None:
        now = self.live_clock.monotonic()
        self.call_times = [at for at in self.call_times if now - at < _MINUTE_S] + [now]

    def get_status(self) -> dict[str, Any]:
        """Return how it stands, with the questions of the last minute."""
        known = {"calls": len(self.call_times), "max_calls_per_minute": self.max_calls_per_minute}
        return super().get_status() | known
