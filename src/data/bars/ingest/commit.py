"""Converts a classified answer to the commit that stores it. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import compress, pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...cache.store import Commit, CommitPiece, Suspect
from ...calendars.finality import newest_settled, settles_at
from ...errors import QualityError
from ...model.bars import BadRow, Bar, BarTable, Stamps, among, distinct, inside
from ...model.capabilities import Fetched
from ...model.coverage import Columns, Coverage, Covered, State, Stretches, VendorDay, spread
from ...model.edges import Edges, difference, edges_of, meets, merged, spans_of
from ...model.instant import DAY_MS, date_of
from ...model.instrument import Instrument
from ...model.kind import Basis, Kind
from ...model.reasons import (
    AHEAD,
    CLOSED,
    DID_NOT_COME,
    DOUBTFUL,
    GRAVE,
    HOLIDAYS_UNKNOWN,
    LOST,
    NO_BAR,
    OFF_GRID,
    RESCALED,
    SETTLED,
    SPOILT,
    UNEXPECTED,
    UNVOUCHED,
)
from ...model.span import Span, clipped, coalesce, subtract, touching
from ...prices.quality import no_stamps
from ..validity import UNVOUCHED_MS, Expiry, Suspicion, is_hole
from .sorted_answer import ClassifiedAnswer

if TYPE_CHECKING:
    from ...calendars.grid import BarGrid

# Tolerance for adjusted close prices, which vendors recompute for each answer, often in single
# precision.
_SAME_ADJUSTED = 1e-6


_UNITS = (100, 1000, 1 / 100, 1 / 1000)
_USUAL = (2, 3, 4, 5, 6, 7, 8, 10, 15, 20, 25, 30, 50, 1.5, 4 / 3, 1.25)
_SPLITS = (*_USUAL, *(1 / factor for factor in _USUAL))
_NEAR_FACTOR = 1e-3
_NEAR_VOLUME = 1e-2  # adjusted volumes are rounded to whole shares


def later_marks(parts: Iterable[Covered], fetched: Fetched, terms: CommitContext) -> list[Covered]:
    """Return marks that withdraw trust from stored bars whose basis is dated in the future.

    The vendor's own time shows this. The local clock was ahead when the bars were fetched, so they
    may lack splits that have happened since.
    """
    today, now = terms.basis.as_of if fetched.dated else None, terms.now_ms
    mark = partial(replace, state="suspect", reason=AHEAD, fetched_at=now, expires=now)
    return [mark(p) for p in parts if p.basis.as_of and p.basis.as_of > today] if today else []


def build_commit(
    fetched: Fetched, answer: ClassifiedAnswer, stored: StoredRange, terms: CommitContext
) -> Commit:
    """Return the commit: new bars as pieces, settled marks for equal bars, empty marks for gaps.

    A stored bar that is missing from the answer, or invalid in it, stays but is marked as doubtful.
    It is withdrawn only if it is provisional or not expected by the calendar, and the answer has
    later bars.

    Raises:
        QualityError: The answer lacks many bars that are stored, so it is not trusted.
    """
    return _CommitBuilder(fetched, answer, stored, terms).commit()


def without_rescaled(
    answer: ClassifiedAnswer, stored: StoredRange, vendor: str, *, splits: bool
) -> ClassifiedAnswer:
    """Return the answer with rows whose prices are a multiple of a final bar's counted as invalid.

    All four prices of such a row are the stored ones multiplied by the same factor of a split or
    unit (pence, thousandths). This is not a revision; the vendor has changed its basis without
    saying so. A unit factor by which volumes are divided is treated as a split factor, because two
    splits of 10:1 make 100.

    Args:
        answer: Answer to examine.
        stored: Bars stored for its span.
        vendor: Vendor that answered; only bars that it supplied itself are compared.
        splits: Whether to look for split factors as well. This is False for stocks, whose splits
            may be real and reported late.
    """
    rows, old_rows = answer.closed, stored.rebased
    places = np.searchsorted(old_rows.stamps, rows.stamps)
    common = np.flatnonzero(places < len(old_rows))
    common = common[old_rows.stamps[places[common]] == rows.stamps[common]]
    if not len(common):
        return answer
    mine, theirs = rows.take(common), old_rows.take(places[common])
    finals = (p.span for p in stored.coverage if p.state == "final" and p.vendor == vendor)
    is_final = inside(mine.stamps, finals)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.array(mine.values()[:5]) / np.array(theirs.values()[:5])
    is_odd = np.zeros(len(mine), bool)
    for factor in (*_UNITS, *(_SPLITS if splits else ())):
        is_times = is_final & (np.abs(ratios[:4] / factor - 1) < _NEAR_FACTOR).all(axis=0)
        is_split = np.abs(ratios[4] * factor - 1) < _NEAR_VOLUME
        if splits or not (is_times & is_split).any():
            is_odd |= is_times
    odd = common[is_odd]
    if not len(odd):
        return answer
    bars = rows.take(odd).bars()
    bad = [*answer.bad, *(BadRow(bar, RESCALED) for bar in bars)]
    ends = np.append(rows.stamps, answer.answered.end)[odd + 1]
    spans = [Span(bar.stamp_ms, int(end)) for bar, end in zip(bars, ends, strict=True)]
    kept = np.ones(len(rows), bool)
    kept[odd] = False
    return replace(
        answer,
        closed=rows.take(kept),
        bad=tuple(sorted(bad, key=lambda row: row.bar.stamp_ms)),
        bad_spans=tuple(sorted([*answer.bad_spans, *spans])),
    )


def beside_doubted(answer: ClassifiedAnswer, stored: StoredRange, vendor: str) -> ClassifiedAnswer:
    """Remove from a doubtful answer the rows for which another vendor's doubtful bars are stored.

    If the bars of two vendors are doubtful in the same way, the first one's stay, and the other's
    are used only for times at which the first has none.

    Args:
        answer: Answer to examine.
        stored: Bars stored for its span.
        vendor: Vendor that answered; its own bars are updated.
    """
    if not answer.doubt or not answer.is_believed:
        return answer
    rows, old_rows = answer.closed, stored.rows.stamps
    theirs = [
        old_rows[slice(*np.searchsorted(old_rows, part.span))]
        for part in stored.coverage
        if part.reason.endswith(DID_NOT_COME) and part.vendor != vendor
    ]
    taken = ~among(rows.stamps, np.concatenate(theirs)) if theirs else np.ones(len(rows), bool)
    return answer if taken.all() else replace(answer, closed=rows.take(taken))


@dataclass(frozen=True)
class _CommitBuilder:
    """Builds the commit for one answer."""

    fetched: Fetched
    answer: ClassifiedAnswer
    stored: StoredRange
    terms: CommitContext

    def commit(self) -> Commit:
        """Return the commit that stores the answer."""
        free = subtract(self.answer.spans, (span for span, _ in self._kept))
        runs = [run for span in free for run in self._runs(span)]
        pieces = [p for span, equal in runs if not equal for p in self._pieces(span)]
        equals = [mark for span, equal in runs if equal for mark in self._settled(span)]
        spoken = [*(span for span, _ in runs), *(span for span, _ in self._kept)]
        doubts = self._doubts(pieces)
        rows = (*self.answer.bad, *self.answer.off_grid)
        stored = self._stored_stamps
        return Commit(
            pieces=tuple(pieces),
            marks=Stretches.chained(
                [
                    *self._empty_stretches(free, spoken),
                    list(self._empty_beside([span for span, equal in runs if equal])),
                    self._bad_marks(),
                    equals,
                    self._unvouched(pieces),
                    list(self._trusted_marks(pieces)),
                    list(self._unexpected_marks()),
                    self._contradicted_marks(doubts),
                    doubts,
                    list(self._kept_marks()),
                    # After the marks of equal bars, which renew trust. Otherwise the first
                    # repetition would end a doubt.
                    *(
                        Stretches.of(Columns.of_one(mark, self._present([mark.span])))
                        for mark in self.answer.verdicts
                    ),
                ]
            ),
            suspects=tuple(row for row in rows if row[0][0] not in stored) if stored else rows,
            kind=self.fetched.kind,
        )

    @cached_property
    def _stored_stamps(self) -> Set[int]:
        return frozenset(self.stored.rows.stamps.tolist())

    @cached_property
    def _unusable(self) -> Edges:
        """Spans for which the answer has no bar, or only rows that cannot be bars."""
        answer = self.answer
        return merged(edges_of((*answer.holes, *answer.bad_spans, *answer.off_slots)))

    @cached_property
    def _lacking(self) -> list[Span]:
        return spans_of(self._unusable)

    @cached_property
    def _absent(self) -> Edges:
        """Spans without a bar: the answer has none, and no stored bar stays."""
        return difference(self._unusable, edges_of(span for span, _ in self._kept))

    def _present(self, spans: Iterable[Span]) -> Edges:
        """Return the parts of spans that are not known to be without a bar."""
        edges, absent = edges_of(spans), self._absent
        if len(absent) and len(edges):
            first = absent[:, 1].searchsorted(edges.min(), "right")
            absent = absent[first : absent[:, 0].searchsorted(edges.max())]
        return difference(edges, absent) if len(absent) else edges

    # --- stored bars that the answer lacks -------------------------------------------------

    @cached_property
    def _lost(self) -> list[int]:
        old_rows, new_rows = self.stored.rows.stamps, self.answer.closed.stamps
        lost: list[int] = old_rows[~among(old_rows, new_rows)].tolist()
        missed = [stamp for stamp in lost if not self.stored.is_doubted(stamp)]
        if are_many(len(missed), len(old_rows)):
            raise QualityError(
                f"{self.fetched.vendor} now lacks {len(missed)} of {len(old_rows)} stored bars",
                provider=self.fetched.vendor,
                hint="the stored bars were kept",
            )
        return lost

    @cached_property
    def _withdrawn(self) -> list[int]:
        """Timestamps of provisional or off-calendar stored bars that the vendor no longer sends, ascending.

        Bars at or after the last one received, and those sent as bad rows, are not included.
        """
        last = int(self.answer.closed.stamps[-1]) if len(self.answer.closed) else 0
        bad = {row.bar.stamp_ms for row in self.answer.bad}
        return [
            stamp
            for stamp in self._lost
            if stamp < last and stamp not in bad and self.stored.may_go(stamp)
        ]

    @cached_property
    def _kept(self) -> list[tuple[Span, str]]:
        """The span of each stored bar that the answer lacks but that stays, with the reason for the doubt."""
        if not self._lost:
            return []
        bad = {row.bar.stamp_ms for row in self.answer.bad}
        ends, withdrawn = [span.end for span in self.answer.spans], set(self._withdrawn)
        marks = np.array([*bad, *ends], dtype=np.int64)
        edges = distinct(
            np.concatenate([self.stored.rows.stamps, self.answer.closed.stamps, marks])
        )
        return [
            (
                # Only up to the next expected bar, which is missing rather than doubtful.
                Span(
                    stamp,
                    min(
                        int(edges[np.searchsorted(edges, stamp, side="right")]),
                        self._end_of(stamp),
                    ),
                ),
                SPOILT if stamp in bad else LOST,
            )
            for stamp in self._lost
            if stamp not in withdrawn
        ]

    def _kept_marks(self) -> Iterator[Covered]:
        for span, reason in self._kept:
            old = self.stored.doubted(span.start)
            if old is not None and old.reason.startswith(GRAVE):
                # If another vendor lacks the bar, this does not show whether it is right.
                expires = self.terms.now_ms + UNVOUCHED_MS
                is_over = not old.is_valid(self.terms.now_ms)
                yield replace(old, span=span, expires=expires if is_over else old.expires)
            elif old is not None and self.answer.doubt:
                # This vendor never had the bar, and is not trusted more than the one that did.
                yield replace(old, span=span, expires=self._expires(span))
            else:
                yield self._mark(span, "suspect", reason, self._expires(span))

    # --- bars ------------------------------------------------------------------------------

    def _runs(self, span: Span) -> list[tuple[Span, bool]]:
        """Split a span into runs of bars that do or do not equal the stored ones; True if they do."""
        rows = self.answer.closed.within(span)
        if not len(rows):
            return []
        equal = self._equal(rows)
        first, end = (bisect_left(self._withdrawn, edge) for edge in span)
        for stamp in self._withdrawn[first:end]:
            # The bar that would confirm the withdrawn one is written again.
            equal[max(int(np.searchsorted(rows.stamps, stamp)) - 1, 0)] = False
        cuts = [0, *(int(i) for i in np.flatnonzero(equal[1:] != equal[:-1]) + 1)]
        edges = [span.start, *(self._edge(rows, equal, cut) for cut in cuts[1:]), span.end]
        pairs = zip(pairwise(edges), cuts, strict=True)
        return [(Span(a, b), bool(equal[cut])) for (a, b), cut in pairs]

    def _edge(self, rows: BarTable, equal: NDArray[np.bool_], cut: int) -> int:
        """Return the start of row ``cut``'s span, which begins a new run after an equal or a new row.

        Time before the row that was not covered is answered now and belongs to the row's span. This
        includes the nights and weekends before a bar, so that the bars of one night adjoin those of
        the next.
        """
        before, stamp = int(rows.stamps[cut - 1]), int(rows.stamps[cut])
        if not equal[cut - 1]:
            return stamp
        parts = self.stored.coverage.within(Span(before, stamp))
        ends = [c.span.end for c in parts if not _is_bare(c) and self._is_answered(c)]
        return max(ends, default=stamp)

    def _is_answered(self, part: Covered) -> bool:
        """Return whether a span needs no answer: it has bars, or "no bar" is still valid."""
        return part.state != "empty" or part.is_valid(self.terms.now_ms)

    def _equal(self, rows: BarTable) -> NDArray[np.bool_]:
        """Return a mask of the rows that match the stored rows and need not be written again.

        Rows do not match if only their own basis is known, or if a refresh changed their adjusted
        close.
        """
        old_rows = self.stored.rebased
        equal = np.zeros(len(rows), dtype=bool)
        if not len(old_rows):
            return equal
        places = np.searchsorted(old_rows.stamps, rows.stamps)
        common = places < len(old_rows)
        common[common] = old_rows.stamps[places[common]] == rows.stamps[common]
        equal[common] = _same(
            rows.take(common), old_rows.take(places[common]), self.stored.tolerance
        )
        if self.terms.basis.adjustment != "unknown" and self._of_unknown_basis:
            equal &= ~inside(rows.stamps, self._of_unknown_basis)
        if self.terms.is_refresh:
            equal &= ~among(rows.stamps, self._readjusted)
        return equal

    @cached_property
    def _of_unknown_basis(self) -> list[Span]:
        """Spans of stored bars whose basis is unknown, or dated in the future."""
        parts = [part for part in self.stored.coverage if part.state != "empty"]
        unknown = (part for part in parts if part.basis.adjustment == "unknown")
        return [part.span for part in (*unknown, *later_marks(parts, self.fetched, self.terms))]

    @cached_property
    def _readjusted(self) -> NDArray[np.int64]:
        """Timestamps of stored bars whose adjusted close is different in the answer.

        This is due to a dividend since they were fetched, which is accounted for when bars are
        read. Only a refresh writes such bars again.
        """
        rows, answered = self.stored.rows, self.answer.closed
        both = np.intersect1d(rows.stamps, answered.stamps, assume_unique=True, return_indices=True)
        stamps, here, there = both
        if answered.adj_close is None:
            return stamps[:0]
        new = answered.adj_close[there]
        old = np.full(len(stamps), np.nan) if rows.adj_close is None else rows.adj_close[here]
        same = np.isclose(old, new, rtol=_SAME_ADJUSTED, atol=0.0)
        return stamps[~same & ~np.isnan(new)]

    def _pieces(self, span: Span) -> Iterator[CommitPiece]:
        """Yield the rows in ``span`` as up to two pieces, one final and one provisional.

        If some bars of the final piece are not trusted, it is written as provisional, and a mark
        makes its good bars final (:meth:`_trusted_marks`).
        """
        middle = self.answer.finality.final_before(span)
        if not len(self.answer.closed.within(Span(span.start, middle))):
            middle = span.start
        for part, final in ((Span(span.start, middle), True), (Span(middle, span.end), False)):
            rows = self.answer.closed.within(part)
            if len(rows):
                yield CommitPiece(
                    rows,
                    part,
                    self.fetched.vendor,
                    self.fetched.server_now_ms,
                    self.fetched.kind,
                    self._basis_of(rows),
                    "provisional" if not final or self._is_doubted(part) else "final",
                    tuple(clipped(self._lacking, part)),
                )

    def _basis_of(self, rows: BarTable) -> Basis:
        """Return the basis for these rows only; the repeated bars before them had another one."""
        session, intraday = self.fetched.kind.session, self.terms.grid.timeframe.is_intraday
        return self.terms.basis.of_bars(int(rows.stamps[0]), session, intraday=intraday)

    def _is_doubted(self, span: Span) -> bool:
        return bool(self._doubt or touching(self._untrusted, span))

    @cached_property
    def _untrusted(self) -> list[Span]:
        """The spans of received bars that are off the calendar, contradictory or grave."""
        unexpected = self.answer.unexpected.tolist()
        own = (Span(stamp, self._end_of(stamp)) for stamp in unexpected)
        grave = (mark.span for mark in self.answer.verdicts if mark.state == "suspect")
        return coalesce([*own, *self.answer.contradicted, *grave])

    def _trusted_marks(self, pieces: Sequence[CommitPiece]) -> Iterator[Covered]:
        """Yield a mark for the settled, trusted parts of pieces that contain untrusted bars."""
        if not self._untrusted or self._doubt:
            return
        left_out = coalesce([*self._untrusted, *spans_of(self._absent)])
        for piece in pieces:
            if piece.state == "provisional":
                settled = Span(piece.span.start, self.answer.finality.final_before(piece.span))
                is_plain = piece.basis == self.terms.basis  # then later marks may overlap this
                removed = () if is_plain else touching(left_out, settled)
                for span in subtract([settled], removed):
                    yield self._mark(span, "final", "", None)

    def _settled(self, span: Span) -> Iterator[Covered]:
        """Yield marks that renew trust in stored bars that came back equal; their source stays."""
        middle = self.answer.finality.final_before(span)
        settled = max(middle, min(self.answer.finality.settled_before, span.end))
        for part in spans_of(self._present([span])):
            for old in self._stored_bars(part, Span(span.start, middle)):
                yield self._renewed(old, *(self._doubt or ("", None)))
            for old in self._stored_bars(part, Span(middle, settled)):
                yield self._still_unvouched(old)
            for old in self._stored_bars(part, Span(settled, span.end)):
                yield replace(self._renewed(old, "", None), state="provisional")

    def _stored_bars(self, part: Span, within: Span) -> list[Covered]:
        parts = self.stored.coverage.within(part.clip(within))
        return [old for old in parts if old.state != "empty"]

    # --- bars that have closed only by the local clock ----------------------------------------

    def _unvouched(self, pieces: Sequence[CommitPiece]) -> Stretches[Covered]:
        """Return marks for new bars that only the local clock shows to be closed."""
        first = self.answer.finality.vouched_before
        if first >= self.answer.answered.end:
            return Stretches()
        # A span without bars before the first of them is not confirmed either.
        alone = (
            piece.span
            if len(piece.table) and int(piece.table.stamps[0]) >= first
            else Span(max(piece.span.start, first), piece.span.end)
            for piece in pieces
        )
        mark = self._mark(self.answer.answered, "provisional", UNVOUCHED, self._unvouched_until)
        return Stretches.of(Columns.of_one(mark, self._present(alone)))

    def _still_unvouched(self, old: Covered) -> Covered:
        """Return the mark for equal bars that no newer bars confirm; they become final after a day."""
        if self._doubt or old.state == "final":
            return self._renewed(old, *(self._doubt or ("", None)))
        if old.reason != UNVOUCHED:
            renewed = self._renewed(old, UNVOUCHED, self._unvouched_until)
            return replace(renewed, state="provisional")
        if self.terms.now_ms - old.fetched_at >= max(DAY_MS, self._longest_bar):
            return self._renewed(old, "", None)
        return replace(old, expires=self._unvouched_until)

    @property
    def _unvouched_until(self) -> int:
        return self.terms.now_ms + UNVOUCHED_MS

    @property
    def _longest_bar(self) -> int:
        timeframe = self.terms.grid.timeframe
        return timeframe.longest_ms

    def _renewed(self, old: Covered, reason: str, expires: int | None) -> Covered:
        fetched_at = max(old.fetched_at, self.fetched.server_now_ms)
        return replace(
            old,
            state="suspect" if reason else "final",
            fetched_at=fetched_at,
            # Bars that have settled stay settled as long as they are the same.
            reason=reason or (old.reason if old.reason.startswith(SETTLED) else ""),
            expires=expires,
            basis=self._later_basis(old),
        )

    def _later_basis(self, part: Covered) -> Basis:
        """Return the answer's basis if bars stored in an earlier, similar basis came back equal.

        This means that there was no action between the two, even if no vendor was queried for
        splits and dividends. If the adjusted close prices differ, there was a dividend, which the
        bars' own basis accounts for.
        """
        old, new = part.basis, self.terms.basis
        first, last = np.searchsorted(self._readjusted, part.span)
        if first < last:
            return old
        as_stored = self.stored.rebased is self.stored.rows
        later = new.as_of is not None and (old.as_of is None or old.as_of < new.as_of)
        return new if as_stored and later and old.adjustment == new.adjustment else old

    # --- untrusted and missing bars ---------------------------------------------------------

    @cached_property
    def _doubt(self) -> Suspicion | None:
        if self.answer.doubt:
            holes = self.answer.is_believed and self.fetched.dense
            expires = self._expires(self.answer.answered, as_holes=holes)
            reason = f"{DOUBTFUL}of {self.fetched.vendor} {self.answer.doubt}"
            return Suspicion(reason, expires)
        return self.terms.doubt

    def _doubts(self, pieces: Sequence[CommitPiece]) -> Stretches[Covered]:
        """Return a suspect mark for the settled part of each piece if the whole answer is doubtful.

        The rest is fetched again anyway.
        """
        doubt = self._doubt
        settled = Span(self.answer.answered.start, self.answer.finality.settled_before)
        if doubt is None:
            return Stretches()
        spans = edges_of(piece.span.clip(settled) for piece in pieces)
        edges = difference(spans, self._absent)
        mark = self._mark(settled, "suspect", *doubt)
        return spread(mark, edges, np.full(len(edges), doubt.expires))

    def _bad_marks(self) -> Stretches[Covered]:
        stored, answer = self._stored_stamps, self.answer
        if not answer.bad:
            return Stretches()
        edges, reasons = edges_of(answer.bad_spans), [row.reason for row in answer.bad]
        if stored:
            new = [row.bar.stamp_ms not in stored for row in answer.bad]
            edges, reasons = edges[new], list(compress(reasons, new))
        suspect = self._blank.having(state="suspect")
        return spread(suspect, edges, self._expiries(edges), reasons)

    def _unexpected_marks(self) -> Iterator[Covered]:
        """Yield a mark for bars that the calendar does not expect, which are stored but never final.

        The mark does not expire, because no request would be made only for such bars.
        """
        spans = (Span(stamp, self._end_of(stamp)) for stamp in self.answer.unexpected.tolist())
        for span in coalesce(spans):
            yield self._mark(span, "suspect", UNEXPECTED, None)

    def _end_of(self, stamp: int) -> int:
        """Return the end of a bar's span: the next bar, expected or not."""
        stamps = self.answer.closed.stamps
        at = int(np.searchsorted(stamps, stamp, side="right"))
        following = int(stamps[at]) if at < len(stamps) else self.answer.answered.end
        return max(min(following, self.terms.grid.next_open(stamp + 1)), stamp + 1)

    def _contradicted_marks(self, doubts: Stretches[Covered]) -> Stretches[Covered]:
        """Return marks for bars whose rows contradicted each other, unless the whole answer is doubtful."""
        reason = f"{DOUBTFUL}{self.fetched.vendor} sent rows that contradict each other"
        edges = edges_of(self.answer.contradicted)
        if doubts:
            edges = difference(edges, doubts.columns.edges)
        if not len(edges):
            return Stretches()
        mark = self._blank.having(state="suspect", reason=reason)
        return spread(mark, edges, self._expiries(edges))

    def _empty_stretches(
        self, free: Sequence[Span], spoken: Sequence[Span]
    ) -> Iterator[Stretches[Covered]]:
        """Yield marks for spans for which the vendor reports that it has no bars."""
        grid, kept = self.terms.grid, edges_of(span for span, _ in self._kept)
        holes, slots = edges_of(self.answer.holes), edges_of(self.answer.off_slots)
        if len(kept):
            holes, slots = difference(holes, kept), difference(slots, kept)
        silent = difference(edges_of(free), np.concatenate([edges_of(spoken), self._unusable]))
        spans = np.concatenate([holes, silent])
        spans = spans[spans[:, 0].argsort(kind="stable")]
        required = grid.expects(spans, required=True)
        closed, lacking = spans[~required], spans[required]
        mark = self._nothing.having(reason=CLOSED)
        yield spread(
            mark, closed, np.full(len(closed), self.terms.now_ms + self.terms.expiry.old_ms)
        )
        before = self.stored.coverage.where(lambda c: c.state == "empty" and c.reason == OFF_GRID)
        if len(before):
            left = difference(lacking, before)
            slots = np.concatenate([slots, difference(lacking, left)])
            lacking = left
        if self.fetched.seams:
            lacking = lacking[~meets(lacking, merged(edges_of(self.fetched.seams)))]
        if len(lacking):
            unknown = edges_of(
                grid.calendar.unrecorded(Span(int(lacking.min()), int(lacking.max())))
            )
            is_unknown = meets(lacking, unknown)
            yield self._holes(lacking[~is_unknown], NO_BAR)
            yield self._holes(lacking[is_unknown], HOLIDAYS_UNKNOWN)
        yield self._holes(slots, OFF_GRID)

    def _empty_beside(self, equal: Sequence[Span]) -> Iterator[Covered]:
        """Yield marks for expected bars that were missing among bars that came back equal.

        Equal bars are not written again, so nothing else would record that these were requested.
        They are requested again with the next bar; if a later bar has come by then, there was no
        trade.
        """
        answer, grid, now = self.answer, self.terms.grid, self.terms.now_ms
        kept = (span for span, _ in self._kept)
        spoken = coalesce([*spans_of(self._absent), *answer.off_slots, *kept]) if equal else []
        for run in equal:
            covered = [c.span for c in self.stored.coverage.within(run) if self._is_answered(c)]
            for part in subtract([run], [*covered, *touching(spoken, run)]):
                if not len(grid.required(part)):
                    continue
                closes = int(grid.closes(np.array([grid.next_open(part.end)]))[0])
                for mark in self._holes(edges_of([part]), grid.no_bar(part)):
                    is_last = mark.expires is not None and now < closes < mark.expires
                    yield replace(mark, expires=closes) if is_last else mark

    def _holes(self, holes: Edges, reason: str) -> Stretches[Covered]:
        if not len(holes):
            return Stretches()
        edges, expires = self.terms.empty_parts(holes, self.stored.coverage)
        return spread(self._nothing.having(reason=reason), edges, self._vouched(edges, expires))

    @cached_property
    def _nothing(self) -> Covered:
        """Template of a mark for "no bar", without span, reason and expiry."""
        return self._blank.having(state="empty", kind=Kind(), basis=Basis())

    @cached_property
    def _blank(self) -> Covered:
        """Template of a mark, without span, state, reason and expiry."""
        fetched = self.fetched
        return Covered(
            Span(0, 0),
            "final",
            fetched.vendor,
            fetched.kind,
            self.terms.basis,
            fetched.server_now_ms,
        )

    def _expires(self, span: Span, *, as_holes: bool = False) -> int:
        return int(self._expiries(edges_of([span]), as_holes=as_holes)[0])

    def _expiries(self, edges: Edges, *, as_holes: bool = False) -> Stamps:
        expires = self.terms.expiries(edges, self.stored.coverage, as_holes=as_holes)
        return self._vouched(edges, expires)

    def _vouched(self, edges: Edges, expires: Stamps) -> Stamps:
        is_vouched = edges[:, 1] <= self.answer.finality.vouched_before
        return np.where(is_vouched, expires, np.minimum(expires, self._unvouched_until))

    def _mark(self, span: Span, state: State, reason: str, expires: int | None) -> Covered:
        return self._blank.having(span=span, state=state, reason=reason, expires=expires)


