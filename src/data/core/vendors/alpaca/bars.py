"""Alpaca: American stocks from the consolidated tape with raw prices, and pairs on its own crypto venue."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from itertools import chain
from typing import Any, Unpack

from ....errors import (
    AuthenticationError,
    CapabilityError,
    DataError,
    SymbolNotFoundError,
)
from ...model.identity.instrument import Instrument
from ...model.identity.kind import Kind
from ...model.market.actions import Action, ActionList
from ...model.market.bars import Bar
from ...model.request.capabilities import BarPage, Capabilities, FetchQuery, Limits
from ...model.request.http import HttpRequest, HttpResponse
from ...model.time.instant import DAY_MS, MINUTE_MS, date_of, day_ms, iso, parse_iso
from ...model.time.span import Span
from ...model.time.timeframe import Timeframe
from ...net.http.status import error_of
from ...registry import VENDORS
from ..base import BaseDataDownloader
from ..dates import amount, list_of, number
from ..paging import check_symbol
from ..session import WiredKeys
from ..us_equities import (
    ask_actions,
    days_of,
    dividend,
    midnight_ms,
    session_ms,
    share,
    split,
)

# The free plan serves the consolidated tape only after a quarter of an hour; a request for a newer
# minute is rejected as a whole (2025-12).
_BEHIND_MS = 16 * MINUTE_MS
# Largest number of bars in one response.
PAGE_BARS = 10_000
_TYPES = "cash_dividend,forward_split,reverse_split,stock_dividend,unit_split,spin_off,rights_distribution"
# Actions are listed under the day on which they are processed, which for dividends is the pay date.
_PAID_LATER_MS = 180 * DAY_MS
_TAPE = Kind("regular", "session", "consolidated", volume="shares", feed="sip")
_BARS = {
    "bars": {"*?": [{"t": "text", "o|h|l|c|v|n?|vw?": "number"}]},
    "next_page_token": "text",
    "currency?": "text",
}
_ACTION = {
    "ex_date|symbol?": "text",
    "id?|cusip?|old_cusip?|new_cusip?|process_date?|record_date?|payable_date?": "text",
    "due_bill_redemption_date?|due_bill_on_date?|due_bill_off_date?": "text",
    "special?|foreign?": "flag",
}
_SPLITS, _CASH = [{**_ACTION, "new_rate|old_rate": "number"}], [{**_ACTION, "rate": "number"}]
_TYPES_OF_ACTIONS = {
    "forward_splits?|reverse_splits?": _SPLITS,
    "stock_dividends?|cash_dividends?": _CASH,
    "unit_splits?|spin_offs?|rights_distributions?": "any",
}
# Hosts of the trading interface, often configured together with the keys; they serve no bars.
_TRADING = ("://paper-api.alpaca.markets", "://api.alpaca.markets")


class AlpacaDataDownloader(BaseDataDownloader):
    """Bars, splits and dividends from Alpaca's market data.

    Stock bars from the last 16 minutes are not requested. ``get_ohlcv`` accepts ``adjustment``
    (``raw``, which is the default, ``split`` or ``all``) and ``limit``; it fetches all pages,
    regardless of ``enable_chunking``.

    Args:
        api_key, secret_key: Keys; by default, the keys in the environment.
        base_url: Different host for market data; a host of Alpaca's trading interface is ignored.
        **wired: See :class:`BaseDataDownloader`.
    """

    name = "alpaca"
    display_name = "Alpaca"
    aliases = VENDORS["alpaca"].aliases
    secrets = VENDORS["alpaca"].keys
    requires_api_key = VENDORS["alpaca"].needs_keys
    limits = Limits(per_minute=200, burst=10)
    default_base_url = "https://data.alpaca.markets"
    sdk_carrier = f"{__package__}.carrier:AlpacaCarrier"
    shapes = (
        ("v2/stocks/bars", _BARS),
        ("v1beta3/crypto/us/bars", _BARS),
        (
            "v1/corporate-actions",
            {"corporate_actions": _TYPES_OF_ACTIONS, "next_page_token": "text"},
        ),
    )
    raw_shape = "index"
    raw_options = ("adjustment", "limit", "enable_chunking")
    capabilities = Capabilities(
        asset_classes=frozenset({"stock", "crypto"}),
        timeframes={
            "1m": "1Min",
            "5m": "5Min",
            "15m": "15Min",
            "30m": "30Min",
            "1h": "1Hour",
            "1d": "1Day",
        },
        page_bars=PAGE_BARS,
        kinds={"stock": _TAPE, "crypto": Kind("24h", "clock", "alpaca", volume="base")},
        intraday_kinds={"stock": replace(_TAPE, session="extended", anchor="clock")},
        adjustment="raw",
        settle_ms=20 * MINUTE_MS,
        actions_apart=True,
    )

    def __init__(
        self,
        api_key: str | None = None,
        secret_key: str | None = None,
        base_url: str | None = None,
        **wired: Unpack[WiredKeys],
    ) -> None:
        if api_key or secret_key:
            keys = {"ALPACA_API_KEY": api_key or "", "ALPACA_SECRET_KEY": secret_key or ""}
            wired["credentials"] = keys
        is_trading = base_url is not None and any(host in base_url for host in _TRADING)
        super().__init__(base_url=None if is_trading else base_url, **wired)

    def is_dense(self, timeframe: Timeframe) -> bool:
        """Return True for daily bars, which are complete; a minute without a trade has no bar."""
        return not timeframe.is_intraday

    def bars_request(self, query: FetchQuery, cursor: str | None) -> HttpRequest:
        """Request bars for one symbol; both bounds are opening times and inclusive."""
        span = requested_labels(query)
        params: dict[str, str | int] = {
            "symbols": self.spelled(query.instrument),
            "timeframe": self.capabilities.timeframes[query.timeframe.label],
            "start": iso(span.start),
            "end": iso(span.end - 1),
            "limit": PAGE_BARS,
            "sort": "asc",
        }
        path = "v1beta3/crypto/us/bars"
        if query.instrument.asset_class == "stock":
            path = "v2/stocks/bars"
            params |= {"adjustment": query.adjustment or "raw", "feed": "sip"}
        return self._request(path, params, cursor)

    def parse_bars(self, response: HttpResponse, query: FetchQuery) -> BarPage:
        """Parse rows grouped by symbol; a symbol without bars is missing from the response.

        ::

            {"bars": {"AAPL": [{"t": "2024-03-01T05:00:00Z", "o": 179.55, "h": 180.53,
                                "l": 177.38, "c": 179.66, "v": 73563082, "n": 911077,
                                "vw": 179.19}]},
             "next_page_token": null, "currency": "USD"}
        """
        body, symbol = response.json(), self.spelled(query.instrument)
        if body["bars"] and symbol not in body["bars"]:
            raise ValueError(f"the bars are for {', '.join(body['bars'])[:40]}")
        is_day = not query.timeframe.is_intraday
        rows = list_of(body["bars"].get(symbol, []))
        bars = [read_bar(row, is_day=is_day) for row in rows]
        return BarPage(bars, cursor=body.get("next_page_token"), unit=body.get("currency") or "")

    def classify(self, response: HttpResponse) -> DataError | None:
        """Return the error in ``{"message"}``; status 403 means an invalid key or data outside the plan."""
        error, text = error_of(response), response.text[:300].lower()
        if response.status == 403 and "recent sip" in text:
            return CapabilityError(
                "the plan of this key does not include stock bars for the last minutes"
            )
        if response.status == 403 and "forbidden" in text:
            return AuthenticationError(
                "Alpaca does not know this key", hint="check both parts of the key"
            )
        if response.status in (400, 422) and "invalid symbol" in text:
            return SymbolNotFoundError("Alpaca does not know this symbol")
        return error

    def actions_of(self, instrument: Instrument, span: Span, now_ms: int) -> Sequence[Action]:
        """Return splits, stock dividends and cash dividends with an ex-date in ``span``.

        Unit splits, spin-offs and rights distributions are listed only in ``unapplied``, because
        the response does not contain their value.
        """
        symbol = self.spelled(instrument)
        unapplied: dict[str, None] = {}
        params: dict[str, str | int] = {
            "symbols": symbol,
            "types": _TYPES,
            "limit": 1000,
            "start": str(date_of(span.start)),
            "end": str(date_of(span.end + _PAID_LATER_MS)),
        }

        def read(body: Any) -> tuple[Iterator[Action], HttpRequest | None]:
            """Return the actions on one page, and the request for the next page, if any."""
            token = body["next_page_token"]
            for row in chain.from_iterable(body["corporate_actions"].values()):
                named = (row.get(name) for name in ("symbol", "source_symbol", "old_symbol"))
                check_symbol(self.name, symbol, next(filter(None, named), None))
            pairs = read_unapplied(body["corporate_actions"])
            unapplied.update(dict.fromkeys(text for day, text in pairs if day in span))
            following = self._request("v1/corporate-actions", params, token) if token else None
            return read_actions(body["corporate_actions"]), following

        first = self._request("v1/corporate-actions", params, None)
        actions = ActionList(ask_actions(self, first, read, span, now_ms))
        actions.unapplied = tuple(unapplied)
        return actions

    def _direct(self, symbol: str) -> Instrument:
        return Instrument(symbol, "crypto" if "/" in symbol else "stock")

    def spelled(self, instrument: Instrument) -> str:
        """Return Alpaca's name for a pair or an American stock."""
        if instrument.asset_class == "stock":
            return share(instrument, self.name, ".", ".PR")
        spelled, base = instrument.spelling(self.name), instrument.base
        is_ours = spelled == instrument.symbol and base is not None
        return f"{base}/{instrument.quote}" if is_ours else spelled

    def _request(self, path: str, params: dict[str, str | int], token: str | None) -> HttpRequest:
        keys = {
            "APCA-API-KEY-ID": self.secret("ALPACA_API_KEY"),
            "APCA-API-SECRET-KEY": self.secret("ALPACA_SECRET_KEY"),
        }
        paged = {**params, "page_token": token} if token else params
        return HttpRequest(f"{self.base_url}/{path}", paged, secret_headers=keys)


