"""The time to store bars durably with the public calls, compared with read, merge and rewrite."""

from __future__ import annotations

import os
import shutil
import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any
from unittest.mock import patch

import pandas as pd
import pyarrow as pa
from isal import igzip
from pyarrow import csv

from onetape.data.core.cache.store import BarStore
from onetape.data.core.clock import ManualClock
from onetape.data.core.model.answer.frame import build_frame
from onetape.data.core.model.identity.series import SeriesKey
from onetape.data.core.model.time.instant import MINUTE_MS
from onetape.data.core.model.time.timeframe import Timeframe
from onetape.data.data_manager import DataManager

from .harness import Figure, Report, Row, sized
from .peers import ARCTIC_PYTHON, Arctic, Naive
from .stage import FETCHED, YEAR, made_up

_NOTE = (
    "The table shows the time in milliseconds until the bars have been written and synced to "
    "disk. The other columns are for other ways to store the same bars; they show how many "
    "times as long each way takes. *naive* is the usual kind of cache, which reads the year's "
    "gzip CSV, merges the bars and writes the file again, without syncing it:\n\n"
    "- *put*: with `UnifiedCache.put`, like all lines but the second;\n"
    "- *fetched*: the whole `get_ohlcv`, with a downloader that has the frame ready;\n"
    "- *ArcticDB*: its `append`, measured in its own process, with an older pandas;\n"
    "- *bare*: one append of the same number of bytes, synced;\n"
    "- *parse*: the same file decompressed (by isal) and parsed by pyarrow, without checking "
    "or storing anything."
)
_SYMBOL, _KEY = "BTCUSDT", SeriesKey("BTCUSDT", Timeframe.parse("1m"))
_ROUNDS, _YEARS = sized(4, 7), sized(2, 3)
_DAY = 1440
# Whole days of minute bars.
_STORED = 347 * _DAY


def measure() -> Report:
    """Measure putting, fetching, appending, correcting, and reading bars never read before."""
    frame = build_frame(made_up(YEAR, MINUTE_MS))
    with TemporaryDirectory() as folder, patch.dict("os.environ", ONETAPE_STATE_DIR=folder):
        root = Path(folder)
        years, naive = _years(root, frame)
        goals = {"put": "naive >= 12", "fetched": "", "put without isal": "naive >= 2.5"}
        rows = [Row(f"a year of minutes, {way}", years[way], goal) for way, goal in goals.items()]
        rows += [
            Row("a year never read before", _cold(root, frame, naive["read"]),
                "naive >= 1, parse >= 0.77"),
            Row("one bar more", _append(root, frame, naive, 1), "naive >= 500, bare >= 0.25"),
            Row("a day more", _append(root, frame, naive, _DAY), "naive >= 400, ArcticDB >= 0.5"),
            Row("one bar more behind 5,000", _append(root, frame, naive, 1, 5_000)),
            Row("one bar corrected", _correct(root, frame, naive), "naive >= 20"),
        ]  # fmt: skip
    return Report("Writing", _NOTE, rows, more=("naive", "parse", "bare", "ArcticDB"))


def _years(
    root: Path, frame: pd.DataFrame
) -> tuple[dict[str, dict[str, Figure]], dict[str, float]]:
    """Return the figures for each way to store a year, and the times of the usual cache."""
    path = root / "naive.csv.gz"
    ways: dict[str, Callable[[], object]] = {
        "write": partial(Naive.write, path, frame), "read": partial(Naive.read_file, path),
    }  # fmt: skip
    took: dict[str, list[float]] = {}
    for _ in range(_YEARS):
        with _without_isal():
            took.setdefault("put without isal", []).append(_ms(partial(_put, _fresh(root), frame)))
        took.setdefault("put", []).append(_ms(partial(_put, _fresh(root), frame)))
        took.setdefault("fetched", []).append(_ms(partial(_fetch, _fetching(root, frame), frame)))
        for name, call in ways.items():
            took.setdefault(name, []).append(_ms(call))
    naive = {name: statistics.median(took[name]) for name in ways}
    figures = {
        way: {
            "ms": Figure.of(ms),
            "naive": Figure.of([n / own for n, own in zip(took["write"], ms, strict=True)]),
        }
        for way, ms in took.items()
        if way not in ways
    }
    return figures, naive | {"change": sum(naive.values())}


@contextmanager
def _without_isal() -> Iterator[None]:
    """Behave as if isal were not installed."""
    with patch.dict(sys.modules, {"isal": None}):
        sys.modules.pop("isal.isal_zlib", None)
        yield


