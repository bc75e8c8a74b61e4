"""Decides whether two vendors mean the same asset by the same ticker.

The same ticker by itself does not prove anything: META-USD is the coin Metadium at Yahoo, and
METAUSDT is a perpetual on a stock at Binance. Before bars from another vendor may replace the
requested ones, both must be proved to belong to the same asset; see
"Identity before completeness" in ``docs/decisions.md``.
"""

from __future__ import annotations

from typing import NamedTuple

from ..model.identity.instrument import Instrument
from ..model.identity.kind import Kind
from ..registry import SAMPLES, row_of

# Coins and stablecoins whose ticker means the same at every vendor that lists them. As of
# 2026-11-21: coins whose name in Yahoo's list of dollar pairs (a public copy of 2026-08-02, for BTC
# the recorded chart) matches CoinGecko's id for the ticker. Coins are left out if Yahoo lists them
# under another ticker (SOL1, DOT1, ATOM1, UNI3), used the ticker for two coins in turn (KNC, LUNA),
# or lists a future (FIL) or nothing at all.
ONE_MEANING = frozenset(
    "AAVE ADA ALGO ANKR AVAX BCH BNB BTC CHZ CRO CRV DOGE ENJ EOS ETC ETH HBAR IOTX LINK LTC MANA "
    "MKR ONT QTUM SUSHI TRX TUSD USDC USDT VET XLM XMR XRP XTZ YFI ZEC ZIL ZRX".split()
)
# Indices that vendors list under the same name as this library does, according to their
# documentation (2026-11-21).
_INDICES = frozenset({"^GSPC"})
# Stablecoins; only crypto venues quote prices in them.
_DOLLAR_COINS = frozenset("USDT USDC FDUSD BUSD TUSD USDP USDE USD1 DAI".split())
# Values of ``venue`` that do not mean a single exchange with its own list of pairs.
_NO_EXCHANGE = frozenset({"", "aggregate", "consolidated", "mock", "twelvedata"}) | SAMPLES


class Lister(NamedTuple):
    """A vendor that lists an instrument, and the kind of the vendor's bars (venue, hours, volume unit)."""

    vendor: str
    kind: Kind

    @property
    def is_exchange(self) -> bool:
        """Whether the vendor lists instruments of only one venue."""
        return self.kind.venue not in _NO_EXCHANGE


def names_an_exchange(instrument: Instrument) -> bool:
    """Return whether only an exchange can list a pair, because the pair is priced in another coin."""
    quote = instrument.quote or ""
    is_coin = quote in _DOLLAR_COINS or quote in ONE_MEANING or len(quote) != len("USD")
    return instrument.asset_class == "crypto" and bool(quote) and is_coin


def named_at(instrument: Instrument, vendor: str) -> str:
    """Return the symbol that users can type to request ``vendor``'s own listing of this ticker."""
    return f"{instrument.base}-USD" if _is_restated(instrument, vendor) else instrument.symbol


def is_proved(instrument: Instrument, listed: Lister, asset: Lister) -> bool:
    """Return whether ``listed`` certainly lists the same asset as ``asset``.

    Shares are identified by their ticker and venue, which every request to a vendor contains, and
    currencies by ISO 4217. Two coins are the same asset if they are on the same venue, if the
    user's rules give the vendor's name for the coin, or if the ticker means the same coin
    everywhere. The last condition is also sufficient if a vendor quotes in dollars instead of a
    stablecoin.
    """
    if listed.vendor in instrument.own_spellings:
        return True
    if instrument.asset_class in ("stock", "forex") or row_of(listed.vendor).by_id:
        return True
    is_own = listed.vendor == asset.vendor and not _is_restated(instrument, listed.vendor)
    if is_own or (listed.is_exchange and listed.kind.venue == asset.kind.venue):
        return True
    letters = instrument.base if instrument.asset_class == "crypto" else instrument.symbol
    return letters in (ONE_MEANING if instrument.asset_class == "crypto" else _INDICES)


def _is_restated(instrument: Instrument, vendor: str) -> bool:
    """Return whether the vendor's spelling means dollar prices although the pair is quoted in a coin."""
    spelled = instrument.spelling(vendor).removesuffix(".CC")
    return (
        instrument.base is not None
        and instrument.quote != "USD"
        and spelled == f"{instrument.base}-USD"
    )
