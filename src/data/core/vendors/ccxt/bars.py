"""Any exchange that ccxt supports; each one is a separate vendor, such as ``ccxt:kraken``."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Unpack, cast

from ....errors import (
    AuthenticationError,
    BadTimeframeError,
    CapabilityError,
    ConfigError,
    DataError,
    EntitlementError,
    KindMismatchError,
    ProviderTimeoutError,
    RateLimitedError,
    ResponseFormatError,
    SymbolNotFoundError,
    TransientError,
    UnavailableError,
)
from ...model.identity.instrument import Instrument
from ...model.identity.kind import Kind
from ...model.market.bars import Bar
from ...model.request.capabilities import BarPage, Capabilities, FetchQuery, Limits
from ...model.request.http import HttpRequest, HttpResponse
from ...model.time.instant import DAY_MS, MINUTE_MS, SECOND_MS, iso
from ...model.time.timeframe import Timeframe
from ...net.http.status import error_of, retry_after_s
from ..base import BaseDataDownloader, Wired
from ..dates import label, list_of, number
from .carrier import (
    ERROR_HEADER,
    CcxtCarrier,
    ExchangeFacts,
    exchanges_with_bars,
    facts_of,
)

# Maps ccxt's error names to this library's; a subclass that is not listed is treated like its base
# class.
_ERRORS: dict[str, type[DataError]] = {
    "BadSymbol": SymbolNotFoundError,
    "RateLimitExceeded": RateLimitedError,
    "DDoSProtection": RateLimitedError,
    "RequestTimeout": ProviderTimeoutError,
    "NetworkError": UnavailableError,
    "OperationFailed": UnavailableError,
    "PermissionDenied": EntitlementError,
    "AccountNotEnabled": EntitlementError,
    "AuthenticationError": AuthenticationError,
    "BadResponse": ResponseFormatError,
    "BadRequest": CapabilityError,
    "NotSupported": CapabilityError,
    "ExchangeError": CapabilityError,
}

# Page size if ccxt does not know the limit; every exchange returns this many.
USUAL_PAGE = 100
# Exchanges that always return their latest bars, whatever is requested, and the number of these.
_NEWEST_ONLY = {"kraken": 720}
# Exchanges of futures whose volumes are in coins; on others, they may be in contracts.
_IN_COINS = ("binancecoinm", "binanceusdm")
# ccxt counts the cost of a request in each exchange's own units; all exchanges tolerate this pace.
_MOST_A_SECOND = 5.0


class CCXTDataDownloader(BaseDataDownloader):
    """Spot bars from one exchange, requested and parsed by ccxt.

    Bars longer than a day are not requested, because exchanges begin their weeks on different days;
    they can be built exactly from daily bars.

    Args:
        **wired: See :class:`BaseDataDownloader`; ``base_url`` is another host of this exchange.

    Raises:
        ConfigError: No exchange was given; to get the class of an exchange, call :meth:`member`.
    """

    name = "ccxt"
    display_name = "Exchanges by ccxt"
    # What exchanges usually serve; each exchange's own class has the exact values.
    limits = Limits(per_second=1, burst=2)
    capabilities = Capabilities(
        asset_classes=frozenset({"crypto"}),
        timeframes={label: label for label in "1m 5m 15m 30m 1h 1d".split()},
        page_bars=USUAL_PAGE,
        kinds={"crypto": Kind("24h", "clock", volume="base")},
        dense=False,
    )
    exchange: str = ""

    def __init__(self, **wired: Unpack[Wired]) -> None:
        if not self.exchange:
            raise ConfigError(
                "ccxt is a family of exchanges; name one of them",
                provider=self.name,
                hint="add it after a colon, such as ccxt:kraken",
            )
        wired.setdefault("carrier", CcxtCarrier(self.exchange))
        super().__init__(**wired)

    @classmethod
    def member(cls, name: str) -> type[CCXTDataDownloader]:
        """Return the class for an exchange, given its vendor name, such as ``ccxt:kraken``.

        Raises:
            MissingExtraError: ccxt is not installed.
            UnknownProviderError: ccxt does not have this exchange, or no bars from it.
        """
        return member_class(name)

    @classmethod
    def members(cls) -> list[type[CCXTDataDownloader]]:
        """Return the classes of all exchanges from which the installed ccxt can fetch bars, sorted by name.

        Raises:
            MissingExtraError: ccxt is not installed.
        """
        classes = [member_class(f"ccxt:{name}") for name in sorted(exchanges_with_bars())]
        return [cls_of_member for cls_of_member in classes if cls_of_member.capabilities.timeframes]

    def bars_request(self, query: FetchQuery, cursor: str | None) -> HttpRequest:
        """Request a page from the start of the span; no end is sent, as not every exchange accepts one."""
        params: dict[str, str | int] = {
            "symbol": self._symbol(query.instrument),
            "timeframe": self.capabilities.timeframes[query.timeframe.label],
            "since": max(0, query.span.start),
            "limit": min(self._bars_to(query), self.capabilities.page_bars),
        }
        return HttpRequest(f"{self.base_url}/{self.exchange}/bars", params)

    def parse_bars(self, response: HttpResponse, query: FetchQuery) -> BarPage:
        """Parse ccxt's rows; an empty page does not mean that there is no more data.

        ``[[1709251200000, 61130.99, 61322.0, 61050.01, 61241.9, 1034.85]]``: open time in UTC
        milliseconds, open, high, low, close, volume (in the base coin for spot pairs).
        """
        rows, step_ms = response.json(), query.timeframe.step_ms or DAY_MS
        bars = [Bar(label(r[0]), *map(number, r[1:6])) for r in list_of(rows)]
        odd = bars[0].stamp_ms if bars else 0
        # Daily bars that all begin at another hour are of another kind; single deviating timestamps
        # are off the grid.
        if all(bar.stamp_ms % step_ms and not bar.stamp_ms % MINUTE_MS for bar in bars) and bars:
            raise KindMismatchError(
                f"{self.name} has {query.timeframe} bars off the UTC grid, the first at {iso(odd)}"
            )
        if bars and min(bar.stamp_ms for bar in bars) >= query.span.end:
            raise CapabilityError(
                f"{self.name} has {query.timeframe} bars only from {iso(bars[0].stamp_ms)} on, "
                "or does not report whether it has earlier ones"
            )
        most = min(self._bars_to(query), self.capabilities.page_bars)
        following = query.span.start + most * step_ms
        if bars:
            following = max(bar.stamp_ms for bar in bars) + step_ms
        is_last = following >= min(query.span.end, query.now_ms) or following <= query.span.start
        return BarPage(bars, next_ms=None if is_last else following)

    def classify(self, response: HttpResponse) -> DataError | None:
        """Return the error that ccxt derived from the response, or else the error for its HTTP status."""
        return error_of_answer(response, self.display_name)

    def _symbol(self, instrument: Instrument) -> str:
        """Return a pair in the user's own spelling, or else in ccxt's, which is the same everywhere."""
        for name in (self.name, "ccxt"):
            if name in instrument.spellings:
                return instrument.spellings[name]
        return (
            f"{instrument.base}/{instrument.quote}"
            if instrument.base and instrument.quote
            else instrument.symbol
        )

    @staticmethod
    def _bars_to(query: FetchQuery) -> int:
        step_ms = query.timeframe.step_ms or DAY_MS
        return max(1, -(-(query.span.end - max(0, query.span.start)) // step_ms))


def error_of_answer(response: HttpResponse, exchange: str) -> DataError | None:
    """Return the error that ccxt derived from a response, or else the error for its HTTP status."""
    names = response.headers.get(ERROR_HEADER, "").split()
    if not names:
        return error_of(response)
    error_type = next((_ERRORS[name] for name in names if name in _ERRORS), CapabilityError)
    message = f"{exchange} refused; ccxt reports {names[0]}"
    if error_type is RateLimitedError:
        return RateLimitedError(message, retry_after_s(response))
    # ccxt reports an exchange as "not available" for any status that it does not expect.
    by_status = error_of(response) if issubclass(error_type, TransientError) else None
    return by_status or error_type(message)


def limits_of(facts: ExchangeFacts) -> Limits:
    """Return the request limits of an exchange."""
    pace = SECOND_MS / facts.pace_ms if facts.pace_ms else _MOST_A_SECOND
    return Limits(per_second=min(pace, _MOST_A_SECOND), burst=2)


def capabilities_of(exchange: str, facts: ExchangeFacts) -> Capabilities:
    """Return the capabilities of an exchange, without timeframes whose history is less than a day."""
    steps = {label: step_ms for label in facts.timeframes if (step_ms := _step_ms(label))}
    newest = _NEWEST_ONLY.get(exchange)
    volume = "base" if facts.is_spot or exchange in _IN_COINS else ""
    depth = (
        {label: newest * step_ms // DAY_MS for label, step_ms in steps.items()} if newest else {}
    )
    return Capabilities(
        asset_classes=frozenset({"crypto"}),
        timeframes={label: label for label in steps if depth.get(label, 1)},
        page_bars=facts.page_bars or USUAL_PAGE,
        depth_days={label: days for label, days in depth.items() if days},
        kinds={"crypto": Kind("24h", "clock", venue=exchange, volume=volume)},
        dense=False,
    )


def _step_ms(label: str) -> int | None:
    """Return the length of bars with ccxt's ``label`` in milliseconds; None if they are not served.

    Bars longer than a day, and bars of timeframes that this library does not have, are not served.
    """
    try:
        timeframe = Timeframe.parse(label)
    except BadTimeframeError:
        return None
    return (
        timeframe.step_ms
        if timeframe.label == label and (timeframe.is_intraday or label == "1d")
        else None
    )


@lru_cache(256)
def member_class(name: str) -> type[CCXTDataDownloader]:
    """Return the class for an exchange, always the same object; see :meth:`CCXTDataDownloader.member`."""
    exchange = name.partition(":")[2]
    facts = facts_of(exchange)
    declared: dict[str, Any] = {
        "__doc__": f"Spot bars of {facts.title}.",
        "name": name,
        "display_name": f"{facts.title} (ccxt)",
        "exchange": exchange,
        "limits": limits_of(facts),
        "default_base_url": facts.base_url,
        "capabilities": capabilities_of(exchange, facts),
    }
    subclass = type(f"CCXT{exchange.title()}DataDownloader", (CCXTDataDownloader,), declared)
    return cast("type[CCXTDataDownloader]", subclass)
