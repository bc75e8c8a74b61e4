"""Twelve Data: stocks of many exchanges, currencies and crypto; a key is required."""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Any, ClassVar, Unpack

from ....errors import (
    AuthenticationError,
    CapabilityError,
    DataError,
    EntitlementError,
    RateLimitedError,
    ResponseFormatError,
    SymbolNotFoundError,
    UnavailableError,
)
from ...model.identity.instrument import Instrument
from ...model.identity.kind import Kind
from ...model.market.bars import Bar
from ...model.request.capabilities import BarPage, Capabilities, FetchQuery, Limits
from ...model.request.http import HttpRequest, HttpResponse
from ...model.time.instant import date_of, day_ms, from_ms, parse_iso
from ...model.time.timeframe import Timeframe
from ...net.http.status import error_of, retry_after_s
from ...registry import VENDORS
from ..base import BaseDataDownloader, Wired
from ..dates import amount, list_of, number
from ..paging import SecondFacts, check_interval, check_symbol

# Maps this library's suffixes to its exchanges; others are not served, because a wrong listing has
# wrong prices.
VENUES = {
    "L": "XLON",
    "DE": "XETR",
    "F": "XFRA",
    "PA": "XPAR",
    "AS": "XAMS",
    "BR": "XBRU",
    "LS": "XLIS",
    "MI": "XMIL",
    "MC": "XMAD",
    "SW": "XSWX",
    "CO": "XCSE",
    "ST": "XSTO",
    "HE": "XHEL",
    "OL": "XOSL",
    "TO": "XTSE",
    "V": "XTSX",
    "T": "XTKS",
    "HK": "XHKG",
    "SS": "XSHG",
    "SZ": "XSHE",
}
_KEY = "TWELVE_DATA_API_KEY"
# Largest number of rows in one response. It is not documented which end of a longer response is
# cut, so windows are short enough to avoid that.
PAGE_BARS = 5000
_INTRADAY = {
    "1m": "1min",
    "5m": "5min",
    "15m": "15min",
    "30m": "30min",
    "45m": "45min",
    "1h": "1h",
    "2h": "2h",
    "4h": "4h",
    "8h": "8h",
}
_WINDOW_DAYS = {
    "1m": 3,
    "5m": 17,
    "15m": 52,
    "30m": 104,
    "45m": 156,
    "1h": 208,
    "2h": 416,
    "4h": 833,
    "8h": 1666,
    "1d": 4990,
}
_BAR = {"datetime|open|high|low|close": "text"}
_SHARE = {"symbol|interval|currency|exchange?|exchange_timezone?|mic_code?|type?": "text"}
_PAIR = {"symbol|interval|currency_base?|currency_quote?|exchange?|type?": "text"}
# "Not found" by itself refers to the address.
_ABOUT_A_SYMBOL = re.compile("symbol|figi|isin|instrument|nothing (was )?found|no results")
_EMPTY = "no data is available"
# The vendor's names for American exchanges have changed over the years.
_AMERICAN = re.compile(
    r"NASDAQ|NYSE.*|AMEX|(NYSE )?ARCA|BATS|CBOE.*|IEX|OTC.*|PINK.*", re.IGNORECASE
)
_NEW_YORK = "America/New_York"
_BY_CODE: dict[int, type[DataError]] = {
    400: CapabilityError,
    401: AuthenticationError,
    403: EntitlementError,
    404: SymbolNotFoundError,
    414: CapabilityError,
    500: UnavailableError,
}
# The limit is per calendar minute or per day; repeating a request before its end only wastes
# credits.
_MINUTE_S, _LONG_S = 60.0, 3600.0


