"""Finds bars at a different level from their neighbours: units off by 100, and partly applied splits.

Both errors cause a jump of a known size where the wrong bars begin, and the inverse jump where they
end. A single jump between two neighbours is not enough as proof, but a pair of jumps around a run
of bars is, and so is a jump next to a split's ex-date.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...model.display.texts import counted
from ...model.market.bars import NAN, PRICES, BarTable, Floats, Stamps
from ...model.stored.reasons import UNDECIDED
from ...model.time.instant import DAY_MS, iso
from .findings import Repair, Severity
from .series import FAR, CheckedSeries, Mask, Rows, by_section, local_noise, noise, runs, typical

HUNDRED = float(np.log(100))
# Factors from 50 to 200 are treated as x100. Of 202,557 real bars, three reach 30 (lows of coins'
# flash crashes, at 1/3,500 of their open or less), and none is between 50 and 200.
_UNIT_SLACK = float(np.log(2))
_JUMP_RATIO = 30.0
# Maximum distance (a logarithm) of repaired bars from adjacent prices, in usual moves of a bar.
_DRIFT_MOVES, _LEAST_DRIFT, _MOST_DRIFT = 8.0, 0.1, 0.5
# Number of bars from which a run at the end is the vendor's new unit, not an error.
_NEW_UNIT_BARS = 5
# Number of rows from which a single row with mixed units does not decide.
_MANY_ROWS = 1000
# Length from which runs are not a slip, and how exactly their units must differ by a hundred.
_LONG_RUN, _EXACT_UNIT = 20, 0.03
# Fraction of the traded rows that must be right for the others to be wrong beyond doubt.
_MAJORITY = 2 / 3

# A split can be distinguished from a move if it is eight times the usual gap. Of 26,280 real
# overnight gaps (SPY, AAPL, GOOG, ORCL, MSFT), one in 135 is beyond that, but only one reaches the
# size of a 3:2 split: AAPL on 2000-09-29, which fell by half on news.
_GAP_RATIO, _SPLIT_GAPS = 8.0, 4.0
# Gaps of this many usual ones occur on hardly any day without news: in 11,958 days of AAPL, GOOG, IBM
# and MSFT, one or two for each share. Smaller jumps near an ex-date need more evidence.
_FAR_RATIO = 20.0
_SPLIT_SLACK, _WIDE_SLACK, _LARGE_SPLIT = 0.1, 0.35, float(np.log(4))
_NEAR_ROWS, _DATE_ROWS, _SHORT_ROWS, _VOLUME_ROWS = 10, 2, 60, 20
_NEAR_MS = 15 * DAY_MS
# Two jumps far from an ex-date may be due to a split from this size on; smaller ones may be moves.
_LEAST_PAIR, _MOST_JUMPS = float(np.log(1.45)), 100
# This many jumps between the same two levels mean mixed rows.
_MIXED = 20
# Maximum number of rows between such a pair; two unreported splits would be farther apart.
_LONGEST_PART = 250
# Ratios of unreported splits to search for; smaller jumps may be price moves.
RATIOS = np.log(
    [1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 25, 30, 40, 50, 75, 100, 150, 200]
)
_RATIO_SLACK = 0.015
# Maximum price move on the day of an unreported split of 4:1 or more, and the size from which a
# jump with no more than the usual volume is not a market move.
_SPLIT_DAY_MOVE, _BEYOND_MARKETS = 0.3, float(np.log(8))
# Maximum volatility of the days around such a fall, relative to usual and absolute.
_CALM_RATIO, _CALM_NOISE = 2.5, 0.1
# On a day with news, many times the usual money changes hands (AAPL on 2000-09-29: 11 times); on
# the day of a split, as much as usual (on AAPL's four: 0.6 to 1.6 times).
_NEWS_RATIO = 3.0
# Number of days before and after whose volumes are compared, and the minimum of each. Medians over
# as many days, with a few days of news in between, show how much volumes normally vary; the last
# value is used if there are too few days.
_DAYS, _FEW_DAYS, _NEWS_ROWS, _FEW_STEPS, _USUAL_SCATTER = 50, 10, 3, 8, 0.35
# Maximum distance of a step from that of the shares; the fraction of that scatter, and the minimum,
# by which it is uncertain; days this many deviations away count less. Of 610 genuine price falls by
# a half or two thirds, inserted into real series, none counts as a certain split and one in fifty
# as a likely one; of 2:1 splits, half count as certain and two thirds as likely.
_STEP_SLACK, _WIDE_STEP, _APART_SHARE, _LEAST_ERROR, _ODD_DAY = 0.5, 0.65, 0.35, 0.1, 1.5
_QUIET_WEIGHT, _MOST_QUIET, _WILDER_LOG = 1.5, 1.2, 1.0
# Odds from which a split is certain, and from which it is likely.
_CERTAIN_ODDS, _LIKELY_ODDS = float(np.log(150)), float(np.log(10))


# Number of hundredfold jumps by which each price is above the first one; shape (n, 4).
Levels = NDArray[np.int8]


class Defect(NamedTuple):
    """A defect that a check found, before the check's name and next step are added.

    If the check has only one cause, ``cause`` is empty, and the check's name is used instead.
    ``wrong`` contains the timestamps of the wrong rows; None means that they are ``stamps``.
    """

    stamps: Stamps
    evidence: str
    severity: Severity = "error"
    repairs: tuple[Repair, ...] = ()
    cause: str = ""
    wrong: Stamps | None = None


# --- units ---------------------------------------------------------------------------------------


@by_section
def unit_errors(series: CheckedSeries) -> list[Defect] | str:
    """Find prices that are a hundred times too large or small, in runs of rows, single rows or cells."""
    is_jump = unit_jumps(series.table)
    if not is_jump.any():
        return []
    levels = _unit_levels(series, is_jump)
    right, is_certain = _right_level(series, levels)
    levels -= right
    defects = []
    for first, end in _off_by_unit(series, levels):
        if np.abs(levels[first:end]).max() == 1 and _fits(series, levels, first, end):
            if series.asset_class == "crypto" and _is_within(levels, first, end):
                continue
            if _may_be_of_another(series, first, end):
                defects.append(_half_defect(series, first, end))
            elif _is_of_wicks(series, levels, first, end):
                finding = _unit_finding(series, levels, (first, end), is_certain)
                finding = finding._replace(severity="warning", repairs=(), cause="unit of a wick")
                defects.append(finding)
            else:
                defects.append(_unit_finding(series, levels, (first, end), is_certain))
    return defects


def _off_by_unit(series: CheckedSeries, levels: Levels) -> Iterator[tuple[int, int]]:
    """Yield the runs of bars in a wrong unit, split at inner jumps that are not changes of unit.

    After such a jump, nothing shows which unit the rows are in.
    """
    far = np.flatnonzero(np.abs(series.gaps) > np.log(_JUMP_RATIO)) + 1
    # The four levels of a row are four bytes: one number.
    for first, end in runs(levels.view(np.uint32)[:, 0] != 0):
        inside = far[(far > first) & (far < end)]
        cuts = inside[levels[inside, 0] == levels[inside - 1, 3]].tolist()
        for start, other in pairwise((first, *cuts, end)):
            if not cuts or start == first > 0 or other == end < len(series):
                yield start, other


def unit_jumps(table: BarTable) -> Mask:
    """Return a mask of the rows that may contain or follow a jump to another unit."""
    opened, high, low, close = table.open, table.high, table.low, table.close
    top, bottom = np.maximum(opened, close), np.minimum(opened, close)
    for column in (high, low):
        np.maximum(top, column, out=top)
        np.minimum(bottom, column, out=bottom)
    with np.errstate(over="ignore"):
        least = bottom * _JUMP_RATIO
    is_jump: Mask = top > least
    is_jump[1:] |= (top[1:] > least[:-1]) | (top[:-1] > least[1:])
    return is_jump


def _is_within(levels: Levels, first: int, end: int) -> bool:
    """Return whether a run of deviating rows starts within a bar and never ends, as in a coin's crash.

    A change of unit happens between bars.
    """
    return levels[first, 0] == 0 and levels[first, 3] != 0 and end == len(levels)


def _is_of_wicks(series: CheckedSeries, levels: Levels, first: int, end: int) -> bool:
    """Return whether a run deviates only in highs and lows that may be real trades.

    Coins have thin order books, and erroneous orders for shares occur on days of heavy trading.
    """
    if (levels[first:end][:, (0, 3)] != 0).any():
        return False
    return series.asset_class == "crypto" or any(_is_busy(series, row) for row in range(first, end))


def _may_be_of_another(series: CheckedSeries, first: int, end: int) -> bool:
    """Return whether a single jump between two long runs is nearly, but not exactly, a factor of 100.

    Such a jump may mean that another company has taken over the symbol. If the vendor had changed
    the unit, the factor would be exact.
    """
    edge = first or end
    if (first and end < len(series)) or min(edge, len(series) - edge) < _LONG_RUN:
        return False
    exact = max(_SPLIT_GAPS * series.gap_noise, _EXACT_UNIT)
    return bool(abs(abs(series.gaps[edge - 1]) - HUNDRED) > exact)


def _half_defect(series: CheckedSeries, first: int, end: int) -> Defect:
    edge, close = first or end, series.table.close
    text = (
        f"close {price_text(close[edge - 1])}, then {price_text(close[edge])}, and {len(series) - edge} rows "
        f"from {iso(int(series.table.stamps[edge]))[:10]} on stay there: in another unit, or of another "
        "company that has the symbol now"
    )
    return Defect(series.table.stamps[edge - 1 : edge + 1], text, cause="unit in doubt")


def _unit_levels(series: CheckedSeries, is_jump: Mask) -> Levels:
    """Return the number of hundredfold jumps from the first price to each price; shape (n, 4).

    A jump is possible only in rows whose prices are far from each other or from those of the
    previous row.
    """
    rows = np.flatnonzero(is_jump | np.append(is_jump[1:], False))
    cells = np.log(np.column_stack([column[rows] for column in series.prices]))
    before = np.append(cells[:1, 0], cells[:-1, 3])
    before[np.append(True, np.diff(rows) > 1)] = cells[np.append(True, np.diff(rows) > 1), 0]
    steps = np.diff(np.column_stack((before, cells)), axis=1)
    jumps = np.where(np.abs(np.abs(steps) - HUNDRED) < _UNIT_SLACK, np.sign(steps), 0)
    inside = np.cumsum(jumps).astype(np.int8).reshape(-1, 4)
    levels = np.zeros((len(series), 4), dtype=np.int8)
    # Between two of these rows, all prices are at the level at which the earlier one ends.
    for first, end, level in zip(rows, [*rows[1:], len(series)], inside[:, 3], strict=True):
        levels[first:end] = level
    levels[rows] = inside
    return levels


def _right_level(series: CheckedSeries, levels: Levels) -> tuple[np.int8, bool]:
    """Return the level (number of hundredfold jumps) of the correct unit, and whether it is certain."""
    # The level of most of a row's prices is the second of the four in ascending order.
    rows = np.sort(levels, axis=1)[:, 1] if len(levels) < _MANY_ROWS else levels[:, 0]
    counted = rows[series.traded] if series.traded.any() else rows
    is_doubted = bool((np.abs(series.from_days) > FAR).any())
    is_reported = is_doubted and bool((series.from_days == 0).any())
    if is_reported:
        # If some rows contradict their daily bars, the correct unit is that of the rows that do
        # not.
        counted = rows[series.from_days == 0]
    lowest = counted.min()
    counts = np.bincount(counted - lowest)
    right = np.int8(np.argmax(counts) + lowest)
    share = float(counts.max() / counts.sum())
    changes = np.flatnonzero(np.diff(rows))
    if series.units_vary and not is_reported and len(changes) == 1 and rows[-1] != right:
        # The vendor has changed from pence to pounds; what it sends next is in the latest unit.
        is_lasting = len(rows) - 1 - changes[-1] >= _NEW_UNIT_BARS
        return (rows[-1], True) if is_lasting else (right, False)
    return right, share >= _MAJORITY and (is_reported or not is_doubted)


def _fits(series: CheckedSeries, levels: Levels, first: int, end: int) -> bool:
    """Return whether a run's prices, converted to the correct unit, match the prices next to the run.

    A match on one side is enough, because the market may have moved on the other side. If another
    company has taken over the symbol, neither side matches.
    """
    usual = min(max(_DRIFT_MOVES * series.move_noise, _LEAST_DRIFT), _MOST_DRIFT)
    begin = max(0, first - 2)
    edges = ((first, slice(begin, first + 1)), (end - 1, slice(end - 1, end + 2)))
    both = (_distance(series, levels, inner, outer) for inner, outer in edges)
    far = [row for row in both if row is not None]
    return not far or (min(far) <= usual and max(far) <= (_MOST_DRIFT if len(far) > 1 else usual))


def _distance(series: CheckedSeries, levels: Levels, inner: int, outer: slice) -> float | None:
    """Return how far a row's repaired prices are from the correct prices next to them.

    The result is a log ratio, or None if there are only incorrect prices next to the row.
    """
    near = np.column_stack([column[outer] for column in series.prices])
    level = near[levels[outer] == 0]
    wrong = (
        np.array([column[inner] for column in series.prices], np.float64) * 100.0 ** -levels[inner]
    )
    wrong = wrong[levels[inner] != 0]
    if not len(level):
        return None
    return float(max(0.0, np.log(wrong.min() / level.max()), np.log(level.min() / wrong.max())))


def _unit_finding(
    series: CheckedSeries, levels: Levels, run: tuple[int, int], is_certain: bool
) -> Defect:
    rows = np.arange(*run, dtype=np.int64)
    stamps, repairs = series.table.stamps, []
    for pattern in np.unique(levels[rows], axis=0) if is_certain else ():
        for sign in {-1, 1} & set(pattern.tolist()):
            columns = tuple(
                name for name, level in zip(PRICES, pattern, strict=True) if level == sign
            )
            like = rows[(levels[rows] == pattern).all(axis=1)]
            repairs.append(Repair("prices", stamps[like], 100.0**-sign, columns))
    wrong = levels[rows][levels[rows] != 0]
    size = "large" if wrong[0] > 0 else "small"
    cells = (
        f"{counted(len(wrong), 'price')} in {counted(len(rows), 'row')}"
        if len(wrong) < 4 * len(rows)
        else counted(len(rows), "row")
    )
    inside = price_text(series.table.close[rows[0]])
    neighbour = rows[0] - 1 if rows[0] else min(run[1], len(series) - 1)
    doubt = "" if is_certain else UNDECIDED
    outside = price_text(series.table.close[neighbour])
    text = f"{cells} 100 times too {size}: close {inside}, next to it {outside}"
    if not run[0] and len(series) < 2 * run[1] < 2 * len(series):
        # If these are most of the bars, up to a change of unit, the change itself should be
        # examined.
        rows = np.arange(run[1], len(series), dtype=np.int64)
        text += f"; from {iso(int(stamps[rows[0]]))[:10]} on, {counted(len(rows), 'row')} in another unit"
    if not is_certain:
        # Rows with both units, at which one begins and the other ends.
        first, end = run
        edges = [
            *([first - 1, first] if first else []),
            *([end - 1, end] if end < len(series) else []),
        ]
        edges = list(dict.fromkeys(edges))
        return Defect(stamps[edges], text + doubt, cause="unit in doubt")
    return Defect(stamps[rows], text, "error", tuple(repairs))


def price_text(value: float) -> str:
    """Return a price as text, in the form used in findings."""
    return f"{value:.6g}"


# --- splits --------------------------------------------------------------------------------------


@by_section
def split_errors(series: CheckedSeries) -> list[Defect] | str:
    """Find rows to which a known split was not applied, or was applied twice, and unreported splits.

    The result is a string with the reason if the series cannot be checked.
    """
    if series.asset_class not in ("stock", "future"):
        return "it has no splits"
    if len(series) < 3:
        return "it has fewer than three bars"
    defects: list[Defect] = []
    splits = series.splits or ()
    rows = series.rows_of(splits)
    # A split outside this part of the series has no date in it, but rows may still be off by its
    # ratio.
    reach = series.table.stamps[0] - _NEAR_MS, series.table.stamps[-1] + _NEAR_MS
    sizes = [round(abs(float(np.log(split.value))), 3) for split in splits]
    for size in dict.fromkeys(sizes):
        same_size = [k for k, other in enumerate(sizes) if other == size]
        exact = abs(float(np.log(splits[same_size[0]].value)))
        dates = [int(rows[k]) for k in same_size if reach[0] <= splits[k].at_ms <= reach[1]]
        defects += _known_split_defects(series, exact, dates)
    bad = np.concatenate([f.stamps for f in defects]) if defects else np.empty(0, np.int64)
    free = ~np.isin(series.table.stamps, bad)
    return defects + list(_unknown_split_defects(series, free))


def _known_split_defects(series: CheckedSeries, size: float, dates: list[int]) -> Iterator[Defect]:
    """Yield the runs of bars whose prices are off by the ratio of a known split.

    ``size`` is the logarithm of that ratio.
    """
    mixed = _mixed_levels(series, size)
    if mixed is not None:
        rows, volume = mixed != 0, series.table.volume
        change = (
            np.log(typical(volume[rows]) / typical(volume[~rows])) if series.has_volume else NAN
        )
        yield _defect(series, np.flatnonzero(rows), (float(mixed[rows][0]), size), float(change))
        return
    if size < _GAP_RATIO * series.gap_noise:
        return
    jumps = _split_jumps(series, size, dates)
    if not jumps.any():
        return
    # The latest prices are taken as right, so a jump down means that all rows before it are too
    # high.
    levels = np.concatenate((-np.cumsum(jumps[::-1])[::-1], [0.0]))
    edges = [0, *(np.flatnonzero(np.diff(levels)) + 1).tolist(), len(series)]
    for first, end in pairwise(edges):
        run = (first, end, float(levels[first]))
        if not first and len(series) - end <= min(_SHORT_ROWS, len(series) // 3):
            # If all rows but the last few are off, the last few are the wrong ones, unless the
            # split is at their start.
            run = run if _is_near(end, dates) else (end, len(series), -run[2])
        # Two splits of one size make two levels.
        if 0 < abs(run[2]) <= max(1, len(dates)) and run[0] < run[1]:
            yield split_finding(series, run, size)


def _mixed_levels(series: CheckedSeries, size: float) -> Floats | None:
    """Return the level of each row if rows throughout a series are off by a split; otherwise None.

    A row's level is 0 if its prices agree with those of the last row, and 1 or -1 if they are off
    by the split's ratio. The noise of the series is measured without jumps of that size, because
    there are many of them.
    """
    steps = np.rint(series.gaps / size)
    if np.count_nonzero(steps) < _MIXED or not np.array_equal(steps, np.rint(series.moves / size)):
        return None
    levels = np.append(-np.cumsum(steps[::-1])[::-1], 0.0)
    rest = noise(series.gaps - steps * size)
    return levels if np.ptp(levels) == 1 and 0 < _GAP_RATIO * rest <= size else None


def _split_jumps(series: CheckedSeries, size: float, dates: list[int]) -> Floats:
    """Return for each row but the first whether its price jumps up (1) or down (-1) by a split.

    A bar is at a different level only if its close has jumped; a distant open is not enough.
    """
    usual, gaps = series.gap_noise, _without_dividends(series)
    moves = series.moves - (series.gaps - gaps)
    near = np.zeros(len(gaps), dtype=bool)
    for date in dates:
        near[max(0, date - _NEAR_ROWS - 1) : date + _NEAR_ROWS] = True
    # At the ex-date, a jump is due to the split even if the market moved as well; elsewhere it must
    # match exactly.
    wide = _WIDE_SLACK if size >= _LARGE_SPLIT else _SPLIT_SLACK
    slack = np.full(len(gaps), min(wide * size, _SPLIT_SLACK))
    for date in dates:
        slack[max(0, date - _DATE_ROWS - 1) : date + _DATE_ROWS] = wide * size
    slack = np.minimum(np.maximum(_SPLIT_GAPS * usual, slack), _WIDE_SLACK * size)
    is_like = np.abs(np.abs(gaps) - size) <= slack
    at = np.array([date - 1 for date in dates if 0 < date <= len(gaps)], dtype=np.intp)
    if size >= _LARGE_SPLIT:
        # On the ex-date itself, the market may have moved by as much again; near it, no market
        # moves that far in the days in which a large split is due.
        is_like[at] |= np.abs(np.abs(gaps[at]) - size) < size / 2
        is_like |= near & (np.abs(gaps) >= size)
    jumps = np.where(is_like & (moves * np.sign(gaps) > size / 2), np.sign(gaps), 0.0)
    # If only the open on the ex-date is wrong, its close still jumps, farther than in these weeks.
    is_move = (jumps[at] == 0) & (np.abs(np.abs(moves[at]) - size) <= slack[at])
    days = np.array([local_noise(series.move_ratios, row) for row in at.tolist()], np.float64)
    is_move &= size >= _GAP_RATIO * np.maximum(series.move_noise, days)
    jumps[at] = np.where(is_move, np.sign(moves[at]), jumps[at])
    for row in np.flatnonzero(jumps).tolist():
        if _is_coarse(series, row, size):
            jumps[row] = 0.0
    rows = np.flatnonzero(jumps)
    if len(rows) > _MOST_JUMPS:  # usual for this market
        return np.zeros(len(gaps))
    # Two consecutive jumps, there and back, enclose a run; one of them may be at the ex-date.
    pairs = [pair for pair in pairwise(rows.tolist()) if jumps[pair[0]] * jumps[pair[1]] < 0]
    back = {row for pair in pairs if near[list(pair)].all() for row in pair}
    for row in rows[near[rows]].tolist() if size < _LARGE_SPLIT else ():
        jump = float(jumps[row]), float(gaps[row])
        near[row] = _is_due(series, row, jump, size, is_date=row in at, is_back=row in back)
    enclosing = {
        row
        for pair in pairs
        if _is_there_and_back(series, jumps, pair, size, bool(near[list(pair)].any()))
        for row in pair
    }
    both = {row for pair in pairs for row in pair}
    for row in rows[~near[rows]].tolist():
        is_lone = row not in both and _is_lone_split(series, row, float(jumps[row]), size)
        if row not in enclosing and not is_lone:
            jumps[row] = 0.0
    return jumps


def _is_due(
    series: CheckedSeries,
    row: int,
    jump: tuple[float, float],
    size: float,
    *,
    is_date: bool,
    is_back: bool,
) -> bool:
    """Return whether a jump on an ex-date or near it is due to the split, rather than to the market.

    Shares often move by the ratio of a small split such as 11:10. On the ex-date (``is_date``), such
    a jump is due to the split unless it is news. Near it, ``adj_close`` must contain the split, or
    two of three must agree: the exact ratio, the volume, and a size that is rare in these weeks.

    Args:
        series, row, size: Series, index of the row before the jump, and logarithm of the ratio.
        jump: Direction of the jump (1 or -1), and its size without dividends.
        is_date: Whether the jump is on the ex-date itself.
        is_back: Whether there is another jump near the ex-date, in the other direction.
    """
    sign, gap = jump
    usual = max(
        series.gap_noise, noise(series.gaps[max(0, row - _NEAR_ROWS) : row + _NEAR_ROWS + 1])
    )
    is_rare = size >= _FAR_RATIO * usual
    is_news = not is_back and _is_news(series, row + 1) and _is_busy(series, row + 1)
    if is_date:
        return is_rare or not is_news
    is_like = abs(abs(gap) - size) <= min(_SPLIT_SLACK * size, _SPLIT_SLACK)
    # A change in volume by less than this cannot be measured.
    follows = size >= _LEAST_PAIR and _volume_follows(series, (0, row + 1, -sign), size)
    agree = not is_news and is_rare + is_like + follows >= 2
    return agree or _adj_close_follows(series, row, sign * size)


def _adj_close_follows(series: CheckedSeries, row: int, size: float) -> bool:
    """Return whether the split that is left in the close at a jump is not left in ``adj_close``."""
    close, adj = series.table.close[row : row + 2], series.table.adj_close
    if adj is None:
        return False
    share = np.log(adj[row : row + 2] / close)
    return bool(abs(share[1] - share[0] + size) <= _SPLIT_SLACK * abs(size))


def _is_coarse(series: CheckedSeries, row: int, size: float) -> bool:
    """Return whether prices near a jump are so coarse that moves as large as the split are common."""
    near = slice(max(0, row - _NEAR_ROWS), row + _NEAR_ROWS + 1)
    if np.count_nonzero(np.abs(series.moves[near]) > size / 2) < 2:
        return False
    steps = np.diff(np.unique(np.log(series.table.close[near])))
    return bool(len(steps) == 0 or steps.min() > size / 3)


def _is_there_and_back(
    series: CheckedSeries, jumps: Floats, pair: tuple[int, int], size: float, has_date: bool
) -> bool:
    """Return whether the rows between two jumps are off by a split's ratio.

    If they are not, the jumps are due to news.
    """
    first, other = pair
    run = (first + 1, other + 1, float(jumps[first]))
    longest = _LONGEST_PART if _is_exact(series, [first, other], size) else _SHORT_ROWS
    is_one = has_date or other - first <= longest or _volume_follows(series, run, size)
    if not is_one or (not has_date and size < _LEAST_PAIR):
        return False
    return not any(_is_news(series, row + 1) and _is_busy(series, row + 1) for row in pair)


def _is_exact(series: CheckedSeries, jumps: Sequence[int], size: float) -> bool:
    """Return whether price gaps are as large as a split, except for the usual moves."""
    exact = max(_RATIO_SLACK, 2 * series.gap_noise)
    return bool((np.abs(np.abs(series.gaps[list(jumps)]) - size) <= exact).all())


def _is_lone_split(series: CheckedSeries, row: int, sign: float, size: float) -> bool:
    """Return whether a jump far from every ex-date is due to the split, rather than to the market."""
    if _is_news(series, row + 1) and (size < _LARGE_SPLIT or _is_busy(series, row + 1)):
        return False
    if size >= _LARGE_SPLIT:  # a large split is never within a quarter of a known one
        return True
    if size < _LEAST_PAIR or not series.has_volume:
        return False
    last = len(series) - row - 1
    is_end = last <= _NEAR_ROWS and abs(abs(series.gaps[row]) - size) <= max(
        0.015, 2 * series.gap_noise
    )
    return is_end or _volume_follows(series, (0, row + 1, -sign), size)


def _is_near(row: int, dates: list[int]) -> bool:
    return any(abs(row - date) <= _NEAR_ROWS for date in dates)


def _volume_ratio(series: CheckedSeries, first: int, end: int) -> float:
    """Return the log ratio of the median volumes inside and outside a run, near its edges.

    The result is NaN if volume is unknown inside or outside the run.
    """
    volume = np.where(series.table.volume > 0, series.table.volume, NAN)
    inside = volume[first:end]
    inside = (
        inside
        if len(inside) <= 2 * _VOLUME_ROWS
        else np.r_[inside[:_VOLUME_ROWS], inside[-_VOLUME_ROWS:]]
    )
    outside = np.r_[volume[max(0, first - _VOLUME_ROWS) : first], volume[end : end + _VOLUME_ROWS]]
    inside, outside = inside[~np.isnan(inside)], outside[~np.isnan(outside)]
    if not len(inside) or not len(outside):
        return NAN
    return float(np.log(np.median(inside) / np.median(outside)))


def _volume_follows(series: CheckedSeries, run: tuple[int, int, float], size: float) -> bool:
    """Return whether volume deviates inversely to price: half the shares at twice the price."""
    first, end, level = run
    return abs(_volume_ratio(series, first, end) + level * size) < size / 2


def split_finding(series: CheckedSeries, run: tuple[int, int, float], size: float) -> Defect:
    """Return the defect for a run of rows that are off by a split of the given size."""
    first, end, level = run
    rows = np.arange(first, end, dtype=np.int64)
    return _defect(series, rows, (level, size), _volume_ratio(series, first, end))


def _defect(series: CheckedSeries, rows: Rows, by: tuple[float, float], change: float) -> Defect:
    """Return the defect for rows that are off by a split.

    Args:
        series, rows: Series, and the indices of the rows.
        by: Direction in which the rows' prices are off (1 or -1), and the logarithm of the split's
            ratio.
        change: Logarithm of the rows' volume relative to the other rows' volume; NaN if unknown.
    """
    level, size = by
    stamps, close, first = series.table.stamps[rows], series.table.close, int(rows[0])
    factor = float(np.exp(-level * size))
    # A vendor that does not apply a split to prices does not apply it to volume either, unless the
    # volume shows otherwise.
    is_kept = abs(change) + size / 3 < abs(change + level * size)
    others = np.delete(np.arange(len(series), dtype=np.int64), rows)
    neighbour = close[first - 1] if first else close[others[0] if len(others) else -1]
    way = "high" if level > 0 else "low"
    text = (
        f"{counted(len(rows), 'row')} {np.exp(size):.6g} times too {way}, the ratio of a split: close "
        f"{price_text(close[first])}, next to it {price_text(neighbour)}"
    )
    repair = Repair("prices", stamps, factor, PRICES, 1.0 if is_kept else 1 / factor)
    return Defect(stamps, text, "error", (repair,), "split ignored")


def _unknown_split_defects(series: CheckedSeries, free: Mask) -> Iterator[Defect]:
    """Yield defects for runs and levels that suggest that no vendor reported a split."""
    usual, gaps = series.gap_noise, _without_dividends(series)
    least = max(_GAP_RATIO * usual, float(RATIOS[0]) - _RATIO_SLACK)
    rows = np.flatnonzero((np.abs(gaps) >= least) & free[1:] & free[:-1])
    # On volatile days, or if prices have one digit, a jump is a move.
    wild = [local_noise(series.gap_ratios, row) for row in rows.tolist()]
    like = {
        row: ratio
        for row, near in zip(rows.tolist(), wild, strict=True)
        if abs(gaps[row]) >= _GAP_RATIO * near
        and (ratio := _ratio_like(abs(gaps[row]), max(usual, near)))
    }
    candidates = list(like)
    used: set[int] = set()
    for jump, other in pairwise(candidates):
        if jump in used or like[jump] != like[other] or gaps[jump] * gaps[other] > 0:
            continue
        # A price may halve on news and double on later news.
        if any(_is_news(series, row + 1) and _is_busy(series, row + 1) for row in (jump, other)):
            continue
        run = (jump + 1, other + 1, float(np.sign(gaps[jump])))
        is_reported = _NEW_UNIT_BARS <= other - jump <= _LONGEST_PART
        is_reported = is_reported and _volume_follows(series, run, like[jump])
        if is_reported or other - jump <= _NEW_UNIT_BARS:
            used |= {jump, other}
            stamps = series.table.stamps[run[0] : run[1]]
            defect = split_finding(series, run, like[jump])
            if is_reported:
                yield defect._replace(stamps=stamps, cause="split in part by volume")
            else:
                # A day dated before the split that it follows; minutes may really jump so far.
                is_exact = series.timeframe.longest_ms >= DAY_MS and _is_exact(
                    series, [jump, other], like[jump]
                )
                severity: Severity = "error" if is_exact else "warning"
                yield Defect(stamps, defect.evidence, severity, cause="split in part")
    # If the price also moved, the jump matches no split; only a large one can be told from a move.
    moved = {
        row: _nearest_ratio(abs(gaps[row]))
        for row, near in zip(rows.tolist(), wild, strict=True)
        if not like.get(row) and abs(gaps[row]) >= max(_LARGE_SPLIT, _GAP_RATIO * near)
    }
    for row, size in [*((row, like[row]) for row in candidates if row not in used), *moved.items()]:
        if abs(abs(gaps[row]) - size) <= _SPLIT_DAY_MOVE:
            yield from _unreported_split(series, row, size, "about " if row in moved else "")


def _unreported_split(series: CheckedSeries, row: int, size: float, about: str) -> Iterator[Defect]:
    """Yield a defect if a jump looks like a split that no vendor reported."""
    gap, table = float(series.gaps[row]), series.table
    if not _stays(series, row, size):
        return
    if series.from_days[row] == 0 and abs(series.from_days[row + 1]) > FAR:
        return  # the bars after the jump contradict their daily bars
    terms = f"{about}1:{np.exp(size):.6g}" if gap > 0 else f"{about}{np.exp(size):.6g}:1"
    text = (
        f"close {price_text(table.close[row])}, then open {price_text(table.open[row + 1])}, and it stays "
        f"there: a split of {terms} that was not applied to the rows before"
    )
    at, before = table.stamps[row : row + 2], table.stamps[: row + 1]
    is_failure = gap < -_BEYOND_MARKETS and not (_is_calm(series, row) and _is_dear(series, row))
    is_possible = not is_failure and _is_like_others(series, row, size)
    odds = _volume_odds(series, row, size) if is_possible else 0.0
    if odds > _CERTAIN_ODDS:
        text += ", which the volume confirms: since then, so many more shares are traded for the same money"
        sign = float(np.sign(gap))
        repair = split_finding(series, (0, row + 1, -sign), size).repairs
        # Within a week a split has no edge, and if the price also moved, its ratio is unknown.
        is_exact = not about and series.timeframe.longest_ms <= DAY_MS
        yield Defect(at, text, "error", repair if is_exact else (), "split by volume", before)
    elif _is_beyond_markets(series, row):
        text += ": no market moves that far without more shares being traded than before"
        # A company may fail, but none becomes worth eight times as much overnight.
        doubt = Defect(at, text, "warning", cause="split by size")
        # Rows before another such jump are at yet another level, about which this jump shows
        # nothing.
        jumps = np.flatnonzero(np.abs(series.gaps[:row]) >= _BEYOND_MARKETS)
        before = before[jumps[-1] + 1 :] if len(jumps) else before
        yield doubt._replace(severity="error", wrong=before) if gap > 0 else doubt
    elif odds > _LIKELY_ODDS:
        text += ", which the volume confirms, but at times the volume moves that far by itself"
        yield Defect(at, text, "warning", cause="split by volume")
    elif _is_like_others(series, row, size) and not about:
        yield Defect(at, f"{text}?", "warning", cause="split by gap")


def _is_beyond_markets(series: CheckedSeries, row: int) -> bool:
    """Return whether a jump is too large for a market move.

    The share must have traded before the jump, and traded with the usual volume on that day.
    """
    gap = float(series.gaps[row])
    before = series.table.volume[max(0, row + 1 - _VOLUME_ROWS) : row + 1]
    is_traded = np.count_nonzero(before > 0) > _VOLUME_ROWS / 2
    # A jump that may be a change of unit is left to the unit check.
    is_unit = abs(abs(gap) - HUNDRED) < _UNIT_SLACK
    return bool(
        abs(gap) >= _BEYOND_MARKETS
        and is_traded
        and not is_unit
        and (gap > 0 or _is_calm(series, row))
        and not _is_busy(series, row + 1)
    )


def _is_calm(series: CheckedSeries, row: int) -> bool:
    """Return whether the days around a jump are as calm as usual.

    The shares of a failing company fall for weeks before, and are volatile afterwards.
    """
    near = local_noise(series.move_ratios, row)
    return near <= min(_CALM_RATIO * series.move_noise, _CALM_NOISE)


def _is_dear(series: CheckedSeries, row: int) -> bool:
    """Return whether a price is at least a third of its recent high; cheap shares are not split."""
    close = series.table.close
    return bool(close[row] > close[max(0, row - _DAYS) : row + 1].max() / 3)


def _nearest_ratio(gap: float) -> float:
    return float(RATIOS[np.argmin(np.abs(RATIOS - gap))])


def _ratio_like(gap: float, usual: float) -> float:
    """Return the logarithm of the split ratio that matches a price gap; 0 if no ratio does."""
    nearest = _nearest_ratio(gap)
    return nearest if abs(nearest - gap) <= min(max(3 * usual, _RATIO_SLACK), 0.1) else 0.0


def _without_dividends(series: CheckedSeries) -> Floats:
    """Return the price gaps minus the part explained by dividends, which can be half the price."""
    gaps = series.gaps
    if not series.dividends:
        return gaps
    gaps, close = gaps.copy(), series.table.close
    days = 1 if series.timeframe.step_ms == 86_400_000 or series.timeframe.is_intraday else 2
    for row, event in zip(series.rows_of(series.dividends).tolist(), series.dividends, strict=True):
        for at in range(row, min(row + days, len(close))):
            if at > 0 and 0 < event.value < close[at - 1]:
                without = gaps[at - 1] - np.log1p(-event.value / close[at - 1])
                gaps[at - 1] = without if abs(without) < abs(gaps[at - 1]) else gaps[at - 1]
    return gaps


def _stays(series: CheckedSeries, row: int, size: float) -> bool:
    """Return whether prices stay near the price to which they jumped at ``row``."""
    table, sign = series.table, np.sign(series.gaps[row])
    after = slice(row + 1, row + 1 + _NEW_UNIT_BARS)
    stay = np.log(np.median(table.close[after]) / np.median(table.close[max(0, row - 4) : row + 1]))
    return bool(abs(stay * sign - size) <= size / 3)


def _is_like_others(series: CheckedSeries, row: int, size: float) -> bool:
    """Return whether turnover at a jump did not exceed the turnover before the jump.

    If there is no volume data, the jump must instead match the size of the split exactly.
    """
    if not series.has_volume:
        return bool(abs(abs(series.gaps[row]) - size) <= max(2 * series.gap_noise, 0.01))
    return not _is_news(series, row + 1)


def _volume_odds(series: CheckedSeries, row: int, size: float) -> float:
    """Return the log odds that volume changes permanently at a price gap, as after a split.

    The change is compared with the change expected without a split, considering the uncertainty of
    the volumes in these weeks, and the differences between adjacent weeks elsewhere in the series.
    In addition, ordinary turnover on the day is evidence for a split.
    """
    volume = series.table.volume
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.log(np.where(volume > 0, volume, NAN))
    expected = -float(np.sign(series.gaps[row])) * size
    sides = [shares[max(0, row + 1 - _DAYS) : row + 1], shares[row + 1 : row + 1 + _DAYS]]
    before, after = (side[np.isfinite(side)] for side in sides)
    if min(len(before), len(after)) < _FEW_DAYS:
        return 0.0
    step, error = _step(before, after)
    if abs(step - expected) >= size * (_WIDE_STEP if size >= _LARGE_SPLIT else _STEP_SLACK):
        return 0.0
    spread = _APART_SHARE * _volume_scatter(shares, row)
    # The log odds of a step of that size against no step, assuming normally distributed errors.
    variance = error**2 + _LEAST_ERROR**2 + spread**2
    odds = (step**2 - (step - expected) ** 2) / (2 * variance) + _quiet_odds(series, row)
    # Volatile weeks increase volume as much as a small split does.
    is_wild = size < _LARGE_SPLIT and _wilder(series, row) * np.sign(expected) > _WILDER_LOG
    return min(odds, _CERTAIN_ODDS) if is_wild else odds


def _wilder(series: CheckedSeries, row: int) -> float:
    """Return how much larger price moves are in the weeks after a row than before, as a log ratio."""
    moves = series.moves
    before, after = noise(moves[max(0, row - _DAYS) : row]), noise(moves[row + 1 :][:_DAYS])
    return float(np.log(after / before)) if before > 0 and after > 0 else 0.0


def _step(before: Floats, after: Floats) -> tuple[float, float]:
    """Return the rise in the mean from ``before`` to ``after``, and its standard error.

    Single odd days have little weight. Days that resemble their neighbours carry less information
    than independent ones.
    """
    weights = np.ones(len(before) + len(after))
    for _ in range(3):
        means = (
            np.average(before, weights=weights[: len(before)]),
            np.average(after, weights=weights[len(before) :]),
        )
        rest = np.append(before - means[0], after - means[1])
        scale = max(noise(rest), 1e-9)
        weights = 1 / np.maximum(1.0, np.abs(rest) / (_ODD_DAY * scale))
    rho = float(np.clip(np.sum(rest[1:] * rest[:-1]) / max(np.sum(rest**2), 1e-9), 0.0, 0.9))
    days = 1 / weights[: len(before)].sum() + 1 / weights[len(before) :].sum()
    error = scale * np.sqrt(days * (1 + rho) / (1 - rho))
    return float(means[1] - means[0]), float(error)


def _quiet_odds(series: CheckedSeries, row: int) -> float:
    """Return the log odds of a split rather than news, based on the turnover at a jump."""
    money = series.table.close * series.table.volume
    before = float(np.nanmedian(money[max(0, row + 1 - _VOLUME_ROWS) : row + 1]))
    most = float(np.nanmax(money[row + 1 : row + 3]))
    if not (before > 0 and most > 0):
        return 0.0
    return float(np.clip(_QUIET_WEIGHT * np.log(_NEWS_RATIO * before / most), 0.0, _MOST_QUIET))


def _volume_scatter(shares: Floats, row: int) -> float:
    """Return the standard deviation of the differences between medians of adjacent weeks.

    Weeks near ``row`` are left out.
    """
    width = _DAYS + _NEWS_ROWS
    starts = range(0, len(shares) - 2 * width, width // 2)
    steps = [
        np.median(shares[a + width : a + width + _DAYS]) - np.median(shares[a : a + _DAYS])
        for a in starts
        if not a - width <= row <= a + 2 * width
    ]
    return noise(np.array(steps)) if len(steps) >= _FEW_STEPS else _USUAL_SCATTER


def _is_news(series: CheckedSeries, row: int) -> bool:
    """Return whether turnover at a jump was much higher than usual, as for a price move on news."""
    before, days = slice(max(0, row - _VOLUME_ROWS), row), slice(row, row + 2)
    money = series.table.close * series.table.volume
    usual = float(np.median(money[before])) if row else 0.0
    return bool(usual > 0 and np.max(money[days]) > _NEWS_RATIO * usual)


def _is_busy(series: CheckedSeries, row: int) -> bool:
    """Return whether many more shares than usual changed hands at a jump, regardless of the price."""
    volume = series.table.volume
    usual = float(np.median(volume[max(0, row - _VOLUME_ROWS) : row])) if row else 0.0
    return bool(usual > 0 and np.max(volume[row : row + 2]) > _NEWS_RATIO * usual)


def repaired_prices(table: BarTable, repairs: list[Repair]) -> BarTable:
    """Apply repairs to the prices of a table.

    If only part of a row was repaired, its high and low are extended to enclose its open and close
    again.
    """
    if not repairs:
        return table
    columns = {name: getattr(table, name).copy() for name in (*PRICES, "volume")}
    if table.adj_close is not None:
        columns["adj_close"] = table.adj_close.copy()
    in_part = np.zeros(len(table), dtype=bool)
    for repair in repairs:
        rows = np.zeros(len(table), dtype=bool)
        rows[np.searchsorted(table.stamps, repair.stamps)] = True
        in_part |= rows & (len(repair.columns) < len(PRICES))
        for name in repair.columns:
            columns[name][rows] *= repair.factor
        columns["volume"][rows] *= repair.volume
        if "close" in repair.columns and table.adj_close is not None:
            columns["adj_close"][_also_adjusted(table, rows, repair.factor)] *= repair.factor
    if not in_part.any():
        return BarTable(table.stamps, **columns)
    ends = columns["open"], columns["close"]
    columns["high"] = np.where(
        in_part, np.maximum(columns["high"], np.maximum(*ends)), columns["high"]
    )
    columns["low"] = np.where(
        in_part, np.minimum(columns["low"], np.minimum(*ends)), columns["low"]
    )
    return BarTable(table.stamps, **columns)


def _also_adjusted(table: BarTable, rows: Mask, factor: float) -> Mask:
    """Return a mask of the rows whose ``adj_close`` is off by the same factor as the close.

    The decision is based on the edges of each run of rows.
    """
    assert table.adj_close is not None
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.log(table.adj_close / table.close)
    along = rows.copy()
    for first, end in runs(rows):
        inner, outer = (first, first - 1) if first else (end - 1, min(end, len(rows) - 1))
        if abs(share[inner] - share[outer]) > abs(np.log(factor)) / 2:
            along[first:end] = False
    return along