class _Ready:
    """A custom downloader that has the bars ready."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame

    def get_ohlcv(self, symbol: str, interval: str, start: Any, end: Any) -> pd.DataFrame:
        bounds = (pd.Timestamp(at).tz_localize(None) for at in (start, end))
        return self._frame.loc[slice(*bounds)]


def _fetching(root: Path, frame: pd.DataFrame) -> DataManager:
    manager = _fresh(root)
    selector = manager.provider_selector
    crypto = selector.rules["crypto"] | {"primary": "binance", "backup": []}
    selector.rules = dict(selector.rules) | {"crypto": crypto}
    selector.downloaders["binance"] = _Ready(frame)
    return manager


def _fetch(manager: DataManager, frame: pd.DataFrame) -> None:
    results = manager.get_ohlcv(_SYMBOL, "1m", "2023-01-01", "2023-12-31")
    if len(results) != len(frame):
        raise RuntimeError(f"{len(results)} bars came of {len(frame)}")


def _put(manager: DataManager, part: pd.DataFrame) -> None:
    first, last = str(part.index[0]), str(part.index[-1])
    if not manager.cache.put(part, _SYMBOL, "1m", first, last, provider="binance"):
        raise RuntimeError("it was not stored")


def _cold(root: Path, frame: pd.DataFrame, naive: float) -> dict[str, Figure]:
    """Read a year whose columns do not exist yet; they are created on the way."""
    took: list[float] = []
    parsed: list[float] = []
    for turn in range(_ROUNDS):
        store = _filled(root, frame).cache.store
        shutil.rmtree(store.root / "_columnar", ignore_errors=True)
        # They take turns, because the first one finds the file outside the processor's cache.
        calls = [
            (took, partial(_summed, BarStore(store.root, columnar="map"))),
            (parsed, partial(_parsed, next(store.root.rglob("*.csv.gz")))),
        ]
        for results, call in calls if turn % 2 else reversed(calls):
            results.append(_ms(call))
    figures = _figures(took, naive)
    return figures | {"parse": Figure.of([p / t for p, t in zip(parsed, took, strict=True)])}


def _parsed(path: Path) -> float:
    """Inflate and parse a file as fast as libraries can, and add up every value."""
    text: bytes = igzip.decompress(path.read_bytes())  # type: ignore[no-untyped-call]
    table = csv.read_csv(pa.BufferReader(text))
    return float(sum(table[name].to_numpy().sum() for name in table.column_names[1:6]))


def _summed(store: BarStore) -> float:
    return float(sum(values.sum() for values in store.read(_KEY, YEAR)[0].values()))


def _append(
    root: Path, frame: pd.DataFrame, naive: dict[str, float], bars: int, stored: int = _STORED
) -> dict[str, Figure]:
    """Append ``bars`` at a time to ``stored`` existing ones."""
    manager = _filled(root, frame.iloc[:stored])
    arctic = Arctic(root, frame.iloc[:stored]) if ARCTIC_PYTHON and bars == _DAY else None
    took, others = [], list[float]()
    for turn in range(_ROUNDS + 1):
        part = frame.iloc[stored + turn * bars : stored + (turn + 1) * bars]
        took.append(_ms(partial(_put, manager, part)))
        if arctic:
            others.append(arctic.append(part))
        else:
            others.append(_ms(lambda: _bare_append(root / "bare", 40 * bars + 600)))
    if arctic:
        arctic.close()
    # The first one loads what the others need.
    ratios = [other / own for other, own in zip(others[1:], took[1:], strict=True)]
    figures = _figures(took[1:], naive["change"])
    return figures | {"ArcticDB" if arctic else "bare": Figure.of(ratios)}


def _correct(root: Path, frame: pd.DataFrame, naive: dict[str, float]) -> dict[str, Figure]:
    manager, took = _filled(root, frame), []
    for turn in range(3):
        changed = frame.iloc[200_000 + turn : 200_001 + turn] + 1
        took.append(_ms(partial(_put, manager, changed)))
    return _figures(took, naive["change"])


def _bare_append(path: Path, size: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.write(descriptor, bytes(size))
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)


def _filled(root: Path, frame: pd.DataFrame) -> DataManager:
    manager = _fresh(root)
    _put(manager, frame)
    return manager


def _fresh(root: Path) -> DataManager:
    """Return a manager on an empty cache."""
    folder = root / "cache"
    shutil.rmtree(folder, ignore_errors=True)
    return DataManager(folder, clock=ManualClock(FETCHED))


def _figures(took: list[float], naive: float) -> dict[str, Figure]:
    return {"ms": Figure.of(took), "naive": Figure.of([naive / ms for ms in took])}


def _ms(call: Callable[[], object]) -> float:
    started = perf_counter()
    call()
    return (perf_counter() - started) * 1e3


if __name__ == "__main__":
    print(measure())
