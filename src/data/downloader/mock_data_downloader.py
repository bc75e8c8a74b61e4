"""A vendor of made-up bars, for trying programs without a network: never asked unless named."""

from __future__ import annotations

from ..config.rules_file import load_rules
from ..errors import DataError, NoDataError
from ..model.capabilities import Capabilities, Fetched, FetchQuery, Limits
from ..model.instrument import Instrument
from ..model.kind import Basis, Kind
from ..symbols.classify import classify
from .base_data_downloader import BaseDataDownloader
from .mock_bars import made_up
from .paging import check_capability

_LABELS = "1m 2m 3m 5m 15m 30m 1h 2h 4h 1d 1w 1M".split()


class MockDataDownloader(BaseDataDownloader):
    """Made-up bars of every symbol, on its market's calendar. Nobody is asked.

    They are the same on every machine and in every window, and they always lie in a lane of their
    own, so that no real series ever holds one.
    """

    name = "mock"
    display_name = "Mock (made up)"
    limits = Limits(burst=0)
    raw_shape = "column"
    capabilities = Capabilities(
        asset_classes=frozenset({"stock", "index", "forex", "crypto", "future"}),
        timeframes={label: label for label in _LABELS},
        kinds={
            "stock": Kind("regular", "session", "mock", volume="shares"),
            "index": Kind("regular", "session", "mock", volume="shares"),
            "future": Kind("24h", "session", "mock", volume="shares"),
            "forex": Kind("24h", "clock", "mock", volume="base"),
            "crypto": Kind("24h", "clock", "mock", volume="base"),
        },
        adjustment="split",
        settle_ms=0,
        has_forming=False,
        made_up=True,
    )

    def fetch(self, query: FetchQuery) -> Fetched:
        """Return the bars of ``query`` that have closed.

        Raises:
            CapabilityError: this vendor does not serve it.
            NoDataError: none has closed there.
        """
        who, kind = query.instrument, self.capabilities.kind(query.instrument, query.timeframe)
        try:
            check_capability(self, query)
            table = made_up(who, query.timeframe, kind.anchor, query.span, query.now_ms)
            if not len(table):
                raise NoDataError(f"mock has no closed {query.timeframe} bars in this range")
        except DataError as exc:
            exc.provider, exc.symbol = self.name, who.symbol
            raise
        basis = Basis(query.adjustment or self.capabilities.adjustment)
        return Fetched(table, self.name, kind, basis, query.now_ms, requests=0, settle_ms=0)

    def _direct(self, symbol: str) -> Instrument:
        """Return what a symbol means: its calendar says where bars stand."""
        meant = classify(symbol, load_rules().classification)
        return meant if isinstance(meant, Instrument) else super()._direct(symbol)


# Its name in the documents of older interfaces.
MockDataSource = MockDataDownloader
