"""Converts a classified answer to the commit that stores it. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from itertools import compress, pairwise
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ....errors import QualityError
from ...cache.store import Commit, CommitPiece
from ...model.identity.kind import Basis, Kind
from ...model.market.bars import BadRow, BarTable, Stamps, among, distinct, inside, merge
from ...model.request.capabilities import Fetched
from ...model.request.query import BarsQuery
from ...model.stored.coverage import WITH_BARS, Columns, Covered, State, Stretches, spread
from ...model.stored.reasons import (
    AHEAD,
    CLOSED,
    DOUBTFUL,
    HOLIDAYS_UNKNOWN,
    LOST,
    NO_BAR,
    OFF_GRID,
    SPOILT,
    UNEXPECTED,
    UNVOUCHED,
    Cause,
)
from ...model.time.edges import Edges, difference, edges_of, meets, merged, spans_of
from ...model.time.instant import DAY_MS, HOUR_MS, NEVER_MS, date_of
from ...model.time.span import Span, clipped, coalesce, subtract, touching
from ...prices.splice import ONE_MARKET
from ..sorted_answer import ClassifiedAnswer
from ..validity import LONGEST_MS, UNVOUCHED_MS, Suspicion, due_parts, may_reflect, postponed
from .draft import AnswerDraft

# Tolerance for adjusted close prices, which vendors recompute for each answer, often in single
# precision.
ADJUSTED_CLOSE_TOLERANCE = 1e-6
# Number of bars, and logarithm of the median ratio of their prices, beyond which a vendor contradicts
# itself.
_FEW_BARS, _FAR = 4, 0.1
# Logarithm of the smallest jump that may be a split (about 3:2), and longest time between its two bars.
_SPLIT, _NEAR_MS = 0.37, 7 * DAY_MS


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


# --- the part of an answer that is stored


def without_overruled(judged: ClassifiedAnswer, vendor: str) -> ClassifiedAnswer:
    """Remove from a judged answer the rows of ``vendor`` for which another vendor's bars are kept.

    Their verdicts name the other vendor; its bars stay as they are stored, with their basis.
    """
    kept = [mark.span for mark in judged.verdicts if mark.reason and mark.vendor != vendor]
    return replace(judged, closed=judged.closed.take(~inside(judged.closed.stamps, kept)))


# --- the commit for an answer


def ahead_marks(draft: AnswerDraft, entries: Iterable[Covered]) -> list[Covered]:
    """Return coverage that marks stored bars as suspect if their basis is dated in the future.

    The vendor's own time reveals this: the local clock was ahead when the bars were fetched, so
    their prices may not reflect splits that have happened since.
    """
    today, now = draft.basis.as_of if draft.fetched.dated else None, draft.now_ms
    mark = partial(replace, state="suspect", reason=AHEAD, fetched_at=now, expires=now)
    return [mark(c) for c in entries if c.basis.as_of and c.basis.as_of > today] if today else []


def build_commit(draft: AnswerDraft) -> Commit:
    """Return the commit for an answer: its new bars, with new coverage for unchanged bars and for holes.

    A stored bar that is missing from the answer, or invalid in it, is kept but marked as suspect.
    It is withdrawn only if it is provisional or not expected by the calendar, and the answer
    contains later bars.

    1. Reject the answer if it lacks many of the stored bars.
    2. Leave out the stored bars that are kept although the answer lacks them.
    3. Split the rest into runs of rows that equal the stored ones and runs of new rows.
    4. Make pieces of the runs of new rows.
    5. Record everything else as marks: equal rows, kept bars, holes and suspicions (:func:`_marks`).
    6. Add the rejected rows at timestamps where no bar is stored.

    Raises:
        QualityError: The answer lacks many bars that are stored, so it is not trusted.
    """
    answer = draft.to_store
    parts = _parts_of(draft)
    pieces = _pieces(draft, parts)
    rejected = (*answer.bad, *answer.off_grid)
    return Commit(
        pieces=tuple(pieces),
        marks=Stretches.chained(_marks(draft, parts, pieces)),
        suspects=tuple(compress(rejected, _are_new(rejected, draft))),
        kind=draft.fetched.kind,
    )


class _Parts(NamedTuple):
    """The parts of an answered span, by what is stored there and what was received.

    Attributes:
        kept: Span of each stored bar that is kept although the answer lacks it, and the reason.
        free: The answered spans without those in ``kept``, which contain all others.
        new: Runs of received bars that are written.
        equal: Runs of received bars that equal the stored ones.
        off_calendar: Spans of received bars that the calendar does not expect. Such bars are stored
            but never become final; they alone never cause another request.
        untrusted: Spans of received bars that are off the calendar, contradictory, or grave.
        suspicion: Reason why all received bars are suspect, or None.
    """

    kept: Sequence[tuple[Span, str]]
    free: Sequence[Span]
    new: Sequence[Span]
    equal: Edges
    off_calendar: Sequence[Span]
    untrusted: Sequence[Span]
    suspicion: Suspicion | None

    @property
    def kept_edges(self) -> Edges:
        """The spans of the stored bars that are kept."""
        return edges_of(span for span, _ in self.kept)


def _parts_of(draft: AnswerDraft) -> _Parts:
    answer, stored = draft.to_store, draft.stored.rows.stamps
    lost: list[int] = stored[~among(stored, answer.closed.stamps)].tolist()
    _refuse_if_many_lost(draft, lost)
    withdrawn = _withdrawn_stamps(draft, lost)
    kept = _kept_spans(draft, sorted({*lost} - {*withdrawn}))
    free = subtract(answer.spans, (span for span, _ in kept))
    runs = _runs(draft, free, withdrawn)
    unexpected = answer.unexpected.tolist()
    off_calendar = coalesce(Span(stamp, _end_of(draft, stamp)) for stamp in unexpected)
    grave = (mark.span for mark in answer.verdicts if mark.state == "suspect")
    return _Parts(
        kept,
        free,
        [span for span, is_equal in runs if not is_equal],
        edges_of(span for span, is_equal in runs if is_equal),
        off_calendar,
        coalesce([*off_calendar, *answer.contradicted, *grave]),
        _suspicion(draft),
    )


# Time from which a span is requested again; None for never (final bars, and bars off the calendar),
# or by the rule for holes.
_Until = int | None | Literal["as a hole"]


def _marks(
    draft: AnswerDraft, parts: _Parts, pieces: Sequence[CommitPiece]
) -> list[Sequence[Covered]]:
    """Return the marks (coverage changes without new bars), in the order in which they are applied.

    Each mark has the spans that meet its condition, the new state, the reason, and when the spans
    are requested again. On one bar, a mark beats the marks above it; "empty" beats no stored bar.

    Args:
        draft: The answer.
        parts: Its parts.
        pieces: The bars that are written.
    """
    answer, suspicion, mark = draft.to_store, parts.suspicion, partial(_mark, draft)
    closed, holes, off_grid = _spans_without_bars(draft, parts)
    is_new = _are_new(answer.bad, draft)
    bad = edges_of(answer.bad_spans)[is_new]
    faults = [row.reason for row in compress(answer.bad, is_new)]
    suspected = _settled_parts(draft, pieces) if suspicion else edges_of(())
    contradicted = difference(edges_of(answer.contradicted), suspected)
    contradiction = f"{DOUBTFUL}{draft.vendor} sent rows that contradict each other"
    marks = [
        # Where there is no bar. These spans do not overlap, and no stored bar is in them.
        # - The calendar does not expect a bar.
        mark(closed, "empty", CLOSED, draft.now_ms + LONGEST_MS),
        # - An expected bar was not received.
        *_no_bar_marks(draft, holes),
        # - A row off the grid was received in its place, now or before.
        mark(off_grid, "empty", OFF_GRID, "as a hole"),
        # - It has been missing before, between bars that were sent again unchanged.
        *_no_bar_marks(draft, _unsent(draft, parts.equal)),
        # - The row that was received cannot be a bar.
        mark(bad, "suspect", faults, "as a hole"),
        # A stored bar was sent again unchanged: it is trusted as much as the answer.
        _equal_marks(draft, parts),
        # A new bar has closed by the local clock alone. Beats the state of its piece.
        mark(_unvouched(draft, pieces), "provisional", UNVOUCHED, draft.now_ms + UNVOUCHED_MS),
        # A new bar is good, but other bars of its piece are not. Beats the state of the piece.
        mark(_trusted(draft, parts, pieces), "final", ""),
        # A bar is off the calendar, new or not. Beats the trust in it; is never requested again.
        mark(edges_of(parts.off_calendar), "suspect", UNEXPECTED),
        # Differing rows were received for a bar. Beats the trust in it.
        mark(contradicted, "suspect", contradiction, "as a hole"),
        # All received bars are suspect. Beats the state of each new bar that has settled.
        mark(suspected, "suspect", *(suspicion or ("",))),
        # A stored bar is kept although the answer lacks it. Beats nothing: no mark above is on it.
        _kept_marks(draft, parts.kept),
    ]
    # A bar is, or no longer is, almost certainly wrong (see ``judge.py``). Beats all marks: the
    # first repetition of a grave bar, which is equal, would otherwise make it final.
    absent = difference(answer.without_bars, parts.kept_edges)
    for verdict in answer.verdicts:
        edges = difference(edges_of([verdict.span]), absent)
        marks.append(Stretches.of(Columns.of_one(verdict, edges)))
    return marks


def _mark(
    draft: AnswerDraft,
    edges: Edges,
    state: State,
    reason: str | Sequence[str],
    until: _Until = None,
) -> Sequence[Covered]:
    """Return new coverage of the spans; ``reason`` may be a list with one for each span."""
    if not len(edges):
        return ()
    sent = draft.fetched
    source = (Kind(), Basis()) if state == "empty" else (sent.kind, draft.basis)
    template = Covered(Span(0, 0), state, sent.vendor, *source, sent.server_now_ms)
    parts, expires = edges, np.full(len(edges), until)
    if until == "as a hole":
        parts, expires = _due(draft, edges)
    reasons = [reason] * len(edges) if isinstance(reason, str) else reason
    owners = edges[:, 0].searchsorted(parts[:, 0], "right") - 1
    return spread(template, parts, expires, [reasons[owner] for owner in owners.tolist()])


def _due(draft: AnswerDraft, edges: Edges) -> tuple[Edges, Stamps]:
    request = draft.request
    return due_parts(edges, draft.stored.coverage, request.grid, request.expiry, draft.now_ms)


def _first_due(draft: AnswerDraft, span: Span) -> int:
    return int(_due(draft, edges_of([span]))[1].min())


def _suspicion(draft: AnswerDraft) -> Suspicion | None:
    """Return the reason why all received bars are suspect, or None."""
    answer = draft.to_store
    if not answer.doubt:
        return draft.suspicion
    reason = f"{DOUBTFUL}of {draft.vendor} {answer.doubt}"
    return Suspicion(reason, _first_due(draft, answer.answered))


def _are_new(rows: Sequence[BadRow], draft: AnswerDraft) -> NDArray[np.bool_]:
    """Return a mask of the rows at timestamps where no bar is stored."""
    stamps = np.array([row.bar.stamp_ms for row in rows], np.int64)
    return ~among(stamps, draft.stored.rows.stamps)


# --- stored bars that the answer lacks


def _refuse_if_many_lost(draft: AnswerDraft, lost: Sequence[int]) -> None:
    """Raise an error if the answer lacks many of the stored bars that are trusted.

    It does not count if the answer shows that the stored bars are wrong.
    If all stored bars before the answer's first row are from its vendor and convertible to its
    basis, ``usable_from`` is set first: a vendor whose history is shorter now still revises the rest.
    """
    missed = sum(not draft.stored.is_untrusted(stamp) for stamp in lost)
    stored, answer = len(draft.stored.rows), draft.to_store
    if not are_many(missed, stored) or disowned(draft):
        return
    firsts = [*answer.closed.stamps[:1].tolist(), *(row.bar.stamp_ms for row in answer.bad[:1])]
    first = min(firsts, default=lost[0])
    front = np.array(lost, np.int64)[: bisect_left(lost, first)]
    own = draft.stored.coverage.where(lambda entry: entry.vendor == draft.vendor)
    is_kept = inside(front, own) & among(front, draft.surroundings.rebased.stamps)
    if len(front) and is_kept.all():
        draft.usable_from = first
    raise QualityError(
        f"{draft.vendor} now lacks {missed} of {stored} stored bars",
        provider=draft.vendor,
        hint="the stored bars were kept",
    )


def disowned(draft: AnswerDraft) -> Suspicion | None:
    """Return a doubt if an answer differs by far from most final bars that its vendor sent before.

    The vendor may have taken the symbol for another company; its other bars are then wrong, too. A
    split or another unit changes all prices by one factor, which counts only if the vendor reports no
    splits, and prices jump by it.
    """
    new, old = draft.to_store.closed, draft.stored.rebased
    own = draft.stored.coverage.where(lambda c: c.state == "final" and c.vendor == draft.vendor)
    old = old.take(inside(old.stamps, own) & among(old.stamps, new.stamps))
    steps = np.log(new.take(among(new.stamps, old.stamps)).close / old.close)
    median = np.median(steps) if len(steps) > _FEW_BARS else 0.0
    if abs(median) > _FAR and np.median(np.abs(steps - median)) > ONE_MARKET.spread:
        reason = f"{draft.vendor} sends other prices for the same days than before"
    elif _jumps_beside_earlier(draft):
        reason = f"prices that {draft.vendor} sent at different times differ as after a split"
    else:
        return None
    return Suspicion(f"{DOUBTFUL}{reason}", draft.local_ms + DAY_MS)


def _jumps_beside_earlier(draft: AnswerDraft) -> bool:
    """Return whether prices jump between an answer and earlier final bars of its vendor.

    A vendor that adjusts its prices for splits without reporting them may have adjusted only those of
    the answer, if the vendor that reports them does so late.
    """
    is_own = draft.fetched.basis.adjustment == "split" and not draft.candidate.tells_actions
    if not (draft.is_of_share and is_own):
        return False
    new, old = draft.to_store.closed, draft.surroundings.rebased
    early_ms = draft.local_ms - HOUR_MS
    own = draft.surroundings.coverage.where(
        lambda c: c.state == "final" and c.vendor == draft.vendor and c.fetched_at < early_ms
    )
    old = old.take(inside(old.stamps, own) & ~among(old.stamps, new.stamps))
    table = merge(old, new)
    is_new = among(table.stamps, new.stamps)
    is_edge = (is_new[1:] != is_new[:-1]) & (np.diff(table.stamps) < _NEAR_MS)
    return bool((is_edge & may_be_splits(table)).any())


def may_be_splits(table: BarTable) -> NDArray[np.bool_]:
    """Return a mask of the pairs of adjacent rows between which prices jump as far as after a split."""
    is_far: NDArray[np.bool_] = np.abs(np.log(table.open[1:] / table.close[:-1])) > _SPLIT
    return is_far


def _withdrawn_stamps(draft: AnswerDraft, lost: Sequence[int]) -> list[int]:
    """Return the provisional or off-calendar bars in ``lost`` that the vendor no longer sends.

    Stored bars at or after the last one received, and those now sent as bad rows, are not included.
    """
    answer = draft.to_store
    last = int(answer.closed.stamps[-1]) if len(answer.closed) else 0
    bad = {row.bar.stamp_ms for row in answer.bad}
    return [s for s in lost if s < last and s not in bad and draft.stored.is_removable(s)]


def _kept_spans(draft: AnswerDraft, stamps: Sequence[int]) -> list[tuple[Span, str]]:
    """Return the span of each stored bar to keep although the answer lacks it, and the reason."""
    if not stamps:
        return []
    answer = draft.to_store
    bad = {row.bar.stamp_ms for row in answer.bad}
    others = np.array([*bad, *(span.end for span in answer.spans)], dtype=np.int64)
    edges = distinct(np.concatenate([draft.stored.rows.stamps, answer.closed.stamps, others]))
    following = edges[edges.searchsorted(stamps, "right")].tolist()
    return [
        # Only up to the next expected bar, which is missing rather than suspect.
        (Span(stamp, min(end, _end_of(draft, stamp))), SPOILT if stamp in bad else LOST)
        for stamp, end in zip(stamps, following, strict=True)
    ]


def _kept_marks(draft: AnswerDraft, kept: Iterable[tuple[Span, str]]) -> list[Covered]:
    marks: list[Covered] = []
    for span, reason in kept:
        old, expires = draft.stored.untrusted_entry(span.start), _first_due(draft, span)
        if old is not None and Cause.GRAVE in old.cause:
            # If another vendor lacks the bar, this does not show whether it is right.
            marks.append(postponed(replace(old, span=span), draft.now_ms))
        elif old is not None and draft.to_store.doubt:
            # This vendor never had the bar, and is not trusted more than the one that did.
            marks.append(replace(old, span=span, expires=expires))
        else:
            marks += _mark(draft, edges_of([span]), "suspect", reason, expires)
    return marks


def _end_of(draft: AnswerDraft, stamp: int) -> int:
    """Return the end of a bar's span: the timestamp of the next bar, expected or not."""
    stamps = draft.to_store.closed.stamps
    at = int(np.searchsorted(stamps, stamp, side="right"))
    following = int(stamps[at]) if at < len(stamps) else draft.to_store.answered.end
    return max(min(following, draft.request.grid.next_open(stamp + 1)), stamp + 1)


