"""Live feeds of vendors without a stream, by asking."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from ..model.instant import from_ms
from ..model.instrument import Instrument
from ..policy.calendar import calendar_for
from ..policy.gaps import Grid
from .door import is_manager
from .history import ManagerHistory
from .poll_source import PollSource
from .sourced_live_data_feed import SourcedLiveDataFeed


class PolledLiveDataFeed(SourcedLiveDataFeed):
    """Bars of any symbol that the rules can route, asked for whenever one closes.

    Args:
        symbol, interval: whose bars, and their timeframe.
        polling_interval: seconds after which what is lacking is asked for again, at the latest.
        provider: ask this vendor alone, such as ``yahoo`` or ``ccxt:kraken``; default: as routed.
        **others: as :class:`~.base_live_data_feed.BaseLiveDataFeed`.

    Raises:
        ValueError: there is no history.
    """

    pinned: ClassVar[str | None] = None

    def __init__(
        self, symbol: str, interval: str, polling_interval: float = 60,
        provider: str | None = None, **others: Any,
    ) -> None:  # fmt: skip
        self.polling_interval = polling_interval
        self.provider = provider or self.pinned
        super().__init__(symbol, interval, **others)

    def _source(self) -> PollSource:
        # Of a symbol that nobody can place nothing is known but that it is asked for.
        market = self.live_market or calendar_for(Instrument(self.symbol, "crypto"))
        grid = Grid(market, self.live_timeframe)
        history = ManagerHistory(
            self.data_manager, self.symbol, grid, self.live_clock, pinned=self.provider
        )
        return PollSource(
            f"{self.symbol} {self.interval}", history, grid, after_ms=self.live_last_ms,
            interval_s=self.polling_interval, on_ask=self._count_question, clock=self.live_clock,
        )  # fmt: skip

    def _count_question(self) -> None:
        """Take notice of a question that is about to be asked."""

    @property
    def last_poll_time(self) -> datetime | None:
        """When it asked last (naive UTC), or None."""
        asked = self.live_source.asked_ms if isinstance(self.live_source, PollSource) else None
        return None if asked is None else from_ms(asked)

    def get_status(self) -> dict[str, Any]:
        """Return how it stands, with ``polling_interval`` and ``last_poll_time``."""
        known = {"polling_interval": self.polling_interval, "last_poll_time": self.last_poll_time}
        source = self.source_name or self.provider or "routed"
        return super().get_status() | known | {"data_source": source}

    def _wishes(self) -> dict[str, Any]:
        # Other people's data managers may know the four usual arguments alone.
        pinned = self.provider is not None and is_manager(self.data_manager)
        return {"provider": self.provider} if pinned else {}
