"""The first two steps for an answer: determining its date, and fitting it to the adjacent bars.

A span is requested together with a few adjacent bars that another vendor supplied. These are
compared but not stored again; the stored bars stay unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from ....errors import KindMismatchError, NoDataError, SpliceConflictError
from ...cache.actions import ActionBook, Asked
from ...cache.store import Commit
from ...calendars.calendar import first_unclosed, opened_and_coming, price_calendar
from ...model.identity.kind import HUNDREDTHS, Adjustment, Basis, Kind
from ...model.market.bars import BarTable, among, distinct, inside, merge
from ...model.request.capabilities import Fetched
from ...model.stored.coverage import WITH_BARS, Coverage, Splice
from ...model.stored.reasons import BEHIND
from ...model.time.instant import DAY_MS, date_of, day_ms, iso
from ...model.time.span import Span, subtract
from ...model.time.timeframe import Timeframe
from ...prices.adjustment import BasisPart, rebase, times
from ...prices.bar_rule import ordered
from ...prices.splice import (
    AGGREGATES,
    ONE_MARKET,
    Fix,
    Overlap,
    Verdict,
    compare_closes,
    known_fixes,
    settle,
)
from ..selection.candidates import Candidate
from ..series import LaneRequest, SeriesStore, Side
from ..validity import SKEW_MS, Suspicion, first_session, latest_known
from .commit import ADJUSTED_CLOSE_TOLERANCE, are_many
from .draft import AnswerDraft, Sessions


def receive(draft: AnswerDraft, series: SeriesStore) -> None:
    """Set what an answer covers: its question, its sessions, and the ex-dates that it reports on.

    If the local clock is behind, the basis is set to unknown before anything is compared. If
    earlier bars were not sent again, the span is shortened before the ex-dates are limited to it.

    Raises:
        NoDataError: The answer contains only bars that were requested again.
    """
    question, fetched = draft.question, draft.fetched
    if (
        not question.with_own_bars_before.is_empty
        and not (fetched.table.stamps >= question.span.start).any()
    ):
        raise _no_data(draft, question.span)
    draft.clock_suspicion = _clock_suspicion(draft, series)
    if draft.clock_suspicion is not None:
        draft.fetched = fetched = replace(fetched, basis=Basis("unknown"))
    _narrow_question(draft, series)
    draft.sessions = sessions_around(draft.request, fetched)
    reported = draft.question.span_of_actions
    draft.actions = ex_dates(draft.request, draft.candidate, fetched, reported, draft.sessions)
    _leave_out_ahead(draft)
    draft.sent = fetched.table
    if reported != draft.span:
        rows = draft.fetched.table
        wanted = rows.take(rows.stamps >= draft.span.start)
        if not len(wanted):
            raise _no_data(draft, draft.span)
        draft.fetched = replace(draft.fetched, table=wanted)


def _leave_out_ahead(draft: AnswerDraft) -> None:
    """Leave out adjusted closes that reflect an action that their vendor has not published yet.

    They do if that of the last bar before the current session, whose own bar has not closed or was
    not sent, differs from its close.
    """
    table, asked, grid = draft.fetched.table, draft.actions, draft.request.grid
    opened, caps, adj = draft.sessions.opened, draft.candidate.capabilities, table.adj_close
    is_by_bar = caps is not None and caps.actions_by_bar and not grid.timeframe.is_intraday
    if not (is_by_bar and draft.fetched.basis.adjustment == "raw" and len(table)):
        return
    if asked is None or opened is None or adj is None:
        return
    cap_ms = first_unclosed(grid.calendar, grid.timeframe, draft.now_ms, grid.anchor)
    last = int(table.stamps.argmax())
    following = int(table.stamps[last]) + DAY_MS
    is_newest = first_session(grid.calendar, following, date_of(opened)) == opened
    gap = abs(adj[last] - table.close[last])
    if (
        is_newest
        and opened in (cap_ms, asked.until)
        and gap > ADJUSTED_CLOSE_TOLERANCE * table.close[last]
    ):
        draft.fetched = replace(draft.fetched, table=table.with_adj_close(None))
        draft.note = (
            f"adj_close is missing for bars that {draft.vendor} sent on {date_of(opened)}: it "
            "reflects a split or dividend that is published together with the bar of that day"
        )


def _no_data(draft: AnswerDraft, span: Span) -> NoDataError:
    query, between = draft.request.query, f"from {iso(span.start)} to {iso(span.end)}"
    return NoDataError(
        f"{draft.vendor} has no data for {query} {between}",
        provider=draft.vendor,
        symbol=query.instrument.symbol,
    )


def _clock_suspicion(draft: AnswerDraft, series: SeriesStore) -> Suspicion | None:
    """Return the reason why the date of the price adjustment is unknown; None if it is known.

    The date is unknown if the vendor sent no time and the stored data shows that the local clock is
    behind: the prices may or may not include a recent split. The bars are fetched again once the
    local clock has reached the latest time in the stored data.
    """
    is_adjusted = draft.fetched.basis.adjustment in ("split", "all")
    if draft.fetched.dated or not is_adjusted or not draft.is_of_share:
        return None
    latest = latest_known(series.coverage(), series.book(), draft.request.query.instrument)
    return Suspicion(BEHIND, latest) if latest > draft.now_ms + SKEW_MS else None


def _narrow_question(draft: AnswerDraft, series: SeriesStore) -> None:
    """Remove the vendor's own earlier bars from the question if too many were not sent again.

    The new bars are still used; the stored bars stay and are compared later.
    """
    question = draft.question
    again = Span(question.span_to_store.start, question.span.start)
    if again.is_empty:
        return
    stored = series.read(again)[0].stamps
    lost = int(np.count_nonzero(~among(stored, distinct(draft.fetched.table.stamps))))
    if are_many(lost, len(stored)):
        draft.request.log.warning(
            "%s no longer returns %d of the last %d bars of %s that it had supplied; they are kept",
            draft.vendor,
            lost,
            len(stored),
            draft.request.query,
        )
        draft.question = question._replace(with_own_bars_before=Span(0, 0))


def sessions_around(request: LaneRequest, fetched: Fetched) -> Sessions:
    """Return the sessions around the time of an answer; they are looked up only for stocks."""
    adjusted_ms = fetched.adjusted_at_ms
    if request.query.instrument.asset_class != "stock":
        return Sessions(None, adjusted_ms)
    opened, coming = opened_and_coming(price_calendar(request.query.instrument), adjusted_ms)
    day_after = day_ms(date_of(adjusted_ms)) + DAY_MS
    return Sessions(
        day_ms(opened[-1].day) if opened else None, day_ms(coming[0].day) if coming else day_after
    )


def ex_dates(
    request: LaneRequest, candidate: Candidate, fetched: Fetched, span: Span, sessions: Sessions
) -> Asked | None:
    """Return the ex-dates for which an answer reports splits and dividends; None if there are none.

    A vendor's declaration is not enough: an answer that does not mention actions has not reported
    that there are none. Nothing is known yet about a session that has not opened, and minute bars
    include actions at a session's open only if the session's first minute is among them.
    """
    caps = candidate.capabilities
    if caps is None or not caps.actions or fetched.actions is None:
        return None
    if request.query.instrument.asset_class != "stock":
        return None
    days = Span(day_ms(date_of(span.start)), day_ms(date_of(span.end - 1)) + DAY_MS)
    if request.grid.timeframe.is_intraday:
        calendar = price_calendar(request.query.instrument)
        around = calendar.sessions(date_of(days.start), date_of(days.end))
        before = [day_ms(s.day) + DAY_MS for s in around if s.open_ms < span.start]
        after = [day_ms(s.day) for s in around if s.open_ms >= span.end]
        days = Span(max([days.start, *before]), min([days.end, *after]))
    # There are no ex-dates between the last session that has opened and the next one.
    is_latest = sessions.opened is not None and days.end > sessions.opened
    days = Span(days.start, max(days.start, sessions.coming if is_latest else days.end))
    if days.is_empty:
        return None
    until = None
    if caps.actions_by_bar and sessions.opened is not None:
        stamps = fetched.table.stamps[inside(fetched.table.stamps, [days])]
        after_last = int(stamps.max(initial=days.start - DAY_MS)) + DAY_MS
        last = min(sessions.opened, days.end - DAY_MS)
        until = first_session(request.grid.calendar, after_last, date_of(last))
    return Asked(days, fetched.vendor, fetched.server_now_ms, until)


# --- next to the bars of other vendors


@dataclass(frozen=True)
class CommonBasis:
    """The price basis in which bars are compared: as of the last session that had opened.

    Attributes:
        target: The adjustment.
        opened: Timestamp of that session; None for instruments without actions, whose bars are
            compared as they are.
        book: Known actions.
        intraday: Whether timestamps are instants rather than session dates.
        hours: Length of intraday bars; a bar that contains the open of an ex-date belongs to that
            day.
    """

    target: Adjustment
    opened: int | None
    book: ActionBook
    intraday: bool
    hours: Timeframe | None = None

    def of(self, rows: BarTable, coverage: Coverage, *, surely: bool = False) -> BarTable:
        """Return stored rows converted to this basis.

        If ``surely`` is set, rows whose splits and dividends were never requested raise an error.

        Raises:
            KindMismatchError: The rows cannot be converted exactly.
        """
        if self.opened is None or not len(rows):
            return rows
        return rebase(
            rows,
            [BasisPart(c.span, c.basis, c.vendor) for c in coverage if c.state in WITH_BARS],
            self.book.actions,
            self.target,
            as_of=date_of(self.opened),
            intraday=self.intraday,
            timeframe=self.hours,
            fetched_dates=[answer.span for answer in self.book.answers] if surely else None,
            own=self.book.of if self.book.disputed else None,
        )


def fit(draft: AnswerDraft, series: SeriesStore) -> None:
    """Compare an answer with the adjacent bars, then drop the rows that are not to be stored.

    Such rows were requested only for the comparison, or are between missing parts. The comparison
    uses the splits and dividends in the answer, which are not stored yet.

    Raises:
        NoDataError: The answer has no bars in the span.
        SpliceConflictError: The answer's prices do not match the adjacent ones.
    """
    if draft.question.sides:
        _fit_sides(draft, series)
    if draft.question.missing_parts:
        table = draft.fetched.table
        wanted = table.take(inside(table.stamps, draft.question.missing_parts))
        draft.fetched = replace(draft.fetched, table=wanted)


def _fit_sides(draft: AnswerDraft, series: SeriesStore) -> None:
    """Compare an answer with the adjacent bars from other vendors.

    The bars requested for that are removed from it, and the others are corrected if a split or
    dividend was missed.
    """
    rows, sides = draft.fetched.table, draft.question.sides
    is_neighbor = inside(rows.stamps, [side.span for side in sides])
    requested = rows.take(~is_neighbor)
    if is_neighbor.any() and not len(requested):
        raise _no_data(draft, draft.span)
    beside = rows.take(is_neighbor)
    # Only the last valid row for each timestamp counts.
    beside = merge(BarTable.empty(), beside.take(ordered(beside)))
    verdicts, fix = _verdicts(draft, series, beside)
    judged = list(zip(sides, verdicts, strict=True))
    _refuse_conflicts(draft, judged)
    if fix is not None:
        requested = fix.applied(requested.take(np.argsort(requested.stamps, kind="stable")))
    draft.fetched = replace(draft.fetched, table=requested)
    draft.splices = tuple(_splice(side, verdict, draft.span, fix) for side, verdict in judged)


def _verdicts(
    draft: AnswerDraft, series: SeriesStore, rows: BarTable
) -> tuple[list[Verdict], Fix | None]:
    """Return the result of comparing each side's adjacent bars, and a correction that reconciles them.

    The correction is None if none is known. See :func:`.splice.settle`.
    """
    sides, book = draft.question.sides, series.book()
    if draft.actions is not None:
        book = book.with_answers([(draft.fetched.actions or (), draft.actions, None)])
    basis = common_basis(draft, book)
    try:
        overlaps = [
            Overlap(basis.of(side.rows, side.coverage), rows.within(side.span), side.is_later)
            for side in sides
        ]
    except KindMismatchError as error:
        reason = f"not comparable: {error.args[0]}"
        return [Verdict("unchecked", 1.0, 0.0, 0, reason) for _ in sides], None
    kinds = [draft.fetched.kind, *(entry.kind for side in sides for entry in side.coverage)]
    tolerance = AGGREGATES if any(k.venue == "aggregate" for k in kinds) else ONE_MARKET
    first = [compare_closes(m.stored, m.fetched, None, tolerance) for m in overlaps]
    if all(verdict.outcome != "conflict" for verdict in first):
        return first, None
    return settle(overlaps, _fixes(series, sides, basis), tolerance)


def common_basis(draft: AnswerDraft, book: ActionBook) -> CommonBasis:
    """Return the basis in which an answer is compared with stored bars.

    It is the answer's own adjustment, or ``split`` if that is unknown.
    """
    adjustment = draft.fetched.basis.adjustment
    target = "split" if adjustment == "unknown" else adjustment
    timeframe = draft.request.grid.timeframe
    hours = timeframe if timeframe.is_intraday else None
    book = book.by_date(draft.request.query.instrument)
    return CommonBasis(target, draft.sessions.opened, book, timeframe.is_intraday, hours)


def _fixes(series: SeriesStore, sides: Sequence[Side], basis: CommonBasis) -> list[Fix] | None:
    """Return corrections for actions that stored or new bars may lack; None if that is unknown.

    If splits were never requested, a constant ratio between stored and new prices can also come
    from a split that the stored bars do not reflect.
    """
    if basis.opened is None:
        return None
    first = min(int(side.rows.stamps[0]) for side in sides if len(side.rows))
    today = date_of(basis.opened)
    actions = [a for a in basis.book.actions if date_of(first) < a.ex_date <= today]
    closes = BarTable.empty()
    try:
        for side in sides:
            basis.of(side.rows, side.coverage, surely=True)
        if any(a.type == "dividend" for a in actions):
            rows, coverage = series.read_with_unstored(Span(first, basis.opened + DAY_MS))
            closes = basis.of(rows, coverage)
    except KindMismatchError:
        return None
    return known_fixes(actions, closes, basis.target, today, intraday=basis.intraday)


def with_splices(commit: Commit, splices: Sequence[Splice], span: Span) -> Commit:
    """Return the commit for ``span``, with the comparisons with other vendors at its edges added.

    Such a comparison (``splices``) is recorded at the outermost new bar: bars beyond that bar may
    equal the stored ones, and then keep their vendor.
    """
    pieces = commit.pieces if splices else ()
    spans = [s for piece in pieces for s in subtract([piece.span], piece.holes)]
    if not spans:
        return commit
    first, last = min(s.start for s in spans), max(s.end for s in spans)
    placed = tuple(replace(s, at=last if s.at == span.end else first) for s in splices)
    return replace(commit, pieces=tuple(replace(p, splices=placed) for p in commit.pieces))


def _splice(side: Side, verdict: Verdict, span: Span, fix: Fix | None) -> Splice:
    border_ms = span.end if side.is_later else span.start
    if verdict.outcome == "unchecked":
        return Splice(border_ms, side.vendor, "unchecked", 1.0, verdict.common, verdict.summary)
    because = fix.because if fix is not None else ""
    outcome = "constant" if fix is not None else verdict.outcome
    return Splice(border_ms, side.vendor, outcome, round(verdict.ratio, 9), verdict.common, because)


def _refuse_conflicts(draft: AnswerDraft, judged: Sequence[tuple[Side, Verdict]]) -> None:
    """Raise an error if the prices on one of the sides conflict.

    Raises:
        SpliceConflictError: The prices conflict; the message names the first such side.
    """
    query, (start, end) = draft.request.query, draft.span
    for side, verdict in judged:
        if verdict.outcome == "conflict":
            where = f"from {iso(end)} on" if side.is_later else f"before {iso(start)}"
            raise SpliceConflictError(
                f"prices from {draft.vendor} for {query} do not match those from {side.vendor} "
                f"{where}: {verdict.summary}",
                provider=draft.vendor,
                symbol=query.instrument.symbol,
                hint="name one vendor with provider=, or have one supply the whole range again "
                "with refresh=True",
            )


# --- bars that are already stored


def in_stored_unit(fetched: Fetched, series: SeriesStore) -> Fetched:
    """Return an answer in the unit of the vendor's stored bars, if one unit is a hundredth of the other.

    A vendor may change a share from pence to pounds, and names the unit in both cases. If only the
    name has changed, the prices are then off by 100 beside the stored ones, and are rejected.
    """
    kind = series.view().kind
    stored, sent = kind.unit if kind else "", fetched.kind.unit
    if stored == sent or HUNDREDTHS.get(stored, stored) != HUNDREDTHS.get(sent, sent):
        return fetched
    if fetched.vendor not in {e.vendor for e in series.coverage().opened() if e.state in WITH_BARS}:
        return fetched
    factor = Fraction(100) ** ((stored in HUNDREDTHS) - (sent in HUNDREDTHS))
    table = fetched.table
    adj = None if table.adj_close is None else times(table.adj_close, factor)
    prices = [times(column, factor) for column in table.values()[:4]]
    table = BarTable.of_columns(table.stamps, [*prices, table.volume], adj)
    return replace(fetched, table=table, kind=replace(fetched.kind, unit=stored))


def check_kind(kind: Kind | None, request: LaneRequest, fetched: Fetched) -> None:
    """Reject bars that differ in kind from the stored bars.

    Raises:
        KindMismatchError: The kinds differ; the message names the attributes.
    """
    if kind is None or kind.agrees(fetched.kind):
        return
    pairs = kind.differences(fetched.kind).items()
    text = ", ".join(f"{name} {new!r} (stored {stored!r})" for name, (stored, new) in pairs)
    raise KindMismatchError(
        f"{fetched.vendor} returned bars of a different kind for {request.query}: {text}",
        provider=fetched.vendor,
        symbol=request.query.instrument.symbol,
    )
