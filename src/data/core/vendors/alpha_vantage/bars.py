"""Alpha Vantage: minute bars of stocks by month; daily and longer bars of stocks, currencies and crypto.

A free key allows 25 requests a day (2024) and the last 100 days (2025). Everything in this module
was observed in responses between 2017 and 2026.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, ClassVar, Unpack
from zoneinfo import ZoneInfo

from ....errors import (
    AuthenticationError,
    CapabilityError,
    DataError,
    EntitlementError,
    RateLimitedError,
    ResponseFormatError,
    SymbolNotFoundError,
)
from ...calendars.localtime import local_date, local_to_utc
from ...model.identity.instrument import Instrument
from ...model.identity.kind import Kind
from ...model.market.actions import Action
from ...model.market.bars import Bar
from ...model.request.capabilities import BarPage, Capabilities, FetchQuery, Limits
from ...model.request.http import HttpRequest, HttpResponse
from ...model.time.instant import DAY_MS, HOUR_MS, day_ms
from ...model.time.span import Span
from ...model.time.timeframe import Timeframe
from ...net.http.status import error_of
from ...registry import VENDORS
from ..base import BaseDataDownloader, Wired
from ..dates import NEW_YORK, ActionReader, number, split_terms, stamp_of, within, zone_named
from ..paging import SecondFacts, check_interval, check_symbol, format_errors, is_same_zone

_PRICES = ("open", "high", "low", "close")
_NEW_YORK = ZoneInfo(NEW_YORK)
# The outdated names of time zones are not installed everywhere.
_ZONES = {"US/Eastern": NEW_YORK}
# The vendor rejects earlier months in the same way as unknown symbols.
_FIRST_MONTH = date(2000, 1, 1)
# The title of a series contains its timeframe: "Time Series (5min)", "Weekly Adjusted Time Series".
_LENGTH = re.compile(r"\d+min|Daily|Weekly|Monthly")
_PREMIUM = re.compile(r"premium (endpoint|feature|function)", re.IGNORECASE)
_TOO_MUCH = re.compile(r"rate limit|call frequency|(calls|requests) per|per second", re.IGNORECASE)
Row = Mapping[str, Any]
_DAYS = {"1d": "DAILY", "1w": "WEEKLY", "1M": "MONTHLY"}
_FUNCTIONS = {"stock": "TIME_SERIES", "forex": "FX", "crypto": "DIGITAL_CURRENCY"}
_META = {
    "*. Time Zone|*. Information?|*. Last Refreshed?|*. Interval?|*. Output Size?": "text",
    "*. Symbol?|*. From Symbol?|*. To Symbol?|*. Market Code?|*. Market Name?": "text",
    "*. Digital Currency Code?|*. Digital Currency Name?": "text",
}
_BAR = {"1. open|2. high|3. low|4. close": "text"}
_ADJUSTED = "5. adjusted close|6. volume|7. dividend amount|8. split coefficient?"
# A coin's prices in the market's currency, and also in dollars.
_COIN = {
    "1a. open (*|2a. high (*|3a. low (*|4a. close (*|5. volume": "text",
    "1b. open (*?|2b. high (*?|3b. low (*?|4b. close (*?|6. market cap (*?": "text",
}
_SERIES = (
    {"*Time Series*": {"*?": {**_BAR, "5. volume": "text"}}},
    {"*Time Series*": {"*?": {**_BAR, _ADJUSTED: "text"}}},
    {"Time Series FX*": {"*?": _BAR}},
    {"*Digital Currency*": {"*?": _COIN}},
)
_DIVIDEND = {"ex_dividend_date|amount|declaration_date?|record_date?|payment_date?": "text"}
# The quote returned for an unknown symbol.
_NO_QUOTE: dict[str, Any] = {"Global Quote": {}}
# "compact" returns the last 100 bars; currencies have six bars a week.
_COMPACT_MS = 110 * DAY_MS


class AlphaVantageDataDownloader(BaseDataDownloader):
    """Bars with raw prices, splits and dividends from Alpha Vantage.

    Args:
        api_key: Key that takes precedence over the environment variable.
        **wired: See :class:`BaseDataDownloader`.
    """

    name = "alpha_vantage"
    display_name = "Alpha Vantage"
    aliases = VENDORS["alpha_vantage"].aliases
    secrets = VENDORS["alpha_vantage"].keys
    requires_api_key = VENDORS["alpha_vantage"].needs_keys
    limits = Limits(per_minute=5, per_day=25, burst=1)  # limits of a free key
    default_base_url = "https://www.alphavantage.co"
    shapes = (
        *(("query", {"Meta Data": _META, **series}) for series in _SERIES),
        ("query", [{"timestamp|open|high|low|close|volume": "text"}]),
        ("query", {"symbol?": "text", "data": [{"effective_date|split_factor": "text"}]}),
        ("query", {"symbol?": "text", "data": [_DIVIDEND]}),
    )
    second_facts: ClassVar[SecondFacts] = {
        "Meta Data/*. Information": lambda query, text, _: _accepted_length(query, text),
        "Meta Data/*. Time Zone": lambda query, name, _: _accepted_zone(query, name),
    }
    capabilities = Capabilities(
        asset_classes=frozenset({"stock", "forex", "crypto"}),
        # Hourly bars are not served: whether they start at the open or on the hour has changed
        # over the years.
        timeframes={label: f"{label[:-1]}min" for label in ("1m", "5m", "15m", "30m")} | _DAYS,
        kinds={
            "stock": Kind("regular", "session", "consolidated", volume="shares"),
            "forex": Kind("24h", "clock", "aggregate", volume="none"),
            "crypto": Kind("24h", "clock", "aggregate", volume="base"),
        },
        adjustment="raw",
        settle_ms=18 * HOUR_MS,  # with a free key, a session is available on its evening
        actions_apart=True,
        action_requests=2,
        # Their minute bars go back only a few days and cannot be requested by date.
        only=dict.fromkeys(("forex", "crypto"), frozenset(_DAYS)),
        extended=frozenset(("1m", "5m", "15m", "30m")),
    )

    def __init__(self, api_key: str | None = None, **wired: Unpack[Wired]) -> None:
        if api_key:
            wired["credentials"] = {"ALPHA_VANTAGE_API_KEY": api_key}
        super().__init__(**wired)

    def bars_request(self, query: FetchQuery, cursor: str | None) -> HttpRequest:
        """Request one month of minute bars, or all daily bars; other ranges cannot be requested."""
        instrument, timeframe = query.instrument, query.timeframe
        interval = self.capabilities.timeframes[timeframe.label]
        params: dict[str, str] = {"function": f"{_FUNCTIONS[instrument.asset_class]}_{interval}"}
        params |= self._name_params(instrument)
        if timeframe.is_intraday:
            params |= {
                "function": "TIME_SERIES_INTRADAY",
                "interval": interval,
                "month": month_of(query.span.start),
                "outputsize": "full",
                "adjusted": "false",
                "extended_hours": "true" if instrument.is_extended else "false",
            }
        elif timeframe.label == "1d" and instrument.asset_class != "crypto":
            is_recent = query.span.start > query.now_ms - _COMPACT_MS
            params["outputsize"] = "compact" if is_recent else "full"
        return self._request(params)

    def parse_bars(self, response: HttpResponse, query: FetchQuery) -> BarPage:
        """Parse a series and drop bars outside the span, because no exact range can be requested.

        The format is the same for minute and daily bars, currencies and coins; values are strings::

            {"Meta Data": {"2. Symbol": "IBM", "5. Time Zone": "US/Eastern"},
             "Time Series (Daily)": {"2024-03-01": {"1. open": "185.49", "2. high": "188.38",
               "3. low": "185.18", "4. close": "188.20", "5. volume": "4018354"}}}
        """
        bars, unit = read_series(response, query)
        inside = [bar for bar in bars if bar.stamp_ms in query.span]
        following = month_after(query.span.start) if query.timeframe.is_intraday else None
        return BarPage(inside, unit=unit, next_ms=following)

    def classify(self, response: HttpResponse) -> DataError | None:
        """Return the error described in the response; Alpha Vantage sends errors with status 200."""
        error = error_of(response)
        if error is not None or response.body[:1] != b"{":  # CSV, or HTML that is reported later
            return error
        body = response.json()
        if body == _NO_QUOTE:
            return SymbolNotFoundError(f"{self.display_name} has no data for this symbol")
        texts = [body.get(key) for key in ("Error Message", "Information", "Note")]
        sentence = next((text for text in texts if isinstance(text, str)), None)
        return None if sentence is None else error_of_sentence(sentence, "Error Message" in body)

    def actions_of(self, instrument: Instrument, span: Span, now_ms: int) -> list[Action]:
        """Return splits and dividends with an ex-date in ``span``, using two requests."""
        actions: list[Action] = []
        for function in ("SPLITS", "DIVIDENDS"):
            request = self._request({"function": function, **self._name_params(instrument)})
            answer = self.send(request)
            with format_errors(self.name, "actions"):
                body = answer.json()
                check_symbol(self.name, instrument.spelling(self.name), body.get("symbol"))
                actions += read_actions(body["data"], instrument, now_ms)
        return within(actions, span)

    def _name_params(self, instrument: Instrument) -> dict[str, str]:
        """Return the query parameters that name an instrument."""
        name = instrument.spelling(self.name)
        first, dash, second = name.partition("-")
        if instrument.asset_class == "stock":
            return {"symbol": name}
        if not dash:
            raise CapabilityError(f"{self.display_name} accepts pairs such as BTC-USD, not {name}")
        if instrument.asset_class == "forex":
            return {"from_symbol": first, "to_symbol": second}
        return {"symbol": first, "market": second}

    def _request(self, params: dict[str, str]) -> HttpRequest:
        secret = {"apikey": self.secret("ALPHA_VANTAGE_API_KEY")}
        return HttpRequest(f"{self.base_url}/query", params=params, secret_params=secret)


def read_series(response: HttpResponse, query: FetchQuery) -> tuple[Sequence[Bar], str]:
    """Return the bars, newest first as received, and the currency of their prices (empty if unknown).

    Raises:
        KeyError, IndexError, TypeError, ValueError, AttributeError: The response has an unexpected
            format.
    """
    if response.body[:1] != b"{":
        labelled = [(row["timestamp"], row) for row in csv.DictReader(response.text.splitlines())]
        if not labelled:
            raise ValueError("the response is neither JSON nor a CSV table")
        return [_bar(label, row, query, _NEW_YORK) for label, row in labelled], ""
    body = response.json()
    meta = {_plain_name(name): text for name, text in body.get("Meta Data", {}).items()}
    _check_symbol(meta, query.instrument)
    zone = meta.get("Time Zone", NEW_YORK)
    title = max(name for name in body if "Time Series" in name)
    series, length = body[title], _LENGTH.search(title)
    check_interval("alpha_vantage", query.timeframe, length and length[0])
    check_interval("alpha_vantage", query.timeframe, meta.get("Interval"))
    rows = [(label, _values_by_name(row)) for label, row in series.items()]
    if not rows and not meta:
        raise ValueError("the series is empty and has no metadata")
    tz = zone_named(_ZONES.get(zone, zone))
    bars = [_bar(label, row, query, tz) for label, row in rows]
    return bars, meta.get("Market Code", "")


def _accepted_length(query: FetchQuery, text: str) -> str:
    """Return the requested timeframe, unless the description of the series names it or none."""
    named = _LENGTH.search(text)
    is_other = named and Timeframe.parse(named[0]) != query.timeframe
    return f"bars of {query.timeframe}" if is_other else ""


def _accepted_zone(query: FetchQuery, name: str) -> str:
    """Return the accepted time zones, unless ``name`` is one: that of the venue, or for stocks New York."""
    zone, venue = zone_named(_ZONES.get(name, name)), query.instrument.timezone
    accepted = (venue, NEW_YORK) if query.instrument.asset_class == "stock" else ("UTC",)
    fits = any(is_same_zone(zone, each, query.now_ms) for each in accepted)
    return "" if fits else " or ".join(dict.fromkeys(accepted))


def _check_symbol(meta: Mapping[str, Any], instrument: Instrument) -> None:
    """Reject a series that belongs to a share or pair other than ``instrument``."""
    spelling = instrument.spelling("alpha_vantage")
    base, _, quote = spelling.partition("-")
    if instrument.asset_class == "stock":
        expected = {"Symbol": spelling}
    elif instrument.asset_class == "forex":
        expected = {"From Symbol": base, "To Symbol": quote}
    else:
        expected = {"Digital Currency Code": base, "Market Code": quote}
    for name, symbol in expected.items():
        check_symbol("alpha_vantage", symbol, meta.get(name))


def read_actions(rows: Iterable[Row], instrument: Instrument, now_ms: int) -> list[Action]:
    """Parse lists of splits and dividends; dividends are in terms of the shares on their ex-date."""
    reader, actions = ActionReader(instrument, "alpha_vantage", now_ms), []
    for row in rows:
        if "split_factor" in row:
            terms = split_terms(row["split_factor"])  # rounded to four decimal places
            actions.append(reader.split(row["effective_date"], *terms))
        else:
            actions.append(
                reader.dividend(row["ex_dividend_date"], row["amount"], row.get("payment_date"))
            )
    return actions


def month_of(stamp_ms: int) -> str:
    """Return the month, in New York time, that contains ``stamp_ms``, as ``YYYY-MM``."""
    return f"{_first_of(stamp_ms):%Y-%m}"


def month_after(stamp_ms: int) -> int:
    """Return the time at which the month returned by :func:`month_of` ends."""
    later = _first_of(stamp_ms) + timedelta(days=31)
    return local_to_utc(_NEW_YORK, day_ms(later.replace(day=1)))


def _first_of(stamp_ms: int) -> date:
    return max(local_date(_NEW_YORK, stamp_ms).replace(day=1), _FIRST_MONTH)


def _plain_name(name: str) -> str:
    """Return the plain name of a value, such as "open" for "1. open" and for "1a. open (CNY)"."""
    return name.partition(". ")[2].partition(" (")[0]


def _values_by_name(row: Row) -> Row:
    """Map the plain names of a row's values to the values (in the first currency, if there are two)."""
    values: dict[str, Any] = {}
    for name, value in row.items():
        values.setdefault(_plain_name(name), value)
    return values


