"""CoinGecko: averages over the world's venues, in many currencies, without volume.

Without the key of a paid plan, it serves half-hour bars of the last day and four-hour bars of the
last 30 days. For longer ranges it serves four-day bars, counted back from now; these are not
requested.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Unpack
from urllib.parse import quote

from ....errors import (
    AuthenticationError,
    CapabilityError,
    DataError,
    EntitlementError,
    NoDataError,
    RateLimitedError,
    ResponseFormatError,
)
from ...model.identity.instrument import Instrument
from ...model.identity.kind import Kind
from ...model.market.bars import NAN, Bar
from ...model.request.capabilities import BarPage, Capabilities, FetchQuery, Limits
from ...model.request.http import HttpRequest, HttpResponse
from ...model.time.instant import DAY_MS, MINUTE_MS, SECOND_MS
from ...net.http.status import error_of, retry_after_s
from ...registry import VENDORS
from ..base import BaseDataDownloader, Wired
from ..dates import amount, label, list_of

_IDS = """
1INCH 1inch  AAVE aave  ADA cardano  ALGO algorand  ANKR ankr  APT aptos  ARB arbitrum
ATOM cosmos  AVAX avalanche-2  AXS axie-infinity  BCH bitcoin-cash  BNB binancecoin  BTC bitcoin
BUSD binance-usd  CAKE pancakeswap-token  CHZ chiliz  CRO crypto-com-chain  CRV curve-dao-token
DAI dai  DOGE dogecoin  DOT polkadot  ENJ enjincoin  ENS ethereum-name-service  EOS eos
ETC ethereum-classic  ETH ethereum  FDUSD first-digital-usd  FET fetch-ai  FIL filecoin
FTM fantom  GALA gala  GRT the-graph  HBAR hedera-hashgraph  ICP internet-computer
IMX immutable-x  INJ injective-protocol  IOTA iota  IOTX iotex  KNC kyber-network-crystal
LINK chainlink  LTC litecoin  MANA decentraland  MATIC matic-network  MKR maker  NEAR near
OMG omisego  ONT ontology  PEPE pepe  POL polygon-ecosystem-token  QTUM qtum  SAND the-sandbox
SHIB shiba-inu  SNX havven  SOL solana  STETH staked-ether  SUI sui  SUSHI sushi  THETA theta-token
TON the-open-network  TRX tron  TUSD true-usd  UNI uniswap  USDC usd-coin  USDT tether  VET vechain
WBTC wrapped-bitcoin  XLM stellar  XMR monero  XRP ripple  XTZ tezos  YFI yearn-finance  ZEC zcash
ZIL zilliqa  ZRX 0x
""".split()
COINS: Mapping[str, str] = MappingProxyType(dict(zip(_IDS[::2], _IDS[1::2], strict=True)))
CURRENCIES = frozenset(
    "AED ARS AUD BCH BDT BHD BMD BNB BRL BTC CAD CHF CLP CNY CZK DKK DOT EOS ETH EUR GBP GEL HKD "
    "HUF IDR ILS INR JPY KRW KWD LINK LKR LTC MMK MXN MYR NGN NOK NZD PHP PKR PLN RUB SAR SEK SGD "
    "THB TRY TWD UAH USD VND XLM XRP YFI ZAR".split()
)
# CoinGecko quotes dollars, not dollar stablecoins; the answer states this and is never mixed with
# bars in stablecoins.
_DOLLARS = frozenset("USDT USDC FDUSD BUSD TUSD USDP USDE USD1 DAI".split())

# Maps each timeframe to the ranges, in days, that are served with it; other ranges cannot be
# requested.
LENGTHS: Mapping[str, Sequence[int]] = {"30m": (1,), "4h": (7, 14, 30)}
# 2026-09: an end a few seconds ahead of its clock is rejected.
_BEHIND_MS = MINUTE_MS
_DEMO, _PAID = "COINGECKO_DEMO_API_KEY", "COINGECKO_PRO_API_KEY"
_PAID_URL = "https://pro-api.coingecko.com/api/v3"
_BY_CODE: dict[int, type[DataError]] = {
    429: RateLimitedError,
    10002: AuthenticationError,
    10005: EntitlementError,
    10010: AuthenticationError,
    10011: AuthenticationError,
    10012: EntitlementError,  # with status 401: older than the plan allows
    10014: CapabilityError,
}


class CoinGeckoDataDownloader(BaseDataDownloader):
    """Bars from CoinGecko, averaged over venues; no key is needed.

    Hourly and daily bars need the key of a paid plan; a downloader created without such a key does
    not declare these bars. With such a key, requests go to the address for paid plans.
    """

    name = "coingecko"
    display_name = "CoinGecko"
    aliases = VENDORS["coingecko"].aliases
    secrets = VENDORS["coingecko"].keys
    limits = Limits(per_minute=50)
    default_base_url = "https://api.coingecko.com/api/v3"
    shapes = (
        ("coins/*/ohlc", [("number",) * 5]),
        ("coins/*/ohlc/range", [("number",) * 5]),
    )
    capabilities = Capabilities(
        asset_classes=frozenset({"crypto"}),
        timeframes={"30m": "", "1h": "hourly", "4h": "", "1d": "daily"},
        page_days={"1h": 31, "1d": 180},
        depth_days={label: lengths[-1] for label, lengths in LENGTHS.items()},
        kinds={"crypto": Kind(session="24h", anchor="clock", venue="aggregate", volume="none")},
        adjustment="raw",
        # Responses are up to 15 minutes old; a day is available 35 minutes after midnight
        # (2024-05).
        settle_ms=60 * MINUTE_MS,
    )

    def __init__(self, **wired: Unpack[Wired]) -> None:
        super().__init__(**wired)
        if not self.secret(_PAID):
            free = dict.fromkeys(LENGTHS, "")
            self.capabilities = replace(self.capabilities, timeframes=free)
        elif self.base_url == self.default_base_url:
            self.base_url = _PAID_URL

    def spelled(self, instrument: Instrument) -> str:
        """Return the coin's id, after checking that CoinGecko has prices in the requested currency."""
        currency(instrument)
        return coin_id(instrument)

    def bars_request(self, query: FetchQuery, cursor: str | None) -> HttpRequest:
        """Request the bars that close in a range or, without a paid plan, the bars of the last days."""
        interval = self.capabilities.timeframes[query.timeframe.label]
        params: dict[str, str | int] = {"vs_currency": currency(query.instrument).lower()}
        if interval:
            params |= {"interval": interval} | bounds_of_closes(query)
        else:
            params["days"] = days_back(query)
        path = f"/coins/{quote(coin_id(query.instrument), safe='')}/ohlc"
        return HttpRequest(
            f"{self.base_url}{path}{'/range' if interval else ''}",
            params=params,
            secret_headers=self._key(),
        )

    def parse_bars(self, response: HttpResponse, query: FetchQuery) -> BarPage:
        """Parse ``[[1709254800000, 61130.0, 61322.0, 61050.0, 61241.0]]``: closing time, then prices.

        The rows have no volume. The length of the bars depends on the requested range, so it is
        checked.
        """
        rows = list_of(response.json())
        step_ms = query.timeframe.step_ms or 0
        stamps = opens_of([label(row[0]) for row in rows], step_ms)
        lengths = {
            later - prev for prev, later in pairwise(sorted({s for s in stamps if not s % step_ms}))
        }
        if min(lengths, default=step_ms) != step_ms:
            raise ResponseFormatError(
                f"bars are {min(lengths)} ms long instead of {query.timeframe}"
            )
        bars = []
        for stamp, (_, *prices) in zip(stamps, rows, strict=True):
            opened, high, low, close = map(amount, prices)
            bars.append(Bar(stamp, opened, high, low, close, NAN))
        inside = [bar for bar in bars if bar.stamp_ms in query.span]
        return BarPage(inside, unit=currency(query.instrument))

    def classify(self, response: HttpResponse) -> DataError | None:
        """Return the error in ``{"status": {"error_code"}}``, which may be nested in an ``error``."""
        code = _code(response)
        if _BY_CODE.get(code) is RateLimitedError:
            message = f"{self.display_name} reports too many requests"
            return RateLimitedError(message, retry_after_s(response))
        if kind := _BY_CODE.get(code):
            return kind(f"{self.display_name} returned code {code}")
        return error_of(response)

    def _key(self) -> dict[str, str]:
        if paid := self.secret(_PAID):
            return {"x-cg-pro-api-key": paid}
        demo = self.secret(_DEMO)
        return {"x-cg-demo-api-key": demo} if demo else {}


