"""From a vendor's answer to what it says: closed, forming, lacking, unfit. Decisions, no deeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import numpy as np

from ..model.bars import BarTable, Stamps, among
from ..model.capabilities import Fetched
from ..model.instant import DAY_MS, HOUR_MS, MINUTE_MS, date_of
from ..model.span import Span, coalesce
from ..policy.finality import forming_stamp
from ..policy.gaps import Grid, holes
from ..policy.quality import BadRow, Checked

Density = Literal["dense", "sparse", "unknown"]

# What one answer may lack piece by piece; beyond that it is doubted as a whole.
MOST_HOLES = 64
# No session of any exchange is shorter; a shorter stretch need not be looked at.
_SHORTEST_SESSION_MS = HOUR_MS
# Bars as long as these nearly always trade, whatever the share; shorter ones need not.
_ALWAYS_TRADED_MS = 30 * MINUTE_MS


@dataclass(frozen=True)
class Digest:
    """One answer, sorted into what it is.

    Attributes:
        answered: the stretch it speaks for.
        closed: its closed bars, ascending, checked.
        forming: rows of bars that had not closed.
        settled_before: bars stamped before this are final, later ones provisional.
        vouched_before: what is stamped from here on is known to have closed by our own clock alone.
        holes: stretches with an expected bar that did not come.
        bad: closed rows that cannot be bars.
        bad_spans: the stretch of each of them, up to the next expected bar.
        unpublished: closed bars at the end that the vendor does not have yet, or None.
        doubt: why the answer as a whole is not to be trusted, or an empty text.
    """

    answered: Span
    closed: BarTable
    forming: BarTable
    settled_before: int
    vouched_before: int
    holes: tuple[Span, ...] = ()
    bad: tuple[BadRow, ...] = ()
    bad_spans: tuple[Span, ...] = ()
    unpublished: Span | None = None
    doubt: str = ""

    @property
    def lacking(self) -> list[Span]:
        """What another vendor may still be asked for."""
        late = [self.unpublished] if self.unpublished else []
        return coalesce([*self.holes, *self.bad_spans, *late])


def digest(
    fetched: Fetched,
    checked: Checked,
    segment: Span,
    grid: Grid,
    now_ms: int,
    density: Density | None = None,
    least_share: float = 0.0,
) -> Digest:
    """Sort a checked answer by finality and find what it lacks.

    A closed bar that has not come and has not settled either is *unpublished*: nothing is
    concluded from it.

    Args:
        fetched: the answer.
        checked: its rows, judged.
        segment: the stretch asked for.
        grid: where bars are expected.
        now_ms: our time; the earlier of it and the vendor's own time counts.
        density: ``dense`` where every absent bar is a hole; ``sparse`` where bars without trades
            do not come, so that only a stretch with a whole session in it is one; ``unknown``
            where nothing can be said. By default as the answer declares.
        least_share: of the expected bars so many must have come, holes apart.
    """
    density = density or ("dense" if fetched.dense else "sparse")
    now = min(now_ms, fetched.server_now_ms)
    end = min(segment.end, forming_stamp(grid.calendar, grid.timeframe, now, grid.anchor))
    closed = checked.good.within(Span(segment.start, end))
    # The running bar may look like anything; it is judged when it has closed.
    bad = tuple(row for row in checked.bad if row.bar.stamp_ms < end)
    stamps = [row.bar.stamp_ms for row in bad]
    present = np.union1d(closed.stamps, stamps) if stamps else closed.stamps
    unpublished = _unpublished(Span(segment.start, end), present, grid, fetched.settle_ms, now)
    answered = Span(segment.start, unpublished.start if unpublished else end)
    lacking, doubt = _lacking(answered, present, grid, density, least_share)
    return Digest(
        answered=answered,
        closed=closed,
        forming=checked.good.within(Span(max(segment.start, end), segment.end)),
        settled_before=_settled_before(answered, closed, grid, fetched.settle_ms, now),
        vouched_before=answered.end if fetched.dated else _vouched_before(answered, closed),
        holes=tuple(lacking),
        bad=bad,
        bad_spans=tuple(Span(b, max(grid.next_open(b + 1), b + 1)) for b in stamps),
        unpublished=unpublished,
        doubt=doubt,
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


def _vouched_before(answered: Span, closed: BarTable) -> int:
    """Return up to where bars have surely closed and settled: newer ones lie a day behind them."""
    if not len(closed):
        return answered.start
    last_day = np.searchsorted(closed.stamps, closed.stamps[-1] - DAY_MS, side="right")
    return int(closed.stamps[last_day])


def _lacking(
    answered: Span, present: Stamps, grid: Grid, density: Density, least_share: float
) -> tuple[list[Span], str]:
    """Return the holes, and why the answer is doubted where it lacks more than can be listed."""
    if density == "unknown":
        return [], ""
    absent = holes(answered, present, grid)
    if density == "dense" and len(absent) <= MOST_HOLES:
        return absent, ""
    told = [span for span in absent if _holds_a_session(span, grid)][:MOST_HOLES]
    expected = _outside(grid.opens(answered), told)
    missing = int(np.count_nonzero(~among(expected, present)))
    enough = len(expected) - missing >= least_share * len(expected)
    if density == "sparse" and (enough or _need_not_trade(grid)):
        return told, ""
    return told, f"{missing} of {len(expected)} expected bars did not come"


def _outside(stamps: Stamps, spans: Sequence[Span]) -> Stamps:
    for span in spans:
        stamps = stamps[(stamps < span.start) | (stamps >= span.end)]
    return stamps


def _need_not_trade(grid: Grid) -> bool:
    step = grid.timeframe.step_ms
    return step is not None and step < _ALWAYS_TRADED_MS


def _holds_a_session(span: Span, grid: Grid) -> bool:
    """Tell whether a whole session lies inside: then it was not for want of trades."""
    if not grid.timeframe.is_intraday:
        return True
    if span.end - span.start < _SHORTEST_SESSION_MS:
        return False
    day = timedelta(days=1)
    sessions = grid.calendar.sessions(date_of(span.start) - day, date_of(span.end) + day)
    return any(span.start <= s.open_ms and s.close_ms <= span.end for s in sessions)
