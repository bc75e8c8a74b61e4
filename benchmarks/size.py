"""What bars take on the disk, and what an answer takes in memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from src.data.cache.store import BarStore, Commit, Piece
from src.data.cache.unified_cache import UnifiedCache
from src.data.model.bars import BarTable
from src.data.model.frame import build_frame
from src.data.model.instant import DAY_MS, MINUTE_MS
from src.data.model.kind import Basis
from src.data.model.series import SeriesKey
from src.data.model.span import Span
from src.data.model.timeframe import Timeframe

from .harness import Figure, Report, Row
from .stage import COIN, FETCHED, MINUTES, YEAR, long_stage, made_up

_NOTE = (
    "*MB*: on the disk. *plain CSV*: how much of the same bars written by `to_csv`; *values*: how "
    "much of 48 bytes a bar, which is what HDF5 takes for a frame in its fixed format."
)
_MEMORY_NOTE = (
    "Memory that one answer adds to a process of its own while it is read and added up, as a "
    "multiple of the frame. *peak*: what is allocated at its highest, and what is resident of the "
    "mapped file, of which some systems map 2 MB where a page is touched. *private*: what of it no "
    "other process can share, in the end."
)
_SMALL = "plain CSV <= 0.40, values <= 0.46"
_MEMBERS = 64
_YEAR, _MONTH = ("2023-01-01", "2023-12-31"), ("2023-06-01", "2023-06-30")
_PROGRAM = """
import gc, sys, tracemalloc
from src.data import DataManager

def mapped(what):
    found, is_ours = 0, False
    for line in open("/proc/self/smaps"):
        if not line[0].isupper():
            is_ours = line.rstrip().endswith(".bars")
        elif is_ours and line.startswith(what + ":"):
            found += int(line.split()[1]) * 1024
    return found

def used():
    frame = manager.get_ohlcv("BTCUSDT", "1m", sys.argv[2], sys.argv[3], offline=True)
    sum(frame[name].to_numpy().sum() for name in frame.columns)
    return frame

manager = DataManager(sys.argv[1])
manager.get_ohlcv("BTCUSDT", "1m", "2023-06-01", "2023-06-01", offline=True)
for _ in range(int(sys.argv[4])):
    used()
gc.collect()
before = mapped("Rss"), mapped("Anonymous")
tracemalloc.start()
frame = used()
held, peak = tracemalloc.get_traced_memory()
size = int(frame.memory_usage().sum())
print((peak + mapped("Rss") - before[0]) / size)
print((held + mapped("Anonymous") - before[1]) / size)
"""


def measure() -> Report:
    """Weigh the files of a year of minutes, as written, appended to, and with its columns."""
    with TemporaryDirectory() as folder:
        store = BarStore(Path(folder), columnar="map")
        year, days = made_up(YEAR, MINUTE_MS), made_up(YEAR, DAY_MS)
        _commit(store, "1m", year.take(slice(0, -_MEMBERS)), YEAR.start)
        rows = [_row(store, "a year of minutes, gzip CSV", "1m", year, _SMALL)]
        for bar in range(len(year) - _MEMBERS, len(year)):
            _commit(store, "1m", year.take(slice(bar, bar + 1)), int(year.stamps[bar]))
        name = f"... after {_MEMBERS} bars, one at a time"
        rows.append(_row(store, name, "1m", year, _SMALL))
        _make_columns(store)
        name = "... with the columnar file"
        rows.append(_row(store, name, "1m", year, "plain CSV <= 1.5", columns=True))
        _commit(store, "1d", days, YEAR.start)
        rows.append(_row(store, "a year of days", "1d", days, "plain CSV <= 0.5"))
    return Report("Size", _NOTE, rows)


def measure_memory() -> Report:
    """Ask for a year and for a day of minutes, each in a process of its own; Linux only."""
    rows = []
    if Path("/proc/self/smaps_rollup").exists():
        with long_stage(MINUTES) as manager:
            manager.get_ohlcv("BTCUSDT", "1m", "2023-06-01", "2023-06-01")
            root = manager.cache.store.root
            rows = [
                Row(
                    "a year of minutes, read before",
                    _peak(root, _YEAR, 2),
                    "peak <= 1.2, private 0",
                ),
                Row("the same, the first time", _peak(root, _YEAR, 0)),
                Row("a month of them, read before", _peak(root, _MONTH, 2), "private 0"),
            ]
    return Report("Memory", _MEMORY_NOTE, rows)


def _peak(root: Path, stretch: tuple[str, str], warm: int) -> dict[str, Figure]:
    command = [sys.executable, "-c", _PROGRAM, str(root), *stretch, str(warm)]
    found = []
    for _ in range(3):
        ran = subprocess.run(command, cwd=Path(__file__).parents[1], env=os.environ, check=True,
                             capture_output=True, text=True)  # fmt: skip
        found.append([float(line) for line in ran.stdout.split()])
    peaks, privates = zip(*found, strict=True)
    return {"peak": Figure.of(peaks), "private": Figure.of(privates)}


def _row(
    store: BarStore, name: str, label: str, table: BarTable, goal: str, *, columns: bool = False
) -> Row:  # fmt: skip
    symbol = _key(label).symbol
    size = _bytes(store.root / "ohlcv" / symbol / label, ".csv.gz")
    if columns:
        size += _bytes(store.root / "_columnar" / symbol, ".bars")
    figures = {
        "MB": size / 1e6,
        "plain CSV": size / len(build_frame(table).to_csv().encode()),
        "values": size / (48 * len(table)),
    }
    return Row(name, {name: Figure.of([value]) for name, value in figures.items()}, goal)


def _bytes(folder: Path, ending: str) -> int:
    return sum(path.stat().st_size for path in folder.rglob(f"*{ending}"))


def _commit(store: BarStore, label: str, table: BarTable, start: int) -> None:
    step = _key(label).timeframe.step_ms or DAY_MS
    span = Span(start, int(table.stamps[-1]) + step)
    piece = Piece(table, span, "sample", FETCHED, COIN, Basis("raw"), "final")
    store.commit(_key(label), Commit((piece,), kind=COIN))


def _key(label: str) -> SeriesKey:
    return SeriesKey("BTCUSDT", Timeframe.parse(label))


def _make_columns(store: BarStore) -> None:
    """Read the year, which makes the columnar file, and see it counted among what is held."""
    before = UnifiedCache(store.root).get_stats()["total_size_gb"]
    store.read(_key("1m"), YEAR)
    grown = (UnifiedCache(store.root).get_stats()["total_size_gb"] - before) * 2**30
    if round(grown) < _bytes(store.root / "_columnar", ".bars") or grown == 0:
        raise RuntimeError("the columnar file is not counted in the stats")


if __name__ == "__main__":
    print(measure(), measure_memory(), sep="\n\n")