def coin_id(instrument: Instrument) -> str:
    """Return CoinGecko's id for the coin whose price is requested.

    Raises:
        CapabilityError: The coin's id is not known to this library.
    """
    if "coingecko" in instrument.spellings or instrument.base is None:
        return instrument.spelling("coingecko").lower()
    if coin := COINS.get(instrument.base):
        return coin
    raise CapabilityError(
        f"CoinGecko's id for {instrument.base} is not known",
        symbol=instrument.symbol,
        hint="set it in the rules: symbol_classification.symbols, spellings: {coingecko: its-id}",
    )


def currency(instrument: Instrument) -> str:
    """Return the currency in which an instrument is priced, in uppercase; dollars by default.

    Raises:
        CapabilityError: CoinGecko has no prices in this currency.
    """
    quote = instrument.quote or "USD"
    quote = "USD" if quote in _DOLLARS else quote
    if quote not in CURRENCIES:
        raise CapabilityError(f"CoinGecko has no prices in {quote}", symbol=instrument.symbol)
    return quote


def days_back(query: FetchQuery) -> int:
    """Return the shortest supported range, in days back from now, that contains the span.

    Raises:
        CapabilityError: The span begins before the longest supported range.
    """
    label, step_ms = query.timeframe.label, query.timeframe.step_ms or 0
    back = query.now_ms - (query.span.start + step_ms)
    if fitting := [days for days in LENGTHS[label] if back <= days * DAY_MS]:
        return fitting[0]
    raise CapabilityError(
        f"coingecko serves {label} bars only for the last {LENGTHS[label][-1]} days"
    )


