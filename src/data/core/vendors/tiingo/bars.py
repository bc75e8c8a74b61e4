"""Tiingo: daily bars of American stocks since 1962, minute bars from IEX, daily bars of crypto."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import date, timedelta
from typing import Any, Unpack
from urllib.parse import quote

from ....errors import DataError, RateLimitedError
from ...model.identity.instrument import Instrument
from ...model.identity.kind import Kind
from ...model.market.actions import Action, ActionList
from ...model.market.bars import NAN, Bar
from ...model.request.capabilities import BarPage, Capabilities, FetchQuery, Limits
from ...model.request.http import HttpRequest, HttpResponse
from ...model.time.instant import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, date_of, day_ms, parse_iso
from ...model.time.span import Span
from ...model.time.timeframe import Timeframe
from ...net.http.status import error_of
from ...registry import VENDORS
from ..base import BaseDataDownloader
from ..dates import amount, list_of, number, split_terms
from ..paging import UNREADABLE, rows_about
from ..session import Wired
from ..us_equities import ask_actions, days_of, dividend, share, split, stamped

# The label of a week or month is its last day, up to this many days after the bar's timestamp.
_LABEL_DAYS = {"w": 6, "M": 30}
_PRICES = ("open", "high", "low", "close")
_PRICED = {"date": "text", "open|high|low|close": "number"}
_BAR = {**_PRICED, "volume": "number"}
_ADJUSTED = "adjOpen|adjHigh|adjLow|adjClose|adjVolume|divCash|splitFactor"
_COIN = {
    "ticker|baseCurrency|quoteCurrency": "text",
    "priceData": [{**_BAR, "volumeNotional?|tradesDone?": "number"}],
    "exchangeData?": "any",
}
_MINUTES = "open,high,low,close,volume"


class TiingoDataDownloader(BaseDataDownloader):
    """Bars, splits and dividends from Tiingo.

    Daily, weekly and monthly bars are from the consolidated tape; minute bars contain only the
    trades on IEX. One-minute bars are not served, because ``1m`` means a month to older callers.

    Args:
        api_key: Key; by default the one in the environment.
        rate_limit_delay: Accepted for older callers but not used, because all users of a key share
            its limits.
        **wired: See :class:`BaseDataDownloader`.
    """

    name = "tiingo"
    display_name = "Tiingo"
    secrets = VENDORS["tiingo"].keys
    requires_api_key = VENDORS["tiingo"].needs_keys
    # The free plan allows 50 requests an hour; ten at once and 40 an hour never exceed that.
    limits = Limits(per_second=40 * SECOND_MS / HOUR_MS, burst=10, per_day=1000)
    default_base_url = "https://api.tiingo.com"
    shapes = (
        ("tiingo/daily/*/prices", [{**_BAR, _ADJUSTED: "number"}]),
        ("tiingo/daily/*/prices", [_BAR]),
        ("iex/*/prices", [{**_PRICED, "volume?": "number"}]),
        ("tiingo/crypto/prices", [_COIN]),
    )
    raw_shape = "index"
    capabilities = Capabilities(
        asset_classes=frozenset({"stock", "crypto"}),
        timeframes={
            "5m": "5min",
            "15m": "15min",
            "30m": "30min",
            "1d": "daily",
            "1w": "weekly",
            "1M": "monthly",
        },
        # A longer response with minute bars is silently cut to its latest 2000 rows (2018).
        page_days={"5m": 25, "15m": 75, "30m": 150},
        kinds={
            "stock": Kind("regular", "session", "consolidated", volume="shares", feed="sip"),
            "crypto": Kind("24h", "clock", "aggregate", volume="base"),
        },
        intraday_kinds={"stock": Kind("regular", "session", "iex", volume="shares", feed="iex")},
        adjustment="raw",
        settle_ms=20 * MINUTE_MS,
        actions=True,
        actions_only=frozenset({"1d"}),
        actions_apart=True,
        actions_by_bar=True,
        only={"crypto": frozenset({"1d"})},
    )

    def __init__(
        self,
        api_key: str | None = None,
        rate_limit_delay: float = 0.1,
        **wired: Unpack[Wired],
    ) -> None:
        if api_key:
            wired["credentials"] = {"TIINGO_API_KEY": api_key}
        super().__init__(**wired)

    def is_dense(self, timeframe: Timeframe) -> bool:
        """Return True for daily bars, which are complete; minutes without a trade on IEX have no bar."""
        return not timeframe.is_intraday

    def bars_request(self, query: FetchQuery, cursor: str | None) -> HttpRequest:
        """Request the dates of the span, both inclusive.

        A weekly or monthly bar is returned if its last day is in this range.
        """
        instrument, label = query.instrument, query.timeframe.label
        first, last = requested_dates(query)
        params = {
            "startDate": first.isoformat(),
            "endDate": last.isoformat(),
            "resampleFreq": self.capabilities.timeframes[label],
            "format": "json",
        }
        if instrument.asset_class == "crypto":
            params |= {"tickers": self.spelled(instrument), "resampleFreq": "1day"}
            return self._request("tiingo/crypto/prices", params)
        ticker = quote(self.spelled(instrument), safe="")
        if query.timeframe.is_intraday:
            return self._request(f"iex/{ticker}/prices", params | {"columns": _MINUTES})
        return self._request(f"tiingo/daily/{ticker}/prices", params)

    def parse_bars(self, response: HttpResponse, query: FetchQuery) -> BarPage:
        """Parse a list of rows; for crypto, there is such a list inside an object for each ticker.

        ::

            [{"date": "2024-03-01T00:00:00.000Z", "open": 179.55, "high": 180.53, "low": 177.38,
              "close": 179.66, "volume": 73563082, "adjClose": 178.58, "divCash": 0.0,
              "splitFactor": 1.0}]
            [{"ticker": "btcusd", "quoteCurrency": "usd", "priceData": [{"date": ...}]}]
        """
        body, unit = list_of(response.json()), ""
        if query.instrument.asset_class == "stock" and query.timeframe.unit == "d":
            # Weekly and monthly bars contain no ex-dates, and minute bars come from another
            # address.
            actions: Sequence[Action] | None = None  # prices as traded do not need them
            if has_actions(body):
                with suppress(*UNREADABLE):
                    actions = stamped(read_actions(body), self.name, query.now_ms)
            return BarPage(read_bars(body, query), actions)
        if query.instrument.asset_class == "crypto":
            series = rows_about(self.name, self.spelled(query.instrument), body, "ticker")
            unit = series[0]["quoteCurrency"].upper() if series else ""
            body = [row for item in series for row in list_of(item["priceData"])]
        return BarPage(read_bars(body, query), unit=unit)

    def classify(self, response: HttpResponse) -> DataError | None:
        """Return the error for a response; the limits of a free key are reported in text with status 200."""
        error, body = error_of(response), response.body[:200]
        if error is None and b"You have run over" in body:
            wait = 3600.0 if b"month" in body else None
            return RateLimitedError("Tiingo reports too many requests with this key", wait)
        return error

    def actions_of(self, instrument: Instrument, span: Span, now_ms: int) -> Sequence[Action]:
        """Return splits and cash dividends with an ex-date in ``span``, as listed with daily bars.

        The result does not cover days before the first row or after the last one.
        """
        query = FetchQuery(instrument, Timeframe(1, "d"), span, now_ms)
        days: list[int] = []

        def read(body: Any) -> tuple[Sequence[Action], HttpRequest | None]:
            """Return the actions on the only page of daily bars, and record the days that the page covers."""
            rows = list_of(body)
            sent = (day_ms(date.fromisoformat(row["date"][:10])) for row in rows)
            days.extend(day for day in sent if day in span)
            return read_actions(rows), None

        actions = ActionList(ask_actions(self, self.bars_request(query, None), read, span, now_ms))
        actions.since = min(days, default=None)
        actions.until = max(days, default=span.start - DAY_MS) + DAY_MS
        return actions

    def spelled(self, instrument: Instrument) -> str:
        """Return Tiingo's name for a pair or an American stock."""
        if instrument.asset_class == "stock":
            return share(instrument, self.name, "-", "-P-")
        spelled = instrument.spelling(self.name)
        pair = (
            f"{instrument.base}{instrument.quote}"
            if spelled == instrument.symbol and instrument.base
            else spelled
        )
        return pair.lower()

    def _request(self, path: str, params: dict[str, str]) -> HttpRequest:
        key = {"Authorization": f"Token {self.secret('TIINGO_API_KEY')}"}
        return HttpRequest(f"{self.base_url}/{path}", params, secret_headers=key)


