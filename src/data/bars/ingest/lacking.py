"""Determines the ex-dates for which a vendor's answer would contain every split and dividend.

A report that such an answer lacks is in doubt or withdrawn; see :mod:`...cache.actions`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ...cache.actions import ActionBook, Asked, WholeAnswer
from ...errors import CacheError, KindMismatchError
from ...model.actions import Action
from ...model.bars import BarTable
from ...model.coverage import WITH_BARS
from ...model.instant import DAY_MS, date_of, day_ms
from ...model.kind import Basis
from ...model.span import Span
from ...prices.adjustment import BasisPart, rebase
from ..selection.candidates import Candidate
from ..series import LATE_BY_MS, LaneRequest, SeriesStore


def whole_answer(
    request: LaneRequest,
    series: SeriesStore,
    candidate: Candidate,
    actions: Sequence[Action],
    answer: Asked,
    rows: BarTable | None = None,
    *,
    is_raw: bool = False,
) -> WholeAnswer | None:
    """Return the ex-dates for which an answer proves something about the reports that it lacks.

    The result is None if it does not lack any of the vendor's earlier reports.

    Args:
        request: Request to the lane.
        series: Store of the series.
        candidate: Vendor that answered.
        actions: Actions in the answer.
        answer: Ex-dates that the answer covers.
        rows: Bars in the answer, ascending; None if it has no bars. Then stored daily bars show
            whether the share was traded before and after an ex-date.
        is_raw: Whether ``rows`` are prices as traded.
    """
    book, caps = series.book(), candidate.capabilities
    repeated = {(action.type, action.ex_date) for action in actions}
    missing = [
        report
        for report in book.reports
        if report.source == answer.source
        and (report.type, report.ex_date) not in repeated
        and day_ms(report.ex_date) in answer.span
    ]
    if not missing or caps is None:
        return None
    ex_days = [day_ms(report.ex_date) for report in missing]
    around = Span(min(ex_days) - LATE_BY_MS, max(ex_days) + LATE_BY_MS)
    stored = _as_traded(request, series, around, book)
    stamps = (stored if rows is None else rows).stamps
    if not len(stamps):
        return None
    days = {day_ms(date_of(stamp)) for stamp in stamps.tolist()}
    until = answer.span.end if answer.until is None else answer.until
    ex_dates = Span(min(days) + DAY_MS, min(max(days), until)).clip(answer.span)
    tables = [stored, *([rows] if rows is not None and is_raw else [])]
    kept = {
        (report.type, report.ex_date)
        for report, day in zip(missing, ex_days, strict=True)
        if any(_confirm(table, report, is_answer=table is rows) for table in tables)
        # Such a vendor reports an action only with the bar for its day.
        or (caps.actions_by_bar and day not in days)
    }
    return WholeAnswer(ex_dates, frozenset(kept), not caps.actions, request.query.refresh)


def _as_traded(request: LaneRequest, series: SeriesStore, span: Span, book: ActionBook) -> BarTable:
    """Return the stored daily bars in ``span`` at the prices at which the share was traded.

    Dividends are not removed from prices, because they are small compared with splits. The result
    is empty if the bars cannot be read or converted.
    """
    try:
        table, coverage = series.other_series(request.key.days).read(span, is_use=False)
        parts = [
            BasisPart(entry.span, _split_basis(entry.basis), entry.vendor)
            for entry in coverage
            if entry.state in WITH_BARS
        ]
        own = book.of if book.disputed else None
        return rebase(table, parts, book.actions, "raw", as_of=None, intraday=False, own=own)
    except (CacheError, KindMismatchError):
        return BarTable.empty()


def _split_basis(basis: Basis) -> Basis:
    return Basis("split", basis.as_of) if basis.adjustment == "all" else basis


def _confirm(table: BarTable, split: Action, *, is_answer: bool) -> bool:
    """Return whether prices as traded, or the adjusted close in the answer itself, show a split.

    They show it if they change on its ex-date by a factor closer to its ratio than to 1. A stored
    adjusted close may be from the time when the split was reported.
    """
    at = int(table.stamps.searchsorted(day_ms(split.ex_date)))
    if split.type != "split" or not split.is_sound or not 0 < at < len(table):
        return False
    closes, adjusted = table.close[at - 1 : at + 1], table.adj_close
    factors = [closes[0] / closes[1]]
    if is_answer and adjusted is not None:
        shares = adjusted[at - 1 : at + 1] / closes
        factors.append(shares[1] / shares[0])
    ratio = float(split.ratio)
    return any(
        math.isfinite(f) and f > 0 and abs(math.log(f / ratio)) < abs(math.log(f)) for f in factors
    )
