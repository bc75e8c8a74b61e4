"""A symbol as a vendor lists it: its name, venue, type and currency."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

__all__ = ["LISTING_TYPES", "Listing", "ListingType"]

ListingType = Literal["stock", "fund", "crypto", "forex", "index", "future", "other"]
LISTING_TYPES: tuple[ListingType, ...] = get_args(ListingType)

# What a vendor writes into a field stays within this.
_LONGEST = 200


@dataclass(frozen=True)
class Listing:
    """One symbol of a vendor's list.

    Attributes:
        symbol: as ``get_ohlcv`` takes it, canonical, such as ``BRK-B``, ``VOD.L``, ``BTCUSDT``.
        name: of the company, fund, coin or pair; empty where unknown.
        venue: where it is listed, in the vendor's words; empty where unknown.
        type: one of :data:`ListingType`.
        currency: of its prices; empty where unknown.
        vendor: whose list it is from.
    """

    symbol: str
    name: str = ""
    venue: str = ""
    type: ListingType = "other"
    currency: str = ""
    vendor: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values under the names of the attributes."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.symbol} ({self.name})" if self.name else self.symbol


def plain_text(value: Any) -> str:
    """Return a vendor's text on one line: no control characters, no runs of blanks, of bounded length.

    What is no text is empty.
    """
    if not isinstance(value, str):
        return ""
    kept = "".join(c if c.isprintable() else " " for c in value[: 4 * _LONGEST])
    return " ".join(kept.split())[:_LONGEST]
