"""The catalog: registering datasets, and finding one among 2,000."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from onetape.data import DataManager
from onetape.data.research.catalog.catalog import DataCatalog

from .harness import Figure, Report, Row, race, sized

_NOTE = (
    "2,000 registered datasets with 20,000 symbols. *ms*: of the call, with the look at whether anything "
    "has changed since the last one. *times the plain join*: through the usual join of the documented tables "
    "in the same file, in the same round."
)
_COUNT, _ROUNDS = sized(500, 2_000), sized(20, 40)
_PLAIN = """
    SELECT d.dataset_id FROM datasets d JOIN symbols s ON s.dataset_id = d.dataset_id
    WHERE s.symbol IN ({marks}) AND d.resolution = '1d' AND d.start_date <= ? AND d.end_date >= ?
    GROUP BY d.dataset_id HAVING count(*) = ? LIMIT 1
"""


def measure() -> Report:
    """Race the catalog against a plain join, and time a registration."""
    generator = random.Random(1)
    names = [f"S{number:05d}" for number in range(8000)]
    with TemporaryDirectory() as folder:
        path = Path(folder, "bundles", "metadata.db")
        many = generator.sample(names, 500)
        with closing(DataCatalog(path, manager=DataManager(Path(folder, "cache")))) as catalog:
            started = perf_counter()
            for n in range(1, _COUNT):
                year = generator.randint(2000, 2018)
                end = f"{year + generator.randint(1, 6)}-01-01"
                symbols = generator.sample(names, n % 20 or 1)
                catalog.register_dataset("s", symbols, f"{year}-01-01", end, "1d", "x")
            registered = (perf_counter() - started) / _COUNT
            catalog.register_dataset("s", many, "2010-01-01", "2020-01-01", "1d", "x")
            with closing(sqlite3.connect(path)) as db:
                rows = [
                    _found(catalog, db, "one symbol", many[:1]),
                    _found(catalog, db, "500 symbols", many),
                    _found(catalog, db, "one that there is not", ["NONE"]),
                ]
    return Report(
        "The catalog",
        _NOTE,
        [
            *rows,
            Row("one registered, durable", {"ms": Figure.of([1000 * registered])}),
        ],
        less=("times the plain join",),
    )


def _found(catalog: DataCatalog, db: sqlite3.Connection, name: str, symbols: list[str]) -> Row:
    query = _PLAIN.format(marks=", ".join("?" * len(symbols)))
    bounds = 1420070400, 1451606400

    def ours() -> object:
        return catalog.find_dataset(symbols, *bounds, "1d")

    def plain() -> object:
        return db.execute(query, [*symbols, *bounds, len(symbols)]).fetchone()

    assert (ours() is None) == (plain() is None) == (symbols == ["NONE"])
    times = race({"ours": ours, "plain": plain}, _ROUNDS)
    ratios = [a / b for a, b in zip(times["ours"], times["plain"], strict=True)]
    ms = Figure.of([value / 1000 for value in times["ours"]])
    return Row(name, {"ms": ms, "times the plain join": Figure.of(ratios)}, "<= 0.3 ms")
