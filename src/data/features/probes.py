"""Changed bars that reveal a look-ahead, and the bars at which a feature reacts to them too early."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, pairwise, zip_longest
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats: TypeAlias = npt.NDArray[np.float64]

# Each round changes every n-th bar by a factor, once for each offset. Small changes keep a feature
# nearly linear, so the effect of earlier changes can be predicted; large ones reverse signals. A
# changed bar that leaves a window hides a look-ahead of one bar if the window plus one is a multiple
# of the step: 19 has the fewest such windows in use.
_SMALL, _RISES, _FALLS = ((19, 1.0001),), ((4, 1.3), (5, 1.4)), ((5, 0.75), (6, 0.7))
ROUNDS = (*_SMALL, *_RISES, *_FALLS)
_STEPS = tuple(step for step, _ in ROUNDS)
_EQUAL, _TINY = 1e-9, 1e-12
# Columns change by different powers of a factor, or a ratio of two columns would hide a look-ahead.
_POWERS = {"open": 1.1, "close": 1.0}
_OTHER_POWER = 1.5
# Number of bars before a bar from which the effect of earlier changes is predicted.
_LAGS = 2
# A reaction this many times larger than usual is suspicious.
_LEAST_SCORE = 3.0
_FITS = 6
_FEWEST_SETTLED = 5
_FLOOR = 1e-6
_NOTHING = 1e-300


def changed(bars: pd.DataFrame, factors: Floats) -> pd.DataFrame:
    """Return bars with the numbers in each row multiplied by its factor; rows of factor 1 stay equal.

    A bar's low stays its lowest price, and its high its highest, if the factor is positive.
    """
    frame = bars.copy()
    size = np.abs(factors)
    wide = np.where(size > 1, 1.3, 0.7)
    powers: dict[str, Any] = {**_POWERS, "high": wide, "low": 2 - wide}
    for name, column in bars.select_dtypes("number").items():
        old = column.to_numpy(np.float64, na_value=np.nan)
        change = np.sign(factors) * size ** powers.get(str(name).lower(), _OTHER_POWER)
        new = np.where(factors == 1, old, np.where(old == 0, 1.0, old) * change)
        is_whole = pd.api.types.is_integer_dtype(column.dtype) and not np.isnan(factors).any()
        values = pd.Series(np.round(new) if is_whole else new, bars.index)
        frame[name] = values.astype(column.dtype) if is_whole else values
    return frame


def factors_of(rows: int, factor: float) -> Floats:
    """Return a factor for each bar, near the given one and different for neighbours."""
    factors: Floats = factor ** (1 + 0.2 * np.sin(np.arange(rows, dtype=np.int64) * 2.4))
    return factors


def probes(bars: pd.DataFrame) -> Iterator[tuple[int, float, pd.DataFrame]]:
    """Yield the frames of all rounds, with the first changed bar and the factor of each."""
    for step, factor in ROUNDS:
        for first in range(step):
            factors = np.ones(len(bars))
            factors[first::step] = factors_of(len(bars), factor)[first::step]
            yield first, factor, changed(bars, factors)


def differs(one: Floats, other: Floats, tolerance: float = _EQUAL) -> npt.NDArray[np.bool_]:
    """Return where two arrays of columns and rows differ; NaN equals NaN."""
    if not one.size:
        return np.zeros(one.shape, dtype=bool)
    with np.errstate(all="ignore"):
        size = np.maximum(np.abs(one), np.abs(other))
        is_near = np.abs(one - other) <= tolerance * size + _TINY * _scale(one)
    both_missing = np.isnan(one) & np.isnan(other)
    is_equal: npt.NDArray[np.bool_] = is_near | (one == other) | both_missing
    return ~is_equal


def _scale(values: Floats) -> Floats:
    """Return each column's median magnitude, as a column."""
    sizes = np.where(np.isfinite(values), np.abs(values), np.nan)
    has_any = np.isfinite(sizes).any(axis=1, keepdims=True)
    return np.nanmedian(np.where(has_any, sizes, 1.0), axis=1, keepdims=True)


def deviations(base: Floats, values: Floats) -> Floats:
    """Return values minus the base; a number instead of NaN, or the reverse, counts as the scale."""
    with np.errstate(all="ignore"):
        difference = np.where(np.isfinite(base - values), values - base, _scale(base) + 1.0)
    return np.where(differs(base, values, 1e-12), difference, 0.0)


