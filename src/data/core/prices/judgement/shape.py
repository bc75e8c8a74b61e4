"""Checks of rows and their sequence: order, calendar, stale runs, spikes, volume, longer bars."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...calendars.buckets import next_stamps
from ...model.display.texts import counted
from ...model.market.bars import NAN, Floats, Stamps
from ...model.time.instant import DAY_MS, MINUTE_MS, iso
from ..bar_rule import PRICE_TOLERANCE, are_bars, faults_of
from .findings import Severity
from .levels import Defect, price_text
from .series import CheckedSeries, Mask, beyond, by_section, local_noise, runs, typical

# Fraction of expected bars from which a series should have all of them: 19 of 20.
_DENSE_SHARE = 0.95
# A sparse series has gaps, so only a gap ten times as long as usual is reported.
_LONG_HOLE_RATIO, _LEAST_HOLES, _MOST_SHOWN_HOLES = 10, 5, 3
_MINUTES_MS = 5 * MINUTE_MS
# Number of expected bars from which a calendar shows the weekdays on which a market opens, and the
# fraction of weeks below which trading on another weekday is not regular.
_FEW_EXPECTED, _FEW_DAYS_OFF = 20, 0.05

# A run is stale if a run of its length would occur by chance in one of a thousand such series.
_STALE_CHANCE, _LEAST_REPEATS, _UNTRADED_SHARE = 1e-3, 4, 0.5
_COPY_CHANCE, _MOST_COPIES = 0.01, 3
# Number of bars with price moves that must repeat those of the day before, to the last share, to be
# a copy.
_COPIED_BARS = 5
# Markets that close for longer than this open on another trading day; breaks at noon are shorter.
_LONGEST_BREAK_MS = 3 * 60 * MINUTE_MS

# Minimum size of a spike, which leaves and returns, in usual moves; it must also be at least 5 %.
# One genuine bar of 202,557 has this size; with half these limits, two would.
_SPIKE_MOVES, _LEAST_SPIKE, _RETURN_SHARE = 12.0, 0.05, 0.25
# Minimum distance of a wrong high or low from all adjacent prices, with no more than the usual
# volume. Among 125,791 real bars of shares and currencies, the largest distance not known to be
# wrong is a fifth.
_WICK_DISTANCE, _WICK_RANGES, _WICK_VOLUME, _WICK_BARS = float(np.log(1.8)), 12.0, 2.0, 20
_EXTREME_MOVE, _EXTREME_NOISE, _MOST_SHOWN = 0.5, 20.0, 5

_NO_VOLUME_SHARE, _QUIET_RUN = 0.05, 5
_VOLUME_SPIKE = 20.0
# Fixed limits for flagging large moves and volumes, which occur in every market and are not
# defects.
_VOLUME_SDS = 5.0
_DAY_SLACK, _VOLUME_SLACK, _FEW_DAYS = 1e-3, 0.02, 4


def order_errors(series: CheckedSeries) -> list[Defect] | str:
    """Find invalid rows: those with missing, impossible or unordered prices, or impossible volumes."""
    rows = np.flatnonzero(~are_bars(series.table))
    if not len(rows):
        return []
    table, at = series.table, int(rows[0])
    prices = "/".join(price_text(column[at]) for column in series.prices)
    fault = faults_of(table.take(rows[:1]))[0]
    text = f"{counted(len(rows), 'row')} cannot be bars; the first: {prices} (o/h/l/c), {fault}"
    # A low slightly above the close is harmless; it is due to auctions and rounding.
    with np.errstate(all="ignore"):
        top, bottom = np.fmax(table.open, table.close), np.fmin(table.open, table.close)
        far = np.fmax(top / table.high, table.low / bottom)[rows] - 1
    # A row whose prices are in order is wrong for another reason.
    grave = ~((far > PRICE_TOLERANCE) & (far <= 0.05))
    if grave.any():
        return [Defect(table.stamps[rows], text)]
    return [Defect(table.stamps[rows], text, "warning", cause="order by little")]


def calendar_errors(series: CheckedSeries) -> list[Defect] | str:
    """Find expected bars that the series lacks, and bars at times when the calendar expects none.

    The result is a string with the reason if the series cannot be checked.
    """
    expected, stamps = series.expected, series.table.stamps
    if expected is None or not len(stamps):
        return "the calendar does not define when its bars open"
    expected = expected[slice(*np.searchsorted(expected, [stamps[0], stamps[-1] + 1]))]
    if np.array_equal(expected, stamps):
        return []
    if not len(expected):
        return "the calendar expects no bar in this stretch"
    positions = np.minimum(np.searchsorted(expected, stamps), len(expected) - 1)
    is_expected = expected[positions] == stamps
    there = np.zeros(len(expected), dtype=bool)
    there[positions[is_expected]] = True
    defects = []
    holes = runs(~there)
    share = float(there.mean())
    # A minute without a trade has no bar even in a dense series; an hour or a day has trades.
    is_dense = share >= _DENSE_SHARE
    if not is_dense or series.timeframe.longest_ms <= _MINUTES_MS:
        usual = 1.0
        if not is_dense and there.any():
            usual = float(np.median(np.diff(np.flatnonzero(there), prepend=-1)))
        if not is_dense and len(holes) >= _LEAST_HOLES:
            usual = max(usual, float(np.median([b - a for a, b in holes])))
        holes = [hole for hole in holes if hole[1] - hole[0] >= _LONG_HOLE_RATIO * usual]
    missing = np.concatenate([expected[a:b] for a, b in holes]) if holes else expected[:0]
    if len(missing):
        longest = sorted(holes, key=lambda hole: hole[0] - hole[1])[:_MOST_SHOWN_HOLES]
        where = ", ".join(f"{b - a} from {_time(series, expected[a])}" for a, b in sorted(longest))
        lacking = f"{len(missing)} of {len(expected)} expected bars"
        text = f"{lacking} are missing in {counted(len(holes), 'hole')}: {where}"
        defects.append(Defect(missing, text, "warning"))
    elif share < 1:
        count = int((~there).sum())
        defects.append(
            Defect(
                expected[~there],
                f"{count} of {len(expected)} bars are missing, here and there, as in thin markets",
                "info",
            )
        )
    extra = stamps[~is_expected]
    if len(extra):
        first = _time(series, extra[0])
        text = f"{counted(len(extra), 'bar')} outside of trading hours, the first at {first}"
        defects.append(Defect(extra, text, "info"))
    return defects + list(_closed_days(series, expected, extra))


def _closed_days(series: CheckedSeries, expected: Stamps, extra: Stamps) -> Iterator[Defect]:
    """Yield defects for bars on weekdays on which the market is never open."""
    if len(expected) < _FEW_EXPECTED or series.timeframe.longest_ms > DAY_MS:
        return
    is_open = np.isin(np.arange(7, dtype=np.int64), _weekdays(expected))
    rows = extra[~is_open[_weekdays(extra)]]
    weeks = (series.table.stamps[-1] - series.table.stamps[0]) / (7 * DAY_MS)
    days = np.unique(rows // DAY_MS)
    # A market that regularly trades on such days does not follow the known calendar.
    if len(days) and len(days) <= max(1.0, _FEW_DAYS_OFF * weeks):
        text = (
            f"{counted(len(rows), 'bar')} on a day of the week on which the market is never open, the first "
            f"on {iso(int(rows[0]))[:10]}"
        )
        yield Defect(rows, text, "warning", cause="closed day")


def _weekdays(stamps: Stamps) -> Stamps:
    """Return the weekday of each timestamp; 0 is Thursday, because 1970 began on a Thursday."""
    return stamps // DAY_MS % 7


def _time(series: CheckedSeries, stamp: int) -> str:
    text = iso(int(stamp))
    return text if series.timeframe.is_intraday else text[:10]


# --- stale -----------------------------------------------------------------------------------------


@by_section
def stale_runs(series: CheckedSeries) -> list[Defect] | str:
    """Find prices that stay the same for longer than chance can explain in this series."""
    table, days = series.table, list(_copied_days(series))
    same = np.ones(max(len(table) - 1, 0), dtype=bool)
    for column in series.prices:
        same &= column[1:] == column[:-1]
    if not same.any():
        return days
    same_volume = np.zeros_like(same)
    if series.has_volume:
        # Without volume, nothing was traded, and the price is that of the last trade.
        same &= table.volume[1:] > 0
        same_volume = same & (table.volume[1:] == table.volume[:-1])
    elif same.mean() > _UNTRADED_SHARE:  # a share that does not trade at all
        return days
    defects = days + list(_unlikely_repeats(series, same_volume, "prices and volume"))
    flagged = {int(stamp) for defect in defects for stamp in defect.stamps}
    more = _unlikely_repeats(series, same, "prices")
    defects += [defect for defect in more if int(defect.stamps[-1]) not in flagged]
    flagged |= {int(stamp) for defect in defects for stamp in defect.stamps}
    return defects + [
        d for d in _copies(series, same, same_volume) if int(d.stamps[-1]) not in flagged
    ]


def _copies(series: CheckedSeries, same: Mask, same_volume: Mask) -> Iterator[Defect]:
    """Yield defects for bars that equal the previous bar, even in volume, although their prices moved."""
    table = series.table
    copied = same_volume & (table.high[1:] > table.low[1:])
    if not copied.any():
        return
    # The expected frequency of both repeating together: the product of the frequencies for prices
    # and for volumes.
    volumes = table.volume[1:] == table.volume[:-1]
    rows, count = len(same), int(copied.sum())
    if count > max(_MOST_COPIES, rows // 100):  # usual for the market or the source
        return
    both = (same.sum() - count + 1) / (rows + 1) * (volumes.sum() - count + 1) / (rows + 1)
    if rows * both > _COPY_CHANCE:
        return
    for row in (np.flatnonzero(copied) + 1).tolist():
        when = _time(series, table.stamps[row])
        text = f"the bar of {when} repeats the one before in all prices and in volume"
        # Within a day, a thinly traded market may do the same thing twice.
        severity: Severity = "warning" if series.timeframe.is_intraday else "error"
        yield Defect(table.stamps[row : row + 1], text, severity, cause="copied")


def _copied_days(series: CheckedSeries) -> Iterator[Defect]:
    """Yield defects for days whose intraday bars, including volume, are the same as on the day before."""
    table = series.table
    if not series.timeframe.is_intraday or not series.has_volume:
        return
    days = _days_begin(series)
    starts = np.flatnonzero(np.diff(days, prepend=days[0] - 1))
    lengths = np.diff(starts, append=len(days))
    # For each bar, the same time of the trading day before, and the bar at that time; there is none
    # on the first day.
    shifts = np.diff(days[starts], prepend=days[0] - DAY_MS)
    wanted = table.stamps - np.repeat(shifts, lengths)
    positions = np.searchsorted(table.stamps, wanted)
    same = table.stamps[positions] == wanted
    for column in (*series.prices, table.volume):
        same &= column[positions] == column
    moved = (table.high > table.low) & (table.volume > 0)
    both, moving = np.add.reduceat([same & moved, moved], starts, axis=1, dtype=np.int64)
    for day in np.flatnonzero(both >= np.maximum(_COPIED_BARS, moving / 2)).tolist():
        rows = starts[day] + np.flatnonzero(same[starts[day] :][: lengths[day]])
        text = (
            f"{counted(len(rows), 'bar')} from {iso(int(table.stamps[rows[0]]))} on repeat those of "
            "the trading day before in all prices and in volume"
        )
        yield Defect(table.stamps[rows], text, "error", cause="copied day")


def _days_begin(series: CheckedSeries) -> Stamps:
    """Return the time at which the trading day of each row begins."""
    stamps, expected = series.table.stamps, series.expected
    if expected is None or series.asset_class == "crypto" or not len(expected):
        return stamps // DAY_MS * DAY_MS
    closed = np.diff(expected, prepend=expected[0] - DAY_MS)
    opens = expected[closed > max(_LONGEST_BREAK_MS, series.timeframe.longest_ms)]
    if not len(opens):
        return stamps // DAY_MS * DAY_MS
    if len(opens) > 1:  # the first expected bar may be in the middle of a session
        opens[0] = opens[1] + (opens[0] - opens[1]) // DAY_MS * DAY_MS
    opens = opens[np.maximum(np.searchsorted(opens, stamps, side="right") - 1, 0)]
    # A market of currencies is open for five days.
    return opens + (stamps - opens) // DAY_MS * DAY_MS


def _unlikely_repeats(series: CheckedSeries, same: Mask, what: str) -> Iterator[Defect]:
    """Yield defects for runs of repeats too long for chance, given the frequency of shorter runs."""
    if not same.any():
        return
    repeats = sorted(runs(same), key=lambda run: run[0] - run[1])
    lengths = np.array([b - a for a, b in repeats], np.int64)
    rows = len(same)
    # For each run, the position at which the shorter runs begin, and the number of bars in these.
    starts = np.searchsorted(-lengths, -lengths, side="right").tolist()
    total = int(lengths.sum())
    before = np.append(0, np.cumsum(lengths))
    for (first, end), length, start in zip(repeats, lengths.tolist(), starts, strict=True):
        if length < _LEAST_REPEATS:
            return
        longer = int(before[start])
        count, bars = len(lengths) - start, total - longer
        # The higher of two frequencies counts: that of a repeat after any bar, and after another
        # repeat.
        begin = (count + 1) / (rows - longer + 2)
        again = (bars - count + begin) / (bars + 1)
        chance = rows * begin * max(begin, again) ** (length - 1)
        if chance > _STALE_CHANCE:
            return
        stamps = series.table.stamps[first : end + 1]
        usual = int(lengths[start] if count else 0) + 1
        text = (
            f"{what} stand still for {length + 1} bars from {_time(series, stamps[0])} at "
            f"{price_text(series.table.close[first])}; other runs have at most {usual}"
        )
        if _is_quiet(series, first, end + 1):
            yield Defect(stamps, f"{text}; little was traded in them", "info")
        elif length == rows:
            yield Defect(stamps, f"{text}; there is no other bar to compare with", "warning")
        elif "volume" in what:
            yield Defect(stamps, text, cause="stale volume")
        else:
            yield Defect(stamps, text, "warning")


def _is_quiet(series: CheckedSeries, first: int, end: int) -> bool:
    """Return whether each bar in a run has a single price and little volume, as in quiet markets."""
    table = series.table
    if (table.high[first:end] > table.low[first:end]).any():
        return False
    usual = typical(table.volume[table.volume > 0])
    return not series.has_volume or bool(np.median(table.volume[first:end]) < usual / 2)


# --- spikes and moves ------------------------------------------------------------------------------


@by_section
def outliers(series: CheckedSeries) -> list[Defect] | str:
    """Find single bars that are far from both adjacent bars, with no missing bars in between.

    The result is a string with the reason if the series cannot be checked.
    """
    if len(series) < 5:
        return "it has fewer than five bars"
    table, gaps = series.table, series.gap_ratios
    usual = max(series.gap_noise, series.move_noise / 2)
    least = max(_SPIKE_MOVES * usual, _LEAST_SPIKE)
    bodies = table.close / table.open
    # A spike is a bar that jumps away at or after its open, followed by an open that jumps back.
    ways = [(row + 1, gaps[row], gaps[row + 1]) for row in beyond(gaps[:-1], least).tolist()]
    ways += [(row, bodies[row], gaps[row]) for row in beyond(bodies[:-1], least).tolist()]
    back = {row for row, *both in ways if _returns(series, row, np.log(both), least)}
    positions = np.array(sorted(back), dtype=np.intp)
    defects = []
    # Extended hours have quotes without trades; these are neither prices nor defects.
    for rows, is_traded in (
        (positions[series.traded[positions]], True),
        (positions[~series.traded[positions]], False),
    ):
        if len(rows):
            at = int(rows[0])
            near = [price_text(table.close[max(at - 1, 0)]), price_text(table.close[at])]
            near.append(price_text(table.open[min(at + 1, len(table) - 1)]))
            text = (
                f"{counted(len(rows), 'bar')} far from the neighbours and right back: {near[1]} at "
                f"{_time(series, table.stamps[at])} after {near[0]}, then {near[2]}"
                f"{'' if is_traded else '; nothing was traded in them'}"
            )
            defects.append(Defect(table.stamps[rows], text, "warning" if is_traded else "info"))
    return defects + list(_wicks(series, back))


def _wicks(series: CheckedSeries, flagged: set[int]) -> Iterator[Defect]:
    """Yield defects for single highs and lows far beyond the other prices nearby, with ordinary volume."""
    table = series.table
    before, after = np.append(table.open[:1], table.close[:-1]), np.append(table.open[1:], NAN)
    ends = np.array([table.open, table.close, before, after], np.float64)
    # Only the opens and closes beside the series are NaN, which these functions ignore.
    highest, lowest = np.fmax.reduce(ends), np.fmin.reduce(ends)
    away = np.log([table.high / highest, lowest / table.low])
    ranges = np.log(table.high / table.low)
    usual = _WICK_RANGES * typical(ranges)
    for row in np.flatnonzero(away.max(axis=0) > max(_WICK_DISTANCE, usual)).tolist():
        near = slice(max(0, row - _WICK_BARS), row + _WICK_BARS + 1)
        longest = _WICK_RANGES * typical(ranges[near])
        if row in flagged or away[:, row].max() <= longest:
            continue
        if series.has_volume:
            volume = table.volume[near]
            if not 0 < table.volume[row] <= _WICK_VOLUME * typical(volume[volume > 0]):
                continue
        # Order books of coins are thin: prices have fallen to 1/10,000 and back within an hour.
        is_sure = series.asset_class in ("stock", "forex")
        is_high = bool(away[0, row] >= away[1, row])
        name, price = ("high", table.high) if is_high else ("low", table.low)
        text = (
            f"a {name} of {price_text(price[row])} at {_time(series, table.stamps[row])} in a bar from "
            f"{price_text(table.open[row])} to {price_text(table.close[row])}, with no more volume than usual"
        )
        severity: Severity = "warning" if is_sure else "info"
        yield Defect(table.stamps[row : row + 1], text, severity, cause="wick")


def _returns(series: CheckedSeries, row: int, ways: Floats, least: float) -> bool:
    """Return whether the price jumps at a bar and then reverts by a similar amount.

    Both moves must be larger than ``least``, and much larger than the moves around the bar.
    """
    out, back = ways
    size = min(abs(out), abs(back))
    if not (size > least and out * back < 0 and abs(out + back) < _RETURN_SHARE * size):
        return False
    wild = local_noise(series.gap_ratios, row), local_noise(series.move_ratios, row) / 2
    return bool(size > _SPIKE_MOVES * max(wild))


@by_section
def extreme_moves(series: CheckedSeries) -> list[Defect] | str:
    """Find close-to-close moves far beyond the usual size, although such moves do occur in markets."""
    moves, usual = series.move_ratios, _EXTREME_NOISE * series.move_noise
    flagged = list(_return_outliers(series))
    least = 0.05 if series.timeframe.is_intraday else float(np.log1p(_EXTREME_MOVE))
    rows = beyond(moves, max(least, usual)) + 1
    if not len(rows):
        return flagged
    largest = rows[np.argsort(-np.abs(np.log(moves[rows - 1])))][:_MOST_SHOWN]
    where = ", ".join(
        f"{moves[r - 1] - 1:+.0%} at {_time(series, series.table.stamps[r])}" for r in largest
    )
    return [
        Defect(
            series.table.stamps[rows], f"{counted(len(rows), 'very large move')}: {where}", "info"
        ),
        *flagged,
    ]


def _return_outliers(series: CheckedSeries) -> Iterator[Defect]:
    """Yield defects for close-to-close moves too many standard deviations from their mean."""
    distances = _deviations(series.move_ratios - 1)
    rows = np.flatnonzero(np.abs(distances) > series.return_sds)
    if len(rows):
        at = int(rows[np.argmax(np.abs(distances[rows]))])
        text = (
            f"{counted(len(rows), 'move')} of more than {series.return_sds:g} standard deviations; "
            f"the farthest, {distances[at]:+.1f}, at {_time(series, series.table.stamps[at + 1])}"
        )
        yield Defect(series.table.stamps[rows + 1], text, "info", cause="return_outlier")


def _volume_outliers(series: CheckedSeries) -> Iterator[Defect]:
    """Yield defects for volumes more than five standard deviations above their mean."""
    distances = _deviations(series.table.volume)
    rows = np.flatnonzero(distances > _VOLUME_SDS)
    if len(rows):
        at = int(rows[np.argmax(distances[rows])])
        text = (
            f"{counted(len(rows), 'volume')} of more than {_VOLUME_SDS:g} standard deviations above the "
            f"mean; the farthest, {distances[at]:+.1f}, at {_time(series, series.table.stamps[at])}"
        )
        yield Defect(series.table.stamps[rows], text, "info", cause="volume_outlier")


def _deviations(values: Floats) -> Floats:
    """Return each value's distance from the mean in standard deviations; 0 if undefined."""
    finite = np.isfinite(values)
    rows = values[finite]
    if len(rows) < 2:
        return np.zeros(len(values))
    with np.errstate(over="ignore"):
        mean = np.add.reduce(rows) / len(rows)
        spread = float(np.sqrt(np.add.reduce((rows - mean) ** 2) / len(rows)))
    if not 0 < spread < np.inf:
        return np.zeros(len(values))
    return np.where(finite, (values - mean) / spread, 0.0)


