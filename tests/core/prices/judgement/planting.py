"""Clean series of many kinds, and defects planted into them. Everything comes from the generator given.

Prices walk with heavy tails (Student's t with 3 degrees) and days of news; shares pay dividends that the
price follows on its ex-date, and ``adj_close`` holds them; volumes are log-normal and rise with moves. What
was split is adjusted for it, so that a clean series has no jump of a split.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from src.data.core.model.market.bars import BarTable
from src.data.core.model.time.instant import DAY_MS, MINUTE_MS, parse_iso
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.prices.judgement.series import CheckedSeries, ShareEvent

Random = np.random.Generator


@dataclass(frozen=True)
class Kind:
    """What a clean series is like: its class, price, volatility of a bar, and the digits of prices."""

    name: str
    asset_class: str
    timeframe: str
    rows: int
    price: float
    noise: float
    digits: int
    has_volume: bool = True
    units_vary: bool = False
    dividends: int = 0
    split: float = 0.0


KINDS = (
    Kind("share, ten years", "stock", "1d", 2520, 150.0, 0.015, 2, dividends=63),
    Kind("share, a month", "stock", "1d", 20, 40.0, 0.02, 2),
    Kind("share with a split of 4:1", "stock", "1d", 756, 120.0, 0.02, 2, dividends=63, split=4.0),
    Kind("share with a split of 3:2", "stock", "1d", 1500, 60.0, 0.012, 3, dividends=63, split=1.5),
    Kind("penny share", "stock", "1d", 500, 0.35, 0.05, 3),
    Kind("share in pence", "stock", "1d", 1260, 1450.0, 0.014, 1, units_vary=True, dividends=126),
    Kind("dear share", "stock", "1d", 800, 480_000.0, 0.01, 0),
    Kind("share by the hour", "stock", "1h", 1700, 88.0, 0.005, 2),
    Kind("share by the month", "stock", "1M", 120, 75.0, 0.06, 2),
    Kind("coin", "crypto", "1d", 1500, 42_000.0, 0.035, 2),
    Kind("tiny coin", "crypto", "1h", 3000, 0.00012, 0.012, 8),
    Kind("coin by the minute", "crypto", "1m", 4000, 1800.0, 0.0007, 2),
    Kind("currency", "forex", "1h", 3000, 1.0845, 0.0009, 5, has_volume=False),
    Kind("currency by the day", "forex", "1d", 1300, 151.2, 0.006, 3, has_volume=False),
)


def clean(kind: Kind, random: Random) -> CheckedSeries:
    """Return a series without a defect."""
    timeframe, n = Timeframe.parse(kind.timeframe), kind.rows
    stamps = _stamps(timeframe, n, kind.asset_class)
    tails = random.standard_t(3, (3, n)).clip(-12, 12) / np.sqrt(3)
    is_open_market = kind.asset_class != "stock"
    gaps = tails[0] * kind.noise * (0.02 if is_open_market else 0.35)
    bodies = tails[1] * kind.noise * 0.9
    news = random.random(n) < 0.004
    bodies[news] *= 4
    gaps[0] = 0.0
    paid = np.zeros(n)
    dividends: list[ShareEvent] = []
    places = range(kind.dividends // 2, n, kind.dividends) if kind.dividends else ()
    for place in places:
        paid[place] = random.uniform(0.003, 0.02)
    steps = gaps + bodies + np.log1p(-paid)
    close = np.exp(np.log(kind.price) + np.cumsum(steps) - np.cumsum(steps)[-1] * 0.5)
    opened = close / np.exp(bodies)
    reach = np.abs(random.standard_normal((2, n))) * kind.noise * 0.4
    high, low = (
        np.maximum(opened, close) * np.exp(reach[0]),
        np.minimum(opened, close) * np.exp(-reach[1]),
    )
    prices = [
        np.maximum(np.round(p, kind.digits), 10.0**-kind.digits) for p in (opened, high, low, close)
    ]
    volume = np.round(np.exp(random.normal(12, 0.5, n)) * (1 + np.abs(bodies) / kind.noise))
    volume = volume if kind.has_volume else np.full(n, np.nan)
    before = np.append(prices[3][:1], prices[3][:-1])
    for place in places:
        if place:
            dividends.append(ShareEvent(int(stamps[place]), float(before[place] * paid[place])))
    adj = None
    if kind.dividends:
        later = np.append(np.cumprod((1 - paid)[::-1])[::-1][1:], 1.0)
        adj = prices[3] * later
    table = BarTable(stamps, *prices, volume, adj)
    splits = None
    if kind.asset_class == "stock":
        splits = (ShareEvent(int(stamps[n // 2]), kind.split),) if kind.split else ()
    return CheckedSeries(
        timeframe,
        table,
        kind.asset_class,
        splits,
        tuple(dividends) if kind.asset_class == "stock" else None,
        kind.units_vary,
        stamps,
    )


def _stamps(timeframe: Timeframe, rows: int, asset_class: str) -> np.ndarray:
    start = parse_iso("2015-01-05T00:00:00Z")
    if timeframe.label == "1M":
        months = np.datetime64("2015-01", "M") + np.arange(rows)
        return months.astype("M8[ms]").astype(np.int64)
    step = timeframe.step_ms or DAY_MS
    if timeframe.label == "1d" and asset_class != "crypto":
        days = np.busday_offset("2015-01-05", np.arange(rows), roll="forward")
        return days.astype("M8[ms]").astype(np.int64)
    if asset_class == "stock":
        day, hour = np.divmod(np.arange(rows), 7)
        days = np.busday_offset("2015-01-05", day, roll="forward").astype("M8[ms]").astype(np.int64)
        return days + (14 * 60 + 30) * MINUTE_MS + hour * step
    return start + np.arange(rows, dtype=np.int64) * step


# --- defects ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Planted:
    """A series with a defect: where it is, and by what check it is to be found."""

    series: CheckedSeries
    checks: tuple[str, ...]
    stamps: np.ndarray


def _place(random: Random, rows: int, length: int) -> int:
    """Return where a stretch begins: at the begin, in the middle or at the end."""
    return int(random.choice([0, max(1, (rows - length) // 2), rows - length]))


def with_columns(series: CheckedSeries, **columns: np.ndarray) -> CheckedSeries:
    return replace(series, table=replace(series.table, **columns))


def scaled(
    series: CheckedSeries, rows: slice, factor: float, names: tuple[str, ...], volume: float = 1.0
) -> CheckedSeries:
    columns = {name: getattr(series.table, name).copy() for name in (*names, "volume")}
    for name in names:
        columns[name][rows] *= factor
    columns["volume"][rows] *= volume
    if "close" in names and series.table.adj_close is not None:
        columns["adj_close"] = series.table.adj_close.copy()
        columns["adj_close"][rows] *= factor
    return with_columns(series, **columns)


ALL = ("open", "high", "low", "close")


def unit_rows(series: CheckedSeries, random: Random) -> Planted:
    """One to four rows, 100 times too large or too small."""
    length = int(random.integers(1, 5))
    at = _place(random, len(series), length)
    rows = slice(at, at + length)
    factor = float(random.choice([100.0, 0.01]))
    return Planted(scaled(series, rows, factor, ALL), ("unit",), series.table.stamps[rows])


def unit_stretch(series: CheckedSeries, random: Random) -> Planted:
    """A fifth of the rows in another unit."""
    length = max(1, len(series) // 5)
    at = _place(random, len(series), length)
    rows = slice(at, at + length)
    factor = float(random.choice([100.0, 0.01]))
    return Planted(scaled(series, rows, factor, ALL), ("unit",), series.table.stamps[rows])


def unit_cells(series: CheckedSeries, random: Random) -> Planted:
    """Some prices of one row in another unit."""
    at = int(random.integers(0, len(series)))
    names = tuple(random.choice(ALL, int(random.integers(1, 4)), replace=False).tolist())
    factor = float(random.choice([100.0, 0.01]))
    found = scaled(series, slice(at, at + 1), factor, names)
    return Planted(found, ("unit",), series.table.stamps[at : at + 1])


def split_in_part(series: CheckedSeries, random: Random) -> Planted:
    """The known split was not applied to some rows before its ex-date, or twice."""
    split = (series.splits or ())[0]
    end = int(np.searchsorted(series.table.stamps, split.at_ms))
    length = int(random.choice([1, 3, max(1, end // 4), end]))
    at = int(random.choice([0, max(0, (end - length) // 2), end - length]))
    ratio = split.value if random.random() < 0.5 else 1 / split.value
    rows = slice(at, at + length)
    return Planted(
        scaled(series, rows, ratio, ALL, 1 / ratio), ("split",), series.table.stamps[rows]
    )


def split_untold(series: CheckedSeries, random: Random) -> Planted:
    """A split in the middle that nothing tells of, with the volume of the shares as they were."""
    at = int(len(series) * random.uniform(0.3, 0.7))
    ratio = float(random.choice([2.0, 3.0, 4.0, 5.0, 10.0, 20.0]))
    rows = slice(0, at)
    return Planted(
        scaled(series, rows, ratio, ALL, 1 / ratio), ("split",), series.table.stamps[at : at + 1]
    )


def stale(series: CheckedSeries, random: Random) -> Planted:
    """Prices (and half of the time volume) stand still for a while."""
    length = int(random.integers(6, 16))
    at = int(random.choice([0, (len(series) - length) // 2, len(series) - length]))
    names = ALL if random.random() < 0.5 else (*ALL, "volume")
    columns = {name: getattr(series.table, name).copy() for name in names}
    for name in names:
        columns[name][at : at + length] = columns[name][at]
    return Planted(
        with_columns(series, **columns), ("stale",), series.table.stamps[at : at + length]
    )


def spike(series: CheckedSeries, random: Random) -> Planted:
    """One bar that is off by 30 to 90 % and comes back."""
    at = int(random.integers(1, len(series) - 1))
    factor = float(random.choice([1.6, 1.9, 0.6, 0.45]))
    found = scaled(series, slice(at, at + 1), factor, ALL)
    return Planted(found, ("outlier", "split"), series.table.stamps[at : at + 1])


def dividend_hundred(series: CheckedSeries, random: Random) -> Planted:
    """One amount is 100 times too large; ``adj_close`` holds the right one, or there is none."""
    dividends = list(series.dividends or ())
    at = int(random.integers(0, len(dividends)))
    dividends[at] = dividends[at]._replace(value=dividends[at].value * 100)
    found = replace(series, dividends=tuple(dividends))
    if random.random() < 0.5:
        found = replace(found, table=found.table.with_adj_close(None))
    return Planted(found, ("dividend",), np.array([dividends[at].at_ms]))


def dividend_unadjusted(series: CheckedSeries, random: Random) -> Planted:
    """``adj_close`` does not follow one dividend."""
    dividends = list(series.dividends or ())
    event = dividends[int(random.integers(0, len(dividends)))]
    table = series.table
    row = int(np.searchsorted(table.stamps, event.at_ms))
    assert table.adj_close is not None
    factor = 1 - event.value / table.close[row - 1]
    adj = np.where(np.arange(len(table)) < row, table.adj_close / factor, table.adj_close)
    return Planted(
        replace(series, table=table.with_adj_close(adj)), ("dividend",), np.array([event.at_ms])
    )


def dividend_untold(series: CheckedSeries, random: Random) -> Planted:
    """One dividend is missing in the list; ``adj_close`` holds it."""
    dividends = list(series.dividends or ())
    gone = dividends.pop(int(random.integers(0, len(dividends))))
    return Planted(
        replace(series, dividends=tuple(dividends)), ("dividend",), np.array([gone.at_ms])
    )


def hole(series: CheckedSeries, random: Random) -> Planted:
    """A tenth of the bars is missing in one place, and no less than ten of minutes."""
    length = max(1, len(series) // 50, 10 if series.timeframe.label == "1m" else 1)
    at = int(random.integers(1, len(series) - length))
    kept = np.r_[0:at, at + length : len(series)]
    found = replace(series, table=series.table.take(kept))
    return Planted(found, ("calendar",), series.table.stamps[at : at + length])


def disorder(series: CheckedSeries, random: Random) -> Planted:
    """A high below its close."""
    at = int(random.integers(0, len(series)))
    high = series.table.high.copy()
    high[at] = min(series.table.low[at], series.table.close[at]) * 0.9
    return Planted(with_columns(series, high=high), ("order",), series.table.stamps[at : at + 1])


Plant = Callable[[CheckedSeries, Random], Planted]
DEFECTS: dict[str, tuple[Plant, Callable[[Kind], bool]]] = {
    "rows x100": (unit_rows, lambda kind: True),
    "stretch x100": (unit_stretch, lambda kind: True),
    "cells x100": (unit_cells, lambda kind: True),
    "split in part": (split_in_part, lambda kind: bool(kind.split)),
    "split untold": (split_untold, lambda kind: kind.asset_class == "stock" and kind.rows > 60),
    "stale": (stale, lambda kind: True),
    "spike": (spike, lambda kind: kind.timeframe != "1M"),
    "dividend x100": (dividend_hundred, lambda kind: bool(kind.dividends)),
    "dividend not adjusted": (dividend_unadjusted, lambda kind: bool(kind.dividends)),
    "dividend untold": (dividend_untold, lambda kind: bool(kind.dividends)),
    "hole": (hole, lambda kind: True),
    "disorder": (disorder, lambda kind: True),
}
