"""Binance: every spot bar of every pair since its listing, free and without a key."""

from __future__ import annotations

import re
from typing import Unpack

from ...errors import (
    AuthenticationError,
    CapabilityError,
    DataError,
    RateLimitedError,
    ResponseFormatError,
    SymbolNotFoundError,
    UnavailableError,
)
from ...model.bars import Bar
from ...model.capabilities import BarPage, Capabilities, FetchQuery, Limits
from ...model.http import HttpRequest, HttpResponse
from ...model.instant import MINUTE_MS
from ...model.kind import Kind
from ...net.status import error_of, retry_after_s
from ..credentials import Wired
from ..dates import label, number
from ..registry import VENDORS
from .archive import BinanceArchive, milliseconds
from .derivatives import BinanceDerivatives

_PAGE = 1000
_COLUMNS = 12
_SAME = "1m 3m 5m 15m 30m 1h 2h 4h 6h 8h 12h 1d 3d 1w 1M"
# 2025: "way too much" weight is answered with 429, then 418; -1003 stands in the body of both.
_BY_CODE: dict[int, type[DataError]] = {
    -1000: UnavailableError,
    -1001: UnavailableError,
    -1006: UnavailableError,
    -1007: UnavailableError,
    -1008: UnavailableError,
    -1016: UnavailableError,
    -1120: CapabilityError,
    -1121: SymbolNotFoundError,
    -2014: AuthenticationError,
    -2015: AuthenticationError,
}
_BANNED_UNTIL = re.compile(r"banned until (\d{13})\b")


class BinanceDataDownloader(BinanceArchive, BinanceDerivatives):
    """Bars of Binance's spot market, and figures of its perpetual futures.

    Args:
        api_key, api_secret: accepted for older callers; public market data needs no key, and
            none is sent.
        **wired: see :class:`BaseDataDownloader`.
    """

    name = "binance"
    display_name = "Binance"
    aliases = VENDORS["binance"].aliases
    # Weight a minute. The vendor grants 6000 to an address (2023-08); we are guests there.
    limits = Limits(per_minute=1200)
    default_base_url = "https://data-api.binance.vision"
    sdk_carrier = f"{__package__}.carrier:BinanceCarrier"
    capabilities = Capabilities(
        asset_classes=frozenset({"crypto"}),
        timeframes={label: label for label in _SAME.split()},
        page_bars=_PAGE,
        kinds={"crypto": Kind(session="24h", anchor="clock", venue="binance", volume="base")},
        adjustment="raw",
        settle_ms=2 * MINUTE_MS,
        dense=True,
        has_forming=True,
        # Months are put there in the first days of the next one.
        archive_days=10,
    )

    def __init__(
        self, api_key: str | None = None, api_secret: str | None = None, **wired: Unpack[Wired]
    ) -> None:
        super().__init__(**wired)

    def bars_request(self, query: FetchQuery, cursor: str | None) -> HttpRequest:
        """Ask for the oldest page of the span; both its ends filter the open and are inclusive.

        Both are always sent: with one of them alone, or with seconds in place of milliseconds,
        the vendor answers other rows than meant and says nothing (2020-10).
        """
        return HttpRequest(
            f"{self.base_url}/api/v3/klines",
            params={
                "symbol": query.instrument.spelling(self.name).upper(),
                "interval": self.capabilities.timeframes[query.timeframe.label],
                # It refuses times before 1970, where it has nothing anyway.
                "startTime": max(0, query.span.start),
                "endTime": max(0, query.span.end - 1),
                "limit": _PAGE,
            },
            cost=2,
        )

    def parse_bars(self, response: HttpResponse, query: FetchQuery) -> BarPage:
        """Read ``[open ms, open, high, low, close, volume, close ms, ...]`` rows; all are texts."""
        rows = response.json()
        if not isinstance(rows, list):
            raise ResponseFormatError(f"klines are a {type(rows).__name__}, not a list")
        if odd := next((r for r in rows if len(r) != _COLUMNS), None):
            raise ResponseFormatError(f"klines have {len(odd)} columns, not {_COLUMNS}")
        bars = [Bar(milliseconds(label(r[0])), *map(number, r[1:6])) for r in rows]
        following = bars[-1].stamp_ms + (query.timeframe.step_ms or 1) if bars else 0
        return BarPage(bars, next_ms=following if len(bars) >= _PAGE else None)

    def classify(self, response: HttpResponse) -> DataError | None:
        """Read ``{"code", "msg"}``; a ban says until when, in the header or in the text."""
        error = error_of(response)
        if error is None:
            return None
        code = _code(response)
        limited = isinstance(error, RateLimitedError) or code == -1003
        if limited or response.status == 403:  # 403: the firewall, after too much
            said = f"{self.display_name} counts too many requests"
            until = _BANNED_UNTIL.search(response.text)
            return RateLimitedError(
                said, retry_after_s(response), until_ms=int(until[1]) if until else None
            )
        if kind := _BY_CODE.get(code):
            return kind(f"{self.display_name} answered code {code}")
        return error


def _code(response: HttpResponse) -> int:
    """Return the vendor's error code, 0 where there is none."""
    try:
        body = response.json()
    except ResponseFormatError:  # the firewall answers HTML
        return 0
    code = body.get("code") if isinstance(body, dict) else None
    return code if isinstance(code, int) else 0
