"""Tiingo: ``/tiingo/daily/{ticker}/prices``, ``/iex/{ticker}/prices``, ``/tiingo/crypto/prices``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, timedelta
from math import prod
from typing import Any, ClassVar

from onetape.data.core.model.time.instant import DAY_MS, date_of, day_ms, iso, parse_iso
from onetape.data.core.model.time.timeframe import Timeframe

from .face import Context, Face, Page, Reason, Reply, Request, american
from .ground_truth import Row
from .listings import Listing

_PATH = re.compile(r"/(tiingo/daily|iex)/([^/]+)/prices")
_COINS = "/tiingo/crypto/prices"
_DAYS = {"daily": "1d", "weekly": "1w", "monthly": "1M", "1day": "1d"}
_MINUTES = {"1min": "1m", "5min": "5m", "15min": "15m", "30min": "30m", "1hour": "1h"}
_WORDS: dict[Reason, tuple[int, str]] = {
    "unauthorized": (401, '{"detail":"Invalid token."}'),
    "forbidden": (403, '{"detail":"You do not have permission to access this endpoint."}'),
    "unknown_symbol": (404, '{"detail":"Error: Ticker \'ZZZZ\' not found"}'),
    "throttled": (
        429,
        "You have run over your hourly request allocation. Please upgrade at "
        "https://api.tiingo.com/pricing to have your limits increased.",
    ),
}


class Tiingo(Face):
    """Lists of rows by date, both ends inclusive; raw and adjusted side by side, no running day.

    Attributes:
        newest_rows: most rows of minutes in one answer; older ones are left out and nothing says so.
    """

    name: ClassVar[str] = "tiingo"

    def __init__(self) -> None:
        self.newest_rows = 2000

    def spelling(self, listing: Listing) -> str | None:
        """Shares of New York with a dash, coins as ``btcusd``."""
        if listing.asset_class == "crypto":
            return listing.symbol.replace("-", "").lower() if "-" in listing.symbol else None
        return american(listing, "-")

    def symbol_in(self, request: Request) -> str | None:
        """Return the ticker in the path, or the parameter."""
        found = _PATH.fullmatch(request.path)
        return found[2] if found else request.params.get("tickers")

    def refusal(self, reason: Reason, now_ms: int) -> Reply:
        """Return ``{"detail"}``; too many requests are told in plain text."""
        if reason not in _WORDS:
            return super().refusal(reason, now_ms)
        status, said = _WORDS[reason]
        return Reply.text(said, status, "application/json" if said[0] == "{" else "text/plain")

    def answer(self, request: Request, context: Context) -> Reply:
        """Answer prices; a coin that is not known has none."""
        is_known = request.headers.get("authorization", "").startswith("Token ")
        if not is_known and "token" not in request.params:
            return Reply.json({"detail": "Please supply a token"}, 403)
        ticker = self.symbol_in(request) or ""
        listing = self.find(ticker, context.truth)
        found = _PATH.fullmatch(request.path)
        if found is None:
            rows = _coin(listing, ticker, request.params, context) if listing else []
            return Reply.json(rows) if request.path == _COINS else Reply.text("Not found", 404)
        if listing is None:
            return Reply.json({"detail": f"Error: Ticker '{ticker}' not found"}, 404)
        if found[1] == "iex":
            return Reply.json(self._minutes(listing, request.params, context))
        return Reply.json(_days(listing, request.params, context))

    def _minutes(
        self, listing: Listing, params: Mapping[str, str], context: Context
    ) -> list[dict[str, Any]]:
        frame = Timeframe.parse(_MINUTES[params["resampleFreq"].lower()])
        start, end = _dates(params, context)
        rows = context.rows(listing, frame, (start, end + DAY_MS))[-self.newest_rows :]
        wanted = params.get("columns", "open,high,low,close").split(",")
        page = context.spoil(Page(tuple(r.stamp_ms for r in rows), tuple(rows)))
        return [
            {"date": _text(at)} | {name: getattr(row, name) for name in wanted}
            for at, row in zip(page.labels, page.rows, strict=True)
        ]


def _dates(params: Mapping[str, str], context: Context) -> tuple[int, int]:
    """Return the first and the last date asked for; without any the last session alone."""
    today = context.now_ms // DAY_MS * DAY_MS
    start, end = params.get("startDate"), params.get("endDate")
    return parse_iso(start) if start else today - DAY_MS, parse_iso(end) if end else today


def _days(listing: Listing, params: Mapping[str, str], context: Context) -> list[dict[str, Any]]:
    """Return days, or weeks and months whose last day lies in the range; none that still runs."""
    frame = Timeframe.parse(_DAYS[params.get("resampleFreq", "daily").lower()])
    start, end = _dates(params, context)
    window = (start - 32 * DAY_MS, end + 1)
    closed = [r for r in context.rows(listing, frame, window) if r.closes_ms <= context.now_ms]
    labelled = [(_last_day(row.stamp_ms, frame), row) for row in closed]
    inside = [one for one in labelled if start <= one[0] <= end]
    page = context.spoil(Page(tuple(at for at, _ in inside), tuple(row for _, row in inside)))
    adjusted = {row.stamp_ms: row for row in context.rows(listing, frame, window, "all")}
    return [
        _day(at, row, adjusted[row.stamp_ms], _actions(listing, frame, row, context))
        for at, row in zip(page.labels, page.rows, strict=True)
    ]


def _last_day(stamp: int, frame: Timeframe) -> int:
    """Return the label: the day itself, the Friday of a week, the last day of a month."""
    if frame.unit == "w":
        return stamp + 4 * DAY_MS
    if frame.unit == "M":
        following = (date_of(stamp) + timedelta(32)).replace(day=1)
        return day_ms(following - timedelta(1))
    return stamp


def _actions(listing: Listing, frame: Timeframe, row: Row, context: Context) -> tuple[float, float]:
    """Return the dividends and the split factor of the days of a bar."""
    first, last = date_of(row.stamp_ms), date_of(_last_day(row.stamp_ms, frame))
    known = context.truth.actions(listing.symbol, context.now_ms)
    told = [a for a in known if _is_between(a.ex_date, first, last)]
    paid = sum(a.amount for a in told if a.type == "dividend")
    return float(paid), float(prod(a.ratio for a in told if a.type == "split"))


def _is_between(day: date, first: date, last: date) -> bool:
    return first <= day <= last


def _day(at: int, row: Row, adjusted: Row, actions: tuple[float, float]) -> dict[str, Any]:
    return {
        "date": _text(at),
        "close": row.close, "high": row.high, "low": row.low, "open": row.open,
        "volume": None if row.volume is None else round(row.volume),
        "adjClose": row.adj_close, "adjHigh": adjusted.high, "adjLow": adjusted.low,
        "adjOpen": adjusted.open, "adjVolume": round(adjusted.volume or 0.0),
        "divCash": actions[0], "splitFactor": actions[1],
    }  # fmt: skip


def _coin(
    listing: Listing, ticker: str, params: Mapping[str, str], context: Context
) -> list[dict[str, Any]]:
    start, end = _dates(params, context)
    frame = Timeframe.parse(_DAYS[params["resampleFreq"].lower()])
    rows = context.rows(listing, frame, (start, end + 1))
    page = context.spoil(Page(tuple(r.stamp_ms for r in rows), tuple(rows)))
    prices = [
        {
            "volume": row.volume, "date": iso(at).replace("Z", "+00:00"), "close": row.close,
            "open": row.open, "low": row.low, "high": row.high, "tradesDone": 1,
            "volumeNotional": (row.volume or 0.0) * (row.close or 0.0),
        }
        for at, row in zip(page.labels, page.rows, strict=True)
    ]  # fmt: skip
    base, quote = (part.lower() for part in listing.symbol.split("-"))
    told = {"ticker": ticker, "baseCurrency": base, "quoteCurrency": quote}
    return [told | {"priceData": prices}] if prices else []


def _text(ms: int) -> str:
    return f"{iso(ms)[:19]}.000Z"
