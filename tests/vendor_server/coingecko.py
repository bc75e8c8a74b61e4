"""CoinGecko: ``/coins/{id}/ohlc``, milliseconds of the close, whole days back from now."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

from onetape.data.core.model.time.instant import DAY_MS, SECOND_MS
from onetape.data.core.model.time.timeframe import Timeframe

from .face import STATUS, Context, Face, Page, Reason, Reply, Request
from .keyed import KEY, pair_of
from .listings import Listing

_PATH = re.compile(r"/coins/([^/]+)/ohlc(/range)?")
# Two ids are lent to coins of the truth that are made up: the young one and the one that is gone.
_IDS = {
    "BTC": "bitcoin", "ETH": "ethereum", "SOL": "solana", "NEW": "sui", "OLD": "eos",
}  # fmt: skip
_RANGES = {
    "1": "30m", "7": "4h", "14": "4h", "30": "4h", "90": "4d", "180": "4d", "365": "4d",
}  # fmt: skip
_INTERVALS = {"hourly": ("1h", 31), "daily": ("1d", 180)}
_DEMO, _PAID = "x-cg-demo-api-key", "x-cg-pro-api-key"
_LIMIT_WORDS = (
    "You've exceeded the Rate Limit. Please visit https://www.coingecko.com/en/api/pricing to "
    "subscribe to our API plans for higher rate limits."
)
_CODES: dict[str, tuple[int, int, str]] = {
    "throttled": (429, 429, _LIMIT_WORDS),
    "unauthorized": (401, 10002, "API Key Missing or invalid"),
    "forbidden": (401, 10005, "This request is limited to Pro API subscribers."),
}


class CoinGecko(Face):
    """Averages in dollars without volume; the length of bars hangs on the range asked for.

    Dollars and dollar coins are one, so that a coin is the first listing of its pair.

    Attributes:
        key: of a paid plan, or of the demo plan; nobody needs one for days back from now.
    """

    name: ClassVar[str] = "coingecko"

    def __init__(self) -> None:
        self.key = KEY

    def spelling(self, listing: Listing) -> str | None:
        """Coins by their id, those without a known one by their small name."""
        if listing.asset_class != "crypto" or listing.currency not in ("USD", "USDT"):
            return None
        base, _ = pair_of(listing)
        return _IDS.get(base, base.lower())

    def symbol_in(self, request: Request) -> str | None:
        """Return the id in the path."""
        found = _PATH.fullmatch(request.path)
        return found[1] if found else None

    def refusal(self, reason: Reason, now_ms: int) -> Reply:
        """Return ``status`` with a code; what a plan lacks stands in an ``error``."""
        if reason not in _CODES:
            said = "coin not found" if reason == "unknown_symbol" else reason
            return Reply.json({"error": said}, STATUS[reason])
        http, code, words = _CODES[reason]
        told = {"status": {"error_code": code, "error_message": words}}
        after = {"Retry-After": "7"} if reason == "throttled" else {}
        return Reply.json({"error": told} if reason == "forbidden" else told, http, after)

    def answer(self, request: Request, context: Context) -> Reply:
        """Answer days back from now to everybody, ranges to who pays."""
        held = {request.headers[name] for name in (_DEMO, _PAID) if name in request.headers}
        if held - {self.key}:
            return self.refusal("unauthorized", context.now_ms)
        found = _PATH.fullmatch(request.path)
        listing = self.find(found[1], context.truth) if found else None
        if found is None or listing is None:
            return self.refusal("unknown_symbol", context.now_ms)
        if request.params.get("vs_currency") != "usd":
            return Reply.json({"error": "invalid vs_currency"}, 400)
        if not found[2]:
            return self._back(listing, request.params, context)
        if _PAID not in request.headers:
            return self.refusal("forbidden", context.now_ms)
        return self._range(listing, request.params, context)

    def _back(self, listing: Listing, params: Mapping[str, str], context: Context) -> Reply:
        """Answer the last days, in bars as long as the vendor likes; the last one is running."""
        label = _RANGES.get(params.get("days", ""))
        if label is None:
            return Reply.json({"error": "Invalid days parameter"}, 422)
        first = context.now_ms - int(params["days"]) * DAY_MS
        return _told(listing, Timeframe.parse(label), (first, context.now_ms + DAY_MS), context)

    def _range(self, listing: Listing, params: Mapping[str, str], context: Context) -> Reply:
        """Answer closes between two seconds, both inclusive."""
        label, most = _INTERVALS.get(params.get("interval", ""), ("", 0))
        first, last = (int(params[name]) * SECOND_MS for name in ("from", "to"))
        if not label or last > context.now_ms or last - first > most * DAY_MS:
            told = {"status": {"error_code": 10014, "error_message": "Invalid date range"}}
            return Reply.json({"error": told}, 400)
        return _told(listing, Timeframe.parse(label), (first, last + 1), context)


def _told(listing: Listing, frame: Timeframe, closes: tuple[int, int], context: Context) -> Reply:
    """Return the bars with a close in the half-open ``closes``; the running one closes now."""
    step = frame.step_ms or 0
    rows = context.rows(listing, frame, (closes[0] - step, closes[1]))
    labelled = [(min(r.stamp_ms + step, context.now_ms), r) for r in rows]
    inside = [(at, r) for at, r in labelled if closes[0] <= at < closes[1]]
    page = context.spoil(Page(tuple(at for at, _ in inside), tuple(r for _, r in inside)))
    rows_told = zip(page.stamps(), page.rows, strict=True)
    return Reply.json([[at, r.open, r.high, r.low, r.close] for at, r in rows_told])
