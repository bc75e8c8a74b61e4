"""A vendor in process, for tests of failover: the vendor server's true bars, with scripted errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from src.data.core.model.identity.kind import Basis
from src.data.core.model.market.bars import Bar, BarTable
from src.data.core.model.request.capabilities import Fetched, FetchQuery
from src.data.core.model.time.span import Span
from src.data.core.provider_selector import ProviderSelector
from src.data.core.vendors.base import BaseDataDownloader
from src.data.core.vendors.binance.bars import BinanceDataDownloader
from src.data.errors import DataError, NoDataError
from tests.vendor_server import VendorServer

Spoil = Callable[[list[Bar]], list[Bar]]


class ScriptedVendor(BaseDataDownloader):
    """Serves the truth of the vendor server; errors and spoilt rows are scripted.

    Args:
        vendors: whose truth it is.
        like: the vendor whose name and capabilities it bears; by default it is one more venue of
            Binance's kind, of a name of its own.

    Attributes:
        asked: the spans asked for, in order.
        errors: raised one after another, before anything is answered.
        spoil: changes the rows of every answer.
    """

    name = "twin"
    capabilities = BinanceDataDownloader.capabilities

    def __init__(self, vendors: VendorServer, like: type[BaseDataDownloader] | None = None) -> None:
        super().__init__(sender=object())  # type: ignore[arg-type]
        if like is not None:
            self.name, self.capabilities = like.name, like.capabilities
        self.vendors = vendors
        self.asked: list[Span] = []
        self.errors: list[DataError | None] = []
        self.spoil: Spoil = lambda rows: rows

    def fetch(self, query: FetchQuery) -> Fetched:
        """Answer as a healthy vendor does, or as the script wants."""
        self.asked.append(query.span)
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error
        now, label = self.vendors.clock.now_ms(), query.timeframe.label
        how = self.capabilities.adjustment
        rows = self.vendors.truth.expected(query.instrument.symbol, label, *query.span, how, now)
        bars = self.spoil([Bar(*row) for row in rows])
        if not bars:
            raise NoDataError("nothing here", provider=self.name)
        kind = self.capabilities.kind(query.instrument, query.timeframe)
        return Fetched(BarTable.from_bars(bars), self.name, kind, Basis(how), now, ())


def route_to(monkeypatch: Any, asking: Any, **downloaders: Any) -> None:
    """Let a manager, or a selector, ask these downloaders in this order, in place of the rules."""
    selector = asking if isinstance(asking, ProviderSelector) else asking.provider_selector
    monkeypatch.setattr(selector, "get_provider_with_failover", lambda *_: list(downloaders))
    for name, downloader in downloaders.items():
        monkeypatch.setitem(selector.downloaders, name, downloader)


def beside(monkeypatch: Any, manager: Any, second: BaseDataDownloader) -> None:
    """Add a vendor to a manager, after those of the rules."""
    selector = manager.provider_selector
    rules = selector.get_provider_with_failover
    monkeypatch.setattr(
        selector, "get_provider_with_failover", lambda *asked: [*rules(*asked), second.name]
    )
    monkeypatch.setitem(selector.downloaders, second.name, second)


def provenance(frame: pd.DataFrame) -> Any:
    """Return the provenance."""
    return frame.attrs["onetape"]


def states(frame: pd.DataFrame) -> dict[str, str]:
    """Return the state of each stretch by its first stamp."""
    return {span["start"]: span["state"] for span in provenance(frame)["spans"]}


def gaps(frame: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Return the gaps as start, end and reason, without the zone's letter."""
    return [(g["start"][:-1], g["end"][:-1], g["reason"]) for g in provenance(frame)["gaps"]]
