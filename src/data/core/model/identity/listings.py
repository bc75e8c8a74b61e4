"""A symbol as a vendor lists it: its name, venue, type and currency."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

__all__ = ["LISTING_TYPES", "Listing", "ListingType"]

ListingType = Literal["stock", "fund", "crypto", "forex", "index", "future", "other"]
LISTING_TYPES: tuple[ListingType, ...] = get_args(ListingType)

# Maximum length of a vendor's text in a field.
_LONGEST = 200


@dataclass(frozen=True)
class Listing:
    """One symbol in a vendor's list.

    Examples:
        >>> listing = manager.search("apple", limit=1, offline=True)[0]
        >>> listing.symbol, listing.type
        ('AAPL', 'stock')

    Attributes:
        symbol: Canonical symbol, accepted by ``get_ohlcv``, such as ``BRK-B``, ``VOD.L``,
            ``BTCUSDT``.
        name: Name of the company, fund, coin or pair; empty if unknown.
        venue: Place of listing, in the vendor's words; empty if unknown.
        type: Type of instrument, one of :data:`ListingType`.
        currency: Currency of prices; empty if unknown.
        vendor: Vendor in whose list the symbol appears.
    """

    symbol: str
    name: str = ""
    venue: str = ""
    type: ListingType = "other"
    currency: str = ""
    vendor: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the attributes as JSON-compatible values, keyed by name."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.symbol} ({self.name})" if self.name else self.symbol


def plain_text(value: Any) -> str:
    """Return a vendor's text as one line of limited length.

    Control characters are removed, and runs of spaces reduced to one. The result is empty if the
    value is not a string.
    """
    if not isinstance(value, str):
        return ""
    printable = "".join(c if c.isprintable() else " " for c in value[: 4 * _LONGEST])
    return " ".join(printable.split())[:_LONGEST]