# --- new bars


def _runs(
    draft: AnswerDraft, free: Sequence[Span], withdrawn: Sequence[int]
) -> list[tuple[Span, bool]]:
    """Split spans into runs, each with a flag: True if its bars equal the stored ones.

    Example: Friday is stored, and Monday too. If the answer has Friday and Monday unchanged and a
    new Tuesday, there are two runs. The first one (True) ends where the stored answers end, after
    Monday's bar; the second one (False) starts there and contains the night before Tuesday's bar.
    """
    runs: list[tuple[Span, bool]] = []
    are_equal = _equal_rows(draft)
    for span in free:
        first, end = draft.to_store.closed.stamps.searchsorted(span).tolist()
        if first == end:
            continue
        stamps, equal = draft.to_store.closed.stamps[first:end], are_equal[first:end]
        for stamp in withdrawn[slice(*(bisect_left(withdrawn, edge) for edge in span))]:
            # The bar that would confirm the withdrawn one is written again.
            equal[max(int(stamps.searchsorted(stamp)) - 1, 0)] = False
        cuts = [0, *(np.flatnonzero(equal[1:] != equal[:-1]) + 1).tolist()]
        starts = [
            _run_start(draft, Span(*stamps[cut - 1 : cut + 1].tolist()), is_equal=bool(equal[cut]))
            for cut in cuts[1:]
        ]
        edges = pairwise([span.start, *starts, span.end])
        runs += ((Span(*edge), bool(equal[cut])) for edge, cut in zip(edges, cuts, strict=True))
    return runs