class TwelveDataDataDownloader(BaseDataDownloader):
    """Bars from Twelve Data; minute and hourly bars are raw, longer ones are adjusted for splits.

    Args:
        api_key: Key that takes precedence over the environment variable.
        **wired: See :class:`BaseDataDownloader`.
    """

    name = "twelvedata"
    display_name = "Twelve Data"
    aliases = VENDORS["twelvedata"].aliases
    secrets = VENDORS["twelvedata"].keys
    requires_api_key = VENDORS["twelvedata"].needs_keys
    limits = Limits(per_minute=55)
    default_base_url = "https://api.twelvedata.com"
    shapes = (
        (
            "time_series",
            {"meta": _SHARE, "values": [{**_BAR, "volume": "text"}], "status": "text"},
        ),
        ("time_series", {"meta": _PAIR, "values": [_BAR], "status": "text"}),
        # The response if the window has no bars.
        ("time_series", {"code": "number", "message|status": "text", "meta?": "any"}),
    )
    second_facts: ClassVar[SecondFacts] = {
        "meta/exchange": lambda query, value, _: _of_american(
            query, _AMERICAN.fullmatch(value), "an American exchange such as NASDAQ or NYSE"
        ),
        "meta/exchange_timezone": lambda query, value, _: _of_american(
            query, value == _NEW_YORK, _NEW_YORK
        ),
        "meta/currency": lambda query, value, _: _of_american(query, value == "USD", "USD"),
    }
    capabilities = Capabilities(
        asset_classes=frozenset({"stock", "forex", "crypto"}),
        timeframes={**_INTRADAY, "1d": "1day", "1w": "1week", "1M": "1month"},
        page_bars=PAGE_BARS,
        page_days=_WINDOW_DAYS,
        kinds={
            "stock": Kind("regular", "session", "", volume="shares"),
            "forex": Kind("24h", "clock", "aggregate", volume="none"),
            # The bars are from an exchange that the vendor chooses, so they are never mixed with
            # bars of a known one.
            "crypto": Kind("24h", "clock", "twelvedata", volume="none"),
        },
        adjustment="split",
        intraday_adjustment="raw",
    )

    def __init__(self, api_key: str | None = None, **wired: Unpack[Wired]) -> None:
        if api_key:
            wired["credentials"] = {_KEY: api_key}
        super().__init__(**wired)

    def spelled(self, instrument: Instrument) -> str:
        """Return Twelve Data's name for a pair or stock; the name does not include the exchange."""
        return listing(instrument)["symbol"]

    def is_dense(self, timeframe: Timeframe) -> bool:
        """Return True for daily bars, which are complete; minutes without a trade may be absent."""
        return not timeframe.is_intraday

    def bars_request(self, query: FetchQuery, cursor: str | None) -> HttpRequest:
        """Request a window of bars, oldest first; an end date is exclusive, an end time inclusive."""
        start, end = query.span.start, query.span.end
        params: dict[str, str | int] = {
            **listing(query.instrument),
            "interval": self.capabilities.timeframes[query.timeframe.label],
            "order": "ASC",
            "outputsize": PAGE_BARS,
            # Set explicitly, because the vendor's own pages differ about the default for minute
            # bars.
            "adjust": "none" if query.timeframe.is_intraday else "splits",
        }
        if query.timeframe.is_intraday:
            bounds = {"start_date": start, "end_date": end - 1}
            params |= {name: str(from_ms(ms).replace(microsecond=0)) for name, ms in bounds.items()}
            params["timezone"] = "UTC"
        else:
            last = date_of(end - 1) + timedelta(days=1)
            params |= {"start_date": str(date_of(start)), "end_date": str(last)}
        key = {"Authorization": f"apikey {self.secret(_KEY)}"}
        return HttpRequest(f"{self.base_url}/time_series", params=params, secret_headers=key)

    def parse_bars(self, response: HttpResponse, query: FetchQuery) -> BarPage:
        """Parse the rows in ``values``, which contain strings; for stocks, ``meta`` has the currency.

        ::

            {"meta": {"symbol": "AAPL", "currency": "USD", "mic_code": "XNGS"}, "status": "ok",
             "values": [{"datetime": "2024-03-01", "open": "179.55", "high": "180.53",
                         "low": "177.38", "close": "179.66", "volume": "73563082"}]}
        """
        body = response.json()
        if body.get("status") == "error":
            return BarPage(())  # an error that `classify` accepts: no bars in this window
        values, meta = list_of(body["values"]), body["meta"]
        for name, value in listing(query.instrument).items():
            if name in ("symbol", "mic_code"):
                # A user's own spelling may name the exchange after a colon.
                check_symbol(self.name, value.partition(":")[0], meta.get(name))
        check_interval(self.name, query.timeframe, meta.get("interval"))
        if len(values) >= PAGE_BARS:
            raise ResponseFormatError(
                f"the response has {len(values):,} rows, of at most {PAGE_BARS:,}, so it may be truncated"
            )
        bars = [
            bar for row in values if (bar := bar_of(row, query.timeframe)).stamp_ms in query.span
        ]
        return BarPage(bars, unit=meta.get("currency") or "")

    def classify(self, response: HttpResponse) -> DataError | None:
        """Return the error in ``{"status": "error", "code", "message"}``, even with HTTP status 200."""
        code, text = _error(response)
        if _EMPTY in text or text == "data not found":
            return None
        if code == 429:
            wait = _MINUTE_S if "minute" in text else _LONG_S
            message = f"{self.display_name} reports too many credits used"
            return RateLimitedError(message, retry_after_s(response) or wait)
        error_type = _BY_CODE.get(code)
        if code == 404 and not _ABOUT_A_SYMBOL.search(text):
            error_type = ResponseFormatError  # about the address
        if code in (400, 404):
            by_text = {" plan": EntitlementError, "**symbol** not found": SymbolNotFoundError}
            error_type = next((k for word, k in by_text.items() if word in text), error_type)
        return (
            error_type(f"{self.display_name} returned code {code}")
            if error_type
            else error_of(response)
        )


