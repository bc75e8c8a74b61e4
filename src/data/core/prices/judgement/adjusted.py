"""Compares prices with the vendor's own adjusted close, which proves splits that no one reported.

Where a share was split, ``adj_close / close`` changes by exactly the ratio of the split, and the
price jumps by about as much in the other direction. After the reported splits have been applied to
the prices, neither is left. If both are left, the split was not reported, or with another ratio.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ...model.display.texts import counted
from ...model.market.bars import Floats, Stamps
from ...model.time.instant import iso
from .levels import Defect, price_text, split_finding
from .series import CheckedSeries, Rows, by_section, local_noise

# A step is that of a split if it agrees to this with a usual ratio. Half the price and more is not
# paid as a dividend, so such a step may have any ratio.
_EXACT, _HALF = 1e-3, float(np.log(2)) - 1e-3
_RATIOS = np.log([11 / 10, 6 / 5, 5 / 4, 4 / 3, 7 / 5, 3 / 2, 8 / 5, 5 / 3, 7 / 4])
# With the most usual ratios, an unreported dividend of the same day is allowed for, up to this yield.
_COMMON, _YIELD = np.log([5 / 4, 4 / 3, 3 / 2]), 0.01
# Minimum step (a logarithm) of a split, and of the error in the ratio of a reported one. The step
# must exceed the usual moves of these days by the last number to differ from a move.
_LEAST_STEP, _LEAST_ERROR, _MOVES = float(np.log(1.09)), float(np.log(1.02)), 3.0
# Steps of the rows nearby show how coarsely adj_close is rounded. A step must exceed this share of
# them, times the factor, and also twice the largest error of rounded prices. With errors above the
# last number, too many ratios are possible.
_NEAR, _SHARE, _NOISE, _CLEAR, _MOST_SLACK = 20, 0.9, 3.0, 2.0, 3e-3
# A dividend of at least this part of the step, in this number of rows on either side, explains it:
# vendors date it differently, or report it in another currency or after tax.
_PART, _DATE_ROWS = 0.5, 10
# Prices that differ by less are equal.
_SAME = 1e-6
# An adj_close farther above its close than this is not one, as dividends only reduce it.
_MOST_ABOVE = 20.0


class _Step(NamedTuple):
    """A step of ``adj_close / close`` that reported actions do not explain.

    Attributes:
        row: Index of the first row after it.
        size: Its logarithm: positive for a split, negative for a reverse split.
    """

    row: int
    size: float


@by_section
def adjusted_close_errors(series: CheckedSeries) -> list[Defect] | str:
    """Find splits that prices and ``adj_close`` prove, but that are not or otherwise reported.

    The result is a string with the reason if the series cannot be checked.
    """
    if series.asset_class != "stock":
        return "it has no splits"
    adj = series.table.adj_close
    if adj is None or len(np.unique(adj[np.isfinite(adj)])) < 2:
        return "it has no adjusted close, or a constant one"
    if series.splits is None:
        return "its splits are not stored: `onetape actions SYMBOL` fetches them"
    share = np.log(adj / series.table.close)
    is_above = share > np.log(_MOST_ABOVE)
    steps = list(_split_steps(series, share))
    defects = list(_split_defects(series, steps))
    if is_above.any() and not any(step.size < 0 for step in steps):
        defects.append(_above_defect(series.table.stamps[is_above], np.exp(share[is_above])))
    return defects


def _split_steps(series: CheckedSeries, share: Floats) -> Iterator[_Step]:
    """Yield the steps that a split explains and no reported action does, oldest first."""
    stated = np.flatnonzero(np.isfinite(share))
    steps = np.diff(share[stated])
    reported = set(series.rows_of(series.splits or ()).tolist())
    paid = _paid(series)
    for at in np.flatnonzero(np.abs(steps) >= _LEAST_ERROR).tolist():
        first, last = int(stated[at]) + 1, int(stated[at + 1])
        row = first + int(np.argmax(np.abs(series.gaps[first - 1 : last])))
        before = [paid.get(other, 0.0) for other in range(first, last + 1) if other != row]
        left = float(np.exp(-steps[at]) / np.prod(1 - np.array(before)))
        size = -float(np.log(left + paid.get(row, 0.0)))
        jump = min(series.gaps[row - 1], series.moves[row - 1], key=lambda jump: abs(jump + size))
        if not abs(jump + size) < abs(jump):  # as for a step that is not a number
            continue
        others = np.delete(steps[max(0, at - _NEAR) : at + 1 + _NEAR], min(at, _NEAR))
        rounding = _NOISE * float(np.quantile(np.abs(others), _SHARE)) if len(others) else 0.0
        error = _rounding_error(series, stated, at)
        if abs(size) <= max(rounding, _CLEAR * error):
            continue
        usual = _MOVES * local_noise(series.move_ratios, row - 1)
        is_reported = any(near in reported for near in range(first, last + 1))
        slack = max(_EXACT, min(max(rounding, error), _MOST_SLACK))
        is_ratio = size < 0 or size >= _HALF - error or _is_usual(size, slack)
        is_split = is_ratio and abs(size) >= max(_LEAST_STEP, usual)
        cash = 1 - float(np.exp(-steps[at]))
        is_split &= size < 0 or not _is_paid(paid, range(first, last + 1), cash)
        if is_split or (is_reported and abs(size) >= _LEAST_ERROR):
            yield _Step(row, size)


def _is_paid(paid: Mapping[int, float], rows: range, cash: float) -> bool:
    """Return whether a dividend explains a step of ``cash``, a share of the close, in these rows."""
    near = range(rows.start - _DATE_ROWS, rows.stop + _DATE_ROWS)
    return max(paid.get(row, 0.0) for row in near) >= _PART * cash


def _rounding_error(series: CheckedSeries, stated: Rows, at: int) -> float:
    """Return the largest error of a step that is due to rounded prices: half of their usual distance.

    On either side of the step, that is the least distance between different prices. An adjusted
    close that never changes while prices do is off by as much as they change.
    """
    close, adj = series.table.close, series.table.adj_close
    assert adj is not None
    sides = stated[max(0, at - _NEAR) : at + 1], stated[at + 1 : at + 2 + _NEAR]
    error = 0.0
    for column in (close, adj):
        both = _distance(column[np.concatenate(sides)])
        for side in sides:
            edge = float(column[stated[at]] if side is sides[0] else column[stated[at + 1]])
            error += (_distance(column[side]) or both) / 2 / edge
            error += 0.0 if both else float(np.ptp(np.log(close[side])))
    return error


def _distance(prices: Floats) -> float:
    """Return the least distance between different prices; 0 if all are equal."""
    distances = np.diff(np.unique(prices))
    distances = distances[distances > _SAME * prices.max()]
    return float(distances.min()) if len(distances) else 0.0


def _paid(series: CheckedSeries) -> dict[int, float]:
    """Return for each row with dividends their sum, as a share of the close before."""
    dividends, close = series.dividends or (), series.table.close
    paid: dict[int, float] = {}
    for row, event in zip(series.rows_of(dividends).tolist(), dividends, strict=True):
        if 0 < row < len(close):
            paid[row] = paid.get(row, 0.0) + event.value / float(close[row - 1])
    return paid


def _is_usual(size: float, slack: float) -> bool:
    """Return whether a step is the ratio of a usual split, or of that and an ordinary dividend."""
    above = size - _COMMON
    is_ratio = np.abs(_RATIOS - size).min() <= slack
    return bool(is_ratio or ((above >= 0) & (above <= _YIELD)).any())


def _split_defects(series: CheckedSeries, steps: Sequence[_Step]) -> Iterator[Defect]:
    """Yield the runs of rows whose prices are off by these steps, compared with the last rows."""
    table, level = series.table, sum(step.size for step in steps)
    for first, step in pairwise([_Step(0, 0.0), *steps]):
        level -= first.size
        if abs(level) < _LEAST_ERROR:
            continue  # a step back to the level of the last rows
        row, size = step.row, abs(step.size)
        terms = f"{np.exp(size):.6g}:1" if step.size > 0 else f"1:{np.exp(size):.6g}"
        text = (
            f"close {price_text(table.close[row - 1])}, then {price_text(table.close[row])} on "
            f"{iso(int(table.stamps[row]))[:10]}, and adj_close follows a split of {terms} there, "
            "which the reported splits do not contain"
        )
        run = first.row, row, float(np.sign(level))
        repairs = split_finding(series, run, abs(level)).repairs
        at, wrong = table.stamps[row - 1 : row + 1], table.stamps[first.row : row]
        yield Defect(at, text, "error", repairs, "split by adj_close", wrong)


def _above_defect(stamps: Stamps, times: Floats) -> Defect:
    text = (
        f"adj_close is up to {times.max():.6g} times its close in {counted(len(stamps), 'row')}, and "
        "no reported split explains that"
    )
    return Defect(stamps, text, cause="adj_close above close")
