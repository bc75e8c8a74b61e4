"""Classifies a vendor's answer into closed, forming, missing and invalid bars. Pure decisions."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

import numpy as np

from ..cache.faults import (
    BAD,
    CONTRADICTED,
    DUPLICATE,
    MISSING,
    MISSING_VOLUME,
    NOTE,
    Fault,
    FaultGroup,
    faults_by_year,
)
from ..calendars.calendar import first_unclosed
from ..calendars.finality import Finality, finality_of, first_unsettled
from ..calendars.gaps import hole_edges, holes
from ..calendars.grid import BarGrid
from ..model.market.bars import BadRow, BarTable, Stamps, among, distinct, inside, merge, union
from ..model.request.capabilities import Fetched
from ..model.stored.coverage import Covered
from ..model.stored.reasons import DID_NOT_COME, NO_TRADE
from ..model.time.edges import Edges, difference, edges_of, meets, merged, spans_of
from ..model.time.instant import HOUR_MS, MINUTE_MS, date_of
from ..model.time.span import Span, coalesce, intersect, year_span, years_of
from ..prices.quality import CheckedRows, no_stamps
from ..runtime.once import cached_property

Density = Literal["dense", "sparse", "unknown"]

# Limits for listing an answer's missing spans one by one: this many, or one per this many expected
# bars. An answer that exceeds them is in doubt as a whole.
MOST_HOLES, BARS_A_HOLE = 64, 8
# If bars without trades are not sent, a span this many times their usual distance is a hole.
_FAR_BEYOND, _FEWEST_FOR_HABIT = 10, 10
# No exchange has shorter sessions; shorter spans need not be checked.
_SHORTEST_SESSION_MS = HOUR_MS
# Bars of at least this length nearly always have trades, even for illiquid stocks.
_ALWAYS_TRADED_MS = 30 * MINUTE_MS


@dataclass(frozen=True)
class ClassifiedAnswer:
    """One answer, with its rows classified.

    Attributes:
        answered: Span that the answer covers.
        closed: The answer's closed bars, ascending and checked.
        forming: Rows of bars that had not closed yet.
        finality: Timestamps before which bars have settled, and before which not only the local
            clock shows that they have closed; bars at or after either are provisional.
        holes: Spans with an expected bar that was not received.
        bad: Closed rows that are not valid bars.
        bad_spans: Span of each row in ``bad``, up to the next expected bar.
        off_grid: Closed rows with a timestamp at which no bar can open.
        off_slots: Spans for which off-grid rows were received instead of the expected bar.
        unexpected: Timestamps of closed bars that the calendar does not expect.
        contradicted: Spans of settled bars for which several differing rows were received.
        unpublished: Span at the end whose bars have closed but that the vendor has not published
            yet, or None.
        doubt: Reason why the answer as a whole is not trusted; empty if it is trusted.
        is_usable: Whether the answer is usable, so that its full span need not be requested from
            another vendor. If ``doubt`` is only that bars are missing, the answer is usable, though
            not trusted; if too many of the received rows are invalid, contradictory or off the
            calendar, it is neither.
        requested: Requested spans; empty unless only missing spans were requested.
        verdicts: Verdicts on whether individual bars are wrong, as coverage entries that are
            applied after all others.
        grave: Spans of bars just found to have a serious fault, including adjacent stored bars.
    """

    answered: Span
    closed: BarTable
    forming: BarTable
    finality: Finality
    holes: tuple[Span, ...] = ()
    bad: tuple[BadRow, ...] = ()
    bad_spans: tuple[Span, ...] = ()
    off_grid: tuple[BadRow, ...] = ()
    off_slots: tuple[Span, ...] = ()
    unexpected: Stamps = field(default_factory=no_stamps)
    contradicted: tuple[Span, ...] = ()
    unpublished: Span | None = None
    doubt: str = ""
    is_usable: bool = True
    requested: tuple[Span, ...] = ()
    verdicts: tuple[Covered, ...] = ()
    grave: tuple[Span, ...] = ()

    @property
    def spans(self) -> list[Span]:
        """The spans to use: the whole answer, or only the requested parts if there are several."""
        return intersect([self.answered], self.requested) if self.requested else [self.answered]

    @cached_property
    def without_bars(self) -> Edges:
        """The merged spans for which the answer has no bars, or only invalid rows."""
        return merged(edges_of((*self.holes, *self.bad_spans, *self.off_slots)))

    @property
    def with_bars(self) -> Edges:
        """The spans that were answered, except those in :attr:`without_bars`."""
        return difference(edges_of([self.answered]), self.without_bars)

    @property
    def refusal(self) -> str:
        """The reason why the answer as a whole cannot be used; empty if it can be used."""
        if not self.is_usable:
            return self.doubt
        return "" if len(self.closed) or not self.bad else f"all {len(self.bad)} rows are bad"

    @property
    def unanswered(self) -> list[Span]:
        """The spans for which the answer has no usable bars."""
        return self._within_parts(not self.is_usable)

    @property
    def lacking(self) -> list[Span]:
        """The spans that another vendor may still be queried for.

        If the answer lacks too many bars to be trusted, the result is its whole span: the missing
        bars are then not listed, and another vendor should also confirm the others. Spans of bars
        with serious faults are included.
        """
        return coalesce([*self._within_parts(bool(self.doubt)), *self.grave])

    def _within_parts(self, is_whole: bool) -> list[Span]:
        late = [self.unpublished] if self.unpublished else []
        if is_whole:
            spans = [self.answered, *late]
        else:
            spans = [*self.holes, *self.bad_spans, *self.off_slots, *self.contradicted, *late]
        return intersect(spans, self.requested) if self.requested else coalesce(spans)


def sorted_answer(
    fetched: Fetched,
    checked: CheckedRows,
    segment: Span,
    grid: BarGrid,
    now_ms: int,
    density: Density | None = None,
    least_share: float = 0.0,
    requested: Sequence[Span] = (),
    *,
    is_own: bool = False,
) -> ClassifiedAnswer:
    """Sort the bars of a checked answer by finality, and find the missing bars.

    1. Take the rows of bars that have closed; the others are still forming.
    2. Set aside invalid rows and rows off the grid; a bar that was sent as such a row is not missing.
    3. Find the *unpublished* part at the end, in which no bar has been received or has settled yet:
       nothing is concluded from the absence of its bars.
    4. Find the missing bars before that part, and decide whether they are too many to trust the
       answer (:func:`_find_holes`).
    5. Decide whether the received rows are usable (:func:`_objection`).

    Args:
        fetched: The answer.
        checked: Rows of the answer, checked.
        segment: Requested span.
        grid: Grid of the times at which bars are expected.
        now_ms: Local time; the vendor's time is used instead if it is earlier.
        density: ``dense`` if every missing bar is a hole; ``sparse`` if bars without trades are not
            sent, so that a span is a hole only if it is far longer than the usual distance between
            its bars or contains a whole session; ``unknown`` if nothing can be concluded. By
            default, the answer's own declaration.
        least_share: Minimum fraction of the expected bars (not counting holes) that must have been
            received, and minimum fraction of bars that no other row contradicts. With 0, every
            answer is trusted.
        requested: Ascending spans, if only these are requested. Rows and missing bars outside them
            are then ignored.
        is_own: Whether the answer is a file of the user's, whose rows are used however many bars it
            lacks; all of these are holes then.
    """
    density = density or ("dense" if fetched.dense else "sparse")
    now = min(now_ms, fetched.server_now_ms)
    cap_ms = first_unclosed(grid.calendar, grid.timeframe, now, grid.anchor)
    end = min(segment.end, grid.first_open(cap_ms, now))
    closed, forming_rows = _split_by_close(checked, Span(segment.start, end), grid, now)
    # The forming bar may have any values; it is judged when it has closed.
    bad = checked.bad[: bisect_left(checked.bad, end, key=_stamp)]
    stamps = [row.bar.stamp_ms for row in bad]
    present = union(closed.stamps, np.array(stamps, dtype=np.int64))
    off_grid = checked.off_grid[: bisect_left(checked.off_grid, end, key=_stamp)]
    slots = _slots(Span(segment.start, end), off_grid, present, grid)
    present = union(present, slots)
    if requested:
        present = union(present, _stamps_outside(grid.opens(Span(segment.start, end)), requested))
    unpublished = _unpublished_span(Span(segment.start, end), present, grid, fetched.settle_ms, now)
    answered = Span(segment.start, unpublished.start if unpublished else end)
    parts = requested or [answered]
    holes, doubt = _find_holes(answered, present, grid, density, least_share, is_own=is_own)
    finality = finality_of(
        answered, closed.stamps, grid, fetched.settle_ms, now, is_dated=fetched.dated
    )
    contradicted = checked.contradicted[checked.contradicted < min(finality.settled_before, end)]
    rejection = _objection(closed, len(bad), len(contradicted), least_share)
    unexpected = checked.unexpected[among(checked.unexpected, closed.stamps)]
    if fetched.kind.session == "extended":
        unexpected = no_stamps()  # the calendar has only regular hours
    elif 0 < len(closed) == len(unexpected) and least_share > 0 and len(grid.opens(answered)):
        rejection = f"all {len(closed)} bars are at times when the calendar expects none"
    later = checked.good.within(Span(max(segment.start, end), segment.end))
    return ClassifiedAnswer(
        answered=answered,
        closed=closed,
        forming=merge(forming_rows, later) if len(forming_rows) else later,
        finality=finality,
        holes=tuple(holes),
        bad=bad,
        bad_spans=_spans_at(stamps, grid, parts),
        off_grid=off_grid,
        off_slots=tuple(coalesce(_spans_at(slots.tolist(), grid, parts))),
        unexpected=unexpected,
        contradicted=tuple(coalesce(_spans_at(contradicted.tolist(), grid, parts))),
        unpublished=unpublished,
        doubt=rejection or doubt,
        is_usable=not rejection,
        requested=tuple(requested),
    )


def _split_by_close(
    checked: CheckedRows, span: Span, grid: BarGrid, now_ms: int
) -> tuple[BarTable, BarTable]:
    """Return the good closed rows in ``span``, and the rows that are still forming.

    Only bars that the calendar does not expect can still be forming.
    """
    rows = checked.good.within(span)
    unexpected = checked.unexpected[among(checked.unexpected, rows.stamps)]
    runs = unexpected[grid.closes(unexpected) > now_ms] if len(unexpected) else unexpected
    is_running = among(rows.stamps, runs)
    return (rows.take(~is_running) if len(runs) else rows), rows.take(is_running)


def _spans_at(stamps: Sequence[int], grid: BarGrid, parts: Sequence[Span]) -> tuple[Span, ...]:
    """Return, for each timestamp, the span from the timestamp to the next expected bar.

    The span ends earlier, with the one of the answered ``parts`` that contains the timestamp: what
    follows may be stored from another answer.
    """
    if not stamps:
        return ()
    last = max(stamps)
    opens = np.append(grid.opens(Span(min(stamps), last + 1)), grid.next_open(last + 1))
    ends = opens[np.searchsorted(opens, stamps, side="right")]
    limits = np.append([part.end for part in parts], opens[-1])
    limits = limits[np.searchsorted(limits[:-1], stamps, side="right")]
    return tuple(spans_of(np.column_stack([stamps, np.minimum(ends, limits)])))


def _slots(span: Span, rows: Sequence[BadRow], present: Stamps, grid: BarGrid) -> Stamps:
    """Return the timestamps of missing bars for which an off-grid row was sent instead."""
    if not rows:
        return no_stamps()
    opens = grid.opens(span)
    stamps = np.array([row.bar.stamp_ms for row in rows], dtype=np.int64)
    at = np.searchsorted(opens, stamps, side="right") - 1
    at, stamps = at[at >= 0], stamps[at >= 0]
    slots = opens[at]
    if len(slots):
        slots = slots[stamps < grid.closes(slots)]
    return distinct(slots[~among(slots, present)])


def _objection(closed: BarTable, bad: int, contradicted: int, least_share: float) -> str:
    """Return the reason not to trust the rows as a whole; empty if they are trusted.

    Invalid rows are requested from another vendor in any case. If they outnumber the valid bars,
    these are not trusted either. If all rows are invalid, nothing is left to distrust.
    """
    rows = len(closed) + bad
    objections = []
    if bad > len(closed) > 0 and least_share > 0:
        objections.append(f"{bad} of {rows} rows cannot be bars")
    if rows and 1 - contradicted / rows < least_share:
        objections.append(f"{contradicted} of {rows} bars came in rows that contradict each other")
    return " and ".join(objections) if len(closed) else ""


def _unpublished_span(
    span: Span, present: Stamps, grid: BarGrid, settle_ms: int, now_ms: int
) -> Span | None:
    """Return the part of ``span`` after the last bar present that may not be published yet.

    The part begins with the first expected bar that has not settled; the result is None if all
    expected bars should have settled.
    """
    after_last = Span(int(present[-1]) + 1 if len(present) else span.start, span.end)
    late = first_unsettled(grid.opens(after_last), grid, settle_ms, now_ms)
    return None if late is None else Span(late, span.end)


def _find_holes(
    answered: Span,
    present: Stamps,
    grid: BarGrid,
    density: Density,
    least_share: float,
    *,
    is_own: bool = False,
) -> tuple[list[Span], str]:
    """Return the holes, and the reason not to trust the answer; the reason is empty if it is trusted.

    An answer is not trusted if it has too many holes to list, or too few bars; all holes of the
    user's own files are listed instead.
    """
    if density == "unknown":
        return [], ""
    # Vendors are not required to have the other bars, so these are neither looked for nor counted.
    every = holes(answered, present, grid)
    required = grid.expects(every, required=True)
    absent = [hole for hole, is_required in zip(every, required, strict=True) if is_required]
    opens = grid.required(answered)
    if density == "dense" and len(absent) <= max(MOST_HOLES, len(opens) // BARS_A_HOLE):
        return absent, ""
    usual = _usual_distance(opens, present) if density == "sparse" else np.inf
    long_holes = [
        span
        for span in absent
        if _holds_a_session(span, grid)
        or np.diff(opens.searchsorted(span))[0] >= _FAR_BEYOND * usual
    ][: None if is_own else MOST_HOLES]
    expected = _stamps_outside(opens, long_holes)
    missing = int(np.count_nonzero(~among(expected, present)))
    enough = len(expected) - missing >= least_share * len(expected)
    if density == "sparse" and (enough or _need_not_trade(grid)):
        return long_holes, ""
    if is_own:
        return absent, ""
    return long_holes, f"{missing} of {len(expected)} {DID_NOT_COME}"


def _usual_distance(opens: Stamps, present: Stamps) -> float:
    """Return the median spacing of the bars, in expected bars; infinite if there are too few bars."""
    positions = np.flatnonzero(among(opens, present))
    return float(np.median(np.diff(positions))) if len(positions) > _FEWEST_FOR_HABIT else np.inf


def _stamps_outside(stamps: Stamps, spans: Sequence[Span]) -> Stamps:
    return stamps[~inside(stamps, spans)]


def _need_not_trade(grid: BarGrid) -> bool:
    step_ms = grid.timeframe.step_ms
    return step_ms is not None and step_ms < _ALWAYS_TRADED_MS


def _holds_a_session(span: Span, grid: BarGrid) -> bool:
    """Return whether a span contains a whole session, which a mere lack of trades cannot explain."""
    if not grid.timeframe.is_intraday:
        return True
    if span.end - span.start < _SHORTEST_SESSION_MS:
        return False
    day = timedelta(days=1)
    sessions = grid.calendar.sessions(date_of(span.start) - day, date_of(span.end) + day)
    return any(span.start <= s.open_ms and s.close_ms <= span.end for s in sessions)


# --- the faults of an answer, as they are stored with its bars


# Sentences that individual faults already cover.
_SENTENCE_OF_BARS = re.compile(
    rf"\d{{4}}-\d\d-\d\dT|\d+ of \d+ expected bars|\d+ rows cannot be bars|{MISSING_VOLUME}:"
)


def faults_of(
    checked: CheckedRows, answer: ClassifiedAnswer, grid: BarGrid, kept: Stamps
) -> tuple[Fault, ...]:
    """Return the faults of an answer; a fault that crosses the end of a year is split there.

    A missing bar is not a fault if a stored bar is kept in its place; ``kept`` contains the
    timestamps of such bars.
    """
    answered = answer.answered
    if answered.is_empty:
        return ()
    rows = sorted((*answer.bad, *answer.off_grid), key=_stamp)
    rows = rows[
        bisect_left(rows, answered.start, key=_stamp) : bisect_left(rows, answered.end, key=_stamp)
    ]
    stamps = np.array([row[0][0] for row in rows], np.int64)
    contradicted = checked.contradicted[inside(checked.contradicted, [answered])]
    groups = [
        FaultGroup.of_bars(BAD, stamps, [reason for _, reason in rows]),
        FaultGroup.of_bars(CONTRADICTED, contradicted),
        *_missing_bars(answer, grid, kept),
    ]
    total = sum(len(group.edges) for group in groups)
    faults = [fault for group in groups for fault in group.faults(total)]
    faults += faults_by_year(MISSING_VOLUME, checked.without_volume, answered)
    if checked.duplicates:
        faults.append(Fault(_span_at(answered.start), DUPLICATE, checked.duplicates))
    notes = (text for text in checked.problems if not _SENTENCE_OF_BARS.match(text))
    faults += (Fault(_span_at(answered.start), NOTE, 1, text) for text in notes)
    return tuple(faults)


def _stamp(row: BadRow) -> int:
    return row[0][0]


def _missing_bars(answer: ClassifiedAnswer, grid: BarGrid, kept: Stamps) -> Iterator[FaultGroup]:
    """Yield the expected bars that were not received.

    A bar whose row is bad is not missing, because the bad row is itself a fault.
    """
    bad = np.array([row.bar.stamp_ms for row in answer.bad], dtype=np.int64)
    present = union(union(answer.closed.stamps, bad), kept)
    slots, listed = merged(edges_of(answer.off_slots)), merged(edges_of(answer.holes))
    parts, counts = [edges_of(())], [np.empty(0, np.int64)]
    for span in answer.spans:
        absent = hole_edges(span, present[slice(*np.searchsorted(present, span))], grid)
        absent = absent[~meets(absent, slots)]
        if not len(absent):
            continue
        opens = grid.required(span)
        for year in years_of(span):
            part = np.clip(absent, *year_span(year))
            positions = opens.searchsorted(part)
            parts.append(part[positions[:, 0] < positions[:, 1]])
            counts.append(np.diff(positions)[:, 0][positions[:, 0] < positions[:, 1]])
    edges, numbers = np.concatenate(parts), np.concatenate(counts)
    is_listed = meets(edges, listed)
    yield FaultGroup(MISSING, edges[is_listed], numbers[is_listed])
    yield FaultGroup(MISSING, edges[~is_listed], numbers[~is_listed], (NO_TRADE,))


def _span_at(stamp: int) -> Span:
    return Span(stamp, stamp + 1)
