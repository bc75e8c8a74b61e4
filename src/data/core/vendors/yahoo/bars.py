"""Yahoo Finance: stocks, funds, indices, futures, currencies and crypto worldwide."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from importlib.util import find_spec
from typing import Any, ClassVar
from urllib.parse import quote
from zoneinfo import ZoneInfo

from ....errors import (
    AuthenticationError,
    CapabilityError,
    DataError,
    NoDataError,
    RateLimitedError,
    RefusedError,
    ResponseFormatError,
    SymbolNotFoundError,
    TransientError,
)
from ...calendars.calendar import calendar_for
from ...calendars.localtime import local_date
from ...model.identity.instrument import Instrument
from ...model.identity.kind import Kind
from ...model.market.actions import Action, current, vendor_currency
from ...model.market.bars import Bar
from ...model.request.capabilities import BarPage, Capabilities, FetchQuery, Limits
from ...model.request.http import HttpRequest, HttpResponse
from ...model.time.instant import DAY_MS, HOUR_MS, SECOND_MS, date_of, day_ms
from ...model.time.span import Span
from ...model.time.timeframe import Timeframe
from ...net.http.status import error_of, server_time_ms
from ...registry import VENDORS
from ..answer_types import wrong_actions
from ..base import BaseDataDownloader
from ..dates import amount, label, list_of, number, zone_named
from ..paging import (
    UNREADABLE,
    SecondFacts,
    check_interval,
    check_symbol,
    format_errors,
    is_same_zone,
    read_page,
)

_COLUMNS = ("open", "high", "low", "close", "volume")
_TIMES = {"start|end|gmtoffset?": "number", "timezone?": "text"}
_META = {
    "symbol|exchangeTimezoneName|currency?": "text",
    "exchangeName?|fullExchangeName?|instrumentType?|longName?|shortName?|timezone?": "text",
    "range?|dataGranularity?|underlyingSymbol?": "text",
    "firstTradeDate?|regularMarketTime?|gmtoffset?|priceHint?|scale?|expireDate?": "number",
    "regularMarketPrice?|regularMarketVolume?|chartPreviousClose?|previousClose?": "number",
    "regularMarketDayHigh?|regularMarketDayLow?|fiftyTwoWeekHigh?|fiftyTwoWeekLow?": "number",
    "hasPrePostMarketData?": "flag",
    "validRanges?": ["text"],
    "tradingPeriods?": "any",
    "currentTradingPeriod?": {"regular|pre?|post?": _TIMES},
}
_EVENTS = {
    "dividends?": {"*?": {"date|amount": "number", "currency?": "text"}},
    "splits?": {"*?": {"date|numerator|denominator": "number", "splitRatio?": "text"}},
    "capitalGains?": {"*?": {"date|amount": "number"}},
}
_QUOTE, _ADJUSTED = {"open|high|low|close|volume": ["number"]}, [{"adjclose?": ["number"]}]
_ROWS = {
    "meta": _META,
    "timestamp": ["number"],
    "events?": _EVENTS,
    "indicators": {"quote": [_QUOTE], "adjclose?": _ADJUSTED},
}
_NO_ROWS = {
    "meta": _META,
    "events?": _EVENTS,
    "indicators": {"quote": [{}], "adjclose?": _ADJUSTED},
}
# A gain that is larger by up to this part is the whole dividend, rounded.
_ROUNDING = 0.01
_NO_RESULT = re.compile(rb'"result"\s*:\s*null')
# The label of a daily or longer bar is its session's open in UTC: up to 14 hours before midnight on
# its date (Auckland), and up to 12 hours after the next midnight (Honolulu).
_EARLIEST_LABEL_MS, _LATEST_LABEL_MS = 14 * HOUR_MS, 12 * HOUR_MS
# Largest number of days between a bar's timestamp and its label.
_LONGEST_DAYS = {"d": 1, "w": 7, "M": 31}
# 2025-02: clients that do not look like a browser are throttled.
_BROWSER = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/131.0.0.0 Safari/537.36"
)
_PACKAGE = VENDORS["yahoo"].package
_WITHOUT_PACKAGE = (
    "Yahoo rejects many programs that do not connect like a browser: pip install 'onetape[yahoo]'"
)
_NOTHING_THERE = re.compile(r"doesn't exist|no data .*(range|period)", re.IGNORECASE)
# Only the last days of a range are searched for a session: any period of this many days contains
# one.
_SOME_SESSION_DAYS = 14
# Requests for more than 100 years of daily bars are rejected.
_CENTURY_DAYS = 36_500


# Types of instruments, by the asset classes under which users request them. Other types are accepted.
_LISTED = ("EQUITY", "ETF", "MUTUALFUND", "INDEX")
_CURRENCIES = ("CURRENCY", "CRYPTOCURRENCY")
_TYPES = {
    "stock": _LISTED,
    "index": _LISTED,
    "forex": _CURRENCIES,
    "crypto": _CURRENCIES,
    "future": ("FUTURE",),
}
_KNOWN_TYPES = {*_LISTED, *_CURRENCIES, "FUTURE", "OPTION"}


def _accepted_type(query: FetchQuery, value: Any, _: Any) -> str:
    """Return the types that the query's asset class may have, unless ``value`` may be one of them."""
    accepted = _TYPES[query.instrument.asset_class]
    return "" if value in accepted or value not in _KNOWN_TYPES else ", ".join(accepted)


