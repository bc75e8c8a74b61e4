"""Interactive Brokers: bars through a TWS or gateway that the user runs and is logged in to."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any, NamedTuple, Unpack
from zoneinfo import ZoneInfo

from ...calendars.localtime import local_date
from ...config.gateway import ibkr_gateway
from ...errors import (
    CapabilityError,
    DataError,
    EntitlementError,
    NoDataError,
    RateLimitedError,
    SymbolNotFoundError,
    UnavailableError,
)
from ...model.bars import NAN, Bar
from ...model.capabilities import BarPage, Capabilities, Fetched, FetchQuery, Limits
from ...model.http import HttpRequest, HttpResponse
from ...model.instant import DAY_MS, HOUR_MS, day_ms, from_ms
from ...model.instrument import Instrument
from ...model.kind import Kind
from ...model.span import Span
from ...model.timeframe import Timeframe
from ...net.status import error_of
from ..base import BaseDataDownloader, Wired
from ..us_equities import NEW_YORK, share
from .carrier import CODE_HEADER, GatewayClient, IbkrCarrier

# Our suffix to the primary exchange. London is left out: it is not told whether prices are pence.
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
# Longer durations are said in years.
_MOST_DAYS = 365
_PACING_S = 600.0
_NOT_SUBSCRIBED = (354, 10089, 10090, 10168, 10186, 10187, 10197)
_CODES: dict[int, type[DataError]] = {
    200: SymbolNotFoundError,
    321: CapabilityError,
    366: UnavailableError,  # the question was lost, mostly with its connection
    **dict.fromkeys(_NOT_SUBSCRIBED, EntitlementError),
    **dict.fromkeys((502, 504, 1100, 1101, 1300, 2103, 2105, 2110), UnavailableError),
}
# What the historical data service says under one and the same number, by a piece of its text.
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
    """Trades of shares within regular hours, adjusted for splits; middles of currency pairs.

    Hours and four hours of shares are not asked for: here they are counted from the full hour, but
    for the first of a day. They are made of shorter bars, as weeks and months are of days.

    Args:
        ib_instance: an ``ib_async.IB`` that is there already; else one connects when asked.
        host, port, client_id: of the gateway; IBKR_HOST, IBKR_PORT and IBKR_CLIENT_ID when left
            out, else 127.0.0.1, 7497 and 1.
        **wired: see :class:`BaseDataDownloader`.

    Raises:
        MissingExtraError: ib_async is not installed.
        ConfigError: a port or a client's number is none.
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
        # Some thousand bars; the vendor sets no bound, but slows larger requests down.
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
        at = ibkr_gateway({"host": host, "port": port, "client_id": client_id})
        wired.setdefault("carrier", IbkrCarrier(at.client_id, ib_instance))
        wired.setdefault("base_url", f"ibkr://{at.host}:{at.port}")
        # The same may not be asked again at once, and it hardly ever changes.
        self._firsts: dict[str, int] = {}
        super().__init__(**wired)

    def is_dense(self, timeframe: Timeframe) -> bool:
        """Days are complete; minutes without a trade do not come."""
        return not timeframe.is_intraday

    def fetch(self, query: FetchQuery) -> Fetched:
        """Return all bars of ``query``; where that takes many pages, from the first one there is on.

        Raises:
            DataError: as :meth:`BaseDataDownloader.fetch`.
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
        """Return the instant (UTC milliseconds) of the first bar there is of ``instrument``.

        Raises:
            DataError: the gateway refused or failed.
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
        """Ask back from the end; the duration counts days of trading, so that more comes."""
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
        """Read the carrier's rows: stamp, open, high, low, close, volume.

        ``[["2024-03-01", 179.55, 180.53, 177.38, 179.66, 735630.0]]``; the stamp of minutes and
        hours is UTC milliseconds, a volume of -1 is none. Rows before the start are dropped.
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
        """Read the gateway's number."""
        return error_of_answer(response)

    @staticmethod
    def _stamp(label: Any, query: FetchQuery, zone: ZoneInfo) -> int:
        if isinstance(label, str):
            return day_ms(date.fromisoformat(label))
        return label if query.timeframe.is_intraday else day_ms(local_date(zone, label))

    def spelled(self, instrument: Instrument) -> str:
        """Return the symbol of the contract."""
        return contract_of(instrument, self.name).symbol

    def _request(self, instrument: Instrument, more: dict[str, str]) -> HttpRequest:
        contract = contract_of(instrument, self.name)._asdict()
        return HttpRequest(f"{self.base_url}/{'bars' if more else 'head'}", {**contract, **more})


class Contract(NamedTuple):
    """What names an instrument there, and which prices are asked for.

    Attributes:
        what: ``TRADES`` or ``MIDPOINT``.
        hours: ``regular`` or ``all``.
    """

    sec_type: str
    symbol: str
    exchange: str
    primary: str
    currency: str
    what: str
    hours: str


def contract_of(instrument: Instrument, vendor: str) -> Contract:
    """Return how the vendor names ``instrument``.

    Raises:
        CapabilityError: it is listed where it cannot be told here.
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
        raise CapabilityError(f"{vendor} is not asked for stocks listed as {instrument.symbol}")
    return Contract("STK", body, "SMART", primary, currency, "TRADES", "regular")


def duration(days: int) -> str:
    """Return how long a range is in the vendor's words, rounded up."""
    return f"{days} D" if days <= _MOST_DAYS else f"{-(-days // _MOST_DAYS)} Y"


def error_of_answer(response: HttpResponse) -> DataError | None:
    """Return the error of the gateway's code; its text decides where one code has many meanings."""
    code, reason = response.headers.get(CODE_HEADER, ""), response.text.lower()
    if not code:
        return error_of(response)
    kind = _CODES.get(int(code), CapabilityError)
    if int(code) == _HISTORY:
        kind = next((k for text, k in _HISTORY_SAYS.items() if text in reason), CapabilityError)
    message = f"the gateway answered code {code}"
    if kind is RateLimitedError:
        return RateLimitedError(message, _PACING_S)
    hint = "see the account's market data subscriptions" if kind is EntitlementError else None
    return kind(message, hint=hint)
