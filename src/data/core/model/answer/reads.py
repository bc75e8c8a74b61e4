"""The inputs from which an answer can be read again: the bars stored as of a commit, and actions."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..identity.kind import Adjustment
from ..identity.series import SeriesKey
from ..market.actions import Action
from ..market.bars import BarTable
from ..request.query import BarsQuery
from ..stored.coverage import Coverage
from ..time.span import Span

_ROWS = b"onetape-rows-1\n"


@dataclass(frozen=True)
class AppliedActions:
    """The splits and dividends that were used to adjust bars.

    Attributes:
        as_of: Date as of which prices are adjusted; None for an instrument without actions.
        rows: Actions that were used.
        own: Maps each vendor to the actions used for its bars, if vendors disagree.
        closes: Maps each ex-date to the close before it, which was used in the adjustment; None if
            the bars were left as stored.
    """

    as_of: date | None = None
    rows: tuple[Action, ...] = ()
    own: Mapping[str, tuple[Action, ...]] = field(default_factory=dict)
    closes: Mapping[date, float | None] | None = None

    @classmethod
    def of_book(
        cls, book: Any, as_of: date | None, closes: Mapping[date, float | None] | None
    ) -> AppliedActions:
        """Return the actions to apply from a book of reported actions; empty if ``book`` is None.

        A book is an object with ``actions``, ``disputed`` and ``of(vendor)``. If vendors disagree,
        each vendor that reported on the disputed actions gets its own rows; the common rows apply
        to bars from all other vendors.
        """
        if book is None:
            return cls(as_of)
        divided = {report.source for event in book.disputed for report in event.reports}
        by_vendor = {vendor: tuple(book.of(vendor)) for vendor in sorted(divided)}
        return cls(as_of, tuple(book.actions), by_vendor, closes)


# For the user's own files, the lower bits of a generation count the commits to the lane in memory, and
# the others stand for the version of the file.
COMMIT_BITS = 20


def is_same_file(generation: int, later: int) -> bool:
    """Return whether two generations are from the same version of one of the user's own files."""
    return generation >> COMMIT_BITS == later >> COMMIT_BITS


class BarsRead(NamedTuple):
    """Bars as they were returned to a caller, with everything needed to read them again.

    Attributes:
        root: Cache folder.
        series: Series that contains these bars, or the bars from which they are built.
        generation: Number of the series' last commit at the time of the read; None if some of the
            bars could not be stored.
        query: Query that was answered.
        table: Bars; their arrays are those of the caller's frame.
        coverage: Origin of each part of the bars.
        lacking: Spans without bars in which bars are expected or possible.
        unexpected: Spans in which there are bars although the calendar expects none.
        unstored: Timestamp and reason for each row that is never stored, that is, forming bars.
        as_of: Date as of which prices are adjusted.
        book: Splits and dividends known at the time of the read, with ``actions``, ``disputed`` and
            ``of(vendor)``.
        closes: See :class:`AppliedActions`.
        span: Span that was read from the series.
        is_made: Whether the bars were built from shorter bars, namely the bars of ``series``.
        substitute: Description of the kind of bars returned in place of the requested kind; empty
            if it was not replaced.
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
        """Return the splits and dividends, as known at the time of the read, that were applied."""
        return AppliedActions.of_book(self.book, self.as_of, self.closes)


@dataclass(frozen=True)
class StoredRead:
    """A description of stored bars from which they can be read again.

    Attributes:
        series: Series whose stored bars are read.
        spans: Spans to read, ascending and disjoint.
        adjustment: Adjustment to apply.
        provider: Vendor that was pinned, or None.
        generation: Number of the commit as of which to read the series; None for the latest.
        applied: Splits and dividends to apply; None for those known today.
        as_stored: Whether bars are returned as stored if they cannot be adjusted with today's
            actions, as happened when they were first read.
        opened_by_ms: With the actions known today: apply only those for which a session had opened
            by this time, UTC milliseconds; None for no limit.
    """

    series: SeriesKey
    spans: tuple[Span, ...]
    adjustment: Adjustment
    provider: str | None = None
    generation: int | None = None
    applied: AppliedActions | None = None
    as_stored: bool = False
    opened_by_ms: int | None = None


class ReadAgain(NamedTuple):
    """Bars that were read again.

    Attributes:
        generation: Number of the series' commit that was read.
        table: Bars in the requested adjustment, ascending.
        coverage: Vendor, state and basis of each part of the bars.
        applied: Actions that were applied.
    """

    generation: int
    table: BarTable
    coverage: Coverage
    applied: AppliedActions


class RowsDigest:
    """An incremental digest of ascending bars; later bars can be added.

    The text form of the digest is ``sha256:`` and 64 hex digits. The hash covers the line
    ``onetape-rows-1``, then for each bar its timestamp (UTC milliseconds), open, high, low, close
    and volume as little-endian 64-bit numbers. ``-0.0`` and ``0.0`` differ; all NaNs are equal.
    """

    def __init__(self) -> None:
        self._digest = hashlib.sha256(_ROWS)

    def add(self, table: BarTable) -> RowsDigest:
        """Add later bars, and return the digest itself."""
        rows = np.empty((len(table), 6), dtype="<f8")
        rows.view("<i8")[:, 0] = table.stamps
        for index, column in enumerate(table.values()[:5], 1):
            rows[:, index] = column
        values = rows[:, 1:]
        missing = np.isnan(values)
        if missing.any():
            values[missing] = np.nan
        self._digest.update(rows.data)
        return self

    def __str__(self) -> str:
        return f"sha256:{self._digest.hexdigest()}"


def digest_of(tables: Sequence[BarTable]) -> str:
    """Return the :class:`RowsDigest` of several consecutive, ascending tables."""
    digest = RowsDigest()
    for table in tables:
        digest.add(table)
    return str(digest)