def _run_start(draft: AnswerDraft, between: Span, *, is_equal: bool) -> int:
    """Return the time at which a run starts, given the bar before it and its first bar.

    A run of equal rows starts at its first row. A run of new rows starts where the stored answers
    before it end, so it includes the night or weekend before its first bar. The spans of bars added
    on successive nights are therefore adjacent.
    """
    if is_equal:
        return between.end
    entries = draft.stored.coverage.within(between)
    ends = [c.span.end for c in entries if c.reason != CLOSED and draft.is_answered(c)]
    return max(ends, default=between.end)


def _equal_rows(draft: AnswerDraft) -> NDArray[np.bool_]:
    """Return a mask of the rows that match the stored rows, and so need not be written again.

    Equal rows are written again nevertheless if the basis of the stored rows is unknown and that
    of the answer is not, if it is in the future, or if a refresh changed the adjusted close.
    """
    rows, stored, old_rows = draft.to_store.closed, draft.stored, draft.stored.rebased
    equal = np.zeros(len(rows), dtype=bool)
    if not len(old_rows):
        return equal
    positions = np.searchsorted(old_rows.stamps, rows.stamps)
    common = positions < len(old_rows)
    common[common] = old_rows.stamps[positions[common]] == rows.stamps[common]
    equal[common] = same_rows(rows.take(common), old_rows.take(positions[common]), stored.tolerance)
    entries = [entry for entry in stored.coverage if entry.state in WITH_BARS]
    if draft.basis.adjustment != "unknown":
        others = [entry for entry in entries if entry.basis.adjustment == "unknown"]
        equal &= ~inside(rows.stamps, [c.span for c in (*others, *ahead_marks(draft, entries))])
    if draft.request.query.refresh:
        equal &= ~among(rows.stamps, _readjusted_stamps(draft))
    return equal


