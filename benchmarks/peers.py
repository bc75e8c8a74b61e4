"""The same bars as others keep them: a plain gzip CSV, Arrow, Parquet, ArcticDB where installed."""

from __future__ import annotations

import gzip
import shutil
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd


def _behind(end: str) -> pd.Timestamp:
    """Return the instant behind the last day."""
    return pd.Timestamp(end) + pd.Timedelta("1D")


class Naive:
    """The usual cache: ``to_csv`` into gzip, ``read_csv`` out of it, one file a year."""

    def __init__(self, folder: Path, frame: pd.DataFrame) -> None:
        self._paths = []
        for year, part in frame.groupby(pd.DatetimeIndex(frame.index).year):
            self._paths.append(folder / f"naive-{len(frame)}-{year}.csv.gz")
            self.write(self._paths[-1], part)

    def copied(self, folder: Path) -> Naive:
        """Return the same bars once more, in a folder of their own."""
        folder.mkdir()
        copy = object.__new__(Naive)
        copy._paths = [Path(shutil.copy(path, folder)) for path in self._paths]
        return copy

    @staticmethod
    def write(path: Path, frame: pd.DataFrame) -> None:
        """Write one file."""
        with gzip.open(path, "wt") as file:
            frame.to_csv(file)

    def read(self, start: str, end: str) -> pd.DataFrame:
        """Return a stretch, both ends included; whole years are read for it."""
        years = range(int(start[:4]), int(end[:4]) + 1)
        paths = [p for p in self._paths if int(p.name.split("-")[2][:4]) in years]
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
        """Return a stretch, both ends included, found by bisection."""
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
        """Return a stretch, both ends included."""
        last = _behind(end)
        wanted = [("timestamp", ">=", pd.Timestamp(start)), ("timestamp", "<", last)]
        return pd.read_parquet(self._path, filters=wanted)


class Arctic:
    """A library of ArcticDB on the same disk."""

    def __init__(self, folder: Path, frame: pd.DataFrame) -> None:
        database = import_module("arcticdb").Arctic
        self._library = database(f"lmdb://{folder / f'arctic-{len(frame)}'}").get_library(
            "bars", create_if_missing=True
        )
        self._library.write("bars", frame)

    def read(self, start: str, end: str) -> pd.DataFrame:
        """Return a stretch, both ends included."""
        last = _behind(end) - pd.Timedelta("1ns")  # there both ends are included
        found = self._library.read("bars", date_range=(pd.Timestamp(start), last))
        frame: pd.DataFrame = found.data
        return frame


def peers_of(folder: Path, frame: pd.DataFrame) -> dict[str, Any]:
    """Return the peers that are installed, each with the bars of ``frame``."""
    found: dict[str, Any] = {"Arrow": Arrow(folder, frame), "Parquet": Parquet(folder, frame)}
    if find_spec("arcticdb"):
        found["ArcticDB"] = Arctic(folder, frame)
    return found | {"naive": Naive(folder, frame)}
