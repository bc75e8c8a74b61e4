"""Many symbols at once: the frames of a universe, beside what others take for the same bars."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import pandas as pd

from src.data.data_manager import DataManager

from .harness import Figure, Report, Row
from .peers import Arrow, Naive
from .stage import crowd_stage

_NOTE = (
    "Milliseconds until 500 shares with five years of 1d each are in frames and every value is "
    "added up, and how many times as long the others take in the same round. *naive*: gzip and "
    "`read_csv`, a file for each year. *Arrow*: a file for each symbol."
)
_COUNT, _ROUNDS, _NAIVE_ROUNDS = 500, 7, 1
_ASKED = ("1d", "2019-01-01", "2023-12-31")
Frames = Mapping[str, pd.DataFrame]


def measure() -> Report:
    """Race the two ways to ask against each other and the others."""
    with crowd_stage(_COUNT) as (manager, symbols), TemporaryDirectory() as folder:
        ways = _ways(manager, symbols, Path(folder))
        sums = {name: round(_summed(way()), 2) for name, way in ways.items()}
        if len(set(sums.values())) != 1:
            raise RuntimeError(f"the frames differ: {sums}")
        found = _raced(ways)
    goals = {"get_ohlcv_batch": "naive >= 40, ArcticDB >= 2", "get_ohlcv in a loop": "naive >= 40"}
    rows = [Row(f"`{name}`", _figures(found, name, goals), goals[name]) for name in goals]
    return Report("Many symbols", _NOTE, rows)


def _ways(
    manager: DataManager, symbols: Sequence[str], folder: Path
) -> dict[str, Callable[[], Frames]]:
    frame = manager.get_ohlcv(symbols[0], *_ASKED)
    naive, arrow = _naive(folder, frame, symbols), _arrow(folder, frame, symbols)
    _, start, end = _ASKED
    ways: dict[str, Callable[[], Frames]] = {
        "get_ohlcv_batch": lambda: manager.get_ohlcv_batch(symbols, *_ASKED),
        "get_ohlcv in a loop": lambda: {s: manager.get_ohlcv(s, *_ASKED) for s in symbols},
        "Arrow": lambda: {s: peer.read(start, end) for s, peer in arrow.items()},
        "naive": lambda: {s: peer.read(start, end) for s, peer in naive.items()},
    }
    if find_spec("arcticdb"):
        ways["ArcticDB"] = _arctic(folder, frame, symbols)
    return ways


def _naive(folder: Path, frame: pd.DataFrame, symbols: Sequence[str]) -> dict[str, Naive]:
    """Return a cache for each symbol; writing one is enough, for all have the same bars."""
    first = Naive(folder, frame)
    return {symbol: first.copied(folder / symbol) for symbol in symbols}


def _arrow(folder: Path, frame: pd.DataFrame, symbols: Sequence[str]) -> dict[str, Arrow]:
    return {symbol: Arrow(folder / symbol, frame) for symbol in symbols}


def _arctic(
    folder: Path, frame: pd.DataFrame, symbols: Sequence[str]
) -> Callable[[], Frames]:  # fmt: skip
    database = import_module("arcticdb").Arctic(f"lmdb://{folder / 'arctic'}?map_size=1GB")
    library = database.get_library("bars", create_if_missing=True)
    for symbol in symbols:
        library.write(symbol, frame)
    return lambda: {item.symbol: item.data for item in library.read_batch(list(symbols))}


def _raced(ways: Mapping[str, Callable[[], Frames]]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(_ROUNDS):
        order = [name for name in ways if name != "naive" or turn < _NAIVE_ROUNDS]
        random.shuffle(order)
        for name in order:
            gc.collect()
            began = perf_counter()
            frames = ways[name]()
            _summed(frames)
            found[name].append((perf_counter() - began) * 1e3)
            del frames
    return found


def _figures(
    found: Mapping[str, Sequence[float]], name: str, ours: Mapping[str, str]
) -> dict[str, Figure]:
    figures = {"ms": Figure.of(found[name])}
    for other, values in found.items():
        if other not in ours:
            ratios = [value / own for value, own in zip(values, found[name], strict=False)]
            figures[other] = Figure.of(ratios)
    return figures


def _summed(frames: Frames) -> float:
    return float(sum(frame.to_numpy().sum() for frame in frames.values()))


if __name__ == "__main__":
    print(measure())
