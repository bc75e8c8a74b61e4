"""Compares a vendor's new splits and dividends with its earlier ones, and with stored prices.

An earlier report that is really missing from its answer is in doubt or withdrawn; see
:mod:`...cache.actions`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from ....errors import CorruptEntryError
from ...cache.actions import ActionBook, Asked, WholeAnswer
from ...cache.store import Commit
from ...model.market.actions import Action
from ...model.market.bars import BarTable, inside
from ...model.stored.coverage import WITH_BARS, Coverage
from ...model.stored.reasons import DOUBTFUL, LOST
from ...model.time.instant import DAY_MS, HOUR_MS, NEVER_MS, date_of, day_ms
from ...model.time.span import Span
from ...model.time.timeframe import Timeframe
from ...vendors.base import BaseDataDownloader
from ..selection.candidates import Candidate
from ..series import LATE_BY_MS, LaneRequest, SeriesStore
from .judge import ex_ms

# Bars with their timeframe; and with their coverage if they are stored.
_Bars = tuple[Timeframe, BarTable, Coverage | None]

_NAMES = ("fetch_actions", "actions_of")
_DEFAULTS = [getattr(BaseDataDownloader, name) for name in _NAMES]


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
    that there was a split. If no such bars are stored, a list of actions alone that lacks a report
    only causes a doubt. A downloader without ``actions_of`` answers a request for actions alone
    with none at all.

    Args:
        request: Request to the lane.
        series: Store of the series.
        candidate: Vendor that answered.
        actions: Actions in the answer.
        answer: Ex-dates that the answer covers.
        rows: Bars in the answer, ascending; None if it has no bars. Then stored daily bars, or
            those of the request's own series, show when the share was traded.
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
    made = type(candidate.downloader)
    is_default = [getattr(made, name, None) for name in _NAMES] == _DEFAULTS
    if not missing or caps is None or (rows is None and is_default):
        return None
    around = Span(missing[0][0] - LATE_BY_MS, missing[-1][0] + LATE_BY_MS)
    keys = dict.fromkeys((request.key.days, request.key))
    stored: list[_Bars]
    try:
        stored = [(k.timeframe, *series.other_series(k).read(around, is_use=False)) for k in keys]
    except CorruptEntryError:
        return None
    sent: list[_Bars] = stored if rows is None else [(request.key.timeframe, rows, None)]
    days = {day_ms(date_of(stamp)) for _, table, _ in sent for stamp in table.stamps.tolist()}
    first, last = min(days, default=0), max(days, default=0)
    lacking = [
        (day, (report.type, report.ex_date))
        for day, report in missing
        if first < day
        and (day < last or rows is None)
        # Some vendors report an action only with the bar for its day.
        and (day in days or not caps.actions_by_bar)
        and not any(_has_step(report, *bars) for bars in (*stored, *sent))
    ]
    found = frozenset(key for _, key in lacking)
    unproven = frozenset(key for day, key in lacking if day >= last)
    lately = Span(answer.fetched_at - HOUR_MS, NEVER_MS)
    sources = (
        c
        for c in series.coverage().sources
        if c.state in WITH_BARS and c.reason != LOST and c.vendor == answer.source
    )
    is_known = bool(actions) or rows is not None or any(c.fetched_at in lately for c in sources)
    refresh = request.query.refresh
    return WholeAnswer(found, not caps.actions, refresh, unproven, is_blank=not is_known)


def due_at_new_splits(request: LaneRequest, series: SeriesStore, before: ActionBook) -> list[Span]:
    """Mark stored raw bars as due around each new split that they do not show; return the spans.

    They were judged without the split, so they are fetched and judged again.

    Args:
        request: Request to the lane.
        series: Store of the series.
        before: Splits and dividends known before.
    """
    due: list[Span] = []
    for split in set(series.book().splits).difference(before.splits):
        ex_ms, now_ms = day_ms(split.ex_date), series.now_ms()
        near = Span(ex_ms - LATE_BY_MS, ex_ms + DAY_MS)
        reason = f"{DOUBTFUL}fetched before {split.source} reported the {split}"
        for key in dict.fromkeys((request.key.days, request.key)):
            stored = series if key == request.key else series.other_series(key)
            try:
                table, coverage = stored.read(near, is_use=False)
            except CorruptEntryError:
                continue
            is_between = len(table) > 0 and table.stamps[0] < ex_ms <= table.stamps[-1]
            if is_between and not _has_step(split, key.timeframe, table, coverage):
                marks = tuple(
                    replace(entry, state="suspect", reason=reason, expires=now_ms)
                    for entry in coverage.within(near)
                    if entry.state == "final" and entry.basis.adjustment == "raw"
                )
                stored.commit(Commit(marks=marks))
                due += [mark.span for mark in marks if stored is series]
    return due


def _has_step(
    split: Action, timeframe: Timeframe, table: BarTable, coverage: Coverage | None
) -> bool:
    """Return whether closes, or adjusted closes relative to them, show a split.

    They show it if they change on its ex-date by a factor closer to its ratio than to 1. Stored
    bars, which have a ``coverage``, show nothing if their prices reflect the split, and their
    adjusted closes are not used.
    """
    ex_at = ex_ms(split, timeframe)
    if coverage is not None:
        reflecting = coverage.where(lambda c: split.is_in(c.basis.adjustment, c.basis.as_of))
        table = table.take((table.stamps >= ex_at) | ~inside(table.stamps, reflecting))
    at = int(table.stamps.searchsorted(ex_at))
    if split.type != "split" or not split.is_sound or not 0 < at < len(table):
        return False
    before, after = table.close[at - 1 : at + 1]
    factors = [before / after]
    if coverage is None and table.adj_close is not None:
        factors.append(table.adj_close[at] / after / (table.adj_close[at - 1] / before))
    steps = [math.log(factor) for factor in factors if math.isfinite(factor) and factor > 0]
    return any(abs(step - math.log(split.ratio)) < abs(step) for step in steps)
