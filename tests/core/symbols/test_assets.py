"""What proves that two vendors mean one thing by the same letters."""

from __future__ import annotations

import pytest

from src.data.core.config.rules_file import packaged_rules
from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.identity.kind import Kind
from src.data.core.symbols.assets import (
    ONE_MEANING,
    Lister,
    is_proved,
    named_at,
    names_an_exchange,
)
from src.data.core.symbols.classify import classify
from src.data.core.vendors.coingecko.bars import COINS

BINANCE = Lister("binance", Kind("24h", "clock", "binance"))
FINNHUB = Lister("finnhub", Kind("24h", "clock", "binance"))
KRAKEN = Lister("ccxt:kraken", Kind("24h", "clock", "kraken"))
YAHOO = Lister("yahoo", Kind("24h", "clock", "aggregate"))
COINGECKO = Lister("coingecko", Kind("24h", "clock", "aggregate"))
POLYGON = Lister("polygon", Kind("24h", "clock", "aggregate"))
TAPE, INDEX, FRONT = (Lister("yahoo", Kind("regular", venue=v)) for v in ("consolidated", "", ""))
OTHER_TAPE = Lister("tiingo", Kind("regular", venue="consolidated"))
OTHER = Lister("eodhd", Kind("regular", venue=""))


def meant(symbol: str) -> Instrument:
    found = classify(symbol, packaged_rules().classification)
    assert isinstance(found, Instrument), found
    return found


@pytest.mark.parametrize(
    ("symbol", "one", "own", "proved"),
    [
        ("METAUSDT", YAHOO, BINANCE, False),
        ("METAUSDT", POLYGON, BINANCE, False),
        ("METAUSDT", KRAKEN, BINANCE, False),
        ("METAUSDT", FINNHUB, BINANCE, True),  # the same venue
        ("METAUSDT", BINANCE, BINANCE, True),
        ("METAUSDT", POLYGON, POLYGON, True),  # alone, and in Tether
        ("METAUSDT", YAHOO, YAHOO, False),  # alone, and in dollars
        ("META-USD", YAHOO, YAHOO, True),
        ("META-USD", YAHOO, BINANCE, False),
        ("BTCUSDT", YAHOO, BINANCE, True),
        ("BTCUSDT", YAHOO, YAHOO, True),
        ("BTC-USD", YAHOO, BINANCE, True),
        ("PEPEUSDT", COINGECKO, BINANCE, True),  # by its id
        ("PEPEUSDT", YAHOO, BINANCE, False),
        ("SOLUSDT", YAHOO, BINANCE, False),
        ("1000SATSUSDT", YAHOO, BINANCE, False),
        ("ETHBTC", YAHOO, BINANCE, True),
        ("AAPL", OTHER_TAPE, TAPE, True),
        ("VOD.L", OTHER, TAPE, True),
        ("EURUSD=X", OTHER, TAPE, True),
        ("^GSPC", OTHER, INDEX, True),
        ("^XYZ", OTHER, INDEX, False),
        ("CL=F", OTHER, FRONT, False),
        ("CL=F", FRONT, FRONT, True),
    ],
)
def test_bars_of_two_vendors_are_one_asset_only_where_proved(
    symbol: str, one: Lister, own: Lister, proved: bool
) -> None:
    assert is_proved(meant(symbol), one, own) is proved


def test_a_spelling_of_the_users_is_proof() -> None:
    who = Instrument("METAUSDT", "crypto", base="META", quote="USDT",
                     spellings={"yahoo": "META-USD"}, own_spellings=frozenset({"yahoo"}))  # fmt: skip
    assert is_proved(who, YAHOO, BINANCE)
    assert not is_proved(who, POLYGON, BINANCE)


@pytest.mark.parametrize(
    ("symbol", "named"),
    [("BTCUSDT", True), ("ETHBTC", True), ("BTCFDUSD", True), ("BTC-USD", False), ("BTCEUR", False),
     ("AAPL", False), ("EURUSD=X", False)],
)  # fmt: skip
def test_coins_are_quoted_in_coins_on_exchanges_alone(symbol: str, named: bool) -> None:
    assert names_an_exchange(meant(symbol)) is named


def test_the_name_to_ask_for() -> None:
    assert named_at(meant("METAUSDT"), "yahoo") == "META-USD"
    assert named_at(meant("METAUSDT"), "eodhd") == "META-USD"
    assert named_at(meant("METAUSDT"), "tiingo") == "METAUSDT"
    assert named_at(meant("^XYZ"), "eodhd") == "^XYZ"


def test_the_table_holds_coins_with_an_id_and_none_of_two_meanings() -> None:
    assert set(COINS) >= ONE_MEANING
    assert not ONE_MEANING & set("META NVDA CL XAU SOL DOT ATOM UNI KNC LUNA FIL PEPE".split())