def requested_dates(query: FetchQuery) -> tuple[date, date]:
    """Return the first and last date to request, both inclusive.

    Raises:
        NoDataError: No day begins in the requested span.
    """
    span = query.span
    if not query.timeframe.is_intraday:
        span = days_of(span)
    more = timedelta(_LABEL_DAYS.get(query.timeframe.unit, 0))
    return date_of(span.start), date_of(span.end - 1) + more


def read_bars(rows: Iterable[Mapping[str, Any]], query: FetchQuery) -> Sequence[Bar]:
    """Parse rows, and drop rows that were returned only because whole dates were requested.

    Rows for dates that were not requested are kept, because they show that the response is wrong.
    """
    first, last = requested_dates(query)
    days = _LABEL_DAYS.get(query.timeframe.unit, 0)
    margin = Span(day_ms(first) - days * DAY_MS, day_ms(last) + DAY_MS)
    bars = (_bar(row, query) for row in rows)
    return [b for b in bars if b.stamp_ms in query.span or b.stamp_ms not in margin]


def has_actions(rows: Iterable[Mapping[str, Any]]) -> bool:
    """Return whether every row has values for a split and a dividend."""
    return all(row.get(name) is not None for row in rows for name in ("splitFactor", "divCash"))


def read_actions(rows: Iterable[Mapping[str, Any]]) -> list[Action]:
    """Parse splits and cash dividends from daily bars, which list them on their ex-dates."""
    actions: list[Action] = []
    for row in rows:
        if (new := amount(row["splitFactor"])) != 1.0:
            actions.append(split(row["date"][:10], *split_terms(new)))
        if (cash := amount(row["divCash"])) != 0.0:
            actions.append(dividend(row["date"][:10], cash))
    return actions


def _bar(row: Mapping[str, Any], query: FetchQuery) -> Bar:
    """Parse one row.

    A raw weekly or monthly bar in which a split occurs mixes prices from before and after it. Its
    prices are left out, so that the bar is missing rather than wrong.
    """
    unit = query.timeframe.unit
    is_mixed = unit in "wM" and amount(row.get("splitFactor") or 1.0) != 1.0
    stamp = _stamp(parse_iso(row["date"]), unit)
    if is_mixed:
        return Bar(stamp, NAN, NAN, NAN, NAN, NAN)
    values = (number(row.get(name)) for name in ("volume", "adjClose"))
    return Bar(stamp, *(number(row[name]) for name in _PRICES), *values)


def _stamp(label: int, unit: str) -> int:
    """Convert a label (UTC milliseconds) to the bar's timestamp, which depends on ``unit``.

    The timestamp is the label's time, its date, the Monday of its week, or the first of its month.
    """
    if unit in "mh":
        return label
    day = date_of(label)
    if unit == "w":
        day -= timedelta(days=day.weekday())
    return day_ms(day.replace(day=1) if unit == "M" else day)
