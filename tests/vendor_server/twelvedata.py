"""Twelve Data: ``GET /time_series``, texts, errors told by a code in the body."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

from onetape.data.core.model.identity.kind import Adjustment
from onetape.data.core.model.time.instant import DAY_MS, SECOND_MS, to_ms
from onetape.data.core.model.time.timeframe import Timeframe

from .face import Context, Page, Reason, Reply, Request
from .keyed import Keyed, edge, fixed, newest_first, pair_of, whole
from .listings import Listing
from .names import matching, plain_spelling

_FRAMES = {
    "1min": "1m", "5min": "5m", "15min": "15m", "30min": "30m", "45min": "45m", "1h": "1h",
    "2h": "2h", "4h": "4h", "8h": "8h", "1day": "1d", "1week": "1w", "1month": "1M",
}  # fmt: skip
_MICS = {".L": "XLON", ".DE": "XETR"}
_EXCHANGES = {"NMS": "NASDAQ", "NYQ": "NYSE", "PCX": "NYSE"}
_DEFAULT_SIZE, _MOST = 30, 5000
_DAY = Timeframe(1, "d")
_HELP = "https://twelvedata.com/"
_REFUSALS: dict[str, tuple[int, str]] = {
    "unknown_symbol": (
        404, "**symbol** or **figi** parameter is missing or invalid. Please provide a valid "
        f"symbol according to API documentation: {_HELP}docs#reference-data",
    ),
    "unauthorized": (
        401, "**apikey** parameter is incorrect or not specified. You can get your free API Key "
        f"instantly following this link: {_HELP}apikey. If you believe that everything is "
        "correct, you can email us",
    ),
    "forbidden": (
        403, "/time_series is available exclusively with grow or pro plans. Consider upgrading "
        f"your API Key now at {_HELP}pricing",
    ),
    "throttled": (
        429, "You have run out of API credits for the current minute. 9 API credits were used, "
        "with the current limit being 8. Wait for the next minute or consider switching to a "
        f"higher tier plan at {_HELP}pricing",
    ),
    "down": (500, "Internal server error"),
}  # fmt: skip
_NOTHING = (
    400, "No data is available on the specified dates. Try setting different start/end dates.",
)  # fmt: skip


class TwelveData(Keyed):
    """Newest first unless told otherwise; of too many rows the newest come.

    Attributes:
        tells_by_status: errors come with their code as status; else with 200, as they used to.
    """

    name: ClassVar[str] = "twelvedata"

    def __init__(self) -> None:
        super().__init__()
        self.tells_by_status = True

    def spelling(self, listing: Listing) -> str | None:
        """Shares with the code of their venue, but for those of the USA; pairs with a slash."""
        if listing.asset_class == "crypto":
            return "/".join(pair_of(listing))
        plain, dot, venue = listing.symbol.partition(".")
        if dot and dot + venue not in _MICS:
            return None
        return f"{plain}:{_MICS[dot + venue]}" if dot else plain.replace("-", ".")

    def symbol_in(self, request: Request) -> str | None:
        """Return the parameter ``symbol``, with ``mic_code`` where it is named."""
        symbol, venue = request.params.get("symbol"), request.params.get("mic_code")
        return f"{symbol}:{venue}" if venue else symbol

    def key_in(self, request: Request) -> str:
        """Return the key, from its header or the query."""
        held = request.headers.get("authorization", "").removeprefix("apikey ")
        return held or request.params.get("apikey", "")

    def refusal(self, reason: Reason, now_ms: int) -> Reply:
        """Return code and message; what is none of its own is told by the edge."""
        if reason not in _REFUSALS:
            return edge(reason)
        return self._error(*_REFUSALS[reason])

    def _error(self, code: int, message: str) -> Reply:
        body = {"code": code, "message": message, "status": "error"}
        return Reply.json(body, code if self.tells_by_status else 200)

    def serve(self, request: Request, context: Context) -> Reply:
        """Answer series."""
        params = request.params
        if request.path == "/symbol_search":
            found = matching(self, params.get("symbol", ""), context)
            return Reply.json({"data": [_named(self, one) for one in found], "status": "ok"})
        if request.path != "/time_series":
            return self._error(404, "Not found")
        listing = self.find(self.symbol_in(request) or "", context.truth)
        if listing is None:
            return self.refusal("unknown_symbol", context.now_ms)
        interval = params.get("interval", "")
        if interval not in _FRAMES:
            said = f"Invalid **interval** provided: {interval}. Supported intervals: "
            return self._error(400, said + ", ".join(_FRAMES))
        frame = Timeframe.parse(_FRAMES[interval])
        zone = ZoneInfo(params.get("timezone", listing.timezone))
        page = _page(listing, frame, params, context)
        if not len(page):
            return self._error(*_NOTHING)
        values = _values(page, listing, frame, zone)
        told = {"meta": _meta(listing, interval), "values": values, "status": "ok"}
        return Reply.json(told)


def _named(face: Keyed, listing: Listing) -> dict[str, str]:
    is_coin = listing.asset_class == "crypto"
    symbol, _, mic = plain_spelling(face, listing).partition(":")
    return {
        "symbol": symbol, "instrument_name": listing.name or listing.symbol,
        "exchange": listing.exchange, "mic_code": mic or "XNGS",
        "instrument_type": "Digital Currency" if is_coin else "Common Stock",
        "country": "United Kingdom" if mic else "United States", "currency": listing.currency,
    }  # fmt: skip


def _page(listing: Listing, frame: Timeframe, params: Mapping[str, str], context: Context) -> Page:
    zone = ZoneInfo(params.get("timezone", listing.timezone) if frame.is_intraday else "UTC")
    # The last date itself is not there, as the vendor's own example has it; the last minute is.
    edge = 1 if frame.is_intraday else 0
    size = int(params.get("outputsize", _MOST if "start_date" in params else _DEFAULT_SIZE))
    end = _bound(params.get("end_date"), zone, context.now_ms + DAY_MS) + edge
    # Without a start as many rows as are wanted, nights and holidays between them included.
    reach = max(size * 5 * (frame.step_ms or 31 * DAY_MS), 10 * DAY_MS)
    start = _bound(params.get("start_date"), zone, end - reach)
    usual = "none" if frame.is_intraday else "splits"
    how: Adjustment = "raw" if params.get("adjust", usual) == "none" else "split"
    rows = context.rows(listing, frame, (start, end), how)
    rows = rows[-min(size, _MOST) :]
    page = context.spoil(Page(tuple(r.stamp_ms for r in rows), tuple(rows)))
    return page if params.get("order", "desc").lower() == "asc" else newest_first(page)


def _bound(text: str | None, zone: ZoneInfo, otherwise: int) -> int:
    """Return the instant of a date or a time at ``zone``; dates of days are our stamps."""
    return to_ms(datetime.fromisoformat(text).replace(tzinfo=zone)) if text else otherwise


def _values(
    page: Page, listing: Listing, frame: Timeframe, zone: ZoneInfo
) -> list[dict[str, str | None]]:
    form = "%Y-%m-%d %H:%M:%S" if frame.is_intraday else "%Y-%m-%d"
    shown = zone if frame.is_intraday else UTC
    told = []
    for label, row in zip(page.labels, page.rows, strict=True):
        at = datetime.fromtimestamp(label / SECOND_MS, shown).strftime(form)
        prices = {name: fixed(getattr(row, name), 5) for name in ("open", "high", "low", "close")}
        volume = {} if listing.asset_class == "crypto" else {"volume": _volume(row.volume)}
        told.append({"datetime": at, **prices, **volume})
    return told


def _volume(value: float | None) -> str | None:
    return None if value is None else str(whole(value))


def _meta(listing: Listing, interval: str) -> dict[str, Any]:
    if listing.asset_class == "crypto":
        base, quote = pair_of(listing)
        return {"symbol": f"{base}/{quote}", "interval": interval, "currency_base": base,
                "currency_quote": quote, "exchange": "Binance", "type": "Digital Currency"}  # fmt: skip
    plain, dot, venue = listing.symbol.partition(".")
    at = {"mic_code": _MICS[dot + venue]} if dot else {}
    return {"symbol": plain.replace("-", "."), "interval": interval, **at,
            "currency": listing.currency, "exchange_timezone": listing.timezone,
            "exchange": _EXCHANGES.get(listing.exchange, listing.exchange),
            "type": "Common Stock"}  # fmt: skip
