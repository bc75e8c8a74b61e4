"""Binance: all spot bars of all pairs since their listing, free and without a key.

It also serves whole months from a public archive (one zip file per month and pair, with its
checksum), and figures of perpetual futures: funding rates, open interest, and the ratio of long to
short accounts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Unpack

from ....errors import (
    AuthenticationError,
    CapabilityError,
    DataError,
    RateLimitedError,
    ResponseFormatError,
    SymbolNotFoundError,
    UnavailableError,
)
from ...model.identity.instrument import Instrument
from ...model.identity.kind import Kind
from ...model.market.bars import Bar, BarTable
from ...model.market.figures import (
    FUNDING,
    LONG_SHORT,
    OPEN_INTEREST,
    Figure,
    FigureQuery,
    ServedMeasure,
)
from ...model.request.capabilities import BarPage, Capabilities, Derivative, FetchQuery, Limits
from ...model.request.http import HttpRequest, HttpResponse
from ...model.time.instant import MINUTE_MS, SECOND_MS, date_of
from ...net.http.status import error_of, retry_after_s
from ...registry import VENDORS
from ..dates import label, number
from ..figures import FiguresDownloader
from ..paging import format_errors
from ..session import Wired

# Largest number of bars in one response.
PAGE_BARS = 1000
_COLUMNS = 12
_SAME = "1m 3m 5m 15m 30m 1h 2h 4h 6h 8h 12h 1d 3d 1w 1M"
# 2025: "way too much" weight results in 429, then 418; the body of both contains -1003.
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
_SPOT = re.compile(r"https://(data-api\.binance\.vision|api\d?(-gcp)?\.binance\.com)")
# Milliseconds have 13 digits until the year 2286; timestamps in the archive have had 16 digits
# since 2025-01-01.
_MICROSECONDS = 10**14
_ARCHIVE = "https://data.binance.vision"
# The archive is on a content delivery network, for which the vendor publishes no limit.
_ARCHIVE_LIMITS = Limits(per_minute=300)
_PERIODS = ("5m", "15m", "30m", "1h", "2h", "4h", "6h", "12h", "1d")
_LATE_MS = 10 * MINUTE_MS
_STATISTICS = ServedMeasure(page_rows=500, periods=_PERIODS, depth_days=30, settle_ms=_LATE_MS)
_PATHS = {
    OPEN_INTEREST.name: "futures/data/openInterestHist",
    LONG_SHORT.name: "futures/data/globalLongShortAccountRatio",
}
_LINEAR, _INVERSE = "https://fapi.binance.com", "https://dapi.binance.com"
# Costs that turn the 1200 units a minute into 100 requests for rates and 200 for statistics, the
# vendor's limits per address (2024-03: 500 and 1000 in five minutes).
_FUNDING_COST, _STATISTICS_COST = 12, 6
_DATED = re.compile(r"_\d{6}$")


class BinanceDataDownloader(FiguresDownloader):
    """Bars from Binance's spot market, and figures for its perpetual futures.

    Whole months of bars come from the public archive if that takes fewer requests; its files
    contain exactly the bars that the API returns. With another ``base_url``, the files are expected
    on that host. Perpetual futures are settled in dollars (``BTCUSDT``) or in the coin
    (``BTCUSD_PERP``); a pair quoted in ``USD`` means a future settled in the coin.

    Args:
        api_key, api_secret: Accepted for older callers but not used, because public market data
            needs no key.
        **wired: See :class:`.BaseDataDownloader`.
    """

    name = "binance"
    display_name = "Binance"
    aliases = VENDORS["binance"].aliases
    # Weight per minute. The vendor allows 6000 per address (2023-08); this library uses only part
    # of it.
    limits = Limits(per_minute=1200)
    default_base_url = "https://data-api.binance.vision"
    # Open time, five values, close time, quote volume, trades, two taker-buy volumes, and one
    # unused.
    shapes = (
        (
            "api/v3/klines",
            [("number", *["text"] * 5, "number", "text", "number", "text", "text", "text")],
        ),
    )
    sdk_carrier = f"{__package__}.carrier:BinanceCarrier"
    capabilities = Capabilities(
        asset_classes=frozenset({"crypto"}),
        timeframes={label: label for label in _SAME.split()},
        page_bars=PAGE_BARS,
        kinds={"crypto": Kind(session="24h", anchor="clock", venue="binance", volume="base")},
        adjustment="raw",
        settle_ms=2 * MINUTE_MS,
        dense=True,
        has_forming=True,
        # A month is archived in the first days of the next one.
        archive_days=10,
    )

    figures: Mapping[str, ServedMeasure] = {
        FUNDING.name: ServedMeasure(page_rows=1000, settle_ms=_LATE_MS),
        OPEN_INTEREST.name: _STATISTICS,
        LONG_SHORT.name: _STATISTICS,
    }

    def __init__(
        self, api_key: str | None = None, api_secret: str | None = None, **wired: Unpack[Wired]
    ) -> None:
        super().__init__(**wired)
        # Perpetual futures confirmed by a response. It does not matter if one has been delisted
        # meanwhile.
        self._perpetuals: set[str] = set()

    def bars_request(self, query: FetchQuery, cursor: str | None) -> HttpRequest:
        """Request the oldest page of the span; both bounds are opening times and inclusive.

        Both bounds are always sent, in milliseconds: with only one of them, or in seconds, the
        vendor silently returns different rows (2020-10).
        """
        return HttpRequest(
            f"{self.base_url}/api/v3/klines",
            params={
                "symbol": query.instrument.spelling(self.name).upper(),
                "interval": self.capabilities.timeframes[query.timeframe.label],
                # The vendor rejects times before 1970, for which it has no data in any case.
                "startTime": max(0, query.span.start),
                "endTime": max(0, query.span.end - 1),
                "limit": PAGE_BARS,
            },
            cost=2,
        )

    def parse_bars(self, response: HttpResponse, query: FetchQuery) -> BarPage:
        """Parse rows of 12 values, oldest first; prices and volumes are strings.

        ::

            [[1709251200000, "61130.99", "61322.00", "61050.01", "61241.90", "1034.85",
              1709254799999, "63320341.2", 47123, "521.4", "31904213.8", "0"]]
        """
        rows = response.json()
        if not isinstance(rows, list):
            raise ResponseFormatError(f"klines are of type {type(rows).__name__}, not a list")
        if odd := next((r for r in rows if len(r) != _COLUMNS), None):
            raise ResponseFormatError(f"klines have {len(odd)} columns, not {_COLUMNS}")
        bars = [Bar(milliseconds(label(r[0])), *map(number, r[1:6])) for r in rows]
        following = bars[-1].stamp_ms + (query.timeframe.step_ms or 1) if bars else 0
        return BarPage(bars, next_ms=following if len(bars) >= PAGE_BARS else None)

    def classify(self, response: HttpResponse) -> DataError | None:
        """Return the error in ``{"code", "msg"}``; the end of a ban is in a header or in the text."""
        error = error_of(response)
        if error is None:
            return None
        code = _code(response)
        limited = isinstance(error, RateLimitedError) or code == -1003
        if limited or response.status == 403:  # 403: the firewall, after too many requests
            message = f"{self.display_name} reports too many requests"
            until = _BANNED_UNTIL.search(response.text)
            return RateLimitedError(
                message, retry_after_s(response), until_ms=int(until[1]) if until else None
            )
        if kind := _BY_CODE.get(code):
            return kind(f"{self.display_name} returned code {code}")
        return error

    # --- whole months from the archive ------------------------------------------------------

    def month_url(self, query: FetchQuery) -> str:
        """Return the address of the archive file for the month in which ``query`` begins."""
        symbol, label = query.instrument.spelling(self.name).upper(), query.timeframe.label
        host = _ARCHIVE if is_own(self.base_url) else self.base_url
        month = f"{date_of(query.span.start):%Y-%m}"
        return f"{host}/data/spot/monthly/klines/{symbol}/{label}/{symbol}-{label}-{month}.zip"

    def read_month(self, lines: Iterable[str], query: FetchQuery) -> BarTable:
        """Parse CSV rows with the same values as the API's; newer files begin with a header.

        Timestamps are in milliseconds in files up to 2024, and in microseconds in later ones.
        """
        with format_errors(self.name, "bars"):
            rows = (line.split(",") for line in lines if line and not line.startswith("open_time"))
            bars = [Bar(milliseconds(int(r[0])), *map(number, r[1:6])) for r in rows]
            return BarTable.from_bars(bars)

    def send_aside(self, requests: Iterable[HttpRequest]) -> list[HttpResponse]:
        """Send requests to the archive, which has its own limits and its own circuit breaker.

        Raises:
            DataError: A request failed; later requests were not sent.
        """
        files = list(requests)
        sender = self.session.sender
        assert sender is not None, "a downloader without a sender cannot fetch bars"
        archive_sender = sender.for_host("archive", _ARCHIVE_LIMITS)
        with archive_sender.guard("months", files[0].url):
            return [archive_sender.send(request, vendor=self.name) for request in files]

    # --- perpetual futures ------------------------------------------------------------------

    def derivative(self, instrument: Instrument, now_ms: int) -> Derivative:
        """Return a hint on how to request ``instrument`` as a perpetual future; empty if none is listed.

        Raises:
            DataError: The vendor refused or failed.
        """
        name = perpetual(instrument)
        if _DATED.search(name):
            return Derivative()
        is_inverse = name.endswith("USD_PERP")
        host = self._host(is_inverse=is_inverse)
        requests = 0
        if name not in self._perpetuals:
            path = f"{'dapi' if is_inverse else 'fapi'}/v1/klines"
            params: dict[str, str | int] = {"symbol": name, "interval": "1d", "limit": 1}
            try:
                with self.guarded_call(path, name):
                    requests = self.send(HttpRequest(f"{host}/{path}", params)).requests
            except SymbolNotFoundError:
                return Derivative("", requests)
            self._perpetuals.add(name)
        vendor = "ccxt:binancecoinm" if is_inverse else "ccxt:binanceusdm"
        live = (
            "" if is_inverse else f"get_live_feed({instrument.symbol!r}, ..., market='futures'), "
        )
        return Derivative(
            f"{self.display_name} has {name} only as a perpetual future; use "
            f"{live}get_funding_rate({instrument.symbol!r}) or, with the `ccxt` extra, "
            f"get_ohlcv({instrument.symbol!r}, ..., provider={vendor!r})",
            requests,
        )

    def figures_request(self, query: FigureQuery) -> HttpRequest:
        """Request a page of figures; both bounds are inclusive, and both are always sent.

        Raises:
            CapabilityError: The future has an expiry date.
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
            # The timestamp of a rate may be some milliseconds after the hour that it belongs to.
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
        """Parse rows of strings; the timestamp of each row is rounded down to the full second."""
        rows = response.json()
        if not isinstance(rows, list):
            raise ResponseFormatError(
                f"{query.measure} are of type {type(rows).__name__}, not a list"
            )
        contract = _contract(query)
        names = {contract, contract.removesuffix("_PERP")}
        figures = []
        for row in rows:
            if row.get("symbol", row.get("pair")) not in names:
                raise ResponseFormatError(f"{query.measure} are for a future other than {contract}")
            stamp = int(row["fundingTime" if query.measure is FUNDING else "timestamp"])
            values = tuple(float(row[column]) for column in query.measure.columns)
            figures.append(Figure(stamp - stamp % SECOND_MS, values))
        return figures

    def _host(self, *, is_inverse: bool) -> str:
        if is_own(self.base_url):
            return _INVERSE if is_inverse else _LINEAR
        return self.base_url


