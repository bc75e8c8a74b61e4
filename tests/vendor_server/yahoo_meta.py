"""The ``meta`` block of Yahoo's chart."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from onetape.data.core.model.time.instant import DAY_MS, MINUTE_MS, SECOND_MS, to_ms
from onetape.data.core.model.time.timeframe import Timeframe

from .face import Context
from .listings import Listing
from .sessions import ALWAYS, sessions_of

_VALID_RANGES = ["1d", "5d", "1mo", "3mo", "6mo", "1y", "2y", "5y", "10y", "ytd", "max"]
_PRE_MS, _POST_MS = 330 * MINUTE_MS, 240 * MINUTE_MS
_DAY = Timeframe(1, "d")


def session_of(listing: Listing, now_ms: int) -> tuple[int, int, int, int]:
    """Return (local midnight, open, close, next local midnight) of the running or last session.

    The midnights are instants: those of the venue's day on which the session is dated.
    """
    local = datetime.fromtimestamp(now_ms / SECOND_MS, ZoneInfo(listing.timezone))
    today = int(to_ms(datetime(local.year, local.month, local.day)))
    date_ms, opened, closed = sessions_of(listing.calendar).last_dated(today)
    naive = datetime.fromtimestamp(date_ms / SECOND_MS, UTC).replace(tzinfo=None)
    zone = ZoneInfo(listing.timezone)
    midnights = [to_ms((naive + timedelta(days=d)).replace(tzinfo=zone)) for d in (0, 1)]
    return midnights[0], opened, closed, midnights[1]


_NAMES = {"NMS": "NasdaqGS", "NYQ": "NYSE"}
_TYPES = {"crypto": "CRYPTOCURRENCY", "forex": "CURRENCY", "future": "FUTURE"}


def meta_of(listing: Listing, context: Context, interval: str, asked_range: str) -> dict[str, Any]:
    """Return what Yahoo says about the instrument beside its bars."""
    _, opened, closed, _ = session_of(listing, context.now_ms)
    zone = datetime.fromtimestamp(context.now_ms / SECOND_MS, ZoneInfo(listing.timezone))
    offset = int((zone.utcoffset() or timedelta()).total_seconds())
    known = {"timezone": zone.tzname() or "UTC", "gmtoffset": offset}
    coin = listing.calendar == ALWAYS
    meta: dict[str, Any] = {
        "currency": listing.currency,
        "symbol": listing.spellings.get("yahoo", listing.symbol),
        "exchangeName": listing.exchange,
        "fullExchangeName": _NAMES.get(listing.exchange, listing.exchange),
        "instrumentType": _TYPES.get(listing.asset_class, "EQUITY"),
        "firstTradeDate": listing.tape.listed_ms // SECOND_MS,
        "hasPrePostMarketData": not coin,
        **known,
        "exchangeTimezoneName": listing.timezone,
        **_prices(listing, context),
        "longName": listing.name,
        "shortName": listing.name,
        "priceHint": 2,
        "currentTradingPeriod": _periods(opened, closed, known, coin),
        "dataGranularity": interval,
        "range": asked_range,
        "validRanges": _VALID_RANGES,
    }
    return meta


def _periods(opened: int, closed: int, known: dict[str, Any], coin: bool) -> dict[str, Any]:
    """Return the pre-market, regular and post-market times of the running or last session."""
    pre, post = (0, 0) if coin else (_PRE_MS, _POST_MS)
    spans = {
        "pre": (opened - pre, opened),
        "regular": (opened, closed - MINUTE_MS if coin else closed),
        "post": (closed, closed + post),
    }
    return {
        name: {"timezone": known["timezone"], "start": a // SECOND_MS, "end": b // SECOND_MS,
               "gmtoffset": known["gmtoffset"]}
        for name, (a, b) in spans.items()
    }  # fmt: skip


def _prices(listing: Listing, context: Context) -> dict[str, Any]:
    """Return last price, the day's and the year's extremes; nothing where nothing ever traded."""
    day = context.rows(
        listing, _DAY, (context.now_ms - 10 * DAY_MS, context.now_ms + DAY_MS), "split"
    )
    year = context.rows(
        listing, _DAY, (context.now_ms - 365 * DAY_MS, context.now_ms + DAY_MS), "split"
    )
    if not day:
        return {"regularMarketTime": None, "regularMarketPrice": None, "chartPreviousClose": None}
    last = day[-1]
    return {
        "regularMarketTime": min(context.now_ms, last.closes_ms) // SECOND_MS,
        "regularMarketPrice": last.close,
        "fiftyTwoWeekHigh": max(r.high or 0.0 for r in year),
        "fiftyTwoWeekLow": min(r.low or 0.0 for r in year),
        "regularMarketDayHigh": last.high,
        "regularMarketDayLow": last.low,
        "regularMarketVolume": round(last.volume or 0.0),
        "chartPreviousClose": day[-2].close if len(day) > 1 else last.open,
    }


def trading_periods(listing: Listing, span: tuple[int, int]) -> list[list[dict[str, Any]]]:
    """Return the regular sessions of an intraday answer, one list a day."""
    zone = ZoneInfo(listing.timezone)
    found = []
    held = sessions_of(listing.calendar).between(*span)
    for opened, closed in zip(held.opens.tolist(), held.closes.tolist(), strict=True):
        local = datetime.fromtimestamp(opened / SECOND_MS, zone)
        offset = int((local.utcoffset() or timedelta()).total_seconds())
        found.append([{"timezone": local.tzname() or "UTC", "start": opened // SECOND_MS,
                       "end": closed // SECOND_MS, "gmtoffset": offset}])  # fmt: skip
    return found
