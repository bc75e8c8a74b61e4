"""An instrument: what a symbol means, where it trades, in which currency."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

AssetClass = Literal["crypto", "stock", "forex", "index", "future"]


@dataclass(frozen=True)
class Instrument:
    """What a symbol stands for, as the classification rules understand it.

    Attributes:
        symbol: our canonical spelling, upper case, such as ``BRK-B`` or ``BTCUSDT``.
        asset_class: one of :data:`AssetClass`.
        calendar: ``24/7``, ``FX``, or the code of an exchange calendar such as ``XNYS``.
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

    def spelling(self, vendor: str) -> str:
        """Return how ``vendor`` writes this instrument."""
        return self.spellings.get(vendor, self.symbol)
