"""Finnhub: stocks of the USA, and Binance's crypto pairs; only with a paid plan since 2023.

Minute bars of stocks include the hours before and after the session; the regular hours are cut out.
Minute bars were raw, while daily bars were adjusted for splits (2021). Hourly bars are not
requested, because one of them spans the open.
"""

from __future__ import annotations

import re
from typing import Unpack

from ....errors import (
    AuthenticationError,
    DataError,
    EntitlementError,
    RateLimitedError,
    ResponseFormatError,
)
from ...model.identity.instrument import Instrument
from ...model.identity.kind import Kind
from ...model.market.actions import Action
from ...model.market.bars import Bar
from ...model.request.capabilities import BarPage, Capabilities, FetchQuery, Limits
from ...model.request.http import HttpRequest, HttpResponse
from ...model.time.instant import SECOND_MS, date_of, day_ms
from ...model.time.span import Span
from ...model.time.timeframe import Timeframe
from ...net.http.status import error_of
from ...registry import VENDORS
from ..base import BaseDataDownloader, Wired
from ..dates import (
    ActionReader,
    dates_in,
    label,
    list_of,
    number,
    seconds_of,
    within,
)
from ..paging import check_symbol, format_errors

_COLUMNS = "tohlcv"
_DIVIDEND = {
    "symbol|date|payDate?|recordDate?|declarationDate?|currency?|freq?": "text",
    "amount|adjustedAmount?": "number",
}
_ERROR_TEXTS: tuple[tuple[re.Pattern[str], type[DataError]], ...] = (
    (re.compile("limit reached", re.IGNORECASE), RateLimitedError),
    (re.compile("api key", re.IGNORECASE), AuthenticationError),
    (re.compile("have access|premium", re.IGNORECASE), EntitlementError),
)
_HINTS: dict[type[DataError], str] = {EntitlementError: "your plan does not include it"}


class FinnhubDataDownloader(BaseDataDownloader):
    """Bars, splits and dividends from Finnhub.

    Args:
        api_key: Key that takes precedence over the environment variable.
        **wired: See :class:`BaseDataDownloader`.
    """

    name = "finnhub"
    display_name = "Finnhub"
    aliases = VENDORS["finnhub"].aliases
    secrets = VENDORS["finnhub"].keys
    requires_api_key = VENDORS["finnhub"].needs_keys
    limits = Limits(per_minute=60, per_second=30.0)
    default_base_url = "https://finnhub.io"
    shapes = (
        ("candle", {"s": "text", "t|o|h|l|c|v": ["number"]}),
        ("stock/split", [{"symbol|date": "text", "fromFactor|toFactor": "number"}]),
        ("stock/dividend", [_DIVIDEND]),
    )
    capabilities = Capabilities(
        asset_classes=frozenset({"stock", "crypto"}),
        # Monthly bars are not served, because they were thirty days each (2020).
        timeframes={"1m": "1", "5m": "5", "15m": "15", "30m": "30", "1h": "60", "1d": "D"},
        # Longer ranges of minute bars were returned only partly or not at all (2020).
        page_days={"1m": 3, "5m": 15, "15m": 30, "30m": 30, "1h": 30},
        kinds={
            "stock": Kind("regular", "session", "consolidated", volume="shares"),
            "crypto": Kind("24h", "clock", "binance", volume="base"),
        },
        intraday_kinds={"stock": Kind("extended", "clock", "consolidated", volume="shares")},
        adjustment="split",
        intraday_adjustment="raw",
        actions_apart=True,
        action_requests=2,
        only={"stock": frozenset({"1m", "5m", "15m", "30m", "1d"})},
    )

    def __init__(self, api_key: str | None = None, **wired: Unpack[Wired]) -> None:
        if api_key:
            wired["credentials"] = {"FINNHUB_API_KEY": api_key}
        super().__init__(**wired)

    def is_dense(self, timeframe: Timeframe) -> bool:
        """Return True for daily bars, which are complete; minutes without a trade may be absent."""
        return not timeframe.is_intraday

    def bars_request(self, query: FetchQuery, cursor: str | None) -> HttpRequest:
        """Request the span in seconds; both ends are inclusive."""
        return self._request(
            f"{query.instrument.asset_class}/candle",
            query.instrument,
            resolution=self.capabilities.timeframes[query.timeframe.label],
            **seconds_of(query.span),
        )

    def parse_bars(self, response: HttpResponse, query: FetchQuery) -> BarPage:
        """Parse columns of equal length; the label of a day is 00:00 UTC of its date, in seconds.

        ``{"s": "ok", "t": [1709251200], "o": [179.55], "h": [180.53], "l": [177.38], "c":
        [179.66], "v": [73563082]}``; without rows ``{"s": "no_data"}``.
        """
        body = response.json()
        if body["s"] == "no_data":
            return BarPage(())
        if body["s"] != "ok":
            raise ResponseFormatError(
                f"the status in the response is {str(body['s'])[:20]!r}, not 'ok'"
            )
        rows = zip(*(list_of(body[name]) for name in _COLUMNS), strict=True)
        bars = []
        for at, *values in rows:
            stamp = label(at) * SECOND_MS
            if not query.timeframe.is_intraday:
                stamp = day_ms(date_of(stamp))
            bars.append(Bar(stamp, *map(number, values)))
        if not bars:
            raise ResponseFormatError("the status in the response is ok, but there are no rows")
        return BarPage(bars)

    def classify(self, response: HttpResponse) -> DataError | None:
        """Return the error for ``{"error"}`` or plain text, even if the HTTP status is 200."""
        error, text = error_of(response), response.text[:300]
        if error is not None or not (text.startswith('{"error"') or text[:1] not in "{[<"):
            return error
        for words, error_type in _ERROR_TEXTS:
            if words.search(text):
                return error_type(f"{self.display_name} refused", hint=_HINTS.get(error_type))
        return ResponseFormatError(f"{self.display_name} returned text instead of data")

    def actions_of(self, instrument: Instrument, span: Span, now_ms: int) -> list[Action]:
        """Return splits and dividends with an ex-date in ``span``, using two requests."""
        paths, dates = ("stock/split", "stock/dividend"), dates_in(span)
        answers = [self.send(self._request(path, instrument, **dates)) for path in paths]
        reader = ActionReader(instrument, self.name, now_ms)
        with format_errors(self.name, "actions"):
            splits, dividends = (list_of(answer.json()) for answer in answers)
            for row in (*splits, *dividends):
                check_symbol(self.name, instrument.spelling(self.name), row.get("symbol"))
            actions = [reader.split(r["date"], r["toFactor"], r["fromFactor"]) for r in splits]
            actions += [
                reader.dividend(r["date"], r["amount"], r.get("payDate"), r.get("currency"))
                for r in dividends
            ]
        return within(actions, span)

    def _request(self, path: str, instrument: Instrument, **params: str | int) -> HttpRequest:
        return HttpRequest(
            f"{self.base_url}/api/v1/{path}",
            params={"symbol": instrument.spelling(self.name), **params},
            secret_headers={"X-Finnhub-Token": self.secret("FINNHUB_API_KEY")},
        )
