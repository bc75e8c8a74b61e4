"""A store that many hosts share: the cost of a push, of a commit, of a pull and of a new host."""

from __future__ import annotations

import logging
import os
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
import psycopg

from onetape.data.core.cache.store import BarStore
from onetape.data.core.cache.values import Commit, CommitPiece
from onetape.data.core.clock import ManualClock
from onetape.data.core.hosts.folder import shared_store
from onetape.data.core.hosts.postgres import PostgresFiles
from onetape.data.core.hosts.protocol import FileBytes, Head
from onetape.data.core.model.identity.kind import Basis, Kind
from onetape.data.core.model.identity.series import SeriesKey
from onetape.data.core.model.market.bars import BarTable
from onetape.data.core.model.time.instant import DAY_MS, MINUTE_MS, year_start
from onetape.data.core.model.time.span import Span
from onetape.data.core.model.time.timeframe import Timeframe
from tests.db.server import server

from .harness import Figure, Report, Row, race

SERIES, YEARS, MINUTE_YEARS = 500, 10, 20
_START, _NOW = year_start(2004), year_start(2025)
_ROUNDS, _BEST_OF = 60, 3
_BARE = """
create table bare_head (name text primary key, gen bigint not null, token bytea not null);
create table bare (n bigint, path text, body bytea not null, primary key (n, path));
insert into bare_head values ('x', 0, '');
"""
_NOTE = (
    "A server on the same machine, which syncs each transaction. *ms* is the time; *times* is its "
    "ratio to the time of the row's counterpart in the same run:\n\n"
    "- *a push of one bar*: compared with the same bytes in one transaction of a bare driver;\n"
    "- *a commit of one bar* and *of a year of minutes*: compared with a folder that is not shared;\n"
    "- *a pull of 500 series*: nothing is new, and a bare `select 1`;\n"
    f"- *a new host*: {SERIES} series of {YEARS} years of daily bars, and one of {MINUTE_YEARS} years of "
    "minutes, compared with reading the same bytes by a bare driver."
)


def measure() -> Report:
    """Measure against a server of this process's own."""
    logging.getLogger("onetape.data.core.hosts").setLevel(logging.ERROR)
    with server(durable=True) as url, TemporaryDirectory() as folder:
        rows = [_push(url), *_commits(url, Path(folder)), *_new_hosts(url, Path(folder))]
    return Report("Many hosts", _NOTE, rows, less=("times",))


def _bars(first: int, rows: int, step: int = DAY_MS, start: int = _START) -> Commit:
    start += first * step
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


def _push(url: str) -> Row:
    """Measure the push of one bar: 300 bytes of bars, a document, and a line of a log."""
    shared, numbers, head = PostgresFiles(url), count(1), [Head()]
    shared.lease("BENCH/1d", "x", 3600)
    bodies = {
        "2024.csv.gz": os.urandom(300),
        "2024.metadata.json": os.urandom(1500),
        "2024.log": b"." * 120,
    }
    with psycopg.connect(url, autocommit=True, prepare_threshold=None) as db:
        db.execute(_BARE)

        def push() -> None:
            n = next(numbers)
            changes = [
                FileBytes(path, 1, b"x" * 32, 0 if path.endswith("json") else n * len(body), body)
                for path, body in bodies.items()
            ]
            made = shared.push("BENCH/1d", head[0], changes, [], "x", frees=False)
            assert made is not None
            head[0] = made

        def bare() -> None:
            n = next(numbers)
            with db.transaction():
                db.execute("update bare_head set gen = gen + 1, token = %s", (os.urandom(8),))
                for path, body in bodies.items():
                    db.execute("insert into bare values (%s, %s, %s)", (n, path, body))

        times = race({"ours": push, "bare": bare}, rounds=_ROUNDS)
    shared.close()
    return _row("a push of one bar", times["ours"], times["bare"], "times <= 1.5")


def _commits(url: str, folder: Path) -> list[Row]:
    clock, steps = ManualClock(_NOW), {"ours": count(), "alone": count()}
    stores = {
        "ours": shared_store(PostgresFiles(url), folder / "ours", clock=clock),
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
        _row("a commit of one bar", times["ours"], times["alone"]),
        _row("a commit of a year of minutes", year["ours"], year["alone"], "times <= 1.3"),
    ]


def _new_hosts(url: str, folder: Path) -> list[Row]:
    clock, shared = ManualClock(_NOW), PostgresFiles(url)
    first = shared_store(shared, folder / "first", clock=clock)
    keys = [SeriesKey(f"S{n}", Timeframe(1, "d")) for n in range(SERIES)]
    for key in keys:
        first.commit(key, _bars(0, 365 * YEARS))
    minutes, year = SeriesKey("LONG", Timeframe(1, "m")), _bars(0, 525_600, MINUTE_MS)
    for n in range(MINUTE_YEARS):
        first.commit(minutes, _bars(0, 525_600, MINUTE_MS, year_start(2004 + n)))
    del year
    pairs = [(key.symbol, key.timeframe) for key in keys]
    rows = []
    with psycopg.connect(url, autocommit=True, prepare_threshold=None) as db:
        times = race(
            {
                "ours": lambda: first.hosts.pull(pairs),
                "bare": lambda: db.execute("select 1").fetchone(),
            },
            rounds=5,
        )
        rows.append(_row("a pull of 500 series", times["ours"], times["bare"]))
        for name, some, like, goal in (
            (f"a new host, {SERIES} x {YEARS} years of days", keys, "S%", "ms <= 3000"),
            (f"a new host, {MINUTE_YEARS} years of minutes", [minutes], "LONG%", "times <= 1.5"),
        ):
            ours, bare = [], []
            for n in range(_BEST_OF):
                server = PostgresFiles(url)
                new = shared_store(server, folder / f"{some[0].symbol}-{n}", clock=clock)
                server.store_id()
                begun = perf_counter()
                new.hosts.pull([(key.symbol, key.timeframe) for key in some])
                ours.append((perf_counter() - begun) * 1e6)
                begun = perf_counter()
                statement = "select path, start, body from onetape.chunk where series like %s"
                db.execute(statement, (like,), binary=True).fetchall()
                bare.append((perf_counter() - begun) * 1e6)
            rows.append(_row(name, ours, bare, goal))
    return rows


if __name__ == "__main__":
    print(measure())
