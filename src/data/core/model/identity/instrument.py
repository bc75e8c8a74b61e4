"""An instrument: what a symbol refers to, with its venue and currency."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal

from .kind import AskedSession

AssetClass = Literal["crypto", "stock", "forex", "index", "future"]

# Suffix of an exchange's calendar code for its pre-market and after-hours trading.
EXTENDED = "@extended"


@dataclass(frozen=True)
class Instrument:
    """The meaning of a symbol according to the classification rules.

    Attributes:
        symbol: Canonical spelling, uppercase, such as ``BRK-B`` or ``BTCUSDT``.
        asset_class: One of :data:`AssetClass`.
        calendar: Name of the trading calendar: ``24/7``, ``FX``, or the code of an exchange
            calendar such as ``XNYS`` (``XNYS@extended`` for extended hours).
        timezone: IANA name of the venue's local time; session dates are in this zone.
        exchange: Usual name of the venue, if known (``NASDAQ``, ``LSE``).
        base, quote: Parts of a pair; ``quote`` is the currency of prices, if known.
        spellings: Maps each vendor to its own spelling of the symbol, if that differs from the
            canonical one.
        own_spellings: Vendors whose spelling comes from the user's rules.
    """

    symbol: str
    asset_class: AssetClass
    calendar: str = "24/7"
    timezone: str = "UTC"
    exchange: str | None = None
    base: str | None = None
    quote: str | None = None
    spellings: Mapping[str, str] = field(default_factory=dict, hash=False)
    own_spellings: frozenset[str] = frozenset()

    @property
    def is_extended(self) -> bool:
        """Whether pre-market and after-hours trading are included."""
        return self.calendar.endswith(EXTENDED)

    @property
    def session(self) -> AskedSession:
        """The name that queries use for the trading hours included here."""
        return "extended" if self.is_extended else "regular"

    def in_session(self, session: AskedSession) -> Instrument:
        """Return the same instrument with the trading hours that queries call ``session``."""
        is_same = (session == "extended") == self.is_extended
        return self if is_same else _change_session(self)

    def extended(self) -> Instrument:
        """Return the same instrument with pre-market and after-hours trading included."""
        return self.in_session("extended")

    def spelling(self, vendor: str) -> str:
        """Return the vendor's spelling of this instrument."""
        return self.spellings.get(vendor, self.symbol)


# Always returns the same object for an instrument, because cached answers are looked up by the
# identity of the requested object.
@lru_cache(4096)
def _change_session(instrument: Instrument) -> Instrument:
    regular = instrument.calendar.removesuffix(EXTENDED)
    calendar = regular if instrument.is_extended else f"{regular}{EXTENDED}"
    return replace(instrument, calendar=calendar)
