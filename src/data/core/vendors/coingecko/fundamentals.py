"""CoinGecko: the market value and the supply of coins, always in dollars.

Its volume is an amount of money, not of coins, and is not used.
"""

from __future__ import annotations

from ...model.identity.instrument import Instrument
from ..fundamentals_table import SYMBOL, Ask, Key, Pick, TableAnswer, VendorTable

_COIN = TableAnswer(
    Ask("/coins/markets", {"vs_currency": "usd", "ids": SYMBOL}),
    {
        "company_name": "name",
        "quote_type": "=CRYPTOCURRENCY",
        "currency": "=USD",
        "current_price": Pick("current_price", zero_is_unknown=True),
        "market_cap": Pick("market_cap", zero_is_unknown=True),
        "fully_diluted_valuation": Pick("fully_diluted_valuation", zero_is_unknown=True),
        "circulating_supply": Pick("circulating_supply", zero_is_unknown=True),
        "total_supply": Pick("total_supply", zero_is_unknown=True),
        "max_supply": Pick("max_supply", zero_is_unknown=True),
        "all_time_high": Pick("ath", zero_is_unknown=True),
    },
    row="0",
    symbol="0.id",
    currency="=USD",
    block="coin",
)


def _id(instrument: Instrument) -> str:
    # Imported with the first request: an answer from the cache does not need it.
    from .bars import coin_id

    return coin_id(instrument)


TABLE = VendorTable(
    vendor="coingecko",
    asset_classes=frozenset({"crypto"}),
    types={"profile": (_COIN,)},
    keys=(
        Key("COINGECKO_PRO_API_KEY", header="x-cg-pro-api-key"),
        Key("COINGECKO_DEMO_API_KEY", header="x-cg-demo-api-key", unless="COINGECKO_PRO_API_KEY"),
    ),
    spelling=_id,
)
