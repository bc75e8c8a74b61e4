"""Finds the probable causes of differences between two tables of bars that should be equal.

Pure; the caller first converts both to the same basis. A difference is named after its most
probable cause, because that determines the remedy. A difference without a known cause is a
*conflict*.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from ..model.market.actions import Action, current
from ..model.market.bars import NAN, PRICES, Bar, BarTable, Floats, Stamps, among, inside
from ..model.time.instant import date_of, day_ms, iso
from ..model.time.span import Span
from .disputes import events_of
from .splice import Tolerance, compare_closes

# Maximum change of prices that counts as a correction, and the number of bars that counts as "a
# few".
_LITTLE, _FEW_ROWS, _FEW_SHARE = 0.02, 5, 0.05
# Maximum difference between the ratios of a bar's four prices that still counts as one factor.
# Rounding to two decimals moves the prices of a penny share by this much.
_EVEN = 5e-3
# Maximum distance of a ratio from that of a split or a dividend.
_NEAR_SPLIT, _NEAR_DIVIDEND = 5e-3, 1e-3
# Minimum size of an unreported split, and minimum number of bars with its ratio.
_LEAST_SPLIT, _LEAST_RUN = 0.1, 5
# Largest terms of a split; the second applies to splits that are not n:1, such as 3:2 and 5:4.
_LARGEST_TERM, _LARGEST_OF_TWO = 50, 5
_HUNDRED = 100.0
_ADJUSTED = 1e-4

Mask = NDArray[np.bool_]


# Possible causes of a difference, the most serious first.
Cause = Literal[
    "conflict",
    "unit x100",
    "split",
    "dividend adjustment",
    "actions",
    "adjusted close",
    "revision",
    "small difference",
    "missing here",
    "missing there",
    "stale",
]
CAUSES: tuple[Cause, ...] = get_args(Cause)
# Causes which mean that one of the two sides is wrong.
GRAVE: tuple[Cause, ...] = ("conflict", "unit x100", "split")


@dataclass(frozen=True, eq=False)
class Difference:
    """Differing bars that probably have the same cause.

    Attributes:
        cause: ``revision``: a few bars were corrected slightly. ``unit x100``: pounds and pence.
            ``split``, ``dividend adjustment``: only one side is adjusted for it. ``actions``: the
            sides report different splits or dividends. ``adjusted close``: only that column
            differs. ``small difference``: two sources for one market agree overall, but count
            different trades at the edges of bars. ``stale``: the first side has not settled, or is
            behind. ``missing here``, ``missing there``: the first or the second side lacks these
            bars. ``conflict``: anything else.
        stamps: Timestamps of the bars, ascending; for ``actions``, ex-dates of the splits and
            dividends.
        ours, theirs: First of these bars on each side; None if a side lacks the bar.
        said: Description of the difference; may be empty.
    """

    cause: Cause
    stamps: Stamps
    ours: Bar | None
    theirs: Bar | None
    said: str = ""

    @property
    def rows(self) -> int:
        """The number of bars; for ``actions``, the number of splits and dividends."""
        return len(self.stamps)

    @property
    def first_ms(self) -> int:
        """The first timestamp."""
        return int(self.stamps[0])

    @property
    def last_ms(self) -> int:
        """The last timestamp."""
        return int(self.stamps[-1])

    def to_json(self) -> dict[str, Any]:
        """Return the difference as a JSON-compatible dictionary."""
        bars = {"ours": _values(self.ours), "theirs": _values(self.theirs), "said": self.said}
        ends = {"first": iso(self.first_ms), "last": iso(self.last_ms)}
        return {"cause": self.cause, "rows": self.rows} | bars | ends


class RowComparison(NamedTuple):
    """Result of a comparison.

    Attributes:
        rows: Number of timestamps at which at least one side has a bar.
        equal: Number of timestamps at which both sides have the same bar.
        differences: Differences in the order of ``CAUSES``, then by time.
    """

    rows: int
    equal: int
    differences: tuple[Difference, ...]

    def with_actions(self, difference: Difference | None) -> RowComparison:
        """Return the result with a difference in splits and dividends added, unless it is None.

        The difference is not added if bars differ by a split, because dividend amounts then refer
        to different shares.
        """
        if difference is None or any(other.cause == "split" for other in self.differences):
            return self
        ranked = sorted((*self.differences, difference), key=lambda d: CAUSES.index(d.cause))
        return self._replace(differences=tuple(ranked))


@dataclass(frozen=True)
class ComparisonTerms:
    """Terms on which two tables are compared.

    Attributes:
        tolerance: Relative difference up to which values count as equal; 0 for none.
        volume: Whether both sides count the same trades, so that volumes can be compared.
        unsettled: Spans of the first table that are known to be provisional or doubtful.
        actions: Splits and dividends that either side knows.
        adj_close: Whether the adjusted close prices of both tables refer to the same date.
        agreement: Maximum difference between close prices from two sources for one market. None
            means that both tables are from one source, so only a few bars may differ slightly.
    """

    tolerance: float = 0.0
    volume: bool = True
    unsettled: Sequence[Span] = ()
    actions: Sequence[Action] = ()
    adj_close: bool = False
    agreement: Tolerance | None = None


def compare(
    ours: BarTable, theirs: BarTable, terms: ComparisonTerms = ComparisonTerms()
) -> RowComparison:
    """Compare two ascending tables over the same span and name the differences.

    Args:
        ours: Stored bars, or the first of two vendors' bars.
        theirs: Bars to compare with, in the same basis.
        terms: Terms of the comparison.
    """
    common, our_rows, their_rows = np.intersect1d(
        ours.stamps, theirs.stamps, assume_unique=True, return_indices=True
    )
    left, right = ours.take(our_rows), theirs.take(their_rows)
    causes = np.full(len(common), "", dtype=object)
    differs = ~_equal_bars(left, right, terms)
    _assign_causes(causes, differs, left, right, terms)
    readjusted = ~differs & _readjusted_bars(left, right, terms)
    causes[readjusted] = "adjusted close"
    differs |= readjusted
    differences = [*_by_cause(causes, left, right, terms), *_unpaired(ours, theirs, common, terms)]
    ranked = sorted(differences, key=lambda d: (CAUSES.index(d.cause), d.first_ms))
    rows = len(ours) + len(theirs) - len(common)
    return RowComparison(rows, int(len(common) - differs.sum()), tuple(ranked))


# --- equality --------------------------------------------------------------------------------


def _equal_bars(left: BarTable, right: BarTable, terms: ComparisonTerms) -> Mask:
    """Return a mask of the common bars on which both sides agree."""
    same = np.ones(len(left), dtype=bool)
    for name in PRICES:
        same &= _close(getattr(left, name), getattr(right, name), terms.tolerance)
    if terms.volume:
        # A split also divides volumes, and vendors round these to whole shares.
        whole = 1.0 if terms.tolerance else 0.0
        same &= _close(left.volume, right.volume, terms.tolerance, whole)
    return same


def _readjusted_bars(left: BarTable, right: BarTable, terms: ComparisonTerms) -> Mask:
    """Return a mask of the common bars whose adjusted close prices differ."""
    if not terms.adj_close or left.adj_close is None or right.adj_close is None:
        return np.zeros(len(left), dtype=bool)
    has_both = ~np.isnan(left.adj_close) & ~np.isnan(right.adj_close)
    # The sides may round the amounts and closes that they adjust with differently.
    return has_both & ~_close(left.adj_close, right.adj_close, max(terms.tolerance, _ADJUSTED))


def differing_actions(
    ours: Sequence[Action], theirs: Sequence[Action], names: tuple[str, str], span: Span
) -> Difference | None:
    """Find the splits and dividends in ``span`` on which two sides disagree; None if they agree.

    Args:
        ours, theirs: All reports from each side for ``span`` and the surrounding days.
        names: Names of the sides, used in the description.
        span: Span of session dates, as timestamps.
    """
    sides = zip(names, (ours, theirs), strict=True)
    reports = [replace(a, source=name) for name, actions in sides for a in current(actions)]
    odd: list[tuple[int, str]] = []
    for event in events_of(reports, lambda _: ()):
        ex_ms = day_ms(event.action().ex_date)
        by_side = {action.source: str(action) for action in event.reports}
        if ex_ms in span and (len(by_side) < len(names) or event.is_disputed):
            none = f"no {event.type}"
            odd.append((ex_ms, ", ".join(f"{name}: {by_side.get(name, none)}" for name in names)))
    if not odd:
        return None
    more = f", and {len(odd) - 1} more" if len(odd) > 1 else ""
    text = odd[0][1] + more
    return Difference("actions", np.array([at for at, _ in odd], np.int64), None, None, text)


def _close(ours: Floats, other: Floats, tolerance: float, slack: float = 0.0) -> Mask:
    equal: Mask = np.isclose(ours, other, rtol=tolerance, atol=slack, equal_nan=True)
    return equal


# --- causes ----------------------------------------------------------------------------------


def _assign_causes(
    causes: NDArray[np.object_],
    differs: Mask,
    left: BarTable,
    right: BarTable,
    terms: ComparisonTerms,
) -> None:
    """Write the cause of each differing bar to ``causes``; more specific causes are tried first."""
    ratio, even = _ratios(left, right)
    moved = np.abs(ratio - 1) > max(terms.tolerance, _NEAR_DIVIDEND / 10)
    open_ = differs.copy()

    def settle(rows: Mask, cause: Cause) -> None:
        """Assign a cause to those ``rows`` that do not have one yet."""
        causes[rows & open_] = cause
        open_[rows] = False

    settle(inside(left.stamps, terms.unsettled), "stale")
    settle(even & (_is_near(ratio, _HUNDRED) | _is_near(ratio, 1 / _HUNDRED)), "unit x100")
    settle(_split_like(left.stamps, ratio, even & moved & open_, terms), "split")
    settle(even & moved & _dividend_like(left, ratio, terms), "dividend adjustment")
    little = _change(left, right) <= _LITTLE
    few = open_.sum() <= max(_FEW_ROWS, _FEW_SHARE * len(left))
    settle(little if few else np.zeros(len(left), dtype=bool), "revision")
    settle(little if _agree(left, right, terms) else np.zeros_like(little), "small difference")
    settle(np.ones(len(left), dtype=bool), "conflict")


def _agree(left: BarTable, right: BarTable, terms: ComparisonTerms) -> bool:
    """Return whether two sources for one market agree overall; only then may they be joined."""
    if terms.agreement is None:
        return False
    return compare_closes(left, right, None, terms.agreement).outcome == "equal"


def _ratios(left: BarTable, right: BarTable) -> tuple[Floats, Mask]:
    """Return each bar's ratio of ``right`` to ``left``, and whether its four prices share that ratio."""
    if not len(left):
        return np.empty(0), np.empty(0, dtype=bool)
    with np.errstate(divide="ignore", invalid="ignore"):
        four = np.array([getattr(right, n) / getattr(left, n) for n in PRICES], np.float64)
        ratio = np.median(four, axis=0)
        even = (np.abs(four / ratio - 1) <= _EVEN).all(axis=0)
    return ratio, even & np.isfinite(ratio) & (ratio > 0)


