"""The definition of a universe, as it is stored. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ...core.model.words.printable import printable
from ...errors import UniverseError

__all__ = ["UniverseDefinition"]

TYPES = ("static", "filter", "index")
_NUMBERS = ("min_market_cap", "max_market_cap", "min_avg_volume", "min_price")
_LISTS = ("sectors", "exclude_sectors")
FILTERS = (*_NUMBERS, *_LISTS)
_FIELD = {"static": "symbols", "filter": "filters", "index": "index_name"}
_LONGEST_NAME = 100


@dataclass
class UniverseDefinition:
    """The definition of a universe.

    Examples:
        >>> from onetape.db import UniverseDefinition
        >>> watched = UniverseDefinition("static", symbols=["AAPL", "MSFT"])
        >>> watched.check()

    Attributes:
        type: ``static`` (a list of symbols), ``filter`` (the symbols in the symbols table that pass
            the filters) or ``index`` (files that list the members of an index).
        description: Description for human readers.
        symbols: Symbols of a static universe.
        filters: ``min_market_cap``, ``max_market_cap`` and ``min_price`` in USD,
            ``min_avg_volume`` in shares per day, all inclusive; ``sectors``, ``exclude_sectors``:
            lists of names.
        index_name: Path of a file that lists the members of an index, or a name for files to be
            imported later.
    """

    type: str
    description: str = ""
    symbols: Sequence[str] | None = None
    filters: Mapping[str, Any] | None = None
    index_name: str | None = None

    def model_dump(self) -> dict[str, Any]:
        """Return the attributes as a dictionary of JSON values."""
        return asdict(self) | {
            "symbols": list(self.symbols) if self.symbols is not None else None,
            "filters": dict(self.filters) if self.filters is not None else None,
        }

    def check(self) -> None:
        """Check that the definition is complete and consistent.

        Raises:
            UniverseError: An attribute is missing, is invalid or does not fit the type; the message
                names the attribute.
        """
        if self.type not in TYPES:
            raise UniverseError(
                f"unknown universe type {self.type!r:.80}", hint=f"use one of {', '.join(TYPES)}"
            )
        if not isinstance(self.description, str):
            raise UniverseError("the description of a universe must be a string")
        for type_, field in _FIELD.items():
            value = getattr(self, field)
            if type_ == self.type and not value:
                raise UniverseError(f"a universe of type {type_} needs {field}")
            if type_ != self.type and value is not None:
                raise UniverseError(f"a universe of type {self.type} does not accept {field}")
        if self.filters is not None:
            check_filters(self.filters)
        if isinstance(self.symbols, str | bytes):
            raise UniverseError("symbols must be a list of strings, not one string")


def check_filters(filters: Mapping[str, Any]) -> None:
    """Check the names and values of filters.

    Raises:
        UniverseError: A name is not one of :data:`FILTERS`, or its value has the wrong type.
    """
    for name, value in filters.items():
        if name not in FILTERS:
            raise UniverseError(
                f"unknown filter {name!r:.80}", hint=f"use one of {', '.join(FILTERS)}"
            )
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if name in _NUMBERS and not (is_number and math.isfinite(value) and value >= 0):
            raise UniverseError(f"filter {name} must be a non-negative number, not {value!r:.80}")
        is_list = isinstance(value, list | tuple | set | frozenset) and value
        if name in _LISTS and not (
            is_list and all(isinstance(item, str) and item for item in value)
        ):
            raise UniverseError(f"filter {name} must be a list of names, not {value!r:.80}")
    low, high = filters.get("min_market_cap", 0), filters.get("max_market_cap", math.inf)
    if low > high:
        raise UniverseError(f"min_market_cap {low:,} is above max_market_cap {high:,}")


def check_name(name: object) -> str:
    """Return the name of a universe or a source if it is valid.

    Raises:
        UniverseError: The name is empty, longer than 100 characters, or not printable on one
            line.
    """
    if not isinstance(name, str) or not name or name != name.strip() or len(name) > _LONGEST_NAME:
        raise UniverseError(
            f"invalid name {name!r:.120}; use 1 to {_LONGEST_NAME} characters without "
            "spaces around them"
        )
    if printable(name) != name or not name.isprintable():
        raise UniverseError(
            f"invalid name {name!r:.120}; it contains characters that cannot be printed"
        )
    return name
