"""Decides whether two vendors mean the same asset by the same letters.

Letters prove nothing: META-USD is the coin Metadium at Yahoo, METAUSDT a perpetual on a share at
Binance. A substitute must be proved to be the asset requested; see decision 14.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..model.bars import BarTable, among
from ..model.instrument import Instrument
from ..model.kind import Kind
from ..vendors.registry import SAMPLES, row_of

# Coins and dollar coins whose letters mean one thing at every vendor that lists them. As of
# 2026-11-21: those whose name in Yahoo's list of pairs with dollars (a public copy of 2026-08-02,
# for BTC the recorded chart) is the coin of CoinGecko's id for the letters. Left out are those that
# Yahoo's list has under other letters (SOL1, DOT1, ATOM1, UNI3), of two coins in turn (KNC, LUNA),
# as a future (FIL), or not at all.
ONE_MEANING = frozenset(
    "AAVE ADA ALGO ANKR AVAX BCH BNB BTC CHZ CRO CRV DOGE ENJ EOS ETC ETH HBAR IOTX LINK LTC MANA "
    "MKR ONT QTUM SUSHI TRX TUSD USDC USDT VET XLM XMR XRP XTZ YFI ZEC ZIL ZRX".split()
)
# Indices that vendors list under the name of ours, as their documents say (2026-11-21).
_INDICES = frozenset({"^GSPC"})
# Money: only venues of coins quote in anything else.
_DOLLAR_COINS = frozenset("USDT USDC FDUSD BUSD TUSD USDP USDE USD1 DAI".split())
# Values of ``venue`` that stand for no single exchange with a list of pairs.
_NO_EXCHANGE = frozenset({"", "aggregate", "consolidated", "mock", "twelvedata"}) | SAMPLES

_LEAST_COMMON = 20
# Of one asset at two venues: medians of closes lie within some 0.3 percent, and returns go together.
_LEVEL, _CORRELATION = 0.01, 0.8


class Listed(NamedTuple):
    """An instrument as a vendor lists it: whose list, and the kind of its bars."""

    vendor: str
    kind: Kind

    @property
    def is_exchange(self) -> bool:
        """Whether this is the list of one venue."""
        return self.kind.venue not in _NO_EXCHANGE


def names_an_exchange(instrument: Instrument) -> bool:
    """Tell whether a spelling names an exchange: coins are quoted in coins there alone."""
    quote = instrument.quote or ""
    is_coin = quote in _DOLLAR_COINS or quote in ONE_MEANING or len(quote) != len("USD")
    return instrument.asset_class == "crypto" and bool(quote) and is_coin


def named_at(instrument: Instrument, vendor: str) -> str:
    """Return the symbol to ask for in order to get what ``vendor`` lists under these letters."""
    return f"{instrument.base}-USD" if _is_restated(instrument, vendor) else instrument.symbol


def is_proved(instrument: Instrument, one: Listed, own: Listed) -> bool:
    """Tell whether ``one`` provably lists the same asset as ``own``, without comparing bars.

    A share is its ticker and venue, which every vendor is asked for by; currencies are those of
    ISO 4217. A coin is one thing on one venue, by a name that the user's rules give for the vendor,
    and where its letters have one meaning; so it must be where dollars stand for a dollar coin.
    """
    if one.vendor in instrument.own_spellings:
        return True
    if instrument.asset_class in ("stock", "forex") or row_of(one.vendor).by_id:
        return True
    is_own = one.vendor == own.vendor and not _is_restated(instrument, one.vendor)
    if is_own or (one.is_exchange and one.kind.venue == own.kind.venue):
        return True
    letters = instrument.base if instrument.asset_class == "crypto" else instrument.symbol
    return letters in (ONE_MEANING if instrument.asset_class == "crypto" else _INDICES)


def agree(first: BarTable, other: BarTable) -> bool:
    """Tell whether two tables show one asset, by twenty common bars or more.

    Closes must be of one level and move together: coins that stand for a dollar all stand at one.
    """
    mine, theirs = among(first.stamps, other.stamps), among(other.stamps, first.stamps)
    one, two = first.close[mine], other.close[theirs]
    if len(one) < _LEAST_COMMON or not ((one > 0).all() and (two > 0).all()):
        return False
    if abs(float(np.median(two / one)) - 1) > _LEVEL:
        return False
    moves = np.diff(np.log(one)), np.diff(np.log(two))
    if not all(float(np.std(move)) for move in moves):
        return False
    return float(np.corrcoef(*moves)[0, 1]) >= _CORRELATION


def _is_restated(instrument: Instrument, vendor: str) -> bool:
    """Tell whether a vendor is asked for dollars in place of the coin that it is quoted in."""
    spelled = instrument.spelling(vendor).removesuffix(".CC")
    return (
        instrument.base is not None
        and instrument.quote != "USD"
        and spelled == f"{instrument.base}-USD"
    )
