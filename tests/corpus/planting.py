"""Defects planted into real series, and right moves that look like defects.

All that is random comes from the name of the file and of what is planted: every run plants the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from src.data.core.model.market.bars import merge
from src.data.core.model.time.instant import DAY_MS
from src.data.core.prices.judgement.series import CheckedSeries, ShareEvent
from tests.core.prices.judgement import planting as simple
from tests.core.prices.judgement.planting import ALL, Planted, Random, scaled, with_columns

from .series import sessions_of

Plant = Callable[[CheckedSeries, Random], Planted]
TAILS = (0.3, 0.8, 0.93)
_APART_MS = 60 * DAY_MS


def _rows(series: CheckedSeries, first: int, end: int) -> np.ndarray:
    return series.table.stamps[first:end]


def _middle(series: CheckedSeries, random: Random) -> int:
    return int(len(series) * random.uniform(0.3, 0.7))


# --- splits ----------------------------------------------------------------------------------------


def untold(ratio: float) -> Plant:
    """All rows before a day are as before a split that nothing tells of."""

    def plant(series: CheckedSeries, random: Random) -> Planted:
        at = _middle(series, random)
        found = scaled(series, slice(0, at), ratio, ALL, 1 / ratio)
        return Planted(found, ("split",), _rows(series, 0, at + 1))

    return plant


def told_and_ignored(series: CheckedSeries, random: Random) -> Planted:
    """The answer tells of a split, and its rows before are not adjusted for it."""
    at, ratio = _middle(series, random), float(random.choice([2.0, 1.5, 3.0, 10.0, 0.05]))
    found = scaled(series, slice(0, at), ratio, ALL, 1 / ratio)
    return Planted(_telling(found, at, ratio), ("split",), _rows(series, 0, at + 1))


def _small_ratio(random: Random) -> float:
    ratio = float(random.choice([1.03, 1.05, 1.1, 1.2, 1.25]))
    return ratio if random.random() < 0.8 else 1 / ratio


def small_and_ignored(series: CheckedSeries, random: Random) -> Planted:
    """The answer reports a split of 11:10 to 4:3, and its rows before are not adjusted for it."""
    at, ratio = _middle(series, random), float(random.choice([1.1, 1.2, 1.25, 4 / 3]))
    found = scaled(series, slice(0, at), ratio, ALL, 1 / ratio)
    return Planted(_telling(found, at, ratio), ("split",), _rows(series, 0, at + 1))


def half_applied(series: CheckedSeries, random: Random) -> Planted:
    """The split is told, and some rows before it are not adjusted, or twice."""
    at, ratio = _middle(series, random), float(random.choice([2.0, 3.0, 4.0, 20.0]))
    length = int(random.choice([1, 5, max(1, at // 3)]))
    begin = int(random.choice([at - length, (at - length) // 2]))
    off = ratio if random.random() < 0.7 else 1 / ratio
    found = scaled(series, slice(begin, begin + length), off, ALL, 1 / off)
    return Planted(_telling(found, at, ratio), ("split",), _rows(series, begin, begin + length))


def untold_in_part(series: CheckedSeries, random: Random) -> Planted:
    """Some rows are off by the ratio of a split that nothing tells of."""
    length = int(random.choice([1, 3, 20, 60]))
    at = int(random.integers(1, max(2, len(series) - length)))
    ratio = float(random.choice([2.0, 3.0, 0.5, 0.1, 4.0]))
    found = scaled(series, slice(at, at + length), ratio, ALL, 1 / ratio)
    return Planted(found, ("split",), _rows(series, at, at + length))


def untold_and_moved(ratio: float) -> Plant:
    """As :func:`untold`, and the price moves by 10 to 25 % against the split."""
    one = untold(ratio)

    def plant(series: CheckedSeries, random: Random) -> Planted:
        case = one(series, random)
        at = int(np.searchsorted(series.table.stamps, case.stamps[-1]))
        share = float(random.uniform(0.1, 0.25))
        change = share if ratio > 1 else -share
        return replace(case, series=_gapping(case.series, at, change, 1.0))

    return plant


def prices_alone(series: CheckedSeries, random: Random) -> Planted:
    """All prices before a day are as before a large split that nothing tells of, their volume as after."""
    at, ratio = _middle(series, random), float(random.choice([0.05, 0.1, 10.0, 20.0]))
    found = scaled(series, slice(0, at), ratio, ALL)
    return Planted(found, ("split",), _rows(series, 0, at + 1))


def _telling(series: CheckedSeries, row: int, ratio: float) -> CheckedSeries:
    event = ShareEvent(int(series.table.stamps[row]), ratio)
    return replace(series, splits=tuple(sorted((*(series.splits or ()), event))))


def told_and_moved(series: CheckedSeries, random: Random) -> Planted:
    """The rows before a reported split ignore it, and the price moves by as much as a half that day."""
    at, ratio = _middle(series, random), float(random.choice([10.0, 20.0, 0.1]))
    change = float(random.uniform(0.49, 0.8)) ** (1 if ratio > 1 else -1)
    found = scaled(series, slice(0, at), ratio, ALL, 1 / ratio)
    found = _gapping(found, at, change - 1, 1.0)
    return Planted(_telling(found, at, ratio), ("split",), _rows(series, 0, at + 1))


def told_large(series: CheckedSeries, random: Random) -> Planted:
    """The rows before a reported split of 50:1 to 1:10000 ignore it."""
    at, ratio = _middle(series, random), float(random.choice([0.0001, 0.001, 0.004, 50.0]))
    found = scaled(series, slice(0, at), ratio, ALL, 1 / ratio)
    return Planted(_telling(found, at, ratio), ("split",), _rows(series, 0, at + 1))


def nine_rows(series: CheckedSeries, random: Random) -> Planted:
    """Nine rows are off by a reported split: anywhere, its volume with it or not."""
    ratio = float(random.choice([2.0, 3.0, 4.0, 5.0, 10.0]))
    at, begin = _middle(series, random), int(random.integers(1, len(series) - 10))
    off = ratio if random.random() < 0.5 else 1 / ratio
    volume = 1 / off if random.random() < 0.5 else 1.0
    found = scaled(series, slice(begin, begin + 9), off, ALL, volume)
    return Planted(_telling(found, at, ratio), ("split",), _rows(series, begin, begin + 9))


def invented(series: CheckedSeries, random: Random) -> Planted:
    """A split is reported and applied that never was, and one open elsewhere is bad."""
    at, ratio = _middle(series, random), float(random.choice([2.0, 3.0, 4.0]))
    found = scaled(series, slice(0, at), 1 / ratio, ALL, ratio)
    opened, high, low = (getattr(found.table, name).copy() for name in ("open", "high", "low"))
    bad = int(random.integers(1, len(series) - 1))
    while abs(bad - at) < 3:
        bad = int(random.integers(1, len(series) - 1))
    opened[bad] *= ratio if random.random() < 0.5 else 1 / ratio
    high[bad], low[bad] = max(high[bad], opened[bad]), min(low[bad], opened[bad])
    found = with_columns(found, open=opened, high=high, low=low)
    return Planted(_telling(found, at, ratio), ("split",), _rows(series, 0, at + 1))


def _with_adj_close(series: CheckedSeries) -> CheckedSeries:
    """Return the series with an ``adj_close``, made of its dividends if it has none, and with splits."""
    series, table = replace(series, splits=series.splits or ()), series.table
    if table.adj_close is not None and np.isfinite(table.adj_close).all():
        return series
    factors, dividends = np.ones(len(table)), series.dividends or ()
    for row, one in zip(series.rows_of(dividends).tolist(), dividends, strict=True):
        if 0 < row < len(table):
            factors[:row] *= 1 - one.value / table.close[row - 1]
    return replace(series, table=table.with_adj_close(table.close * factors))


def untold_in_adj_close(series: CheckedSeries, random: Random) -> Planted:
    """All rows before a day are as before a split that nothing but ``adj_close`` tells of."""
    series, at = _with_adj_close(series), _middle(series, random)
    ratio = float(random.choice([2.0, 3.0, 1.5, 1.25, 4.0, 7.0, 2.376, 0.5, 0.1]))
    found = scaled(series, slice(0, at), ratio, ALL, 1 / ratio)
    found = replace(found, table=found.table.with_adj_close(series.table.adj_close))
    return Planted(found, ("adjusted close",), _rows(series, 0, at + 1))


def told_otherwise(series: CheckedSeries, random: Random) -> Planted:
    """A split is reported with another ratio than the one that ``adj_close`` and the prices follow."""
    series, at = _with_adj_close(series), _middle(series, random)
    told, true = random.choice([(3.0, 2.0), (2.0, 3.0), (1.5, 1.25), (4.0, 2.0), (2.0, 0.5)])
    found = scaled(series, slice(0, at), true / told, ALL, told / true)
    found = replace(found, table=found.table.with_adj_close(series.table.adj_close))
    return Planted(_telling(found, at, told), ("adjusted close",), _rows(series, 0, at + 1))


def above_close(series: CheckedSeries, random: Random) -> Planted:
    """``adj_close`` is in another unit, in all rows or in some."""
    series = _with_adj_close(series)
    first = int(random.choice([0, _middle(series, random)]))
    adj = np.array(series.table.adj_close)
    adj[first:] *= float(random.choice([25.0, 100.0, 1000.0]))
    found = replace(series, table=series.table.with_adj_close(adj))
    return Planted(found, ("adjusted close",), _rows(series, first, len(series)))


def told_days_before(series: CheckedSeries, random: Random) -> Planted:
    """The rows up to some days after a large split ignore it, and the price moves on with the jump."""
    at, ratio = _middle(series, random), float(random.choice([0.1, 0.05, 10.0, 4.0]))
    off = ratio if random.random() < 0.5 else 1 / ratio
    found = scaled(series, slice(0, at), off, ALL, 1 / off)
    found = _gapping(found, at, -0.5 if off > 1 else 1.0, 1.0)
    told = at - int(random.integers(2, 9))
    return Planted(_telling(found, told, ratio), ("split",), _rows(series, 0, at + 1))


def for_good_x100(series: CheckedSeries, random: Random) -> Planted:
    """All rows from some day on are in another unit: which of the two is right the series cannot say."""
    at = int(len(series) * random.uniform(0.1, 0.9))
    found = scaled(series, slice(at, len(series)), float(random.choice([100.0, 0.01])), ALL)
    return Planted(found, ("unit",), series.table.stamps)


def close_x100(series: CheckedSeries, random: Random) -> Planted:
    """One close is 100 times too large, and the high with it, as a bar must be."""
    at = int(random.integers(1, len(series) - 1))
    found = scaled(series, slice(at, at + 1), 100.0, ("high", "close"))
    return Planted(found, ("unit",), _rows(series, at, at + 1))


def half_x100(series: CheckedSeries, random: Random) -> Planted:
    """A half of the rows, more or less, in another unit: from the begin, to the end or between."""
    length = int(len(series) * random.uniform(0.35, 0.6))
    at = int(random.choice([0, (len(series) - length) // 2, len(series) - length]))
    found = scaled(series, slice(at, at + length), float(random.choice([100.0, 0.01])), ALL)
    return Planted(found, ("unit",), _rows(series, at, at + length))


# --- rows ------------------------------------------------------------------------------------------


def high_beyond(series: CheckedSeries, random: Random) -> Planted:
    """One high is two and a half times what it was."""
    at = int(random.integers(1, len(series) - 1))
    high = series.table.high.copy()
    high[at] *= 2.5
    return Planted(with_columns(series, high=high), ("outlier",), _rows(series, at, at + 1))


def low_beyond(series: CheckedSeries, random: Random) -> Planted:
    """One low is a small part of what it was."""
    at = int(random.integers(1, len(series) - 1))
    low = series.table.low.copy()
    low[at] /= random.uniform(2.0, 20.0)
    return Planted(with_columns(series, low=low), ("outlier",), _rows(series, at, at + 1))


def off_day(series: CheckedSeries, random: Random) -> Planted:
    """A bar stands on the Saturday behind some Friday: of days one with prices near Friday's, else all."""
    table = series.table
    fridays = np.flatnonzero((table.stamps // DAY_MS + 3) % 7 == 4)
    at = int(fridays[random.integers(0, len(fridays))])
    of_day = np.flatnonzero(table.stamps // DAY_MS == table.stamps[at] // DAY_MS)
    more = replace(table.take(of_day), stamps=table.stamps[of_day] + DAY_MS)
    columns = {name: getattr(more, name) * float(random.uniform(0.99, 1.01)) for name in ALL}
    more = replace(more, **columns, volume=np.round(more.volume * float(random.uniform(0.01, 1.1))))
    found = replace(series, table=merge(table, more))
    return Planted(found, ("calendar",), more.stamps)


def order_by_little(series: CheckedSeries, random: Random) -> Planted:
    """A high that is a little below open or close, as where an auction is left out."""
    at = int(random.integers(1, len(series) - 1))
    table, high = series.table, series.table.high.copy()
    high[at] = max(table.open[at], table.close[at]) / random.uniform(1.0005, 1.03)
    high[at] = max(high[at], min(table.open[at], table.close[at], table.low[at]))
    return Planted(with_columns(series, high=high), ("order",), _rows(series, at, at + 1))


def beyond_its_days(series: CheckedSeries, random: Random) -> Planted:
    """The high of one week is 1 to 10 % above that of any day of it."""
    at = int(random.integers(1, len(series) - 1))
    high = series.table.high.copy()
    high[at] *= random.uniform(1.01, 1.1)
    return Planted(with_columns(series, high=high), ("beyond days",), _rows(series, at, at + 1))


def volume_missing(series: CheckedSeries, random: Random) -> Planted:
    """The volumes of some bars in a row are 0, though their prices move."""
    length = int(random.integers(8, 16))
    at = int(random.integers(1, len(series) - length))
    volume = series.table.volume.copy()
    volume[at : at + length] = 0.0
    found = with_columns(series, volume=volume)
    return Planted(found, ("no volume",), _rows(series, at, at + length))


def copied(series: CheckedSeries, random: Random) -> Planted:
    """One bar is that of the bar before, volume included."""
    return _moved(series, int(random.integers(1, len(series) - 1)), 1)


def shifted(series: CheckedSeries, random: Random) -> Planted:
    """A tenth of the bars stand one stamp too late."""
    length = max(2, len(series) // 10)
    return _moved(series, int(random.integers(1, len(series) - length)), length)


def _moved(series: CheckedSeries, at: int, length: int) -> Planted:
    columns = {}
    for name in (*ALL, "volume"):
        columns[name] = getattr(series.table, name).copy()
        columns[name][at : at + length] = getattr(series.table, name)[at - 1 : at - 1 + length]
    return Planted(with_columns(series, **columns), ("stale",), _rows(series, at, at + length))


def small_hundred(series: CheckedSeries, random: Random) -> Planted:
    """A dividend of 0.1 to 0.3 % is reported a hundredfold, all others as they are: all of one amount."""
    return _hundredfold(series, random, is_all=False)


def in_pounds(series: CheckedSeries, random: Random) -> Planted:
    """One dividend, or all, are in pounds for prices in pence; ``adj_close`` and the price follow them."""
    dividends = list(series.dividends or ())
    wrong = int(random.integers(0, len(dividends)))
    is_all = random.random() < 0.5
    told = [
        one._replace(value=one.value / (100 if is_all or place == wrong else 1))
        for place, one in enumerate(dividends)
    ]
    stamps = np.array([one.at_ms for one in dividends], dtype=np.int64)
    found = replace(series, dividends=tuple(told))
    return Planted(found, ("dividend",), stamps if is_all else stamps[wrong : wrong + 1])


def all_hundred(series: CheckedSeries, random: Random) -> Planted:
    """All dividends, of 0.1 to 0.3 %, are reported a hundredfold."""
    return _hundredfold(series, random, is_all=True)


def _hundredfold(series: CheckedSeries, random: Random, *, is_all: bool) -> Planted:
    dividends, share = list(series.dividends or ()), float(random.uniform(0.001, 0.003))
    wrong = len(dividends) if is_all else int(random.integers(0, len(dividends)))
    rows = series.rows_of(dividends)
    amount = float(np.median(series.table.close[rows - 1])) * share
    told = [
        one._replace(value=amount * (100 if is_all or place == wrong else 1))
        for place, one in enumerate(dividends)
    ]
    stamps = np.array([one.at_ms for one in (told if is_all else [told[wrong]])])
    table = series.table.with_adj_close(None)
    found = replace(series, table=table, dividends=tuple(told))
    return Planted(found, ("dividend",), stamps)


def copied_day(series: CheckedSeries, random: Random) -> Planted:
    """The bars of one day are those of the day before, volume included."""
    days = series.table.stamps // DAY_MS
    starts = np.flatnonzero(np.diff(days, prepend=-1))
    one = int(random.integers(0, len(starts) - 1))
    before = np.arange(starts[one], starts[one + 1])
    end = starts[one + 2] if one + 2 < len(starts) else len(days)
    shift = int(days[starts[one + 1]] - days[starts[one]]) * DAY_MS
    stamps = series.table.stamps
    rows = np.arange(starts[one + 1], end)
    rows = rows[np.isin(stamps[rows] - shift, stamps[before])]
    places = np.searchsorted(stamps, stamps[rows] - shift)
    columns = {name: getattr(series.table, name).copy() for name in (*ALL, "volume")}
    for column in columns.values():
        column[rows] = column[places]
    return Planted(with_columns(series, **columns), ("stale",), stamps[rows])


def dividend_twice(series: CheckedSeries, random: Random) -> Planted:
    """One dividend is reported again three days later."""
    dividends = list(series.dividends or ())
    one = dividends[int(random.integers(0, len(dividends)))]
    again = one._replace(at_ms=one.at_ms + 3 * DAY_MS)
    stamps = np.array([one.at_ms, again.at_ms])
    found = replace(series, dividends=tuple(sorted((*dividends, again))))
    return Planted(found, ("dividend",), stamps)


def unlike_days(series: CheckedSeries, random: Random) -> Planted:
    """Hours or minutes in another unit, or of other splits, than their days: all, from a day on, or a few."""
    is_share = series.asset_class == "stock"
    ratios = [100.0, 0.01, *([2.0, 0.5, 4.0, 1 / 3, 10.0, 1.5] if is_share else [])]
    begin, end = _some_bars(series, random)
    found = scaled(series, slice(begin, end), float(random.choice(ratios)), ALL)
    return Planted(found, ("beside days",), _rows(series, begin, end))


def of_another(series: CheckedSeries, random: Random) -> Planted:
    """The bars of some days are those of another symbol, whose prices are in no ratio to these."""
    days = series.table.stamps // DAY_MS
    starts = np.flatnonzero(np.diff(days, prepend=-1))
    first = int(random.integers(0, len(starts)))
    begin, after = int(starts[first]), first + int(random.integers(1, 4))
    end = int(starts[after]) if after < len(starts) else len(series)
    factor = float(np.exp(random.choice([-1, 1]) * random.uniform(np.log(1.6), np.log(60))))
    found = scaled(series, slice(begin, end), factor, ALL)
    return Planted(found, ("beside days",), _rows(series, begin, end))


def _some_bars(series: CheckedSeries, random: Random) -> tuple[int, int]:
    """Return where a few bars begin and end, or those from some bar on, or all."""
    rows = len(series)
    begin = int(random.integers(0, rows - 8))
    few = begin, begin + int(random.integers(1, 8))
    return (few, (begin, rows), (0, rows))[int(random.integers(0, 3))]


# --- right moves that look like defects ------------------------------------------------------------


def _changed(series: CheckedSeries, columns: dict[str, np.ndarray]) -> CheckedSeries:
    """Return the series with other columns; ``adj_close`` stays at its share of the close."""
    if series.table.adj_close is not None:
        share = series.table.adj_close / series.table.close
        columns["adj_close"] = share * columns.get("close", series.table.close)
    return with_columns(series, **columns)


def _gapping(
    series: CheckedSeries, at: int, change: float, volume: float, tail: float = 0.3
) -> CheckedSeries:
    """Return the series with all later prices at another level, and so much traded for a while.

    ``tail`` is how much of it is left each bar later.
    """
    columns = {name: getattr(series.table, name).copy() for name in (*ALL, "volume")}
    for name in ALL:
        columns[name][at:] *= 1 + change
    fade = volume * tail ** np.arange(min(60, len(series) - at))
    columns["volume"][at : at + len(fade)] *= np.maximum(fade, 1)
    return _paying(_changed(series, columns), int(series.table.stamps[at]), 1 + change)


def _paying(series: CheckedSeries, from_ms: int, factor: float) -> CheckedSeries:
    """Return the series with all dividends from an instant on as large as its prices are then."""
    dividends = series.dividends and tuple(
        one._replace(value=one.value * (factor if one.at_ms >= from_ms else 1))
        for one in series.dividends
    )
    return replace(series, dividends=dividends)


def news(low: float, high: float) -> Plant:
    """A price opens much lower or higher on news, is traded in masses, and stays there."""

    def plant(series: CheckedSeries, random: Random) -> Planted:
        at = _middle(series, random)
        change = float(random.uniform(low, high))
        tail = float(random.choice(TAILS))
        series = _gapping(series, at, change, float(random.uniform(4, 25)), tail)
        return Planted(series, (), _rows(series, at, at + 1))

    return plant


def halved(low: float, high: float) -> Plant:
    """A price opens at very nearly a half, a third or two thirds, with so many times the volume."""

    def plant(series: CheckedSeries, random: Random) -> Planted:
        at = _middle(series, random)
        ratio = float(random.choice([1 / 2, 1 / 3, 2 / 3, 2.0]) * np.exp(random.normal(0, 0.004)))
        tail = float(random.choice(TAILS))
        series = _gapping(series, at, ratio - 1, float(random.uniform(low, high)), tail)
        return Planted(series, (), _rows(series, at, at + 1))

    return plant


def halved_and_back(series: CheckedSeries, random: Random) -> Planted:
    """A price halves on news and doubles on news some bars later; both days are traded in masses."""
    length = int(random.choice([2, 4, 20]))
    at = int(random.integers(1, len(series) - length - 1))
    found = _gapping(series, at, -0.5, float(random.uniform(6, 25)))
    found = _gapping(found, at + length, 1.0, float(random.uniform(6, 25)))
    return Planted(found, (), _rows(series, at, at + length + 1))


def flash_crash(series: CheckedSeries, random: Random) -> Planted:
    """A low far below, in one bar that opens and closes as ever, with ten times the volume."""
    at = int(random.integers(1, len(series) - 1))
    low, volume = series.table.low.copy(), series.table.volume.copy()
    low[at] *= float(np.exp(random.uniform(np.log(1e-5), np.log(0.8))))
    volume[at] *= 10
    return Planted(with_columns(series, low=low, volume=volume), (), _rows(series, at, at + 1))


def spike_traded(series: CheckedSeries, random: Random) -> Planted:
    """A high far above, in one bar that opens and closes as ever, with ten times the volume."""
    at = int(random.integers(1, len(series) - 1))
    high, volume = series.table.high.copy(), series.table.volume.copy()
    high[at] *= float(random.uniform(1.2, 4.0))
    near = volume[max(0, at - 20) : at + 21]
    volume[at] = 10 * max(volume[at], float(np.median(near)))
    return Planted(with_columns(series, high=high, volume=volume), (), _rows(series, at, at + 1))


def collapse(low: float, high: float) -> Plant:
    """A price opens at a twentieth to a fifth on news, or the reverse, much traded, and stays there."""

    def plant(series: CheckedSeries, random: Random) -> Planted:
        at = _middle(series, random)
        ratio = float(np.exp(random.uniform(np.log(1 / 20), np.log(1 / 5))))
        ratio = 1 / ratio if random.random() < 0.3 else ratio
        tail = float(random.choice(TAILS))
        series = _gapping(series, at, ratio - 1, float(random.uniform(low, high)), tail)
        return Planted(series, (), _rows(series, at, at + 1))

    return plant


def apart(series: CheckedSeries, random: Random) -> Planted:
    """A third of the rows was never asked for, and what comes behind has a price of its own."""
    first = int(len(series) * random.uniform(0.25, 0.4))
    end = first + max(len(series) // 3, 2)
    while (
        end < len(series) - 20
        and series.table.stamps[end] - series.table.stamps[first - 1] < _APART_MS
    ):
        end += 1
    factor = float(random.choice([1.0, 2.0, 0.5, 4.0, 100.0, 0.01]))
    moved = scaled(series, slice(end, len(series)), factor, ALL)
    if moved.dividends:
        later = int(series.table.stamps[end])
        moved = _paying(moved, later, factor)
    kept = np.r_[0:first, end : len(series)]
    expected = series.expected
    if expected is not None:
        stamps = series.table.stamps
        expected = expected[(expected < stamps[first]) | (expected >= stamps[end])]
    found = replace(moved, table=moved.table.take(kept), expected=expected)
    return Planted(found, (), _rows(series, first - 1, end + 1))


def crash_and_return(series: CheckedSeries, random: Random) -> Planted:
    """A fall by a third over four bars and back over six, each bar joining the one before."""
    at = int(random.integers(1, len(series) - 11))
    depth = np.interp(np.arange(11), [0, 4, 10], [0.0, np.log(0.65), 0.0])
    columns = {name: getattr(series.table, name).copy() for name in (*ALL, "volume")}
    columns["open"][at : at + 10] *= np.exp(depth[:10])
    columns["close"][at : at + 10] *= np.exp(depth[1:])
    ends = columns["open"], columns["close"]
    rows = slice(at, at + 10)
    columns["high"][rows] = np.maximum(*ends)[rows] * 1.001
    columns["low"][rows] = np.minimum(*ends)[rows] * 0.999
    columns["volume"][rows] *= 6
    return Planted(_changed(series, columns), (), _rows(series, at, at + 10))


def flat_bars(series: CheckedSeries, random: Random) -> Planted:
    """Twelve bars without a trade: the last price, volume 0."""
    at = int(random.integers(1, len(series) - 12))
    columns = {name: getattr(series.table, name).copy() for name in (*ALL, "volume")}
    for name in ALL:
        columns[name][at : at + 12] = series.table.close[at - 1]
    columns["volume"][at : at + 12] = 0.0
    return Planted(_changed(series, columns), (), _rows(series, at, at + 12))


def one_flat_bar(series: CheckedSeries, random: Random) -> Planted:
    """One bar in which a single trade was made."""
    at = int(random.integers(1, len(series) - 1))
    columns = {name: getattr(series.table, name).copy() for name in (*ALL, "volume")}
    for name in ALL:
        columns[name][at] = series.table.close[at]
    return Planted(_changed(series, columns), (), _rows(series, at, at + 1))


def split_told_and_applied(series: CheckedSeries, random: Random) -> Planted:
    """A split is told, and the rows before it are adjusted: nothing is to be seen."""
    at = _middle(series, random)
    ratio = float(random.choice([1.5, 2.0, 3.0, 7.0, 0.05, 0.1]))
    return Planted(_telling(series, at, ratio), (), _rows(series, at, at + 1))


def small_and_applied(series: CheckedSeries, random: Random) -> Planted:
    """A split of 103:100 to 5:4 is reported, and the rows before it are adjusted."""
    at = _middle(series, random)
    return Planted(_telling(series, at, _small_ratio(random)), (), _rows(series, at, at + 1))


def small_near_move(series: CheckedSeries, random: Random) -> Planted:
    """As :func:`small_and_applied`, some days before or after the move that is most like the split."""
    ratio, inside = _small_ratio(random), slice(11, len(series) - 12)
    away = np.abs(np.abs(series.gaps[inside]) - abs(np.log(ratio)))
    at = 12 + int(np.argmin(away)) + int(random.choice([-1, 1]) * random.integers(1, 11))
    return Planted(_telling(series, at, ratio), (), _rows(series, at, at + 1))


def split_and_crash(series: CheckedSeries, random: Random) -> Planted:
    """A split is told and applied, and on its ex-date the price moves by a tenth."""
    one = split_told_and_applied(series, random)
    at = int(np.searchsorted(series.table.stamps, one.stamps[0]))
    change = float(random.choice([-0.1, 0.1]))
    return replace(one, series=_gapping(one.series, at, change, 3.0))


def special_dividend(series: CheckedSeries, random: Random) -> Planted:
    """A quarter to a half of the price is paid out, and the price follows; ``adj_close`` holds it."""
    times, stamps = np.array([one.at_ms for one in series.dividends or ()]), series.table.stamps
    share = float(random.uniform(0.25, 0.5))
    at = _middle(series, random)
    while np.abs(times - stamps[at]).min() < 20 * DAY_MS:
        at += 1
    paid = ShareEvent(int(series.table.stamps[at]), float(series.table.close[at - 1] * share))
    columns = {name: getattr(series.table, name).copy() for name in ALL}
    for name in ALL:
        columns[name][at:] *= 1 - share
    columns["volume"] = series.table.volume.copy()
    columns["volume"][at] *= 2
    if series.table.adj_close is not None:
        columns["adj_close"] = series.table.adj_close * (1 - share)
    found = with_columns(series, **columns)
    found = _paying(found, paid.at_ms, 1 - share)
    found = replace(found, dividends=tuple(sorted((*(found.dividends or ()), paid))))
    return Planted(found, (), _rows(series, at, at + 1))


def consolidation(series: CheckedSeries, random: Random) -> Planted:
    """Shares are consolidated as a special dividend is paid, so that the price stays where it is."""
    at, ratio = _middle(series, random), float(random.choice([33 / 70, 0.8, 0.5, 21 / 25]))
    if series.dividends is None:
        series = replace(series, table=series.table.with_adj_close(None))
    at = _apart_from_events(series, at)
    found = scaled(series, slice(0, at), 1 / ratio, ALL, ratio)
    found = _paying(_paying(found, 0, 1 / ratio), int(series.table.stamps[at]), ratio)
    paid = float(found.table.close[at - 1]) * (1 - ratio)
    if found.table.adj_close is not None:
        share = np.where(np.arange(len(series)) < at, ratio, 1.0)
        found = replace(found, table=found.table.with_adj_close(found.table.adj_close * share))
    event = ShareEvent(int(series.table.stamps[at]), paid)
    found = replace(found, dividends=tuple(sorted((*(found.dividends or ()), event))))
    return Planted(_telling(found, at, ratio), (), _rows(series, at, at + 1))


def _apart_from_events(series: CheckedSeries, at: int) -> int:
    """Return the row next to ``at`` that is twenty days from every split and dividend, if there is one."""
    events = (*(series.splits or ()), *(series.dividends or ()))
    if not events:
        return at
    times, rows = np.array([one.at_ms for one in events]), np.arange(20, len(series) - 20)
    away = np.abs(times[:, None] - series.table.stamps[rows]).min(axis=0) >= 20 * DAY_MS
    rows = rows[away] if away.any() else rows
    return int(rows[np.argmin(np.abs(rows - at))])


def failure(series: CheckedSeries, random: Random) -> Planted:
    """A bank fails: weeks of wild days and much trade, then a tenth of its price overnight."""
    at = _middle(series, random)
    columns = {name: getattr(series.table, name).copy() for name in (*ALL, "volume")}
    before = np.arange(max(1, at - 30), at)
    wild = random.normal(-0.03, 0.12, len(before)).cumsum()
    level = np.ones(len(series))
    level[before], level[at:] = np.exp(wild), np.exp(wild[-1]) * float(random.uniform(0.08, 0.13))
    opened = np.append(level[:1], level[:-1])
    opened[at] = level[at]
    columns["open"] *= opened
    columns["close"] *= level
    later = np.arange(at, min(len(series), at + 30))
    columns["close"][later] *= np.exp(random.normal(0, 0.15, len(later)))
    ends = columns["open"], columns["close"]
    columns["high"] = np.maximum(np.maximum(*ends), columns["high"] * level)
    columns["low"] = np.minimum(np.minimum(*ends), columns["low"] * level)
    columns["volume"][before] *= np.linspace(2, 15, len(before))
    columns["volume"][later] *= np.linspace(15, 3, len(later))
    found = _changed(series, columns)
    rows = series.rows_of(series.dividends or ())
    shares = np.append(found.table.close / series.table.close, 1.0)[np.maximum(rows - 1, 0)]
    paid = tuple(
        one._replace(value=one.value * float(share))
        for one, share in zip(series.dividends or (), shares, strict=True)
    )
    found = replace(found, dividends=paid if series.dividends is not None else None)
    return Planted(found, (), _rows(series, before[0], later[-1] + 1))


def quiet(series: CheckedSeries, random: Random) -> Planted:
    """Weeks in which somebody sells one and the same small lot a day, at one price."""
    length = int(random.integers(6, 40))
    events = series.rows_of((*(series.splits or ()), *(series.dividends or ())))
    starts = [
        at
        for at in range(len(series) - length)
        if not ((events >= at) & (events < at + length)).any()
    ]
    at = starts[0] if random.random() < 0.5 else int(random.choice(starts))
    columns = {name: getattr(series.table, name).copy() for name in (*ALL, "volume")}
    for name in ALL:
        columns[name][at : at + length] = series.table.close[max(at - 1, 0)]
    lot = max(1.0, float(np.round(np.median(series.table.volume) / 500)))
    columns["volume"][at : at + length] = lot
    return Planted(_changed(series, columns), (), _rows(series, at, at + length))


def crash_in_a_day(series: CheckedSeries, random: Random) -> Planted:
    """Within one day the price goes to a half or a third, or twice as high, and its day with it."""
    at = int(random.integers(1, len(series) - 1))
    found = scaled(series, slice(at, len(series)), float(random.choice([0.5, 1 / 3, 2.0])), ALL)
    found = replace(found, sessions=sessions_of(found.table))
    return Planted(found, (), _rows(series, at - 1, at + 1))


def narrow_days(series: CheckedSeries, random: Random) -> Planted:
    """The days leave out a tenth of what their bars show: other trades make their highs and lows."""
    assert series.sessions is not None
    days, share = series.sessions.days, float(random.uniform(0.02, 0.1))
    middle = np.sqrt(days.high * days.low)
    high = np.maximum(days.high * (1 - share), middle)
    low = np.minimum(days.low * (1 + share), middle)
    days = replace(days, high=high, low=low, open=middle, close=middle)
    found = replace(series, sessions=series.sessions._replace(days=days))
    return Planted(found, (), series.table.stamps)


@dataclass(frozen=True)
class Kind:
    """One thing that is planted: what it is called, how, and into which series."""

    name: str
    plant: Plant
    suits: Callable[[CheckedSeries], bool]
    is_right: bool = False
    takes: int = 2


def _is_long(series: CheckedSeries) -> bool:
    return len(series) >= 100 and series.days is None and series.sessions is None


def _has_sessions(series: CheckedSeries) -> bool:
    return series.sessions is not None and len(series) >= 20


def _has_fridays(series: CheckedSeries) -> bool:
    is_traded = _is_long(series) and series.asset_class != "crypto" and series.expected is not None
    fridays = (series.table.stamps // DAY_MS + 3) % 7 == 4
    return is_traded and not series.timeframe.longest_ms > 2 * DAY_MS and bool(fridays.any())


def _is_apart(series: CheckedSeries) -> bool:
    stamps = series.table.stamps
    return _is_long(series) and bool(stamps[-1] - stamps[0] > 3 * _APART_MS)


def _is_share(series: CheckedSeries) -> bool:
    return _is_long(series) and series.asset_class == "stock"


def _is_daily_share(series: CheckedSeries) -> bool:
    return _is_share(series) and series.timeframe.step_ms == DAY_MS


def _pays(series: CheckedSeries) -> bool:
    return _is_share(series) and len(_inside(series)) >= 4


def _inside(series: CheckedSeries) -> list[ShareEvent]:
    stamps = series.table.stamps
    return [one for one in series.dividends or () if stamps[1] <= one.at_ms <= stamps[-1]]


def _pays_beside_adj(series: CheckedSeries) -> bool:
    return _pays(series) and series.table.adj_close is not None


def _has_days(series: CheckedSeries) -> bool:
    stamps = series.table.stamps
    days = np.unique(stamps // DAY_MS, return_counts=True)[1]
    is_short = series.timeframe.is_intraday and series.has_volume
    return _is_long(series) and is_short and len(days) >= 3 and int(np.median(days)) >= 5


def _is_traded_share(series: CheckedSeries) -> bool:
    return _is_share(series) and series.has_volume


def _trades(series: CheckedSeries) -> bool:
    return _is_long(series) and series.has_volume


KINDS: tuple[Kind, ...] = (
    Kind("day x100 or /100", simple.unit_rows, _is_long),
    Kind("stretch x100 or /100", simple.unit_stretch, _is_long),
    Kind("half of the rows x100 or /100", half_x100, _is_long),
    Kind("prices of a row x100 or /100", simple.unit_cells, _is_long),
    Kind("x100 or /100 from a day on, for good", for_good_x100, _is_long, takes=4),
    Kind("close x100", close_x100, _is_long),
    Kind("untold split 2:1", untold(2.0), _is_share, takes=4),
    Kind("untold split 3:1", untold(3.0), _is_share),
    Kind("untold split 3:2", untold(1.5), _is_share),
    Kind("untold split 1:10", untold(0.1), _is_share),
    Kind("untold split 20:1", untold(20.0), _is_share),
    Kind("untold split 1:20", untold(0.05), _is_share),
    Kind("untold split 1:20, price moves, too", untold_and_moved(0.05), _is_share),
    Kind("untold split 20:1, price moves, too", untold_and_moved(20.0), _is_share),
    Kind("large untold split, of prices alone", prices_alone, _is_share, takes=4),
    Kind("split told, rows before ignore it", told_and_ignored, _is_share, takes=4),
    Kind("small split told, rows before ignore it", small_and_ignored, _is_share, takes=4),
    Kind("split told and ignored, price moves, too", told_and_moved, _is_share),
    Kind("split told of 50:1 to 1:10000, ignored", told_large, _is_share),
    Kind("split told, applied to a part", half_applied, _is_share, takes=4),
    Kind("split told days before it is applied", told_days_before, _is_share, takes=4),
    Kind("nine rows off by a split that is told", nine_rows, _is_share, takes=4),
    Kind("split told that never was, one open bad", invented, _is_share),
    Kind("untold split, applied to a part", untold_in_part, _is_share, takes=12),
    Kind("impossible row", simple.disorder, _is_long),
    Kind("high a little below open or close", order_by_little, _is_long),
    Kind("week beyond its days", beyond_its_days, lambda one: one.days is not None, takes=6),
    Kind("high 2.5 times too high", high_beyond, _is_long),
    Kind("low a half to a twentieth of what it was", low_beyond, _is_long),
    Kind("bar on a Saturday", off_day, _has_fridays, takes=4),
    Kind("bar far away and back", simple.spike, _is_long, takes=4),
    Kind("copied bar", copied, _is_long, takes=4),
    Kind("day copied to the next", copied_day, _has_days, takes=8),
    Kind("bars one stamp late", shifted, _is_long, takes=4),
    Kind("stale run", simple.stale, _is_long, takes=4),
    Kind("volumes of 0 in a row", volume_missing, _trades, takes=4),
    Kind("hole", simple.hole, lambda one: _is_long(one) and one.expected is not None, takes=4),
    Kind("hours unlike their days", unlike_days, _has_sessions, takes=6),
    Kind("hours of another symbol", of_another, _has_sessions, takes=4),
    Kind("dividend x100", simple.dividend_hundred, _pays, takes=16),
    Kind("small dividend x100", small_hundred, _pays, takes=6),
    Kind("all dividends x100, small ones", all_hundred, _pays, takes=2),
    Kind("dividend in pounds for pence, in adj_close", in_pounds, _pays_beside_adj, takes=8),
    Kind("dividend reported twice", dividend_twice, _pays, takes=12),
    Kind("dividend not in adj_close", simple.dividend_unadjusted, _pays_beside_adj, takes=24),
    Kind("dividend untold, in adj_close", simple.dividend_untold, _pays_beside_adj, takes=24),
    Kind("untold split, in adj_close", untold_in_adj_close, _is_daily_share, takes=8),
    Kind(
        "split told with another ratio than in adj_close", told_otherwise, _is_daily_share, takes=8
    ),
    Kind("adj_close far above close", above_close, _is_daily_share, takes=8),
    Kind("gap of 5 to 40 % down on news", news(-0.4, -0.05), _trades, is_right=True),
    Kind("gap of 5 to 60 % up on news", news(0.05, 0.6), _trades, is_right=True),
    Kind("a half, a third, two thirds on news", halved(6, 25), _trades, is_right=True),
    Kind("a half, a third, two thirds, twice the volume", halved(1, 3), _trades, is_right=True),
    Kind("a half on news, and back on news", halved_and_back, _trades, is_right=True),
    Kind("flash crash within a bar", flash_crash, _trades, is_right=True),
    Kind("spike within a bar", spike_traded, _trades, is_right=True),
    Kind(
        "a fifth to a twentieth on news, or the reverse",
        collapse(6, 25),
        _is_traded_share,
        is_right=True,
    ),
    Kind("crash within a day", crash_in_a_day, _has_sessions, is_right=True),
    Kind("days narrower than their hours", narrow_days, _has_sessions, is_right=True),
    Kind("months never asked for", apart, _is_apart, is_right=True),
    Kind("crash and return within ten bars", crash_and_return, _trades, is_right=True),
    Kind("bars without a trade", flat_bars, _trades, is_right=True),
    Kind("a bar of one trade", one_flat_bar, _is_long, is_right=True),
    Kind("special dividend, told", special_dividend, _pays, is_right=True, takes=6),
    Kind("split told and applied", split_told_and_applied, _is_share, is_right=True),
    Kind("small split told and applied", small_and_applied, _is_share, is_right=True, takes=4),
    Kind(
        "small split told, applied, days from a move like it",
        small_near_move,
        _is_share,
        is_right=True,
        takes=4,
    ),
    Kind("split applied, price moves with it", split_and_crash, _is_share, is_right=True),
    Kind("consolidation with a special dividend", consolidation, _is_share, is_right=True, takes=4),
    Kind("a bank fails", failure, _is_traded_share, is_right=True, takes=4),
    Kind("weeks of one small lot a day", quiet, _trades, is_right=True),
)


def planted(kind: Kind, series: CheckedSeries, name: str, take: int) -> Planted:
    """Plant into a series; ``take`` numbers the tries of one kind in one series."""
    random = np.random.default_rng([take, *f"{kind.name} {name}".encode()])
    if kind.name.startswith("dividend"):
        series = replace(series, dividends=tuple(_inside(series)))
    return kind.plant(series, random)
