"""EODHD: raw daily bars of some seventy venues, and minute bars with hours of delay.

Everything in this module was observed in its responses between 2019 and 2025.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Unpack
from urllib.parse import quote

import numpy as np

from ....errors import DataError, RateLimitedError, ResponseFormatError
from ...model.identity.instrument import Instrument
from ...model.identity.kind import Kind
from ...model.market.actions import Action
from ...model.market.bars import Bar, BarTable
from ...model.request.capabilities import BarPage, Capabilities, Fetched, FetchQuery, Limits
from ...model.request.http import HttpRequest, HttpResponse
from ...model.time.instant import HOUR_MS, SECOND_MS, day_ms
from ...model.time.span import Span
from ...model.time.timeframe import Timeframe
from ...net.http.status import error_of
from ...registry import VENDORS
from .. import dates as dated
from ..answer_types import wrong_actions
from ..base import BaseDataDownloader, Wired
from ..dates import ActionReader, list_of, number
from ..paging import error_context, format_errors
from ..session import ACTIONS_ENDPOINT

_NAMES = {"Stock Splits": "split", "Dividends": "value"}
_ROUNDING = 1e-4  # rounding of adjusted close prices; no split was ever smaller
_PRICES = ("open", "high", "low", "close")
_DIVIDEND = {
    "date|declarationDate?|recordDate?|paymentDate?|period?|currency?": "text",
    "value|unadjustedValue?": "number",
}
# Minute bars of stocks include the hours before and after the session, and hourly bars may start at
# the session's open or on the hour; five-minute bars were observed from the open to the close.
_SHARES = frozenset({"5m", "1d"})


class EODHDDataDownloader(BaseDataDownloader):
    """Bars, splits and dividends from EODHD; daily bars include an adjusted close.

    Args:
        api_key: Key that takes precedence over the environment variable.
        **wired: See :class:`BaseDataDownloader`.
    """

    name = "eodhd"
    display_name = "EODHD"
    aliases = VENDORS["eodhd"].aliases
    secrets = VENDORS["eodhd"].keys
    requires_api_key = VENDORS["eodhd"].needs_keys
    limits = Limits(per_minute=100, per_day=100_000)
    default_base_url = "https://eodhd.com"
    # Each format as JSON, and as the table that is sent if JSON is not supported.
    shapes = (
        ("api/eod/*", [{"date": "text", "open|high|low|close|adjusted_close|volume": "number"}]),
        ("api/eod/*", [{"Date|Open|High|Low|Close|Adjusted_close|Volume": "text"}]),
        (
            "api/intraday/*",
            [{"datetime": "text", "timestamp|gmtoffset|open|high|low|close|volume": "number"}],
        ),
        ("api/intraday/*", [{"Timestamp|Gmtoffset|Datetime|Open|High|Low|Close|Volume": "text"}]),
        ("api/div/*", [_DIVIDEND]),
        ("api/div/*", [{"Date|Dividends": "text"}]),
        ("api/splits/*", [{"date|split": "text"}]),
        ("api/splits/*", [{"Date|Stock Splits": "text"}]),
    )
    capabilities = Capabilities(
        asset_classes=frozenset({"stock", "index", "forex", "crypto"}),
        timeframes={"1m": "1m", "5m": "5m", "1h": "1h", "1d": "d"},
        # Each one is a day less than the vendor allows, because both ends are inclusive.
        page_days={"1m": 119, "5m": 599, "1h": 7199},
        kinds={
            "stock": Kind("regular", "session", "consolidated", volume="shares"),
            "index": Kind("regular", "session", ""),
            "forex": Kind("24h", "clock", "aggregate", volume="none"),
            "crypto": Kind("24h", "clock", "aggregate"),
        },
        adjustment="raw",
        settle_ms=18 * HOUR_MS,  # published two to three hours after the late trading
        has_forming=False,
        actions_apart=True,
        action_requests=2,
        only={"stock": _SHARES, "index": _SHARES},
    )

    def __init__(self, api_key: str | None = None, **wired: Unpack[Wired]) -> None:
        if api_key:
            wired["credentials"] = {"EODHD_API_KEY": api_key}
        super().__init__(**wired)

    def is_dense(self, timeframe: Timeframe) -> bool:
        """Return True for daily bars, which are complete; minutes without a trade may be absent."""
        return not timeframe.is_intraday

    def fetch(self, query: FetchQuery) -> Fetched:
        """Return all bars for ``query``; daily volumes are in terms of the shares on each day.

        The vendor sends raw daily prices, but volumes that are adjusted for splits. If there may
        have been a split since the first bar, one more request fetches the splits, and the
        adjustment is undone.
        """
        fetched, instrument = super().fetch(query), query.instrument
        is_days = instrument.asset_class == "stock" and not query.timeframe.is_intraday
        if not is_days or not is_restated(fetched.table):
            return fetched
        with error_context(self.name, instrument.symbol), self.endpoint_call(ACTIONS_ENDPOINT):
            since = Span(query.span.start, fetched.adjusted_at_ms)
            splits = self._splits(instrument, since, query.now_ms)
        table = as_traded(fetched.table, splits)
        return replace(fetched, table=table, requests=fetched.requests + 1)

    def bars_request(self, query: FetchQuery, cursor: str | None) -> HttpRequest:
        """Request a range of dates, or of UTC seconds for intraday bars; both ends are inclusive."""
        period = self.capabilities.timeframes[query.timeframe.label]
        if query.timeframe.is_intraday:
            ends = dated.seconds_of(query.span)
            return self._request("intraday", query.instrument, interval=period, **ends)
        dates = dated.dates_of(query)
        return self._request("eod", query.instrument, **dates, period=period, order="a")

    def parse_bars(self, response: HttpResponse, query: FetchQuery) -> BarPage:
        """Parse rows labeled with UTC seconds or with a date, as JSON or as CSV with the same names.

        ::

            [{"date": "2024-03-01", "open": 179.55, "high": 180.53, "low": 177.38,
              "close": 179.66, "adjusted_close": 178.58, "volume": 73563082}]
            [{"timestamp": 1709303400, "gmtoffset": 0, "datetime": "2024-03-01 14:30:00",
              "open": 179.55, "high": 180.02, "low": 179.2, "close": 179.9, "volume": 3921000}]
        """
        timeframe, instrument, bars = query.timeframe, query.instrument, []
        for row in rows_of(response):
            stamp_ms = (
                dated.label(row["timestamp"]) * SECOND_MS
                if timeframe.is_intraday
                else dated.day(row["date"])
            )
            prices = [number(row[name]) for name in _PRICES]
            rest = [number(row["volume"]), number(row.get("adjusted_close"))]
            # The official close follows the last bar of a stock as a row without volume.
            if rest[0] == rest[0] or not timeframe.is_intraday or instrument.asset_class != "stock":
                bars.append(Bar(stamp_ms, *prices, *rest))
        return BarPage(
            dated.without_margin(bars, query), unit=_unit(instrument.spelling(self.name))
        )

    def classify(self, response: HttpResponse) -> DataError | None:
        """Return the error: 402 means that the daily quota is used up, 403 that the plan lacks the data."""
        if response.status == 402:
            return RateLimitedError(f"{self.display_name} allows no more requests today", 3600.0)
        return error_of(response)

    def actions_of(self, instrument: Instrument, span: Span, now_ms: int) -> list[Action]:
        """Return splits and dividends with an ex-date in ``span``, using two requests."""
        actions = self._splits(instrument, span, now_ms)
        reader = ActionReader(instrument, self.name, now_ms, as_paid=False)
        answer = self.send(self._request("div", instrument, **dated.dates_in(span)))
        with format_errors(self.name, "actions"):
            actions += [
                reader.dividend(r["date"], r["value"], r.get("paymentDate"), r.get("currency"))
                for r in rows_of(answer)
            ]
        return dated.within(actions, span)

    def _splits(self, instrument: Instrument, span: Span, now_ms: int) -> list[Action]:
        answer = self.send(self._request("splits", instrument, **dated.dates_in(span)))
        reader = ActionReader(instrument, self.name, now_ms)
        with format_errors(self.name, "actions"):
            splits = [reader.split(r["date"], *ratio_of(r["split"])) for r in rows_of(answer)]
        if wrong := wrong_actions(splits, (self.name,)):  # they also change volumes
            raise ResponseFormatError(f"{self.name} returned {wrong}")
        return splits

    def _request(self, path: str, instrument: Instrument, **params: str | int) -> HttpRequest:
        name = quote(instrument.spelling(self.name))
        return HttpRequest(
            f"{self.base_url}/api/{path}/{name}",
            params={**params, "fmt": "json"},
            secret_params={"api_token": self.secret("EODHD_API_KEY")},
            cost=5 if path == "intraday" else 1,
        )


def rows_of(response: HttpResponse) -> list[dict[str, Any]]:
    """Return the rows of a response, which is JSON or CSV.

    The last line of the vendor's CSV contains only a number and is ignored.

    Raises:
        ValueError: The response is neither JSON nor CSV with bars.
    """
    if response.body[:1] in (b"[", b"{"):
        return list_of(response.json())
    table = csv.reader(response.text.splitlines())
    names = [_NAMES.get(name, name.lower()) for name in next(table, [""])]
    if names[0] not in ("date", "timestamp"):
        raise ValueError("the response is neither JSON nor a CSV table of bars")
    return [dict(zip(names, row, strict=True)) for row in table if len(row) > 1]


def ratio_of(text: str) -> tuple[str, str]:
    """Return the numbers of new and old shares in a split such as ``4.000000/1.000000``."""
    new, _, old = text.partition("/")
    return new, old


def is_restated(table: BarTable) -> bool:
    """Return whether some days may precede a split, because their close and adjusted close differ."""
    adjusted = table.adj_close
    return adjusted is None or not np.allclose(adjusted, table.close, rtol=_ROUNDING, atol=0.0)


def as_traded(table: BarTable, splits: Iterable[Action]) -> BarTable:
    """Return daily bars with raw volumes (in terms of the shares on each day)."""
    volume = table.volume.copy()
    for split in splits:
        volume[table.stamps < day_ms(split.ex_date)] *= split.denominator / split.numerator
    return replace(table, volume=volume)


def _unit(name: str) -> str:
    """Return the quote currency of a pair such as BTC-USD.CC, which is USD even for stablecoins."""
    pair, dot, venue = name.partition(".")
    return pair.partition("-")[2] if dot and venue == "CC" else ""