def _bar(label: str, row: Row, query: FetchQuery, zone: ZoneInfo) -> Bar:
    prices = [number(row[name]) for name in _PRICES]
    more = [number(row.get(name)) for name in ("volume", "adjusted close")]
    return Bar(stamp_of(label, query.timeframe, zone), *prices, *more)


def error_of_sentence(sentence: str, is_error: bool) -> DataError:
    """Return the error that a sentence from the vendor describes.

    The sentence is not quoted, because it may contain a key.
    """
    if "apikey" in sentence or "demo" in sentence:
        return AuthenticationError(
            "Alpha Vantage does not accept the key", hint="check that it is set and valid"
        )
    if is_error:  # also sent for an invalid parameter
        return SymbolNotFoundError(
            "Alpha Vantage rejects this as an invalid call; the symbol may be unknown"
        )
    if "outputsize" in sentence:  # concerns only this range: every plan has the last 100 days
        return CapabilityError("Alpha Vantage serves only the last 100 bars with this key")
    if _PREMIUM.search(sentence):
        return EntitlementError("Alpha Vantage", hint="your plan does not include it")
    if _TOO_MUCH.search(sentence):
        is_spent = "per day" in sentence and "per minute" not in sentence
        return RateLimitedError(
            "Alpha Vantage reports too many requests", 3600.0 if is_spent else 60.0
        )
    return ResponseFormatError("Alpha Vantage returned a sentence instead of data")
