"""How every vendor writes what we write in one way only, on the wire, and what that means read back."""

from __future__ import annotations

import importlib.util
from collections import defaultdict
from collections.abc import Callable
from urllib.parse import unquote

import pytest

from src.data.core.config.rules_file import load_rules
from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.request.capabilities import FetchQuery
from src.data.core.model.request.http import HttpRequest
from src.data.core.registry import SAMPLES, SERVED
from src.data.core.symbols.classify import classify
from src.data.core.vendors.factory import downloader_class
from src.data.errors import CapabilityError
from tests.core.net.scripted import NOW_MS, ScriptedTransport, sender_over
from tests.core.vendors.acme import query

WEEK = 7 * 86_400_000
PLUGGED = {"ccxt:okx": "ccxt", "ibkr": "ib_async"}
# What a vendor does not serve, or is not asked for because a namesake would answer.
NO = None
SYMBOLS = ("BRK.B", "BAC-PL", "VOD.L", "BHP.AX", "0700.HK", "EUR/USD", "BTCUSDT", "BTC-USD",
           "ETHBTC", "^GSPC", "ES=F")  # fmt: skip
WIRE: dict[str, tuple[str | None, ...]] = {
    "alpaca": ("BRK.B", "BAC.PRL", NO, NO, NO, NO, "BTC/USDT", "BTC/USD", "ETH/BTC", NO, NO),
    "alpha_vantage": ("BRK-B", "BAC-PL", "VOD.LON", "BHP.AX", "0700.HK", "EUR USD", "BTC USD",
                      "BTC USD", "ETH BTC", NO, NO),
    "binance": (NO, NO, NO, NO, NO, NO, "BTCUSDT", "BTCUSD", "ETHBTC", NO, NO),
    "coingecko": (NO, NO, NO, NO, NO, NO, "bitcoin usd", "bitcoin usd", "ethereum btc", NO, NO),
    "eodhd": ("BRK-B.US", "BAC-PL.US", "VOD.LSE", "BHP.AU", "0700.HK", "EURUSD.FOREX",
              "BTC-USD.CC", "BTC-USD.CC", "ETH-BTC.CC", "GSPC.INDX", NO),
    "finnhub": ("BRK.B", "BAC.PL", "VOD.L", "BHP.AX", "0700.HK", NO, "BINANCE:BTCUSDT",
                "BINANCE:BTCUSD", "BINANCE:ETHBTC", NO, NO),
    "fmp": ("BRK-B", "BAC-PL", "VOD.L", "BHP.AX", "0700.HK", NO, NO, NO, NO, "^GSPC", NO),
    "ibkr": ("BRK B SMART USD", "BAC PRL SMART USD", NO, "BHP SMART ASX AUD",
             "700 SMART SEHK HKD", "EUR IDEALPRO USD", NO, NO, NO, NO, NO),
    "polygon": ("BRK.B", "BACpL", NO, NO, NO, "C:EURUSD", "X:BTCUSDT", "X:BTCUSD", "X:ETHBTC",
                NO, NO),
    "tiingo": ("BRK-B", "BAC-P-L", NO, NO, NO, NO, "btcusdt", "btcusd", "ethbtc", NO, NO),
    "twelvedata": ("BRK.B", "BAC.PL", "VOD XLON", NO, "0700 XHKG", "EUR/USD", "BTC/USDT",
                   "BTC/USD", "ETH/BTC", NO, NO),
    "yahoo": ("BRK-B", "BAC-PL", "VOD.L", "BHP.AX", "0700.HK", "EURUSD=X", "BTC-USD", "BTC-USD",
              "ETH-BTC", "^GSPC", "ES=F"),
    "ccxt:okx": (NO, NO, NO, NO, NO, NO, "BTC/USDT", "BTC/USD", "ETH/BTC", NO, NO),
}  # fmt: skip
# Who averages over venues takes dollar coins for dollars: two of ours are one of theirs.
DOLLARS_ARE_DOLLARS = {"alpha_vantage", "coingecko", "eodhd", "yahoo"}
# A small letter that makes it a preferred share; case is no matter in what users type.
BY_CASE_ALONE = {("polygon", "BAC-PL")}

Reading = Callable[[HttpRequest], str]


