"""The checks of a stored series, over a year of minutes, compared with the same in pandas."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd

from onetape.data.core.model.market.bars import BarTable
from onetape.data.core.model.time.instant import MINUTE_MS, parse_iso
from onetape.data.core.model.time.timeframe import Timeframe
from onetape.data.core.prices.judgement.checks import run_checks
from onetape.data.core.prices.judgement.series import CheckedSeries

from .harness import Figure, Report, Row

_NOTE = (
    "The table shows the time in milliseconds needed to check a year of minutes in memory "
    "(525,600 bars of a coin): units, order, calendar, stale runs, spikes, moves, volume. "
    "*pandas / ours* is the time of the same checks in pandas, on a frame in memory and in the "
    "same round, divided by ours. Both must find the same defects. For *with defects*, ten rows x100, a "
    "stale run, ten spikes and a gap are planted."
)
_GOAL, _ROUNDS, _ROWS = "ratio >= 4", 9, 525_600
_PRICES = ["open", "high", "low", "close"]
_FOUND = ("unit", "calendar", "stale", "outlier")


def measure() -> Report:
    """Race the checks over a clean year and over one with defects."""
    clean = _year()
    return Report(
        "Validation",
        _NOTE,
        [_row("a clean year", clean), _row("with defects", _defects(clean))],
        more=("pandas / ours",),
    )


def _row(name: str, table: BarTable) -> Row:
    stamps = parse_iso("2023-01-01") + np.arange(_ROWS, dtype=np.int64) * MINUTE_MS
    index = pd.DatetimeIndex(table.stamps.astype("M8[ms]").astype("M8[ns]"))
    columns = {name: getattr(table, name) for name in (*_PRICES, "volume")}
    frame = pd.DataFrame(columns, index=index)

    def ours() -> dict[str, int]:
        series = CheckedSeries(Timeframe(1, "m"), table, "crypto", expected=stamps)
        findings, _, _ = run_checks(series)
        counts = dict.fromkeys(_FOUND, 0)
        for one in findings:
            if one.check in counts and one.severity != "info":
                counts[one.check] += len(one.stamps)
        return counts

    def theirs() -> dict[str, int]:
        return _in_pandas(frame)

    if ours() != theirs():
        raise RuntimeError(f"the findings differ: {ours()} and {theirs()}")
    calls = {"ours": ours, "pandas": theirs}
    rounds = [_timed(calls) for _ in range(_ROUNDS)]
    figures = {
        "ms": Figure.of([1e3 * took["ours"] for took in rounds]),
        "pandas / ours": Figure.of([took["pandas"] / took["ours"] for took in rounds]),
    }
    return Row(name, figures, _GOAL)


def _timed(calls: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    names, took = list(calls), {}
    random.shuffle(names)
    for name in names:
        started = perf_counter()
        calls[name]()
        took[name] = perf_counter() - started
    return took


def _in_pandas(df: Any) -> dict[str, int]:
    """Return how many rows the same checks find, as one would write them in pandas."""
    prices, volume = df[_PRICES], df["volume"]
    top, bottom = prices.max(axis=1), prices.min(axis=1)
    jump = (top / bottom > 30) | (top / bottom.shift() > 30) | (top.shift() / bottom > 30)
    level = np.log(df["close"] / df["close"].median()) / np.log(100) if jump.any() else top * 0
    unit = level.round().abs() == 1
    ends = df[["open", "close"]]
    order = (df["low"] <= 0) | (df["low"] > ends.min(axis=1)) | (df["high"] < ends.max(axis=1))
    right = df[_PRICES].where(~unit, df[_PRICES] / 100) if unit.any() else df[_PRICES]
    expected = pd.date_range("2023-01-01", periods=_ROWS, freq="min")
    missing, extra = expected.difference(df.index), df.index.difference(expected)
    same = (right == right.shift()).all(axis=1) & (volume > 0)
    lengths = same.groupby((~same).cumsum()).sum()
    stale = lengths[lengths >= 10]
    gaps, body = (
        np.log(right["open"] / right["close"].shift()),
        np.log(right["close"] / right["open"]),
    )
    moves = np.log(right["close"] / right["close"].shift())
    least = max(12 * 1.4826 * gaps.abs().median(), 6 * 1.4826 * moves.abs().median(), 0.05)
    spike = _leaves(gaps, gaps.shift(-1), least) | _leaves(body, gaps.shift(-1), least)
    extreme = moves.abs() > 20 * 1.4826 * moves.abs().median()
    busy, quiet = volume > 20 * volume[volume > 0].median(), volume == 0
    _ = order.sum(), len(extra), extreme.sum(), busy.sum(), quiet.mean()
    results = (unit.sum(), len(missing), stale.sum() + len(stale), spike.sum())
    return {name: int(count) for name, count in zip(_FOUND, results, strict=True)}


def _leaves(out: Any, back: Any, least: float) -> Any:
    size = np.minimum(out.abs(), back.abs())
    return (size > least) & (out * back < 0) & ((out + back).abs() < 0.25 * size)


def _year() -> BarTable:
    """Return a year of minute bars whose prices follow a random walk."""
    generator = np.random.default_rng(7)
    steps = generator.standard_t(4, (2, _ROWS)) * 4e-4
    close = np.round(30_000 * np.exp(np.cumsum(steps[0] + steps[1] / 20)), 2)
    opened = np.round(np.append(close[:1], close[:-1]) * np.exp(steps[1] / 20), 2)
    reach = np.abs(generator.standard_normal((2, _ROWS))) * 2e-4
    high = np.round(np.maximum(opened, close) * (1 + reach[0]), 2)
    low = np.round(np.minimum(opened, close) * (1 - reach[1]), 2)
    stamps = parse_iso("2023-01-01") + np.arange(_ROWS, dtype=np.int64) * MINUTE_MS
    volume = np.round(np.exp(generator.normal(2.0, 1.0, _ROWS)), 5).astype(np.float64)
    return BarTable(stamps, opened, high, low, close, volume)


def _defects(table: BarTable) -> BarTable:
    columns = {name: getattr(table, name).copy() for name in (*_PRICES, "volume")}
    for name in _PRICES:
        columns[name][1000:1010] *= 100
        columns[name][50_000:50_030] = columns["close"][50_000]
        columns[name][100_000:200_000:10_000] *= 1.5
    kept = np.r_[0:300_000, 300_060:_ROWS]
    return BarTable(table.stamps, **columns).take(kept)


if __name__ == "__main__":
    print(measure())
