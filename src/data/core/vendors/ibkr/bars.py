"""Interactive Brokers: bars through a TWS or gateway that the user runs and has logged in to."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any, NamedTuple, Unpack
from zoneinfo import ZoneInfo

from ....errors import (
    CapabilityError,
    DataError,
    EntitlementError,
    NoDataError,
    RateLimitedError,
    SymbolNotFoundError,
    UnavailableError,
)
from ...calendars.localtime import local_date
from ...config.gateway import ibkr_gateway
from ...model.identity.instrument import Instrument
from ...model.identity.kind import Kind
from ...model.market.bars import NAN, Bar
from ...model.request.capabilities import BarPage, Capabilities, Fetched, FetchQuery, Limits
from ...model.request.http import HttpRequest, HttpResponse
from ...model.time.instant import DAY_MS, HOUR_MS, day_ms, from_ms
from ...model.time.span import Span
from ...model.time.timeframe import Timeframe
from ...net.http.status import error_of
from ..base import BaseDataDownloader, Wired
from ..us_equities import NEW_YORK, share
from .carrier import CODE_HEADER, GatewayClient, IbkrCarrier

# Maps this library's suffixes to primary exchanges. London is left out because the vendor does not
# state whether its prices are in pence.
_EXCHANGES = {
    ".DE": "IBIS",
    ".PA": "SBF",
    ".AS": "AEB",
    ".MI": "BVME",
    ".MC": "BM",
    ".SW": "EBS",
    ".ST": "SFB",
    ".TO": "TSE",
    ".T": "TSEJ",
    ".HK": "SEHK",
    ".AX": "ASX",
}
# Longer durations are given in years.
_MOST_DAYS = 365
_PACING_S = 600.0
_NOT_SUBSCRIBED = (354, 10089, 10090, 10168, 10186, 10187, 10197)
_CODES: dict[int, type[DataError]] = {
    200: SymbolNotFoundError,
    321: CapabilityError,
    366: UnavailableError,  # the request was lost, usually with its connection
    **dict.fromkeys(_NOT_SUBSCRIBED, EntitlementError),
    **dict.fromkeys((502, 504, 1100, 1101, 1300, 2103, 2105, 2110), UnavailableError),
}
# Errors of the historical data service, all with the same number, by a part of their text.
_HISTORY = 162
_HISTORY_SAYS: dict[str, type[DataError]] = {
    "pacing violation": RateLimitedError,
    "returned no data": NoDataError,
    "no market data permissions": EntitlementError,
    "not subscribed": EntitlementError,
    "different ip address": EntitlementError,  # the same user is logged in elsewhere
    "query cancelled": UnavailableError,
}


class IBKRDataDownloader(BaseDataDownloader):
    """Split-adjusted regular-hours trade bars for stocks, and midpoint bars for currencies.

    One-hour and four-hour bars of stocks are not requested, because this vendor's bars start on the
    hour, except for the first one of a day. These bars are built from shorter ones instead, just as
    weekly and monthly bars are built from daily ones.

    Args:
        ib_instance: Existing ``ib_async.IB`` object; by default, one is created on the first
            request.
        host, port, client_id: Address of the gateway, and the client ID; by default the values of
            IBKR_HOST, IBKR_PORT and IBKR_CLIENT_ID, or else 127.0.0.1, 7497 and 1.
        **wired: See :class:`BaseDataDownloader`.

    Raises:
        MissingExtraError: ib_async is not installed.
        ConfigError: The port or the client ID is invalid.
    """

    name = "ibkr"
    display_name = "Interactive Brokers"
    # 60 in any ten minutes.
    limits = Limits(per_minute=6, burst=6)
    default_base_url = "ibkr://127.0.0.1:7497"
    raw_shape = "index"
    capabilities = Capabilities(
        asset_classes=frozenset({"stock", "forex"}),
        timeframes={
            "1m": "1 min",
            "2m": "2 mins",
            "5m": "5 mins",
            "15m": "15 mins",
            "30m": "30 mins",
            "1h": "1 hour",
            "1d": "1 day",
        },
        only={
            "stock": frozenset("1m 2m 5m 15m 30m 1d".split()),
            "forex": frozenset("1m 5m 15m 30m 1h".split()),
        },
        # A few thousand bars; the vendor has no limit, but slows down larger requests.
        page_days={"1m": 7, "2m": 14, "5m": 30, "15m": 90, "30m": 180, "1h": 180, "1d": 3650},
        kinds={
            "stock": Kind("regular", "session", "consolidated", volume="shares", feed="ibkr"),
            "forex": Kind("24h", "clock", "idealpro", volume="none"),
        },
        adjustment="split",
    )

    def __init__(
        self,
        ib_instance: GatewayClient | None = None,
        *,
        host: str | None = None,
        port: int | None = None,
        client_id: int | None = None,
        **wired: Unpack[Wired],
    ) -> None:
        gateway = ibkr_gateway({"host": host, "port": port, "client_id": client_id})
        wired.setdefault("carrier", IbkrCarrier(gateway.client_id, ib_instance))
        wired.setdefault("base_url", f"ibkr://{gateway.host}:{gateway.port}")
        # The same request must not be repeated immediately, and the result hardly ever changes.
        self._firsts: dict[str, int] = {}
        super().__init__(**wired)

    def is_dense(self, timeframe: Timeframe) -> bool:
        """Return True for daily bars, which are complete; minutes without a trade have no bar."""
        return not timeframe.is_intraday

    def fetch(self, query: FetchQuery) -> Fetched:
        """Return all bars for ``query``; a long range is cut to begin with the first bar that exists.

        Raises:
            DataError: See :meth:`BaseDataDownloader.fetch`.
        """
        days = self.capabilities.page_days.get(query.timeframe.label, 0)
        if days and query.span.end - query.span.start > days * DAY_MS:
            first = max(query.span.start, self.first_ms(query.instrument) - DAY_MS)
            if first >= query.span.end:
                raise NoDataError(
                    f"{self.name} has no bars before the first trade",
                    provider=self.name,
                    symbol=query.instrument.symbol,
                )
            query = replace(query, span=Span(first, query.span.end))
        return super().fetch(query)

    def first_ms(self, instrument: Instrument) -> int:
        """Return the time (UTC milliseconds) of the first bar that exists for ``instrument``.

        Raises:
            DataError: The gateway refused or failed.
        """
        if (stored := self._firsts.get(instrument.symbol)) is not None:
            return stored
        try:
            label = self.send(self._request(instrument, {})).json()
        except DataError as exc:
            exc.symbol = exc.symbol or instrument.symbol
            raise
        first = label if isinstance(label, int) else day_ms(date.fromisoformat(label))
        return self._firsts.setdefault(instrument.symbol, first)

    def bars_request(self, query: FetchQuery, cursor: str | None) -> HttpRequest:
        """Request bars going back from the end of the span.

        The response may begin before the span, because the gateway counts the duration in trading
        days.
        """
        end = min(query.span.end, query.now_ms + HOUR_MS)
        days = max(1, -(-(end - query.span.start) // DAY_MS) + 1)
        return self._request(
            query.instrument,
            {
                "end": from_ms(end).strftime("%Y%m%d-%H:%M:%S"),
                "duration": duration(days),
                "bar_size": self.capabilities.timeframes[query.timeframe.label],
            },
        )

    def parse_bars(self, response: HttpResponse, query: FetchQuery) -> BarPage:
        """Parse the rows from the gateway: timestamp, open, high, low, close, volume.

        For example: ``[["2024-03-01", 179.55, 180.53, 177.38, 179.66, 73563082.0]]``. Minute and
        hourly bars have a timestamp in UTC milliseconds instead of a date, and a volume of -1 means
        that it is missing. Rows before the start of the span are dropped.
        """
        zone = ZoneInfo(query.instrument.timezone)
        bars = []
        for label, *prices, volume in response.json():
            stamp = self._stamp(label, query, zone)
            if stamp >= query.span.start:
                o, h, low, c = map(float, prices)
                bars.append(Bar(stamp, o, h, low, c, NAN if volume < 0 else float(volume)))
        return BarPage(bars)

    def classify(self, response: HttpResponse) -> DataError | None:
        """Return the error for the gateway's error code in a response, or None if there is no code."""
        return error_of_answer(response)

    @staticmethod
    def _stamp(label: Any, query: FetchQuery, zone: ZoneInfo) -> int:
        if isinstance(label, str):
            return day_ms(date.fromisoformat(label))
        return label if query.timeframe.is_intraday else day_ms(local_date(zone, label))

    def spelled(self, instrument: Instrument) -> str:
        """Return the contract's symbol."""
        return contract_of(instrument, self.name).symbol

    def _request(self, instrument: Instrument, extra: dict[str, str]) -> HttpRequest:
        contract = contract_of(instrument, self.name)._asdict()
        return HttpRequest(f"{self.base_url}/{'bars' if extra else 'head'}", {**contract, **extra})