# --- volume ----------------------------------------------------------------------------------------


def zero_volume(series: CheckedSeries) -> list[Defect] | str:
    """Find bars without volume in a series that otherwise has volume.

    The result is a string with the reason if the series cannot be checked.
    """
    if not series.has_volume:
        return "its source has no volume"
    none = series.table.volume == 0
    share = float(none.mean())
    if not share:
        return []
    text = f"{int(none.sum())} of {len(series)} bars ({share:.1%}) have no volume"
    stamps = series.table.stamps
    moving = none & (series.table.high > series.table.low)
    long_runs = [run for run in runs(moving) if run[1] - run[0] >= _QUIET_RUN]
    if share < _NO_VOLUME_SHARE and long_runs:
        rows = np.concatenate([np.arange(*run, dtype=np.int64) for run in long_runs])
        return [
            Defect(
                stamps[rows], f"{text}; {len(rows)} of them in runs whose prices move", "warning"
            )
        ]
    return [Defect(stamps[none], text, "info")]


def volume_spikes(series: CheckedSeries) -> list[Defect] | str:
    """Find bars with many times the usual volume, or with volume far above the mean.

    The result is a string with the reason if the series cannot be checked.
    """
    if not series.has_volume:
        return "its source has no volume"
    volume = series.table.volume
    usual = typical(volume[volume > 0])
    rows = np.flatnonzero(volume > _VOLUME_SPIKE * usual)
    flagged = list(_volume_outliers(series))
    if not len(rows):
        return flagged
    at = int(rows[np.argmax(volume[rows])])
    text = (
        f"{counted(len(rows), 'bar')} with more than {_VOLUME_SPIKE:.0f} times the usual volume; the most, "
        f"{volume[at] / usual:,.0f} times, at {_time(series, series.table.stamps[at])}"
    )
    return [Defect(series.table.stamps[rows], text, "info"), *flagged]


