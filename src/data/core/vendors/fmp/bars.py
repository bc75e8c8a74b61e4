"""Financial Modeling Prep: stocks and indices, prices adjusted for splits.

Everything in this module was observed in its responses between 2020 and 2026. Keys created since
2025-08-31 can only use the addresses under ``/stable``; older keys can also use these.
"""

from __future__ import annotations

import re
from typing import Any, Unpack

from ....errors import (
    AuthenticationError,
    DataError,
    EntitlementError,
    RateLimitedError,
    ResponseFormatError,
    TransientError,
)
from ...model.identity.instrument import Instrument
from ...model.identity.kind import Kind
from ...model.market.actions import Action
from ...model.market.bars import Bar
from ...model.request.capabilities import BarPage, Capabilities, FetchQuery, Limits
from ...model.request.http import HttpRequest, HttpResponse
from ...model.time.instant import MINUTE_MS
from ...model.time.span import Span
from ...model.time.timeframe import Timeframe
from ...net.http.status import error_of
from ...registry import VENDORS
from ..base import BaseDataDownloader, Wired
from ..dates import (
    ActionReader,
    dates_of,
    list_of,
    number,
    stamp_of,
    within,
    without_margin,
    zone_of,
)
from ..paging import check_symbol, format_errors

_MINUTES = {"1m": "1min", "5m": "5min", "15m": "15min", "30m": "30min", "1h": "1hour"}
_PRICES = ("open", "high", "low", "close")
_BAR = {"date": "text", "open|high|low|close|volume": "number"}
_BESIDE = "change?|changePercent?|vwap?|adjClose?|unadjustedVolume?|changeOverTime?"
_DAY = {**_BAR, "symbol?|label?": "text", _BESIDE: "number"}
_SPLIT = {"date|symbol?|label?|splitType?": "text", "numerator|denominator": "number"}
_DIVIDEND = {
    "date|symbol?|label?|recordDate?|paymentDate?|declarationDate?|frequency?": "text",
    "dividend|adjDividend?|yield?": "number",
}
_ROWS = {
    "stable/historical-price-eod/full": _DAY,
    "stable/historical-chart/*": _BAR,
    "stable/splits": _SPLIT,
    "stable/dividends": _DIVIDEND,
}
# The order matters, because all of these messages mention a better plan.
_ERROR_TEXTS: tuple[tuple[re.Pattern[str], type[DataError]], ...] = (
    (re.compile("limit reach", re.IGNORECASE), RateLimitedError),
    (re.compile("invalid api key", re.IGNORECASE), AuthenticationError),
    (re.compile("(premium|exclusive|special|legacy) ", re.IGNORECASE), EntitlementError),
)
_HINTS: dict[type[DataError], str] = {
    EntitlementError: "your plan does not include this range or symbol"
}


