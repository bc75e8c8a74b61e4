"""Decides whether bars from two vendors can be joined, and which adjustment one of them lacks.

Closes of common bars are compared, with both sides in the same basis. If they are *equal*, the bars
may be joined into one series. A *constant* factor means a split or dividend that one side lacks or
has applied twice. The factor is corrected exactly if the stored bars on both sides of the new ones
prove it; if bars are stored on only one side, they may just as well be the wrong ones. Anything
else is a *conflict*, in which one of the two must be wrong. With fewer than ``COMMON`` common bars,
nothing is concluded, unless three or four of them are far apart, which does not happen by accident.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from fractions import Fraction
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np

from ..model.identity.kind import Adjustment
from ..model.market.actions import Action, amount_on
from ..model.market.bars import BarTable, Floats
from ..model.time.instant import day_ms
from .adjustment import scaled

Outcome = Literal["equal", "constant", "unchecked", "conflict"]

# Minimum number of common bars, and the number requested. More are requested because, between two
# sources of one share's daily closes (AAPL 2004-2018, SPY 2008-2017, where the auction's price and
# the last trade differ by some bp), 90 and 79 percent of all windows of five bars are equal, 93 and
# 84 of eight, 98 and 89 of twenty.
COMMON, COMPARED = 5, 20
_WIDE_COMMON = 3


class Tolerance(NamedTuple):
    """Tolerance within which closes count as equal.

    The tolerance limits both the distance of the median ratio of closes from 1 and the spread of
    these ratios. The spread is the median of the absolute deviations, so it is not affected by
    outliers in fewer than half of the bars, such as single bars off by 100 or 10,000 (London's
    pence, or splits applied to one row).
    """

    median: float
    spread: float


# Two files of EURUSD hourly bars, or of one venue's daily bars, differ by less than 0.5 and 1.5 bp.
# Two venues for one coin (BTCUSDT and BTCUSD 2019) are never confused: none of 20 bars is equal.
ONE_MARKET = Tolerance(2e-4, 5e-4)
# Tolerance for averages over venues, which vendors compute at different times over different
# venues.
AGGREGATES = Tolerance(25e-4, 25e-4)

# A factor that is further from 1 than the first number, with a spread below the second, is real and
# not noise: with a 7:1 and a 2:1 split left out of AAPL, the spread is below 8 bp in 99 of 100
# windows. There is no explanation for values between that and equality. A factor matches a known
# one within the third number. The dividends that matter here are larger than the first number.
_CONSTANT, _STEADY, _RATIO_SLACK = 50e-4, 10e-4, 10e-4

_UNIT = 100
_USUAL_SPLITS = [Fraction(n) for n in (2, 3, 4, 5, 7, 10, 20, 50)] + [
    Fraction(3, 2),
    Fraction(4, 3),
    Fraction(5, 4),
]
_EVER = 2**62


class SpliceStep(NamedTuple):
    """A factor for the prices of bars before ``before_ms``; for a split, volume is divided by it."""

    before_ms: int
    factor: Fraction
    is_split: bool = True


@dataclass(frozen=True)
class Fix:
    """A correction for a missed adjustment.

    Attributes:
        steps: Changes to apply, each to the bars before its timestamp.
        because: Description of the missed adjustment.
    """

    steps: tuple[SpliceStep, ...]
    because: str

    def applied(self, table: BarTable) -> BarTable:
        """Return bars with prices and volume corrected, each value rounded once.

        ``adj_close`` becomes NaN, because it may or may not include the adjustment.
        """
        positions = [int(np.searchsorted(table.stamps, step.before_ms)) for step in self.steps]
        prices: list[tuple[slice, Fraction | None]] = []
        volumes: list[tuple[slice, Fraction | None]] = []
        for first, end in pairwise(sorted({0, *positions})):
            here = [s for s, position in zip(self.steps, positions, strict=True) if position >= end]
            prices.append((slice(first, end), _product(s.factor for s in here)))
            splits = _product(s.factor for s in here if s.is_split)
            volumes.append((slice(first, end), 1 / splits))
        columns = [scaled(column, prices) for column in table.values()[:4]]
        adj = table.adj_close
        if adj is not None:
            adj = scaled(adj, [(rows, None) for rows, factor in prices if factor != 1])
        return BarTable.of_columns(table.stamps, [*columns, scaled(table.volume, volumes)], adj)


@dataclass(frozen=True)
class Verdict:
    """Result of comparing closes.

    Attributes:
        outcome: ``equal``, ``constant``, ``unchecked`` or ``conflict``.
        ratio: Median ratio of new to stored close prices; NaN if the tables have no timestamp in
            common.
        spread: Median absolute deviation from ``ratio``, relative to ``ratio``.
        common: Number of bars compared.
        summary: Human-readable description of the result.
        fix: Correction that would explain a constant factor; may be None.
    """

    outcome: Outcome
    ratio: float
    spread: float
    common: int
    summary: str
    fix: Fix | None = field(default=None, compare=False)


class Overlap(NamedTuple):
    """The stored bars on one side of a span of new bars, and the new vendor's bars for the same time.

    ``is_later``: Whether the stored bars are after the new span, rather than before it.
    """

    stored: BarTable
    fetched: BarTable
    is_later: bool


def settle(
    overlaps: Sequence[Overlap], fixes: Sequence[Fix] | None, tolerance: Tolerance = ONE_MARKET
) -> tuple[list[Verdict], Fix | None]:
    """Compare the new bars in a span with the stored bars on both sides of it.

    A correction is made only if both sides prove it. Otherwise, if there are stored bars on only
    one side, or the new bars match on only one side, the new bars may be right and the stored ones
    wrong.

    Args:
        overlaps: Sides of the span; both tables of a side have the same basis.
        fixes: Known adjustments that either side may have missed; None if no correction is allowed.
        tolerance: Tolerance for close prices in the market in question.

    Returns:
        A verdict for each side, and the correction to apply, which is None if one side conflicts.
    """
    first = [compare_closes(m.stored, m.fetched, fixes, tolerance) for m in overlaps]
    proposed = [v.fix for v in first if v.fix is not None]
    if "conflict" in (v.outcome for v in first) or not proposed:
        return first, None
    if len({m.is_later for m in overlaps}) == 2:
        for fix in proposed:
            if all(_proves(overlap, fix, tolerance) for overlap in overlaps):
                return first, fix
    return [_to_conflict(v) if v.fix else v for v in first], None


def _proves(overlap: Overlap, fix: Fix, tolerance: Tolerance) -> bool:
    """Return whether one side's stored bars prove that the new bars need the correction ``fix``.

    The proof requires that the bars are equal with the correction, that some match better than
    without it and none match worse, and that the stored bars contain no jump, which they would if
    they lacked the split themselves.
    """
    stored, fixed = overlap.stored, fix.applied(overlap.fetched)
    if compare_closes(stored, fixed, None, tolerance).outcome != "equal":
        return False
    before, after = (
        np.abs(np.log(_ratios(stored, fetched))) for fetched in (overlap.fetched, fixed)
    )
    is_better = int(np.count_nonzero(after < before)) >= COMMON
    return (
        is_better and not (after > before).any() and not any(_jumps(stored, s) for s in fix.steps)
    )


def _jumps(stored: BarTable, step: SpliceStep) -> bool:
    """Return whether the close jumps on the split date by about the split's ratio, up or down.

    A jump is a change of the close's logarithm by more than half the logarithm of the ratio.
    """
    row = int(np.searchsorted(stored.stamps, step.before_ms))
    if not step.is_split or not 0 < row < len(stored):
        return False
    jump = float(stored.close[row] / stored.close[row - 1])
    return abs(math.log(jump)) > abs(math.log(step.factor)) / 2


def compare_closes(
    stored: BarTable,
    fetched: BarTable,
    fixes: Sequence[Fix] | None = (),
    tolerance: Tolerance = ONE_MARKET,
) -> Verdict:
    """Compare the close prices at the timestamps that two ascending tables have in common.

    Args:
        stored: Stored bars, which are not changed.
        fetched: Another vendor's bars, in the same basis.
        fixes: Known adjustments that one of the tables may lack; None if any constant factor is a
            conflict.
        tolerance: Tolerance for close prices in the market in question.
    """
    ratios = _ratios(stored, fetched)
    common = len(ratios)
    if not common:
        return Verdict("unchecked", float("nan"), 0.0, 0, "no common bar")
    ratio = float(np.median(ratios))
    spread = float(np.median(np.abs(ratios / ratio - 1)))
    away = abs(ratio - 1)
    text = f"median ratio {ratio:.6g}, spread {spread * 1e4:.1f} bp over {common} common bars"
    verdict = Verdict("conflict", ratio, spread, common, text)
    if common < COMMON and (common < _WIDE_COMMON or away <= _CONSTANT):
        text = f"only {common} common bar{'s' if common > 1 else ''}, median ratio {ratio:.6g}"
        return replace(verdict, outcome="unchecked", summary=text)
    if common >= COMMON and away <= tolerance.median and spread <= tolerance.spread:
        return replace(verdict, outcome="equal")
    if common < COMMON or away <= max(_CONSTANT, tolerance.median) or spread > _STEADY:
        return verdict
    return _explain_verdict(verdict, int(stored.stamps[0]), fixes)


def _ratios(stored: BarTable, fetched: BarTable) -> Floats:
    """Return the ratios of new to stored close prices at common timestamps with valid prices."""
    _, i, j = np.intersect1d(stored.stamps, fetched.stamps, return_indices=True)
    old, new = stored.close[i], fetched.close[j]
    usable = (old > 0) & (new > 0) & np.isfinite(old) & np.isfinite(new)
    return np.asarray(new[usable] / old[usable])


def _explain_verdict(verdict: Verdict, first_ms: int, fixes: Sequence[Fix] | None) -> Verdict:
    """Return the verdict, adding the cause of its constant factor and the correction, if found.

    ``first_ms`` is the timestamp of the first bar that was compared.
    """
    for fix in fixes or ():
        factor = _product(s.factor for s in fix.steps if s.before_ms > first_ms)
        if abs(verdict.ratio * float(factor) - 1) <= _RATIO_SLACK:
            text = f"{verdict.summary}: {fix.because}"
            return replace(verdict, outcome="constant", summary=text, fix=fix)
    for unit in (Fraction(_UNIT), Fraction(1, _UNIT)):
        if abs(verdict.ratio / float(unit) - 1) <= _RATIO_SLACK:
            return replace(verdict, summary=f"{verdict.summary}: looks like pence for pounds")
    for split in (*_USUAL_SPLITS, *(1 / s for s in _USUAL_SPLITS)) if fixes is not None else ():
        if abs(verdict.ratio / float(split) - 1) <= _RATIO_SLACK:
            because = f"a factor of {split}, as a split that one of the two does not know"
            fix = Fix((SpliceStep(_EVER, 1 / split),), because)
            return replace(
                verdict, outcome="constant", summary=f"{verdict.summary}: {because}", fix=fix
            )
    return verdict


def _to_conflict(verdict: Verdict) -> Verdict:
    text = f"{verdict.summary}; not corrected: the bars on both sides do not prove it"
    return replace(verdict, outcome="conflict", summary=text, fix=None)


# --- adjustments that may have been missed ------------------------------------------------


def known_fixes(
    actions: Iterable[Action],
    closes: BarTable,
    adjustment: Adjustment,
    as_of: date | None,
    *,
    intraday: bool,
) -> list[Fix]:
    """Return the corrections for known actions that vendors may have missed or applied twice.

    The result contains one correction for each action, and one for all splits together. A dividend
    is included only if ``closes`` contains the close before it.

    Args:
        actions: Actions that count, in any order.
        closes: Stored bars in the basis of the comparison.
        adjustment, as_of: Basis of the comparison.
        intraday: Whether the bars are intraday.
    """
    ascending = sorted(action for action in actions if action.is_sound)
    splits = [a for a in ascending if a.type == "split"]
    steps = {a: SpliceStep(_valid_from(a, intraday), 1 / a.ratio) for a in splits}
    shares_of = as_of if adjustment != "raw" else None
    paid = Fraction(1)
    for dividend in reversed([a for a in ascending if a.type == "dividend"]):
        before = closes.close[closes.stamps < _valid_from(dividend, intraday)]
        if not len(before) or not before[-1] > 0:
            continue
        amount, close = amount_on(dividend, splits, shares_of), Fraction(str(float(before[-1])))
        if adjustment == "all":  # these closes are reduced by this dividend and all later ones
            close = close / paid + amount
        factor = 1 - amount / close
        if factor > 0:
            steps[dividend] = SpliceStep(_valid_from(dividend, intraday), factor, is_split=False)
            paid *= factor
    alone = [f for a, s in steps.items() if abs(s.factor - 1) > _CONSTANT for f in _fixes_of(s, a)]
    return alone + list(_all_of([steps[a] for a in splits]))


def _fixes_of(step: SpliceStep, action: Action) -> Iterator[Fix]:
    yield Fix((step,), f"the {action} had been left out")
    yield Fix((step._replace(factor=1 / step.factor),), f"the {action} had been applied twice")


def _all_of(splits: Sequence[SpliceStep]) -> Iterator[Fix]:
    if len(splits) > 1:
        yield Fix(tuple(splits), f"all {len(splits)} splits had been left out")
        twice = tuple(step._replace(factor=1 / step.factor) for step in splits)
        yield Fix(twice, f"all {len(splits)} splits had been applied twice")


def _valid_from(action: Action, intraday: bool) -> int:
    return action.ex_at if intraday else day_ms(action.ex_date)


def _product(factors: Iterable[Fraction]) -> Fraction:
    product = Fraction(1)
    for factor in factors:
        product *= factor
    return product
