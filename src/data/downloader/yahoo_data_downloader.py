"""Yahoo Finance: stocks, funds, indices, futures, currencies and crypto of the whole world.

The address is unofficial; what stands here was seen in its answers between 2017 and 2025.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import quote

from ..errors import (
    CapabilityError,
    DataError,
    NoDataError,
    RefusedError,
    SymbolNotFoundError,
    TransientError,
)
from ..model.actions import Action
from ..model.capabilities import BarPage, Capabilities, FetchQuery, Limits
from ..model.http import HttpRequest, HttpResponse
from ..model.instant import DAY_MS, SECOND_MS, day_ms
from ..model.instrument import Instrument
from ..model.kind import Kind
from ..model.span import Span
from ..model.timeframe import Timeframe
from ..net.status import error_of, server_time_ms
from .base_data_downloader import BaseDataDownloader
from .paging import read_page
from .yahoo_chart import asked_of, error_text, read_chart

# 2025-02: clients that do not look like a browser are throttled.
_BROWSER = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/131.0.0.0 Safari/537.36"
)
_NOTHING_THERE = re.compile(r"doesn't exist|no data .*(range|period)", re.IGNORECASE)
# No stretch of so many days is without a session.
_SOME_SESSION_MS = 14 * DAY_MS


class YahooDataDownloader(BaseDataDownloader):
    """Bars, splits and dividends of Yahoo's chart address; needs no key."""

    name = "yahoo"
    display_name = "Yahoo Finance"
    aliases = ("yf", "yf_finance", "yfinance")
    limits = Limits(per_minute=60, per_second=1.0, burst=1)  # no figure is published
    default_base_url = "https://query1.finance.yahoo.com"
    sdk_carrier = "yfinance_carrier:YFinanceCarrier"
    prefers_sdk = True
    capabilities = Capabilities(
        asset_classes=frozenset({"stock", "index", "forex", "crypto", "future"}),
        timeframes={
            **{label: label for label in "1m 2m 5m 15m 30m 1h 90m 1d".split()},
            "1w": "1wk",
            "1M": "1mo",
        },
        page_days={"1m": 7},
        # Each a day less than the vendor says: a request takes a moment to arrive.
        depth_days={"1m": 29, "1h": 729} | dict.fromkeys(("2m", "5m", "15m", "30m", "90m"), 59),
        kinds={
            "stock": Kind("regular", "session", "consolidated", volume="shares"),
            "index": Kind("regular", "session", "", volume="none"),
            "forex": Kind("24h", "clock", "aggregate", volume="none"),
            "crypto": Kind("24h", "clock", "aggregate", volume="quote"),
            "future": Kind("", "", ""),
        },
        adjustment="split",
        actions=True,
    )

    def is_dense(self, timeframe: Timeframe) -> bool:
        """Days are complete; minutes without a trade may be missing."""
        return not timeframe.is_intraday

    def send(self, request: HttpRequest) -> HttpResponse:
        """Carry ``request`` under a browser's name."""
        return super().send(replace(request, headers={"User-Agent": _BROWSER, **request.headers}))

    def bars_request(self, query: FetchQuery, cursor: str | None) -> HttpRequest:
        """Ask for the whole span; a bar labelled exactly ``period2`` may come too."""
        asked = asked_of(query)
        return HttpRequest(
            f"{self.base_url}/v8/finance/chart/{quote(query.instrument.spelling(self.name))}",
            params={
                "interval": self.capabilities.timeframes[query.timeframe.label],
                "period1": asked.start // SECOND_MS,
                "period2": -(-asked.end // SECOND_MS),
                "events": "div|split",
                "includePrePost": "false",
            },
        )

    def parse_bars(self, response: HttpResponse, query: FetchQuery) -> BarPage:
        """Read columns beside a list of labels, and the splits and dividends that came along."""
        return read_chart(response.json(), query, server_time_ms(response) or query.now_ms)

    def classify(self, response: HttpResponse) -> DataError | None:
        """Read ``chart.error``; range limits come as 422, an unknown symbol as 404."""
        error, said = error_of(response), error_text(response)
        if not said or isinstance(error, RefusedError | TransientError):
            return error
        kind: type[DataError] = CapabilityError
        if _NOTHING_THERE.search(said):
            kind = NoDataError
        elif response.status == 404 or "delisted" in said:
            kind = SymbolNotFoundError
        return kind(f"{self.display_name}: {said[:160]}")

    def actions_of(self, instrument: Instrument, span: Span, now_ms: int) -> Sequence[Action]:
        """Return splits and dividends with an ex-date in ``span``: one chart of days.

        A chart without a day, of weeks in which there was trading, tells nothing of them.
        """
        query = FetchQuery(instrument, Timeframe(1, "d"), span, now_ms)
        page, _ = read_page(self, self.send(self.bars_request(query, None)), query)
        if not page.bars and not page.actions and span.end - span.start >= _SOME_SESSION_MS:
            raise NoDataError("its chart has no day of this range, and so no split or dividend")
        return [action for action in page.actions or () if day_ms(action.ex_date) in span]