def _params(*names: str) -> Reading:
    return lambda r: " ".join(str(r.params[n]) for n in names if r.params.get(n))


def _path(place: int) -> Reading:
    return lambda r: unquote(r.url.split("/")[place])


READ: dict[str, Reading] = {
    "alpaca": _params("symbols"),
    "alpha_vantage": _params("symbol", "from_symbol", "to_symbol", "market"),
    "coingecko": lambda r: f"{r.url.split('/coins/')[1].split('/')[0]} {r.params['vs_currency']}",
    "eodhd": _path(-1),
    "ibkr": _params("symbol", "exchange", "primary", "currency"),
    "polygon": lambda r: unquote(r.url.split("/ticker/")[1].split("/")[0]),
    "tiingo": lambda r: str(r.params.get("tickers") or r.url.split("/")[-2]),
    "twelvedata": _params("symbol", "mic_code"),
    "yahoo": _path(-1),
}


def meant(symbol: str) -> Instrument:
    found = classify(symbol, load_rules().classification)
    assert isinstance(found, Instrument)
    return found


def spelled(vendor: str, who: Instrument) -> str | None:
    """Return the spelling of ``who`` sent to a vendor; None if it is not queried."""
    cls = downloader_class(vendor)
    keys = {name if isinstance(name, str) else name[0]: "k3y" for name in cls.secrets}
    made = cls(credentials=keys, sender=sender_over(ScriptedTransport()))
    for label in made.capabilities.labels(who.asset_class):
        asked: FetchQuery = query(label, NOW_MS - 2 * WEEK, NOW_MS - WEEK, who)
        try:
            return READ.get(vendor, _params("symbol"))(made.bars_request(asked, None))
        except CapabilityError:  # of this length it serves none
            continue
    return None


@pytest.mark.parametrize("vendor", WIRE)
def test_each_vendor_gets_each_symbol_in_its_own_spelling(vendor: str) -> None:
    if vendor in PLUGGED and importlib.util.find_spec(PLUGGED[vendor]) is None:
        pytest.skip(f"{PLUGGED[vendor]} is not installed")
    assert {s: spelled(vendor, meant(s)) for s in SYMBOLS} == dict(
        zip(SYMBOLS, WIRE[vendor], strict=True)
    )


@pytest.mark.parametrize(
    "vendor, wire", [("alpaca", "SUI.PRA"), ("polygon", "SUIpA"), ("tiingo", "SUI-P-A")]
)
def test_a_share_class_of_a_ticker_that_is_also_a_coin_is_spelled_like_any_other(
    vendor: str, wire: str
) -> None:
    assert spelled(vendor, meant("NYSE:SUI-PA")) == wire


def test_every_vendor_is_in_the_table() -> None:
    assert {name.partition(":")[0] for name in WIRE} == set(SERVED) - SAMPLES - {"local", "mock"}


@pytest.mark.parametrize("vendor", WIRE)
def test_a_vendors_spelling_means_only_one_symbol(vendor: str) -> None:
    ours: dict[str, set[str]] = defaultdict(set)
    for symbol, wire in zip(SYMBOLS, WIRE[vendor], strict=True):
        if wire is not None:
            ours[wire].add(symbol)
    shared = [symbols for symbols in ours.values() if len(symbols) > 1]
    assert shared == ([{"BTCUSDT", "BTC-USD"}] if vendor in DOLLARS_ARE_DOLLARS else [])


@pytest.mark.parametrize("vendor", WIRE)
def test_a_symbol_in_the_vendors_spelling_has_the_same_meaning(vendor: str) -> None:
    """It is not understood, or it is the same instrument; never a namesake."""
    tables = load_rules().classification
    for symbol, wire in zip(SYMBOLS, WIRE[vendor], strict=True):
        found = classify(wire, tables) if wire is not None else None
        if not isinstance(found, Instrument) or (vendor, symbol) in BY_CASE_ALONE:
            continue
        ours = {meant(symbol).symbol}
        if vendor in DOLLARS_ARE_DOLLARS and symbol == "BTCUSDT":
            ours.add(meant("BTC-USD").symbol)
        assert found.symbol in ours, f"{vendor} writes {symbol} as {wire}"