def _readjusted_stamps(draft: AnswerDraft) -> Stamps:
    """Return the timestamps of stored bars whose adjusted close is different in the answer.

    The cause is a dividend since the bars were fetched, which is accounted for when they are read.
    Only a refresh writes such bars again.
    """
    rows, new_rows = draft.stored.rows, draft.to_store.closed
    both = np.intersect1d(rows.stamps, new_rows.stamps, assume_unique=True, return_indices=True)
    stamps, old_index, new_index = both
    if new_rows.adj_close is None:
        return stamps[:0]
    new = new_rows.adj_close[new_index]
    old = np.full(len(stamps), np.nan) if rows.adj_close is None else rows.adj_close[old_index]
    same = np.isclose(old, new, rtol=ADJUSTED_CLOSE_TOLERANCE, atol=0.0)
    return stamps[~same & ~np.isnan(new)]


def _pieces(draft: AnswerDraft, parts: _Parts) -> list[CommitPiece]:
    """Return the rows in each new span as up to two pieces, one final and one provisional.

    If some bars of the final piece are not trusted, it is written as provisional, and a mark makes
    its good bars final (:func:`_trusted`).
    """
    answer, fetched, pieces = draft.to_store, draft.fetched, list[CommitPiece]()
    without_bars = spans_of(answer.without_bars)
    intraday = draft.request.grid.timeframe.is_intraday
    for span in parts.new:
        middle = answer.finality.final_before(span)
        if not len(answer.closed.within(Span(span.start, middle))):
            middle = span.start
        for part, is_final in ((Span(span.start, middle), True), (Span(middle, span.end), False)):
            rows = answer.closed.within(part)
            if not len(rows):
                continue
            is_trusted = is_final and not (parts.suspicion or touching(parts.untrusted, part))
            pieces.append(
                CommitPiece(
                    rows,
                    part,
                    fetched.vendor,
                    fetched.server_now_ms,
                    fetched.kind,
                    # Bars before these rows that were merely resent do not affect the basis.
                    draft.basis.of_bars(
                        int(rows.stamps[0]), fetched.kind.session, intraday=intraday
                    ),
                    "final" if is_trusted else "provisional",
                    tuple(clipped(without_bars, part)),
                )
            )
    return pieces


