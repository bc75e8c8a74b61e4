"""Converts prices exactly from the basis in which they are stored to the requested one.

A basis is an adjustment (``raw``, ``split`` or ``all``) and its date. A split is applied to a bar
if ``max(bar's session date, as_of) < ex_date <= target as_of``; for bars in the ``raw`` basis only
their date counts on the left. All actions that apply to a bar form one rational factor, and each
price is multiplied by it and rounded once; volume is divided by the splits. A dividend multiplies
older prices by ``1 - amount / close before its ex-date`` and leaves volume unchanged; prices that
already include it are divided by the same factor (:class:`ClosesBefore` provides the closes). A
conversion that cannot be exact is refused rather than approximated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from fractions import Fraction
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ...errors import KindMismatchError
from ..model.identity.kind import Adjustment, Basis
from ..model.market.actions import Action, amount_on, current
from ..model.market.bars import NAN, BarTable, Floats, Stamps
from ..model.stored.coverage import WITH_BARS, Coverage
from ..model.time.instant import DAY_MS, date_of, day_ms
from ..model.time.span import Span, coalesce, subtract
from ..model.time.timeframe import Timeframe

_UNKNOWN = Basis("unknown")
_ONE = Fraction(1)

# Returns the actions that apply to a vendor's bars, if vendors disagree.
OwnActions = Callable[[str], Sequence[Action]]
# Returns the session date of the bar with a timestamp.
SessionOf = Callable[[int], date]


class DividendError(KindMismatchError):
    """Prices cannot be adjusted for a dividend; bars on or after its ex-date are not affected.

    Attributes:
        ex_date: Ex-date of the dividend.
    """

    def __init__(self, message: str, ex_date: date, **context: str | None) -> None:
        super().__init__(message, **context)
        self.ex_date = ex_date


@dataclass(frozen=True)
class BasisPart:
    """A span ``[start, end)`` of bars that share one basis (adjustment and its date)."""

    span: Span
    basis: Basis
    vendor: str = ""


def basis_parts(coverage: Coverage) -> list[BasisPart]:
    """Return the basis of each covered span that can contain bars."""
    return [BasisPart(c.span, c.basis, c.vendor) for c in coverage if c.state in WITH_BARS]


def rebase(
    table: BarTable,
    parts: Sequence[BasisPart],
    actions: Sequence[Action],
    target: Adjustment,
    *,
    as_of: date | None,
    intraday: bool,
    close_before: CloseBefore | None = None,
    fetched_dates: Sequence[Span] | None = None,
    timeframe: Timeframe | None = None,
    own: OwnActions | None = None,
    own_adj_close: OwnActions | None = None,
    adj_close_dates: Sequence[Span] | None = None,
    lost: list[KindMismatchError] | None = None,
) -> BarTable:
    """Convert every row to the adjustment ``target`` as of ``as_of``.

    The input itself is returned if nothing has to be converted. ``adj_close`` is converted to
    ``all`` as of ``as_of`` if the actions and closes allow it, and is otherwise NaN; it never makes
    the call fail. Without ``close_before``, the ``adj_close`` of rows that share one basis is
    adjusted for splits only, so that these rows stay comparable with each other. Rows whose basis is
    ``unknown``, or that do not belong to any part, are left unchanged if no action follows them,
    because all bases are equal in that case.

    Args:
        table: Ascending bars.
        parts: Basis of each span of rows; where two parts overlap, the later one wins.
        actions: All known actions, in any order. If several actions have the same type and ex-date,
            only those fetched last are used; several dividends with one ex-date from the same fetch
            are added up.
        target: ``raw``, ``split`` or ``all``.
        as_of: Date as of which to adjust; None for :func:`common_as_of`. If the date is before the
            last bar, that bar's date is used instead, so that an answer never contains a jump.
        intraday: Whether the bars are intraday, so that actions apply from their ``ex_at``.
        close_before: Function that returns the close of the last session before a dividend's
            ex-date, split-adjusted as of the target's ``as_of``, or None if unknown. The dividend's
            amount (see :class:`Action`) is also converted to shares on that date.
        fetched_dates: Spans of ex-dates for which actions were fetched, which must include those
            that the conversion needs. None if the caller guarantees that ``actions`` are complete.
        timeframe: If given, bars that span several days and contain an ex-date are rejected.
        own: Function that returns the actions to apply to a vendor's bars instead of ``actions``,
            if vendors disagree.
        own_adj_close: Same as ``own``, for the conversion of ``adj_close``; None for ``own``.
        adj_close_dates: Same as ``fetched_dates``, for the conversion of ``adj_close``; None for
            ``fetched_dates``.
        lost: List to which the reasons are added why rows lose their ``adj_close``.

    Raises:
        KindMismatchError: A basis that is needed is unknown, actions were not fetched, a close is
            unknown, a split has two dates, or a bar straddles an ex-date.
        ValueError: ``target`` is not ``raw``, ``split`` or ``all``.
    """
    if target not in ("raw", "split", "all"):
        raise ValueError(f"cannot adjust to {target!r}; use raw, split or all")
    if not len(table):
        return table
    groups = _groups(table, parts, by_vendor=own is not None)
    last = None if intraday else date_of(int(table.stamps[-1]))
    goal = Basis(target, max(filter(None, (as_of or common_as_of(parts), last)), default=None))
    counted = tuple(current(actions))
    base = BasisConversion(
        table.stamps, counted, goal, intraday, close_before, fetched_dates, timeframe
    )
    jobs = [_Job(group, _with_own(base, group, own)) for group in groups]
    pieces = [piece for group, conversion in jobs for piece in conversion.pieces(group)]
    factors = [(piece.rows, piece.price) for piece in pieces]
    first, high, low, close = (scaled(column, factors) for column in table.values()[:4])
    volume = scaled(table.volume, [(piece.rows, 1 / piece.splits) for piece in pieces])
    adj = table.adj_close
    if adj is not None:
        jobs = [_Job(group, _with_own(base, group, own_adj_close or own)) for group in groups]
        adj = _adj_close(adj, jobs, adj_close_dates, lost)
    done = BarTable(table.stamps, first, high, low, close, volume, adj)
    same = all(new is old for new, old in zip(done.values(), table.values(), strict=True))
    return table if same else done


def common_as_of(parts: Iterable[BasisPart]) -> date | None:
    """Return the date as of which to adjust an answer: the latest date of its parts.

    The result is None if ``parts`` is empty.

    For a part without ``as_of``, the last day of its span is used.
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
    """Return the spans of ex-dates, as timestamps, for which actions must have been fetched.

    Only the bars in ``table_span`` that belong to a part are considered; the result may be empty.
    ``session_of`` returns the session date of an intraday bar in regular hours. If it is given, no
    actions are needed for bars that are all from one day.
    """
    goal = Basis(target, as_of or common_as_of(parts))
    inside = [part for part in parts if part.span.overlaps(table_span)]
    starts = [max(part.span.start, table_span.start) for part in inside]
    first = session_of or partial(earliest_session, intraday=intraday)
    pairs = zip(starts, inside, strict=True)
    return coalesce(needed(first(start), part.basis, goal) for start, part in pairs)


