"""What live feeds share whose bars come from a source of ours: a stream, or questions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import NoProviderError
from .base_live_data_feed import BaseLiveDataFeed
from .door import get_door, services_of
from .finding import feeds_of
from .frames import frame_of
from .source import Source

if TYPE_CHECKING:
    import pandas as pd


class SourcedLiveDataFeed(BaseLiveDataFeed):
    """A feed whose bars come from a source of ours; the three methods work on it from outside."""

    def _connect_realtime(self) -> bool:
        """Start the stream; return whether it runs."""
        self.stream.start()
        return self.stream.is_running

    def _disconnect_realtime(self) -> None:
        """Stop the stream."""
        self.stream.stop()

    def _get_latest_data(self) -> pd.DataFrame | None:
        """Return the newest closed bar of the stream, or None."""
        bars = self.stream.snapshot().bars
        return frame_of(bars[-1:]) if bars else None


class StreamedLiveDataFeed(SourcedLiveDataFeed):
    """Bars of any symbol that a vendor with a stream is routed to, as they close.

    Args:
        symbol, interval: whose bars, and their timeframe.
        provider: this vendor alone; default: the first one routed to that streams such bars.
        **others: as :class:`~.base_live_data_feed.BaseLiveDataFeed`.

    Raises:
        ValueError: there is no history, or nobody streams such bars.
    """

    pinned: ClassVar[str | None] = None

    def __init__(
        self, symbol: str, interval: str, provider: str | None = None, **others: Any
    ) -> None:
        self.provider = provider or self.pinned
        super().__init__(symbol, interval, **others)

    def _source(self) -> Source:
        services = services_of(self.data_manager) or get_door().services
        feeds = feeds_of(self.data_manager, services)
        # Bars of a vendor that would be asked anyway belong to the series, and are stored.
        first = services.selector.get_best_provider(self.symbol, self.interval)
        pinned = None if first == self.provider else self.provider
        found = feeds.find(
            self.symbol, self.interval, self.lookback_bars, provider=pinned,
            after_ms=self.live_last_ms,
        )  # fmt: skip
        if found is None:
            raise NoProviderError(f"nobody streams {self.symbol} {self.interval}; the log says why")
        return found.source