# --- against its own daily bars ------------------------------------------------------------------


def beyond_days(series: CheckedSeries) -> list[Defect] | str:
    """Find weekly and monthly bars whose prices are outside the range of their daily bars.

    The result is a string with the reason if the series cannot be checked.
    """
    if series.timeframe.step_ms == 86_400_000 or series.timeframe.is_intraday:
        return "it applies only to weeks and months"
    if series.days is None or not len(series.days):
        return "no daily bars are stored"
    days, table, stamps = series.days, series.table, series.table.stamps
    ends = next_stamps(stamps, series.timeframe)
    first, last = np.searchsorted(days.stamps, stamps), np.searchsorted(days.stamps, ends)
    rows: list[int] = []
    for row in np.flatnonzero(last > first).tolist():
        inside = slice(int(first[row]), int(last[row]))
        # Incomplete daily bars prove nothing, so their volume must match the bar's, or there must
        # be daily bars before and after the bar.
        total, volume = float(days.volume[inside].sum()), float(table.volume[row])
        is_whole = first[row] > 0 and last[row] < len(days) and last[row] - first[row] >= _FEW_DAYS
        if total > 0 and volume > 0:
            is_whole = abs(total / volume - 1) < _VOLUME_SLACK
        top, bottom = days.high[inside].max(), days.low[inside].min()
        is_beyond = (
            table.high[row] > top * (1 + _DAY_SLACK) or table.low[row] * (1 + _DAY_SLACK) < bottom
        )
        if is_whole and is_beyond:
            rows.append(row)
    if not rows:
        return []
    at = rows[0]
    inside = slice(int(first[at]), int(last[at]))
    text = (
        f"{counted(len(rows), 'bar')} with prices outside those of their days: that of "
        f"{_time(series, stamps[at])} from {price_text(series.table.low[at])} to "
        f"{price_text(series.table.high[at])}, its days from "
        f"{price_text(days.low[inside].min())} to {price_text(days.high[inside].max())}"
    )
    return [Defect(stamps[rows], text, "warning")]
