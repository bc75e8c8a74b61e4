"""The inputs of an answer, so that it can be read again: bars of a generation, and actions."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .actions import Action
from .bars import BarTable
from .canonical import canonical
from .coverage import Coverage
from .kind import Adjustment
from .query import BarsQuery
from .series import SeriesKey
from .span import Span

_ROWS = b"onetape-rows-1\n"


@dataclass(frozen=True)
class AppliedActions:
    """The splits and dividends that bars were brought to an adjustment by.

    Attributes:
        as_of: the date of the basis; None for what has no actions.
        rows: those that count.
        own: vendor to those that count for its bars, where vendors are divided.
        closes: ex-date to the close before it that was taken; None where the bars stayed as they are stored.
    """

    as_of: date | None = None
    rows: tuple[Action, ...] = ()
    own: Mapping[str, tuple[Action, ...]] = field(default_factory=dict)
    closes: Mapping[date, float | None] | None = None

    @classmethod
    def of_book(
        cls, book: Any, as_of: date | None, closes: Mapping[date, float | None] | None
    ) -> AppliedActions:
        """Return what counts of a book with ``actions``, ``disputed`` and ``of(vendor)``; None: of no book.

        Where vendors are divided, each that said something of it has its own: for bars of any other one
        the common rows count.
        """
        if book is None:
            return cls(as_of)
        divided = {report.source for event in book.disputed for report in event.reports}
        own = {vendor: tuple(book.of(vendor)) for vendor in sorted(divided)}
        return cls(as_of, tuple(book.actions), own, closes)

    def to_json(self) -> dict[str, Any]:
        """Return the plain mapping; ``digest`` is of the rest of it."""
        plain: dict[str, Any] = {
            "as_of": self.as_of.isoformat() if self.as_of else None,
            "rows": [action.to_json() for action in self.rows],
        }
        if self.own:
            plain["own"] = {v: [a.to_json() for a in rows] for v, rows in self.own.items()}
        if self.closes is not None:
            plain["closes"] = {day.isoformat(): close for day, close in self.closes.items()}
        digest = hashlib.sha256(canonical(plain).encode()).hexdigest()
        return {"digest": f"sha256:{digest}", **plain}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> AppliedActions:
        """Return what :meth:`to_json` wrote; raises ``KeyError``, ``TypeError`` or ``ValueError``."""
        closes = plain.get("closes")
        return cls(
            date.fromisoformat(plain["as_of"]) if plain["as_of"] else None,
            tuple(map(_action, plain["rows"])),
            {v: tuple(map(_action, rows)) for v, rows in plain.get("own", {}).items()},
            None if closes is None else {date.fromisoformat(d): c for d, c in closes.items()},
        )


def _action(plain: Mapping[str, Any]) -> Action:
    values = {**plain, "ex_date": date.fromisoformat(plain["ex_date"])}
    values["parts"] = tuple(values.get("parts", ()))
    return Action(**values)


class BarsRead(NamedTuple):
    """An answer of bars as it was handed on.

    Attributes:
        root: the cache folder.
        series: whose stored bars they are, or are made of.
        generation: of that series; None where some of the bars could not be stored.
        query: the question.
        table: the bars; their arrays are those of the caller's frame.
        coverage: where each stretch came from.
        lacking: stretches in which a bar is expected, or may be, and none is.
        unexpected: stretches of bars that stand where none is expected.
        unstored: stamp and reason of rows that no generation holds: running bars, and what cannot be one.
        as_of: the date of the basis.
        book: the splits and dividends known then, with ``actions``, ``disputed`` and ``of(vendor)``.
        closes: as of :class:`AppliedActions`.
        span: the stamps that were read of the series.
        is_made: whether the bars were made of those of the series, which are shorter.
        substitute: what of another kind stands in; empty where nothing does.
    """

    root: Path
    series: SeriesKey
    generation: int | None
    query: BarsQuery
    table: BarTable
    coverage: Coverage
    lacking: tuple[Span, ...]
    unexpected: tuple[Span, ...]
    unstored: tuple[tuple[int, str], ...]
    as_of: date | None
    book: Any
    closes: Mapping[date, float | None] | None
    span: Span
    is_made: bool
    substitute: str

    def applied(self) -> AppliedActions:
        """Return the splits and dividends known then, by ex-date, as they count for the bars."""
        return AppliedActions.of_book(self.book, self.as_of, self.closes)


@dataclass(frozen=True)
class StoredRead:
    """What is to be read again.

    Attributes:
        series: whose stored bars.
        spans: of their stamps, ascending and disjoint.
        adjustment: which they are brought to.
        provider: the vendor that was pinned.
        generation: of the series; None: the newest.
        applied: the splits and dividends to apply; None: those of today.
        as_stored: whether bars stand in as they are stored where the actions of today cannot bring them
            there, as they did when they were read.
    """

    series: SeriesKey
    spans: tuple[Span, ...]
    adjustment: Adjustment
    provider: str | None = None
    generation: int | None = None
    applied: AppliedActions | None = None
    as_stored: bool = False


class ReadAgain(NamedTuple):
    """Bars that were read again.

    Attributes:
        generation: of the series.
        table: the bars in the asked adjustment, ascending.
        coverage: vendor, state and basis of each stretch.
        applied: what was applied.
    """

    generation: int
    table: BarTable
    coverage: Coverage
    applied: AppliedActions


class RowsDigest:
    """A digest of ascending bars that may grow at their end; a copy costs nothing.

    The text is ``sha256:`` and 64 hex digits: of the line ``onetape-rows-1``, then of each bar its stamp
    (UTC milliseconds), open, high, low, close and volume as little-endian 64-bit numbers. ``-0.0`` is not
    ``0.0``; all NaN are one.
    """

    def __init__(self) -> None:
        self._digest = hashlib.sha256(_ROWS)

    def add(self, table: BarTable) -> RowsDigest:
        """Add later bars, and return this digest."""
        rows = np.empty((len(table), 6), dtype="<f8")
        rows.view("<i8")[:, 0] = table.stamps
        for place, column in enumerate(table.values()[:5], 1):
            rows[:, place] = column
        values = rows[:, 1:]
        missing = np.isnan(values)
        if missing.any():
            values[missing] = np.nan
        self._digest.update(rows.data)
        return self

    def __str__(self) -> str:
        return f"sha256:{self._digest.hexdigest()}"


def digest_of(tables: Sequence[BarTable]) -> str:
    """Return the :class:`RowsDigest` of several ascending tables, one behind the other."""
    digest = RowsDigest()
    for table in tables:
        digest.add(table)
    return str(digest)
