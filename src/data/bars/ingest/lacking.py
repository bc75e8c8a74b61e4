"""Determines which of a vendor's earlier splits and dividends are really missing from its answer.

Such a report is in doubt or withdrawn; see :mod:`...cache.actions`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ...cache.actions import Asked, WholeAnswer
from ...errors import CorruptEntryError
from ...model.actions import Action
from ...model.bars import BarTable, Floats, inside
from ...model.coverage import Coverage
from ...model.instant import date_of, day_ms
from ...model.span import Span
from ...vendors.base import BaseDataDownloader
from ..selection.candidates import Candidate
from ..series import LATE_BY_MS, LaneRequest, SeriesStore

_DEFAULT = BaseDataDownloader.actions_of


def whole_answer(
    request: LaneRequest,
    series: SeriesStore,
    candidate: Candidate,
    actions: Sequence[Action],
    answer: Asked,
    rows: BarTable | None = None,
) -> WholeAnswer | None:
    """Return the vendor's reports that an answer lacks although it would contain them; None if none.

    It would contain them if the share was traded before and after the ex-date, and no price shows
    that there was a split. A downloader without ``actions_of`` answers a request for actions alone
    with none at all.

    Args:
        request: Request to the lane.
        series: Store of the series.
        candidate: Vendor that answered.
        actions: Actions in the answer.
        answer: Ex-dates that the answer covers.
        rows: Bars in the answer, ascending; None if it has no bars. Then stored daily bars show
            when the share was traded.
    """
    book, caps = series.book(), candidate.capabilities
    repeated = {(action.type, action.ex_date) for action in actions}
    until = answer.span.end if answer.until is None else answer.until
    missing = [
        (day_ms(report.ex_date), report)
        for report in book.reports
        if report.source == answer.source
        and (report.type, report.ex_date) not in repeated
        and answer.span.start <= day_ms(report.ex_date) < until
    ]
    is_default = getattr(type(candidate.downloader), "actions_of", None) is _DEFAULT
    if not missing or caps is None or (rows is None and is_default):
        return None
    around = Span(missing[0][0] - LATE_BY_MS, missing[-1][0] + LATE_BY_MS)
    try:
        stored, coverage = series.other_series(request.key.days).read(around, is_use=False)
    except CorruptEntryError:
        return None
    sent = stored if rows is None else rows
    days = {day_ms(date_of(stamp)) for stamp in sent.stamps.tolist()}
    proven = (
        (report.type, report.ex_date)
        for day, report in missing
        if days
        and min(days) < day < max(days)
        # Some vendors report an action only with the bar for its day.
        and (day in days or not caps.actions_by_bar)
        and not (rows is not None and _has_step(rows, report, rows.adj_close))
        and not _has_step(_unadjusted(stored, coverage, report), report)
    )
    return WholeAnswer(frozenset(proven), not caps.actions, request.query.refresh)


def _unadjusted(table: BarTable, coverage: Coverage, split: Action) -> BarTable:
    """Return the stored bars whose prices do not reflect a split, and those on or after its ex-date."""
    reflecting = coverage.where(lambda c: split.is_in(c.basis.adjustment, c.basis.as_of))
    is_late = table.stamps >= day_ms(split.ex_date)
    return table.take(is_late | ~inside(table.stamps, reflecting))


def _has_step(table: BarTable, split: Action, adjusted: Floats | None = None) -> bool:
    """Return whether closes, or adjusted closes relative to them, show a split.

    They show it if they change on its ex-date by a factor closer to its ratio than to 1.
    """
    at = int(table.stamps.searchsorted(day_ms(split.ex_date)))
    if split.type != "split" or not split.is_sound or not 0 < at < len(table):
        return False
    before, after = table.close[at - 1 : at + 1]
    factors = [before / after]
    if adjusted is not None:
        factors.append(adjusted[at] / after / (adjusted[at - 1] / before))
    steps = [math.log(factor) for factor in factors if math.isfinite(factor) and factor > 0]
    return any(abs(step - math.log(split.ratio)) < abs(step) for step in steps)