def _trusted(draft: AnswerDraft, parts: _Parts, pieces: Sequence[CommitPiece]) -> Edges:
    """Return the settled spans of pieces that contain untrusted bars, without those bars."""
    spans: list[Span] = []
    answer = draft.to_store
    if parts.untrusted and not parts.suspicion:
        left_out = coalesce([*parts.untrusted, *spans_of(answer.without_bars)])
        for piece in pieces:
            if piece.state == "provisional":
                settled = Span(piece.span.start, answer.finality.final_before(piece.span))
                # Later marks may overlap the span if the basis is the same.
                is_plain = piece.basis == draft.basis
                spans += subtract([settled], () if is_plain else touching(left_out, settled))
    return edges_of(spans)


def _unvouched(draft: AnswerDraft, pieces: Sequence[CommitPiece]) -> Edges:
    """Return the spans of new bars for which only the local clock shows that they have closed."""
    answer, first = draft.to_store, draft.to_store.finality.vouched_before
    if first >= answer.answered.end:
        return edges_of(())
    # A span without bars before the first of them is not confirmed either.
    alone = (
        piece.span
        if int(piece.table.stamps[0]) >= first
        else Span(max(piece.span.start, first), piece.span.end)
        for piece in pieces
    )
    return difference(edges_of(alone), answer.without_bars)


