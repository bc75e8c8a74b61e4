"""Live feeds of vendors without a stream, by asking."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ..model.instant import from_ms
from ..model.stream import LiveBar
from .live_feed import LiveFeed
from .sourced_live_data_feed import SourcedLiveDataFeed
from .sources.poll import PollSource, polled


class PolledLiveDataFeed(SourcedLiveDataFeed):
    """Bars of any symbol that the rules can route, asked for whenever one closes.

    Args:
        symbol, interval: whose bars, and their timeframe.
        polling_interval: seconds after which what is lacking is asked for again, at the latest.
        provider: ask this vendor alone, such as ``yahoo`` or ``ccxt:kraken``; default: as routed.
        adjustment: what prices of the past are corrected for: ``raw``, ``split`` or ``all``.
        **others: as :class:`~.base_live_data_feed.BaseLiveDataFeed`.

    Raises:
        ValueError: there is no history.
    """

    def __init__(
        self,
        symbol: str,
        interval: str,
        polling_interval: float = 60,
        provider: str | None = None,
        adjustment: str = "split",
        **others: Any,
    ) -> None:
        self.polling_interval = polling_interval
        self.provider, self.adjustment = provider or self.pinned, adjustment
        super().__init__(symbol, interval, **others)

    def _stream(self, past: list[LiveBar]) -> tuple[LiveFeed, list[LiveBar]]:
        source = polled(
            self.data_manager,
            self.symbol,
            self.interval,
            lookback=self.lookback_bars,
            provider=self._pin(),
            interval_s=self.polling_interval,
            adjustment=self.adjustment,
            timeout_s=self.live_timeout_s,
            on_ask=self._count_question,
        )
        return self._feed_of(source), []

    def _count_question(self) -> None:
        """Take notice of a question that is about to be asked."""

    @property
    def last_poll_time(self) -> datetime | None:
        """When it asked last (naive UTC), or None."""
        source = self.stream.source
        asked = source.asked_ms if isinstance(source, PollSource) else None
        return None if asked is None else from_ms(asked)

    def get_status(self) -> dict[str, Any]:
        """Return how it stands, with ``polling_interval`` and ``last_poll_time``."""
        known = {"polling_interval": self.polling_interval, "last_poll_time": self.last_poll_time}
        source = self.source_name or self.provider or "routed"
        return super().get_status() | known | {"data_source": source}
