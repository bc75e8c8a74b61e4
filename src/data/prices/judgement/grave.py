"""Bars that are wrong nearly for certain, as they come in: another unit, a split that they ignore. Pure.

What :mod:`.checks` finds in a stored series is for people to look at; what is found here takes the trust
from bars, so only causes count that nothing else explains: all four prices of a row x100 and back, a split
that was told and that rows before it ignore, and one that nothing tells of but that the volume proves. A
large move alone is none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ...model.bars import NAN, PRICES, Stamps
from ...model.instant import DAY_MS, iso
from ...model.texts import counted
from .levels import price_text, split_errors, unit_errors
from .series import CheckedSeries, ShareEvent, local_noise, runs, stretches

_HUNDRED = float(np.log(100))
# How exactly a jump must be one of x100, as a logarithm: by the usual move of a bar within these bounds.
_MOVES, _LEAST_SLACK, _MOST_SLACK = 8.0, 0.1, 0.5
# At the end of a series, where no jump back is seen, the fit is closer and a row must look like a bar.
_ONE_SIDED, _USUAL_RANGE = 0.25, float(np.log(1.5))
# Smaller splits are moves, too.
_LEAST_TOLD, _LEAST_UNTOLD = float(np.log(1.45)), float(np.log(1.95))
# A split of so many for one is a jump of x100, too.
_LIKE_UNITS = float(np.log(40))
# On its ex-date a jump is the split's whatever the market did; elsewhere it must be as large to this.
_EXACT, _EXACT_GAPS = 0.01, 1.5
_NEAR_ROWS = 10
# Of a split that is not told: the bars on either side whose volume counts, at least and at most.
_FEWEST, _MOST_ROWS = 10, 20
_UNTOLD_GAPS, _NEWS, _STAYS = 8.0, 2.0, 5
_RATIOS = np.log([2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 25, 30])


class Grave(NamedTuple):
    """Rows that are wrong for one cause.

    Attributes:
        stamps: of the rows, int64, ascending.
        cause: what is wrong with them, with figures: a clause without a full stop.
        from_start: whether they begin with the first row of the series for a cause that lies behind them:
            then bars of the same source before it are wrong, too.
    """

    stamps: Stamps
    cause: str
    from_start: bool = False


def graves(series: CheckedSeries) -> list[Grave]:
    """Return the rows that are wrong nearly for certain, by cause; nothing in clean series.

    Args:
        series: bars whose prices are all above zero, as far as they are to be judged, with a few bars on
            either side; adjusted for the splits that are known. ``splits`` is None where it is not known
            how they are adjusted: then only their unit is judged.
    """
    first = int(series.table.stamps[0]) if len(series) else 0
    found = [one for stretch in stretches(series) for one in _of_stretch(stretch)]
    # Behind a hole it is not known what lies before the first bar.
    return [one._replace(from_start=one.from_start and one.stamps[0] == first) for one in found]


def _of_stretch(series: CheckedSeries) -> list[Grave]:
    """Return what is grave in a stretch without a hole."""
    found = list(_units(series))
    if series.splits is None or series.asset_class != "stock" or not _is_of_days(series):
        return found
    told = list(_told_splits(series, series.splits))
    return found + told + ([] if told else list(_untold_splits(series, series.splits)))


def _is_of_days(series: CheckedSeries) -> bool:
    """Tell whether no bar is longer than a day: inside a week or a month a split has no edge."""
    return series.timeframe.is_intraday or series.timeframe.step_ms == DAY_MS


# --- units ---------------------------------------------------------------------------------------


def _units(series: CheckedSeries) -> Iterator[Grave]:
    """Yield rows of which all four prices are a hundred times too large or too small."""
    if any(abs(np.log(split.value)) > _LIKE_UNITS for split in series.splits or ()):
        return
    defects = unit_errors(series)
    for repair in (r for one in defects if not isinstance(one, str) for r in one.repairs):
        if repair.columns != PRICES:
            continue  # a single price may have been a trade: coins have crashed to a hundredth and back
        rows = np.zeros(len(series), dtype=bool)
        rows[np.searchsorted(series.table.stamps, repair.stamps)] = True
        for first, end in runs(rows):
            if _is_unit(series, first, end):
                yield _unit_grave(series, first, end, repair.factor)


def _is_unit(series: CheckedSeries, first: int, end: int) -> bool:
    gaps, usual = series.gaps, _MOVES * series.move_noise
    jumps = [abs(abs(gaps[at]) - _HUNDRED) for at in (first - 1, end - 1) if 0 <= at < len(gaps)]
    if len(jumps) == 2:
        back = bool(gaps[first - 1] * gaps[end - 1] < 0)
        return back and max(jumps) <= min(max(usual, _LEAST_SLACK), _MOST_SLACK)
    # Nothing stands behind these bars yet, or before them.
    ranges = np.log(series.table.high[first:end] / series.table.low[first:end])
    is_close = bool(jumps) and jumps[0] <= min(max(usual, _LEAST_SLACK), _ONE_SIDED)
    return is_close and float(ranges.max()) <= _USUAL_RANGE


def _unit_grave(series: CheckedSeries, first: int, end: int, factor: float) -> Grave:
    beside = first - 1 if first else end
    size = "large" if factor < 1 else "small"
    close = series.table.close
    text = (
        f"{_rows(end - first, 'is', 'are')} 100 times too {size}: close {price_text(close[first])} on "
        f"{_when(series, first)}, {price_text(close[beside])} beside it"
    )
    return Grave(series.table.stamps[first:end], text)


# --- splits --------------------------------------------------------------------------------------


def _told_splits(series: CheckedSeries, splits: Sequence[ShareEvent]) -> Iterator[Grave]:
    """Yield rows that a split of the book was not applied to, or twice."""
    stamps = series.table.stamps
    inside = [one for one in splits if len(stamps) and stamps[0] < one.at_ms <= stamps[-1]]
    if not any(abs(np.log(one.value)) >= _LEAST_TOLD for one in inside):
        return
    dates = dict(zip(series.rows_of(inside).tolist(), inside, strict=True))
    for defect in split_errors(series):
        if isinstance(defect, str) or not defect.repairs:
            continue
        first, last = np.searchsorted(stamps, [defect.stamps[0], defect.stamps[-1]]).tolist()
        stretch, size = (first, last + 1), abs(float(np.log(defect.repairs[0].factor)))
        split = next((one for one in inside if abs(abs(np.log(one.value)) - size) < 1e-6), None)
        if split is not None and size >= _LEAST_TOLD and _is_of(series, stretch, size, dates):
            way = "large" if defect.repairs[0].factor < 1 else "small"
            day = iso(split.at_ms)[:10]
            text = (
                f"{_rows(len(defect.stamps), 'is', 'are')} {np.exp(size):.4g} times too {way}, as if the "
                f"split of {day} did not concern {'it' if len(defect.stamps) == 1 else 'them'}: close "
                f"{price_text(series.table.close[last])} on {_when(series, last)}"
            )
            yield Grave(defect.stamps, text, first == 0)


def _is_of(
    series: CheckedSeries, stretch: tuple[int, int], size: float, dates: dict[int, ShareEvent]
) -> bool:
    """Tell whether both edges of a stretch are jumps of the split, at its date or exactly as large."""
    edges = [at for at in stretch if 0 < at < len(series)]
    exact = max(_EXACT, _EXACT_GAPS * series.gap_noise)
    for at in edges:
        is_of_date = any(abs(at - row) <= _NEAR_ROWS for row in dates)
        is_exact = abs(abs(series.gaps[at - 1]) - size) <= exact
        if at not in dates and not (is_exact and (is_of_date or not _is_news(series, at))):
            return False
    return bool(edges)


def _untold_splits(series: CheckedSeries, splits: Sequence[ShareEvent]) -> Iterator[Grave]:
    """Yield the rows before a jump that is as large as a split, where volume has jumped as much.

    Days alone: within a day volume and prices have habits of their own.
    """
    if series.timeframe.step_ms != DAY_MS or series.timeframe.is_intraday or not series.has_volume:
        return
    gaps, usual = series.gaps, series.gap_noise
    known = {int(row) for row in series.rows_of(splits)}
    far = np.flatnonzero(np.abs(gaps) >= max(_LEAST_UNTOLD, _UNTOLD_GAPS * usual)) + 1
    proven = [at for at in far.tolist() if at not in known and _is_untold(series, at)]
    if proven:
        at = proven[-1]
        ratio = float(np.exp(_nearest(abs(gaps[at - 1]))))
        terms = f"{ratio:g}:1" if gaps[at - 1] < 0 else f"1:{ratio:g}"
        text = (
            f"{_rows(at, 'stands', 'stand')} before a split of {terms} that no vendor tells of: close "
            f"{price_text(series.table.close[at - 1])}, then open {price_text(series.table.open[at])} on "
            f"{_when(series, at)}, and as much more volume as the price is less"
        )
        yield Grave(series.table.stamps[:at], text, True)


def _nearest(gap: float) -> float:
    return float(_RATIOS[np.argmin(np.abs(_RATIOS - gap))])


def _is_untold(series: CheckedSeries, at: int) -> bool:
    """Tell whether the jump before row ``at`` is a split for certain: by price, by volume, without news."""
    gap, table = float(series.gaps[at - 1]), series.table
    size = _nearest(abs(gap))
    near = max(local_noise(series.gap_ratios, at - 1), series.gap_noise)
    if abs(abs(gap) - size) > max(_EXACT, _EXACT_GAPS * near) or abs(gap) < _UNTOLD_GAPS * near:
        return False
    before, after = slice(max(0, at - _MOST_ROWS), at), slice(at, at + _MOST_ROWS)
    volume = np.where(table.volume > 0, table.volume, NAN)
    sides = [part[~np.isnan(part)] for part in (volume[before], volume[after])]
    if min(map(len, sides)) < _FEWEST:
        return False
    more = float(np.log(np.median(sides[1]) / np.median(sides[0])))
    stays = np.log(
        np.median(table.close[after][:_STAYS]) / np.median(table.close[before][-_STAYS:])
    )
    follows = abs(more + np.sign(gap) * size) < size / 3
    return bool(follows and abs(stays - gap) < size / 3 and not _is_news(series, at))


def _is_news(series: CheckedSeries, at: int) -> bool:
    """Tell whether more money than usual changed hands at a jump: a price that moved, no split."""
    money = series.table.close * series.table.volume
    before = money[max(0, at - _MOST_ROWS) : at]
    before = before[before > 0]
    usual = float(np.median(before)) if len(before) else 0.0
    return bool(usual > 0 and np.nanmax(money[at : at + 2]) > _NEWS * usual)


# --- words -----------------------------------------------------------------------------------------


def _rows(count: int, one: str, many: str) -> str:
    return f"{counted(count, 'bar')} {one if count == 1 else many}"


def _when(series: CheckedSeries, row: int) -> str:
    text = iso(int(series.table.stamps[row]))
    return text if series.timeframe.is_intraday else text[:10]