class _Job(NamedTuple):
    group: Group
    conversion: BasisConversion


def _with_own(base: BasisConversion, group: Group, own: OwnActions | None) -> BasisConversion:
    return base if own is None else replace(base, actions=tuple(current(own(group.vendor))))


def _groups(table: BarTable, parts: Sequence[BasisPart], *, by_vendor: bool) -> list[Group]:
    owner = np.zeros(len(table), dtype=np.intp)
    numbers = {(_UNKNOWN, ""): 0}
    for part in parts:
        first, last = np.searchsorted(table.stamps, part.span)
        source = part.vendor if by_vendor else ""
        owner[first:last] = numbers.setdefault((part.basis, source), len(numbers))
    sources = list(numbers)
    borders = [0, *(np.flatnonzero(np.diff(owner)) + 1).tolist(), len(table)]
    return [Group(slice(a, b), *sources[owner[a]]) for a, b in pairwise(borders)]


def _adj_close(
    adj: Floats,
    jobs: Sequence[_Job],
    fetched_dates: Sequence[Span] | None,
    lost: list[KindMismatchError] | None,
) -> Floats:
    """Convert ``adj_close`` (adjustment ``all``) from each group's date to the target's date."""
    with_values = [job for job in jobs if not np.isnan(adj[job.group.rows]).all()]
    factors: list[tuple[slice, Fraction | None]] = []
    for group, work in with_values:
        bridge = replace(work, goal=Basis("all", work.goal.as_of))
        if fetched_dates is not None:
            bridge = replace(bridge, fetched_dates=fetched_dates)
        # If all rows have one basis, they stay comparable with each other, so applying splits is
        # enough for a caller without closes.
        alone = len(with_values) == 1 and group.basis.as_of is not None and not work.close_before
        if alone:
            bridge = replace(bridge, actions=tuple(a for a in work.actions if a.type == "split"))
        basis = group.basis
        if basis.adjustment != "unknown":
            basis = Basis("all", basis.as_of)
        pieces, end = list[tuple[slice, Fraction | None]](), group.rows.stop
        try:
            for piece in bridge.pieces(group._replace(basis=basis)):
                pieces.append((piece.rows, piece.price))
                end = piece.rows.start
        except KindMismatchError as error:
            pieces = [] if alone else [*pieces, (slice(group.rows.start, end), None)]
            if lost is not None:
                lost.append(error)
        factors += pieces
    return scaled(adj, factors)


