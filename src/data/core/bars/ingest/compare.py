"""The sixth step for an answer: comparing it with the bars that are stored for its span."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np

from ....errors import BadRangeError, CacheError, KindMismatchError, QualityError
from ...calendars.grid import BarGrid
from ...model.market.bars import BadRow, BarTable, among, inside
from ...model.stored.coverage import Coverage
from ...model.stored.reasons import RESCALED, Cause
from ...model.time.instant import DAY_MS, day_ms
from ...model.time.span import Span
from ...prices.splice import COMPARED
from ..series import SeriesStore
from ..sorted_answer import ClassifiedAnswer
from .commit import are_many
from .draft import AnswerDraft, StoredRange
from .receive import check_kind, common_basis

# Tolerances for two answers from one vendor in one basis (single precision is good to 6e-8), and
# for rebased ones, where the rounding of an adjustment adds to that. Bars without corporate actions
# are compared to the last bit.
_AS_SENT, _REBASED = 1e-7, 1e-6
_ALL_DAYS = Span(day_ms(date(1800, 1, 1)), day_ms(date(9999, 1, 1)))
# Factors by which all prices change with the unit: pence (applied once or twice), thousandths, and back.
_UNIT_FACTORS = (100, 1000, 10_000, 1 / 100, 1 / 1000, 1 / 10_000)
# Common split factors, including 3:2, 4:3 and 5:4; then also those of reverse splits.
_FORWARD_SPLIT_FACTORS = (2, 3, 4, 5, 6, 7, 8, 10, 15, 20, 25, 30, 50, 1.5, 4 / 3, 1.25)
_SPLIT_FACTORS = (*_FORWARD_SPLIT_FACTORS, *(1 / factor for factor in _FORWARD_SPLIT_FACTORS))
# Relative differences up to which the ratio of two prices, or of two volumes, equals a factor.
_PRICE_TOLERANCE = 1e-3
_VOLUME_TOLERANCE = 1e-2  # adjusted volumes are rounded to whole shares


def compare(draft: AnswerDraft, series: SeriesStore) -> None:
    """Read the bars stored for the answered span; turn new rows with rescaled prices into bad rows.

    Raises:
        KindMismatchError: In the meantime, another writer stored bars of a different kind.
        QualityError: Many final bars came back with prices off by a factor.
    """
    draft.book = series.book()
    _read_stored(draft, series)
    # The answer is stored next to the current bars, which another writer may since have changed.
    draft.view, draft.coverage = series.view(), series.coverage()
    check_kind(draft.view.kind, draft.request, draft.fetched)
    draft.answer = _without_rescaled(draft)
    _refuse_rescaled(draft)
    draft.answer = _without_equal_doubts(draft)


def _read_stored(draft: AnswerDraft, series: SeriesStore) -> None:
    """Read the bars stored for the answered span, as they are and in the answer's basis.

    The surroundings are empty if there may be an unknown split between two fetches.
    """
    answer, grid = draft.answer, draft.request.grid
    sides = _with_sides(grid, answer.answered)
    is_of_days = not grid.timeframe.is_intraday and grid.timeframe.step_ms == DAY_MS
    try:
        all_rows, all_coverage = series.read(_ALL_DAYS if is_of_days else sides, is_use=False)
    except CacheError:  # a year that cannot be read does not affect the other years
        all_rows, all_coverage = series.read(sides, is_use=False)
    rows, coverage = all_rows.within(answer.answered), all_coverage.within(answer.answered)
    if answer.requested:
        rows = rows.take(inside(rows.stamps, answer.requested))
        coverage = Coverage(entry for span in answer.spans for entry in coverage.within(span))
    if draft.sessions.opened is None:
        draft.stored = StoredRange(rows, rows, coverage)
        draft.surroundings = StoredRange(all_rows, all_rows, all_coverage)
        return
    if draft.fetched.basis.adjustment == "unknown":
        none = BarTable.empty()
        draft.stored = StoredRange(rows, rows, coverage, _AS_SENT)
        draft.surroundings = StoredRange(none, none, Coverage())
        return
    basis = common_basis(draft, draft.book)

    def rebased(table: BarTable, *, surely: bool = False) -> BarTable:
        """Return bars converted to the answer's basis; empty if they cannot be converted.

        ``adj_close`` is converted with the known actions: next to others, it shows unknown ones.
        """
        try:
            converted = basis.of(table, all_coverage, surely=surely)
            adj = converted.adj_close
            if surely and adj is not None and np.isnan(adj).any():
                converted = converted.with_adj_close(basis.of(table, all_coverage).adj_close)
        except KindMismatchError:
            return BarTable.empty()
        return converted

    comparable = rebased(rows) if len(rows) else rows
    tolerance = _AS_SENT if comparable is rows else _REBASED
    draft.stored = StoredRange(rows, comparable, coverage, tolerance)
    surroundings = StoredRange(all_rows, rebased(all_rows, surely=True), all_coverage)
    if len(all_rows) and not len(surroundings.rebased):  # old ones may be unknown
        neighbors = all_rows.within(sides)
        entries = all_coverage.within(sides)
        surroundings = StoredRange(neighbors, rebased(neighbors, surely=True), entries)
    draft.surroundings = surroundings


def _refuse_rescaled(draft: AnswerDraft) -> None:
    """Raise an error if many final bars were resent with prices off by a factor.

    If only a few were, these count as bad rows.

    Raises:
        QualityError: Many final bars came back with prices off by a factor.
    """
    rescaled = sum(row.reason == RESCALED for row in draft.answer.bad)
    if rescaled and are_many(rescaled, rescaled + len(draft.answer.closed)):
        raise QualityError(
            f"{draft.vendor} returned {rescaled} final bars multiplied by a constant factor: its "
            f"basis for {draft.request.query} has changed without notice",
            provider=draft.vendor,
            hint="the stored bars were kept; clear the series if they are the wrong ones",
        )


def _with_sides(grid: BarGrid, span: Span) -> Span:
    """Return ``span``, extended on both sides by the bars with which new bars are compared."""
    end = span.end
    try:
        start = grid.back(span.start, COMPARED)
    except BadRangeError:  # the calendar does not go back that far
        start = span.start
    step_ms = grid.timeframe.longest_ms
    return Span(min(start, span.start), max(end, end + 2 * COMPARED * step_ms))


def _without_rescaled(draft: AnswerDraft) -> ClassifiedAnswer:
    """Return the answer with rows counted as invalid if their prices are a multiple of a final bar's.

    In such a row, all four prices are the stored ones multiplied by the same factor, as after a
    split or a change of unit (pence, thousandths). This is not a revision; the vendor has changed
    its basis without saying so. If volumes are divided by a factor that could be a change of unit,
    it is treated as a split factor, because two splits of 10:1 also make 100.

    Only bars that the vendor supplied itself are compared. Split factors are not looked for in
    stocks, whose splits may be real and reported late.
    """
    answer, stored, splits = draft.answer, draft.stored, not draft.is_of_share
    rows, old_rows = answer.closed, stored.rebased
    positions = np.searchsorted(old_rows.stamps, rows.stamps)
    common = np.flatnonzero(positions < len(old_rows))
    common = common[old_rows.stamps[positions[common]] == rows.stamps[common]]
    if not len(common):
        return answer
    new, old = rows.take(common), old_rows.take(positions[common])
    finals = (p.span for p in stored.coverage if p.state == "final" and p.vendor == draft.vendor)
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


def _without_equal_doubts(draft: AnswerDraft) -> ClassifiedAnswer:
    """Remove from an answer in doubt the rows for which another vendor's bars in doubt are stored.

    If both vendors' answers lack bars, the first vendor's bars are kept, and the other vendor's are
    used only at times for which the first has none.
    """
    answer = draft.answer
    if not answer.doubt or not answer.is_usable:
        return answer
    rows, old_rows = answer.closed, draft.stored.rows.stamps
    lacking = [
        old_rows[slice(*np.searchsorted(old_rows, entry.span))]
        for entry in draft.stored.coverage
        if Cause.LACKING in entry.cause and entry.vendor != draft.vendor
    ]
    is_kept = ~among(rows.stamps, np.concatenate(lacking)) if lacking else np.ones(len(rows), bool)
    return answer if is_kept.all() else replace(answer, closed=rows.take(is_kept))