def _settled_parts(draft: AnswerDraft, pieces: Sequence[CommitPiece]) -> Edges:
    """Return the settled parts of the pieces; parts that have not settled are fetched again anyway."""
    answer = draft.to_store
    settled = Span(answer.answered.start, answer.finality.settled_before)
    return difference(edges_of(piece.span.clip(settled) for piece in pieces), answer.without_bars)


# --- bars that came back equal


def _equal_marks(draft: AnswerDraft, parts: _Parts) -> list[Covered]:
    """Return new coverage of stored bars that were resent unchanged; they keep their vendor."""
    finality, readjusted = draft.to_store.finality, _readjusted_stamps(draft)
    first, settled = min(finality), finality.settled_before
    # From `first` to `settled`, only the local clock shows that the bars have closed; from `settled`
    # on, they may still change.
    zones = (
        (Span(-NEVER_MS, first), "final"),
        (Span(first, settled), "unvouched"),
        (Span(settled, NEVER_MS), "unsettled"),
    )
    return [
        _renewed(draft, part, zone, parts.suspicion, readjusted)
        for span in spans_of(difference(parts.equal, draft.to_store.without_bars))
        for old in draft.stored.coverage.within(span)
        if old.state in WITH_BARS
        for part_of, zone in zones
        if (part := old.clip(part_of)) is not None
    ]