def requested_labels(query: FetchQuery) -> Span:
    """Return the span of labels (the vendor's own timestamps) to request.

    Raises:
        CapabilityError: The bars are too recent for a free plan, or are daily crypto bars, whose
            days begin at midnight UTC here but in New York at Alpaca.
        NoDataError: No day begins in the span.
    """
    is_stock, span = query.instrument.asset_class == "stock", query.span
    if not query.timeframe.is_intraday:
        if not is_stock:
            raise CapabilityError(
                "Alpaca's daily crypto bars begin at midnight in New York, not UTC, and are not served"
            )
        days = days_of(span)
        span = Span(midnight_ms(days.start), midnight_ms(days.end))
    newest = query.now_ms - _BEHIND_MS if is_stock else span.end
    span = Span(span.start, min(span.end, newest))
    if span.is_empty:
        raise CapabilityError("Alpaca's stock bars for the last 16 minutes need a paid plan")
    return span


def read_bar(row: Mapping[str, Any], *, is_day: bool) -> Bar:
    """Parse one row; the label of a daily bar is midnight in New York."""
    label = parse_iso(row["t"])
    values = (number(row[name]) for name in "ohlcv")
    return Bar(session_ms(label) if is_day else label, *values)


def read_actions(actions: Mapping[str, Any]) -> Iterator[Action]:
    """Parse corporate actions, listed by type; a stock dividend changes the price as a split does."""
    for row in (*actions.get("forward_splits", ()), *actions.get("reverse_splits", ())):
        yield split(row["ex_date"], row["new_rate"], row["old_rate"])
    for row in actions.get("stock_dividends", ()):
        yield split(row["ex_date"], round(1 + amount(row["rate"]), 10), 1)
    for row in actions.get("cash_dividends", ()):
        yield dividend(row["ex_date"], row["rate"], row.get("payable_date"))


def read_unapplied(actions: Mapping[str, Any]) -> Iterator[tuple[int, str]]:
    """Yield date (as a timestamp) and description of each action that is not a split or dividend."""

    def pairs(day: str, text: str) -> tuple[int, str]:
        """Return ``(timestamp, text)`` for an ISO date; the date is appended to ``text``."""
        return day_ms(date.fromisoformat(day)), f"{text} on {day}"

    for row in actions.get("unit_splits", ()):
        into = f"{row['new_symbol']} and {row['alternate_symbol']}"
        yield pairs(row["effective_date"], f"a unit split into {into}")
    for row in actions.get("spin_offs", ()):
        rate = amount(row["new_rate"]) / amount(row["source_rate"])
        yield pairs(row["ex_date"], f"a spin-off of {rate:g} {row['new_symbol']} a share")
    for row in actions.get("rights_distributions", ()):
        rate = amount(row["rate"])
        yield pairs(
            row["ex_date"], f"a rights distribution of {rate:g} {row['new_symbol']} a share"
        )
