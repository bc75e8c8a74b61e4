"""What decides the meaning of a symbol, as values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Exchange:
    """A venue of stocks, by its suffix.

    Attributes:
        suffix: the canonical one, such as ``.L``; ``code`` is the short name, such as ``LSE``.
        quote: unit of prices, None where it varies from share to share.
        market: UK, EU, ASIA and so on, for fundamentals.
        bare: whether the canonical spelling of its symbols has no suffix.
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
    """Everything that decides what a symbol means; texts are upper case."""

    symbols: Mapping[str, str | Mapping[str, Any]] = field(default_factory=dict)
    stablecoins: frozenset[str] = frozenset()
    quotes: tuple[str, ...] = ()
    assets: frozenset[str] = frozenset()
    currencies: frozenset[str] = frozenset()
    crypto_patterns: tuple[re.Pattern[str], ...] = ()
    stock_patterns: tuple[re.Pattern[str], ...] = ()
    exchanges: Mapping[str, Exchange] = field(default_factory=dict)
    indices: Mapping[str, Exchange] = field(default_factory=dict)
    etfs: frozenset[str] = frozenset()
    reits: frozenset[str] = frozenset()
    listings: Mapping[str, str] = field(default_factory=dict)
