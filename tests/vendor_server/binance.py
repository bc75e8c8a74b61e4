"""Binance: ``GET /api/v3/klines``, pairs and pings, its archive, and its futures' figures."""

from __future__ import annotations

import re
from typing import ClassVar

from onetape.data.core.model.time.instant import DAY_MS
from onetape.data.core.model.time.timeframe import Timeframe

from . import binance_archive, binance_futures
from .face import STATUS, Context, Face, Page, Reason, Reply, Request
from .ground_truth import Row
from .listings import Listing

_INTERVALS = ["1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h"]
_INTERVALS += ["1d", "3d", "1w", "1M"]
_SYMBOL = re.compile(r"[A-Z0-9_.-]{1,20}")
_NUMBER = re.compile(r"[0-9]{1,20}")
_DEFAULT_LIMIT, _MAX_LIMIT = 500, 1000
_WORDS: dict[str, tuple[int, str]] = {
    "unknown_symbol": (-1121, "Invalid symbol."),
    "throttled": (
        -1003,
        "Too much request weight used; current limit is 6000 request weight per 1 MINUTE. Please "
        "use WebSocket Streams for live updates to avoid polling the API.",
    ),
    "banned": (-1003, "Way too much request weight used; IP banned until {until}. Please use "
               "WebSocket Streams for live updates to avoid bans."),
    "unauthorized": (-2015, "Invalid API-key, IP, or permissions for action."),
    "restricted": (
        0,
        "Service unavailable from a restricted location according to 'b. Eligibility' in "
        "https://www.binance.com/en/terms. Please contact customer service if you believe you "
        "received this message in error.",
    ),
    "down": (-1001, "Internal error; unable to process your request. Please try again."),
}  # fmt: skip


class _BadRequest(Exception):
    """A parameter that Binance refuses."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.reply = Reply.json({"code": code, "msg": message}, 400)


class Binance(Face):
    """Strings for numbers, milliseconds, both ends inclusive on the open, running bar last.

    Attributes:
        perpetuals: names that are there as futures alone, such as shares; all move as BTCUSDT does.
    """

    name: ClassVar[str] = "binance"

    def __init__(self) -> None:
        self.perpetuals: set[str] = set()

    def spelling(self, listing: Listing) -> str | None:
        """Coins are written without a dash; a dash is another vendor's."""
        return (
            listing.symbol
            if listing.asset_class == "crypto" and "-" not in listing.symbol
            else None
        )

    def symbol_in(self, request: Request) -> str | None:
        """Return the parameter ``symbol``, the pair of a future, or that of a file."""
        if request.path.startswith(binance_archive.PREFIX):
            return request.path.removeprefix(binance_archive.PREFIX).partition("/")[0]
        return request.params.get("symbol", request.params.get("pair"))

    def weight(self, request: Request) -> int:
        """Klines cost 2, the others 1; the archive is another host."""
        if request.path.startswith(binance_archive.PREFIX):
            return 0
        return 2 if request.path.endswith("/klines") else 1

    def refusal(self, reason: Reason, now_ms: int) -> Reply:
        """Return ``{"code", "msg"}``; 403 is the firewall's page."""
        if reason == "forbidden":
            return Reply.text("<html><body><h1>403 Forbidden</h1></body></html>", 403, "text/html")
        code, message = _WORDS[reason]
        status = 400 if reason == "unknown_symbol" else STATUS[reason]
        return Reply.json({"code": code, "msg": message.format(until=now_ms + 120_000)}, status)

    def answer(self, request: Request, context: Context) -> Reply:
        """Answer klines, files, ping, time and figures of futures; everything else is 404."""
        if request.path.startswith(binance_archive.PREFIX):
            return binance_archive.answer(
                request, context, lambda name: self.find(name, context.truth), _kline
            )
        used = str(context.used_weight)
        weight = {"X-MBX-USED-WEIGHT": used, "X-MBX-USED-WEIGHT-1M": used}
        if request.path == "/api/v3/ping":
            return Reply.json({}, 200, weight)
        if request.path == "/api/v3/time":
            return Reply.json({"serverTime": context.now_ms}, 200, weight)
        figures = binance_futures.answer(
            request, context, lambda name: self.find(name, context.truth) is not None
        )
        if figures is not None:
            return figures
        if request.path == "/api/v3/exchangeInfo":
            coins = [one for one in context.truth.listings() if self.spelling(one)]
            return Reply.json({"symbols": [_pair(one) for one in coins]}, 200, weight)
        if request.path == "/fapi/v1/exchangeInfo":
            coins = [one for one in context.truth.listings() if self.spelling(one)]
            return Reply.json({"symbols": [_pair(one) | _FUTURE for one in coins]}, 200, weight)
        if request.path not in ("/api/v3/klines", "/fapi/v1/klines"):
            return Reply.text("<html><body><h2>404 Not found</h2></body></html>", 404, "text/html")
        try:
            return Reply.json(self._klines(request, context), 200, weight)
        except _BadRequest as refused:
            return refused.reply

    def _klines(self, request: Request, context: Context) -> list[list[object]]:
        symbol = _text(request, "symbol")
        if not _SYMBOL.fullmatch(symbol):
            raise _illegal("symbol", "^[A-Z0-9-_.]{1,20}$")
        interval = _text(request, "interval")
        is_future = request.path.startswith("/fapi") and symbol in self.perpetuals
        listing = self.find("BTCUSDT" if is_future else symbol, context.truth)
        if listing is None:
            raise _BadRequest(*_WORDS["unknown_symbol"])
        if interval not in _INTERVALS:
            raise _BadRequest(-1120, "Invalid interval.")
        start, end = _number(request, "startTime"), _number(request, "endTime")
        limit = _number(request, "limit")
        if limit is not None and limit < 1:
            raise _BadRequest(-1130, "Data sent for parameter 'limit' is not valid.")
        size = min(_DEFAULT_LIMIT if limit is None else limit, _MAX_LIMIT)
        rows = _select(context, listing, Timeframe.parse(interval), (start, end), size)
        page = context.spoil(Page(tuple(r.stamp_ms for r in rows), tuple(rows)))
        return [
            _kline(s, r, page.per_second) for s, r in zip(page.stamps(), page.rows, strict=True)
        ]