# --- from one basis to another: which actions apply to which rows, and their factors ----------

# Vendors may date a split one or two sessions apart. A second split within this time is the same
# one.
_SAME_SPLIT_DAYS = 7

CloseBefore = Callable[[date], float | None]


class Group(NamedTuple):
    """Adjacent rows with the same basis (adjustment and its date) and, if given, the same vendor."""

    rows: slice
    basis: Basis
    vendor: str = ""


class BasisPiece(NamedTuple):
    """Rows to which the same factors apply."""

    rows: slice
    price: Fraction
    splits: Fraction


def earliest_session(stamp_ms: int, intraday: bool) -> date:
    """Return the earliest possible session date of a bar, without using a calendar."""
    # The session date of an intraday bar may be the day before its UTC date.
    return date_of(stamp_ms) - timedelta(days=int(intraday))


def needed(first: date, source: Basis, goal: Basis) -> Span:
    """Return the span of ex-dates relevant for converting bars of session ``first`` or later.

    A split whose ex-date is the first bar's own session date is already reflected in that bar.
    """
    source_date = (source.as_of or first) if source.adjustment != "raw" else first
    # With an unknown basis every later action matters, because prices can be converted only without
    # any.
    untouched = goal.adjustment == "raw" and source.adjustment != "unknown"
    wanted = first if untouched else (goal.as_of or first)
    low = min(source_date, wanted) if source.adjustment == goal.adjustment else first
    return Span(day_ms(max(first, low)) + DAY_MS, day_ms(max(source_date, wanted)) + DAY_MS)