def _code(response: HttpResponse) -> int:
    """Return the vendor's error code, or 0 if the response is not an error."""
    try:
        body = response.json()
    except ResponseFormatError:  # the firewall answers HTML
        return 0
    code = body.get("code") if isinstance(body, dict) else None
    return code if isinstance(code, int) else 0


def is_own(base_url: str) -> bool:
    """Return whether an address is on the vendor's own spot API; other hosts should serve everything."""
    return _SPOT.fullmatch(base_url) is not None


def milliseconds(stamp: int) -> int:
    """Convert a timestamp from the vendor, in milliseconds or microseconds, to milliseconds."""
    return stamp // 1000 if stamp >= _MICROSECONDS else stamp


def perpetual(instrument: Instrument) -> str:
    """Return the vendor's name for a perpetual future; the name of a future that expires is unchanged."""
    name = instrument.spelling("binance").upper()
    return f"{name}_PERP" if instrument.quote == "USD" and "_" not in name else name


def _contract(query: FigureQuery) -> str:
    """Return the vendor's name for the perpetual future in ``query``.

    Raises:
        CapabilityError: The future has an expiry date.
    """
    name = perpetual(query.instrument)
    if _DATED.search(name):
        raise CapabilityError(f"{query.measure} exist only for perpetual futures, not for {name}")
    return name
