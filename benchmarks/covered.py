"""Whether bars are already cached: determined from the metadata, without reading the bars."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

from onetape.data.core.cache.store import BarStore
from onetape.data.core.disk.files import Disk, DiskStep
from onetape.data.core.model.identity.series import SeriesKey
from onetape.data.core.model.time.span import uncovered
from onetape.data.core.model.time.timeframe import Timeframe

from .harness import Figure, Report, Row, sized
from .stage import FETCHED, FIVE_YEARS, crowd_stage

_NOTE = (
    "The table shows the time in milliseconds needed to determine for which symbols all "
    "daily bars of five years are stored:\n\n"
    "- *first look* uses a new store, *again* the same store;\n"
    "- *sidecars*: how many times as long it takes to read the same metadata with "
    "`json.loads`, without checking them;\n"
    "- *data files*: how many files of bars were opened."
)
_GOAL = "first look: sidecars >= 0.83; again: sidecars >= 10; no data file"
_ROUNDS, _COUNTS = 5, sized((1, 100, 300), (1, 100, 1000))
T = TypeVar("T")


def measure() -> Report:
    """Query one, a hundred and many symbols."""
    with crowd_stage(_COUNTS[-1], every=50) as (manager, symbols):
        root = manager.cache.store.root
        rows = [_row(root, symbols[:count]) for count in _COUNTS]
    return Report("Is it covered?", _NOTE, rows, more=("sidecars, first", "sidecars, again"))


def _row(root: Path, symbols: Sequence[str]) -> Row:
    keys = [SeriesKey(symbol, Timeframe.parse("1d")) for symbol in symbols]
    papers = [_metadata(root, key) for key in keys]
    results: dict[str, list[float]] = {name: [] for name in ("first", "again", "json")}
    for _ in range(_ROUNDS if len(keys) > 1 else 100):
        gc.collect()
        store = BarStore(root, columnar="map")
        results["json"].append(_all(_believed, papers))
        results["first"].append(_all(partial(_covered, store), keys))
        results["again"].append(_all(partial(_covered, store), keys))
    figures = {
        "first look": Figure.of(results["first"]),
        "sidecars, first": _times(results["json"], results["first"]),
        "again": Figure.of(results["again"]),
        "sidecars, again": _times(results["json"], results["again"]),
        "data files": Figure.of([_data_files(root, keys)]),
    }
    return Row(f"{len(keys):,} symbol{'s' * (len(keys) > 1)}", figures, _GOAL)


def _data_files(root: Path, keys: Sequence[SeriesKey]) -> int:
    """Return how many bar files a first look opens; counted separately, as counting takes time."""
    disk = _Watched()
    _all(partial(_covered, BarStore(root, disk, columnar="map")), keys)
    return disk.data_files


class _Watched(Disk):
    """Counts the bar files that are opened."""

    def __init__(self) -> None:
        super().__init__()
        self.data_files = 0

    def perform(self, step: DiskStep, call: Callable[[], T]) -> T:
        """Make one system call."""
        self.data_files += step.name == "open" and step.path.name.endswith(".csv.gz")
        return call()


def _covered(store: BarStore, key: SeriesKey) -> bool:
    return not uncovered(FIVE_YEARS, store.view(key).coverage.standing(FETCHED))


def _metadata(root: Path, key: SeriesKey) -> list[Path]:
    return sorted(root.glob(f"ohlcv/{key.symbol}/*/*.json"))


def _believed(paths: Sequence[Path]) -> bool:
    """Read the metadata without verifying it, as a trusting cache would."""
    spans: list[list[int]] = []
    for path in paths:
        with path.open("rb") as file:
            document = json.loads(file.read())
        spans += [part["span"] for part in document.get("onetape", {}).get("coverage", ())]
    return spans[0][0] <= FIVE_YEARS.start and FIVE_YEARS.end <= spans[-1][1]


def _all(ask: Callable[[Any], bool], about: Sequence[Any]) -> float:
    """Return the milliseconds needed to query each; all of them are covered."""
    started = perf_counter()
    answers = [ask(one) for one in about]
    took = perf_counter() - started
    if not all(answers):
        raise RuntimeError("some symbols are not covered")
    return took * 1e3


def _times(others: Sequence[float], ours: Sequence[float]) -> Figure:
    return Figure.of([other / own for other, own in zip(others, ours, strict=True)])


if __name__ == "__main__":
    print(measure())
