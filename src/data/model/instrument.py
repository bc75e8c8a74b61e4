"""An instrument: the thing a symbol means, its venue and its currency."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal

from .kind import AskedSession

AssetClass = Literal["crypto", "stock", "forex", "index", "future"]

# Behind the code of an exchange's calendar: with its trading before the open and behind the close.
EXTENDED = "@extended"


@dataclass(frozen=True)
class Instrument:
    """What a symbol stands for, as the classification rules understand it.

    Attributes:
        symbol: our canonical spelling, upper case, such as ``BRK-B`` or ``BTCUSDT``.
        asset_class: one of :data:`AssetClass`.
        calendar: ``24/7``, ``FX``, or the code of an exchange calendar such as ``XNYS``;
            ``XNYS@extended`` with its extended hours.
        timezone: IANA name of the venue's local time; the day of a session is counted in it.
        exchange: the venue's usual name where known (``NASDAQ``, ``LSE``).
        base, quote: of a pair; ``quote`` is the currency of prices where it is known.
        spellings: vendor name to the vendor's own spelling, where it is not the canonical one.
        own_spellings: the vendors whose spelling the user's rules give.
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
        """Whether it is meant with the trading before its market's open and behind its close."""
        return self.calendar.endswith(EXTENDED)

    @property
    def session(self) -> AskedSession:
        """The hours in which it is meant, as a question names them."""
        return "extended" if self.is_extended else "regular"

    def in_session(self, session: AskedSession) -> Instrument:
        """Return the same in the hours that a question or a stored series names."""
        return self.extended() if session == "extended" else self

    def extended(self) -> Instrument:
        """Return the same with the trading before its market's open and behind its close."""
        return self if self.is_extended else _extended(self)

    def spelling(self, vendor: str) -> str:
        """Return how ``vendor`` writes this instrument."""
        return self.spellings.get(vendor, self.symbol)


# One object for each: kept answers are found by the very object that was asked about.
@lru_cache(4096)
def _extended(instrument: Instrument) -> Instrument:
    return replace(instrument, calendar=f"{instrument.calendar}{EXTENDED}")
