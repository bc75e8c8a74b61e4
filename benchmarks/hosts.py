"""A store that many hosts share: the cost of an entry, of a commit, of a pull and of a new host."""

from __future__ import annotations

import logging
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
import psycopg

from onetape.data.cache.store import BarStore
from onetape.data.cache.values import Commit, CommitPiece
from onetape.data.clock import ManualClock
from onetape.data.hosts.entry import SeriesName, dump
from onetape.data.hosts.log import Log, LogPosition
from onetape.data.hosts.store import SharedStore
from onetape.data.model.bars import BarTable
from onetape.data.model.instant import DAY_MS, MINUTE_MS, year_start
from onetape.data.model.kind import Basis, Kind
from onetape.data.model.series import SeriesKey
from onetape.data.model.span import Span
from onetape.data.model.timeframe import Timeframe
from tests.db.server import server

from .harness import Figure, Report, Row, race

SERIES, YEARS = 50, 10
_BARE = "create table if not exists bare (n bigint primary key, body bytea not null)"
_START, _NOW = year_start(2014), year_start(2025)
_ROUNDS, _BEST_OF = 60, 3
_NOTE = (
    "A server on the same machine, which syncs each transaction. *ms* is the time; *times* is its "
    "ratio to the time of the row's counterpart in the same run:\n\n"
    "- *an entry*: adding one bar to the log, compared with a bare insert of the same bytes; *not synced*: "
    "the same, but the server does not wait for the disk;\n"
    "- *a commit of one bar* and *of a year of minutes*: with the log, compared with a folder without it;\n"
    "- *a pull of 500 series*: nothing is new, and a bare `select 1`;\n"
    f"- *a new host*: {SERIES} series of {YEARS} years of daily bars from their entries, and the same bars "
    "committed to a folder without the log;\n"
    "- *from snapshots*: the same, and a year of minutes, when the entries are pruned; compared with writing "
    "the same files and nothing else."
)


def measure() -> Report:
    """Measure against a server of this process's own."""
    logging.getLogger("onetape.data.hosts").setLevel(logging.ERROR)
    with server(durable=True) as url, TemporaryDirectory() as folder:
        with server() as quick:
            unsynced = _entries(quick, "an entry, not synced", "")
        rows = [*_entries(url), *unsynced, *_commits(url, Path(folder)), *_pulls(url, Path(folder))]
    return Report("Many hosts", _NOTE, rows, less=("times",))


def _bars(first: int, rows: int, step: int = DAY_MS) -> Commit:
    start = _START + first * step
    stamps = start + np.arange(rows, dtype=np.int64) * step
    price = np.round(100 + np.cumsum(np.random.default_rng(first).normal(0, 0.05, rows)), 2)
    table = BarTable(stamps, price, price + 0.5, price - 0.5, price, np.round(price * 10))
    kind, basis = Kind(venue="consolidated", unit="USD"), Basis("split")
    span = Span(start, start + rows * step)
    return Commit((CommitPiece(table, span, "acme", _NOW, kind, basis, "final"),))


def _row(name: str, ours: list[float], others: list[float], goal: str = "") -> Row:
    pairs = zip(ours, others, strict=True)
    figures = {
        "ms": Figure.of([one / 1000 for one in ours]),
        "times": Figure.of([a / b for a, b in pairs]),
    }
    return Row(name, figures, goal)


def _entries(url: str, row: str = "an entry", goal: str = "times <= 1.5") -> list[Row]:
    log, numbers = Log(url), count()
    name, at, value = SeriesName("BENCH", "1d"), [LogPosition()], _bars(0, 1)
    _, payload = dump(value)
    with psycopg.connect(url, autocommit=True, prepare_threshold=None) as db:
        db.execute(_BARE)

        def append() -> None:
            made = log.append(name, at[0], value)
            assert made is not None
            at[0] = made.position

        def bare() -> None:
            db.execute("insert into bare values (%s, %s)", (next(numbers), payload))

        times = race({"ours": append, "bare": bare}, rounds=_ROUNDS)
    return [_row(row, times["ours"], times["bare"], goal)]


