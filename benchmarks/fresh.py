"""Many symbols at once in a fresh process: fetched, put by user code, and without columns yet."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import pandas as pd

from onetape.data.core.clock import ManualClock
from onetape.data.data_manager import DataManager

from .harness import Figure, Report, Row, sized
from .peers import ARCTIC_PYTHON, Arctic, Naive
from .stage import FETCHED, crowd_stage

_NOTE = (
    "The table shows how long the first `get_ohlcv_batch` of a process takes, in milliseconds, once "
    "pandas and the library are imported. The call returns five years of daily bars of 500 shares as "
    "frames, whose values are then added up. The rows differ in how the bars were stored: *fetched* from "
    "a vendor, with a columnar copy; *put* with `UnifiedCache.put`; or fetched, but *without columns*. "
    "The other columns compare other calls in the same round:\n\n"
    "- *again*: the time in milliseconds of the third such call in the same process;\n"
    "- *fetched*: the time in the row *fetched*, as a multiple of the time in this row;\n"
    "- *naive*: the time for gzip and `read_csv`, with a file for each year, as such a multiple;\n"
    "- *ArcticDB*: the time of its batch read, the first of a process, with an older pandas, as such "
    "a multiple."
)
_COUNT, _ROUNDS = sized(100, 500), sized(3, 5)
_ASKED = ("1d", "2019-01-01", "2023-12-31")
_OURS = """
import json, sys
from time import perf_counter
import pandas
from onetape.data.core.clock import ManualClock
from onetape.data.data_manager import DataManager
folder, now, symbols, asked = json.load(sys.stdin)
manager, found = DataManager(folder, clock=ManualClock(now)), []
for _ in range(3):
    began = perf_counter()
    frames = manager.get_ohlcv_batch(symbols, *asked)
    total = sum(float(frame.to_numpy().sum()) for frame in frames.values())
    found.append((perf_counter() - began) * 1e3)
print(json.dumps([found[0], found[-1], total]))
"""
_NAIVE = """
import gzip, json, sys
from time import perf_counter
import pandas as pd
def read(path):
    with gzip.open(path, "rt") as file:
        return pd.read_csv(file, index_col=0, parse_dates=True)
began = perf_counter()
frames = [pd.concat(map(read, paths)) for paths in json.load(sys.stdin)]
total = sum(float(frame.to_numpy().sum()) for frame in frames)
print(json.dumps([(perf_counter() - began) * 1e3, total]))
"""
# Milliseconds of the first batch, and of the third if there is one, and the sum of all values.
Found = Sequence[float]
_GOALS = {"fetched": "ArcticDB >= 1", "put": "fetched >= 1", "without columns": "naive >= 0.83"}


def measure() -> Report:
    """Start processes in turn."""
    with (
        crowd_stage(_COUNT) as (manager, symbols),
        TemporaryDirectory() as folder,
        patch.dict("os.environ", PYTHONPYCACHEPREFIX=f"{folder}/pyc", PYTHONDONTWRITEBYTECODE=""),
    ):
        frame = manager.get_ohlcv_batch(symbols, *_ASKED)[symbols[0]]
        ways = _ways(manager.cache.cache_dir, Path(folder), frame, symbols)
        sums = {name: round(way()[-1], 2) for name, way in ways.items()}
        if len(set(sums.values())) != 1:
            raise RuntimeError(f"the frames differ: {sums}")
        rounds = [
            {name: ways[name]() for name in random.sample(list(ways), len(ways))}
            for _ in range(_ROUNDS)
        ]
    rows = [Row(name, _figures(rounds, name), goal) for name, goal in _GOALS.items()]
    return Report(
        "Many symbols, in a fresh process", _NOTE, rows, more=("naive", "ArcticDB", "fetched")
    )


def _ways(
    fetched: Path, folder: Path, frame: pd.DataFrame, symbols: Sequence[str]
) -> dict[str, Callable[[], Found]]:
    put = DataManager(folder / "put", clock=ManualClock(FETCHED))
    naive, paths = Naive(folder, frame), []
    for symbol in symbols:
        put.cache.put(frame, symbol, *_ASKED, provider="yahoo")
        paths.append([str(path) for path in naive.copied(folder / symbol).paths])
    put.get_ohlcv_batch(symbols, *_ASKED)

    def ours(root: Path, *, with_columns: bool = True) -> Found:
        if not with_columns:
            shutil.rmtree(root / "_columnar")
        return _run([sys.executable, "-c", _OURS], [str(root), FETCHED, symbols, _ASKED])

    ways: dict[str, Callable[[], Found]] = {
        "fetched": partial(ours, fetched),
        "put": partial(ours, folder / "put"),
        "without columns": partial(ours, fetched, with_columns=False),
        "naive": partial(_run, [sys.executable, "-c", _NAIVE], paths),
    }
    if ARCTIC_PYTHON:
        arctic = Arctic(folder, frame, symbols)
        arctic.close()
        ways["ArcticDB"] = partial(_run, arctic.program, ["read_all", symbols])
    return ways


def _run(program: Sequence[str], question: object) -> Found:
    """Run a program in a separate process and return its output."""
    ran = subprocess.run(
        program, input=json.dumps(question) + "\n", cwd=Path(__file__).parents[1], env=os.environ,
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    results: list[float] = json.loads(ran.stdout)
    return results


def _figures(rounds: Sequence[Mapping[str, Found]], name: str) -> dict[str, Figure]:
    """Return the times of one way, and how many times as long the others took in the same rounds."""
    figures = {
        "ms": Figure.of([turn[name][0] for turn in rounds]),
        "again": Figure.of([turn[name][1] for turn in rounds]),
    }
    for other in ("fetched", "naive", "ArcticDB"):
        if other in rounds[0] and other != name:
            figures[other] = Figure.of([turn[other][0] / turn[name][0] for turn in rounds])
    return figures


if __name__ == "__main__":
    print(measure())
