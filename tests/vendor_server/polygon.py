"""Polygon, now Massive: ``/v2/aggs/ticker/...`` and ``/v3/reference/splits`` and ``dividends``."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlencode

from onetape.data.core.model.time.instant import DAY_MS, MINUTE_MS, day_ms, parse_iso
from onetape.data.core.model.time.timeframe import Timeframe

from .face import Context, Face, Page, Reason, Reply, Request, american, local_midnight
from .ground_truth import Row
from .listings import NEW_YORK, Listing

_PATH = re.compile(
    r"/v2/aggs/ticker/([^/]+)/range/(\d+)/(minute|hour|day|week|month)/([^/]+)/([^/]+)"
)
_UNITS = {"minute": "m", "hour": "h", "day": "d", "week": "w", "month": "M"}
_DEFAULT_LIMIT, _MAX_LIMIT = 5000, 50_000
_REQUEST_ID = "6a7e466379af0a71039d60cc78e72282"
_WORDS: dict[Reason, tuple[int, dict[str, str]]] = {
    "throttled": (
        429,
        {"status": "ERROR", "error": "You've exceeded the maximum requests per minute, please wait "
         "or upgrade your subscription to continue. https://polygon.io/pricing"},
    ),
    "unauthorized": (401, {"status": "ERROR", "error": "Unknown API Key"}),
    "forbidden": (
        403,
        {"status": "NOT_AUTHORIZED", "message": "You are not entitled to this data. Please upgrade "
         "your plan at https://massive.com/pricing"},
    ),
    "down": (500, {"status": "ERROR", "error": "Internal error"}),
}  # fmt: skip


class Polygon(Face):
    """Milliseconds, both ends inclusive, a limit of base aggregates, pages by ``next_url``."""

    name: ClassVar[str] = "polygon"

    def spelling(self, listing: Listing) -> str | None:
        """Shares of New York with a dot, coins as ``X:BTCUSD``."""
        if listing.asset_class == "crypto":
            return f"X:{listing.symbol.replace('-', '')}" if "-" in listing.symbol else None
        return american(listing, ".")

    def symbol_in(self, request: Request) -> str | None:
        """Return the ticker in the path, or the parameter."""
        found = _PATH.fullmatch(request.path)
        return found[1] if found else request.params.get("ticker")

    def refusal(self, reason: Reason, now_ms: int) -> Reply:
        """Return ``{"status", "request_id", "error" or "message"}``."""
        if reason not in _WORDS:
            return super().refusal(reason, now_ms)
        status, said = _WORDS[reason]
        return Reply.json({"request_id": _REQUEST_ID} | said, status)

    def answer(self, request: Request, context: Context) -> Reply:
        """Answer aggregates and actions; an unknown ticker has none."""
        is_known = request.headers.get("authorization", "").startswith("Bearer ")
        if not is_known and "apiKey" not in request.params:
            return self.refusal("unauthorized", context.now_ms)
        listing = self.find(self.symbol_in(request) or "", context.truth)
        if request.path in ("/v3/reference/splits", "/v3/reference/dividends"):
            rows = _actions(listing, request, context) if listing else []
            return Reply.json({"results": rows, "status": "OK", "request_id": _REQUEST_ID})
        if (found := _PATH.fullmatch(request.path)) is None:
            return Reply.text("404 page not found", 404)
        return Reply.json(_aggregates(found, listing, _said(request.params), context))


def _said(params: Mapping[str, str]) -> Mapping[str, str]:
    """Return the parameters; a cursor holds those of the first page."""
    cursor = params.get("cursor")
    return dict(parse_qsl(base64.b64decode(cursor).decode())) if cursor else params


def _aggregates(
    found: re.Match[str], listing: Listing | None, said: Mapping[str, str], context: Context
) -> dict[str, Any]:
    ticker, count, unit, first, last = found.groups()
    frame = Timeframe.parse(count + _UNITS[unit])
    is_adjusted = said.get("adjusted", "true") == "true"
    zone = NEW_YORK if listing is not None and listing.asset_class == "stock" else "UTC"
    start, end = _moment(first, zone), _moment(last, zone, end=True)
    labelled: list[tuple[int, Row]] = []
    if listing is not None:
        rows = context.rows(
            listing, frame, (start - 2 * DAY_MS, end + DAY_MS), "split" if is_adjusted else "raw",
            anchor="clock", extended=True,
        )  # fmt: skip
        labelled = [(_label(row, frame, zone), row) for row in rows]
    inside = [one for one in labelled if start <= one[0] <= end]
    size = _size(frame, int(said.get("limit", _DEFAULT_LIMIT)))
    page, rest = inside[:size], inside[size:]
    sent = context.spoil(Page(tuple(at for at, _ in page), tuple(row for _, row in page)))
    results = [_bar(at, row) for at, row in zip(sent.stamps(), sent.rows, strict=True)]
    body: dict[str, Any] = {
        "ticker": ticker, "queryCount": len(results), "resultsCount": len(results),
        "adjusted": is_adjusted, "status": "OK", "request_id": _REQUEST_ID, "count": len(results),
    }  # fmt: skip
    if results:
        body["results"] = results
    if rest:
        cursor = base64.b64encode(urlencode(dict(said)).encode()).decode()
        path = f"/v2/aggs/ticker/{ticker}/range/{count}/{unit}/{rest[0][0]}/{last}"
        # Complete, but for the key, and at the vendor's new host.
        body["next_url"] = f"https://api.massive.com{path}?{urlencode({'cursor': cursor})}"
    return body


def _size(frame: Timeframe, limit: int) -> int:
    """Return how many bars a limit of minutes or days makes."""
    base = MINUTE_MS if frame.is_intraday else DAY_MS
    return max(1, min(limit, _MAX_LIMIT) * base // (frame.step_ms or 31 * DAY_MS))


def _moment(text: str, zone: str, *, end: bool = False) -> int:
    """Return the first label of a bound, or with ``end`` the last: milliseconds, or a local date."""
    if text.isdigit():
        return int(text)
    day = parse_iso(text)
    return local_midnight(day + DAY_MS, zone) - 1 if end else local_midnight(day, zone)


def _label(row: Row, frame: Timeframe, zone: str) -> int:
    return row.stamp_ms if frame.is_intraday else local_midnight(row.stamp_ms, zone)


def _bar(label: int, row: Row) -> dict[str, Any]:
    return {
        "v": row.volume, "vw": row.close, "o": row.open, "c": row.close, "h": row.high,
        "l": row.low, "t": label, "n": int((row.volume or 0.0) % 90_000) + 1,
    }  # fmt: skip


def _actions(listing: Listing, request: Request, context: Context) -> list[dict[str, Any]]:
    is_split = request.path.endswith("splits")
    field, ticker = ("execution_date" if is_split else "ex_dividend_date"), request.params["ticker"]
    first, last = (parse_iso(request.params[f"{field}.{side}"]) for side in ("gte", "lte"))
    found = []
    for action in context.truth.actions(listing.symbol, context.now_ms):
        if (action.type == "split") is not is_split or not first <= day_ms(action.ex_date) <= last:
            continue
        told: dict[str, Any] = {field: action.ex_date.isoformat(), "ticker": ticker}
        if is_split:
            told |= {"split_from": action.denominator, "split_to": action.numerator}
        else:
            told |= {"cash_amount": action.amount, "dividend_type": "CD", "frequency": 4}
        found.append(told)
    return found