@dataclass(frozen=True)
class BasisConversion:
    """Converts the rows at ``stamps`` to the basis ``goal``."""

    stamps: Stamps
    actions: tuple[Action, ...]
    goal: Basis
    intraday: bool
    close_before: CloseBefore | None
    fetched_dates: Sequence[Span] | None
    timeframe: Timeframe | None

    def pieces(self, group: Group) -> Iterator[BasisPiece]:
        """Yield pieces of ``group`` with their factors, latest first."""
        first = int(self.stamps[group.rows.start])
        self._check_requested(first, group.basis)
        price, splits, end = _ONE, _ONE, group.rows.stop
        for action, power in self._moves(first, group.basis):
            border = int(np.searchsorted(self.stamps, self._valid_from(action)))
            if border <= group.rows.stop:
                self._check_straddle(action, int(self.stamps[border - 1]))
            if border < end:
                yield BasisPiece(slice(border, end), price, splits)
                end = border
            if action.type == "split":
                splits *= self._ratio(action) ** -power
            price *= self._factor(action) ** power
        yield BasisPiece(slice(group.rows.start, end), price, splits)

    def _check_requested(self, first_ms: int, source: Basis) -> None:
        if self.fetched_dates is None:
            return
        first = earliest_session(first_ms, self.intraday)
        missing = subtract([needed(first, source, self.goal)], self.fetched_dates)
        if missing:
            days = f"{date_of(missing[0].start)} to {date_of(missing[-1].end - 1)}"
            goal = self.goal.adjustment
            way = f"{source.adjustment} prices to {'another date' if source.adjustment == goal else goal}"
            raise KindMismatchError(
                f"cannot convert {way}: splits and dividends from {days} were never requested"
            )

    def _valid_from(self, action: Action) -> int:
        """Return the timestamp before which bars do not reflect ``action``.

        An intraday bar that contains the open of the ex-date's session may begin before that open.
        """
        if not self.intraday:
            return day_ms(action.ex_date)
        step_ms = None if self.timeframe is None else self.timeframe.step_ms
        return action.ex_at if step_ms is None else action.ex_at - step_ms + 1

    def _moves(self, first_ms: int, source: Basis) -> list[tuple[Action, int]]:
        """Return the actions to apply (1) or undo (-1) for bars from ``first_ms`` on, latest first."""
        last_ms = int(self.stamps[-1])
        moves = []
        for action in (a for a in self.actions if self._valid_from(a) > first_ms):
            if source.adjustment == "unknown":
                raise KindMismatchError(
                    f"it is unknown whether prices from {date_of(first_ms)} are already adjusted "
                    f"for the {action}",
                    hint="fetch these bars again",
                )
            # A bar after the ex-date reflects the action in its price regardless of the target's
            # date.
            until = action.ex_date if self._valid_from(action) <= last_ms else self.goal.as_of
            wanted = action.is_in(self.goal.adjustment, until)
            if wanted != action.is_in(source.adjustment, source.as_of):
                moves.append((action, 1 if wanted else -1))
        moved = {action for action, _ in moves}
        for split, other in pairwise(a for a in self.actions if a.type == "split"):
            soon = (other.ex_date - split.ex_date).days < _SAME_SPLIT_DAYS
            valid = split.is_sound and other.is_sound
            if soon and valid and split.ratio == other.ratio and moved & {split, other}:
                raise KindMismatchError(f"the {split} seems to be the same as the {other}")
        return sorted(moves, key=lambda move: self._valid_from(move[0]), reverse=True)

    def _factor(self, action: Action) -> Fraction:
        """Return the factor for prices before an action."""
        if action.type == "split":
            return 1 / self._ratio(action)
        close = self.close_before(action.ex_date) if self.close_before else None
        if close is not None and close > 0:
            factor = 1 - self._amount(action) / Fraction(str(close))
            if factor > 0:
                return factor
        raise DividendError(
            f"cannot adjust for the {action}: the close before it is {close or 'not known'}",
            action.ex_date,
            hint="fetch the daily bars before it, or use adjustment='split'",
        )

    def _ratio(self, split: Action) -> Fraction:
        _check_sound(split)
        return split.ratio

    def _amount(self, dividend: Action) -> Fraction:
        """Return a dividend's amount in terms of shares on the target's date."""
        later = [a for a in self.actions if a.type == "split" and a.ex_date >= dividend.ex_date]
        for action in (dividend, *later):
            _check_sound(action)
        return amount_on(dividend, later, self.goal.as_of)

    def _check_straddle(self, action: Action, stamp: int) -> None:
        """Raise an error if the last bar before ``action`` extends past its ex-date."""
        if self.timeframe is None or self.intraday:
            return
        step_ms, day = self.timeframe.step_ms, date_of(stamp)
        if step_ms is None:  # the 1st of a month; 31 days later is the next month
            step_ms = day_ms((day + timedelta(31 * self.timeframe.count)).replace(day=1)) - stamp
        if stamp + step_ms > self._valid_from(action):
            raise KindMismatchError(
                f"the {self.timeframe} bar of {day} spans the {action}, so it has two bases",
                hint="rebuild it from daily bars",
            )


def _check_sound(action: Action) -> None:
    if not action.is_sound:
        raise KindMismatchError(
            f"the {action} has impossible values", hint="fetch the actions again"
        )


# --- columns multiplied by rational numbers, each result rounded once ------------------------

# Integers up to this are exact as floats.
_EXACT = 2**53


def scaled(values: Floats, factors: Sequence[tuple[slice, Fraction | None]]) -> Floats:
    """Multiply rows of ``values`` by factors; rows with a factor of None become NaN.

    The input is never modified; if all factors are 1, the input itself is returned.
    """
    todo = [(rows, factor) for rows, factor in factors if factor != 1]
    if not todo:
        return values
    out = values.copy()
    for rows, factor in todo:
        out[rows] = NAN if factor is None else times(values[rows], factor)
    return out


def times(values: Floats, factor: Fraction) -> Floats:
    """Return ``values`` times ``factor``, correctly rounded.

    Multiplying or dividing by a power of two is exact. So if one side of the fraction is a power of
    two, as for nearly every split, two machine operations round only once. For other factors
    (dividends, 3 for 7), they would round twice, so each distinct value is computed as a quotient
    of integers, which Python rounds once.
    """
    top, bottom = factor.numerator, factor.denominator
    small = max(abs(top), bottom) <= _EXACT
    if small and (_is_power_of_two(top) or _is_power_of_two(bottom)):
        return np.asarray(values * float(top) / float(bottom))
    distinct, inverse = np.unique(values, return_inverse=True)
    exact = [_product(value, top, bottom) for value in distinct.tolist()]
    return np.array(exact, dtype=np.float64)[inverse]


def _is_power_of_two(number: int) -> bool:
    return number > 0 and number & (number - 1) == 0


