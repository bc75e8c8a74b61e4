"""From a vendor's answer to what may be stored of it: the decisions, without the deed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..cache.store import Commit, Piece, Suspect
from ..errors import QualityError
from ..model.bars import Bar, BarTable, Stamps
from ..model.capabilities import Fetched
from ..model.coverage import Coverage, Covered
from ..model.instant import DAY_MS, HOUR_MS, date_of
from ..model.instrument import Instrument
from ..model.kind import Basis
from ..model.span import Span, coalesce
from ..policy.finality import forming_stamp
from ..policy.gaps import Grid, holes
from ..policy.quality import Checked

BEFORE_FIRST = "before the first bar"
NO_BAR = "the vendor has no bar"
CLOSED = "market closed"
_MOST_HOLES = 64


@dataclass(frozen=True)
class Expiry:
    """How long a "nothing there" stands, by its age.

    Attributes:
        recent_ms: for what lies within the last month.
        old_ms: for what is older.
    """

    recent_ms: int = 24 * HOUR_MS
    old_ms: int = 90 * DAY_MS

    def of(self, span: Span, now_ms: int) -> int:
        """Return when an empty ``span`` is asked again."""
        age = now_ms - span.end
        return now_ms + (self.recent_ms if age < 30 * DAY_MS else self.old_ms)


@dataclass(frozen=True)
class Digest:
    """One answer, sorted into what it is.

    Attributes:
        answered: the stretch it speaks for.
        closed: its closed bars, ascending, checked.
        forming: rows of bars that had not closed.
        settled_before: bars stamped before this are final, later ones provisional.
        holes: stretches with an expected bar that did not come.
        suspects: rows that cannot be bars.
        suspect_spans: the stretch of each of them, up to the next expected bar.
        unpublished: closed bars at the end that the vendor does not have yet, or None.
        expects_bars: whether the calendar expects any bar in the stretch.
    """

    answered: Span
    closed: BarTable
    forming: BarTable
    settled_before: int
    holes: tuple[Span, ...]
    suspects: tuple[Suspect, ...]
    suspect_spans: tuple[Span, ...] = ()
    unpublished: Span | None = None
    expects_bars: bool = True

    @property
    def lacking(self) -> list[Span]:
        """What another vendor may still be asked for."""
        late = [self.unpublished] if self.unpublished else []
        return coalesce([*self.holes, *self.suspect_spans, *late])


def digest(fetched: Fetched, checked: Checked, segment: Span, grid: Grid, now_ms: int) -> Digest:
    """Sort a checked answer by finality and find what it lacks.

    ``now_ms`` is our time; the earlier of it and the vendor's own time counts. A closed bar
    that has not come and has not settled either is *unpublished*: nothing is concluded from it.
    """
    now = min(now_ms, fetched.server_now_ms)
    cap = forming_stamp(grid.calendar, grid.timeframe, now, grid.anchor)
    closed = checked.good.within(Span(segment.start, min(segment.end, cap)))
    forming = checked.good.within(Span(max(segment.start, cap), segment.end))
    end = min(segment.end, cap)
    bad = [row.bar.stamp_ms for row in checked.bad]
    present = np.union1d(closed.stamps, np.array(bad, dtype=np.int64))
    unpublished = _unpublished(Span(segment.start, end), present, grid, fetched.settle_ms, now)
    answered = Span(segment.start, unpublished.start if unpublished else end)
    lacking = holes(answered, present, grid) if fetched.dense else []
    return Digest(
        answered=answered,
        closed=closed.within(answered),
        forming=forming,
        settled_before=_settled_before(answered, closed, grid, fetched.settle_ms, now),
        holes=tuple(lacking),
        suspects=tuple(Suspect(row.bar, row.reason) for row in checked.bad),
        suspect_spans=tuple(Span(b, max(grid.next_open(b + 1), b + 1)) for b in bad),
        unpublished=unpublished,
        expects_bars=bool(len(grid.opens(answered))),
    )


def _unpublished(
    span: Span, present: Stamps, grid: Grid, settle_ms: int, now_ms: int
) -> Span | None:
    """Return the closed, unsettled bars at the end of ``span`` that have not come."""
    after_last = Span(int(present[-1]) + 1 if len(present) else span.start, span.end)
    tail = grid.opens(after_last)
    unsettled = tail[grid.settles(tail, settle_ms) > now_ms] if len(tail) else tail
    return Span(int(unsettled[0]), span.end) if len(unsettled) else None


def _settled_before(
    answered: Span, closed: BarTable, grid: Grid, settle_ms: int, now_ms: int
) -> int:
    """Return the stamp before which the answered bars are final."""
    if not len(closed):
        return answered.end
    final = int(np.count_nonzero(grid.settles(closed.stamps, settle_ms) <= now_ms))
    return answered.end if final == len(closed) else int(closed.stamps[final])


def basis_of(fetched: Fetched, first_ms: int, instrument: Instrument, opened: int | None) -> Basis:
    """Return the basis of rows beginning at ``first_ms``.

    ``opened`` is the stamp of the last session that had opened at the fetch. It is left out when
    it is not after the first bar's date, so that daily appends share one basis; instruments
    without corporate actions have none.
    """
    adjustment = fetched.basis.adjustment
    if instrument.asset_class != "stock":
        return Basis("raw" if adjustment == "unknown" else adjustment)
    if opened is None or adjustment == "unknown" or date_of(opened) <= date_of(first_ms):
        return Basis(adjustment)
    return Basis(adjustment, date_of(opened))


@dataclass(frozen=True)
class Held:
    """What the store holds of the answered stretch, its rows rebased to the answer's basis."""

    rows: BarTable
    rebased: BarTable
    coverage: Coverage


