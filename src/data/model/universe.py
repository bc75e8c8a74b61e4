"""Members of a universe (a named list of symbols) on a day, with evidence for disputed memberships."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any, Protocol, overload

from .texts import counted

__all__ = ["Members", "Universes", "Unresolved"]


@dataclass(frozen=True)
class Unresolved:
    """A membership for which the sources are contradictory or impossible.

    Attributes:
        symbol: Symbol whose membership is unresolved.
        day: Session date in question.
        reason: Description of what is impossible or contradictory.
        evidence: Location of each source's statement: source, digest and line, or the number of a
            filing.
    """

    symbol: str
    day: date
    reason: str
    evidence: tuple[str, ...] = ()

    def __str__(self) -> str:
        where = f" ({'; '.join(self.evidence)})" if self.evidence else ""
        return f"{self.symbol} on {self.day}: {self.reason}{where}"


@dataclass(frozen=True, repr=False)
class Members(Sequence[str]):
    """The symbols in a universe on a date, or on any date in a range; a sequence of strings.

    Attributes:
        name: Name of the universe.
        symbols: Symbols as written by their source, sorted and unique, including delisted ones. If
            the sources disagree about a symbol's membership on that day, the symbol is in
            ``unresolved`` instead.
        as_of: Session date for which the membership holds.
        known_at: Aware UTC time; records made after it are ignored. Repeating the query with this
            value always returns the same symbols.
        is_pit: Whether the answer is point-in-time: ``as_of`` is not in the future, each membership
            was dated by its source or recorded by this library no later than ``as_of``, and nothing
            is unresolved.
        known_from: First session date for which answers are point-in-time; None if there is none.
        unresolved: Impossible or contradictory memberships that prevent a point-in-time answer.
        reason: One sentence about the answer: why it is not point-in-time, a later correction, or a
            list that is older than usual; may be empty.
        since: First session date of a range that ends with ``as_of``; ``symbols`` then contains the
            members on any day of the range. None for a single date.
    """

    name: str
    symbols: tuple[str, ...]
    as_of: date
    known_at: datetime
    is_pit: bool
    known_from: date | None
    unresolved: tuple[Unresolved, ...] = ()
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
            "known_at": self.known_at.isoformat().replace("+00:00", "Z"),
            "known_from": self.known_from.isoformat() if self.known_from else None,
            "since": self.since.isoformat() if self.since else None,
            "unresolved": [
                asdict(each) | {"day": each.day.isoformat(), "evidence": list(each.evidence)}
                for each in self.unresolved
            ],
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
        known_at: datetime | date | str | None = None,
        strict: bool = False,
        since: date | str | None = None,
    ) -> Members:
        """Return the members of a universe on a session date, or on any day of a range.

        Args:
            name: Name of the universe.
            as_of: Session date, as a date or ``YYYY-MM-DD``; None means the UTC date of
                ``known_at`` or, if that is None, today's.
            known_at: Ignore records made after this instant: an aware or naive (UTC) datetime, a
                date (its end, UTC) or an ISO string. None for all records.
            strict: Whether to raise if the answer is not point-in-time.
            since: Start of a range up to ``as_of``, both inclusive. The result contains each symbol
                that was a member on any session date in the range. The result is point-in-time if
                the answer for each of these dates is.

        Warns:
            SurvivorshipWarning: The answer is not point-in-time, and ``strict`` is not set.

        Raises:
            UniverseError: There is no such universe, an argument is invalid, ``since`` is after
                ``as_of``, nothing had been recorded by ``known_at``, or ``strict`` is set and the
                answer is not point-in-time.
            DatabaseError: The database cannot be used.
        """
        ...
