"""What live feeds share whose bars come from a source of ours: a stream, or questions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import NoProviderError
from ..model.stream import LiveBar
from ..provider_selector import ProviderSelector
from .base_live_data_feed import BaseLiveDataFeed
from .live_feed import LiveFeed
from .services import feeds_of, is_manager
from .sources.history import frame_of

if TYPE_CHECKING:
    import pandas as pd


class SourcedLiveDataFeed(BaseLiveDataFeed):
    """A feed whose bars come from a source of ours, history included.

    The three methods of older programs work on it from outside.
    """

    pinned: ClassVar[str | None] = None
    provider: str | None = None
    adjustment = "split"

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

    def _pin(self) -> str | None:
        """Return the vendor that alone may be asked.

        None for the one that would be asked first anyway: its bars belong to the usual series.
        """
        if self.provider is None or not is_manager(self.data_manager):
            return self.provider
        selector: ProviderSelector = self.data_manager.provider_selector  # type: ignore[attr-defined]
        first = selector.get_best_provider(self.symbol, self.interval)
        return None if first == selector.canonical(self.provider) else self.provider

    def _wishes(self) -> dict[str, Any]:
        usual = super()._wishes()
        if not is_manager(self.data_manager):  # it may know the four usual arguments alone
            return usual
        pinned = self._pin()
        own = {"adjustment": self.adjustment} | ({} if pinned is None else {"provider": pinned})
        return usual | own


class StreamedLiveDataFeed(SourcedLiveDataFeed):
    """Bars of any symbol that a vendor with a stream is routed to, as they close.

    Args:
        symbol, interval: whose bars, and their timeframe.
        provider: this vendor alone; default: the first one routed to that streams such bars.
        adjustment: what prices of the past are corrected for: ``raw``, ``split`` or ``all``.
        **others: as :class:`~.base_live_data_feed.BaseLiveDataFeed`.

    Raises:
        ValueError: there is no history, or no vendor streams such bars.
    """

    def __init__(
        self,
        symbol: str,
        interval: str,
        provider: str | None = None,
        adjustment: str = "split",
        **others: Any,
    ) -> None:
        self.provider, self.adjustment = provider or self.pinned, adjustment
        super().__init__(symbol, interval, **others)

    def _stream(self, past: list[LiveBar]) -> tuple[LiveFeed, list[LiveBar]]:
        feeds, pinned = feeds_of(self.data_manager), self._pin()
        self.live_vendor = feeds.streamer(self.symbol, self.interval, pinned)
        found = feeds.find(
            self.symbol,
            self.interval,
            self.lookback_bars,
            provider=pinned,
            adjustment=self.adjustment,
            timeout=self.live_timeout_s,
        )
        if found is None:
            raise NoProviderError(
                f"no vendor streams {self.symbol} {self.interval}; the log says why"
            )
        return found, []

    def get_status(self) -> dict[str, Any]:
        """Return how it stands; ``data_source`` is the vendor that is listened to."""
        return super().get_status() | {"data_source": self.source_name or self.live_vendor}