class Contract(NamedTuple):
    """The names that the gateway uses for an instrument, and the prices to request.

    Attributes:
        what: Prices to request: ``TRADES`` or ``MIDPOINT``.
        hours: Hours to request: ``regular`` or ``all``.
    """

    sec_type: str
    symbol: str
    exchange: str
    primary: str
    currency: str
    what: str
    hours: str


def contract_of(instrument: Instrument, vendor: str) -> Contract:
    """Return the vendor's contract for ``instrument``.

    Raises:
        CapabilityError: The listing of the instrument is not supported.
    """
    if instrument.asset_class == "forex":
        return Contract(
            "CASH", str(instrument.base), "IDEALPRO", "", str(instrument.quote), "MIDPOINT", "all"
        )
    body, dot, tail = instrument.symbol.rpartition(".")
    if (
        vendor in instrument.spellings
        and instrument.spellings[vendor] != instrument.symbol
        and not dot
    ):
        body = instrument.spellings[vendor]
    currency, primary = instrument.quote or "USD", ""
    if instrument.timezone in ("UTC", NEW_YORK):
        body = share(instrument, vendor, " ", " PR")
    elif f".{tail}" in _EXCHANGES:
        primary = _EXCHANGES[f".{tail}"]
        body = body.lstrip("0") if primary == "SEHK" else body.replace("-", " ")
    else:
        raise CapabilityError(f"{vendor} is not queried for stocks listed like {instrument.symbol}")
    return Contract("STK", body, "SMART", primary, currency, "TRADES", "regular")


def duration(days: int) -> str:
    """Return the length of a range in the vendor's notation, rounded up."""
    return f"{days} D" if days <= _MOST_DAYS else f"{-(-days // _MOST_DAYS)} Y"


def error_of_answer(response: HttpResponse) -> DataError | None:
    """Return the error for the gateway's code; if the code is ambiguous, the text decides."""
    code, reason = response.headers.get(CODE_HEADER, ""), response.text.lower()
    if not code:
        return error_of(response)
    error_type = _CODES.get(int(code), CapabilityError)
    if int(code) == _HISTORY:
        error_type = next(
            (k for text, k in _HISTORY_SAYS.items() if text in reason), CapabilityError
        )
    message = f"the gateway returned code {code}"
    if error_type is RateLimitedError:
        return RateLimitedError(message, _PACING_S)
    hint = (
        "check the account's market data subscriptions" if error_type is EntitlementError else None
    )
    return error_type(message, hint=hint)
