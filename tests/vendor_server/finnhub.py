"""Finnhub: columns, UTC seconds with both ends inclusive, a token in a header."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from onetape.data.core.model.identity.kind import Adjustment
from onetape.data.core.model.time.instant import DAY_MS, SECOND_MS
from onetape.data.core.model.time.timeframe import Timeframe

from .face import STATUS, Context, Page, Reason, Reply, Request
from .keyed import Keyed, as_of_its_split, dates_in, listed_actions, pair_of, whole
from .listings import Listing
from .names import matching, plain_spelling

_PATH = re.compile(r"/api/v1/(stock|crypto)/(candle|split|dividend)")
_RESOLUTIONS = {
    "1": "1m", "5": "5m", "15": "15m", "30": "30m", "60": "1h", "D": "1d", "W": "1w", "M": "1M",
}  # fmt: skip
_PAGE_DAYS = 31  # of minutes; of a longer range the newest part comes
_WORDS = {
    "unauthorized": "Invalid API key",
    "forbidden": "You don't have access to this resource.",
    "throttled": "API limit reached. Please try again later. Remaining Limit: 0",
}


class Finnhub(Keyed):
    """An unknown symbol and an empty range are one and the same ``no_data``."""

    name: ClassVar[str] = "finnhub"

    def spelling(self, listing: Listing) -> str | None:
        """Shares with a dot for their class, coins with the name of their exchange."""
        if listing.asset_class == "stock":
            return listing.symbol.replace("-", ".")
        base, quote = pair_of(listing)
        return f"BINANCE:{base}{quote}" if listing.exchange == "Binance" else None

    def symbol_in(self, request: Request) -> str | None:
        """Return the parameter ``symbol``."""
        return request.params.get("symbol")

    def key_in(self, request: Request) -> str:
        """Return the token, from its header or the query."""
        return request.headers.get("x-finnhub-token", request.params.get("token", ""))

    def refusal(self, reason: Reason, now_ms: int) -> Reply:
        """Return ``error``."""
        if reason == "unknown_symbol":
            return Reply.json({"s": "no_data"})
        return Reply.json({"error": _WORDS.get(reason, reason)}, STATUS[reason])

    def serve(self, request: Request, context: Context) -> Reply:
        """Answer bars, splits and dividends."""
        found, params = _PATH.fullmatch(request.path), request.params
        if request.path == "/api/v1/search":
            names = matching(self, params.get("q", ""), context)
            return Reply.json({"count": len(names), "result": [_named(self, n) for n in names]})
        if found is None:
            return Reply.json({"error": "Resource not found"}, 404)
        listing = self.find(params.get("symbol", ""), context.truth)
        if found[2] != "candle":
            told = _splits if found[2] == "split" else _dividends
            return Reply.json(told(listing, params, context) if listing else [])
        if listing is None or listing.asset_class != found[1]:
            return self.refusal("unknown_symbol", context.now_ms)
        try:
            page = _page(listing, params, context)
        except (KeyError, ValueError):
            return Reply.json({"error": "Wrong resolution or timestamp"}, 422)
        return Reply.json(_columns(page))


def _named(face: Keyed, listing: Listing) -> dict[str, str]:
    spelled = plain_spelling(face, listing)
    return {
        "description": listing.name or listing.symbol, "displaySymbol": spelled,
        "symbol": spelled, "type": "Crypto" if ":" in spelled else "Common Stock",
    }  # fmt: skip


def _page(listing: Listing, params: Mapping[str, str], context: Context) -> Page:
    frame = Timeframe.parse(_RESOLUTIONS[params["resolution"]])
    start, last = int(params["from"]) * SECOND_MS, int(params["to"]) * SECOND_MS
    if frame.is_intraday:
        start = max(start, last - _PAGE_DAYS * DAY_MS)
    is_raw = frame.is_intraday and listing.asset_class == "stock"
    adjustment: Adjustment = "raw" if is_raw else "split"
    rows = context.rows(listing, frame, (start, last + 1), adjustment, "clock", extended=True)
    return context.spoil(Page(tuple(r.stamp_ms for r in rows), tuple(rows), per_second=1))


def _columns(page: Page) -> dict[str, Any]:
    if not len(page):
        return {"s": "no_data"}
    rows = page.rows
    return {
        "c": [r.close for r in rows], "h": [r.high for r in rows], "l": [r.low for r in rows],
        "o": [r.open for r in rows], "s": "ok", "t": page.stamps(),
        "v": [whole(r.volume) for r in rows],
    }  # fmt: skip


def _splits(listing: Listing, params: Mapping[str, str], context: Context) -> list[Any]:
    return [
        {"symbol": params["symbol"], "date": a.ex_date.isoformat(),
         "fromFactor": whole(a.denominator), "toFactor": whole(a.numerator)}
        for a in listed_actions(listing, context, "split", dates_in(params))
    ]  # fmt: skip


def _dividends(listing: Listing, params: Mapping[str, str], context: Context) -> list[Any]:
    return [
        {"symbol": params["symbol"], "date": a.ex_date.isoformat(), "amount": a.amount,
         "adjustedAmount": as_of_its_split(listing, a, context), "currency": listing.currency}
        for a in listed_actions(listing, context, "dividend", dates_in(params))
    ]  # fmt: skip
