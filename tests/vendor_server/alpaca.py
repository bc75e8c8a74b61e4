"""Alpaca: ``/v2/stocks/bars``, ``/v1beta3/crypto/us/bars`` and ``/v1/corporate-actions``."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, ClassVar, cast

from onetape.data.core.model.identity.kind import Adjustment
from onetape.data.core.model.time.instant import DAY_MS, MINUTE_MS, day_ms, iso, parse_iso
from onetape.data.core.model.time.timeframe import Timeframe

from .face import Context, Face, Page, Reason, Reply, Request, american, local_midnight
from .ground_truth import Row
from .listings import NEW_YORK, Listing

_FRAMES = {
    "1Min": "1m", "5Min": "5m", "15Min": "15m", "30Min": "30m", "1Hour": "1h", "1Day": "1d",
    "1Week": "1w", "1Month": "1M",
}  # fmt: skip
_DEFAULT_LIMIT, _MAX_LIMIT = 1000, 10_000
_BEHIND_MS = 15 * MINUTE_MS
_STOCKS, _COINS = "/v2/stocks/bars", "/v1beta3/crypto/us/bars"
_ADJUSTMENTS = ("raw", "split", "all")
_WORDS: dict[Reason, tuple[int, str]] = {
    "unknown_symbol": (400, "invalid symbol: ZZZZ"),
    "throttled": (429, "too many requests."),
    "unauthorized": (403, "forbidden."),
    "forbidden": (403, "your plan does not include this endpoint"),
    "down": (500, "internal server error occurred"),
}


class Alpaca(Face):
    """Rows by symbol, RFC 3339, both ends inclusive on the open, pages by token.

    Attributes:
        recent_tape: whether the plan includes the consolidated tape of the last 15 minutes.
    """

    name: ClassVar[str] = "alpaca"

    def __init__(self) -> None:
        self.recent_tape = False

    def spelling(self, listing: Listing) -> str | None:
        """Shares of New York with a dot, coins against the dollar with a slash."""
        if listing.asset_class == "crypto":
            return listing.symbol.replace("-", "/") if "-" in listing.symbol else None
        return american(listing, ".")

    def symbol_in(self, request: Request) -> str | None:
        """Return the first of the symbols."""
        return request.params.get("symbols", "").split(",")[0] or None

    def refusal(self, reason: Reason, now_ms: int) -> Reply:
        """Return ``{"message"}``; a wrong key is 403, too."""
        status, message = _WORDS.get(reason, (0, ""))
        return _error(status, message) if status else super().refusal(reason, now_ms)

    def answer(self, request: Request, context: Context) -> Reply:
        """Answer bars and corporate actions of one symbol."""
        if "apca-api-key-id" not in request.headers or "apca-api-secret-key" not in request.headers:
            return self.refusal("unauthorized", context.now_ms)
        symbol = self.symbol_in(request) or ""
        listing = self.find(symbol, context.truth)
        if listing is None:
            return _error(400, f"invalid symbol: {symbol}")
        if request.path == "/v1/corporate-actions":
            return Reply.json(_actions(listing, request.params, context))
        if request.path != (_COINS if listing.asset_class == "crypto" else _STOCKS):
            return _error(404, "endpoint not found.")
        return self._bars(listing, symbol, request.params, context)

    def _bars(
        self, listing: Listing, symbol: str, params: Mapping[str, str], context: Context
    ) -> Reply:
        frame, limit = (
            _FRAMES.get(params.get("timeframe", "")),
            int(params.get("limit", _DEFAULT_LIMIT)),
        )
        adjustment = params.get("adjustment", "raw")
        if frame is None or adjustment not in _ADJUSTMENTS:
            return _error(400, "invalid timeframe or adjustment")
        if not 1 <= limit <= _MAX_LIMIT:
            return _error(400, "limit must be between 1 and 10000")
        start, end = _moment(params.get("start", "2016-01-01")), self._end(params, context)
        is_stock = listing.asset_class == "stock"
        if is_stock and end > context.now_ms - _BEHIND_MS and not self.recent_tape:
            return _error(403, "subscription does not permit querying recent SIP data")
        timeframe = Timeframe.parse(frame)
        found = context.rows(
            listing, timeframe, (start - 2 * DAY_MS, end + 1), cast(Adjustment, adjustment), "clock",
            extended=True,
        )  # fmt: skip
        labelled = [(_label(row, timeframe, is_stock=is_stock), row) for row in found]
        begin = max(start, _read_token(params.get("page_token")))
        inside = [one for one in labelled if begin <= one[0] <= end]
        page, rest = inside[:limit], inside[limit:]
        token = _token(symbol, rest[0][0]) if rest else None
        sent = context.spoil(Page(tuple(at for at, _ in page), tuple(row for _, row in page)))
        bars = [_bar(at, row) for at, row in zip(sent.labels, sent.rows, strict=True)]
        return Reply.json({"bars": {symbol: bars} if bars else {}, "next_page_token": token})

    def _end(self, params: Mapping[str, str], context: Context) -> int:
        """Return the last label asked for; without one the newest that the plan includes."""
        said = params.get("end")
        return _moment(said) if said else context.now_ms - (0 if self.recent_tape else _BEHIND_MS)


def _error(status: int, message: str) -> Reply:
    return Reply.json({"message": message}, status)


def _moment(text: str) -> int:
    return parse_iso(text.replace("+00:00", ""))


def _label(row: Row, frame: Timeframe, *, is_stock: bool) -> int:
    """Return the open of a bar; days of shares begin at midnight in New York."""
    if frame.is_intraday or not is_stock:
        return row.stamp_ms
    return local_midnight(row.stamp_ms, NEW_YORK)


def _token(symbol: str, label: int) -> str:
    return base64.b64encode(f"{symbol}|{label}".encode()).decode()


def _read_token(token: str | None) -> int:
    return int(base64.b64decode(token).decode().split("|")[1]) if token else 0


def _bar(label: int, row: Row) -> dict[str, Any]:
    volume = row.volume or 0.0
    return {
        "t": iso(label), "o": row.open, "h": row.high, "l": row.low, "c": row.close,
        "v": row.volume, "n": int(volume % 90_000) + 1, "vw": row.close,
    }  # fmt: skip


def _actions(listing: Listing, params: Mapping[str, str], context: Context) -> dict[str, Any]:
    """Return what is known now of splits and dividends, by type; a type without any is absent."""
    found: dict[str, list[dict[str, Any]]] = {}
    start, end = _moment(params["start"]), _moment(params["end"])
    for action in context.truth.actions(listing.symbol, context.now_ms):
        if not start <= day_ms(action.ex_date) <= end:
            continue
        told = {"symbol": listing.symbol, "ex_date": action.ex_date.isoformat()}
        if action.type == "dividend":
            found.setdefault("cash_dividends", []).append(told | {"rate": action.amount})
            continue
        kind = "forward_splits" if action.ratio > 1 else "reverse_splits"
        rates = {"new_rate": action.numerator, "old_rate": action.denominator}
        found.setdefault(kind, []).append(told | rates)
    return {"corporate_actions": found, "next_page_token": None}
