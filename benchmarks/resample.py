"""Minutes of one day into a daily bar, for many symbols at once, compared with pandas."""

from __future__ import annotations

import random
from collections.abc import Mapping
from time import perf_counter

import numpy as np
import pandas as pd

from onetape.data.core.calendars.calendar import MarketCalendar, calendar_for
from onetape.data.core.model.identity.instrument import Instrument
from onetape.data.core.model.market.bars import BarTable
from onetape.data.core.model.time.instant import DAY_MS, parse_iso
from onetape.data.core.model.time.span import Span
from onetape.data.core.model.time.timeframe import Timeframe
from onetape.data.core.prices.resample import resample_many

from .harness import Call, Figure, Report, Row, sized

_COUNT, _ROUNDS = sized(300, 1_000), sized(5, 7)
_NOTE = (
    "The table shows the time in milliseconds needed to build a daily bar for each of "
    f"{_COUNT:,} symbols from minutes in memory. *pandas / ours* is the time that pandas takes in "
    "the same round, divided by ours. pandas uses "
    '`resample("1D").agg(...)` on the same bars, frame by frame. Our code also finds the days '
    "that lack a minute."
)
_DAY = parse_iso("2024-06-03")
_SPAN = Span(_DAY, _DAY + DAY_MS)
_MINUTE, _WHOLE = Timeframe(1, "m"), Timeframe(1, "d")
_RULE = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}


def measure() -> Report:
    """Race one pass over all symbols against pandas."""
    share = Instrument("AAPL", "stock", calendar="XNYS", timezone="America/New_York")
    rows = [
        _row("shares, 390 minutes", calendar_for(share), "ratio >= 20, ours 10 to 50 ms"),
        _row("coins, 1,440 minutes", calendar_for(Instrument("BTCUSDT", "crypto")), "ratio >= 20"),
    ]
    return Report("Minutes into days", _NOTE, rows, more=("pandas / ours",))


def _row(name: str, calendar: MarketCalendar, goal: str) -> Row:
    tables = _tables(calendar)
    frames = [_frame(table) for table in tables]

    def ours() -> float:
        made = resample_many(tables, _MINUTE, _WHOLE, calendar, span=_SPAN, now_ms=2 * _DAY)
        return sum(float(day.table.volume[0]) for day in made)

    def theirs() -> float:
        return sum(float(f.resample("1D").agg(_RULE)["volume"].iloc[0]) for f in frames)

    if ours() != theirs():
        raise RuntimeError("the days differ")
    results = [_timed({"ours": ours, "pandas": theirs}) for _ in range(_ROUNDS)]
    figures = {
        "ms": Figure.of([1000 * took["ours"] for took in results]),
        "pandas / ours": Figure.of([took["pandas"] / took["ours"] for took in results]),
    }
    return Row(name, figures, goal)


def _timed(calls: Mapping[str, Call]) -> dict[str, float]:
    """Return the seconds of each call in one round, in random order."""
    took = {}
    for name in random.sample(list(calls), len(calls)):
        started = perf_counter()
        calls[name]()
        took[name] = perf_counter() - started
    return took


def _tables(calendar: MarketCalendar) -> list[BarTable]:
    """Return synthetic minutes of one day; integer volumes make sums independent of the order."""
    stamps = calendar.opens(_MINUTE, _SPAN)
    generator, tables = np.random.default_rng(7), []
    for _ in range(_COUNT):
        close = 100 + generator.normal(0, 0.05, len(stamps)).cumsum()
        first = np.append(100.0, close[:-1])
        volume = generator.integers(1, 1000, len(stamps)).astype(np.float64)
        high, low = np.maximum(first, close), np.minimum(first, close)
        tables.append(BarTable(stamps.copy(), first, high, low, close, volume))
    return tables


def _frame(table: BarTable) -> pd.DataFrame:
    index = pd.to_datetime(table.stamps, unit="ms")
    return pd.DataFrame(dict(zip(table.columns, table.values(), strict=True)), index=index)
