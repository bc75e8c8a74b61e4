"""Judges new bars by their neighbors, and decides how long grave bars remain suspect. Pure.

A grave bar, which is almost certainly wrong, stays stored, and its span is ``suspect`` with a
reason that begins with ``grave:``. The next vendor is queried in the same call; its row replaces
the bar if it differs and is not grave itself. The doubt ends in one of three ways: a second vendor
has the same row, a split or dividend explains the bar (then the bar is not grave any more), or its
vendor has repeated the row so often that it would next be requested after more than a week, unless
its own adjusted close contradicts the row, or the vendor no longer reports an action on or after that
day. In the last case the bar is final, its reason begins with
``settled:``, and it is not judged again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...cache.actions import ActionBook
from ...model.identity.kind import Basis, Kind
from ...model.market.actions import Action, amount_on
from ...model.market.bars import BarTable, Stamps, among, distinct, inside, merge
from ...model.stored.coverage import Covered
from ...model.stored.reasons import AHEAD, GRAVE, SETTLED, Cause
from ...model.time.instant import DAY_MS, date_of, day_ms
from ...model.time.span import Span, coalesce, intersect, subtract, touching
from ...model.time.timeframe import Timeframe
from ...prices.adjustment import BasisPart, rebase
from ...prices.judgement.grave import Grave, graves
from ...prices.judgement.levels import unit_jumps
from ...prices.judgement.series import CheckedSeries, DailySessions, ShareEvent
from ..sorted_answer import ClassifiedAnswer
from ..validity import Hole, is_hole, next_due, postponed, split_marks, waited_ms
from .commit import same_rows
from .draft import AnswerDraft

# Grave bars never wait longer; those that would, because they were repeated so often, are settled.
_LONGEST_WAIT_MS = 7 * DAY_MS
# Two vendors have the same row if prices differ by less than this; wrong ones are far off.
_SAME_ROW_TOLERANCE = 0.02
# Days by which the dates of vendors' reports of one action may differ.
_DATE_TOLERANCE_MS = 14 * DAY_MS
Mask = NDArray[np.bool_]
RowIndices = NDArray[np.intp]


def judge(draft: AnswerDraft, sessions: DailySessions | None) -> ClassifiedAnswer:
    """Return the answer with verdicts: which of its bars, and of the stored bars next to it, are wrong.

    If grave rows (almost certainly wrong) from another vendor are stored, and the rows of this
    answer are the same or also grave, the verdicts name the first vendor, whose rows are kept (see
    :func:`.commit.without_overruled`).

    Args:
        draft: The answer, with the stored bars.
        sessions: Stored daily bars with which intraday bars are compared; None if there are none.
    """
    return _Judge(draft, sessions).judged()


class _Repeat(NamedTuple):
    """Positions of new rows at timestamps of stored grave (almost certainly wrong) bars.

    The stored bars are in the coverage entry ``entry``. The new rows either equal them (``is_same``)
    or are also grave.
    """

    entry: Covered
    rows: RowIndices
    is_same: bool


@dataclass(frozen=True)
class _Judge:
    """Judges one answer. Used once."""

    draft: AnswerDraft
    sessions: DailySessions | None

    def judged(self) -> ClassifiedAnswer:
        """Return the answer with verdicts: new coverage for bars that are, or are no longer, found wrong."""
        # 1. Find the new bars that are grave beside the stored bars that are not.
        answer, stored, surroundings = self._answer, self.draft.stored, self.draft.surroundings
        coverage = surroundings.coverage
        grave = [entry for entry in coverage if Cause.GRAVE in entry.cause]
        # Where the unit changes, only the edges are marked; if these were removed, the next bars
        # would become edges.
        edges = [entry.span for entry in grave if Cause.UNDECIDED in entry.cause]
        # Bars right beside some that ignore a split may ignore it, too, which a few alone do not show.
        old = subtract([c.span for c in grave if f"{GRAVE}split: " in c.reason], answer.spans)
        pairs = ((span, *sorted((span, new))) for span in old for new in answer.spans)
        beside = [s for s, a, b in pairs if b.start <= self.draft.request.grid.next_open(a.end)]
        table = self._beside_each_other(subtract([c.span for c in grave], [*edges, *beside]))
        new_graves = self._graves(table) if len(answer.closed) else []
        if not new_graves and not grave:
            return answer
        # 2. Decide on the stored grave bars for which new rows were received.
        repeats = list(
            self._repeats([p for p in stored.coverage if Cause.GRAVE in p.cause], new_graves)
        )
        marks = [mark for repeat in repeats for mark in self._repeat_marks(repeat)]
        decided = [*(mark.span for mark in marks), *beside]
        decided += [entry.span for entry in coverage if Cause.SETTLED in entry.cause]
        rejoined = list(self._rejoined_marks(table, edges))
        marks += rejoined
        counts = answer.closed.counts(edges)
        emptied = [edge for edge, rows in zip(edges, counts, strict=True) if not rows]
        decided = coalesce([*decided, *subtract(emptied, [mark.span for mark in rejoined])])
        # 3. Mark the other grave bars, and find the spans to request again immediately.
        for group in new_graves:
            marks += self._marks(table, group, decided)
        again = [mark.span for mark in marks if mark.fetched_at == self.draft.local_ms]
        suspect = {mark.span for mark in marks if mark.state == "suspect"}
        # Rejected rows between them were not requested.
        suspect_spans = [entry.span for entry in coverage if entry.state == "suspect"]
        counts = surroundings.rows.counts(suspect_spans)
        bare = [span for span, n in zip(suspect_spans, counts, strict=True) if not n]
        to_request = subtract([s for s in again if s in suspect], subtract(bare, answer.spans))
        return replace(answer, verdicts=tuple(marks), grave=tuple(to_request))

    @property
    def _answer(self) -> ClassifiedAnswer:
        return self.draft.answer

    def _beside_each_other(self, grave: Sequence[Span]) -> BarTable:
        """Return the new bars together with the stored bars outside the ``grave`` (wrong) spans."""
        stored = self.draft.surroundings.rebased
        if not len(stored):
            return self._answer.closed
        is_good = ~inside(stored.stamps, grave) if grave else np.ones(len(stored), dtype=bool)
        return merge(stored.take(is_good), self._answer.closed)

    # --- bars stored as grave ---------------------------------------------------------------

    def _repeats(self, wrong: Sequence[Covered], new_graves: Sequence[Grave]) -> Iterator[_Repeat]:
        """Yield, for each span of wrong stored bars, the new rows that are the same or are also wrong."""
        new, old = self._answer.closed, self.draft.stored.rebased
        stamps = [np.empty(0, np.int64), *(new_grave.stamps for new_grave in new_graves)]
        is_grave = among(new.stamps, distinct(np.concatenate(stamps)))
        around = self.draft.surroundings.rebased
        adj = around.adj_close
        has_adj_close = adj is not None and len(adj) > 0 and bool(np.isfinite(adj[-1]))
        common = np.flatnonzero(among(new.stamps, old.stamps))
        positions = np.searchsorted(old.stamps, new.stamps[common])
        for entry in wrong:
            first, end = np.searchsorted(new.stamps[common], entry.span)
            rows, old_rows = common[first:end], old.take(positions[first:end])
            is_own = entry.vendor == self.draft.vendor
            tolerance = max(self.draft.stored.tolerance, 1e-9) if is_own else _SAME_ROW_TOLERANCE
            same = same_rows(new.take(rows), old_rows, tolerance, columns=4)
            # Faults that only the whole series proves do not appear next to neighbors, and those of
            # an adjusted close not next to bars without one. No fault does if an unknown split may
            # lie between these and the new rows.
            is_seen = bool(around) and Cause.IN_WHOLE not in entry.cause
            is_seen &= has_adj_close or Cause.ADJ_CLOSE not in entry.cause
            same &= is_grave[rows] if is_own and is_seen else True
            if same.any():
                yield _Repeat(entry, rows[same], is_same=True)
            otherwise = is_grave[rows] & ~same
            if not is_own and otherwise.any():
                yield _Repeat(entry, rows[otherwise], is_same=False)

    def _repeat_marks(self, repeat: _Repeat) -> Iterator[Covered]:
        """Yield new coverage for wrong stored bars for which the same or other wrong rows were received."""
        entry, now = repeat.entry, self.draft.local_ms
        hole = Hole(entry.span.end, self.draft.request.expiry, waited_ms(entry, now))
        due, limit = next_due(hole, now), now + _LONGEST_WAIT_MS
        for span in self._spans(
            self._answer.closed.stamps[repeat.rows], self._answer.closed.stamps
        ):
            overlap = span.clip(entry.span)
            origin, cause = _origin(entry), entry.reason.removeprefix(GRAVE)
            is_confirmed = entry.vendor != self.draft.vendor and repeat.is_same
            if is_confirmed and not self._differ_on_splits(entry, overlap):
                yield _final_again(
                    entry, overlap, f"{self.draft.vendor} has the same: {cause}", now
                )
            elif entry.is_valid(now) or entry.vendor != self.draft.vendor:
                yield postponed(replace(entry, span=overlap, splices=(), parts=()), now)
            elif (
                due <= limit
                or overlap.end > self._answer.finality.settled_before
                or Cause.ADJ_CLOSE in entry.cause
                or self._has_doubted_action(overlap)
            ):
                yield Covered(overlap, "suspect", *origin, now, entry.reason, min(due, limit))
            else:
                why = f"{self.draft.vendor} sent the same again for more than a week: {cause}"
                yield _final_again(entry, overlap, why, now)

    def _differ_on_splits(self, entry: Covered, span: Span) -> bool:
        """Return whether this vendor reports a split after a span's start that the entry's vendor lacks.

        The stored bars are then compared in a basis that their vendor contradicts.
        """
        book = self.draft.book
        splits = book.only(self.draft.vendor).splits
        later = (a for a in splits if span.start < day_ms(a.ex_date))
        return any(map(book.only(entry.vendor).lacks_split, later))

    def _has_doubted_action(self, span: Span) -> bool:
        """Return whether an action that this vendor no longer reports may cause findings in ``span``."""
        doubted = self.draft.book.only(self.draft.vendor).doubted
        return any(span.start <= day_ms(lack.action.ex_date) for lack in doubted)

    def _rejoined_marks(self, table: BarTable, edges: Sequence[Span]) -> Iterator[Covered]:
        """Yield coverage that clears stored bars of suspected unit changes if they match new neighbors.

        The earlier state of these bars is not known, so they are fetched once more.
        """
        stamps, is_new = table.stamps, among(table.stamps, self._answer.closed.stamps)
        for edge in edges:
            first, end = np.searchsorted(stamps, edge).tolist()
            for row in range(first, end):
                neighbors = slice(max(0, row - 1), row + 2)
                is_left = not is_new[row] and is_new[neighbors].any()
                if is_left and not unit_jumps(table.take(neighbors)).any():
                    after = int(stamps[row + 1]) if row + 1 < end else edge.end
                    yield Covered(Span(int(stamps[row]), after), "provisional")

    # --- bars that are grave now ------------------------------------------------------------

    def _marks(self, table: BarTable, grave: Grave, decided: Sequence[Span]) -> Iterator[Covered]:
        """Yield coverage that marks almost certainly wrong rows as ``suspect``, except in ``decided`` spans.

        If the fault begins with the first row, adjacent stored rows are included.
        """
        now, reason = self.draft.local_ms, f"{GRAVE}{grave.cause}"
        fetched, expiry = self.draft.fetched, self.draft.request.expiry
        origin = fetched.vendor, fetched.kind, Basis(fetched.basis.adjustment)
        mark = Covered(Span(0, 0), "suspect", *origin, now, reason)
        # Between neighbors in the table there may be hours that were not requested, or a gap. Bars
        # from before the clock was set back are due anyway; a verdict would delay that.
        stored = self.draft.surroundings.coverage
        covered = [entry.span for entry in stored if not (is_hole(entry) or entry.reason == AHEAD)]
        covered += self._answer.spans
        spans = intersect(self._spans(grave.stamps, table.stamps), covered)
        undecided = (rest for span in spans for rest in subtract([span], touching(decided, span)))
        spans = list(undecided)
        if grave.from_start and len(self.draft.surroundings.rebased):
            spans += (entry.span for entry in self._entries_before(int(grave.stamps[0])))
        # Bars that their vendor's later report has made suspect are due immediately, without a verdict.
        others = split_marks(self.draft.coverage, self.draft.book)
        due = [entry.span for entry in others if entry.expires is not None and entry.expires <= now]
        for span in subtract(coalesce(spans), subtract(due, self._answer.spans)):
            yield replace(mark, span=span, expires=next_due(Hole(span.end, expiry), now))

    def _entries_before(self, stamp: int) -> Iterator[Covered]:
        """Yield the coverage entries before a bar that have the same vendor and basis as the bar.

        The search goes back in time and ends at the first entry with a different vendor or basis,
        or one that was already judged wrong.
        """
        entries = [entry for entry in self.draft.coverage.opened() if entry.span.start <= stamp]
        entry_at = entries[-1] if entries and stamp in entries[-1].span else None
        for entry in reversed(entries):
            if entry_at is None or entry.cause & (Cause.GRAVE | Cause.SETTLED):
                return
            if entry.state == "empty":
                continue
            if (entry.vendor, entry.basis) != (entry_at.vendor, entry_at.basis):
                return
            before = entry.span.clip(Span(entry.span.start, stamp))
            if not before.is_empty:
                yield replace(entry, span=before)

    def _spans(self, stamps: Stamps, among_stamps: Stamps) -> list[Span]:
        """Return the rows' spans, merged if adjacent; each ends at the next actual or expected bar."""
        if not len(stamps):
            return []
        positions = np.searchsorted(among_stamps, stamps)
        breaks = np.flatnonzero(np.diff(positions) > 1) + 1
        edges = [0, *breaks.tolist(), len(stamps)]
        spans = []
        for first, end in pairwise(edges):
            last, position = int(stamps[end - 1]), int(positions[end - 1]) + 1
            due = self.draft.request.grid.next_open(last + 1)
            following = int(among_stamps[position]) if position < len(among_stamps) else due
            spans.append(Span(int(stamps[first]), max(min(due, following), last + 1)))
        return spans

    # --- the series that is judged ----------------------------------------------------------

    def _graves(self, table: BarTable) -> list[Grave]:
        """Return the rows that are almost certainly wrong.

        If splits between the rows were never requested, the last rows for which they were are also
        judged by these.
        """
        series = self._series_of(table)
        found = graves(series)
        if series.splits is None and self.draft.is_of_share:
            days = [day_ms(date_of(stamp)) + DAY_MS for stamp in table.stamps[[0, -1]].tolist()]
            unknown = self.draft.book.missing(Span(*days))
            known = table.take(table.stamps >= (unknown[-1].end - DAY_MS if unknown else days[0]))
            if len(known):
                found += [g for g in graves(self._series_of(known)) if g.is_of_actions]
        return found

    def _series_of(self, table: BarTable) -> CheckedSeries:
        """Return the series to judge: bars in the answer's basis, with the known splits and dividends.

        Raw prices are adjusted for the splits. Prices are judged in terms of the shares on the day of
        the last session that had opened.
        """
        book, is_share, day = self.draft.book, self.draft.is_of_share, self.draft.sessions.day
        timeframe, instrument = (
            self.draft.request.grid.timeframe,
            self.draft.request.query.instrument,
        )
        adjustment = self.draft.fetched.basis.adjustment
        actions = [a for a in book.splits if a.is_sound] if is_share else []
        splits: tuple[ShareEvent, ...] | None = None
        if is_share and (adjustment in ("split", "all") or self._knows_splits(table)):
            splits = tuple(ShareEvent(ex_ms(a, timeframe), float(a.ratio)) for a in actions)
        if splits and adjustment == "raw" and len(table):
            table = _split_adjusted(table, actions, timeframe, day)
        if splits is not None and adjustment == "raw" and not self._knows_later_splits(table):
            table = _at_own_level(table)
        dividends: tuple[ShareEvent, ...] | None = None
        if is_share and adjustment in ("raw", "split") and len(table):
            dividends = _dividends(book, table.stamps, timeframe, day)
        return CheckedSeries(
            timeframe,
            table,
            instrument.asset_class,
            splits,
            dividends,
            units_vary=is_share and instrument.quote is None,
            sessions=self.sessions,
        )

    def _knows_splits(self, table: BarTable) -> bool:
        """Return whether the bars are prices as traded, and all splits between them were requested."""
        days = [day_ms(date_of(stamp)) + DAY_MS for stamp in table.stamps[[0, -1]].tolist()]
        is_raw = self.draft.fetched.basis.adjustment == "raw"
        return is_raw and self.draft.book.covers(Span(*days))

    def _knows_later_splits(self, table: BarTable) -> bool:
        """Return whether all splits since the last bar, which ``adj_close`` contains, were requested."""
        since, day = day_ms(date_of(int(table.stamps[-1]))) + DAY_MS, self.draft.sessions.day
        until = since if day is None else max(since, day_ms(day) + DAY_MS)
        return self.draft.book.covers(Span(since, until))


