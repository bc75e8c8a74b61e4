"""Binance's perpetual futures: rates and statistics, all of them made up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from onetape.data.core.model.time.instant import DAY_MS, HOUR_MS, MINUTE_MS, parse_iso
from onetape.data.core.model.time.timeframe import Timeframe

from .face import Context, Reply, Request

LISTED_MS = parse_iso("2019-09-10T08:00:00")
FUNDING_MS = 8 * HOUR_MS
# So long after its stamp a row of the statistics is there.
LATE_MS = 3 * MINUTE_MS
_PERIODS = ("5m", "15m", "30m", "1h", "2h", "4h", "6h", "12h", "1d")
_INVALID_SYMBOL = Reply.json({"code": -1121, "msg": "Invalid symbol."}, 400)


def funding_rate(stamp_ms: int) -> float:
    """Return the rate of a funding time, with eight decimals."""
    return ((stamp_ms // FUNDING_MS * 37) % 401 - 200) / 1e6


def statistic(name: str, stamp_ms: int) -> float:
    """Return the value of a column of the statistics, with four decimals."""
    return round(1 + (stamp_ms // MINUTE_MS * 7 + len(name)) % 9973 / 10_000, 4)


def answer(request: Request, context: Context, knows: Callable[[str], bool]) -> Reply | None:
    """Answer rates and statistics; None where the path is of neither."""
    if request.path in ("/fapi/v1/fundingRate", "/dapi/v1/fundingRate"):
        return _rates(request, context, knows)
    if request.path == "/futures/data/openInterestHist":
        return _statistics(request, context, knows, ("sumOpenInterest", "sumOpenInterestValue"))
    if request.path == "/futures/data/globalLongShortAccountRatio":
        columns = ("longShortRatio", "longAccount", "shortAccount")
        return _statistics(request, context, knows, columns)
    return None


def _rates(request: Request, context: Context, knows: Callable[[str], bool]) -> Reply:
    symbol = request.params.get("symbol", "")
    if request.path.startswith("/dapi") != symbol.endswith("_PERP") or not knows(_linear(symbol)):
        return _INVALID_SYMBOL
    start, end, limit = _bounds(request, context, 1000)
    first = -(-max(start - 2, LISTED_MS) // FUNDING_MS) * FUNDING_MS
    rows = [(stamp, stamp + stamp // FUNDING_MS % 3) for stamp in range(first, end + 1, FUNDING_MS)]
    told = [
        {"symbol": symbol, "fundingTime": at, "fundingRate": f"{funding_rate(stamp):.8f}"}
        for stamp, at in rows if start <= at <= end
    ]  # fmt: skip
    # Those settled in the coin give the newest rows of a range, as their klines do.
    return Reply.json(told[-limit:] if request.path.startswith("/dapi") else told[:limit])


def _statistics(
    request: Request, context: Context, knows: Callable[[str], bool], columns: tuple[str, ...]
) -> Reply:
    name = "pair" if "pair" in request.params else "symbol"
    who, period = request.params.get(name, ""), request.params.get("period", "")
    if not knows(_linear(who)) or (name == "pair") != who.endswith("USD"):
        return _INVALID_SYMBOL
    if period not in _PERIODS:
        return Reply.json({"code": -1120, "msg": "Invalid interval."}, 400)
    start, end, limit = _bounds(request, context, 500)
    if start < context.now_ms - 30 * DAY_MS:
        return Reply.json({"code": -1130, "msg": "parameter 'startTime' is invalid."}, 400)
    step = Timeframe.parse(period).step_ms or DAY_MS
    stamps = range(-(-start // step) * step, min(end, context.now_ms - LATE_MS) + 1, step)
    told: list[dict[str, Any]] = [
        {name: who, "timestamp": stamp} | {c: f"{statistic(c, stamp):.4f}" for c in columns}
        for stamp in stamps
    ]
    return Reply.json(told[-limit:])


def _bounds(request: Request, context: Context, most: int) -> tuple[int, int, int]:
    start = int(request.params.get("startTime", 0))
    end = min(int(request.params.get("endTime", context.now_ms)), context.now_ms)
    return start, end, min(int(request.params.get("limit", 30)), most)


def _linear(symbol: str) -> str:
    """Return the pair in Tether of a contract."""
    name = symbol.removesuffix("_PERP")
    return f"{name}T" if name.endswith("USD") else name