def _accepted_zone(query: FetchQuery, value: Any, _: Any) -> str:
    """Return the time zone of the stock's venue, unless ``value`` has the same time."""
    venue = query.instrument.timezone
    is_known = query.instrument.asset_class == "stock" and venue != "UTC"
    return venue if is_known and not is_same_zone(zone_named(value), venue, query.now_ms) else ""


class YahooDataDownloader(BaseDataDownloader):
    """Bars, splits and dividends from Yahoo's chart endpoint; no key is needed."""

    name = "yahoo"
    display_name = "Yahoo Finance"
    aliases = VENDORS["yahoo"].aliases
    limits = Limits(per_minute=60, per_second=1.0, burst=1)  # Yahoo publishes no limits
    default_base_url = "https://query1.finance.yahoo.com"
    shapes = tuple(
        ("v8/finance/chart/*", {"chart": {"result": [chart], "error": "any"}})
        for chart in (_ROWS, _NO_ROWS)
    )
    second_facts: ClassVar[SecondFacts] = {
        "chart/error": lambda *_: "null beside a result",
        "chart/result/1": lambda *_: "a single result",
        "chart/result/0/meta/instrumentType": _accepted_type,
        "chart/result/0/meta/exchangeTimezoneName": _accepted_zone,
    }
    sdk_carrier = f"{__package__}.carrier:YFinanceCarrier"
    prefers_sdk = True
    capabilities = Capabilities(
        asset_classes=frozenset({"stock", "index", "forex", "crypto", "future"}),
        timeframes={
            **{label: label for label in "1m 2m 5m 15m 30m 1h 90m 1d".split()},
            "1w": "1wk",
            "1M": "1mo",
        },
        page_days={"1m": 7} | dict.fromkeys(("1d", "1w", "1M"), _CENTURY_DAYS),
        # Each one is a day less than the vendor states, because a request takes a moment to arrive.
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
        # Hourly bars are not served: the bar at the open begins at the open, the others at full
        # hours.
        extended=frozenset("1m 2m 5m 15m 30m".split()),
    )

    def is_dense(self, timeframe: Timeframe) -> bool:
        """Return True for daily bars, which are complete; minutes without a trade may be absent."""
        return not timeframe.is_intraday

    def send(self, request: HttpRequest) -> HttpResponse:
        """Send ``request`` with a browser's user agent, because Yahoo throttles other clients.

        Raises:
            DataError: The last attempt failed. If Yahoo rejects this client, and the extra
                ``yahoo`` is not installed, the error contains the command that installs it.
        """
        try:
            return super().send(
                replace(request, headers={"User-Agent": _BROWSER, **request.headers})
            )
        except (AuthenticationError, RateLimitedError) as error:
            is_own_limit = isinstance(error, RateLimitedError) and error.hint
            if not is_own_limit and not find_spec(_PACKAGE):
                error.lacking_extra, error.hint = self.name, _WITHOUT_PACKAGE
            raise

    def bars_request(self, query: FetchQuery, cursor: str | None) -> HttpRequest:
        """Request the whole span; the response may also contain a bar labeled exactly ``period2``."""
        labels = requested_labels(query)
        return HttpRequest(
            f"{self.base_url}/v8/finance/chart/{quote(query.instrument.spelling(self.name))}",
            params={
                "interval": self.capabilities.timeframes[query.timeframe.label],
                "period1": labels.start // SECOND_MS,
                "period2": -(-labels.end // SECOND_MS),
                "events": "div|split|capitalGains",
                "includePrePost": "true" if query.instrument.is_extended else "false",
            },
        )

    def parse_bars(self, response: HttpResponse, query: FetchQuery) -> BarPage:
        """Parse the list of labels, the columns of values, and any splits and dividends."""
        return read_chart(response.json(), query, server_time_ms(response) or query.now_ms)

    def classify(self, response: HttpResponse) -> DataError | None:
        """Return the error in ``chart.error``; 422 means a limit on the range, 404 an unknown symbol."""
        error, text = error_of(response), error_text(response)
        if not text or isinstance(error, RefusedError | TransientError):
            return error
        error_type: type[DataError] = CapabilityError
        if _NOTHING_THERE.search(text):
            error_type = NoDataError
        elif response.status == 404 or "delisted" in text:
            error_type = SymbolNotFoundError
        return error_type(f"{self.display_name}: {text[:160]}")

    def actions_of(self, instrument: Instrument, span: Span, now_ms: int) -> Sequence[Action]:
        """Return splits and dividends with an ex-date in ``span``, from one chart of daily bars.

        At most the last 100 years of the range are requested; Yahoo reports no actions from before
        1962. A chart without a daily bar, although a session has closed, proves nothing about
        actions.
        """
        span = Span(max(span.start, span.end - _CENTURY_DAYS * DAY_MS), span.end)
        query = FetchQuery(instrument, Timeframe(1, "d"), span, now_ms)
        response = self.send(self.bars_request(query, None))
        page, _ = read_page(self, response, query)
        if page.actions is None:
            with format_errors(self.name, "splits and dividends"):
                _actions(response.json()["chart"]["result"][0], query)
        if not page.bars and not page.actions and _had_session(instrument, span, now_ms):
            raise NoDataError(
                "its chart has no daily bar in this range, and therefore no splits or dividends"
            )
        return [action for action in page.actions or () if day_ms(action.ex_date) in span]


def _had_session(instrument: Instrument, span: Span, now_ms: int) -> bool:
    """Return whether a session in ``span`` ended at least an hour ago."""
    first = max(span.start, span.end - _SOME_SESSION_DAYS * DAY_MS)
    sessions = calendar_for(instrument).sessions(date_of(first), date_of(span.end - 1))
    return any(session.close_ms + HOUR_MS <= now_ms for session in sessions)


def requested_labels(query: FetchQuery) -> Span:
    """Return the span of labels (the vendor's own timestamps) to request to get every bar of ``query``."""
    if query.timeframe.is_intraday:
        return query.span
    # The labels of the last requested date are included in full, even if the range ends within it.
    end = -(-query.span.end // DAY_MS) * DAY_MS
    return Span(query.span.start - _EARLIEST_LABEL_MS, end + _LATEST_LABEL_MS)


def read_chart(payload: Any, query: FetchQuery, now_ms: int) -> BarPage:
    """Parse one response; its ``timestamp`` list is missing if the range has no bars.

    ::

        {"chart": {"error": null, "result": [{
          "meta": {"symbol": "AAPL", "currency": "USD", "firstTradeDate": 345479400,
                   "exchangeTimezoneName": "America/New_York",
                   "currentTradingPeriod": {"regular": {"start": 1709303400, "end": 1709326800}}},
          "timestamp": [1709303400],
          "events": {"dividends": {"1707489000": {"date": 1707489000, "amount": 0.24}},
                     "splits": {"1598880600": {"date": 1598880600, "numerator": 4,
                                               "denominator": 1, "splitRatio": "4:1"}}},
          "indicators": {"quote": [{"open": [179.55], "high": [180.53], "low": [177.38],
                                    "close": [179.66], "volume": [73563082]}],
                         "adjclose": [{"adjclose": [178.58]}]}}]}}

    Args:
        payload, query: Parsed body of the response, and the query that it answers.
        now_ms: Time at which the vendor answered, by its own clock, in UTC milliseconds.

    Raises:
        KeyError, IndexError, TypeError, ValueError: The response has an unexpected format.
    """
    result = payload["chart"]["result"][0]
    meta, labels = result["meta"], result.get("timestamp")
    labels = [] if labels is None else list_of(labels)
    _check_symbol(query.instrument.spelling("yahoo"), meta.get("symbol"))
    # If a range is too long for the interval, Yahoo returns longer bars, with status 200.
    check_interval("yahoo", query.timeframe, meta.get("dataGranularity"))
    zone = zone_named(meta["exchangeTimezoneName"])
    stamps = [_stamp(label(at), query.timeframe, zone) for at in labels]
    # The label of a row for the last trade is the time of that trade; a repeated label means the
    # same bar.
    is_twice = len(labels) > 1 and labels[-1] == labels[-2]
    bars = _bars(result, stamps, query, now_ms, is_twice=is_twice)
    actions: Sequence[Action] | None = None  # prices and their adjustment do not need them
    with suppress(ResponseFormatError, *UNREADABLE):
        actions = _actions(result, query)
    # For anything but a stock, this is only the time at which Yahoo's data begins.
    first = meta.get("firstTradeDate") if query.instrument.asset_class == "stock" else None
    listed_ms = None if first is None else int(first) * SECOND_MS
    return BarPage(bars, actions, unit=meta.get("currency") or "", listed_ms=listed_ms)


def _check_symbol(spelling: str, named: Any) -> None:
    """Reject a chart for another symbol; ``JPY=X`` is Yahoo's short name for ``USDJPY=X``."""
    if spelling.endswith("=X") and named == spelling.removeprefix("USD"):
        return
    check_symbol("yahoo", spelling, named)


def error_text(response: HttpResponse) -> str:
    """Return the response's own description of its error; empty if it has none."""
    if response.status == 200 and not _NO_RESULT.search(response.body[:200]):
        return ""
    try:
        error = response.json()["chart"]["error"]
        return str(error["description"])
    except (ResponseFormatError, KeyError, TypeError):  # plain text from a proxy, or HTML
        return ""


def _bars(
    result: Any, stamps: list[int], query: FetchQuery, now_ms: int, *, is_twice: bool
) -> Sequence[Bar]:
    indicators = result["indicators"]
    if not stamps:
        if any((indicators.get("quote") or [{}])[0].values()):
            raise ValueError("the chart has prices but no times")
        return ()
    columns = [indicators["quote"][0][name] for name in _COLUMNS]
    adjusted = (indicators.get("adjclose") or [{}])[0].get("adjclose")
    columns.append(adjusted or [None] * len(stamps))
    rows = zip(stamps, *columns, strict=True)
    bars = [Bar(row[0], *map(number, row[1:])) for row in rows]
    if is_twice:
        return _without_margin(bars, query)
    hours = _hours_of(result["meta"], query.instrument)
    opens = _open_of(bars[-1].stamp_ms, query.timeframe, hours)
    if len(bars) > 1 and opens == bars[-2].stamp_ms and query.timeframe.unit in "wM":
        bars[-2:] = [_join_rows(*bars[-2:])]
    elif len(bars) > 1 and opens == bars[-2].stamp_ms and not math.isnan(bars[-2].close):
        bars.pop()  # the last trade, repeated as a separate row
    elif len(bars) > 1 and _is_last_trade(bars[-1], query.timeframe, hours):
        bars.pop()
    elif opens == _open_of(now_ms, query.timeframe, hours):
        # After a bar has closed, the row for the last trade is not a bar; it keeps its own label.
        bars[-1] = bars[-1]._replace(stamp_ms=opens)
    return _without_margin(bars, query)


def _hours_of(meta: Mapping[str, Any], instrument: Instrument) -> Span | None:
    """Return the hours of the current or last session, or None if the response lacks them.

    Extended hours are included if they were requested.
    """
    periods = meta.get("currentTradingPeriod", {})
    regular = periods.get("regular", {})
    if not regular:
        return None
    first, last = (
        (periods.get("pre", regular), periods.get("post", regular))
        if instrument.is_extended
        else (regular, regular)
    )
    return Span(first["start"] * SECOND_MS, last["end"] * SECOND_MS)


def _is_last_trade(bar: Bar, timeframe: Timeframe, hours: Span | None) -> bool:
    """Return whether an intraday row after the close only repeats the last price, without a trade."""
    step_ms = timeframe.step_ms
    if not timeframe.is_intraday or step_ms is None or hours is None or bar.volume > 0:
        return False
    is_flat = bar.open == bar.high == bar.low == bar.close
    return is_flat and hours.end <= bar.stamp_ms < hours.end + step_ms


def _join_rows(rest: Bar, live: Bar) -> Bar:
    """Return the current week's or month's bar, merged from two rows: the past days and the last day."""
    if math.isnan(rest.close) or math.isnan(live.close):
        return live if math.isnan(rest.close) else rest
    return live._replace(
        open=rest.open,
        high=max(rest.high, live.high),
        low=min(rest.low, live.low),
        volume=rest.volume + live.volume,
    )


def _without_margin(bars: list[Bar], query: FetchQuery) -> list[Bar]:
    """Drop the bars that were returned only because a margin around the range was requested.

    Rows outside even that margin are kept, because they show that the response is wrong.
    """
    labels, days = requested_labels(query), _LONGEST_DAYS.get(query.timeframe.unit, 0)
    margin = Span(labels.start - days * DAY_MS, labels.end + SECOND_MS)
    return [b for b in bars if b.stamp_ms in query.span or b.stamp_ms not in margin]


def _stamp(label_s: int, timeframe: Timeframe, zone: ZoneInfo) -> int:
    """Convert a label in seconds to the bar's timestamp: the time itself, or 00:00 on the local date."""
    if timeframe.is_intraday:
        return label_s * SECOND_MS
    day = local_date(zone, label_s * SECOND_MS)
    if timeframe.unit == "w":
        day -= timedelta(days=day.weekday())
    return day_ms(day.replace(day=1) if timeframe.unit == "M" else day)


def _open_of(stamp: int, timeframe: Timeframe, hours: Span | None) -> int:
    """Return the opening time of the bar that contains ``stamp``.

    Yahoo labels a forming bar with a time inside the bar. The function applies only to the current
    session, because the session's open does not determine the grid of other sessions.
    """
    step_ms = timeframe.step_ms
    if not timeframe.is_intraday or step_ms is None or hours is None or stamp not in hours:
        return stamp
    return stamp - (stamp - hours.start) % step_ms


def _actions(result: Mapping[str, Any], query: FetchQuery) -> list[Action]:
    """Parse splits and dividends; ex-dates are local dates at the exchange.

    Raises:
        ResponseFormatError: A split or dividend has impossible terms.
    """
    events, zone = result.get("events") or {}, zone_named(result["meta"]["exchangeTimezoneName"])
    actions = []
    for event in (events.get("splits") or {}).values():
        event_ms = event["date"] * SECOND_MS
        new, old = amount(event["numerator"]), amount(event["denominator"])
        actions.append(Action(local_date(zone, event_ms), "split", event_ms, new, old))
    paid_out: dict[str, list[Action]] = {"dividends": [], "capitalGains": []}
    for name, found in paid_out.items():
        for event in (events.get(name) or {}).values():
            event_ms, paid = event["date"] * SECOND_MS, amount(event["amount"])
            paid_in = vendor_currency(event.get("currency"))
            day = local_date(zone, event_ms)
            found.append(Action(day, "dividend", event_ms, amount=paid, currency=paid_in))
    actions += _with_gains(*paid_out.values())
    actions = [replace(a, source="yahoo", fetched_at=query.now_ms) for a in sorted(actions)]
    if wrong := wrong_actions(actions, ("yahoo",)):
        raise ResponseFormatError(f"yahoo returned {wrong}")
    return actions


def _with_gains(dividends: list[Action], gains: list[Action]) -> list[Action]:
    """Return dividends with the capital gains that funds pay out, each in the amount of its day once.

    Yahoo's dividends normally contain the gain of their day. A gain that is larger than the dividend
    (by more than the rounding of both), or without one, was paid in addition.

    Raises:
        ValueError: A gain is negative or not finite.
    """
    for gain in current(gains):
        if not gain.is_sound:
            raise ValueError(f"a capital gain of {gain.amount}")
        same = [paid for paid in dividends if paid.ex_date == gain.ex_date]
        paid = next(iter(current(same)), gain)
        if gain.amount > paid.amount * (1 + _ROUNDING):
            parts = (*(paid.parts or (paid.amount,)), gain.amount)
            paid = replace(paid, amount=paid.amount + gain.amount, parts=parts)
        paid = replace(paid, gain=min(gain.amount, paid.amount))
        dividends = [*(other for other in dividends if other not in same), paid]
    return dividends