def build_commit(
    fetched: Fetched, found: Digest, held: Held, *, basis: Basis, first_ever: int | None,
    now_ms: int, expiry: Expiry,
) -> Commit:  # fmt: skip
    """Say what to store: new bars as pieces, equal ones as settled marks, nothings as empty.

    Args:
        fetched, found: the answer and what it holds.
        held: what is stored there already.
        basis: of the rows fetched.
        first_ever: the first bar the series holds, or None when it is empty.
        now_ms: the time of the commit.
        expiry: how long nothings stand.

    Raises:
        QualityError: the answer lacks many bars that are stored; it is not believed.
    """
    marks = _empty_marks(fetched, found, first_ever, now_ms, expiry)
    marks += [
        Covered(span, "suspect", vendor=fetched.vendor, kind=fetched.kind, basis=basis,
                fetched_at=fetched.server_now_ms, reason=row.reason,
                expires=expiry.of(span, now_ms))
        for row, span in zip(found.suspects, found.suspect_spans, strict=True)
    ]  # fmt: skip
    if _withdrawn(fetched, found, held):
        return Commit(pieces=_pieces(fetched, found, found.answered, basis), marks=tuple(marks),
                      suspects=found.suspects, kind=fetched.kind)  # fmt: skip
    pieces: list[Piece] = []
    for span, equal in _runs(found, held):
        if equal:
            marks += _settled(span, found, held, now_ms)
        else:
            pieces += _pieces(fetched, found, span, basis)
    return Commit(tuple(pieces), tuple(marks), found.suspects, kind=fetched.kind)


