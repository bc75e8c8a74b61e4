"""Yahoo: ``GET /v8/finance/chart/{symbol}``."""

from __future__ import annotations

import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

import numpy as np

from onetape.data.core.model.time.instant import DAY_MS, SECOND_MS, to_ms
from onetape.data.core.model.time.timeframe import Timeframe

from .face import STATUS, Context, Face, Page, Reason, Reply, Request, local_midnight
from .ground_truth import Row
from .listings import Listing
from .names import matching, plain_spelling
from .sessions import sessions_of
from .yahoo_live import live
from .yahoo_meta import meta_of, trading_periods

_PATH = re.compile(r"/v8/finance/chart/([^/]+)")
_INTERVALS = {
    "1m": "1m", "2m": "2m", "5m": "5m", "15m": "15m", "30m": "30m", "60m": "1h", "90m": "90m",
    "1h": "1h", "1d": "1d", "1wk": "1w", "1mo": "1M", "3mo": "3M",
}  # fmt: skip
_DEPTH_DAYS = {"1m": 30, "2m": 60, "5m": 60, "15m": 60, "30m": 60, "90m": 60, "60m": 730, "1h": 730}
# Lengths of a `range`, of which others than `validRanges` are answered, too.
_RANGE = re.compile(r"([1-9]\d*)(d|wk|mo|y)")


# What yfinance fetches before anything else: a cookie, and a word that goes with it.
_DOORS = {
    "/": Reply(404, b"", {"Set-Cookie": "A3=d=local; Max-Age=31557600; Path=/; HttpOnly"}),
    "/v1/test/getcrumb": Reply.text("a.crumb/1"),
}


@dataclass(frozen=True)
class _Ask:
    """One understood request; ``start`` and ``end`` in unix seconds, both inclusive."""

    listing: Listing
    interval: str
    start: int
    end: int
    range: str
    events: frozenset[str]
    extended: bool = False

    @property
    def frame(self) -> Timeframe:
        return Timeframe.parse(_INTERVALS[self.interval])