def bounds_of_closes(query: FetchQuery) -> dict[str, str | int]:
    """Return query parameters that bound the closing times of a span's bars, in inclusive seconds.

    Raises:
        NoDataError: No bar in the span has closed yet.
    """
    step_ms = query.timeframe.step_ms or 0
    first = query.span.start + step_ms
    last = min(query.span.end - 1 + step_ms, query.now_ms - _BEHIND_MS)
    if last < first:
        raise NoDataError(f"no {query.timeframe} bar in this range has closed")
    return {"from": -(-first // SECOND_MS), "to": last // SECOND_MS}


def opens_of(closes: Sequence[int], step_ms: int) -> list[int]:
    """Return the opening times of bars that the vendor labels with their closing times.

    The label of the latest bar, which is forming, may be the time of the request. Any other bar
    that closes off the grid also opens off the grid.

    Raises:
        ResponseFormatError: Most closing times are not multiples of ``step_ms``, so the bars have
            another length.
    """
    latest = max(closes, default=0)
    off_step = {close for close in closes if close % step_ms and close != latest}
    if 2 * len(off_step) > len(closes):
        raise ResponseFormatError("most closing times are off the grid of the timeframe")
    return [
        close - step_ms if close in off_step else (close - 1) // step_ms * step_ms
        for close in closes
    ]


def _code(response: HttpResponse) -> int:
    """Return the vendor's error code, or 0 if the response is not an error."""
    if response.body[:1] != b"{":
        return 0
    try:
        body: Any = response.json()
    except ResponseFormatError:
        return 0
    inner = body.get("error") if isinstance(body.get("error"), dict) else body
    status = inner.get("status")
    code = status.get("error_code") if isinstance(status, dict) else None
    return code if isinstance(code, int) else 0
