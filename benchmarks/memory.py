"""The memory that an answer takes: a whole year, and slices of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from .harness import Figure, Report, Row, sized
from .stage import MINUTES, long_stage

_NOTE = (
    "The table shows how much the memory of a process grows when it reads the answers and adds "
    "up their values, as a multiple of the size of the frames:\n\n"
    "- *peak*: the highest allocation, and the resident part of the mapped file (some "
    "systems map 2 MB if one page is touched);\n"
    "- *private*: the pages that no other process can share, before and after, while the "
    "answers are still referenced.\n\n"
    "Small answers are read many times, because an allocator reserves more than one of them "
    "needs."
)
_SHARED = "peak <= 1.2, private 0"
# The queries: a name, the first and the last day, answers read before, answers held, a goal.
_CASES = (
    ("a year of minutes, read before", "2023-01-01", "2023-12-31", 2, 1, _SHARED),
    ("the same, the first time", "2023-01-01", "2023-12-31", 0, 1, ""),
    ("a month of them, read before", "2023-06-01", "2023-06-30", 2, 1, "private 0"),
    ("300 times a day of them, read before", "2023-06-01", "2023-06-01", 2, 300, "private <= 1.2"),
)
_PROGRAM = """
import gc, sys, tracemalloc
from onetape.data import DataManager

def pages(file, what, of=""):
    found, is_meant = 0, not of
    for line in open(file):
        if of and not line[0].isupper():
            is_meant = line.rstrip().endswith(of)
        elif is_meant and line.startswith(what + ":"):
            found += int(line.split()[1]) * 1024
    return found

def used(times):
    frames = []
    for _ in range(times):
        frames.append(manager.get_ohlcv("BTCUSDT", "1m", *sys.argv[2:4], offline=True))
        sum(frames[-1][name].to_numpy().sum() for name in frames[-1].columns)
    return frames

is_traced, warm, times = (int(argument) for argument in sys.argv[4:])
manager = DataManager(sys.argv[1])
manager.get_ohlcv("BTCUSDT", "1m", "2023-06-01", "2023-06-01", offline=True)
used(warm)
gc.collect()
mapped = pages("/proc/self/smaps", "Rss", ".bars")
private = pages("/proc/self/smaps_rollup", "Anonymous")
if is_traced:
    tracemalloc.start()
frames = used(times)
size = sum(int(frame.memory_usage().sum()) for frame in frames)
if is_traced:
    added = tracemalloc.get_traced_memory()[1] + pages("/proc/self/smaps", "Rss", ".bars") - mapped
else:
    gc.collect()
    added = pages("/proc/self/smaps_rollup", "Anonymous") - private
print(added / size)
"""


def measure() -> Report:
    """Run each query in separate processes; Linux only."""
    rows = []
    if Path("/proc/self/smaps_rollup").exists():
        with long_stage(MINUTES) as manager:
            manager.get_ohlcv("BTCUSDT", "1m", "2023-06-01", "2023-06-01")  # the columns are there
            root = str(manager.cache.store.root)
            for name, start, end, warm, times, goal in _CASES:
                results = {
                    column: _taken(root, start, end, str(is_traced), str(warm), str(times))
                    for column, is_traced in (("peak", 1), ("private", 0))
                }
                rows.append(Row(name, results, goal))
    return Report("Memory", _NOTE, rows, less=("peak", "private"))


def _taken(*arguments: str) -> Figure:
    results = []
    for _ in range(sized(1, 3)):
        ran = subprocess.run(
            [sys.executable, "-c", _PROGRAM, *arguments], cwd=Path(__file__).parents[1],
            env=os.environ, check=True, capture_output=True, text=True,
        )  # fmt: skip
        results.append(float(ran.stdout))
    return Figure.of(results)


if __name__ == "__main__":
    print(measure())