class Yahoo(Face):
    """Columns of floats, seconds, days stamped with the session's open, live bar off the grid.

    Attributes:
        needs_browser: answer 429 to anything whose ``User-Agent`` is no browser's, as Yahoo does.
        twin_after_close: from the close to local midnight the day stands there twice, on its
            grid stamp and as the live row, as it does on some evenings.
    """

    name: ClassVar[str] = "yahoo"

    def __init__(self) -> None:
        self.needs_browser = True
        self.twin_after_close = False

    def spelling(self, listing: Listing) -> str | None:
        """Shares by their symbol; coins are the ones with a dash."""
        dashed = listing.asset_class == "crypto" and "-" in listing.symbol
        return listing.symbol if dashed or listing.asset_class == "stock" else None

    def symbol_in(self, request: Request) -> str | None:
        """Return the last part of the path."""
        found = _PATH.fullmatch(request.path)
        return found[1] if found else None

    def refusal(self, reason: Reason, now_ms: int) -> Reply:
        """Return the chart envelope; 429 is plain text."""
        if reason == "throttled":
            return Reply.text("Edge: Too Many Requests", 429, "text/html")
        if reason == "unknown_symbol":
            return _error(404, "Not Found", "No data found, symbol may be delisted")
        return _error(STATUS[reason], reason.title(), f"{reason} request")

    def answer(self, request: Request, context: Context) -> Reply:
        """Answer the chart and searches; everything else is 404."""
        if self.needs_browser and "mozilla" not in request.headers.get("user-agent", "").lower():
            return self.refusal("throttled", context.now_ms)
        if request.path == "/v1/finance/search":
            found = matching(self, request.params.get("q", ""), context)
            return Reply.json(
                {
                    "explains": [],
                    "count": len(found),
                    "quotes": [_named(self, one) for one in found],
                }
            )
        if request.path in _DOORS:
            return _DOORS[request.path]
        symbol = self.symbol_in(request)
        if symbol is None:
            return _error(404, "Not Found", "HTTP 404 Not Found")
        listing = self.find(symbol, context.truth)
        if listing is None:
            return self.refusal("unknown_symbol", context.now_ms)
        ask = _read(request, context, listing)
        return ask if isinstance(ask, Reply) else self._chart(ask, context)

    def _chart(self, ask: _Ask, context: Context) -> Reply:
        page = context.spoil(self._page(ask, context))
        meta = meta_of(ask.listing, context, ask.interval, ask.range)
        if ask.frame.is_intraday:
            meta |= {"previousClose": meta["chartPreviousClose"], "scale": 3}
        result: dict[str, Any] = {"meta": meta}
        daily = not ask.frame.is_intraday
        if not len(page):
            nothing: dict[str, Any] = {"quote": [{}]} | ({"adjclose": [{}]} if daily else {})
            return _result(result | {"indicators": nothing})
        if not daily:
            span = page.rows[0].opens_ms, page.rows[-1].closes_ms
            meta["tradingPeriods"] = trading_periods(ask.listing, span)
        result["timestamp"] = page.stamps()
        events = _events(ask, context)
        if events:
            result["events"] = events
        result["indicators"] = _indicators(page, daily)
        return _result(result)

    def _page(self, ask: _Ask, context: Context) -> Page:
        rows = _bars(ask, context)
        labelled = [(_grid_label(ask, row), row) for row in rows]
        inside = [x for x in labelled if ask.start <= x[0] // SECOND_MS <= ask.end]
        if inside and inside[-1][1] is rows[-1]:
            inside[-1:] = live(
                ask.listing, ask.frame, context, inside[-1], twin=self.twin_after_close
            )
        return Page(tuple(x for x, _ in inside), tuple(r for _, r in inside), per_second=1)


def _named(face: Face, listing: Listing) -> dict[str, Any]:
    kind = "CRYPTOCURRENCY" if listing.asset_class == "crypto" else "EQUITY"
    return {
        "exchange": listing.exchange, "shortname": listing.name or listing.symbol,
        "quoteType": kind, "symbol": plain_spelling(face, listing), "index": "quotes",
        "typeDisp": kind.title(), "exchDisp": listing.exchange, "isYahooFinance": True,
    }  # fmt: skip


def _read(request: Request, context: Context, listing: Listing) -> _Ask | Reply:
    """Understand the parameters, or say as Yahoo does what is wrong with them."""
    params = request.params
    interval = params.get("interval", "1d")
    if interval not in _INTERVALS:
        known = ", ".join(_INTERVALS)
        said = f"Invalid input - interval={interval} is not supported. Valid intervals: [{known}]"
        return _error(422, "Unprocessable Entity", said)
    now = context.now_ms // SECOND_MS
    asked = "" if "period1" in params else params.get("range", "1d")
    if asked and asked not in ("ytd", "max") and not _RANGE.fullmatch(asked):
        return _error(
            422, "Unprocessable Entity", f"Invalid input - range={asked} is not supported."
        )
    try:
        start = (
            int(params["period1"]) if not asked else _range_start(listing, asked, context.now_ms)
        )
        end = int(params.get("period2", now)) if not asked else now
    except ValueError:
        return _error(400, "Bad Request", "Invalid input - period1 and period2 must be numbers")
    events = frozenset(re.split(r"[|,]", params.get("events", "")))
    refused = None if asked else _too_deep(interval, start, end, now)
    extended = params.get("includePrePost") == "true"
    return refused or _Ask(listing, interval, start, end, asked, events, extended)


def _too_deep(interval: str, start: int, end: int, now: int) -> Reply | None:
    """Refuse what lies beyond the depth of a timeframe or is too long for one request."""
    if start > end:
        return _error(400, "Bad Request", "Invalid input - start date cannot be after end date. "
                      f"startDate = {start}, endDate = {end}")  # fmt: skip
    why = ""
    depth, day = _DEPTH_DAYS.get(interval), DAY_MS // SECOND_MS
    if depth and start < now - depth * day:
        why = f"The requested range must be within the last {depth} days."
    elif interval == "1m" and end - start > 8 * day:
        why = "Only 8 days worth of 1m granularity data are allowed to be fetched per request."
    elif depth is None and end - start > 100 * 366 * day:
        why = "Only 100 years worth of day granularity data are allowed to be fetched per request."
    if not why:
        return None
    what = f"{interval} data not available for startTime={start} and endTime={end}."
    return _error(422, "Unprocessable Entity", f"{what} {why}")


def _range_start(listing: Listing, asked: str, now_ms: int) -> int:
    """Return the first second of a ``range`` that ends now.

    One day and five days are of trading, and today is one of them only after its open; longer
    ranges begin with the same date of a past month.
    """
    zone = ZoneInfo(listing.timezone)
    today = datetime.fromtimestamp(now_ms / SECOND_MS, zone).date()
    if asked in ("1d", "5d"):
        sessions = sessions_of(listing.calendar)
        opened = int(np.searchsorted(sessions.opens, now_ms, side="right"))
        first = local_midnight(int(sessions.dates[opened - int(asked[0])]), listing.timezone)
        return first // SECOND_MS
    if asked == "max":
        return 0
    if asked == "ytd":
        day = today.replace(month=1, day=1)
    else:
        found = _RANGE.fullmatch(asked)
        assert found is not None
        count, unit = int(found[1]), found[2]
        if unit in ("d", "wk"):
            day = today - timedelta(days=count * (7 if unit == "wk" else 1))
        else:
            months = today.year * 12 + today.month - 1 - count * (12 if unit == "y" else 1)
            year, month = months // 12, months % 12 + 1
            day = date(year, month, min(today.day, monthrange(year, month)[1]))
    return to_ms(datetime(day.year, day.month, day.day, tzinfo=zone)) // SECOND_MS


def _bars(ask: _Ask, context: Context) -> list[Row]:
    """Return every bar that may fall into the window, split-adjusted as known now."""
    start, end = ask.start * SECOND_MS, ask.end * SECOND_MS + 1
    if not ask.frame.is_intraday:
        # A label and the session date under it are at most a day apart.
        start, end = start - 2 * DAY_MS, end + 2 * DAY_MS
    if not (ask.extended and ask.frame.is_intraday):
        return context.rows(ask.listing, ask.frame, (start, end), "split")
    rows = context.rows(
        ask.listing, ask.frame, (start, end), "split", anchor="clock", extended=True
    )
    regular = sessions_of(ask.listing.calendar).between(start, end)
    spans = list(zip(regular.opens.tolist(), regular.closes.tolist(), strict=True))
    # Of what is traded outside regular hours it tells no volume.
    return [
        row if any(a <= row.stamp_ms < b for a, b in spans) else row._replace(volume=0.0)
        for row in rows
    ]


def _grid_label(ask: _Ask, row: Row) -> int:
    """Return the stamp of a settled row: session open for days, local midnight for longer ones."""
    if ask.frame.is_intraday or ask.frame.unit == "d":
        return row.opens_ms
    return local_midnight(row.stamp_ms, ask.listing.timezone)


def _events(ask: _Ask, context: Context) -> dict[str, Any]:
    """Return the actions whose ex-date lies inside the window, as far as they are asked for."""
    known = context.truth.actions(ask.listing.symbol, context.now_ms)
    found: dict[str, Any] = {}
    for action in known:
        at = action.ex_at // SECOND_MS
        if not ask.start <= at <= ask.end:
            continue
        if action.type == "dividend" and "div" in ask.events:
            later = [a.ratio for a in known if a.type == "split" and a.ex_date > action.ex_date]
            amount = action.amount
            for ratio in later:
                amount = amount * ratio.denominator / ratio.numerator
            found.setdefault("dividends", {})[str(at)] = {"amount": amount, "date": at}
        if action.type == "split" and ask.events & {"split", "splits"}:
            found.setdefault("splits", {})[str(at)] = {
                "date": at, "numerator": action.numerator, "denominator": action.denominator,
                "splitRatio": f"{action.numerator:g}:{action.denominator:g}",
            }  # fmt: skip
    return found


def _indicators(page: Page, daily: bool) -> dict[str, Any]:
    quote: dict[str, Any] = {
        name: [getattr(r, name) for r in page.rows] for name in ("open", "high", "low", "close")
    }
    quote["volume"] = [None if r.volume is None else round(r.volume) for r in page.rows]
    adjusted = {"adjclose": [{"adjclose": [r.adj_close for r in page.rows]}]} if daily else {}
    return {"quote": [quote]} | adjusted


def _result(result: dict[str, Any]) -> Reply:
    return Reply.json({"chart": {"result": [result], "error": None}})


def _error(status: int, code: str, description: str) -> Reply:
    error = {"code": code, "description": description}
    return Reply.json({"chart": {"result": None, "error": error}}, status)
