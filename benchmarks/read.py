"""The time to get stored bars into a frame, compared with others for the same bars."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import NamedTuple

import pandas as pd

from onetape.data.core.clock import ManualClock
from onetape.data.core.model.time.instant import parse_iso
from onetape.data.data_manager import DataManager

from .harness import Figure, Report, Row, sized
from .peers import Elsewhere, peers_of, summed
from .stage import long_stage

_NOTE = (
    "The table shows the time in milliseconds of a `get_ohlcv` that is answered from the "
    "cache, including adding up every value:\n\n"
    "- *again*: the same request;\n"
    "- *first*: by a manager that has not read the series yet;\n"
    "- *other*: another stretch of the same length, from a series that is in memory.\n\n"
    "The other columns show each library's time relative to *again*, for the same bars in "
    "the same round. A value above 1 means slower than this library.\n\n"
    "- *naive*: gzip and `read_csv`, whole years;\n"
    "- *Arrow*: an uncompressed file mapped into memory, with a binary search;\n"
    "- *ArcticDB*: measured in its own process, with an older pandas."
)
Call = Callable[[], pd.DataFrame | Elsewhere]


class Case(NamedTuple):
    """A range of one series."""

    name: str
    symbol: str
    timeframe: str
    start: str
    end: str
    goal: str = ""
    rounds: int = 15
    naive_rounds: int = 2


BITCOIN = "BTCUSDT"
CASES = (
    Case("a year of minutes", BITCOIN, "1m", "2023-01-01", "2023-12-31",
         "first <= 100, Arrow >= 0.77, naive >= 100, Parquet >= 4, ArcticDB >= 4", naive_rounds=7),
    Case("five years of minutes", BITCOIN, "1m", "2019-01-01", "2023-12-31", "Arrow >= 0.77", 7, 1),
    Case("a day out of five years of minutes", BITCOIN, "1m", "2023-06-01", "2023-06-01",
         "Arrow >= 0.83", 40),
    Case("a month out of ten years of hours", BITCOIN, "1h", "2018-06-01", "2018-06-30",
         "Arrow >= 0.83, naive >= 10", 40),
    Case("a year of days", BITCOIN, "1d", "2023-01-01", "2023-12-31",
         "again <= 0.15, naive >= 10, naive/first >= 4", 60, 60),
)  # fmt: skip


def measure() -> Report:
    """Race all of them, case by case."""
    with long_stage() as manager, TemporaryDirectory() as folder:
        rows = [_row(manager, case, Path(folder)) for case in CASES]
    return Report(
        "Reading", _NOTE, rows, more=("Arrow", "Parquet", "ArcticDB", "naive", "naive/first")
    )


def _row(manager: DataManager, case: Case, folder: Path) -> Row:
    ours = manager.get_ohlcv
    whole = ours(case.symbol, case.timeframe, "2014-01-01", "2023-12-31")
    calls: dict[str, Call] = {
        "ours": partial(ours, case.symbol, case.timeframe, case.start, case.end)
    }
    with peers_of(folder, whole) as peers:
        calls |= {name: partial(peer.read, case.start, case.end) for name, peer in peers.items()}
        sums = {name: round(summed(call()), 2) for name, call in calls.items()}
        if len(set(sums.values())) != 1:
            raise RuntimeError(f"{case.name}: the frames differ: {sums}")
        return Row(case.name, _raced(calls, case, _Others(manager, case)), case.goal)


class _Others:
    """The other ways to query a case."""

    def __init__(self, manager: DataManager, case: Case) -> None:
        self._manager, self._case = manager, case
        self._moved = 0

    def first(self) -> float:
        """Return the milliseconds of the first query of a new manager."""
        root = self._manager.cache.store.root
        manager = DataManager(root, clock=ManualClock(parse_iso("2024-07-01")))
        for _ in range(2):  # what a process does once is not a read
            manager.get_ohlcv(BITCOIN, "1h" if self._case.timeframe == "1d" else "1d",
                              "2022-03-01", "2022-03-02")  # fmt: skip
        return _once(lambda: self._asked(manager, 0))

    def other(self) -> float:
        """Return the milliseconds of a query that was never made before, for a cached series."""
        self._asked(self._manager, 0)
        self._moved += 1
        return _once(lambda: self._asked(self._manager, self._moved))

    def _asked(self, manager: DataManager, moved: int) -> pd.DataFrame:
        start, end = (pd.Timestamp(day) - pd.Timedelta(days=moved)
                      for day in (self._case.start, self._case.end))  # fmt: skip
        return manager.get_ohlcv(self._case.symbol, self._case.timeframe, start.date(), end.date())


def _raced(calls: Mapping[str, Call], case: Case, others: _Others) -> dict[str, Figure]:
    results: dict[str, list[float]] = {name: [] for name in (*calls, "first", "other")}
    ratios: dict[str, list[float]] = {name: [] for name in calls if name != "ours"}
    ratios["naive/first"] = []
    for turn in range(sized(-(-case.rounds // 4), case.rounds)):
        order = [name for name in calls if name != "naive" or turn < case.naive_rounds]
        random.shuffle(order)
        gc.collect()
        for name in order:
            results[name].append(_timed(calls[name]))
        results["first"].append(others.first())
        results["other"].append(others.other())
        for name in ratios.keys() & set(order):
            ratios[name].append(results[name][-1] / results["ours"][-1])
        if "naive" in order:
            ratios["naive/first"].append(results["naive"][-1] / results["first"][-1])
    more = {name: Figure.of(values) for name, values in ratios.items()}
    ways = {"first": results["first"], "other": results["other"], "again": results["ours"]}
    return {name: Figure.of(values) for name, values in ways.items()} | more


def _once(call: Callable[[], pd.DataFrame]) -> float:
    started = perf_counter()
    summed(call())
    return (perf_counter() - started) * 1e3


def _timed(call: Call) -> float:
    call()  # whatever ran before has taken the processor's cache
    started = perf_counter()
    results = call()
    summed(results)
    spent = (perf_counter() - started) * 1e3
    return results.ms if isinstance(results, Elsewhere) else spent


if __name__ == "__main__":
    print(measure())