def _change(left: BarTable, right: BarTable) -> Floats:
    """Return the largest relative difference among the four prices of each bar."""
    if not len(left):
        return np.empty(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        four = np.array(
            [np.abs(getattr(right, n) / getattr(left, n) - 1) for n in PRICES], np.float64
        )
    return np.where(np.isnan(four).any(axis=0), np.inf, four.max(axis=0))


def _is_near(ratio: Floats, factor: float | Floats, tolerance: float = _NEAR_SPLIT) -> Mask:
    near: Mask = np.abs(ratio / factor - 1) <= tolerance
    return near


def _split_like(stamps: Stamps, ratio: Floats, rows: Mask, terms: ComparisonTerms) -> Mask:
    """Return a mask of bars before a split that differ by its constant ratio."""
    split_rows = np.zeros(len(stamps), dtype=bool)
    for run in _runs(ratio, rows):
        factor = float(np.median(ratio[run]))
        split = _split_after(int(stamps[run.stop - 1]), factor, terms.actions)
        implied = float(_ratio_of(factor, split) or 1)
        is_long = run.stop - run.start >= _LEAST_RUN and abs(implied - 1) >= _LEAST_SPLIT
        if is_long or (split and abs(implied - 1) > 2 * _NEAR_SPLIT):
            split_rows[run] = _is_near(ratio[run], implied)
    return split_rows


def _runs(ratio: Floats, rows: Mask) -> Iterator[slice]:
    """Yield runs of adjacent bars, among those in the mask ``rows``, that have the same ratio."""
    is_begin = np.ones(len(ratio), dtype=bool)
    is_begin[1:] = ~rows[1:] | ~rows[:-1] | ~(np.abs(ratio[1:] / ratio[:-1] - 1) <= 2 * _NEAR_SPLIT)
    begins = [*np.flatnonzero(is_begin).tolist(), len(ratio)]
    yield from (slice(a, b) for a, b in pairwise(begins) if rows[a])


def _ratio_of(factor: float, split: Action | None) -> Fraction | None:
    """Return the split ratio, of a known split or a common one, that explains ``factor``, or None."""
    if split is not None:
        return split.ratio if abs(factor / split.ratio - 1) <= _NEAR_SPLIT else 1 / split.ratio
    small = Fraction(min(factor, 1 / factor)).limit_denominator(_LARGEST_TERM)
    if small.numerator != 1 and small.denominator > _LARGEST_OF_TWO:
        return None
    small = small if factor < 1 or not small else 1 / small
    return small if small and abs(factor / small - 1) <= _NEAR_SPLIT else None


def _split_after(last_ms: int, factor: float, actions: Sequence[Action]) -> Action | None:
    """Return the first known split after ``last_ms`` whose ratio is ``factor``, or None.

    Such a factor means that only one side applied the split.
    """
    for action in sorted(a for a in actions if a.type == "split" and a.ratio > 0):
        is_later = max(day_ms(action.ex_date), action.ex_at) > last_ms
        fits = any(abs(factor / x - 1) <= _NEAR_SPLIT for x in (action.ratio, 1 / action.ratio))
        if is_later and fits:
            return action
    return None


def _dividend_like(left: BarTable, ratio: Floats, terms: ComparisonTerms) -> Mask:
    """Return a mask of bars that differ as if only one side were adjusted for dividends."""
    factor = np.ones(len(left))
    for action in (a for a in terms.actions if a.type == "dividend"):
        later = int(np.searchsorted(left.stamps, day_ms(action.ex_date)))
        before = left.close[later - 1] if later else NAN
        if before > action.amount > 0:
            factor[:later] *= 1 - action.amount / before
    either = _is_near(ratio, factor, _NEAR_DIVIDEND) | _is_near(ratio, 1 / factor, _NEAR_DIVIDEND)
    return (factor < 1) & either


# --- results ---------------------------------------------------------------------------------


def _by_cause(
    causes: NDArray[np.object_], left: BarTable, right: BarTable, terms: ComparisonTerms
) -> Iterator[Difference]:
    """Yield one difference per cause or, for splits, one per run with the same ratio."""
    ratio, _ = _ratios(left, right)
    for cause in CAUSES:
        rows = causes == cause
        runs = [np.arange(run.start, run.stop, dtype=np.int64) for run in _runs(ratio, rows)]
        for at in runs if cause == "split" else [np.flatnonzero(rows)]:
            if len(at):
                text = _describe_cause(cause, left.stamps[at], ratio[at], terms)
                yield _difference(cause, left.take(at), right.take(at), text)


def _unpaired(
    ours: BarTable, theirs: BarTable, common: Stamps, terms: ComparisonTerms
) -> Iterator[Difference]:
    """Yield differences for the bars that only one side has."""
    here = theirs.take(~among(theirs.stamps, common))
    there = ours.take(~among(ours.stamps, common))
    for alone, cause in ((here, "missing here"), (there, "missing there")):
        late = inside(alone.stamps, terms.unsettled)
        for rows, name in ((late, "stale"), (~late, cause)):
            lone, empty = alone.take(rows), BarTable.empty()
            if len(lone):
                pair = (empty, lone) if alone is here else (lone, empty)
                yield _difference(name, *pair)  # type: ignore[arg-type]


def _difference(cause: Cause, ours: BarTable, theirs: BarTable, text: str = "") -> Difference:
    stamps = (ours if len(ours) else theirs).stamps
    return Difference(cause, stamps, _first_bar(ours), _first_bar(theirs), text)


def _first_bar(table: BarTable) -> Bar | None:
    if not len(table):
        return None
    return Bar(int(table.stamps[0]), *(float(column[0]) for column in table.values()))


def _describe_cause(cause: Cause, stamps: Stamps, ratio: Floats, terms: ComparisonTerms) -> str:
    if cause == "unit x100":
        return f"theirs is {'100 times' if ratio[0] > 1 else 'a hundredth of'} ours"
    if cause == "dividend adjustment":
        return f"theirs is {ratio[0]:.4f} of ours at the first of them"
    if cause != "split":
        return ""
    factor, last = float(np.median(ratio)), int(stamps[-1])
    split = _split_after(last, factor, terms.actions)
    origin = f"the {split}" if split else f"a split after {date_of(last)} that no vendor reported"
    return f"theirs is {_ratio_of(factor, split)} of ours, as by {origin}"


def _values(bar: Bar | None) -> dict[str, float] | None:
    """Return a bar's values by column name, leaving out the timestamp and NaNs; None for None."""
    if bar is None:
        return None
    return {n: v for n, v in bar._asdict().items() if n != "stamp_ms" and v == v}
