"""Exchanges, and the tables used to classify symbols."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...runtime.once import cached_property


@dataclass(frozen=True)
class Exchange:
    """A stock exchange, identified by the suffix of its symbols.

    Attributes:
        suffix: Canonical suffix of the exchange's symbols, such as ``.L``.
        code: Short name, such as ``LSE``.
        quote: Currency or unit of prices; None if it varies from share to share.
        market: Region, such as ``UK``, ``EU`` or ``ASIA``, which decides which vendors are queried
            for fundamentals.
        bare: Whether the exchange's symbols have no suffix in their canonical spelling.
    """

    suffix: str
    name: str = ""
    code: str = ""
    calendar: str = "24/5"
    timezone: str = "UTC"
    country: str = "unknown"
    currency: str = "unknown"
    quote: str | None = None
    market: str = "unknown"
    bare: bool = False


@dataclass(frozen=True)
class Classification:
    """The tables used to classify symbols; all strings are uppercase.

    ``suffixes`` are the endings, other than stablecoins, that a pair can have. ``venues`` maps each
    index to the suffix of its exchange.
    """

    symbols: Mapping[str, str | Mapping[str, Any]] = field(default_factory=dict)
    stablecoins: frozenset[str] = frozenset()
    suffixes: frozenset[str] = frozenset()
    assets: frozenset[str] = frozenset()
    currencies: frozenset[str] = frozenset()
    crypto_patterns: tuple[re.Pattern[str], ...] = ()
    stock_patterns: tuple[re.Pattern[str], ...] = ()
    exchanges: Mapping[str, Exchange] = field(default_factory=dict)
    venues: Mapping[str, str] = field(default_factory=dict)
    etfs: frozenset[str] = frozenset()
    reits: frozenset[str] = frozenset()
    listings: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def quotes(self) -> tuple[str, ...]:
        """Quote assets that a crypto pair can end with, longest first."""
        return tuple(sorted(self.suffixes | self.stablecoins, key=lambda text: (-len(text), text)))

    @cached_property
    def indices(self) -> dict[str, Exchange]:
        """Maps each index to its exchange."""
        venues = self.venues.items()
        return {name: self.exchanges[v] for name, v in venues if v in self.exchanges}

    @cached_property
    def all_quotes(self) -> frozenset[str]:
        """All assets that a pair can end with: crypto pairs' quote assets, and currencies."""
        return self.currencies.union(self.quotes)