def _commits(url: str, folder: Path) -> list[Row]:
    clock, steps = ManualClock(_NOW), {"ours": count(), "alone": count()}
    stores = {
        "ours": SharedStore(Log(url), folder / "ours", clock=clock),
        "alone": BarStore(folder / "alone", clock=clock),
    }
    key = SeriesKey("ONE", Timeframe(1, "d"))
    calls = {
        name: (lambda n=name, s=store: s.commit(key, _bars(next(steps[n]), 1)))
        for name, store in stores.items()
    }
    times = race(calls, rounds=_ROUNDS)
    year: dict[str, list[float]] = {"ours": [], "alone": []}
    for number in range(_BEST_OF):
        commit = _bars(0, 525_600, MINUTE_MS)
        for name, store in stores.items():
            begun = perf_counter()
            store.commit(SeriesKey(f"YEAR{number}", Timeframe(1, "m")), commit)
            year[name].append((perf_counter() - begun) * 1e6)
    return [
        _row("a commit of one bar", times["ours"], times["alone"], "times <= 1.5"),
        _row("a commit of a year of minutes", year["ours"], year["alone"], "times <= 1.3"),
    ]


def _pulls(url: str, folder: Path) -> list[Row]:
    clock, log = ManualClock(_NOW), Log(url)
    keys = [SeriesKey(f"S{n}", Timeframe(1, "d")) for n in range(SERIES)]
    pairs = [(key.symbol, key.timeframe) for key in keys]
    first, alone = (
        SharedStore(log, folder / "first", clock=clock),
        BarStore(folder / "plain", clock=clock),
    )
    begun = perf_counter()
    for key in keys:
        alone.commit(key, _bars(0, 365 * YEARS))
    plain = perf_counter() - begun
    for key in keys:
        first.commit(key, _bars(0, 365 * YEARS))
    begun = perf_counter()
    SharedStore(log, folder / "new", clock=clock).pull(pairs)
    new = perf_counter() - begun
    rows = _from_snapshots(first, keys, folder)
    many = [(f"T{n}", Timeframe(1, "d")) for n in range(500)]
    for symbol, frame in many[:5]:
        first.commit(SeriesKey(symbol, frame), _bars(0, 3))
    with psycopg.connect(url, autocommit=True, prepare_threshold=None) as db:
        times = race(
            {"ours": lambda: first.pull(many), "bare": lambda: db.execute("select 1").fetchone()},
            rounds=10,
        )
    return [
        _row("a pull of 500 series", times["ours"], times["bare"]),
        _row("a new host", [new * 1e6], [plain * 1e6]),
        *rows,
    ]


def _from_snapshots(first: SharedStore, keys: list[SeriesKey], folder: Path) -> list[Row]:
    """Measure new hosts that start from snapshots, after all entries that these cover were pruned."""
    year = SeriesKey("YEAR", Timeframe(1, "m"))
    first.commit(year, _bars(0, 525_600, MINUTE_MS))
    for key in (*keys, year):
        first.snapshot(key)
    first.snapshots.prune(-1)
    rows = []
    for name, some, most_ms, times in (
        (f"from snapshots: {len(keys)} series of {YEARS} years", keys, 4 * len(keys), 1.5),
        ("from a snapshot: a year of minutes", [year], 200, 5),
    ):
        ours, bare = [], []
        for n in range(_BEST_OF):
            new = SharedStore(
                first.shared, folder / f"{some[0].symbol}-{n}", clock=ManualClock(_NOW)
            )
            begun = perf_counter()
            new.pull([(key.symbol, key.timeframe) for key in some])
            ours.append((perf_counter() - begun) * 1e6)
            bare.append(_copied(new.root / "ohlcv", folder / f"{some[0].symbol}-bare-{n}"))
        rows.append(_row(name, ours, bare, f"ms <= {most_ms}, times <= {times}"))
    return rows


def _copied(source: Path, target: Path) -> float:
    """Return the microseconds that writing the files of a folder takes."""
    files = [(path.relative_to(source), path.read_bytes()) for path in source.rglob("*.*")]
    for folder in {(target / name).parent for name, _ in files}:
        folder.mkdir(parents=True)
    begun = perf_counter()
    for name, data in files:
        (target / name).write_bytes(data)
    return (perf_counter() - begun) * 1e6


if __name__ == "__main__":
    print(measure())
