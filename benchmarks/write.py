"""What it takes to store bars for good, beside the usual read, merge and write anew."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import pyarrow as pa
from isal import igzip
from pyarrow import csv

from src.data.cache.store import BarStore, Commit, CommitPiece
from src.data.model.bars import BarTable
from src.data.model.frame import build_frame
from src.data.model.instant import MINUTE_MS
from src.data.model.kind import Basis
from src.data.model.series import SeriesKey
from src.data.model.span import Span
from src.data.model.timeframe import Timeframe

from .harness import Figure, Report, Row
from .peers import Naive
from .stage import COIN, FETCHED, YEAR, made_up

_NOTE = (
    "Milliseconds until the bars are safe on the disk (synced), and how many times as long the "
    "usual cache takes for the same: read the gzip CSV of the year, merge, write it anew, unsynced. "
    "*bare*: one append of as many bytes, synced. *parse*: the same file inflated (by isal) and parsed "
    "by pyarrow, nothing checked and nothing kept."
)
_KEY = SeriesKey("BTCUSDT", Timeframe.parse("1m"))
_ROUNDS = 7


def measure() -> Report:
    """Measure writing, appending, correcting and reading what was never read before."""
    year = made_up(YEAR, MINUTE_MS)
    with TemporaryDirectory() as folder:
        root = Path(folder)
        naive = _naive_ms(root, year)
        rows = [
            Row("a year of minutes", _write(root, year, naive["write"]), "naive >= 12 with isal, else 2.5"),
            Row("a year never read before", _cold(root, year, naive["read"]),
                "naive >= 1, parse >= 0.77"),
            Row("one bar more", _append(root, year, naive, 1), "naive >= 500, bare >= 0.25"),
            Row("a day more", _append(root, year, naive, 1440), "naive >= 400"),
            Row("one bar more behind 5,000", _append(root, year, naive, 1, 5_000)),
            Row("one bar corrected", _correct(root, year, naive), "naive >= 20"),
        ]  # fmt: skip
    return Report("Writing", _NOTE, rows)


def _naive_ms(root: Path, year: BarTable) -> dict[str, float]:
    """Return what the usual cache takes to write and to read a year; once, for it is long."""
    frame, path = build_frame(year), root / "naive.csv.gz"
    took = {
        "write": _ms(lambda: Naive.write(path, frame)),
        "read": _ms(lambda: Naive.read_file(path)),
    }
    return took | {"change": took["write"] + took["read"]}


def _write(root: Path, year: BarTable, naive: float) -> dict[str, Figure]:
    def write(turn: int) -> float:
        store = _fresh(root, turn)
        return _ms(lambda: store.commit(_KEY, _commit(year, YEAR)))

    return _figures([write(turn) for turn in range(3)], naive)


def _cold(root: Path, year: BarTable, naive: float) -> dict[str, Figure]:
    """Read a year whose columns are not there yet; they are made on the way."""
    took: list[float] = []
    parsed: list[float] = []
    for turn in range(_ROUNDS):
        store = _fresh(root, 0)
        store.commit(_KEY, _commit(year, YEAR))
        shutil.rmtree(root / "store-0" / "_columnar", ignore_errors=True)
        # Whoever comes first finds the file out of the processor's cache: they take turns.
        calls = [
            (took, partial(_summed, BarStore(root / "store-0", columnar="map"))),
            (parsed, partial(_parsed, next((root / "store-0").rglob("*.csv.gz")))),
        ]
        for found, call in calls if turn % 2 else reversed(calls):
            found.append(_ms(call))
    figures = _figures(took, naive)
    return figures | {"parse": Figure.of([p / t for p, t in zip(parsed, took, strict=True)])}


def _parsed(path: Path) -> float:
    """Inflate and parse a file as fast as libraries can, and add every value up."""
    text: bytes = igzip.decompress(path.read_bytes())  # type: ignore[no-untyped-call]
    table = csv.read_csv(pa.BufferReader(text))
    return float(sum(table[name].to_numpy().sum() for name in table.column_names[1:6]))


def _summed(store: BarStore) -> float:
    return float(sum(values.sum() for values in store.read(_KEY, YEAR)[0].values()))


def _append(
    root: Path, year: BarTable, naive: dict[str, float], bars: int, held: int = 500_000
) -> dict[str, Figure]:
    """Append ``bars`` at a time behind ``held`` of them."""
    store = _fresh(root, 0)
    before = year.take(slice(0, held))
    store.commit(_KEY, _commit(before, Span(YEAR.start, int(year.stamps[held]))))
    took, bare = [], []
    for turn in range(_ROUNDS):
        part = year.take(slice(held + turn * bars, held + (turn + 1) * bars))
        span = Span(int(part.stamps[0]), int(part.stamps[-1]) + MINUTE_MS)
        took.append(_ms(partial(store.commit, _KEY, _commit(part, span))))
        bare.append(_ms(lambda: _bare_append(root / "bare", 40 * bars + 600)))
    figures = _figures(took, naive["change"])
    return figures | {"bare": Figure.of([b / t for b, t in zip(bare, took, strict=True)])}


def _correct(root: Path, year: BarTable, naive: dict[str, float]) -> dict[str, Figure]:
    store = _fresh(root, 0)
    store.commit(_KEY, _commit(year, YEAR))
    took = []
    for turn in range(3):
        middle = year.take(slice(200_000 + turn, 200_001 + turn))
        changed = BarTable.of_columns(middle.stamps, [v + 1 for v in middle.values()])
        span = Span(int(middle.stamps[0]), int(middle.stamps[0]) + MINUTE_MS)
        took.append(_ms(partial(store.commit, _KEY, _commit(changed, span))))
    return _figures(took, naive["change"])


def _bare_append(path: Path, size: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.write(descriptor, bytes(size))
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)


def _fresh(root: Path, turn: int) -> BarStore:
    folder = root / f"store-{turn}"
    shutil.rmtree(folder, ignore_errors=True)
    return BarStore(folder, columnar="map")


def _commit(table: BarTable, span: Span) -> Commit:
    return Commit(
        (CommitPiece(table, span, "sample", FETCHED, COIN, Basis("raw"), "final"),), kind=COIN
    )


def _figures(took: list[float], naive: float) -> dict[str, Figure]:
    return {"ms": Figure.of(took), "naive": Figure.of([naive / ms for ms in took])}


def _ms(call: Callable[[], object]) -> float:
    began = perf_counter()
    call()
    return (perf_counter() - began) * 1e3


if __name__ == "__main__":
    print(measure())
