"""How every vendor writes what we write in one way only, on the wire, and what that means read back."""

from __future__ import annotations

import importlib.util
from collections import defaultdict
from collections.abc import Callable, Mapping
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
from tests.conformance.sheet import SYMBOLS, examined, sheet_of
from tests.core.net.scripted import NOW_MS, ScriptedTransport, sender_over
from tests.core.vendors.acme import query
from tests.vendor_server.face import Request
from tests.vendor_server.server import FACES

WEEK = 7 * 86_400_000
PLUGGED = {"ccxt:okx": "ccxt", "ibkr": "ib_async"}
# A symbol that a vendor does not serve, or is not asked for because a namesake would answer, is left out.
WIRE: dict[str, Mapping[str, str]] = {
    vendor: sheet_of(vendor).spellings for vendor in examined() if vendor not in {"ccxt", "local"}
} | {
    "ibkr": {"BRK.B": "BRK B SMART USD", "BAC-PL": "BAC PRL SMART USD", "BHP.AX": "BHP SMART ASX AUD",
             "0700.HK": "700 SMART SEHK HKD", "EUR/USD": "EUR IDEALPRO USD"},
    "ccxt:okx": {"BTCUSDT": "BTC/USDT", "BTC-USD": "BTC/USD", "ETHBTC": "ETH/BTC"},
}  # fmt: skip
# Who averages over venues takes dollar coins for dollars: two of ours are one of theirs.
DOLLARS_ARE_DOLLARS = {"alpha_vantage", "coingecko", "eodhd", "yahoo"}
# A small letter that makes it a preferred share; case is no matter in what users type.
BY_CASE_ALONE = {("polygon", "BAC-PL")}

Reading = Callable[[HttpRequest], str]


def _params(*names: str) -> Reading:
    return lambda r: " ".join(str(r.params[n]) for n in names if r.params.get(n))


def _as_played(vendor: str) -> Reading:
    """Return the symbol that the vendor server reads in a request."""
    face = next(one for one in FACES if one.name == vendor.partition(":")[0])()
    base = downloader_class(vendor).default_base_url

    def read(r: HttpRequest) -> str:
        params = {name: str(value) for name, value in r.params.items()}
        asked = Request(r.method, r.url.removeprefix(base), params, {})
        return face.symbol_in(asked) or ""

    return read


# Where a symbol is written in another way than the vendor server looks for, or in several places.
READ: dict[str, Reading] = {
    "alpha_vantage": _params("symbol", "from_symbol", "to_symbol", "market"),
    "coingecko": lambda r: f"{r.url.split('/coins/')[1].split('/')[0]} {r.params['vs_currency']}",
    "ccxt:okx": _params("symbol"),
    "ibkr": _params("symbol", "exchange", "primary", "currency"),
    "twelvedata": _params("symbol", "mic_code"),
    "yahoo": lambda r: unquote(r.url.split("/")[-1]),
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
            return (READ.get(vendor) or _as_played(vendor))(made.bars_request(asked, None))
        except CapabilityError:  # of this length it serves none
            continue
    return None


@pytest.mark.parametrize("vendor", WIRE)
def test_each_vendor_gets_each_symbol_in_its_own_spelling(vendor: str) -> None:
    if vendor in PLUGGED and importlib.util.find_spec(PLUGGED[vendor]) is None:
        pytest.skip(f"{PLUGGED[vendor]} is not installed")
    assert {s: spelled(vendor, meant(s)) for s in SYMBOLS} == {
        s: WIRE[vendor].get(s) for s in SYMBOLS
    }


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
    for symbol, wire in WIRE[vendor].items():
        ours[wire].add(symbol)
    shared = [symbols for symbols in ours.values() if len(symbols) > 1]
    assert shared == ([{"BTCUSDT", "BTC-USD"}] if vendor in DOLLARS_ARE_DOLLARS else [])


@pytest.mark.parametrize("vendor", WIRE)
def test_a_symbol_in_the_vendors_spelling_has_the_same_meaning(vendor: str) -> None:
    """It is not understood, or it is the same instrument; never a namesake."""
    tables = load_rules().classification
    for symbol, wire in WIRE[vendor].items():
        found = classify(wire, tables)
        if not isinstance(found, Instrument) or (vendor, symbol) in BY_CASE_ALONE:
            continue
        ours = {meant(symbol).symbol}
        if vendor in DOLLARS_ARE_DOLLARS and symbol == "BTCUSDT":
            ours.add(meant("BTC-USD").symbol)
        assert found.symbol in ours, f"{vendor} writes {symbol} as {wire}"
