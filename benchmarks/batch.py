"""Many symbols at once: the frames of a universe, compared with others for the same bars."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import pandas as pd

from onetape.data.data_manager import DataManager

from .harness import Figure, Report, Row, sized
from .peers import ARCTIC_PYTHON, Arctic, Arrow, Elsewhere, Naive
from .stage import crowd_stage

_NOTE = (
    "The table shows the time in milliseconds to return five years of daily bars of each of "
    "500 shares as frames, and to add up every value. The other columns are for other ways to "
    "read the same bars; they show how many times as long each way takes in the same round:\n\n"
    "- *naive*: gzip and `read_csv`, a file for each year;\n"
    "- *Arrow*: a file for each symbol;\n"
    "- *ArcticDB*: its batch read, measured in its own process, with an older pandas."
)
_COUNT, _ROUNDS, _NAIVE_EVERY = sized(250, 500), sized(5, 7), 3
_ASKED = ("1d", "2019-01-01", "2023-12-31")
_GOALS = {"get_ohlcv_batch": "naive >= 40, ArcticDB >= 2", "get_ohlcv in a loop": "naive >= 40"}
Frames = Mapping[str, pd.DataFrame]
Way = Callable[[], Frames | Elsewhere]


def measure() -> Report:
    """Race the two ways to query against each other and the others."""
    with (
        crowd_stage(_COUNT) as (manager, symbols),
        TemporaryDirectory() as folder,
        _ways(manager, symbols, Path(folder)) as ways,
    ):
        sums = {name: round(_summed(way()), 2) for name, way in ways.items()}
        if len(set(sums.values())) != 1:
            raise RuntimeError(f"the frames differ: {sums}")
        results = _raced(ways)
    rows = [Row(f"`{name}`", _figures(results, name), goal) for name, goal in _GOALS.items()]
    return Report("Many symbols", _NOTE, rows, more=("naive", "ArcticDB", "Arrow"))


@contextmanager
def _ways(manager: DataManager, symbols: Sequence[str], folder: Path) -> Iterator[dict[str, Way]]:
    frame = manager.get_ohlcv(symbols[0], *_ASKED)
    naive, arrow = _naive(folder, frame, symbols), _arrow(folder, frame, symbols)
    _, start, end = _ASKED
    ways: dict[str, Way] = {
        "get_ohlcv_batch": lambda: manager.get_ohlcv_batch(symbols, *_ASKED),
        "get_ohlcv in a loop": lambda: {s: manager.get_ohlcv(s, *_ASKED) for s in symbols},
        "Arrow": lambda: {s: peer.read(start, end) for s, peer in arrow.items()},
        "naive": lambda: {s: peer.read(start, end) for s, peer in naive.items()},
    }
    with ExitStack() as stack:
        if ARCTIC_PYTHON:
            arctic = Arctic(folder, frame, symbols)
            stack.callback(arctic.close)
            ways["ArcticDB"] = arctic.read_all
        yield ways


def _naive(folder: Path, frame: pd.DataFrame, symbols: Sequence[str]) -> dict[str, Naive]:
    """Return a cache for each symbol; only one is written, because all have the same bars."""
    first = Naive(folder, frame)
    return {symbol: first.copied(folder / symbol) for symbol in symbols}


def _arrow(folder: Path, frame: pd.DataFrame, symbols: Sequence[str]) -> dict[str, Arrow]:
    return {symbol: Arrow(folder / symbol, frame) for symbol in symbols}


def _raced(ways: Mapping[str, Way]) -> list[dict[str, float]]:
    """Return the milliseconds of every way, round by round; the naive one sits some of them out."""
    results = []
    for turn in range(_ROUNDS):
        order = [name for name in ways if name != "naive" or turn % _NAIVE_EVERY == 0]
        random.shuffle(order)
        results.append({name: _timed(ways[name]) for name in order})
    return results


def _timed(way: Way) -> float:
    gc.collect()
    started = perf_counter()
    results = way()
    _summed(results)
    spent = (perf_counter() - started) * 1e3
    return results.ms if isinstance(results, Elsewhere) else spent


def _figures(rounds: Sequence[Mapping[str, float]], name: str) -> dict[str, Figure]:
    """Return the time of one way, and how many times as long the others took in the same rounds."""
    others = [other for other in rounds[0] if other not in _GOALS]
    ratios = {
        other: Figure.of([turn[other] / turn[name] for turn in rounds if other in turn])
        for other in others
    }
    return {"ms": Figure.of([turn[name] for turn in rounds]), **ratios}


def _summed(results: Frames | Elsewhere) -> float:
    if isinstance(results, Elsewhere):
        return results.total
    return float(sum(frame.to_numpy().sum() for frame in results.values()))


if __name__ == "__main__":
    print(measure())
