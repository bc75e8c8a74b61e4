"""What it takes to have stored bars in a frame, beside what others take for the same bars."""

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

from .harness import Figure, Report, Row
from .peers import Elsewhere, peers_of, summed
from .stage import long_stage

_NOTE = (
    "Milliseconds of a warm `get_ohlcv` with every value added up, and how many times as long the "
    "others take for the same bars in the same round: more than 1 is slower than this library. "
    "*naive*: gzip and `read_csv`, whole years. *Arrow*: an uncompressed file mapped into memory, "
    "bisected. *ArcticDB*: in a process of its own with an older pandas, timed there."
)
Call = Callable[[], pd.DataFrame | Elsewhere]


class Case(NamedTuple):
    """A stretch of one series."""

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
         "Arrow >= 0.77, naive >= 100, Parquet >= 4, ArcticDB >= 4"),
    Case("five years of minutes", BITCOIN, "1m", "2019-01-01", "2023-12-31", "Arrow >= 0.77", 7, 1),
    Case("a day out of five years of minutes", BITCOIN, "1m", "2023-06-01", "2023-06-01",
         "Arrow >= 0.83", 40),
    Case("a month out of ten years of hours", BITCOIN, "1h", "2018-06-01", "2018-06-30",
         "Arrow >= 0.83, naive >= 10", 40),
    Case("a year of days", BITCOIN, "1d", "2023-01-01", "2023-12-31", "naive >= 10", 60, 10),
)  # fmt: skip


def measure() -> Report:
    """Race all of them, case by case."""
    with long_stage() as manager, TemporaryDirectory() as folder:
        rows = [_row(manager.get_ohlcv, case, Path(folder)) for case in CASES]
    return Report("Reading", _NOTE, rows)


def _row(ours: Callable[..., pd.DataFrame], case: Case, folder: Path) -> Row:
    whole = ours(case.symbol, case.timeframe, "2014-01-01", "2023-12-31")
    calls: dict[str, Call] = {
        "ours": partial(ours, case.symbol, case.timeframe, case.start, case.end)
    }
    with peers_of(folder, whole) as peers:
        calls |= {name: partial(peer.read, case.start, case.end) for name, peer in peers.items()}
        sums = {name: round(summed(call()), 2) for name, call in calls.items()}
        if len(set(sums.values())) != 1:
            raise RuntimeError(f"{case.name}: the frames differ: {sums}")
        return Row(case.name, _raced(calls, case), case.goal)


def _raced(calls: Mapping[str, Call], case: Case) -> dict[str, Figure]:
    found: dict[str, list[float]] = {name: [] for name in calls}
    ratios: dict[str, list[float]] = {name: [] for name in calls if name != "ours"}
    for turn in range(case.rounds):
        order = [name for name in calls if name != "naive" or turn < case.naive_rounds]
        random.shuffle(order)
        gc.collect()
        for name in order:
            found[name].append(_timed(calls[name]))
        for name in ratios.keys() & set(order):
            ratios[name].append(found[name][-1] / found["ours"][-1])
    told = {name: Figure.of(values) for name, values in ratios.items()}
    return {"ms": Figure.of(found["ours"]), **told}


def _timed(call: Call) -> float:
    call()  # whatever ran before has taken the processor's cache
    began = perf_counter()
    found = call()
    summed(found)
    spent = (perf_counter() - began) * 1e3
    return found.ms if isinstance(found, Elsewhere) else spent


if __name__ == "__main__":
    print(measure())