def suspects(calls: Floats, reach: int) -> list[tuple[int, float]]:
    """Return the bars at which a column may depend on a later bar, the most suspicious first.

    A changed bar affects later ones for as long as the feature remembers it. That effect can be
    predicted from the bars before, or occurs at the same distance for all bars. A look-ahead is a
    reaction for which neither is true, and which repeats in other rounds.

    Args:
        calls: Deviations of one column, shape (calls, bars), in the order of :func:`probes`.
        reach: Number of bars ahead to examine.

    Returns:
        Positions of bars, each with the factor of the round that showed it most clearly.
    """
    edges = np.cumsum((0, *_STEPS), dtype=np.int64)
    few = len(_SMALL)
    surprises = [*_surprises(calls[: edges[few]], _STEPS[:few])]
    surprises += _surprises(calls[edges[few] :], _STEPS[few:])
    rows = calls.shape[1]
    best = np.zeros((3, rows))
    ahead = np.ones((3, rows), dtype=np.int64)
    for horizon in range(1, min(reach, rows - 1) + 1):
        seen = np.array(
            [s[-horizon % step] for s, step in zip(surprises, _STEPS, strict=True)], np.float64
        )
        seen[:, rows - horizon :] = 0
        if horizon == 1:  # a signal may react to a rise or to a fall only
            best[0] = seen[0]
            best[1] = np.maximum(seen[1:3].min(axis=0), seen[3:].min(axis=0))
        else:
            score = np.sort(seen, axis=0)[2]
            ahead[2][score > best[2]] = horizon
            best[2] = np.maximum(score, best[2])
    lists = []
    for score, horizons in zip(best, ahead, strict=True):
        order = np.argsort(-score, kind="stable")
        found = []
        for row in order[score[order] > _LEAST_SCORE][:20].tolist():
            jumps = [s[-horizons[row] % t][row] for s, t in zip(surprises, _STEPS, strict=True)]
            found.append((row, ROUNDS[int(np.argmax(jumps))][1]))
        lists.append(found)
    return [s for s in chain.from_iterable(zip_longest(*lists)) if s is not None]


def _surprises(calls: Floats, steps: tuple[int, ...]) -> Iterator[Floats]:
    """Yield the surprise in each round by the number of bars since the last changed one.

    It is a multiple of the usual one: of that at the same bar in the other calls, and of that at the
    same distance from a changed bar.
    """
    rows = calls.shape[1]
    index = np.arange(rows, dtype=np.int64)
    ages = np.concatenate(
        [(index - np.arange(step, dtype=np.int64)[:, None]) % step for step in steps]
    )
    is_settled = ages > _LAGS
    errors = _errors(calls, is_settled)
    # Where a changed bar leaves a window, the next bars cannot be predicted either.
    for start, end in pairwise(np.cumsum((0, *steps), dtype=np.int64)):
        step = end - start
        near = [np.median(errors[start:end][ages[start:end] == age]) for age in range(step)]
        loud = np.flatnonzero(near > 10 * np.median(near) + _NOTHING)
        after = {age + lag for age in (0, *loud.tolist()) for lag in range(_LAGS + 1)}
        later = [age % step for age in after]
        if step - len(set(later)) >= _FEWEST_SETTLED:
            is_settled[start:end] &= ~np.isin(ages[start:end], later)
    errors = _errors(calls, is_settled)
    size = np.abs(calls)
    typical = float(np.median(size[size > 0])) if size.any() else 1.0
    settled = np.where(is_settled, errors, np.nan)
    ratios = errors / (np.nanmedian(settled, axis=0) + _FLOOR * typical)
    for start, end in pairwise(np.cumsum((0, *steps), dtype=np.int64)):
        step = end - start
        aged = np.array(
            [ratios[start:end][(index - age) % step, index] for age in range(step)], np.float64
        )
        yield aged / (1 + np.quantile(aged, 0.9, axis=1, keepdims=True))


def _errors(calls: Floats, is_settled: npt.NDArray[np.bool_]) -> Floats:
    """Return how far each deviation is from its prediction by the bars before it.

    At each bar, one linear rule for all calls is fitted by least absolute errors, to the calls in which
    none of these bars was changed.
    """
    rows = calls.shape[1]
    padded = np.pad(calls, ((0, 0), (_LAGS, 0)))
    past = np.stack(
        [padded[:, _LAGS - k : _LAGS - k + rows].T for k in range(1, _LAGS + 1)], axis=2
    )
    past /= np.abs(past).max(axis=(1, 2), keepdims=True) + _NOTHING
    now, counts = calls.T, is_settled.T.astype(np.float64)
    weights = counts
    for _ in range(_FITS):
        weighted = (past * weights[:, :, None]).transpose(0, 2, 1)
        square = weighted @ past
        trace = np.trace(square, axis1=1, axis2=2)[:, None, None]
        square += (1e-10 * trace + _NOTHING) * np.eye(_LAGS)
        rule = np.linalg.solve(square, weighted @ now[:, :, None])
        errors = np.abs(now - (past @ rule)[:, :, 0])
        largest = (errors * counts).max(axis=1, keepdims=True)
        weights = counts / (errors + 1e-6 * largest + _NOTHING)
        weights /= weights.max(axis=1, keepdims=True) + _NOTHING
    return errors.T
