"""Bars beside those of another vendor: compare the two where they meet, before any is stored.

A stretch is asked for together with a few bars that another vendor supplied beside it. These are
compared and not stored: what is stored stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from ...cache.actions import ActionBook
from ...cache.store import Commit
from ...errors import KindMismatchError, NoDataError, SpliceConflictError
from ...model.bars import BarTable, inside, merge
from ...model.capabilities import Fetched
from ...model.coverage import Coverage, Splice
from ...model.instant import DAY_MS, date_of, iso
from ...model.kind import Adjustment
from ...model.span import Span, subtract
from ...prices.adjustment import BasisPart, rebase
from ...prices.bar_rule import ordered
from ...prices.splice import (
    AGGREGATES,
    ONE_MARKET,
    Fix,
    Meeting,
    Verdict,
    judge,
    known_fixes,
    settle,
)
from ..answer.adjust import with_answers
from ..series.request import LaneRequest, Side
from ..series.store import SeriesStore
from .receive import ReceivedAnswer


class FittedAnswer(NamedTuple):
    """An answer cut to the stretch that it is for, and where it was fitted to other bars."""

    received: ReceivedAnswer
    fetched: Fetched
    splices: tuple[Splice, ...] = ()


@dataclass(frozen=True)
class CommonBasis:
    """The basis in which bars are compared: of the last session that had opened.

    Attributes:
        target: the adjustment.
        opened: stamp of that session; None for what has no actions, which is compared as it is.
        book: the actions known.
        intraday: whether stamps are instants.
    """

    target: Adjustment
    opened: int | None
    book: ActionBook
    intraday: bool

    def of(self, rows: BarTable, parts: Coverage, *, surely: bool = False) -> BarTable:
        """Return stored rows in it; ``surely`` refuses where actions were not asked for.

        Raises:
            KindMismatchError: they cannot be brought to it exactly.
        """
        if self.opened is None or not len(rows):
            return rows
        return rebase(
            rows,
            [BasisPart(c.span, c.basis, c.vendor) for c in parts if c.state != "empty"],
            self.book.actions,
            self.target,
            as_of=date_of(self.opened),
            intraday=self.intraday,
            fetched_dates=[part.span for part in self.book.answers] if surely else None,
            own=self.book.of if self.book.disputed else None,
        )


def fit(request: LaneRequest, series: SeriesStore, received: ReceivedAnswer) -> FittedAnswer:
    """Return an answer for what is lacking alone, compared with what is beside it.

    With the splits and dividends that came with it, which are not stored yet.

    Raises:
        NoDataError: it holds nothing of the stretch.
        SpliceConflictError: its prices do not fit those beside it.
    """
    fetched, question = received.fetched, received.question
    splices: tuple[Splice, ...] = ()
    if question.sides:
        fetched, splices = _beside(request, series, received)
    if question.parts:
        wanted = fetched.table.take(inside(fetched.table.stamps, question.parts))
        fetched = replace(fetched, table=wanted)
    return FittedAnswer(received, fetched, splices)


def _beside(
    request: LaneRequest, series: SeriesStore, received: ReceivedAnswer
) -> tuple[Fetched, tuple[Splice, ...]]:
    """Compare an answer with what other vendors supplied beside it."""
    fetched, span, sides = received.fetched, received.span, received.question.sides
    rows = fetched.table
    beside = inside(rows.stamps, [side.span for side in sides])
    own = rows.take(~beside)
    if beside.any() and not len(own):
        raise NoDataError(
            f"{fetched.vendor} has nothing for {request.query} from {iso(span.start)} to "
            f"{iso(span.end)}",
            provider=fetched.vendor,
            symbol=request.query.instrument.symbol,
        )
    verdicts, fix = _verdicts(request, series, received, _usable(rows.take(beside)))
    judged = list(zip(sides, verdicts, strict=True))
    _refuse_conflicts(request, received, judged)
    if fix is not None:
        own = fix.applied(own.take(np.argsort(own.stamps, kind="stable")))
    return replace(fetched, table=own), tuple(_splice(s, v, span, fix) for s, v in judged)


def _verdicts(
    request: LaneRequest, series: SeriesStore, received: ReceivedAnswer, rows: BarTable
) -> tuple[list[Verdict], Fix | None]:
    """Judge all sides together; see :func:`..prices.splice.settle`."""
    fetched, sides = received.fetched, received.question.sides
    book = series.book()
    if received.actions is not None:
        book = with_answers(book, [(fetched.actions or (), received.actions)])
    basis = common_basis(request, received, book)
    try:
        meetings = [
            Meeting(basis.of(side.rows, side.parts), rows.within(side.span), side.is_later)
            for side in sides
        ]
    except KindMismatchError as error:
        why = f"not comparable: {error.args[0]}"
        return [Verdict("unchecked", 1.0, 0.0, 0, why) for _ in sides], None
    kinds = [fetched.kind, *(c.kind for side in sides for c in side.parts)]
    tolerance = AGGREGATES if any(k.venue == "aggregate" for k in kinds) else ONE_MARKET
    first = [judge(m.stored, m.fetched, None, tolerance) for m in meetings]
    if all(verdict.kind != "conflict" for verdict in first):
        return first, None
    return settle(meetings, _fixes(series, sides, basis), tolerance)


def common_basis(request: LaneRequest, received: ReceivedAnswer, book: ActionBook) -> CommonBasis:
    """Return the basis of an answer; one that says nothing of its own counts as ``split``."""
    adjustment = received.fetched.basis.adjustment
    target = "split" if adjustment == "unknown" else adjustment
    return CommonBasis(target, received.sessions.opened, book, request.grid.timeframe.is_intraday)


def _fixes(series: SeriesStore, sides: Sequence[Side], basis: CommonBasis) -> list[Fix] | None:
    """Return what one of the vendors may have missed; None where no vendor could tell.

    Where actions were not asked for, a factor may as well be a split that the stored bars do
    not know of.
    """
    if basis.opened is None:
        return None
    first = min(int(side.rows.stamps[0]) for side in sides if len(side.rows))
    today = date_of(basis.opened)
    actions = [a for a in basis.book.actions if date_of(first) < a.ex_date <= today]
    closes = BarTable.empty()
    try:
        for side in sides:
            basis.of(side.rows, side.parts, surely=True)
        if any(a.type == "dividend" for a in actions):
            rows, parts = series.read_with_unstored(Span(first, basis.opened + DAY_MS))
            closes = basis.of(rows, parts)
    except KindMismatchError:
        return None
    return known_fixes(actions, closes, basis.target, today, intraday=basis.intraday)


# --- small things --------------------------------------------------------------------------


def with_splices(commit: Commit, splices: Sequence[Splice], span: Span) -> Commit:
    """Return the commit for ``span`` with pieces that say where they meet others.

    That is at its outermost new bars: those beyond may have been found equal to what is stored, and
    keep their source.
    """
    spans = [s for piece in commit.pieces for s in subtract([piece.span], piece.holes)]
    if not splices or not spans:
        return commit
    first, last = min(s.start for s in spans), max(s.end for s in spans)
    placed = tuple(replace(s, at=last if s.at == span.end else first) for s in splices)
    return replace(commit, pieces=tuple(replace(p, splices=placed) for p in commit.pieces))


def _splice(side: Side, verdict: Verdict, span: Span, fix: Fix | None) -> Splice:
    at = span.end if side.is_later else span.start
    if verdict.kind == "unchecked":
        return Splice(at, side.vendor, "unchecked", 1.0, verdict.common, verdict.summary)
    because = fix.because if fix is not None else ""
    kind = "constant" if fix is not None else verdict.kind
    return Splice(at, side.vendor, kind, round(verdict.ratio, 9), verdict.common, because)


def _refuse_conflicts(
    request: LaneRequest, received: ReceivedAnswer, judged: Sequence[tuple[Side, Verdict]]
) -> None:
    """Raise where prices do not fit on one of the sides.

    Raises:
        SpliceConflictError: with the first such side.
    """
    vendor, (start, end) = received.fetched.vendor, received.span
    for side, verdict in judged:
        if verdict.kind == "conflict":
            place = f"from {iso(end)} on" if side.is_later else f"before {iso(start)}"
            raise SpliceConflictError(
                f"prices of {vendor} for {request.query} do not fit those of {side.vendor} {place}: "
                f"{verdict.summary}",
                provider=vendor,
                symbol=request.query.instrument.symbol,
                hint="pin one vendor with provider=, or have one supply the whole range anew with "
                "force_refresh=True",
            )


def _usable(table: BarTable) -> BarTable:
    """Return the rows that can be bars, ascending, the last one of each stamp."""
    return merge(BarTable.empty(), table.take(ordered(table)))
