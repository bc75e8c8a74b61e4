"""The same bars as others store them: plain gzip CSV, Arrow, Parquet, and ArcticDB if available."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

# An interpreter with ArcticDB, which needs an older pandas; without one, ArcticDB is left out.
ARCTIC_PYTHON = os.environ.get("ONETAPE_ARCTIC_PYTHON") or (
    sys.executable if find_spec("arcticdb") else None
)


# Frames up to this length are added up as one block.
_SHORT = 10_000


def _behind(end: str) -> pd.Timestamp:
    """Return the instant after the last day."""
    return pd.Timestamp(end) + pd.Timedelta("1D")


class Naive:
    """The usual cache: ``to_csv`` into gzip, ``read_csv`` from it, one file a year."""

    def __init__(self, folder: Path, frame: pd.DataFrame) -> None:
        self.paths = []
        for year, part in frame.groupby(pd.DatetimeIndex(frame.index).year):
            self.paths.append(folder / f"naive-{len(frame)}-{year}.csv.gz")
            self.write(self.paths[-1], part)

    def copied(self, folder: Path) -> Naive:
        """Return a copy of the same bars in a separate folder."""
        folder.mkdir()
        copy = object.__new__(Naive)
        copy.paths = [Path(shutil.copy(path, folder)) for path in self.paths]
        return copy

    @staticmethod
    def write(path: Path, frame: pd.DataFrame) -> None:
        """Write one file."""
        with gzip.open(path, "wt") as file:
            frame.to_csv(file)

    def read(self, start: str, end: str) -> pd.DataFrame:
        """Return a range, both ends included; whole years are read for it."""
        years = range(int(start[:4]), int(end[:4]) + 1)
        paths = [p for p in self.paths if int(p.name.split("-")[2][:4]) in years]
        frames = [self.read_file(path) for path in paths]
        whole = pd.concat(frames) if len(frames) > 1 else frames[0]
        return whole.loc[start:end]

    @staticmethod
    def read_file(path: Path) -> pd.DataFrame:
        """Return one file."""
        with gzip.open(path, "rt") as file:
            return pd.read_csv(file, index_col=0, parse_dates=True)


class Arrow:
    """One uncompressed Arrow file, mapped into memory."""

    def __init__(self, folder: Path, frame: pd.DataFrame) -> None:
        import pyarrow as pa

        self._path = str(folder / f"{len(frame)}.arrow")
        table = pa.table({
            "timestamp": frame.index.to_numpy().view(np.int64),
            **{name: frame[name].to_numpy() for name in frame.columns},
        })  # fmt: skip
        with pa.OSFile(self._path, "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table.combine_chunks())

    def read(self, start: str, end: str) -> pd.DataFrame:
        """Return a range, both ends included, found by bisection."""
        import pyarrow as pa

        with pa.memory_map(self._path) as source:
            table = pa.ipc.open_file(source).read_all()
        columns = {name: table[name].chunk(0).to_numpy() for name in table.column_names}
        stamps = columns.pop("timestamp").view("M8[ns]")
        bounds = np.array([pd.Timestamp(start), _behind(end)], dtype="M8[ns]")
        begin, behind = np.searchsorted(stamps, bounds)
        index = pd.DatetimeIndex(stamps[begin:behind], name="timestamp", copy=False)
        parts = {name: values[begin:behind] for name, values in columns.items()}
        return pd.DataFrame(parts, index=index, copy=False)


class Parquet:
    """One Parquet file with zstd."""

    def __init__(self, folder: Path, frame: pd.DataFrame) -> None:
        self._path = folder / f"{len(frame)}.parquet"
        frame.to_parquet(self._path, compression="zstd")

    def read(self, start: str, end: str) -> pd.DataFrame:
        """Return a range, both ends included."""
        last = _behind(end)
        wanted = [("timestamp", ">=", pd.Timestamp(start)), ("timestamp", "<", last)]
        return pd.read_parquet(self._path, filters=wanted)


class Elsewhere(NamedTuple):
    """The result of a peer, measured in its own process: the time, and the sum of all values."""

    ms: float
    total: float


class Arctic:
    """ArcticDB in a separate process, on the same disk.

    Args:
        folder: Folder for its files.
        frame: Bars; every symbol gets them.
        symbols: Symbols they are stored for.

    Attributes:
        program: Command line that starts such a process.
    """

    def __init__(
        self, folder: Path, frame: pd.DataFrame, symbols: Sequence[str] = ("bars",)
    ) -> None:
        self._symbols, self._folder = list(symbols), folder / f"arctic-{len(frame)}"
        script = str(Path(__file__).with_name("arctic.py"))
        self.program = [ARCTIC_PYTHON or "", script, str(self._folder)]
        self._server = subprocess.Popen(
            self.program, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._ask("write", self._saved(frame), self._symbols)

    def read(self, start: str, end: str) -> Elsewhere:
        """Read a range of the first symbol, both ends included."""
        first, last = (pd.Timestamp(start).value, _behind(end).value - 1)
        return Elsewhere(*self._ask("read", self._symbols[0], first, last))

    def read_all(self) -> Elsewhere:
        """Read all bars of all symbols at once."""
        return Elsewhere(*self._ask("read_all", self._symbols))

    def append(self, frame: pd.DataFrame) -> float:
        """Return the milliseconds needed to append bars to those of the first symbol."""
        return self._ask("append", self._saved(frame), self._symbols[0])[0]

    def close(self) -> None:
        """End its process."""
        self._server.communicate()

    def _saved(self, frame: pd.DataFrame) -> str:
        """Return the file with the bars that its process reads."""
        bars = self._folder.with_suffix(".npz")
        values: dict[str, Any] = {name: frame[name].to_numpy() for name in frame.columns}
        np.savez(bars, timestamp=frame.index.to_numpy().astype("M8[ns]").view(np.int64), **values)
        return str(bars)

    def _ask(self, *request: object) -> list[float]:
        asks, answers = self._server.stdin, self._server.stdout
        if asks is None or answers is None:
            raise RuntimeError("ArcticDB's process has no pipes")
        print(json.dumps(request), file=asks, flush=True)
        answer = answers.readline()
        if not answer:
            raise RuntimeError("ArcticDB's process has ended; what it said is above")
        results: list[float] = json.loads(answer)
        return results


@contextmanager
def peers_of(folder: Path, frame: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield the available peers, each with the bars of ``frame``."""
    results: dict[str, Any] = {"Arrow": Arrow(folder, frame), "Parquet": Parquet(folder, frame)}
    with ExitStack() as stack:
        if ARCTIC_PYTHON:
            results["ArcticDB"] = Arctic(folder, frame)
            stack.callback(results["ArcticDB"].close)
        yield results | {"naive": Naive(folder, frame)}


def summed(found: pd.DataFrame | Elsewhere) -> float:
    """Return the sum of all values in an answer."""
    if isinstance(found, Elsewhere):
        return found.total
    if len(found) <= _SHORT:  # picking columns would take longer than reading them
        return float(found.to_numpy().sum())
    return float(sum(found[name].to_numpy().sum() for name in found.columns))