class FMPDataDownloader(BaseDataDownloader):
    """Bars, splits and dividends from Financial Modeling Prep.

    Args:
        api_key: Key that takes precedence over the environment variable.
        rate_limit_delay: Accepted for older callers but not used; the limits determine the pace.
        **wired: See :class:`BaseDataDownloader`.
    """

    name = "fmp"
    display_name = "Financial Modeling Prep"
    aliases = VENDORS["fmp"].aliases
    secrets = VENDORS["fmp"].keys
    requires_api_key = VENDORS["fmp"].needs_keys
    limits = Limits(per_minute=3000)
    default_base_url = "https://financialmodelingprep.com"
    # Rows, or rows nested as in the responses of an older address.
    shapes = (
        *((end, [row]) for end, row in _ROWS.items()),
        *((end, {"symbol": "text", "historical": [row]}) for end, row in _ROWS.items()),
    )
    raw_shape = "index"
    capabilities = Capabilities(
        asset_classes=frozenset({"stock", "index"}),
        # 4h is not served: the labels of those bars were 12:00 and 16:00 (2020), which are neither
        # opens nor closes.
        timeframes=_MINUTES | {"1d": "full"},
        # For a longer range, the vendor silently returns only the latest part. The maximum for
        # daily bars is five years.
        page_days={"1m": 2, "5m": 7, "15m": 21, "30m": 28, "1h": 28, "1d": 1800},
        kinds={
            "stock": Kind("regular", "session", "consolidated", volume="shares"),
            "index": Kind("regular", "session", ""),
        },
        adjustment="split",
        settle_ms=20 * MINUTE_MS,  # on cheaper plans prices are 15 minutes late
        actions_apart=True,
        action_requests=2,
    )

    def __init__(
        self, api_key: str | None = None, rate_limit_delay: float = 0.1, **wired: Unpack[Wired]
    ) -> None:
        if api_key:
            wired["credentials"] = {"FMP_API_KEY": api_key}
        super().__init__(**wired)

    def is_dense(self, timeframe: Timeframe) -> bool:
        """Return True for daily bars, which are complete; minutes without a trade may be absent."""
        return not timeframe.is_intraday

    def bars_request(self, query: FetchQuery, cursor: str | None) -> HttpRequest:
        """Request a range of whole dates, local to the venue; both ends are inclusive."""
        timeframe = query.timeframe
        interval = self.capabilities.timeframes[timeframe.label]
        path = "historical-chart" if timeframe.is_intraday else "historical-price-eod"
        return self._request(f"{path}/{interval}", query.instrument, **dates_of(query))

    def parse_bars(self, response: HttpResponse, query: FetchQuery) -> BarPage:
        """Parse rows, newest first, labeled with a date or with the venue's local time.

        ::

            [{"symbol": "AAPL", "date": "2024-03-01", "open": 179.55, "high": 180.53,
              "low": 177.38, "close": 179.66, "volume": 73563082, "vwap": 179.19}]
            [{"date": "2024-03-01 09:30:00", "open": 179.55, "low": 179.2, "high": 180.02,
              "close": 179.9, "volume": 3921000}]
        """
        zone, timeframe = zone_of(query.instrument), query.timeframe
        bars = []
        for row in _rows(response.json(), query.instrument):
            values = [number(row[name]) for name in _PRICES]
            values += [number(row.get("volume")), number(row.get("adjClose"))]
            bars.append(Bar(stamp_of(row["date"], timeframe, zone), *values))
        return BarPage(without_margin(bars, query))

    def classify(self, response: HttpResponse) -> DataError | None:
        """Return the error in ``Error Message``, or in plain text; its HTTP status may be 200."""
        error, text = error_of(response), response.text[:400]
        if isinstance(error, TransientError | AuthenticationError) or text[:1] in ("[", "<"):
            return error
        for words, error_type in _ERROR_TEXTS:
            if words.search(text):
                return error_type(f"{self.display_name} refused", hint=_HINTS.get(error_type))
        if error is None and "Error Message" in text:
            return ResponseFormatError(f"{self.display_name} returned text instead of data")
        return error

    def actions_of(self, instrument: Instrument, span: Span, now_ms: int) -> list[Action]:
        """Return splits and dividends with an ex-date in ``span``, using two requests."""
        answers = [self.send(self._request(p, instrument)) for p in ("splits", "dividends")]
        reader = ActionReader(instrument, self.name, now_ms)
        with format_errors(self.name, "actions"):
            splits, dividends = (_actions(answer.json(), instrument) for answer in answers)
            actions = [reader.split(r["date"], r["numerator"], r["denominator"]) for r in splits]
            actions += [
                reader.dividend(r["date"], r["dividend"], r.get("paymentDate")) for r in dividends
            ]
        return within(actions, span)

    def _request(self, path: str, instrument: Instrument, **dates: str) -> HttpRequest:
        params = {"symbol": instrument.spelling(self.name), **dates}
        secret = {"apikey": self.secret("FMP_API_KEY")}
        return HttpRequest(f"{self.base_url}/stable/{path}", params=params, secret_params=secret)


def _rows(body: Any, instrument: Instrument) -> Any:
    """Return the rows of a response, which older endpoints nest; an unknown symbol has no rows.

    Raises:
        ResponseFormatError: The rows are for another symbol.
    """
    is_wrapped = isinstance(body, dict)
    rows = list_of(body.get("historical", [] if not body else None) if is_wrapped else body)
    for named in (body, *rows) if is_wrapped else rows:
        check_symbol("fmp", instrument.spelling("fmp"), named.get("symbol"))
    return rows


def _actions(body: Any, instrument: Instrument) -> Any:
    """Return the rows of splits or dividends.

    Raises:
        TypeError: The body is an empty mapping, which does not prove that there are no splits or
            dividends.
        ResponseFormatError: The rows are for another symbol.
    """
    return _rows(body or list_of(body), instrument)


def create_fmp_downloader(api_key: str | None = None, **options: Any) -> FMPDataDownloader:
    """Return a Financial Modeling Prep downloader; for the arguments see :class:`FMPDataDownloader`."""
    return FMPDataDownloader(api_key, **options)
