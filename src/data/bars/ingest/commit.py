"""Converts a classified answer to the commit that stores it. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from functools import partial
from itertools import compress, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...cache.store import Commit, CommitPiece
from ...calendars.finality import newest_settled
from ...errors import QualityError
from ...model.bars import BadRow, Bar, BarTable, Stamps, among, distinct, inside
from ...model.capabilities import Fetched
from ...model.coverage import (
    WITH_BARS,
    Columns,
    Coverage,
    Covered,
    State,
    Stretches,
    spread,
)
from ...model.edges import Edges, difference, edges_of, meets, merged, spans_of
from ...model.instant import DAY_MS, NEVER_MS, date_of
from ...model.kind import Basis, Kind
from ...model.query import BarsQuery
from ...model.reasons import (
    AHEAD,
    CLOSED,
    DOUBTFUL,
    HOLIDAYS_UNKNOWN,
    LOST,
    NO_BAR,
    OFF_GRID,
    RESCALED,
    SPOILT,
    UNEXPECTED,
    UNVOUCHED,
    Cause,
)
from ...model.span import Span, clipped, coalesce, subtract, touching
from ...runtime.once import cached_property
from ..validity import (
    LONGEST_MS,
    UNVOUCHED_MS,
    Expiry,
    Hole,
    Suspicion,
    ages_from,
    by_wait,
    next_due,
    postponed,
)
from .sorted_answer import ClassifiedAnswer

if TYPE_CHECKING:
    from ...calendars.grid import BarGrid

# Tolerance for adjusted close prices, which vendors recompute for each answer, often in single
# precision.
_ADJUSTED_CLOSE_TOLERANCE = 1e-6

# Factors by which all prices change with the unit: pence, thousandths, and back.
_UNIT_FACTORS = (100, 1000, 1 / 100, 1 / 1000)
# Common split factors, including 3:2, 4:3 and 5:4; then also those of reverse splits.
_FORWARD_SPLIT_FACTORS = (2, 3, 4, 5, 6, 7, 8, 10, 15, 20, 25, 30, 50, 1.5, 4 / 3, 1.25)
_SPLIT_FACTORS = (*_FORWARD_SPLIT_FACTORS, *(1 / factor for factor in _FORWARD_SPLIT_FACTORS))
# Relative differences up to which the ratio of two prices, or of two volumes, equals a factor.
_PRICE_TOLERANCE = 1e-3
_VOLUME_TOLERANCE = 1e-2  # adjusted volumes are rounded to whole shares


# --- what decides how an answer is stored: its basis, the stored bars, and the circumstances


def basis_of(fetched: Fetched, first_ms: int, query: BarsQuery, opened: int | None) -> Basis:
    """Return the basis (adjustment and its date) of rows whose first bar opens at ``first_ms``.

    ``opened`` is the timestamp of the latest session that had opened when the bars were fetched;
    None if there was none. The date is omitted if that session is not after the first bar's date (or
    the day before it, if intraday bars may be outside regular hours), so that bars appended daily
    share one basis. The basis of instruments without corporate actions has no date.
    """
    adjustment = fetched.basis.adjustment
    if query.instrument.asset_class != "stock":
        return Basis("raw" if adjustment == "unknown" else adjustment)
    as_of = date_of(opened) if opened is not None and adjustment != "unknown" else None
    intraday = query.timeframe.is_intraday
    return Basis(adjustment, as_of).of_bars(first_ms, fetched.kind.session, intraday=intraday)


@dataclass(frozen=True)
class StoredRange:
    """The bars that were already stored for the span of a vendor's new answer.

    Attributes:
        rows: Bars as stored.
        rebased: Stored bars converted to the new answer's basis, for comparison; empty if they
            cannot be converted.
        coverage: Coverage of the span.
        tolerance: Maximum relative difference between values that count as equal.
    """

    rows: BarTable
    rebased: BarTable
    coverage: Coverage
    tolerance: float = 0.0

    def may_go(self, stamp: int) -> bool:
        """Return whether the stored bar at ``stamp`` is provisional or off-calendar.

        Such a bar is removed if a vendor does not send it again.
        """
        entry = self._entry_at(stamp)
        return entry is not None and (entry.state == "provisional" or entry.reason == UNEXPECTED)

    def is_doubted(self, stamp: int) -> bool:
        """Return whether the bar stored at ``stamp`` is off-calendar, wrong, or from a doubtful answer."""
        entry = self._entry_at(stamp)
        is_unexpected = entry is not None and entry.reason == UNEXPECTED
        return is_unexpected or self.doubted(stamp) is not None

    def doubted(self, stamp: int) -> Covered | None:
        """Return the coverage entry that marks a bar as almost certainly wrong, or its answer as doubtful.

        The result is None if no entry does.
        """
        entry = self._entry_at(stamp)
        is_doubted = entry is not None and entry.cause & (Cause.DOUBTFUL | Cause.GRAVE)
        return entry if is_doubted else None

    def stays(self, stamps: Stamps) -> Stamps:
        """Return the timestamps of stored bars to keep although the answer lacks them.

        ``stamps`` are the timestamps of the answer's bars. Bars that :meth:`may_go` are not kept.
        """
        lost = self.rows.stamps[~among(self.rows.stamps, stamps)]
        return lost[[not self.may_go(stamp) for stamp in lost.tolist()]] if len(lost) else lost

    def _entry_at(self, stamp: int) -> Covered | None:
        return next(iter(self.coverage.touching(Span(stamp, stamp + 1))), None)


@dataclass(frozen=True)
class CommitContext:
    """The circumstances of a commit.

    Attributes:
        grid: Grid of the series.
        basis: Basis of the fetched rows.
        now_ms: Time of the commit.
        expiry: Determines how long empty results remain valid.
        doubt: Reason to doubt everything just fetched, such as a nearby split.
        settle_ms: Time after an intraday bar closes during which it may still change, in
            milliseconds.
        is_refresh: Whether the purpose of the fetch was to replace stored bars.
    """

    grid: BarGrid
    basis: Basis
    now_ms: int
    expiry: Expiry
    settle_ms: int
    doubt: Suspicion | None = None
    is_refresh: bool = False

    def due(self, edges: Edges, coverage: Coverage) -> tuple[Edges, Stamps]:
        """Return when to request spans again that have no trusted bars, after splitting them.

        The parts are those of :func:`.validity.by_wait`. If no bar is expected in a part, it is
        requested as rarely as closed hours.
        """
        parts, waits = by_wait(edges, coverage, self.now_ms)
        longest, now = self.expiry.recent_ms, self.now_ms
        pairs = zip(ages_from(parts, now).tolist(), waits.tolist(), strict=True)
        due = np.array([next_due(Hole(*pair, longest), now) for pair in pairs], np.int64)
        return parts, np.where(self.grid.expects(parts), due, now + LONGEST_MS)

    @cached_property
    def _settled_before(self) -> int:
        """A timestamp before which every bar has settled; some later bars may also have settled."""
        newest = newest_settled(self.grid, self.settle_ms, self.now_ms)
        return 0 if newest is None else newest + 1

    def is_settled(self, span: Span) -> bool:
        """Return whether all bars in ``span`` have certainly settled.

        If the result is False, each bar must be checked.
        """
        return span.end <= self._settled_before


# --- the commit for an answer


def later_marks(
    entries: Iterable[Covered], fetched: Fetched, context: CommitContext
) -> list[Covered]:
    """Return coverage that marks stored bars as suspect if their basis is dated in the future.

    The vendor's own time reveals this: the local clock was ahead when the bars were fetched, so
    their prices may not reflect splits that have happened since.
    """
    today, now = context.basis.as_of if fetched.dated else None, context.now_ms
    mark = partial(replace, state="suspect", reason=AHEAD, fetched_at=now, expires=now)
    return [mark(c) for c in entries if c.basis.as_of and c.basis.as_of > today] if today else []


def build_commit(
    fetched: Fetched, answer: ClassifiedAnswer, stored: StoredRange, context: CommitContext
) -> Commit:
    """Return the commit for an answer: its new bars, with new coverage for unchanged bars and for holes.

    Stored bars that were received again unchanged are marked as settled, and holes as empty.

    A stored bar that is missing from the answer, or invalid in it, is kept but marked as doubtful.
    It is withdrawn only if it is provisional or not expected by the calendar, and the answer
    contains later bars.

    Raises:
        QualityError: The answer lacks many bars that are stored, so it is not trusted.
    """
    return _CommitBuilder(fetched, answer, stored, context).commit()


def without_rescaled(
    answer: ClassifiedAnswer, stored: StoredRange, vendor: str, *, splits: bool
) -> ClassifiedAnswer:
    """Return the answer with rows counted as invalid if their prices are a multiple of a final bar's.

    In such a row, all four prices are the stored ones multiplied by the same factor, as after a
    split or a change of unit (pence, thousandths). This is not a revision; the vendor has changed
    its basis without saying so. If volumes are divided by a factor that could be a change of unit,
    it is treated as a split factor, because two splits of 10:1 also make 100.

    Args:
        answer: Answer to examine.
        stored: Bars stored for its span.
        vendor: Vendor that answered; only bars that it supplied itself are compared.
        splits: Whether to also look for split factors. This is False for stocks, whose splits
            may be real and reported late.
    """
    rows, old_rows = answer.closed, stored.rebased
    positions = np.searchsorted(old_rows.stamps, rows.stamps)
    common = np.flatnonzero(positions < len(old_rows))
    common = common[old_rows.stamps[positions[common]] == rows.stamps[common]]
    if not len(common):
        return answer
    new, old = rows.take(common), old_rows.take(positions[common])
    finals = (p.span for p in stored.coverage if p.state == "final" and p.vendor == vendor)
    is_final = inside(new.stamps, finals)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.array(new.values()[:5]) / np.array(old.values()[:5])
    is_rescaled = np.zeros(len(new), bool)
    for factor in (*_UNIT_FACTORS, *(_SPLIT_FACTORS if splits else ())):
        is_multiple = is_final & (np.abs(ratios[:4] / factor - 1) < _PRICE_TOLERANCE).all(axis=0)
        is_split = np.abs(ratios[4] * factor - 1) < _VOLUME_TOLERANCE
        if splits or not (is_multiple & is_split).any():
            is_rescaled |= is_multiple
    rescaled = common[is_rescaled]
    if not len(rescaled):
        return answer
    bars = rows.take(rescaled).bars()
    bad = [*answer.bad, *(BadRow(bar, RESCALED) for bar in bars)]
    ends = np.append(rows.stamps, answer.answered.end)[rescaled + 1]
    spans = [Span(bar.stamp_ms, int(end)) for bar, end in zip(bars, ends, strict=True)]
    is_kept = np.ones(len(rows), bool)
    is_kept[rescaled] = False
    return replace(
        answer,
        closed=rows.take(is_kept),
        bad=tuple(sorted(bad, key=lambda row: row.bar.stamp_ms)),
        bad_spans=tuple(sorted([*answer.bad_spans, *spans])),
    )


def beside_doubted(answer: ClassifiedAnswer, stored: StoredRange, vendor: str) -> ClassifiedAnswer:
    """Remove from a doubtful answer the rows for which another vendor's doubtful bars are stored.

    If two vendors' bars are doubtful in the same way, the first vendor's bars are kept, and the
    other vendor's are used only at times for which the first has none.

    Args:
        answer: Answer to examine.
        stored: Bars stored for its span.
        vendor: Vendor that answered; its own bars are updated.
    """
    if not answer.doubt or not answer.is_usable:
        return answer
    rows, old_rows = answer.closed, stored.rows.stamps
    doubted = [
        old_rows[slice(*np.searchsorted(old_rows, entry.span))]
        for entry in stored.coverage
        if Cause.LACKING in entry.cause and entry.vendor != vendor
    ]
    is_kept = ~among(rows.stamps, np.concatenate(doubted)) if doubted else np.ones(len(rows), bool)
    return answer if is_kept.all() else replace(answer, closed=rows.take(is_kept))


def without_kept(judged: ClassifiedAnswer, vendor: str) -> ClassifiedAnswer:
    """Remove from a judged answer the rows of ``vendor`` for which another vendor's bars are kept.

    Their verdicts name the other vendor; its bars stay as they are stored, with their basis.
    """
    kept = [mark.span for mark in judged.verdicts if mark.reason and mark.vendor != vendor]
    return replace(judged, closed=judged.closed.take(~inside(judged.closed.stamps, kept)))


# Returns when spans are fetched again (None for never), and the spans, which it may have to split.
_Until = Callable[[Edges], tuple[Edges, NDArray[Any]]]
# A row of the table of marks, or finished marks, which continue stored ones. The reason may be a list
# with one for each span.
_Row = tuple[Edges, State, str | Sequence[str], _Until] | list[Covered] | Stretches[Covered]


@dataclass(frozen=True)
class _CommitBuilder:
    """Builds the commit for one answer.

    The names say which bars are not simply final, and why:

    - *doubted*: All bars of the answer, because the answer as a whole is doubtful. A stored bar is
      doubted if it is from such an answer, or is grave.
    - *untrusted*: Only those received bars that are off the calendar, contradicted or grave.
    - *unvouched*: Only the local clock shows that the bar has closed.
    - *grave*: The bar is almost certainly wrong (see ``judge.py``).
    - *contradicted*: Differing rows were received for the bar.
    """

    fetched: Fetched
    answer: ClassifiedAnswer
    stored: StoredRange
    context: CommitContext

    def commit(self) -> Commit:
        """Return the commit with which to store the answer.

        1. Reject the answer if it lacks many of the stored bars.
        2. Leave out the stored bars that are kept although the answer lacks them (:attr:`_kept_spans`).
        3. Split the rest into runs of rows that equal the stored ones and runs of new rows.
        4. Make pieces of the runs of new rows.
        5. Record everything else as marks: equal rows, kept bars, holes and doubts
           (:meth:`_marks`).
        6. Add the rejected rows at timestamps where no bar is stored.

        Raises:
            QualityError: See :func:`build_commit`.
        """
        self._refuse_if_many_lost()
        free = subtract(self.answer.spans, (span for span, _ in self._kept_spans))
        runs = [run for span in free for run in self._runs(span)]
        pieces = [p for span, equal in runs if not equal for p in self._pieces(span)]
        rows = (*self.answer.bad, *self.answer.off_grid)
        stored = self._stored_stamps
        return Commit(
            pieces=tuple(pieces),
            marks=self._marks(edges_of(free), runs, pieces),
            suspects=tuple(row for row in rows if row[0][0] not in stored) if stored else rows,
            kind=self.fetched.kind,
        )

    def _marks(
        self, free: Edges, runs: Sequence[tuple[Span, bool]], pieces: Sequence[CommitPiece]
    ) -> Stretches[Covered]:
        """Return the marks (coverage changes without new bars), in the order in which they are applied.

        Each row of the table built here has the spans to mark, their state, the reason for it, and
        the rule for when they are fetched again. If two marks overlap, the later one wins, but
        "empty" never applies to a stored bar. In the rows up to the one for equal bars, the spans
        are disjoint.

        Args:
            free: The answered spans, minus the stored bars that are kept although the answer lacks
                them.
            runs: Runs of the answer's bars, and whether they equal the stored ones.
            pieces: The bars that are written.
        """
        equal = edges_of(span for span, is_equal in runs if is_equal)
        closed, holes, off_grid = self._spans_without_bars(free, edges_of(span for span, _ in runs))
        bad, faults = self._new_bad_rows
        doubt, doubted = self._doubt or Suspicion("", 0), self._doubted_edges(pieces)
        contradicted = edges_of(self.answer.contradicted)
        contradicted = difference(contradicted, doubted) if len(doubted) else contradicted
        contradiction = f"{DOUBTFUL}{self.fetched.vendor} sent rows that contradict each other"
        closed_until = self.context.now_ms + LONGEST_MS
        rows: tuple[_Row, ...] = (
            (closed, "empty", CLOSED, self._rule(closed_until)),
            *((spans, "empty", why, self._due) for why, spans in self._reasons(holes)),
            (off_grid, "empty", OFF_GRID, self._due),
            *(
                (spans, "empty", why, self._due)
                for why, spans in self._reasons(self._unsent_spans(equal))
            ),
            (bad, "suspect", faults, self._due),
            self._equal_marks(equal),
            (self._unvouched(pieces), "provisional", UNVOUCHED, self._rule(self._unvouched_until)),
            (self._trusted_edges(pieces), "final", "", self._rule(None)),
            (edges_of(self._off_calendar), "suspect", UNEXPECTED, self._rule(None)),
            (contradicted, "suspect", contradiction, self._due),
            (doubted, "suspect", doubt.reason, self._rule(doubt.expires_ms)),
            list(self._kept_marks()),
            # Equal bars renew trust, so that above them the first repetition would end a verdict.
            *map(self._verdict, self.answer.verdicts),
        )
        return Stretches.chained(map(self._changes_for, rows))

    def _changes_for(self, row: _Row) -> Sequence[Covered]:
        """Return the coverage changes for a row in :meth:`_marks`; a list of changes is returned as given."""
        if not isinstance(row, tuple):
            return row
        edges, state, reason, until = row
        if not len(edges):
            return ()
        source = {"kind": Kind(), "basis": Basis()} if state == "empty" else {}
        parts, expires = until(edges)
        reasons = [reason] * len(edges) if isinstance(reason, str) else reason
        owners = edges[:, 0].searchsorted(parts[:, 0], "right") - 1
        texts = [reasons[owner] for owner in owners.tolist()]
        return spread(self._template.having(state=state, **source), parts, expires, texts)

    @cached_property
    def _template(self) -> Covered:
        """Template for this answer's coverage changes, without span, state, reason and expiry."""
        sent, basis = self.fetched, self.context.basis
        return Covered(Span(0, 0), "final", sent.vendor, sent.kind, basis, sent.server_now_ms)

    @cached_property
    def _stored_stamps(self) -> Set[int]:
        return frozenset(self.stored.rows.stamps.tolist())

    @cached_property
    def _unusable(self) -> Edges:
        """Spans for which the answer has no bars, or only invalid rows."""
        answer = self.answer
        return merged(edges_of((*answer.holes, *answer.bad_spans, *answer.off_slots)))

    @cached_property
    def _unusable_spans(self) -> list[Span]:
        return spans_of(self._unusable)

    # --- stored bars that the answer lacks -------------------------------------------------

    @cached_property
    def _lost_stamps(self) -> list[int]:
        """Timestamps, ascending, of stored bars that the answer lacks."""
        old_rows = self.stored.rows.stamps
        lost: list[int] = old_rows[~among(old_rows, self.answer.closed.stamps)].tolist()
        return lost

    def _refuse_if_many_lost(self) -> None:
        """Raise an error if the answer lacks many of the stored bars that are not in doubt."""
        missed = [stamp for stamp in self._lost_stamps if not self.stored.is_doubted(stamp)]
        stored = len(self.stored.rows)
        if are_many(len(missed), stored):
            raise QualityError(
                f"{self.fetched.vendor} now lacks {len(missed)} of {stored} stored bars",
                provider=self.fetched.vendor,
                hint="the stored bars were kept",
            )

    @cached_property
    def _withdrawn_stamps(self) -> list[int]:
        """Timestamps, ascending, of provisional or off-calendar bars that the vendor no longer sends.

        Stored bars at or after the last one received, and those now sent as bad rows, are not
        included.
        """
        last = int(self.answer.closed.stamps[-1]) if len(self.answer.closed) else 0
        bad = {row.bar.stamp_ms for row in self.answer.bad}
        return [
            stamp
            for stamp in self._lost_stamps
            if stamp < last and stamp not in bad and self.stored.may_go(stamp)
        ]

    @cached_property
    def _kept_spans(self) -> list[tuple[Span, str]]:
        """The span of each stored bar that is kept although the answer lacks it, with the reason to doubt."""
        if not self._lost_stamps:
            return []
        bad = {row.bar.stamp_ms for row in self.answer.bad}
        ends, withdrawn = [span.end for span in self.answer.spans], set(self._withdrawn_stamps)
        marks = np.array([*bad, *ends], dtype=np.int64)
        edges = distinct(
            np.concatenate([self.stored.rows.stamps, self.answer.closed.stamps, marks])
        )
        stamps = [stamp for stamp in self._lost_stamps if stamp not in withdrawn]
        following = edges[edges.searchsorted(stamps, "right")].tolist()
        return [
            # Only up to the next expected bar, which is missing rather than doubtful.
            (Span(stamp, min(end, self._end_of(stamp))), SPOILT if stamp in bad else LOST)
            for stamp, end in zip(stamps, following, strict=True)
        ]

    def _kept_marks(self) -> Iterator[Covered]:
        for span, reason in self._kept_spans:
            old = self.stored.doubted(span.start)
            if old is not None and Cause.GRAVE in old.cause:
                # If another vendor lacks the bar, this does not show whether it is right.
                yield postponed(replace(old, span=span), self.context.now_ms)
            elif old is not None and self.answer.doubt:
                # This vendor never had the bar, and is not trusted more than the one that did.
                yield replace(old, span=span, expires=self._expires(span))
            else:
                yield self._template.having(
                    span=span, state="suspect", reason=reason, expires=self._expires(span)
                )

    # --- bars ------------------------------------------------------------------------------

    def _runs(self, span: Span) -> list[tuple[Span, bool]]:
        """Split a span into runs, each with a flag: True if its bars equal the stored ones."""
        rows = self.answer.closed.within(span)
        if not len(rows):
            return []
        equal = self._equal_rows(rows)
        first, end = (bisect_left(self._withdrawn_stamps, edge) for edge in span)
        for stamp in self._withdrawn_stamps[first:end]:
            # The bar that would confirm the withdrawn one is written again.
            equal[max(int(np.searchsorted(rows.stamps, stamp)) - 1, 0)] = False
        cuts = [0, *(int(i) for i in np.flatnonzero(equal[1:] != equal[:-1]) + 1)]
        edges = [span.start, *(self._edge(rows, equal, cut) for cut in cuts[1:]), span.end]
        pairs = zip(pairwise(edges), cuts, strict=True)
        return [(Span(a, b), bool(equal[cut])) for (a, b), cut in pairs]

    def _edge(self, rows: BarTable, equal: NDArray[np.bool_], cut: int) -> int:
        """Return the time at which the run that begins with row ``cut`` starts (UTC milliseconds).

        In a run, either all rows equal stored bars or none does (``equal``). A run of equal rows
        starts at its first row. A run of new rows starts where the stored answers before it end, so
        it includes the night or weekend before its first bar. The spans of bars added on successive
        nights are therefore adjacent.
        """
        before, stamp = int(rows.stamps[cut - 1]), int(rows.stamps[cut])
        if not equal[cut - 1]:
            return stamp
        entries = self.stored.coverage.within(Span(before, stamp))
        ends = [c.span.end for c in entries if c.reason != CLOSED and self._is_answered(c)]
        return max(ends, default=stamp)

    def _is_answered(self, entry: Covered) -> bool:
        """Return whether a span has bars, or a report of no bars that is still valid."""
        return entry.state in WITH_BARS or entry.is_valid(self.context.now_ms)

    def _equal_rows(self, rows: BarTable) -> NDArray[np.bool_]:
        """Return a mask of the rows that match the stored rows, and so need not be written again.

        Rows do not match if only the basis of the stored rows is unknown, or if a refresh changed
        the adjusted close.
        """
        old_rows = self.stored.rebased
        equal = np.zeros(len(rows), dtype=bool)
        if not len(old_rows):
            return equal
        positions = np.searchsorted(old_rows.stamps, rows.stamps)
        common = positions < len(old_rows)
        common[common] = old_rows.stamps[positions[common]] == rows.stamps[common]
        equal[common] = _same_rows(
            rows.take(common), old_rows.take(positions[common]), self.stored.tolerance
        )
        if self.context.basis.adjustment != "unknown" and self._of_unknown_basis:
            equal &= ~inside(rows.stamps, self._of_unknown_basis)
        if self.context.is_refresh:
            equal &= ~among(rows.stamps, self._readjusted_stamps)
        return equal

    @cached_property
    def _of_unknown_basis(self) -> list[Span]:
        """Spans of stored bars whose basis (price adjustment and its date) is unknown or in the future."""
        entries = [entry for entry in self.stored.coverage if entry.state in WITH_BARS]
        unknown = (entry for entry in entries if entry.basis.adjustment == "unknown")
        return [c.span for c in (*unknown, *later_marks(entries, self.fetched, self.context))]

    @cached_property
    def _readjusted_stamps(self) -> NDArray[np.int64]:
        """Timestamps of stored bars whose adjusted close is different in the answer.

        The cause is a dividend since the bars were fetched, which is accounted for when they are
        read. Only a refresh writes such bars again.
        """
        rows, new_rows = self.stored.rows, self.answer.closed
        both = np.intersect1d(rows.stamps, new_rows.stamps, assume_unique=True, return_indices=True)
        stamps, old_index, new_index = both
        if new_rows.adj_close is None:
            return stamps[:0]
        new = new_rows.adj_close[new_index]
        old = np.full(len(stamps), np.nan) if rows.adj_close is None else rows.adj_close[old_index]
        same = np.isclose(old, new, rtol=_ADJUSTED_CLOSE_TOLERANCE, atol=0.0)
        return stamps[~same & ~np.isnan(new)]

    def _pieces(self, span: Span) -> Iterator[CommitPiece]:
        """Yield the rows in ``span`` as up to two pieces, one final and one provisional.

        If some bars of the final piece are not trusted, it is written as provisional, and a
        separate coverage change makes its good bars final (:meth:`_trusted_edges`).
        """
        middle = self.answer.finality.final_before(span)
        if not len(self.answer.closed.within(Span(span.start, middle))):
            middle = span.start
        for part, final in ((Span(span.start, middle), True), (Span(middle, span.end), False)):
            rows = self.answer.closed.within(part)
            if len(rows):
                is_doubted = self._doubt or touching(self._untrusted_spans, part)
                yield CommitPiece(
                    rows,
                    part,
                    self.fetched.vendor,
                    self.fetched.server_now_ms,
                    self.fetched.kind,
                    self._basis_of(rows),
                    "final" if final and not is_doubted else "provisional",
                    tuple(clipped(self._unusable_spans, part)),
                )

    def _basis_of(self, rows: BarTable) -> Basis:
        """Return the basis (price adjustment and its date) of new rows, judged by the first of them.

        Bars before these rows that were merely resent do not affect the result.
        """
        session, intraday = self.fetched.kind.session, self.context.grid.timeframe.is_intraday
        return self.context.basis.of_bars(int(rows.stamps[0]), session, intraday=intraday)

    @cached_property
    def _untrusted_spans(self) -> list[Span]:
        """The spans of received bars that are off the calendar, contradictory, or almost certainly wrong."""
        grave = (mark.span for mark in self.answer.verdicts if mark.state == "suspect")
        return coalesce([*self._off_calendar, *self.answer.contradicted, *grave])

    @cached_property
    def _off_calendar(self) -> list[Span]:
        """The spans of received bars that the calendar does not expect.

        Such bars are stored but never become final; they alone never cause another request.
        """
        stamps = self.answer.unexpected.tolist()
        return coalesce(Span(stamp, self._end_of(stamp)) for stamp in stamps)

    def _end_of(self, stamp: int) -> int:
        """Return the end of a bar's span: the timestamp of the next bar, expected or not."""
        stamps = self.answer.closed.stamps
        at = int(np.searchsorted(stamps, stamp, side="right"))
        following = int(stamps[at]) if at < len(stamps) else self.answer.answered.end
        return max(min(following, self.context.grid.next_open(stamp + 1)), stamp + 1)

    def _trusted_edges(self, pieces: Sequence[CommitPiece]) -> Edges:
        """Return the settled spans of pieces that contain untrusted bars, without those bars."""
        spans: list[Span] = []
        if self._untrusted_spans and not self._doubt:
            left_out = coalesce([*self._untrusted_spans, *self._unusable_spans])
            for piece in pieces:
                if piece.state == "provisional":
                    settled = Span(piece.span.start, self.answer.finality.final_before(piece.span))
                    # Later marks may overlap the span if the basis is the same.
                    is_plain = piece.basis == self.context.basis
                    spans += subtract([settled], () if is_plain else touching(left_out, settled))
        return edges_of(spans)

    def _unvouched(self, pieces: Sequence[CommitPiece]) -> Edges:
        """Return the spans of new bars for which only the local clock shows that they have closed."""
        first = self.answer.finality.vouched_before
        if first >= self.answer.answered.end:
            return edges_of(())
        # A span without bars before the first of them is not confirmed either.
        alone = (
            piece.span
            if len(piece.table) and int(piece.table.stamps[0]) >= first
            else Span(max(piece.span.start, first), piece.span.end)
            for piece in pieces
        )
        return difference(edges_of(alone), self._unusable)

    def _doubted_edges(self, pieces: Sequence[CommitPiece]) -> Edges:
        """Return the settled parts of the pieces if the answer as a whole is doubtful; otherwise none.

        Parts that have not settled are fetched again anyway.
        """
        if self._doubt is None:
            return edges_of(())
        settled = Span(self.answer.answered.start, self.answer.finality.settled_before)
        spans = edges_of(piece.span.clip(settled) for piece in pieces)
        return difference(spans, self._unusable)

    @cached_property
    def _doubt(self) -> Suspicion | None:
        """The reason to doubt the whole answer, or None."""
        if self.answer.doubt:
            expires = self._expires(self.answer.answered)
            reason = f"{DOUBTFUL}of {self.fetched.vendor} {self.answer.doubt}"
            return Suspicion(reason, expires)
        return self.context.doubt

    def _verdict(self, mark: Covered) -> Stretches[Covered]:
        """Return a verdict (that bars are wrong) as coverage entries that leave out spans without bars."""
        absent = difference(self._unusable, edges_of(span for span, _ in self._kept_spans))
        return Stretches.of(Columns.of_one(mark, difference(edges_of([mark.span]), absent)))

    # --- bars that came back equal ----------------------------------------------------------

    def _equal_marks(self, equal: Edges) -> list[Covered]:
        """Return coverage that makes stored bars trusted again if they were resent unchanged.

        The bars keep their vendor.
        """
        finality = self.answer.finality
        first, settled = min(finality), finality.settled_before
        zones: tuple[tuple[Span, Callable[[Covered], Covered]], ...] = (
            (Span(-NEVER_MS, first), self._trusted_entry),
            (Span(first, settled), self._unvouched_entry),
            (
                Span(settled, NEVER_MS),
                lambda old: replace(self._renew_entry(old, "", None), state="provisional"),
            ),
        )
        return [
            after(clipped)
            for span in spans_of(difference(equal, self._unusable))
            for old in self.stored.coverage.within(span)
            if old.state in WITH_BARS
            for zone, after in zones
            if (clipped := old.clip(zone)) is not None
        ]

    def _trusted_entry(self, old: Covered) -> Covered:
        return self._renew_entry(old, *(self._doubt or ("", None)))

    def _unvouched_entry(self, old: Covered) -> Covered:
        """Return coverage for bars that were resent unchanged but that only the local clock shows as closed.

        Such bars become final after a day.
        """
        if self._doubt or old.state == "final":
            return self._trusted_entry(old)
        if old.reason != UNVOUCHED:
            renewed = self._renew_entry(old, UNVOUCHED, self._unvouched_until)
            return replace(renewed, state="provisional")
        if self.context.now_ms - old.fetched_at >= max(
            DAY_MS, self.context.grid.timeframe.longest_ms
        ):
            return self._renew_entry(old, "", None)
        return replace(old, expires=self._unvouched_until)

    def _renew_entry(self, old: Covered, reason: str, expires: int | None) -> Covered:
        fetched_at = max(old.fetched_at, self.fetched.server_now_ms)
        return replace(
            old,
            state="suspect" if reason else "final",
            fetched_at=fetched_at,
            # Bars that have settled stay settled as long as they are the same.
            reason=reason or (old.reason if Cause.SETTLED in old.cause else ""),
            expires=expires,
            basis=self._later_basis(old),
        )

    def _later_basis(self, entry: Covered) -> Basis:
        """Return the answer's basis if bars with an earlier but similar basis were resent unchanged.

        Equal bars mean that there was no action between the two dates, even if no vendor was
        queried for splits and dividends. If the adjusted close prices differ, there was a dividend,
        which the bars' own basis accounts for.
        """
        old, new = entry.basis, self.context.basis
        first, last = np.searchsorted(self._readjusted_stamps, entry.span)
        if first < last:
            return old
        as_stored = self.stored.rebased is self.stored.rows
        later = new.as_of is not None and (old.as_of is None or old.as_of < new.as_of)
        return new if as_stored and later and old.adjustment == new.adjustment else old

    # --- spans without a bar ----------------------------------------------------------------

    def _spans_without_bars(self, free: Edges, with_bars: Edges) -> tuple[Edges, Edges, Edges]:
        """Return the spans without bars in three groups: closed hours, holes, and off-grid rows."""
        grid, kept_edges = self.context.grid, edges_of(span for span, _ in self._kept_spans)
        holes, slots = edges_of(self.answer.holes), edges_of(self.answer.off_slots)
        if len(kept_edges):
            holes, slots = difference(holes, kept_edges), difference(slots, kept_edges)
        silent = difference(free, np.concatenate([with_bars, self._unusable]))
        spans = np.concatenate([holes, silent])
        spans = spans[spans[:, 0].argsort(kind="stable")]
        required = grid.expects(spans, required=True)
        closed, holes = spans[~required], spans[required]
        before = self.stored.coverage.where(lambda c: c.state == "empty" and c.reason == OFF_GRID)
        if len(before):
            rest = difference(holes, before)
            slots = np.concatenate([slots, difference(holes, rest)])
            holes = rest
        if self.fetched.seams:
            holes = holes[~meets(holes, merged(edges_of(self.fetched.seams)))]
        return closed, holes, slots

    def _unsent_spans(self, equal: Edges) -> Edges:
        """Return the spans of bars that are still missing, although the bars around them were resent.

        Unchanged bars are not written again, so nothing else would record that the missing bars
        were requested.
        """
        covered = self.stored.coverage.where(self._is_answered)
        spans = difference(equal, np.concatenate([covered, self._unusable]))
        return spans[self.context.grid.expects(spans, required=True)]

    def _reasons(self, spans: Edges) -> Iterable[tuple[str, Edges]]:
        """Split spans without bars by whether the holidays there are known; add a reason to each group."""
        if not len(spans):
            return ()
        calendar = self.context.grid.calendar
        unknown = edges_of(calendar.unrecorded(Span(int(spans.min()), int(spans.max()))))
        is_unknown = meets(spans, unknown)
        return (NO_BAR, spans[~is_unknown]), (HOLIDAYS_UNKNOWN, spans[is_unknown])

    @cached_property
    def _new_bad_rows(self) -> tuple[Edges, list[str]]:
        """The spans of received bad rows at timestamps where no bar is stored, and the rows' faults."""
        bad = self.answer.bad
        edges, faults = edges_of(self.answer.bad_spans), [row.reason for row in bad]
        if not self._stored_stamps:
            return edges, faults
        is_new = [row.bar.stamp_ms not in self._stored_stamps for row in bad]
        return edges[is_new], list(compress(faults, is_new))

    # --- when spans are fetched again -------------------------------------------------------

    def _due(self, edges: Edges) -> tuple[Edges, Stamps]:
        return self.context.due(edges, self.stored.coverage)

    def _expires(self, span: Span) -> int:
        return int(self._due(edges_of([span]))[1].min())

    @staticmethod
    def _rule(expires: int | None) -> _Until:
        """Return the rule by which every span is fetched again at one time."""
        return lambda edges: (edges, np.full(len(edges), expires))

    @property
    def _unvouched_until(self) -> int:
        return self.context.now_ms + UNVOUCHED_MS


def are_many(lost: int, stored: int) -> bool:
    """Return whether more than two stored bars, and more than 1% of them, are missing from an answer.

    Such an answer is not trusted.
    """
    return lost > max(2, stored // 100)


def _same_rows(table: BarTable, other: BarTable, tolerance: float) -> NDArray[np.bool_]:
    """Return a mask of the rows that have equal prices and volumes, within ``tolerance``."""
    equal = np.ones(len(table), dtype=bool)
    for left, right in zip(table.values()[:5], other.values()[:5], strict=True):
        equal &= np.isclose(left, right, rtol=tolerance, atol=0.0, equal_nan=True)
    return equal


def suspects_table(suspects: Sequence[BadRow]) -> BarTable:
    """Return quarantined rows as an ascending table with only the last row for each timestamp."""
    rows: dict[int, Bar] = {s.bar.stamp_ms: s.bar for s in suspects}
    return BarTable.from_bars([rows[stamp] for stamp in sorted(rows)])
