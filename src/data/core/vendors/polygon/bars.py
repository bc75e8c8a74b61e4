"""Polygon, called Massive since 2025: raw American stocks, and averages of crypto and currencies.

Splits and dividends have separate addresses.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Unpack
from urllib.parse import parse_qsl, quote, urlencode

from ....errors import (
    CapabilityError,
    DataError,
    EntitlementError,
    ResponseFormatError,
)
from ...model.identity.instrument import AssetClass, Instrument
from ...model.identity.kind import Kind
from ...model.market.actions import Action
from ...model.market.bars import Bar
from ...model.request.capabilities import BarPage, Capabilities, FetchQuery, Limits
from ...model.request.http import HttpRequest, HttpResponse, path_and_query
from ...model.time.instant import MINUTE_MS, date_of
from ...model.time.span import Span
from ...model.time.timeframe import Timeframe
from ...net.http.status import error_of
from ...registry import VENDORS
from ..base import BaseDataDownloader
from ..dates import label, list_of, number
from ..paging import SecondFacts, check_symbol, rows_about
from ..session import Wired
from ..us_equities import ask_actions, days_of, dividend, session_ms, share, split

# Largest number of bars in one response.
PAGE_BARS = 50_000
_TAPE = Kind("regular", "session", "consolidated", volume="shares", feed="sip")
# How far the data are behind, by the status of a good response.
_BEHIND_MS = {"OK": 0, "DELAYED": 15 * MINUTE_MS}
# Refusals that concern only some days: days too long ago, and today before it ends.
_OF_THE_RANGE = re.compile("timeframe|before end of day", re.IGNORECASE)
_ENVELOPE = {
    "adjusted": "flag",
    "resultsCount|queryCount?|count?": "number",
    "status|ticker?|request_id?|next_url?": "text",
}
_BAR = {"t|o|h|l|c|v|vw?|n?": "number", "T?": "text", "otc?": "flag"}
_LIST = {"status?|request_id?|next_url?": "text"}
_SPLIT = {
    "ticker|execution_date|id?|adjustment_type?": "text",
    "split_from|split_to|historical_adjustment_factor?": "number",
}
_DIVIDEND = {
    "ticker|ex_dividend_date|currency?|id?|dividend_type?|distribution_type?": "text",
    "declaration_date?|record_date?|pay_date?": "text",
    "cash_amount|frequency?|historical_adjustment_factor?|split_adjusted_cash_amount?": "number",
}
_MARKS: dict[str, AssetClass] = {"X:": "crypto", "C:": "forex"}


class PolygonDataDownloader(BaseDataDownloader):
    """Bars, splits and dividends from Polygon; without a real-time plan, they lag by 15 minutes.

    ``get_ohlcv`` accepts ``adjustment`` (``raw`` or ``split``) and ``limit``.

    Args:
        api_key: Key; by default the one in the environment.
        **wired: See :class:`BaseDataDownloader`.
    """

    name = "polygon"
    display_name = "Polygon"
    aliases = VENDORS["polygon"].aliases
    secrets = VENDORS["polygon"].keys
    requires_api_key = VENDORS["polygon"].needs_keys
    limits = Limits(per_minute=5, burst=5)  # the free plan
    default_base_url = "https://api.polygon.io"
    shapes = (
        ("v2/aggs/ticker/*", {**_ENVELOPE, "results": [_BAR]}),
        ("v2/aggs/ticker/*", _ENVELOPE),  # an answer without rows
        ("v3/reference/splits", {**_LIST, "results": [_SPLIT]}),
        ("v3/reference/dividends", {**_LIST, "results": [_DIVIDEND]}),
    )
    second_facts: ClassVar[SecondFacts] = {
        "resultsCount": lambda _, count, body: _accepted_count(count, body),
    }
    raw_options = ("adjustment", "limit")
    capabilities = Capabilities(
        asset_classes=frozenset({"stock", "crypto", "forex"}),
        timeframes={
            **{f"{n}m": f"{n}/minute" for n in (1, 5, 15, 30)},
            "1h": "1/hour",
            "1d": "1/day",
        },
        # Counted in the minute or daily bars from which longer bars are built.
        page_bars=PAGE_BARS,
        kinds={
            "stock": _TAPE,
            "crypto": Kind("24h", "clock", "aggregate", volume="base"),
            "forex": Kind("24h", "clock", "aggregate", volume="ticks"),
        },
        intraday_kinds={"stock": replace(_TAPE, session="extended", anchor="clock")},
        adjustment="raw",
        settle_ms=20 * MINUTE_MS,
        actions_apart=True,
        action_requests=2,
    )

    def __init__(self, api_key: str | None = None, **wired: Unpack[Wired]) -> None:
        if api_key:
            wired["credentials"] = {"POLYGON_API_KEY": api_key}
        super().__init__(**wired)

    def is_dense(self, timeframe: Timeframe) -> bool:
        """Return True for daily bars, which are complete; minutes without a trade have no bar."""
        return not timeframe.is_intraday

    def bars_request(self, query: FetchQuery, cursor: str | None) -> HttpRequest:
        """Request the bars from the first to the last label (the vendor's own timestamp), both inclusive.

        Labels are dates for daily bars, and milliseconds for shorter ones.
        """
        if cursor is not None:
            return self._next_page(cursor)
        ticker = quote(self.spelled(query.instrument), safe=":")
        count, span = self.capabilities.timeframes[query.timeframe.label], requested_labels(query)
        adjusted = "true" if adjusted_of(query) else "false"
        params: dict[str, str | int] = {"adjusted": adjusted, "sort": "asc", "limit": PAGE_BARS}
        return self._request(f"/v2/aggs/ticker/{ticker}/range/{count}/{span}", params)

    def parse_bars(self, response: HttpResponse, query: FetchQuery) -> BarPage:
        """Parse rows; if there are none, the list is missing. The status ``DELAYED`` is also a success.

        With that status, the bars of the last 15 minutes are incomplete or missing.

        ::

            {"ticker": "AAPL", "status": "OK", "adjusted": false, "resultsCount": 1,
             "results": [{"t": 1709269200000, "o": 179.55, "h": 180.53, "l": 177.38,
                          "c": 179.66, "v": 73563082, "vw": 179.19, "n": 911077}],
             "next_url": "https://api.polygon.io/v2/aggs/ticker/AAPL/range/1/day/...?cursor=bGlt"}
        """
        body = response.json()
        check_status(body["status"])
        rows = rows_in(body)
        check_symbol(self.name, self.spelled(query.instrument), body.get("ticker"))
        is_stock = query.instrument.asset_class == "stock"
        if rows and is_stock and body["adjusted"] is not adjusted_of(query):
            raise ResponseFormatError("Polygon's prices are not adjusted as requested")
        is_local = is_stock and not query.timeframe.is_intraday
        bars, behind_ms = [read_bar(r, is_local=is_local) for r in rows], _BEHIND_MS[body["status"]]
        return BarPage(bars, cursor=cursor_of(body), behind_ms=behind_ms)

    def classify(self, response: HttpResponse) -> DataError | None:
        """Return the error for an HTTP status of 400 or more; the parsers handle errors with status 200.

        If the message says that the plan does not include this timeframe or today's data, the error
        concerns only this range and not the account.
        """
        error = error_of(response)
        if isinstance(error, EntitlementError) and _OF_THE_RANGE.search(response.text[:600]):
            return CapabilityError("your plan does not cover this range")
        return error

    def actions_of(self, instrument: Instrument, span: Span, now_ms: int) -> Sequence[Action]:
        """Return splits and cash dividends with an ex-date in ``span``."""
        ticker, days = self.spelled(instrument), days_of(span)

        def ask(what: str, day: str) -> Sequence[Action]:
            """Fetch all pages of ``splits`` or ``dividends`` whose date ``day`` is in the span."""
            params: dict[str, str | int] = {
                "ticker": ticker,
                f"{day}.gte": str(date_of(days.start)),
                f"{day}.lte": str(date_of(days.end - 1)),
                "limit": 1000,
            }
            first = self._request(f"/v3/reference/{what}", params)
            return ask_actions(self, first, read, span, now_ms)

        def read(body: Any) -> tuple[Iterator[Action], HttpRequest | None]:
            """Return the actions on one page, and the request for the next page, if any."""
            check_status(body.get("status", "OK"))  # some of these answers have no status
            cursor, rows = (
                cursor_of(body),
                rows_about(self.name, ticker, list_of(body["results"]), "ticker"),
            )
            return map(read_action, rows), None if cursor is None else self._next_page(cursor)

        return sorted([*ask("splits", "execution_date"), *ask("dividends", "ex_dividend_date")])

    def _direct(self, symbol: str) -> Instrument:
        return Instrument(symbol, _MARKS.get(symbol[:2], "stock"))

    def spelled(self, instrument: Instrument) -> str:
        """Return Polygon's name for a pair or an American stock."""
        if instrument.asset_class == "stock":
            return share(instrument, self.name, ".", "p")
        spelled = instrument.spelling(self.name)
        if spelled != instrument.symbol or instrument.base is None:
            return spelled
        return f"{'X' if instrument.asset_class == 'crypto' else 'C'}:{instrument.base}{instrument.quote}"

    def _next_page(self, cursor: str) -> HttpRequest:
        """Request the next page, always from the configured host, so that no other host receives the key."""
        path, _, params = cursor.partition("?")
        return self._request(path, dict(parse_qsl(params)))

    def _request(self, path: str, params: dict[str, str | int]) -> HttpRequest:
        key = {"Authorization": f"Bearer {self.secret('POLYGON_API_KEY')}"}
        return HttpRequest(f"{self.base_url}{path}", params, secret_headers=key)


def requested_labels(query: FetchQuery) -> str:
    """Return the first and the last label to request, as ``first/last``: milliseconds, or dates.

    Both are inclusive.

    Raises:
        CapabilityError: The query is for daily bars of a currency pair, which begin at midnight UTC
            at Polygon but not in this library's forex calendar.
        NoDataError: No day begins in the span.
    """
    if query.timeframe.is_intraday:
        return f"{query.span.start}/{query.span.end - 1}"
    if query.instrument.asset_class == "forex":
        raise CapabilityError(
            "Polygon's daily bars for currencies begin at midnight UTC, not with the forex day"
        )
    days = days_of(query.span)
    return f"{date_of(days.start)}/{date_of(days.end - 1)}"


def adjusted_of(query: FetchQuery) -> bool:
    """Return whether the query is for split-adjusted rather than raw prices.

    Raises:
        CapabilityError: The query is for prices adjusted for dividends.
    """
    if query.adjustment == "all":
        raise CapabilityError(
            "Polygon adjusts prices only for splits, not for dividends", hint="use raw or split"
        )
    return query.adjustment == "split"


def check_status(status: Any) -> None:
    """Reject a response whose body contains an error status, whatever its HTTP status.

    Raises:
        ResponseFormatError: The status is neither ``OK`` nor ``DELAYED``.
    """
    if status not in _BEHIND_MS:
        raise ResponseFormatError(f"Polygon returned status {str(status)[:40]!r}")


def rows_in(body: Mapping[str, Any]) -> list[Any]:
    """Return the rows of a response.

    A response without rows has no list of rows, only a count of 0.

    Raises:
        ResponseFormatError: The response contains neither rows nor a count of 0.
    """
    count, rows = body.get("resultsCount"), body.get("results")
    if not rows and (count != 0 or isinstance(count, bool)):
        raise ResponseFormatError(f"Polygon reports {str(count)[:20]} results but returns none")
    return [] if rows is None else list_of(rows)


def _accepted_count(count: Any, body: Mapping[str, Any]) -> str:
    """Return the number of rows in a response, unless ``count`` is that number."""
    number_of_rows = len(body.get("results") or ())
    return "" if count == number_of_rows else f"{number_of_rows}, the number of its results"


def read_bar(row: Mapping[str, Any], *, is_local: bool) -> Bar:
    """Parse one row; the label of a stock's daily bar is midnight in New York, other labels are in UTC."""
    label_ms = label(row["t"])
    values = (number(row[name]) for name in "ohlcv")
    return Bar(session_ms(label_ms) if is_local else label_ms, *values)


def read_action(row: Mapping[str, Any]) -> Action:
    """Parse a split or a cash dividend.

    Raises:
        CapabilityError: The dividend is paid in a currency other than the prices' currency.
    """
    if "execution_date" in row:
        return split(row["execution_date"], row["split_to"], row["split_from"])
    if (currency := row.get("currency") or "USD") != "USD":
        raise CapabilityError(f"Polygon has a dividend in {str(currency)[:3]}, not in USD")
    return dividend(
        row["ex_dividend_date"], row["cash_amount"], row.get("pay_date"), row.get("currency")
    )


def cursor_of(body: Mapping[str, Any]) -> str | None:
    """Return the path and query of the next page's address, without the host and without a key.

    Raises:
        ResponseFormatError: The response does not contain a valid address.
    """
    if not body.get("next_url"):
        return None
    path, _, params = path_and_query(body["next_url"]).partition("?")
    query = [(name, v) for name, v in parse_qsl(params) if name.lower() != "apikey"]
    return f"{path}?{urlencode(query)}"
