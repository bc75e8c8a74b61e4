"""Alpha Vantage: ``GET /query``, texts under numbered names, everything with status 200."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from onetape.data.core.model.identity.kind import Adjustment
from onetape.data.core.model.time.instant import DAY_MS, day_ms, from_ms
from onetape.data.core.model.time.timeframe import Timeframe

from .face import Context, Page, Reason, Reply, Request, local_midnight
from .keyed import (
    Keyed,
    edge,
    fixed,
    is_dollar_pair,
    last_days,
    listed_actions,
    newest_first,
    pair_of,
    wall_texts,
    whole,
)
from .listings import Listing

_MONTH = re.compile(r"\d{4}-\d\d")
_MINUTES = {"1min": "1m", "5min": "5m", "15min": "15m", "30min": "30m", "60min": "1h"}
_DAYS = {"DAILY": "1d", "WEEKLY": "1w", "MONTHLY": "1M"}
_COMPACT = 100
# The real one goes back twenty years; the truth takes its time for each of them.
_FULL_MS = 5 * 366 * DAY_MS
_TITLES = {"1d": "Daily", "1w": "Weekly", "1M": "Monthly"}
_SUFFIXES = {".L": ".LON", ".DE": ".DEX", ".TO": ".TRT"}
_CALL_WORDS = (
    "Invalid API call. Please retry or visit the documentation "
    "(https://www.alphavantage.co/documentation/) for {function}."
)
_THANKS = "Thank you for using Alpha Vantage! "
_PLANS = "https://www.alphavantage.co/premium/"
_WORDS: dict[str, dict[str, str]] = {
    "unknown_symbol": {"Error Message": _CALL_WORDS.format(function="TIME_SERIES_DAILY")},
    "unauthorized": {"Error Message": (
        "the parameter apikey is invalid or missing. Please claim your free API key on "
        "(https://www.alphavantage.co/support/#api-key). It should take less than 20 seconds."
    )},
    "forbidden": {"Information": (
        f"{_THANKS}This is a premium endpoint. You may subscribe to any of the premium plans at "
        f"{_PLANS} to instantly unlock all premium endpoints"
    )},
    "throttled": {"Information": (
        f"{_THANKS}Our standard API rate limit is 25 requests per day. Please subscribe to any of "
        f"the premium plans at {_PLANS} to instantly remove all daily rate limits."
    )},
}  # fmt: skip
_FULL_WORDS = (
    f"{_THANKS}The **outputsize=full** parameter value is a premium feature for the {{function}} "
    f"endpoint. You may subscribe to any of the premium plans at {_PLANS} to instantly unlock all "
    "premium features"
)


class AlphaVantage(Keyed):
    """No range can be named: all there is, the last hundred, or one month of minutes.

    Attributes:
        premium: whether the plan of the key includes ``outputsize=full``.
    """

    name: ClassVar[str] = "alpha_vantage"

    def __init__(self) -> None:
        super().__init__()
        self.premium = True

    def spelling(self, listing: Listing) -> str | None:
        """Shares with its own suffix of the venue, coins in dollars with a dash."""
        if is_dollar_pair(listing):
            return listing.symbol
        if listing.asset_class != "stock":
            return None
        return _share(listing)

    def symbol_in(self, request: Request) -> str | None:
        """Return the parameter ``symbol``, with ``market`` for a coin."""
        symbol, market = request.params.get("symbol"), request.params.get("market")
        return f"{symbol}-{market}" if market else symbol

    def key_in(self, request: Request) -> str:
        """Return the parameter ``apikey``."""
        return request.params.get("apikey", "")

    def refusal(self, reason: Reason, now_ms: int) -> Reply:
        """Return a sentence in place of data, with status 200; the rest is told by the edge."""
        if reason not in _WORDS:
            return edge(reason)
        return Reply.json(_WORDS[reason])

    def serve(self, request: Request, context: Context) -> Reply:
        """Answer the functions that the library asks for."""
        params, function = request.params, request.params.get("function", "")
        listing = self.find(self.symbol_in(request) or "", context.truth)
        frame = _frame_of(params)
        if listing is None or request.path != "/query":
            return _invalid(function)
        if function in ("SPLITS", "DIVIDENDS"):
            rows = (_splits if function == "SPLITS" else _dividends)(listing, context)
            return Reply.json({"symbol": self.symbol_in(request), "data": rows})
        if frame is None:
            return _invalid(function)
        if function == "TIME_SERIES_DAILY" and _is_full(params) and not self.premium:
            return Reply.json({"Information": _FULL_WORDS.format(function=function)})
        rows_or_none = _page(listing, frame, params, context)
        if rows_or_none is None:
            return _invalid(function)
        return Reply.json(_told(rows_or_none, listing, frame, context))


def _frame_of(params: Mapping[str, str]) -> Timeframe | None:
    head, _, last = params.get("function", "").rpartition("_")
    if head == "TIME_SERIES" and last == "INTRADAY":
        label = _MINUTES.get(params.get("interval", ""))
    else:
        label = _DAYS.get(last) if head in ("TIME_SERIES", "DIGITAL_CURRENCY") else None
    return Timeframe.parse(label) if label else None


def _page(
    listing: Listing, frame: Timeframe, params: Mapping[str, str], context: Context
) -> Page | None:
    """Return the rows of an answer, newest first; None for a month that it refuses."""
    start, end = context.now_ms - _FULL_MS, context.now_ms + DAY_MS
    if frame.is_intraday:
        month = params.get("month") or f"{from_ms(context.now_ms):%Y-%m}"
        if not _MONTH.fullmatch(month) or month < "2000-01":
            return None
        first = from_ms(day_ms(from_ms(0).date().fromisoformat(f"{month}-01")))
        after = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
        start, end = (local_midnight(day_ms(at.date()), listing.timezone) for at in (first, after))
        if end <= listing.tape.listed_ms or start > context.now_ms:
            return None  # as a symbol that it does not know
    adjusted: Adjustment = "raw" if params.get("adjusted") == "false" else "all"
    rows = context.rows(
        listing, frame, (start, end), adjusted if frame.is_intraday else "raw",
        extended=params.get("extended_hours", "true") == "true",
    )  # fmt: skip
    # A session is there when it is over; the running week and month are there up to its last one.
    if frame.unit not in ("w", "M"):
        rows = [row for row in rows if row.closes_ms <= context.now_ms]
    short = not _is_full(params) and frame.label not in ("1w", "1M") and "market" not in params
    rows = rows[-_COMPACT:] if short else rows
    if frame.unit in ("w", "M"):
        labels = last_days(rows, listing, context.now_ms)
    else:
        labels = [row.stamp_ms for row in rows]
    return newest_first(context.spoil(Page(tuple(labels), tuple(rows))))


def _is_full(params: Mapping[str, str]) -> bool:
    return params.get("outputsize", "compact") == "full"


def _told(page: Page, listing: Listing, frame: Timeframe, context: Context) -> dict[str, Any]:
    """Return the two blocks of an answer; a stamp stands there once, for it is a name."""
    labels = wall_texts(page.labels, listing, frame)
    coin = listing.asset_class == "crypto"
    minutes = frame.label.replace("m", "min")
    name = (
        f"Time Series ({minutes})" if frame.is_intraday else f"Time Series ({_TITLES[frame.label]})"
    )
    if frame.label in ("1w", "1M") and not coin:
        name = f"{_TITLES[frame.label]} Time Series"
    if coin:
        name = f"Time Series (Digital Currency {_TITLES[frame.label]})"
    return {
        "Meta Data": _meta(listing, frame, labels[0] if labels else "", coin),
        name: {
            label: _row(row, 8 if coin else 4) for label, row in zip(labels, page.rows, strict=True)
        },
    }


def _share(listing: Listing) -> str:
    plain, dot, venue = listing.symbol.partition(".")
    return plain + _SUFFIXES.get(dot + venue, dot + venue)


def _meta(listing: Listing, frame: Timeframe, newest: str, coin: bool) -> dict[str, str]:
    length = _TITLES.get(frame.label, f"Intraday ({frame.label.replace('m', 'min')})")
    if coin:
        code, market = pair_of(listing)
        said = {"Information": f"{length} Prices and Volumes for Digital Currency",
                "Digital Currency Code": code, "Market Code": market,
                "Last Refreshed": newest, "Time Zone": "UTC"}  # fmt: skip
    else:
        zone = "US/Eastern" if listing.timezone == "America/New_York" else listing.timezone
        what = f"{length} Prices (open, high, low, close) and Volumes"
        said = {"Information": what, "Symbol": _share(listing), "Last Refreshed": newest}
        if frame.is_intraday:
            said |= {"Interval": frame.label.replace("m", "min")}
        if frame.label not in ("1w", "1M"):
            said |= {"Output Size": "Compact"}
        said |= {"Time Zone": zone}
    return {f"{n}. {name}": text for n, (name, text) in enumerate(said.items(), 1)}


def _row(row: Any, decimals: int) -> dict[str, str | None]:
    prices = (row.open, row.high, row.low, row.close)
    names = ("1. open", "2. high", "3. low", "4. close")
    volume = None if row.volume is None else str(whole(row.volume))
    texts = (fixed(price, decimals) for price in prices)
    return {**dict(zip(names, texts, strict=True)), "5. volume": volume}


def _splits(listing: Listing, context: Context) -> list[dict[str, str]]:
    return [
        {"effective_date": a.ex_date.isoformat(),
         "split_factor": f"{a.numerator / a.denominator:.4f}"}
        for a in listed_actions(listing, context, "split")
    ]  # fmt: skip


def _dividends(listing: Listing, context: Context) -> list[dict[str, str]]:
    return [
        {"ex_dividend_date": a.ex_date.isoformat(), "declaration_date": "None",
         "record_date": "None", "payment_date": "None", "amount": repr(a.amount)}
        for a in listed_actions(listing, context, "dividend")
    ]  # fmt: skip


def _invalid(function: str) -> Reply:
    return Reply.json({"Error Message": _CALL_WORDS.format(function=function)})
