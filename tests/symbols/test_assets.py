"""What proves that two vendors mean one thing by the same letters."""

from __future__ import annotations

import numpy as np
import pytest

from src.data.config.rules_file import packaged_rules
from src.data.model.bars import Bar, BarTable
from src.data.model.instant import HOUR_MS
from src.data.model.instrument import Instrument
from src.data.model.kind import Kind
from src.data.symbols.assets import (
    ONE_MEANING,
    Lister,
    agree,
    is_proved,
    named_at,
    names_an_exchange,
)
from src.data.symbols.classify import classify
from src.data.vendors.coingecko.bars import COINS

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


# --- bars ----------------------------------------------------------------------------------


def walk(seed: int, count: int = 25, step: float = 0.01, first: float = 100.0) -> BarTable:
    moves = np.random.default_rng(seed).normal(0, step, count)
    closes = first * np.exp(np.cumsum(moves))
    rows = [Bar(n * HOUR_MS, c, c, c, c, 1.0) for n, c in enumerate(closes.tolist())]
    return BarTable.from_bars(rows)


def off(table: BarTable, share: float, noise: float = 0.0) -> BarTable:
    """Return bars at another level, with an error of their own in each."""
    errors = np.random.default_rng(9).normal(0, noise, len(table)) if noise else 0.0
    rows = zip(table.stamps.tolist(), (table.close * (1 + share + errors)).tolist(), strict=True)
    return BarTable.from_bars([Bar(s, c, c, c, c, 1.0) for s, c in rows])


def test_one_coin_at_two_venues_agrees_and_two_coins_do_not() -> None:
    one = walk(1)
    assert agree(one, one)
    assert agree(one, off(one, 0.002, 0.001))
    assert not agree(one, off(one, 0.05)), "another level: another thing, or other units"
    assert not agree(one, walk(2))


def test_fewer_than_twenty_bars_prove_no_common_asset() -> None:
    one = walk(1)
    assert agree(one, one.take(slice(0, 20)))
    assert not agree(one, one.take(slice(0, 19)))
    assert not agree(BarTable.empty(), one)


def test_two_coins_that_stand_for_a_dollar_do_not_agree() -> None:
    flat = walk(1, step=0.0, first=1.0)
    assert not agree(flat, flat), "bars that do not move show nothing"
    assert not agree(walk(1, step=1e-4, first=1.0), walk(2, step=1e-4, first=1.0))


def test_prices_that_are_none_prove_nothing() -> None:
    one = walk(1)
    assert not agree(one, off(one, -1.0))