def listing(instrument: Instrument) -> dict[str, str]:
    """Return the query parameters that name an instrument.

    Raises:
        CapabilityError: The instrument is listed on a market for which Twelve Data is not used.
    """
    spelled = instrument.spelling("twelvedata")
    if instrument.base is not None and instrument.quote is not None:
        is_configured = "twelvedata" in instrument.spellings
        return {"symbol": spelled if is_configured else f"{instrument.base}/{instrument.quote}"}
    if instrument.calendar == "24/7":  # the caller's own spelling
        return {"symbol": spelled}
    body, dot, suffix = spelled.rpartition(".")
    if not dot:
        # Without the country, a foreign stock with the same name may be returned.
        return {"symbol": spelled.replace("-", "."), "country": "United States"}
    if suffix not in VENUES:
        raise CapabilityError(
            f"Twelve Data is not queried for listings with .{suffix}", symbol=instrument.symbol
        )
    return {"symbol": body, "mic_code": VENUES[suffix]}


def _of_american(query: FetchQuery, fits: object, accepted: str) -> str:
    """Return ``accepted`` if the query is for a plain American name and the value does not fit it.

    A user's own spelling may name any exchange after a colon.
    """
    listed = listing(query.instrument)
    return accepted if "country" in listed and ":" not in listed["symbol"] and not fits else ""


# --- Twelve Data's form of a bar: strings, with a label in UTC or the date of its session


def bar_of(row: Any, timeframe: Timeframe) -> Bar:
    """Parse one row; currencies and crypto have no volume."""
    prices = [amount(row[name]) for name in ("open", "high", "low", "close")]
    volume = number(row.get("volume"))
    return Bar(_stamp(row["datetime"], timeframe), *prices, volume)  # type: ignore[call-arg]


def _stamp(text: str, timeframe: Timeframe) -> int:
    """Convert a label, which is a UTC time or a date, to the bar's timestamp."""
    if timeframe.is_intraday:
        return parse_iso(text)
    day = date.fromisoformat(text[:10])
    if timeframe.unit == "w":
        day -= timedelta(days=day.weekday())
    return day_ms(day.replace(day=1) if timeframe.unit == "M" else day)


def _error(response: HttpResponse) -> tuple[int, str]:
    """Return the code and the lowercase text of an error; if there is no error, the code is 0."""
    try:
        body = response.json() if b'"error"' in response.body else None
    except ResponseFormatError:  # a proxy answers HTML
        body = None
    if not isinstance(body, dict) or body.get("status") != "error":
        return 0, ""
    code = body.get("code")
    return code if isinstance(code, int) else 0, str(body.get("message", "")).lower().rstrip(".")