# What a pair has more where it is a perpetual future margined in dollars.
_FUTURE = {"contractType": "PERPETUAL", "marginAsset": "USDT", "deliveryDate": 4133404800000,
           "onboardDate": 1569398400000}  # fmt: skip


def _pair(listing: Listing) -> dict[str, object]:
    base = listing.symbol.removesuffix(listing.currency)
    return {
        "symbol": listing.symbol, "status": "TRADING", "baseAsset": base,
        "quoteAsset": listing.currency, "isSpotTradingAllowed": True, "filters": [],
    }  # fmt: skip


def _text(request: Request, name: str) -> str:
    value = request.params.get(name, "")
    if not value:
        raise _BadRequest(
            -1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed."
        )
    return value


def _number(request: Request, name: str) -> int | None:
    value = request.params.get(name)
    if value is None:
        return None
    if not _NUMBER.fullmatch(value):
        raise _illegal(name, "^[0-9]{1,20}$")
    return int(value)


def _illegal(name: str, pattern: str) -> _BadRequest:
    return _BadRequest(
        -1100, f"Illegal characters found in parameter '{name}'; legal range is '{pattern}'."
    )


def _select(
    context: Context,
    listing: Listing,
    frame: Timeframe,
    asked: tuple[int | None, int | None],
    size: int,
) -> list[Row]:
    """Return the oldest rows from a start, or without a start the newest up to the end.

    The window is walked in pieces, so that a page costs what it holds and not what was asked.
    """
    step = frame.step_ms or 31 * DAY_MS
    tape = listing.tape
    last = min(context.now_ms, tape.delisted_ms, context.now_ms if asked[1] is None else asked[1])
    first = max(asked[0] or 0, tape.listed_ms - step)
    rows: list[Row] = []
    if asked[0] is not None:
        while first <= last and len(rows) < size:
            edge = min(first + size * step, last + 1)
            rows += context.rows(listing, frame, (first, edge))
            first = edge
        return rows[:size]
    while first <= last and len(rows) < size:
        edge = max(last + 1 - size * step, first)
        rows = context.rows(listing, frame, (edge, last + 1)) + rows
        last = edge - 1
    return rows[-size:]


def _kline(stamp: int, row: Row, per_second: int) -> list[object]:
    """Return a row as Binance writes it; a spoilt value stays null."""
    volume, price = row.volume or 0.0, row.close or 0.0
    close_time = row.closes_ms * per_second // 1000 - 1
    trades = int(volume * 7) % 90_000 + (1 if volume else 0)
    return [
        stamp, *(_decimal(x) for x in row[1:6]), close_time, _decimal(volume * price), trades,
        _decimal(volume * 0.5), _decimal(volume * 0.5 * price), "0",
    ]  # fmt: skip


def _decimal(value: float | None) -> str | None:
    return None if value is None else f"{value:.8f}"
