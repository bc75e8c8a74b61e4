"""ArcticDB in a separate process, because it needs an older pandas than this library may have.

Run by :class:`~benchmarks.peers.Arctic` with an interpreter that has it; imports nothing from this
project. Each line is a JSON request and is answered by a line of JSON. Bars are added up and timed
here, so that the communication between the two processes does not count.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd


class Library:
    """Bars of many symbols in one ArcticDB library."""

    def __init__(self, folder: str) -> None:
        database = import_module("arcticdb").Arctic(f"lmdb://{folder}?map_size=4GB")
        self._library = database.get_library("bars", create_if_missing=True)

    def write(self, path: str, symbols: list[str]) -> list[float]:
        """Store the bars of a file under every symbol."""
        frame = _frame(path)
        for symbol in symbols:
            self._library.write(symbol, frame)
        return []

    def append(self, path: str, symbol: str) -> list[float]:
        """Return the milliseconds needed to append the bars in a file to those of a symbol."""
        frame = _frame(path)
        started = perf_counter()
        self._library.append(symbol, frame)
        return [(perf_counter() - started) * 1e3]

    def read(self, symbol: str, start: int, end: int) -> list[float]:
        """Return the milliseconds needed to read the bars in a range, and their sum.

        The bounds are in nanoseconds, both ends included.
        """
        bounds = pd.Timestamp(start), pd.Timestamp(end)
        started = perf_counter()
        frame = self._library.read(symbol, date_range=bounds).data
        total = _summed(frame)
        return [(perf_counter() - started) * 1e3, total]

    def read_all(self, symbols: list[str]) -> list[float]:
        """Return the milliseconds needed to read all bars of many symbols, and their sum."""
        started = perf_counter()
        total = sum(_summed(item.data) for item in self._library.read_batch(symbols))
        return [(perf_counter() - started) * 1e3, total]


def _frame(path: str) -> pd.DataFrame:
    with np.load(Path(path)) as columns:
        stamps = pd.DatetimeIndex(columns["timestamp"].view("M8[ns]"), name="timestamp")
        values = {name: columns[name] for name in columns.files if name != "timestamp"}
        return pd.DataFrame(values, index=stamps)


def _summed(frame: Any) -> float:
    return float(sum(frame[name].to_numpy().sum() for name in frame.columns))


def main() -> None:
    """Answer until the input ends."""
    library = Library(sys.argv[1])
    for line in sys.stdin:
        what, *arguments = json.loads(line)
        print(json.dumps(getattr(library, what)(*arguments)), flush=True)


if __name__ == "__main__":
    main()
