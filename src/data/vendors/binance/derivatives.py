"""Binance's perpetual futures: funding rates, open interest, long against short accounts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Unpack

from ...errors import CapabilityError, ResponseFormatError, SymbolNotFoundError
from ...model.capabilities import Derivative
from ...model.figures import (
    FUNDING,
    LONG_SHORT,
    OPEN_INTEREST,
    Figure,
    FigureQuery,
    Served,
)
from ...model.http import HttpRequest, HttpResponse
from ...model.instant import MINUTE_MS, SECOND_MS
from ...model.instrument import Instrument
from ..credentials import Wired
from ..figures import FiguresDownloader
from .archive import is_own

_PERIODS = ("5m", "15m", "30m", "1h", "2h", "4h", "6h", "12h", "1d")
_LATE_MS = 10 * MINUTE_MS
_STATISTICS = Served(page_rows=500, periods=_PERIODS, depth_days=30, settle_ms=_LATE_MS)
_PATHS = {
    OPEN_INTEREST.name: "futures/data/openInterestHist",
    LONG_SHORT.name: "futures/data/globalLongShortAccountRatio",
}
_LINEAR, _INVERSE = "https://fapi.binance.com", "https://dapi.binance.com"
# Out of our 1200 units a minute 100 requests for rates and 200 for statistics, as the vendor
# grants an address (2024-03: 500 and 1000 in five minutes).
_FUNDING_COST, _STATISTICS_COST = 12, 6
_DATED = re.compile(r"_\d{6}$")


class BinanceDerivatives(FiguresDownloader):
    """Figures of Binance's perpetual futures: settled in dollars (``BTCUSDT``) or in the coin.

    The latter are written ``BTCUSD_PERP``; a pair quoted in ``USD`` means them.
    """

    def __init__(self, **wired: Unpack[Wired]) -> None:
        super().__init__(**wired)
        # Those that it was found to have; one that ends is no loss here.
        self._perpetuals: set[str] = set()

    figures: Mapping[str, Served] = {
        FUNDING.name: Served(page_rows=1000, settle_ms=_LATE_MS),
        OPEN_INTEREST.name: _STATISTICS,
        LONG_SHORT.name: _STATISTICS,
    }

    def derivative(self, who: Instrument, now_ms: int) -> Derivative:
        """Return whether ``who`` is there as a perpetual future, and how to ask for that.

        Raises:
            DataError: the vendor refused or failed.
        """
        name = perpetual(who)
        if _DATED.search(name):
            return Derivative()
        is_inverse = name.endswith("USD_PERP")
        host = self._host(is_inverse=is_inverse)
        requests = 0
        if name not in self._perpetuals:
            path = f"{'dapi' if is_inverse else 'fapi'}/v1/klines"
            params: dict[str, str | int] = {"symbol": name, "interval": "1d", "limit": 1}
            try:
                with self.visiting(path, name):
                    requests = self.send(HttpRequest(f"{host}/{path}", params)).requests
            except SymbolNotFoundError:
                return Derivative("", requests)
            self._perpetuals.add(name)
        vendor = "ccxt:binancecoinm" if is_inverse else "ccxt:binanceusdm"
        live = "" if is_inverse else f"get_live_feed({who.symbol!r}, ..., market='futures'), "
        return Derivative(
            f"{self.display_name} has {name} as a perpetual future alone: {live}"
            f"get_funding_rate({who.symbol!r}) and get_ohlcv({who.symbol!r}, ..., "
            f"provider={vendor!r}), with the extra ccxt, ask for it",
            requests,
        )

    def figures_request(self, query: FigureQuery) -> HttpRequest:
        """Ask for a page; both ends are inclusive, and both are always sent.

        Raises:
            CapabilityError: the future has an end.
        """
        contract = _contract(query)
        is_inverse, is_funding = contract.endswith("USD_PERP"), query.measure is FUNDING
        params: dict[str, str | int] = {
            "startTime": max(0, query.span.start),
            "endTime": max(0, query.span.end - 1),
            "limit": self.figures[query.measure.name].page_rows,
        }
        if is_funding or not is_inverse:
            params["symbol"] = contract
        else:
            params["pair"] = contract.removesuffix("_PERP")
        if is_inverse and query.measure is OPEN_INTEREST:
            params["contractType"] = "PERPETUAL"
        if is_funding:
            # A rate may come some milliseconds after the full hour that it is for.
            params["endTime"] = max(0, query.span.end - 1) + SECOND_MS - 1
            path = f"{'dapi' if is_inverse else 'fapi'}/v1/fundingRate"
        else:
            params["period"], path = query.period.label, _PATHS[query.measure.name]
        return HttpRequest(
            f"{self._host(is_inverse=is_inverse)}/{path}",
            params=params,
            cost=_FUNDING_COST if is_funding else _STATISTICS_COST,
        )

    def parse_figures(self, response: HttpResponse, query: FigureQuery) -> list[Figure]:
        """Read rows of texts with a stamp each; rates are stamped with their full second."""
        rows = response.json()
        if not isinstance(rows, list):
            raise ResponseFormatError(f"{query.measure} are a {type(rows).__name__}, not a list")
        contract = _contract(query)
        names = {contract, contract.removesuffix("_PERP")}
        found = []
        for row in rows:
            if row.get("symbol", row.get("pair")) not in names:
                raise ResponseFormatError(f"{query.measure} of another future than {contract}")
            stamp = int(row["fundingTime" if query.measure is FUNDING else "timestamp"])
            values = tuple(float(row[column]) for column in query.measure.columns)
            found.append(Figure(stamp - stamp % SECOND_MS, values))
        return found

    def _host(self, *, is_inverse: bool) -> str:
        if is_own(self.base_url):
            return _INVERSE if is_inverse else _LINEAR
        return self.base_url


def perpetual(who: Instrument) -> str:
    """Return the vendor's name of a perpetual future; that of a dated one is left as it is."""
    name = who.spelling("binance").upper()
    return f"{name}_PERP" if who.quote == "USD" and "_" not in name else name


def _contract(query: FigureQuery) -> str:
    """Return the vendor's name of a perpetual future.

    Raises:
        CapabilityError: it has an end.
    """
    name = perpetual(query.instrument)
    if _DATED.search(name):
        raise CapabilityError(f"{query.measure} are served of perpetual futures, not of {name}")
    return name