def _is_bare(part: Covered) -> bool:
    """Return whether a coverage entry has no bars because the market is closed."""
    return part.state == "empty" and part.reason == CLOSED


def are_many(lost: int, stored: int) -> bool:
    """Return whether more than 1 % of the stored bars, and more than two, are missing from an answer.

    Such an answer is not trusted.
    """
    return lost > max(2, stored // 100)


def _same(one: BarTable, other: BarTable, tolerance: float) -> NDArray[np.bool_]:
    """Return a mask of the rows whose prices and volume agree."""
    equal = np.ones(len(one), dtype=bool)
    for mine, theirs in zip(one.values()[:5], other.values()[:5], strict=True):
        equal &= np.isclose(mine, theirs, rtol=tolerance, atol=0.0, equal_nan=True)
    return equal


def suspects_table(suspects: Sequence[Suspect]) -> BarTable:
    """Return quarantined rows as a table, ascending and unique (the last row for each timestamp)."""
    rows: dict[int, Bar] = {s.bar.stamp_ms: s.bar for s in suspects}
    return BarTable.from_bars([rows[stamp] for stamp in sorted(rows)])


# --- what decides how an answer is stored: its basis, and the bars already stored


def basis_of(fetched: Fetched, first_ms: int, instrument: Instrument, opened: int | None) -> Basis:
    """Return the basis of rows beginning at ``first_ms``.

    ``opened`` is the timestamp of the last session that had opened at the fetch. The date is
    omitted if that session is not after the first bar's date, so that bars appended daily share one
    basis. The basis of instruments without corporate actions has no date.
    """
    adjustment = fetched.basis.adjustment
    if instrument.asset_class != "stock":
        return Basis("raw" if adjustment == "unknown" else adjustment)
    if opened is None or adjustment == "unknown" or date_of(opened) <= date_of(first_ms):
        return Basis(adjustment)
    return Basis(adjustment, date_of(opened))


@dataclass(frozen=True)
class StoredRange:
    """The bars stored for the answered span.

    Attributes:
        rows: Bars as stored.
        rebased: Bars converted to the answer's basis; empty if they cannot be compared.
        coverage: Coverage of the span.
        tolerance: Relative difference up to which values count as equal.
    """

    rows: BarTable
    rebased: BarTable
    coverage: Coverage
    tolerance: float = 0.0

    def may_go(self, stamp: int) -> bool:
        """Return whether the stored bar is provisional or off-calendar.

        Such a bar is removed if a vendor does not send it again.
        """
        part = self._at(stamp)
        return part is not None and (part.state == "provisional" or part.reason == UNEXPECTED)

    def is_doubted(self, stamp: int) -> bool:
        """Return whether the stored bar is off-calendar or grave, or came in an answer that is doubtful."""
        part = self._at(stamp)
        return part is not None and part.reason.startswith((UNEXPECTED, DOUBTFUL, GRAVE))

    def doubted(self, stamp: int) -> Covered | None:
        """Return the coverage that marks a bar as grave or its answer as doubtful, or None."""
        part = self._at(stamp)
        return part if part is not None and part.reason.startswith((DOUBTFUL, GRAVE)) else None

    def stays(self, stamps: Stamps) -> Stamps:
        """Return the timestamps of stored bars that stay although an answer has bars only at ``stamps``."""
        lost = self.rows.stamps[~among(self.rows.stamps, stamps)]
        return lost[[not self.may_go(stamp) for stamp in lost.tolist()]] if len(lost) else lost

    def _at(self, stamp: int) -> Covered | None:
        return next(iter(self.coverage.touching(Span(stamp, stamp + 1))), None)


@dataclass(frozen=True)
class CommitContext:
    """The circumstances of a commit.

    Attributes:
        grid: Grid of the series.
        basis: Basis of the fetched rows.
        now_ms: Time of the commit.
        expiry: How long empty results remain valid.
        doubt: Reason to doubt everything just fetched, such as a nearby split.
        settle_ms: Time after an intraday bar closes during which it may still change, in
            milliseconds.
        is_refresh: Whether the purpose of the fetch was to replace stored bars.
        vendor_days: Sessions that a vendor lacks for most of its symbols, in which gaps are never
            trusted.
        last_ms: Timestamp of the last bar in the series, including this answer; None if there isn't
            one. An empty span after it is not a gap between bars, even if several vendors report it
            repeatedly.
    """

    grid: BarGrid
    basis: Basis
    now_ms: int
    expiry: Expiry
    settle_ms: int
    doubt: Suspicion | None = None
    is_refresh: bool = False
    vendor_days: Sequence[VendorDay] = ()
    last_ms: int | None = None

    def expiries(self, edges: Edges, coverage: Coverage, *, as_holes: bool = False) -> Stamps:
        """Return when the doubtful bars in spans are fetched again: once settled, then less and less often.

        ``as_holes``: Whether to use the times for gaps, for bars that are doubtful because bars are
        missing between them although the vendor is dense.
        """
        again = meets(edges, merged(coverage.where(lambda c: not c.is_valid(self.now_ms))))
        after = self.expiry.of_holes if as_holes else self.expiry.of
        return self._settled(edges, after(edges[:, 1], self.now_ms, again))

    def empty_parts(self, holes: Edges, coverage: Coverage) -> tuple[Edges, Stamps]:
        """Split gaps into new parts and parts reported before; return when each is fetched again.

        A report about one part does not prove anything about another.
        """
        seen = coverage.where(lambda c: is_hole(c) and not c.is_valid(self.now_ms))
        new = difference(holes, seen) if len(seen) else holes
        parts = np.concatenate([new, difference(holes, new)]) if len(seen) else holes
        is_seen = np.arange(len(parts)) >= len(new)
        again = is_seen | ~self.grid.expects(parts)
        again &= ~meets(parts, edges_of(self._lacked))
        expires = self.expiry.of_holes(parts[:, 1], self.now_ms, again)
        if self.last_ms is not None:
            recent = self.now_ms + self.expiry.recent_ms
            most = max(recent, self.expiry.of_end(self.last_ms, self.now_ms))
            is_last = parts[:, 0] > self.last_ms
            expires = np.where(is_last, np.minimum(expires, most), expires)
        return parts, self._settled(parts, expires)

    def _settled(self, edges: Edges, expires: Stamps) -> Stamps:
        """Return ``expires``, replaced by the settling time for spans with bars that have not settled."""
        for at in np.flatnonzero(edges[:, 1] > self._settled_before).tolist():
            expires[at] = self._settling(Span(*edges[at].tolist())) or expires[at]
        return expires

    @cached_property
    def _lacked(self) -> list[Span]:
        return coalesce(day.span for day in self.vendor_days)

    @cached_property
    def _settled_before(self) -> int:
        """A timestamp before which every bar has settled; some later ones may have settled as well."""
        newest = newest_settled(self.grid, self.settle_ms, self.now_ms)
        return 0 if newest is None else newest + 1

    def is_settled(self, span: Span) -> bool:
        """Return whether all bars in ``span`` are certain to have settled.

        If not, each bar must be checked.
        """
        return span.end <= self._settled_before

    def _settling(self, span: Span) -> int:
        """Return the time at which the last expected bar in ``span`` settles, or 0 if all have."""
        stamps = no_stamps() if self.is_settled(span) else self.grid.opens(span)
        if not len(stamps):
            return 0
        settled = settles_at(int(stamps[-1]), self.grid, self.settle_ms)
        return settled if settled > self.now_ms else 0
