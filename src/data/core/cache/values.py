"""Values that the store accepts and returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from operator import attrgetter
from typing import Any, Literal, NamedTuple, Self

import numpy as np

from ...errors import CacheError
from ..disk.files import FileState
from ..model.identity.kind import Basis, Kind
from ..model.identity.series import SeriesKey
from ..model.market.bars import BadRow, BarTable
from ..model.stored.coverage import STATES, Coverage, Covered, Splice, stretches
from ..model.stored.lifetime import Lifetime
from ..model.time.instant import MINUTE_MS, NEVER_MS, SECOND_MS
from ..model.time.span import Span
from .faults import Fault


@dataclass(frozen=True)
class CommitPiece:
    """Bars to store, and the span for which they are the complete answer.

    Attributes:
        table: Rows, ascending, unique, checked, all inside ``span``; may be empty.
        span: Span that was requested and answered, in which the new answer is authoritative.
        vendor: Vendor that answered.
        fetched_at: Time of the request, UTC milliseconds.
        kind: Kind of the bars.
        basis: Basis of the bars' prices.
        state: ``final`` or ``provisional``.
        holes: Parts of ``span`` for which the vendor had no bar although one was expected; they
            stay missing.
        keeps: Whether stored bars in ``span`` that are not in ``table`` remain unchanged, as for
            answers that do not claim to be complete.
        splices: Results of comparing the bars with other vendors' bars where the two meet.
    """

    table: BarTable
    span: Span
    vendor: str
    fetched_at: int
    kind: Kind
    basis: Basis
    state: Literal["final", "provisional"]
    holes: tuple[Span, ...] = ()
    keeps: bool = False
    splices: tuple[Splice, ...] = ()

    def check(self) -> None:
        """Check the state, the span, and the timestamps and values of the rows.

        Raises:
            ValueError: The piece violates the contract, which is the caller's mistake.
        """
        wrong = self._objection()
        if wrong:
            raise ValueError(f"invalid piece from {self.vendor} for {list(self.span)}: {wrong}")

    def _objection(self) -> str:
        stamps = self.table.stamps
        if self.state not in ("final", "provisional"):
            return f"bars must be final or provisional, not {self.state!r}"
        if self.span.is_empty:
            return "the span is empty"
        if not len(stamps):
            return ""
        if not (stamps[1:] > stamps[:-1]).all():
            return "stamps must be ascending and unique"
        if stamps[0] < self.span.start or stamps[-1] >= self.span.end:
            return "rows are outside the span"
        if np.count_nonzero(stamps % SECOND_MS):
            return "a stamp is not a full second"
        return "an infinite value cannot be stored" if self.table.has_infinity() else ""


class Seal(NamedTuple):
    """A seal on stored bars, which shows whether the bars are unchanged without reading them.

    Attributes:
        files: Maps the path of each relevant folder and file to its state at the time of sealing;
            None if it did not exist.
        use: Recorder of reads of the series.
        span: Span that is sealed.
        view: For bars in memory, the view that must still be the latest.
    """

    files: Mapping[str, FileState | None]
    use: LaneUse
    span: Span
    view: SeriesView | None = None


@dataclass(frozen=True, kw_only=True)
class SeriesFacts:
    """The facts in ``series.json`` about a whole series.

    A fact is unknown if its field has the default value. :class:`Commit` contains newly learned facts;
    :class:`SeriesView` and the document itself contain the stored ones.

    Attributes:
        kind: Kind of the bars.
        next_due: Earliest time (UTC milliseconds) at which another request could change the answer.
        compared_at: Time (UTC milliseconds) at which the latest final bars were last compared with
            their vendor.
        lifetime: First and last time at which bars can exist.
    """

    kind: Kind | None = None
    next_due: int | None = None
    compared_at: int | None = None
    lifetime: Lifetime = Lifetime()

    def facts(self) -> dict[str, Any]:
        """Return the fields of this class, keyed by name."""
        return dict(zip(FACTS, _facts_of(self), strict=True))

    def known_facts(self) -> dict[str, Any]:
        """Return only the facts that are known."""
        return {name: fact for name, fact in self.facts().items() if fact != FACTS[name]}

    def updated(self, news: SeriesFacts) -> Self:
        """Return a copy updated with the known facts in ``news``."""
        lifetime = self.lifetime.updated(news.lifetime)
        return replace(self, **news.known_facts() | {"lifetime": lifetime})


# Maps each fact's name to the value that means unknown.
FACTS = {field.name: field.default for field in fields(SeriesFacts)}
_facts_of = attrgetter(*FACTS)


def no_check() -> None:
    """Do nothing, so that the commit is not interrupted."""


class SeriesChangedError(CacheError):
    """A commit was based on an earlier generation of the series; nothing was written."""


@dataclass(frozen=True)
class Commit(SeriesFacts):
    """A change to a series, in which each year is changed entirely or not at all.

    If a fact of the base class is unknown here, the stored fact stays unchanged.

    Attributes:
        pieces: Bars to store; where pieces overlap, the later piece wins.
        marks: Coverage changes without bars: ``empty`` spans, ``final`` for stored bars that were
            fetched again and found equal (``provisional`` if only the local clock shows that they
            have closed), ``suspect`` for spans that are not to be trusted.
        suspects: Invalid rows, for the quarantine; not bars whose state is ``suspect``, which are
            stored.
        quality: ``score``, ``validation_errors``, ``gaps`` and ``duplicates`` of the years, if the
            caller knows more than the answers' faults show.
        judged: Span whose faults are replaced; None if nothing was checked.
        faults: Defects of the answer for the ``judged`` span, none of which extends across the end
            of a year.
        has_verdicts: Whether bars were checked together with their neighbours; the marks contain
            the findings.
        at_generation: Generation that the series must still have, if marks depend on it; None for
            any.
        source: Version of the user's file that the request began with; empty for other series.
        is_last: Whether the caller's turn ends with this commit, because nothing else is fetched.
    """

    pieces: tuple[CommitPiece, ...] = ()
    marks: Sequence[Covered] = ()
    suspects: tuple[BadRow, ...] = ()
    quality: Mapping[str, Any] | None = None
    judged: Span | None = None
    faults: tuple[Fault, ...] = ()
    has_verdicts: bool = False
    at_generation: int | None = None
    source: str = ""
    is_last: bool = False

    def check(self) -> None:
        """Check that the commit's pieces and marks satisfy the conditions documented for them.

        Raises:
            ValueError: The commit violates the contract, which is the caller's mistake.
        """
        for piece in self.pieces:
            piece.check()
        for mark in stretches(self.marks).sources:
            if mark.state not in STATES:
                states = ", ".join(STATES)
                raise ValueError(f"mark {list(mark.span)}: {mark.state!r} is not one of {states}")

    @property
    def is_empty(self) -> bool:
        """Whether the commit would not change anything."""
        return not any((self.pieces, self.marks, self.suspects, self.known_facts()))


@dataclass(frozen=True)
class SeriesView(SeriesFacts):
    """Summary of a stored series, available without opening a data file.

    Attributes that are not listed here are documented in :class:`SeriesFacts`. If the series'
    document is lost, ``kind`` is taken from the bars. ``next_due`` is None if the years have
    changed since the document was written.

    Attributes:
        key: Series that is summarised.
        coverage: Coverage of the series.
        generation: Number that increases with every commit to any year; 0 if nothing is stored.
        rows: Number of bars stored.
        first, last: Timestamps of the first and last bar, or None.
        faults: Defects in the responses that delivered the bars.
        source: Version of the user's file from which the bars were read; empty for other series.
    """

    key: SeriesKey
    coverage: Coverage = Coverage()
    generation: int = 0
    rows: int = 0
    first: int | None = None
    last: int | None = None
    faults: tuple[Fault, ...] = ()
    source: str = ""

    @property
    def exists(self) -> bool:
        """Whether anything is stored."""
        return self.generation > 0 or self.rows > 0 or bool(self.coverage)


class StoredSpan(NamedTuple):
    """Everything stored for a span of a series.

    Attributes:
        view: View of the whole series.
        table: Bars in the span.
        coverage: Coverage of the span.
    """

    view: SeriesView
    table: BarTable
    coverage: Coverage


# --- uses -----------------------------------------------------------------------------------


# Data used this recently may be needed by a request in progress, here or in another process.
IN_USE_MS = 5 * MINUTE_MS


class Use(NamedTuple):
    """The last use of a lane: its time, and the timestamp of the first bar used (UTC milliseconds)."""

    last_ms: int = 0
    from_ms: int = 0

    def after(self, before: Use) -> Use:
        """Return the later of two uses; if they are close in time, the earlier first bar is kept."""
        first, then = sorted((self, before))
        is_soon = then.last_ms - first.last_ms < IN_USE_MS
        return Use(then.last_ms, min(first.from_ms, then.from_ms) if is_soon else then.from_ms)

    def needs(self, until_ms: int, now_ms: int) -> bool:
        """Return whether bars before ``until_ms`` were used so recently that they may be in use now."""
        return self.last_ms > now_ms - IN_USE_MS and self.from_ms < until_ms


class LaneUse:
    """Records the uses of a lane.

    Thread-safe, although a use may occasionally be lost. To save time, reads do not query a clock;
    instead, they are dated when :meth:`take_last` is called.
    """

    __slots__ = ("_committed_ms", "_from_ms", "_is_read")

    def __init__(self) -> None:
        self._is_read, self._committed_ms, self._from_ms = False, 0, NEVER_MS

    def note_read(self, from_ms: int) -> None:
        """Record a read of bars at or after ``from_ms``."""
        self._is_read = True
        if from_ms < self._from_ms:
            self._from_ms = from_ms

    def note_commit(self, from_ms: int, now_ms: int) -> None:
        """Record a commit of bars at or after ``from_ms``."""
        self._committed_ms, self._from_ms = now_ms, min(from_ms, self._from_ms)

    def take_last(self, now_ms: int) -> Use | None:
        """Return the last use, or None if there was none, and forget it."""
        last, start = now_ms if self._is_read else self._committed_ms, self._from_ms
        self._is_read, self._committed_ms, self._from_ms = False, 0, NEVER_MS
        return Use(last, start) if last else None