def _product(value: float, top: int, bottom: int) -> float:
    if not math.isfinite(value):
        return value
    numerator, denominator = value.as_integer_ratio()
    return numerator * top / (denominator * bottom)


# --- closes before ex-dates -----------------------------------------------------------------
#
# A dividend ``D`` multiplies older prices by ``1 - D / C``, with ``C`` the close before its
# ex-date, split-adjusted. If a vendor serves only fully adjusted prices, ``C`` can be derived from
# them: with ``F`` the product of the factors of all later dividends, the adjusted close of that day
# is ``A = F (C - D)``. Hence ``C = A / F + D``, computed from the latest dividend backwards, and
# once all ``C`` are known every price can be converted to ``split`` and ``raw``.
#
# That is exact except for the vendor's rounding. Let ``r`` be the largest relative change of an
# adjusted close by rounding (half a cent in 50 dollars: 1e-4). A factor computed this way is off by
# at most ``r (1 - F)``, because every close adds only the ``D / C`` of its own error and the later
# errors shrink by the rest. Hence a price is off by at most ``r (2 - F)``, to first order. That is
# less than twice the vendor's own rounding error, no matter how many dividends follow.


class LastSession(NamedTuple):
    """The last session before an ex-date, with the daily bars up to it and their bases.

    ``doubt`` is the reason why that session's bar is in doubt; empty if it is not. ``is_due`` is True
    if that bar should be fetched again.
    """

    table: BarTable
    parts: Sequence[BasisPart]
    doubt: str = ""
    is_due: bool = False


@dataclass
class ClosesBefore:
    """Split-adjusted close prices before ex-dates, for use as ``close_before`` in :func:`.adjust.rebase`.

    Each close is computed only once, so an object can be used for only one conversion. Not
    thread-safe.

    Attributes:
        actions: Actions that count.
        as_of: Date up to which splits are applied to the closes.
        last_session: Function that reads the bars before an ex-date, or returns None if they are
            unknown. Its exceptions propagate.
        own: See :func:`.adjust.rebase`.
        closes: Closes computed so far, by ex-date.
        doubts: Maps each ex-date whose close is in doubt to the reason.
    """

    actions: Sequence[Action]
    as_of: date
    last_session: Callable[[date], LastSession | None]
    own: OwnActions | None = None
    closes: dict[date, float | None] = field(default_factory=dict, init=False)
    doubts: dict[date, str] = field(default_factory=dict, init=False)

    def __call__(self, ex_date: date) -> float | None:
        """Return the close of the session before ``ex_date``, or None if the close is not known.

        Raises:
            KindMismatchError: The bar cannot be converted to split-adjusted prices.
        """
        if ex_date not in self.closes:
            self.closes[ex_date] = self._close(ex_date)
        return self.closes[ex_date]

    def _close(self, ex_date: date) -> float | None:
        session = self.last_session(ex_date)
        if session is None:
            return None
        if session.doubt:
            self.doubts[ex_date] = session.doubt
        last = session.table.take(slice(len(session.table) - 1, None))
        # Convert without ``adj_close``, which would require the very close that is being computed.
        row = last.with_adj_close(None)
        part = _part_of(row, session.parts)
        actions = current(self.actions if self.own is None else self.own(part.vendor))
        paid = [a for a in actions if a.type == "dividend" and a.ex_date == ex_date]
        if not any(a.is_in(part.basis.adjustment, part.basis.as_of) for a in paid):
            return self._split_adjusted(row, part, actions)
        # Each close needs the later ones; as the latest is computed first, the recursion is short.
        without = self._split_adjusted(row, part, [a for a in actions if a not in paid])
        splits = [a for a in actions if a.type == "split" and a.is_sound]
        return without + sum(float(amount_on(a, splits, self.as_of)) for a in paid)

    def _split_adjusted(self, row: BarTable, part: BasisPart, actions: Sequence[Action]) -> float:
        done = rebase(
            row, [part], actions, "split", as_of=self.as_of, intraday=False, close_before=self
        )
        return float(done.close[-1])


def _part_of(row: BarTable, parts: Sequence[BasisPart]) -> BasisPart:
    """Return the last of the ``parts`` (spans with one adjustment) that contain the table's last row.

    If no part contains the row, the result has an unknown basis.
    """
    stamp = int(row.stamps[-1])
    unknown = BasisPart(Span(stamp, stamp + 1), _UNKNOWN)
    return next((part for part in reversed(parts) if stamp in part.span), unknown)
