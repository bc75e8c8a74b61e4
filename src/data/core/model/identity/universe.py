"""The members of a universe (a named list of symbols) on a day."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, Protocol, overload

from ..display.texts import counted

__all__ = ["Members", "Universes"]


@dataclass(frozen=True, repr=False)
class Members(Sequence[str]):
    """The symbols in a universe on a date, or on any date in a range; a sequence of strings.

    Attributes:
        name: Name of the universe.
        symbols: Symbols as written by their source, sorted and unique, including delisted ones.
        as_of: Session date for which the membership holds.
        is_pit: Whether the answer is point-in-time: ``as_of`` is not in the future, and each
            membership was dated by its source or recorded by this library no later than ``as_of``.
        known_from: First session date for which answers are point-in-time; None if there is none.
        reason: One sentence about why the answer is not point-in-time; empty if it is.
        since: First session date of a range that ends with ``as_of``; ``symbols`` then contains the
            members on any day of the range. None for a single date.
    """

    name: str
    symbols: tuple[str, ...]
    as_of: date
    is_pit: bool
    known_from: date | None
    reason: str = ""
    since: date | None = None

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...

    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:
        return self.symbols[index]

    def __len__(self) -> int:
        return len(self.symbols)

    def __iter__(self) -> Iterator[str]:
        return iter(self.symbols)

    def __contains__(self, symbol: object) -> bool:
        return symbol in self.symbols

    def as_dict(self) -> dict[str, Any]:
        """Return the attributes as JSON-compatible values; dates and times are ISO strings."""
        return asdict(self) | {
            "symbols": list(self.symbols),
            "as_of": self.as_of.isoformat(),
            "known_from": self.known_from.isoformat() if self.known_from else None,
            "since": self.since.isoformat() if self.since else None,
        }

    def __str__(self) -> str:
        label = "point-in-time" if self.is_pit else "not point-in-time"
        reason = f": {self.reason}" if self.reason else ""
        days = f"from {self.since} to {self.as_of}" if self.since else f"on {self.as_of}"
        return f"{self.name} {days}: {counted(len(self), 'member')}, {label}{reason}"

    def __repr__(self) -> str:
        return f"<Members {self}>"


class Universes(Protocol):
    """Interface for looking up the members of a universe on a day. Thread-safe."""

    def members(
        self,
        name: str,
        as_of: date | str | None = None,
        strict: bool = False,
        since: date | str | None = None,
    ) -> Members:
        """Return the members of a universe on a session date, or on any day of a range.

        Args:
            name: Name of the universe.
            as_of: Session date, as a date or ``YYYY-MM-DD``; None means today (UTC).
            strict: Whether to raise if the answer is not point-in-time.
            since: Start of a range up to ``as_of``, both inclusive. The result contains each symbol
                that was a member on any session date in the range. The result is point-in-time if
                the answer for each of these dates is.

        Warns:
            SurvivorshipWarning: The answer is not point-in-time, and ``strict`` is not set.

        Raises:
            UniverseError: There is no such universe, an argument is invalid, ``since`` is after
                ``as_of``, or ``strict`` is set and the answer is not point-in-time.
            DatabaseError: The database cannot be used.
        """
        ...
