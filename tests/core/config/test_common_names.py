"""The packaged names: few, understood, and near to what is misspelt."""

from __future__ import annotations

import pytest

from src.data.core.config import common_names
from src.data.core.config.common_names import common_listings
from src.data.core.config.rules_file import packaged_rules
from src.data.core.model.identity.instrument import Instrument
from src.data.core.symbols.classify import classify
from src.data.core.symbols.name_search import nearest


def test_every_packaged_symbol_is_understood_as_what_it_is() -> None:
    tables = packaged_rules().classification
    for listing in common_listings():
        meant = classify(listing.symbol, tables)
        assert isinstance(meant, Instrument), listing
        assert meant.asset_class == listing.type and listing.name
    symbols = {listing.symbol for listing in common_listings()}
    assert {"BTCUSDT", "BTC-USD", "USDT-USD"} <= symbols and "USDTUSDT" not in symbols


def test_the_file_is_small_and_says_where_it_is_from() -> None:
    text = common_names.FILE.read_text(encoding="utf-8")
    assert len(text) < 20_000
    assert '"sources"' in text and "2026-08-08" in text


@pytest.mark.parametrize(
    "typed, first",
    [
        ("bitcoin", "BTCUSDT"),
        ("bitcion", "BTCUSDT"),
        ("ethereum", "ETHUSDT"),
        ("microsft", "MSFT"),
        ("APPL", "AAPL"),
        ("TESLA", "TSLA"),
        ("nvidia", "NVDA"),
        ("dogecoin", "DOGEUSDT"),
    ],
)
def test_what_people_type_is_near(typed: str, first: str) -> None:
    assert nearest(typed, common_listings())[0].symbol == first