def _origin(entry: Covered) -> tuple[str, Kind, Basis]:
    return entry.vendor, entry.kind, entry.basis


def _final_again(old: Covered, span: Span, why: str, now_ms: int) -> Covered:
    reason = f"{SETTLED}{why}"
    return Covered(span, "final", *_origin(old), now_ms, reason)


# --- the series that is judged


def ex_ms(action: Action, timeframe: Timeframe) -> int:
    """Return the time from which bars of a timeframe reflect an action."""
    return action.ex_at if timeframe.is_intraday else day_ms(action.ex_date)


def _split_adjusted(
    table: BarTable, splits: Sequence[Action], timeframe: Timeframe, day: date | None
) -> BarTable:
    """Return bars at raw prices in terms of the shares on ``day``, as their ``adj_close`` is."""
    is_intraday = timeframe.is_intraday
    part = BasisPart(Span(int(table.stamps[0]), int(table.stamps[-1]) + 1), Basis("raw", day))
    steps = timeframe if is_intraday else None
    return rebase(table, [part], splits, "split", as_of=day, intraday=is_intraday, timeframe=steps)


def _at_own_level(table: BarTable) -> BarTable:
    """Return bars whose latest ``adj_close`` is not above its close, as after an unknown reverse split."""
    if table.adj_close is None:
        return table
    ratios = table.adj_close / table.close
    ratios = ratios[np.isfinite(ratios)]
    return (
        table.with_adj_close(table.adj_close / max(1.0, float(ratios[-1])))
        if len(ratios)
        else table
    )


def _dividends(
    book: ActionBook, stamps: Stamps, timeframe: Timeframe, day: date | None
) -> tuple[ShareEvent, ...]:
    """Return the dividends in the span of ``stamps``, as cash per share in terms of shares on ``day``.

    Only these dividends are grouped into events, because grouping decades of dividends would take
    longer than judging the bars.
    """
    end = int(stamps[-1]) + timeframe.longest_ms + _DATE_TOLERANCE_MS
    span = Span(int(stamps[0]) - _DATE_TOLERANCE_MS, end)
    reports = tuple(r for r in book.reports if r.type == "split" or day_ms(r.ex_date) in span)
    if not any(report.type == "dividend" for report in reports):
        return ()
    splits = [action for action in book.splits if action.is_sound]
    return tuple(
        ShareEvent(ex_ms(action, timeframe), float(amount_on(action, splits, day)))
        for action in replace(book, reports=reports).dividends
        if action.is_sound
    )