def _renewed(
    draft: AnswerDraft, old: Covered, zone: str, suspicion: Suspicion | None, readjusted: Stamps
) -> Covered:
    """Return the coverage entry ``old`` after its bars were resent unchanged.

    It keeps its fetch time if its adjusted closes reflect an action that is not reported any more.
    """
    state: State = "final"
    reason, expires = "", None
    unvouched_until = draft.now_ms + UNVOUCHED_MS
    wait_ms = max(DAY_MS, draft.request.grid.timeframe.longest_ms)
    if zone == "unsettled":
        state = "provisional"
    elif suspicion:
        state, (reason, expires) = "suspect", suspicion
    elif zone == "unvouched" and old.state != "final":
        # Only the local clock shows that the bars have closed. They become final after this time.
        if old.reason != UNVOUCHED:
            state, reason, expires = "provisional", UNVOUCHED, unvouched_until
        elif draft.now_ms - old.fetched_at < wait_ms:
            return replace(old, expires=unvouched_until)
    # Bars that have settled stay settled as long as they are the same.
    reason = reason or (old.reason if Cause.SETTLED in old.cause else "")
    fetched_at, again = old.fetched_at, inside(readjusted, [old.span]).any()
    lacks = [k for k in draft.book.lacks if may_reflect(old, k, "all")] if again else []
    # Prices that may reflect such an action have just been compared, and are not marked again.
    if all(may_reflect(old, lack, old.basis.adjustment) for lack in lacks):
        fetched_at = max(fetched_at, draft.fetched.server_now_ms)
    basis = _later_basis(draft, old, readjusted)
    return replace(
        old, state=state, fetched_at=fetched_at, reason=reason, expires=expires, basis=basis
    )


