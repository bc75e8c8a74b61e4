"""Financial Modeling Prep: ``/stable``, days and minutes, newest first, dates at the venue."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from onetape.data.core.model.time.instant import DAY_MS
from onetape.data.core.model.time.timeframe import Timeframe

from .face import STATUS, Context, Page, Reason, Reply, Request
from .keyed import (
    Keyed,
    as_of_its_split,
    dates_window,
    listed_actions,
    newest_first,
    wall_texts,
    whole,
)
from .listings import Listing
from .names import matching, plain_spelling

_EOD, _CHART = "/stable/historical-price-eod/full", "/stable/historical-chart/"
_FRAMES = {
    "1min": "1m", "5min": "5m", "15min": "15m", "30min": "30m", "1hour": "1h", "4hour": "4h",
}  # fmt: skip
# Dates in one answer, made up but for days: of a longer range the newest part comes.
_PAGE_DATES = {"1m": 3, "5m": 9, "15m": 22, "30m": 29, "1h": 29, "4h": 29, "1d": 1826}
_HELP = "https://site.financialmodelingprep.com/"
_KEY_WORDS = (
    "Invalid API KEY. Feel free to create a Free API Key or visit "
    f"{_HELP}faqs?search=why-is-my-api-key-invalid for more information."
)
_LIMIT_WORDS = (
    "Limit Reach . Please upgrade your plan or visit our documentation for more details at "
)
_PLAN_WORDS = (
    "Premium Query Parameter: 'Special Endpoint : This value set for 'symbol' is not available "
    "under your current subscription"
)


class FMP(Keyed):
    """An unknown symbol and an empty range are one and the same empty list.

    Attributes:
        closing_auction: a row stands behind the session, labelled with its close, as in the
            vendor's own example.
    """

    name: ClassVar[str] = "fmp"

    def __init__(self) -> None:
        super().__init__()
        self.closing_auction = False

    def spelling(self, listing: Listing) -> str | None:
        """Shares by their symbol."""
        return listing.symbol if listing.asset_class == "stock" else None

    def symbol_in(self, request: Request) -> str | None:
        """Return the parameter ``symbol``."""
        return request.params.get("symbol")

    def key_in(self, request: Request) -> str:
        """Return the parameter ``apikey``."""
        return request.params.get("apikey", "")

    def refusal(self, reason: Reason, now_ms: int) -> Reply:
        """Return ``Error Message``; what the plan does not include is told as plain text."""
        if reason == "unknown_symbol":
            return Reply.json([])
        if reason == "forbidden":
            return Reply.text(_PLAN_WORDS, 402)
        words = {"unauthorized": _KEY_WORDS, "throttled": _LIMIT_WORDS + _HELP}
        return Reply.json({"Error Message": words.get(reason, reason)}, STATUS[reason])

    def serve(self, request: Request, context: Context) -> Reply:
        """Answer days, minutes, splits and dividends."""
        if request.path in ("/stable/search-symbol", "/stable/search-name"):
            found = matching(self, request.params.get("query", ""), context)
            by_name = request.path.endswith("name")
            return Reply.json([_named(self, one) for one in found if bool(one.name) == by_name])
        listing = self.find(request.params.get("symbol", ""), context.truth)
        told = {"/stable/splits": _splits, "/stable/dividends": _dividends}.get(request.path)
        frame = _FRAMES.get(request.path.removeprefix(_CHART), "")
        if request.path == _EOD:
            frame = "1d"
        if told is None and not frame:
            return Reply.json([], 404)
        if listing is None:
            return self.refusal("unknown_symbol", context.now_ms)
        if told is not None:
            return Reply.json(told(listing, context))
        try:
            page = self._page(listing, Timeframe.parse(frame), request.params, context)
        except ValueError:
            return Reply.json({"Error Message": "Invalid date"}, 400)
        return Reply.json(_rows(page, listing, Timeframe.parse(frame)))

    def _page(
        self, listing: Listing, frame: Timeframe, params: Mapping[str, str], context: Context
    ) -> Page:
        start, end = dates_window(listing, frame, params.get("from"), params.get("to"))
        end = min(end, context.now_ms + DAY_MS)
        start = max(start, end - _PAGE_DATES[frame.label] * DAY_MS)
        rows = context.rows(listing, frame, (start, end), "split")
        labels = [row.stamp_ms for row in rows]
        for at in [i for i, r in enumerate(rows) if self.closing_auction and _is_last(rows, i)]:
            rows.append(rows[at])
            labels.append(rows[at].closes_ms)
        order = sorted(range(len(rows)), key=labels.__getitem__)
        page = Page(tuple(labels[i] for i in order), tuple(rows[i] for i in order))
        return newest_first(context.spoil(page))


def _named(face: Keyed, listing: Listing) -> dict[str, str]:
    return {
        "symbol": plain_spelling(face, listing), "name": listing.name or listing.symbol,
        "currency": listing.currency, "exchangeFullName": listing.exchange,
        "exchange": listing.exchange,
    }  # fmt: skip


def _is_last(rows: list[Any], at: int) -> bool:
    """Tell whether a minute is the last one of its session."""
    return at + 1 < len(rows) and rows[at + 1].opens_ms != rows[at].closes_ms


def _rows(page: Page, listing: Listing, frame: Timeframe) -> list[dict[str, Any]]:
    told = []
    for label, row in zip(wall_texts(page.labels, listing, frame), page.rows, strict=True):
        prices = {"open": row.open, "low": row.low, "high": row.high, "close": row.close}
        if frame.is_intraday:
            told.append({"date": label, **prices, "volume": whole(row.volume)})
            continue
        change = None if row.close is None or row.open is None else row.close - row.open
        told.append({
            "symbol": listing.symbol, "date": label, **prices, "volume": whole(row.volume),
            "change": change, "changePercent": change and 100 * change / (row.open or 1.0),
            "vwap": row.close,
        })  # fmt: skip
    return told


def _splits(listing: Listing, context: Context) -> list[dict[str, Any]]:
    return [
        {"symbol": listing.symbol, "date": a.ex_date.isoformat(),
         "numerator": whole(a.numerator), "denominator": whole(a.denominator)}
        for a in listed_actions(listing, context, "split")
    ]  # fmt: skip


def _dividends(listing: Listing, context: Context) -> list[dict[str, Any]]:
    return [
        {"symbol": listing.symbol, "date": a.ex_date.isoformat(), "recordDate": None,
         "paymentDate": None, "declarationDate": None, "dividend": a.amount,
         "adjDividend": as_of_its_split(listing, a, context)}
        for a in listed_actions(listing, context, "dividend")
    ]  # fmt: skip
