"""Bars beside those of another vendor: compare the two where they meet, before any is stored.

A stretch is asked for together with a few bars that another vendor supplied beside it. These are
compared and not stored: what is stored stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from ...cache.actions import ActionBook, Asked
from ...cache.store import Commit
from ...calendars.grid import BarGrid
from ...errors import KindMismatchError, NoDataError, SpliceConflictError
from ...model.bars import BarTable, inside, merge
from ...model.capabilities import Fetched
from ...model.coverage import Coverage, Covered, Splice
from ...model.instant import DAY_MS, date_of, iso
from ...model.kind import Adjustment
from ...model.span import Span, subtract
from ...prices.adjustment import BasisPart, rebase
from ...prices.bar_rule import ordered
from ...prices.splice import (
    AGGREGATES,
    COMPARED,
    ONE_MARKET,
    Fix,
    Meeting,
    Verdict,
    judge,
    known_fixes,
    settle,
)
from ..answer.adjust import with_answers
from ..selection.candidates import Candidate
from ..validity import is_older
from .state import FetchState, StoreWriter, laid_over

# Bars further away than so many expected ones are no neighbours.
_FAR = 3 * COMPARED
_SHORTEST_LOOK_MS = 14 * DAY_MS


class Side(NamedTuple):
    """What other vendors supplied on one side of a stretch.

    Attributes:
        vendor: whose bars are next to it.
        span: what to ask for beside the stretch; empty where nothing is final.
        rows, parts: the bars to compare with, as stored, and where they come from.
        is_later: whether they lie behind the stretch.
    """

    vendor: str
    span: Span
    rows: BarTable
    parts: Coverage
    is_later: bool


class Neighbours:
    """Finds what stands beside a stretch. Thread-safe: it keeps no state."""

    def __init__(self, writer: StoreWriter) -> None:
        self._writer = writer

    def beside(self, work: FetchState, candidate: Candidate, span: Span) -> tuple[Side, ...]:
        """Return what other vendors supplied beside ``span``; a pinned vendor stands alone."""
        if work.query.provider is not None:
            return ()
        parts = self._writer.coverage(work)
        if not any(c.parts or (c.state != "empty" and _is_foreign(c, candidate)) for c in parts):
            return ()
        sides = (self._side(work, candidate, span, is_later=later) for later in (False, True))
        return tuple(side for side in sides if side is not None)

    def _side(
        self, work: FetchState, candidate: Candidate, span: Span, *, is_later: bool
    ) -> Side | None:
        edge = span.end if is_later else span.start
        rows, parts = self.stored(work, _look(work.grid, edge, is_later=is_later))
        if not len(rows):
            return None
        nearest = _at(parts, int(rows.stamps[0 if is_later else -1]))
        if nearest is None or not _is_foreign(nearest, candidate):
            return None
        final = [c.span for c in parts if c.state == "final" and _is_foreign(c, candidate)]
        theirs = rows.take(inside(rows.stamps, final))
        theirs = theirs.take(slice(COMPARED) if is_later else slice(-COMPARED, None))
        reach = Span(edge, edge)
        if len(theirs) and is_later:
            reach = Span(edge, work.grid.next_open(int(theirs.stamps[-1]) + 1))
        elif len(theirs):
            reach = Span(int(theirs.stamps[0]), edge)
        return Side(nearest.vendor, reach, theirs, parts, is_later)

    def stored(self, work: FetchState, span: Span) -> tuple[BarTable, Coverage]:
        """Return what is stored, with what the disk refused in this request."""
        rows, parts = self._writer.read(work, span)
        for commit in work.unstored:
            rows, parts = laid_over(rows, parts, commit)
        return rows.within(span), parts.within(span)


def widened(span: Span, sides: Sequence[Side]) -> Span:
    """Return ``span`` with the bars beside it that are to be compared."""
    return Span(
        min([span.start, *(s.span.start for s in sides)]),
        max([span.end, *(s.span.end for s in sides)]),
    )


def _is_foreign(part: Covered, candidate: Candidate) -> bool:
    """Tell whether a candidate's bars beside these must be compared with them.

    So must its own that it did not send like this. Bars of older tools have a rule of their own.
    """
    if is_older(part) and candidate.adjustment != "unknown":
        return False
    ours = candidate.capabilities is not None
    name = candidate.downloader.name if ours else candidate.name
    return part.state != "empty" and (part.vendor != name or part.is_rescaled)


def _look(grid: BarGrid, edge: int, *, is_later: bool) -> Span:
    """Return the stamps on one side of ``edge`` in which neighbours are looked for."""
    step = grid.timeframe.longest_ms
    far = max(_SHORTEST_LOOK_MS, 2 * _FAR * step)
    if is_later:
        stamps = grid.opens(Span(edge, edge + far))
        return Span(edge, int(stamps[_FAR]) if len(stamps) > _FAR else edge + far)
    stamps = grid.opens(Span(edge - far, edge))
    return Span(int(stamps[-_FAR]) if len(stamps) > _FAR else edge - far, edge)


def _at(parts: Coverage, stamp: int) -> Covered | None:
    return next((part for part in parts if stamp in part.span), None)


class Fitted(NamedTuple):
    """An answer cut to the stretch that it is for, and where it was fitted to other bars."""

    fetched: Fetched
    splices: tuple[Splice, ...] = ()


@dataclass(frozen=True)
class NeighbourReply:
    """What came for a stretch and its sides.

    Attributes:
        fetched: all that came.
        span: what is to be stored of it.
        sides: as they were before asking.
        opened: stamp of the last session that had opened; None for what has no actions.
        told: which ex-dates it tells the actions of, if it tells any.
    """

    fetched: Fetched
    span: Span
    sides: Sequence[Side] = ()
    opened: int | None = None
    answer: Asked | None = None


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


class Splicer:
    """Compares answers with what other vendors supplied beside them. Thread-safe; keeps no state."""

    def __init__(self, writer: StoreWriter) -> None:
        self._writer = writer
        self._neighbours = Neighbours(writer)

    def fitted(self, work: FetchState, reply: NeighbourReply) -> Fitted:
        """Return the answer for the stretch alone, compared with what is beside it.

        Raises:
            NoDataError: it holds nothing of the stretch.
            SpliceConflictError: its prices do not fit those beside it.
        """
        if not reply.sides:
            return Fitted(reply.fetched)
        rows = reply.fetched.table
        beside = inside(rows.stamps, [side.span for side in reply.sides])
        own = rows.take(~beside)
        if beside.any() and not len(own):
            raise NoDataError(
                f"{reply.fetched.vendor} has nothing for {work.query} from "
                f"{iso(reply.span.start)} to {iso(reply.span.end)}",
                provider=reply.fetched.vendor,
                symbol=work.query.instrument.symbol,
            )
        verdicts, fix = self._verdicts(work, reply, _usable(rows.take(beside)))
        judged = list(zip(reply.sides, verdicts, strict=True))
        _refuse_conflicts(work, reply, judged)
        if fix is not None:
            own = fix.applied(own.take(np.argsort(own.stamps, kind="stable")))
        splices = tuple(_splice(side, verdict, reply.span, fix) for side, verdict in judged)
        return Fitted(replace(reply.fetched, table=own), splices)

    def _verdicts(
        self, work: FetchState, reply: NeighbourReply, rows: BarTable
    ) -> tuple[list[Verdict], Fix | None]:
        """Judge all sides together; see :func:`..prices.splice.settle`."""
        basis = self.basis(work, reply.fetched, reply.opened, reply.answer)
        try:
            meetings = [
                Meeting(basis.of(side.rows, side.parts), rows.within(side.span), side.is_later)
                for side in reply.sides
            ]
        except KindMismatchError as error:
            why = f"not comparable: {error.args[0]}"
            return [Verdict("unchecked", 1.0, 0.0, 0, why) for _ in reply.sides], None
        kinds = [reply.fetched.kind, *(c.kind for side in reply.sides for c in side.parts)]
        tolerance = AGGREGATES if any(k.venue == "aggregate" for k in kinds) else ONE_MARKET
        first = [judge(m.stored, m.fetched, None, tolerance) for m in meetings]
        if all(verdict.kind != "conflict" for verdict in first):
            return first, None
        return settle(meetings, self._fixes(work, reply.sides, basis), tolerance)

    def basis(
        self, work: FetchState, fetched: Fetched, opened: int | None, answer: Asked | None = None
    ) -> CommonBasis:
        """Return the basis of an answer; one that says nothing of its own counts as ``split``."""
        book = self._writer.book(work)
        if answer is not None:
            book = with_answers(book, [(fetched.actions or (), answer)])
        adjustment = fetched.basis.adjustment
        target = "split" if adjustment == "unknown" else adjustment
        return CommonBasis(target, opened, book, work.grid.timeframe.is_intraday)

    def _fixes(
        self, work: FetchState, sides: Sequence[Side], basis: CommonBasis
    ) -> list[Fix] | None:
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
                rows, parts = self._neighbours.stored(work, Span(first, basis.opened + DAY_MS))
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
    work: FetchState, reply: NeighbourReply, judged: Sequence[tuple[Side, Verdict]]
) -> None:
    """Raise where prices do not fit on one of the sides.

    Raises:
        SpliceConflictError: with the first such side.
    """
    vendor, (start, end) = reply.fetched.vendor, reply.span
    for side, verdict in judged:
        if verdict.kind == "conflict":
            place = f"from {iso(end)} on" if side.is_later else f"before {iso(start)}"
            raise SpliceConflictError(
                f"prices of {vendor} for {work.query} do not fit those of {side.vendor} {place}: "
                f"{verdict.summary}",
                provider=vendor,
                symbol=work.query.instrument.symbol,
                hint="pin one vendor with provider=, or have one supply the whole range anew with "
                "force_refresh=True",
            )


def _usable(table: BarTable) -> BarTable:
    """Return the rows that can be bars, ascending, the last one of each stamp."""
    return merge(BarTable.empty(), table.take(ordered(table)))
