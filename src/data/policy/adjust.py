"""Bringing prices from the basis they were stored in to the basis that is asked for, exactly.

A split is applied to a bar when ``max(bar's session date, as_of) < ex_date <= target as_of`` (bars
in the ``raw`` basis: their date alone). All that applies to a bar is one rational factor, and a
price is multiplied by it and rounded once; volume takes the splits the other way. A dividend
multiplies older prices by ``1 - amount / close before its ex-date``, volume untouched; prices that
hold it are divided by the same (:mod:`.closes` has the closes). What cannot be converted exactly is
refused, never guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from fractions import Fraction
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ..errors import KindMismatchError
from ..model.actions import Action, current
from ..model.bars import BarTable, Floats
from ..model.instant import date_of
from ..model.kind import Adjustment, Basis
from ..model.scaling import scaled
from ..model.span import Span, coalesce
from ..model.timeframe import Timeframe
from .adjusting import CloseBefore, Conversion, Group, earliest_session, needed

_UNKNOWN = Basis("unknown")
_ONE = Fraction(1)

# What counts for the bars of a vendor, where that is not the same for all.
OwnActions = Callable[[str], Sequence[Action]]
# The session date of a bar, by its stamp.
SessionOf = Callable[[int], date]


@dataclass(frozen=True)
class BasisPart:
    """The stamps ``[start, end)`` of bars that share one basis."""

    span: Span
    basis: Basis
    vendor: str = ""


def rebase(
    table: BarTable,
    parts: Sequence[BasisPart],
    actions: Sequence[Action],
    target: Adjustment,
    *,
    as_of: date | None,
    intraday: bool,
    close_before: CloseBefore | None = None,
    known: Sequence[Span] | None = None,
    timeframe: Timeframe | None = None,
    own: OwnActions | None = None,
) -> BarTable:
    """Bring every row to the basis ``target`` at ``as_of``; the input is returned when it is there.

    ``adj_close`` is brought to ``all`` at ``as_of`` where actions bridge it, kept where one basis
    covers all rows, and NaN elsewhere; it never makes the call fail. Rows of basis ``unknown``, and
    rows in no part, pass unchanged where no action lies behind them: there all bases are equal.

    Args:
        table: ascending bars.
        parts: which rows are of which basis; where two overlap the later one counts.
        actions: all that is known, in any order. Of those of one type and ex-date the latest
            fetched count; several dividends of one day and fetch are added up.
        target: ``raw``, ``split`` or ``all``.
        as_of: the target's date; None takes :func:`common_as_of`. It is raised to the last bar, so
            that an answer never jumps inside.
        intraday: whether stamps are instants, to be compared with ``ex_at``.
        close_before: gives the close of the last session before a dividend's ex-date, None when it
            is not known; it is ``split`` adjusted to the target's ``as_of``. The amount, which is
            per share as of its fetch or its ex-date (:class:`Action`), is brought there too.
        known: stamps of ex-dates for which actions were asked; what the conversion needs must lie
            inside. None: the caller answers for ``actions`` being complete.
        timeframe: when given, bars of several days with an ex-date inside are refused.
        own: the actions that count for the bars of a part's vendor, in place of ``actions``, where
            vendors are divided.

    Raises:
        KindMismatchError: a basis is unknown where it matters, actions were not asked for, a
            close is not known, one split has two dates, or a bar straddles an ex-date.
        ValueError: ``target`` is none of the three.
    """
    if target not in ("raw", "split", "all"):
        raise ValueError(f"cannot adjust to {target!r}; there is raw, split and all")
    if not len(table):
        return table
    groups = _groups(table, parts, by_vendor=own is not None)
    last = None if intraday else date_of(int(table.stamps[-1]))
    goal = Basis(target, max(filter(None, (as_of or common_as_of(parts), last)), default=None))
    told = tuple(current(actions))
    job = Conversion(table.stamps, told, goal, intraday, close_before, known, timeframe)
    jobs = [_Job(group, _of_vendor(job, group, own)) for group in groups]
    pieces = [piece for group, work in jobs for piece in work.pieces(group)]
    factors = [(piece.rows, piece.price) for piece in pieces]
    first, high, low, close = (scaled(column, factors) for column in table.values()[:4])
    volume = scaled(table.volume, [(piece.rows, 1 / piece.splits) for piece in pieces])
    adj = None if table.adj_close is None else _adj_close(table.adj_close, jobs)
    done = BarTable(table.stamps, first, high, low, close, volume, adj)
    same = all(new is old for new, old in zip(done.values(), table.values(), strict=True))
    return table if same else done


def common_as_of(parts: Iterable[BasisPart]) -> date | None:
    """Return the newest date in any part, which is the basis to answer in; None without parts.

    A part without ``as_of`` counts with the last day of its span.
    """
    return max((p.basis.as_of or date_of(p.span.end - 1) for p in parts), default=None)


def needed_actions(
    table_span: Span,
    parts: Sequence[BasisPart],
    target: Adjustment,
    as_of: date | None,
    *,
    intraday: bool = False,
    session_of: SessionOf | None = None,
) -> list[Span]:
    """Return the ex-dates, as stamps, for which actions must have been asked; empty: none needed.

    It asks for the splits and dividends of every bar of ``table_span`` that a part holds.
    ``session_of`` tells the session date of an intraday bar of regular hours: those of one day need
    nothing then. Bars before the open do, for they are traded as the day before.
    """
    goal = Basis(target, as_of or common_as_of(parts))
    inside = [part for part in parts if part.span.overlaps(table_span)]
    starts = [max(part.span.start, table_span.start) for part in inside]
    first = session_of or partial(earliest_session, intraday=intraday)
    pairs = zip(starts, inside, strict=True)
    return coalesce(needed(first(start), part.basis, goal) for start, part in pairs)


class _Job(NamedTuple):
    group: Group
    work: Conversion


def _of_vendor(job: Conversion, group: Group, own: OwnActions | None) -> Conversion:
    return job if own is None else replace(job, actions=tuple(current(own(group.vendor))))


def _groups(table: BarTable, parts: Sequence[BasisPart], *, by_vendor: bool) -> list[Group]:
    owner = np.zeros(len(table), dtype=np.intp)
    numbers = {(_UNKNOWN, ""): 0}
    for part in parts:
        first, last = np.searchsorted(table.stamps, part.span)
        whose = part.vendor if by_vendor else ""
        owner[first:last] = numbers.setdefault((part.basis, whose), len(numbers))
    kinds = list(numbers)
    borders = [0, *(np.flatnonzero(np.diff(owner)) + 1).tolist(), len(table)]
    return [Group(slice(a, b), *kinds[owner[a]]) for a, b in pairwise(borders)]


def _adj_close(adj: Floats, jobs: Sequence[_Job]) -> Floats:
    """Bring a column that is ``all`` as of each group's fetch to ``all`` at the target's date."""
    told = [job for job in jobs if not np.isnan(adj[job.group.rows]).all()]
    only = told[0].group if len(told) == 1 else None
    alone = only is not None and (only.basis.as_of is not None or len(adj[only.rows]) == 1)
    factors: list[tuple[slice, Fraction | None]] = []
    for group, work in told:
        bridge = replace(work, goal=Basis("all", work.goal.as_of))
        basis = group.basis
        if basis.adjustment != "unknown":
            basis = Basis("all", basis.as_of)
        try:
            pieces = list(bridge.pieces(group._replace(basis=basis), lenient=True))
        except KindMismatchError:
            factors.append((group.rows, _ONE if alone else None))
            continue
        # Rows of one basis stay comparable with each other: there the splits alone will do.
        factors += [(p.rows, p.splits if p.price is None and alone else p.price) for p in pieces]
    return scaled(adj, factors)