def _later_basis(draft: AnswerDraft, entry: Covered, readjusted: Stamps) -> Basis:
    """Return the answer's basis if bars with an earlier but similar basis were resent unchanged.

    Equal bars mean that there was no action between the two dates, even if no vendor was queried
    for splits and dividends. If the adjusted close prices differ (``readjusted``), there was a
    dividend, which the bars' own basis accounts for.
    """
    old, new = entry.basis, draft.basis
    first, last = np.searchsorted(readjusted, entry.span)
    if first < last:
        return old
    as_stored = draft.stored.rebased is draft.stored.rows
    later = new.as_of is not None and (old.as_of is None or old.as_of < new.as_of)
    return new if as_stored and later and old.adjustment == new.adjustment else old


# --- spans without a bar


def _spans_without_bars(draft: AnswerDraft, parts: _Parts) -> tuple[Edges, Edges, Edges]:
    """Return the spans without bars in three groups: closed hours, holes, and off-grid rows."""
    answer, grid = draft.to_store, draft.request.grid
    holes, slots = edges_of(answer.holes), edges_of(answer.off_slots)
    if parts.kept:
        holes = difference(holes, parts.kept_edges)
        slots = difference(slots, parts.kept_edges)
    received = np.concatenate([edges_of(parts.new), parts.equal, answer.without_bars])
    silent = difference(edges_of(parts.free), received)
    spans = np.concatenate([holes, silent])
    spans = spans[spans[:, 0].argsort(kind="stable")]
    required = grid.expects(spans, required=True)
    closed, holes = spans[~required], spans[required]
    before = draft.stored.coverage.where(lambda c: c.state == "empty" and c.reason == OFF_GRID)
    if len(before):
        rest = difference(holes, before)
        slots = np.concatenate([slots, difference(holes, rest)])
        holes = rest
    if draft.fetched.seams:
        holes = holes[~meets(holes, merged(edges_of(draft.fetched.seams)))]
    return closed, holes, slots


def _unsent(draft: AnswerDraft, equal: Edges) -> Edges:
    """Return the spans of bars that are still missing, although the bars around them were resent.

    Unchanged bars are not written again, so nothing else would record that the missing bars were
    requested.
    """
    covered = draft.stored.coverage.where(draft.is_answered)
    spans = difference(equal, np.concatenate([covered, draft.to_store.without_bars]))
    return spans[draft.request.grid.expects(spans, required=True)]


def _no_bar_marks(draft: AnswerDraft, spans: Edges) -> list[Sequence[Covered]]:
    """Return the marks of spans without bars; the reason depends on whether holidays there are known."""
    if not len(spans):
        return []
    reach = Span(int(spans.min()), int(spans.max()))
    unknown = meets(spans, edges_of(draft.request.grid.calendar.unrecorded(reach)))
    return [
        _mark(draft, spans[~unknown], "empty", NO_BAR, "as a hole"),
        _mark(draft, spans[unknown], "empty", HOLIDAYS_UNKNOWN, "as a hole"),
    ]


def are_many(lost: int, stored: int) -> bool:
    """Return whether more than two stored bars, and more than 1% of them, are missing from an answer.

    Such an answer is not trusted.
    """
    return lost > max(2, stored // 100)


def same_rows(
    table: BarTable, other: BarTable, tolerance: float, columns: int = 5
) -> NDArray[np.bool_]:
    """Return a mask of the rows whose prices, and volumes (``columns`` 5), are equal within a tolerance."""
    equal = np.ones(len(table), dtype=bool)
    for left, right in zip(table.values()[:columns], other.values()[:columns], strict=True):
        equal &= np.isclose(left, right, rtol=tolerance, atol=0.0, equal_nan=True)
    return equal
