"""The cost of small faults in minutes that are fetched, compared with the same without a fault."""

from __future__ import annotations

import gc
import random
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any
from unittest.mock import patch

import pandas as pd

from onetape.data.core.clock import ManualClock
from onetape.data.core.model.time.instant import DAY_MS, MINUTE_MS, iso, parse_iso
from onetape.data.data_manager import DataManager

from .harness import Figure, Report, Row

DAYS, _ROUNDS = 30, 3
_FIRST, _NOW = parse_iso("2024-03-04"), parse_iso("2024-06-03T12:00")
_END = _FIRST + DAYS * DAY_MS - 1
_NOTE = (
    f"The table shows the CPU time to store {DAYS} days of minute bars and return them as a "
    "frame. *clean* is the time for the same minute bars without an injected fault, measured "
    "in the same round:\n\n"
    "- *own file*: read from your own file;\n"
    "- *ready*: passed as a frame that a custom downloader has ready;\n"
    "- *again*: the second answer, from the stored bars."
)
_Bar = tuple[int, float, float, float, float, float]
# Shares of the minutes whose high is below their low, that are a second late, that are missing, and
# that occur in two differing rows.
_CASES = {
    "no fault": (0.0, 0.0, 0.0, 0.0, ""),
    "every fifth row impossible": (0.2, 0.0, 0.0, 0.0, "<= 3 times clean"),
    "4 of 10 a second late, 3 of 10 missing": (0.0, 0.4, 0.3, 0.0, "<= 3 times clean"),
    "every third row in two that differ": (0.0, 0.0, 0.0, 1 / 3, "<= 3 times clean"),
    "all of these": (0.2, 0.15, 0.1, 1 / 3, ""),
}


def measure() -> Report:
    """Fetch each set of minutes into a separate cache, in turn."""
    cases = {name: _rows(*shares[:4]) for name, shares in _CASES.items()}
    columns: dict[str, dict[str, list[float]]] = {name: {} for name in cases}
    with TemporaryDirectory() as folder, patch.dict("os.environ", ONETAPE_STATE_DIR=folder):
        # Loads what a fetch takes.
        _of_file(Path(folder) / "first", cases["no fault"])
        _ready(Path(folder) / "second", cases["no fault"])
        for turn in range(_ROUNDS):
            for name, rows in cases.items():
                spent = {"own file s": _of_file(Path(folder) / f"{turn} {name} file", rows)}
                first, again = _ready(Path(folder) / f"{turn} {name} ready", rows)
                spent |= {"ready s": first, "again ms": 1000 * again}
                for column, value in spent.items():
                    columns[name].setdefault(column, []).append(value)
    clean = columns["no fault"]
    return Report(
        "Faulty minutes", _NOTE, [_row(n, c, clean) for n, c in columns.items()], less=_RATIOS
    )


_RATIOS = ("own file / clean", "ready / clean")


def _row(name: str, own: dict[str, list[float]], clean: dict[str, list[float]]) -> Row:
    figures = {column: Figure.of(values) for column, values in own.items()}
    for ratio, column in zip(_RATIOS, ("own file s", "ready s"), strict=True):
        pairs = zip(own[column], clean[column], strict=True)
        figures[ratio] = Figure.of([mine / theirs for mine, theirs in pairs])
    return Row(name, figures, _CASES[name][4])


class _Downloader:
    """A custom downloader with its frame ready."""

    name = "own"

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame

    def get_ohlcv(self, *_question: object, **_more: object) -> pd.DataFrame:
        return self._frame.copy()


def _of_file(folder: Path, rows: list[_Bar]) -> float:
    """Return the CPU time of the first answer from a new cache for a file."""
    folder.mkdir()
    lines = [f"{iso(stamp).rstrip('Z')},{','.join(map(str, values))}" for stamp, *values in rows]
    header = "timestamp,open,high,low,close,volume"
    (folder / "BTCUSDT_1m.csv").write_text("\n".join([header, *lines, ""]))
    rules = folder / "rules.yaml"
    rules.write_text(f"providers:\n  local: {{folder: '{folder}'}}\n")
    manager = DataManager(folder / "cache", rules, clock=ManualClock(_NOW))
    return _answered_s(manager, provider="local")


def _ready(folder: Path, rows: list[_Bar]) -> tuple[float, float]:
    """Return the CPU time of the first and the second answer for a frame."""
    folder.mkdir()
    rules = folder / "rules.yaml"
    rules.write_text("providers: {}\n")
    stamps, *columns = zip(*rows, strict=True)
    index = pd.DatetimeIndex(pd.to_datetime(list(stamps), unit="ms"), name="timestamp")
    names = ("open", "high", "low", "close", "volume")
    frame = pd.DataFrame(dict(zip(names, columns, strict=True)), index=index, dtype=float)
    manager = DataManager(folder / "cache", rules, clock=ManualClock(_NOW))
    selector: Any = manager.provider_selector
    selector.downloaders["own"] = _Downloader(frame)
    selector.get_provider_with_failover = lambda _symbol, _timeframe: ["own"]
    return _answered_s(manager), _answered_s(manager)


def _answered_s(manager: DataManager, provider: str | None = None) -> float:
    # The collector would otherwise walk the rows of all cases, which belong to the benchmark.
    gc.collect()
    gc.freeze()
    began = process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frame = manager.get_ohlcv("BTCUSDT", "1m", iso(_FIRST), iso(_END), provider=provider)
    spent = process_time() - began
    gc.unfreeze()
    if not len(frame):
        raise RuntimeError("no bar came")
    return spent


def _rows(impossible: float, late: float, missing: float, doubled: float) -> list[_Bar]:
    """Return minutes in which these shares have a fault."""
    chance = random.Random(1)
    rows: list[_Bar] = []
    for place, stamp in enumerate(range(_FIRST, _FIRST + DAYS * DAY_MS, MINUTE_MS)):
        close, kind = round(100 + chance.random(), 4), chance.random()
        high, low = round(close + 1, 4), round(close - 1, 4)
        if kind < missing:
            continue
        if impossible and not place % round(1 / impossible):
            high, low = low, high
        at = stamp + 1000 * (missing <= kind < missing + late)
        rows.append((at, close, high, low, close, 3))
        if doubled and not place % round(1 / doubled):
            rows.append((at, close, round(high + high - low, 4), low, close, 3))
    return rows


if __name__ == "__main__":
    print(measure())