def _withdrawn(fetched: Fetched, found: Digest, held: Held) -> int:
    """Count stored bars that the answer lacks; refuse an answer that lacks too many of them."""
    lost = int(np.count_nonzero(~np.isin(held.rows.stamps, found.closed.stamps)))
    if lost > max(2, len(held.rows) // 100):
        raise QualityError(
            f"{fetched.vendor} now lacks {lost} of {len(held.rows)} bars that are stored",
            provider=fetched.vendor,
            hint="the stored bars were kept",
        )
    return lost


def _runs(found: Digest, held: Held) -> list[tuple[Span, bool]]:
    """Cut the answered stretch where bars equal to the stored ones begin and end."""
    rows, stored = found.closed, held.rebased
    if not len(stored):
        return [(found.answered, False)]
    equal = np.zeros(len(rows), dtype=bool)
    places = np.searchsorted(stored.stamps, rows.stamps)
    inside = places < len(stored)
    inside[inside] &= stored.stamps[places[inside]] == rows.stamps[inside]
    equal[inside] = _same(rows.take(inside), stored.take(places[inside]))
    cuts = [0, *(int(i) for i in np.flatnonzero(equal[1:] != equal[:-1]) + 1)]
    edges = [found.answered.start, *(int(rows.stamps[c]) for c in cuts[1:]), found.answered.end]
    return [(Span(a, b), bool(equal[c])) for a, b, c in zip(edges, edges[1:], cuts, strict=False)]


def _same(one: BarTable, other: BarTable) -> NDArray[np.bool_]:
    """Tell row by row whether prices and volume agree but for rounding of an adjustment."""
    pairs = zip(one.values()[:5], other.values()[:5], strict=True)
    equal = np.ones(len(one), dtype=bool)
    for mine, theirs in pairs:
        equal &= np.isclose(mine, theirs, rtol=1e-6, atol=0.0, equal_nan=True)
    return equal


def _pieces(fetched: Fetched, found: Digest, span: Span, basis: Basis) -> tuple[Piece, ...]:
    """Return the rows of ``span`` as a final piece and a provisional one."""
    middle = min(max(span.start, found.settled_before), span.end)
    if not len(found.closed.within(Span(span.start, middle))):
        middle = span.start
    made = []
    for part, final in ((Span(span.start, middle), True), (Span(middle, span.end), False)):
        rows = found.closed.within(part)
        lacking = tuple(h for hole in found.holes if not (h := hole.clip(part)).is_empty)
        if len(rows):
            made.append(
                Piece(rows, part, fetched.vendor, fetched.server_now_ms, fetched.kind, basis,
                      "final" if final else "provisional", lacking[:_MOST_HOLES])
            )  # fmt: skip
    return tuple(made)


def _settled(span: Span, found: Digest, held: Held, now_ms: int) -> list[Covered]:
    """Return marks that renew trust in stored bars found equal; source and basis stay theirs."""
    middle = min(max(span.start, found.settled_before), span.end)
    before, after = Span(span.start, middle), Span(middle, span.end)
    trusted = [_renewed(old, now_ms) for old in held.coverage if old.state != "empty"]
    final = [replace(t, state="final") for t in Coverage(trusted).within(before)]
    later = Coverage(trusted).within(after)
    return final + [t if t.state == "final" else replace(t, state="provisional") for t in later]


def _renewed(old: Covered, now_ms: int) -> Covered:
    return replace(old, fetched_at=max(old.fetched_at, now_ms), reason="", expires=None)


def _empty_marks(
    fetched: Fetched, found: Digest, first_ever: int | None, now_ms: int, expiry: Expiry
) -> list[Covered]:
    """Return marks for stretches that the vendor positively has no bar for."""
    first = int(found.closed.stamps[0]) if len(found.closed) else None
    nothing_before = first_ever is None or first_ever >= found.answered.start
    empties: list[tuple[Span, str]] = []
    for hole in found.holes:
        leads = first is not None and hole.start < first and nothing_before
        empties.append((hole, BEFORE_FIRST if leads else NO_BAR))
    if not len(found.closed) and not found.suspects and not found.answered.is_empty:
        empties = [(found.answered, NO_BAR if found.expects_bars else CLOSED)]
    return [
        Covered(span, "empty", vendor=fetched.vendor, fetched_at=fetched.server_now_ms,
                reason=reason, expires=expiry.of(span, now_ms))
        for span, reason in empties
    ]  # fmt: skip


def suspects_table(suspects: Sequence[Suspect]) -> BarTable:
    """Return flagged rows as a table, ascending and unique (the last one of a stamp)."""
    rows: dict[int, Bar] = {s.bar.stamp_ms: s.bar for s in suspects}
    return BarTable.from_bars([rows[stamp] for stamp in sorted(rows)])
